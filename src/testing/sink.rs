//! Whether a sink keeps the contract of [`Sink`]: a suite for whoever writes one.
//!
//! ```
//! use std::sync::Arc;
//! use tidemill::arrow::array::RecordBatch;
//! use tidemill::testing::sink::{TestedSink, conforms};
//! use tidemill::{MemorySink, Result, Session, Sink, async_trait};
//!
//! /// A sink in memory: its rows are seen as a table.
//! struct Table(Arc<MemorySink>);
//!
//! #[async_trait]
//! impl TestedSink for Table {
//!     async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
//!         Ok(self.0.clone())
//!     }
//!
//!     async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
//!         Ok(Some(self.0.rows()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! conforms(|| Box::new(Table(Arc::new(MemorySink::new("t"))))).await
//! # }
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use uuid::Uuid;

use super::clauses::{broken, ensure};
use crate::error::Result;
use crate::failpoint::Failpoints;
use crate::output_mode::OutputMode;
use crate::sink::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::time::Clock;
use crate::time_zone::Tz;
use crate::trigger::Delivery;

/// A sink under test, with the place that it writes to.
#[async_trait]
pub trait TestedSink: Send {
    /// The sink over the place, which has no rows at first. Called again, it is the same sink in another process.
    async fn sink(&mut self) -> Result<Arc<dyn Sink>>;

    /// The rows that a reader of the place sees now, of one column `n BIGINT`; `None` if there is no such reader.
    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>>;
}

/// Runs every clause, each with a sink that `make` makes anew.
///
/// # Errors
/// `CONTRACT_BROKEN`, with all clauses that do not hold; errors of the sink.
pub async fn conforms(make: impl Fn() -> Box<dyn TestedSink>) -> Result<()> {
    let found = [
        ("rows are visible when they are committed, and not before", visible_at_commit(make()).await),
        ("a batch that is aborted leaves nothing", abort_leaves_nothing(make()).await),
        ("rows that fail leave nothing", failed_rows_leave_nothing(make()).await),
        ("a crash between prepare and commit leaves nothing", crash_leaves_nothing(make()).await),
        ("the last batch is remembered, or said to be unknown", last_is_remembered(make()).await),
        ("every partition arrives, and is counted", partitions_arrive(make()).await),
        ("a batch may be empty", empty_batches_count(make()).await),
        ("check has no effect", check_has_no_effect(make()).await),
    ];
    broken(found.into_iter().filter_map(|(clause, result)| result.err().map(|e| (clause, e))).collect())
}

/// An open sink.
struct Opened {
    tested: Box<dyn TestedSink>,
    sink: Arc<dyn Sink>,
}

impl Opened {
    async fn new(mut tested: Box<dyn TestedSink>) -> Result<Self> {
        let sink = tested.sink().await?;
        sink.open(&context()).await?;
        sink.last_committed().await?;
        Ok(Self { tested, sink })
    }

    /// The process dies, and the next one opens the sink.
    async fn crash(self) -> Result<Self> {
        let Self { tested, sink } = self;
        drop(sink);
        Self::new(tested).await
    }

    async fn write(&self, batch_id: u64, rows: &[&[i64]]) -> Result<Option<u64>> {
        let counted = self.sink.prepare(batch_id, batch(rows)).await?;
        self.sink.commit(identity(batch_id)).await?;
        Ok(counted)
    }

