//! `DISTINCT ON`: the first row of every key; for ever, or until the watermark has passed it.
//!
//! With an event time among the keys a key expires at that time, `WITHIN WATERMARK` at the time of its first row plus the
//! delay. An expired key stays in the index, dead, until the dead ones are the majority: then the index is made anew.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, kernels::cmp::gt};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use super::WORTH_REINDEXING;
use super::event_time::{EventTimeKey, bound_us, times};
use super::{BatchContext, StateGrowth, StatefulOperator, by_name, evict};
use crate::error::{Error, Result};
use crate::state::{
    ChangeKind, FrozenState, FrozenStore, KeyedStore, OperatorState, PagedVec, StateChange, StateMetrics, StateSpace,
    record_batch,
};

/// Expiries that share a list, in microseconds.
const BUCKET_US: i64 = 10_000_000;
/// The expiry of a key that never expires.
const NEVER: i64 = i64::MAX;

/// When a key is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyExpiry {
    /// Never.
    Never {
        /// The column of the input by which rows are late.
        late_by: Option<usize>,
    },
    /// At its event time, which is one of the keys.
    Key(EventTimeKey),
    /// At the event time of its first row, the column `time` of the input, plus a delay.
    Within {
        /// Among the input's columns.
        time: usize,
        /// Of the watermark.
        delay_ms: i64,
    },
}

impl KeyExpiry {
    fn expires(self) -> bool {
        !matches!(self, Self::Never { .. })
    }
}

/// The keys seen so far.
pub struct DedupOperator {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    expiry: KeyExpiry,
    inner: Mutex<Inner>,
}

