//! Whether a source keeps the contract of [`Source`]: a suite for whoever writes one.
//!
//! ```
//! use std::sync::Arc;
//! use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch};
//! use tidemill::testing::source::{TestedSource, conforms};
//! use tidemill::{MemoryStream, Result, StreamProvider, async_trait};
//!
//! struct Numbers(MemoryStream, i64);
//!
//! fn rows(from: i64) -> RecordBatch {
//!     let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 3));
//!     RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap()
//! }
//!
//! #[async_trait]
//! impl TestedSource for Numbers {
//!     async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
//!         Ok(Arc::new(self.0.clone()))
//!     }
//!
//!     async fn add_rows(&mut self) -> Result<()> {
//!         self.1 += 3;
//!         self.0.add_data(rows(self.1)).map(drop)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! conforms(|| Box::new(Numbers(MemoryStream::new(rows(0).schema()), 0))).await
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{SessionContext, ident, lit};
use futures::TryStreamExt;
use tempfile::TempDir;

use super::clauses::{broken, ensure};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::source::{RangeScan, ReadLimit, ScanRequest, Source, SourceContext, StreamProvider};
use crate::time::Clock;

/// A source that hangs for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A source under test, with the world outside that it reads.
#[async_trait]
pub trait TestedSource: Send {
    /// The stream over the world outside, which has no rows at first. Called again, it is the same stream in another process.
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>>;

    /// Adds rows to the world outside, at least two, and others each time. The source may take a moment to see them.
    async fn add_rows(&mut self) -> Result<()>;

    /// The clock of the query.
    fn clock(&self) -> Clock {
        Clock::System
    }
}

/// Runs every clause, each with a source that `make` makes anew.
///
/// # Errors
/// `CONTRACT_BROKEN`, with all clauses that do not hold; errors of the source.
pub async fn conforms(make: impl Fn() -> Box<dyn TestedSource>) -> Result<()> {
    let found = [
        ("offsets grow with the rows, and only with them", offsets_grow(make()).await),
        ("a range gives the same rows again", ranges_repeat(make()).await),
        ("ranges that follow each other give all rows in order", ranges_tile(make()).await),
        ("pieces and partitions keep the order", pieces_tile(make()).await),
        ("a projection gives the columns that it names", projections_fit(make()).await),
        ("a filter leaves out only what does not match", filters_are_harmless(make()).await),
        ("rows have the columns and types of the schema", types_are_ours(make()).await),
        ("rows that a commit has not passed stay", commit_keeps_the_rest(make()).await),
        ("what can be replayed is there in another process", replays(make()).await),
        ("available now ends with what was there", available_now_ends(make()).await),
    ];
    broken(found.into_iter().filter_map(|(clause, result)| result.err().map(|e| (clause, e))).collect())
}

/// An open source in a directory of its own.
struct Opened {
    tested: Box<dyn TestedSource>,
    source: Arc<dyn Source>,
    dir: TempDir,
}

impl Opened {
    async fn new(mut tested: Box<dyn TestedSource>) -> Result<Self> {
        let dir = tempfile::tempdir().map_err(|e| Error::internal(format!("a temporary directory: {e}")))?;
        let source = open(tested.as_mut(), &dir).await?;
        Ok(Self { tested, source, dir })
    }

    /// Adds rows and gives the offset at their end.
    async fn grow(&mut self, start: &Offset) -> Result<Offset> {
        self.tested.add_rows().await?;
        self.end_after(start).await
    }

