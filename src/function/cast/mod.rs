//! Spark's ANSI casts: what `CAST`, `TRY_CAST` and the implicit casts of our functions do.
//!
//! Owns which types can be cast and the values that come out; the texts are read in `parse` and `temporal`, numbers are
//! converted in `numeric`. A value that cannot be cast is an error in ANSI mode and NULL in try mode.

mod expr;
mod interval;
pub mod java;
mod numeric;
pub mod parse;
pub mod temporal;

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;

use super::display::{Style, write_value};
use crate::type_name::sql_type_name;
use crate::{Error, Result};
pub use expr::cast;
pub use interval::{cast_to_interval, count_literal};
pub use numeric::{fits, out_of_range, rescale_value};

/// What a value that cannot be cast becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// An error.
    Ansi,
    /// NULL.
    Try,
}

impl Mode {
    /// `value`, or what stands for its absence.
    fn settle<T>(self, value: Option<T>, error: impl FnOnce() -> Error) -> Result<Option<T>> {
        match (value, self) {
            (Some(v), _) => Ok(Some(v)),
            (None, Self::Try) => Ok(None),
            (None, Self::Ansi) => Err(error()),
        }
    }
}

/// Casts a whole array. Local times are those of `tz`.
pub fn cast_array(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if from == &DataType::Null {
        return Ok(new_null_array(to, array.len()));
    }
    if let DataType::Dictionary(_, value) = from {
        return cast_array(&arrow::compute::cast(array, value)?, to, mode, tz);
    }
    match to {
        _ if is_string(to) => to_string(array, to, tz),
        _ if is_string(from) => from_string(array, to, mode, tz),
        DataType::Binary if from.is_signed_integer() => integers_to_binary(array),
        DataType::Date32 | DataType::Timestamp(_, _) => temporal::to_temporal(array, to, mode, tz),
        _ if to.is_numeric() && interval::is_countable(from) => interval::to_number(array, to, mode),
        _ if to.is_numeric() || to == &DataType::Boolean => numeric::to_number(array, to, mode),
        DataType::List(_) if matches!(from, DataType::List(_)) => list_to_list(array, to, mode, tz),
        DataType::Struct(_) if matches!(from, DataType::Struct(_)) => struct_to_struct(array, to, mode, tz),
        DataType::Map(_, _) if matches!(from, DataType::Map(_, _)) => map_to_map(array, to, mode, tz),
        _ => arrow_cast(array, to, mode),
    }
}

/// Whether a cast from one type to the other exists, so that planning can refuse it.
pub fn can_cast(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    if from == to || from == &Null || is_string(to) {
        return true;
    }
    match (from, to) {
        (Dictionary(_, value), _) => can_cast(value, to),
        (f, t) if is_string(f) => !t.is_nested(),
        // A number's bytes are no implicit choice.
        (f, t) if f.is_integer() && t.is_binary() => false,
        (Boolean, t) => t.is_numeric(),
        (f, Boolean) => f.is_numeric(),
        (f, t) if f.is_numeric() && t.is_numeric() => true,
        (f, Timestamp(_, Some(_))) if f.is_numeric() => true,
        (Timestamp(_, Some(_)), t) if t.is_numeric() => true,
        (Date32 | Date64 | Timestamp(_, _), Date32 | Timestamp(_, _)) => true,
        (List(f), List(t)) => can_cast(f.data_type(), t.data_type()),
        (Struct(f), Struct(t)) => {
            f.len() == t.len() && f.iter().zip(t).all(|(f, t)| can_cast(f.data_type(), t.data_type()))
        }
        (Map(f, _), Map(t, _)) => can_cast(f.data_type(), t.data_type()),
        (f, t) if f.is_nested() || t.is_nested() => false,
        (f, t) if interval::is_countable(f) && (t.is_integer() || t.is_decimal()) => true,
        (f, t) if f.is_numeric() && t.is_temporal() || f.is_temporal() && t.is_numeric() => false,
        _ => arrow::compute::can_cast_types(from, to),
    }
}

