//! Columns as bytes: the buffers of Arrow's columnar format, one after the other, in the order of the type. Numbers of eight bytes
//! that need fewer are written with fewer, and texts without the views that point to them.
//!
//! Owns: the layout of a column in a record. Does not own: schemas (they are written once per file), checksums. Bytes
//! that get here were verified; what is wrong in them nevertheless is an error, never a panic.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::types::{
    BinaryType, BinaryViewType, ByteArrayType, ByteViewType, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type,
};
use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BinaryViewArray, GenericByteArray, GenericByteViewArray,
    GenericListArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StringArray, StringViewArray, make_array,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};

use crate::error::{Error, Result};
use crate::type_name::sql_type_name;

#[cfg(target_endian = "big")]
compile_error!("the checkpoint writes Arrow's buffers as they are and needs a little-endian machine");

/// Everything in a record starts at a multiple of this, enough for the widest Arrow value.
pub(super) const ALIGNMENT: usize = 16;

const HAS_VALIDITY: u32 = 1;
/// Of a column of views: lengths and then bytes, one value after the other.
const IN_A_ROW: u32 = 2;
/// Values from which on views are written in a row: of fewer they are smaller.
const MANY: usize = 8;

/// Appends the columns of `batch` to `out`.
pub(super) fn encode_columns(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    pad(out);
    for column in batch.columns() {
        match stored_type(column.data_type())? {
            Cow::Borrowed(_) => encode(column, out)?,
            Cow::Owned(stored) => encode(&cast(column, &stored)?, out)?,
        }
    }
    Ok(())
}

/// Reads columns of `schema` that [`encode_columns`] wrote.
pub(super) fn decode_columns(schema: SchemaRef, rows: usize, cursor: &mut Cursor) -> Result<RecordBatch> {
    cursor.align();
    let columns = schema.fields().iter().map(|f| decode_column(f.data_type(), cursor)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn decode_column(data_type: &DataType, cursor: &mut Cursor) -> Result<ArrayRef> {
    match stored_type(data_type)? {
        Cow::Borrowed(_) => Ok(make_array(decode(data_type, cursor)?)),
        Cow::Owned(stored) => Ok(cast(&make_array(decode(&stored, cursor)?), data_type)?),
    }
}

/// The type a column is written as. Encodings that only save memory (dictionaries, runs, list views) are undone, so that
/// a one-row change of a dictionary column does not write the dictionary.
fn stored_type(data_type: &DataType) -> Result<Cow<'_, DataType>> {
    let plain = |field: &FieldRef| -> Result<FieldRef> {
        let stored = stored_type(field.data_type())?.into_owned();
        Ok(Arc::new(Field::clone(field).with_data_type(stored)))
    };
    let stored = match data_type {
        DataType::Dictionary(_, values) => stored_type(values)?.into_owned(),
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type())?.into_owned(),
        DataType::ListView(field) => DataType::List(plain(field)?),
        DataType::LargeListView(field) => DataType::LargeList(plain(field)?),
        DataType::List(field) => DataType::List(plain(field)?),
        DataType::LargeList(field) => DataType::LargeList(plain(field)?),
        DataType::FixedSizeList(field, n) => DataType::FixedSizeList(plain(field)?, *n),
        DataType::Map(field, sorted) => DataType::Map(plain(field)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect::<Result<_>>()?),
        DataType::Union(..) => {
            return Err(Error::unsupported(
                "UNSUPPORTED_STATE_TYPE",
                format!(
                    "a column of type {} cannot be kept in the state of a streaming query",
                    sql_type_name(data_type)
                ),
            )
            .with_help("keep one of its members, or its text: CAST(… AS STRING)"));
        }
        _ => return Ok(Cow::Borrowed(data_type)),
    };
    Ok(if stored == *data_type { Cow::Borrowed(data_type) } else { Cow::Owned(stored) })
}

