//! `from_json`, `to_json`, `get_json_object`, `schema_of_json` and the sizes of JSON texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;
use serde_json::{Map, Value};

use super::cast::{Mode, cast_array};
use super::ddl::parse_schema;
use super::display::{Style, write_value};
use super::record_options::{RecordOptions, malformed};
use super::scalar::{Call, Types, function, list_of};
use crate::{Error, Result};

const READ: &[&str] = &["timestampFormat", "dateFormat", "mode", "columnNameOfCorruptRecord"];
const WRITE: &[&str] = &["timestampFormat", "dateFormat", "ignoreNullFields"];

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("from_json", 2..=3, schema_argument, from_json),
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

/// Text to values of a schema. Text that is no JSON gives a row of NULLs, as in Spark's permissive mode.
fn from_json(call: &Call) -> Result<ArrayRef> {
    let options = RecordOptions::of(call, 2, READ)?;
    let text = call.strings(0)?;
    let parsed: Vec<_> = text.iter().map(|s| s.map(serde_json::from_str::<Value>)).collect();
    let nothing = Value::Object(Map::new());
    let values: Vec<Option<&Value>> =
        parsed.iter().map(|v| v.as_ref().map(|v| v.as_ref().unwrap_or(&nothing))).collect();
    let result = build(&values, call.return_type(), &options)?;
    let mut bad: Vec<bool> = parsed.iter().map(|v| matches!(v, Some(Err(_)))).collect();
    let Some(structs) = result.as_struct_opt() else {
        return refuse_bad(&options, &text, &bad).map(|()| result);
    };
    for (row, value) in values.iter().enumerate() {
        let Some(object) = value.and_then(Value::as_object) else {
            bad[row] |= value.is_some();
            continue;
        };
        let misses =
            |(column, name): (&ArrayRef, &str)| column.is_null(row) && object.get(name).is_some_and(|v| !v.is_null());
        bad[row] |= structs.columns().iter().zip(structs.column_names()).any(misses);
    }
    refuse_bad(&options, &text, &bad)?;
    let Some(place) = structs.column_names().iter().position(|n| *n == options.corrupt_record) else {
        return Ok(result);
    };
    let shown = text.iter().zip(&bad).map(|(t, bad)| t.filter(|_| *bad)).collect::<StringViewArray>();
    let mut columns = structs.columns().to_vec();
    columns[place] = options.parse(shown, columns[place].data_type())?;
    let (fields, nulls) = (structs.fields().clone(), structs.nulls().cloned());
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, text.len())?))
}

/// In mode FAILFAST the first malformed record is an error.
fn refuse_bad(options: &RecordOptions, text: &StringViewArray, bad: &[bool]) -> Result<()> {
    match bad.iter().position(|b| *b) {
        Some(row) if options.fail_fast => Err(malformed(text.value(row))),
        _ => Ok(()),
    }
}

/// An array of `to` out of JSON values; what does not fit is NULL.
fn build(values: &[Option<&Value>], to: &DataType, options: &RecordOptions) -> Result<ArrayRef> {
    match to {
        DataType::Struct(fields) => build_struct(values, fields, options),
        DataType::List(field) => {
            let lists: Vec<_> = values.iter().map(|v| v.and_then(Value::as_array)).collect();
            let items: Vec<_> = lists.iter().flatten().flat_map(|l| l.iter().map(not_null)).collect();
            let lengths = lists.iter().map(|l| l.map_or(0, Vec::len));
            let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
            let items = build(&items, field.data_type(), options)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, Some(nulls))?))
        }
        DataType::Map(entries, _) => build_map(values, entries, options),
        DataType::Boolean => Ok(Arc::new(values.iter().map(|v| v.and_then(Value::as_bool)).collect::<BooleanArray>())),
        _ => {
            let is_text = super::cast::is_string(to) || to.is_temporal();
            let text = values.iter().map(|v| v.and_then(|v| scalar_text(v, is_text)));
            options.parse(text.collect(), to)
        }
    }
}

fn not_null(value: &Value) -> Option<&Value> {
    if value.is_null() { None } else { Some(value) }
}

/// A number must be a JSON number; text may be any value.
fn scalar_text(value: &Value, is_text: bool) -> Option<String> {
    match value {
        Value::String(s) if is_text => Some(s.clone()),
        // Spark reads these three names as numbers.
        Value::String(s) if matches!(s.as_str(), "NaN" | "Infinity" | "-Infinity") => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Null => None,
        other if is_text => Some(other.to_string()),
        _ => None,
    }
}

fn build_struct(values: &[Option<&Value>], fields: &Fields, options: &RecordOptions) -> Result<ArrayRef> {
    let objects: Vec<_> = values.iter().map(|v| v.and_then(Value::as_object)).collect();
    let column = |field: &FieldRef| {
        let values: Vec<_> = objects.iter().map(|o| o.and_then(|o| o.get(field.name())).and_then(not_null)).collect();
        build(&values, field.data_type(), options)
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    // A value that is there but no object is a row of NULLs.
    let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), values.len())?))
}

