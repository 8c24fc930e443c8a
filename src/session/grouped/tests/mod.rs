//! Functions with state batch by batch: rows, state rows, dropped rows; after restarts and crashes at any point.

mod groups;
mod legality;
mod processor;
mod random;

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::DataFrame;

use crate::error::Result;
use crate::failpoint::Failpoints;
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::plan::StreamTable;
use crate::query::{MicroBatchExecution, QuerySpec, StateOperatorProgress};
use crate::session::Session;
use crate::sink::MemorySink;
use crate::source::MemoryStream;
use crate::time::Clock;
use crate::trigger::Trigger;

/// A query over a stream (k, n, ts), with what outlives its restarts.
struct Bench {
    clock: Clock,
    stream: MemoryStream,
    sink: Arc<MemorySink>,
    failpoints: Failpoints,
    dir: tempfile::TempDir,
    mode: OutputMode,
    trigger: Trigger,
    partitions: usize,
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
        Field::new("ts", time, true),
    ]))
}

impl Bench {
    fn new(mode: OutputMode) -> Self {
        Self {
            clock: Clock::manual(),
            stream: MemoryStream::new(schema()),
            sink: Arc::new(MemorySink::keeping_all("q")),
            failpoints: Failpoints::default(),
            dir: tempfile::tempdir().unwrap(),
            mode,
            trigger: Trigger::Default,
            partitions: 1,
        }
    }

    /// With a trigger every second, as Spark's tests of processing time have it.
    fn every_second(self) -> Self {
        Self { trigger: Trigger::ProcessingTime(Duration::from_secs(1)), ..self }
    }

    fn session(&self) -> Result<Session> {
        let builder = Session::builder().clock(self.clock.clone()).failpoints(self.failpoints.clone());
        builder.target_partitions(self.partitions).build()
    }

    /// The query as after a restart.
    async fn open(&self, query: impl AsyncFnOnce(&Session, DataFrame) -> Result<DataFrame>) -> Result<Run> {
        let session = self.session()?;
        let table = StreamTable::new("s", Arc::new(self.stream.clone()));
        let frame = session.context().read_table(Arc::new(table))?;
        let plan = query(&session, frame).await?.into_unoptimized_plan();
        let spec = QuerySpec {
            name: Some("q".into()),
            column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
            plan,
            text: "a query".into(),
            sink: self.sink.clone(),
            output_mode: self.mode,
            trigger: self.trigger,
            checkpoint: Some(self.dir.path().to_path_buf()),
            conf: Options::new(),
        };
        let execution = MicroBatchExecution::open(&session.environment(), spec).await?;
        Ok(Run { sink: self.sink.clone(), seen: self.sink.batches().len(), _session: session, execution })
    }

    fn feed(&self, keys: &[&str]) {
        self.feed_rows(&keys.iter().map(|k| (*k, 0)).collect::<Vec<_>>());
    }

    /// Rows of keys and seconds; n is the second too.
    fn feed_rows(&self, rows: &[(&str, i64)]) {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1 * 1_000_000));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
            Arc::new(times.with_timezone("UTC")),
        ];
        self.stream.add_data(RecordBatch::try_new(schema(), columns).unwrap()).unwrap();
    }

    fn advance(&self, ms: u64) {
        let Clock::Manual(clock) = &self.clock else { return };
        clock.advance(Duration::from_millis(ms));
    }
}

/// A run of the query.
struct Run {
    sink: Arc<MemorySink>,
    seen: usize,
    _session: Session,
    execution: MicroBatchExecution,
}

impl Run {
    /// One batch, and its rows in their order.
    async fn batch(&mut self) -> Result<Vec<String>> {
        assert!(self.execution.run_batch().await?, "there is nothing to do");
        let batches = self.sink.batches();
        self.seen = batches.len();
        Ok(batches.last().map(|(_, rows)| rows.iter().flat_map(texts).collect()).unwrap_or_default())
    }

    /// All batches until none is due, and the rows that came.
    async fn drain(&mut self) -> Result<Vec<String>> {
        while self.execution.run_batch().await? {}
        let batches = self.sink.batches();
        let new = batches[self.seen..].iter().flat_map(|(_, rows)| rows.iter().flat_map(texts)).collect();
        self.seen = batches.len();
        Ok(new)
    }

    async fn is_idle(&mut self) -> bool {
        !self.execution.run_batch().await.unwrap()
    }

    /// Rows in state, updated, removed, dropped.
    fn state(&self) -> (u64, u64, u64, u64) {
        let o = self.operator();
        (o.num_rows_total, o.num_rows_updated, o.num_rows_removed, o.num_rows_dropped_by_watermark)
    }

    fn operator(&self) -> StateOperatorProgress {
        self.execution.last_progress().unwrap().state_operators[0].clone()
    }

    async fn close(self) {
        self.execution.close().await.unwrap();
    }
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let cells = |row| {
        let cell = |c: &ArrayRef| ArrayFormatter::try_new(c, &options).unwrap().value(row).to_string();
        batch.columns().iter().map(cell).collect::<Vec<_>>().join(" ")
    };
    (0..batch.num_rows()).map(cells).collect()
}

fn condition<T>(result: Result<T>) -> String {
    result.err().map(|e| e.condition().to_owned()).unwrap_or_default()
}
