//! The processor as the function of an operator: rows, then timers, then what has outlived its time.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::super::call::Caller;
use super::super::groups::{Groups, key_rows};
use super::super::rows::{GroupRows, OutputBuffer, OutputRows, decode_column};
use super::super::{FunctionBatch, FunctionContext, Outcome, StateFunction, TimeMode};
use super::context::{Context, Figures, Phase};
use super::handle::{QueryInfo, StatefulProcessorHandle, TimerValues};
use super::variable::Kind;
use super::{StatefulProcessor, StatefulProcessorWithInitialState};
use crate::error::{Error, Result};
use crate::operator::event_time::{bound_us, times};
use crate::output_mode::OutputMode;
use crate::state::EntryMap;

const CALLER: Caller = Caller { condition: "TRANSFORM_WITH_STATE_USER_FUNCTION_ERROR", operator: "transformWithState" };

/// What a processor does with rows of state to begin with.
pub trait Initial<P: StatefulProcessor>: Send + Sync + 'static {
    /// Handles the row of one key.
    type State;

    /// The rows of all keys.
    fn decode(rows: &RecordBatch) -> Result<Vec<Self::State>>;

    /// Handles the row of one key.
    fn handle(
        processor: &mut P,
        handle: &StatefulProcessorHandle,
        key: &P::Key,
        state: Self::State,
        times: &TimerValues,
    ) -> Result<()>;
}

/// The processor begins with nothing.
#[derive(Debug)]
pub struct WithoutInitialState;

impl<P: StatefulProcessor> Initial<P> for WithoutInitialState {
    type State = ();

    fn decode(_rows: &RecordBatch) -> Result<Vec<()>> {
        Ok(vec![])
    }

    fn handle(_: &mut P, _: &StatefulProcessorHandle, _: &P::Key, (): (), _: &TimerValues) -> Result<()> {
        Ok(())
    }
}

/// The processor handles state to begin with.
#[derive(Debug)]
pub struct WithInitialState;

impl<P: StatefulProcessorWithInitialState> Initial<P> for WithInitialState {
    type State = P::Initial;

    fn decode(rows: &RecordBatch) -> Result<Vec<P::Initial>> {
        decode_column(rows, "an initial state")
    }

    fn handle(
        processor: &mut P,
        handle: &StatefulProcessorHandle,
        key: &P::Key,
        state: P::Initial,
        times: &TimerValues,
    ) -> Result<()> {
        processor.handle_initial_state(handle, key, state, times)
    }
}

/// A processor that was initialised for a query.
pub struct ProcessorFunction<P: StatefulProcessor, I> {
    processor: Mutex<P>,
    handle: StatefulProcessorHandle,
    context: FunctionContext,
    initial: PhantomData<fn() -> I>,
}

impl<P: StatefulProcessor, I: Initial<P>> ProcessorFunction<P, I> {
    /// Initialises the processor.
    ///
    /// # Errors
    /// What its `init` gives.
    pub fn try_new(mut processor: P, time: TimeMode, mode: OutputMode, context: FunctionContext) -> Result<Self> {
        let handle = StatefulProcessorHandle(Arc::new(Mutex::new(Context::new(time, mode))));
        CALLER.guard(|| processor.init(&handle))??;
        handle.0.lock().phase = Phase::Idle;
        Ok(Self { processor: Mutex::new(processor), handle, context, initial: PhantomData })
    }

    /// Readies the context for a batch.
    fn begin(&self, batch: &FunctionBatch) -> Result<TimerValues> {
        let times = TimerValues {
            processing_ms: batch.batch.timestamp_ms,
            watermark_ms: self.context.has_watermark.then_some(batch.batch.watermark_ms),
        };
        let mut context = self.handle.0.lock();
        context.phase = Phase::Idle;
        context.entries = batch.entries.clone();
        context.times = times;
        context.figures = Figures::default();
        let (query_id, run_id) = batch.batch.query;
        context.query = QueryInfo { query_id, run_id, batch_id: batch.batch.batch_id };
        context.settle()?;
        Ok(times)
    }

