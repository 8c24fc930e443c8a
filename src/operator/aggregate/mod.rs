//! Incremental aggregation.
//!
//! ```text
//! rows of the batch ─ AggregateExec(Partial) ─► partial rows   "a", 2   "b", 1
//!                                                    │
//! state  "a", 40   "b", 7   "c", 9   ──── merge ─────┤          only the touched keys, old state first
//!                                                    ▼
//! staged "a", 42   "b", 8            ──► update: these rows    complete: these and "c", 9
//! ```
//!
//! Old state is merged before the partial rows, and those in partition order: `first`, `last` and `collect_list` depend
//! on it. Works for every DataFusion aggregate, as only `state` and `merge_batch` are used.
//!
//! With an event time among the keys, state is sliced by time: rows that are late are dropped, and groups that the
//! watermark has passed are removed, slice by slice, after append mode has given them.
//!
//! Keys are looked up by every partition for itself; then one thread numbers the groups of the batch, in the order of the
//! rows; then aggregates and key columns are computed beside each other. The result is that of one thread.

mod arrival;
mod combine;
#[cfg(test)]
mod combine_tests;
mod emit;
mod evict;
mod merge;
mod slice;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::arrival::{Arrivals, slice_rows};
use self::evict::{Eviction, FrozenSlices};
pub use self::merge::accumulator;
use self::slice::Slice;
pub use self::window::WindowKey;
use super::event_time::{EventTimeKey, bound_us};
use super::exec::collect_ordered;
use super::{BatchContext, StateGrowth, StatefulOperator, by_name, evict as eviction};
use crate::error::Result;
use crate::output_mode::OutputMode;
use crate::state::{
    ChangeKind, FrozenState, KeyEncoder, OperatorState, StateBackend, StateChange, StateMetrics, StateSpace,
    record_batch,
};

/// Rows of one change in the checkpoint's log.
const CHANGE_ROWS: usize = 65_536;

/// The only slice of an aggregate without an event time.
const SINGLE: i64 = 0;

/// Slices by time.
type Slices = BTreeMap<i64, Slice>;

/// Group keys of an aggregate.
#[derive(Debug, Clone, Default)]
pub struct GroupKeys {
    /// How many key columns there are.
    pub count: usize,
    /// The event time among them.
    pub event_time: Option<EventTimeKey>,
    /// The key that is a window, for which partial rows have a pane.
    pub window: Option<WindowKey>,
}

/// The state of a streaming aggregate and what a batch does with it.
pub struct AggregateOperator {
    schema: SchemaRef,
    /// Columns on disk: all keys, state.
    log_schema: SchemaRef,
    /// Columns of a slice: the keys, but for a window by which state is sliced, and state.
    store_schema: SchemaRef,
    encoder: Arc<KeyEncoder>,
    num_keys: usize,
    /// None in complete mode, which keeps every group for ever.
    event_time: Option<EventTimeKey>,
    window: Option<WindowKey>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// By aggregate, which of the state columns are its own.
    state_columns: Vec<Range<usize>>,
    mode: OutputMode,
    backend: StateBackend,
    inner: RwLock<Inner>,
}

struct Inner {
    slices: Slices,
    /// Slices with something staged.
    touched: Vec<i64>,
    /// Groups of the batch that came too late.
    dropped: u64,
    eviction: Option<Eviction>,
    metrics: StateMetrics,
    /// Groups and bytes of all slices, as of their last publication.
    total: (usize, usize),
    memory: MemoryReservation,
}