struct Inner {
    store: KeyedStore,
    /// Keys before the staged batch; those after it are the staged ones.
    published: usize,
    /// By slot, the staged ones included; empty if keys never expire.
    expiries: PagedVec<i64>,
    /// Dead keys that the batch has brought back, and when they expire now.
    revived: HashMap<u32, i64>,
    /// Published keys that are alive, by expiry.
    queue: BTreeMap<i64, Vec<u32>>,
    /// Keys that expire up to here are dead; none before the first eviction.
    dead_to: Option<i64>,
    dead: usize,
    dropped: u64,
    /// Where to evict to when the batch is published, if keys expire.
    evict_to: Option<i64>,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

impl DedupOperator {
    /// Keeps the first row of every value of `keys`, which are evaluated over rows of `schema`.
    pub fn try_new(
        schema: SchemaRef,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        expiry: KeyExpiry,
        space: &StateSpace,
    ) -> Result<Self> {
        let field =
            |(i, k): (usize, &Arc<dyn PhysicalExpr>)| Ok(Field::new(format!("key_{i}"), k.data_type(&schema)?, true));
        let mut fields = keys.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?;
        if expiry.expires() {
            fields.push(Field::new("expiry_us", DataType::Int64, false));
        }
        let inner = Inner {
            store: KeyedStore::try_new_in(&space.backend, Arc::new(Schema::new(fields)), keys.len())?,
            published: 0,
            expiries: PagedVec::new(space.backend.clone()),
            revived: HashMap::new(),
            queue: BTreeMap::new(),
            dead_to: None,
            dead: 0,
            dropped: 0,
            evict_to: None,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of a deduplication").register(&space.pool),
        };
        Ok(Self { schema, keys, expiry, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn first_rows(&self, batch: &RecordBatch, late: i64) -> Result<RecordBatch> {
        let in_time = self.in_time(batch, late)?;
        let batch = in_time.as_ref().unwrap_or(batch);
        let keys =
            self.keys.iter().map(|k| k.evaluate(batch)?.into_array(batch.num_rows())).collect::<DfResult<Vec<_>>>()?;
        let expiries = self.expiries(batch, &keys)?;
        let mut inner = self.lock();
        let mut seen = inner.store.len() as u32;
        let mut slots = vec![];
        inner.store.intern(&keys, batch.num_rows(), &mut slots)?;
        let mut first = Vec::with_capacity(slots.len());
        for (row, slot) in slots.into_iter().enumerate() {
            // Slots are given in order of appearance: the row that made a slot is the one that has it first.
            let is_new = slot == seen;
            if is_new {
                seen += 1;
                inner.expiries.extend(expiries.as_ref().map(|e| e[row]));
            }
            first.push(is_new || expiries.as_ref().is_some_and(|e| inner.revive(slot, e[row])));
        }
        let size = inner.size();
        inner.memory.try_resize(size)?;
        Ok(filter_record_batch(batch, &BooleanArray::from(first))?)
    }

    /// The rows that are not late, if some are.
    fn in_time(&self, batch: &RecordBatch, late: i64) -> Result<Option<RecordBatch>> {
        let times = match self.expiry {
            KeyExpiry::Never { late_by: None } => return Ok(None),
            KeyExpiry::Never { late_by: Some(time) } => times(batch.column(time))?,
            KeyExpiry::Key(event_time) => {
                let key =
                    self.keys.get(event_time.column).ok_or_else(|| Error::internal("a key without its event time"))?;
                times(&key.evaluate(batch)?.into_array(batch.num_rows())?)?
            }
            KeyExpiry::Within { time, .. } => times(batch.column(time))?,
        };
        let kept: BooleanArray = times.into_iter().map(|t| Some(t.is_none_or(|t| t > late))).collect();
        let dropped = kept.len() - kept.true_count();
        if dropped == 0 {
            return Ok(None);
        }
        self.lock().dropped += dropped as u64;
        Ok(Some(filter_record_batch(batch, &kept)?))
    }

    /// When each row's key would expire.
    fn expiries(&self, batch: &RecordBatch, keys: &[ArrayRef]) -> Result<Option<Vec<i64>>> {
        Ok(match self.expiry {
            KeyExpiry::Never { .. } => None,
            KeyExpiry::Key(event_time) => {
                Some(event_time.times(keys)?.into_iter().map(|t| t.unwrap_or(NEVER)).collect())
            }
            KeyExpiry::Within { time, delay_ms } => {
                // A row without a time counts as one of the epoch, as in Spark.
                let expiry = |t: Option<i64>| t.unwrap_or(0).saturating_add(bound_us(delay_ms));
                Some(times(batch.column(time))?.into_iter().map(expiry).collect())
            }
        })
    }
}

impl Inner {
    /// Whether what expires at `expiry` is dead.
    fn has_expired(&self, expiry: i64) -> bool {
        self.dead_to.is_some_and(|to| expiry <= to)
    }

    /// Whether the key was dead; it expires at `expiry` now.
    fn revive(&mut self, slot: u32, expiry: i64) -> bool {
        let is_published = (slot as usize) < self.published;
        let is_dead =
            is_published && self.has_expired(self.expiries[slot as usize]) && !self.revived.contains_key(&slot);
        if is_dead {
            self.revived.insert(slot, expiry);
        }
        is_dead
    }

    /// The slots that the batch has given a key to, and their expiries.
    fn staged(&self) -> (Vec<u32>, Vec<i64>) {
        let new = self.published as u32..self.store.len() as u32;
        let mut revived: Vec<(u32, i64)> = self.revived.iter().map(|(s, e)| (*s, *e)).collect();
        revived.sort_unstable();
        let expiries = (self.published..self.expiries.len()).map(|slot| self.expiries[slot]);
        (revived.iter().map(|r| r.0).chain(new).collect(), revived.iter().map(|r| r.1).chain(expiries).collect())
    }

    /// Makes the staged keys part of the state; how many there are.
    fn accept(&mut self, expires: bool) -> Result<usize> {
        let (slots, expiries) = self.staged();
        self.published = self.store.len();
        if expires {
            self.dead -= self.revived.len();
            for (slot, expiry) in self.revived.drain() {
                self.expiries[slot as usize] = expiry;
            }
            for (slot, expiry) in slots.iter().zip(&expiries) {
                self.queue.entry(expiry.div_euclid(BUCKET_US)).or_default().push(*slot);
            }
            self.store.put(&slots, &[Arc::new(Int64Array::from(expiries))])?;
        }
        Ok(slots.len())
    }

    /// Forgets the keys that expire up to `bound`; how many there were.
    fn evict(&mut self, bound: i64) -> Result<usize> {
        if self.has_expired(bound) {
            return Ok(0);
        }
        let expiries = &self.expiries;
        let last = bound.div_euclid(BUCKET_US);
        let mut gone = 0;
        while let Some(mut bucket) = self.queue.first_entry().filter(|b| *b.key() <= last) {
            let before = bucket.get().len();
            bucket.get_mut().retain(|slot| expiries[*slot as usize] > bound);
            gone += before - bucket.get().len();
            if !bucket.get().is_empty() {
                break;
            }
            bucket.remove();
        }
        self.dead_to = Some(bound);
        self.dead += gone;
        if self.dead > WORTH_REINDEXING && self.dead > self.published / 2 {
            self.bury()?;
        }
        Ok(gone)
    }

    /// How many keys would go.
    fn would_evict(&self, bound: i64) -> bool {
        !self.has_expired(bound)
            && (self.queue.range(..=bound.div_euclid(BUCKET_US)).flat_map(|(_, slots)| slots))
                .map(|slot| self.expiries[*slot as usize])
                .chain(self.staged().1)
                .any(|expiry| expiry <= bound)
    }

    /// Makes the index anew, of the keys that are alive.
    fn bury(&mut self) -> Result<()> {
        let alive: Vec<u32> =
            (0..self.published as u32).filter(|s| !self.has_expired(self.expiries[*s as usize])).collect();
        let keys = self.store.keys(&alive)?;
        let mut store = self.store.empty();
        let mut slots = vec![];
        store.intern(&keys, alive.len(), &mut slots)?;
        store.put(&slots, &self.store.state(alive.iter().copied())?)?;
        let mut expiries = PagedVec::new(store.backend().clone());
        expiries.extend(alive.iter().map(|s| self.expiries[*s as usize]));
        self.expiries = expiries;
        self.queue.clear();
        for (slot, expiry) in self.expiries.iter().enumerate() {
            self.queue.entry(expiry.div_euclid(BUCKET_US)).or_default().push(slot as u32);
        }
        (self.store, self.published, self.dead) = (store, alive.len(), 0);
        Ok(())
    }

    fn size(&self) -> usize {
        self.store.size() + self.expiries.size() + self.expiries.len() * 4 + self.revived.len() * 24
    }

    fn account(&mut self) -> Result<()> {
        let size = self.size();
        self.memory.try_resize(size)?;
        self.metrics.rows_total = (self.published - self.dead) as u64;
        self.metrics.memory_used_bytes = size as u64;
        Ok(())
    }
}

impl fmt::Debug for DedupOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DedupOperator").field(&self.describe()).finish()
    }
}

impl StatefulOperator for DedupOperator {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn execute(
        self: Arc<Self>,
        inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        _task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let operator = self.clone();
        let late = bound_us(batch.late_watermark_ms);
        self.lock().evict_to = self.expiry.expires().then(|| bound_us(batch.watermark_ms));
        let rows = futures::stream::iter(inputs.into_iter().flatten().map(Ok::<_, DataFusionError>))
            .try_flatten()
            .map(move |batch: DfResult<RecordBatch>| Ok(operator.first_rows(&batch?, late)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.boxed())))
    }

