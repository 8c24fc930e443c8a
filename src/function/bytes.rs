//! Functions of text that take bytes as well: `bit_length`, `octet_length`, `lpad`, `rpad`, `overlay`, `trim`; and those
//! that ask whether bytes are UTF-8.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, Types, function};
use crate::{Error, Result};

const STRING: DataType = DataType::Utf8View;

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("bit_length", 1..=1, |_| Ok(DataType::Int32), |call| length(call, 8)),
        function("octet_length", 1..=1, |_| Ok(DataType::Int32), |call| length(call, 1)),
        function("lpad", 2..=3, pad_type, |call| pad(call, true)),
        function("rpad", 2..=3, pad_type, |call| pad(call, false)),
        function("overlay", 3..=4, overlay_type, overlay),
        function("btrim", 1..=2, |_| Ok(STRING), |call| trim(call, |text, cut| text.trim_matches(cut)))
            .with_aliases(["trim"]),
        function("ltrim", 1..=2, |_| Ok(STRING), |call| trim(call, |text, cut| text.trim_start_matches(cut))),
        function("rtrim", 1..=2, |_| Ok(STRING), |call| trim(call, |text, cut| text.trim_end_matches(cut))),
        function("is_valid_utf8", 1..=1, |_| Ok(DataType::Boolean), is_valid_utf8),
        function("make_valid_utf8", 1..=1, |_| Ok(STRING), |call| utf8(call, |b| Ok(Some(lossy(b))))),
        function("validate_utf8", 1..=1, |_| Ok(STRING), |call| utf8(call, |b| checked(b).map(Some))),
        function("try_validate_utf8", 1..=1, |_| Ok(STRING), |call| utf8(call, |b| Ok(checked(b).ok()))),
    ]
}

/// Argument `i` as bytes, those of a text if it is none.
fn bytes(call: &Call, i: usize) -> Result<BinaryArray> {
    let binary = call.value(i).data_type().is_binary();
    let array = if binary { call.array(i)? } else { call.cast(i, &STRING)? };
    Ok(arrow::compute::cast(&array, &DataType::Binary)?.as_binary::<i32>().clone())
}

fn length(call: &Call, bits: i32) -> Result<ArrayRef> {
    let rows = bytes(call, 0)?;
    Ok(Arc::new(rows.iter().map(|b| b.map(|b| b.len() as i32 * bits)).collect::<Int32Array>()))
}

fn pad_type(types: &Types) -> Result<DataType> {
    let binary = types.get(0).is_binary() && (types.len() == 2 || types.get(2).is_binary());
    Ok(if binary { DataType::Binary } else { STRING })
}

