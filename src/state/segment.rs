//! State columns of variable size (strings, lists, sketches): rows in immutable Arrow segments, found by slot.
//!
//! A put appends a segment and moves the slots to it; the rows left behind are dead. Sixteen segments of one size class
//! become one of their live rows, so that the work for a row is logarithmic and no put copies everything.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::DataType;

use super::StateBackend;
use crate::error::Result;

const NOWHERE: (u32, u32) = (u32::MAX, u32::MAX);
const FAN_IN: usize = 16;

#[derive(Clone)]
struct Segment {
    columns: Arc<[ArrayRef]>,
    /// By row, to move the rows on a merge.
    slots: Arc<[u32]>,
    live: u32,
    bytes: usize,
}

/// State columns of any type, by slot.
#[derive(Clone)]
pub struct SegmentColumns {
    types: Vec<DataType>,
    /// Merged segments leave a hole, so that places stay right.
    segments: Vec<Option<Segment>>,
    holes: Vec<u32>,
    places: Vec<(u32, u32)>,
    backend: StateBackend,
}

impl SegmentColumns {
    /// Columns of these types.
    pub fn new(types: Vec<DataType>, backend: StateBackend) -> Self {
        Self { types, segments: vec![], holes: vec![], places: vec![], backend }
    }

    /// Makes room for `slots` slots.
    pub fn resize(&mut self, slots: usize) {
        self.places.resize(slots, NOWHERE);
    }

    /// The values of column `column` at these slots, which must have been put.
    pub fn gather(&self, column: usize, slots: impl Iterator<Item = u32>) -> Result<ArrayRef> {
        // Only the segments that are touched take part: interleave looks at every array it is given.
        let mut local = vec![u32::MAX; self.segments.len()];
        let mut arrays: Vec<&dyn Array> = vec![];
        let mut indices = vec![];
        for slot in slots {
            let (segment, row) = self.places[slot as usize];
            let at = &mut local[segment as usize];
            if *at == u32::MAX {
                *at = arrays.len() as u32;
                arrays.extend(self.segments[segment as usize].as_ref().map(|s| s.columns[column].as_ref()));
            }
            indices.push((*at as usize, row as usize));
        }
        if arrays.is_empty() {
            return Ok(datafusion::arrow::array::new_empty_array(&self.types[column]));
        }
        Ok(interleave(&arrays, &indices)?)
    }

    /// Puts row i of `columns` at `slots[i]`.
    pub fn put(&mut self, slots: &[u32], columns: Vec<ArrayRef>) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        self.append(slots.into(), columns)?;
        self.merge_full_classes()
    }

    fn append(&mut self, slots: Arc<[u32]>, columns: Vec<ArrayRef>) -> Result<()> {
        let store = |c| self.backend.store(compact(c));
        let columns: Arc<[ArrayRef]> = columns.into_iter().map(store).collect::<Result<_>>()?;
        let values = columns.iter().map(|c| c.get_array_memory_size()).sum::<usize>();
        let bytes = if self.backend.is_disk() { 0 } else { values } + slots.len() * 4;
        let at = self.holes.pop().unwrap_or(self.segments.len() as u32);
        for (row, slot) in slots.iter().enumerate() {
            let place = &mut self.places[*slot as usize];
            if let Some(Some(old)) = self.segments.get_mut(place.0 as usize) {
                old.live -= 1;
            }
            *place = (at, row as u32);
        }
        let segment = Some(Segment { live: slots.len() as u32, columns, slots, bytes });
        match self.segments.get_mut(at as usize) {
            Some(hole) => *hole = segment,
            None => self.segments.push(segment),
        }
        self.free_dead();
        Ok(())
    }

    fn free_dead(&mut self) {
        for (at, segment) in self.segments.iter_mut().enumerate() {
            if segment.as_ref().is_some_and(|s| s.live == 0) {
                *segment = None;
                self.holes.push(at as u32);
            }
        }
    }

    fn merge_full_classes(&mut self) -> Result<()> {
        loop {
            let mut classes: Vec<Vec<u32>> = vec![];
            for (at, segment) in self.segments.iter().enumerate() {
                let Some(segment) = segment else { continue };
                let class = segment.live.max(1).ilog(FAN_IN as u32) as usize;
                classes.resize(classes.len().max(class + 1), vec![]);
                classes[class].push(at as u32);
            }
            let Some(full) = classes.into_iter().find(|c| c.len() >= FAN_IN) else { return Ok(()) };
            self.merge(&full)?;
        }
    }

    fn merge(&mut self, segments: &[u32]) -> Result<()> {
        let mut slots = vec![];
        for at in segments {
            let Some(segment) = &self.segments[*at as usize] else { continue };
            let live = segment.slots.iter().enumerate().filter(|(r, s)| self.places[**s as usize] == (*at, *r as u32));
            slots.extend(live.map(|(_, s)| *s));
        }
        let columns =
            (0..self.types.len()).map(|c| self.gather(c, slots.iter().copied())).collect::<Result<Vec<_>>>()?;
        self.append(slots.into(), columns)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.places.capacity() * 8 + self.segments.iter().flatten().map(|s| s.bytes).sum::<usize>()
    }
}

/// An array that holds on to no buffer of the batch it came from.
pub fn compact(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        _ => array,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringViewArray;

    use super::*;

    fn text(i: u32, round: u32) -> String {
        format!("a value longer than a view can hold inline {i} in round {round}")
    }

    #[test]
    fn last_put_wins_whatever_was_merged() {
        let mut columns = SegmentColumns::new(vec![DataType::Utf8View], StateBackend::default());
        columns.resize(1000);
        let mut expected = vec![String::new(); 1000];
        for round in 0..200_u32 {
            let slots: Vec<u32> = (0..1000).filter(|s| round == 0 || (s * 7 + round) % 31 == 0).collect();
            let values: ArrayRef = Arc::new(StringViewArray::from_iter_values(slots.iter().map(|s| text(*s, round))));
            slots.iter().for_each(|s| expected[*s as usize] = text(*s, round));
            columns.put(&slots, vec![values]).unwrap();
        }
        let all = columns.gather(0, 0..1000).unwrap();
        let all: Vec<_> = all.as_string_view().iter().flatten().collect();
        assert_eq!(all, expected);
        let alive = columns.segments.iter().flatten().count();
        assert!(alive < 3 * FAN_IN, "{alive} segments are alive");
    }
}
