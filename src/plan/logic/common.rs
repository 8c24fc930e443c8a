//! DataFusion's search for what is computed twice, which must not find the guards that terms of a filter carry.

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::utils::split_conjunction_owned;

use super::around::Inner;
use super::protect::unguarded;
use crate::function::Ordered;

/// The rewriting around DataFusion's.
pub fn rewrite(mut plan: LogicalPlan, inner: &Inner<'_>) -> DfResult<Transformed<LogicalPlan>> {
    let mut changed = false;
    if let LogicalPlan::Filter(filter) = &mut plan {
        let conjuncts = split_conjunction_owned(filter.predicate.clone());
        if conjuncts.len() > 1 && conjuncts.iter().any(|e| Ordered::of(e).is_some()) {
            // Filters are not moved from here on: each term once, in one call.
            filter.predicate = Ordered::And.call(unguarded(conjuncts));
            changed = true;
        }
    }
    let mut result = inner(plan)?;
    result.transformed |= changed;
    Ok(result)
}
