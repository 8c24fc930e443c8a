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
use crate::function::cast::temporal::{parse_date, parse_timestamp};
use crate::function::cast::{Mode, cast_array, java};
use crate::source::provider::timestamp_type;
use crate::time_zone::Tz;

/// The name of a folder whose rows have NULL in its column.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The names of the folders that a file lies in, below `root`, where they are a column and a text: outermost first.
fn folders<'p>(path: &'p Path, root: &Path) -> impl Iterator<Item = (&'p str, &'p str)> + use<'p> {
    let below = path.parent().and_then(|folder| folder.strip_prefix(root).ok()).unwrap_or(Path::new(""));
    below.components().filter_map(|component| match component {
        Component::Normal(name) => std::str::from_utf8(name.as_bytes()).ok()?.split_once('='),
        _ => None,
    })
}

/// Whether a file lies in a partition folder below `root`.
pub fn has_partition(path: &Path, root: &Path) -> bool {
    folders(path, root).next().is_some()
}

/// Columns and texts of the folders that a file lies in, below `root`; a text is `None` for NULL.
///
/// # Errors
/// A folder without a name or a text; a column that is there twice.
fn values(path: &Path, root: &Path) -> Result<Vec<(String, Option<String>)>> {
    let mut found: Vec<(String, Option<String>)> = vec![];
    for (name, text) in folders(path, root) {
        let (condition, what) = match (name, text) {
            ("", _) => ("EMPTY_PARTITION_COLUMN_NAME", "without a name"),
            (_, "") => ("EMPTY_PARTITION_COLUMN_VALUE", "without a value"),
            _ if found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) => {
                ("COLUMN_ALREADY_EXISTS", "whose column is there twice")
            }
            _ => {
                found.push((unescaped(name), (text != NULL).then(|| unescaped(text))));
                continue;
            }
        };
        let message = format!("the file '{}' lies in a partition folder '{name}={text}' {what}", path.display());
        return Err(Error::execution(condition, message).with_help("rename the folder to column=value"));
    }
    Ok(found)
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

/// Columns and texts of the folders that a file lies in.
type FolderValues = Vec<(String, Option<String>)>;

impl Partitions {
    /// Those of `files`, whose folders begin at the root that `root` gives for each.
    ///
    /// # Errors
    /// `CONFLICTING_PARTITION_COLUMN_NAMES` if some files have other partition columns than others,
    /// `CONFLICTING_DIRECTORY_STRUCTURES` if their folders begin at different places.
    pub fn of<'f>(files: &'f [FileEntry], root: impl Fn(&'f Path) -> &'f Path) -> Result<Self> {
        let mut columns: Vec<(String, Vec<Option<String>>)> = vec![];
        let mut last: Option<(&Path, FolderValues)> = None;
        for (i, file) in files.iter().enumerate() {
            // Many files of one folder say the same.
            let folder = file.path.parent().unwrap_or(Path::new(""));
            if let Some((known, found)) = &last
                && known.as_os_str() == folder.as_os_str()
            {
                columns.iter_mut().zip(found).for_each(|((_, all), (_, text))| all.push(text.clone()));
                continue;
            }
            let base = root(&file.path);
            let found = values(&file.path, base)?;
            if !found.is_empty() && base != root(&files[0].path) {
                return Err(roots(base, root(&files[0].path)));
            }
            if i == 0 {
                columns.extend(found.iter().map(|(name, _)| (name.clone(), Vec::with_capacity(files.len()))));
            }
            let is_same = |((a, _), (b, _)): (&(String, _), &(String, _))| a.eq_ignore_ascii_case(b);
            if found.len() != columns.len() || !found.iter().zip(&columns).all(is_same) {
                return Err(conflict(&files[0].path, &file.path));
            }
            columns.iter_mut().zip(&found).for_each(|((_, all), (_, text))| all.push(text.clone()));
            last = Some((folder, found));
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
                Error::execution("INVALID_PARTITION_VALUE", message).with_help("declare the column as STRING")
            })
        };
        fields.iter().map(column).collect()
    }
}

fn conflict(one: &Path, other: &Path) -> Error {
    Error::execution(
        "CONFLICTING_PARTITION_COLUMN_NAMES",
        format!(
            "the files '{}' and '{}' lie in folders of different partition columns",
            one.display(),
            other.display()
        ),
    )
    .with_help("read them apart, or say with basePath where the partition folders begin")
}

fn roots(one: &Path, other: &Path) -> Error {
    Error::execution(
        "CONFLICTING_DIRECTORY_STRUCTURES",
        format!("partition folders begin at '{}' and at '{}'", one.display(), other.display()),
    )
    .with_help("say with basePath where they begin")
}

/// The narrowest type that all texts have; STRING if there is no text.
fn inferred(texts: &[Option<String>]) -> DataType {
    let distinct: HashSet<&str> = texts.iter().flatten().map(String::as_str).collect();
    distinct.into_iter().map(type_of).reduce(wider).unwrap_or(DataType::Utf8View)
}

