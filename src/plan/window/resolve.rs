//! Time windows: `window(time, size[, slide[, start]])` and `window_time(window)`.
//!
//! A window is a struct `{start, end}`, the end exclusive. Tumbling windows are computed by the function itself, since every
//! time has one of them; the analyzer rule [`ResolveTimeWindows`] removes the rows without a time below the node that
//! calls it, and turns sliding windows into a row for each window. Windows carry the watermark of their time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullHandling, Result as DfResult, ScalarValue, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;

use super::watermark::{WATERMARK_KEY, as_watermark};
use super::{is_streaming, pane, session_window};
use crate::error::{Error, Result};
use crate::interval::{duration_text, parse_interval};
use crate::operator::{Windows, end_of, window_ends};
use crate::type_name::sql_type_name;

/// The column of a sliding window's place between the projection and the node above it.
const SLIDING: &str = "#window";

/// Registers the functions and the rule that resolves them.
pub fn register(context: &SessionContext) {
    let signature = Signature::variadic_any(Volatility::Immutable);
    context.register_udf(ScalarUDF::new_from_impl(WindowFunction { all: false, signature }));
    context.register_udf(ScalarUDF::new_from_impl(WindowTime::new()));
    session_window::register(context);
    context.add_analyzer_rule(Arc::new(ResolveTimeWindows));
}

impl Windows {
    /// From the literals after the time.
    fn try_new(literals: &[Option<&ScalarValue>]) -> Result<Self> {
        let number = |i: usize| literals.get(i).map(|l| micros(*l)).transpose();
        let Some(size) = number(0)? else { return Err(wrong_number(1)) };
        let slide = number(1)?.unwrap_or(size);
        let start = number(2)?.unwrap_or(0);
        if literals.len() > 3 {
            return Err(wrong_number(literals.len() + 1));
        }
        for (name, value) in [("duration", size), ("slide", slide)] {
            if value <= 0 {
                let message = format!("the {name} of 'window' must be positive, but is {}", duration_text(value));
                return Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message)
                    .with_help("write a length above zero, as in window(ts, '10 minutes')"));
            }
        }
        let constraint = |message: String| {
            Error::invalid("DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION", message).with_help(
                "the order is window(time, length, slide, start), as in window(ts, '10 minutes', '5 minutes')",
            )
        };
        if slide > size {
            let (slide, size) = (duration_text(slide), duration_text(size));
            return Err(constraint(format!("the slide of 'window', {slide}, is longer than its duration, {size}")));
        }
        if start.unsigned_abs() >= slide.unsigned_abs() {
            let (start, slide) = (duration_text(start), duration_text(slide));
            return Err(constraint(format!("the start of 'window', {start}, is not shorter than its slide, {slide}")));
        }
        Ok(Self { size, slide, start })
    }
}

fn wrong_number(actual: usize) -> Error {
    let message = format!("function 'window' takes a time and one to three durations, but has {actual} arguments");
    Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message)
        .with_help("write window(ts, '10 minutes', '5 minutes')")
}

fn micros(literal: Option<&ScalarValue>) -> Result<i64> {
    let no_literal = || {
        Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the durations of 'window' must be literals")
            .with_help("write window(ts, '10 minutes') or window(ts, INTERVAL 10 MINUTES)")
    };
    let invalid = |message: String| {
        Error::invalid("INVALID_INTERVAL_FORMAT", message).with_help("write '10 minutes' or '1 hour 30 minutes'")
    };
    let (months, micros) = match literal {
        Some(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)) | ScalarValue::LargeUtf8(Some(t))) => {
            let interval = parse_interval(t).map_err(invalid)?;
            (interval.months, Some(interval.micros))
        }
        Some(ScalarValue::IntervalMonthDayNano(Some(v))) => (
            i64::from(v.months),
            i64::from(v.days).checked_mul(86_400_000_000).and_then(|d| d.checked_add(v.nanoseconds / 1000)),
        ),
        Some(ScalarValue::IntervalDayTime(Some(v))) => {
            (0, Some(i64::from(v.days) * 86_400_000_000 + i64::from(v.milliseconds) * 1000))
        }
        Some(ScalarValue::DurationMicrosecond(Some(v))) => (0, Some(*v)),
        Some(ScalarValue::Int64(Some(v))) => (0, Some(*v)),
        Some(ScalarValue::Int32(Some(v))) => (0, Some(i64::from(*v))),
        _ => return Err(no_literal()),
    };
    if months != 0 {
        return Err(invalid("a duration of 'window' cannot have months or years".to_owned())
            .with_help("they differ in length: use days"));
    }
    micros.ok_or_else(|| invalid("a duration of 'window' is too long".to_owned()))
}

