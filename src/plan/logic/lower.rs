//! The end: what has an order becomes a CASE, which is evaluated branch by branch.

use std::collections::HashSet;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, LogicalPlan, Operator, lit};

use super::columns_below;
use super::lists;
use super::protect::flatten;
use crate::function::{Ordered, can_fail};

/// The plan as it is to be executed; after the optimizer.
pub fn lower(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let has_order =
            |e: &Expr| e.exists(|e| Ok(Ordered::of(e).is_some() || is_logical(e) || matches!(e, Expr::InList(_))));
        let mut found = false;
        node.apply_expressions(|e| {
            found |= has_order(e)?;
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if !found {
            return Ok(Transformed::no(node));
        }
        let schema = columns_below(&node)?;
        let is_condition = matches!(&node, LogicalPlan::Filter(_) | LogicalPlan::Join(_) | LogicalPlan::TableScan(_));
        let names = NamePreserver::new(&node);
        node.map_expressions(|e| {
            let name = names.save(&e);
            let lowered = lower_expr(e, is_condition, &schema)?;
            Ok(Transformed::yes(name.restore(lowered)))
        })
    })
    .data()
}

fn is_logical(e: &Expr) -> bool {
    matches!(e, Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }))
}

/// One expression. Of a `condition` only whether it is true counts.
pub fn lower_expr(e: Expr, condition: bool, schema: &DFSchema) -> DfResult<Expr> {
    let ordered = Ordered::of(&e).map(|(kind, terms)| (kind, terms.iter().collect::<Vec<_>>())).or_else(|| {
        let (kind, op) = match &e {
            Expr::BinaryExpr(BinaryExpr { op: op @ Operator::And, .. }) => (Ordered::And, *op),
            Expr::BinaryExpr(BinaryExpr { op: op @ Operator::Or, .. }) => (Ordered::Or, *op),
            _ => return None,
        };
        let mut terms = vec![];
        flatten(&e, op, &mut terms);
        Some((kind, terms))
    });
    match ordered {
        Some((Ordered::Case, terms)) => case(terms.into_iter().cloned().collect(), condition, schema),
        Some((kind, terms)) => {
            let terms = once_each(kind, terms);
            let steps = steps(kind, terms, condition, schema)?;
            // Nothing that can fail comes second: the tree as it is, with what is in its terms.
            match steps.len() {
                1 => Ok(steps.into_iter().next().unwrap_or_else(|| lit(kind == Ordered::And))),
                _ => Ok(branches(kind, steps, condition)),
            }
        }
        None => match e {
            Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
                let when_then_expr = when_then_expr
                    .into_iter()
                    .map(|(when, then)| {
                        let then = lower_expr(*then, condition, schema)?;
                        Ok((Box::new(lower_expr(*when, true, schema)?), Box::new(then)))
                    })
                    .collect::<DfResult<_>>()?;
                let else_expr = else_expr.map(|e| lower_expr(*e, condition, schema).map(Box::new)).transpose()?;
                Ok(Expr::Case(Case { expr: None, when_then_expr, else_expr }))
            }
            other => {
                let lowered = other.map_children(|e| Ok(Transformed::yes(lower_expr(e, false, schema)?))).data()?;
                Ok(match lowered {
                    Expr::InList(looked) => Expr::InList(lists::executable(looked, schema)?),
                    other => other,
                })
            }
        },
    }
}

/// The terms, with those of calls of the same kind in their place, and each at its first place only.
fn once_each(kind: Ordered, terms: Vec<&Expr>) -> Vec<Expr> {
    fn collect<'e>(kind: Ordered, term: &'e Expr, seen: &mut HashSet<&'e Expr>, all: &mut Vec<Expr>) {
        let op = if kind == Ordered::And { Operator::And } else { Operator::Or };
        match (Ordered::of(term), term) {
            (Some((inner, terms)), _) if inner == kind => terms.iter().for_each(|t| collect(kind, t, seen, all)),
            (None, Expr::BinaryExpr(b)) if b.op == op => {
                collect(kind, &b.left, seen, all);
                collect(kind, &b.right, seen, all);
            }
            _ => {
                if term.is_volatile() || seen.insert(term) {
                    all.push(term.clone());
                }
            }
        }
    }
    let (mut seen, mut all) = (HashSet::new(), vec![]);
    terms.into_iter().for_each(|term| collect(kind, term, &mut seen, &mut all));
    all
}

/// Neighbours that cannot fail are one step.
fn steps(kind: Ordered, terms: Vec<Expr>, condition: bool, schema: &DFSchema) -> DfResult<Vec<Expr>> {
    let mut steps: Vec<Vec<Expr>> = vec![];
    for term in terms {
        let fails = can_fail(&term, schema);
        let term = lower_expr(term, condition, schema)?;
        match steps.last_mut() {
            Some(step) if !fails => step.push(term),
            _ => steps.push(vec![term]),
        }
    }
    Ok(steps.into_iter().map(|step| balanced(kind, step)).collect())
}

/// The terms in a tree of little depth.
fn balanced(kind: Ordered, mut terms: Vec<Expr>) -> Expr {
    while terms.len() > 1 {
        let mut rest = terms.into_iter();
        terms = vec![];
        while let Some(left) = rest.next() {
            terms.push(kind.plain([left].into_iter().chain(rest.next()).collect()));
        }
    }
    kind.plain(terms)
}

/// The steps in their order: each decides the rows that it can, the last those that are left.
fn branches(kind: Ordered, mut steps: Vec<Expr>, condition: bool) -> Expr {
    let Some(last) = steps.pop() else { return lit(kind == Ordered::And) };
    let decided = lit(kind == Ordered::Or);
    // A NULL among the steps before makes NULL of what would not decide, which no condition can tell from false.
    let rest = match condition {
        true => last,
        false => kind.plain(std::iter::once(last).chain(steps.iter().cloned()).collect()),
    };
    if kind == Ordered::And && condition && steps.len() == 1 {
        let when_then_expr = steps.into_iter().map(|step| (Box::new(step), Box::new(rest.clone()))).collect();
        return Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(decided)) });
    }
    let decides = |step: Expr| match (kind, condition) {
        (Ordered::And, true) => Expr::IsNotTrue(Box::new(step)),
        (Ordered::And, false) => Expr::IsFalse(Box::new(step)),
        _ => step,
    };
    let when_then_expr = steps.into_iter().map(|step| (Box::new(decides(step)), Box::new(decided.clone()))).collect();
    Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(rest)) })
}

fn case(mut terms: Vec<Expr>, condition: bool, schema: &DFSchema) -> DfResult<Expr> {
    let else_expr = if terms.len() % 2 == 1 { terms.pop() } else { None };
    let mut when_then_expr = vec![];
    let mut terms = terms.into_iter();
    while let (Some(when), Some(then)) = (terms.next(), terms.next()) {
        let then = lower_expr(then, condition, schema)?;
        when_then_expr.push((Box::new(lower_expr(when, true, schema)?), Box::new(then)));
    }
    let else_expr = else_expr.map(|e| lower_expr(e, condition, schema).map(Box::new)).transpose()?;
    Ok(Expr::Case(Case { expr: None, when_then_expr, else_expr }))
}
