//! Functions of regular expressions in Java's spelling of groups.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use parking_lot::Mutex;
use regex::{CaptureLocations, Captures, Regex};

use super::scalar::{Call, Types, function, list_of};
use super::slices::slices;
use crate::{Error, Result};

/// How many compiled patterns are kept.
const CACHE_LIMIT: usize = 256;

static CACHE: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// The compiled pattern, from the cache if it was seen before.
pub fn compile(pattern: &str) -> Result<Regex> {
    let mut cache = CACHE.lock();
    if let Some(regex) = cache.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = Regex::new(pattern).map_err(|e| {
        Error::execution("INVALID_PARAMETER_VALUE.PATTERN", format!("regular expression '{pattern}' is malformed: {e}"))
            .with_help("look-around and back-references are not supported")
    })?;
    if cache.len() >= CACHE_LIMIT {
        cache.clear();
    }
    cache.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

/// Whether a pattern stands for itself.
pub fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$', '#', '&', '-', '~'])
        || matches!(pattern, "-" | "#" | "&" | "~")
}

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("rlike", 2..=2, |types| of_pattern(types, DataType::Boolean), rlike)
            .with_aliases(["regexp", "regexp_like"]),
        function("regexp_replace", 3..=4, |types| of_pattern(types, DataType::Utf8View), regexp_replace),
        function("regexp_extract", 2..=3, |types| of_pattern(types, DataType::Utf8View), regexp_extract),
        function(
            "regexp_extract_all",
            2..=3,
            |types| of_pattern(types, list_of(DataType::Utf8View)),
            regexp_extract_all,
        ),
        function("regexp_count", 2..=2, |types| of_pattern(types, DataType::Int32), regexp_count),
        function("regexp_substr", 2..=2, |types| of_pattern(types, DataType::Utf8View), regexp_substr),
        function("regexp_instr", 2..=3, |types| of_pattern(types, DataType::Int32), regexp_instr),
    ]
}

/// The type of a call; a pattern that is a literal is refused before anything starts.
pub fn of_pattern(types: &Types, result: DataType) -> Result<DataType> {
    if let Some(pattern) = types.literal_str(1) {
        compile(pattern)?;
    }
    Ok(result)
}

/// Calls `f` for every row whose text and pattern are not NULL, with the row, the text and the compiled pattern.
fn each<T>(call: &Call, mut f: impl FnMut(usize, &str, &Regex) -> Result<Option<T>>) -> Result<Vec<Option<T>>> {
    let (text, patterns) = (call.strings(0)?, call.strings(1)?);
    let mut current: Option<(&str, Regex)> = None;
    let mut rows = Vec::with_capacity(text.len());
    for (row, pair) in text.iter().zip(patterns.iter()).enumerate() {
        let (Some(text), Some(pattern)) = pair else {
            rows.push(None);
            continue;
        };
        let regex = match current.take() {
            Some((known, regex)) if known == pattern => regex,
            _ => compile(pattern)?,
        };
        rows.push(f(row, text, &regex)?);
        current = Some((pattern, regex));
    }
    Ok(rows)
}

fn rlike(call: &Call) -> Result<ArrayRef> {
    Ok(Arc::new(BooleanArray::from(each(call, |_, text, regex| Ok(Some(regex.is_match(text))))?)))
}

fn regexp_count(call: &Call) -> Result<ArrayRef> {
    Ok(Arc::new(Int32Array::from(each(call, |_, text, regex| Ok(Some(matches(text, regex).len() as i32)))?)))
}

fn regexp_substr(call: &Call) -> Result<ArrayRef> {
    let rows = each(call, |_, text, regex| Ok(regex.find(text).map(|m| m.range())))?;
    slices(&call.strings(0)?, rows)
}

fn regexp_instr(call: &Call) -> Result<ArrayRef> {
    let position = |text: &str, at: usize| text[..at].chars().count() as i32 + 1;
    let rows = each(call, |_, text, regex| Ok(Some(regex.find(text).map_or(0, |m| position(text, m.start())))))?;
    Ok(Arc::new(Int32Array::from(rows)))
}

fn regexp_replace(call: &Call) -> Result<ArrayRef> {
    let replacements = call.strings(2)?;
    let positions = if call.len() > 3 { Some(call.ints(3)?) } else { None };
    let rows = each(call, |row, text, regex| {
        if replacements.is_null(row) || positions.as_ref().is_some_and(|p| p.is_null(row)) {
            return Ok(None);
        }
        let skip = positions.as_ref().map_or(1, |p| p.value(row)).max(1) as usize - 1;
        let Some(at) = text.char_indices().map(|(i, _)| i).chain([text.len()]).nth(skip) else {
            return Ok(Some(text.to_owned()));
        };
        let replacement = java_replacement(replacements.value(row), regex)?;
        Ok(Some(format!("{}{}", &text[..at], replaced(&text[at..], regex, &replacement))))
    })?;
    Ok(Arc::new(StringViewArray::from(rows)))
}

