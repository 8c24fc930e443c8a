//! A serde deserializer over a cell of an Arrow array.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};
use datafusion::arrow;
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use super::{decoding_failed, plain};
use crate::error::Result;

/// One value for each row: a struct, a tuple or a map.
pub fn decode_rows<T: DeserializeOwned>(rows: &RecordBatch) -> Result<Vec<T>> {
    let columns = rows.columns().iter().map(plain).collect::<Result<Vec<_>>>()?;
    let fields: Vec<(&str, &ArrayRef)> =
        rows.schema_ref().fields().iter().map(|f| f.name().as_str()).zip(&columns).collect();
    let decode = |row| T::deserialize(RowCells { fields: &fields, row });
    (0..rows.num_rows()).map(decode).collect::<Result<_, _>>().map_err(|e| decoding_failed("a row", &e))
}

/// One value for each row: that of the only column, or one of all columns.
pub fn decode_column<T: DeserializeOwned>(rows: &RecordBatch, what: &str) -> Result<Vec<T>> {
    let [column] = rows.columns() else { return decode_rows(rows) };
    let column = plain(column)?;
    let decode = |row| T::deserialize(Cell { array: &column, row });
    (0..rows.num_rows()).map(decode).collect::<Result<_, _>>().map_err(|e| decoding_failed(what, &e))
}

/// What is wrong with a cell, in words.
#[derive(Debug)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Decoded<T> = std::result::Result<T, DecodeError>;

/// A row of columns.
#[derive(Clone, Copy)]
struct RowCells<'a> {
    fields: &'a [(&'a str, &'a ArrayRef)],
    row: usize,
}

impl<'a> RowCells<'a> {
    fn cells(self) -> impl Iterator<Item = (&'a str, Cell<'a>)> {
        self.fields.iter().map(move |(name, array)| (*name, Cell { array, row: self.row }))
    }
}

