//! Drawing random values and numbers of rows.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::function::random::{Draw, Generator};

/// A draw, with the array that is shuffled.
pub type PlannedDraw = (Draw, Option<Arc<dyn PhysicalExpr>>);

/// Adds a column for each draw. It pulls the partitions of its input one after the other: so the values depend neither on
/// how many there are nor on which is quicker.
#[derive(Debug)]
pub struct RandomExec {
    input: Arc<dyn ExecutionPlan>,
    draws: Vec<PlannedDraw>,
    properties: Arc<PlanProperties>,
}

impl RandomExec {
    /// `schema` is that of the input with a column for each draw.
    pub fn new(input: Arc<dyn ExecutionPlan>, draws: Vec<PlannedDraw>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, draws, properties: Arc::new(properties) }
    }

    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Arc<dyn ExecutionPlan> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Arc::new(Self { input, draws: self.draws.clone(), properties: self.properties.clone() })
    }
}

impl DisplayAs for RandomExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let draws: Vec<_> = self.draws.iter().map(|(draw, _)| format!("{:?}", draw.kind)).collect();
        write!(f, "RandomExec: {}", draws.join(", "))
    }
}

impl ExecutionPlan for RandomExec {
    fn name(&self) -> &'static str {
        "RandomExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for of in self.draws.iter().filter_map(|(_, of)| of.as_ref()) {
            if f(of)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
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
        let partitions = self.input.output_partitioning().partition_count();
        let inputs = (0..partitions).map(|p| self.input.execute(p, task.clone())).collect::<Result<Vec<_>>>()?;
        let schema = self.schema();
        let draws = self.draws.clone();
        let mut generators: Vec<Generator> = draws.iter().map(|(draw, _)| Generator::new(draw)).collect();
        let of_rows = schema.clone();
        let rows = futures::stream::iter(inputs).flatten().map(move |batch| {
            let batch = batch?;
            let mut columns = batch.columns().to_vec();
            for ((_, of), generator) in draws.iter().zip(&mut generators) {
                let of = of.as_ref().map(|e| e.evaluate(&batch)?.into_array(batch.num_rows())).transpose()?;
                columns.push(generator.next(batch.num_rows(), of.as_ref())?);
            }
            Ok(RecordBatch::try_new(of_rows.clone(), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
