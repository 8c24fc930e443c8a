//! Filters on the keys of a streaming aggregate go below it, as Spark's optimizer has them.
//!
//! It changes what a query means: groups that nobody asks for are not stored and not counted as late, and rows that a filter
//! on a plain key removes below the WATERMARK do not advance it. DataFusion does the same for its own aggregate only.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan};

use super::node::{StatefulKind, StatefulNode};
use super::window::{as_window, windows_of};

/// Moves the filters of an optimized plan that are right above an aggregate below it, where they can be.
///
/// # Errors
/// A filter whose type is not BOOLEAN.
pub fn push_key_filters(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    plan.transform_down(|node| {
        let LogicalPlan::Filter(filter) = &node else { return Ok(Transformed::no(node)) };
        match as_aggregate(&filter.input).map(|a| push(filter, a)) {
            Some(pushed) => Ok(pushed?.map_or_else(|| Transformed::no(node), Transformed::yes)),
            None => Ok(Transformed::no(node)),
        }
    })
}

fn as_aggregate(node: &LogicalPlan) -> Option<&StatefulNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

fn push(filter: &Filter, aggregate: &StatefulNode) -> DfResult<Option<LogicalPlan>> {
    let keys = pushable_keys(aggregate)?;
    let conjuncts = split_conjunction_owned(filter.predicate.clone());
    let (below, above): (Vec<_>, Vec<_>) =
        conjuncts.into_iter().partition(|e| is_over_keys(e, &keys, &aggregate.schema));
    let below = below.into_iter().map(|e| over_input(e, &keys, &aggregate.schema)).collect::<DfResult<Vec<_>>>()?;
    let Some(below) = conjunction(below) else { return Ok(None) };
    let input = LogicalPlan::Filter(Filter::try_new(below, Arc::new(aggregate.input.clone()))?);
    let aggregate = LogicalPlan::Extension(Extension { node: Arc::new(StatefulNode { input, ..aggregate.clone() }) });
    Ok(Some(match conjunction(above) {
        Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(aggregate))?),
        None => aggregate,
    }))
}

/// The key of each column of the result, where a row of the input tells its value.
fn pushable_keys(aggregate: &StatefulNode) -> DfResult<Vec<Option<Expr>>> {
    let (keys, session) = match aggregate.kind {
        StatefulKind::Aggregate { keys, .. } => (keys, None),
        StatefulKind::Session { keys, session, .. } => (keys, Some(session)),
        _ => return Ok(vec![]),
    };
    let (keys, aggregates) = aggregate.expressions.split_at(keys);
    if keys.iter().any(|k| matches!(k, Expr::GroupingSet(_))) || aggregates.iter().any(Expr::is_volatile) {
        return Ok(vec![]);
    }
    let key = |(i, key): (usize, &Expr)| {
        let key = key.clone().unalias_nested().data;
        // A row has several sliding windows, and its session is known when the rows are together.
        let is_of_row = Some(i) != session && !key.is_volatile() && !is_sliding(&key)?;
        Ok(is_of_row.then_some(key))
    };
    keys.iter().enumerate().map(key).collect()
}

fn is_sliding(key: &Expr) -> DfResult<bool> {
    let mut sliding = false;
    key.apply(|e| {
        if let Some(call) = as_window(e) {
            sliding |= !windows_of(call)?.is_tumbling();
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    Ok(sliding)
}

fn is_over_keys(e: &Expr, keys: &[Option<Expr>], schema: &DFSchema) -> bool {
    let columns = e.column_refs();
    let is_key = |i: usize| keys.get(i).is_some_and(Option::is_some);
    !columns.is_empty()
        && !e.is_volatile()
        && columns.into_iter().all(|c| schema.maybe_index_of_column(c).is_some_and(is_key))
}

fn over_input(e: Expr, keys: &[Option<Expr>], schema: &DFSchema) -> DfResult<Expr> {
    e.transform_up(|e| {
        let key = match &e {
            Expr::Column(c) => schema.maybe_index_of_column(c).and_then(|i| keys.get(i)?.clone()),
            _ => None,
        };
        Ok(key.map_or_else(|| Transformed::no(e), Transformed::yes))
    })
    .data()
}
