//! The one `ExecutionPlan` of all stateful operators.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;

use super::{BatchContext, InputWatermark};
use crate::state::OperatorState;

/// A stateful operator: its state, and what it does with the rows of a batch.
pub trait StatefulOperator: OperatorState {
    /// Columns of the result.
    fn schema(&self) -> SchemaRef;

    /// Stages the batch and gives its rows. `inputs` has the partitions of every child, each to be read once and in
    /// order.
    fn execute(
        self: Arc<Self>,
        inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream>;

    /// Keys, aggregates and mode, for plans.
    fn describe(&self) -> String;

    /// Whether a watermark that moves gives it something to do, even without new rows.
    fn wants_batch(&self) -> bool {
        false
    }
}

/// Runs a [`StatefulOperator`] over the partitions of its children; the result has one partition.
#[derive(Clone)]
pub struct StatefulExec {
    id: u32,
    children: Vec<Arc<dyn ExecutionPlan>>,
    operator: Arc<dyn StatefulOperator>,
    watermark: Arc<InputWatermark>,
    properties: Arc<PlanProperties>,
}

impl StatefulExec {
    /// `id` is the operator's number in the query, 0 nearest to the sink.
    pub fn new(id: u32, children: Vec<Arc<dyn ExecutionPlan>>, operator: Arc<dyn StatefulOperator>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(operator.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { id, children, operator, watermark: Arc::new(InputWatermark::Global), properties }
    }

    /// With an input watermark that is not simply the query's.
    pub fn with_watermark(self, watermark: InputWatermark) -> Self {
        Self { watermark: Arc::new(watermark), ..self }
    }
}

impl fmt::Debug for StatefulExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatefulExec").field("id", &self.id).field("operator", &self.operator).finish_non_exhaustive()
    }
}

impl DisplayAs for StatefulExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StatefulExec: {} [{}], {}", self.operator.operator_name(), self.id, self.operator.describe())
    }
}

impl ExecutionPlan for StatefulExec {
    fn name(&self) -> &'static str {
        "StatefulExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.children.iter().collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution; self.children.len()])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children.len()]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { children, ..(*self).clone() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { children, ..(*self).clone() }))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal(format!("a stateful operator has no partition {partition}")));
        }
        let batch = Arc::new(BatchContext::of(&task)?.seen_through(&self.watermark));
        let partitions = |child: &Arc<dyn ExecutionPlan>| {
            (0..child.properties().partitioning.partition_count()).map(|p| child.execute(p, task.clone())).collect()
        };
        let inputs = self.children.iter().map(partitions).collect::<Result<Vec<_>>>()?;
        self.operator.clone().execute(inputs, batch, task)
    }
}

/// All batches of these partitions, in partition order. One partition is read inline; several in tasks of their own.
pub async fn collect_ordered(partitions: Vec<SendableRecordBatchStream>) -> Result<Vec<Vec<RecordBatch>>> {
    let mut out = vec![vec![]; partitions.len()];
    if partitions.len() == 1 {
        for partition in partitions {
            out[0] = partition.try_collect().await?;
        }
        return Ok(out);
    }
    let mut tasks = JoinSet::new();
    for (i, partition) in partitions.into_iter().enumerate() {
        tasks.spawn(async move { Ok::<_, DataFusionError>((i, partition.try_collect::<Vec<_>>().await?)) });
    }
    while let Some(done) = tasks.join_next().await {
        let (i, batches) = done.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
        out[i] = batches;
    }
    Ok(out)
}
