//! The levels of a recursive query, which must come to an end, and its rows of one level for several readers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties, ReplaceChildrenOptions, common,
};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::error::Error;

/// What the operators of one recursive query share.
#[derive(Debug, Default)]
pub struct Recursion {
    /// How often the query has gone on from its own rows.
    level: AtomicUsize,
    /// The same, over all executions of the plan.
    step: AtomicUsize,
    /// What gives the rows of a level, once for each.
    source: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    /// The rows of the step that was read last.
    rows: tokio::sync::Mutex<(usize, Vec<RecordBatch>)>,
}

impl Recursion {
    fn set_source(&self, plan: Arc<dyn ExecutionPlan>) {
        *self.source.lock() = Some(plan);
    }

    /// The rows of this level: read by whoever asks first, and kept for the others.
    async fn rows(self: Arc<Self>, task: Arc<TaskContext>) -> Result<Vec<RecordBatch>> {
        let mut rows = self.rows.lock().await;
        let step = self.step.load(Ordering::Relaxed);
        if rows.0 != step {
            let source = self.source.lock().clone();
            let source = source.ok_or_else(|| Error::internal("a recursive query has no rows to go on from"))?;
            *rows = (step, common::collect(source.execute(0, task)?).await?);
        }
        Ok(rows.1.clone())
    }
}

/// Passes the rows of a recursive query, and counts its levels: the first rows begin anew, each execution of what follows is one more.
#[derive(Debug, Clone)]
pub struct LevelExec {
    input: Arc<dyn ExecutionPlan>,
    query: String,
    first: bool,
    max: usize,
    recursion: Arc<Recursion>,
}

impl LevelExec {
    /// `recursion` is shared by the first rows of a query and what follows from them, `max` is how many levels there may be.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        query: String,
        first: bool,
        max: usize,
        recursion: Arc<Recursion>,
    ) -> Self {
        Self { input, query, first, max, recursion }
    }

    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Arc<dyn ExecutionPlan> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Arc::new(Self { input, ..self.clone() })
    }
}

impl DisplayAs for LevelExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LevelExec: {}", self.query)
    }
}

impl ExecutionPlan for LevelExec {
    fn name(&self) -> &'static str {
        "LevelExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    /// A level is executed once, not once for each of its parts.
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
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
        Ok(self.over(children))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.over(children))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let level = &self.recursion.level;
        if self.first {
            level.store(0, Ordering::Relaxed);
        } else if level.fetch_add(1, Ordering::Relaxed) >= self.max {
            let (query, max) = (&self.query, self.max);
            let message = format!("the recursive query '{query}' has more than {max} levels");
            let help = format!(
                "let it come to an end by a condition such as WHERE n < {max} behind UNION ALL, or allow more: \
                 WITH RECURSIVE {query} MAX RECURSION LEVEL {}",
                max.max(100).saturating_mul(2)
            );
            return Err(Error::execution("RECURSION_LEVEL_LIMIT_EXCEEDED", message).with_help(help).into());
        }
        self.recursion.step.fetch_add(1, Ordering::Relaxed);
        self.input.execute(partition, task)
    }
}

/// One of several readers of the rows of a level. The first has the source below it, which the others take it from, since
/// DataFusion lets a recursive query be read once.
#[derive(Debug)]
pub struct ReadExec {
    source: Option<Arc<dyn ExecutionPlan>>,
    recursion: Arc<Recursion>,
    properties: Arc<PlanProperties>,
}

impl ReadExec {
    /// The reader over the source, or another one, which gives rows of the schema.
    pub fn new(source: Option<Arc<dyn ExecutionPlan>>, schema: SchemaRef, recursion: Arc<Recursion>) -> Self {
        if let Some(source) = &source {
            recursion.set_source(Arc::clone(source));
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { source, recursion, properties: Arc::new(properties) }
    }

    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(children.into_iter().next(), self.schema(), Arc::clone(&self.recursion)))
    }
}

impl DisplayAs for ReadExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadExec")
    }
}

impl ExecutionPlan for ReadExec {
    fn name(&self) -> &'static str {
        "ReadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.source.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
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
        Ok(self.over(children))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.over(children))
    }

    fn execute(&self, _partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = Arc::clone(&self.recursion).rows(task);
        let batches = futures::stream::once(rows).map_ok(|rows| futures::stream::iter(rows.into_iter().map(Ok)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.try_flatten())))
    }
}
