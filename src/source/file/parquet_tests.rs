//! Parquet columns beside Spark's answers: every type that Spark and Arrow write, read as every type that can be declared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result as DfResult;
use serde::Deserialize;

use super::entry::FileEntry;
use super::format::FormatOptions;
use super::listing::Location;
use super::read::{Decoding, FileReader};
use super::scan::FilesScan;
use crate::format::BadRecordCounter;
use crate::function::cast::{Mode, cast_array};
use crate::function::ddl::parse_schema;
use crate::options::{OptionReader, Options};
use crate::source::scan::ScanRequest;
use crate::source::testing::read_request;
use crate::time_zone::Tz;

/// What Spark gives for a file of one column `c`, by the type that is declared; an error for the types that are not there.
#[derive(Deserialize)]
struct Answer {
    stored: String,
    file: String,
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
    "STRUCT<x:INT,y:STRING>",
    "STRUCT<y:STRING,gone:INT>",
    "STRUCT<X:BIGINT>",
    "STRUCT<gone:INT>",
];

async fn read(file: &Path, declared: &str) -> DfResult<Vec<Option<String>>> {
    let DataType::Struct(fields) = parse_schema(&format!("c {declared}"))? else { panic!("columns are a struct") };
    let schema = crate::source::source_schema(&Schema::new(fields));
    let decoding = Decoding {
        options: FormatOptions::Parquet { merge_schema: false },
        tz: Tz::UTC,
        bad_records: BadRecordCounter::default(),
    };
    let path = Options::from_iter([("path", file.display())]);
    let location = Location::read(&mut OptionReader::new("the test", &path, &[&Location::OPTIONS]))?;
    let reader = Arc::new(FileReader::new(schema, decoding)?);
    let scan = FilesScan::new("parquet", location, reader, vec![FileEntry::stat(file)?.unwrap()]);
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

/// Where Spark gives the bits of a value under another type, or cuts them off, there is an error here.
fn is_refused(stored: &str, declared: &str) -> bool {
    let is_integer = |t: &str| ["TINYINT", "SMALLINT", "INT", "BIGINT"].contains(&t);
    let number = is_integer(declared) || declared == "DOUBLE";
    match stored {
        "DATE" | "DATE LEGACY" => number,
        _ if stored.starts_with("DECIMAL") => number || ["DATE", "BINARY"].contains(&declared),
        _ if stored.starts_with("TIMESTAMP") || stored.starts_with("pa ns") || stored.starts_with("pa ms") => number,
        "pa us Berlin" | "pa time us" => number,
        "pa u32" => declared == "DOUBLE",
        "pa f16" | "pa dec256?" => declared == "BINARY",
        // What does not fit is not cut off.
        "SMALLINT" | "INT" | "pa u8" | "pa u16" => ["TINYINT", "SMALLINT", "DATE"].contains(&declared),
        "TINYINT" => declared == "DATE",
        _ => false,
    }
}

#[tokio::test]
async fn columns_are_read_as_spark_reads_them() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let answers = std::fs::read_to_string(data.join("answers.jsonl")).unwrap();
    let (mut wrong, mut same) = (vec![], 0);
    for line in answers.lines() {
        let answer: Answer = serde_json::from_str(line).unwrap();
        for declared in DECLARED {
            let ours = read(&data.join(&answer.file), declared).await;
            match (answer.read.get(*declared), &ours) {
                (Some(expected), Ok(rows)) if expected == rows => same += 1,
                (None, Err(_)) => same += 1,
                (Some(_), Err(_)) if is_refused(&answer.stored, declared) => {}
                (None, Ok(_)) if answer.stored == "pa f16" && *declared == "FLOAT" => {}
                // A column of NULLs is one of any type.
                (None, Ok(_)) if answer.stored == "pa null" => {}
                // A decimal that holds every number of the type.
                (None, Ok(_)) if answer.stored == "pa dec256?" && *declared == "DECIMAL(38,10)" => {}
                (expected, ours) => wrong.push(format!(
                    "{} as {declared}: Spark {expected:?}, here {:?}",
                    answer.stored,
                    ours.as_ref().map_err(ToString::to_string)
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same > 1100, "{same}");
}

#[tokio::test]
async fn names_that_differ_in_case_alone_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.parquet");
    let schema =
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("A", DataType::Int32, true)]));
    let mut writer =
        datafusion::parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&file).unwrap(), schema.clone(), None)
            .unwrap();
    writer.write(&arrow::array::RecordBatch::new_empty(schema)).unwrap();
    writer.close().unwrap();
    let DataType::Struct(fields) = parse_schema("a INT").unwrap() else { panic!("columns are a struct") };
    let decoding = Decoding {
        options: FormatOptions::Parquet { merge_schema: false },
        tz: Tz::UTC,
        bad_records: BadRecordCounter::default(),
    };
    let path = Options::from_iter([("path", file.display())]);
    let location = Location::read(&mut OptionReader::new("the test", &path, &[&Location::OPTIONS])).unwrap();
    let reader = Arc::new(FileReader::new(Arc::new(Schema::new(fields)), decoding).unwrap());
    let scan = FilesScan::new("parquet", location, reader, vec![FileEntry::stat(&file).unwrap().unwrap()]);
    let e: crate::Error = read_request(&scan, &ScanRequest::default()).await.unwrap_err().into();
    assert_eq!(e.condition(), "FAILED_READ_FILE");
    assert!(e.place().is_some_and(|place| place.contains("x.parquet")), "{e}");
}
