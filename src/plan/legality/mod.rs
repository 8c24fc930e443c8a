//! Which queries a stream can have in which output mode: Spark's rules, checked before anything starts.

mod join;
mod state_function;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, FetchType, Limit, LogicalPlan, SkipType, Sort,
};

use self::join::{check_join, check_set_operation, check_stream_join};
use super::dedup::DedupNode;
use super::join::is_stream_join;
use super::state_function::as_state_function;
use super::watermark::{as_watermark, event_time_columns, watermark_delay_ms};
use super::window::session_key;
use super::{is_streaming, mentions_stream};
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;

/// Checks a query before it is bound.
///
/// # Errors
/// The first rule that the query breaks, under Spark's condition name.
pub fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    if !is_streaming(plan) {
        return Err(Error::unsupported("WRITE_STREAM_NOT_ALLOWED", "the query reads no stream")
            .with_help("a query over tables alone is a batch query: write it as a plain SELECT"));
    }
    check_mode(plan, mode)?;
    state_function::check_all(plan, mode)?;
    check_node(plan, mode, Above::default())
}

/// Checks a query that reads no stream: its subqueries must not either.
///
/// # Errors
/// `INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY`.
pub fn check_batch(plan: &LogicalPlan) -> Result<()> {
    check_expressions(plan)?;
    plan.inputs().into_iter().try_for_each(check_batch)
}

/// What is between a node and the sink.
#[derive(Debug, Clone, Copy, Default)]
struct Above {
    stateful: bool,
}

fn check_node(node: &LogicalPlan, mode: OutputMode, mut above: Above) -> Result<()> {
    check_expressions(node)?;
    if !is_streaming(node) {
        return Ok(());
    }
    check_row_numbers(node)?;
    match node {
        LogicalPlan::Aggregate(a) => check_aggregate(a, mode, above)?,
        LogicalPlan::Distinct(Distinct::All(input)) => check_keyed(input.schema().fields(), mode, above)?,
        LogicalPlan::Distinct(Distinct::On(_)) => {
            return Err(unsupported("DISTINCT ON in this form").with_help("write SELECT DISTINCT ON (k, …) * FROM …"));
        }
        LogicalPlan::Join(join) if is_stream_join(join) => {
            check_set_operation(join, mode)?;
            check_stream_join(join, mode)?;
        }
        LogicalPlan::Join(join) => {
            check_set_operation(join, mode)?;
            check_join(join)?;
        }
        LogicalPlan::Sort(sort) => check_sort(sort, mode)?,
        LogicalPlan::Limit(limit) => check_limit(limit, mode)?,
        LogicalPlan::Union(union) if union.inputs.iter().any(|i| !is_streaming(i)) => {
            return Err(Error::unsupported(
                "UNSUPPORTED_STREAMING_OPERATION",
                "union between streaming and batch DataFrames/Datasets is not supported",
            )
            .with_help("rows of a table are there once, those of a stream again and again: make the table a stream, with CREATE STREAM"));
        }
        LogicalPlan::Window(window) => {
            let function = window.window_expr.first().map(window_function_name).unwrap_or_default();
            return Err(Error::unsupported(
                "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
                format!("window function '{function}' is not supported on streams"),
            )
            .with_help(
                "group by a time window: GROUP BY window(ts, '1 minute'); or keep the latest row by max_by(v, ts)",
            ));
        }
        LogicalPlan::RecursiveQuery(_) => {
            return Err(
                unsupported("a recursive query").with_help("its end would never be known: use it over tables only")
            );
        }
        LogicalPlan::Extension(extension) => check_extension(node, extension.node.name(), mode, above)?,
        _ => {}
    }
    above.stateful |= is_stateful(node);
    node.inputs().into_iter().try_for_each(|input| check_node(input, mode, above))
}

/// Rules about the whole plan.
fn check_mode(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    if mode == OutputMode::Complete && !has_aggregate(plan) {
        return Err(wrong_mode(mode, "no streaming aggregations")
            .with_help("complete mode gives the whole result of an aggregate; use append mode"));
    }
    Ok(())
}

fn has_aggregate(plan: &LogicalPlan) -> bool {
    let aggregates = matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::All(_)));
    is_streaming(plan) && (aggregates || plan.inputs().into_iter().any(has_aggregate))
}

