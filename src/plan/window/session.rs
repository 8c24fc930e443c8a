//! Session windows: `session_window(time, gap)`.
//!
//! The function gives each row the session that it would be on its own, `{time, time + gap}`. An aggregate that has it among
//! its keys merges those that overlap or touch: a stream's in [`SessionOperator`](crate::operator::SessionOperator), a
//! table's by window functions, into which [`resolve`] turns it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Field, FieldRef, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use chrono::{DateTime, Months};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::functions_aggregate::{min_max::max_udaf, sum::sum_udaf};
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowFunctionDefinition, lit, when,
};
use datafusion::prelude::SessionContext;

use super::columns::WindowOf;
use super::types::{END_OF_TIME, window_times, window_type, with_watermark, wrong_type};
use crate::error::{Error, Result};
use crate::function::scalar::session_time_zone;
use crate::interval::{Interval, parse_interval};
use crate::plan::is_streaming;
use crate::plan::node::{StatefulKind, StatefulNode};
use crate::type_name::sql_type_name;

/// The key of the field metadata that marks sessions of single rows.
pub const SESSION_KEY: &str = "tidemill.session";

/// Columns of a batch query: bounds of a row's own session, how far the sessions before it reach, whether it opens one, and
/// which one it is in.
const START: &str = "#start";
const END: &str = "#end";
const REACH: &str = "#reach";
const OPENS: &str = "#opens";
const NUMBER: &str = "#session";

/// Registers the functions.
pub fn register(context: &SessionContext) {
    context.register_udf(ScalarUDF::new_from_impl(SessionWindow::new()));
    context.register_udf(ScalarUDF::new_from_impl(WindowOf::new()));
}

/// The call of `session_window` that this is.
pub fn as_call(e: &Expr) -> Option<&ScalarFunction> {
    let Expr::ScalarFunction(call) = e else { return None };
    call.func.inner().downcast_ref::<SessionWindow>().map(|_| call)
}

/// Which of these keys over `input` is a session that is still to be merged.
///
/// # Errors
/// If a key's type is unknown.
pub fn session_key(keys: &[Expr], input: &LogicalPlan) -> DfResult<Option<usize>> {
    for (i, key) in keys.iter().enumerate().filter(|(_, k)| !matches!(k, Expr::GroupingSet(_))) {
        let (_, field) = key.to_field(input.schema())?;
        if field.metadata().contains_key(SESSION_KEY) {
            return Ok((!is_merged(input)?).then_some(i));
        }
    }
    Ok(None)
}

