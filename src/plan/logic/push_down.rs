//! DataFusion's push-down of filters, with the order of terms kept where a filter meets another, or a join's condition.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::prelude::lit;

use super::protect::protected_conjuncts;
use crate::function::can_fail;

/// The rule.
#[derive(Debug)]
pub struct PushDown {
    inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl PushDown {
    /// In front of DataFusion's.
    pub fn new(inner: Arc<dyn OptimizerRule + Send + Sync>) -> Self {
        Self { inner }
    }
}

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return self.inner.rewrite(plan, config) };
        let filter = ordered(filter)?;
        let changed = filter.transformed;
        let mut result = self.inner.rewrite(LogicalPlan::Filter(filter.data), config)?;
        result.transformed |= changed;
        Ok(result)
    }
}

/// The filter with those below it, whose terms come first, and each of its terms that can fail behind those before it.
fn ordered(Filter { predicate, input, .. }: Filter) -> DfResult<Transformed<Filter>> {
    let mut conjuncts = split_conjunction_owned(predicate);
    let mut input = input;
    let mut changed = false;
    loop {
        let fails = conjuncts.iter().any(|e| can_fail(e, input.schema()));
        let (below, rest) = match Arc::unwrap_or_clone(input) {
            LogicalPlan::Filter(Filter { predicate, input, .. }) => (Some(predicate), input),
            // A row must have met the condition before it is there to be filtered.
            LogicalPlan::Join(mut join) if fails && join.join_type == JoinType::Inner && join.filter.is_some() => {
                (join.filter.take(), Arc::new(LogicalPlan::Join(join)))
            }
            other => (None, Arc::new(other)),
        };
        input = rest;
        let Some(below) = below else { break };
        changed = true;
        let mut all: Vec<Expr> = split_conjunction_owned(below);
        for conjunct in conjuncts {
            if !all.contains(&conjunct) {
                all.push(conjunct);
            }
        }
        conjuncts = all;
    }
    let conjuncts = protected_conjuncts(conjuncts, input.schema())?;
    changed |= conjuncts.transformed;
    let predicate = conjunction(conjuncts.data).unwrap_or_else(|| lit(true));
    Ok(Transformed::new_transformed(Filter::try_new(predicate, input)?, changed))
}
