//! Functions of arrays that DataFusion lacks or means otherwise: `array_insert`, `array_position`, `arrays_overlap`,
//! `flatten`, `slice`; and `map_concat`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::*;
use arrow::row::{RowConverter, SortField};
use datafusion::logical_expr::{Expr, ScalarUDF, lit};

use super::coercion;
use super::collection::{build_lists, checked_map, entry_types};
use super::scalar::{Call, Types, function, list_of};
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("array_insert", 3..=3, insert_type, array_insert),
        function("array_append", 2..=2, |types| added_type("array_append", types), |call| added(call, -1)),
        function("array_prepend", 2..=2, |types| added_type("array_prepend", types), |call| added(call, 1)),
        function("array_position", 2..=2, |_| Ok(DataType::Int64), array_position),
        function("array_contains", 2..=2, |_| Ok(DataType::Boolean), array_contains),
        function("arrays_overlap", 2..=2, |_| Ok(DataType::Boolean), arrays_overlap),
        function("flatten", 1..=1, |types| list_argument(types, 0), flatten),
        function("slice", 3..=3, |types| Ok(list_of(list_argument(types, 0)?)), slice),
        function("map_concat", 0..=usize::MAX, concat_type, map_concat),
    ]
}

/// For an array of structs the array of one of their fields.
pub fn element_field(list: Expr, name: &str) -> Expr {
    function("element_field", 2..=2, field_type, element_fields).call(vec![list, lit(name)])
}

/// The type of the elements of argument `i`.
fn list_argument(types: &Types, i: usize) -> Result<DataType> {
    match types.get(i) {
        DataType::List(field) => Ok(field.data_type().clone()),
        DataType::Null => Ok(DataType::Null),
        other => Err(super::collection::wrong_type("ARRAY", other)),
    }
}

fn field_type(types: &Types) -> Result<DataType> {
    let name = types.literal_str(1).unwrap_or_default();
    match list_argument(types, 0)? {
        DataType::Struct(fields) => match fields.find(name) {
            Some((_, field)) => Ok(list_of(field.data_type().clone())),
            None => Err(Error::invalid("FIELD_NOT_FOUND", format!("no struct field '{name}'"))
                .with_help(super::field_help(name, &fields))),
        },
        other => Err(super::collection::wrong_type("ARRAY<STRUCT>", &other)),
    }
}

fn element_fields(call: &Call) -> Result<ArrayRef> {
    let (array, name) = (call.array(0)?, call.literal_str(1).unwrap_or_default());
    let (list, DataType::List(field)) = (array.as_list::<i32>(), call.return_type()) else {
        return Err(Error::internal("fields of elements are a list"));
    };
    let structs = list.values().as_struct();
    let Some(column) = structs.column_by_name(name) else { return Err(Error::internal("the field is there")) };
    // A struct that is NULL has no fields.
    let values = match structs.nulls() {
        Some(nulls) => arrow::compute::nullif(column, &BooleanArray::new(!nulls.inner(), None))?,
        None => Arc::clone(column),
    };
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, nulls)?))
}

fn insert_type(types: &Types) -> Result<DataType> {
    let item = list_argument(types, 0)?;
    let common = coercion::wider(&item, types.get(2));
    common.map(list_of).ok_or_else(|| coercion::mismatch("array_insert", [&item, types.get(2)]))
}

/// The type of an array with one more item.
fn added_type(name: &str, types: &Types) -> Result<DataType> {
    let DataType::List(item) = types.get(0) else {
        return Err(super::collection::wrong_type("ARRAY", types.get(0)));
    };
    let (item, added) = (item.data_type(), types.get(1));
    // Text does not follow the other side here.
    let text = |t: &DataType| super::cast::is_string(t);
    let fits = item == &DataType::Null || added == &DataType::Null || text(item) == text(added);
    let common = coercion::wider(item, added).filter(|_| fits);
    common.map(list_of).ok_or_else(|| {
        coercion::mismatch(name, [item, added]).with_condition("DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES")
    })
}

fn added(call: &Call, position: i32) -> Result<ArrayRef> {
    inserted(call, &Int32Array::from(vec![position; call.rows()]), 1)
}

/// A position beyond the end fills with NULL; -1 is behind the last element.
fn array_insert(call: &Call) -> Result<ArrayRef> {
    inserted(call, &call.ints(1)?, 2)
}

