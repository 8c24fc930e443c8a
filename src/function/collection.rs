//! Functions of arrays and maps, and what `a[i]` and `m[k]` mean.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::*;
use arrow::row::{RowConverter, SortField};
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::coercion;
use super::order;
use super::scalar::{Call, Types, function, list_of};
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    let mut all = vec![
        function("get_array_item", 2..=2, item_type, |call| item(call, Access::Subscript)),
        function("get", 2..=2, item_type, |call| item(call, Access::Get)),
        function("element_at", 2..=2, item_type, |call| item(call, Access::ElementAt)),
        function("try_element_at", 2..=2, item_type, |call| item(call, Access::TryElementAt)),
        function("size", 1..=1, |_| Ok(DataType::Int32), size).with_aliases(["cardinality", "array_size"]),
        make_map(),
        function("map_keys", 1..=1, |types| Ok(list_of(entry_types(types.get(0))?.0)), |call| entries(call, 0)),
        function("map_values", 1..=1, |types| Ok(list_of(entry_types(types.get(0))?.1)), |call| entries(call, 1)),
        function("map_contains_key", 2..=2, |_| Ok(DataType::Boolean), map_contains_key),
        function("sort_array", 1..=2, first_type, sort_array),
        function("array_sort", 1..=1, first_type, array_sort),
        function("sequence", 2..=3, sequence_type, sequence),
        function("reverse", 1..=1, reverse_type, reverse),
        function("struct", 1..=usize::MAX, struct_type, make_struct),
    ];
    all.push(function("named_struct", 2..=usize::MAX, named_struct_type, named_struct));
    all
}

/// `array[index]` from 0, or `map[key]`.
pub fn get_array_item(collection: Expr, index: Expr) -> Expr {
    function("get_array_item", 2..=2, item_type, |call| item(call, Access::Subscript)).call(vec![collection, index])
}

/// `map(k1, v1, k2, v2, …)`.
pub fn make_map() -> ScalarUDF {
    function("map", 0..=usize::MAX, map_type, map)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// `a[i]`: from 0, an error out of bounds.
    Subscript,
    /// From 0, NULL out of bounds.
    Get,
    /// From 1 or, negative, from the end; an error out of bounds.
    ElementAt,
    /// The same with NULL out of bounds.
    TryElementAt,
}

fn first_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        list @ DataType::List(_) => Ok(list.clone()),
        DataType::Null => Ok(list_of(DataType::Null)),
        other => Err(wrong_type("ARRAY", other)),
    }
}

/// The condition of a list that lacks the last of its pairs.
const ODD: &str = "WRONG_NUM_ARGS.WITHOUT_SUGGESTION";

pub fn wrong_type(wanted: &str, got: &DataType) -> Error {
    let message = format!("the argument must be {wanted}, not {}", sql_type_name(got));
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(super::type_help(got))
}

/// The key's and the value's type of a map.
pub fn entry_types(map: &DataType) -> Result<(DataType, DataType)> {
    if let DataType::Map(entries, _) = map
        && let DataType::Struct(kv) = entries.data_type()
        && kv.len() == 2
    {
        return Ok((kv[0].data_type().clone(), kv[1].data_type().clone()));
    }
    if map == &DataType::Null { Ok((DataType::Null, DataType::Null)) } else { Err(wrong_type("MAP", map)) }
}

fn item_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Ok(field.data_type().clone())
        }
        DataType::Null => Ok(DataType::Null),
        map @ DataType::Map(_, _) => Ok(entry_types(map)?.1),
        other => Err(wrong_type("ARRAY or MAP", other)),
    }
}

fn item(call: &Call, access: Access) -> Result<ArrayRef> {
    let collection = call.array(0)?;
    match collection.data_type() {
        DataType::Map(_, _) => map_item(call, collection.as_map()),
        DataType::Null => Ok(new_null_array(call.return_type(), call.rows())),
        other => {
            let list = call.cast(0, &list_of(call.return_type().clone()));
            let list = if matches!(other, DataType::List(_)) { collection } else { list? };
            list_item(call, list.as_list::<i32>(), access)
        }
    }
}

fn list_item(call: &Call, list: &ListArray, access: Access) -> Result<ArrayRef> {
    let indices = call.ints(1)?;
    let mut takes = Vec::with_capacity(list.len());
    for row in 0..list.len() {
        if list.is_null(row) || indices.is_null(row) {
            takes.push(None);
            continue;
        }
        let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
        takes.push(checked_index(indices.value(row), end - start, access)?.map(|i| (start + i) as u32));
    }
    Ok(arrow::compute::take(list.values(), &UInt32Array::from(takes), None)?)
}