    fn describe(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        let within = if matches!(self.expiry, KeyExpiry::Within { .. }) { ", within watermark" } else { "" };
        format!("keys=[{}]{within}", keys.join(", "))
    }

    fn bound(&self) -> StateGrowth {
        match self.expiry {
            KeyExpiry::Never { .. } => StateGrowth::Unbounded,
            KeyExpiry::Key(_) => StateGrowth::Watermark("a key goes when it reaches the key's time".to_owned()),
            KeyExpiry::Within { delay_ms, .. } => {
                let delay = crate::interval::duration_text(delay_ms.saturating_mul(1000));
                StateGrowth::Watermark(format!("a key goes when it reaches the time of its first row plus {delay}"))
            }
        }
    }

    fn first_close_us(&self) -> Option<i64> {
        let inner = self.lock();
        let slots = inner.queue.first_key_value().filter(|_| self.expiry.expires())?.1;
        slots.iter().map(|s| inner.expiries[*s as usize]).filter(|e| !inner.has_expired(*e) && *e != NEVER).min()
    }

    fn wants_batch(&self) -> bool {
        true
    }
}

impl OperatorState for DedupOperator {
    fn operator_name(&self) -> &'static str {
        match self.expiry {
            KeyExpiry::Within { .. } => "dedupeWithinWatermark",
            KeyExpiry::Never { .. } | KeyExpiry::Key(_) => "dedupe",
        }
    }