/// The arrays with argument `item` at these positions.
fn inserted(call: &Call, positions: &Int32Array, item: usize) -> Result<ArrayRef> {
    let DataType::List(field) = call.return_type() else { return Err(Error::internal("array_insert gives a list")) };
    let lists = call.cast(0, call.return_type())?;
    let (list, items) = (lists.as_list::<i32>(), call.cast(item, field.data_type())?);
    let nulls = new_null_array(field.data_type(), 1);
    let (mut takes, mut lengths) = (vec![], vec![]);
    let valid = NullBuffer::from_iter((0..list.len()).map(|row| list.is_valid(row) && positions.is_valid(row)));
    for row in 0..list.len() {
        let before = takes.len();
        if valid.is_valid(row) {
            let (start, count) = (list.value_offsets()[row] as usize, list.value_length(row) as usize);
            let position = positions.value(row);
            let distance = position.unsigned_abs() as usize;
            let at = match position {
                0 => {
                    return Err(Error::execution("INVALID_INDEX_OF_ZERO", "the index 0 is invalid")
                        .with_help("the first element has index 1, the last -1"));
                }
                1.. => distance - 1,
                // Counted from behind the last element; before the first one it is in front of what is filled in.
                _ => (count + 1).saturating_sub(distance),
            };
            let missing_in_front = if position < 0 { distance.saturating_sub(count + 1) } else { 0 };
            let total = count + 1 + missing_in_front;
            if total.max(at) + takes.len() > super::guard::LIMIT as usize {
                let message = "the array would have too many elements";
                return Err(Error::execution("COLLECTION_SIZE_LIMIT_EXCEEDED", message)
                    .with_help("insert at a position nearer to the array's end"));
            }
            let old = (0..count).map(|i| (0, start + i));
            let fill = |n: usize| std::iter::repeat_n((2, 0), n);
            if missing_in_front > 0 {
                takes.push((1, row));
                takes.extend(fill(missing_in_front).chain(old));
            } else {
                takes.extend(old.clone().take(at).chain(fill(at.saturating_sub(count))));
                takes.push((1, row));
                takes.extend(old.skip(at));
            }
        }
        lengths.push(takes.len() - before);
    }
    let values = interleave(&[list.values().as_ref(), items.as_ref(), nulls.as_ref()], &takes)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), values, Some(valid))?))
}

/// From 1; 0 if the element is not there.
fn array_position(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(list) = array.as_list_opt::<i32>() else {
        return Ok(new_null_array(&DataType::Int64, call.rows()));
    };
    let Some(common) = coercion::wider(&list.value_type(), &call.value(1).data_type()) else {
        return Err(coercion::mismatch("array_position", [&list.value_type(), &call.value(1).data_type()]));
    };
    let lists = call.cast(0, &list_of(common.clone()))?;
    let (lists, items) = (super::real::one_zero(&lists)?, super::real::one_zero(&call.cast(1, &common)?)?);
    let list = lists.as_list::<i32>();
    if common == DataType::Null {
        return Ok(new_null_array(&DataType::Int64, call.rows()));
    }
    let same = make_comparator(list.values(), &items, arrow::compute::SortOptions::default())?;
    let rows = (0..list.len()).map(|row| {
        if list.is_null(row) || items.is_null(row) {
            return None;
        }
        let start = list.value_offsets()[row] as usize;
        let mut places = 0..list.value_length(row) as usize;
        Some(places.find(|i| same(start + i, row).is_eq()).map_or(0, |i| i as i64 + 1))
    });
    Ok(Arc::new(rows.collect::<Int64Array>()))
}

