//! Directories that change, and what batches the source makes of them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::SessionContext;
use tempfile::TempDir;

use super::*;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::options::Options;
use crate::sink::file::FileFormatKind;
use crate::source::testing::{context, read_strings, try_read};
use crate::source::{ReadLimit, ScanRequest, Source, StreamProvider};

struct Dir {
    root: TempDir,
    chk: TempDir,
}

impl Dir {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), chk: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("in").join(name)
    }

    /// Writes a file that is `seconds` old in the order of files.
    fn write(&self, name: &str, seconds: u64, text: &str) {
        fs::create_dir_all(self.path("")).unwrap();
        fs::write(self.path(name), text).unwrap();
        File::open(self.path(name))
            .unwrap()
            .set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds))
            .unwrap();
    }

    fn stream(&self, kind: FileFormatKind, options: &[(&str, &str)]) -> Result<FileStream> {
        let mut all = Options::from_iter(options.iter().copied());
        all.set("path", self.path("").display());
        let declared =
            Schema::new(vec![Field::new("a", DataType::Utf8View, true), Field::new("b", DataType::Utf8View, true)]);
        FileStream::new(
            &SessionContext::new(),
            kind,
            "s",
            (kind != FileFormatKind::Text).then(|| Arc::new(declared)),
            &all,
        )
    }

    async fn open(&self, options: &[(&str, &str)]) -> Arc<dyn Source> {
        self.stream(FileFormatKind::Text, options).unwrap().open(context(self.chk.path())).await.unwrap()
    }
}

fn offset(n: i64) -> Offset {
    serde_json::json!({ "logOffset": n })
}

async fn latest(source: &dyn Source, start: i64) -> Option<i64> {
    let end = source.latest_offset(&offset(start), ReadLimit::Configured).await.unwrap();
    end.map(|o| o["logOffset"].as_i64().unwrap())
}

async fn lines(source: &dyn Source, start: i64, end: i64) -> Vec<String> {
    read_strings(source.scan(&offset(start), &offset(end)).await.unwrap(), 2).await
}

async fn read_error(source: &dyn Source, start: i64, end: i64) -> Error {
    let scan = source.scan(&offset(start), &offset(end)).await.unwrap();
    try_read(scan, 1).await.expect_err("the files cannot be read").into()
}

#[tokio::test]
async fn every_file_once_by_age_within_limits_across_restarts() {
    let dir = Dir::new();
    dir.write("b", 1, "1\n2");
    dir.write("c", 2, "3\n");
    dir.write("a", 3, "4");
    let options = [("maxFilesPerTrigger", "2")];
    let source = dir.open(&options).await;
    assert_eq!(source.initial_offset().await.unwrap(), offset(-1));
    assert_eq!(latest(&*source, -1).await, Some(0));
    assert_eq!(lines(&*source, -1, 0).await, ["1", "2", "3"]);

    // The batch was logged, the query died before it used it.
    let source = dir.open(&options).await;
    assert_eq!(latest(&*source, -1).await, Some(0));
    assert_eq!(lines(&*source, -1, 0).await, ["1", "2", "3"]);
    source.commit(&offset(0)).await.unwrap();
    assert_eq!(latest(&*source, 0).await, Some(1));
    assert_eq!(latest(&*source, 1).await, None);
    let source = dir.open(&options).await;
    assert_eq!(latest(&*source, 1).await, None);
    dir.write("d", 4, "5");
    assert_eq!(latest(&*source, 1).await, Some(2));
    assert_eq!(lines(&*source, 0, 2).await, ["4", "5"]);
    assert_eq!(source.latest_offset(&offset(7), ReadLimit::All).await.unwrap_err().condition(), "CHECKPOINT_CORRUPT");
}

#[tokio::test]
async fn bytes_limit_latest_first_and_available_now() {
    let dir = Dir::new();
    (0..4).for_each(|i| dir.write(&i.to_string(), i, &format!("{i}\n")));
    let source = dir.open(&[("maxBytesPerTrigger", "5")]).await;
    latest(&*source, -1).await;
    assert_eq!(lines(&*source, -1, 0).await, ["0", "1"]);

    let dir = Dir::new();
    (0..4).for_each(|i| dir.write(&i.to_string(), i, &format!("{i}\n")));
    let source = dir.open(&[("maxFilesPerTrigger", "3"), ("latestFirst", "true")]).await;
    source.prepare_available_now().await.unwrap();
    dir.write("late", 9, "late");
    latest(&*source, -1).await;
    latest(&*source, 0).await;
    assert_eq!(latest(&*source, 1).await, None);
    assert_eq!(lines(&*source, -1, 1).await, ["3", "2", "1", "0"]);
}

