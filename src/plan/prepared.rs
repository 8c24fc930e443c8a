//! The one way from a query to its plan: analysed, allowed, bound, planned.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::bind::{BoundSource, bind};
use super::planner::{StreamPlan, plan_stream};
use super::trigger_time::TriggerTime;
use super::{legality, scanned_stream};
use crate::error::Result;
use crate::output_mode::OutputMode;
use crate::state::StateBackend;

/// A query that a stream can do, planned: what a flow is checked with, and runs once. Nothing of it is open yet.
#[derive(Debug)]
pub struct PreparedQuery {
    /// Its plans and the state they share, which is empty.
    pub plan: StreamPlan,
    /// The streams it reads, in the order in which the query names them.
    pub sources: Vec<BoundSource>,
    /// The time that its functions see: to be set before each batch.
    pub time: TriggerTime,
    /// Whether it reads tables, whose files are listed when the plan is made.
    reads_tables: bool,
    settings: Arc<ConfigOptions>,
}

/// Plans a query over streams as it will run.
///
/// # Errors
/// The query is not possible in this mode, or not in this version.
pub async fn prepare(session: &SessionState, query: &LogicalPlan, mode: OutputMode) -> Result<PreparedQuery> {
    let analyzed = session.analyzer().execute_and_check(query.clone(), session.config_options(), |_, _| {})?;
    legality::check(&analyzed, mode)?;
    let time = TriggerTime::default();
    let (bound, sources) = bind(query.clone(), &time)?;
    let plan = plan_stream(session, &bound, mode).await?;
    let settings = session.config_options().clone();
    Ok(PreparedQuery { plan, sources, time, reads_tables: reads_tables(query)?, settings })
}

impl PreparedQuery {
    /// Whether the query would be planned in the same way now. Not if it reads tables: their files may be others.
    pub fn is_current(&self, session: &SessionState) -> bool {
        let (made, now) = (&self.settings, session.config_options());
        let entries = |c: &ConfigOptions| c.entries().into_iter().map(|e| (e.key, e.value)).collect::<Vec<_>>();
        // Where there is none it is the memory.
        let backend = |s: &SessionState| s.config().get_extension::<StateBackend>().unwrap_or_default();
        !self.reads_tables
            && (Arc::ptr_eq(made, now) || entries(made) == entries(now))
            && Arc::ptr_eq(self.plan.state.runtime_env(), session.runtime_env())
            && backend(&self.plan.state).is_like(&backend(session))
    }
}

/// Whether a query reads anything that is no stream.
fn reads_tables(query: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    query.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(_)) && scanned_stream(node).is_none();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