/// Cut, or filled up before or behind, to a length.
fn pad(call: &Call, before: bool) -> Result<ArrayRef> {
    let lengths = call.ints(1)?;
    if call.return_type().is_binary() {
        let values = bytes(call, 0)?;
        let pads = if call.len() > 2 { bytes(call, 2)? } else { BinaryArray::from(vec![&[0_u8][..]; call.rows()]) };
        let rows = values.iter().zip(&lengths).zip(&pads);
        let rows = rows.map(|((value, length), pad)| Some(padded(value?, length?, pad?, before)));
        return Ok(Arc::new(rows.collect::<BinaryArray>()));
    }
    let values = call.strings(0)?;
    let pads = if call.len() > 2 { call.strings(2)? } else { StringViewArray::from(vec![" "; call.rows()]) };
    let rows = values.iter().zip(&lengths).zip(&pads).map(|((value, length), pad)| {
        let padded = padded(&chars(value?), length?, &chars(pad?), before);
        Some(padded.into_iter().collect::<String>())
    });
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn padded<T: Copy>(value: &[T], length: i32, pad: &[T], before: bool) -> Vec<T> {
    let length = usize::try_from(length).unwrap_or(0);
    if value.len() >= length || pad.is_empty() {
        return value[..value.len().min(length)].to_vec();
    }
    let fill = pad.iter().cycle().take(length - value.len()).copied();
    let value = value.iter().copied();
    if before { fill.chain(value).collect() } else { value.chain(fill).collect() }
}

fn overlay_type(types: &Types) -> Result<DataType> {
    let (left, right) = (types.get(0), types.get(1));
    let known = left != &DataType::Null && right != &DataType::Null;
    if known && left.is_binary() != right.is_binary() {
        return Err(super::coercion::mismatch("overlay", [left, right]));
    }
    Ok(if left.is_binary() || right.is_binary() { DataType::Binary } else { STRING })
}

/// Puts one value over another from a place on; as long as it is itself, unless a length is given.
fn overlay(call: &Call) -> Result<ArrayRef> {
    let places = call.ints(2)?;
    let lengths = if call.len() > 3 { call.ints(3)? } else { Int32Array::from(vec![-1; call.rows()]) };
    let at = |row: usize| {
        let known = places.is_valid(row) && lengths.is_valid(row);
        known.then(|| (i64::from(places.value(row)), i64::from(lengths.value(row))))
    };
    if call.return_type().is_binary() {
        let (values, over) = (bytes(call, 0)?, bytes(call, 1)?);
        let rows = values.iter().zip(&over).enumerate();
        let rows = rows.map(|(row, (value, over))| Some(overlaid(value?, over?, at(row)?)));
        return Ok(Arc::new(rows.collect::<BinaryArray>()));
    }
    let (values, over) = (call.strings(0)?, call.strings(1)?);
    let rows = values.iter().zip(&over).enumerate().map(|(row, (value, over))| {
        let overlaid = overlaid(&chars(value?), &chars(over?), at(row)?);
        Some(overlaid.into_iter().collect::<String>())
    });
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

fn overlaid<T: Copy>(value: &[T], over: &[T], (place, length): (i64, i64)) -> Vec<T> {
    let length = if length >= 0 { length } else { over.len() as i64 };
    [part(value, 1, place - 1), over, part(value, place + length, i64::MAX)].concat()
}

/// From a place on, which counts from 1, or from the end if it is negative; 0 is the first.
fn part<T>(value: &[T], place: i64, length: i64) -> &[T] {
    let count = value.len() as i64;
    let start = match place {
        0 => 0,
        1.. => place - 1,
        _ => count + place,
    };
    let end = start.saturating_add(length).clamp(0, count);
    &value[start.clamp(0, end) as usize..end as usize]
}

/// Without the characters, which are spaces unless given, at one end or both.
fn trim(call: &Call, trimmed: for<'t> fn(&'t str, &[char]) -> &'t str) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let cut = if call.len() > 1 { call.strings(1)? } else { StringViewArray::from(vec![" "; call.rows()]) };
    let rows = values.iter().zip(&cut).map(|(value, cut)| Some(trimmed(value?, &chars(cut?))));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

fn is_valid_utf8(call: &Call) -> Result<ArrayRef> {
    let rows = bytes(call, 0)?;
    Ok(Arc::new(rows.iter().map(|b| b.map(|b| std::str::from_utf8(b).is_ok())).collect::<BooleanArray>()))
}

fn utf8(call: &Call, f: impl Fn(&[u8]) -> Result<Option<String>>) -> Result<ArrayRef> {
    let values = bytes(call, 0)?;
    let rows = values.iter().map(|b| b.map_or(Ok(None), &f));
    Ok(Arc::new(rows.collect::<Result<Vec<_>>>()?.into_iter().collect::<StringViewArray>()))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn checked(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| {
        let message = format!("the bytes are no UTF-8 from byte {} on", e.valid_up_to() + 1);
        Error::execution("INVALID_UTF8_STRING", message)
            .with_help("use `try_validate_utf8` to get NULL instead, or `make_valid_utf8` to replace what is wrong")
    })
}
