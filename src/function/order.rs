//! The order of values of any type that has one, structs and arrays included.
//!
//! As in Spark, a NULL inside of a struct or array is less than any value, wherever a NULL by itself is put.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, make_comparator, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, sort_to_indices, take};
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::collection::wrong_type;
use super::scalar::{Call, Types, function};
use crate::error::Result;

/// The places of the values in their order; equal ones stay as they are.
pub fn sorted(values: &ArrayRef, options: SortOptions) -> Result<Vec<u32>> {
    if !values.data_type().is_nested() {
        return Ok(sort_to_indices(values, Some(options), None)?.values().to_vec());
    }
    let compare = make_comparator(values, values, ASCENDING)?;
    let (mut order, nulls): (Vec<u32>, Vec<u32>) = (0..values.len() as u32).partition(|i| values.is_valid(*i as usize));
    order.sort_by(|a, b| {
        let ascending = compare(*a as usize, *b as usize);
        if options.descending { ascending.reverse() } else { ascending }
    });
    match options.nulls_first {
        true => order.splice(0..0, nulls).for_each(drop),
        false => order.extend(nulls),
    }
    Ok(order)
}

/// `array_min` and `array_max`: NaN is the greatest number, NULL is passed over.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("array_min", 1..=1, item_type, |call| extreme(call, Ordering::Less)),
        function("array_max", 1..=1, item_type, |call| extreme(call, Ordering::Greater)),
    ]
}

fn item_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        DataType::List(item) => Ok(item.data_type().clone()),
        DataType::Null => Ok(DataType::Null),
        other => Err(wrong_type("ARRAY", other)),
    }
}

fn extreme(call: &Call, wanted: Ordering) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(list) = array.as_list_opt::<i32>() else { return Ok(new_null_array(call.return_type(), call.rows())) };
    let values = list.values();
    let compare = make_comparator(values, values, ASCENDING)?;
    let of_row = |row: usize| {
        let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
        let mut present = (from..to).filter(|i| list.is_valid(row) && values.is_valid(*i));
        let first = present.next()?;
        Some(present.fold(first, |best, i| if compare(i, best) == wanted { i } else { best }) as u32)
    };
    let places = (0..list.len()).map(of_row).collect::<UInt32Array>();
    Ok(take(values, &places, None)?)
}

/// The place of the first of the least or greatest values that are not NULL.
pub fn extreme_of(values: &ArrayRef, wanted: Ordering) -> Result<Option<u32>> {
    let compare = make_comparator(values, values, ASCENDING)?;
    let present = (0..values.len()).filter(|i| values.is_valid(*i));
    Ok(present.reduce(|best, i| if compare(i, best) == wanted { i } else { best }).map(|i| i as u32))
}

/// Arrays without the elements that equal the value beside each; NULL beside a NULL.
pub fn without(lists: &ArrayRef, values: &ArrayRef) -> Result<ArrayRef> {
    let lists = lists.as_list::<i32>();
    let items = arrow::compute::cast(lists.values(), values.data_type())?;
    let compare = make_comparator(&items, values, ASCENDING)?;
    let (mut kept, mut lengths, mut valid) = (vec![], vec![], vec![]);
    for row in 0..lists.len() {
        let is_valid = lists.is_valid(row) && values.is_valid(row);
        let (from, to) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        let before = kept.len();
        if is_valid {
            let differs = |i: &usize| items.is_null(*i) || compare(*i, row) != Ordering::Equal;
            kept.extend((from..to).filter(differs).map(|i| i as u32));
        }
        lengths.push(kept.len() - before);
        valid.push(is_valid);
    }
    let DataType::List(item) = lists.data_type() else { return Err(wrong_type("ARRAY", lists.data_type())) };
    let kept = take(lists.values(), &UInt32Array::from(kept), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, kept, Some(valid.into()))?))
}

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };
