//! Aggregate calls that are another aggregate of other arguments.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use datafusion::sql::sqlparser::ast as sql;

use super::expr::{ExprContext, string};
use super::function::Arguments;
use super::operators;
use crate::error::{Error, Result};
use crate::function::MAX_BY_ROWS;

impl ExprContext<'_> {
    /// Aggregates that are another aggregate of rewritten arguments.
    pub fn rewritten(
        &self,
        name: &str,
        udaf: &Arc<AggregateUDF>,
        mut a: Arguments,
        e: &sql::Expr,
    ) -> Result<(Arc<AggregateUDF>, Arguments)> {
        let target = match (name, a.args.as_mut_slice()) {
            ("max_by" | "min_by", [_, _, rows]) => {
                check_rows(name, rows)?;
                if name == "max_by" { "max_by_k" } else { "min_by_k" }
            }
            ("regr_count", [y, x]) => {
                let both = y.clone().is_not_null().and(x.clone().is_not_null());
                a.args = vec![operators::case(vec![(both, lit(1))], None, self.schema)?];
                "count"
            }
            ("regr_avgx" | "regr_avgy", [y, x]) => {
                let (value, other) = if name == "regr_avgx" { (x, y) } else { (y, x) };
                let there = other.clone().is_not_null();
                a.args = vec![operators::case(vec![(there, value.clone())], None, self.schema)?];
                "avg"
            }
            // The flag asks for what is always so here; an estimate is as exact as any that is asked for.
            ("mode", [_, Expr::Literal(ScalarValue::Boolean(Some(_)), _)])
            | ("approx_count_distinct", [_, Expr::Literal(_, _)]) => {
                a.args.truncate(1);
                return Ok((Arc::clone(udaf), a));
            }
            _ => return Ok((Arc::clone(udaf), a)),
        };
        match self.planner.state.aggregate_functions().get(target) {
            Some(udaf) => Ok((Arc::clone(udaf), a)),
            None => Err(self.unknown_function(target, e)),
        }
    }

    /// The items of all arrays that were collected, each once.
    pub fn united(&self, arrays: Expr, e: &sql::Expr) -> Result<Expr> {
        let flat = self.call("flatten", vec![arrays], e)?;
        self.call("array_compact", vec![self.call("array_distinct", vec![flat], e)?], e)
    }
}

/// The number of rows that `max_by` and `min_by` are asked for.
fn check_rows(name: &str, rows: &Expr) -> Result<()> {
    let number = match rows {
        Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok(),
        _ => {
            let message = format!("the number of rows of '{name}' must be a literal");
            return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message));
        }
    };
    match number {
        Some(ScalarValue::Int64(Some(n))) if (1..=MAX_BY_ROWS).contains(&n) => Ok(()),
        _ => {
            let message = format!("the number of rows of '{name}' must be between 1 and {MAX_BY_ROWS}");
            Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message))
        }
    }
}

/// `percentile_cont(p) WITHIN GROUP (ORDER BY x)` and its like as the aggregate of `x` that they are.
pub fn within_group(name: String, mut a: Arguments, ordered: bool) -> (String, Arguments) {
    if !ordered || a.order_by.len() != 1 {
        return (name, a);
    }
    let percentile = matches!(name.as_str(), "percentile_cont" | "percentile_disc") && a.args.len() == 1;
    let mode = name == "mode" && a.args.is_empty();
    if !(percentile || mode) {
        return (name, a);
    }
    let Some(key) = a.order_by.pop() else { return (name, a) };
    let double = |e: Expr| operators::cast(e, &DataType::Float64, false);
    let percentage = a.args.pop();
    match (name.as_str(), percentage) {
        ("percentile_disc", Some(p)) => {
            a.args = vec![double(key.expr), p];
            (if key.asc { "percentile_disc" } else { "percentile_disc_desc" }.to_owned(), a)
        }
        (_, Some(p)) => {
            let p = if key.asc { p } else { lit(1.0) - double(p) };
            a.args = vec![key.expr, p];
            ("percentile".to_owned(), a)
        }
        (_, None) => {
            a.args = vec![key.expr];
            (if key.asc { name } else { "mode_desc".to_owned() }, a)
        }
    }
}

/// `count(DISTINCT a, b)` counts the rows in which all are there; a list without a separator has none.
pub fn one_argument(name: &str, mut a: Arguments, cx: &ExprContext) -> Result<Arguments> {
    if name == "count" && a.distinct && a.args.len() > 1 {
        let all = a.args.iter().cloned().map(Expr::is_not_null).reduce(Expr::and).unwrap_or_else(|| lit(true));
        let Some(tuple) = cx.planner.state.scalar_functions().get("struct").map(|f| f.call(a.args.clone())) else {
            return Err(Error::internal("there is no function struct"));
        };
        a.args = vec![operators::case(vec![(all, tuple)], None, cx.schema)?];
    }
    if matches!(name, "listagg" | "string_agg") && a.args.len() == 1 {
        a.args.push(string(""));
    }
    Ok(a)
}
