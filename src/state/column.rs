//! State columns of fixed-width values, in place by slot, in chunks that are copied on the first write after a freeze.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use datafusion::arrow::datatypes::DataType;

use super::StateBackend;
use super::backend::Block;
use super::prefetch::{AHEAD, prefetch};
use crate::error::{Error, Result};

const CHUNK_SLOTS: usize = 1024;

struct Chunk {
    values: Block,
    valid: [u64; CHUNK_SLOTS / 64],
}

/// One state column of a type whose values have 1, 2, 4, 8, 16 or 32 bytes.
#[derive(Clone)]
pub struct FixedColumn {
    data_type: DataType,
    width: usize,
    chunks: Vec<Arc<Chunk>>,
    /// Bytes of the chunks' values that are on the heap.
    on_heap: usize,
    backend: StateBackend,
}

/// Bytes of a value of this type, if it is one that [`FixedColumn`] holds.
pub fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        t => t.primitive_width(),
    }
}

macro_rules! by_width {
    ($width:expr, $call:ident($($arg:expr),*)) => {
        match $width {
            1 => $call::<1>($($arg),*),
            2 => $call::<2>($($arg),*),
            4 => $call::<4>($($arg),*),
            8 => $call::<8>($($arg),*),
            16 => $call::<16>($($arg),*),
            _ => $call::<32>($($arg),*),
        }
    };
}

impl FixedColumn {
    /// An empty column; `data_type` must have a [`fixed_width`].
    pub fn new(data_type: DataType, backend: StateBackend) -> Self {
        let width = fixed_width(&data_type).unwrap_or(8);
        Self { data_type, width, chunks: vec![], on_heap: 0, backend }
    }

    /// Makes room for `slots` slots, the new ones null.
    pub fn resize(&mut self, slots: usize) -> Result<()> {
        let chunks = slots.div_ceil(CHUNK_SLOTS);
        self.on_heap -= self.chunks.drain(chunks.min(self.chunks.len())..).map(|c| c.values.heap_size()).sum::<usize>();
        while self.chunks.len() < chunks {
            let values = self.backend.zeroed(CHUNK_SLOTS * self.width)?;
            self.on_heap += values.heap_size();
            self.chunks.push(Arc::new(Chunk { values, valid: [0; CHUNK_SLOTS / 64] }));
        }
        Ok(())
    }

    /// A chunk to write to: a copy, if an image has it too.
    #[inline]
    fn chunk_mut(&mut self, at: usize) -> Result<&mut Chunk> {
        if Arc::get_mut(&mut self.chunks[at]).is_none() {
            let shared = &self.chunks[at];
            let copy = Chunk { values: self.backend.block(&shared.values)?, valid: shared.valid };
            self.on_heap = self.on_heap + copy.values.heap_size() - shared.values.heap_size();
            self.chunks[at] = Arc::new(copy);
        }
        Arc::get_mut(&mut self.chunks[at]).ok_or_else(|| Error::internal("a new chunk of state is shared"))
    }

    /// The values of these slots.
    pub fn gather(&self, slots: impl ExactSizeIterator<Item = u32> + Clone) -> Result<ArrayRef> {
        let len = slots.len();
        let values = by_width!(self.width, gather_values(self, slots.clone()));
        let mut slots = slots;
        let valid = BooleanBuffer::collect_bool(len, |_| slots.next().is_some_and(|s| self.is_valid(s as usize)));
        let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        if self.data_type == DataType::Boolean {
            return Ok(Arc::new(BooleanArray::new(values.iter().map(|b| *b != 0).collect(), nulls)));
        }
        let data =
            ArrayData::builder(self.data_type.clone()).len(len).nulls(nulls).add_buffer(Buffer::from_vec(values));
        Ok(make_array(data.align_buffers(true).build()?))
    }

    #[inline]
    fn is_valid(&self, slot: usize) -> bool {
        let (chunk, at) = (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS);
        self.chunks[chunk].valid[at / 64] >> (at % 64) & 1 == 1
    }

    /// Writes row i of `array` to `slots[i]`.
    pub fn scatter(&mut self, slots: &[u32], array: &ArrayRef) -> Result<()> {
        if array.data_type() != &self.data_type {
            let (is, should) = (array.data_type(), &self.data_type);
            return Err(Error::internal(format!("state column of type {should} was given {is}")));
        }
        let nulls = array.nulls().cloned();
        let bytes: Buffer = match array.data_type() {
            DataType::Boolean => Buffer::from_vec(array.as_boolean().values().iter().map(u8::from).collect::<Vec<_>>()),
            _ => {
                let data = array.to_data();
                data.buffers()[0].slice_with_length(data.offset() * self.width, data.len() * self.width)
            }
        };
        by_width!(self.width, scatter_values(self, slots, &bytes, nulls.as_ref()))
    }

