//! Values to CSV text: one encoder for `to_csv` and for files.

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;

use super::dialect::{self, Dialect};
use super::options::{LOCALE, english};
use crate::error::Result;
use crate::function::display::{Style, write_value};
use crate::function::record_times::{self, RecordTimes};
use crate::options::OptionType::{Boolean, Text};
use crate::options::{OptionReader, OptionSpec};

/// What [`WriteOptions::read`] reads.
pub const WRITING: &[&[OptionSpec]] =
    &[&dialect::OPTIONS, &dialect::TRIMMING, &OPTIONS, &record_times::OPTIONS, &LOCALE];
const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new("nullValue", Text, "What is written for NULL.").or(""),
    OptionSpec::new("emptyValue", Text, "What is written for an empty text.").or("\"\""),
    OptionSpec::new("quoteAll", Boolean, "Whether every value is written in quotes.").or("false"),
    OptionSpec::new("escapeQuotes", Boolean, "Whether a value that holds a quote is written in quotes.").or("true"),
];

/// How CSV is written.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    dialect: Dialect,
    null_value: String,
    empty_value: String,
    quote_all: bool,
    /// Whether a quote inside a value has the value quoted.
    escape_quotes: bool,
    times: RecordTimes,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect { trim_leading: true, trim_trailing: true, ..Dialect::default() },
            null_value: String::new(),
            empty_value: "\"\"".to_owned(),
            quote_all: false,
            escape_quotes: true,
            times: RecordTimes::default(),
        }
    }
}

impl WriteOptions {
    /// Reads Spark's options of these names.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for a locale that is not English.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        english(options)?;
        Ok(Self {
            dialect: Dialect::read(options)?,
            null_value: options.text("nullValue").to_owned(),
            empty_value: options.text("emptyValue").to_owned(),
            quote_all: options.bool("quoteAll")?,
            escape_quotes: options.bool("escapeQuotes")?,
            times: RecordTimes::read(options)?,
        })
    }
}

/// Writes rows as lines.
#[derive(Debug)]
pub struct Encoder {
    options: WriteOptions,
    separator: String,
    quote: char,
    escape: char,
    escape_escape: char,
    tz: Tz,
    /// What ends a line; a value that has it is quoted.
    line_end: String,
    /// The text of the value that is being written.
    value: String,
}

impl Encoder {
    /// Instants are written as the zone of the options shows them, or else as `tz` does.
    pub fn new(options: WriteOptions, tz: Tz) -> Self {
        let d = &options.dialect;
        Self {
            separator: String::from_utf8_lossy(&d.separator).into_owned(),
            quote: d.quote.into(),
            escape: d.escape.into(),
            escape_escape: d.escape_escape.into(),
            tz: options.times.zone(tz),
            options,
            line_end: "\n".to_owned(),
            value: String::new(),
        }
    }

    /// The same for lines that end with `text`.
    pub fn with_line_end(mut self, text: &str) -> Self {
        text.clone_into(&mut self.line_end);
        self
    }

