//! Avro and ORC columns beside Spark's answers: every type that files hold, read as every type that can be declared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::error::Result as DfResult;
use serde::Deserialize;

use super::entry::FileEntry;
use super::format::FormatOptions;
use super::listing::Location;
use super::read::{Compression, Decoding, FileReader, Unread};
use super::scan::FilesScan;
use crate::format::BadRecordCounter;
use crate::function::cast::{Mode, cast_array};
use crate::function::ddl::parse_schema;
use crate::options::{OptionReader, Options};
use crate::sink::file::FileFormatKind;
use crate::source::scan::ScanRequest;
use crate::source::testing::read_request;
use crate::time_zone::Tz;
use crate::type_name::type_name;

/// What Spark gives for a file of one column `c`: by itself, and by the type that is declared; an error for the types that are not there.
#[derive(Deserialize)]
struct Answer {
    stored: String,
    file: String,
    inferred: Option<String>,
    rows: Option<Vec<Option<String>>>,
    read: BTreeMap<String, Vec<Option<String>>>,
}

const DECLARED: &[&str] = &[
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "STRING",
    "BINARY",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "DECIMAL(5,2)",
    "DECIMAL(4,1)",
    "DECIMAL(7,2)",
    "DECIMAL(10,0)",
    "DECIMAL(11,1)",
    "DECIMAL(12,2)",
    "DECIMAL(20,0)",
    "DECIMAL(20,4)",
    "DECIMAL(30,5)",
    "DECIMAL(38,18)",
    "ARRAY<INT>",
    "ARRAY<BIGINT>",
    "ARRAY<STRING>",
    "MAP<STRING,INT>",
    "MAP<STRING,BIGINT>",
    "MAP<INT,INT>",
    "STRUCT<x:INT,y:STRING>",
    "STRUCT<y:STRING,gone:INT>",
    "STRUCT<X:BIGINT>",
    "STRUCT<gone:INT>",
    "STRUCT<member0:INT,member1:STRING>",
    "STRUCT<member0:BIGINT>",
];

fn schema(declared: &str) -> SchemaRef {
    let DataType::Struct(fields) = parse_schema(&format!("c {declared}")).unwrap() else {
        panic!("columns are a struct")
    };
    crate::source::source_schema(&Schema::new(fields))
}

fn options(format: &str) -> FormatOptions {
    let format = if format == "avro" { FileFormatKind::Avro } else { FileFormatKind::Orc };
    let none = Options::new();
    FormatOptions::read(format, &mut OptionReader::new("the test", &none, &FormatOptions::specs(format))).unwrap()
}

async fn read(format: &'static str, file: &Path, schema: SchemaRef) -> DfResult<Vec<Option<String>>> {
    let decoding = Decoding { options: options(format), tz: Tz::UTC, bad_records: BadRecordCounter::default() };
    let path = Options::from_iter([("path", file.display())]);
    let location = Location::read(&mut OptionReader::new("the test", &path, &[&Location::OPTIONS]))?;
    let reader = Arc::new(FileReader::new(schema, decoding)?);
    let scan = FilesScan::new(format, location, reader, vec![FileEntry::stat(file)?.unwrap()]);
    let mut rows = vec![];
    for batch in read_request(&scan, &ScanRequest::default()).await? {
        let column = batch.column(0);
        if *column.data_type() == DataType::Binary {
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
            rows.extend(column.as_binary::<i32>().iter().map(|bytes| bytes.map(hex)));
            continue;
        }
        let texts = cast_array(column, &DataType::Utf8View, Mode::Ansi, Tz::UTC)?;
        rows.extend(texts.as_string_view().iter().map(|text| text.map(str::to_owned)));
    }
    Ok(rows)
}

fn infer(format: &str, file: &Path) -> crate::Result<SchemaRef> {
    let file = FileEntry::stat(file).unwrap().unwrap();
    options(format).infer(&[file], Tz::UTC, Unread { codec: Compression::ByName, store: None })
}