/// NULL if the item is not there, but a NULL element could be it.
fn array_contains(call: &Call) -> Result<ArrayRef> {
    let types = [call.value(0).data_type(), call.value(1).data_type()];
    let DataType::List(element) = &types[0] else {
        return match &types[0] {
            DataType::Null => Ok(new_null_array(&DataType::Boolean, call.rows())),
            other => Err(super::collection::wrong_type("ARRAY", other)),
        };
    };
    let common = coercion::wider(element.data_type(), &types[1]).ok_or_else(|| {
        coercion::mismatch("array_contains", [element.data_type(), &types[1]])
            .with_condition("DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES")
    })?;
    if common == DataType::Null {
        return Ok(new_null_array(&DataType::Boolean, call.rows()));
    }
    let lists = super::real::one_zero(&call.cast(0, &list_of(common.clone()))?)?;
    let (list, items) = (lists.as_list::<i32>(), super::real::one_zero(&call.cast(1, &common)?)?);
    let same = make_comparator(list.values(), &items, arrow::compute::SortOptions::default())?;
    let rows = (0..list.len()).map(|row| {
        if list.is_null(row) || items.is_null(row) {
            return None;
        }
        let places = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
        let found = places.clone().any(|i| list.values().is_valid(i) && same(i, row).is_eq());
        let has_null = || places.clone().any(|i| list.values().is_null(i));
        if found || !has_null() { Some(found) } else { None }
    });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

/// NULL if there is none in common, but a NULL in one of them could be.
fn arrays_overlap(call: &Call) -> Result<ArrayRef> {
    let types = [call.value(0).data_type(), call.value(1).data_type()];
    let common = coercion::wider(&types[0], &types[1]).ok_or_else(|| coercion::mismatch("arrays_overlap", &types))?;
    let arrays = [super::real::one_zero(&call.cast(0, &common)?)?, super::real::one_zero(&call.cast(1, &common)?)?];
    let [Some(left), Some(right)] = [arrays[0].as_list_opt::<i32>(), arrays[1].as_list_opt::<i32>()] else {
        return Ok(new_null_array(&DataType::Boolean, call.rows()));
    };
    let converter = RowConverter::new(vec![SortField::new(left.value_type())])?;
    let l = converter.convert_columns(&[Arc::clone(left.values())])?;
    let r = converter.convert_columns(&[Arc::clone(right.values())])?;
    let range =
        |list: &ListArray, row: usize| list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
    let rows = (0..call.rows()).map(|row| {
        if left.is_null(row) || right.is_null(row) {
            return None;
        }
        let (lefts, rights) = (range(left, row), range(right, row));
        let known: HashSet<_> = lefts.clone().filter(|i| left.values().is_valid(*i)).map(|i| l.row(i)).collect();
        let found = rights.clone().any(|i| right.values().is_valid(i) && known.contains(&r.row(i)));
        let has_null =
            lefts.clone().any(|i| left.values().is_null(i)) || rights.clone().any(|i| right.values().is_null(i));
        match found {
            true => Some(true),
            false if has_null && !lefts.is_empty() && !rights.is_empty() => None,
            false => Some(false),
        }
    });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

/// NULL if one of the arrays is.
fn flatten(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let (Some(outer), DataType::List(_)) = (array.as_list_opt::<i32>(), call.return_type()) else {
        return Ok(new_null_array(call.return_type(), call.rows()));
    };
    let inner = super::cast::cast_array(outer.values(), call.return_type(), super::cast::Mode::Ansi, call.tz())?;
    let inner = inner.as_list::<i32>();
    build_lists(call.return_type(), outer.len(), &[inner], |row, take| {
        let lists = outer.value_offsets()[row] as usize..outer.value_offsets()[row + 1] as usize;
        if outer.is_null(row) || lists.clone().any(|i| inner.is_null(i)) {
            return Ok(false);
        }
        for i in lists {
            take.extend((inner.value_offsets()[i] as usize..inner.value_offsets()[i + 1] as usize).map(|i| (0, i)));
        }
        Ok(true)
    })
}

/// From 1, or from the end if the start is negative.
fn slice(call: &Call) -> Result<ArrayRef> {
    let array = call.cast(0, call.return_type())?;
    let (list, starts, lengths) = (array.as_list::<i32>(), call.ints(1)?, call.ints(2)?);
    build_lists(call.return_type(), list.len(), &[list], |row, take| {
        if list.is_null(row) || starts.is_null(row) || lengths.is_null(row) {
            return Ok(false);
        }
        let (start, length, count) = (starts.value(row), lengths.value(row), list.value_length(row));
        if start == 0 {
            let message = "the start of \"slice\" must not be 0";
            return Err(
                Error::execution("INVALID_PARAMETER_VALUE.START", message).with_help("the first element has index 1")
            );
        }
        let Ok(length) = usize::try_from(length) else {
            let message = format!("the length of 'slice' must not be negative, but is {length}");
            return Err(Error::execution("INVALID_PARAMETER_VALUE.LENGTH", message)
                .with_help("write slice(a, start, greatest(length, 0))"));
        };
        let first = if start > 0 { start - 1 } else { count.saturating_add(start) };
        if let Ok(first) = usize::try_from(first) {
            let begin = list.value_offsets()[row] as usize;
            take.extend((first..count as usize).take(length).map(|i| (0, begin + i)));
        }
        Ok(true)
    })
}

fn concat_type(types: &Types) -> Result<DataType> {
    let all = types.all();
    match coercion::common(&all) {
        Some(map @ DataType::Map(_, _)) => Ok(map),
        Some(DataType::Null) => Ok(super::collection::map_of(DataType::Utf8View, DataType::Utf8View)),
        _ => Err(coercion::mismatch("map_concat", &all)),
    }
}

fn map_concat(call: &Call) -> Result<ArrayRef> {
    let to = call.return_type();
    let maps = (0..call.len()).map(|i| call.cast(i, to)).collect::<Result<Vec<_>>>()?;
    let maps: Vec<_> = maps.iter().map(|m| m.as_map()).collect();
    let valid = NullBuffer::from_iter((0..call.rows()).map(|row| maps.iter().all(|m| m.is_valid(row))));
    let (mut takes, mut lengths) = (vec![], vec![]);
    for row in 0..call.rows() {
        let before = takes.len();
        for (source, map) in maps.iter().enumerate().filter(|_| valid.is_valid(row)) {
            let range = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
            takes.extend(range.map(|i| (source, i)));
        }
        lengths.push(takes.len() - before);
    }
    let (key, value) = entry_types(to)?;
    let gather = |columns: Vec<&dyn Array>, of: &DataType| -> Result<ArrayRef> {
        Ok(if takes.is_empty() { new_empty_array(of) } else { interleave(&columns, &takes)? })
    };
    let keys = gather(maps.iter().map(|m| m.keys().as_ref()).collect(), &key)?;
    let values = gather(maps.iter().map(|m| m.values().as_ref()).collect(), &value)?;
    checked_map(to, keys, values, OffsetBuffer::from_lengths(lengths), Some(valid))
}
