//! Aggregate calls that are another aggregate of other arguments.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, lit};
use datafusion::sql::sqlparser::ast as sql;

use super::expr::{ExprContext, string};
use super::function::Arguments;
use super::operators;
use super::special_call::is_interval;
use crate::error::{Error, Result};
use crate::function::{MAX_BY_ROWS, check_bin_count};

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
            // The flag asks for what is always so here.
            ("mode", [_, Expr::Literal(ScalarValue::Boolean(Some(_)), _)]) => {
                a.args.truncate(1);
                return Ok((Arc::clone(udaf), a));
            }
            ("approx_count_distinct", [_, deviation]) => {
                check_deviation(deviation)?;
                a.args.truncate(1);
                return Ok((Arc::clone(udaf), a));
            }
            ("percentile" | "percentile_approx" | "approx_percentile", [_, percentage, rest @ ..]) => {
                check_percentage(name, percentage)?;
                if name != "percentile" {
                    rest.iter().try_for_each(|accuracy| check_accuracy(name, accuracy))?;
                }
                return Ok((Arc::clone(udaf), a));
            }
            ("histogram_numeric", [_, bins]) => {
                check_bins(bins)?;
                return Ok((Arc::clone(udaf), a));
            }
            ("listagg" | "string_agg", [_, delimiter]) if !delimiter.column_refs().is_empty() => {
                let message = format!("the delimiter of '{name}' must be the same for all rows");
                return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
                    .with_help(format!("write it in quotes: {name}(v, ',')")));
            }
            ("collect_set", [of]) => {
                operators::check_no_map(name, of, self.schema)?;
                return Ok((Arc::clone(udaf), a));
            }
            _ => return Ok((Arc::clone(udaf), a)),
        };
        match self.planner.state.aggregate_functions().get(target) {
            Some(udaf) => Ok((Arc::clone(udaf), a)),
            None => Err(self.unknown_function(target, e)),
        }
    }

    /// The average of intervals: their sum, divided by how many there are.
    pub fn average_interval(&self, of: &Expr, p: &AggregateFunctionParams, e: &sql::Expr) -> Result<Option<Expr>> {
        if !is_interval(&of.get_type(self.schema)?) {
            return Ok(None);
        }
        let aggregate = |name: &str| match self.planner.state.aggregate_functions().get(name) {
            Some(udaf) => Ok(Expr::AggregateFunction(AggregateFunction { func: Arc::clone(udaf), params: p.clone() })),
            None => Err(self.unknown_function(name, e)),
        };
        let (sum, count) = (aggregate("sum")?, aggregate("count")?);
        // Of no values the sum is NULL, whatever it is divided by.
        let divisor = self.call("greatest", operators::unify("greatest", vec![count, lit(1i64)], self.schema)?, e)?;
        operators::binary(sum, &sql::BinaryOperator::Divide, divisor, self.schema).map(Some)
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

/// The standard error of the sketch that counts.
const DEVIATION: f64 = 0.0082;

/// The relative deviation that `approx_count_distinct` may have: a sketch has one of its own, which must satisfy it.
fn check_deviation(deviation: &Expr) -> Result<()> {
    let wanted = match deviation {
        Expr::Literal(value, _) if value.data_type().is_floating() || value.data_type().is_decimal() => {
            value.cast_to(&DataType::Float64).ok()
        }
        _ => None,
    };
    let Some(ScalarValue::Float64(Some(wanted))) = wanted else {
        let message = "the deviation of 'approx_count_distinct' must be a literal of DOUBLE or DECIMAL";
        return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
            .with_help("write the number itself: approx_count_distinct(v, 0.05)"));
    };
    // Where Spark's sketch has too few registers.
    if wanted > 0.391 || wanted <= 0.0 {
        let message =
            format!("the deviation of 'approx_count_distinct' must be above 0 and at most 0.39, not {wanted}");
        return Err(Error::invalid("FAILED_FUNCTION_CALL", message).with_help("write a share of 1, as in 0.05"));
    }
    if wanted < DEVIATION {
        let message = format!("'approx_count_distinct' has a deviation of {DEVIATION}, above the {wanted} asked for");
        return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
            .with_help("leave the deviation out, or count exactly: size(collect_set(v))"));
    }
    Ok(())
}

/// The percentages that a percentile is asked for, which are the same for all rows.
fn check_percentage(name: &str, percentage: &Expr) -> Result<()> {
    if !percentage.column_refs().is_empty() {
        let message = format!("the percentage of '{name}' must be the same for all rows");
        return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
            .with_help(format!("write the number itself: {name}(v, 0.95)")));
    }
    match percentage {
        Expr::Literal(value, _) if value.is_null() => {
            let message = format!("the percentage of '{name}' must not be NULL");
            Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_NULL", message)
                .with_help(format!("write the share of rows: {name}(v, 0.95)")))
        }
        _ => Ok(()),
    }
}

/// The number of bins of a histogram, which is the same for all rows.
fn check_bins(bins: &Expr) -> Result<()> {
    if !bins.column_refs().is_empty() {
        let message = "the number of bins of 'histogram_numeric' must be the same for all rows";
        return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message).with_help(BINS));
    }
    match bins {
        Expr::Literal(value, _) if value.is_null() => {
            let message = "the number of bins of 'histogram_numeric' must not be NULL";
            Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_NULL", message).with_help(BINS))
        }
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) => check_bin_count(n),
            _ => Ok(()),
        },
        // What is computed is checked with the rows.
        _ => Ok(()),
    }
}

const BINS: &str = "write the number itself: histogram_numeric(v, 20)";

/// The accuracy of an approximate percentile, which is exact here whatever is asked for.
fn check_accuracy(name: &str, accuracy: &Expr) -> Result<()> {
    let number = match accuracy {
        Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok(),
        _ => {
            let message = format!("the accuracy of '{name}' must be a literal");
            return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
                .with_help(format!("write the number itself, or leave it out: {name}(v, 0.95)")));
        }
    };
    match number {
        Some(ScalarValue::Int64(Some(n))) if (1..=i64::from(i32::MAX)).contains(&n) => Ok(()),
        Some(ScalarValue::Int64(None)) => {
            let message = format!("the accuracy of '{name}' must not be NULL");
            Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_NULL", message)
                .with_help(format!("leave it out: {name}(v, 0.95)")))
        }
        _ => {
            let message = format!("the accuracy of '{name}' must be between 1 and {}", i32::MAX);
            Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message)
                .with_help("10000 is what Spark takes if it is left out"))
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
