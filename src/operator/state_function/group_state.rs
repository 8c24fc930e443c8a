//! `mapGroupsWithState` and `flatMapGroupsWithState`: one state for each key, which may time out.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Caller;
use super::groups::{Groups, key_rows};
use super::rows::{GroupRows, OutputBuffer, OutputRows, decode_column};
use super::value::{decode, encode};
use super::{FunctionBatch, FunctionContext, Outcome, StateFunction, TimeMode};
use crate::error::{Error, Result};
use crate::operator::BatchContext;
use crate::state::{Entry, EntryKey, EntryMap};

const CALLER: Caller =
    Caller { condition: "FLATMAPGROUPSWITHSTATE_USER_FUNCTION_ERROR", operator: "flatMapGroupsWithState" };
/// The only variable.
static STATE: LazyLock<Arc<str>> = LazyLock::new(|| "state".into());

/// When the function is called for a key that has no new rows (Spark's `GroupStateTimeout`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupStateTimeout {
    /// Never.
    #[default]
    None,
    /// In the first batch whose time is after the one given by [`GroupState::set_timeout_duration`].
    ProcessingTime,
    /// In the first batch whose watermark is after the one given by [`GroupState::set_timeout_timestamp`].
    EventTime,
}

impl From<GroupStateTimeout> for TimeMode {
    fn from(timeout: GroupStateTimeout) -> Self {
        match timeout {
            GroupStateTimeout::None => Self::None,
            GroupStateTimeout::ProcessingTime => Self::ProcessingTime,
            GroupStateTimeout::EventTime => Self::EventTime,
        }
    }
}

/// The state of the key that a function is called for (Spark's `GroupState`).
///
/// What is not [updated](Self::update) or [removed](Self::remove) stays as it is. A timeout does not: every call begins
/// without one.
#[derive(Debug)]
pub struct GroupState<S> {
    value: Option<S>,
    change: Change,
    timeout_ms: Option<i64>,
    has_timed_out: bool,
    times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Updated,
    Removed,
}

/// What the clocks say in a batch.
#[derive(Debug, Clone, Copy)]
struct Times {
    mode: TimeMode,
    processing_ms: i64,
    watermark_ms: Option<i64>,
}

impl<S> GroupState<S> {
    /// Whether there is a state.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The state, if there is one.
    pub fn get(&self) -> Option<&S> {
        self.value.as_ref()
    }

    /// Sets the state.
    pub fn update(&mut self, state: S) {
        self.value = Some(state);
        self.change = Change::Updated;
    }

    /// Removes the state. With a timeout set in the same call, the key is kept until then.
    pub fn remove(&mut self) {
        self.value = None;
        self.change = Change::Removed;
    }

    /// Whether the function is called because of a timeout, without rows.
    pub fn has_timed_out(&self) -> bool {
        self.has_timed_out
    }

    /// Times out in the first batch that is later than this much after the present one.
    ///
    /// # Errors
    /// The function's timeout is not [`GroupStateTimeout::ProcessingTime`], or less than a millisecond.
    pub fn set_timeout_duration(&mut self, after: Duration) -> Result<()> {
        if self.times.mode != TimeMode::ProcessingTime {
            let message =
                "Cannot set timeout duration without enabling processing time timeout in [map|flatMap]GroupsWithState";
            return Err(Error::invalid("UNSUPPORTED_STREAMING_OPERATION", message)
                .with_help("pass GroupStateTimeout::ProcessingTime to the function"));
        }
        let ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        if ms <= 0 {
            return Err(Error::invalid("INVALID_TIMEOUT", "Timeout duration must be positive")
                .with_help("give a millisecond or more"));
        }
        self.timeout_ms = Some(self.times.processing_ms.saturating_add(ms));
        Ok(())
    }