/// The type of one text: a number as Java takes it, a time or a day in full.
fn type_of(text: &str) -> DataType {
    use DataType::*;
    if text.parse::<i32>().is_ok() {
        return Int32;
    }
    if text.parse::<i64>().is_ok() {
        return Int64;
    }
    if let Some(precision) = whole_decimal(text) {
        return Decimal128(precision, 0);
    }
    if java::double(text).is_some() {
        return Float64;
    }
    let bytes = text.as_bytes();
    let is_day = |text: &str| {
        text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && parse_date(text).is_some()
    };
    if is_day(text) {
        return Date32;
    }
    let is_time = bytes.len() >= 19 && bytes[10] == b' ' && bytes[13] == b':' && bytes[16] == b':';
    if is_time && text.get(..10).is_some_and(is_day) && parse_timestamp(text, Some(Tz::UTC)).is_some() {
        return timestamp_type();
    }
    Utf8View
}

/// The digits of a number without a fraction, if DECIMAL has as many.
fn whole_decimal(text: &str) -> Option<u8> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let scale = i32::try_from(fraction.len()).ok()? - exponent;
    let digits = format!("{whole}{fraction}").trim_start_matches('0').len().max(1);
    let precision = i32::try_from(digits).ok()? - scale;
    (scale <= 0 && precision <= 38).then_some(precision as u8)
}

/// The type that takes the texts of both.
fn wider(a: DataType, b: DataType) -> DataType {
    use DataType::*;
    match (a, b) {
        (a, b) if a == b => a,
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Int32, Float64) | (Float64, Int32) => Float64,
        (Int32, Decimal128(p, 0)) | (Decimal128(p, 0), Int32) => Decimal128(p.max(10), 0),
        (Int64, Decimal128(p, 0)) | (Decimal128(p, 0), Int64) => Decimal128(p.max(20), 0),
        (Decimal128(p, 0), Decimal128(q, 0)) => Decimal128(p.max(q), 0),
        (Date32, Timestamp(..)) | (Timestamp(..), Date32) => timestamp_type(),
        _ => Utf8View,
    }
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
        let fits = fits.as_boolean();
        // Where it is not known, the row is not wanted.
        let fits = if fits.null_count() > 0 { prep_null_mask_filter(fits) } else { fits.clone() };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What Spark 4.3 says of folders of these names.
    #[test]
    fn types_as_spark_tells_them() {
        use DataType::*;
        for (texts, expected) in [
            (vec!["1", "2"], Int32),
            (vec!["1", "3000000000"], Int64),
            (vec!["007"], Int32),
            (vec!["1", "x"], Utf8View),
            (vec!["1.50", "2"], Float64),
            (vec!["1e3"], Decimal128(4, 0)),
            (vec!["1d"], Float64),
            (vec!["NaN"], Float64),
            (vec!["+5"], Int32),
            (vec![" 5"], Float64),
            (vec!["99999999999999999999"], Decimal128(20, 0)),
            (vec!["9999999999999999999999999999999999999999999"], Float64),
            (vec!["2024-01-05"], Date32),
            (vec!["2024-1-5"], Utf8View),
            (vec!["2024-01-05", "1"], Utf8View),
            (vec!["2024-01-05 10:11:12.5"], timestamp_type()),
            (vec!["2024-01-05T10:11:12"], Utf8View),
            (vec!["2024-01-05", "2024-01-05 10:11:12"], timestamp_type()),
            (vec!["2024-01"], Utf8View),
            (vec!["true"], Utf8View),
            (vec!["0x1F"], Utf8View),
            (vec!["1", "1.5"], Float64),
            (vec!["1.5", "99999999999999999999"], Utf8View),
            (vec!["3000000000", "1.5"], Utf8View),
            (vec!["1L"], Utf8View),
            (vec!["5."], Decimal128(1, 0)),
            (vec![".5"], Float64),
            (vec!["-0"], Int32),
        ] {
            let options: Vec<_> = texts.iter().map(|text| Some((*text).to_owned())).chain([None]).collect();
            assert_eq!(inferred(&options), expected, "{texts:?}");
        }
    }

    #[test]
    fn names_are_unescaped() {
        for (name, text) in [("a%2Fb", "a/b"), ("%", "%"), ("%zz", "%zz"), ("a%3Db%", "a=b%"), ("ü%C3%BC", "üü")] {
            assert_eq!(unescaped(name), text);
        }
        let found = values(Path::new("/r/sub/k=1/K2=x%20y/f"), Path::new("/r")).unwrap();
        assert_eq!(found, [("k".into(), Some("1".into())), ("K2".into(), Some("x y".into()))]);
        let condition = |path: &str| values(Path::new(path), Path::new("/r")).unwrap_err().condition().to_owned();
        assert_eq!(condition("/r/=1/f"), "EMPTY_PARTITION_COLUMN_NAME");
        assert_eq!(condition("/r/k=/f"), "EMPTY_PARTITION_COLUMN_VALUE");
        assert_eq!(condition("/r/k=1/K=2/f"), "COLUMN_ALREADY_EXISTS");
    }
}
