//! Stateful operators: plans over keyed state.
//!
//! An operator pulls all partitions of its inputs itself, in partition order, so that what it computes does not depend
//! on which partition was quicker. It knows no source, sink, checkpoint or trigger: batch id, watermark and time reach
//! it as the [`BatchContext`] in the `TaskContext`.

mod aggregate;
pub mod apply;
mod dedup;
mod event_time;
mod evict;
mod exec;
mod input_watermark;
mod join;
mod limit;
mod random;
mod recursion;
mod session;
pub mod state_function;
mod watermark;
mod windows;

pub use aggregate::{AggregateOperator, GroupKeys, WindowKey};
pub use dedup::{DedupOperator, KeyExpiry};
pub use event_time::{EventTimeKey, end_of, window_ends};
pub use exec::{StateGrowth, StatefulExec, StatefulOperator};
pub use input_watermark::{InputWatermark, StateBound};
pub use join::{JoinOperator, JoinSpec, Residual, RowExpiry, SideSpec};
pub use limit::LimitOperator;
pub use random::RandomExec;
pub use recursion::{LevelExec, ReadExec, Recursion};
pub use session::{SessionInput, SessionOperator};
pub use watermark::{
    EventTimeTracker, EventTimes, Idle, WatermarkExec, WatermarkInput, WatermarkPolicy, WatermarkState,
};
pub use windows::Windows;

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use crate::error::{Error, Result};

/// Keys without state up to which it is not worth making an index anew.
const WORTH_REINDEXING: usize = 4096;

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

/// An expression by the names of its columns: at which places they are changes with the rest of the query.
fn by_name(expr: &Arc<dyn PhysicalExpr>) -> String {
    fmt_sql(expr.as_ref()).to_string()
}

impl BatchContext {
    /// The context of the batch that `task` belongs to.
    pub fn of(task: &TaskContext) -> Result<Arc<Self>> {
        let context = task.session_config().get_extension::<Self>();
        context.ok_or_else(|| Error::internal("a streaming plan was executed outside of a batch"))
    }

    /// As an operator with this input watermark sees it.
    pub fn seen_through(&self, watermark: &InputWatermark) -> Self {
        Self {
            watermark_ms: watermark.at(self.watermark_ms),
            late_watermark_ms: watermark.at(self.late_watermark_ms),
            ..*self
        }
    }
}