    fn keys<'a>(
        &self,
        batch: &FunctionBatch,
        keys: impl ExactSizeIterator<Item = &'a Arc<[u8]>>,
    ) -> Result<Vec<P::Key>> {
        decode_column(&key_rows(batch.codec, &self.context.key_names, keys)?, "a key")
    }

    /// Calls the processor for a key.
    fn call<T>(&self, group: &Arc<[u8]>, f: impl FnOnce(&mut P) -> Result<T>) -> Result<T> {
        self.handle.0.lock().phase = Phase::Key(group.clone());
        let mut processor = self.processor.lock();
        let given = CALLER.call(|| f(&mut processor));
        self.handle.0.lock().phase = Phase::Idle;
        given
    }

    fn handle_initial(&self, batch: &FunctionBatch, initial: &Groups, times: &TimerValues) -> Result<()> {
        let states = I::decode(&initial.rows)?;
        if let Some(at) = initial.lens.iter().position(|len| *len > 1) {
            let key = key_rows(batch.codec, &self.context.key_names, std::iter::once(&initial.keys[at]))?;
            let key = datafusion::arrow::util::pretty::pretty_format_columns("key", key.columns())?;
            let message = format!(
                "Cannot re-initialize state on the same grouping key during initial state handling for stateful processor. Invalid grouping key=\n{key}"
            );
            return Err(Error::execution("STATEFUL_PROCESSOR_CANNOT_REINITIALIZE_STATE_ON_KEY", message)
                .with_help("keep one row a key in the initial state, as in aggregate or distinct"));
        }
        let keys = self.keys(batch, initial.keys.iter())?;
        for ((group, key), state) in initial.keys.iter().zip(keys).zip(states) {
            self.call(group, |p| I::handle(p, &self.handle, &key, state, times))?;
        }
        Ok(())
    }

    fn handle_rows(&self, batch: &FunctionBatch, times: &TimerValues, output: &mut Buffer<P>) -> Result<()> {
        let groups = &batch.groups;
        let mut rows = P::Input::decode(&groups.rows)?;
        let keys = self.keys(batch, groups.keys.iter())?;
        for ((group, len), key) in groups.keys.iter().zip(&groups.lens).zip(keys) {
            let rows = P::Input::next(&mut rows, *len);
            self.call(group, |p| p.handle_input_rows(&self.handle, &key, rows, times))?.append_to(output);
        }
        Ok(())
    }

    /// Timers that were there when the rows were done; what they register fires in a later batch.
    fn handle_timers(&self, batch: &FunctionBatch, times: &TimerValues, output: &mut Buffer<P>) -> Result<()> {
        let due = self.handle.0.lock().due_timers();
        let keys = self.keys(batch, due.iter().map(|(_, group)| group))?;
        for ((expiry_ms, group), key) in due.iter().zip(keys) {
            if !self.handle.0.lock().has_timer(group, *expiry_ms) {
                continue;
            }
            self.handle.0.lock().figures.expired_timers += 1;
            let given = self.call(group, |p| p.handle_expired_timer(&self.handle, &key, times, *expiry_ms))?;
            given.append_to(output);
            self.handle.0.lock().timer_fired(group, *expiry_ms);
        }
        Ok(())
    }

    /// A row that is late already would be dropped by whatever comes next.
    fn check_event_times(&self, batch: &FunctionBatch, rows: &[RecordBatch]) -> Result<()> {
        let Some(column) = self.context.output_event_time else { return Ok(()) };
        let late = bound_us(batch.batch.late_watermark_ms);
        for rows in rows {
            if let Some(time) = times(rows.column(column))?.into_iter().flatten().find(|t| *t <= late) {
                let message = format!(
                    "Previous node emitted a row with eventTime={} which is older than current_watermark_value={}",
                    time.div_euclid(1000),
                    batch.batch.late_watermark_ms
                );
                return Err(Error::execution("EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED", message)
                    .with_help("give rows whose event time is after the watermark, or name no event-time column"));
            }
        }
        Ok(())
    }
}

type Buffer<P> = <<P as StatefulProcessor>::Output as OutputRows>::Buffer;

impl<P: StatefulProcessor, I: Initial<P>> StateFunction for ProcessorFunction<P, I> {
    fn operator_name(&self) -> &'static str {
        "transformWithStateExec"
    }

    fn run(&self, batch: FunctionBatch<'_>) -> Result<Outcome> {
        let times = self.begin(&batch)?;
        if let Some(initial) = &batch.initial {
            self.handle_initial(&batch, initial, &times)?;
        }
        let mut output = Buffer::<P>::default();
        self.handle_rows(&batch, &times, &mut output)?;
        self.handle_timers(&batch, &times, &mut output)?;
        let batches = output.finish(&self.context.schema, batch.batch_size)?;
        self.check_event_times(&batch, &batches)?;
        let mut context = self.handle.0.lock();
        if context.time == TimeMode::ProcessingTime {
            context.remove_expired();
        }
        let figures = context.figures;
        Ok(Outcome { batches, updated: figures.updated, removed: figures.removed, custom: custom(&context) })
    }

    /// Timers are no rows of Spark's, and a list is one.
    fn num_rows(&self, entries: &EntryMap) -> u64 {
        let rows = |(variable, size): (&str, crate::state::VariableSize)| match variable.split_once(':') {
            None => 0,
            Some(("list", _)) => size.groups,
            Some(_) => size.entries,
        };
        entries.sizes().map(rows).sum()
    }

    fn next_due_ms(&self, entries: &EntryMap) -> Option<i64> {
        entries.next_expiry()
    }

    fn follows_watermark(&self) -> bool {
        self.handle.0.lock().time != TimeMode::ProcessingTime
    }
}

/// Spark's figures of the operator.
fn custom(context: &Context) -> Vec<(&'static str, u64)> {
    let variables = |kind, ttl| context.variables.values().filter(|v| **v == (kind, ttl)).count() as u64;
    let f = &context.figures;
    vec![
        ("numDeletedStateVars", f.deleted_variables),
        ("numDeletedTimers", f.deleted_timers),
        ("numExpiredTimers", f.expired_timers),
        ("numListStateVars", variables(Kind::List, false)),
        ("numListStateWithTTLVars", variables(Kind::List, true)),
        ("numMapStateVars", variables(Kind::Map, false)),
        ("numMapStateWithTTLVars", variables(Kind::Map, true)),
        ("numRegisteredTimers", f.registered_timers),
        ("numValueStateVars", variables(Kind::Value, false)),
        ("numValueStateWithTTLVars", variables(Kind::Value, true)),
        ("numValuesRemovedDueToTTLExpiry", f.expired_values),
    ]
}

impl<P: StatefulProcessor, I> Drop for ProcessorFunction<P, I> {
    fn drop(&mut self) {
        let mut processor = self.processor.lock();
        // A panic while dropping would end the process.
        if let Err(e) = CALLER.guard(|| processor.close()) {
            tracing::warn!(error = %e, "a stateful processor could not be closed");
        }
    }
}

impl<P: StatefulProcessor, I> fmt::Debug for ProcessorFunction<P, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorFunction").finish_non_exhaustive()
    }
}
