//! Values of columns as JSON texts: the encoder of `to_json` and of files.

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::write::{write_real, write_text};
use crate::error::Result;
use crate::function::display::{Style, write_float, write_value};
use crate::function::record_times::{self, RecordTimes};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`WriteOptions::read`] reads.
pub const WRITING: &[&[OptionSpec]] = &[
    &[OptionSpec::new("ignoreNullFields", OptionType::Boolean, "Whether fields that are NULL are left out.")
        .or("true")],
    &record_times::OPTIONS,
];

/// The options of writing JSON, the same for files and for `to_json`.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    times: RecordTimes,
    /// Whether fields of structs that are NULL are written.
    keeps_nulls: bool,
}

impl WriteOptions {
    /// Reads Spark's options of these names.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let keeps_nulls = !options.bool("ignoreNullFields")?;
        Ok(Self { times: RecordTimes::read(options)?, keeps_nulls })
    }
}

/// Writes values.
#[derive(Debug)]
pub struct Encoder {
    options: WriteOptions,
    tz: Tz,
}

impl Encoder {
    /// Instants are written as the zone of the options shows them, or else as `tz` does.
    pub fn new(options: WriteOptions, tz: Tz) -> Self {
        Self { tz: options.times.zone(tz), options }
    }

    /// Appends the fields of a row as an object.
    pub fn write_row<'a>(&self, out: &mut String, fields: impl Iterator<Item = (&'a str, &'a ArrayRef)>, row: usize) {
        out.push('{');
        let start = out.len();
        for (name, column) in fields {
            if is_null(column, row) && !self.options.keeps_nulls {
                continue;
            }
            if out.len() > start {
                out.push(',');
            }
            write_text(out, name);
            out.push(':');
            self.write(out, column, row);
        }
        out.push('}');
    }

    /// Appends a value.
    pub fn write(&self, out: &mut String, array: &dyn Array, row: usize) {
        if is_null(array, row) {
            out.push_str("null");
            return;
        }
        match array.data_type() {
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                self.write_row(out, fields.iter().map(|f| f.name().as_str()).zip(columns), row);
            }
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                out.push('[');
                for i in 0..items.len() {
                    out.push_str(if i > 0 { "," } else { "" });
                    self.write(out, &items, i);
                }
                out.push(']');
            }
            DataType::Map(_, _) => self.write_map(out, &array.as_map().value(row)),
            DataType::Utf8View => write_text(out, array.as_string_view().value(row)),
            DataType::Float64 => write_real(out, array.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => write_short_real(out, array.as_primitive::<Float32Type>().value(row)),
            DataType::Decimal128(_, scale) => {
                write_decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale);
            }
            DataType::Binary => write_bytes(out, array.as_binary::<i32>().value(row)),
            DataType::LargeBinary => write_bytes(out, array.as_binary::<i64>().value(row)),
            DataType::BinaryView => write_bytes(out, array.as_binary_view().value(row)),
            DataType::Date32 => {
                self.write_time(out, array.data_type(), array.as_primitive::<Date32Type>().value(row).into());
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.write_time(out, array.data_type(), array.as_primitive::<TimestampMicrosecondType>().value(row));
            }
            t if t.is_integer() || *t == DataType::Boolean => write_value(out, array, row, self.tz, Style::Cast),
            _ => write_text(out, &self.text(array, row)),
        }
    }

    fn write_map(&self, out: &mut String, entries: &StructArray) {
        let (keys, values) = (entries.column(0), entries.column(1));
        out.push('{');
        for i in 0..entries.len() {
            out.push_str(if i > 0 { "," } else { "" });
            write_text(out, &self.text(keys, i));
            out.push(':');
            self.write(out, values, i);
        }
        out.push('}');
    }

    fn write_time(&self, out: &mut String, data_type: &DataType, value: i64) {
        let mut text = String::new();
        self.options.times.write(&mut text, data_type, value, self.tz);
        write_text(out, &text);
    }

    fn text(&self, array: &dyn Array, row: usize) -> String {
        let mut text = String::new();
        write_value(&mut text, array, row, self.tz, Style::Cast);
        text
    }
}

/// An array of type void has no bitmap of its own.
fn is_null(array: &dyn Array, row: usize) -> bool {
    array.is_null(row) || array.data_type() == &DataType::Null
}

fn write_short_real(out: &mut String, value: f32) {
    if value.is_finite() { write_float(out, value) } else { write_real(out, value.into()) }
}

fn write_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// `BigDecimal.toString`: with an exponent for what is smaller than 0.000001.
fn write_decimal(out: &mut String, value: i128, scale: i8) {
    let digits = value.unsigned_abs().to_string();
    let exponent = digits.len() as i32 - 1 - i32::from(scale);
    if scale <= 0 || exponent >= -6 {
        out.push_str(&Decimal128Type::format_decimal(value, 38, scale));
        return;
    }
    out.push_str(if value < 0 { "-" } else { "" });
    let (first, rest) = digits.split_at(1);
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out.push('E');
    out.push_str(&exponent.to_string());
}
