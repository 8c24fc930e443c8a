//! Running queries: the trigger loop, progress, listeners, and the manager that owns them.

mod progress;
mod trigger;

pub use progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, StreamingQueryStatus};
pub use trigger::Trigger;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use uuid::Uuid;

use crate::error::Result;
use crate::options::Options;
use crate::sink::{OutputMode, Sink};
use crate::testing::Failpoints;
use crate::time::Clock;

/// Everything a query is started with.
#[derive(Debug, Clone)]
pub struct QuerySpec {
    /// Unique among the active queries of a session.
    pub name: Option<String>,
    /// The analysed query over at least one stream.
    pub plan: LogicalPlan,
    /// Names of the output columns as users see them, in the order of the plan's schema (they need not be unique).
    pub column_names: Vec<String>,
    /// The query's text, for checkpoints and messages.
    pub text: String,
    /// Where the rows go.
    pub sink: Arc<dyn Sink>,
    /// Which rows go there.
    pub output_mode: OutputMode,
    /// When batches run.
    pub trigger: Trigger,
    /// The checkpoint directory; `None` for a temporary one, removed when the query stops cleanly.
    pub checkpoint: Option<PathBuf>,
    /// Settings of this query over those of the session.
    pub conf: Options,
}

/// What the queries of a session share.
#[derive(Clone)]
pub struct Environment {
    /// The DataFusion session.
    pub context: SessionContext,
    /// Processing time.
    pub clock: Clock,
    /// Crash points of this session.
    pub failpoints: Failpoints,
    /// Settings of the session.
    pub conf: Options,
}

/// A query that runs, or ran. Clones are the same query.
#[derive(Debug, Clone)]
pub struct StreamingQuery;

#[expect(clippy::unimplemented, unused_variables, reason = "signatures first")]
impl StreamingQuery {
    /// The query's name.
    pub fn name(&self) -> Option<&str> {
        unimplemented!()
    }
    /// Stable over restarts from one checkpoint.
    pub fn id(&self) -> Uuid {
        unimplemented!()
    }
    /// New at every start.
    pub fn run_id(&self) -> Uuid {
        unimplemented!()
    }
    /// Whether it has neither stopped nor failed.
    pub fn is_active(&self) -> bool {
        unimplemented!()
    }
    /// What it is doing now.
    pub fn status(&self) -> StreamingQueryStatus {
        unimplemented!()
    }
    /// The last progress, if there is one.
    pub fn last_progress(&self) -> Option<Arc<StreamingQueryProgress>> {
        unimplemented!()
    }
    /// The last 100 (`numRecentProgressUpdates`), oldest first.
    pub fn recent_progress(&self) -> Vec<Arc<StreamingQueryProgress>> {
        unimplemented!()
    }
    /// Why it failed, if it did.
    pub fn exception(&self) -> Option<crate::Error> {
        unimplemented!()
    }
    /// The logical and physical plan; with `extended`, before and after optimisation.
    pub fn explain(&self, extended: bool) -> String {
        unimplemented!()
    }
    /// Returns when the query has ended.
    ///
    /// # Errors
    /// What the query failed with.
    pub async fn await_termination(&self) -> Result<()> {
        unimplemented!()
    }
    /// The same, for at most `timeout`; whether it has ended.
    pub async fn await_termination_timeout(&self, timeout: Duration) -> Result<bool> {
        unimplemented!()
    }
    /// Returns when everything that is available now has been processed and is in the sink.
    pub async fn process_all_available(&self) -> Result<()> {
        unimplemented!()
    }
    /// Ends the query: the running batch ends, everything is closed. A stopped query does not restart.
    pub async fn stop(&self) -> Result<()> {
        unimplemented!()
    }
}

/// What happens to queries, for those who watch. Spark's `StreamingQueryListener`.
pub trait StreamingQueryListener: Send + Sync {
    /// A query has started; called before `start` returns.
    fn on_query_started(&self, event: &QueryStarted) {
        let _ = event;
    }
    /// A batch has ended.
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        let _ = progress;
    }
    /// Nothing to do for `noDataProgressEventInterval` (10 s).
    fn on_query_idle(&self, event: &QueryIdle) {
        let _ = event;
    }
    /// A query has ended.
    fn on_query_terminated(&self, event: &QueryTerminated) {
        let _ = event;
    }
}

/// See [`StreamingQueryListener::on_query_started`].
#[derive(Debug, Clone)]
pub struct QueryStarted {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// The query's name.
    pub name: Option<String>,
    /// ISO 8601, UTC, milliseconds.
    pub timestamp: String,
}

/// See [`StreamingQueryListener::on_query_idle`].
#[derive(Debug, Clone)]
pub struct QueryIdle {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// ISO 8601, UTC, milliseconds.
    pub timestamp: String,
}

/// See [`StreamingQueryListener::on_query_terminated`].
#[derive(Debug, Clone)]
pub struct QueryTerminated {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// Why, if it failed.
    pub exception: Option<crate::Error>,
}

/// The queries of a session.
#[derive(Debug, Clone)]
pub struct StreamingQueryManager;

#[expect(clippy::unimplemented, unused_variables, clippy::new_without_default, reason = "signatures first")]
impl StreamingQueryManager {
    /// No queries.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Starts a query, after everything about it that can be wrong was checked.
    pub async fn start(&self, env: &Environment, spec: QuerySpec) -> Result<StreamingQuery> {
        unimplemented!()
    }
    /// The active queries.
    pub fn active(&self) -> Vec<StreamingQuery> {
        unimplemented!()
    }
    /// The active query with this id.
    pub fn get(&self, id: Uuid) -> Option<StreamingQuery> {
        unimplemented!()
    }
    /// The active query with this name, in any case.
    pub fn get_by_name(&self, name: &str) -> Option<StreamingQuery> {
        unimplemented!()
    }
    /// Returns when a query has ended since the start or the last `reset_terminated`.
    ///
    /// # Errors
    /// What that query failed with.
    pub async fn await_any_termination(&self) -> Result<()> {
        unimplemented!()
    }
    /// Forgets the queries that have ended.
    pub fn reset_terminated(&self) {
        unimplemented!()
    }
    /// Adds a listener.
    pub fn add_listener(&self, listener: Arc<dyn StreamingQueryListener>) {
        unimplemented!()
    }
    /// Removes a listener (the same `Arc`).
    pub fn remove_listener(&self, listener: &Arc<dyn StreamingQueryListener>) {
        unimplemented!()
    }
}

/// The engine of one query, batch by batch: what the trigger loop drives, and what pipeline tests step through.
#[derive(Debug)]
pub struct MicroBatchExecution;

#[expect(clippy::unimplemented, unused_variables, reason = "signatures first")]
impl MicroBatchExecution {
    /// Checks the query, opens and recovers the checkpoint, opens sources and sink.
    pub async fn open(env: &Environment, spec: QuerySpec) -> Result<Self> {
        unimplemented!()
    }
    /// Runs the next batch, with or without data, if one is due; `false` if there is nothing to do.
    pub async fn run_batch(&mut self) -> Result<bool> {
        unimplemented!()
    }
    /// The global watermark the next batch would run with, in milliseconds since the epoch.
    pub fn watermark_ms(&self) -> i64 {
        unimplemented!()
    }
    /// Progress of every batch of this run so far, oldest first (at most 100).
    pub fn recent_progress(&self) -> Vec<Arc<StreamingQueryProgress>> {
        unimplemented!()
    }
    /// Closes everything. Dropping instead is a crash: nothing is flushed.
    pub async fn close(self) -> Result<()> {
        unimplemented!()
    }
}
