//! `map_filter`, `transform_keys`, `transform_values` and `map_zip_with`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::row::{RowConverter, SortField};

use super::array::kept_lengths;
use super::{Elements, LambdaCall};
use crate::Result;
use crate::function::cast::{Mode, cast_array};
use crate::function::collection::{checked_map, entry_types};

/// The keys and values of all rows, one behind the other.
fn pairs(map: &MapArray) -> Result<(Elements, [ArrayRef; 2])> {
    let e = Elements::of(map, map.value_offsets());
    let columns = [take(map.keys(), &e.places, None)?, take(map.values(), &e.places, None)?];
    Ok((e, columns))
}

pub fn filter(call: &LambdaCall) -> Result<ArrayRef> {
    let map = call.values[0].as_map();
    let (e, columns) = pairs(map)?;
    let kept = call.predicate(&columns, &e.rows)?;
    let [keys, values] = columns;
    let (keys, values) = (arrow::compute::filter(&keys, &kept)?, arrow::compute::filter(&values, &kept)?);
    let offsets = OffsetBuffer::from_lengths(kept_lengths(&e.lengths, &kept));
    checked_map(&call.return_type, keys, values, offsets, map.nulls().cloned())
}

/// Replaces the keys (0) or the values (1).
pub fn transform(call: &LambdaCall, column: usize) -> Result<ArrayRef> {
    let map = call.values[0].as_map();
    let (e, mut columns) = pairs(map)?;
    columns[column] = call.evaluate(0, &columns, &e.rows)?;
    let [keys, values] = columns;
    checked_map(&call.return_type, keys, values, OffsetBuffer::from_lengths(e.lengths), map.nulls().cloned())
}

/// The keys of the left map and then those that only the right one has.
pub fn zip_with(call: &LambdaCall) -> Result<ArrayRef> {
    let (left, right) = (call.values[0].as_map(), call.values[1].as_map());
    let (key_type, _) = entry_types(&call.return_type)?;
    let right_keys = cast_array(right.keys(), &key_type, Mode::Ansi, crate::time_zone::Tz::UTC)?;
    let converter = RowConverter::new(vec![SortField::new(key_type)])?;
    let (l, r) = (
        converter.convert_columns(&[Arc::clone(left.keys())])?,
        converter.convert_columns(&[Arc::clone(&right_keys)])?,
    );
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let (mut rows, mut lengths) = (vec![], vec![]);
    let (mut lefts, mut rights) = (vec![], vec![]);
    for row in 0..left.len() {
        let before = rows.len();
        if nulls.as_ref().is_none_or(|n| n.is_valid(row)) {
            let range = |m: &MapArray| m.value_offsets()[row] as usize..m.value_offsets()[row + 1] as usize;
            let mut others: HashMap<_, _> = range(right).map(|i| (r.row(i), i as u32)).collect();
            for i in range(left) {
                lefts.push(Some(i as u32));
                rights.push(others.remove(&l.row(i)));
            }
            // In the order of the right map.
            for i in range(right).filter(|i| others.contains_key(&r.row(*i))) {
                lefts.push(None);
                rights.push(Some(i as u32));
            }
            rows.resize(lefts.len(), row as u32);
        }
        lengths.push(rows.len() - before);
    }
    let from_right: Vec<(usize, usize)> = lefts
        .iter()
        .zip(&rights)
        .map(|(l, r)| match (l, r) {
            (Some(l), _) => (0, *l as usize),
            (None, r) => (1, r.unwrap_or_default() as usize),
        })
        .collect();
    let keys = arrow::compute::interleave(&[left.keys().as_ref(), right_keys.as_ref()], &from_right)?;
    let (lefts, rights) = (UInt32Array::from(lefts), UInt32Array::from(rights));
    let params = [Arc::clone(&keys), take(left.values(), &lefts, None)?, take(right.values(), &rights, None)?];
    let values = call.evaluate(0, &params, &UInt32Array::from(rows))?;
    checked_map(&call.return_type, keys, values, OffsetBuffer::from_lengths(lengths), nulls)
}
