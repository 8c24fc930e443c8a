//! Whether a query could be started, without starting it.

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::error::Result;
use crate::output_mode::OutputMode;
use crate::plan::{self, TriggerTime};
use crate::query::renamed_schema;
use crate::sink::Sink;
use crate::sql::query::PlannedQuery;

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