impl AggregateOperator {
    /// An aggregate of partial rows of the schema `partial` into rows of `schema`.
    pub fn try_new(
        partial: &Schema,
        schema: SchemaRef,
        keys: GroupKeys,
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        mode: OutputMode,
        space: &StateSpace,
    ) -> Result<Self> {
        let GroupKeys { count: num_keys, event_time, window } = keys;
        // The name of a state column is the planner's own affair; on disk it is its position.
        let column = |(i, f): (usize, &Arc<Field>)| {
            let name = if i < num_keys { format!("key_{i}") } else { format!("state_{}", i - num_keys) };
            Field::new(name, f.data_type().clone(), true)
        };
        let partial = window.as_ref().map_or_else(|| partial.clone(), |w| w.schema(partial));
        let log_schema = Arc::new(Schema::new(partial.fields().iter().enumerate().map(column).collect::<Vec<_>>()));
        let event_time = event_time.filter(|_| mode != OutputMode::Complete);
        let sliced_by = window.as_ref().map(|w| w.column).filter(|c| event_time.is_some_and(|e| e.column == *c));
        let store_schema = sliced_by.map_or_else(|| log_schema.clone(), |c| window::without_column(&log_schema, c));
        let num_store_keys = num_keys - usize::from(sliced_by.is_some());
        let key_types = store_schema.fields()[..num_store_keys].iter().map(|f| f.data_type().clone()).collect();
        let mut state_columns = vec![];
        for aggregate in &aggregates {
            let from = state_columns.last().map_or(0, |r: &Range<usize>| r.end);
            state_columns.push(from..from + aggregate.state_fields()?.len());
        }
        let inner = Inner {
            slices: BTreeMap::new(),
            touched: vec![],
            dropped: 0,
            eviction: None,
            metrics: StateMetrics::default(),
            total: (0, 0),
            memory: MemoryConsumer::new("state of an aggregate").register(&space.pool),
        };
        Ok(Self {
            schema,
            log_schema,
            store_schema,
            encoder: Arc::new(KeyEncoder::try_new(key_types)?),
            num_keys,
            event_time,
            window,
            aggregates,
            state_columns,
            mode,
            backend: space.backend.clone(),
            inner: RwLock::new(inner),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write()
    }

    fn new_slice(&self) -> Slice {
        Slice::new(&self.backend, self.store_schema.clone(), self.encoder.clone())
    }

    /// The window that all groups of a slice have, and that their keys in it therefore lack.
    fn slice_window(&self) -> Option<&WindowKey> {
        self.window.as_ref().filter(|w| self.event_time.is_some_and(|e| e.column == w.column))
    }

    /// Key columns of a slice.
    fn num_store_keys(&self) -> usize {
        self.num_keys - usize::from(self.slice_window().is_some())
    }

    /// All key columns, out of those that a slice has.
    fn whole_keys(&self, slice: i64, mut keys: Vec<ArrayRef>, len: usize) -> Result<Vec<ArrayRef>> {
        if let Some(window) = self.slice_window() {
            window.insert(slice, &mut keys, len)?;
        }
        Ok(keys)
    }
}

impl fmt::Debug for AggregateOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AggregateOperator").field(&self.describe()).finish()
    }
}

impl StatefulOperator for AggregateOperator {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn execute(
        self: Arc<Self>,
        mut inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let partitions = inputs.pop().unwrap_or_default();
        let rows = task.session_config().batch_size();
        let late = bound_us(batch.late_watermark_ms);
        let operator = self.clone();
        let emitted = async move {
            let arrive = |partition| {
                let operator = operator.clone();
                async move { Ok(operator.arrivals(partition, late).await?) }
            };
            let mut arrivals = Arrivals::default();
            collect_ordered(partitions.into_iter().map(arrive)).await?.into_iter().for_each(|a| arrivals.append(a));
            operator.merge(arrivals, &batch).await?;
            Ok::<_, DataFusionError>(futures::stream::iter(operator.emit(rows)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            futures::stream::once(emitted).try_flatten().boxed(),
        )))
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let (keys, aggregates) = names.split_at(self.num_keys.min(names.len()));
        format!("keys=[{}], aggregates=[{}], mode={}", keys.join(", "), aggregates.join(", "), self.mode)
    }

    fn bound(&self) -> StateGrowth {
        let Some(event_time) = self.event_time else {
            return if self.num_keys == 0 { StateGrowth::Fixed } else { StateGrowth::Unbounded };
        };
        let name = self.schema.field(event_time.column).name();
        let what = if event_time.window { format!("the end of '{name}'") } else { format!("'{name}'") };
        StateGrowth::Watermark(format!("a group goes when it reaches {what}"))
    }

    fn first_close_us(&self) -> Option<i64> {
        let event_time = self.event_time?;
        self.read().slices.keys().find_map(|slice| event_time.first_of(*slice))
    }

    fn wants_batch(&self) -> bool {
        // Whether or not a key is the event time, as in Spark.
        self.mode != OutputMode::Complete
    }
}