/// The place of an element, from 0; NULL or an error if there is none.
fn checked_index(index: i32, len: i32, access: Access) -> Result<Option<i32>> {
    let from_one = matches!(access, Access::ElementAt | Access::TryElementAt);
    if from_one && index == 0 {
        return Err(Error::execution("INVALID_INDEX_OF_ZERO", "the index 0 is invalid")
            .with_help("an index shall be either < 0 or > 0 (the first element has index 1)"));
    }
    let place = match (from_one, index) {
        (true, i) if i < 0 => len.saturating_add(i),
        (true, i) => i - 1,
        (false, i) => i,
    };
    if (0..len).contains(&place) {
        return Ok(Some(place));
    }
    let message = format!("the index {index} is out of bounds: the array has {len} elements");
    match access {
        Access::Get | Access::TryElementAt => Ok(None),
        Access::Subscript => Err(Error::execution("INVALID_ARRAY_INDEX", message)
            .with_help("use the function `get()` to get NULL for an element that is not there")),
        Access::ElementAt => Err(Error::execution("INVALID_ARRAY_INDEX_IN_ELEMENT_AT", message)
            .with_help("use `try_element_at` to get NULL for an element that is not there")),
    }
}

/// For every row the place of its key in the map's entries.
fn find_keys(call: &Call, map: &MapArray) -> Result<Vec<Option<u32>>> {
    let keys = call.cast(1, map.keys().data_type())?;
    let same = make_comparator(map.keys(), &keys, SortOptions::default())?;
    let find = |row: usize| {
        if map.is_null(row) || keys.is_null(row) {
            return None;
        }
        let (start, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
        (start..end).rev().find(|i| same(*i, row) == Ordering::Equal).map(|i| i as u32)
    };
    Ok((0..map.len()).map(find).collect())
}

fn map_item(call: &Call, map: &MapArray) -> Result<ArrayRef> {
    Ok(arrow::compute::take(map.values(), &UInt32Array::from(find_keys(call, map)?), None)?)
}

fn map_contains_key(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(map) = array.as_map_opt() else { return Ok(new_null_array(&DataType::Boolean, call.rows())) };
    let found = BooleanBuffer::from_iter(find_keys(call, map)?.into_iter().map(|i| i.is_some()));
    Ok(Arc::new(BooleanArray::new(found, map.nulls().cloned())))
}

fn entries(call: &Call, column: usize) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(map) = array.as_map_opt() else { return Ok(new_null_array(call.return_type(), call.rows())) };
    let DataType::List(field) = call.return_type() else { return Err(Error::internal("entries are lists")) };
    let values = Arc::clone(map.entries().column(column));
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), map.offsets().clone(), values, map.nulls().cloned())?))
}

/// Elements of an array or entries of a map; NULL of NULL.
fn size(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let (lengths, nulls): (Vec<i32>, _) = match array.data_type() {
        DataType::Map(_, _) => (array.as_map().offsets().lengths().map(|l| l as i32).collect(), array.nulls()),
        DataType::List(_) => (array.as_list::<i32>().offsets().lengths().map(|l| l as i32).collect(), array.nulls()),
        DataType::LargeList(_) => {
            (array.as_list::<i64>().offsets().lengths().map(|l| l as i32).collect(), array.nulls())
        }
        DataType::FixedSizeList(_, size) => (vec![*size; array.len()], array.nulls()),
        DataType::Null => return Ok(new_null_array(&DataType::Int32, call.rows())),
        other => return Err(wrong_type("ARRAY or MAP", other)),
    };
    Ok(Arc::new(Int32Array::new(lengths.into(), nulls.cloned())))
}

/// Builds lists out of elements of other lists: `row` pushes (list, element) pairs and says whether the row is valid.
pub fn build_lists(
    to: &DataType,
    rows: usize,
    sources: &[&ListArray],
    mut row: impl FnMut(usize, &mut Vec<(usize, usize)>) -> Result<bool>,
) -> Result<ArrayRef> {
    let DataType::List(field) = to else { return Err(Error::internal("a list function returns a list")) };
    let mut takes = Vec::new();
    let mut lengths = Vec::with_capacity(rows);
    let mut valid = Vec::with_capacity(rows);
    for i in 0..rows {
        let before = takes.len();
        valid.push(row(i, &mut takes)?);
        lengths.push(takes.len() - before);
    }
    let values: Vec<&dyn Array> = sources.iter().map(|l| l.values().as_ref()).collect();
    let values = if takes.is_empty() { new_empty_array(field.data_type()) } else { interleave(&values, &takes)? };
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, Some(NullBuffer::from(valid)))?))
}

