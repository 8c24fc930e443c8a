//! Rows to CSV files: lines of [`crate::function::csv::encode`], and the header.

use std::io::Write;

use crate::time_zone::Tz;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::encode::write_failed;
use super::output::Output;
use crate::error::Result;
use crate::format::encoding::{self, Encoding};
use crate::function::csv::encode::{Encoder, WRITING, WriteOptions};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// Spark's options of CSV files.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    write: WriteOptions,
    header: bool,
    line_sep: String,
    encoding: Encoding,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { write: WriteOptions::default(), header: false, line_sep: "\n".into(), encoding: Encoding::Utf8 }
    }
}

const HEADER: [OptionSpec; 1] =
    [OptionSpec::new("header", OptionType::Boolean, "Whether the first line of a file holds the names of columns.")
        .or("false")];

impl CsvOptions {
    /// What [`CsvOptions::read`] reads, besides `lineSep`.
    pub fn specs() -> Vec<&'static [OptionSpec]> {
        [&[&HEADER[..], &encoding::OPTIONS][..], WRITING].concat()
    }

    /// `header`, `lineSep`, `encoding`, and the options of [`WriteOptions::read`].
    pub fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let line_sep = reader.string("lineSep");
        if let Some(text) = line_sep.filter(|text| text.is_empty()) {
            return Err(reader.invalid("lineSep", text, "one character or more"));
        }
        Ok(Self {
            write: WriteOptions::read(reader)?,
            header: reader.bool("header")?,
            line_sep: line_sep.unwrap_or("\n").to_owned(),
            encoding: Encoding::read(reader, true)?,
        })
    }
}

/// A CSV file that is being written.
#[derive(Debug)]
pub struct CsvEncoder {
    out: Output,
    encoder: Encoder,
    line_sep: String,
    encoding: Encoding,
    /// Lines of the batch being written.
    text: String,
}

impl CsvEncoder {
    /// Writes the header if there is one; instants are written as `tz` shows them.
    pub fn start(out: Output, schema: &SchemaRef, options: CsvOptions, tz: Tz) -> Result<Self> {
        let encoder = Encoder::new(options.write, tz).with_line_end(&options.line_sep);
        let mut csv =
            Self { out, encoder, line_sep: options.line_sep, encoding: options.encoding, text: String::new() };
        csv.out.write_all(options.encoding.mark()).map_err(|e| write_failed(&e))?;
        if options.header {
            csv.encoder.write_names(&mut csv.text, schema.fields().iter().map(|f| f.name().as_str()));
            csv.text.push_str(&csv.line_sep);
        }
        csv.write_out()?;
        Ok(csv)
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            self.encoder.write_row(&mut self.text, batch.columns(), row)?;
            self.text.push_str(&self.line_sep);
        }
        self.write_out()
    }

    /// The file, which is not finished.
    pub fn into_inner(self) -> Output {
        self.out
    }

    fn write_out(&mut self) -> Result<()> {
        self.out.write_all(&self.encoding.encode(&self.text)).map_err(|e| write_failed(&e))?;
        self.text.clear();
        Ok(())
    }
}
