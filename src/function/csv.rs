//! `from_csv`, `to_csv` and `schema_of_csv`: one line of values.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;

use super::cast::{parse, temporal};
use super::display::{Style, write_value};
use super::json::schema_argument;
use super::record_options::{RecordOptions, malformed};
use super::scalar::{Call, Types, function};
use crate::{Error, Result};

const READ: &[&str] = &["sep", "delimiter", "timestampFormat", "dateFormat", "mode", "columnNameOfCorruptRecord"];
const WRITE: &[&str] = &["sep", "delimiter", "timestampFormat", "dateFormat"];

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("from_csv", 2..=3, schema_argument, from_csv),
        function("to_csv", 1..=2, to_csv_type, to_csv),
        function("schema_of_csv", 1..=2, |_| Ok(DataType::Utf8View), schema_of_csv),
    ]
}

/// A missing or malformed value is NULL.
fn from_csv(call: &Call) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.return_type() else {
        return Err(Error::invalid("INVALID_SCHEMA.NON_STRUCT_TYPE", "the schema of 'from_csv' must be a STRUCT")
            .with_help("write its columns: from_csv(text, 'a INT, b STRING')"));
    };
    let options = RecordOptions::of(call, 2, READ)?;
    let text = call.strings(0)?;
    let records: Vec<_> = text.iter().map(|line| line.map(|l| record(l, options.separator))).collect();
    let corrupt = fields.iter().position(|f| f.name() == &options.corrupt_record);
    let data: Vec<_> = (0..fields.len()).filter(|i| Some(*i) != corrupt).collect();
    let mut bad = vec![false; text.len()];
    for (record, bad) in records.iter().zip(&mut bad) {
        *bad = record.as_ref().is_some_and(|r| r.len() != data.len());
    }
    let mut columns: Vec<ArrayRef> = fields.iter().map(|f| new_null_array(f.data_type(), text.len())).collect();
    for (place, i) in data.iter().enumerate() {
        let values = records.iter().map(|r| r.as_ref().and_then(|r| r.get(place)).filter(|v| !v.is_empty()));
        let values: StringViewArray = values.collect();
        let column = options.parse(values.clone(), fields[*i].data_type())?;
        (0..text.len()).for_each(|row| bad[row] |= values.is_valid(row) && column.is_null(row));
        columns[*i] = column;
    }
    if options.fail_fast
        && let Some(row) = bad.iter().position(|b| *b)
    {
        return Err(malformed(text.value(row)));
    }
    if let Some(i) = corrupt {
        let shown = text.iter().zip(&bad).map(|(t, bad)| t.filter(|_| *bad)).collect::<StringViewArray>();
        columns[i] = options.parse(shown, fields[i].data_type())?;
    }
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, text.nulls().cloned(), text.len())?))
}

/// Values between separators; in double quotes a backslash takes the next character as it is.
fn record(line: &str, separator: char) -> Vec<String> {
    let mut values = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars());
    while let Some(c) = chars.next() {
        let Some(value) = values.last_mut() else { break };
        match c {
            '\\' if quoted => value.extend(chars.next()),
            '"' if quoted || value.is_empty() => quoted = !quoted,
            c if c == separator && !quoted => values.push(String::new()),
            c => value.push(c),
        }
    }
    values
}

fn to_csv_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        DataType::Struct(_) => Ok(DataType::Utf8View),
        other => Err(super::collection::wrong_type("STRUCT", other)),
    }
}

fn to_csv(call: &Call) -> Result<ArrayRef> {
    let options = RecordOptions::of(call, 1, WRITE)?;
    let array = call.array(0)?;
    let structs = array.as_struct();
    let value = |column: &ArrayRef, row: usize| -> String {
        if column.is_null(row) || column.data_type() == &DataType::Null {
            return String::new();
        }
        let text = options.format(column, row).unwrap_or_else(|| {
            let mut text = String::new();
            write_value(&mut text, column, row, options.tz, Style::Cast);
            text
        });
        quoted(text, options.separator)
    };
    let separator = options.separator.to_string();
    let line = |row: usize| structs.columns().iter().map(|c| value(c, row)).collect::<Vec<_>>().join(&separator);
    let rows = (0..structs.len()).map(|row| structs.is_valid(row).then(|| line(row)));
    Ok(Arc::new(rows.collect::<StringViewArray>()))
}

fn quoted(text: String, separator: char) -> String {
    if !text.is_empty() && !text.contains([separator, '"', '\n', '\r']) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn schema_of_csv(call: &Call) -> Result<ArrayRef> {
    let options = RecordOptions::of(call, 1, &["sep", "delimiter"])?;
    let schema = |line: &str| {
        let values = record(line, options.separator);
        let fields = values.iter().enumerate().map(|(i, v)| format!("_c{i}: {}", value_type(v)));
        format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
    };
    Ok(Arc::new(call.strings(0)?.iter().map(|line| line.map(schema)).collect::<StringViewArray>()))
}

/// The narrowest type that reads a value, as Spark looks for it.
fn value_type(value: &str) -> &'static str {
    match value {
        "" => "STRING",
        v if v.parse::<i32>().is_ok() => "INT",
        v if v.parse::<i64>().is_ok() => "BIGINT",
        v if v.bytes().any(|b| b.is_ascii_digit()) && parse::double(v).is_some() => "DOUBLE",
        v if v.len() == 10 && temporal::parse_date(v).is_some() => "DATE",
        v if v.len() > 10 && temporal::parse_timestamp(v, None).is_some() => "TIMESTAMP",
        v if v.eq_ignore_ascii_case("true") || v.eq_ignore_ascii_case("false") => "BOOLEAN",
        _ => "STRING",
    }
}
