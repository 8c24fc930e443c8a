//! What a subquery computes in the same way for every row: once, then from memory.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::rows_of;

/// The rows, with the memory that they take.
type Rows = (Vec<RecordBatch>, MemoryReservation);

/// Gives the rows of a part of a subquery's plan, which is executed at the first time only.
#[derive(Debug, Clone)]
pub struct KeptExec {
    part: Arc<dyn ExecutionPlan>,
    rows: Arc<Mutex<Option<Rows>>>,
    properties: Arc<PlanProperties>,
}

impl KeptExec {
    /// `part` must depend on no parameter.
    pub fn new(part: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(part.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { part, rows: Arc::default(), properties }
    }

    /// Those in a plan.
    pub fn all_in(plan: &Arc<dyn ExecutionPlan>) -> Vec<KeptExec> {
        match plan.downcast_ref::<KeptExec>() {
            Some(kept) => vec![kept.clone()],
            None => plan.children().into_iter().flat_map(KeptExec::all_in).collect(),
        }
    }

    /// Lets go of the rows: they are read anew at the next execution.
    pub fn clear(&self) {
        // Nothing executes the plan while it is reset.
        if let Ok(mut rows) = self.rows.try_lock() {
            *rows = None;
        }
    }
}

impl DisplayAs for KeptExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptExec")
    }
}

impl ExecutionPlan for KeptExec {
    fn name(&self) -> &'static str {
        "KeptExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (part, rows) = (self.part.clone(), self.rows.clone());
        let read = async move {
            let mut rows = rows.lock().await;
            let batches = match rows.as_ref() {
                Some((batches, _)) => batches.clone(),
                None => {
                    let batches: Vec<_> = rows_of(&reset_plan_states(part)?, &task)?.try_collect().await?;
                    let memory = MemoryConsumer::new("subquery").register(task.memory_pool());
                    memory.try_grow(batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
                    rows.insert((batches, memory)).0.clone()
                }
            };
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(read).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.part.schema(), stream)))
    }
}
