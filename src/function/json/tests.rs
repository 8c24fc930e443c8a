//! What a running Spark answers for the texts of `tests/data/json.json`, by `from_json` and by its reader of files.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use super::decode::{Decoder, ValueDecoder};
use super::options::{READING, ReadOptions};
use crate::function::cast::{Mode, cast_array};
use crate::function::csv::MODE;
use crate::function::ddl::parse_schema;
use crate::options::{OptionReader, Options};

#[derive(Deserialize)]
struct Case {
    schema: String,
    opts: std::collections::BTreeMap<String, String>,
    tz: String,
    texts: Vec<String>,
    from_json: Vec<Option<String>>,
    reader: Option<Vec<String>>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/json.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn options(case: &Case) -> (ReadOptions, bool) {
    let map: Options = case.opts.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut reader = OptionReader::new("the test", &map, &[READING, &[&MODE]].concat());
    let options = ReadOptions::read(&mut reader).unwrap();
    let drops = reader.string("mode") == Some("DROPMALFORMED");
    reader.finish().unwrap();
    (options, drops)
}

fn shown(array: &ArrayRef, tz: Tz) -> Vec<Option<String>> {
    let text = cast_array(array, &DataType::Utf8View, Mode::Ansi, tz).unwrap();
    text.as_string_view().iter().map(|t| t.map(str::to_owned)).collect()
}

/// The rows of a decoder as texts, each after the text it came from.
fn decoded(case: &Case, fields: &Fields, is_file: bool) -> Vec<(String, String)> {
    let tz: Tz = case.tz.parse().unwrap();
    let (options, drops) = options(case);
    let mut decoder = Decoder::new(fields, &options, tz, is_file).unwrap();
    let mut tokens = decoder.tokens();
    let mut from = vec![];
    for text in &case.texts {
        let start = decoder.rows();
        let plain = text.strip_prefix('\u{feff}').filter(|_| is_file).unwrap_or(text);
        let decoded = decoder.record(plain, &mut tokens);
        if drops && decoded.is_bad {
            decoder.truncate(start);
        }
        (start..decoder.rows()).for_each(|_| from.push(text.clone()));
    }
    let (rows, columns) = (from.len(), decoder.finish().unwrap());
    let array: ArrayRef = Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, rows).unwrap());
    from.into_iter().zip(shown(&array, tz).into_iter().flatten()).collect()
}

#[test]
fn spark_reads_the_same() {
    let (mut all, mut wrong) = (0, vec![]);
    for case in cases() {
        let schema = parse_schema(&case.schema).unwrap();
        let mut check = |kind: &str, text: &str, ours: &str, sparks: &str| {
            all += 1;
            if ours != sparks {
                wrong.push(format!(
                    "{kind} {} {:?} {text}\n    ours  {ours}\n    Spark {sparks}",
                    case.schema, case.opts
                ));
            }
        };
        let DataType::Struct(fields) = &schema else {
            let (options, _) = options(&case);
            let mut decoder = ValueDecoder::new(&schema, &options, Tz::UTC).unwrap();
            let mut tokens = decoder.tokens();
            for text in &case.texts {
                decoder.value(text, &mut tokens);
            }
            let ours = shown(&decoder.finish().unwrap(), Tz::UTC);
            for ((text, ours), sparks) in case.texts.iter().zip(ours).zip(&case.from_json) {
                check("from_json", text, &format!("{ours:?}"), &format!("{sparks:?}"));
            }
            continue;
        };
        if case.from_json.len() == case.texts.len() {
            let mut ours = decoded(&case, fields, false).into_iter();
            for (text, sparks) in case.texts.iter().zip(&case.from_json) {
                let Some(sparks) = sparks else { continue };
                let (_, row) = ours.next().unwrap();
                check("from_json", text, &row, sparks);
            }
        }
        if let Some(reader) = &case.reader {
            let ours = decoded(&case, fields, true);
            if ours.len() != reader.len() {
                check("reader", "rows", &ours.len().to_string(), &reader.len().to_string());
            }
            for ((text, ours), sparks) in ours.iter().zip(reader) {
                check("reader", text, ours, sparks);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {all} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(all > 20_000, "{all}");
}

/// What a decoder remembers of the objects before never changes what it reads.
#[test]
fn what_was_read_before_changes_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut all = 0;
    for case in cases() {
        let DataType::Struct(fields) = &parse_schema(&case.schema).unwrap() else { continue };
        let (options, _) = options(&case);
        let new = || Decoder::new(fields, &options, Tz::UTC, true).unwrap();
        let mut primed = new();
        for text in &case.texts {
            let mut chars: Vec<char> = text.chars().collect();
            for _ in 0..rng.random_range(0..3).min(chars.len()) {
                let at = rng.random_range(0..chars.len());
                match rng.random_range(0..3) {
                    0 => drop(chars.remove(at)),
                    1 => chars.insert(at, *[' ', '"', ',', '{', ']', '\\', '/'].choose(&mut rng).unwrap()),
                    _ => chars[at] = *[' ', '0', ':', '}', '[', 'n', '\n'].choose(&mut rng).unwrap(),
                }
                if chars.is_empty() {
                    break;
                }
            }
            let changed: String = chars.into_iter().collect();
            for text in [text, text, &changed] {
                let mut fresh = new();
                let (mut tokens, mut other) = (fresh.tokens(), primed.tokens());
                assert_eq!(fresh.record(text, &mut tokens), primed.record(text, &mut other), "{text}");
                let (one, two) = (fresh.finish().unwrap(), primed.finish().unwrap());
                assert_eq!(one, two, "{text}");
                all += 1;
            }
        }
    }
    assert!(all > 20_000, "{all}");
}

#[test]
fn nesting_is_bounded_everywhere() {
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let fields = Fields::from(vec![Field::new("a", DataType::Utf8View, true)]);
    let none = Options::new();
    let options = ReadOptions::read(&mut OptionReader::new("the test", &none, READING)).unwrap();
    for is_file in [false, true] {
        let mut decoder = Decoder::new(&fields, &options, Tz::UTC, is_file).unwrap();
        let mut tokens = decoder.tokens();
        assert!(decoder.record(&deep, &mut tokens).is_bad);
        assert_eq!(decoder.rows(), 1);
    }
}
