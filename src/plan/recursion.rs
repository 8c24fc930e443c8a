//! The logical nodes that count the levels of a recursive query.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use datafusion::common::{DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;

use crate::operator::LevelExec;

/// The first rows of the recursive query `name` and what follows from them, with a limit of levels.
pub fn bounded(first: LogicalPlan, step: LogicalPlan, name: &str) -> (LogicalPlan, LogicalPlan) {
    let levels = Arc::new(AtomicUsize::new(0));
    let node = |input, first| {
        let node = LevelNode { input, first, name: name.to_owned(), levels: levels.clone() };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    };
    (node(first, true), node(step, false))
}

/// See the module.
#[derive(Debug, Clone)]
pub struct LevelNode {
    input: LogicalPlan,
    first: bool,
    name: String,
    levels: Arc<AtomicUsize>,
}

impl LevelNode {
    /// The operator over its planned input.
    pub fn operator(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(LevelExec::new(input, self.name.clone(), self.first, self.levels.clone()))
    }

    fn key(&self) -> (&LogicalPlan, bool, *const AtomicUsize) {
        (&self.input, self.first, Arc::as_ptr(&self.levels))
    }
}

impl PartialEq for LevelNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for LevelNode {}

impl PartialOrd for LevelNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for LevelNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for LevelNode {
    fn name(&self) -> &str {
        "Level"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Level: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a recursive query has an input".into()))?;
        Ok(Self { input, ..self.clone() })
    }
}
