//! Running queries: the trigger loop, progress, listeners, and the manager that owns them.

mod ahead;
mod conf;
mod durability;
mod execution;
mod idle;
mod in_flight;
mod listener;
mod losses;
mod manager;
mod opening;
mod output;
mod progress;
mod recovery;
mod schedule;
mod streaming_query;
#[cfg(test)]
mod tests;
mod waiting;

pub use conf::{DELIVERY, NO_DATA_BATCHES, SNAPSHOT_LOG_BYTES, WATERMARK_POLICY, delivery};
pub use execution::MicroBatchExecution;
pub use listener::{QueryIdle, QueryStarted, QueryTerminated, StreamingQueryListener};
pub use manager::StreamingQueryManager;
pub use output::renamed_schema;
pub use progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, StreamingQueryStatus};
pub use streaming_query::StreamingQuery;
pub use waiting::{Waiting, WaitingInput, WaitingOperator};

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::checkpoint::CheckpointDescription;
use crate::error::Result;
use crate::failpoint::Failpoints;
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::sink::Sink;
use crate::time::Clock;
use crate::trigger::Trigger;

/// What is in the checkpoint in `dir`, or in those of all flows below a `checkpoint.root`. Reads only, and takes no lock.
///
/// # Errors
/// `CHECKPOINT_NOT_FOUND` if there is none, `CHECKPOINT_VERSION` if it has another format version. Damage in the log or in a
/// snapshot is part of the description.
pub fn checkpoint_describe(dir: &std::path::Path) -> Result<CheckpointDescription> {
    crate::checkpoint::describe(dir, &crate::plan::display::in_plain_words)
}

/// Everything a query is started with.
#[derive(Debug, Clone)]
pub struct QuerySpec {
    /// Unique among the active queries of a session.
    pub name: Option<String>,
    /// The query over at least one stream.
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
    /// The checkpoint directory; `None` for a temporary one, removed when the query ends.
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

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let session = self.context.session_id();
        f.debug_struct("Environment").field("session", &session).finish_non_exhaustive()
    }
}
