//! Aggregates by time window whose partial aggregate groups by pane; see [`crate::operator::Windows`].

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::function::{as_window, windows_of};
use super::types::{times_of, window_type};
use crate::error::{Error, Result};
use crate::operator::{WindowKey, Windows};
use crate::plan::is_streaming;

/// Aggregates of which nothing is seen when the rows of a pane are aggregated before panes are put together.
const ORDERLESS: [&str; 12] = [
    "approx_distinct",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "count_if",
    "max",
    "min",
    "sum",
];
/// Panes in a slide from which they are hardly fewer than the rows.
const FINEST: i64 = 64;

/// Whether a streaming aggregate may group by the panes of sliding windows. Elsewhere each row is expanded.
pub fn is_possible(node: &LogicalPlan, call: &ScalarFunction, windows: &Windows) -> bool {
    let LogicalPlan::Aggregate(aggregate) = node else { return false };
    let is_window = |e: &Expr| as_window(unaliased(e)) == Some(call);
    let is_orderless = |e: &Expr| match unaliased(e) {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            params.order_by.is_empty() && ORDERLESS.contains(&func.name())
        }
        _ => false,
    };
    is_streaming(&aggregate.input)
        && windows.slide / windows.pane_width() <= FINEST
        && aggregate.group_expr.iter().filter(|e| is_window(e)).count() == 1
        && aggregate.group_expr.iter().all(|e| is_window(e) || !mentions_window(e))
        && aggregate.aggr_expr.iter().all(|e| is_orderless(e) && !mentions_window(e))
}

/// The keys of a streaming aggregate with the pane in the place of a window that is one of them.
pub fn panes_of(keys: &[Expr], input: &datafusion::common::DFSchema) -> DfResult<(Vec<Expr>, Option<WindowKey>)> {
    let Some((column, call)) = keys.iter().enumerate().find_map(|(i, k)| Some((i, as_window(unaliased(k))?))) else {
        return Ok((keys.to_vec(), None));
    };
    let windows = windows_of(call)?;
    let DataType::Struct(fields) = keys[column].get_type(input)? else {
        return Err(Error::internal("a window that is no struct").into());
    };
    let signature = Signature::any(1, Volatility::Immutable);
    let pane = ScalarUDF::new_from_impl(Pane { windows, signature }).call(vec![call.args[0].clone()]);
    let (qualifier, name) = keys[column].qualified_name();
    let mut keys = keys.to_vec();
    keys[column] = pane.alias_qualified(qualifier, name);
    Ok((keys, Some(WindowKey { column, windows, fields })))
}

fn unaliased(e: &Expr) -> &Expr {
    match e {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn mentions_window(e: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    e.exists(|e| Ok(as_window(e).is_some())).unwrap_or(true)
}

/// The start of the pane that holds a time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pane {
    windows: Windows,
    signature: Signature,
}

impl Pane {
    fn of(&self, times: &TimestampMicrosecondArray) -> Result<ArrayRef> {
        let width = self.windows.pane_width();
        let out_of_range = || {
            Error::execution(
                "DATETIME_OVERFLOW",
                "a time is too close to the end of time for its window to have bounds",
            )
        };
        let pane = |time: i64| self.windows.pane(time, width).ok_or_else(out_of_range);
        let panes: TimestampMicrosecondArray = times.try_unary(pane)?;
        Ok(std::sync::Arc::new(panes.with_timezone_opt(times.timezone())))
    }
}

impl ScalarUDFImpl for Pane {
    fn name(&self) -> &str {
        "__pane"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(window_type(&args[0])?.1)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let (_, times) = times_of(args.args[0].to_array(args.number_rows)?)?;
        Ok(ColumnarValue::Array(self.of(times.as_primitive::<TimestampMicrosecondType>())?))
    }
}