/// `{start, end}` over times of this type; the type the time is brought to.
pub(super) fn window_type(time: &DataType) -> Result<(DataType, DataType)> {
    let zone = match time {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Some("UTC".into())
        }
        DataType::Struct(fields) => match end_of(fields) {
            Some((_, end)) => return window_type(end.data_type()),
            None => return Err(wrong_type("window", time)),
        },
        other => return Err(wrong_type("window", other)),
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let field = |name| Field::new(name, time.clone(), true);
    Ok((DataType::Struct(Fields::from(vec![field("start"), field("end")])), time))
}

/// What to do about times that have no window.
pub(super) const END_OF_TIME: &str = "filter such times out before the window, as in WHERE ts < TIMESTAMP '9999-01-01'";

pub(super) fn wrong_type(function: &str, actual: &DataType) -> Error {
    let expected = if function == "window_time" { "a window" } else { "a TIMESTAMP or a window" };
    let message = format!("function '{function}' takes {expected}, but its argument is {}", sql_type_name(actual));
    let help = match (function, actual) {
        ("window_time", _) => "write window_time(window), with the window that GROUP BY window(…) gives",
        (_, t) if t.is_numeric() => {
            "seconds since 1970 become a time by timestamp_seconds(…), milliseconds by timestamp_millis(…)"
        }
        _ => "cast it: CAST(… AS TIMESTAMP)",
    };
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(help)
}

/// The result's field: the watermark of the time goes on with it.
pub(super) fn with_watermark(name: &str, data_type: DataType, time: &Field) -> FieldRef {
    let mark = time.metadata().get(WATERMARK_KEY).map(|v| (WATERMARK_KEY.to_owned(), v.clone()));
    Arc::new(Field::new(name, data_type, true).with_metadata(HashMap::from_iter(mark)))
}

/// `window`; with `all`, the list of all windows of a time rather than its only one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    all: bool,
    signature: Signature,
}

impl WindowFunction {
    fn struct_of(&self, times: &TimestampMicrosecondArray, windows: &Windows, fields: &Fields) -> Result<ArrayRef> {
        let zone = zone_of(fields);
        let window = |time: i64| {
            let start = windows.last_start(time);
            bounds(start.and_then(|s| Some((s, s.checked_add(windows.size)?))))
        };
        let found = times.iter().map(|t| t.map(window).transpose()).collect::<Result<Vec<_>>>()?;
        let starts: TimestampMicrosecondArray = found.iter().map(|w| w.map(|w| w.0)).collect();
        let ends: TimestampMicrosecondArray = found.iter().map(|w| w.map(|w| w.1)).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(starts.with_timezone_opt(zone.clone())), Arc::new(ends.with_timezone_opt(zone))];
        Ok(Arc::new(StructArray::try_new(fields.clone(), columns, times.nulls().cloned())?))
    }

    fn lists_of(&self, times: &TimestampMicrosecondArray, windows: &Windows, fields: &Fields) -> Result<ArrayRef> {
        let zone = zone_of(fields);
        let (mut starts, mut ends, mut lengths) = (vec![], vec![], Vec::with_capacity(times.len()));
        for time in times {
            let before = starts.len();
            for window in time.into_iter().flat_map(|t| windows.of(t)) {
                let (start, end) = bounds(window)?;
                starts.push(start);
                ends.push(end);
            }
            lengths.push(starts.len() - before);
        }
        let column =
            |v: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(v).with_timezone_opt(zone.clone())) };
        let items = StructArray::try_new(fields.clone(), vec![column(starts), column(ends)], None)?;
        let field = Arc::new(Field::new("element", DataType::Struct(fields.clone()), true));
        Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?))
    }
}