    /// The end of the rows after `start`, once there are some.
    async fn end_after(&self, start: &Offset) -> Result<Offset> {
        let wait = async {
            loop {
                match self.source.latest_offset(start, ReadLimit::All).await? {
                    Some(end) => return Ok(end),
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| Err(Error::internal(format!("no offset after {start}, though rows were added"))))
    }

    async fn rows(&self, start: &Offset, end: &Offset) -> Result<RecordBatch> {
        read(self.source.scan(start, end).await?.as_ref(), &ScanRequest::default()).await
    }
}

async fn open(tested: &mut dyn TestedSource, dir: &TempDir) -> Result<Arc<dyn Source>> {
    let context = SourceContext {
        query: "conformance".to_owned(),
        dir: dir.path().join("source"),
        clock: tested.clock(),
        wake: Arc::default(),
        session: SessionContext::new(),
    };
    tested.stream().await?.open(context).await
}

async fn read(scan: &dyn RangeScan, request: &ScanRequest) -> Result<RecordBatch> {
    run(scan.plan(0..scan.pieces(), request)?).await
}

/// The partitions of a plan, one after the other.
async fn run(plan: Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> Result<RecordBatch> {
    let task = SessionContext::new().task_ctx();
    let mut all = vec![];
    for partition in 0..plan.output_partitioning().partition_count() {
        all.extend(plan.execute(partition, task.clone())?.try_collect::<Vec<_>>().await?);
    }
    let rows = all.iter().map(RecordBatch::num_rows).sum();
    if plan.schema().fields().is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(plan.schema(), vec![], &options)?);
    }
    Ok(concat_batches(&plan.schema(), &all)?)
}

/// Without rows there is no offset; with rows there is one; with no more there is no other.
pub async fn offsets_grow(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let latest = tokio::time::timeout(PATIENCE, opened.source.latest_offset(&start, ReadLimit::All)).await;
    let latest = latest.map_err(|_| Error::internal("latest_offset waits for rows"))??;
    ensure(latest.is_none(), || format!("{latest:?} is said to be an end, but there is no row"))?;
    let first = opened.grow(&start).await?;
    ensure(first != start, || format!("with rows the end is still {start}"))?;
    opened.rows(&start, &first).await?;
    let second = opened.grow(&first).await?;
    ensure(second != first, || format!("with more rows the end is still {first}"))?;
    opened.source.stop().await
}

/// Scanned twice, and executed twice, a range gives the same.
pub async fn ranges_repeat(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let end = opened.grow(&start).await?;
    let scan = opened.source.scan(&start, &end).await?;
    let once = read(scan.as_ref(), &ScanRequest::default()).await?;
    ensure(once.num_rows() > 0, || "a range from one offset to another has no row".to_owned())?;
    let again = read(scan.as_ref(), &ScanRequest::default()).await?;
    same("executed again", &once, &again)?;
    opened.tested.add_rows().await?;
    same("scanned again", &once, &opened.rows(&start, &end).await?)?;
    let empty = opened.source.latest_offset(&end, ReadLimit::All).await?;
    ensure(empty.as_ref() != Some(&end), || "an end is said to follow itself".to_owned())
}

/// The rows of two ranges are those of both together.
pub async fn ranges_tile(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let middle = opened.grow(&start).await?;
    let first = opened.rows(&start, &middle).await?;
    let end = opened.grow(&middle).await?;
    let second = opened.rows(&middle, &end).await?;
    let both = concat_batches(&first.schema(), [&first, &second])?;
    same("read at once", &both, &opened.rows(&start, &end).await?)
}

/// However pieces are cut and partitions counted, the rows are the same in the same order.
pub async fn pieces_tile(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let middle = opened.grow(&start).await?;
    let first = opened.rows(&start, &middle).await?;
    let end = opened.grow(&middle).await?;
    let scan = opened.source.scan(&start, &end).await?;
    let whole = read(scan.as_ref(), &ScanRequest::default()).await?;
    ensure(whole.num_rows() > first.num_rows(), || "two ranges have no more rows than one".to_owned())?;
    for partitions in 1..5 {
        let request = ScanRequest { partitions, ..ScanRequest::default() };
        same(&format!("read in {partitions} partitions"), &whole, &read(scan.as_ref(), &request).await?)?;
    }
    let pieces = scan.pieces();
    for cut in 0..=pieces {
        let one = run(scan.plan(0..cut, &ScanRequest::default())?).await?;
        let other = run(scan.plan(cut..pieces, &ScanRequest::default())?).await?;
        let both = concat_batches(&whole.schema(), [&one, &other])?;
        same(&format!("cut at piece {cut} of {pieces}"), &whole, &both)?;
    }
    Ok(())
}

/// A column alone, all of them backwards, and none.
pub async fn projections_fit(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let end = opened.grow(&start).await?;
    let scan = opened.source.scan(&start, &end).await?;
    let whole = read(scan.as_ref(), &ScanRequest::default()).await?;
    let all = 0..whole.num_columns();
    let singles = all.clone().map(|i| vec![i]);
    for columns in singles.chain([all.rev().collect(), vec![]]) {
        let request = ScanRequest { projection: Some(columns.clone()), ..ScanRequest::default() };
        let got = read(scan.as_ref(), &request).await?;
        same(&format!("columns {columns:?}"), &whole.project(&columns)?, &got)?;
    }
    Ok(())
}

/// With a filter rows may be missing that do not match it, and no others.
pub async fn filters_are_harmless(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let end = opened.grow(&start).await?;
    let scan = opened.source.scan(&start, &end).await?;
    let whole = read(scan.as_ref(), &ScanRequest::default()).await?;
    for (i, field) in whole.schema().fields().iter().enumerate() {
        if field.data_type().is_nested() || whole.num_rows() == 0 {
            continue;
        }
        let value = ScalarValue::try_from_array(whole.column(i), whole.num_rows() - 1)?;
        let filters: [Expr; 2] = [ident(field.name()).is_not_null(), ident(field.name()).eq(lit(value.clone()))];
        for filter in filters {
            let request = ScanRequest { filters: vec![filter.clone()], ..ScanRequest::default() };
            let got = read(scan.as_ref(), &request).await?;
            let what = format!("those that match {filter}");
            same(&what, &matching(&whole, i, &filter, &value)?, &matching(&got, i, &filter, &value)?)?;
        }
    }
    Ok(())
}

fn matching(rows: &RecordBatch, column: usize, filter: &Expr, value: &ScalarValue) -> Result<RecordBatch> {
    let column = rows.column(column);
    let keep = match filter {
        Expr::IsNotNull(_) => arrow::compute::is_not_null(column)?,
        _ => arrow::compute::kernels::cmp::eq(column, &value.to_scalar()?)?,
    };
    Ok(filter_record_batch(rows, &keep)?)
}

/// Batches have the schema of the source, which is that of the stream, and types that sources may have.
pub async fn types_are_ours(mut tested: Box<dyn TestedSource>) -> Result<()> {
    let schema = tested.stream().await?.schema();
    let mut opened = Opened::new(tested).await?;
    ensure(opened.source.schema().fields() == schema.fields(), || {
        "source and stream differ in their columns".to_owned()
    })?;
    for field in schema.fields() {
        ensure(field.is_nullable(), || format!("column '{}' cannot be null", field.name()))?;
        let is_ours = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => false,
            DataType::Timestamp(unit, zone) => {
                *unit == arrow::datatypes::TimeUnit::Microsecond && zone.as_deref().is_none_or(|z| z == "UTC")
            }
            _ => true,
        };
        ensure(is_ours, || format!("column '{}' has the type {}", field.name(), field.data_type()))?;
    }
    let start = opened.source.initial_offset().await?;
    let end = opened.grow(&start).await?;
    let rows = opened.rows(&start, &end).await?;
    let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    ensure(types(&rows.schema()) == types(&schema), || format!("rows have other types: {}", rows.schema()))
}