/// Ascending with NULL first, descending with NULL last.
fn sort_array(call: &Call) -> Result<ArrayRef> {
    let ascending = if call.len() > 1 { Some(call.cast(1, &DataType::Boolean)?) } else { None };
    let ascending = |row: usize| ascending.as_ref().is_none_or(|a| a.is_null(row) || a.as_boolean().value(row));
    sort_lists(call, |row| SortOptions { descending: !ascending(row), nulls_first: ascending(row) })
}

/// Ascending with NULL last.
fn array_sort(call: &Call) -> Result<ArrayRef> {
    sort_lists(call, |_| SortOptions { descending: false, nulls_first: false })
}

fn sort_lists(call: &Call, options: impl Fn(usize) -> SortOptions) -> Result<ArrayRef> {
    let array = call.cast(0, call.return_type())?;
    let list = array.as_list::<i32>();
    build_lists(call.return_type(), list.len(), &[list], |row, take| {
        if list.is_null(row) {
            return Ok(false);
        }
        let start = list.value_offsets()[row] as usize;
        let order = order::sorted(&list.value(row), options(row))?;
        take.extend(order.into_iter().map(|i| (0, start + i as usize)));
        Ok(true)
    })
}

fn reverse_type(types: &Types) -> Result<DataType> {
    Ok(match types.get(0) {
        list @ DataType::List(_) => list.clone(),
        t if t.is_binary() => DataType::Binary,
        t if t.is_nested() => return Err(wrong_type("STRING or ARRAY", t)),
        _ => DataType::Utf8View,
    })
}

/// The characters of a text, the bytes of a binary or the elements of an array, from the end.
fn reverse(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    if call.return_type().is_binary() {
        let binary = call.cast(0, &DataType::Binary)?;
        let reversed = binary.as_binary::<i32>().iter().map(|b| b.map(|b| b.iter().rev().copied().collect::<Vec<_>>()));
        return Ok(Arc::new(reversed.collect::<BinaryArray>()));
    }
    let Some(list) = array.as_list_opt::<i32>() else {
        let text = call.strings(0)?;
        let reversed = text.iter().map(|s| s.map(|s| s.chars().rev().collect::<String>()));
        return Ok(Arc::new(reversed.collect::<StringViewArray>()));
    };
    build_lists(call.return_type(), list.len(), &[list], |row, take| {
        let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
        take.extend((start..end).rev().map(|i| (0, i)));
        Ok(list.is_valid(row))
    })
}

fn map_type(types: &Types) -> Result<DataType> {
    if types.len() % 2 == 1 {
        return Err(Error::invalid(ODD, "function 'map' takes an even number of arguments")
            .with_help("write each key before its value: map('a', 1, 'b', 2)"));
    }
    let common = |first: usize| {
        let side = (first..types.len()).step_by(2).map(|i| types.get(i));
        coercion::common(side.clone()).ok_or_else(|| coercion::mismatch("map", side))
    };
    Ok(map_of(common(0)?, common(1)?))
}

/// A map type with nullable values.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    let fields = vec![Field::new("key", key, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields.into()), false)), false)
}

/// One map a row.
fn map(call: &Call) -> Result<ArrayRef> {
    let (key, value) = entry_types(call.return_type())?;
    let keys = (0..call.len()).step_by(2).map(|i| call.cast(i, &key)).collect::<Result<Vec<_>>>()?;
    let values = (1..call.len()).step_by(2).map(|i| call.cast(i, &value)).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = (0..call.rows()).flat_map(|row| (0..keys.len()).map(move |i| (i, row))).collect();
    let gather = |columns: &[ArrayRef], of: &DataType| -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> = columns.iter().map(|c| c.as_ref()).collect();
        Ok(if pairs.is_empty() { new_empty_array(of) } else { interleave(&columns, &pairs)? })
    };
    let (all_keys, all_values) = (gather(&keys, &key)?, gather(&values, &value)?);
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(keys.len(), call.rows()));
    checked_map(call.return_type(), all_keys, all_values, offsets, None)
}

/// A map of these entries, whose keys must be there, and only once in each row.
pub fn checked_map(
    to: &DataType,
    keys: ArrayRef,
    values: ArrayRef,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = to else { return Err(Error::internal("a map function returns a map")) };
    let DataType::Struct(fields) = field.data_type() else { return Err(Error::internal("entries are structs")) };
    if keys.null_count() > 0 || (keys.data_type() == &DataType::Null && !keys.is_empty()) {
        return Err(Error::execution("NULL_MAP_KEY", "a map cannot have NULL as a key")
            .with_help("give NULL keys a value, as in coalesce(k, ''), or filter them out"));
    }
    refuse_duplicates(&keys, &offsets)?;
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?))
}

