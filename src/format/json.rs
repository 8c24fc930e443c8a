//! JSON files: an object a line, an array of objects a line, or a whole file of either.

use std::ops::Range;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use std::io::BufRead;

use super::bad_records::{BadRecordCounter, BadRecords, malformed};
use crate::error::Result;
use crate::function::json::decode::Decoder;
use crate::function::json::options::ReadOptions;
use crate::options::OptionReader;

/// How JSON files are read.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    read: Arc<ReadOptions>,
    /// Whether a file is one text, which may have line ends anywhere.
    pub multi_line: bool,
}

impl JsonOptions {
    /// Reads Spark's JSON options.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for what is not done.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        Ok(Self { read: Arc::new(ReadOptions::read(options)?), multi_line: options.bool("multiLine", false)? })
    }

    /// Refuses columns that JSON is not read as.
    ///
    /// # Errors
    /// See [`Decoder::new`].
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Decoder::new(schema.fields(), &self.read, Tz::UTC, true).map(drop)
    }
}

/// Decodes JSON. Keys without a column are ignored, columns without a key are NULL.
#[derive(Debug, Clone)]
pub struct JsonFormat {
    pub(super) schema: SchemaRef,
    options: JsonOptions,
    tz: Tz,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

impl JsonFormat {
    /// Columns, and what becomes of a record that does not fit them; local times are those of `tz`.
    ///
    /// # Errors
    /// A type that JSON is not read as.
    pub fn new(
        schema: SchemaRef,
        options: JsonOptions,
        tz: Tz,
        bad_records: BadRecords,
        counter: BadRecordCounter,
    ) -> Result<Self> {
        Decoder::new(schema.fields(), &options.read, tz, true)?;
        Ok(Self { schema, options, tz, bad_records, counter })
    }

    /// Whether a file is one text.
    pub fn is_whole(&self) -> bool {
        self.options.multi_line
    }

    /// The rows of `lines`, which are ranges of `block`.
    ///
    /// # Errors
    /// A bad record, if bad records are refused.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        let mut decoder = Decoder::new(self.schema.fields(), &self.options.read, self.tz, true)?;
        let mut tokens = decoder.tokens();
        let whole = std::str::from_utf8(block).ok();
        for line in lines {
            let bytes = &block[line.clone()];
            let text = whole.and_then(|w| w.get(line.clone())).or_else(|| std::str::from_utf8(bytes).ok());
            let start = decoder.rows();
            let reason = match text {
                Some(text) => {
                    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                    if !decoder.record(text, &mut tokens).is_bad {
                        continue;
                    }
                    "it does not fit the schema"
                }
                None => {
                    decoder.lossy_record(&String::from_utf8_lossy(bytes));
                    "it is not valid UTF-8"
                }
            };
            self.counter.add(1);
            match self.bad_records {
                BadRecords::Null => {}
                BadRecords::Drop => decoder.truncate(start),
                BadRecords::Fail => return Err(malformed("JSON", bytes, reason)),
            }
        }
        let rows = decoder.rows();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), decoder.finish()?, &options)?)
    }
}

/// The schema that fits the first records of `reader`.
pub fn infer_json_schema(reader: impl BufRead) -> Result<Schema> {
    const RECORDS: usize = 10_000;
    Ok(arrow::json::reader::infer_json_schema(reader, Some(RECORDS))?.0)
}
