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

/// What keeps the state of an operator from growing for ever, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateGrowth {
    /// Nothing does: every new key stays.
    Unbounded,
    /// Nothing does: in words, what stays.
    UnboundedRows(String),
    /// It is of one size.
    Fixed,
    /// The watermark: in words, what goes when.
    Watermark(String),
}

impl fmt::Display for StateGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded => f.write_str("unbounded: nothing removes a key, so it grows with every new one"),
            Self::UnboundedRows(what) => write!(f, "unbounded: {what}"),
            Self::Fixed => f.write_str("of one size"),
            Self::Watermark(what) => write!(f, "bounded by the watermark: {what}"),
        }
    }
}

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

    /// What keeps its state from growing for ever.
    fn bound(&self) -> StateGrowth {
        StateGrowth::Unbounded
    }

    /// The earliest time, in microseconds, at which the watermark closes something that is in state.
    fn first_close_us(&self) -> Option<i64> {
        None
    }

    /// Whether a watermark that moves gives it something to do, even without new rows.
    fn wants_batch(&self) -> bool {
        false
    }

    /// Whether the passing of processing time gives it something to do, even without new rows.
    fn uses_processing_time(&self) -> bool {
        false
    }

    /// Whether it gives no more rows, whatever comes.
    fn is_done(&self) -> bool {
        false
    }

    /// The first time of a batch that would give such an operator something to do, in milliseconds.
    fn next_due_ms(&self) -> Option<i64> {
        None
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

/// The batches of these partitions, in order.
pub async fn collect_batches(partitions: Vec<SendableRecordBatchStream>) -> Result<Vec<RecordBatch>> {
    let read = partitions.into_iter().map(|p| p.try_collect::<Vec<_>>());
    Ok(collect_ordered(read).await?.into_iter().flatten().collect())
}

/// What reading each of these partitions gives, in partition order. One partition is read inline; several in tasks of
/// their own.
pub async fn collect_ordered<T: Send + 'static>(
    partitions: impl IntoIterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let mut partitions: Vec<_> = partitions.into_iter().collect();
    if partitions.len() == 1 {
        return futures::future::try_join_all(partitions.pop()).await;
    }
    let mut out: Vec<Option<T>> = partitions.iter().map(|_| None).collect();
    let mut tasks = JoinSet::new();
    for (i, partition) in partitions.into_iter().enumerate() {
        tasks.spawn(async move { Ok::<_, DataFusionError>((i, partition.await?)) });
    }
    while let Some(done) = tasks.join_next().await {
        let (i, partition) = done.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
        out[i] = Some(partition);
    }
    Ok(out.into_iter().flatten().collect())
}