fn encode(array: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
    match array.data_type() {
        DataType::Null => node(array, 0, out),
        DataType::Boolean => {
            node(array, 1, out);
            bits(array.as_boolean().values(), out);
        }
        DataType::Utf8 => encode_bytes::<Utf8Type>(array.as_bytes(), out),
        DataType::LargeUtf8 => encode_bytes::<LargeUtf8Type>(array.as_bytes(), out),
        DataType::Binary => encode_bytes::<BinaryType>(array.as_bytes(), out),
        DataType::LargeBinary => encode_bytes::<LargeBinaryType>(array.as_bytes(), out),
        DataType::Utf8View => encode_views::<StringViewType>(array, out),
        DataType::BinaryView => encode_views::<BinaryViewType>(array, out),
        DataType::List(_) => encode_list::<i32>(array.as_list(), out)?,
        DataType::LargeList(_) => encode_list::<i64>(array.as_list(), out)?,
        DataType::Map(..) => {
            let map = array.as_map();
            node(array, 1, out);
            let (first, length) = encode_offsets(map.offsets(), out);
            encode(&map.entries().slice(first, length), out)?;
        }
        DataType::FixedSizeList(..) => {
            node(array, 0, out);
            encode(array.as_fixed_size_list().values(), out)?;
        }
        DataType::Struct(_) => {
            node(array, 0, out);
            for child in array.as_struct().columns() {
                encode(child, out)?;
            }
        }
        DataType::FixedSizeBinary(width) => encode_fixed(array, usize::try_from(*width).unwrap_or(0), out)?,
        other => match other.primitive_width() {
            Some(width) => encode_fixed(array, width, out)?,
            None => return Err(Error::internal(format!("no encoding for a column of type {other}"))),
        },
    }
    Ok(())
}

fn encode_fixed(array: &dyn Array, width: usize, out: &mut Vec<u8>) -> Result<()> {
    node(array, 1, out);
    let data = array.to_data();
    let bytes = data.buffers().first().map(Buffer::as_slice).unwrap_or_default();
    let start = data.offset() * width;
    match bytes.get(start..start + data.len() * width) {
        Some(bytes) if width == 8 && !array.data_type().is_floating() => numbers(bytes, out),
        Some(bytes) => buffer(bytes, out),
        None => {
            return Err(Error::internal(format!("a column of type {} is shorter than its length", array.data_type())));
        }
    }
    Ok(())
}

/// Writes numbers of eight bytes with as many as all of them need.
fn numbers(bytes: &[u8], out: &mut Vec<u8>) {
    let values = || bytes.as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value));
    let (least, most) = values().fold((0, 0), |(least, most): (i64, i64), v| (least.min(v), most.max(v)));
    let fits = |width: u32| {
        let most_of = i64::MAX >> (64 - 8 * width);
        least >= -most_of - 1 && most <= most_of
    };
    match [1, 2, 4].into_iter().find(|width| fits(*width)) {
        Some(1) => narrow(values().map(|v| (v as i8).to_le_bytes()), out),
        Some(2) => narrow(values().map(|v| (v as i16).to_le_bytes()), out),
        Some(_) => narrow(values().map(|v| (v as i32).to_le_bytes()), out),
        None => buffer(bytes, out),
    }
}

/// A buffer of values of `WIDTH` bytes each, which the place after its length says.
fn narrow<const WIDTH: usize>(values: impl ExactSizeIterator<Item = [u8; WIDTH]>, out: &mut Vec<u8>) {
    out.extend_from_slice(&((values.len() * WIDTH) as u64).to_le_bytes());
    out.extend_from_slice(&(WIDTH as u64).to_le_bytes());
    out.reserve(values.len() * WIDTH + ALIGNMENT);
    values.for_each(|value| out.extend_from_slice(&value));
    pad(out);
}

/// Numbers that were written with `width` bytes each.
fn widened(bytes: &Buffer, width: usize) -> Result<Buffer> {
    let values: Vec<i64> = match width {
        1 => bytes.iter().map(|v| i64::from(*v as i8)).collect(),
        2 => bytes.as_chunks::<2>().0.iter().map(|v| i64::from(i16::from_le_bytes(*v))).collect(),
        4 => bytes.as_chunks::<4>().0.iter().map(|v| i64::from(i32::from_le_bytes(*v))).collect(),
        _ => return Err(malformed()),
    };
    Ok(Buffer::from_vec(values))
}

fn encode_bytes<T: ByteArrayType>(array: &GenericByteArray<T>, out: &mut Vec<u8>) {
    node(array, 2, out);
    let (first, length) = encode_offsets(array.offsets(), out);
    buffer(&array.value_data()[first..first + length], out);
}

fn encode_list<O: OffsetSizeTrait>(array: &GenericListArray<O>, out: &mut Vec<u8>) -> Result<()> {
    node(array, 1, out);
    let (first, length) = encode_offsets(array.offsets(), out);
    encode(&array.values().slice(first, length), out)
}

/// Writes offsets so that they start at 0; returns where the values they point to start, and how many there are.
fn encode_offsets<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, out: &mut Vec<u8>) -> (usize, usize) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    if first == O::zero() {
        buffer(offsets.inner().inner().as_slice(), out);
    } else {
        let moved: Vec<O> = offsets.iter().map(|o| *o - first).collect();
        buffer(Buffer::from_vec(moved).as_slice(), out);
    }
    (first.as_usize(), (last - first).as_usize())
}

