//! Partition folders: `year=2024/month=05/part-0.parquet`, whose names are columns of the rows in their files.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::entry::FileEntry;
use crate::error::{Error, Result};
use crate::function::cast::{Mode, cast_array};
use crate::source::provider::timestamp_type;
use crate::time_zone::Tz;

/// The name of a folder whose rows have NULL in its column.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Whether a folder of this name is one of a partition.
pub fn is_partition(name: &[u8]) -> bool {
    memchr::memchr(b'=', name).is_some_and(|at| at > 0)
}

/// Columns and texts of the folders that a file lies in, below `root`; a text is `None` for NULL.
pub fn values(path: &Path, root: &Path) -> Vec<(String, Option<String>)> {
    let Some(below) = path.parent().and_then(|folder| folder.strip_prefix(root).ok()) else { return vec![] };
    let folders = below.components().filter_map(|component| match component {
        Component::Normal(name) => std::str::from_utf8(name.as_bytes()).ok()?.split_once('='),
        _ => None,
    });
    let value = |text: &str| (text != NULL).then(|| unescaped(text));
    folders.filter(|(name, _)| !name.is_empty()).map(|(name, text)| (unescaped(name), value(text))).collect()
}

/// The text that `%2F` and its like stand for; a `%` of another kind is itself.
pub fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The partition columns of files, each with a text for every file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    columns: Vec<(String, Vec<Option<String>>)>,
}

impl Partitions {
    /// Those of `files`, whose folders begin at the root that `root` gives for each.
    ///
    /// # Errors
    /// `CONFLICTING_DIRECTORY_STRUCTURES` if some files have other partition columns than others.
    pub fn of<'f>(files: &'f [FileEntry], root: impl Fn(&'f Path) -> &'f Path) -> Result<Self> {
        let mut columns: Vec<(String, Vec<Option<String>>)> = vec![];
        for (i, file) in files.iter().enumerate() {
            let found = values(&file.path, root(&file.path));
            if i == 0 {
                columns.extend(found.iter().map(|(name, _)| (name.clone(), Vec::with_capacity(files.len()))));
            }
            if !found.iter().map(|(name, _)| name).eq(columns.iter().map(|(name, _)| name)) {
                return Err(conflict(&files[0].path, &file.path));
            }
            columns.iter_mut().zip(found).for_each(|((_, all), (_, text))| all.push(text));
        }
        Ok(Self { columns })
    }

    /// Whether there is a column of this name, in any case.
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name))
    }

    /// The columns, in the types that their texts have.
    pub fn inferred(&self) -> Fields {
        self.columns.iter().map(|(name, texts)| Field::new(name, inferred(texts), true)).collect()
    }

    /// The values of every file in the columns of `fields`.
    pub fn values(&self, fields: &Fields, tz: Tz) -> Result<Vec<ArrayRef>> {
        let column = |field: &FieldRef| {
            let found = self.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(field.name()));
            let (_, texts) = found.ok_or_else(|| Error::internal("a partition column without values"))?;
            let texts: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>());
            cast_array(&texts, field.data_type(), Mode::Ansi, tz).map_err(|e| {
                let message = format!(
                    "a folder of partition column '{}' has a name that does not fit: {}",
                    field.name(),
                    e.message()
                );
                Error::execution("CAST_INVALID_INPUT", message).with_help("declare the column as STRING")
            })
        };
        fields.iter().map(column).collect()
    }
}

fn conflict(one: &Path, other: &Path) -> Error {
    Error::execution(
        "CONFLICTING_DIRECTORY_STRUCTURES",
        format!(
            "the files '{}' and '{}' lie in folders of different partition columns",
            one.display(),
            other.display()
        ),
    )
    .with_help("read them apart, or say with basePath where the partition folders begin")
}

/// The narrowest type that all texts have.
fn inferred(texts: &[Option<String>]) -> DataType {
    use DataType::*;
    let distinct: HashSet<&str> = texts.iter().flatten().map(String::as_str).collect();
    let distinct: ArrayRef = Arc::new(distinct.into_iter().map(Some).collect::<StringViewArray>());
    let fits = |to: &DataType| {
        let cast = cast_array(&distinct, to, Mode::Try, Tz::UTC);
        !distinct.is_empty() && cast.is_ok_and(|values| values.null_count() == 0)
    };
    let types = [Int32, Int64, Decimal128(38, 0), Float64, Date32, timestamp_type()];
    types.into_iter().find(fits).unwrap_or(Utf8View)
}

/// Which files may have a row that meets the conditions, as far as partition columns say it: `values` has a row for each file.
pub fn kept(filters: &[Expr], fields: &Fields, values: &[ArrayRef]) -> Result<Option<BooleanArray>> {
    let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let columns = DFSchema::try_from(schema.as_ref().clone())?;
    let of_partitions = |e: &&Expr| {
        let refs = e.column_refs();
        !refs.is_empty() && refs.iter().all(|c| schema.field_with_name(&c.name).is_ok())
    };
    let mut kept: Option<BooleanArray> = None;
    for filter in filters.iter().filter(of_partitions) {
        let batch = RecordBatch::try_new(schema.clone(), values.to_vec())?;
        let predicate = physical(filter, &columns)?;
        let fits = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        let fits = prep_null_mask_filter(fits.as_boolean());
        kept = Some(match kept {
            Some(kept) => and(&kept, &fits)?,
            None => fits,
        });
    }
    Ok(kept)
}

/// A condition over columns that are named without their stream.
pub fn physical(filter: &Expr, columns: &DFSchema) -> DfResult<Arc<dyn PhysicalExpr>> {
    let plain = |e| match e {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        e => Ok(Transformed::no(e)),
    };
    let filter = filter.clone().transform(plain).data()?;
    create_physical_expr(&filter, columns, &ExecutionProps::new(), &PhysicalPlanningContext::default())
}

/// The values of a file.
pub fn scalars(values: &[ArrayRef], file: usize) -> Result<Vec<ScalarValue>> {
    Ok(values.iter().map(|v| ScalarValue::try_from_array(v, file)).collect::<Result<_, _>>()?)
}
