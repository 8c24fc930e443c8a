//! The levels of a recursive query, which must come to an end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};

use crate::error::Error;

/// How often a recursive query may go on from its own rows, as in Spark.
const MAX_LEVELS: usize = 100;

/// Passes the rows of a recursive query, and counts its levels: the first rows begin anew, each execution of what follows is one more.
#[derive(Debug, Clone)]
pub struct LevelExec {
    input: Arc<dyn ExecutionPlan>,
    query: String,
    first: bool,
    levels: Arc<AtomicUsize>,
}

impl LevelExec {
    /// `levels` is shared by the first rows of a query and what follows from them.
    pub fn new(input: Arc<dyn ExecutionPlan>, query: String, first: bool, levels: Arc<AtomicUsize>) -> Self {
        Self { input, query, first, levels }
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
        if self.first {
            self.levels.store(0, Ordering::Relaxed);
        } else if self.levels.fetch_add(1, Ordering::Relaxed) >= MAX_LEVELS {
            let message = format!("the recursive query '{}' has more than {MAX_LEVELS} levels", self.query);
            return Err(Error::execution("RECURSION_LEVEL_LIMIT_EXCEEDED", message)
                .with_help("it must come to an end: a condition such as WHERE n < 100 behind UNION ALL")
                .into());
        }
        self.input.execute(partition, task)
    }
}