impl OperatorState for AggregateOperator {
    fn operator_name(&self) -> &'static str {
        "stateStoreSave"
    }

    fn fingerprint(&self) -> Vec<String> {
        let columns = &self.log_schema;
        let named = self.schema.fields()[..self.num_keys].iter().zip(columns.fields());
        let keys = named.map(|(f, stored)| format!("key {} {}", f.name(), stored.data_type()));
        let aggregates = self.aggregates.iter().map(|a| {
            let inputs: Vec<_> = a.expressions().iter().map(by_name).collect();
            format!(
                "aggregate {}({}) {}",
                a.fun().name(),
                inputs.join(", "),
                if a.is_distinct() { "distinct" } else { "" }
            )
            .trim_end()
            .into()
        });
        let state = columns.fields()[self.num_keys..].iter().map(|f| format!("state {}", f.data_type()));
        let event_time = self.event_time.map(|e| format!("event time key {}", e.column));
        keys.chain(aggregates).chain(state).chain(event_time).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.read();
        let mut changes = vec![];
        for key in &inner.touched {
            let gone = inner.eviction.as_ref().is_some_and(|e| e.removes(*key));
            if let Some(slice) = inner.slices.get(key).filter(|_| !gone) {
                self.puts(*key, slice, &mut changes)?;
            }
        }
        if let Some(eviction) = inner.eviction.as_ref().filter(|e| e.groups > 0) {
            changes.push(eviction::change(eviction.bound)?);
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.write();
        inner.metrics.rows_dropped_by_watermark = std::mem::take(&mut inner.dropped);
        inner.metrics.rows_updated = 0;
        for key in std::mem::take(&mut inner.touched) {
            let Some(slice) = inner.slices.get_mut(&key) else { continue };
            let touched = slice.staged.as_ref().map_or(0, |s| s.touched.len());
            slice.publish()?;
            inner.metrics.rows_updated += touched as u64;
            inner.count(key);
        }
        inner.metrics.rows_removed = match inner.eviction.take() {
            Some(eviction) => inner.evict(&eviction),
            None => 0,
        };
        inner.account()
    }

    fn abort(&self) {
        let mut inner = self.write();
        (inner.eviction, inner.dropped) = (None, 0);
        for key in std::mem::take(&mut inner.touched) {
            let Some(slice) = inner.slices.get_mut(&key) else { continue };
            slice.abort();
            if slice.store.len() == 0 {
                inner.remove(key);
            }
        }
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.write();
        match (&self.event_time, change.kind) {
            (Some(event_time), ChangeKind::Evict) => {
                let eviction = inner.eviction_to(event_time, eviction::bound(change)?)?;
                inner.evict(&eviction);
            }
            (Some(event_time), ChangeKind::Put) => {
                let (sliced, _) = slice_rows(event_time, &change.rows, self.num_keys, |_| false)?;
                for (key, rows) in sliced {
                    let rows = match self.slice_window() {
                        Some(window) => window.remove(&rows)?,
                        None => rows,
                    };
                    let change = StateChange { store: change.store, kind: change.kind, rows };
                    inner.slice(key, self).store.apply(&change)?;
                    inner.count(key);
                }
            }
            _ => {
                inner.slice(SINGLE, self).store.apply(change)?;
                inner.count(SINGLE);
            }
        }
        inner.account()
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        let inner = self.read();
        Ok(Arc::new(FrozenSlices::new(self, &inner.slices)))
    }

    fn metrics(&self) -> StateMetrics {
        self.read().metrics
    }
}

impl AggregateOperator {
    /// The staged groups of a slice as changes.
    fn puts(&self, key: i64, slice: &Slice, changes: &mut Vec<StateChange>) -> Result<()> {
        let Some(staged) = &slice.staged else { return Ok(()) };
        for from in (0..staged.touched.len()).step_by(CHANGE_ROWS) {
            let len = CHANGE_ROWS.min(staged.touched.len() - from);
            let piece = |columns: &[ArrayRef]| columns.iter().map(|c| c.slice(from, len)).collect::<Vec<_>>();
            let columns = self.whole_keys(key, piece(&staged.keys), len)?.into_iter().chain(piece(&staged.state));
            let rows = record_batch(self.log_schema.clone(), columns.collect(), len)?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Put, rows });
        }
        Ok(())
    }
}

impl Inner {
    /// The slice of this key, made if it is new.
    fn slice(&mut self, key: i64, operator: &AggregateOperator) -> &mut Slice {
        self.slices.entry(key).or_insert_with(|| operator.new_slice())
    }

    /// The slice of this key, with a batch begun.
    fn begin(&mut self, key: i64, operator: &AggregateOperator) -> &mut Slice {
        self.touched.push(key);
        let slice = self.slice(key, operator);
        slice.begin();
        slice
    }

    /// Brings the totals up to date with a slice.
    fn count(&mut self, key: i64) {
        let Some(slice) = self.slices.get_mut(&key) else { return };
        let (before, after) = (slice.accounted, (slice.len(), slice.size()));
        slice.accounted = after;
        self.total = (self.total.0 - before.0 + after.0, self.total.1 - before.1 + after.1);
    }

    fn remove(&mut self, key: i64) {
        if let Some(slice) = self.slices.remove(&key) {
            let (groups, bytes) = slice.accounted;
            self.total = (self.total.0 - groups, self.total.1 - bytes);
        }
    }

    fn account(&mut self) -> Result<()> {
        let (groups, bytes) = self.total;
        self.memory.try_resize(bytes)?;
        self.metrics.rows_total = groups as u64;
        self.metrics.memory_used_bytes = bytes as u64;
        Ok(())
    }

    /// Bytes held, with what the batch has staged.
    fn size(&self) -> usize {
        let touched = self.touched.iter().filter_map(|key| self.slices.get(key));
        let (before, now) = touched.fold((0, 0), |(b, n), s| (b + s.accounted.1, n + s.size()));
        self.total.1 - before + now
    }
}
