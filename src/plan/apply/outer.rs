//! What a subquery names of the query around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};

use super::node::{Argument, as_apply};

/// Placeholders of all plans of the process differ, since plans are put into each other.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The subquery with placeholders for the outer references that are columns of `outer`; others are of a query further out.
pub fn bound(subquery: LogicalPlan, outer: &DFSchema) -> DfResult<(LogicalPlan, Vec<Argument>)> {
    let mut arguments: Vec<Argument> = vec![];
    let plan = map_expressions(subquery, &mut |e| {
        let Expr::OuterReferenceColumn(field, column) = &e else { return Ok(Transformed::no(e)) };
        if !outer.has_column(column) {
            return Ok(Transformed::no(e));
        }
        let value = Expr::Column(column.clone());
        let known = arguments.iter().find(|a| a.value == value).map(|a| a.placeholder.clone());
        let id = known.unwrap_or_else(|| {
            let placeholder = format!("$outer{}", NEXT.fetch_add(1, Ordering::Relaxed));
            arguments.push(Argument { placeholder: placeholder.clone(), value });
            placeholder
        });
        let field = Arc::new(field.as_ref().clone().with_nullable(true));
        Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))))
    })?;
    Ok((plan, arguments))
}

type Rewrite<'f> = dyn FnMut(Expr) -> DfResult<Transformed<Expr>> + 'f;

/// Rewrites every expression of a plan, and of all subqueries in it.
pub fn map_expressions(plan: LogicalPlan, f: &mut Rewrite<'_>) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        let node = match as_apply(&node) {
            Some(apply) => {
                let subquery = map_expressions(apply.subquery.clone(), f)?;
                apply.with_subquery(subquery).into_plan()
            }
            None => node,
        };
        // Columns keep the names that the nodes above know them by.
        let names = NamePreserver::new(&node);
        let mapped = node.map_expressions(|e| {
            let name = names.save(&e);
            Ok(Transformed::yes(name.restore(e.transform_down(|e| rewrite(e, f)).data()?)))
        })?;
        mapped.data.recompute_schema().map(Transformed::yes)
    })
    .data()
}

/// One expression; a subquery no longer names what has been replaced.
fn rewrite(e: Expr, f: &mut Rewrite<'_>) -> DfResult<Transformed<Expr>> {
    let mut rewrite_all = |outer: Vec<Expr>| -> DfResult<Vec<Expr>> {
        let kept = outer.into_iter().map(|e| f(e).data()).collect::<DfResult<Vec<_>>>()?;
        Ok(kept.into_iter().filter(|e| matches!(e, Expr::OuterReferenceColumn(..))).collect())
    };
    Ok(match e {
        Expr::ScalarSubquery(mut q) => {
            q.outer_ref_columns = rewrite_all(q.outer_ref_columns)?;
            Transformed::yes(Expr::ScalarSubquery(q))
        }
        Expr::Exists(mut q) => {
            q.subquery.outer_ref_columns = rewrite_all(q.subquery.outer_ref_columns)?;
            Transformed::yes(Expr::Exists(q))
        }
        Expr::InSubquery(mut q) => {
            q.subquery.outer_ref_columns = rewrite_all(q.subquery.outer_ref_columns)?;
            Transformed::yes(Expr::InSubquery(q))
        }
        other => f(other)?,
    })
}

/// Rewrites the subqueries of the nodes of a plan, which its traversal does not reach.
pub fn map_subqueries(
    plan: LogicalPlan,
    f: &mut dyn FnMut(LogicalPlan) -> DfResult<LogicalPlan>,
) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match as_apply(&node) {
        Some(apply) => {
            let subquery = f(apply.subquery.clone())?;
            let node = Arc::new(apply.with_subquery(subquery));
            Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
        }
        None => Ok(Transformed::no(node)),
    })
    .data()
}
