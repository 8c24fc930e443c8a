//! Terms that can fail are put out of the optimizer's reach, each together with what must hold before it.

use std::collections::HashSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::columns_below;
use crate::function::{Ordered, can_fail};
use crate::plan::watermark::watermark_delay_ms;

/// Beyond so many conjuncts that can fail they are one call: each alone would hold those before it.
const ALONE: usize = 8;

/// The rule that comes first.
#[derive(Debug)]
pub struct Protect;

impl OptimizerRule for Protect {
    fn name(&self) -> &str {
        "protect_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        if matches!(&plan, LogicalPlan::Subquery(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::EmptyRelation(_)) {
            return Ok(Transformed::no(plan));
        }
        let schema = columns_below(&plan)?;
        let is_condition = matches!(&plan, LogicalPlan::Filter(_));
        if let LogicalPlan::Join(mut join) = plan {
            let Some(filter) = join.filter.take() else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
            let conjuncts = split_conjunction_owned(filter);
            let transformed = protected_conjuncts(conjuncts, &schema)?;
            join.filter = conjunction(transformed.data);
            return Ok(Transformed::new_transformed(LogicalPlan::Join(join), transformed.transformed));
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|e| {
            if is_condition {
                let conjuncts = protected_conjuncts(split_conjunction_owned(e), &schema)?;
                let predicate = |all| conjunction(all).unwrap_or_else(|| datafusion::prelude::lit(true));
                return Ok(conjuncts.update_data(predicate));
            }
            let name = names.save(&e);
            Ok(protected(e, &schema)?.update_data(|e| name.restore(e)))
        })
    }
}

/// The expression with all terms in it protected.
pub fn protect_expr(e: Expr, schema: &DFSchema) -> DfResult<Expr> {
    protected(e, schema).data()
}

fn protected(e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    if !can_fail(&e, schema) {
        return Ok(Transformed::no(e));
    }
    e.transform_down(|e| match e {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
            let mut terms = vec![];
            flatten(&e, op, &mut terms);
            if !terms.iter().skip(1).any(|t| can_fail(t, schema)) || !is_movable(&e) {
                return Ok(Transformed::no(e));
            }
            let kind = if op == Operator::And { Ordered::And } else { Ordered::Or };
            Ok(Transformed::yes(kind.call(terms.into_iter().cloned().collect())))
        }
        Expr::Case(Case { expr: None, when_then_expr, else_expr })
            if when_then_expr.iter().all(|(_, then)| is_boolean(then, schema))
                && else_expr.iter().all(|e| is_boolean(e, schema)) =>
        {
            let case = Expr::Case(Case { expr: None, when_then_expr, else_expr });
            if !can_fail(&case, schema) || !is_movable(&case) {
                return Ok(Transformed::no(case));
            }
            let Expr::Case(Case { when_then_expr, else_expr, .. }) = case else { return Ok(Transformed::no(case)) };
            let branches = when_then_expr.into_iter().flat_map(|(when, then)| [*when, *then]);
            Ok(Transformed::yes(Ordered::Case.call(branches.chain(else_expr.map(|e| *e)).collect())))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// The conjuncts of a condition, in their order: those that cannot fail as they are, each of the others with those before it.
pub fn protected_conjuncts(conjuncts: Vec<Expr>, schema: &DFSchema) -> DfResult<Transformed<Vec<Expr>>> {
    let fails = |e: &Expr| can_fail(e, schema) && is_movable(e) && !is_between_inputs(e);
    let given = conjuncts.clone();
    let conjuncts = unguarded(conjuncts);
    let failing = conjuncts.iter().skip(1).filter(|e| fails(e)).count();
    let mut all = vec![];
    // What stands before the next one.
    let mut guards: Vec<Expr> = vec![];
    for conjunct in conjuncts {
        let guarded = !guards.is_empty() && fails(&conjunct);
        let conjunct = protected(conjunct, schema)?.data;
        match guarded {
            true if failing <= ALONE => {
                let terms = guards.iter().cloned().chain([conjunct.clone()]).collect();
                all.push(Ordered::And.call(terms));
            }
            true => {}
            false => all.push(conjunct.clone()),
        }
        if is_movable(&conjunct) && !is_between_inputs(&conjunct) && !says_timed(&conjunct, schema) {
            guards.push(conjunct);
        }
    }
    if failing > ALONE {
        all.push(Ordered::And.call(guards));
    }
    let changed = all != given;
    Ok(Transformed::new_transformed(all, changed))
}

/// The conjuncts, with those that stand in calls in their place, each once.
pub fn unguarded(conjuncts: Vec<Expr>) -> Vec<Expr> {
    let (mut all, mut seen) = (vec![], HashSet::new());
    for conjunct in conjuncts {
        let terms = match Ordered::of(&conjunct) {
            Some((Ordered::And, terms)) => unguarded(terms.to_vec()),
            _ => vec![conjunct],
        };
        for term in terms {
            if term.is_volatile() || seen.insert(term.clone()) {
                all.push(term);
            }
        }
    }
    all
}

fn is_boolean(e: &Expr, schema: &DFSchema) -> bool {
    e.get_type(schema).is_ok_and(|t| t == DataType::Boolean)
}

/// The terms of a tree of one operator.
pub fn flatten<'e>(e: &'e Expr, op: Operator, terms: &mut Vec<&'e Expr>) {
    match e {
        Expr::BinaryExpr(b) if b.op == op => {
            flatten(&b.left, op, terms);
            flatten(&b.right, op, terms);
        }
        other => terms.push(other),
    }
}

/// Subqueries and what they name of the query around them are for DataFusion, which makes joins of them.
fn is_movable(e: &Expr) -> bool {
    let stays = |e: &Expr| {
        matches!(
            e,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    let mut found = false;
    let visit = e.apply(|e| {
        found |= stays(e);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visit.is_ok() && !found
}

/// Whether it only says that a row has an event time, which filters are made to say, and which would keep terms above the
/// watermark.
fn says_timed(e: &Expr, schema: &DFSchema) -> bool {
    let Expr::IsNotNull(of) = e else { return false };
    let columns = of.column_refs();
    let is_time = |c: &&Column| schema.field_from_column(c).is_ok_and(|f| watermark_delay_ms(f).is_some());
    !columns.is_empty() && columns.iter().all(is_time)
}

/// Whether it equates sides that name different relations: the key of a join.
fn is_between_inputs(e: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right }) = e else {
        return false;
    };
    let (left, right) = (left.column_refs(), right.column_refs());
    let differs = |l: &&Column| right.iter().all(|r| l.relation.is_some() && r.relation != l.relation);
    !left.is_empty() && !right.is_empty() && left.iter().all(differs)
}
