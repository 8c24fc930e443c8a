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

mod emit;
mod merge;
mod slice;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

pub use self::merge::accumulator;
use self::merge::{Sliced, slice_rows};
use self::slice::Slice;
use super::event_time::EventTimeKey;
use super::exec::collect_ordered;
use super::{BatchContext, StateBound, StatefulOperator, evict};
use crate::error::Result;
use crate::sink::OutputMode;
use crate::state::{ChangeKind, FrozenState, FrozenStore, OperatorState, StateChange, StateMetrics, record_batch};

/// Rows of one change in the checkpoint's log.
const CHANGE_ROWS: usize = 65_536;

/// The only slice of an aggregate without an event time.
const SINGLE: i64 = 0;

/// The state of a streaming aggregate and what a batch does with it.
pub struct AggregateOperator {
    schema: SchemaRef,
    store_schema: SchemaRef,
    num_keys: usize,
    /// None in complete mode, which keeps every group for ever.
    event_time: Option<EventTimeKey>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    mode: OutputMode,
    inner: Mutex<Inner>,
}

struct Inner {
    slices: BTreeMap<i64, Slice>,
    /// Groups of the batch that came too late.
    dropped: u64,
    eviction: Option<Eviction>,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

/// What the batch that is staged removes.
struct Eviction {
    /// Every time up to this one, in microseconds.
    bound: i64,
    /// Slices of which nothing stays.
    whole: Vec<i64>,
    /// Slots to be removed of the others.
    partial: Vec<(i64, Vec<u32>)>,
    /// How many groups that is.
    groups: u64,
}

impl AggregateOperator {
    /// An aggregate over `num_keys` key columns. `partial` is the schema of the partial rows, `schema` of the result.
    pub fn try_new(
        partial: &Schema,
        schema: SchemaRef,
        (num_keys, event_time): (usize, Option<EventTimeKey>),
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        mode: OutputMode,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        // The name of a state column is the planner's own affair; on disk it is its position.
        let column = |(i, f): (usize, &Arc<Field>)| {
            let name = if i < num_keys { format!("key_{i}") } else { format!("state_{}", i - num_keys) };
            Field::new(name, f.data_type().clone(), true)
        };
        let store_schema = Arc::new(Schema::new(partial.fields().iter().enumerate().map(column).collect::<Vec<_>>()));
        let inner = Inner {
            slices: BTreeMap::new(),
            dropped: 0,
            eviction: None,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of an aggregate").register(pool),
        };
        let event_time = event_time.filter(|_| mode != OutputMode::Complete);
        Ok(Self { schema, store_schema, num_keys, event_time, aggregates, mode, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
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
        let operator = self.clone();
        let emitted = async move {
            let partials = collect_ordered(partitions).await?.into_iter().flatten().collect::<Vec<_>>();
            operator.merge(partials, &batch)?;
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

    fn bound(&self) -> StateBound {
        let Some(event_time) = self.event_time else {
            return if self.num_keys == 0 { StateBound::Fixed } else { StateBound::Unbounded };
        };
        let name = self.schema.field(event_time.column).name();
        let what = if event_time.window { format!("the end of '{name}'") } else { format!("'{name}'") };
        StateBound::Watermark(format!("a group goes when it reaches {what}"))
    }

    fn first_close_us(&self) -> Option<i64> {
        let event_time = self.event_time?;
        self.lock().slices.keys().find_map(|slice| event_time.first_of(*slice))
    }

    fn wants_batch(&self) -> bool {
        self.event_time.is_some()
    }
}

impl OperatorState for AggregateOperator {
    fn operator_name(&self) -> &'static str {
        "stateStoreSave"
    }

    fn fingerprint(&self) -> Vec<String> {
        let store = &self.store_schema;
        let keys = store.fields()[..self.num_keys].iter().map(|f| format!("key {}", f.data_type()));
        let aggregates = self.aggregates.iter().map(|a| {
            let inputs: Vec<_> = a.expressions().iter().map(|e| e.to_string()).collect();
            format!(
                "aggregate {}({}) {}",
                a.fun().name(),
                inputs.join(", "),
                if a.is_distinct() { "distinct" } else { "" }
            )
            .trim_end()
            .into()
        });
        let state = store.fields()[self.num_keys..].iter().map(|f| format!("state {}", f.data_type()));
        let event_time = self.event_time.map(|e| format!("event time key {}", e.column));
        keys.chain(aggregates).chain(state).chain(event_time).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.lock();
        let mut changes = vec![];
        for (key, slice) in &inner.slices {
            let gone = inner.eviction.as_ref().is_some_and(|e| e.whole.binary_search(key).is_ok());
            if !gone {
                self.puts(slice, &mut changes)?;
            }
        }
        if let Some(eviction) = inner.eviction.as_ref().filter(|e| e.groups > 0) {
            changes.push(evict::change(eviction.bound)?);
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        let touched = |s: &Slice| s.staged.as_ref().map_or(0, |s| s.touched.len() as u64);
        inner.metrics.rows_updated = inner.slices.values().map(touched).sum();
        inner.metrics.rows_dropped_by_watermark = std::mem::take(&mut inner.dropped);
        for slice in inner.slices.values_mut() {
            slice.publish()?;
        }
        inner.metrics.rows_removed = match inner.eviction.take() {
            Some(eviction) => inner.evict(&eviction, self.num_keys)?,
            None => 0,
        };
        inner.account()
    }

    fn abort(&self) {
        let mut inner = self.lock();
        (inner.eviction, inner.dropped) = (None, 0);
        inner.slices.values_mut().for_each(Slice::abort);
        inner.slices.retain(|_, s| s.store.len() > 0);
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        match (&self.event_time, change.kind) {
            (Some(event_time), ChangeKind::Evict) => {
                let eviction = inner.eviction_to(event_time, evict::bound(change)?)?;
                inner.evict(&eviction, self.num_keys)?;
            }
            (Some(event_time), ChangeKind::Put) => {
                let mut sliced = Sliced::new();
                slice_rows(event_time, &change.rows, self.num_keys, |_| false, &mut sliced)?;
                for (key, rows) in sliced.into_iter().flat_map(|(k, batches)| batches.into_iter().map(move |b| (k, b)))
                {
                    let change = StateChange { store: change.store, kind: change.kind, rows };
                    inner.slice(key, self)?.store.apply(&change)?;
                }
            }
            _ => inner.slice(SINGLE, self)?.store.apply(change)?,
        }
        inner.account()
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(FrozenSlices(self.lock().slices.values().map(|s| s.store.freeze()).collect())))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}

impl AggregateOperator {
    /// The staged groups of a slice as changes.
    fn puts(&self, slice: &Slice, changes: &mut Vec<StateChange>) -> Result<()> {
        let Some(staged) = &slice.staged else { return Ok(()) };
        for from in (0..staged.touched.len()).step_by(CHANGE_ROWS) {
            let len = CHANGE_ROWS.min(staged.touched.len() - from);
            let columns = staged.keys.iter().chain(&staged.state).map(|c| c.slice(from, len)).collect();
            let rows = record_batch(self.store_schema.clone(), columns, len)?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Put, rows });
        }
        Ok(())
    }
}

impl Inner {
    /// The slice of this key, made if it is new.
    fn slice(&mut self, key: i64, operator: &AggregateOperator) -> Result<&mut Slice> {
        use std::collections::btree_map::Entry;
        match self.slices.entry(key) {
            Entry::Occupied(slice) => Ok(slice.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Slice::try_new(operator.store_schema.clone(), operator.num_keys)?)),
        }
    }

    /// Removes what is final from slices that have nothing staged; how many groups that were.
    fn evict(&mut self, eviction: &Eviction, num_keys: usize) -> Result<u64> {
        for key in &eviction.whole {
            self.slices.remove(key);
        }
        for (key, slots) in &eviction.partial {
            if let Some(slice) = self.slices.get_mut(key) {
                *slice = slice.without(slots, num_keys)?;
            }
        }
        Ok(eviction.groups)
    }

    fn account(&mut self) -> Result<()> {
        let size = self.size();
        self.memory.try_resize(size)?;
        self.metrics.rows_total = self.slices.values().map(|s| s.store.len() as u64).sum();
        self.metrics.memory_used_bytes = size as u64;
        Ok(())
    }

    fn size(&self) -> usize {
        self.slices.values().map(Slice::size).sum()
    }
}

/// The image of all slices.
struct FrozenSlices(Vec<FrozenStore>);

impl FrozenState for FrozenSlices {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        Box::new(self.0.iter().flat_map(FrozenState::changes))
    }
}
