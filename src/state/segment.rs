//! State columns of variable size (strings, lists, sketches): rows in immutable Arrow segments, found by slot.
//!
//! A put appends a segment and moves the slots to it; the rows left behind are dead. Sixteen segments of one size class
//! become one of their live rows, so that the work for a row is logarithmic and no put copies everything.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::DataType;

use super::{PagedVec, StateBackend};
use crate::error::Result;

const NOWHERE: (u32, u32) = (u32::MAX, u32::MAX);
const FAN_IN: usize = 16;

#[derive(Clone)]
struct Segment {
    columns: Arc<[ArrayRef]>,
    /// By row, to move the rows on a merge.
    slots: Arc<PagedVec<u32>>,
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
    places: PagedVec<(u32, u32)>,
    backend: StateBackend,
}

impl SegmentColumns {
    /// Columns of these types.
    pub fn new(types: Vec<DataType>, backend: StateBackend) -> Self {
        Self { types, segments: vec![], holes: vec![], places: PagedVec::new(backend.clone()), backend }
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
        self.append(slots, columns)?;
        self.merge_full_classes()
    }

    fn append(&mut self, slots: &[u32], columns: Vec<ArrayRef>) -> Result<()> {
        let store = |c| self.backend.store(compact(c));
        let stored: Vec<(ArrayRef, usize)> = columns.into_iter().map(store).collect::<Result<_>>()?;
        let (columns, on_heap): (Vec<_>, Vec<usize>) = stored.into_iter().unzip();
        let at = self.holes.pop().unwrap_or(self.segments.len() as u32);
        for (row, slot) in slots.iter().enumerate() {
            let place = &mut self.places[*slot as usize];
            if let Some(Some(old)) = self.segments.get_mut(place.0 as usize) {
                old.live -= 1;
            }
            *place = (at, row as u32);
        }
        let mut kept = PagedVec::new(self.backend.clone());
        kept.extend(slots.iter().copied());
        let bytes = on_heap.into_iter().sum::<usize>() + kept.size();
        let segment = Some(Segment { live: slots.len() as u32, columns: columns.into(), slots: Arc::new(kept), bytes });
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
            let live = segment.slots.iter().enumerate().filter(|(r, s)| self.places[*s as usize] == (*at, *r as u32));
            slots.extend(live.map(|(_, s)| s));
        }
        let columns =
            (0..self.types.len()).map(|c| self.gather(c, slots.iter().copied())).collect::<Result<Vec<_>>>()?;
        self.append(&slots, columns)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.places.size() + self.segments.iter().flatten().map(|s| s.bytes).sum::<usize>()
    }
}

/// An array that holds on to no buffer of the batch it came from, texts and bytes inside of nested values included.
pub fn compact(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        nested if nested.is_nested() && has_views(nested) => make_array(compact_children(array.to_data())),
        _ => array,
    }
}

/// The same for nested values; texts and bytes by themselves stay as they are.
pub fn compact_nested(array: ArrayRef) -> ArrayRef {
    if array.data_type().is_nested() { compact(array) } else { array }
}

/// Whether values of the type may point into buffers that other values use as well.
fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_views(f.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_views(item.data_type()),
        _ => false,
    }
}

fn compact_children(data: ArrayData) -> ArrayData {
    let children = data.child_data().iter().map(|child| compact(make_array(child.clone())).to_data());
    let builder = data.clone().into_builder().child_data(children.collect());
    // A child keeps its type and its length, so that this cannot fail.
    builder.build().unwrap_or(data)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, ListArray, StringViewArray, StructArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::compute::concat;
    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn nested_texts_hold_on_to_nothing_either() {
        let long = |i: usize| format!("{i} {}", "x".repeat(1000));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..100).map(long)));
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..100));
        let field = |name: &str, of: &ArrayRef| Arc::new(Field::new(name, of.data_type().clone(), true));
        let fields = vec![(field("t", &texts), texts.clone()), (field("n", &numbers), numbers)];
        let structs: ArrayRef = Arc::new(StructArray::from(fields));
        let lists =
            ListArray::new(field("item", &structs), OffsetBuffer::from_lengths([40, 0, 60]), structs.clone(), None);
        // As the values of many groups come: each a row of a batch.
        let rows: Vec<ArrayRef> = (0..50).map(|i| structs.slice(i, 1)).collect();
        let rows = concat(&rows.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
        for array in [rows, Arc::new(lists.slice(0, 1)) as ArrayRef] {
            let small = compact(array.clone());
            assert_eq!(&small, &array);
            assert!(small.get_array_memory_size() < 100 * 1100, "{} bytes", small.get_array_memory_size());
        }
    }

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
