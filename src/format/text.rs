//! Text: a line, or a whole file, is one string.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringViewArray, StringViewBuilder};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;

use super::bad_records::{BadRecordCounter, BadRecords, malformed};
use crate::error::Result;

/// Turns lines into one `Utf8View` column without copying long ones.
#[derive(Debug, Clone)]
pub struct TextFormat {
    pub(super) schema: SchemaRef,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

impl TextFormat {
    /// `schema` has exactly one `Utf8View` column.
    pub fn new(schema: SchemaRef, bad_records: BadRecords, counter: BadRecordCounter) -> Self {
        Self { schema, bad_records, counter }
    }

    /// One row for each range of `block`; a line that is not UTF-8 is a bad record.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        let mut column = TextBlock::new(block.clone(), lines.len());
        for line in lines {
            if column.append(line.clone()) {
                continue;
            }
            self.counter.add(1);
            match self.bad_records {
                BadRecords::Null => column.append_null(),
                BadRecords::Drop => {}
                BadRecords::Fail => return Err(malformed("text", &block[line.clone()], "it is not valid UTF-8")),
            }
        }
        Ok(RecordBatch::try_new(self.schema.clone(), vec![Arc::new(column.finish())])?)
    }
}

/// Builds a string column whose long values point into one block of bytes.
#[derive(Debug)]
pub struct TextBlock {
    builder: StringViewBuilder,
    block: u32,
}

impl TextBlock {
    /// A column over `block`, with room for `rows`.
    pub fn new(block: Buffer, rows: usize) -> Self {
        let mut builder = StringViewBuilder::with_capacity(rows);
        let block = builder.append_block(block);
        Self { builder, block }
    }

    /// Appends a range of the block; `false` if it is not UTF-8, or out of reach of 32-bit offsets.
    pub fn append(&mut self, range: Range<usize>) -> bool {
        let (Ok(start), Ok(len)) = (u32::try_from(range.start), u32::try_from(range.len())) else { return false };
        self.builder.try_append_view(self.block, start, len).is_ok()
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.builder.append_null();
    }

    /// The column.
    pub fn finish(mut self) -> StringViewArray {
        self.builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Schema};

    fn decode(bad: BadRecords) -> (Result<RecordBatch>, u64) {
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8View, true)]));
        let counter = BadRecordCounter::default();
        let block = Buffer::from(b"short\na line that is longer than twelve bytes\n\xff\xfe\n\n".as_slice());
        let lines = [0..5, 6..45, 46..48, 49..49];
        (TextFormat::new(schema, bad, counter.clone()).decode(&block, &lines), counter.get())
    }

    #[test]
    fn lines_are_values_and_bad_utf8_is_what_the_option_says() {
        let (batch, bad) = decode(BadRecords::Null);
        let batch = batch.unwrap();
        let column = batch.column(0).as_string_view();
        assert_eq!(
            column.iter().collect::<Vec<_>>(),
            [Some("short"), Some("a line that is longer than twelve bytes"), None, Some("")]
        );
        assert_eq!(bad, 1);
        assert_eq!(decode(BadRecords::Drop).0.unwrap().column(0).len(), 3);
        assert_eq!(decode(BadRecords::Fail).0.unwrap_err().condition(), "MALFORMED_RECORD_IN_PARSING");
    }
}
