//! DataFusion's push-down of filters, with the order of terms kept where a filter meets another, or a join's condition.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion::prelude::lit;

use super::around::Inner;
use super::protect::protected_conjuncts;
use crate::function::{Ordered, can_fail};

/// The rewriting around DataFusion's.
pub fn rewrite(plan: LogicalPlan, inner: &Inner<'_>) -> DfResult<Transformed<LogicalPlan>> {
    let (plan, changed) = match plan {
        LogicalPlan::Filter(filter) => {
            let filter = ordered(filter)?;
            (LogicalPlan::Filter(filter.data), filter.transformed)
        }
        other => (other, false),
    };
    let written = written_of_join(&plan);
    let mut result = inner(plan)?;
    if let Some(written) = written {
        result.data = without_inferred(result.data, &written)?;
    }
    result.transformed |= changed;
    Ok(result)
}

/// The terms of the condition of a join, of a filter above it, and of filters right below.
fn written_of_join(plan: &LogicalPlan) -> Option<HashSet<Expr>> {
    let terms = |e: &Expr| split_conjunction_owned(e.clone());
    let (above, join) = match plan {
        LogicalPlan::Join(join) => (vec![], join),
        LogicalPlan::Filter(filter) => match filter.input.as_ref() {
            LogicalPlan::Join(join) => (terms(&filter.predicate), join),
            _ => return None,
        },
        _ => return None,
    };
    let below = [&join.left, &join.right].into_iter().filter_map(|input| match input.as_ref() {
        LogicalPlan::Filter(filter) => Some(&filter.predicate),
        _ => None,
    });
    let all: HashSet<Expr> = below.chain(&join.filter).flat_map(terms).chain(above).collect();
    // Nothing is inferred that can fail but from what can fail.
    all.iter().any(|e| can_fail(e, &join.schema) || is_ordered(e)).then_some(all)
}

fn is_ordered(e: &Expr) -> bool {
    e.exists(|e| Ok(Ordered::of(e).is_some())).unwrap_or(true)
}

/// The join without the filters that were made of others for the other side, if they can fail: that side has other rows.
fn without_inferred(plan: LogicalPlan, written: &HashSet<Expr>) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(mut filter) => {
            filter.input = Arc::new(without_inferred(Arc::unwrap_or_clone(filter.input), written)?);
            Ok(LogicalPlan::Filter(filter))
        }
        LogicalPlan::Join(mut join) => {
            join.left = without_unwritten(join.left, written)?;
            join.right = without_unwritten(join.right, written)?;
            Ok(LogicalPlan::Join(join))
        }
        other => Ok(other),
    }
}

fn without_unwritten(input: Arc<LogicalPlan>, written: &HashSet<Expr>) -> DfResult<Arc<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = input.as_ref() else { return Ok(input) };
    let (all, schema) = (split_conjunction_owned(filter.predicate.clone()), filter.input.schema());
    let count = all.len();
    let kept: Vec<Expr> =
        all.into_iter().filter(|e| written.contains(e) || !(can_fail(e, schema) || is_ordered(e))).collect();
    if kept.len() == count {
        return Ok(input);
    }
    Ok(match conjunction(kept) {
        Some(predicate) => Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, filter.input.clone())?)),
        None => filter.input.clone(),
    })
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
