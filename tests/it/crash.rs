//! A crash at every failpoint that a query passes: afterwards the sink has every row once, as without the crash.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill::testing::{Action, FAILPOINTS, Failpoints};
use tidemill::{Error, MemorySink, MemoryStream, OutputMode, Result, Session, StatementResult};

use super::stepped::{Setup, Stepped, sorted, texts};

const QUERIES: &[(&str, OutputMode)] = &[
    ("SELECT k, count(*), sum(v), max(v) FROM s GROUP BY k", OutputMode::Update),
    ("SELECT k, count(*), sum(v), avg(v) FROM s GROUP BY k", OutputMode::Complete),
    ("SELECT DISTINCT k FROM s", OutputMode::Update),
    ("SELECT DISTINCT ON (k) * FROM s", OutputMode::Append),
    ("SELECT k, v FROM s LIMIT 7", OutputMode::Append),
    ("SELECT upper(k), v + 1 FROM s WHERE v <> 4", OutputMode::Append),
    ("SELECT a.k, a.v, b.v AS w FROM s a JOIN s b ON a.k = b.k AND a.v < b.v", OutputMode::Append),
    (
        "SELECT a.k, a.v, b.v AS w FROM (SELECT * FROM s WATERMARK timestamp_seconds(v) AS t DELAY OF INTERVAL 0 SECONDS) a FULL \
         JOIN (SELECT * FROM s WATERMARK timestamp_seconds(v) AS t DELAY OF INTERVAL 0 SECONDS WHERE v % 2 = 0) b \
         ON a.k = b.k AND b.t BETWEEN a.t AND a.t + INTERVAL 4 SECONDS",
        OutputMode::Append,
    ),
    (
        "SELECT a.k, a.v FROM (SELECT * FROM s WATERMARK timestamp_seconds(v) AS t DELAY OF INTERVAL 0 SECONDS) a LEFT SEMI \
         JOIN (SELECT * FROM s WATERMARK timestamp_seconds(v) AS t DELAY OF INTERVAL 0 SECONDS WHERE v % 2 = 0) b \
         ON a.k = b.k AND b.t BETWEEN a.t AND a.t + INTERVAL 4 SECONDS",
        OutputMode::Append,
    ),
];

/// What arrives, batch by batch.
const ROWS: &[&[(&str, i64)]] =
    &[&[("a", 1), ("b", 2), ("a", 3)], &[("b", 4)], &[("c", 5), ("a", 6), ("a", 7)], &[("b", 8), ("d", 9)]];

/// Failpoints that every query with a memory stream and a memory sink passes, on its way or when it comes back.
const PASSED: &[&str] = &[
    "before_offset_log",
    "after_offset_log",
    "after_batch",
    "before_sink_commit",
    "after_sink_commit",
    "before_commit_log",
    "after_commit_log",
    "log.write.partial",
    "log.written_not_synced",
    "log.synced_not_published",
    "log.roll.created",
    "log.roll.dir_synced",
    "recover.opened",
    "recover.resynced",
    "recover.sink_queried",
    "recover.replayed",
];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8View, true), Field::new("v", DataType::Int64, true)]))
}

