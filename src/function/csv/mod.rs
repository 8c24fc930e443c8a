//! CSV: `from_csv`, `to_csv` and `schema_of_csv`, and what they share with files: the decoder and the encoder.

mod cutter;
pub mod decode;
pub mod dialect;
pub mod encode;
pub mod infer;
pub mod locale;
pub mod options;
mod quoted;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;

use super::json::schema_argument;
use super::record_options::{malformed, option_map};
use super::scalar::{Call, Types, function};
use crate::options::{OptionReader, OptionSpec, OptionType};
use crate::{Error, Result};
use decode::Decoder;
use encode::{Encoder, WRITING, WriteOptions};
use options::{READING, ReadOptions};
use tokens::Tokens;

/// The option `mode` of `from_csv` and `from_json`.
pub const MODE: [OptionSpec; 1] = [OptionSpec::new(
    "mode",
    OptionType::Choice(&["PERMISSIVE", "FAILFAST"]),
    "Whether a value that cannot be read is NULL, or an error.",
)
.or("PERMISSIVE")];

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
    let map = option_map(call, 2)?;
    let mut reader = OptionReader::new("'from_csv'", &map, &[READING, &[&MODE]].concat());
    let options = Arc::new(ReadOptions::read(&mut reader)?);
    let fail_fast = reader.choice("mode")? == Some("FAILFAST");
    reader.finish()?;
    let decoder = Decoder::new(fields.clone(), options, call.tz())?;
    let texts = call.strings(0)?;
    let (block, ranges) = joined(&texts);
    let text = std::str::from_utf8(&block).map_err(|e| Error::internal(format!("a string is no UTF-8: {e}")))?;
    let tokens = decode::lines(text, &ranges, &decoder);
    let decoded = decoder.decode(&block, text, &tokens, None)?;
    if let Some((row, refusal)) = decoded.refused {
        return Err(refusal.error(texts.value(row)));
    }
    if fail_fast && let Some(row) = (0..texts.len()).find(|row| decoded.bad[*row] && texts.is_valid(*row)) {
        return Err(malformed(texts.value(row)));
    }
    let nulls = texts.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), decoded.columns, nulls, texts.len())?))
}

/// All texts in one block, and where each is.
fn joined(texts: &StringViewArray) -> (Buffer, Vec<std::ops::Range<usize>>) {
    let mut block = Vec::new();
    let ranges = texts.iter().map(|text| {
        let start = block.len();
        block.extend_from_slice(text.unwrap_or_default().as_bytes());
        start..block.len()
    });
    let ranges = ranges.collect();
    (Buffer::from_vec(block), ranges)
}

fn to_csv_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        DataType::Struct(_) => Ok(DataType::Utf8View),
        other => Err(super::collection::wrong_type("STRUCT", other)),
    }
}

fn to_csv(call: &Call) -> Result<ArrayRef> {
    let map = option_map(call, 1)?;
    let mut reader = OptionReader::new("'to_csv'", &map, WRITING);
    let options = WriteOptions::read(&mut reader)?;
    reader.finish()?;
    let array = call.array(0)?;
    let structs = array.as_struct();
    let mut encoder = Encoder::new(options, call.tz());
    let mut builder = StringViewBuilder::with_capacity(structs.len());
    let mut line = String::new();
    for row in 0..structs.len() {
        line.clear();
        if structs.is_null(row) {
            builder.append_null();
        } else {
            encoder.write_row(&mut line, structs.columns(), row)?;
            // A line without a character is none; an empty text is written with quotes.
            builder.append_option((!line.is_empty()).then_some(&line));
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn schema_of_csv(call: &Call) -> Result<ArrayRef> {
    let map = option_map(call, 1)?;
    let mut reader = OptionReader::new("'schema_of_csv'", &map, READING);
    let options = ReadOptions::read(&mut reader)?;
    reader.finish()?;
    let tz = options.zone(call.tz());
    let schema = |line: &str| {
        let mut tokens = Tokens::default();
        tokens.push_line(line, 0..line.len(), &options.dialect);
        let mut types = infer::Types::default();
        types.add(line, &tokens, 0, &options, tz);
        let fields = types.finish().into_iter().enumerate();
        let fields = fields.map(|(i, t)| format!("_c{i}: {}", crate::type_name::sql_type_name(&t)));
        format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
    };
    Ok(Arc::new(call.strings(0)?.iter().map(|line| line.map(schema)).collect::<StringViewArray>()))
}
