//! `array_sort` with a comparator: a merge sort of all rows at once, so that each step is one evaluation.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::*;

use super::{Elements, LambdaCall};
use crate::{Error, Result};

pub fn array_sort(call: &LambdaCall) -> Result<ArrayRef> {
    let list = call.values[0].as_list::<i32>();
    let DataType::List(field) = &call.return_type else { return Err(Error::internal("array_sort returns a list")) };
    let elements = Elements::of(list, list.value_offsets());
    let mut order: Vec<u32> = elements.places.values().to_vec();
    let mut start = 0;
    let rows = elements.lengths.iter().enumerate().map(|(row, length)| {
        let range = start..start + length;
        start = range.end;
        (row as u32, range)
    });
    let rows: Vec<_> = rows.collect();
    let longest = elements.lengths.iter().copied().max().unwrap_or(0);
    let mut width = 1;
    while width < longest {
        let merges = rows.iter().flat_map(|(row, range)| {
            let (row, end) = (*row, range.end);
            range.clone().step_by(2 * width).map(move |at| Merge::new(row, at, width, end))
        });
        merge_all(call, list.values(), &mut order, merges.collect())?;
        width *= 2;
    }
    let values = take(list.values(), &UInt32Array::from(order), None)?;
    let offsets = OffsetBuffer::from_lengths(elements.lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, list.nulls().cloned())?))
}

/// Two neighbouring runs that become one.
struct Merge {
    row: u32,
    begin: usize,
    left: std::ops::Range<usize>,
    right: std::ops::Range<usize>,
    merged: Vec<u32>,
}

impl Merge {
    fn new(row: u32, begin: usize, width: usize, end: usize) -> Self {
        let middle = (begin + width).min(end);
        let right = middle..(middle + width).min(end);
        Self { row, begin, left: begin..middle, right, merged: vec![] }
    }

    fn is_open(&self) -> bool {
        !self.left.is_empty() && !self.right.is_empty()
    }

    fn finish(&mut self, order: &mut [u32]) {
        self.merged.extend(order[self.left.clone()].iter().chain(&order[self.right.clone()]));
        order[self.begin..self.begin + self.merged.len()].copy_from_slice(&self.merged);
    }
}

fn merge_all(call: &LambdaCall, values: &ArrayRef, order: &mut [u32], mut merges: Vec<Merge>) -> Result<()> {
    loop {
        let mut open: Vec<&mut Merge> = merges.iter_mut().filter(|m| m.is_open()).collect();
        if open.is_empty() {
            break;
        }
        let heads = |place: fn(&Merge) -> usize| open.iter().map(|m| order[place(m)]).collect::<UInt32Array>();
        let (left, right) = (heads(|m| m.left.start), heads(|m| m.right.start));
        let rows: UInt32Array = open.iter().map(|m| m.row).collect();
        let result = call.evaluate(0, &[take(values, &left, None)?, take(values, &right, None)?], &rows)?;
        let result = result.as_primitive_opt::<Int32Type>().filter(|r| r.null_count() == 0).ok_or_else(|| {
            Error::execution("COMPARATOR_RETURNS_NULL", "the comparator of 'array_sort' has returned NULL")
                .with_help("give -1, 0 or 1 for every pair, NULL elements included")
        })?;
        for ((merge, result), (left, right)) in
            open.iter_mut().zip(result.values()).zip(left.values().iter().zip(right.values()))
        {
            // Equal elements stay in their order.
            if *result <= 0 {
                merge.merged.push(*left);
                merge.left.start += 1;
            } else {
                merge.merged.push(*right);
                merge.right.start += 1;
            }
        }
    }
    merges.iter_mut().for_each(|m| m.finish(order));
    Ok(())
}
