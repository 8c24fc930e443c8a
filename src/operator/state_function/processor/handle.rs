//! The handle: what a processor makes its variables with, and its timers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::super::TimeMode;
use super::context::{Context, Phase};
use super::list::ListState;
use super::map::MapState;
use super::value_state::ValueState;
use super::variable::{Kind, Variable};
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;

/// Makes state variables and timers (Spark's `StatefulProcessorHandle`). Clones are the same handle.
///
/// A variable with a time to live forgets a value that was not written for so long, by the time of batches; each element
/// of a list and each entry of a map by itself.
#[derive(Clone)]
pub struct StatefulProcessorHandle(pub(super) Arc<Mutex<Context>>);

impl fmt::Debug for StatefulProcessorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatefulProcessorHandle").finish_non_exhaustive()
    }
}

impl StatefulProcessorHandle {
    /// The variable `name`, one value for each key.
    ///
    /// # Errors
    /// Not called in `init`; there is a variable of this name already; a time to live that is zero, or in another time mode
    /// than [`TimeMode::ProcessingTime`].
    pub fn get_value_state<T>(&self, name: &str, ttl: impl Into<Option<Duration>>) -> Result<ValueState<T>> {
        Variable::make(&self.0, Kind::Value, name, ttl.into()).map(ValueState)
    }

    /// The variable `name`, a list for each key.
    ///
    /// # Errors
    /// As [`get_value_state`](Self::get_value_state).
    pub fn get_list_state<T>(&self, name: &str, ttl: impl Into<Option<Duration>>) -> Result<ListState<T>> {
        Variable::make(&self.0, Kind::List, name, ttl.into()).map(ListState)
    }

    /// The variable `name`, a map for each key.
    ///
    /// # Errors
    /// As [`get_value_state`](Self::get_value_state).
    pub fn get_map_state<K, V>(&self, name: &str, ttl: impl Into<Option<Duration>>) -> Result<MapState<K, V>> {
        Variable::make(&self.0, Kind::Map, name, ttl.into()).map(MapState::of)
    }

    /// Deletes what earlier runs kept in the variable `name`, for all keys.
    ///
    /// # Errors
    /// Not called in `init`.
    pub fn delete_if_exists(&self, name: &str) -> Result<()> {
        let mut context = self.0.lock();
        if !matches!(context.phase, Phase::Init) {
            return Err(context.wrong_phase("delete_if_exists"));
        }
        context.purged.push(name.to_owned());
        Ok(())
    }

    /// Lets the key's timer fire in the first batch whose time, or watermark, is not before `expiry_ms`. A key has as many
    /// timers as there are different times.
    ///
    /// # Errors
    /// Not called for a key, or in [`TimeMode::None`].
    pub fn register_timer(&self, expiry_ms: i64) -> Result<()> {
        self.0.lock().register_timer(expiry_ms)
    }

    /// Takes the key's timer at this time away, if there is one.
    ///
    /// # Errors
    /// As [`register_timer`](Self::register_timer).
    pub fn delete_timer(&self, expiry_ms: i64) -> Result<()> {
        self.0.lock().delete_timer(expiry_ms)
    }

    /// The key's timers, the next one first; with the one that is firing.
    ///
    /// # Errors
    /// As [`register_timer`](Self::register_timer).
    pub fn list_timers(&self) -> Result<Vec<i64>> {
        self.0.lock().list_timers()
    }

    /// Which query and batch this is.
    pub fn get_query_info(&self) -> QueryInfo {
        self.0.lock().query
    }

    /// The processor's time mode.
    pub fn time_mode(&self) -> TimeMode {
        self.0.lock().time
    }

    /// The output mode that the processor was given.
    pub fn output_mode(&self) -> OutputMode {
        self.0.lock().output_mode
    }
}

/// Which query, run and batch a processor is called in (Spark's `QueryInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryInfo {
    /// Stable over restarts from one checkpoint.
    pub query_id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// The batch.
    pub batch_id: u64,
}

/// What the clocks say in the batch (Spark's `TimerValues`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerValues {
    pub(super) processing_ms: i64,
    pub(super) watermark_ms: Option<i64>,
}

impl TimerValues {
    /// The time of the batch, in milliseconds since the epoch. It is the same when a batch runs again after a crash.
    pub fn get_current_processing_time_ms(&self) -> i64 {
        self.processing_ms
    }

    /// The watermark of the batch, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The input has no watermark.
    pub fn get_current_watermark_ms(&self) -> Result<i64> {
        self.watermark_ms.ok_or_else(|| {
            Error::invalid("UNSUPPORTED_STREAMING_OPERATION", "the input of transformWithState has no watermark")
                .with_help("call .with_watermark(…) before .group_by_key(…)")
        })
    }
}
