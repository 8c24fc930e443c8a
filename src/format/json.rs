//! JSON, one object a line, decoded by arrow-json.

use std::io::BufRead;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::json::ReaderBuilder;

use super::bad_records::{BadRecordCounter, BadRecords};
use super::rows::{RowDecoder, decode_lines};
use crate::error::{Error, Result};

/// Decodes JSON lines. Keys without a column are ignored, columns without a key are NULL.
#[derive(Debug, Clone)]
pub struct JsonFormat {
    pub(super) schema: SchemaRef,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

impl JsonFormat {
    /// Columns, and what becomes of a line that does not fit them.
    pub fn new(schema: SchemaRef, bad_records: BadRecords, counter: BadRecordCounter) -> Self {
        Self { schema, bad_records, counter }
    }

    /// The rows of `lines`, which are ranges of `block`.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        decode_lines(self, block, lines, self.bad_records, &self.counter)
    }
}

impl RowDecoder for JsonFormat {
    fn name(&self) -> &'static str {
        "JSON"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn is_skipped(&self, line: &[u8]) -> bool {
        line.trim_ascii().is_empty()
    }

    fn decode(&self, bytes: &[u8], rows: usize) -> Result<RecordBatch> {
        decode(self.schema.clone(), bytes, rows)
    }

    fn salvage(&self, line: &[u8]) -> Result<RecordBatch> {
        // Column by column, so that one value of the wrong type does not take the others with it.
        let columns = self.schema.fields().iter().map(|f| decode_field(f, line)).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

fn decode_field(field: &FieldRef, line: &[u8]) -> ArrayRef {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    match decode(schema, line, 1) {
        // Of several objects on a line, Spark reads the first.
        Ok(batch) if batch.num_rows() > 0 => batch.column(0).slice(0, 1),
        _ => new_null_array(field.data_type(), 1),
    }
}

fn decode(schema: SchemaRef, mut bytes: &[u8], rows: usize) -> Result<RecordBatch> {
    // One more than there should be, so that a surplus record shows.
    let mut decoder =
        ReaderBuilder::new(schema.clone()).with_batch_size(rows + 1).with_coerce_primitive(true).build_decoder()?;
    while !bytes.is_empty() {
        let read = decoder.decode(bytes)?;
        if read == 0 {
            break;
        }
        bytes = &bytes[read..];
    }
    if decoder.has_partial_record() {
        return Err(Error::execution("MALFORMED_RECORD_IN_PARSING", "the object is not closed")
            .with_help("mend the record; badRecords 'null' or 'drop' lets the query go on"));
    }
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema)))
}

/// The schema that fits the first records of `reader`.
pub fn infer_json_schema(reader: impl BufRead) -> Result<Schema> {
    const RECORDS: usize = 10_000;
    Ok(arrow::json::reader::infer_json_schema(reader, Some(RECORDS))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};
    use arrow::util::pretty::pretty_format_batches;

    const LINES: [&str; 7] = [
        r#"{"a":1,"b":"x"}"#,
        "",
        r#"{"a":"no","b":"kept"}"#,
        "{broken",
        r#"{"b":2,"c":[]}"#,
        r#"{"a":3}{"a":4}"#,
        r#"{"a":5}"#,
    ];

    fn run(bad: BadRecords) -> (Result<RecordBatch>, u64) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
        ]));
        let (mut text, mut lines) = (String::new(), vec![]);
        for line in LINES {
            lines.push(text.len()..text.len() + line.len());
            text = text + line + "\n";
        }
        let counter = BadRecordCounter::default();
        let format = JsonFormat::new(schema, bad, counter.clone());
        (format.decode(&Buffer::from(text.into_bytes()), &lines), counter.get())
    }

    fn rows(batch: RecordBatch) -> Vec<String> {
        let table = pretty_format_batches(&[batch]).unwrap().to_string();
        table.lines().filter(|l| l.starts_with('|')).skip(1).map(|l| l.replace(' ', "")).collect()
    }

    #[test]
    fn a_bad_record_does_not_take_its_neighbours_along() {
        let (batch, bad) = run(BadRecords::Null);
        assert_eq!(rows(batch.unwrap()), ["|1|x|", "||kept|", "|||", "||2|", "|3||", "|5||"]);
        assert_eq!(bad, 3);
        let (batch, bad) = run(BadRecords::Drop);
        assert_eq!(rows(batch.unwrap()), ["|1|x|", "||2|", "|5||"]);
        assert_eq!(bad, 3);
        assert_eq!(run(BadRecords::Fail).0.unwrap_err().condition(), "MALFORMED_RECORD_IN_PARSING");
    }
}
