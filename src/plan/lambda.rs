//! Plans with lambdas.
//!
//! DataFusion numbers the parameters of a lambda behind the columns of its operator's input. Its projection push-down moves
//! expressions to inputs of other widths and gives columns their new numbers, but not parameters, which then mean a column.

use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};

const MOVES_EXPRESSIONS: &str = "ProjectionPushdown";

/// The state to plan `plan` with if it has lambdas: one that leaves their expressions where they are.
pub fn planning_state(plan: &LogicalPlan, session: &dyn Session) -> DfResult<Option<SessionState>> {
    let Some(state) = session.as_any().downcast_ref::<SessionState>() else { return Ok(None) };
    if !has_lambda(plan)? {
        return Ok(None);
    }
    let mut rules = state.physical_optimizers().to_vec();
    rules.retain(|rule| rule.name() != MOVES_EXPRESSIONS);
    let mut config = state.config().clone();
    // The catalog is shared with the session: a new default one would take the place of the session's own.
    config.options_mut().catalog.create_default_catalog_and_schema = false;
    let builder = SessionStateBuilder::new_from_existing(state.clone()).with_config(config);
    Ok(Some(builder.with_physical_optimizer_rules(rules).build()))
}

fn has_lambda(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|e| {
            found |= e.exists(|e| Ok(matches!(e, Expr::HigherOrderFunction(_))))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}
