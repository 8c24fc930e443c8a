//! `transform`, `filter`, `exists`, `forall`, `aggregate` and `zip_with`.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{interleave, take};
use arrow::datatypes::*;

use super::{Elements, LambdaCall};
use crate::{Error, Result};

fn list_field(call: &LambdaCall) -> Result<FieldRef> {
    match &call.return_type {
        DataType::List(field) => Ok(Arc::clone(field)),
        _ => Err(Error::internal("the function returns a list")),
    }
}

fn elements(list: &ListArray) -> Elements {
    Elements::of(list, list.value_offsets())
}

pub fn transform(call: &LambdaCall) -> Result<ArrayRef> {
    let list = call.values[0].as_list::<i32>();
    let e = elements(list);
    let params = [take(list.values(), &e.places, None)?, Arc::new(e.positions.clone()) as ArrayRef];
    let values = call.evaluate(0, &params, &e.rows)?;
    let offsets = OffsetBuffer::from_lengths(e.lengths);
    Ok(Arc::new(ListArray::try_new(list_field(call)?, offsets, values, list.nulls().cloned())?))
}

pub fn filter(call: &LambdaCall) -> Result<ArrayRef> {
    let list = call.values[0].as_list::<i32>();
    let e = elements(list);
    let params = [take(list.values(), &e.places, None)?, Arc::new(e.positions.clone()) as ArrayRef];
    let kept = call.predicate(&params, &e.rows)?;
    let values = arrow::compute::filter(&params[0], &kept)?;
    let offsets = OffsetBuffer::from_lengths(kept_lengths(&e.lengths, &kept));
    Ok(Arc::new(ListArray::try_new(list_field(call)?, offsets, values, list.nulls().cloned())?))
}

/// How many elements of each row are kept; NULL is not.
pub fn kept_lengths(lengths: &[usize], kept: &BooleanArray) -> Vec<usize> {
    let mut flags = kept.iter();
    lengths.iter().map(|n| flags.by_ref().take(*n).filter(|k| *k == Some(true)).count()).collect()
}

/// Whether one element gives `wanted`: `exists` for true, and the opposite of `forall` for false.
pub fn any(call: &LambdaCall, wanted: bool) -> Result<ArrayRef> {
    let list = call.values[0].as_list::<i32>();
    let e = elements(list);
    let results = call.predicate(&[take(list.values(), &e.places, None)?], &e.rows)?;
    let mut results = results.iter();
    let mut row_result = |n: usize| {
        let row: Vec<_> = results.by_ref().take(n).collect();
        if row.contains(&Some(wanted)) {
            Some(wanted)
        } else if row.contains(&None) {
            None
        } else {
            Some(!wanted)
        }
    };
    let rows = e.lengths.iter().enumerate().map(|(i, n)| if list.is_null(i) { None } else { row_result(*n) });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

/// Step by step: the first elements of all rows, then the second of those that have one, and so on.
pub fn aggregate(call: &LambdaCall) -> Result<ArrayRef> {
    let Some(list) = call.values[0].as_list_opt::<i32>() else {
        return Ok(new_null_array(&call.return_type, call.rows));
    };
    let lengths = elements(list).lengths;
    let mut state = Arc::clone(&call.values[1]);
    for step in 0..lengths.iter().copied().max().unwrap_or(0) {
        let rows: Vec<u32> = (0..lengths.len() as u32).filter(|row| lengths[*row as usize] > step).collect();
        let places: UInt32Array =
            rows.iter().map(|r| (list.value_offsets()[*r as usize] as usize + step) as u32).collect();
        let rows = UInt32Array::from(rows);
        let params = [take(&state, &rows, None)?, take(list.values(), &places, None)?];
        let next = call.evaluate(0, &params, &rows)?;
        let mut picks: Vec<(usize, usize)> = (0..state.len()).map(|i| (0, i)).collect();
        rows.values().iter().enumerate().for_each(|(i, row)| picks[*row as usize] = (1, i));
        state = interleave(&[state.as_ref(), next.as_ref()], &picks)?;
    }
    let valid: UInt32Array = (0..list.len()).filter(|i| list.is_valid(*i)).map(|i| i as u32).collect();
    let state = take(&state, &valid, None)?;
    let results = if call.lambdas.len() > 1 { call.evaluate(1, &[state], &valid)? } else { state };
    let mut next = 0..;
    let picks = (0..list.len()).map(|i| if list.is_valid(i) { next.next() } else { None });
    Ok(take(&results, &picks.collect::<UInt32Array>(), None)?)
}

/// Side by side; the shorter array is filled with NULL.
pub fn zip_with(call: &LambdaCall) -> Result<ArrayRef> {
    let (left, right) = (call.values[0].as_list::<i32>(), call.values[1].as_list::<i32>());
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let (mut rows, mut lengths, mut places) = (vec![], vec![], [vec![], vec![]]);
    for row in 0..left.len() {
        let valid = nulls.as_ref().is_none_or(|n| n.is_valid(row));
        let sizes = [left.value_length(row), right.value_length(row)];
        let length = if valid { sizes[0].max(sizes[1]) } else { 0 };
        for (side, list) in [left, right].iter().enumerate() {
            let start = list.value_offsets()[row];
            places[side].extend((0..length).map(|i| (i < sizes[side]).then_some((start + i) as u32)));
        }
        rows.extend((0..length).map(|_| row as u32));
        lengths.push(length as usize);
    }
    let [l, r] = places.map(UInt32Array::from);
    let params = [take(left.values(), &l, None)?, take(right.values(), &r, None)?];
    let values = call.evaluate(0, &params, &UInt32Array::from(rows))?;
    Ok(Arc::new(ListArray::try_new(list_field(call)?, OffsetBuffer::from_lengths(lengths), values, nulls)?))
}