    fn fingerprint(&self) -> Vec<String> {
        let inner = self.lock();
        let stored = &inner.store.schema().fields()[..self.keys.len()];
        let keys = self.keys.iter().zip(stored).map(|(k, f)| format!("key {} {}", by_name(k), f.data_type()));
        let expiry = match self.expiry {
            KeyExpiry::Never { .. } => None,
            KeyExpiry::Key(event_time) => Some(format!("event time key {}", event_time.column)),
            KeyExpiry::Within { .. } => Some("within watermark".to_owned()),
        };
        keys.chain(expiry).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.lock();
        let (slots, expiries) = inner.staged();
        let mut changes = vec![];
        if !slots.is_empty() {
            let mut columns = inner.store.keys(&slots)?;
            if self.expiry.expires() {
                columns.push(Arc::new(Int64Array::from(expiries)));
            }
            let rows = record_batch(inner.store.schema().clone(), columns, slots.len())?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Put, rows });
        }
        if let Some(bound) = inner.evict_to.filter(|bound| inner.would_evict(*bound)) {
            changes.push(evict::change(bound)?);
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let expires = self.expiry.expires();
        let mut inner = self.lock();
        inner.metrics.rows_updated = inner.accept(expires)? as u64;
        inner.metrics.rows_dropped_by_watermark = std::mem::take(&mut inner.dropped);
        let evicted = inner.evict_to.map(|bound| inner.evict(bound)).transpose()?;
        inner.metrics.rows_removed = evicted.unwrap_or_default() as u64;
        inner.account()
    }

    fn abort(&self) {
        let mut inner = self.lock();
        let published = inner.published;
        inner.store.truncate(published);
        inner.expiries.truncate(published);
        inner.revived.clear();
        inner.dropped = 0;
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        if change.kind == ChangeKind::Evict && self.expiry.expires() {
            inner.evict(evict::bound(change)?)?;
            return inner.account();
        }
        if !self.expiry.expires() {
            inner.store.apply(change)?;
            inner.published = inner.store.len();
            return inner.account();
        }
        let expiries = change.rows.columns().last().and_then(|c| c.as_primitive_opt::<Int64Type>());
        let expiries = expiries.ok_or_else(|| Error::corrupt_checkpoint("a key has no expiry"))?;
        let mut slots = vec![];
        let keys = &change.rows.columns()[..self.keys.len()];
        inner.store.intern(keys, change.rows.num_rows(), &mut slots)?;
        for (slot, expiry) in slots.into_iter().zip(expiries.values()) {
            if slot as usize == inner.expiries.len() {
                inner.expiries.push(*expiry);
            } else {
                inner.revive(slot, *expiry);
            }
        }
        inner.accept(true)?;
        inner.account()
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        let inner = self.lock();
        let store = inner.store.freeze();
        Ok(Arc::new(Frozen { store, dead_to: inner.dead_to }))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}

/// The image of the keys, the dead ones left out.
struct Frozen {
    store: FrozenStore,
    dead_to: Option<i64>,
}

impl FrozenState for Frozen {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        Box::new(self.store.changes().map(|change| match self.dead_to {
            Some(dead_to) => change.and_then(|c| alive(c, dead_to)),
            None => change,
        }))
    }
}

fn alive(change: StateChange, dead_to: i64) -> Result<StateChange> {
    let Some(expiries) = change.rows.columns().last() else { return Ok(change) };
    let alive = gt(expiries, &Int64Array::new_scalar(dead_to))?;
    Ok(StateChange { rows: filter_record_batch(&change.rows, &alive)?, ..change })
}
