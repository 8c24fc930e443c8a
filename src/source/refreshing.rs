//! The option `refresh` of a table: a running flow reads it anew when the time has passed.
//!
//! A flow is planned once, and a scan holds what the table was then: the list of its files, the rows in memory. With
//! `refresh` the scan is planned again, at the first trigger after the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use crate::trigger::TriggerInstant;

/// A table that running flows read anew.
#[derive(Debug)]
pub struct RefreshingTable {
    table: Arc<dyn TableProvider>,
    every: Duration,
}

impl RefreshingTable {
    /// Reads `table` anew at the first trigger after `every`.
    pub fn new(table: Arc<dyn TableProvider>, every: Duration) -> Self {
        Self { table, every }
    }
}

impl RefreshingTable {
    fn scan_now<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let plan = self.table.scan(state, projection, filters, limit).await?;
            let Some(session) = state.as_any().downcast_ref::<SessionState>() else { return Ok(plan) };
            let schema = plan.schema();
            let scan = Scan {
                table: self.table.clone(),
                every_ms: i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX),
                planned: Instant::now(),
                session: session.clone(),
                projection: projection.cloned(),
                filters: filters.to_vec(),
                limit,
                schema: schema.clone(),
                read: Arc::new(Mutex::new(Read { plan, at: None })),
            };
            Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, limit)?))
        })
    }
}

#[async_trait]
impl TableProvider for RefreshingTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    crate::send_sync::scan_by!(Self::scan_now);

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.insert_into(state, input, insert).await
    }
}

/// A scan of the table, all of it in order, as one partition.
#[derive(Clone)]
struct Scan {
    table: Arc<dyn TableProvider>,
    every_ms: i64,
    planned: Instant,
    session: SessionState,
    projection: Option<Vec<usize>>,
    filters: Vec<Expr>,
    limit: Option<usize>,
    schema: SchemaRef,
    read: Arc<Mutex<Read>>,
}

/// The plan that reads the table as it was at a trigger, `None` before the first.
struct Read {
    plan: Arc<dyn ExecutionPlan>,
    at: Option<TriggerInstant>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("table", &self.table).field("every_ms", &self.every_ms).finish_non_exhaustive()
    }
}

impl Scan {
    /// The plan for a batch. Every scan of one batch sees the same.
    async fn plan(&self, batch: Option<TriggerInstant>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut read = self.read.lock().await;
        match (batch, read.at) {
            // A batch query is planned each time.
            (None, _) => {}
            (Some(now), at) => {
                let is_old = match at {
                    // The first batch may come long after the query was planned.
                    None => self.planned.elapsed().as_millis() >= self.every_ms.unsigned_abs().into(),
                    Some(at) => {
                        now.batch_id != at.batch_id && now.timestamp_ms.saturating_sub(at.timestamp_ms) >= self.every_ms
                    }
                };
                if is_old {
                    let (session, projection) = (&self.session, self.projection.as_ref());
                    read.plan = self.table.scan(session, projection, &self.filters, self.limit).await?;
                }
                if is_old || at.is_none() {
                    read.at = batch;
                }
            }
        }
        reset_plan_states(read.plan.clone())
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = task.session_config().get_extension::<TriggerInstant>().map(|batch| *batch);
        let scan = self.clone();
        let rows = stream::once(async move {
            let plan = scan.plan(batch).await?;
            let partitions = 0..plan.output_partitioning().partition_count();
            let of = move |i| futures::future::ready(plan.execute(i, task.clone()));
            Ok::<_, DataFusionError>(stream::iter(partitions).then(of).try_flatten())
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.try_flatten()))
    }
}
