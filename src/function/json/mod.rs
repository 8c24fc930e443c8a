//! JSON: `from_json`, `to_json` and their kin, and what they share with files: the decoder and the encoder.

mod column;
pub mod decode;
pub mod encode;
pub mod infer;
mod nested;
pub mod options;
#[cfg(test)]
mod tests;
mod tokens;
pub mod write;

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::cast::{Mode, cast_array};
use super::csv::MODE;
use super::ddl::parse_schema;
use super::record_options::{malformed, option_map};
use super::scalar::{Call, Types, function, list_of};
use crate::options::{OptionReader, Options};
use crate::type_name::sql_type_name;
use crate::{Error, Result};
use column::Slots;
use decode::{Decoded, Decoder, ValueDecoder};
use encode::{Encoder, WRITING, WriteOptions};
use options::{READING, ReadOptions};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("from_json", 2..=3, from_json_type, from_json),
        function("to_json", 1..=2, |_| Ok(DataType::Utf8View), to_json),
        function("json_array_length", 1..=1, |_| Ok(DataType::Int32), json_array_length),
        function("json_object_keys", 1..=1, |_| Ok(list_of(DataType::Utf8View)), json_object_keys),
        function("get_json_object", 2..=2, |_| Ok(DataType::Utf8View), get_json_object),
        function("schema_of_json", 1..=1, |_| Ok(DataType::Utf8View), schema_of_json),
    ]
}

pub fn schema_argument(types: &Types) -> Result<DataType> {
    match types.literal_str(1) {
        Some(schema) => parse_schema(schema),
        None => Err(Error::invalid("INVALID_SCHEMA.NON_STRING_LITERAL", "the schema must be a string literal")
            .with_help("write it in quotes: 'a INT, b STRING'")),
    }
}

/// The schema of `from_json`: a struct, an array or a map.
fn from_json_type(types: &Types) -> Result<DataType> {
    let data_type = schema_argument(types)?;
    match &data_type {
        DataType::Struct(fields) => {
            let none = Options::new();
            let options = ReadOptions::read(&mut OptionReader::new("'from_json'", &none, READING))?;
            Decoder::new(fields, &options, Tz::UTC, false).map(drop)?;
        }
        DataType::List(_) | DataType::Map(_, _) => Slots::new(&data_type).map(drop)?,
        other => {
            let message = format!("from_json gives a STRUCT, an ARRAY or a MAP, not {}", sql_type_name(other));
            return Err(Error::invalid("DATATYPE_MISMATCH.INVALID_JSON_SCHEMA", message)
                .with_help("write columns, as in from_json(text, 'a INT'), or get_json_object(text, '$.a')"));
        }
    }
    Ok(data_type)
}

/// Text to values of a schema: NULL, and a row of NULLs where a struct is wanted, for what is no JSON.
fn from_json(call: &Call) -> Result<ArrayRef> {
    let map = option_map(call, 2)?;
    let mut reader = OptionReader::new("'from_json'", &map, &[READING, &[&MODE]].concat());
    let options = ReadOptions::read(&mut reader)?;
    let fails = reader.choice("mode")? == Some("FAILFAST");
    reader.finish()?;
    let texts = call.strings(0)?;
    let present = |i: usize| texts.is_valid(i) && !texts.value(i).trim_matches(|c| c <= ' ').is_empty();
    let refuse = |i: usize, is_bad: bool| if is_bad && fails { Err(malformed(texts.value(i))) } else { Ok(()) };
    let DataType::Struct(fields) = call.return_type() else {
        let mut decoder = ValueDecoder::new(call.return_type(), &options, call.tz())?;
        let mut tokens = decoder.tokens();
        for i in 0..texts.len() {
            if present(i) {
                refuse(i, decoder.value(texts.value(i), &mut tokens))?;
            } else {
                decoder.append_null();
            }
        }
        return decoder.finish();
    };
    let mut decoder = Decoder::new(fields, &options, call.tz(), false)?;
    let mut tokens = decoder.tokens();
    let mut valid = BooleanBufferBuilder::new(texts.len());
    for i in 0..texts.len() {
        let decoded = match present(i) {
            true => decoder.record(texts.value(i), &mut tokens),
            false => Decoded { rows: 0, is_bad: false },
        };
        refuse(i, decoded.is_bad)?;
        if decoded.rows == 0 {
            decoder.append_empty();
        }
        valid.append(decoded.rows > 0);
    }
    let columns = decoder.finish()?;
    let nulls = NullBuffer::new(valid.finish());
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), texts.len())?))
}

