//! The engine over memory streams: what comes out, batch by batch, also after a restart at any point.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{Environment, MicroBatchExecution, QuerySpec};
use crate::error::Result;
use crate::failpoint::Action;
use crate::failpoint::Failpoints;
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::plan::StreamTable;
use crate::sink::{ForeachBatchSink, MemorySink};
use crate::source::MemoryStream;
use crate::time::Clock;
use crate::trigger::Trigger;

struct Bench {
    env: Environment,
    stream: MemoryStream,
    sink: Arc<MemorySink>,
    spec: QuerySpec,
}

impl Bench {
    async fn new(sql: &str, mode: OutputMode, checkpoint: &Path, partitions: usize) -> Result<Self> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        let schema =
            Schema::new(vec![Field::new("word", DataType::Utf8View, true), Field::new("n", DataType::Int64, true)]);
        let stream = MemoryStream::new(Arc::new(schema));
        context.register_table("s", Arc::new(StreamTable::new("s", Arc::new(stream.clone()))))?;
        let plan = context.state().create_logical_plan(sql).await?;
        let sink = Arc::new(MemorySink::keeping_all("q"));
        let names = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        let spec = QuerySpec {
            name: Some("q".into()),
            plan,
            column_names: names,
            text: sql.into(),
            sink: sink.clone(),
            output_mode: mode,
            trigger: Trigger::Default,
            checkpoint: Some(checkpoint.to_path_buf()),
            conf: Options::new(),
        };
        let env =
            Environment { context, clock: Clock::manual(), failpoints: Failpoints::default(), conf: Options::new() };
        Ok(Self { env, stream, sink, spec })
    }

    async fn open(&self) -> Result<MicroBatchExecution> {
        MicroBatchExecution::open(&self.env, self.spec.clone()).await
    }

    fn feed(&self, words: &[&str]) -> Result<()> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(words)),
            Arc::new(Int64Array::from_iter_values(words.iter().map(|w| w.len() as i64))),
        ];
        self.stream.add_data(RecordBatch::try_new(self.stream_schema(), columns)?)?;
        Ok(())
    }

    fn stream_schema(&self) -> datafusion::arrow::datatypes::SchemaRef {
        use crate::source::StreamProvider;
        self.stream.schema()
    }

    /// Rows of the sink's batches, each sorted.
    fn seen(&self) -> Vec<Vec<String>> {
        let rows = |(_, batches): (u64, Vec<RecordBatch>)| {
            let text = pretty_format_batches(&batches).map(|t| t.to_string()).unwrap_or_default();
            let rows = text.lines().skip(3).filter(|l| l.starts_with('|'));
            let mut rows: Vec<_> =
                rows.map(|l| l.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            rows.sort();
            rows
        };
        self.sink.batches().into_iter().map(rows).collect()
    }
}

async fn drain(execution: &mut MicroBatchExecution) -> Result<()> {
    while execution.run_batch().await? {}
    Ok(())
}

const COUNT: &str = "SELECT word, count(*) AS c, sum(n) AS s, max(word) AS m FROM s GROUP BY word";

#[tokio::test]
async fn update_mode_gives_the_changed_groups_and_survives_a_restart() -> Result<()> {
    for partitions in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new(COUNT, OutputMode::Update, dir.path(), partitions).await?;
        let mut query = bench.open().await?;
        bench.feed(&["a", "b", "a"])?;
        drain(&mut query).await?;
        query.close().await?;
        let mut query = bench.open().await?;
        assert!(!query.run_batch().await?, "nothing runs twice after a clean stop");
        bench.feed(&["b", "c"])?;
        drain(&mut query).await?;
        assert_eq!(bench.seen(), [vec!["a 2 2 a", "b 1 1 b"], vec!["b 2 2 b", "c 1 1 c"]]);
        assert_eq!(query.last_progress().unwrap().state_operators[0].num_rows_total, 3);
    }
    Ok(())
}

#[tokio::test]
async fn complete_mode_gives_everything() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let sql = "SELECT word, count(*) AS c FROM s GROUP BY word HAVING count(*) > 1 ORDER BY c DESC LIMIT 2";
    let bench = Bench::new(sql, OutputMode::Complete, dir.path(), 2).await?;
    let mut query = bench.open().await?;
    for words in [&["a", "b", "a"][..], &["c", "c", "c"]] {
        bench.feed(words)?;
        drain(&mut query).await?;
    }
    assert_eq!(bench.seen(), [vec!["a 2"], vec!["a 2", "c 3"]]);
    Ok(())
}

#[tokio::test]
async fn limit_counts_over_batches() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new("SELECT word FROM s WHERE n > 0 LIMIT 3", OutputMode::Append, dir.path(), 2).await?;
    let mut query = bench.open().await?;
    for words in [["a", "b"], ["c", "d"], ["e", "f"]] {
        bench.feed(&words)?;
        drain(&mut query).await?;
    }
    assert_eq!(bench.seen(), [vec!["a", "b"], vec!["c"], vec![]]);
    Ok(())
}

#[tokio::test]
async fn every_crash_point_gives_each_batch_once() -> Result<()> {
    let points = [
        "before_offset_log",
        "after_offset_log",
        "after_batch",
        "before_sink_commit",
        "after_sink_commit",
        "before_commit_log",
        "after_commit_log",
    ];
    for point in points {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new(COUNT, OutputMode::Update, dir.path(), 1).await?;
        let mut query = bench.open().await?;
        bench.feed(&["a", "b", "a"])?;
        drain(&mut query).await?;
        bench.feed(&["b"])?;
        bench.env.failpoints.arm(point, Action::Error)?;
        assert!(drain(&mut query).await.is_err(), "{point}");
        drop(query);
        bench.env.failpoints.clear();
        let mut query = bench.open().await?;
        drain(&mut query).await?;
        bench.feed(&["b", "a"])?;
        drain(&mut query).await?;
        let expected = [vec!["a 2 2 a", "b 1 1 b"], vec!["b 2 2 b"], vec!["a 3 3 a", "b 3 3 b"]];
        assert_eq!(bench.seen(), expected, "crash at {point}");
    }
    Ok(())
}

