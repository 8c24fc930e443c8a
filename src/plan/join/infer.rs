//! Filters that follow from a join's condition and from what is below it: Spark's `InferFiltersFromConstraints`.
//!
//! A row that cannot match need not be stored, and must not move the watermark: which rows those are is part of what a
//! query means. `l.k = r.k` with `r.k > 5` says `l.k > 5`, and that neither is NULL.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator};

use super::condition::Condition;
use super::is_stream_join;

/// Functions that give NULL for a NULL argument.
const STRICT: [&str; 26] = [
    "cast",
    "+",
    "-",
    "*",
    "/",
    "%",
    "div",
    "abs",
    "upper",
    "lower",
    "length",
    "char_length",
    "character_length",
    "trim",
    "btrim",
    "ltrim",
    "rtrim",
    "substr",
    "substring",
    "reverse",
    "get_field",
    "year",
    "month",
    "day",
    "hour",
    "minute",
];

/// Adds the filters to all joins of two streams.
pub fn infer_filters(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down(|node| match node {
        LogicalPlan::Join(join) if is_stream_join(&join) => Ok(Transformed::yes(LogicalPlan::Join(infer(join)?))),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn infer(join: Join) -> DfResult<Join> {
    let (to_left, to_right) = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi => (true, true),
        JoinType::Left => (false, true),
        JoinType::Right => (true, false),
        _ => return Ok(join),
    };
    let (of_left, of_right) = (constraints(&join.left), constraints(&join.right));
    let mut all: Vec<Expr> = of_left.iter().chain(&of_right).cloned().collect();
    all.extend(conjuncts(&join));
    all.extend(replaced_by_equals(&all));
    let left = if to_left { filtered(join.left, &all, &of_left)? } else { join.left };
    let right = if to_right { filtered(join.right, &all, &of_right)? } else { join.right };
    Ok(Join { left, right, ..join })
}

/// What a join's condition says, equalities included.
fn conjuncts(join: &Join) -> Vec<Expr> {
    let condition = Condition::of(join);
    let key = |k: &super::Key| {
        let op = if k.null_equal { Operator::IsNotDistinctFrom } else { Operator::Eq };
        datafusion::logical_expr::binary_expr(k.left.clone(), op, k.right.clone())
    };
    condition.keys.iter().map(key).chain(condition.residual()).collect()
}

/// For `a = b`, what is said of one is said of the other.
fn replaced_by_equals(all: &[Expr]) -> Vec<Expr> {
    let mut inferred = vec![];
    for (i, conjunct) in all.iter().enumerate() {
        let Some((a, b)) = equal_columns(conjunct) else { continue };
        let others = || all.iter().enumerate().filter(move |(j, e)| *j != i && !matches!(e, Expr::IsNotNull(_)));
        for (from, to) in [(a, b), (b, a)] {
            inferred.extend(
                others()
                    .filter(|(_, e)| e.column_refs().contains(from))
                    .filter_map(|(_, e)| e.clone().transform_up(|e| Ok(swap(e, from, to))).data().ok()),
            );
        }
    }
    inferred
}

fn equal_columns(conjunct: &Expr) -> Option<(&Column, &Column)> {
    match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(a), Expr::Column(b)) => Some((a, b)),
            _ => None,
        },
        _ => None,
    }
}

fn swap(e: Expr, from: &Column, to: &Column) -> Transformed<Expr> {
    match e {
        Expr::Column(c) if c == *from => Transformed::yes(Expr::Column(to.clone())),
        other => Transformed::no(other),
    }
}