fn batch(rows: &[(&str, i64)]) -> RecordBatch {
    let keys: StringViewArray = rows.iter().map(|(k, _)| Some(*k)).collect();
    let values: Int64Array = rows.iter().map(|(_, v)| Some(*v)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// What is left of a run.
struct Run {
    batches: Vec<Vec<Vec<String>>>,
    crashes: u32,
}

/// Runs a query over all rows, comes back after every crash, and at the end once more without one.
async fn run(sql: &str, mode: OutputMode, arm: Option<(&str, u64)>) -> Run {
    let checkpoint = tempfile::tempdir().unwrap();
    let failpoints = Failpoints::default();
    if let Some((point, nth)) = arm {
        failpoints.arm_nth(point, Action::Error, nth).unwrap();
    }
    let stepped = Stepped {
        sql,
        mode,
        static_side: "",
        views: "",
        stream: MemoryStream::new(schema()),
        sink: Arc::new(MemorySink::keeping_all("q")),
        failpoints,
        checkpoint: checkpoint.path(),
    };
    let mut crashes = 0;
    for rows in ROWS {
        stepped.stream.add_data(batch(rows)).unwrap();
        // Every batch is one process: what it opens it either closes or leaves as it is when it dies.
        while let Err(e) = one_process(&stepped).await {
            assert_eq!(e.condition(), "FAILPOINT", "{sql}, {arm:?}: {e}");
            crashes += 1;
            assert!(crashes < 5, "{sql}, {arm:?}: it never gets over it: {e}");
        }
    }
    stepped.failpoints.clear();
    one_process(&stepped).await.unwrap_or_else(|e| panic!("{sql}, {arm:?}, at the end: {e}"));
    let batches = stepped.batches().into_iter().map(sorted).collect();
    Run { batches, crashes }
}

async fn one_process(stepped: &Stepped<'_>) -> Result<()> {
    let (_session, mut query) = stepped.open(Setup::PLAIN).await?;
    while query.run_batch().await? {}
    query.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_failpoint_leaves_every_batch_once() {
    for (sql, mode) in QUERIES {
        let expected = run(sql, *mode, None).await.batches;
        let mut passed = BTreeSet::new();
        for point in FAILPOINTS {
            for nth in 1..=3 {
                let got = run(sql, *mode, Some((point, nth))).await;
                assert_eq!(got.batches, expected, "{sql}: crash at {point}, hit {nth}");
                if got.crashes == 0 {
                    break;
                }
                passed.insert(*point);
            }
        }
        let missed: Vec<_> = PASSED.iter().filter(|p| !passed.contains(*p)).collect();
        assert!(missed.is_empty(), "{sql}: no crash at {missed:?}; crashes at {passed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_died_runs_again_with_its_own_rows() {
    let sql = "SELECT k, count(*), sum(v) FROM s GROUP BY k";
    for (point, logged) in [("before_offset_log", false), ("after_offset_log", true), ("after_sink_commit", true)] {
        let checkpoint = tempfile::tempdir().unwrap();
        let stepped = Stepped {
            sql,
            mode: OutputMode::Update,
            static_side: "",
            views: "",
            stream: MemoryStream::new(schema()),
            sink: Arc::new(MemorySink::keeping_all("q")),
            failpoints: Failpoints::default(),
            checkpoint: checkpoint.path(),
        };
        stepped.failpoints.arm(point, Action::Error).unwrap();
        stepped.stream.add_data(batch(ROWS[0])).unwrap();
        assert_eq!(one_process(&stepped).await.unwrap_err().condition(), "FAILPOINT");
        // What comes while the query is down joins the batch only if its offsets were not in the log.
        stepped.stream.add_data(batch(ROWS[1])).unwrap();
        one_process(&stepped).await.unwrap();
        let got: Vec<_> = stepped.batches().into_iter().map(sorted).collect();
        let row = |k: &str, n: i64, s: i64| vec![k.to_owned(), n.to_string(), s.to_string()];
        let expected = if logged {
            vec![vec![row("a", 2, 4), row("b", 1, 2)], vec![row("b", 2, 6)]]
        } else {
            vec![vec![row("a", 2, 4), row("b", 2, 6)]]
        };
        assert_eq!(got, expected, "{point}");
    }
}

fn copy_files(scratch: &Path, format: &str) -> String {
    format!(
        "CREATE STREAM numbers (n BIGINT) USING csv OPTIONS (path '{0}/in', maxFilesPerTrigger 1);
         CREATE SINK copy USING {format} OPTIONS (path '{0}/out');
         CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{0}/checkpoint'
         AS INSERT INTO copy SELECT n, n * 2 AS twice FROM numbers WHERE n % 5 <> 0;",
        scratch.display()
    )
}

/// Runs the flow to its end in a session of its own.
async fn copy_once(sql: &str, failpoints: &Failpoints) -> Result<()> {
    let session = Session::builder().failpoints(failpoints.clone()).build()?;
    for result in session.sql(sql).await? {
        if let StatementResult::Query(query) = result {
            query.await_termination().await?;
        }
    }
    Ok(())
}

async fn copied(scratch: &Path, format: &str) -> Result<Vec<Vec<String>>> {
    let session = Session::builder().build()?;
    let sql = format!(
        "CREATE TABLE copy (n BIGINT, twice BIGINT) USING {format} OPTIONS (path '{}/out'); SELECT n, twice FROM copy;",
        scratch.display()
    );
    let results = session.sql(&sql).await?;
    let rows = results.iter().find_map(|r| if let StatementResult::Rows(rows) = r { Some(rows) } else { None });
    rows.map(|r| sorted(texts(r.batches()))).ok_or_else(|| Error::internal("no rows"))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_to_files_over_a_crash_at_every_failpoint() {
    let (files, rows) = (5, 6);
    let kept = (0..files * rows).filter(|n| n % 5 != 0).map(|n: i64| vec![n.to_string(), (n * 2).to_string()]);
    let expected = sorted(kept.collect());
    let mut passed = BTreeSet::new();
    for (format, points) in
        [("parquet", FAILPOINTS), ("json", &["filesink.staged", "filesink.renamed", "after_sink_commit"][..])]
    {
        for (point, nth) in points.iter().flat_map(|p| (1..=3).map(move |nth| (p, nth))) {
            let scratch = tempfile::tempdir().unwrap();
            fs::create_dir(scratch.path().join("in")).unwrap();
            for file in 0..files {
                let text: String = (file * rows..(file + 1) * rows).map(|n| format!("{n}\n")).collect();
                fs::write(scratch.path().join(format!("in/{file}.csv")), text).unwrap();
            }
            let sql = copy_files(scratch.path(), format);
            let failpoints = Failpoints::default();
            failpoints.arm_nth(point, Action::Error, nth).unwrap();
            if let Err(e) = copy_once(&sql, &failpoints).await {
                assert_eq!(e.condition(), "FAILPOINT", "{format}, {point}: {e}");
                passed.insert(*point);
                copy_once(&sql, &failpoints).await.unwrap_or_else(|e| panic!("{format}, after {point}@{nth}: {e}"));
            }
            let got = copied(scratch.path(), format).await.unwrap_or_else(|e| panic!("{format}, {point}@{nth}: {e}"));
            assert_eq!(got, expected, "{format}: crash at {point}, hit {nth}");
        }
    }
    for point in
        ["after_offset_log", "after_commit_log", "filesink.staged", "filesink.renamed", "filesink.manifest_synced"]
    {
        assert!(passed.contains(point), "no crash at {point}; crashes at {passed:?}");
    }
}
