//! Rows to CSV as Spark writes it: an empty string is `""`, NULL is nothing, quotes inside quotes are escaped.
//!
//! One difference: blanks at the ends of strings are kept.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::Tz;

use super::encode::{TIMESTAMP_FORMAT, TIMESTAMP_NTZ_FORMAT, write_failed};
use crate::error::{Error, Result};
use crate::function::display::format_value;
use crate::options::OptionReader;

/// Spark's options of the same names.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    header: bool,
    sep: String,
    quote: char,
    escape: char,
    null_value: String,
    quote_all: bool,
    line_sep: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: false,
            sep: ",".into(),
            quote: '"',
            escape: '\\',
            null_value: String::new(),
            quote_all: false,
            line_sep: "\n".into(),
        }
    }
}

impl CsvOptions {
    /// `header`, `sep` (or `delimiter`), `quote`, `escape`, `nullValue`, `quoteAll`, `lineSep`.
    pub fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let default = Self::default();
        let sep = reader.string("sep");
        let text = |value: Option<&str>, default: String| value.map_or(default, str::to_owned);
        Ok(Self {
            header: reader.bool("header", default.header)?,
            sep: text(sep.or(reader.string("delimiter")), default.sep).replace("\\t", "\t"),
            quote: character(reader, "quote", default.quote)?,
            escape: character(reader, "escape", default.escape)?,
            null_value: text(reader.string("nullValue"), default.null_value),
            quote_all: reader.bool("quoteAll", default.quote_all)?,
            line_sep: text(reader.string("lineSep"), default.line_sep),
        })
    }
}

fn character(reader: &mut OptionReader<'_>, key: &'static str, default: char) -> Result<char> {
    let Some(text) = reader.string(key) else { return Ok(default) };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(reader.invalid(key, text, "one character")),
    }
}

/// A CSV file that is being written.
#[derive(Debug)]
pub struct CsvEncoder {
    out: BufWriter<File>,
    options: CsvOptions,
    /// Lines of the batch being written.
    text: String,
}

impl CsvEncoder {
    /// Writes the header if there is one.
    pub fn start(out: BufWriter<File>, schema: &SchemaRef, options: CsvOptions) -> Result<Self> {
        let mut encoder = Self { out, options, text: String::new() };
        if encoder.options.header {
            for (i, field) in schema.fields().iter().enumerate() {
                encoder.put_separator(i);
                encoder.put_field(field.name());
            }
            encoder.end_line();
        }
        encoder.write_out()?;
        Ok(encoder)
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut field = String::new();
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                self.put_separator(i);
                if column.array.is_null(row) {
                    self.text.push_str(&self.options.null_value);
                } else {
                    field.clear();
                    column.put(&mut field, row)?;
                    self.put_field(&field);
                }
            }
            self.end_line();
        }
        self.write_out()
    }

    /// The file, buffered.
    pub fn into_inner(self) -> BufWriter<File> {
        self.out
    }

    fn put_separator(&mut self, column: usize) {
        if column > 0 {
            self.text.push_str(&self.options.sep);
        }
    }

    fn end_line(&mut self) {
        self.text.push_str(&self.options.line_sep);
    }

    fn put_field(&mut self, field: &str) {
        let CsvOptions { quote, escape, .. } = self.options;
        if !self.needs_quotes(field) {
            self.text.push_str(field);
            return;
        }
        self.text.push(quote);
        for c in field.chars() {
            if c == quote || c == escape {
                self.text.push(escape);
            }
            self.text.push(c);
        }
        self.text.push(quote);
    }

    /// A field that would read as something else without quotes, as NULL for instance.
    fn needs_quotes(&self, field: &str) -> bool {
        let o = &self.options;
        o.quote_all
            || field.is_empty()
            || field == o.null_value
            || field.contains([o.quote, '\n', '\r'])
            || field.contains(&o.sep)
            || field.contains(&o.line_sep)
    }

    fn write_out(&mut self) -> Result<()> {
        self.out.write_all(self.text.as_bytes()).map_err(|e| write_failed(&e))?;
        self.text.clear();
        Ok(())
    }
}

/// A column and how its values become text.
struct Column<'a> {
    array: &'a ArrayRef,
    /// `None` for floating point, which Spark prints as Java does.
    formatter: Option<ArrayFormatter<'a>>,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        let options = FormatOptions::new()
            .with_display_error(false)
            .with_timestamp_tz_format(Some(TIMESTAMP_FORMAT))
            .with_timestamp_format(Some(TIMESTAMP_NTZ_FORMAT));
        let is_float = matches!(array.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64);
        let formatter = if is_float { None } else { Some(ArrayFormatter::try_new(array.as_ref(), &options)?) };
        Ok(Self { array, formatter })
    }

    fn put(&self, out: &mut String, row: usize) -> Result<()> {
        match &self.formatter {
            None => out.push_str(&format_value(self.array, row, Tz::UTC)),
            Some(formatter) => write!(out, "{}", formatter.value(row)).map_err(|_| {
                Error::execution("SINK_WRITE", format!("the value in row {row} cannot be written as CSV"))
                    .with_help("write it as text: to_json(…) or CAST(… AS STRING)")
            })?,
        }
        Ok(())
    }
}
