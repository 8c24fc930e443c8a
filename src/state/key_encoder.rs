//! Key columns as bytes, by which keys are compared, and their hashes.
//!
//! One column of texts is its own encoding: no byte of it is copied before it goes into an index. Numbers and times by
//! themselves are the bytes of their values. Everything else is in Arrow's row format.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, StringViewArray, StringViewBuilder, make_array,
};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::hash_utils::{RandomState, create_hashes};

use super::key_index::MISSING;
use crate::error::Result;

const HASH_SEED: u64 = 42;
/// The key of a text that is NULL: no text has this byte.
const NULL_TEXT: &[u8] = &[0xFF];
/// The key of a number that is NULL: a number has as many bytes as its type.
const NULL_NUMBER: &[u8] = &[];

/// Key columns to keys and back, for every index over keys of these types.
pub struct KeyEncoder {
    types: Vec<DataType>,
    form: Form,
    random_state: RandomState,
}

enum Form {
    /// One column of texts.
    Text,
    /// One column of values of this many bytes.
    Number(usize),
    Rows(RowConverter),
}

/// The keys of some rows, and their hashes.
#[derive(Clone)]
pub struct EncodedKeys {
    bytes: KeyBytes,
    hashes: Arc<Vec<u64>>,
    len: usize,
}

#[derive(Clone)]
enum KeyBytes {
    Text(StringViewArray),
    Number(Numbers),
    Rows(Arc<Rows>),
}

/// Values of one width, some of them NULL.
#[derive(Clone)]
struct Numbers {
    array: ArrayRef,
    values: Buffer,
    width: usize,
}

impl EncodedKeys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Those of the first `len` rows.
    pub fn first(&self, len: usize) -> Self {
        Self { len: len.min(self.len), ..self.clone() }
    }

    /// What looking them up gives where there are no keys yet; see [`KeyIndex::locate`](super::KeyIndex::locate).
    pub fn without_slots(&self) -> Vec<u32> {
        vec![MISSING; self.len()]
    }

    /// The hashes of the keys.
    #[inline]
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes[..self.len]
    }

    /// The key of a row.
    #[inline]
    pub(super) fn key(&self, row: usize) -> &[u8] {
        match &self.bytes {
            KeyBytes::Text(texts) if texts.is_null(row) => NULL_TEXT,
            KeyBytes::Text(texts) => texts.value(row).as_bytes(),
            KeyBytes::Number(numbers) if numbers.array.is_null(row) => NULL_NUMBER,
            KeyBytes::Number(Numbers { values, width, .. }) => &values[row * width..(row + 1) * width],
            KeyBytes::Rows(rows) => rows.row(row).data(),
        }
    }
}

impl KeyEncoder {
    /// An encoder for keys of these types. No types: one key, the empty one.
    pub fn try_new(types: Vec<DataType>) -> Result<Self> {
        let form = match types.as_slice() {
            [DataType::Utf8View] => Form::Text,
            [number] if number.is_integer() || number.is_temporal() => {
                Form::Number(number.primitive_width().unwrap_or(8))
            }
            [] => Form::Rows(RowConverter::new(vec![SortField::new(DataType::Boolean)])?),
            _ => Form::Rows(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?),
        };
        Ok(Self { form, types, random_state: RandomState::with_seed(HASH_SEED) })
    }

    /// Types of the key columns.
    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The keys in these columns of `rows` rows.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedKeys> {
        let dummy: [ArrayRef; 1];
        let columns = if columns.is_empty() {
            dummy = [Arc::new(BooleanArray::from(vec![false; rows]))];
            &dummy[..]
        } else {
            columns
        };
        let mut hashes = vec![0; rows];
        create_hashes(columns, &self.random_state, &mut hashes)?;
        let bytes = match (&self.form, columns) {
            (Form::Text, [texts]) => KeyBytes::Text(texts.as_string_view().clone()),
            (Form::Number(width), [numbers]) => KeyBytes::Number(Numbers::new(numbers, *width)),
            (Form::Rows(converter), _) => KeyBytes::Rows(Arc::new(converter.convert_columns(columns)?)),
            _ => return Err(crate::Error::internal("keys of one column were given more")),
        };
        Ok(EncodedKeys { bytes, hashes: Arc::new(hashes), len: rows })
    }

    /// The columns of these keys.
    pub fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        match &self.form {
            Form::Text => Ok(vec![texts(keys)?]),
            Form::Number(width) => Ok(vec![numbers(&self.types[0], *width, keys)?]),
            Form::Rows(converter) => {
                let parser = converter.parser();
                let mut columns = converter.convert_rows(keys.map(|k| parser.parse(k)))?;
                columns.truncate(self.types.len());
                Ok(columns)
            }
        }
    }
}

impl Numbers {
    fn new(array: &ArrayRef, width: usize) -> Self {
        let data = array.to_data();
        let values = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
        Self { array: array.clone(), values, width }
    }
}

fn texts<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
    let mut texts = StringViewBuilder::with_capacity(keys.size_hint().0);
    for key in keys {
        match key == NULL_TEXT {
            true => texts.append_null(),
            false => texts.append_value(std::str::from_utf8(key).map_err(|e| crate::Error::internal(e.to_string()))?),
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn numbers<'a>(data_type: &DataType, width: usize, keys: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
    let (mut values, mut valid) = (Vec::with_capacity(keys.size_hint().0 * width), vec![]);
    for key in keys {
        valid.push(key != NULL_NUMBER);
        values.extend_from_slice(key);
        values.resize(valid.len() * width, 0);
    }
    let nulls = valid.iter().any(|v| !v).then(|| valid.as_slice().into());
    let data = ArrayData::builder(data_type.clone()).len(valid.len()).nulls(nulls).add_buffer(Buffer::from_vec(values));
    Ok(make_array(data.align_buffers(true).build()?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, Int64Array, TimestampMicrosecondArray, UInt8Array};

    use super::*;

    fn encoded(column: ArrayRef) {
        let encoder = KeyEncoder::try_new(vec![column.data_type().clone()]).unwrap();
        let keys = encoder.encode(std::slice::from_ref(&column), column.len()).unwrap();
        let back = encoder.decode((0..column.len()).map(|row| keys.key(row))).unwrap();
        assert_eq!(back[0].as_ref(), column.as_ref());
        let distinct: std::collections::HashSet<&[u8]> = (0..column.len()).map(|row| keys.key(row)).collect();
        assert_eq!(distinct.len(), column.len(), "{column:?}");
    }

    #[test]
    fn columns_come_back_and_null_is_like_nothing_else() {
        let texts = [Some(""), None, Some("\u{ff}"), Some("a text that is longer than a view"), Some("a")];
        encoded(Arc::new(StringViewArray::from_iter(texts).slice(1, 3)));
        encoded(Arc::new(StringViewArray::from_iter(texts)));
        encoded(Arc::new(Int64Array::from(vec![Some(1), None, Some(0), Some(-1)]).slice(1, 3)));
        encoded(Arc::new(UInt8Array::from(vec![Some(1), None, Some(0)])));
        encoded(Arc::new(Date32Array::from(vec![1, 2])));
        encoded(Arc::new(TimestampMicrosecondArray::from(vec![Some(i64::MIN), None]).with_timezone("UTC")));
        encoded(Arc::new(datafusion::arrow::array::Float64Array::from(vec![Some(0.5), None, Some(-0.5)])));
    }
}
