//! Formats: bytes ↔ rows, shared by files and message sources.
//!
//! Owns how a record is cut out of bytes, decoded into Arrow, and what becomes of one that cannot be read. Does not own
//! where the bytes come from: [`lines`] is given bytes, decoders are given a block of memory.

#[cfg(feature = "avro")]
pub mod avro;
pub mod bad_records;
pub mod bytes;
pub mod compression;
mod csv;
mod csv_header;
pub mod encoding;
mod json;
pub mod lines;
#[cfg(feature = "kafka")]
pub mod message;
mod text;

pub use bad_records::{BadRecordCounter, BadRecords};
pub use csv::{CsvFormat, CsvOptions, infer_csv_schema};
pub use encoding::Encoding;
pub use json::{JsonFormat, JsonOptions, infer_json_schema};
pub use text::{TextBlock, TextFormat};

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;

use self::lines::LineEnd;
use crate::error::Result;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Rows of one batch as decoders make them.
pub const BATCH_ROWS: usize = 8192;

/// Decodes lines of a block: one line is one record.
#[derive(Debug, Clone)]
pub enum LineFormat {
    /// The line is the value.
    Text(TextFormat),
    /// Separated values.
    Csv(CsvFormat),
    /// One JSON object a line.
    Json(JsonFormat),
}

impl LineFormat {
    /// The rows of `lines`, which are ranges of `block` without their line ends, in order.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        match self {
            Self::Text(f) => f.decode(block, lines),
            Self::Csv(f) => f.decode(block, lines),
            Self::Json(f) => f.decode(block, lines),
        }
    }

    /// The same for some of the columns; a text is read whole.
    ///
    /// # Errors
    /// None for columns that the schema has.
    pub fn project(self, columns: &[usize]) -> Result<Self> {
        Ok(match self {
            Self::Csv(f) => Self::Csv(f.project(columns)?),
            Self::Json(f) => Self::Json(f.project(columns)?),
            text @ Self::Text(_) => text,
        })
    }

    /// Counts bad records.
    pub fn counter(&self) -> &BadRecordCounter {
        match self {
            Self::Text(f) => &f.counter,
            Self::Csv(f) => &f.counter,
            Self::Json(f) => &f.counter,
        }
    }

    /// The first of `lines` that is a bad record.
    pub fn first_bad(&self, block: &Buffer, lines: &[Range<usize>]) -> Option<usize> {
        let count = BadRecordCounter::default();
        let mut probe = self.clone();
        let (counter, bad_records) = match &mut probe {
            Self::Text(f) => (&mut f.counter, &mut f.bad_records),
            Self::Csv(f) => (&mut f.counter, &mut f.bad_records),
            Self::Json(f) => (&mut f.counter, &mut f.bad_records),
        };
        (*counter, *bad_records) = (count.clone(), BadRecords::Drop);
        let (mut from, mut to) = (0, lines.len());
        let is_bad = |range: Range<usize>| {
            let before = count.get();
            probe.decode(block, &lines[range]).is_err() || count.get() > before
        };
        if !is_bad(from..to) {
            return None;
        }
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            match is_bad(from..middle) {
                true => to = middle,
                false => from = middle,
            }
        }
        Some(from)
    }

    /// What becomes of a record that is too long to be read at all.
    pub fn too_long(&self) -> Result<RecordBatch> {
        match self {
            Self::Text(f) => f.bad_records.too_long("text", &f.schema, &f.counter),
            Self::Csv(f) => f.bad_records.too_long("CSV", &f.schema, &f.counter),
            Self::Json(f) => f.bad_records.too_long("JSON", &f.schema, &f.counter),
        }
    }

    /// Where records begin in the first block of a file: behind a byte order mark and the header.
    ///
    /// # Errors
    /// A header that is not the schema's, if it has to be.
    pub fn first_record(&self, block: &[u8], line_end: &LineEnd) -> Result<usize> {
        let start = if block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        match self {
            Self::Csv(f) => Ok(start + f.first_record(&block[start..], line_end)?),
            _ => Ok(start),
        }
    }
}
