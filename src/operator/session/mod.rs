//! Aggregation by session: rows of a key that are less than a gap apart.
//!
//! ```text
//! rows of the batch ─ not late ─► key, start, end = start + gap ─ sort ─► merge with the sessions of their keys
//!                                                                               │
//! state  key ─► its sessions, by start       put, delete  ◄─────────────────────┤
//!                                                                               ▼
//!                                        append: those that end at or before the watermark     complete: all
//! ```
//!
//! A row is late by its own end, whatever session it would have been part of. Late rows are counted as Spark does, by
//! distinct key, start and end.

mod emit;
mod input;
mod merge;
mod store;
#[cfg(test)]
mod tests;

pub use input::SessionInput;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use self::merge::{Merged, Staged, bounds_columns, merge};
use self::store::{SessionStore, bounds_fields};
use super::event_time::bound_us;
use super::exec::collect_batches;
use super::{BatchContext, StateGrowth, StatefulOperator, by_name, evict};
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::state::{
    ChangeKind, FrozenState, KeyedStore, OperatorState, StateChange, StateMetrics, StateSpace, record_batch,
};

/// Columns of a session's bounds in changes.
const START: &str = "start_us";
const END: &str = "end_us";
/// Rows of one change in the checkpoint's log.
const CHANGE_ROWS: usize = 65_536;

/// The sessions of a query and what a batch does with them.
pub struct SessionOperator {
    input: SessionInput,
    schema: SchemaRef,
    /// Where the session is among the keys of the result.
    session_key: usize,
    /// Whether a watermark says what is late.
    timed: bool,
    mode: OutputMode,
    inner: Mutex<Inner>,
}

struct Inner {
    store: SessionStore,
    /// Keys before the staged batch.
    published_keys: usize,
    staged: Staged,
    /// Late rows of the batch.
    late: Vec<RecordBatch>,
    /// The watermark of the batch, if it removes sessions.
    evict_to: Option<i64>,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

impl SessionOperator {
    /// An aggregate whose result is of `schema`, with the session as the key at `session_key`.
    pub fn try_new(
        input: SessionInput,
        schema: SchemaRef,
        (session_key, timed): (usize, bool),
        mode: OutputMode,
        space: &StateSpace,
    ) -> Result<Self> {
        let mut fields: Vec<Field> =
            input.schema.fields()[..input.num_keys].iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(bounds_fields());
        let mut number = 0;
        for call in &input.calls {
            for state in call.aggregate.state_fields()? {
                fields.push(Field::new(format!("state_{number}"), state.data_type().clone(), true));
                number += 1;
            }
        }
        let evicts = timed && mode != OutputMode::Complete;
        let inner = Inner {
            store: SessionStore::try_new(&space.backend, Arc::new(Schema::new(fields)), input.num_keys, evicts)?,
            published_keys: 0,
            staged: Staged::default(),
            late: vec![],
            evict_to: None,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of session windows").register(&space.pool),
        };
        Ok(Self { input, schema, session_key, timed, mode, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn evicts(&self) -> bool {
        self.timed && self.mode != OutputMode::Complete
    }

    /// The rows of an input batch that are not late.
    fn rows_in_time(&self, batch: &RecordBatch, late: Option<i64>) -> Result<RecordBatch> {
        let rows = self.input.rows(batch)?;
        let Some(late) = late else { return Ok(rows) };
        let (_, ends) = self.input.bounds(&rows)?;
        let in_time: BooleanArray = ends.iter().map(|end| Some(*end > late)).collect();
        if in_time.true_count() == rows.num_rows() {
            return Ok(rows);
        }
        let columns: Vec<usize> = (0..self.input.num_keys + 2).collect();
        let not = datafusion::arrow::compute::not(&in_time)?;
        self.lock().late.push(filter_record_batch(&rows.project(&columns)?, &not)?);
        Ok(filter_record_batch(&rows, &in_time)?)
    }

    /// Stages the sessions after this batch, and those that have ended with it.
    fn stage(&self, rows: &[RecordBatch], watermark: i64) -> Result<()> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.staged = merge(&self.input, &mut inner.store, rows)?;
        inner.evict_to = self.evicts().then_some(watermark);
        if self.evicts() {
            let Staged { sessions, consumed, ended, .. } = &inner.staged;
            let mut consumed: Vec<u32> = consumed.iter().map(|(_, slot)| *slot).collect();
            consumed.sort_unstable();
            let ended_now = |s: &Merged| s.end <= watermark;
            let ended = sessions.iter().map(ended_now).zip(ended).map(|(now, before)| now || *before).collect();
            let mut evicted = inner.store.ended(watermark);
            evicted.retain(|slot| consumed.binary_search(slot).is_err());
            (inner.staged.ended, inner.staged.evicted) = (ended, evicted);
        }
        let size = inner.size();
        Ok(inner.memory.try_resize(size)?)
    }
}

impl fmt::Debug for SessionOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionOperator").field(&self.describe()).finish()
    }
}

impl StatefulOperator for SessionOperator {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn execute(
        self: Arc<Self>,
        mut inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let late = self.timed.then(|| bound_us(batch.late_watermark_ms));
        let rows_of = |partition: SendableRecordBatchStream| -> SendableRecordBatchStream {
            let operator = self.clone();
            let rows = partition.map(move |batch| Ok(operator.rows_in_time(&batch?, late)?));
            Box::pin(RecordBatchStreamAdapter::new(self.input.schema.clone(), rows))
        };
        let partitions: Vec<_> = inputs.pop().unwrap_or_default().into_iter().map(rows_of).collect();
        let operator = self.clone();
        let size = task.session_config().batch_size();
        let emitted = async move {
            let mut rows = collect_batches(partitions).await?;
            rows.retain(|b| b.num_rows() > 0);
            operator.stage(&rows, bound_us(batch.watermark_ms))?;
            Ok::<_, DataFusionError>(futures::stream::iter(operator.emit(size)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            futures::stream::once(emitted).try_flatten().boxed(),
        )))
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let (keys, aggregates) = names.split_at((self.input.num_keys + 1).min(names.len()));
        format!("keys=[{}], aggregates=[{}], mode={}", keys.join(", "), aggregates.join(", "), self.mode)
    }

