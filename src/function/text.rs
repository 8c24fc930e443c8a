//! Functions of texts as a whole: `mask`, `sentences`, `levenshtein`, `split_part`, `elt`, and patterns of LIKE.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::{Expr, ScalarUDF, lit};

use super::scalar::{Call, function, list_of};
use super::slices::slices;
use crate::{Error, Result};

const STRING: DataType = DataType::Utf8View;

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("mask", 1..=5, |_| Ok(STRING), mask),
        function("sentences", 1..=3, |_| Ok(list_of(list_of(STRING))), sentences),
        function("levenshtein", 2..=3, |_| Ok(DataType::Int32), levenshtein),
        function("split_part", 3..=3, |_| Ok(STRING), split_part),
        function("elt", 2..=usize::MAX, |_| Ok(STRING), elt),
        function("assert_true", 1..=2, |_| Ok(DataType::Null), assert_true),
        function("raise_error", 1..=1, |_| Ok(DataType::Null), raise_error),
    ]
}

/// A pattern of LIKE with another escape character, in the spelling with the backslash.
pub fn like_pattern(pattern: Expr, escape: char) -> Expr {
    function("like_pattern", 2..=2, |_| Ok(STRING), with_backslashes).call(vec![pattern, lit(escape.to_string())])
}

fn with_backslashes(call: &Call) -> Result<ArrayRef> {
    let (patterns, escapes) = (call.strings(0)?, call.strings(1)?);
    let rows = patterns.iter().zip(&escapes).map(|pair| match pair {
        (Some(pattern), Some(escape)) => rewritten(pattern, escape).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(rows.collect::<Result<Vec<Option<String>>>>()?.into_iter().collect::<StringViewArray>()))
}

fn rewritten(pattern: &str, escape: &str) -> Result<String> {
    let mut out = String::with_capacity(pattern.len() + 2);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if escape.starts_with(c) {
            let Some(next) = chars.next().filter(|n| matches!(n, '_' | '%') || escape.starts_with(*n)) else {
                let message =
                    format!("the escape '{escape}' in the pattern '{pattern}' stands before no '_', '%' or escape");
                return Err(Error::execution("INVALID_FORMAT.ESC_IN_THE_MIDDLE", message)
                    .with_help(format!("write the escape twice to mean itself: '{escape}{escape}'")));
            };
            out.push('\\');
            out.push(next);
        } else {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
    }
    Ok(out)
}

/// Upper-case letters, lower-case letters, digits and what else there is, each replaced; NULL keeps them.
fn mask(call: &Call) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    let replacement = |i: usize, default: Option<&str>| -> Result<StringViewArray> {
        if i < call.len() { call.strings(i) } else { Ok(std::iter::repeat_n(default, call.rows()).collect()) }
    };
    let classes =
        [replacement(1, Some("X"))?, replacement(2, Some("x"))?, replacement(3, Some("n"))?, replacement(4, None)?];
    let masked = |row: usize, text: &str| {
        let class = |i: usize| classes[i].is_valid(row).then(|| classes[i].value(row).chars().next()).flatten();
        let one = |c: char| {
            let class = match c {
                c if c.is_uppercase() => class(0),
                c if c.is_lowercase() => class(1),
                c if c.is_numeric() => class(2),
                _ => class(3),
            };
            class.unwrap_or(c)
        };
        text.chars().map(one).collect::<String>()
    };
    let rows = text.iter().enumerate().map(|(row, text)| text.map(|t| masked(row, t)));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

/// Sentences end with `.`, `!` or `?`; words are made of letters and digits. Language and country make no difference.
fn sentences(call: &Call) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(ListBuilder::new(StringViewBuilder::new()));
    for text in &call.strings(0)? {
        let Some(text) = text else {
            lists.append_null();
            continue;
        };
        for sentence in text.split(['.', '!', '?']) {
            let inner = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '-' | '_');
            let words = sentence.split(|c: char| !inner(c)).filter(|w| w.chars().any(char::is_alphanumeric));
            let words: Vec<_> = words.collect();
            if !words.is_empty() {
                words.iter().for_each(|w| lists.values().values().append_value(w));
                lists.values().append(true);
            }
        }
        lists.append(true);
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    super::cast::cast_array(&lists, call.return_type(), super::cast::Mode::Ansi, call.tz())
}

/// How many characters must be changed; -1 above the threshold.
fn levenshtein(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.strings(0)?, call.strings(1)?);
    let limits = if call.len() > 2 { Some(call.ints(2)?) } else { None };
    let rows = left.iter().zip(&right).enumerate().map(|(row, (l, r))| {
        let distance = distance(l?, r?);
        match &limits {
            None => Some(distance),
            Some(limits) if limits.is_null(row) => None,
            Some(limits) => Some(if distance <= limits.value(row) { distance } else { -1 }),
        }
    });
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