/// After a commit the rows behind it are there, and the source goes on.
pub async fn commit_keeps_the_rest(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let middle = opened.grow(&start).await?;
    opened.rows(&start, &middle).await?;
    let end = opened.grow(&middle).await?;
    let before = opened.rows(&middle, &end).await?;
    opened.source.commit(&middle).await?;
    same("after a commit of what is before", &before, &opened.rows(&middle, &end).await?)?;
    opened.source.commit(&end).await?;
    opened.grow(&end).await.map(drop)
}

/// A range that is said to be replayable is the same after a crash.
pub async fn replays(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    let end = opened.grow(&start).await?;
    let before = opened.rows(&start, &end).await?;
    let Opened { mut tested, source, dir } = opened;
    drop(source);
    let source = open(tested.as_mut(), &dir).await?;
    if !source.is_replayable(&start, &end) {
        return Ok(());
    }
    let after = read(source.scan(&start, &end).await?.as_ref(), &ScanRequest::default()).await?;
    same("in another process", &before, &after)
}

/// What comes after `prepare_available_now` is not given.
pub async fn available_now_ends(tested: Box<dyn TestedSource>) -> Result<()> {
    let mut opened = Opened::new(tested).await?;
    let start = opened.source.initial_offset().await?;
    opened.tested.add_rows().await?;
    // What takes a moment to arrive has arrived once there is an end.
    let mut end = opened.end_after(&start).await?;
    opened.source.prepare_available_now().await?;
    while let Some(next) = opened.source.latest_offset(&end, ReadLimit::Configured).await? {
        end = next;
    }
    opened.tested.add_rows().await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let later = opened.source.latest_offset(&end, ReadLimit::Configured).await?;
    ensure(later.is_none(), || format!("{later:?} is given, which came later"))
}

fn same(what: &str, expected: &RecordBatch, got: &RecordBatch) -> Result<()> {
    let columns = |rows: &RecordBatch| rows.columns().iter().map(|c| c.to_data()).collect::<Vec<_>>();
    ensure(expected.num_rows() == got.num_rows() && columns(expected) == columns(got), || {
        format!("{what}: {} rows, and other ones or in another order: {}", expected.num_rows(), got.num_rows())
    })
}
