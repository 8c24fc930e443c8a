//! Sinks that live for years: many triggers, few files, a short manifest; a crash at every point of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::manifest::visible_names;
use super::*;
use crate::failpoint::{Action, Failpoints};
use crate::sink::testing::{context, identity, ints, run_batch, stream};
use crate::time::{Clock, ManualClock};

const HOUR: Duration = Duration::from_secs(3600);

fn sink_of(dir: &Path, more: &[(&str, &str)]) -> FileSink {
    let path = dir.display().to_string();
    let options = [("path", path.as_str())].into_iter().chain(more.iter().copied());
    FileSink::new(FileFormatKind::Json, &Options::from_iter(options)).unwrap()
}

fn manual() -> (SinkContext, Arc<ManualClock>) {
    let clock = Clock::manual();
    let Clock::Manual(manual) = &clock else { unreachable!() };
    let manual = manual.clone();
    (SinkContext { clock, ..context() }, manual)
}

fn committed(dir: &Path) -> Vec<i32> {
    let files: Vec<PathBuf> = committed_files(dir).unwrap().unwrap();
    let names = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(visible_names(dir), names, "who lists the directory sees the same");
    let text: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    text.lines().map(|l| l.trim_start_matches("{\"value\":").trim_end_matches('}').parse().unwrap()).collect()
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn many_triggers_leave_few_files_and_a_short_manifest() {
    // In memory, if there is such a place: each trigger syncs.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (context, clock) = manual();
    let sink = sink_of(dir.path(), &[("maxFileAge", "1 hour"), ("retention", "1 day")]);
    sink.open(&context).await.unwrap();
    let (mut most_lines, mut most_waiting) = (0, 0);
    // A trigger each 30 seconds for two days and a half.
    let triggers = 7200;
    for batch in 0..triggers {
        run_batch(&sink, batch, vec![ints(&[batch as i32])]).await;
        clock.advance(Duration::from_secs(30));
        if batch % 100 == 0 {
            let manifest = fs::read_to_string(dir.path().join("_tidemill_metadata/manifest")).unwrap();
            most_lines = most_lines.max(manifest.lines().count());
            most_waiting = most_waiting.max(count(&dir.path().join("_tidemill_metadata/pending")));
        }
    }
    assert!(most_lines < 2500, "{most_lines} lines");
    assert!(most_waiting <= 121, "{most_waiting} files wait");
    let kept = committed(dir.path());
    assert!(count(dir.path()) <= 27, "{} files", count(dir.path()));
    // What is there is an unbroken end of all rows, about a day long.
    assert!(kept.windows(2).all(|w| w[1] == w[0] + 1));
    assert!((2800..3100).contains(&kept.len()), "{} rows", kept.len());
    sink.close().await.unwrap();
    assert_eq!(*committed(dir.path()).last().unwrap(), triggers as i32 - 1, "the rest comes when the query stops");
}

#[tokio::test]
async fn files_roll_by_size_and_by_age_without_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (context, clock) = manual();
    let sink = sink_of(dir.path(), &[("maxFileSize", "20k"), ("maxFileAge", "1 hour")]);
    sink.open(&context).await.unwrap();
    let many: Vec<i32> = (0..8000).collect();
    run_batch(&sink, 0, vec![ints(&many)]).await;
    assert_eq!(committed(dir.path()), many, "more than a file is there at once");
    let sizes = || fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).filter(|e| e.path().is_file());
    for (batch, chunk) in many.chunks(100).enumerate() {
        run_batch(&sink, batch as u64 + 1, vec![ints(chunk)]).await;
    }
    // The first file told how many bytes a row takes.
    let largest = sizes().map(|e| e.metadata().unwrap().len()).filter(|n| *n < 100_000).max().unwrap();
    assert!((10_000..40_000).contains(&largest), "{largest} bytes");
    run_batch(&sink, 1000, vec![ints(&[-1])]).await;
    assert!(!committed(dir.path()).contains(&-1));
    clock.advance(HOUR);
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if committed(dir.path()).contains(&-1) {
            return;
        }
    }
    panic!("no file after its time has come");
}

