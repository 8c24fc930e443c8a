//! A row as a map from the names of its columns, also if it is a tuple.

use std::fmt::Display;

use datafusion::arrow::datatypes::Fields;
use serde::Serialize;
use serde::ser::{Error, Impossible, SerializeMap, SerializeSeq, SerializeTuple, SerializeTupleStruct, Serializer};

/// A row and its columns.
pub struct Row<'a, T> {
    pub row: &'a T,
    pub fields: &'a Fields,
}

impl<T: Serialize> Serialize for Row<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.row.serialize(RowSerializer { inner: serializer, fields: self.fields })
    }
}

/// Passes structs and maps on, and gives the elements of tuples their names.
struct RowSerializer<'a, S> {
    inner: S,
    fields: &'a Fields,
}

fn no_row<E: Error>(what: impl Display) -> E {
    E::custom(format_args!("a row must be a struct, a tuple or a map, not {what}"))
}

macro_rules! no_rows {
    ($($method:ident($type:ty) $what:literal;)+) => {$(
        fn $method(self, _: $type) -> Result<S::Ok, S::Error> {
            Err(no_row($what))
        }
    )+};
}

impl<'a, S: Serializer> RowSerializer<'a, S> {
    fn named(self, len: usize) -> Result<Named<'a, S::SerializeMap>, S::Error> {
        if len != self.fields.len() {
            let columns = self.fields.len();
            return Err(S::Error::custom(format_args!("a row of {len} values for {columns} columns")));
        }
        Ok(Named { map: self.inner.serialize_map(Some(len))?, fields: self.fields.iter() })
    }
}

impl<'a, S: Serializer> Serializer for RowSerializer<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Named<'a, S::SerializeMap>;
    type SerializeTuple = Named<'a, S::SerializeMap>;
    type SerializeTupleStruct = Named<'a, S::SerializeMap>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = S::SerializeMap;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = Impossible<S::Ok, S::Error>;

    no_rows! {
        serialize_bool(bool) "a boolean";
        serialize_i8(i8) "a number";
        serialize_i16(i16) "a number";
        serialize_i32(i32) "a number";
        serialize_i64(i64) "a number";
        serialize_u8(u8) "a number";
        serialize_u16(u16) "a number";
        serialize_u32(u32) "a number";
        serialize_u64(u64) "a number";
        serialize_f32(f32) "a number";
        serialize_f64(f64) "a number";
        serialize_char(char) "a character";
        serialize_str(&str) "a text";
        serialize_bytes(&[u8]) "bytes";
        serialize_unit_struct(&'static str) "a struct without fields";
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        Err(no_row("None"))
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        Err(no_row("()"))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        Err(no_row(format_args!("the variant '{variant}'")))
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        // A struct around one value: the one column, or the row itself.
        if self.fields.len() != 1 {
            return value.serialize(self);
        }
        let mut named = self.named(1)?;
        named.add(value)?;
        named.map.end()
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<S::Ok, S::Error> {
        Err(no_row(format_args!("the variant '{variant}'")))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let len = len.unwrap_or(self.fields.len());
        self.named(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.named(len)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.named(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Err(no_row(format_args!("the variant '{variant}'")))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.inner.serialize_map(len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.inner.serialize_struct(name, len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Err(no_row(format_args!("the variant '{variant}'")))
    }
}

/// Values that get the names of the columns, the one after the other.
pub struct Named<'a, M> {
    map: M,
    fields: std::slice::Iter<'a, datafusion::arrow::datatypes::FieldRef>,
}

impl<M: SerializeMap> Named<'_, M> {
    fn add<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        match self.fields.next() {
            Some(field) => self.map.serialize_entry(field.name(), value),
            None => Err(M::Error::custom("a row has more values than columns")),
        }
    }
}

impl<M: SerializeMap> SerializeSeq for Named<'_, M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        self.add(value)
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}

impl<M: SerializeMap> SerializeTuple for Named<'_, M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        self.add(value)
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}

impl<M: SerializeMap> SerializeTupleStruct for Named<'_, M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        self.add(value)
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}
