//! The logical nodes of recursive queries: they count its levels, and let it be read more than once.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;

use crate::operator::{LevelExec, ReadExec, Recursion};

/// The first rows of the recursive query `name` and what follows from them by reading the table `work`, with a limit of levels.
///
/// # Errors
/// The plan cannot be walked.
pub fn bounded(
    first: LogicalPlan,
    step: LogicalPlan,
    (name, work): (&str, &str),
    max: usize,
) -> DfResult<(LogicalPlan, LogicalPlan)> {
    let recursion = Arc::new(Recursion::default());
    let step = read_once(step, work, &recursion)?;
    let node = |input, first| {
        extension(RecursionNode {
            part: if first { Part::First } else { Part::Step },
            schema: LogicalPlan::schema(&input).clone(),
            input: Some(input),
            name: name.to_owned(),
            max,
            recursion: recursion.clone(),
        })
    };
    Ok((node(first, true), node(step, false)))
}

/// The plan of a query of WITH for one more place that reads it: each execution counts for itself.
///
/// # Errors
/// The plan cannot be walked.
pub fn fresh(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut renewed: Vec<(Arc<Recursion>, Arc<Recursion>)> = vec![];
    plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(old) = extension.node.as_any().downcast_ref::<RecursionNode>() else {
            return Ok(Transformed::no(node));
        };
        let known = renewed.iter().find(|(from, _)| Arc::ptr_eq(from, &old.recursion)).map(|(_, to)| Arc::clone(to));
        let recursion = known.unwrap_or_else(|| {
            renewed.push((Arc::clone(&old.recursion), Arc::default()));
            Arc::clone(&renewed[renewed.len() - 1].1)
        });
        Ok(Transformed::yes(self::extension(RecursionNode { recursion, ..old.clone() })))
    })
    .data()
}

/// Where a step reads its query more than once, all places take the rows from one of them.
fn read_once(step: LogicalPlan, work: &str, recursion: &Arc<Recursion>) -> DfResult<LogicalPlan> {
    let reads = |node: &LogicalPlan| matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == work);
    let mut count = 0;
    step.apply_with_subqueries(|node| {
        count += usize::from(reads(node));
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    if count < 2 {
        return Ok(step);
    }
    let mut is_first = true;
    step.transform_up_with_subqueries(|node| {
        if !reads(&node) {
            return Ok(Transformed::no(node));
        }
        let schema = node.schema().clone();
        let input = std::mem::take(&mut is_first).then_some(node);
        let (name, recursion) = (work.to_owned(), recursion.clone());
        Ok(Transformed::yes(extension(RecursionNode { part: Part::Read, schema, input, name, max: 0, recursion })))
    })
    .data()
}

fn extension(node: RecursionNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// Which part of a recursive query a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    /// The first rows.
    First,
    /// What follows from the rows of a level.
    Step,
    /// One of several readers of a level; the first has an input.
    Read,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RecursionNode {
    part: Part,
    input: Option<LogicalPlan>,
    schema: DFSchemaRef,
    name: String,
    max: usize,
    recursion: Arc<Recursion>,
}

impl RecursionNode {
    /// The operator over its planned input.
    ///
    /// # Errors
    /// First rows and steps have an input.
    pub fn operator(&self, input: Option<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let recursion = self.recursion.clone();
        if self.part == Part::Read {
            return Ok(Arc::new(ReadExec::new(input, self.schema.inner().clone(), recursion)));
        }
        let input = input.ok_or_else(|| DataFusionError::Internal("a recursive query has an input".into()))?;
        Ok(Arc::new(LevelExec::new(input, self.name.clone(), self.part == Part::First, self.max, recursion)))
    }

    fn key(&self) -> (Part, &Option<LogicalPlan>, &DFSchemaRef, *const Recursion) {
        (self.part, &self.input, &self.schema, Arc::as_ptr(&self.recursion))
    }
}

impl PartialEq for RecursionNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for RecursionNode {}

impl PartialOrd for RecursionNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for RecursionNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for RecursionNode {
    fn name(&self) -> &str {
        "Level"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.input.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Level: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop();
        let schema = match &input {
            Some(input) => input.schema().clone(),
            None => self.schema.clone(),
        };
        Ok(Self { input, schema, ..self.clone() })
    }
}