fn encode_views<T: ByteViewType>(array: &dyn Array, out: &mut Vec<u8>) {
    let array = array.as_byte_view::<T>();
    if array.len() >= MANY && encode_in_a_row(array, out) {
        return;
    }
    let held: usize = array.data_buffers().iter().map(Buffer::len).sum();
    // Views point into buffers that other rows share: only what these rows use may be written.
    let array = if held == array.total_buffer_bytes_used() { Cow::Borrowed(array) } else { Cow::Owned(array.gc()) };
    node(&*array, 1 + array.data_buffers().len(), out);
    buffer(array.views().inner().as_slice(), out);
    for data in array.data_buffers().iter() {
        buffer(data.as_slice(), out);
    }
}

/// Writes lengths and bytes of the values; `false`, and nothing, if they are too long for that.
fn encode_in_a_row<T: ByteViewType>(array: &GenericByteViewArray<T>, out: &mut Vec<u8>) -> bool {
    let length = |(row, view): (usize, &u128)| if array.is_null(row) { 0 } else { *view as u32 };
    let lengths = || array.views().iter().enumerate().map(length);
    let (total, longest) = lengths().fold((0, 0), |(total, longest), len| (total + u64::from(len), len.max(longest)));
    if i32::try_from(total).is_err() {
        return false;
    }
    flagged_node(array, 2, IN_A_ROW, out);
    match longest {
        0..0x100 => narrow(lengths().map(|len| [len as u8]), out),
        0x100..0x1_0000 => narrow(lengths().map(|len| (len as u16).to_le_bytes()), out),
        _ => narrow(lengths().map(u32::to_le_bytes), out),
    }
    out.extend_from_slice(&total.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.reserve(total as usize + ALIGNMENT);
    array.iter().flatten().for_each(|value| out.extend_from_slice(value.as_ref()));
    pad(out);
    true
}

fn node(array: &dyn Array, buffers: usize, out: &mut Vec<u8>) {
    flagged_node(array, buffers, 0, out);
}

fn flagged_node(array: &dyn Array, buffers: usize, flags: u32, out: &mut Vec<u8>) {
    let nulls = array.nulls().filter(|n| n.null_count() > 0);
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    out.extend_from_slice(&(flags | if nulls.is_some() { HAS_VALIDITY } else { 0 }).to_le_bytes());
    out.extend_from_slice(&(buffers as u32).to_le_bytes());
    if let Some(nulls) = nulls {
        bits(nulls.inner(), out);
    }
}

fn bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let packed = bits.sliced();
    let bytes = packed.as_slice();
    buffer(&bytes[..bits.len().div_ceil(8).min(bytes.len())], out);
}

fn buffer(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(bytes);
    pad(out);
}

/// Fills up to the next multiple of [`ALIGNMENT`].
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn decode(data_type: &DataType, cursor: &mut Cursor) -> Result<ArrayData> {
    let len = usize::try_from(cursor.u64()?).map_err(|_| malformed())?;
    let (flags, buffers) = (cursor.u32()?, cursor.u32()?);
    let nulls = if flags & HAS_VALIDITY == 0 {
        None
    } else {
        let bits = cursor.buffer()?;
        if bits.len() != len.div_ceil(8) {
            return Err(malformed());
        }
        Some(NullBuffer::new(BooleanBuffer::new(bits, 0, len)))
    };
    if flags & IN_A_ROW != 0 {
        return decode_in_a_row(data_type, len, nulls, cursor);
    }
    let mut data = ArrayData::builder(data_type.clone()).len(len).nulls(nulls);
    for _ in 0..buffers {
        let (bytes, width) = cursor.buffer_of_width()?;
        let is_number = || data_type.primitive_width() == Some(8);
        data = data.add_buffer(match width {
            0 => bytes,
            _ if is_number() => widened(&bytes, width)?,
            _ => return Err(malformed()),
        });
    }
    for child in children(data_type) {
        data = data.add_child_data(decode(child.data_type(), cursor)?);
    }
    Ok(data.build()?)
}

