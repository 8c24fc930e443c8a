//! Rows of Arrow as values of Rust, and back: what functions of the user are given, and what they give.
//!
//! A row is a struct (by the names of its columns), a tuple (by their order) or a map. A TIMESTAMP is a number of
//! microseconds since the epoch or an RFC 3339 text, whichever the type asks for; a DECIMAL and a DATE are texts.

mod de;
mod ser;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use de::{decode_column, decode_rows};

use crate::error::{Error, Result};
use ser::Row;

/// The rows of one group in a batch, in the order of their arrival; none if the function is called for a timeout.
#[derive(Debug, Clone)]
pub struct Rows<T>(std::vec::IntoIter<T>);

impl<T> Rows<T> {
    /// Whether no row is left.
    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// The rows that are left.
    pub fn as_slice(&self) -> &[T] {
        self.0.as_slice()
    }
}

impl<T> From<Vec<T>> for Rows<T> {
    fn from(rows: Vec<T>) -> Self {
        Self(rows.into_iter())
    }
}

impl<T> Iterator for Rows<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for Rows<T> {}

impl<T> DoubleEndedIterator for Rows<T> {
    fn next_back(&mut self) -> Option<T> {
        self.0.next_back()
    }
}

/// How a function takes the rows of a group: as [`Rows`] of a type that serde can make, or as a [`RecordBatch`].
pub trait GroupRows: Sized + 'static {
    /// All groups of a batch, the one after the other.
    #[doc(hidden)]
    type Groups;

    /// Decodes a batch whose rows are sorted by group.
    #[doc(hidden)]
    fn decode(rows: &RecordBatch) -> Result<Self::Groups>;

    /// The next `len` rows.
    #[doc(hidden)]
    fn next(groups: &mut Self::Groups, len: usize) -> Self;
}

impl<T: DeserializeOwned + 'static> GroupRows for Rows<T> {
    type Groups = std::vec::IntoIter<T>;

    fn decode(rows: &RecordBatch) -> Result<Self::Groups> {
        Ok(decode_rows::<T>(rows)?.into_iter())
    }

    fn next(groups: &mut Self::Groups, len: usize) -> Self {
        groups.by_ref().take(len).collect::<Vec<_>>().into()
    }
}

impl GroupRows for RecordBatch {
    type Groups = (RecordBatch, usize);

    fn decode(rows: &RecordBatch) -> Result<Self::Groups> {
        Ok((rows.clone(), 0))
    }

    fn next((rows, at): &mut Self::Groups, len: usize) -> Self {
        let len = len.min(rows.num_rows() - *at);
        let group = rows.slice(*at, len);
        *at += len;
        group
    }
}

/// What a function gives for a group: a `Vec`, an array or an `Option` of rows that serde can take apart, or a
/// [`RecordBatch`].
pub trait OutputRows: 'static {
    /// The rows of several calls.
    #[doc(hidden)]
    type Buffer: OutputBuffer;

    /// No rows.
    fn none() -> Self;

    /// Appends the rows.
    #[doc(hidden)]
    fn append_to(self, buffer: &mut Self::Buffer);
}

/// Rows that become batches of one schema.
#[doc(hidden)]
pub trait OutputBuffer: Default {
    /// The rows as batches of at most `size` rows.
    fn finish(self, schema: &SchemaRef, size: usize) -> Result<Vec<RecordBatch>>;
}

/// Rows of a type that serde can take apart.
#[doc(hidden)]
#[derive(Debug)]
pub struct TypedBuffer<T>(Vec<T>);

impl<T> Default for TypedBuffer<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T: Serialize> OutputBuffer for TypedBuffer<T> {
    fn finish(self, schema: &SchemaRef, size: usize) -> Result<Vec<RecordBatch>> {
        self.0.chunks(size.max(1)).map(|rows| encode_rows(rows, schema)).collect()
    }
}

macro_rules! typed_output {
    ($($(#[$doc:meta])* [$($generics:tt)*] $type:ty, $none:expr;)+) => {$(
        impl<$($generics)*> OutputRows for $type {
            type Buffer = TypedBuffer<T>;

            fn none() -> Self {
                $none
            }

            fn append_to(self, buffer: &mut Self::Buffer) {
                buffer.0.extend(self);
            }
        }
    )+};
}

typed_output! {
    [T: Serialize + 'static] Vec<T>, vec![];
    [T: Serialize + 'static] Option<T>, None;
}

/// Batches as they are.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct ArrowBuffer(Vec<RecordBatch>);

impl OutputBuffer for ArrowBuffer {
    fn finish(self, schema: &SchemaRef, _size: usize) -> Result<Vec<RecordBatch>> {
        self.0.into_iter().map(|rows| conform(rows.columns(), rows.schema_ref(), schema)).collect()
    }
}

impl OutputRows for RecordBatch {
    type Buffer = ArrowBuffer;

    fn none() -> Self {
        RecordBatch::new_empty(Arc::new(datafusion::arrow::datatypes::Schema::empty()))
    }

    fn append_to(self, buffer: &mut Self::Buffer) {
        if self.num_rows() > 0 {
            buffer.0.push(self);
        }
    }
}

/// Columns given by a function under the schema that was promised.
fn conform(columns: &[ArrayRef], given: &SchemaRef, schema: &SchemaRef) -> Result<RecordBatch> {
    let types = |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    if types(given) != types(schema) {
        let message = format!("a function gave a record batch of {given:?} where {schema:?} was declared");
        return Err(Error::execution("EXPRESSION_ENCODING_FAILED", message)
            .with_help("give columns of the declared types, in the declared order"));
    }
    RecordBatch::try_new(schema.clone(), columns.to_vec()).map_err(|e| encoding_failed(&e))
}

/// Rows as a batch.
pub fn encode_rows<T: Serialize>(rows: &[T], schema: &SchemaRef) -> Result<RecordBatch> {
    let decoder = datafusion::arrow::json::ReaderBuilder::new(schema.clone()).with_strict_mode(true).build_decoder();
    let mut decoder = decoder.map_err(|e| encoding_failed(&e))?;
    let named: Vec<_> = rows.iter().map(|row| Row { row, fields: schema.fields() }).collect();
    decoder.serialize(&named).map_err(|e| encoding_failed(&e))?;
    let batch = decoder.flush().map_err(|e| encoding_failed(&e))?;
    let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)
}

fn encoding_failed(e: &dyn fmt::Display) -> Error {
    Error::execution("EXPRESSION_ENCODING_FAILED", format!("a row that a function gave does not fit its columns: {e}"))
        .with_help("a row is a struct with the names of the declared columns, or a tuple in their order")
}

fn decoding_failed(what: &str, e: &dyn fmt::Display) -> Error {
    Error::execution("EXPRESSION_DECODING_FAILED", format!("{what} does not fit the type of the function: {e}"))
        .with_help("columns that may be NULL need an Option; several columns are a struct or a tuple")
}

/// Dictionaries and run-ends taken apart, so that a cell is found by its row; times in microseconds.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Timestamp(_, zone) => Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?),
        DataType::Dictionary(_, values) => Ok(cast(column, values)?),
        DataType::RunEndEncoded(_, values) => Ok(cast(column, values.data_type())?),
        _ => Ok(column.clone()),
    }
}

#[cfg(test)]
mod tests;