    fn bound(&self) -> StateGrowth {
        if !self.evicts() {
            return StateGrowth::Unbounded;
        }
        let name = self.schema.field(self.session_key).name();
        StateGrowth::Watermark(format!("a session goes when it reaches the end of '{name}'"))
    }

    fn first_close_us(&self) -> Option<i64> {
        self.lock().store.first_end()
    }

    fn wants_batch(&self) -> bool {
        self.evicts()
    }
}

impl OperatorState for SessionOperator {
    fn operator_name(&self) -> &'static str {
        "sessionWindowStateStoreSaveExec"
    }

    fn fingerprint(&self) -> Vec<String> {
        let inner = self.lock();
        let fields = inner.store.schema().fields();
        // With the session's own column, which is in the state as start and end.
        let named = &self.schema.fields()[..=self.input.num_keys];
        let keys = named.iter().map(|f| format!("key {} {}", f.name(), f.data_type()));
        let aggregates = self.input.calls.iter().map(|c| {
            let inputs: Vec<_> = c.aggregate.expressions().iter().map(by_name).collect();
            format!("aggregate {}({})", c.aggregate.fun().name(), inputs.join(", "))
        });
        let state = fields[self.input.num_keys + 2..].iter().map(|f| format!("state {}", f.data_type()));
        let timed = self.timed.then(|| "event time".to_owned());
        keys.chain(aggregates)
            .chain(state)
            .chain([format!("session window key {}", self.session_key)])
            .chain(timed)
            .collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.lock();
        let mut changes = vec![];
        let replaced: Vec<u32> = inner.staged.replaced(&inner.store).collect();
        for slots in replaced.chunks(CHANGE_ROWS) {
            changes.push(inner.delete(slots)?);
        }
        for numbers in inner.kept().chunks(CHANGE_ROWS) {
            let rows = record_batch(inner.store.schema().clone(), inner.staged_rows(numbers)?, numbers.len())?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Put, rows });
        }
        if let (Some(bound), false) =
            (inner.evict_to, inner.staged.evicted.is_empty() && !inner.staged.ended.contains(&true))
        {
            changes.push(evict::change(bound)?);
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.metrics.rows_dropped_by_watermark = self.count_late(&std::mem::take(&mut inner.late))?;
        inner.metrics.rows_updated = inner.staged.written;
        let ended = inner.staged.ended.iter().filter(|e| **e).count() + inner.staged.evicted.len();
        inner.metrics.rows_removed = (inner.staged.replaced(&inner.store).count() + ended) as u64;
        inner.accept()?;
        inner.account()
    }

    fn abort(&self) {
        let mut inner = self.lock();
        (inner.staged, inner.late, inner.evict_to) = (Staged::default(), vec![], None);
        let published = inner.published_keys;
        inner.store.forget_keys(published);
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        match change.kind {
            ChangeKind::Put => inner.apply_put(&change.rows, self.input.num_keys)?,
            ChangeKind::Delete => inner.apply_delete(&change.rows, self.input.num_keys)?,
            ChangeKind::Evict => {
                for slot in inner.store.ended(evict::bound(change)?) {
                    inner.store.remove(slot);
                }
            }
        }
        inner.settle()?;
        inner.account()
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(self.lock().store.freeze()))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}

impl SessionOperator {
    /// Rows of one key and time are one, as after Spark's partial aggregation.
    fn count_late(&self, late: &[RecordBatch]) -> Result<u64> {
        let Some(first) = late.first() else { return Ok(0) };
        let mut groups = KeyedStore::try_new(first.schema(), first.num_columns())?;
        let mut slots = vec![];
        for rows in late {
            groups.intern(rows.columns(), rows.num_rows(), &mut slots)?;
        }
        Ok(groups.len() as u64)
    }
}

