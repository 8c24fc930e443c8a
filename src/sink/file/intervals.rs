//! Intervals in files: texts in CSV and JSON, numbers in Parquet, as Spark writes them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalUnit, IntervalYearMonthType, Schema, SchemaRef, TimeUnit};

use super::encode::FileFormatKind;
use crate::error::Result;

/// Whether a type has intervals that the format cannot hold: those of months, days and microseconds beside each other are in none, and
/// in Parquet the others are numbers, which are columns themselves.
pub fn has_interval(kind: FileFormatKind, data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(unit) => *unit != IntervalUnit::YearMonth,
        DataType::List(item) | DataType::Map(item, _) => is_kept(kind, item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| is_kept(kind, f.data_type())),
        _ => false,
    }
}

fn is_kept(kind: FileFormatKind, inside: &DataType) -> bool {
    let is_interval = matches!(inside, DataType::Interval(_) | DataType::Duration(_));
    is_interval && kind == FileFormatKind::Parquet || has_interval(kind, inside)
}

/// What Spark writes for an interval in Parquet: the number of months or of microseconds.
fn plain_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Interval(IntervalUnit::YearMonth) => Some(DataType::Int32),
        DataType::Duration(_) => Some(DataType::Int64),
        _ => None,
    }
}

/// The columns as they are written.
pub fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|f| plain_type(f.data_type()).is_none()) {
        return schema.clone();
    }
    let field = |f: &Arc<Field>| match plain_type(f.data_type()) {
        Some(data_type) => Arc::new(f.as_ref().clone().with_data_type(data_type)),
        None => f.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Rows with those columns.
///
/// # Errors
/// None for rows of the schema.
pub fn plain_rows(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = plain_schema(&batch.schema());
    if schema == batch.schema() {
        return Ok(batch.clone());
    }
    let column = |array: &ArrayRef| -> Result<ArrayRef> {
        Ok(match array.data_type() {
            DataType::Interval(IntervalUnit::YearMonth) => {
                Arc::new(array.as_primitive::<IntervalYearMonthType>().reinterpret_cast::<Int32Type>())
            }
            DataType::Duration(_) => cast(&cast(array, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?,
            _ => array.clone(),
        })
    };
    Ok(RecordBatch::try_new(schema, batch.columns().iter().map(column).collect::<Result<_>>()?)?)
}
