//! The columns of a Parquet file as those that were declared: found by name in any case, NULL where the file lacks them, and of another
//! type only where no value can change by it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, RecordBatch, StringViewArray, StructArray,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::julian::{Calendar, to_gregorian};
use crate::error::{Error, Result};
use crate::function::map_of;
use crate::type_name::sql_type_name;

/// See the module.
#[derive(Debug)]
pub struct ParquetColumns;

impl PhysicalExprAdapterFactory for ParquetColumns {
    fn create(&self, declared: SchemaRef, stored: SchemaRef) -> DfResult<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(OfFile { declared, stored }))
    }
}

/// The columns of one file.
#[derive(Debug)]
struct OfFile {
    declared: SchemaRef,
    stored: SchemaRef,
}

impl PhysicalExprAdapter for OfFile {
    fn rewrite(&self, e: Arc<dyn PhysicalExpr>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let rewrite = |e: Arc<dyn PhysicalExpr>| match e.downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(self.column(column)?)),
            None => Ok(Transformed::no(e)),
        };
        e.transform(rewrite).data()
    }
}

impl OfFile {
    fn column(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let declared = self.declared.field_with_name(column.name())?;
        let Some(index) = position(self.stored.fields(), declared.name())? else {
            return Ok(Arc::new(Literal::new(ScalarValue::try_from(declared.data_type())?)));
        };
        let stored = self.stored.field(index);
        check(declared.name(), stored.data_type(), declared.data_type())?;
        let of_file: Arc<dyn PhysicalExpr> = Arc::new(Column::new(stored.name(), index));
        let is_julian = Calendar::of(self.stored.metadata()).is_julian(stored.data_type(), declared.data_type());
        if stored.data_type() == declared.data_type() && !is_julian {
            return Ok(of_file);
        }
        Ok(Arc::new(Converted { column: of_file, to: Arc::new(declared.clone()), is_julian }))
    }
}

/// The field of this name, in any case.
fn position(fields: &Fields, name: &str) -> Result<Option<usize>> {
    let mut found = (0..fields.len()).filter(|i| fields[*i].name().to_lowercase() == name.to_lowercase());
    let (first, second) = (found.next(), found.next());
    match (first, second) {
        (Some(a), Some(b)) => Err(Error::execution(
            "FAILED_READ_FILE",
            format!(
                "the file has the columns '{}' and '{}', which differ in case alone",
                fields[a].name(),
                fields[b].name()
            ),
        )
        .with_help("leave the column out, or write the file anew with another name for one of them")),
        _ => Ok(first),
    }
}

/// Refuses a type that cannot be read as the one that was declared.
fn check(name: &str, stored: &DataType, declared: &DataType) -> Result<()> {
    if fits(stored, declared)? {
        return Ok(());
    }
    Err(mismatch(name, stored, declared))
}

fn mismatch(name: &str, stored: &DataType, declared: &DataType) -> Error {
    let (stored, declared) = (sql_type_name(stored), sql_type_name(declared));
    Error::execution(
        "FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",
        format!("column '{name}' is {stored} in the file, {declared} as declared"),
    )
    .with_help(format!("declare it as {stored}, and cast it in the query"))
}