fn distance(left: &str, right: &str) -> i32 {
    let right: Vec<char> = right.chars().collect();
    let mut costs: Vec<i32> = (0..=right.len() as i32).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut costs[0], i as i32 + 1);
        for (j, r) in right.iter().enumerate() {
            let change = diagonal + i32::from(l != *r);
            diagonal = costs[j + 1];
            costs[j + 1] = change.min(costs[j] + 1).min(diagonal + 1);
        }
    }
    costs[right.len()]
}

/// The part of this number, from 1, or from the end if it is negative; empty beyond.
fn split_part(call: &Call) -> Result<ArrayRef> {
    let (text, delimiters, parts) = (call.strings(0)?, call.strings(1)?, call.ints(2)?);
    let mut ranges = Vec::with_capacity(text.len());
    for ((text, delimiter), part) in text.iter().zip(&delimiters).zip(&parts) {
        let (Some(text), Some(delimiter), Some(part)) = (text, delimiter, part) else {
            ranges.push(None);
            continue;
        };
        if part == 0 {
            return Err(Error::execution("INVALID_INDEX_OF_ZERO", "the index 0 is invalid")
                .with_help("the first part has the number 1"));
        }
        let nth = part.unsigned_abs() as usize - 1;
        let found = match (delimiter.as_bytes(), part > 0) {
            ([], _) => (nth == 0).then_some(0..text.len()),
            // One byte is a character of its own wherever it stands.
            ([byte], true) => nth_part(memchr::memchr_iter(*byte, text.as_bytes()), 1, text.len(), nth),
            ([byte], false) => nth_part_from_end(memchr::memrchr_iter(*byte, text.as_bytes()), 1, text.len(), nth),
            (_, true) => nth_part(text.match_indices(delimiter).map(|(at, _)| at), delimiter.len(), text.len(), nth),
            (_, false) => {
                nth_part_from_end(text.rmatch_indices(delimiter).map(|(at, _)| at), delimiter.len(), text.len(), nth)
            }
        };
        ranges.push(Some(found.unwrap_or(0..0)));
    }
    slices(&text, ranges)
}

/// The part before which there are `nth` delimiters of `width` bytes; `at` says where they are.
fn nth_part(mut at: impl Iterator<Item = usize>, width: usize, len: usize, nth: usize) -> Option<Range<usize>> {
    let start = match nth.checked_sub(1) {
        Some(before) => at.nth(before)? + width,
        None => 0,
    };
    Some(start..at.next().unwrap_or(len))
}

/// The same from the end: `at` begins with the last one.
fn nth_part_from_end(
    mut at: impl Iterator<Item = usize>,
    width: usize,
    len: usize,
    nth: usize,
) -> Option<Range<usize>> {
    let end = match nth.checked_sub(1) {
        Some(behind) => at.nth(behind)?,
        None => len,
    };
    Some(at.next().map_or(0, |at| at + width)..end)
}

fn elt(call: &Call) -> Result<ArrayRef> {
    let numbers = call.ints(0)?;
    let values = (1..call.len()).map(|i| call.strings(i)).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(numbers.len());
    for (row, n) in numbers.iter().enumerate() {
        let Some(n) = n else {
            builder.append_null();
            continue;
        };
        match usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).and_then(|i| values.get(i)) {
            Some(values) => builder.append_option(values.is_valid(row).then(|| values.value(row))),
            None => {
                let message = format!("the index {n} is out of bounds: there are {} elements", values.len());
                return Err(Error::execution("INVALID_ARRAY_INDEX", message)
                    .with_help("use an index from 1 up to the number of elements"));
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn assert_true(call: &Call) -> Result<ArrayRef> {
    let conditions = call.cast(0, &DataType::Boolean)?;
    let Some(row) = conditions.as_boolean().iter().position(|c| c != Some(true)) else {
        return Ok(Arc::new(NullArray::new(call.rows())));
    };
    let message = if call.len() > 1 { Some(call.strings(1)?) } else { None };
    let message = message.filter(|m| m.is_valid(row)).map(|m| m.value(row).to_owned());
    Err(user_error(message.unwrap_or_else(|| "the condition of assert_true is not true".to_owned())))
}

fn raise_error(call: &Call) -> Result<ArrayRef> {
    let messages = call.strings(0)?;
    match messages.iter().next() {
        Some(message) => Err(user_error(message.unwrap_or("NULL").to_owned())),
        None => Ok(new_empty_array(&DataType::Null)),
    }
}

fn user_error(message: String) -> Error {
    Error::execution("USER_RAISED_EXCEPTION", message)
        .with_help("the query raises this itself, with raise_error or assert_true")
}

/// `array(value)` of one value.
pub fn array_of_one(value: Expr) -> Expr {
    function(
        "array_of_one",
        1..=1,
        |types| Ok(list_of(types.get(0).clone())),
        |call| {
            let values = call.array(0)?;
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            let offsets = OffsetBuffer::from_repeated_length(1, values.len());
            Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
        },
    )
    .call(vec![value])
}
