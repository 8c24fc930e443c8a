//! Texts and patterns beside Spark's answers, which `tests/data/csv` holds.

use std::collections::BTreeMap;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use serde::Deserialize;

use super::decode::{Decoder, lines};
use super::encode::{Encoder, WriteOptions};
use super::options::{READING, ReadOptions};
use crate::function::cast::{Mode, cast_array};
use crate::function::ddl::parse_schema;
use crate::function::display::{Style, write_value};
use crate::function::java_pattern::Pattern;
use crate::options::{OptionReader, Options};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    schema: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    opts: BTreeMap<String, String>,
    zone: String,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    rows: serde_json::Value,
    error: Option<String>,
}

fn cases(file: &str) -> Vec<Case> {
    let path = format!("{}/tests/data/csv/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A value as CAST AS STRING shows it, binary as hex.
fn shown(array: &ArrayRef, row: usize, tz: Tz) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    if let Some(bytes) = array.as_binary_opt::<i32>() {
        return Some(bytes.value(row).iter().map(|b| format!("{b:02X}")).collect());
    }
    let mut text = String::new();
    write_value(&mut text, array, row, tz, Style::Cast);
    Some(text)
}

fn from_csv(case: &Case) -> crate::Result<Vec<Vec<Option<String>>>> {
    let tz: Tz = case.zone.parse().unwrap();
    let options: Options = case.opts.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut reader = OptionReader::new("the test", &options, &[READING, &[&super::MODE]].concat());
    let read = ReadOptions::read(&mut reader)?;
    let mode = reader.string("mode");
    reader.finish()?;
    let DataType::Struct(fields) = parse_schema(&case.schema)? else { panic!("{}", case.schema) };
    let decoder = Decoder::new(fields, read.into(), tz)?;
    let mut text = String::new();
    let ranges = case.texts.iter().map(|t| {
        text.push_str(t);
        text.len() - t.len()..text.len()
    });
    let ranges: Vec<_> = ranges.collect();
    let tokens = lines(&text, &ranges, &decoder);
    let decoded = decoder.decode(&text.clone().into_bytes().into(), &text, &tokens, None)?;
    if let Some((row, refusal)) = decoded.refused {
        return Err(refusal.error(&case.texts[row]));
    }
    if mode == Some("FAILFAST") && decoded.bad.contains(&true) {
        return Err(crate::function::record_options::malformed(""));
    }
    Ok((0..ranges.len()).map(|row| decoded.columns.iter().map(|c| shown(c, row, tz)).collect()).collect())
}

#[test]
fn texts_are_read_as_spark_reads_them() {
    let (mut wrong, mut compared) = (vec![], 0);
    for case in cases("from_csv") {
        let got = from_csv(&case);
        let about = format!("{} {:?} {}", case.schema, case.opts, case.zone);
        let rows = match (got, &case.error) {
            (Ok(rows), None) => rows,
            (Err(_), Some(_)) => continue,
            // What is refused by name; Spark refuses only some of the patterns that it cannot read anything with.
            (Err(e), None) if e.condition() == "UNSUPPORTED_FEATURE" => continue,
            (Err(e), None)
                if e.condition().starts_with("INVALID_DATETIME_PATTERN")
                    && case.rows.to_string().matches("null").count() == case.texts.len() =>
            {
                continue;
            }
            (got, error) => {
                wrong.push(format!("{about} {:?}: {:?} / Spark {error:?}", case.texts, got.map_err(|e| e.to_string())));
                continue;
            }
        };
        for ((row, text), expected) in rows.into_iter().zip(&case.texts).zip(case.rows.as_array().unwrap()) {
            let expected: Vec<Option<String>> = serde_json::from_value(expected.clone()).unwrap();
            compared += 1;
            if row != expected {
                wrong.push(format!("{about} {text:?}: {row:?} / Spark {expected:?}"));
            }
        }
    }
    assert!(compared > 3000, "{compared}");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn dates_are_written_by_a_pattern_as_spark_writes_them() {
    let mut wrong = vec![];
    for case in cases("date_format") {
        let tz: Tz = case.zone.parse().unwrap();
        let pattern = match (Pattern::new(&case.pattern), &case.error) {
            (Ok(pattern), None) => pattern,
            (Err(_), Some(_)) => continue,
            (got, error) => {
                wrong.push(format!("{}: {:?} / Spark {error:?}", case.pattern, got.map_err(|e| e.to_string())));
                continue;
            }
        };
        let expected: Vec<Option<String>> = serde_json::from_value(case.rows).unwrap();
        for (text, expected) in case.texts.iter().zip(expected) {
            let us = crate::function::cast::temporal::parse_timestamp(text, Some(tz)).unwrap_or_default();
            let mut got = String::new();
            pattern.format(&mut got, us, tz);
            if Some(&got) != expected.as_ref() {
                wrong.push(format!("{} {} {text}: {got} / Spark {expected:?}", case.pattern, case.zone));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Deserialize)]
struct Written {
    schema: String,
    opts: BTreeMap<String, String>,
    zone: String,
    rows: Vec<Vec<Option<String>>>,
    texts: Vec<Option<String>>,
}

#[test]
fn values_are_written_as_spark_writes_them() {
    let path = format!("{}/tests/data/csv/to_csv.jsonl", env!("CARGO_MANIFEST_DIR"));
    let mut wrong = vec![];
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Written = serde_json::from_str(line).unwrap();
        let tz: Tz = case.zone.parse().unwrap();
        let options: Options = case.opts.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut reader = OptionReader::new("the test", &options, super::encode::WRITING);
        let write = match WriteOptions::read(&mut reader) {
            Ok(write) => write,
            Err(e) if e.condition() == "UNSUPPORTED_FEATURE" => continue,
            Err(e) => panic!("{:?}: {e}", case.opts),
        };
        let DataType::Struct(fields) = parse_schema(&case.schema).unwrap() else { panic!("{}", case.schema) };
        let column = |i: usize, field: &FieldRef| {
            let texts: ArrayRef =
                std::sync::Arc::new(case.rows.iter().map(|row| row[i].clone()).collect::<StringViewArray>());
            cast_array(&texts, field.data_type(), Mode::Try, tz).unwrap()
        };
        let columns: Vec<_> = fields.iter().enumerate().map(|(i, f)| column(i, f)).collect();
        let mut encoder = Encoder::new(write, tz);
        for (row, expected) in case.texts.iter().enumerate() {
            let mut got = String::new();
            encoder.write_row(&mut got, &columns, row).unwrap();
            if Some(&got) != expected.as_ref() {
                wrong.push(format!("{:?} {} {:?}: {got:?} / Spark {expected:?}", case.opts, case.zone, case.rows[row]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// No text makes the decoder panic, overflow its stack or take more than linear time.
#[test]
fn any_text_has_records() {
    const CHARACTERS: [&str; 12] = ["a", ",", "\"", "\\", " ", "\n", "\r", "#", "é", "||", "\0", "'"];
    let dialects = [
        vec![],
        vec![("unescapedQuoteHandling", "STOP_AT_CLOSING_QUOTE")],
        vec![("unescapedQuoteHandling", "BACK_TO_DELIMITER")],
        vec![("unescapedQuoteHandling", "SKIP_VALUE")],
        vec![("unescapedQuoteHandling", "RAISE_ERROR")],
        vec![("escape", "\""), ("ignoreLeadingWhiteSpace", "true"), ("ignoreTrailingWhiteSpace", "true")],
        vec![("sep", "||"), ("comment", "#"), ("charToEscapeQuoteEscaping", "#")],
        vec![("quote", ""), ("escape", ""), ("maxCharsPerColumn", "3"), ("maxColumns", "2")],
    ];
    let mut seed = 7u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let fields =
        || Fields::from(vec![Field::new("a", DataType::Utf8View, true), Field::new("b", DataType::Int32, true)]);
    for options in dialects {
        let options = Options::from_iter(options);
        let read =
            std::sync::Arc::new(ReadOptions::read(&mut OptionReader::new("the test", &options, READING)).unwrap());
        let decoder = Decoder::new(fields(), read.clone(), Tz::UTC).unwrap();
        let short = (0..2000).map(|_| (0..random(14)).map(|_| CHARACTERS[random(12)]).collect::<String>());
        let long = ["\"a\"b", "\" ", "\"\\\"x,", "\" \"", "\n\"", "\"\\"].map(|text| text.repeat(30_000));
        for text in short.collect::<Vec<_>>().into_iter().chain(long) {
            let block = text.clone().into_bytes().into();
            let line = lines(&text, std::slice::from_ref(&(0..text.len())), &decoder);
            assert_eq!(decoder.decode(&block, &text, &line, None).unwrap().bad.len(), 1);
            let mut all = super::tokens::Tokens::default();
            all.push_all(&text, &read.dialect);
            assert_eq!(decoder.decode(&block, &text, &all, None).unwrap().bad.len(), all.len());
        }
    }
}
