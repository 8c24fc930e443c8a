//! Functions of text that DataFusion lacks or means otherwise.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::cast::is_string;
use super::scalar::{Call, function};
use crate::type_name::{sql_type_name, type_name};
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("locate", 2..=3, |_| Ok(DataType::Int32), locate),
        function("instr", 2..=4, |_| Ok(DataType::Int32), instr),
        function("initcap", 1..=1, |_| Ok(DataType::Utf8View), |call| map_text(call, initcap)),
        function(
            "upper",
            1..=1,
            |_| Ok(DataType::Utf8View),
            |call| in_case(call, str::make_ascii_uppercase, str::to_uppercase),
        )
        .with_aliases(["ucase"]),
        function(
            "lower",
            1..=1,
            |_| Ok(DataType::Utf8View),
            |call| in_case(call, str::make_ascii_lowercase, str::to_lowercase),
        )
        .with_aliases(["lcase"]),
        function("left", 2..=2, |_| Ok(DataType::Utf8View), left),
        function("right", 2..=2, |_| Ok(DataType::Utf8View), right),
        function("repeat", 2..=2, |_| Ok(DataType::Utf8View), repeat),
        function("startswith", 2..=2, |_| Ok(DataType::Boolean), |call| test(call, |a, b| a.starts_with(b))),
        function("endswith", 2..=2, |_| Ok(DataType::Boolean), |call| test(call, |a, b| a.ends_with(b))),
        function("contains", 2..=2, |_| Ok(DataType::Boolean), |call| test(call, |a, b| a.contains(b))),
        function("length", 1..=1, |_| Ok(DataType::Int32), length).with_aliases([
            "char_length",
            "character_length",
            "len",
        ]),
        function("typeof", 1..=1, |_| Ok(DataType::Utf8View), type_of),
        function("conv", 3..=3, |_| Ok(DataType::Utf8View), conv),
        concat_function(),
    ]
}

/// `concat(…)`.
pub fn concat_function() -> ScalarUDF {
    function("concat", 0..=usize::MAX, concat_type, concat)
}

fn map_text(call: &Call, f: impl Fn(&str) -> String) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    Ok(Arc::new(text.iter().map(|s| s.map(&f)).collect::<StringViewArray>()))
}

/// Every text in one case; `ascii` for those that have no other characters.
fn in_case(call: &Call, ascii: impl Fn(&mut str), other: impl Fn(&str) -> String) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    let mut builder = StringViewBuilder::with_capacity(text.len());
    let mut buffer = String::new();
    for s in text.iter() {
        match s {
            None => builder.append_null(),
            Some(s) if s.is_ascii() => {
                buffer.clear();
                buffer.push_str(s);
                ascii(&mut buffer);
                builder.append_value(&buffer);
            }
            Some(s) => builder.append_value(other(s)),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn test(call: &Call, f: impl Fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (left, right) = (call.strings(0)?, call.strings(1)?);
    let rows = left.iter().zip(right.iter()).map(|(l, r)| Some(f(l?, r?)));
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

fn type_of(call: &Call) -> Result<ArrayRef> {
    let name = type_name(&call.value(0).data_type());
    Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(name, call.rows()))))
}

/// Characters of text, bytes of binary.
fn length(call: &Call) -> Result<ArrayRef> {
    if call.value(0).data_type().is_binary() {
        return Ok(arrow::compute::cast(&arrow::compute::kernels::length::length(&call.array(0)?)?, &DataType::Int32)?);
    }
    let text = call.strings(0)?;
    let count = |s: &str| if s.is_ascii() { s.len() } else { s.chars().count() };
    Ok(Arc::new(text.iter().map(|s| s.map(|s| count(s) as i32)).collect::<Int32Array>()))
}

/// Position (from 1, in characters) of `part` in `text` at or behind character `start`; 0 if it is not there.
fn position(part: &str, text: &str, start: i32) -> i32 {
    let Some(skip) = usize::try_from(start).ok().filter(|s| *s > 0) else { return 0 };
    let Some(from) = text.char_indices().map(|(i, _)| i).chain([text.len()]).nth(skip - 1) else { return 0 };
    text[from..].find(part).map_or(0, |at| text[..from + at].chars().count() as i32 + 1)
}