/// All matches as Java finds them: behind a match that is not empty there may be an empty one.
fn matches<'t>(text: &'t str, regex: &Regex) -> Vec<Captures<'t>> {
    let (mut all, mut from) = (vec![], 0);
    while from <= text.len()
        && let Some(captures) = regex.captures_at(text, from)
    {
        let Some(range) = captures.get(0).map(|m| m.range()) else { break };
        let next = text[range.end..].chars().next().map_or(1, char::len_utf8);
        from = if range.is_empty() { range.end + next } else { range.end };
        all.push(captures);
    }
    all
}

/// The text with every match replaced.
fn replaced(text: &str, regex: &Regex, replacement: &str) -> String {
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    for captures in matches(text, regex) {
        let Some(range) = captures.get(0).map(|m| m.range()) else { continue };
        out.push_str(&text[copied..range.start]);
        captures.expand(replacement, &mut out);
        copied = range.end;
    }
    out + &text[copied..]
}

/// `$1` and `\$` in the spelling of the regex crate: `${1}` and `$$`.
fn java_replacement(replacement: &str, regex: &Regex) -> Result<String> {
    let mut out = String::with_capacity(replacement.len() + 4);
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(c) => out.push(c),
                None => {}
            },
            '$' if chars.peek() == Some(&'{') => out.push('$'),
            '$' => {
                let group = group_number(&mut chars, regex)?;
                out.push_str(&format!("${{{group}}}"));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Java takes as many digits as still name a group.
fn group_number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &Regex) -> Result<usize> {
    let mut number: Option<usize> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        let next = number.unwrap_or(0) * 10 + digit as usize;
        if number.is_some() && next >= regex.captures_len() {
            break;
        }
        number = Some(next);
        chars.next();
    }
    match number {
        Some(n) if n < regex.captures_len() => Ok(n),
        other => Err(group_error(other.map_or(-1, |n| n as i64), regex)),
    }
}

fn group_error(index: i64, regex: &Regex) -> Error {
    let most = regex.captures_len() - 1;
    let message =
        format!("the value of parameter \"idx\" is wrong: expects group index between 0 and {most}, but got {index}");
    Error::execution("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", message)
        .with_help("group 0 is the whole match; each pair of parentheses in the pattern is one more")
}

/// The group that the third argument names; the first if there is none.
fn group_index(groups: Option<&Int32Array>, row: usize, regex: &Regex) -> Result<Option<usize>> {
    let index = match groups {
        None => 1,
        Some(groups) if groups.is_null(row) => return Ok(None),
        Some(groups) => groups.value(row),
    };
    match usize::try_from(index) {
        Ok(i) if i < regex.captures_len() => Ok(Some(i)),
        _ => Err(group_error(index.into(), regex)),
    }
}

fn group_text<'a>(captures: &Captures<'a>, group: usize) -> &'a str {
    captures.get(group).map_or("", |m| m.as_str())
}

fn regexp_extract(call: &Call) -> Result<ArrayRef> {
    let groups = if call.len() > 2 { Some(call.ints(2)?) } else { None };
    // Places of groups, kept from row to row, and the pattern that they are for.
    let mut locations: Option<(String, CaptureLocations)> = None;
    let rows = each(call, |row, text, regex| {
        let Some(group) = group_index(groups.as_ref(), row, regex)? else { return Ok(None) };
        if group == 0 {
            return Ok(Some(regex.find(text).map_or(0..0, |found| found.range())));
        }
        let locations = match &mut locations {
            Some((of, locations)) if of.as_str() == regex.as_str() => locations,
            other => &mut other.insert((regex.as_str().to_owned(), regex.capture_locations())).1,
        };
        let found = regex.captures_read(locations, text).and_then(|_| locations.get(group));
        Ok(Some(found.map_or(0..0, |(start, end)| start..end)))
    })?;
    slices(&call.strings(0)?, rows)
}

fn regexp_extract_all(call: &Call) -> Result<ArrayRef> {
    let groups = if call.len() > 2 { Some(call.ints(2)?) } else { None };
    let rows = each(call, |row, text, regex| {
        let Some(group) = group_index(groups.as_ref(), row, regex)? else { return Ok(None) };
        Ok(Some(matches(text, regex).iter().map(|c| group_text(c, group).to_owned()).collect::<Vec<_>>()))
    })?;
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in rows {
        match row {
            Some(items) => builder.append_value(items.into_iter().map(Some)),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}
