//! Subqueries as values, and LATERAL ones: computed once for each combination of the outer values that they name.
//!
//! ```text
//! rows of the outer query ─► parameters (x) ─► known? ─no─► plan of the subquery, executed with x ─► answer
//! (1, a)                     1                 no                                                   10
//! (2, b)                     2                 no                                                   NULL
//! (1, c)                     1                 yes                                                  10
//! ```
//!
//! It treats every row on its own and keeps nothing from one batch to the next, so that it is right over a stream.

mod answer;
mod kept;
mod parameter;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt;
use tokio::sync::Mutex;

pub use answer::Question;
use answer::{Answer, Answers, keys};
pub use kept::KeptExec;
pub use parameter::{Parameters, parameter};

/// A subquery that is computed for the rows of an input.
#[derive(Debug)]
pub struct Subquery {
    /// What is asked of it.
    pub question: Question,
    /// Its plan, which reads `parameters`.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The values with which the plan is executed.
    pub parameters: Arc<Parameters>,
    /// What gives them, over the input.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// What is looked for among its rows, over the input.
    pub values: Vec<Arc<dyn PhysicalExpr>>,
}

/// The answers so far, with the memory that they take.
#[derive(Debug, Default)]
struct Known {
    answers: HashMap<Box<[u8]>, Arc<Answer>>,
    memory: Option<MemoryReservation>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct ApplyExec {
    input: Arc<dyn ExecutionPlan>,
    subquery: Arc<Subquery>,
    /// Held while the subquery's plan runs: its parameters are those of one row.
    known: Arc<Mutex<Known>>,
    properties: Arc<PlanProperties>,
}

impl ApplyExec {
    /// `schema` has the columns of the input, and then what the subquery gives.
    pub fn new(input: Arc<dyn ExecutionPlan>, subquery: Arc<Subquery>, schema: SchemaRef) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.properties().partitioning.clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { input, subquery, known: Arc::default(), properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(input, self.subquery.clone(), self.schema()))
    }
}

impl DisplayAs for ApplyExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.subquery.question {
            Question::Scalar => "scalar subquery",
            Question::Exists => "EXISTS",
            Question::In { negated: false } => "IN",
            Question::In { negated: true } => "NOT IN",
            Question::Rows { .. } => "LATERAL",
        };
        let by: Vec<_> = self.subquery.arguments.iter().map(ToString::to_string).collect();
        write!(f, "ApplyExec: {what}, by=[{}]", by.join(", "))
    }
}

impl ExecutionPlan for ApplyExec {
    fn name(&self) -> &'static str {
        "ApplyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
        Ok(self.over(children.into_iter().next().unwrap_or_else(|| self.input.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.over(children.into_iter().next().unwrap_or_else(|| self.input.clone())))
    }

    /// Tables may have changed since the last batch.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        KeptExec::all_in(&self.subquery.plan).iter().for_each(KeptExec::clear);
        Ok(self.over(self.input.clone()))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (subquery, known, schema) = (self.subquery.clone(), self.known.clone(), self.schema());
        let (out, rows) = (schema.clone(), self.input.execute(partition, task.clone())?);
        let answered = rows.then(move |batch| {
            let (subquery, known, task, schema) = (subquery.clone(), known.clone(), task.clone(), out.clone());
            async move { subquery.answered(&batch?, &known, &task, &schema).await }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, answered)))
    }
}

impl Subquery {
    /// The rows of a batch with what the subquery gives for them.
    async fn answered(
        &self,
        batch: &RecordBatch,
        known: &Mutex<Known>,
        task: &Arc<TaskContext>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let evaluate = |exprs: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<ArrayRef>> {
            exprs.iter().map(|e| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
        };
        let (arguments, values) = (evaluate(&self.arguments)?, evaluate(&self.values)?);
        let mut all: Vec<Arc<Answer>> = vec![];
        let mut numbers: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut of = Vec::with_capacity(batch.num_rows());
        let mut known = known.lock().await;
        for (row, key) in keys(&arguments, batch.num_rows())?.into_iter().enumerate() {
            if let Some(number) = numbers.get(&key) {
                of.push(*number);
                continue;
            }
            let answer = match known.answers.get(&key) {
                Some(answer) => answer.clone(),
                None => self.answer(&arguments, row, task).await?,
            };
            known.keep(&key, &answer, task)?;
            let number = all.len() as u32;
            all.push(answer);
            numbers.insert(key, number);
            of.push(number);
        }
        Answers { all: &all, of: &of }.beside(&self.question, batch, &values, schema)
    }

    /// Executes the subquery for one row.
    async fn answer(&self, arguments: &[ArrayRef], row: usize, task: &Arc<TaskContext>) -> Result<Arc<Answer>> {
        let values = arguments.iter().map(|a| ScalarValue::try_from_array(a, row));
        self.parameters.set(values.collect::<Result<_>>()?);
        let rows = rows_of(&reset_plan_states(self.plan.clone())?, task)?;
        Answer::read(&self.question, rows).await.map(Arc::new)
    }
}

impl Known {
    fn keep(&mut self, key: &[u8], answer: &Arc<Answer>, task: &TaskContext) -> Result<()> {
        if self.answers.contains_key(key) {
            return Ok(());
        }
        let memory = self.memory.get_or_insert_with(|| MemoryConsumer::new("subquery").register(task.memory_pool()));
        memory.try_grow(answer.size() + key.len())?;
        self.answers.insert(key.into(), answer.clone());
        Ok(())
    }
}

/// The rows of all partitions of a plan.
fn rows_of(plan: &Arc<dyn ExecutionPlan>, task: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
    match plan.properties().partitioning.partition_count() {
        1 => plan.execute(0, task.clone()),
        _ => CoalescePartitionsExec::new(plan.clone()).execute(0, task.clone()),
    }
}
