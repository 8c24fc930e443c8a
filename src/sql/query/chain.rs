//! Chains of operators such as `a + b + c …`, which may be long.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion::sql::sqlparser::ast::{self as sql};

use super::expr::ExprContext;
use super::operators;
use crate::error::Result;
use crate::function::{self, Chain};

/// How many operators a chain such as `a + b + c …` may have as a tree, which is as deep; a longer one is a single call. Chains of
/// AND or OR alone are balanced trees.
const MAX_CHAIN: usize = 100;

impl ExprContext<'_> {
    /// `a + b + c …` without recursion on its left side.
    pub(super) fn binary_chain(&self, e: &sql::Expr) -> Result<Expr> {
        let mut rest = vec![];
        let mut first = e;
        while let sql::Expr::BinaryOp { left, op, right } = first {
            rest.push((op, right.as_ref(), first));
            first = left;
        }
        let mut expr = self.expr(first)?;
        rest.reverse();
        for run in rest
            .chunk_by(|a, b| logical(a.0).is_some() == logical(b.0).is_some() && (logical(a.0).is_none() || a.0 == b.0))
        {
            if let Some(op) = logical(run[0].0) {
                let rights = run.iter().map(|(_, right, _)| self.expr(right));
                let terms = std::iter::once(Ok(expr)).chain(rights).collect::<Result<_>>()?;
                expr = balanced(terms, op);
                continue;
            }
            if run.len() > MAX_CHAIN {
                expr = self.long_chain(expr, run)?;
                continue;
            }
            for (op, right, whole) in run {
                let right = self.expr(right)?;
                if let Some(moved) = self.calendar_arithmetic(&expr, op, &right)? {
                    expr = self.located(moved, whole);
                    continue;
                }
                let made = operators::binary(expr, op, right, self.schema);
                expr = self.located(made.map_err(|err| err.with_span(self.span(whole)))?, whole);
            }
        }
        Ok(expr)
    }

    /// Arithmetic of times in a zone whose days differ in length; none where the plain operator gives the same.
    pub(super) fn calendar_arithmetic(
        &self,
        left: &Expr,
        op: &sql::BinaryOperator,
        right: &Expr,
    ) -> Result<Option<Expr>> {
        let op = match op {
            sql::BinaryOperator::Plus => Operator::Plus,
            sql::BinaryOperator::Minus => Operator::Minus,
            _ => return Ok(None),
        };
        let (Ok(l), Ok(r)) = (left.get_type(self.schema), right.get_type(self.schema)) else { return Ok(None) };
        let is_time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(..));
        let zone = self.planner.state.config_options().execution.time_zone.as_deref();
        let is_utc = zone.is_none_or(|zone| zone == "UTC");
        if op == Operator::Minus && is_time(&l) && is_time(&r) && (l != r || !is_utc && l != DataType::Date32) {
            return Ok(Some(function::time_between(left, right)));
        }
        if is_utc {
            return Ok(None);
        }
        if op == Operator::Plus && is_time(&r) {
            return Ok(function::shift_time((right, &r), op, (left, &l)));
        }
        Ok(function::shift_time((left, &l), op, (right, &r)))
    }

    /// The same as one call.
    fn long_chain(&self, first: Expr, run: &[(&sql::BinaryOperator, &sql::Expr, &sql::Expr)]) -> Result<Expr> {
        let data_type = first.get_type(self.schema)?;
        let mut chain = Chain::new(&self.planner.state, first, data_type);
        for (op, right, _) in run {
            let next = self.checked(right)?;
            let data_type = next.get_type(self.schema)?;
            chain
                .push(next, data_type, |left, right, schema| operators::binary(left, op, right, schema))
                .map_err(|err| err.with_span(self.span(right)))?;
        }
        Ok(chain.finish())
    }
}

/// AND and OR, which give the same however their terms are grouped.
fn logical(op: &sql::BinaryOperator) -> Option<Operator> {
    match op {
        sql::BinaryOperator::And => Some(Operator::And),
        sql::BinaryOperator::Or => Some(Operator::Or),
        _ => None,
    }
}

/// The terms joined by `op` in their order, as a tree of the least depth.
pub fn balanced(mut terms: Vec<Expr>, op: Operator) -> Expr {
    while terms.len() > 1 {
        let mut rest = terms.into_iter();
        terms = Vec::with_capacity(rest.len().div_ceil(2));
        while let Some(left) = rest.next() {
            terms.push(match rest.next() {
                Some(right) => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))),
                None => left,
            });
        }
    }
    terms.pop().unwrap_or_else(|| lit(op == Operator::And))
}
