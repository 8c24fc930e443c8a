//! Where the session meets planner, sinks and functions.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::error::Result;
use crate::function;
use crate::options::{OptionReader, Options};
use crate::plan::{self, TriggerTime, generators, time_window};
use crate::query::renamed_schema;
use crate::sink::{MemorySink, OutputMode, Sink};
use crate::sql::query::PlannedQuery;
use crate::time::Clock;

/// What a query can read by name.
pub type Table = Arc<dyn TableProvider>;

/// Functions, generators and the time, so that every name has Spark's meaning.
pub fn register_functions(context: &SessionContext, clock: &Clock) -> Result<()> {
    function::register_all(context)?;
    plan::register_trigger_time(context, clock);
    context.add_analyzer_rule(Arc::new(generators::ResolveGenerators));
    time_window::register(context);
    Ok(())
}

/// Checks that the query is possible in this mode, as starting it would: on the analysed plan.
pub fn check_query(context: &SessionContext, plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let state = context.state();
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {})?;
    plan::check_legality(&analyzed, mode)
}

/// Checks a flow as starting it would, without any effect: the query, its physical plan, and whether the sink takes it.
pub async fn check_flow(
    context: &SessionContext,
    planned: &PlannedQuery,
    mode: OutputMode,
    sink: &dyn Sink,
) -> Result<()> {
    check_query(context, &planned.plan, mode)?;
    let (bound, _) = plan::bind(planned.plan.clone(), &TriggerTime::default())?;
    let stream = plan::plan_stream(&context.state(), &bound, mode).await?;
    sink.check(mode, &renamed_schema(&stream.schema, &planned.names))
}

/// The physical plan of a streaming query that does not run; with `extended`, the logical one too.
pub async fn explain_stream(
    context: &SessionContext,
    plan: &LogicalPlan,
    mode: OutputMode,
    extended: bool,
) -> Result<String> {
    check_query(context, plan, mode)?;
    let (bound, _) = plan::bind(plan.clone(), &TriggerTime::default())?;
    Ok(plan::plan_stream(&context.state(), &bound, mode).await?.explain(extended))
}

/// A memory sink, and itself as a table.
pub fn memory_sink(name: &str, options: &Options) -> Result<(Arc<dyn Sink>, Table)> {
    OptionReader::new("the memory sink", options).finish()?;
    let sink = Arc::new(MemorySink::new(name));
    Ok((sink.clone(), sink))
}