/// Whether an aggregate below has merged the sessions.
fn is_merged(node: &LogicalPlan) -> DfResult<bool> {
    let here = match node {
        LogicalPlan::Aggregate(a) => {
            let numbered = |e: &Expr| matches!(e, Expr::Column(c) if c.name == NUMBER);
            a.group_expr.iter().any(numbered) || session_key(&a.group_expr, &a.input)?.is_some()
        }
        LogicalPlan::Extension(e) => {
            let stateful = e.node.as_any().downcast_ref::<StatefulNode>();
            stateful.is_some_and(|s| matches!(s.kind, StatefulKind::Session { .. }))
        }
        _ => false,
    };
    if here {
        return Ok(true);
    }
    for input in node.inputs() {
        if is_merged(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the rows without a session below a node that calls `session_window`, and merges sessions of tables.
///
/// # Errors
/// A session in GROUPING SETS.
pub fn resolve(node: LogicalPlan, call: Option<&ScalarFunction>) -> DfResult<Transformed<LogicalPlan>> {
    if let LogicalPlan::Aggregate(aggregate) = &node {
        if let (Some(call), [Expr::GroupingSet(set)]) = (call, aggregate.group_expr.as_slice()) {
            let grouped = set.distinct_expr().into_iter().any(|e| as_call(e) == Some(call));
            if grouped {
                let message = "session_window is not possible in GROUPING SETS, ROLLUP and CUBE";
                let help = "group by session_window(…) and plain keys; several levels are several flows";
                return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help(help).into());
            }
        }
        if let Some(session) = session_key(&aggregate.group_expr, &aggregate.input)? {
            let key = aggregate.group_expr[session].clone().unalias();
            let timed =
                LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).filter(key.is_not_null())?.build()?;
            let mut aggregate = aggregate.clone();
            aggregate.input = Arc::new(timed);
            return Ok(Transformed::yes(match is_streaming(&aggregate.input) {
                true => LogicalPlan::Aggregate(aggregate),
                false => merge_in_batch(aggregate, session)?,
            }));
        }
    }
    let (Some(call), LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) = (call, &node) else {
        return Ok(Transformed::no(node));
    };
    let input = LogicalPlanBuilder::from(node.inputs()[0].clone());
    let timed = input.filter(Expr::ScalarFunction(call.clone()).is_not_null())?.build()?;
    Ok(Transformed::yes(node.with_new_exprs(node.expressions(), vec![timed])?))
}

/// The same aggregate by window functions: a row opens a session if it starts after all before it have ended, and a session's
/// number is how many were opened.
fn merge_in_batch(aggregate: Aggregate, session: usize) -> DfResult<LogicalPlan> {
    let Aggregate { input, mut group_expr, mut aggr_expr, schema, .. } = aggregate;
    let own = group_expr.remove(session).unalias();
    let columns = |plan: &LogicalPlan| -> Vec<Expr> { plan.schema().columns().into_iter().map(Expr::Column).collect() };
    let keys: Vec<Expr> = group_expr.iter().map(|k| k.clone().unalias()).collect();
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let over = |plan: LogicalPlan, call: WindowFunction, name: &str| -> DfResult<LogicalPlan> {
        let before = columns(&plan);
        let plan = LogicalPlanBuilder::from(plan).window([Expr::WindowFunction(Box::new(call))])?.build()?;
        let made = plan.schema().columns().into_iter().nth(before.len()).map(Expr::Column).unwrap_or_default();
        LogicalPlanBuilder::from(plan).project(before.into_iter().chain([made.alias(name)]))?.build()
    };
    let windowed = |udaf, arg: &str, frame| {
        let mut call = WindowFunction::new(WindowFunctionDefinition::AggregateUDF(udaf), vec![column(arg)]);
        call.params.partition_by = keys.clone();
        call.params.order_by = vec![column(START).sort(true, true)];
        call.params.window_frame = frame;
        call
    };
    let unbounded = || WindowFrameBound::Preceding(ScalarValue::UInt64(None));
    let before = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        unbounded(),
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))),
    );
    // Rows of one time are peers: whichever of them opens the session, they are all in it.
    let so_far = WindowFrame::new_bounds(
        WindowFrameUnits::Range,
        WindowFrameBound::Preceding(ScalarValue::Null),
        WindowFrameBound::CurrentRow,
    );
    let bounds = [get_field(own.clone(), "start").alias(START), get_field(own, "end").alias(END)];
    let all = columns(&input);
    let plan = LogicalPlanBuilder::from(input).project(all.into_iter().chain(bounds))?.build()?;
    let plan = over(plan, windowed(max_udaf(), END, before), REACH)?;
    let opens = when(column(REACH).is_null().or(column(START).gt(column(REACH))), lit(1_i64)).otherwise(lit(0_i64))?;
    let all = columns(&plan);
    let plan = LogicalPlanBuilder::from(plan).project(all.into_iter().chain([opens.alias(OPENS)]))?.build()?;
    let plan = over(plan, windowed(sum_udaf(), OPENS, so_far), NUMBER)?;

    let num_keys = group_expr.len();
    group_expr.push(column(NUMBER));
    let num_values = aggr_expr.len();
    aggr_expr.extend([min(column(START)), max(column(END))]);
    let plan = LogicalPlanBuilder::from(plan).aggregate(group_expr, aggr_expr)?.build()?;
    let made = columns(&plan);
    let bounds = made[num_keys + 1 + num_values..].to_vec();
    let merged = ScalarUDF::new_from_impl(WindowOf::new()).call(bounds);
    let mut output: Vec<Expr> = made[..num_keys].to_vec();
    let (qualifier, field) = schema.qualified_field(session);
    output.insert(session, merged.alias_qualified(qualifier.cloned(), field.name()));
    output.extend(made[num_keys + 1..num_keys + 1 + num_values].iter().cloned());
    LogicalPlanBuilder::from(plan).project(output)?.build()
}

/// `session_window`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionWindow {
    signature: Signature,
}

