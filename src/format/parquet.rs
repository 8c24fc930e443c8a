//! Parquet files as rows of a declared schema.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use datafusion::parquet::errors::ParquetError;

use super::BATCH_ROWS;
use crate::error::{Error, Result};
use crate::type_name::sql_type_name;

/// Reads some row groups of one file.
#[derive(Debug)]
pub struct ParquetRows {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl ParquetRows {
    /// The row groups of `file`, of `size` bytes, that belong to `range`: ranges that tile the file tile its groups.
    /// Columns are found by name, in any case; one that the file lacks is NULL.
    pub fn open(file: File, schema: SchemaRef, range: Range<u64>, size: u64) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
        let wanted: Vec<_> = (0..builder.schema().fields().len())
            .filter(|i| position(&schema, builder.schema().field(*i).name()).is_some())
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let groups = builder.metadata().num_row_groups();
        let group_at = |byte: u64| (groups as u128 * u128::from(byte) / u128::from(size.max(1))) as usize;
        let groups = (group_at(range.start)..group_at(range.end)).collect();
        let reader = builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS).build();
        Ok(Self { reader: reader.map_err(unreadable)?, schema })
    }

    /// The next rows; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|e| unreadable(ParquetError::from(e)))?;
        let columns = self.schema.fields().iter().map(|f| column(f, &batch)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }
}

fn column(field: &FieldRef, batch: &RecordBatch) -> Result<ArrayRef> {
    let Some(i) = position(&batch.schema(), field.name()) else {
        return Ok(new_null_array(field.data_type(), batch.num_rows()));
    };
    let column = batch.column(i);
    // A value that does not fit is an error: Parquet has types, so the declared schema is wrong.
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|_| {
        Error::execution(
            "FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",
            format!(
                "column '{}' is {} in the file, {} as declared",
                field.name(),
                sql_type_name(column.data_type()),
                sql_type_name(field.data_type())
            ),
        )
        .with_help(format!("declare it as {}, and cast it in the query", sql_type_name(column.data_type())))
    })
}

fn position(schema: &Schema, name: &str) -> Option<usize> {
    schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name))
}

/// The schema of a file, in the types that sources use.
pub fn parquet_schema(file: File) -> Result<Schema> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let field = |f: &FieldRef| Field::new(f.name(), spark_type(f.data_type()), true);
    Ok(Schema::new(builder.schema().fields().iter().map(field).collect::<Vec<_>>()))
}

fn spark_type(stored: &DataType) -> DataType {
    match stored {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => spark_type(values),
        other => other.clone(),
    }
}

fn unreadable(e: ParquetError) -> Error {
    Error::execution("FAILED_READ_FILE", format!("the Parquet file cannot be read: {e}"))
        .with_help("it may still be being written: write it elsewhere and rename it into the directory")
        .with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int32Array, StringArray};
    use arrow::datatypes::Int64Type;
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::properties::WriterProperties;

    #[test]
    fn columns_by_name_with_safe_casts_and_parts_by_row_groups() {
        let file = tempfile::tempfile().unwrap();
        let batch = RecordBatch::try_from_iter([
            ("s", Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef),
            ("Id", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ])
        .unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1)).build();
        let mut writer = ArrowWriter::try_new(file.try_clone().unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();

        let declared = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("new", DataType::Utf8View, true),
            Field::new("s", DataType::Utf8View, true),
        ]));
        let mut ids = vec![];
        for part in [0..50, 50..100] {
            let mut rows = ParquetRows::open(file.try_clone().unwrap(), declared.clone(), part, 100).unwrap();
            while let Some(batch) = rows.next_batch().unwrap() {
                ids.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
                assert_eq!(batch.column(1).null_count(), batch.num_rows());
            }
        }
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(parquet_schema(file).unwrap().field(0).data_type(), &DataType::Utf8View);
    }

    #[test]
    fn garbage_is_an_error() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1 this is not one PAR1").unwrap();
        assert_eq!(parquet_schema(file).unwrap_err().condition(), "FAILED_READ_FILE");
    }
}
