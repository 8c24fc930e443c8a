//! JSON values straight into the columns of a type, with Spark's conversions.

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::compute::take;
use arrow::datatypes::*;
use base64::Engine;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;

use super::nested::{ListColumn, MapColumn, StructColumn};
use super::tokens::{Malformed, Token, Tokens};
use super::write::write_structure;
use crate::function::cast::parse::decimal;
use crate::function::record_times::RecordTimes;
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// What conversions depend on.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Patterns of dates and times.
    pub times: RecordTimes,
    /// Whether a DATE may be a text of days since the epoch.
    pub takes_epoch_days: bool,
    /// The zone of local times.
    pub tz: Tz,
    /// Whether an object under STRING keeps its blanks and digits, as in a file, or is written anew.
    pub keeps_source: bool,
    /// Whether `"NaN"` and `"Infinity"` are numbers.
    pub non_numeric: bool,
}

/// Why a value is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A part is missing; the rest was appended.
    Partial,
    /// Nothing was appended.
    Nothing,
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Nothing
    }
}

/// A column of one type that grows by a value at a time.
#[derive(Debug)]
pub enum Column {
    Boolean(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Decimal(PrimitiveBuilder<Decimal128Type>, u8, i8),
    Text(StringViewBuilder),
    Binary(BinaryBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Local(PrimitiveBuilder<TimestampMicrosecondType>),
    Struct(StructColumn),
    List(Box<ListColumn>),
    Map(Box<MapColumn>),
}

impl Column {
    /// An empty column of `data_type`.
    ///
    /// # Errors
    /// `UNSUPPORTED_DATATYPE` for a type that JSON is not read as.
    pub fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(PrimitiveBuilder::new()),
            DataType::Int16 => Self::Int16(PrimitiveBuilder::new()),
            DataType::Int32 => Self::Int32(PrimitiveBuilder::new()),
            DataType::Int64 => Self::Int64(PrimitiveBuilder::new()),
            DataType::Float32 => Self::Float32(PrimitiveBuilder::new()),
            DataType::Float64 => Self::Float64(PrimitiveBuilder::new()),
            DataType::Decimal128(p, s) => {
                Self::Decimal(PrimitiveBuilder::new().with_data_type(data_type.clone()), *p, *s)
            }
            DataType::Utf8View => Self::Text(StringViewBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Date32 => Self::Date(PrimitiveBuilder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Self::Timestamp(PrimitiveBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Local(PrimitiveBuilder::new()),
            DataType::Struct(fields) => Self::Struct(StructColumn::new(fields, None)?),
            DataType::List(item) => Self::List(Box::new(ListColumn::new(item)?)),
            DataType::Map(entries, _) => Self::Map(Box::new(MapColumn::new(entries)?)),
            other => {
                let message = format!("JSON is not read as the type {}", sql_type_name(other));
                return Err(Error::unsupported("UNSUPPORTED_DATATYPE", message)
                    .with_help("read the field as STRING, and convert it by CAST(… AS …)"));
            }
        })
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        match self {
            Self::Boolean(b) => b.len(),
            Self::Int8(b) => b.len(),
            Self::Int16(b) => b.len(),
            Self::Int32(b) => b.len(),
            Self::Int64(b) => b.len(),
            Self::Float32(b) => b.len(),
            Self::Float64(b) => b.len(),
            Self::Decimal(b, _, _) => b.len(),
            Self::Text(b) => b.len(),
            Self::Binary(b) => b.len(),
            Self::Date(b) => b.len(),
            Self::Timestamp(b) | Self::Local(b) => b.len(),
            Self::Struct(c) => c.len(),
            Self::List(c) => c.len(),
            Self::Map(c) => c.len(),
        }
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        match self {
            Self::Boolean(b) => b.append_null(),
            Self::Int8(b) => b.append_null(),
            Self::Int16(b) => b.append_null(),
            Self::Int32(b) => b.append_null(),
            Self::Int64(b) => b.append_null(),
            Self::Float32(b) => b.append_null(),
            Self::Float64(b) => b.append_null(),
            Self::Decimal(b, _, _) => b.append_null(),
            Self::Text(b) => b.append_null(),
            Self::Binary(b) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Timestamp(b) | Self::Local(b) => b.append_null(),
            Self::Struct(c) => c.append_null(),
            Self::List(c) => c.append_null(),
            Self::Map(c) => c.append_null(),
        }
    }

    /// Appends the current value, or the one behind the current name.
    pub fn read(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> std::result::Result<(), Fault> {
        let mut token = tokens.current();
        while token == Some(Token::Name) {
            token = tokens.advance()?;
        }
        match token {
            None | Some(Token::Null) => {
                self.append_null();
                Ok(())
            }
            Some(token) => self.read_value(token, tokens, with),
        }
    }

    fn read_value(
        &mut self,
        token: Token,
        tokens: &mut Tokens<'_>,
        with: &Conversion,
    ) -> std::result::Result<(), Fault> {
        match (self, token) {
            (Self::Struct(c), Token::StartObject) => return c.read(tokens, with),
            (Self::List(c), Token::StartArray) => return c.read(tokens, with),
            (Self::Map(c), Token::StartObject) => return c.read(tokens, with),
            (Self::Boolean(b), Token::True | Token::False) => b.append_value(token == Token::True),
            (Self::Int8(b), Token::Int) => b.append_value(integer(tokens)?),
            (Self::Int16(b), Token::Int) => b.append_value(integer(tokens)?),
            (Self::Int32(b), Token::Int) => b.append_value(integer(tokens)?),
            (Self::Int64(b), Token::Int) => b.append_value(integer(tokens)?),
            (Self::Float32(b), _) => b.append_value(real(token, tokens, with)?),
            (Self::Float64(b), _) => b.append_value(real(token, tokens, with)?),
            (Self::Decimal(b, precision, scale), Token::Int | Token::Float) => {
                b.append_value(to_decimal(tokens.number(), *precision, *scale)?);
            }
            (Self::Decimal(b, precision, scale), Token::Text) => {
                b.append_value(to_decimal(tokens.string()?, *precision, *scale)?);
            }
            (Self::Text(b), Token::Text) => b.append_value(tokens.string()?),
            (Self::Text(b), _) if with.keeps_source => b.append_value(tokens.raw()?),
            (Self::Text(b), _) => b.append_value(write_structure(tokens)?),
            (Self::Binary(b), Token::Text) => b.append_value(from_base64(tokens.string()?)?),
            (Self::Date(b), Token::Text) => b.append_value(date(tokens.string()?, with)?),
            (Self::Timestamp(b), Token::Text) => {
                let us = non_empty(tokens.string()?)?;
                b.append_value(with.times.read_timestamp(us, with.tz).ok_or(Fault::Nothing)?);
            }
            // Seconds since the epoch; they wrap as in Spark.
            (Self::Timestamp(b), Token::Int) => b.append_value(integer::<i64>(tokens)?.wrapping_mul(1_000_000)),
            (Self::Local(b), Token::Text) => {
                let text = non_empty(tokens.string()?)?;
                b.append_value(with.times.read_local(text).ok_or(Fault::Nothing)?);
            }
            (_, Token::Text) => {
                // The next token is looked for behind the text.
                tokens.string()?;
                return Err(Fault::Nothing);
            }
            _ => return Err(Fault::Nothing),
        }
        Ok(())
    }

    /// The array.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Boolean(b) => Arc::new(b.finish()),
            Self::Int8(b) => Arc::new(b.finish()),
            Self::Int16(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Float32(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Decimal(b, _, _) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Binary(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Timestamp(b) | Self::Local(b) => Arc::new(b.finish()),
            Self::Struct(c) => c.finish()?,
            Self::List(c) => c.finish()?,
            Self::Map(c) => c.finish()?,
        })
    }
}

/// A column whose last values can be taken back or replaced: values that do not count stay in it until the end.
#[derive(Debug)]
pub struct Slots {
    column: Column,
    rows: usize,
    /// Which value of the column each row is, if it is not the one of the same number.
    places: Option<Vec<u32>>,
}

impl Slots {
    /// No rows of `data_type`.
    ///
    /// # Errors
    /// As of [`Column::new`].
    pub fn new(data_type: &DataType) -> Result<Self> {
        Ok(Self { column: Column::new(data_type)?, rows: 0, places: None })
    }

    /// Rows that count.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row, or puts it in the place of the last one.
    pub fn read(
        &mut self,
        tokens: &mut Tokens<'_>,
        with: &Conversion,
        replaces: bool,
    ) -> std::result::Result<(), Fault> {
        let result = self.column.read(tokens, with);
        if result != Err(Fault::Nothing) {
            self.keep(replaces);
        }
        result
    }

    /// Appends a whole text's value; one object stands for an array of it.
    pub fn read_root(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> std::result::Result<(), Fault> {
        let result = match (&mut self.column, tokens.current()) {
            (Column::List(list), Some(Token::StartObject)) if list.holds_structs() => list.read_one(tokens, with),
            (column, _) => column.read(tokens, with),
        };
        if result != Err(Fault::Nothing) {
            self.keep(false);
        }
        result
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.column.append_null();
        self.keep(false);
    }

    /// Appends a text to a column of texts.
    pub fn append_text(&mut self, text: &str) {
        match &mut self.column {
            Column::Text(b) => b.append_value(text),
            other => other.append_null(),
        }
        self.keep(false);
    }

    fn keep(&mut self, replaces: bool) {
        let last = self.column.len() - 1;
        if replaces {
            let places = self.places();
            places.pop();
            places.push(last as u32);
            return;
        }
        if last != self.rows || self.places.is_some() {
            self.places().push(last as u32);
        }
        self.rows += 1;
    }

    fn places(&mut self) -> &mut Vec<u32> {
        let rows = self.rows as u32;
        self.places.get_or_insert_with(|| (0..rows).collect())
    }

    /// Takes back all rows from number `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.places().truncate(rows);
            self.rows = rows;
        }
    }

    /// The rows; none are left.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let array = self.column.finish()?;
        self.rows = 0;
        Ok(match self.places.take() {
            None => array,
            Some(places) => take(&array, &UInt32Array::from(places), None)?,
        })
    }
}

fn integer<T: TryFrom<i64>>(tokens: &Tokens<'_>) -> std::result::Result<T, Fault> {
    let text = tokens.number();
    let whole: i64 = text.parse().map_err(|_| Fault::Nothing)?;
    T::try_from(whole).map_err(|_| Fault::Nothing)
}

fn real<T: FromStr + Add<Output = T> + Default>(
    token: Token,
    tokens: &mut Tokens<'_>,
    with: &Conversion,
) -> std::result::Result<T, Fault> {
    let text = match token {
        // An integer has no minus zero.
        Token::Int => return Ok(tokens.number().parse::<T>().map_err(|_| Fault::Nothing)? + T::default()),
        Token::Float => tokens.number(),
        Token::Text => match tokens.string()? {
            text @ ("NaN" | "+INF" | "+Infinity" | "Infinity" | "-INF" | "-Infinity") if with.non_numeric => text,
            _ => return Err(Fault::Nothing),
        },
        _ => return Err(Fault::Nothing),
    };
    // Rust knows the words in every case.
    text.parse().map_err(|_| Fault::Nothing)
}

fn to_decimal(text: &str, precision: u8, scale: i8) -> std::result::Result<i128, Fault> {
    let is_number = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(is_number) {
        return Err(Fault::Nothing);
    }
    let value = decimal(text, scale).map_err(|_| Fault::Nothing)?;
    let limit = 10_i128.pow(precision.into());
    if -limit < value && value < limit { Ok(value) } else { Err(Fault::Nothing) }
}

fn non_empty(text: &str) -> std::result::Result<&str, Fault> {
    if text.is_empty() { Err(Fault::Nothing) } else { Ok(text) }
}

fn date(text: &str, with: &Conversion) -> std::result::Result<i32, Fault> {
    let days = || if with.takes_epoch_days { text.parse().ok() } else { None };
    with.times.read_date(non_empty(text)?).or_else(days).ok_or(Fault::Nothing)
}

/// Blanks are left out in front of each four characters only.
fn from_base64(text: &str) -> std::result::Result<Vec<u8>, Fault> {
    let mut rest = text.trim_start_matches(|c| c <= ' ');
    let mut joined = String::with_capacity(rest.len());
    while !rest.is_empty() {
        let (four, tail) = rest.split_at_checked(4).ok_or(Fault::Nothing)?;
        joined.push_str(four);
        rest = tail.trim_start_matches(|c| c <= ' ');
    }
    base64::engine::general_purpose::STANDARD.decode(joined).map_err(|_| Fault::Nothing)
}