/// The error of a pair of types without a cast.
pub fn cast_refused(from: &DataType, to: &DataType) -> Error {
    let message = format!("cannot cast {} to {}", sql_type_name(from), sql_type_name(to));
    use DataType::{Boolean, Date32, Timestamp};
    let condition = match (from, to) {
        (f, Date32) if f.is_numeric() => "DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION",
        (Date32, t) if t.is_numeric() => "DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION",
        (f, t) if f.is_integer() && t.is_binary() => "DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION",
        (Date32 | Timestamp(_, Some(_)), Boolean) | (Boolean, Timestamp(_, Some(_))) => {
            "DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION"
        }
        _ => "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
    };
    Error::invalid(condition, message).with_help(cast_help(from, to))
}

/// What leads from one type to the other without a cast.
fn cast_help(from: &DataType, to: &DataType) -> &'static str {
    match (from, to) {
        (f, DataType::Date32) if f.is_integer() => "days since 1970-01-01 are read by date_from_unix_date(…)",
        (f, DataType::Timestamp(..)) if f.is_numeric() => "seconds since 1970-01-01 are read by timestamp_seconds(…)",
        (DataType::Date32, t) if t.is_numeric() => "unix_date(…) gives the days since 1970-01-01",
        (DataType::Timestamp(..), _) => "unix_seconds(…) gives the seconds since 1970-01-01",
        (DataType::List(_), _) => "take an element, as in a[0], or write array_join(a, ',') for a text",
        (DataType::Map(..), _) => "take a value, as in m['key'], or write to_json(m) for a text",
        (DataType::Struct(_), _) => "take a field, as in s.field, or write to_json(s) for a text",
        (f, DataType::List(_)) if is_string(f) => {
            "split(…, ',') and from_json(…, 'ARRAY<…>') read an array from a text"
        }
        (f, DataType::Map(..) | DataType::Struct(_)) if is_string(f) => "from_json(…, '…') reads it from a text",
        _ => "cast to STRING in between, if its text is what you want",
    }
}

/// The error of a text that is not a value of the type.
pub fn invalid_input(text: &str, from: &DataType, to: &DataType) -> Error {
    let message = format!(
        "the value '{text}' of the type \"{}\" cannot be cast to \"{}\" because it is malformed",
        sql_type_name(from),
        sql_type_name(to)
    );
    Error::execution("CAST_INVALID_INPUT", message)
        .with_help("correct the value, change the target type, or use `try_cast` to get NULL instead")
}

/// The error of a number that the target type cannot hold.
fn overflow(value: &str, from: &DataType, to: &DataType) -> Error {
    let message = format!(
        "the value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow",
        sql_type_name(from),
        sql_type_name(to)
    );
    Error::execution("CAST_OVERFLOW", message).with_help("use `try_cast` to get NULL instead")
}

/// The three encodings of STRING.
pub fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn to_string(array: &ArrayRef, to: &DataType, tz: Tz) -> Result<ArrayRef> {
    if is_string(array.data_type()) {
        return Ok(arrow::compute::cast(array, to)?);
    }
    if array.data_type().is_binary() {
        return binary_to_string(array, to);
    }
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        write_value(&mut text, array, row, tz, Style::Cast);
        builder.append_value(&text);
    }
    let strings: ArrayRef = Arc::new(builder.finish());
    if to == &DataType::Utf8View { Ok(strings) } else { Ok(arrow::compute::cast(&strings, to)?) }
}

/// Bytes as text; what is no UTF-8 becomes the replacement character, as it is shown in Spark.
fn binary_to_string(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let strings = arrow::compute::cast(array, to)?;
    if strings.null_count() == array.null_count() {
        return Ok(strings);
    }
    let bytes = arrow::compute::cast(array, &DataType::BinaryView)?;
    let text = |b: Option<&[u8]>| b.map(|b| String::from_utf8_lossy(b).into_owned());
    let strings: ArrayRef = Arc::new(bytes.as_binary_view().iter().map(text).collect::<StringViewArray>());
    Ok(arrow::compute::cast(&strings, to)?)
}