fn build_map(values: &[Option<&Value>], entries: &FieldRef, options: &RecordOptions) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structs")) };
    let objects: Vec<_> = values.iter().map(|v| v.and_then(Value::as_object)).collect();
    let keys = objects.iter().flatten().flat_map(|o| o.keys()).map(Some).collect::<StringViewArray>();
    let keys = cast_array(&(Arc::new(keys) as ArrayRef), fields[0].data_type(), Mode::Ansi, options.tz)?;
    let items: Vec<_> = objects.iter().flatten().flat_map(|o| o.values().map(not_null)).collect();
    let items = build(&items, fields[1].data_type(), options)?;
    let offsets = OffsetBuffer::from_lengths(objects.iter().map(|o| o.map_or(0, Map::len)));
    let nulls = NullBuffer::from_iter(objects.iter().map(Option::is_some));
    let pairs = StructArray::try_new(fields.clone(), vec![keys, items], None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(nulls), false)?))
}

fn to_json(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let writer = Writer { options: RecordOptions::of(call, 1, WRITE)? };
    let rows = (0..array.len()).map(|row| array.is_valid(row).then(|| writer.value(&array, row).to_string()));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

/// An array of type void has no bitmap of its own.
fn is_null(array: &dyn Array, row: usize) -> bool {
    array.is_null(row) || array.data_type() == &DataType::Null
}

struct Writer {
    options: RecordOptions,
}

impl Writer {
    /// The value as JSON; NULL fields of a struct are left out, unless an option keeps them.
    fn value(&self, array: &dyn Array, row: usize) -> Value {
        if is_null(array, row) {
            return Value::Null;
        }
        match array.data_type() {
            DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let present = columns.filter(|(_, column)| !self.options.ignore_nulls || !is_null(column, row));
                Value::Object(present.map(|(f, column)| (f.name().clone(), self.value(column, row))).collect())
            }
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                Value::Array((0..items.len()).map(|i| self.value(&items, i)).collect())
            }
            DataType::Map(_, _) => {
                let entries = array.as_map().value(row);
                let pair = |i| (self.text(entries.column(0), i), self.value(entries.column(1), i));
                Value::Object((0..entries.len()).map(pair).collect())
            }
            t if t.is_numeric() => self.number(array, row),
            _ => Value::String(self.options.format(array, row).unwrap_or_else(|| self.text(array, row))),
        }
    }

    fn text(&self, array: &dyn Array, row: usize) -> String {
        let mut text = String::new();
        write_value(&mut text, array, row, self.options.tz, Style::Cast);
        text
    }

    /// Numbers that JSON has no form for are text, as in Spark.
    fn number(&self, array: &dyn Array, row: usize) -> Value {
        let text = self.text(array, row);
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }
}

/// The elements of an array; NULL of what is none.
fn json_array_length(call: &Call) -> Result<ArrayRef> {
    let length = |text: &str| Some(serde_json::from_str::<Value>(text).ok()?.as_array()?.len() as i32);
    Ok(Arc::new(call.strings(0)?.iter().map(|t| t.and_then(length)).collect::<Int32Array>()))
}

/// The names of an object's fields; NULL of what is none.
fn json_object_keys(call: &Call) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for text in &call.strings(0)? {
        let value = text.and_then(|t| serde_json::from_str::<Value>(t).ok());
        match value.as_ref().and_then(Value::as_object) {
            Some(object) => {
                object.keys().for_each(|k| lists.values().append_value(k));
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
        let value = text.map(serde_json::from_str::<Value>).transpose();
        let value = value.map_err(|e| {
            Error::execution("MALFORMED_RECORD_IN_PARSING", format!("text is no JSON: {e}"))
                .with_help("give schema_of_json a sample that is valid JSON, such as '{\"a\": 1}'")
        })?;
        builder.append_option(value.map(|v| json_type(&v)));
    }
    Ok(Arc::new(builder.finish()))
}

fn json_type(value: &Value) -> String {
    match value {
        Value::Null | Value::String(_) => "STRING".to_owned(),
        Value::Bool(_) => "BOOLEAN".to_owned(),
        Value::Number(n) if n.is_f64() => "DOUBLE".to_owned(),
        Value::Number(_) => "BIGINT".to_owned(),
        Value::Array(items) => {
            let mut types: Vec<_> = items.iter().filter(|v| !v.is_null()).map(json_type).collect();
            types.dedup();
            let item = match types.as_slice() {
                [one] => one.as_str(),
                many if !many.is_empty() && many.iter().all(|t| t == "BIGINT" || t == "DOUBLE") => "DOUBLE",
                _ => "STRING",
            };
            format!("ARRAY<{item}>")
        }
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.iter().collect();
            let fields: Vec<_> = sorted.into_iter().map(|(name, v)| format!("{name}: {}", json_type(v))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
    }
}
