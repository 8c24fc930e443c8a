//! The logical node of `[flat]MapGroupsWithState` and `transformWithState`: calls a function of the user for each key.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result as DfResult, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::watermark::event_time_columns;
use crate::operator::state_function::{FunctionContext, FunctionKind, FunctionTemplate};

/// A function in a plan; equal only to itself.
#[derive(Debug, Clone)]
pub struct Function(pub FunctionTemplate);

impl Function {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0.make).cast::<()>() as usize
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateFunctionNode {
    /// What gives the rows.
    pub input: LogicalPlan,
    /// The key, over the columns of the input.
    pub keys: Vec<Expr>,
    /// What is called.
    pub function: Function,
    /// Columns of its rows.
    pub schema: DFSchemaRef,
}

impl StateFunctionNode {
    /// As a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// The function that this node calls.
pub fn as_state_function(node: &LogicalPlan) -> Option<&StateFunctionNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

/// What a function is told about the plan that it is in.
pub fn function_context(keys: &[Expr], input: &LogicalPlan, schema: &DFSchemaRef) -> FunctionContext {
    let name = |key: &Expr| key.qualified_name().1;
    FunctionContext {
        key_names: keys.iter().map(name).collect(),
        schema: schema.inner().clone(),
        output_event_time: event_time_columns(schema.fields()).first().copied(),
        has_watermark: !event_time_columns(input.schema().fields()).is_empty(),
    }
}

impl PartialOrd for StateFunctionNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for StateFunctionNode {
    fn name(&self) -> &str {
        "StateFunction"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        let name = match self.function.0.kind {
            FunctionKind::MapGroups => "MapGroupsWithState",
            FunctionKind::FlatMapGroups(_) => "FlatMapGroupsWithState",
            FunctionKind::Transform => "TransformWithState",
        };
        write!(f, "{name}: keys=[{}], time={}", keys.join(", "), self.function.0.time)
    }

    fn with_exprs_and_inputs(&self, keys: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input, keys, function: self.function.clone(), schema: self.schema.clone() }),
            None => plan_err!("a function with state has one input"),
        }
    }
}