    /// Times out in the first batch whose watermark is after `timestamp_ms`, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The function's timeout is not [`GroupStateTimeout::EventTime`], or the time is not positive or before the watermark.
    pub fn set_timeout_timestamp(&mut self, timestamp_ms: i64) -> Result<()> {
        if self.times.mode != TimeMode::EventTime {
            let message =
                "Cannot set timeout timestamp without enabling event time timeout in [map|flatMap]GroupsWithState";
            return Err(Error::invalid("UNSUPPORTED_STREAMING_OPERATION", message)
                .with_help("pass GroupStateTimeout::EventTime to the function"));
        }
        if timestamp_ms <= 0 {
            return Err(Error::invalid("INVALID_TIMEOUT", "Timeout timestamp must be positive")
                .with_help("give milliseconds since 1970-01-01, later than the watermark"));
        }
        if let Some(watermark) = self.times.watermark_ms.filter(|w| timestamp_ms < *w) {
            let message = format!(
                "Timeout timestamp ({timestamp_ms}) cannot be earlier than the current watermark ({watermark})"
            );
            return Err(Error::invalid("INVALID_TIMEOUT", message).with_help("start from state.current_watermark_ms()"));
        }
        self.timeout_ms = Some(timestamp_ms);
        Ok(())
    }

    /// The watermark of the batch, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The input has no watermark.
    pub fn get_current_watermark_ms(&self) -> Result<i64> {
        self.times.watermark_ms.ok_or_else(|| {
            let message =
                "Cannot get event time watermark timestamp without setting watermark before [map|flatMap]GroupsWithState";
            Error::invalid("UNSUPPORTED_STREAMING_OPERATION", message)
        })
    }

    /// The time of the batch, in milliseconds since the epoch. It is the same when a batch runs again after a crash.
    pub fn get_current_processing_time_ms(&self) -> i64 {
        self.times.processing_ms
    }
}

/// The function of a query.
pub struct GroupsFunction<K, R, S, O, F> {
    function: F,
    time: TimeMode,
    context: FunctionContext,
    types: PhantomData<fn(K, R, S) -> O>,
}

impl<K, R, S, O, F> GroupsFunction<K, R, S, O, F>
where
    K: DeserializeOwned + 'static,
    R: GroupRows,
    S: Serialize + DeserializeOwned + 'static,
    O: OutputRows,
    F: Fn(K, R, &mut GroupState<S>) -> Result<O> + Send + Sync + 'static,
{
    /// Calls `function`, whose timeouts are of `time`.
    pub fn new(function: F, time: TimeMode, context: FunctionContext) -> Self {
        Self { function, time, context, types: PhantomData }
    }

    fn times(&self, batch: &BatchContext) -> Times {
        let watermark_ms = self.context.has_watermark.then_some(batch.watermark_ms);
        Times { mode: self.time, processing_ms: batch.timestamp_ms, watermark_ms }
    }

    fn keys<'a>(
        &self,
        batch: &FunctionBatch,
        keys: impl ExactSizeIterator<Item = &'a Arc<[u8]>>,
    ) -> Result<std::vec::IntoIter<K>> {
        let rows = key_rows(batch.codec, &self.context.key_names, keys)?;
        Ok(decode_column::<K>(&rows, "a key")?.into_iter())
    }

    /// Puts the initial states; gives the keys without rows in the batch, for which the function is called too.
    fn put_initial(&self, initial: &Groups, map: &mut EntryMap, with_rows: &[Arc<[u8]>]) -> Result<Vec<Arc<[u8]>>> {
        if initial.lens.iter().any(|len| *len > 1) {
            let message = "The initial state provided contained multiple rows(state) with the same key";
            return Err(Error::execution("STATEFUL_PROCESSOR_CANNOT_REINITIALIZE_STATE_ON_KEY", message)
                .with_help("make sure to de-duplicate the initial state before passing it"));
        }
        let states = decode_column::<S>(&initial.rows, "an initial state")?;
        for (group, state) in initial.keys.iter().zip(states) {
            let entry = Entry { value: Some(encode(&state)?), expires_ms: None };
            map.insert(entry_key(group), entry);
        }
        let with_rows: std::collections::HashSet<_> = with_rows.iter().collect();
        Ok(initial.keys.iter().filter(|k| !with_rows.contains(k)).cloned().collect())
    }

    fn call(&self, run: &mut Run<O>, group: &Arc<[u8]>, key: K, rows: R, has_timed_out: bool) -> Result<()> {
        let at = entry_key(group);
        let old = run.map.get(&at).cloned();
        let (old_value, old_timeout) = old.map_or((None, None), |e| (e.value, e.expires_ms));
        let value = old_value.as_deref().map(|bytes| decode::<S>(bytes, &STATE)).transpose()?;
        let mut state = GroupState { value, change: Change::None, timeout_ms: None, has_timed_out, times: run.times };
        let given = CALLER.call(|| (self.function)(key, rows, &mut state))?;
        given.append_to(&mut run.output);
        let value = match state.change {
            Change::None => old_value,
            Change::Updated => state.value.as_ref().map(encode).transpose()?,
            Change::Removed => None,
        };
        if value.is_none() && state.timeout_ms.is_none() {
            // Nothing is left that a later call could find.
            let was_there = run.map.remove(&at);
            run.removed += u64::from(was_there || state.change == Change::Removed);
        } else if state.change != Change::None || state.timeout_ms != old_timeout {
            run.map.insert(at, Entry { value, expires_ms: state.timeout_ms });
            run.updated += 1;
        }
        Ok(())
    }

    /// Calls the function for keys without rows.
    fn call_without_rows(
        &self,
        run: &mut Run<O>,
        batch: &FunctionBatch,
        keys: &[Arc<[u8]>],
        has_timed_out: bool,
    ) -> Result<()> {
        let mut none = R::decode(&batch.groups.rows.slice(0, 0))?;
        for (group, key) in keys.iter().zip(self.keys(batch, keys.iter())?) {
            self.call(run, group, key, R::next(&mut none, 0), has_timed_out)?;
        }
        Ok(())
    }
}