impl SessionWindow {
    fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SessionWindow {
    fn name(&self) -> &str {
        "session_window"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let [time, gap] = args else { return Err(wrong_number(args.len()).into()) };
        check_gap_type(gap)?;
        Ok(window_type(time).map_err(|_| wrong_type("session_window", time))?.0)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        if let Some(Some(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)))) = args.scalar_arguments.get(1) {
            parse_interval(t).map_err(invalid_gap)?;
        }
        let field = with_watermark(self.name(), data_type, &args.arg_fields[0]);
        Ok(Arc::new(marked(field.as_ref().clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let time = args.args[0].to_array(args.number_rows)?;
        let (DataType::Struct(fields), time_type) = window_type(time.data_type())? else {
            return Err(wrong_type("session_window", time.data_type()).into());
        };
        let times = match time.data_type() {
            DataType::Struct(_) => window_times(&time)?,
            _ => time,
        };
        let times = cast(&times, &time_type)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let gaps = Gaps::of(&args.args[1])?;
        let zone = session_time_zone(&args.config_options);
        let own = |row: usize| -> Result<Option<(i64, i64)>> {
            let (true, Some(gap)) = (times.is_valid(row), gaps.get(row)) else { return Ok(None) };
            let start = times.value(row);
            let end = add(start, gap, zone).ok_or_else(|| {
                let message = "a time is too close to the end of time for its session to have an end";
                Error::execution("DATETIME_OVERFLOW", message).with_help(END_OF_TIME)
            })?;
            Ok((end > start).then_some((start, end)))
        };
        let sessions = (0..times.len()).map(own).collect::<Result<Vec<_>>>()?;
        let bound = |pick: fn((i64, i64)) -> i64| -> ArrayRef {
            let times: TimestampMicrosecondArray = sessions.iter().map(|s| s.map(pick)).collect();
            Arc::new(times.with_timezone_opt(zone_of(&time_type)))
        };
        let (starts, ends) = (bound(|s| s.0), bound(|s| s.1));
        let nulls = starts.nulls().cloned();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields, vec![starts, ends], nulls)?)))
    }
}

fn marked(field: Field) -> Field {
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    metadata.insert(SESSION_KEY.to_owned(), String::new());
    field.with_metadata(metadata)
}

fn zone_of(time: &DataType) -> Option<Arc<str>> {
    match time {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}

fn wrong_number(actual: usize) -> Error {
    let message = format!("function 'session_window' takes a time and a gap, but has {actual} arguments");
    Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message).with_help("write session_window(ts, '5 minutes')")
}

fn invalid_gap(message: String) -> Error {
    Error::invalid("INVALID_INTERVAL_FORMAT", message).with_help("write session_window(ts, '5 minutes')")
}

fn check_gap_type(gap: &DataType) -> Result<()> {
    let fits = matches!(
        gap,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Null
    );
    if fits {
        return Ok(());
    }
    let message = format!("the gap of 'session_window' must be an INTERVAL or a STRING, but is {}", sql_type_name(gap));
    Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
        .with_help("write session_window(ts, '5 minutes')"))
}

/// The gaps of the rows; one that is none, or no interval, is NULL.
enum Gaps {
    All(Option<Interval>),
    Each(Vec<Option<Interval>>),
}

impl Gaps {
    fn of(gap: &ColumnarValue) -> Result<Self> {
        Ok(match gap {
            ColumnarValue::Scalar(gap) => Self::All(Self::read(&gap.to_array()?)?.into_iter().next().flatten()),
            ColumnarValue::Array(gaps) => Self::Each(Self::read(gaps)?),
        })
    }

    fn read(gaps: &ArrayRef) -> Result<Vec<Option<Interval>>> {
        Ok(match gaps.data_type() {
            DataType::Null => vec![None; gaps.len()],
            DataType::Interval(_) => {
                let gaps = cast(gaps, &DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano))?;
                let interval = |v: arrow::datatypes::IntervalMonthDayNano| Interval {
                    months: i64::from(v.months),
                    micros: i64::from(v.days).saturating_mul(86_400_000_000).saturating_add(v.nanoseconds / 1000),
                };
                gaps.as_primitive::<IntervalMonthDayNanoType>().iter().map(|v| v.map(interval)).collect()
            }
            DataType::Duration(_) => {
                let gaps = cast(gaps, &DataType::Duration(arrow::datatypes::TimeUnit::Microsecond))?;
                let gaps = gaps.as_primitive::<DurationMicrosecondType>();
                gaps.iter().map(|v| v.map(|micros| Interval { months: 0, micros })).collect()
            }
            _ => {
                let texts = cast(gaps, &DataType::Utf8View)?;
                let mut known: HashMap<&str, Option<Interval>> = HashMap::new();
                let mut read = |text| *known.entry(text).or_insert_with(|| parse_interval(text).ok());
                texts.as_string_view().iter().map(|text| text.and_then(&mut read)).collect()
            }
        })
    }

    fn get(&self, row: usize) -> Option<Interval> {
        match self {
            Self::All(gap) => *gap,
            Self::Each(gaps) => gaps[row],
        }
    }
}

/// Months are those of the calendar in the zone.
fn add(time_us: i64, gap: Interval, zone: Tz) -> Option<i64> {
    if gap.months == 0 {
        return time_us.checked_add(gap.micros);
    }
    let months = Months::new(u32::try_from(gap.months.unsigned_abs()).ok()?);
    let time = DateTime::from_timestamp_micros(time_us)?.with_timezone(&zone);
    let moved = if gap.months < 0 { time.checked_sub_months(months) } else { time.checked_add_months(months) };
    moved?.timestamp_micros().checked_add(gap.micros)
}