fn is_stateful(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::Join(join) => is_stream_join(join),
        // One that keeps its keys for ever does not care which rows came before which.
        LogicalPlan::Extension(_) => {
            as_dedup(node).is_some_and(|d| d.within_watermark || dedups_by_time(d)) || as_state_function(node).is_some()
        }
        _ => false,
    }
}

fn as_dedup(node: &LogicalPlan) -> Option<&DedupNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

fn dedups_by_time(dedup: &DedupNode) -> bool {
    let schema = dedup.input.schema();
    dedup.keys.iter().any(|k| k.to_field(schema).is_ok_and(|(_, f)| watermark_delay_ms(&f).is_some()))
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(
        "UNSUPPORTED_STREAMING_OPERATION",
        format!("{what} is not supported on streaming DataFrames/Datasets"),
    )
}

fn wrong_mode(mode: OutputMode, operation: &str) -> Error {
    Error::unsupported(
        "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
        format!(
            "invalid streaming output mode: {mode}. This output mode is not supported for {operation} on streaming DataFrames/DataSets"
        ),
    )
}

/// The name of the function alone: its text has names of the plan.
fn window_function_name(e: &Expr) -> String {
    match e {
        Expr::WindowFunction(f) => f.fun.name().to_owned(),
        Expr::Alias(a) => window_function_name(&a.expr),
        other => other.to_string(),
    }
}

fn check_expressions(node: &LogicalPlan) -> Result<()> {
    for expression in node.expressions() {
        let mut refused = None;
        expression.apply(|e| {
            refused = refused.take().or(check_expression(e));
            Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if let Some(e) = refused {
            return Err(e);
        }
    }
    Ok(())
}

fn check_expression(e: &Expr) -> Option<Error> {
    let subquery = match e {
        Expr::ScalarSubquery(q) => Some(q),
        Expr::Exists(q) => Some(&q.subquery),
        Expr::InSubquery(q) => Some(&q.subquery),
        _ => None,
    };
    if subquery.is_some_and(|q| mentions_stream(&q.subquery)) {
        return Some(
            Error::unsupported("INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY", "a subquery expression reads a stream")
                .with_help("join the streams instead"),
        );
    }
    None
}

/// Refuses what is right over tables only.
fn check_row_numbers(node: &LogicalPlan) -> Result<()> {
    let numbers = |e: &Expr| matches!(e, Expr::ScalarFunction(f) if f.name() == "monotonically_increasing_id");
    for e in node.expressions() {
        if e.exists(|e| Ok(numbers(e)))? {
            return Err(unsupported("function 'monotonically_increasing_id'")
                .with_help("use uuid(), or a key of the rows themselves such as Kafka's partition and offset"));
        }
    }
    Ok(())
}

fn check_aggregate(aggregate: &Aggregate, mode: OutputMode, above: Above) -> Result<()> {
    for e in &aggregate.aggr_expr {
        let mut distinct = None;
        e.apply(|e| {
            if let Expr::AggregateFunction(f) = e
                && f.params.distinct
            {
                distinct = Some(f.func.name().to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if let Some(name) = distinct {
            return Err(Error::unsupported(
                "UNSUPPORTED_STREAMING_OPERATION",
                format!("distinct aggregations are not supported on streaming DataFrames/Datasets: {name}(DISTINCT …)"),
            )
            .with_help("use approx_count_distinct(…)"));
        }
    }
    check_session(aggregate, mode)?;
    let keys = aggregate.schema.fields().len().saturating_sub(aggregate.aggr_expr.len());
    check_keyed(&aggregate.schema.fields()[..keys], mode, above)
}

/// Sessions grow and merge: only a session that has ended, or all of them, can be given.
fn check_session(aggregate: &Aggregate, mode: OutputMode) -> Result<()> {
    if session_key(&aggregate.group_expr, &aggregate.input)?.is_none() {
        return Ok(());
    }
    if aggregate.group_expr.len() == 1 {
        let message = "global aggregation with session window in streaming query is not supported";
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message)
            .with_help("sessions are those of a key: add one to GROUP BY"));
    }
    if mode == OutputMode::Update {
        let message = "Update output mode not supported for session window on streaming DataFrames/DataSets";
        return Err(Error::unsupported("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION", message)
            .with_help("use append mode, which gives a session when it has ended, or complete mode"));
    }
    Ok(())
}

/// An aggregate over these keys.
fn check_keyed(keys: &[FieldRef], mode: OutputMode, above: Above) -> Result<()> {
    let event_times: Vec<_> = keys.iter().filter(|f| watermark_delay_ms(f).is_some()).collect();
    // In complete mode nothing is late and no group is final, so that no time decides anything.
    if mode != OutputMode::Complete {
        check_one_event_time(event_times.iter().map(|f| f.name().as_str()))?;
    }
    if mode == OutputMode::Append {
        if !event_times.is_empty() {
            return Ok(());
        }
        return Err(wrong_mode(mode, "streaming aggregations without watermark")
            .with_help("use OUTPUT MODE UPDATE or COMPLETE: without a watermark a group is never final"));
    }
    if above.stateful {
        let message = format!(
            "detected pattern of possible 'correctness' issue due to global watermark: an aggregate followed by another \
             stateful operator in {mode} output mode"
        );
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message).with_help(
            "in this mode the first aggregate gives changes, not final rows: aggregate once, or use OUTPUT MODE APPEND",
        ));
    }
    Ok(())
}

pub fn check_one_event_time<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let names: Vec<_> = names.collect();
    if names.len() < 2 {
        return Ok(());
    }
    let message = format!(
        "More than one event time columns are available. '{}' reach one stateful operator. Please ensure there is at most one event time column per stream.",
        names.join("', '")
    );
    Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION.MULTIPLE_EVENT_TIME_COLUMNS", message)
        .with_help("only one of them can say when its state is final: leave the others out, or CAST them"))
}