/// Whether every value of the one type is a value of the other, or is checked to be one when it is read.
fn fits(stored: &DataType, declared: &DataType) -> Result<bool> {
    use DataType::*;
    Ok(match (stored, declared) {
        (a, b) if a == b => true,
        (Dictionary(_, values), b) => fits(values, b)?,
        (Null, _) => true,
        (Int8 | Int16 | Int32 | UInt8 | UInt16, Int8 | Int16 | Int32 | Int64 | Float64) => true,
        (UInt32, Int64) | (UInt64, Decimal128(20, 0)) => true,
        (Int8 | Int16 | Int32, Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 10,
        (Int64, Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 20,
        (Float16, Float32) | (Float32, Float64) => true,
        (Date32, Timestamp(_, None)) => true,
        (Timestamp(unit, _), Timestamp(..)) => *unit != TimeUnit::Nanosecond,
        (Decimal128(p, s), Decimal128(to_p, to_s)) => {
            to_s >= s && i16::from(*to_p) - i16::from(*to_s) >= i16::from(*p) - i16::from(*s)
        }
        (
            Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView,
            Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView,
        )
        | (FixedSizeBinary(_), Binary) => true,
        (List(a) | LargeList(a) | ListView(a) | FixedSizeList(a, _), List(b)) => fits(a.data_type(), b.data_type())?,
        (Map(a, _), Map(b, _)) => match (a.data_type(), b.data_type()) {
            (Struct(a), Struct(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .map(|(a, b)| fits(a.data_type(), b.data_type()))
                        .collect::<Result<Vec<_>>>()?
                        .into_iter()
                        .all(|fits| fits)
            }
            _ => false,
        },
        (Struct(a), Struct(b)) => {
            for field in b {
                if let Some(i) = position(a, field.name())?
                    && !fits(a[i].data_type(), field.data_type())?
                {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}

/// A column of the file in the type that was declared.
#[derive(Debug, Clone)]
struct Converted {
    column: Arc<dyn PhysicalExpr>,
    to: FieldRef,
    /// Whether the values are in an old calendar.
    is_julian: bool,
}

impl PartialEq for Converted {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.to == other.to && self.is_julian == other.is_julian
    }
}

impl Eq for Converted {}

impl Hash for Converted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.to.hash(state);
        self.is_julian.hash(state);
    }
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.column, sql_type_name(self.to.data_type()))
    }
}

impl PhysicalExpr for Converted {
    fn data_type(&self, _schema: &Schema) -> DfResult<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn nullable(&self, _schema: &Schema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let stored = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let converted = convert(&stored, self.to.data_type())
            .map_err(|e| mismatch(self.to.name(), stored.data_type(), self.to.data_type()).with_source(e))?;
        Ok(ColumnarValue::Array(if self.is_julian { to_gregorian(&converted) } else { converted }))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let [column] = <[_; 1]>::try_from(children).map_err(|_| Error::internal("a conversion has one column"))?;
        Ok(Arc::new(Self { column, ..Self::clone(&self) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}

/// The values in another type that they fit.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType::*;
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Ok(match (array.data_type(), to) {
        (Dictionary(_, values), _) => convert(&cast(array, values)?, to)?,
        (Struct(_), Struct(fields)) => {
            let from = array.as_struct();
            let mut columns = vec![];
            for field in fields {
                columns.push(match position(from.fields(), field.name())? {
                    Some(i) => convert(from.column(i), field.data_type())?,
                    None => new_null_array(field.data_type(), from.len()),
                });
            }
            let nulls = from.nulls().cloned();
            match fields.is_empty() {
                true => Arc::new(StructArray::new_empty_fields(from.len(), nulls)),
                false => Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?),
            }
        }
        (List(_), List(item)) => {
            let list: &ListArray = array.as_list();
            let values = convert(list.values(), item.data_type())?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (LargeList(item) | ListView(item), List(_)) => convert(&cast(array, &List(item.clone()))?, to)?,
        (FixedSizeList(item, _), List(_)) => {
            let list: &FixedSizeListArray = array.as_fixed_size_list();
            convert(&cast(&(Arc::new(list.clone()) as ArrayRef), &List(item.clone()))?, to)?
        }
        (Map(..), Map(entries, sorted)) => {
            let map: &MapArray = array.as_map();
            let Struct(fields) = entries.data_type() else { return Err(Error::internal("a map without entries")) };
            let pairs = map.entries();
            // Keys and values have names of their own in every file.
            let columns = pairs
                .columns()
                .iter()
                .zip(fields)
                .map(|(c, f)| convert(c, f.data_type()))
                .collect::<Result<Vec<_>>>()?;
            let pairs = StructArray::try_new(fields.clone(), columns, pairs.nulls().cloned())?;
            Arc::new(MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted)?)
        }
        // What a file of Spark calls local is the same number as an instant.
        (Timestamp(..), Timestamp(unit, zone)) => {
            let number = cast(array, &Timestamp(*unit, None))?;
            match zone {
                None => number,
                Some(_) => cast(&cast(&number, &Int64)?, to)?,
            }
        }
        // Bytes that are no text become U+FFFD, as in Spark.
        (Binary | LargeBinary | BinaryView, Utf8 | LargeUtf8 | Utf8View) => texts(&cast(array, &Binary)?, to)?,
        _ => cast(array, to)?,
    })
}

fn texts(bytes: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let texts: StringViewArray =
        bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect();
    cast(&(Arc::new(texts) as ArrayRef), to)
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..Default::default() };
    Ok(cast_with_options(array, to, &options)?)
}

/// Rows of a file as those of the columns that are declared.
///
/// # Errors
/// Columns of types that do not fit.
pub fn as_declared(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let stored = rows.schema();
    let column = |to: &FieldRef| {
        let Some(i) = position(stored.fields(), to.name())? else {
            return Ok(new_null_array(to.data_type(), rows.num_rows()));
        };
        check(to.name(), stored.field(i).data_type(), to.data_type())?;
        convert(rows.column(i), to.data_type())
            .map_err(|e| mismatch(to.name(), stored.field(i).data_type(), to.data_type()).with_source(e))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The columns of a file, in the types that sources use.
pub fn declared(stored: &Schema) -> Schema {
    let field = |f: &FieldRef| Field::new(f.name(), spark_type(f.data_type()), true);
    Schema::new(stored.fields().iter().map(field).collect::<Vec<_>>())
}

fn spark_type(stored: &DataType) -> DataType {
    use DataType::*;
    let nested = |f: &FieldRef| Arc::new(Field::new(f.name(), spark_type(f.data_type()), true));
    match stored {
        Utf8 | LargeUtf8 => Utf8View,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        Float16 => Float32,
        Timestamp(_, Some(_)) => Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        Timestamp(_, None) => Timestamp(TimeUnit::Microsecond, None),
        Dictionary(_, values) => spark_type(values),
        Map(entries, _) => match entries.data_type() {
            Struct(kv) if kv.len() == 2 => map_of(spark_type(kv[0].data_type()), spark_type(kv[1].data_type())),
            _ => stored.clone(),
        },
        List(item) | LargeList(item) | ListView(item) | FixedSizeList(item, _) => List(nested(item)),
        Struct(fields) => Struct(fields.iter().map(nested).collect()),
        other => other.clone(),
    }
}