/// The input with the filters that are over it and new.
fn filtered(input: Arc<LogicalPlan>, all: &[Expr], known: &[Expr]) -> DfResult<Arc<LogicalPlan>> {
    let schema = input.schema();
    let not_null = |exprs: &[Expr]| {
        let mut columns = vec![];
        exprs.iter().for_each(|e| strict_columns(e, &mut columns));
        columns
    };
    let known_not_null = not_null(known);
    let mut new: Vec<Expr> = vec![];
    let is_over = |e: &Expr, schema: &DFSchema| {
        let columns = e.column_refs();
        !columns.is_empty() && columns.into_iter().all(|c| schema.has_column(c))
    };
    for e in all {
        if is_over(e, schema) && !e.is_volatile() && !known.contains(e) && !new.contains(e) {
            new.push(e.clone());
        }
    }
    for column in not_null(all) {
        let nullable = schema.field_from_column(&column).is_ok_and(|f| f.is_nullable());
        let e = Expr::Column(column.clone()).is_not_null();
        if nullable && !known_not_null.contains(&column) && !new.contains(&e) {
            new.push(e);
        }
    }
    match conjunction(new) {
        Some(predicate) => Ok(Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, input)?))),
        None => Ok(input),
    }
}

/// Columns that must not be NULL for the expression to be anything but NULL.
fn strict_columns(e: &Expr, columns: &mut Vec<Column>) {
    match e {
        Expr::Column(c) => columns.push(c.clone()),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict(*op) => {
            strict_columns(left, columns);
            strict_columns(right, columns);
        }
        Expr::Not(e) | Expr::IsNotNull(e) | Expr::Negative(e) => strict_columns(e, columns),
        Expr::Alias(a) => strict_columns(&a.expr, columns),
        Expr::Cast(c) => strict_columns(&c.expr, columns),
        Expr::Like(like) => {
            strict_columns(&like.expr, columns);
            strict_columns(&like.pattern, columns);
        }
        Expr::Between(b) if !b.negated => {
            [&b.expr, &b.low, &b.high].into_iter().for_each(|e| strict_columns(e, columns));
        }
        Expr::ScalarFunction(f) if STRICT.contains(&f.name()) => {
            f.args.iter().for_each(|e| strict_columns(e, columns));
        }
        _ => {}
    }
}

fn is_strict(op: Operator) -> bool {
    use Operator::{Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Plus};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | Plus | Minus | Multiply | Divide | Modulo)
}

/// What holds for all rows of a plan.
fn constraints(plan: &LogicalPlan) -> Vec<Expr> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let own = split_conjunction(&filter.predicate).into_iter().filter(|e| !e.is_volatile()).cloned();
            own.chain(constraints(&filter.input)).collect()
        }
        LogicalPlan::Projection(projection) => {
            let columns = projection.schema.columns();
            let renamed: Vec<(&Expr, Column)> =
                projection.expr.iter().zip(columns).map(|(e, c)| (unalias(e), c)).collect();
            over(constraints(&projection.input), &renamed, &projection.schema)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner: Vec<Expr> = alias.input.schema().columns().into_iter().map(Expr::Column).collect();
            let renamed: Vec<_> = inner.iter().zip(alias.schema.columns()).collect();
            over(constraints(&alias.input), &renamed, &alias.schema)
        }
        LogicalPlan::Extension(e) => match e.node.inputs().as_slice() {
            [input] if input.schema().columns() == e.node.schema().columns() => constraints(input),
            _ => vec![],
        },
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => {
                let sides = constraints(&join.left).into_iter().chain(constraints(&join.right));
                sides.chain(conjuncts(join)).collect()
            }
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => constraints(&join.left),
            JoinType::Right => constraints(&join.right),
            _ => vec![],
        },
        _ => vec![],
    }
}

fn unalias(e: &Expr) -> &Expr {
    match e {
        Expr::Alias(a) => unalias(&a.expr),
        other => other,
    }
}

/// The constraints in the terms of what is above; those that say something of what is no longer there are dropped.
fn over(constraints: Vec<Expr>, renamed: &[(&Expr, Column)], schema: &DFSchema) -> Vec<Expr> {
    let rename = |e: Expr| {
        Ok(match renamed.iter().find(|(old, _)| **old == e) {
            Some((_, new)) => Transformed::new(
                Expr::Column(new.clone()),
                true,
                datafusion::common::tree_node::TreeNodeRecursion::Jump,
            ),
            None => Transformed::no(e),
        })
    };
    let is_there = |e: &Expr| e.column_refs().into_iter().all(|c| schema.has_column(c));
    constraints.into_iter().filter_map(|e| e.transform_down(rename).data().ok()).filter(is_there).collect()
}