pub(super) fn bounds(window: Option<(i64, i64)>) -> Result<(i64, i64)> {
    window.ok_or_else(|| {
        Error::execution("DATETIME_OVERFLOW", "a time is too close to the end of time for its window to have bounds")
            .with_help(END_OF_TIME)
    })
}

fn zone_of(fields: &Fields) -> Option<Arc<str>> {
    match fields.first().map(|f| f.data_type()) {
        Some(DataType::Timestamp(_, zone)) => zone.clone(),
        _ => None,
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        if self.all { "__windows" } else { "window" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let time = args.first().ok_or_else(|| wrong_number(0))?;
        let window = window_type(time)?.0;
        Ok(if self.all { DataType::List(Arc::new(Field::new("element", window, true))) } else { window })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        Windows::try_new(&args.scalar_arguments[1..])?;
        Ok(with_watermark(self.name(), data_type, &args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let literals: Vec<_> = args.args[1..]
            .iter()
            .map(|a| match a {
                ColumnarValue::Scalar(v) => Some(v),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let windows = Windows::try_new(&literals)?;
        let (fields, times) = times_of(args.args[0].to_array(args.number_rows)?)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let result = match (self.all, windows.is_tumbling()) {
            (true, _) => self.lists_of(times, &windows, &fields)?,
            (false, true) => self.struct_of(times, &windows, &fields)?,
            (false, false) => {
                let message = "a sliding window is possible only in GROUP BY or in the select list";
                let help = "group by it, or select it in a subquery and compute with its column";
                return Err(Error::unsupported("UNSUPPORTED_EXPR_FOR_OPERATOR", message).with_help(help).into());
            }
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// The fields of a window over this column, and the column as times in microseconds.
pub(super) fn times_of(time: ArrayRef) -> Result<(Fields, ArrayRef)> {
    let (DataType::Struct(fields), time_type) = window_type(time.data_type())? else {
        return Err(wrong_type("window", time.data_type()));
    };
    let times = match time.data_type() {
        DataType::Struct(_) => window_times(&time)?,
        _ => time,
    };
    Ok((fields, cast(&times, &time_type)?))
}

/// The time that stands for a window: the last microsecond of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowTime {
    signature: Signature,
}

impl WindowTime {
    /// The function.
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        "window_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args.first() {
            Some(t @ DataType::Struct(_)) => {
                window_type(t).map(|(_, time)| time).map_err(|_| wrong_type("window_time", t).into())
            }
            other => Err(wrong_type("window_time", other.unwrap_or(&DataType::Null)).into()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let data_type = self.return_type(&[args.arg_fields[0].data_type().clone()])?;
        Ok(with_watermark(self.name(), data_type, &args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Array(window_times(&args.args[0].to_array(args.number_rows)?)?))
    }
}

/// The end of each window less a microsecond.
pub(super) fn window_times(windows: &ArrayRef) -> Result<ArrayRef> {
    let (ends, nulls) = window_ends(windows).ok_or_else(|| wrong_type("window_time", windows.data_type()))?;
    let times = TimestampMicrosecondArray::new(ends.values().iter().map(|e| e.saturating_sub(1)).collect(), nulls);
    let DataType::Timestamp(_, zone) = ends.data_type() else {
        return Err(wrong_type("window_time", ends.data_type()));
    };
    Ok(Arc::new(times.with_timezone_opt(zone.clone())))
}

/// Removes the rows without a time below a node that calls `window`, and gives sliding windows a row each. Watermarks over
/// tables have no meaning and go away.
#[derive(Debug)]
pub struct ResolveTimeWindows;

impl AnalyzerRule for ResolveTimeWindows {
    fn name(&self) -> &str {
        "resolve_time_windows"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let mut recompute = false;
        let plan = plan.transform_up_with_subqueries(|node| match batch_watermark(&node) {
            Some(input) => {
                recompute = true;
                Ok(Transformed::yes(input))
            }
            None if recompute => Ok(Transformed::yes(node.recompute_schema()?)),
            None => Ok(Transformed::no(node)),
        });
        plan.data()?.transform_up_with_subqueries(resolve).data()
    }
}

/// The input of a watermark over tables.
fn batch_watermark(node: &LogicalPlan) -> Option<LogicalPlan> {
    let watermark = as_watermark(node)?;
    (!is_streaming(&watermark.input)).then(|| watermark.input.clone())
}

fn resolve(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Filter(_)) {
        return Ok(Transformed::no(node));
    }
    let mut calls: Vec<ScalarFunction> = vec![];
    for e in node.expressions() {
        e.apply(|e| {
            if let Some(call) = as_window(e).or_else(|| session_window::as_call(e))
                && !calls.contains(call)
            {
                calls.push(call.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    match calls.as_slice() {
        [] => session_window::resolve(node, None),
        [call] if as_window(&Expr::ScalarFunction(call.clone())).is_none() => {
            let call = call.clone();
            session_window::resolve(node, Some(&call))
        }
        [call] => Ok(Transformed::yes(resolve_call(node, call)?)),
        _ => Err(Error::unsupported("MULTIPLE_TIME_WINDOWS", "only one time window is possible in one SELECT")
            .with_help("several would give a row for every combination; use a subquery for the second")
            .into()),
    }
}

/// The call of `window` that an expression is.
pub(super) fn as_window(e: &Expr) -> Option<&ScalarFunction> {
    let Expr::ScalarFunction(call) = e else { return None };
    call.func.inner().downcast_ref::<WindowFunction>().filter(|f| !f.all).map(|_| call)
}

/// The windows of a call.
pub(super) fn windows_of(call: &ScalarFunction) -> Result<Windows> {
    let literal = |a: &Expr| match a {
        Expr::Literal(v, _) => Some(v.clone()),
        _ => None,
    };
    let literals: Vec<_> = call.args[1..].iter().map(literal).collect();
    Windows::try_new(&literals.iter().map(Option::as_ref).collect::<Vec<_>>())
}

fn resolve_call(node: LogicalPlan, call: &ScalarFunction) -> DfResult<LogicalPlan> {
    let input = node.inputs()[0].clone();
    let windows = windows_of(call)?;
    let by_pane = pane::is_possible(&node, call, &windows);
    let timed = LogicalPlanBuilder::from(input).filter(call.args[0].clone().is_not_null())?;
    if windows.is_tumbling() || by_pane {
        return node.with_new_exprs(node.expressions(), vec![timed.build()?]);
    }
    if matches!(node, LogicalPlan::Filter(_)) {
        let message = "a sliding window is possible only in GROUP BY or in the select list";
        return Err(Error::unsupported("UNSUPPORTED_EXPR_FOR_OPERATOR", message).into());
    }
    let timed = timed.build()?;
    let (name, metadata) = (Expr::ScalarFunction(call.clone()).schema_name().to_string(), mark(call, timed.schema())?);
    let mut expanded = expand(timed, call, &node)?;
    let mut column = Expr::Column(Column::new_unqualified(SLIDING)).alias_with_metadata(name.clone(), metadata);
    if node.expressions().iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        // Names inside of grouping sets have no meaning: the column itself must have it.
        let columns = expanded.schema().columns().into_iter().filter(|c| c.name != SLIDING).map(Expr::Column);
        expanded = LogicalPlanBuilder::from(expanded.clone()).project(columns.chain([column]))?.build()?;
        column = Expr::Column(Column::new_unqualified(name));
    }
    let replace = |e: Expr| {
        let original = e.qualified_name();
        let replaced = e.transform_up(|e| match as_window(&e) {
            Some(_) => Ok(Transformed::yes(column.clone())),
            None => Ok(Transformed::no(e)),
        })?;
        // Aliases inside of an expression have no meaning, and the outermost must be as it was.
        let whole = replaced.data == column || matches!(replaced.data, Expr::GroupingSet(_));
        let changed = replaced.transformed && !whole;
        Ok(if changed {
            inner_unaliased(replaced.data)?.alias_qualified(original.0, original.1)
        } else {
            replaced.data
        })
    };
    let exprs = node.expressions().into_iter().map(replace).collect::<DfResult<Vec<_>>>()?;
    match node {
        LogicalPlan::Projection(_) => LogicalPlanBuilder::from(expanded).project(exprs)?.build(),
        LogicalPlan::Aggregate(a) => {
            let keys = a.group_expr.len();
            let (keys, aggregates) = exprs.split_at(keys);
            let aggregate =
                datafusion::logical_expr::Aggregate::try_new(Arc::new(expanded), keys.to_vec(), aggregates.to_vec())?;
            Ok(LogicalPlan::Aggregate(aggregate))
        }
        other => other.with_new_exprs(exprs, vec![expanded]),
    }
}

fn inner_unaliased(e: Expr) -> DfResult<Expr> {
    let top = e.unalias();
    top.transform_up(|e| {
        Ok(match e {
            Expr::Alias(a) if matches!(a.expr.as_ref(), Expr::Column(c) if c.name == SLIDING) => {
                Transformed::yes(*a.expr)
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

/// The metadata of the call's result.
fn mark(call: &ScalarFunction, schema: &DFSchema) -> DfResult<Option<FieldMetadata>> {
    let (_, field) = Expr::ScalarFunction(call.clone()).to_field(schema)?;
    Ok((!field.metadata().is_empty()).then(|| FieldMetadata::from(field.metadata().clone())))
}

/// The columns that `node` needs, once for each window of the row, and the window.
fn expand(input: LogicalPlan, call: &ScalarFunction, node: &LogicalPlan) -> DfResult<LogicalPlan> {
    let expressions = node.expressions();
    let used: Vec<&Column> = expressions.iter().flat_map(Expr::column_refs).collect();
    let kept: Vec<_> = input.schema().columns().into_iter().filter(|c| used.contains(&c)).map(Expr::Column).collect();
    let all = WindowFunction { all: true, signature: Signature::variadic_any(Volatility::Immutable) };
    let windows = ScalarUDF::new_from_impl(all).call(call.args.clone()).alias(SLIDING);
    LogicalPlanBuilder::from(input)
        .project(kept.into_iter().chain([windows]))?
        .unnest_columns_with_options(
            vec![Column::new_unqualified(SLIDING)],
            UnnestOptions::new().with_null_handling(NullHandling::Drop),
        )?
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: i64, slide: i64, start: i64) -> Windows {
        let literals = [size, slide, start].map(|n| ScalarValue::Int64(Some(n)));
        Windows::try_new(&literals.iter().map(Some).collect::<Vec<_>>()).unwrap()
    }

    fn all(windows: &Windows, time: i64) -> Vec<(i64, i64)> {
        windows.of(time).flatten().collect()
    }

    #[test]
    fn times_before_the_epoch_fall_into_the_window_that_holds_them() {
        let tumbling = windows(10, 10, 0);
        for (time, start) in [(-1, -10), (-10, -10), (-11, -20), (0, 0), (9, 0), (10, 10)] {
            assert_eq!(tumbling.last_start(time), Some(start), "{time}");
        }
        assert_eq!(windows(10, 10, -3).last_start(-4), Some(-13));
        assert_eq!(windows(10, 10, 3).last_start(-7), Some(-7));
    }

    #[test]
    fn every_sliding_window_holds_its_time() {
        for (size, slide, start) in [(10, 3, 0), (10, 5, 2), (7, 7, -3), (9, 2, 1)] {
            let w = windows(size, slide, start);
            for time in -30..30 {
                let found = all(&w, time);
                let expected: Vec<_> = (-20..20)
                    .map(|i| (start + i * slide, start + i * slide + size))
                    .filter(|(from, to)| (*from..*to).contains(&time))
                    .rev()
                    .collect();
                assert_eq!(found, expected, "{w:?} at {time}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let w = windows(10, 10, 0);
        assert_eq!((w.last_start(i64::MIN), w.of(i64::MAX).next()), (None, Some(None)));
    }

    #[test]
    fn wrong_durations() {
        let condition = |literals: &[ScalarValue]| {
            let e = Windows::try_new(&literals.iter().map(Some).collect::<Vec<_>>()).unwrap_err();
            e.condition().to_owned()
        };
        let text = |t: &str| ScalarValue::Utf8(Some(t.to_owned()));
        assert_eq!(condition(&[text("0 seconds")]), "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE");
        assert_eq!(condition(&[text("1 month")]), "INVALID_INTERVAL_FORMAT");
        assert_eq!(condition(&[text("nonsense")]), "INVALID_INTERVAL_FORMAT");
        let violation = "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION";
        assert_eq!(condition(&[text("5 seconds"), text("6 seconds")]), violation);
        assert_eq!(condition(&[text("5 seconds"), text("5 seconds"), text("-5 seconds")]), violation);
    }
}