fn to_json(call: &Call) -> Result<ArrayRef> {
    let map = option_map(call, 1)?;
    let mut reader = OptionReader::new("'to_json'", &map, WRITING);
    let encoder = Encoder::new(WriteOptions::read(&mut reader)?, call.tz());
    reader.finish()?;
    let array = call.array(0)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        text.clear();
        if array.is_null(row) {
            builder.append_null();
        } else {
            encoder.write(&mut text, &array, row);
            builder.append_value(&text);
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The elements of an array; NULL of what is none.
fn json_array_length(call: &Call) -> Result<ArrayRef> {
    Ok(Arc::new(call.strings(0)?.iter().map(|t| t.and_then(infer::array_length)).collect::<Int32Array>()))
}

/// The names of an object's fields; NULL of what is none.
fn json_object_keys(call: &Call) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for text in &call.strings(0)? {
        match text.and_then(infer::object_keys) {
            Some(keys) => {
                keys.iter().for_each(|k| lists.values().append_value(k));
                lists.append(true);
            }
            None => lists.append_null(),
        }
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    cast_array(&lists, call.return_type(), Mode::Ansi, call.tz())
}

/// One step of a path `$.name[0][*]`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    All,
}

fn get_json_object(call: &Call) -> Result<ArrayRef> {
    let (text, paths) = (call.strings(0)?, call.strings(1)?);
    let mut known: Option<(&str, Option<Vec<Step>>)> = None;
    let mut builder = StringViewBuilder::with_capacity(text.len());
    for pair in text.iter().zip(paths.iter()) {
        let (Some(text), Some(path)) = pair else {
            builder.append_null();
            continue;
        };
        if known.as_ref().is_none_or(|(k, _)| *k != path) {
            known = Some((path, parse_path(path)));
        }
        let steps = known.as_ref().and_then(|(_, steps)| steps.as_deref());
        builder.append_option(steps.and_then(|steps| extract(text, steps)));
    }
    Ok(Arc::new(builder.finish()))
}

/// The steps of a path; none if it is malformed, for which Spark gives NULL.
fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, tail) = name.split_at(end);
            steps.push(if name == "*" { Step::All } else { Step::Name(name.to_owned()) });
            rest = tail;
            if name.is_empty() {
                return None;
            }
            continue;
        }
        let (inside, tail) = rest.strip_prefix('[')?.split_once(']')?;
        let quoted = inside.strip_prefix('\'').and_then(|s| s.strip_suffix('\''));
        steps.push(match (quoted, inside) {
            (Some(name), _) => Step::Name(name.to_owned()),
            (None, "*") => Step::All,
            (None, index) => Step::Index(index.trim().parse().ok()?),
        });
        rest = tail;
    }
    Some(steps)
}

fn extract(text: &str, steps: &[Step]) -> Option<String> {
    let root: Value = serde_json::from_str(text).ok()?;
    let mut found = vec![&root];
    for step in steps {
        found = found.into_iter().flat_map(|value| follow(value, step)).collect();
    }
    match found.as_slice() {
        [] | [Value::Null] => None,
        [Value::String(s)] => Some(s.clone()),
        [one] => Some(one.to_string()),
        many => Some(Value::Array(many.iter().map(|v| (*v).clone()).collect()).to_string()),
    }
}

fn follow<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Name(name), Value::Object(object)) => object.get(name).into_iter().collect(),
        // A name applies to every object of an array.
        (Step::Name(_), Value::Array(items)) => items.iter().flat_map(|item| follow(item, step)).collect(),
        (Step::Index(i), Value::Array(items)) => items.get(*i).into_iter().collect(),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(object)) => object.values().collect(),
        _ => Vec::new(),
    }
}

fn schema_of_json(call: &Call) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    let mut builder = StringViewBuilder::with_capacity(text.len());
    for text in &text {
        let schema = text.map(infer::schema_of).transpose().map_err(|_| {
            Error::execution("MALFORMED_RECORD_IN_PARSING", "the text given to schema_of_json is no JSON")
                .with_help("give schema_of_json a sample that is valid JSON, such as '{\"a\": 1}'")
        })?;
        builder.append_option(schema);
    }
    Ok(Arc::new(builder.finish()))
}
