//! The memory sink: keeps rows for tests and for looking at a query from SQL.
//!
//! It is not bounded: in append and update mode it holds every row it ever got, as Spark's does, so it is for tests and
//! small results. In complete mode it holds the last batch only, unless told to keep all.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::rows::{Prepared, not_open, not_prepared};
use super::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::Result;
use crate::output_mode::OutputMode;

/// Rows by batch. Share it (`Arc`) to read them while a query writes; it outlives the query and its restarts.
#[derive(Debug, Default)]
pub struct MemorySink {
    name: String,
    keep_all: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    context: Option<SinkContext>,
    prepared: Option<Prepared>,
    batches: Vec<MemoryBatch>,
    /// The last batch of each query that wrote here.
    committed: Vec<(Uuid, BatchIdentity)>,
}

#[derive(Debug, Clone)]
struct MemoryBatch {
    batch_id: u64,
    rows: Vec<RecordBatch>,
}

impl MemorySink {
    /// An empty sink; `name` is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The same, but in complete mode earlier batches are kept too: [`MemorySink::batches`] shows them.
    pub fn keeping_all(name: impl Into<String>) -> Self {
        Self { keep_all: true, ..Self::new(name) }
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every batch that was committed and is still held: its id and its rows.
    pub fn batches(&self) -> Vec<(u64, Vec<RecordBatch>)> {
        self.state().batches.iter().map(|b| (b.batch_id, b.rows.clone())).collect()
    }

    /// What the table shows: every row, or in complete mode the rows of the last batch.
    pub fn rows(&self) -> Vec<RecordBatch> {
        let state = self.state();
        let complete = state.context.as_ref().is_some_and(|c| c.output_mode == OutputMode::Complete);
        let first = if complete { state.batches.len().saturating_sub(1) } else { 0 };
        state.batches[first..].iter().flat_map(|b| b.rows.iter().cloned()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single assignment or push, so it is whole even if a holder panicked.
        self.state.lock()
    }
}

impl State {
    fn last(&self, query_id: Uuid) -> Option<BatchIdentity> {
        self.committed.iter().find(|(id, _)| *id == query_id).map(|(_, batch)| *batch)
    }

    fn set_last(&mut self, query_id: Uuid, batch: BatchIdentity) {
        self.committed.retain(|(id, _)| *id != query_id);
        self.committed.push((query_id, batch));
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn description(&self) -> String {
        "MemorySink".into()
    }

    fn table(self: Arc<Self>) -> Option<Arc<dyn TableProvider>> {
        Some(self)
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        let mut state = self.state();
        state.context = Some(context.clone());
        state.prepared = None;
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        let state = self.state();
        let context = state.context.as_ref().ok_or_else(|| not_open("the memory sink"))?;
        // A table that ended with an earlier process has lost what it had.
        Ok(state.last(context.query_id).map_or(LastCommitted::Unknown, LastCommitted::Batch))
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let schema =
            self.state().context.as_ref().map(|c| c.schema.clone()).ok_or_else(|| not_open("the memory sink"))?;
        let prepared = Prepared::collect(batch_id, &schema, rows.in_order()).await?;
        let num_rows = prepared.num_rows();
        self.state().prepared = Some(prepared);
        Ok(Some(num_rows))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let mut state = self.state();
        let (query_id, mode) =
            state.context.as_ref().map(|c| (c.query_id, c.output_mode)).ok_or_else(|| not_open("the memory sink"))?;
        let prepared = state.prepared.take().filter(|p| p.batch_id == batch.batch_id);
        let prepared = prepared.ok_or_else(|| not_prepared("the memory sink", batch.batch_id))?;
        if state.last(query_id).is_some_and(|last| last.batch_id >= batch.batch_id) {
            return Ok(());
        }
        if mode == OutputMode::Complete && !self.keep_all {
            state.batches.clear();
        }
        state.batches.push(MemoryBatch { batch_id: prepared.batch_id, rows: prepared.rows });
        state.set_last(query_id, batch);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        self.state().prepared = None;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await
    }
}

#[async_trait]
impl TableProvider for MemorySink {
    /// Empty until a query has opened the sink.
    fn schema(&self) -> SchemaRef {
        self.state().context.as_ref().map_or_else(|| Arc::new(Schema::empty()), |c| c.schema.clone())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(MemorySourceConfig::try_new_exec(&[self.rows()], TableProvider::schema(self), projection.cloned())?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::sink::testing::{context, identity, ints, run_batch, stream, values};

    #[tokio::test]
    async fn a_batch_it_has_is_ignored() {
        let sink = MemorySink::new("q");
        let context = context();
        sink.open(&context).await.unwrap();
        assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Unknown);
        run_batch(&sink, 0, vec![ints(&[1, 2])]).await;
        sink.open(&context).await.unwrap();
        run_batch(&sink, 0, vec![ints(&[1, 2])]).await;
        assert_eq!(values(&sink.rows()), [1, 2]);
        assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(0)));
    }

    #[tokio::test]
    async fn prepared_rows_are_not_visible() {
        let sink = MemorySink::new("q");
        sink.open(&context()).await.unwrap();
        sink.prepare(0, stream(vec![ints(&[1])])).await.unwrap();
        assert!(sink.rows().is_empty());
        sink.abort().await.unwrap();
        assert!(sink.commit(identity(0)).await.is_err());
    }

    #[tokio::test]
    async fn the_table_of_complete_mode_is_the_last_batch() {
        let sink = Arc::new(MemorySink::keeping_all("q"));
        sink.open(&SinkContext { output_mode: OutputMode::Complete, ..context() }).await.unwrap();
        run_batch(sink.as_ref(), 0, vec![ints(&[1])]).await;
        run_batch(sink.as_ref(), 1, vec![ints(&[1, 2])]).await;
        assert_eq!(sink.batches().len(), 2);
        let ctx = SessionContext::new();
        ctx.register_table("q", sink).unwrap();
        let rows = ctx.sql("SELECT * FROM q ORDER BY 1").await.unwrap().collect().await.unwrap();
        assert_eq!(values(&rows), [1, 2]);
    }
}
