//! The leaf of a streaming plan: the rows of one source in one batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::future::{BoxFuture, ready};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::error::Error;
use crate::source::{RangeScan, ScanRequest, StreamProvider, all_columns, pushdown};

/// Where the query puts a batch's rows and the leaf finds them. One for each scan of a stream in a query.
#[derive(Default)]
pub struct Slot {
    batch: Mutex<Batch>,
    rows: AtomicU64,
    /// Whether the query's conditions may leave out rows of a batch before they are counted.
    is_pruned: AtomicBool,
    /// What the query wants of the rows, of each physical plan that reads here.
    requests: Mutex<Vec<ScanRequest>>,
}

/// What a batch reads.
#[derive(Default)]
struct Batch {
    /// Nothing if there are no rows.
    scan: Option<Arc<dyn RangeScan>>,
    /// The plan of the scan, made when the first partition of the leaf is executed.
    plan: Option<Arc<dyn ExecutionPlan>>,
}

impl Slot {
    /// Puts the rows of the next batch.
    pub fn fill(&self, scan: Option<Arc<dyn RangeScan>>) {
        self.rows.store(0, Ordering::Relaxed);
        *self.batch.lock() = Batch { scan, plan: None };
    }

    /// Lets go of the rows of the batch, which are read; their number stays.
    pub fn release(&self) {
        *self.batch.lock() = Batch::default();
    }

    /// Rows read of this batch so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether [`Slot::rows`] depends on the offsets of the batch alone, and not on the query.
    pub fn is_whole(&self) -> bool {
        !self.is_pruned.load(Ordering::Relaxed)
    }

    /// What the query wants of the rows, if all of its plans want the same; in how many partitions is open.
    pub fn request(&self) -> Option<ScanRequest> {
        let requests = self.requests.lock();
        let first = requests.first()?;
        let is_same = |r: &ScanRequest| (&r.projection, &r.filters) == (&first.projection, &first.filters);
        requests.iter().all(is_same).then(|| first.clone())
    }

    /// The plan of the batch, if there are rows.
    fn plan(&self, request: &ScanRequest) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        self.is_pruned.fetch_or(!request.filters.is_empty(), Ordering::Relaxed);
        let mut batch = self.batch.lock();
        if batch.plan.is_none()
            && let Some(scan) = batch.scan.take()
        {
            batch.plan = Some(scan.plan(0..scan.pieces(), request)?);
        }
        Ok(batch.plan.clone())
    }
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
    /// What opens its sources.
    pub provider: Arc<dyn StreamProvider>,
    /// The columns and `_metadata`, if the query names it.
    pub with_hidden: Option<SchemaRef>,
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
        self.with_hidden.clone().unwrap_or_else(|| self.provider.schema())
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| pushdown(self.provider.prunes_by(filter))).collect())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::send_sync::scan_by!(Self::scan_slot);
}

impl SlotTable {
    fn scan_slot<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        let partitions = state.config().target_partitions();
        let projection = projection.cloned().or_else(|| all_columns(self.with_hidden.as_ref()));
        let request = ScanRequest { projection, filters: filters.to_vec(), partitions };
        let exec = MicroBatchExec::try_new(self.clone(), request);
        Box::pin(ready(exec.map(|exec| Arc::new(exec) as Arc<dyn ExecutionPlan>)))
    }
}

/// Gives the rows of its slot, in batches of the session's batch size at most.
#[derive(Debug, Clone)]
pub struct MicroBatchExec {
    table: SlotTable,
    request: ScanRequest,
    properties: Arc<PlanProperties>,
}

impl MicroBatchExec {
    fn try_new(table: SlotTable, request: ScanRequest) -> DfResult<Self> {
        let schema = match &request.projection {
            Some(columns) => Arc::new(table.schema().project(columns)?),
            None => table.schema(),
        };
        table.slot.requests.lock().push(request.clone());
        // Bounded, with unknown statistics: nothing about one batch may decide the plan of all.
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(request.partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { table, request, properties })
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
        let rows = match slot.plan(&self.request)? {
            Some(plan) => partitions_of(&plan, partition, self.request.partitions, &task)?,
            None => vec![],
        };
        let (size, expected, stream) = (task.session_config().batch_size(), self.schema(), self.table.name.clone());
        let rows = futures::stream::iter(rows.into_iter().map(Ok::<_, DataFusionError>))
            .try_flatten()
            .map(move |batch| {
                let batch = batch?;
                if batch.num_columns() != expected.fields().len() {
                    let message = format!("source of stream '{stream}' gave {} columns", batch.num_columns());
                    return Err(DataFusionError::from(Error::internal(message)));
                }
                slot.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                Ok(futures::stream::iter(pieces(batch, size).map(Ok::<_, DataFusionError>)))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows.boxed())))
    }
}

/// Partition `i` of `n` of a leaf: a contiguous range of the partitions of the batch's plan, so that reading the leaf's
/// partitions in order is reading the source in order.
fn partitions_of(
    plan: &Arc<dyn ExecutionPlan>,
    i: usize,
    n: usize,
    task: &Arc<TaskContext>,
) -> DfResult<Vec<SendableRecordBatchStream>> {
    let len = plan.output_partitioning().partition_count();
    (i * len / n..(i + 1) * len / n).map(|partition| plan.execute(partition, task.clone())).collect()
}

fn pieces(batch: RecordBatch, size: usize) -> impl Iterator<Item = RecordBatch> {
    let len = batch.num_rows();
    (0..len).step_by(size.max(1)).map(move |from| batch.slice(from, size.min(len - from)))
}