    /// Bytes held in memory.
    pub fn size(&self) -> usize {
        self.on_heap + self.chunks.len() * (CHUNK_SLOTS / 8 + 16)
    }
}

fn gather_values<const W: usize>(column: &FixedColumn, slots: impl ExactSizeIterator<Item = u32> + Clone) -> Vec<u8> {
    let mut out = Vec::with_capacity(slots.len() * W);
    let mut ahead = slots.clone().skip(AHEAD);
    for slot in slots {
        if let Some(slot) = ahead.next() {
            column.chunks[slot as usize / CHUNK_SLOTS].prefetch(slot as usize % CHUNK_SLOTS, W);
        }
        let (chunk, at) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
        let values = column.chunks[chunk].values.as_chunks::<W>().0;
        out.extend_from_slice(&values[at]);
    }
    out
}

fn scatter_values<const W: usize>(
    column: &mut FixedColumn,
    slots: &[u32],
    bytes: &[u8],
    nulls: Option<&NullBuffer>,
) -> Result<()> {
    let rows = slots.iter().zip(bytes.as_chunks::<W>().0).enumerate();
    let is_valid = |row: usize| nulls.is_none_or(|n| n.is_valid(row));
    if slots.len() < column.chunks.len() {
        for (row, (slot, value)) in rows {
            let chunk = column.chunk_mut(*slot as usize / CHUNK_SLOTS)?;
            chunk.set(*slot as usize % CHUNK_SLOTS, value, is_valid(row));
        }
        return Ok(());
    }
    // Whether an image has a chunk too is asked once a chunk, not once a row.
    let mut touched = vec![false; column.chunks.len()];
    slots.iter().for_each(|slot| touched[*slot as usize / CHUNK_SLOTS] = true);
    for (at, _) in touched.iter().enumerate().filter(|(_, touched)| **touched) {
        column.chunk_mut(at)?;
    }
    let owned = |(chunk, touched): (_, bool)| if touched { Arc::get_mut(chunk) } else { None };
    let mut chunks: Vec<Option<&mut Chunk>> = column.chunks.iter_mut().zip(touched).map(owned).collect();
    for (row, (slot, value)) in rows {
        let chunk = chunks[*slot as usize / CHUNK_SLOTS].as_mut();
        let chunk = chunk.ok_or_else(|| Error::internal("a chunk of state that is written to is shared"))?;
        chunk.set(*slot as usize % CHUNK_SLOTS, value, is_valid(row));
    }
    Ok(())
}

impl Chunk {
    /// Brings a value and whether it is one into the cache.
    #[inline]
    fn prefetch(&self, at: usize, width: usize) {
        prefetch(&raw const self.values[at * width]);
        prefetch(&raw const self.valid[at / 64]);
    }

    #[inline]
    fn set<const W: usize>(&mut self, at: usize, value: &[u8; W], is_valid: bool) {
        self.values.as_chunks_mut::<W>().0[at] = *value;
        let bit = 1 << (at % 64);
        if is_valid {
            self.valid[at / 64] |= bit;
        } else {
            self.valid[at / 64] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Decimal128Array, Float64Array, Int64Array};

    use super::*;

    fn round_trip(array: ArrayRef) {
        let mut column = FixedColumn::new(array.data_type().clone(), StateBackend::default());
        column.resize(5000).unwrap();
        let slots: Vec<u32> = (0..array.len() as u32).map(|i| i * 1300 + 7).collect();
        column.scatter(&slots, &array).unwrap();
        assert_eq!(&column.gather(slots.iter().copied()).unwrap(), &array);
        assert_eq!(column.gather([1].into_iter()).unwrap().null_count(), 1, "an unwritten slot is null");
    }

    #[test]
    fn values_and_nulls_come_back() {
        round_trip(Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)])));
        round_trip(Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN).filter(|_| false), Some(-0.0)])));
        round_trip(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])));
        let decimals =
            Decimal128Array::from(vec![Some(12345), None, Some(-1)]).with_precision_and_scale(20, 2).unwrap();
        round_trip(Arc::new(decimals));
        round_trip(Arc::new(Int64Array::from(vec![9, 8, 7, 6, 5]).slice(2, 3)));
    }

    #[test]
    fn a_frozen_column_does_not_change() {
        let mut column = FixedColumn::new(DataType::Int64, StateBackend::default());
        column.resize(10).unwrap();
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        column.scatter(&[3], &one).unwrap();
        let frozen = column.clone();
        let two: ArrayRef = Arc::new(Int64Array::from(vec![2]));
        column.scatter(&[3], &two).unwrap();
        assert_eq!(&frozen.gather([3].into_iter()).unwrap(), &one);
        assert_eq!(&column.gather([3].into_iter()).unwrap(), &two);
    }
}