#[tokio::test]
async fn changed_and_vanished_files_fail_or_are_left_out() {
    let dir = Dir::new();
    dir.write("a", 1, "a");
    dir.write("b", 2, "b");
    dir.write("c", 3, "c");
    let source = dir.open(&[]).await;
    latest(&*source, -1).await;
    dir.write("a", 9, "rewritten");
    assert_eq!(read_error(&*source, -1, 0).await.condition(), "SOURCE_FILE_CHANGED");
    let source = dir.open(&[("fileChanged", "skip")]).await;
    assert_eq!(lines(&*source, -1, 0).await, ["b", "c"]);
    fs::remove_file(dir.path("b")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.path("b")).status().unwrap().success());
    assert_eq!(lines(&*source, -1, 0).await, ["c"], "a pipe in the place of a file does not block");
    fs::remove_file(dir.path("b")).unwrap();
    assert_eq!(read_error(&*source, -1, 0).await.condition(), "FAILED_READ_FILE.FILE_NOT_EXIST");
    let source = dir.open(&[("fileChanged", "skip"), ("ignoreMissingFiles", "true")]).await;
    assert_eq!(lines(&*source, -1, 0).await, ["c"]);
    assert_eq!(source.metrics().custom["numFilesMissing"], "1");
}

#[tokio::test]
async fn committed_files_are_cleaned() {
    let dir = Dir::new();
    let archive = dir.root.path().join("archive");
    dir.write("a", 1, "a");
    let source = dir.open(&[("cleanSource", "archive"), ("sourceArchiveDir", archive.to_str().unwrap())]).await;
    latest(&*source, -1).await;
    assert!(dir.path("a").exists());
    source.commit(&offset(0)).await.unwrap();
    assert!(!dir.path("a").exists());
    assert_eq!(fs::read_to_string(archive.join(dir.path("a").strip_prefix("/").unwrap())).unwrap(), "a");
    dir.write("b", 2, "b");
    let source = dir.open(&[("cleanSource", "delete")]).await;
    latest(&*source, 0).await;
    source.commit(&offset(1)).await.unwrap();
    assert!(!dir.path("b").exists());
}

#[tokio::test]
async fn formats_header_and_whole_files() {
    let dir = Dir::new();
    dir.write("1.csv", 1, "\u{feff}x,y\n1,2\n3\n");
    let source =
        dir.stream(FileFormatKind::Csv, &[("header", "true")]).unwrap().open(context(dir.chk.path())).await.unwrap();
    latest(&*source, -1).await;
    assert_eq!(lines(&*source, -1, 0).await, ["1", "3"]);
    assert_eq!(source.metrics().bad_records, 1);

    let dir = Dir::new();
    dir.write("1.json", 1, "{\"a\":\"x\"}\nnonsense\n{\"a\":\"y\"}");
    let source = dir.stream(FileFormatKind::Json, &[]).unwrap().open(context(dir.chk.path())).await.unwrap();
    latest(&*source, -1).await;
    assert_eq!(lines(&*source, -1, 0).await, ["x", "NULL", "y"]);

    let dir = Dir::new();
    dir.write("1", 1, "one\ntwo");
    // A file of no bytes has no row, as in Spark.
    dir.write("2", 2, "");
    let source = dir.open(&[("wholetext", "true")]).await;
    latest(&*source, -1).await;
    assert_eq!(lines(&*source, -1, 0).await, ["one\ntwo"]);
}

#[tokio::test]
async fn a_large_file_is_read_in_parts_and_in_order() {
    let dir = Dir::new();
    let all: Vec<_> = (0..1_000_000).map(|i| i.to_string()).collect();
    dir.write("big", 1, &all.join("\r\n"));
    let source = dir.open(&[]).await;
    latest(&*source, -1).await;
    let scan = source.scan(&offset(-1), &offset(0)).await.unwrap();
    let request = ScanRequest { partitions: 3, ..ScanRequest::default() };
    assert_eq!(scan.plan(0..1, &request).unwrap().output_partitioning().partition_count(), 3);
    assert!(read_strings(scan, 3).await == all);
}

#[test]
fn options_that_cannot_be() {
    let dir = Dir::new();
    let condition =
        |options: &[(&str, &str)]| dir.stream(FileFormatKind::Text, options).unwrap_err().condition().to_string();
    assert_eq!(condition(&[("maxFilesPerTrigger", "1"), ("maxBytesPerTrigger", "1")]), "INVALID_OPTION");
    assert_eq!(condition(&[("cleanSource", "archive")]), "MISSING_OPTION");
    assert_eq!(
        condition(&[("cleanSource", "archive"), ("sourceArchiveDir", dir.path("old").to_str().unwrap())]),
        "INVALID_OPTION"
    );
    assert_eq!(condition(&[("header", "true")]), "UNKNOWN_OPTION");
    let none = FileStream::new(
        &SessionContext::new(),
        FileFormatKind::Json,
        "s",
        None,
        &Options::from_iter([("path", "/tmp")]),
    );
    assert_eq!(none.unwrap_err().condition(), "UNABLE_TO_INFER_SCHEMA");
}
