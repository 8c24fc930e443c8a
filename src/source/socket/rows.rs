//! Received lines on their way to Arrow.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::format::TextBlock;

/// The length that stands for NULL.
pub const NULL_LENGTH: u32 = u32::MAX;

/// Lines in order of arrival: their bytes one after the other, and the length of each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rows {
    /// All lines, without line ends.
    pub bytes: Vec<u8>,
    /// Bytes of each line, or [`NULL_LENGTH`].
    pub lengths: Vec<u32>,
    /// Microseconds since the epoch at which each line came; empty if nobody asked.
    pub times_us: Vec<i64>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Memory held, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.lengths.len() * 4 + self.times_us.len() * 8
    }

    /// Appends a line, which is UTF-8 and shorter than 4 GiB.
    pub fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.lengths.push(line.len() as u32);
    }

    /// Appends NULL.
    pub fn push_null(&mut self) {
        self.lengths.push(NULL_LENGTH);
    }

    /// Gives the rows that have no time yet this one.
    pub fn stamp(&mut self, time_us: i64) {
        self.times_us.resize(self.lengths.len(), time_us);
    }

    /// Appends the rows of `other`, and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            return std::mem::swap(self, other);
        }
        self.bytes.append(&mut other.bytes);
        self.lengths.append(&mut other.lengths);
        self.times_us.append(&mut other.times_us);
    }

    /// The rows as a batch of `schema`: the line and, if the schema has it, the time.
    pub fn into_batch(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut column = TextBlock::new(Buffer::from_vec(self.bytes), self.lengths.len());
        let mut start = 0;
        for length in self.lengths {
            if length == NULL_LENGTH {
                column.append_null();
                continue;
            }
            let end = start + length as usize;
            if !column.append(start..end) {
                return Err(Error::internal("a received line is not what was checked on arrival"));
            }
            start = end;
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(column.finish())];
        if schema.fields().len() > 1 {
            columns.push(Arc::new(TimestampMicrosecondArray::from(self.times_us).with_timezone("UTC")));
        }
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}