/// Of stored and declared type, what Spark gave, and whether there are rows here.
type IsKnown = fn(&str, &str, Option<&[Option<String>]>, bool) -> bool;

/// Compares all answers; `is_known` says where another answer than Spark's is meant.
async fn compare(format: &'static str, is_known: IsKnown) -> usize {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format);
    let answers = std::fs::read_to_string(data.join("answers.jsonl")).unwrap();
    let (mut wrong, mut same) = (vec![], 0);
    for line in answers.lines() {
        let answer: Answer = serde_json::from_str(line).unwrap();
        let file = data.join(&answer.file);
        let mut note =
            |declared: &str, expected: Option<&Vec<Option<String>>>, ours: DfResult<Vec<Option<String>>>| match (
                expected, &ours,
            ) {
                (Some(expected), Ok(rows)) if expected == rows => same += 1,
                (None, Err(_)) => same += 1,
                (expected, ours) if is_known(&answer.stored, declared, expected.map(Vec::as_slice), ours.is_ok()) => {}
                (expected, ours) => wrong.push(format!(
                    "{} as {declared}: Spark {expected:?}, here {:?}",
                    answer.stored,
                    ours.as_ref().map_err(ToString::to_string)
                )),
            };
        for declared in DECLARED {
            let ours = read(format, &file, schema(declared)).await;
            note(declared, answer.read.get(*declared), ours);
        }
        match infer(format, &file) {
            Ok(columns) => {
                let inferred = type_name(columns.field(0).data_type());
                let rows = read(format, &file, columns).await;
                note("inferred", answer.rows.as_ref(), rows);
                if Some(&inferred) != answer.inferred.as_ref() {
                    wrong.push(format!("{}: Spark infers {:?}, here {inferred}", answer.stored, answer.inferred));
                }
            }
            Err(e) => note("inferred", answer.rows.as_ref(), Err(e.into())),
        }
    }
    assert!(wrong.is_empty(), "{} differ, {same} are the same:\n{}", wrong.len(), wrong.join("\n"));
    same
}

#[tokio::test]
async fn avro_columns_are_read_as_spark_reads_them() {
    let same = compare("avro", |stored, declared, expected, is_read| match (expected, is_read) {
        // A column of NULLs is one of any type.
        // What Spark refuses for a type beside it, or because it is too long as a number.
        (None, true) => ["null", "recursive", "dec_wide"].contains(&stored),
        // Spark takes any number for one of milliseconds, and cuts off what is no date.
        (Some(_), false) => {
            (stored.ends_with("_micros") || stored.ends_with("_nanos") || stored == "long") && declared == "DATE"
        }
        _ => false,
    });
    assert!(same.await > 1500);
}

#[tokio::test]
async fn orc_columns_are_read_as_spark_reads_them() {
    let same = compare("orc", |stored, declared, expected, is_read| match (expected, is_read) {
        // Of large files there are few answers.
        (None, true) => stored.starts_with("many") || stored == "long_strings",
        // Java writes other digits of the same number.
        (Some(_), true) => declared == "FLOAT",
        (Some(rows), false) => {
            // What does not fit is an error, not NULL; other conversions of ORC that have no like in SQL are refused.
            let has_null = rows.iter().any(Option::is_none);
            let is_number = |t: &str| {
                t.starts_with("DECIMAL") || ["TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE"].contains(&t)
            };
            has_null && is_number(declared)
                || stored.starts_with("timestamp")
                || stored.starts_with("pa_ns")
                || stored.starts_with("pa_us")
                || ["TIMESTAMP", "TIMESTAMP_NTZ", "BOOLEAN"].contains(&declared)
                || declared == "STRING" && !stored.contains("int")
                || ["string", "varchar", "pa_dict", "pa_large", "long_strings"].contains(&stored)
                || declared.starts_with("MAP<INT")
                || stored == "pa_listf" && declared == "ARRAY<STRING>"
        }
        _ => false,
    });
    assert!(same.await > 700);
}