/// What a batch has come to.
struct Run<'a, O: OutputRows> {
    map: &'a mut EntryMap,
    times: Times,
    output: O::Buffer,
    updated: u64,
    removed: u64,
}

fn entry_key(group: &Arc<[u8]>) -> EntryKey {
    EntryKey { group: group.clone(), variable: STATE.clone(), item: Arc::default() }
}

impl<K, R, S, O, F> StateFunction for GroupsFunction<K, R, S, O, F>
where
    K: DeserializeOwned + 'static,
    R: GroupRows,
    S: Serialize + DeserializeOwned + 'static,
    O: OutputRows,
    F: Fn(K, R, &mut GroupState<S>) -> Result<O> + Send + Sync + 'static,
{
    fn operator_name(&self) -> &'static str {
        CALLER.operator
    }

    fn run(&self, batch: FunctionBatch<'_>) -> Result<Outcome> {
        let mut map = batch.entries.lock();
        let mut run = Run::<O> {
            map: &mut map,
            times: self.times(batch.batch),
            output: O::Buffer::default(),
            updated: 0,
            removed: 0,
        };
        let without_rows = match &batch.initial {
            Some(initial) => self.put_initial(initial, run.map, &batch.groups.keys)?,
            None => vec![],
        };
        let groups = &batch.groups;
        let mut rows = R::decode(&groups.rows)?;
        for ((group, len), key) in groups.keys.iter().zip(&groups.lens).zip(self.keys(&batch, groups.keys.iter())?) {
            self.call(&mut run, group, key, R::next(&mut rows, *len), false)?;
        }
        self.call_without_rows(&mut run, &batch, &without_rows, false)?;
        let bound = match self.time {
            TimeMode::None => None,
            TimeMode::ProcessingTime => Some(batch.batch.timestamp_ms),
            TimeMode::EventTime => Some(batch.batch.watermark_ms),
        };
        // Rows of the batch have set their keys' timeouts anew: what is due now had none.
        let due = bound.into_iter().flat_map(|b| run.map.expired(b.saturating_sub(1)));
        let due: Vec<_> = due.map(|(_, key)| key.group.clone()).collect();
        self.call_without_rows(&mut run, &batch, &due, true)?;
        let Run { output, updated, removed, .. } = run;
        let batches = output.finish(&self.context.schema, batch.batch_size)?;
        Ok(Outcome { batches, updated, removed, custom: vec![] })
    }

    fn num_rows(&self, entries: &EntryMap) -> u64 {
        entries.sizes().map(|(_, size)| size.entries).sum()
    }

    fn next_due_ms(&self, entries: &EntryMap) -> Option<i64> {
        // It fires in a batch that is later than the timeout.
        entries.next_expiry().map(|at| at.saturating_add(1))
    }

    fn follows_watermark(&self) -> bool {
        self.time == TimeMode::EventTime
    }
}

impl<K, R, S, O, F> fmt::Debug for GroupsFunction<K, R, S, O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupsFunction").field("time", &self.time).finish_non_exhaustive()
    }
}
