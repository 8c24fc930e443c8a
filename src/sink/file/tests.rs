//! Exactly once: a crash at every point of prepare and commit, then a new sink over the same directory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};

use super::manifest::visible_names;
use super::*;
use crate::failpoint::Action;
use crate::sink::testing::{context, identity, ints, run_batch, stream};

fn sink(kind: FileFormatKind, dir: &Path) -> FileSink {
    FileSink::new(kind, &Options::from_iter([("path", dir.display())])).unwrap()
}

async fn opened(kind: FileFormatKind, dir: &Path) -> FileSink {
    let sink = sink(kind, dir);
    sink.open(&context()).await.unwrap();
    sink
}

/// Contents of the committed files, which must be all that is visible.
fn committed(dir: &Path) -> String {
    let files = committed_files(dir).unwrap().unwrap();
    let names = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(visible_names(dir), names);
    files.iter().map(|f| fs::read_to_string(f).unwrap()).collect()
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    sink.prepare(1, stream(vec![ints(&[2])])).await.unwrap();
    drop(sink);
    assert_eq!(committed(dir.path()), "{\"value\":1}\n");
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(0)));
    assert_eq!(fs::read_dir(dir.path().join("_tidemill_metadata/staged")).unwrap().count(), 0);
    run_batch(&sink, 1, vec![ints(&[2])]).await;
    assert_eq!(committed(dir.path()), "{\"value\":1}\n{\"value\":2}\n");
}

#[tokio::test]
async fn a_crash_at_every_point_loses_and_doubles_nothing() {
    for point in ["filesink.staged", "filesink.manifest_synced", "filesink.renamed"] {
        let dir = tempfile::tempdir().unwrap();
        let context = context();
        let sink = sink(FileFormatKind::Json, dir.path());
        sink.open(&context).await.unwrap();
        run_batch(&sink, 0, vec![ints(&[1])]).await;
        context.failpoints.arm(point, Action::Error).unwrap();
        let prepared = sink.prepare(1, stream(vec![ints(&[2])])).await;
        let crashed = prepared.is_err() || sink.commit(identity(1)).await.is_err();
        assert!(crashed, "{point}");
        drop(sink);
        let seen = committed(dir.path());
        let is_visible = point == "filesink.renamed";
        assert_eq!(seen.contains('2'), is_visible, "{point}: {seen}");

        let sink = opened(FileFormatKind::Json, dir.path()).await;
        if sink.last_committed().await.unwrap() == LastCommitted::Batch(identity(0)) {
            assert_eq!(point, "filesink.staged");
            run_batch(&sink, 1, vec![ints(&[2])]).await;
        }
        assert_eq!(committed(dir.path()), "{\"value\":1}\n{\"value\":2}\n", "{point}");
    }
}

#[tokio::test]
async fn compaction_drops_empty_batches_only() {
    let dir = tempfile::tempdir().unwrap();
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    {
        let mut state = sink.state.lock().await;
        let log = &mut state.as_mut().unwrap().log;
        for batch_id in 1..=1100 {
            let (batch_id, record_hash) = (Some(batch_id), Some(100 + batch_id as u32));
            log.append(Line { batch_id, record_hash, ..Line::default() }).unwrap();
        }
    }
    drop(sink);
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(1100)));
    assert_eq!(committed(dir.path()), "{\"value\":1}\n");
    let manifest = fs::read_to_string(dir.path().join("_tidemill_metadata/manifest")).unwrap();
    assert!(manifest.lines().count() < 200, "{manifest}");
    run_batch(&sink, 1101, vec![ints(&[2])]).await;
    assert_eq!(committed(dir.path()), "{\"value\":1}\n{\"value\":2}\n");
}