    async fn sees(&mut self, when: &str, expected: &[i64]) -> Result<()> {
        let Some(rows) = self.tested.visible().await? else { return Ok(()) };
        let mut seen: Vec<i64> =
            rows.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        seen.sort_unstable();
        ensure(seen == expected, || format!("{when}: a reader sees {seen:?} in place of {expected:?}"))
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn context() -> SinkContext {
    SinkContext {
        query_id: Uuid::from_u128(0x5e1f),
        query_name: Some("conformance".to_owned()),
        is_durable: true,
        delivery: Delivery::default(),
        output_mode: OutputMode::Append,
        schema: schema(),
        clock: Clock::default(),
        time_zone: Tz::UTC,
        failpoints: Failpoints::default(),
    }
}

fn identity(batch_id: u64) -> BatchIdentity {
    BatchIdentity { batch_id, record_hash: 1000 + batch_id as u32 }
}

/// A batch of these partitions.
fn batch(partitions: &[&[i64]]) -> BatchRows {
    BatchRows::new(schema(), partitions.iter().map(|numbers| stream(numbers, None)).collect())
}

/// Rows, and perhaps an error behind them.
fn stream(numbers: &[i64], error: Option<DataFusionError>) -> SendableRecordBatchStream {
    let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let rows = RecordBatch::try_new(schema(), vec![column]).map_err(DataFusionError::from);
    let items = std::iter::once(rows).chain(error.map(Err));
    Box::pin(RecordBatchStreamAdapter::new(schema(), futures::stream::iter(items.collect::<Vec<_>>())))
}

/// See [`Sink`], clause 2.
pub async fn visible_at_commit(tested: Box<dyn TestedSink>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    opened.sink.prepare(0, batch(&[&[1, 2]])).await?;
    opened.sees("after prepare", &[]).await?;
    opened.sink.commit(identity(0)).await?;
    opened.sees("after commit", &[1, 2]).await?;
    opened.write(1, &[&[3]]).await?;
    opened.sees("after a second batch", &[1, 2, 3]).await?;
    opened.sink.close().await?;
    opened.sees("after close", &[1, 2, 3]).await
}

/// What was prepared is gone, and the sink goes on.
pub async fn abort_leaves_nothing(tested: Box<dyn TestedSink>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    opened.sink.abort().await?;
    opened.sink.prepare(0, batch(&[&[1]])).await?;
    opened.sink.abort().await?;
    opened.sees("after abort", &[]).await?;
    opened.write(0, &[&[2]]).await?;
    opened.sees("after the batch in its place", &[2]).await
}

/// The stream of a batch ends in an error: `prepare` gives it, and no row of the batch is ever seen.
pub async fn failed_rows_leave_nothing(tested: Box<dyn TestedSink>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let error = DataFusionError::Execution("the rows have failed".to_owned());
    let rows = BatchRows::new(schema(), vec![stream(&[1], None), stream(&[2], Some(error))]);
    let prepared = opened.sink.prepare(0, rows).await;
    ensure(prepared.is_err(), || "prepare does not give the error of the rows".to_owned())?;
    opened.sink.abort().await?;
    opened.write(0, &[&[3]]).await?;
    opened.sees("after a batch that failed and another", &[3]).await
}

/// See [`Sink`], clause 4.
pub async fn crash_leaves_nothing(tested: Box<dyn TestedSink>) -> Result<()> {
    let opened = Opened::new(tested).await?;
    opened.write(0, &[&[1]]).await?;
    opened.sink.prepare(1, batch(&[&[2, 3]])).await?;
    let mut opened = opened.crash().await?;
    opened.sees("after a crash", &[1]).await?;
    opened.write(1, &[&[2, 3]]).await?;
    opened.sees("after the batch was run again", &[1, 2, 3]).await
}

/// A sink that has a batch says which one, or that it does not know.
pub async fn last_is_remembered(tested: Box<dyn TestedSink>) -> Result<()> {
    let opened = Opened::new(tested).await?;
    opened.write(0, &[&[1]]).await?;
    opened.write(1, &[&[2]]).await?;
    let opened = opened.crash().await?;
    let last = opened.sink.last_committed().await?;
    let is_right = matches!(last, LastCommitted::Unknown) || last == LastCommitted::Batch(identity(1));
    ensure(is_right, || format!("the last batch is said to be {last:?}"))
}

/// Rows of several partitions are all there.
pub async fn partitions_arrive(tested: Box<dyn TestedSink>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let counted = opened.write(0, &[&[1, 2], &[], &[3], &[4, 5, 6]]).await?;
    ensure(counted.is_none_or(|n| n == 6), || format!("6 rows are counted as {counted:?}"))?;
    opened.sees("after four partitions", &[1, 2, 3, 4, 5, 6]).await
}

/// A batch without rows is a batch.
pub async fn empty_batches_count(tested: Box<dyn TestedSink>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    opened.write(0, &[&[]]).await?;
    opened.sees("after an empty batch", &[]).await?;
    opened.write(1, &[&[1]]).await?;
    opened.write(2, &[&[]]).await?;
    opened.sees("after another", &[1]).await?;
    let last = opened.crash().await?.sink.last_committed().await?;
    let is_right = matches!(last, LastCommitted::Unknown) || last == LastCommitted::Batch(identity(2));
    ensure(is_right, || format!("after an empty batch the last one is said to be {last:?}"))
}

/// `check` is asked while nothing may happen.
pub async fn check_has_no_effect(mut tested: Box<dyn TestedSink>) -> Result<()> {
    let sink = tested.sink().await?;
    for mode in [OutputMode::Append, OutputMode::Update, OutputMode::Complete] {
        // Whether the sink takes the mode is its own affair.
        let _ = sink.check(mode, &schema());
    }
    let mut opened = Opened { tested, sink };
    opened.sees("after check", &[]).await
}
