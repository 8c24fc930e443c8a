//! Rows to JSON files: an object of [`crate::function::json::encode`] a line.

use std::io::Write;

use crate::time_zone::Tz;
use arrow::array::RecordBatch;

use super::encode::write_failed;
use super::output::Output;
use crate::error::Result;
use crate::format::Encoding;
use crate::function::json::encode::{Encoder, WriteOptions};
use crate::options::OptionReader;

/// Spark's options of JSON files.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    write: WriteOptions,
    line_sep: String,
    encoding: Encoding,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { write: WriteOptions::default(), line_sep: "\n".into(), encoding: Encoding::Utf8 }
    }
}

impl JsonOptions {
    /// `lineSep`, `encoding`, and the options of [`WriteOptions::read`].
    pub fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let line_sep = reader.string("lineSep");
        if let Some(text) = line_sep.filter(|text| text.is_empty()) {
            return Err(reader.invalid("lineSep", text, "one character or more"));
        }
        let encoding = Encoding::read(reader, true)?;
        Ok(Self { write: WriteOptions::read(reader)?, line_sep: line_sep.unwrap_or("\n").to_owned(), encoding })
    }
}

/// A JSON file that is being written.
#[derive(Debug)]
pub struct JsonEncoder {
    out: Output,
    encoder: Encoder,
    line_sep: String,
    encoding: Encoding,
    /// Lines of the batch being written.
    text: String,
}

impl JsonEncoder {
    /// Begins a file; instants are written as `tz` shows them.
    ///
    /// # Errors
    /// A write that fails.
    pub fn start(mut out: Output, options: JsonOptions, tz: Tz) -> Result<Self> {
        let JsonOptions { write, line_sep, encoding } = options;
        out.write_all(encoding.mark()).map_err(|e| write_failed(&e))?;
        Ok(Self { out, encoder: Encoder::new(write, tz), line_sep, encoding, text: String::new() })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema_ref();
        self.text.clear();
        for row in 0..batch.num_rows() {
            let fields = schema.fields().iter().map(|f| f.name().as_str()).zip(batch.columns());
            self.encoder.write_row(&mut self.text, fields, row);
            self.text.push_str(&self.line_sep);
        }
        self.out.write_all(&self.encoding.encode(&self.text)).map_err(|e| write_failed(&e))
    }

    /// The file, which is not finished.
    pub fn into_inner(self) -> Output {
        self.out
    }
}