fn decode_in_a_row(
    data_type: &DataType,
    len: usize,
    nulls: Option<NullBuffer>,
    cursor: &mut Cursor,
) -> Result<ArrayData> {
    let (lengths, width) = cursor.buffer_of_width()?;
    let bytes = cursor.buffer()?;
    if lengths.len().checked_div(width) != Some(len) {
        return Err(malformed());
    }
    let mut offsets = vec![0_i32];
    offsets.reserve(len);
    let mut end = 0_i32;
    for length in lengths.chunks_exact(width) {
        let length = match *length {
            [a] => u32::from(a),
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => return Err(malformed()),
        };
        end = end.checked_add_unsigned(length).ok_or_else(malformed)?;
        offsets.push(end);
    }
    if end as usize != bytes.len() {
        return Err(malformed());
    }
    let offsets = OffsetBuffer::new(offsets.into());
    match data_type {
        DataType::Utf8View => Ok(StringViewArray::from(&StringArray::try_new(offsets, bytes, nulls)?).into_data()),
        DataType::BinaryView => Ok(BinaryViewArray::from(&BinaryArray::try_new(offsets, bytes, nulls)?).into_data()),
        _ => Err(malformed()),
    }
}

fn children(data_type: &DataType) -> &[FieldRef] {
    match data_type {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::Map(f, _) => {
            std::slice::from_ref(f)
        }
        DataType::Struct(fields) => fields,
        _ => &[],
    }
}

/// Reads a body from front to back without copying buffers.
#[derive(Debug)]
pub(super) struct Cursor {
    body: Buffer,
    position: usize,
}

