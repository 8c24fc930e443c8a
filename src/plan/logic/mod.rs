//! AND, OR, NOT, IN and CASE as SQL means them, whatever the optimizer makes of them.
//!
//! - From left to right: a term that can fail is evaluated only for rows that the terms before it leave open. `protect` puts
//!   such terms into calls that the optimizer does not look into, `push_down` keeps them so while filters are moved and
//!   merged, `lower` makes a CASE of each at the end.
//! - Three values: `simplify` hides from DataFusion's simplifier what it takes NULL for false in; `lists` keeps it from taking a
//!   list for constant.

mod around;
mod common;
mod lists;
mod lower;
mod protect;
mod push_down;
mod simplify;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;

use around::{Around, Rule};
pub use lower::lower;

/// DataFusion's rules, with ours in the place of those that would change the meaning.
pub fn optimizer_rules() -> Vec<Rule> {
    let rules = Optimizer::new().rules.into_iter().filter_map(|rule| -> Option<Rule> {
        Some(match rule.name() {
            "simplify_expressions" => Arc::new(Around::new(rule, simplify::rewrite)),
            "common_sub_expression_eliminate" => Arc::new(Around::new(rule, common::rewrite)),
            "push_down_filter" => Arc::new(Around::new(rule, push_down::rewrite)),
            // They move struct accesses below a projection under the names of its columns, which
            // `SELECT upper(a) AS a, s.x` makes ambiguous.
            "extract_leaf_expressions" | "push_down_leaf_projections" => return None,
            _ => rule,
        })
    });
    let protect: Rule = Arc::new(protect::Protect);
    std::iter::once(protect).chain(rules).collect()
}

/// An expression outside a plan, simplified by `simplifier` without a change of its meaning, and ready to be evaluated.
pub fn simplified(e: Expr, schema: &DFSchema, simplifier: impl FnOnce(Expr) -> DfResult<Expr>) -> DfResult<Expr> {
    let e = simplify::hidden(protect::protect_expr(e, schema)?)?;
    lower::lower_expr(simplify::shown(simplifier(e)?)?, false, schema)
}

/// The columns that the expressions of a node are over.
fn columns_below(plan: &LogicalPlan) -> DfResult<DFSchema> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
        }
        plan => Ok(merge_schema(&plan.inputs())),
    }
}
