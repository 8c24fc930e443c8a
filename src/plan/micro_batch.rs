//! The leaf of a streaming plan: the rows of one source in one batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::error::Error;

/// Where the query puts a batch's rows and the leaf finds them. One for each scan of a stream in a query.
#[derive(Default)]
pub struct Slot {
    partitions: Mutex<Vec<SendableRecordBatchStream>>,
    rows: AtomicU64,
}

impl Slot {
    /// Puts the rows of the next batch; those of the last one that were not read are dropped.
    pub fn fill(&self, partitions: Vec<SendableRecordBatchStream>) {
        self.rows.store(0, Ordering::Relaxed);
        *self.partitions.lock() = partitions;
    }

    /// Rows read of this batch so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Partition `i` of `n` of the batch: a contiguous range of what the source gave, so that reading the partitions in
    /// order is reading the source in order.
    fn take(&self, i: usize, n: usize) -> Vec<SendableRecordBatchStream> {
        let mut partitions = self.partitions.lock();
        let len = partitions.len();
        let range = i * len / n..(i + 1) * len / n;
        partitions[range].iter_mut().map(|p| std::mem::replace(p, empty(p.schema()))).collect()
    }
}

fn empty(schema: SchemaRef) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::empty()))
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

/// The table a bound scan reads: a slot in place of the stream.
#[derive(Debug, Clone)]
pub struct SlotTable {
    /// The stream's name, for plans.
    pub name: String,
    /// Columns of the stream.
    pub schema: SchemaRef,
    /// Where the rows are.
    pub slot: Arc<Slot>,
}

/// Whether the node is the scan of a bound stream.
pub fn is_bound(node: &LogicalPlan) -> bool {
    let LogicalPlan::TableScan(scan) = node else { return false };
    source_as_provider(&scan.source).is_ok_and(|p| p.is::<SlotTable>())
}

/// The names of the streams that a bound plan reads.
pub fn bound_streams(plan: &LogicalPlan) -> Vec<String> {
    let mut names = vec![];
    if let LogicalPlan::TableScan(scan) = plan
        && let Ok(provider) = source_as_provider(&scan.source)
        && let Some(slot) = provider.downcast_ref::<SlotTable>()
    {
        names.push(slot.name.clone());
    }
    names.extend(plan.inputs().into_iter().flat_map(bound_streams));
    names.sort();
    names.dedup();
    names
}

#[async_trait]
impl TableProvider for SlotTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions();
        Ok(Arc::new(MicroBatchExec::try_new(self.clone(), projection.cloned(), partitions)?))
    }
}

/// Gives the rows of its slot, in batches of the session's batch size at most.
#[derive(Debug, Clone)]
pub struct MicroBatchExec {
    table: SlotTable,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl MicroBatchExec {
    fn try_new(table: SlotTable, projection: Option<Vec<usize>>, partitions: usize) -> DfResult<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(table.schema.project(columns)?),
            None => table.schema.clone(),
        };
        // Bounded, with unknown statistics: nothing about one batch may decide the plan of all.
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { table, projection, properties })
    }
}

impl DisplayAs for MicroBatchExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let columns: Vec<_> = self.schema().fields().iter().map(|f| f.name().clone()).collect();
        write!(f, "MicroBatchExec: stream={}, columns=[{}]", self.table.name, columns.join(", "))
    }
}

impl ExecutionPlan for MicroBatchExec {
    fn name(&self) -> &'static str {
        "MicroBatchExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let slot = self.table.slot.clone();
        let source = slot.take(partition, self.properties.partitioning.partition_count());
        let projection = self.projection.clone();
        let size = task.session_config().batch_size();
        let (expected, stream) = (self.table.schema.clone(), self.table.name.clone());
        let rows = futures::stream::iter(source.into_iter().map(Ok::<_, DataFusionError>))
            .try_flatten()
            .map(move |batch| {
                let batch = batch?;
                if batch.num_columns() != expected.fields().len() {
                    let message = format!("source of stream '{stream}' gave {} columns", batch.num_columns());
                    return Err(DataFusionError::from(Error::internal(message)));
                }
                slot.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                let batch = match &projection {
                    Some(columns) => batch.project(columns)?,
                    None => batch,
                };
                Ok(futures::stream::iter(pieces(batch, size).map(Ok::<_, DataFusionError>)))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows.boxed())))
    }
}

fn pieces(batch: RecordBatch, size: usize) -> impl Iterator<Item = RecordBatch> {
    let len = batch.num_rows();
    (0..len).step_by(size.max(1)).map(move |from| batch.slice(from, size.min(len - from)))
}