impl Cursor {
    /// Reads from the start of `body`, which should be aligned in memory.
    pub(super) fn new(body: Buffer) -> Self {
        Self { body, position: 0 }
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<Buffer> {
        let end = self.position.checked_add(n).filter(|end| *end <= self.body.len()).ok_or_else(malformed)?;
        let taken = self.body.slice_with_length(self.position, n);
        self.position = end;
        Ok(taken)
    }

    /// Goes to the next multiple of [`ALIGNMENT`].
    pub(super) fn align(&mut self) {
        self.position = self.position.next_multiple_of(ALIGNMENT);
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn buffer(&mut self) -> Result<Buffer> {
        self.buffer_of_width().map(|(bytes, _)| bytes)
    }

    /// The next buffer, and the bytes of each of its values if they are fewer than the type has.
    fn buffer_of_width(&mut self) -> Result<(Buffer, usize)> {
        let len = usize::try_from(self.u64()?).map_err(|_| malformed())?;
        let width = usize::try_from(self.u64()?).map_err(|_| malformed())?;
        let bytes = self.take(len)?;
        self.align();
        Ok((bytes, width))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.position.checked_add(N).and_then(|end| self.body.get(self.position..end));
        let bytes = taken.and_then(|b| b.try_into().ok()).ok_or_else(malformed)?;
        self.position += N;
        Ok(bytes)
    }
}

/// A body whose checksum holds but whose content makes no sense.
pub(super) fn malformed() -> Error {
    Error::checkpoint("CHECKPOINT_CORRUPT", "a record of the checkpoint has a valid checksum but no valid content")
        .with_help("it was written by something else than this program: restore the checkpoint from a backup")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::*;
    use datafusion::arrow::datatypes::{Int32Type, IntervalMonthDayNano, Schema, i256};
    use proptest::prelude::*;

    use super::*;

    fn round_trip(batch: &RecordBatch) -> Vec<u8> {
        let mut bytes = vec![];
        encode_columns(batch, &mut bytes).unwrap();
        let mut cursor = Cursor::new(Buffer::from(bytes.as_slice()));
        let read = decode_columns(batch.schema(), batch.num_rows(), &mut cursor).unwrap();
        assert_eq!(&read, batch);
        assert_eq!(cursor.position, cursor.body.len());
        bytes
    }

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let fields = columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true));
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
    }

    fn strings(values: &[Option<String>]) -> Vec<Option<&str>> {
        values.iter().map(Option::as_deref).collect()
    }

    fn all_types(ints: &[Option<i64>], texts: &[Option<String>]) -> RecordBatch {
        let texts = strings(texts);
        let bytes: Vec<_> = texts.iter().map(|t| t.map(str::as_bytes)).collect();
        let mut list = ListBuilder::new(StringViewBuilder::new());
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        let mut fixed = FixedSizeListBuilder::new(Int64Builder::new(), 2);
        for (i, t) in ints.iter().zip(&texts) {
            list.append_option(t.map(|t| t.split('a').map(Some).collect::<Vec<_>>()));
            map.keys().append_value(t.unwrap_or("none"));
            map.values().append_option(*i);
            map.append(i.is_some()).unwrap();
            fixed.values().append_option(*i);
            fixed.values().append_null();
            fixed.append(t.is_some());
        }
        let int_array: ArrayRef = Arc::new(Int64Array::from(ints.to_vec()));
        let list: ArrayRef = Arc::new(list.finish());
        let nested = StructArray::from(vec![
            (Arc::new(Field::new("x", list.data_type().clone(), true)), Arc::clone(&list)),
            (Arc::new(Field::new("y", DataType::Int64, true)), Arc::clone(&int_array)),
        ]);
        let wide = ints.iter().map(|i| i.map(i256::from)).collect::<Decimal256Array>();
        let months = ints.iter().map(|i| i.map(|i| IntervalMonthDayNano::new(1, 2, i))).collect();
        batch(vec![
            Arc::clone(&int_array),
            Arc::new(BooleanArray::from(ints.iter().map(|i| i.map(|i| i % 2 == 0)).collect::<Vec<_>>())),
            Arc::new(ints.iter().map(|i| i.map(i128::from)).collect::<Decimal128Array>()),
            Arc::new(wide),
            Arc::new(TimestampMicrosecondArray::from(ints.to_vec()).with_timezone("UTC")),
            Arc::new(IntervalMonthDayNanoArray::from(Vec::from_iter::<Vec<_>>(months))),
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(LargeStringArray::from(texts.clone())),
            Arc::new(StringViewArray::from(texts.clone())),
            Arc::new(BinaryArray::from(bytes.clone())),
            Arc::new(BinaryViewArray::from(bytes)),
            Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>()),
            Arc::new(NullArray::new(ints.len())),
            list,
            Arc::new(map.finish()),
            Arc::new(fixed.finish()),
            Arc::new(nested),
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_type_comes_back(
            rows in prop::collection::vec((any::<Option<i64>>(), prop::option::of("[a-c]{0,30}")), 0..40),
            bits in 1..64_u32,
            cut in (0..40usize, 0..40usize),
        ) {
            let (ints, texts): (Vec<_>, Vec<_>) = rows.into_iter().map(|(i, t)| (i.map(|i| i >> bits), t)).unzip();
            let whole = all_types(&ints, &texts);
            round_trip(&whole);
            let start = cut.0.min(ints.len());
            round_trip(&whole.slice(start, cut.1.min(ints.len() - start)));
        }

        #[test]
        fn no_bytes_make_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let schema = all_types(&[Some(1)], &[None]).schema();
            for field in schema.fields() {
                let _ = decode_column(field.data_type(), &mut Cursor::new(Buffer::from(garbage.as_slice())));
            }
        }

        #[test]
        fn no_changed_word_makes_a_panic(at in 0..400usize, value in any::<u32>()) {
            let whole = all_types(&[Some(1), None], &[Some("a long enough string".into()), None]);
            for (column, field) in whole.columns().iter().zip(whole.schema().fields()) {
                let mut bytes = vec![];
                encode_columns(&batch(vec![Arc::clone(column)]), &mut bytes).unwrap();
                if let Some(word) = bytes.chunks_exact_mut(4).nth(at) {
                    word.copy_from_slice(&value.to_le_bytes());
                }
                let _ = decode_column(field.data_type(), &mut Cursor::new(Buffer::from(bytes.as_slice())));
            }
        }
    }

    #[test]
    fn one_row_of_a_large_array_writes_one_row() {
        let texts: Vec<_> = (0..10_000).map(|i| Some(format!("a string of some length {i}"))).collect();
        let texts = strings(&texts);
        let large = batch(vec![
            Arc::new(StringViewArray::from(texts.clone())),
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ]);
        let bytes = round_trip(&large.slice(5_000, 1));
        assert!(bytes.len() < 512, "{} bytes", bytes.len());
    }

    #[test]
    fn small_numbers_and_short_texts_take_few_bytes() {
        for (least, most, width) in [(-128, 127, 1), (-129, 0, 2), (0, 32_767, 2), (0, 32_768, 4), (i64::MIN, 0, 8)] {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(|i| [least, most][i % 2])));
            assert_eq!(round_trip(&batch(vec![numbers])).len(), (32 + 1000_usize * width).next_multiple_of(16));
        }
        for (length, width) in [(1, 1), (255, 1), (256, 2), (70_000, 4)] {
            let texts = StringViewArray::from_iter((0..100).map(|i| (i % 10 != 0).then(|| "x".repeat(length))));
            let size = 100 / 10 * 9 * length + 100 * width;
            assert!(round_trip(&batch(vec![Arc::new(texts)])).len() <= size + 112);
        }
    }

    #[test]
    fn rows_without_columns_come_back() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        round_trip(&RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap());
    }
}
