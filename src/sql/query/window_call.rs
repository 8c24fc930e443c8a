//! What Spark demands of a function with OVER, and of its frame.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{self as sql, WindowFrameBound, WindowFrameUnits};

use super::expr::ExprContext;
use super::function::Arguments;
use super::types::spark_type_name;
use crate::error::{Error, Result};

/// Functions whose result is a place in the order.
const RANKS: [&str; 8] = ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"];

impl ExprContext<'_> {
    /// Refuses what has no meaning.
    pub fn check_window_call(&self, name: &str, a: &Arguments, spec: &sql::WindowSpec) -> Result<()> {
        if a.distinct {
            let message = format!("DISTINCT is not possible in '{name}' with OVER");
            return Err(Error::unsupported("DISTINCT_WINDOW_FUNCTION_UNSUPPORTED", message)
                .with_help("aggregate in a subquery: SELECT k, count(DISTINCT v) … GROUP BY k, and join it"));
        }
        if spec.order_by.is_empty() && RANKS.contains(&name) {
            let message = format!("window function '{name}' needs an order");
            return Err(Error::invalid("WINDOW_FUNCTION_FRAME_NOT_ORDERED", message)
                .with_help(format!("write {name}(…) OVER (ORDER BY …)")));
        }
        match (name, a.args.get(1), a.args.first()) {
            ("lag" | "lead" | "nth_value", Some(offset), _) => {
                let number = literal(name, offset)?;
                if name == "nth_value" { positive(name, number) } else { Ok(()) }
            }
            ("ntile", _, Some(buckets)) => positive(name, literal(name, buckets)?),
            _ => Ok(()),
        }?;
        spec.window_frame.as_ref().map_or(Ok(()), |frame| self.check_frame(frame, spec))
    }

    fn check_frame(&self, frame: &sql::WindowFrame, spec: &sql::WindowSpec) -> Result<()> {
        let start = self.bound(&frame.start_bound)?;
        let end = frame.end_bound.as_ref().map_or(Ok(Some(0.0)), |bound| self.bound(bound))?;
        let (start, end) = (start.unwrap_or(f64::NEG_INFINITY), end.unwrap_or(f64::INFINITY));
        if start > end {
            return Err(Error::invalid(
                "DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_WRONG_COMPARISON",
                "the frame of the window ends before it begins",
            )
            .with_help("the lower bound stands first: BETWEEN 1 PRECEDING AND 1 FOLLOWING"));
        }
        let offset = |n: f64| n.is_finite() && n != 0.0;
        if frame.units != WindowFrameUnits::Range || !(offset(start) || offset(end)) {
            return Ok(());
        }
        let (condition, message) = match spec.order_by.as_slice() {
            [] => ("DATATYPE_MISMATCH.RANGE_FRAME_WITHOUT_ORDER", "a RANGE of values needs an order".to_owned()),
            [key] => {
                let t = self.expr(&key.expr)?.get_type(self.schema)?;
                if t.is_numeric() || t.is_temporal() || t == DataType::Null {
                    return Ok(());
                }
                let message = format!("a RANGE of values is not possible over {}", spark_type_name(&t));
                ("DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_UNACCEPTED_TYPE", message)
            }
            _ => (
                "DATATYPE_MISMATCH.RANGE_FRAME_MULTI_ORDER",
                "a RANGE of values is possible over one key of ORDER BY only".to_owned(),
            ),
        };
        Err(Error::invalid(condition, message).with_help("order by one number or time, or write ROWS BETWEEN …"))
    }

    /// Where a bound is, relative to the current row; nothing without a bound.
    fn bound(&self, bound: &WindowFrameBound) -> Result<Option<f64>> {
        let (n, sign) = match bound {
            WindowFrameBound::CurrentRow => return Ok(Some(0.0)),
            WindowFrameBound::Preceding(n) => (n, -1.0),
            WindowFrameBound::Following(n) => (n, 1.0),
        };
        let Some(n) = n else { return Ok(None) };
        let n = self.expr(n)?;
        if !n.column_refs().is_empty() {
            return Err(Error::invalid(
                "INVALID_SQL_SYNTAX.INVALID_WINDOW_FRAME_BOUND",
                "the bound of a frame must be a literal",
            )
            .with_help("write a number, as in ROWS BETWEEN 5 PRECEDING AND CURRENT ROW"));
        }
        // An interval is one step, whatever its length.
        let number = match &n {
            Expr::Literal(value, _) => value.cast_to(&DataType::Float64).ok(),
            _ => None,
        };
        Ok(Some(match number {
            Some(ScalarValue::Float64(Some(n))) => sign * n,
            _ => sign,
        }))
    }
}

fn literal(name: &str, e: &Expr) -> Result<Option<i64>> {
    let value = match e {
        Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok(),
        Expr::Negative(_) => return Ok(Some(-1)),
        e if e.column_refs().is_empty() => return Ok(None),
        _ => None,
    };
    match value {
        Some(ScalarValue::Int64(n)) => Ok(n),
        _ => Err(Error::invalid(
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
            format!("the offset of '{name}' must be a literal INT"),
        )
        .with_help(format!("write the number itself: {name}(v, 2)"))),
    }
}

fn positive(name: &str, n: Option<i64>) -> Result<()> {
    match n {
        Some(n) if n < 1 => {
            let message = format!("the number of '{name}' must be 1 or more, not {n}");
            Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message).with_help("the first is 1"))
        }
        _ => Ok(()),
    }
}
