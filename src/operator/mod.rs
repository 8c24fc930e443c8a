//! Stateful operators: plans over keyed state.
//!
//! An operator pulls all partitions of its inputs itself, in partition order, so that what it computes does not depend
//! on which partition was quicker. It knows no source, sink, checkpoint or trigger: batch id, watermark and time reach
//! it as the [`BatchContext`] in the `TaskContext`.

mod aggregate;
mod dedup;
mod event_time;
mod evict;
mod exec;
mod limit;
pub mod state_function;
mod watermark;

pub use aggregate::AggregateOperator;
pub use dedup::{DedupOperator, Expiry};
pub use event_time::{EventTimeKey, end_of, window_ends};
pub use exec::{StatefulExec, StatefulOperator};
pub use limit::LimitOperator;
pub use watermark::{EventTimeTracker, EventTimes, WatermarkExec, WatermarkPolicy};

use std::sync::Arc;

use datafusion::execution::TaskContext;

use crate::error::{Error, Result};

/// What every operator of a batch must agree on.
#[derive(Debug, Clone, Copy)]
pub struct BatchContext {
    /// Dense, from 0.
    pub batch_id: u64,
    /// The global watermark this batch runs with, in milliseconds since the epoch.
    pub watermark_ms: i64,
    /// The watermark of the batch before, by which rows are late: between the two, rows are taken and then evicted.
    pub late_watermark_ms: i64,
    /// Trigger time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Ids of the query and of its run.
    pub query: (uuid::Uuid, uuid::Uuid),
}

impl BatchContext {
    /// The context of the batch that `task` belongs to.
    pub fn of(task: &TaskContext) -> Result<Arc<Self>> {
        let context = task.session_config().get_extension::<Self>();
        context.ok_or_else(|| Error::internal("a streaming plan was executed outside of a batch"))
    }
}
