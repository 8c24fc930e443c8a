//! What a running Spark answers for the messages of `tests/data/messages.json`, by `from_avro` and `from_protobuf`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use serde::Deserialize;

use super::{MessageFormat, Part};
use crate::function::cast::{Mode, cast_array};
use crate::function::ddl::parse_schema;
use crate::options::Options;
use crate::time_zone::Tz;

#[derive(Deserialize)]
struct Case {
    format: String,
    name: String,
    #[serde(rename = "avroSchema")]
    avro_schema: Option<String>,
    #[serde(rename = "messageName")]
    message_name: Option<String>,
    messages: Vec<Option<String>>,
    columns: String,
    rows: Vec<Option<String>>,
}

fn data(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

impl Case {
    fn options(&self) -> Options {
        let mut options = Options::new();
        match (&self.avro_schema, &self.message_name) {
            (Some(schema), _) => options.set("avroSchema", schema),
            (_, Some(name)) => {
                options.set("messageName", name);
                options.set("descriptorFile", data("messages.desc"));
            }
            _ => {}
        }
        options
    }

    /// The rows as texts, and which are bad.
    fn decoded(&self, format: &MessageFormat, fields: &Fields) -> (Vec<Option<String>>, Vec<usize>) {
        let messages: Vec<_> = self.messages.iter().map(|m| m.as_deref().map(unhex)).collect();
        let decoded = format.decode(&messages.iter().map(|m| m.as_deref()).collect::<Vec<_>>()).unwrap();
        let array: ArrayRef = Arc::new(StructArray::new(fields.clone(), decoded.columns, None));
        let text = cast_array(&array, &DataType::Utf8View, Mode::Ansi, Tz::UTC).unwrap();
        let rows = text.as_string_view().iter().map(|t| t.map(str::to_owned)).collect();
        (rows, decoded.bad.into_iter().map(|(i, _)| i).collect())
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut parts: Vec<_> = text.split(['{', '}', ',']).map(str::trim).collect();
    parts.sort_unstable();
    parts
}

/// Messages that are read otherwise than by Spark, and known to be.
const OTHERWISE: &[&str] = &[
    // An int of more than 32 bits is cut there, and malformed here.
    "ffffffff1f",
    // Of a key that a map has twice both entries are kept there, and the last here.
    "0a050a016b10010a050a016b1002",
    "0a070a016b120208010a080a016b120312017a",
    "0a026531120c088bafffae061080cab5ee011a01781a017922050a016110012a050801120162300242017449000000205fa002420a026531120c088bafffae061080cab5ee011a01781a017922050a016110012a050801120162300242017449000000205fa00242",
    // How many U+FFFD stand for bytes that are no UTF-8.
    "0a03eda080",
];

#[test]
fn messages_are_read_as_spark_reads_them() {
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(data("messages.json")).unwrap()).unwrap();
    let (mut all, mut unknown, mut wrong) = (0, 0, vec![]);
    // A message is a record.
    for case in cases.iter().filter(|case| !case.name.starts_with("root ")) {
        // Times of day, times in nanoseconds and VOID are no types here.
        let Ok(DataType::Struct(fields)) = parse_schema(&case.columns) else {
            unknown += 1;
            continue;
        };
        let options = case.options();
        let format = match MessageFormat::new(&case.format, Part::Value, fields.clone(), &options, Tz::UTC) {
            Ok(format) => format,
            // Keys of maps that are no texts are refused.
            Err(e) if e.message().contains("keys that are no texts") => continue,
            Err(e) => {
                wrong.push(format!("{} {}: {e}", case.format, case.name));
                continue;
            }
        };
        match MessageFormat::own_columns(&case.format, Part::Value, &options) {
            Ok(Some(own)) if own.iter().map(|f| f.data_type()).eq(fields.iter().map(|f| f.data_type())) => {}
            other => wrong.push(format!("{} {}: the columns are {other:?}", case.format, case.name)),
        }
        let nothing = format!("{{{}}}", vec!["null"; fields.len()].join(", "));
        let (rows, bad) = case.decoded(&format, &fields);
        for (i, (ours, sparks)) in rows.iter().zip(&case.rows).enumerate() {
            all += 1;
            let sparks = sparks.as_ref().unwrap_or(&nothing);
            let message = case.messages[i].as_deref().unwrap_or("NULL");
            let is_same = match ours {
                // Maps of Avro come in the order of Java's hash map there, and in that of the message here.
                Some(ours) if case.name.contains("map") && case.format == "avro" => sorted(ours) == sorted(sparks),
                ours => ours.as_ref() == Some(sparks),
            };
            if !is_same && !OTHERWISE.contains(&message) {
                let is_bad = if bad.contains(&i) { ", bad" } else { "" };
                wrong.push(format!(
                    "{} {} {message}{is_bad}\n    ours  {ours:?}\n    Spark {sparks:?}",
                    case.format, case.name
                ));
            }
        }
        // Columns that are not asked for change nothing, but that what is wrong with them is not seen.
        for i in 0..fields.len() {
            let one = Fields::from(vec![fields[i].clone()]);
            let (alone, bad_alone) = case.decoded(&format.project(&[i]).unwrap(), &one);
            assert_eq!(alone.len(), rows.len());
            assert!(bad_alone.iter().all(|i| bad.contains(i)), "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} of {all} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(all > 300 && unknown < 10, "{all}, {unknown}");
}
