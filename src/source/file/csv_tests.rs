//! CSV files beside Spark's answers, which `tests/data/csv` holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde::Deserialize;

use super::entry::FileEntry;
use super::format::FormatOptions;
use super::listing::Location;
use super::read::{Compression, Decoding, FileReader, Unread};
use super::scan::FilesScan;
use crate::error::Result;
use crate::format::BadRecordCounter;
use crate::function::ddl::parse_schema;
use crate::function::display::{Style, write_value};
use crate::options::{OptionReader, Options};
use crate::sink::file::FileFormatKind;
use crate::source::scan::ScanRequest;
use crate::source::testing::read_request;
use crate::type_name::type_name;

type Row = Vec<Option<String>>;

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    schema: Option<String>,
    opts: BTreeMap<String, String>,
    #[serde(default)]
    zone: String,
    /// One file, a byte a character.
    #[serde(default)]
    data: String,
    #[serde(default)]
    files: Vec<String>,
    cols: Option<Vec<String>>,
    rows: Option<Vec<Row>>,
    types: Option<Vec<(String, String)>>,
    error: Option<String>,
}

fn cases(file: &str) -> Vec<Case> {
    let path = format!("{}/tests/data/csv/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn options(case: &Case) -> Result<FormatOptions> {
    let options: Options = case.opts.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut reader = OptionReader::new("the test", &options, &FormatOptions::specs(FileFormatKind::Csv));
    let format = FormatOptions::read(FileFormatKind::Csv, &mut reader)?;
    reader.finish()?;
    Ok(format)
}

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

async fn read(case: &Case, schema: SchemaRef, paths: &[std::path::PathBuf]) -> Result<Vec<Row>> {
    let tz: Tz = case.zone.parse().unwrap_or(Tz::UTC);
    let decoding = Decoding { options: options(case)?, tz, bad_records: BadRecordCounter::default() };
    let projection = case.cols.as_ref().map(|names| names.iter().map(|n| schema.index_of(n).unwrap()).collect());
    let files = paths.iter().map(|p| FileEntry::stat(p).unwrap().unwrap()).collect();
    let path = Options::from_iter([("path", paths[0].display())]);
    let location = Location::read(&mut OptionReader::new("the test", &path, &[&Location::OPTIONS]))?;
    let scan = FilesScan::new("csv", location, Arc::new(FileReader::new(schema, decoding)?), files);
    let mut rows = vec![];
    for batch in read_request(&scan, &ScanRequest { projection, ..ScanRequest::default() }).await? {
        rows.extend((0..batch.num_rows()).map(|r| batch.columns().iter().map(|c| shown(c, r, tz)).collect::<Row>()));
    }
    Ok(rows)
}

#[tokio::test]
async fn files_are_read_as_spark_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.csv");
    let mut wrong = vec![];
    for case in cases("read") {
        std::fs::write(&path, case.data.chars().map(|c| c as u8).collect::<Vec<_>>()).unwrap();
        let DataType::Struct(fields) = parse_schema(case.schema.as_ref().unwrap()).unwrap() else { panic!() };
        let got = read(&case, Arc::new(Schema::new(fields)), std::slice::from_ref(&path)).await;
        match (got, &case.error) {
            (Err(_), Some(_)) => {}
            (Err(e), _) if matches!(e.condition(), "UNSUPPORTED_FEATURE" | "INVALID_OPTION") => {}
            (Ok(rows), None) if Some(&rows) == case.rows.as_ref() => {}
            (got, error) => wrong.push(format!(
                "{:?} {:?}:\n  {:?}\n  {:?} {error:?}",
                case.opts,
                case.data,
                got.map_err(|e| e.to_string()),
                case.rows
            )),
        }
    }
    assert!(wrong.is_empty(), "{} differ (ours, Spark's):\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn columns_are_told_as_spark_tells_them() {
    let mut wrong = vec![];
    for case in cases("infer") {
        let dir = tempfile::tempdir().unwrap();
        let write = |(i, text): (usize, &String)| {
            let path = dir.path().join(format!("f{i}.csv"));
            std::fs::write(&path, text).unwrap();
            FileEntry::stat(&path).unwrap().unwrap()
        };
        let files: Vec<_> = case.files.iter().enumerate().map(write).filter(|f| f.size > 0).collect();
        let unread = Unread { codec: Compression::Given(None), store: None };
        let inferred = options(&case).and_then(|format| format.infer(&files, Tz::UTC, unread));
        let types = inferred.as_ref().map(|schema| {
            let fields = schema.fields().iter();
            fields.map(|f| (f.name().clone(), type_name(f.data_type()))).collect::<Vec<_>>()
        });
        match (&types, &case.error, &case.types) {
            // The others fail when they are read.
            (_, Some(_), Some(_)) | (Err(_), Some(_), _) | (Err(_), None, None) => continue,
            (Err(_), None, Some(types)) if types.is_empty() => continue,
            (Err(e), None, _) if e.condition() == "UNSUPPORTED_FEATURE" => continue,
            (Ok(got), None, Some(expected)) if got == expected => {}
            // Which of several files Spark takes for the first depends on their sizes.
            _ if case.files.len() > 1 && case.error.is_none() => continue,
            (got, error, expected) => {
                wrong.push(format!("{:?} {:?}: {got:?} / Spark {expected:?} {error:?}", case.opts, case.files));
                continue;
            }
        }
        if files.len() == 1 && case.error.is_none() {
            let paths: Vec<_> = files.iter().map(|f| f.path.clone()).collect();
            let rows = read(&case, inferred.unwrap(), &paths).await.map_err(|e| e.to_string());
            if rows.as_ref().ok() != case.rows.as_ref() {
                wrong.push(format!("{:?} {:?}: {rows:?} / Spark {:?}", case.opts, case.files, case.rows));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