    /// Appends the values of a row, without a line end.
    ///
    /// # Errors
    /// A value that has no text.
    pub fn write_row(&mut self, out: &mut String, columns: &[ArrayRef], row: usize) -> Result<()> {
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.separator);
            }
            if column.is_null(row) || column.data_type() == &DataType::Null {
                self.put(out, i, None);
                continue;
            }
            let mut value = std::mem::take(&mut self.value);
            value.clear();
            self.write_text(&mut value, column, row);
            self.put(out, i, Some(&value));
            self.value = value;
        }
        Ok(())
    }

    /// Appends names, without a line end.
    pub fn write_names<'a>(&self, out: &mut String, names: impl Iterator<Item = &'a str>) {
        for (i, name) in names.enumerate() {
            if i > 0 {
                out.push_str(&self.separator);
            }
            self.put(out, i, Some(name));
        }
    }

    fn write_text(&self, out: &mut String, column: &ArrayRef, row: usize) {
        let time = match column.data_type() {
            DataType::Date32 => i64::from(column.as_primitive::<Date32Type>().value(row)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                column.as_primitive::<TimestampMicrosecondType>().value(row)
            }
            DataType::Decimal128(_, scale) => {
                return write_decimal(out, column.as_primitive::<Decimal128Type>().value(row), *scale);
            }
            DataType::List(_) => {
                let values = column.as_list::<i32>().value(row);
                return self.write_list(out, ('[', ']'), values.len(), |out, i| self.write_child(out, &values, i));
            }
            DataType::Struct(_) => {
                let columns = column.as_struct().columns();
                return self
                    .write_list(out, ('{', '}'), columns.len(), |out, i| self.write_child(out, &columns[i], row));
            }
            DataType::Map(_, _) => {
                let entries = column.as_map().value(row);
                return self.write_list(out, ('{', '}'), entries.len(), |out, i| {
                    self.write_child(out, entries.column(0), i);
                    out.push_str(" ->");
                    if entries.column(1).is_valid(i) {
                        out.push(' ');
                    }
                    self.write_child(out, entries.column(1), i)
                });
            }
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
                return write_value(out, column, row, self.tz, Style::Console);
            }
            _ => return write_value(out, column, row, self.tz, Style::Cast),
        };
        self.options.times.write(out, column.data_type(), time, self.tz);
    }

    /// Appends a value inside another; `false` if it is NULL, which is no text.
    fn write_child(&self, out: &mut String, column: &ArrayRef, row: usize) -> bool {
        let is_valid = column.is_valid(row) && column.data_type() != &DataType::Null;
        if is_valid {
            self.write_text(out, column, row);
        }
        is_valid
    }

    fn write_list(
        &self,
        out: &mut String,
        (open, close): (char, char),
        len: usize,
        write: impl Fn(&mut String, usize) -> bool,
    ) {
        out.push(open);
        for i in 0..len {
            if i > 0 {
                out.push_str(", ");
            }
            if !write(out, i) && i > 0 && out.ends_with(' ') {
                out.pop();
            }
        }
        out.push(close);
    }

    /// Appends one value, in quotes where it would be read as something else without.
    fn put(&self, out: &mut String, column: usize, value: Option<&str>) {
        let (o, d) = (&self.options, &self.options.dialect);
        let (text, stands_for) = match value {
            None => (o.null_value.as_str(), true),
            Some("") => (o.empty_value.as_str(), true),
            Some(text) => (text, false),
        };
        let whole = if d.trim_leading { text.trim_start_matches(|c| c <= ' ') } else { text };
        let kept = if d.trim_trailing { whole.trim_end_matches(|c| c <= ' ') } else { whole };
        if kept.is_empty() && !stands_for {
            return self.put(out, column, Some(""));
        }
        if !(o.quote_all || self.needs_quotes(text, whole, column)) {
            out.push_str(kept);
            return;
        }
        // What stands for an empty value may come with its own quotes.
        if stands_for && kept.len() >= 2 && kept.starts_with(self.quote) && kept.ends_with(self.quote) {
            out.push_str(kept);
            return;
        }
        out.push(self.quote);
        for c in kept.chars() {
            if c == self.quote {
                out.push(self.escape);
            } else if c == self.escape && self.escape_escape != '\0' {
                out.push(self.escape_escape);
            }
            out.push(c);
        }
        out.push(self.quote);
    }

    fn needs_quotes(&self, text: &str, whole: &str, column: usize) -> bool {
        let comment = self.options.dialect.comment.unwrap_or(b'#');
        whole.starts_with(self.quote)
            || (column == 0 && text.as_bytes().first() == Some(&comment))
            || whole.contains(&self.separator)
            || whole.contains(['\n', '\r'])
            || whole.contains(&self.line_end)
            || (self.options.escape_quotes && whole.contains(self.quote))
    }
}

/// A decimal as `BigDecimal.toString` writes it: small numbers with an exponent.
fn write_decimal(out: &mut String, value: i128, scale: i8) {
    let digits = value.unsigned_abs().to_string();
    let exponent = digits.len() as i32 - 1 - i32::from(scale);
    if scale <= 0 || exponent >= -6 {
        out.push_str(&Decimal128Type::format_decimal(value, 38, scale));
        return;
    }
    if value < 0 {
        out.push('-');
    }
    let (first, rest) = digits.split_at(1);
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out.push_str(&format!("E{exponent}"));
}