impl<'de> Deserializer<'de> for RowCells<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        visitor.visit_map(MapDeserializer::new(self.cells()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        visitor.visit_seq(SeqDeserializer::new(self.cells().map(|(_, cell)| cell)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Decoded<V::Value> {
        if len != self.fields.len() {
            let columns = self.fields.len();
            return Err(DecodeError(format!("a tuple of {len} for {columns} columns")));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, len: usize, visitor: V) -> Decoded<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Decoded<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Decoded<V::Value> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf map struct enum identifier
        ignored_any
    }
}

/// A cell of a column.
#[derive(Clone, Copy)]
struct Cell<'a> {
    array: &'a ArrayRef,
    row: usize,
}

impl<'de> IntoDeserializer<'de, DecodeError> for Cell<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Cell<'_> {
    fn is_null(self) -> bool {
        self.array.is_null(self.row) || *self.array.data_type() == DataType::Null
    }

    /// The text of a cell whose value is a text or is shown as one.
    fn text(self) -> Decoded<String> {
        if let DataType::Timestamp(..) = self.array.data_type() {
            let time = DateTime::from_timestamp_micros(self.micros());
            let time = time.ok_or_else(|| DecodeError("a time that no calendar has".into()))?;
            return Ok(time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(self.array, &options).map_err(|e| DecodeError(e.to_string()))?;
        formatter.value(self.row).try_to_string().map_err(|e| DecodeError(e.to_string()))
    }

    /// A timestamp, which [`plain`] has brought to microseconds.
    fn micros(self) -> i64 {
        self.array.as_primitive::<TimestampMicrosecondType>().value(self.row)
    }

    fn fields(self, structs: &StructArray) -> Decoded<Vec<(&str, ArrayRef)>> {
        let plain = |column| plain(column).map_err(|e| DecodeError(e.to_string()));
        structs.column_names().into_iter().zip(structs.columns()).map(|(n, c)| Ok((n, plain(c)?))).collect()
    }

    /// As a struct, if it is one.
    fn with_row<T>(self, f: impl FnOnce(RowCells) -> Decoded<T>) -> Option<Decoded<T>> {
        let structs = self.array.as_struct_opt()?;
        let fields = match self.fields(structs) {
            Ok(fields) => fields,
            Err(e) => return Some(Err(e)),
        };
        let fields: Vec<_> = fields.iter().map(|(name, column)| (*name, column)).collect();
        Some(f(RowCells { fields: &fields, row: self.row }))
    }

    fn elements<'de, V: Visitor<'de>>(self, elements: &ArrayRef, visitor: V) -> Decoded<V::Value> {
        let elements = plain(elements).map_err(|e| DecodeError(e.to_string()))?;
        visitor.visit_seq(SeqDeserializer::new((0..elements.len()).map(|row| Cell { array: &elements, row })))
    }

    fn entries<'de, V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        let entries = self.array.as_map().value(self.row);
        let plain = |column| plain(column).map_err(|e| DecodeError(e.to_string()));
        let (keys, values) = (plain(entries.column(0))?, plain(entries.column(1))?);
        let entry = |row| (Cell { array: &keys, row }, Cell { array: &values, row });
        visitor.visit_map(MapDeserializer::new((0..entries.len()).map(entry)))
    }
}

macro_rules! primitive {
    ($self:ident, $visitor:ident, $($data_type:pat => $arrow:ty, $visit:ident;)+) => {
        match $self.array.data_type() {
            $($data_type => Some($visitor.$visit($self.array.as_primitive::<$arrow>().value($self.row).into())),)+
            _ => None,
        }
    };
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        if self.is_null() {
            return visitor.visit_none();
        }
        match self.array.data_type() {
            DataType::Boolean => visitor.visit_bool(self.array.as_boolean().value(self.row)),
            DataType::Utf8 => visitor.visit_str(self.array.as_string::<i32>().value(self.row)),
            DataType::LargeUtf8 => visitor.visit_str(self.array.as_string::<i64>().value(self.row)),
            DataType::Utf8View => visitor.visit_str(self.array.as_string_view().value(self.row)),
            DataType::Binary => visitor.visit_bytes(self.array.as_binary::<i32>().value(self.row)),
            DataType::LargeBinary => visitor.visit_bytes(self.array.as_binary::<i64>().value(self.row)),
            DataType::BinaryView => visitor.visit_bytes(self.array.as_binary_view().value(self.row)),
            DataType::FixedSizeBinary(_) => visitor.visit_bytes(self.array.as_fixed_size_binary().value(self.row)),
            DataType::List(_) => self.elements(&self.array.as_list::<i32>().value(self.row), visitor),
            DataType::LargeList(_) => self.elements(&self.array.as_list::<i64>().value(self.row), visitor),
            DataType::FixedSizeList(..) => self.elements(&self.array.as_fixed_size_list().value(self.row), visitor),
            DataType::Struct(_) => {
                self.with_row(|row| row.deserialize_any(visitor)).unwrap_or_else(|| Err(DecodeError(String::new())))
            }
            DataType::Map(..) => self.entries(visitor),
            DataType::Timestamp(..) => visitor.visit_i64(self.micros()),
            _ => self.deserialize_number(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        match self.array.data_type() {
            DataType::Timestamp(..) if !self.is_null() => visitor.visit_string(self.text()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Decoded<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Decoded<V::Value> {
        match self.array.data_type() {
            DataType::Struct(_) if !self.is_null() => self
                .with_row(|row| row.deserialize_tuple(len, visitor))
                .unwrap_or_else(|| Err(DecodeError(String::new()))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, len: usize, visitor: V) -> Decoded<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Decoded<V::Value> {
        let variant: StringDeserializer<DecodeError> = self.text()?.into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        let bytes = match self.array.data_type() {
            _ if self.is_null() => None,
            DataType::Binary => Some(self.array.as_binary::<i32>().value(self.row)),
            DataType::LargeBinary => Some(self.array.as_binary::<i64>().value(self.row)),
            DataType::BinaryView => Some(self.array.as_binary_view().value(self.row)),
            _ => None,
        };
        match bytes {
            // `Vec<u8>` asks serde for a sequence.
            Some(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            None => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char byte_buf unit unit_struct map struct identifier
        ignored_any
    }
}

impl Cell<'_> {
    /// Numbers; what is left is shown as a text.
    fn deserialize_number<'de, V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        use DataType::{Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
        if matches!(
            self.array.data_type(),
            Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Float32 | Float64
        ) {
            let number = primitive! { self, visitor,
                Int8 => Int8Type, visit_i64;
                Int16 => Int16Type, visit_i64;
                Int32 => Int32Type, visit_i64;
                Int64 => Int64Type, visit_i64;
                UInt8 => UInt8Type, visit_u64;
                UInt16 => UInt16Type, visit_u64;
                UInt32 => UInt32Type, visit_u64;
                UInt64 => UInt64Type, visit_u64;
                Float16 => Float16Type, visit_f64;
                Float32 => Float32Type, visit_f64;
                Float64 => Float64Type, visit_f64;
            };
            return number.unwrap_or_else(|| Err(DecodeError("not a number".into())));
        }
        if *self.array.data_type() == DataType::Date32 {
            let days = self.array.as_primitive::<Date32Type>();
            if days.value_as_date(self.row).is_none() {
                return Err(DecodeError("a date that no calendar has".into()));
            }
        }
        visitor.visit_string(self.text()?)
    }
}