#[tokio::test]
async fn a_crash_at_every_point_of_rolling_loses_and_doubles_nothing() {
    let points =
        ["filesink.staged", "filesink.roll_staged", "filesink.manifest_synced", "filesink.renamed", "filesink.rolled"];
    for (point, nth) in points.into_iter().flat_map(|p| (1..=3).map(move |nth| (p, nth))) {
        let dir = tempfile::tempdir().unwrap();
        let (plain, clock) = manual();
        let failing = SinkContext { failpoints: Failpoints::default(), ..plain.clone() };
        failing.failpoints.arm_nth(point, Action::Error, nth).unwrap();
        let options = [("maxFileAge", "1 hour")];
        let mut sink = sink_of(dir.path(), &options);
        sink.open(&failing).await.unwrap();
        let mut batch = 0;
        while batch < 6 {
            clock.advance(HOUR / 2);
            let done = match sink.prepare(batch, stream(vec![ints(&[batch as i32])])).await {
                Ok(_) => sink.commit(identity(batch)).await,
                Err(e) => Err(e),
            };
            if let Err(e) = done {
                assert_eq!(e.condition(), "FAILPOINT", "{point}@{nth}: {e}");
                drop(sink);
                sink = sink_of(dir.path(), &options);
                // A file that was being rolled when the sink was dropped holds the directory for a moment.
                let mut tries = 0;
                while let Err(e) = sink.open(&plain).await {
                    assert_eq!(e.condition(), "SINK_IN_USE", "{point}@{nth}: {e}");
                    tries += 1;
                    assert!(tries < 500, "{point}@{nth}: it never ends");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            batch = match sink.last_committed().await.unwrap() {
                LastCommitted::Batch(last) => last.batch_id + 1,
                _ => 0,
            };
        }
        sink.close().await.unwrap();
        assert_eq!(committed(dir.path()), (0..6).collect::<Vec<_>>(), "{point}@{nth}");
        assert_eq!(count(&dir.path().join("_tidemill_metadata/pending")), 0, "{point}@{nth}");
        assert_eq!(count(&dir.path().join("_tidemill_metadata/staged")), 0, "{point}@{nth}");
    }
}

#[tokio::test]
async fn old_files_go_with_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    let (context, clock) = manual();
    let sink = sink_of(dir.path(), &[("retention", "1 day"), ("partitionBy", "value")]);
    let columns = arrow::datatypes::Schema::new(vec![
        context.schema.field(0).clone(),
        arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int32, true),
    ]);
    let context = SinkContext { schema: Arc::new(columns), ..context };
    sink.open(&context).await.unwrap();
    let rows = |n: i32| {
        let column = ints(&[n]).column(0).clone();
        arrow::array::RecordBatch::try_new(context.schema.clone(), vec![column.clone(), column]).unwrap()
    };
    for batch in 0..4 {
        run_batch(&sink, batch, vec![rows(batch as i32)]).await;
        clock.advance(HOUR * 13);
    }
    let folders = |n: i32| dir.path().join(format!("value={n}")).exists();
    assert_eq!([0, 1, 2, 3].map(folders), [false, false, true, true]);
    assert_eq!(committed_files(dir.path()).unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn a_manifest_of_version_1_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = dir.path().join("_tidemill_metadata");
    fs::create_dir(&metadata).unwrap();
    let header = serde_json::json!({"version": 1, "queryId": context().query_id});
    let line = serde_json::json!({"batchId": 0, "recordHash": 100, "files": [{"name": "part-0.json", "size": 12}]});
    let text = lines::text(&header).unwrap() + &lines::text(&line).unwrap();
    fs::write(metadata.join("manifest"), text).unwrap();
    fs::write(dir.path().join("part-0.json"), "{\"value\":1}\n").unwrap();
    let sink = sink_of(dir.path(), &[("retention", "1 day")]);
    sink.open(&context()).await.unwrap();
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(0)));
    run_batch(&sink, 1, vec![ints(&[2])]).await;
    assert_eq!(committed(dir.path()), [1, 2], "a file whose time no line says is not too old");
}