impl Bench {
    async fn continuous(sql: &str, checkpoint: &Path, delivery: &str) -> Result<Self> {
        let mut bench = Self::new(sql, OutputMode::Update, checkpoint, 1).await?;
        bench.spec.trigger = Trigger::Continuous(Duration::from_secs(1));
        bench.spec.conf.set("delivery", delivery);
        Ok(bench)
    }
}

/// What the sink has of three batches of [`COUNT`], whatever happened meanwhile.
const THREE_BATCHES: [&[&str]; 3] = [&["a 2 2 a", "b 1 1 b"], &["b 2 2 b"], &["a 3 3 a", "b 3 3 b"]];

#[tokio::test]
async fn a_crash_with_several_batches_in_flight_gives_each_once() -> Result<()> {
    let points =
        ["after_offset_log", "before_sink_commit", "after_sink_commit", "before_commit_log", "after_commit_log"];
    for point in points {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::continuous(COUNT, dir.path(), "exactly-once").await?;
        let mut query = bench.open().await?;
        // One thread: nothing of what is in flight is shown before this task waits for it.
        for words in [&["a", "b", "a"][..], &["b"]] {
            bench.feed(words)?;
            assert!(query.run_batch().await?);
        }
        assert!(bench.seen().is_empty() && query.last_progress().is_none());
        bench.env.failpoints.arm(point, Action::Error)?;
        assert!(query.flush().await.is_err(), "{point}");
        assert!(query.run_batch().await.is_err(), "a failed query stays so");
        drop(query);
        bench.env.failpoints.clear();

        let mut query = bench.open().await?;
        drain(&mut query).await?;
        assert_eq!(bench.seen(), THREE_BATCHES[..2], "crash at {point}");
        bench.feed(&["b", "a"])?;
        drain(&mut query).await?;
        query.flush().await?;
        assert_eq!(query.last_progress().unwrap().sink.num_output_rows, 2);
        assert_eq!(bench.seen(), THREE_BATCHES, "crash at {point}");
        query.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn batches_in_flight_run_again_for_a_sink_that_does_not_know_them() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::continuous(COUNT, dir.path(), "exactly-once").await?;
    let seen = Arc::new(parking_lot::Mutex::new(vec![]));
    let shared = seen.clone();
    bench.spec.sink = Arc::new(ForeachBatchSink::new(move |rows: Vec<RecordBatch>, id| {
        shared.lock().push((id, rows.iter().map(RecordBatch::num_rows).sum::<usize>()));
        async { Ok(()) }
    }));
    let mut query = bench.open().await?;
    for words in [&["a", "b", "a"][..], &["b"], &["b", "a"]] {
        bench.feed(words)?;
        assert!(query.run_batch().await?);
    }
    bench.env.failpoints.arm("before_commit_log", Action::Error)?;
    assert!(query.flush().await.is_err());
    drop(query);
    bench.env.failpoints.clear();
    let mut query = bench.open().await?;
    drain(&mut query).await?;
    assert_eq!(*seen.lock(), [(0, 2), (0, 2), (1, 1), (2, 2)], "the one whose acknowledgement was lost comes twice");
    assert_eq!(query.last_progress().unwrap().state_operators[0].num_rows_total, 2);
    query.close().await
}

#[tokio::test]
async fn at_least_once_shows_a_batch_at_once_and_tells_the_source_by_the_interval() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::continuous(COUNT, dir.path(), "at-least-once").await?;
    let mut query = bench.open().await?;
    for (i, words) in [&["a", "b", "a"][..], &["b"], &["b", "a"]].into_iter().enumerate() {
        bench.feed(words)?;
        assert!(query.run_batch().await?);
        assert_eq!(bench.seen(), THREE_BATCHES[..=i]);
    }
    assert_eq!(bench.stream.num_held(), 3, "the source still has what may be asked for again");
    if let Clock::Manual(clock) = &bench.env.clock {
        clock.advance(Duration::from_secs(2));
    }
    assert!(!query.run_batch().await?);
    // Asked for by the first look, durable by a later one.
    for _ in 0..200 {
        if bench.stream.num_held() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!query.run_batch().await?);
    }
    assert_eq!(bench.stream.num_held(), 0);
    // Killed: what the log has in the system's memory survives the process.
    bench.feed(&["c"])?;
    assert!(query.run_batch().await?);
    drop(query);
    let mut query = bench.open().await?;
    assert!(!query.run_batch().await?);
    assert_eq!(bench.seen().len(), 4);
    for words in [["d"], ["e"]] {
        bench.feed(&words)?;
        assert!(query.run_batch().await?);
    }
    query.close().await?;
    assert_eq!(bench.stream.num_held(), 1, "a clean stop tells the source of all but the last batch");
    Ok(())
}

#[tokio::test]
async fn another_query_on_the_checkpoint_is_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(COUNT, OutputMode::Update, dir.path(), 1).await?;
    bench.open().await?.close().await?;
    let other = Bench::new("SELECT word, min(n) FROM s GROUP BY word", OutputMode::Update, dir.path(), 1).await?;
    let refused = other.open().await.unwrap_err();
    assert_eq!(refused.condition(), "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE");
    Ok(())
}