fn refuse_duplicates(keys: &ArrayRef, offsets: &OffsetBuffer<i32>) -> Result<()> {
    if offsets.lengths().all(|n| n < 2) {
        return Ok(());
    }
    let converter = RowConverter::new(vec![SortField::new(keys.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(keys))?;
    let mut seen = HashSet::new();
    for range in offsets.windows(2) {
        seen.clear();
        for i in range[0] as usize..range[1] as usize {
            if !seen.insert(rows.row(i)) {
                let key = super::display::format_value(keys, i, crate::time_zone::Tz::UTC);
                return Err(Error::execution("DUPLICATED_MAP_KEY", format!("the map has the key {key} twice"))
                    .with_help("check the input data"));
            }
        }
    }
    Ok(())
}

fn sequence_type(types: &Types) -> Result<DataType> {
    Ok(list_of(match types.get(0) {
        t if t.is_integer() => {
            if types.get(1) == &DataType::Int64 || t == &DataType::Int64 {
                DataType::Int64
            } else {
                t.clone()
            }
        }
        other => other.clone(),
    }))
}

/// From the first to the last argument, both included; downward if the last is smaller.
fn sequence(call: &Call) -> Result<ArrayRef> {
    let DataType::List(field) = call.return_type() else { return Err(Error::internal("sequence returns a list")) };
    if !field.data_type().is_integer() {
        return super::datetime::time_sequence(call, field);
    }
    let (start, stop) = (call.longs(0)?, call.longs(1)?);
    let step = if call.len() > 2 { Some(call.longs(2)?) } else { None };
    let mut builder = ListBuilder::new(Int64Builder::new());
    for row in 0..call.rows() {
        let missing = start.is_null(row) || stop.is_null(row) || step.as_ref().is_some_and(|s| s.is_null(row));
        if missing {
            builder.append_null();
            continue;
        }
        let (first, last) = (start.value(row), stop.value(row));
        let by = step.as_ref().map_or(if first <= last { 1 } else { -1 }, |s| s.value(row));
        push_range(builder.values(), first, last, by)?;
        builder.append(true);
    }
    let lists: ArrayRef = Arc::new(builder.finish());
    super::cast::cast_array(&lists, call.return_type(), super::cast::Mode::Ansi, call.tz())
}

const MAX_SEQUENCE: i128 = super::guard::LIMIT as i128;

fn push_range(values: &mut Int64Builder, first: i64, last: i64, by: i64) -> Result<()> {
    if first != last && (by == 0 || (by > 0) != (first < last)) {
        let message = format!("sequence boundaries: {first} to {last} by {by}");
        return Err(Error::execution("ILLEGAL_SEQUENCE_BOUNDARIES", message)
            .with_help("the step must lead from the first to the last"));
    }
    let count = if by == 0 { 1 } else { (i128::from(last) - i128::from(first)) / i128::from(by) + 1 };
    if count + values.len() as i128 > MAX_SEQUENCE {
        return Err(Error::execution(
            "COLLECTION_SIZE_LIMIT_EXCEEDED",
            format!("sequence of {count} elements is too long"),
        )
        .with_help("use a longer step, or bounds that are closer"));
    }
    (0..count as i64).for_each(|i| values.append_value(first + i * by));
    Ok(())
}

fn struct_type(types: &Types) -> Result<DataType> {
    let field = |i: usize| {
        let name = types.name(i);
        // A field that is no column has the name of its function or literal: Spark calls those col1, col2, …
        let name =
            if types.literal(i).is_some() || name.is_empty() { format!("col{}", i + 1) } else { name.to_owned() };
        Field::new(name, types.get(i).clone(), true)
    };
    Ok(DataType::Struct((0..types.len()).map(field).collect()))
}

fn make_struct(call: &Call) -> Result<ArrayRef> {
    struct_of(call, call.arrays()?)
}

fn struct_of(call: &Call, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.return_type() else { return Err(Error::internal("a struct is expected")) };
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

fn named_struct_type(types: &Types) -> Result<DataType> {
    if types.len() % 2 == 1 {
        return Err(Error::invalid(ODD, "function 'named_struct' takes an even number of arguments")
            .with_help("write each name before its value: named_struct('a', 1, 'b', 2)"));
    }
    let field = |i: usize| match types.literal_str(i) {
        Some(name) => Ok(Field::new(name, types.get(i + 1).clone(), true)),
        None => Err(Error::invalid(
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
            format!("the field name in argument {} of function 'named_struct' must be a string literal", i + 1),
        )
        .with_help("write the name in quotes: named_struct('a', v)")),
    };
    Ok(DataType::Struct((0..types.len()).step_by(2).map(field).collect::<Result<_>>()?))
}

fn named_struct(call: &Call) -> Result<ArrayRef> {
    let columns = (1..call.len()).step_by(2).map(|i| call.array(i)).collect::<Result<_>>()?;
    struct_of(call, columns)
}