impl Inner {
    /// The numbers of the staged sessions that stay in state.
    fn kept(&self) -> Vec<u32> {
        (0..self.staged.sessions.len() as u32).filter(|n| !self.staged.ended[*n as usize]).collect()
    }

    /// The change that removes the sessions at these slots.
    fn delete(&self, slots: &[u32]) -> Result<StateChange> {
        let sessions = slots.iter().map(|s| self.store.session(*s));
        let keys: Vec<u32> = sessions.clone().map(|s| s.key).collect();
        let mut columns = self.store.keys(&keys)?;
        let [starts, _] = bounds_columns(sessions.map(|s| (s.start, s.end)));
        columns.push(starts);
        let fields = &self.store.schema().fields()[..columns.len()];
        let rows = record_batch(Arc::new(Schema::new(fields.to_vec())), columns, slots.len())?;
        Ok(StateChange { store: 0, kind: ChangeKind::Delete, rows })
    }

    /// Makes the staged sessions part of the state.
    fn accept(&mut self) -> Result<()> {
        let kept = self.kept();
        let staged = std::mem::take(&mut self.staged);
        let state = if kept.is_empty() { vec![] } else { take_state(&staged, &kept)? };
        let mut of: Vec<Option<u32>> = vec![None; staged.sessions.len()];
        for (number, slot) in &staged.consumed {
            let place = &mut of[*number as usize];
            // The first session stays and grows, the others become part of it.
            if staged.ended[*number as usize] || place.is_some() {
                self.store.remove(*slot);
            } else {
                *place = Some(*slot);
            }
        }
        staged.evicted.iter().for_each(|slot| self.store.remove(*slot));
        let mut slots = Vec::with_capacity(kept.len());
        for number in &kept {
            let Merged { key, start, end } = staged.sessions[*number as usize];
            slots.push(match of[*number as usize] {
                Some(slot) => {
                    self.store.resize(slot, start, end);
                    slot
                }
                None => self.store.insert(key, start, end),
            });
        }
        let bounds = kept.iter().map(|n| &staged.sessions[*n as usize]).map(|s| (s.start, s.end));
        let rows: Vec<ArrayRef> = bounds_columns(bounds).into_iter().chain(state).collect();
        self.store.put(&slots, &rows)?;
        self.settle()
    }

    /// No batch is staged.
    fn settle(&mut self) -> Result<()> {
        self.store.bury_keys()?;
        self.published_keys = self.store.num_keys();
        Ok(())
    }

    fn apply_put(&mut self, rows: &RecordBatch, num_keys: usize) -> Result<()> {
        if rows.num_columns() != self.store.schema().fields().len() {
            return Err(damaged("a row of a session has another number of columns"));
        }
        let mut keys = vec![];
        self.store.intern(&rows.columns()[..num_keys], rows.num_rows(), &mut keys)?;
        let (starts, ends) = (times(rows, num_keys)?, times(rows, num_keys + 1)?);
        let mut slots = Vec::with_capacity(keys.len());
        for ((key, start), end) in keys.iter().zip(starts).zip(ends) {
            slots.push(match self.store.starting(*key, *start) {
                Some(slot) => {
                    self.store.resize(slot, *start, *end);
                    slot
                }
                None => self.store.insert(*key, *start, *end),
            });
        }
        self.store.put(&slots, &rows.columns()[num_keys..])
    }

    fn apply_delete(&mut self, rows: &RecordBatch, num_keys: usize) -> Result<()> {
        if rows.num_columns() != num_keys + 1 {
            return Err(damaged("the key of a session has another number of columns"));
        }
        let mut keys = vec![];
        self.store.intern(&rows.columns()[..num_keys], rows.num_rows(), &mut keys)?;
        for (key, start) in keys.iter().zip(times(rows, num_keys)?) {
            let slot = self.store.starting(*key, *start);
            self.store.remove(slot.ok_or_else(|| damaged("a session is removed that is not there"))?);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.store.size() + self.staged.size()
    }

    fn account(&mut self) -> Result<()> {
        let size = self.size();
        self.memory.try_resize(size)?;
        self.metrics.rows_total = self.store.len() as u64;
        self.metrics.memory_used_bytes = size as u64;
        Ok(())
    }
}

/// The state of these of the staged sessions.
fn take_state(staged: &Staged, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
    if numbers.len() == staged.sessions.len() {
        return Ok(staged.state.clone());
    }
    let numbers = datafusion::arrow::array::UInt32Array::from(numbers.to_vec());
    Ok(datafusion::arrow::compute::take_arrays(&staged.state, &numbers, None)?)
}

fn times(rows: &RecordBatch, column: usize) -> Result<&[i64]> {
    let times = rows.column(column).as_primitive_opt::<Int64Type>();
    times.map(|t| &t.values()[..]).ok_or_else(|| damaged("a session has no bounds"))
}

fn damaged(what: &str) -> Error {
    Error::corrupt_checkpoint(format!("the checkpoint has no valid session windows: {what}"))
}