fn check_dedup(dedup: &DedupNode) -> Result<()> {
    if !dedup.within_watermark {
        return Ok(());
    }
    let fields = dedup.input.schema().fields();
    let event_times = event_time_columns(fields);
    check_one_event_time(event_times.iter().map(|i| fields[*i].name().as_str()))?;
    if event_times.is_empty() {
        let message = "DISTINCT ON … WITHIN WATERMARK (dropDuplicatesWithinWatermark) is not supported on streams without watermark";
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message)
            .with_help("add WATERMARK … DELAY OF … to the stream"));
    }
    Ok(())
}

/// A watermark over a watermark would have two meanings.
fn check_watermark(node: &LogicalPlan) -> Result<()> {
    fn marked(node: &LogicalPlan) -> bool {
        as_watermark(node).is_some() || node.inputs().into_iter().any(marked)
    }
    if node.inputs().into_iter().any(marked) {
        let message = "Redefining watermark is disallowed. A WATERMARK is over rows that have one already, as Spark allows only with 'spark.sql.streaming.statefulOperator.allowMultiple' = false";
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message)
            .with_help("keep the one nearest to the stream"));
    }
    Ok(())
}

fn check_extension(node: &LogicalPlan, name: &str, mode: OutputMode, above: Above) -> Result<()> {
    if let Some(dedup) = as_dedup(node) {
        check_dedup(dedup)?;
    }
    if let Some(function) = as_state_function(node) {
        return state_function::check(function, mode, above.stateful);
    }
    match name {
        "Dedup" if mode == OutputMode::Complete && !above.stateful => {
            Err(wrong_mode(mode, "no streaming aggregations").with_help("use append mode"))
        }
        "Dedup" | "SubqueryAlias" | "Apply" | "Random" => Ok(()),
        "Watermark" => check_watermark(node),
        other => {
            Err(unsupported(&format!("operator '{other}'")).with_help("compute it over a table that a flow writes"))
        }
    }
}

fn check_sort(sort: &Sort, mode: OutputMode) -> Result<()> {
    if mode == OutputMode::Complete && has_aggregate(&sort.input) {
        return Ok(());
    }
    Err(Error::unsupported(
        "UNSUPPORTED_STREAMING_OPERATION",
        "sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated DataFrame/Dataset in Complete output mode",
    )
    .with_help("leave ORDER BY out, or aggregate in OUTPUT MODE COMPLETE"))
}

fn check_limit(limit: &Limit, mode: OutputMode) -> Result<()> {
    if !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0))) {
        return Err(
            unsupported("Offset").with_help("leave OFFSET out: which rows of a stream are the first is not known")
        );
    }
    if !matches!(limit.get_fetch_type(), Ok(FetchType::Literal(_))) {
        return Err(unsupported("LIMIT of an expression").with_help("give the number of rows as a constant"));
    }
    if mode == OutputMode::Update {
        return Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATION",
            "limits are not supported on streaming DataFrames/Datasets in Update output mode",
        )
        .with_help("use append or complete mode"));
    }
    Ok(())
}