#[tokio::test]
async fn a_torn_line_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    let path = dir.path().join("_tidemill_metadata/manifest");
    let whole = fs::read(&path).unwrap().len();
    run_batch(&sink, 1, vec![]).await;
    drop(sink);
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let sink = opened(FileFormatKind::Json, dir.path()).await;
        assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(0)), "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap().len(), whole, "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_before_the_last_line_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(FileFormatKind::Json, dir.path()).await;
    run_batch(&first, 0, vec![ints(&[1])]).await;
    run_batch(&first, 1, vec![ints(&[2])]).await;
    drop(first);
    let path = dir.path().join("_tidemill_metadata/manifest");
    let mut bytes = fs::read(&path).unwrap();
    let second_line = bytes.iter().position(|b| *b == b'\n').unwrap() + 15;
    bytes[second_line] ^= 1;
    fs::write(&path, bytes).unwrap();
    let e = sink(FileFormatKind::Json, dir.path()).open(&context()).await.unwrap_err();
    assert_eq!(e.condition(), "SINK_CORRUPT");
    assert!(committed_files(dir.path()).is_err());
}

#[tokio::test]
async fn a_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(FileFormatKind::Json, dir.path()).await;
    let e = sink(FileFormatKind::Json, dir.path()).open(&context()).await.unwrap_err();
    assert_eq!(e.condition(), "SINK_IN_USE");
    first.close().await.unwrap();
    let other = SinkContext { query_id: Uuid::from_u128(8), ..context() };
    let e = sink(FileFormatKind::Json, dir.path()).open(&other).await.unwrap_err();
    assert!(e.message().contains("another query"), "{e}");
    first.open(&context()).await.unwrap();
    first.open(&context()).await.unwrap();
}

#[tokio::test]
async fn a_batch_it_has_is_dropped_and_empty_ones_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let sink = opened(FileFormatKind::Json, dir.path()).await;
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    run_batch(&sink, 1, vec![]).await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(1)));
    assert_eq!(committed(dir.path()), "{\"value\":1}\n");
}

#[tokio::test]
async fn csv_tells_null_from_empty_and_escapes() {
    let strings = StringViewArray::from(vec![Some("a,b"), Some(""), None, Some("say \"x\\y\""), Some("two\nlines")]);
    let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None, None, None, None]).with_timezone("UTC");
    let doubles = Float64Array::from(vec![Some(1e9), Some(2.0), None, None, None]);
    let columns: [(&str, ArrayRef); 3] = [("s", Arc::new(strings)), ("t", Arc::new(times)), ("d", Arc::new(doubles))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let options = Options::from_iter([("path", path.as_str()), ("header", "true")]);
    let sink = FileSink::new(FileFormatKind::Csv, &options).unwrap();
    sink.open(&SinkContext { schema: batch.schema(), ..context() }).await.unwrap();
    run_batch(&sink, 0, vec![batch]).await;
    let expected =
        "s,t,d\n\"a,b\",1970-01-01T00:00:01.500Z,1.0E9\n\"\",,2.0\n,,\n\"say \\\"x\\\\y\\\"\",,\n\"two\nlines\",,\n";
    assert_eq!(committed(dir.path()), expected);
}

#[tokio::test]
async fn parquet_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sink = opened(FileFormatKind::Parquet, dir.path()).await;
    run_batch(&sink, 0, vec![ints(&[1, 2]), ints(&[3])]).await;
    let files = committed_files(dir.path()).unwrap().unwrap();
    let ctx = datafusion::prelude::SessionContext::new();
    let df = ctx.read_parquet(files[0].to_str().unwrap(), Default::default()).await.unwrap();
    assert_eq!(crate::sink::testing::values(&df.collect().await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |kind, context: SinkContext| sink(kind, dir.path()).open(&context).await.unwrap_err();
    let complete = SinkContext { output_mode: OutputMode::Complete, ..context() };
    assert!(open(FileFormatKind::Csv, complete).await.condition().starts_with("STREAMING_OUTPUT_MODE"));
    let e = open(FileFormatKind::Text, context()).await;
    assert_eq!(e.condition(), "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE");
    let field = context().schema.field(0).clone();
    let twice = Arc::new(arrow::datatypes::Schema::new(vec![field.clone(), field]));
    let e = open(FileFormatKind::Json, SinkContext { schema: twice, ..context() }).await;
    assert_eq!(e.condition(), "COLUMN_ALREADY_EXISTS");
    assert!(!dir.path().join("_tidemill_metadata").exists(), "nothing was made");
}
