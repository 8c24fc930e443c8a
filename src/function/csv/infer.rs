//! The types of columns, told from their texts as Spark tells them.

use crate::time_zone::Tz;
use arrow::datatypes::DataType;

use super::options::ReadOptions;
use super::tokens::{Token, Tokens};
use crate::function::cast::java;
use crate::function::scalar::timestamp;

/// The narrowest types that hold all values so far.
#[derive(Debug, Default)]
pub struct Types(Vec<DataType>);

impl Types {
    /// For so many columns.
    pub fn new(columns: usize) -> Self {
        Self(vec![DataType::Null; columns])
    }

    /// Takes a record into account; the first one tells how many columns there are, if nothing else did.
    pub fn add(&mut self, text: &str, tokens: &Tokens, row: usize, options: &ReadOptions, tz: Tz) {
        let record = tokens.record(row);
        if self.0.is_empty() {
            self.0 = vec![DataType::Null; record.len()];
        }
        for (so_far, token) in self.0.iter_mut().zip(record) {
            let value = match token {
                Token::Nothing => continue,
                Token::Empty => &options.empty_value,
                token => tokens.text(text, *token).unwrap_or_default(),
            };
            if !value.is_empty() && value != options.null_value && *so_far != DataType::Utf8View {
                *so_far = common(so_far, &type_of(so_far, value, options, tz));
            }
        }
    }

    /// The types; STRING where there was no value.
    pub fn finish(self) -> Vec<DataType> {
        self.0.into_iter().map(|t| if t == DataType::Null { DataType::Utf8View } else { t }).collect()
    }
}

/// The narrowest type of one value, from the type so far on.
fn type_of(so_far: &DataType, value: &str, options: &ReadOptions, tz: Tz) -> DataType {
    use DataType::*;
    let rank = match so_far {
        Null | Int32 => 0,
        Int64 => 1,
        Decimal128(_, _) => 2,
        Float64 => 3,
        Date32 => 4,
        Timestamp(_, _) => 5,
        Boolean => 6,
        _ => return Utf8View,
    };
    if rank == 0 && java::integer::<i32>(value).is_some() {
        return Int32;
    }
    if rank <= 1 && java::integer::<i64>(value).is_some() {
        return Int64;
    }
    if rank <= 2
        && let Some(digits) = whole_digits(value)
    {
        return Decimal128(digits, 0);
    }
    let is_word = [&options.nan, &options.infinity, &options.minus_infinity].iter().any(|w| *w == value);
    if rank <= 3 && (is_word || java::double(value).is_some()) {
        return Float64;
    }
    if rank <= 4 && options.prefer_date && options.times.is_date(value) {
        return Date32;
    }
    if rank <= 5 && options.times.read_timestamp(value, tz).is_some() {
        return timestamp();
    }
    if java::boolean(value).is_some() { Boolean } else { Utf8View }
}

/// The digits of a whole number of at most 38 digits.
fn whole_digits(value: &str) -> Option<u8> {
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    let unsigned = unsigned.strip_suffix('.').unwrap_or(unsigned);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = unsigned.trim_start_matches('0').len().max(1);
    (digits <= 38).then_some(digits as u8)
}

/// The type that holds the values of both.
fn common(a: &DataType, b: &DataType) -> DataType {
    use DataType::*;
    let digits = |t: &DataType| match t {
        Int32 => Some(10),
        Int64 => Some(20),
        Decimal128(p, _) => Some(*p),
        _ => None,
    };
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Date32, t @ Timestamp(_, _)) | (t @ Timestamp(_, _), Date32) => t.clone(),
        (Float64, other) | (other, Float64) if digits(other).is_some() => Float64,
        (a, b) => match (digits(a), digits(b)) {
            (Some(a), Some(b)) => Decimal128(a.max(b), 0),
            _ => Utf8View,
        },
    }
}