fn from_string(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    let strings = arrow::compute::cast(array, &DataType::Utf8View)?;
    let strings = strings.as_string_view();
    macro_rules! numbers {
        ($t:ty, $parse:expr) => {
            parse_all::<$t>(strings, to, mode, $parse)
        };
    }
    match to {
        DataType::Int8 => numbers!(Int8Type, parse::integer),
        DataType::Int16 => numbers!(Int16Type, parse::integer),
        DataType::Int32 => numbers!(Int32Type, parse::integer),
        DataType::Int64 => numbers!(Int64Type, parse::integer),
        DataType::UInt64 => numbers!(UInt64Type, parse::integer),
        DataType::Float32 => numbers!(Float32Type, |s| parse::double(s).map(|_| parse::float(s))?),
        DataType::Float64 => numbers!(Float64Type, parse::double),
        DataType::Decimal128(p, s) => numeric::strings_to_decimal(strings, *p, *s, mode),
        DataType::Date32 => numbers!(Date32Type, temporal::parse_date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let tz = zone.as_ref().map(|_| tz);
            numbers!(TimestampMicrosecondType, move |s| temporal::parse_timestamp(s, tz))
        }
        DataType::Boolean => {
            let rows = strings.iter().map(|s| match s {
                None => Ok(None),
                Some(s) => mode.settle(parse::boolean(s), || invalid_input(s, &DataType::Utf8View, to)),
            });
            Ok(Arc::new(rows.collect::<Result<BooleanArray>>()?))
        }
        other if other.is_binary() => Ok(arrow::compute::cast(array, to)?),
        _ => arrow_cast(array, to, mode),
    }
}

fn parse_all<T: ArrowPrimitiveType>(
    strings: &StringViewArray,
    to: &DataType,
    mode: Mode,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(strings.len()).with_data_type(to.clone());
    for s in strings {
        let value = match s {
            None => None,
            Some(s) => mode.settle(parse(s), || invalid_input(s, &DataType::Utf8View, to))?,
        };
        builder.append_option(value);
    }
    Ok(Arc::new(builder.finish()))
}

/// The bytes of a number, the highest first.
fn integers_to_binary(array: &ArrayRef) -> Result<ArrayRef> {
    let width = array.data_type().primitive_width().unwrap_or(8);
    let values = arrow::compute::cast(array, &DataType::Int64)?;
    let bytes = |v: i64| v.to_be_bytes()[8 - width..].to_vec();
    Ok(Arc::new(values.as_primitive::<Int64Type>().iter().map(|v| v.map(bytes)).collect::<BinaryArray>()))
}

/// Types that Spark has no say about (times of day, intervals, unsigned numbers).
fn arrow_cast(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    if !arrow::compute::can_cast_types(array.data_type(), to) {
        return Err(cast_refused(array.data_type(), to));
    }
    let options = arrow::compute::CastOptions { safe: mode == Mode::Try, ..Default::default() };
    Ok(arrow::compute::cast_with_options(array, to, &options)?)
}

fn list_to_list(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    let DataType::List(field) = to else { return Err(cast_refused(array.data_type(), to)) };
    let list = array.as_list::<i32>();
    let values = cast_array(list.values(), field.data_type(), mode, tz)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())?))
}

fn struct_to_struct(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    let DataType::Struct(fields) = to else { return Err(cast_refused(array.data_type(), to)) };
    let from = array.as_struct();
    if from.num_columns() != fields.len() {
        return Err(cast_refused(array.data_type(), to));
    }
    let columns = from.columns().iter().zip(fields).map(|(c, f)| cast_array(c, f.data_type(), mode, tz));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, from.nulls().cloned(), from.len())?))
}

fn map_to_map(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = to else { return Err(cast_refused(array.data_type(), to)) };
    let map = array.as_map();
    let entries: ArrayRef = Arc::new(map.entries().clone());
    let entries = struct_to_struct(&entries, field.data_type(), mode, tz)?.as_struct().clone();
    let nulls = map.nulls().cloned();
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), map.offsets().clone(), entries, nulls, *sorted)?))
}