fn locate(call: &Call) -> Result<ArrayRef> {
    let (parts, text) = (call.strings(0)?, call.strings(1)?);
    let starts = if call.len() > 2 { call.ints(2)? } else { Int32Array::from(vec![1; call.rows()]) };
    // Spark gives 0, not NULL, for a NULL start.
    let rows = parts.iter().zip(text.iter()).zip(starts.iter());
    let rows = rows.map(|((p, t), start)| Some(position(p?, t?, start.unwrap_or(0))));
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

/// `instr(text, part[, start[, occurrence]])`: a negative start is counted from the end and searches backwards.
fn instr(call: &Call) -> Result<ArrayRef> {
    let (text, parts) = (call.strings(0)?, call.strings(1)?);
    let number = |i: usize| if i < call.len() { call.ints(i) } else { Ok(Int32Array::from(vec![1; call.rows()])) };
    let (starts, occurrences) = (number(2)?, number(3)?);
    if let Some(wrong) = occurrences.iter().flatten().find(|n| *n < 1) {
        let message = format!("the occurrence of 'instr' must be positive, but is {wrong}");
        return Err(Error::execution("INVALID_PARAMETER_VALUE.OCCURRENCE", message)
            .with_help("1 is the first one from the start; a negative start searches backwards"));
    }
    let rows = text.iter().zip(&parts).zip(starts.iter().zip(&occurrences)).map(|((text, part), (start, nth))| {
        let (text, part, start, nth) = (text?, part?, start?, nth?);
        Some(if (start, nth) == (1, 1) { position(part, text, 1) } else { occurrence(part, text, start, nth) })
    });
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

fn occurrence(part: &str, text: &str, start: i32, nth: i32) -> i32 {
    if part.is_empty() {
        return 1;
    }
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let count = places.len() as i64;
    let first = if start < 0 { count + i64::from(start) } else { i64::from(start) - 1 };
    if start == 0 || !(0..count).contains(&first) {
        return 0;
    }
    let found = |i: &usize| text[places[*i]..].starts_with(part);
    let (first, skip) = (first as usize, nth as usize - 1);
    let hit = match start {
        1.. => (first..places.len()).filter(found).nth(skip),
        _ => (0..=first).rev().filter(found).nth(skip),
    };
    hit.map_or(0, |i| i as i32 + 1)
}

/// Words are what spaces separate; the first letter of each is in title case, which for `ß` is `Ss`.
fn initcap(text: &str) -> String {
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let mut rest = lower.chars();
        rest.next().map_or_else(String::new, |first| title(first) + rest.as_str())
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The title case of a letter: of several letters in upper case only the first stays.
fn title(c: char) -> String {
    match c {
        'ǆ' | 'ǅ' | 'Ǆ' => return "ǅ".to_owned(),
        'ǉ' | 'ǈ' | 'Ǉ' => return "ǈ".to_owned(),
        'ǌ' | 'ǋ' | 'Ǌ' => return "ǋ".to_owned(),
        'ǳ' | 'ǲ' | 'Ǳ' => return "ǲ".to_owned(),
        _ => {}
    }
    let mut upper = c.to_uppercase();
    let first = upper.next().map(String::from).unwrap_or_default();
    first + &upper.flat_map(char::to_lowercase).collect::<String>()
}

/// Applies `f` to a text and a number.
fn with_count(call: &Call, f: impl Fn(&str, usize) -> String) -> Result<ArrayRef> {
    let (text, counts) = (call.strings(0)?, call.ints(1)?);
    let rows = text.iter().zip(counts.iter()).map(|(t, n)| Some(f(t?, n?.max(0) as usize)));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

fn left(call: &Call) -> Result<ArrayRef> {
    with_count(call, |text, n| text.chars().take(n).collect())
}

fn right(call: &Call) -> Result<ArrayRef> {
    with_count(call, |text, n| text.chars().skip(text.chars().count().saturating_sub(n)).collect())
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    let (text, counts) = (call.strings(0)?, call.ints(1)?);
    let mut builder = StringViewBuilder::with_capacity(text.len());
    for (text, count) in text.iter().zip(counts.iter()) {
        match (text, count) {
            (Some(text), Some(n)) => {
                let n = n.max(0) as usize;
                if text.len().checked_mul(n).is_none_or(|bytes| bytes > i32::MAX as usize) {
                    return Err(Error::execution("COLLECTION_SIZE_LIMIT_EXCEEDED", "the repeated text is too long")
                        .with_help("a text has at most 2 GiB: repeat it fewer times"));
                }
                builder.append_value(text.repeat(n));
            }
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn conv(call: &Call) -> Result<ArrayRef> {
    let (text, from, to) = (call.strings(0)?, call.ints(1)?, call.ints(2)?);
    let rows = text.iter().zip(from.iter()).zip(to.iter());
    let rows = rows.map(|((text, from), to)| converted(text?, from?, to?));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

/// A number in another base; a negative target base shows it with a sign, a positive one as unsigned.
fn converted(text: &str, from: i32, to: i32) -> Option<String> {
    let bases = 2..=36;
    if !bases.contains(&from) || !bases.contains(&to.abs()) {
        return None;
    }
    let text = text.trim_matches(' ');
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |d| (true, d));
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits.chars().map_while(|c| c.to_digit(from as u32)) {
        value = value.checked_mul(from as u64).and_then(|v| v.checked_add(digit.into())).unwrap_or(u64::MAX);
    }
    if negative {
        value = value.wrapping_neg();
    }
    let signed = to < 0 && (value as i64) < 0;
    let digits = in_base(if signed { value.wrapping_neg() } else { value }, to.unsigned_abs());
    Some(if signed { format!("-{digits}") } else { digits })
}

fn in_base(mut value: u64, base: u32) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = char::from_digit((value % u64::from(base)) as u32, base).unwrap_or('0');
        digits.push(digit.to_ascii_uppercase());
        value /= u64::from(base);
        if value == 0 {
            return digits.iter().rev().collect();
        }
    }
}

fn concat_type(types: &super::scalar::Types) -> Result<DataType> {
    let all = types.all();
    if let Some(nested) = all.iter().find(|t| matches!(t, DataType::Map(..) | DataType::Struct(_))) {
        let message = format!("function \"concat\" does not take \"{}\"", sql_type_name(nested));
        return Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message));
    }
    if all.iter().any(|t| matches!(t, DataType::List(_))) {
        return super::coercion::common(&all).ok_or_else(|| super::coercion::mismatch("concat", &all));
    }
    let binary = !all.is_empty() && all.iter().all(DataType::is_binary);
    Ok(if binary { DataType::Binary } else { DataType::Utf8View })
}

/// Text, binary or arrays in a row; NULL if any is NULL.
fn concat(call: &Call) -> Result<ArrayRef> {
    match call.return_type() {
        DataType::List(_) => concat_lists(call),
        to => {
            let inner = if is_string(to) { DataType::Utf8View } else { DataType::Binary };
            let parts = (0..call.len()).map(|i| call.cast(i, &inner)).collect::<Result<Vec<_>>>()?;
            if is_string(to) { Ok(concat_text(&parts, call.rows())) } else { Ok(concat_binary(&parts, call.rows())) }
        }
    }
}

fn concat_text(parts: &[ArrayRef], rows: usize) -> ArrayRef {
    let parts: Vec<_> = parts.iter().map(|p| p.as_string_view()).collect();
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    for row in 0..rows {
        if parts.iter().any(|p| p.is_null(row)) {
            builder.append_null();
            continue;
        }
        text.clear();
        parts.iter().for_each(|p| text.push_str(p.value(row)));
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

fn concat_binary(parts: &[ArrayRef], rows: usize) -> ArrayRef {
    let parts: Vec<_> = parts.iter().map(|p| p.as_binary::<i32>()).collect();
    let row = |row| {
        let valid = parts.iter().all(|p| p.is_valid(row));
        valid.then(|| parts.iter().flat_map(|p| p.value(row).iter().copied()).collect::<Vec<u8>>())
    };
    Arc::new((0..rows).map(row).collect::<BinaryArray>())
}

fn concat_lists(call: &Call) -> Result<ArrayRef> {
    let parts = (0..call.len()).map(|i| call.cast(i, call.return_type())).collect::<Result<Vec<_>>>()?;
    let lists: Vec<_> = parts.iter().map(|p| p.as_list::<i32>()).collect();
    super::collection::build_lists(call.return_type(), call.rows(), &lists, |row, take| {
        if lists.iter().any(|l| l.is_null(row)) {
            return Ok(false);
        }
        for (source, list) in lists.iter().enumerate() {
            let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            (start..end).for_each(|i| take.push((source, i)));
        }
        Ok(true)
    })
}
