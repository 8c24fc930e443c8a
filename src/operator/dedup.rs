//! `DISTINCT ON` without an event time: the first row of every key, for ever.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::{BatchContext, StatefulOperator};
use crate::error::Result;
use crate::state::{ChangeKind, FrozenState, KeyedStore, OperatorState, StateChange, StateMetrics, record_batch};

/// The keys seen so far.
pub struct DedupOperator {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    inner: Mutex<Inner>,
}

struct Inner {
    store: KeyedStore,
    /// Keys before the staged batch; those after it are the staged ones.
    published: usize,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

impl DedupOperator {
    /// Keeps the first row of every value of `keys`, which are evaluated over rows of `schema`.
    pub fn try_new(schema: SchemaRef, keys: Vec<Arc<dyn PhysicalExpr>>, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let field =
            |(i, k): (usize, &Arc<dyn PhysicalExpr>)| Ok(Field::new(format!("key_{i}"), k.data_type(&schema)?, true));
        let store = Schema::new(keys.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?);
        let inner = Inner {
            store: KeyedStore::try_new(Arc::new(store), keys.len())?,
            published: 0,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of a deduplication").register(pool),
        };
        Ok(Self { schema, keys, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn first_rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let keys =
            self.keys.iter().map(|k| k.evaluate(batch)?.into_array(batch.num_rows())).collect::<DfResult<Vec<_>>>()?;
        let mut inner = self.lock();
        let mut seen = inner.store.len() as u32;
        let mut slots = vec![];
        inner.store.intern(&keys, batch.num_rows(), &mut slots)?;
        let size = inner.store.size();
        inner.memory.try_resize(size)?;
        // Slots are given in order of appearance: the row that made a slot is the one that has it first.
        let is_first = |slot: &u32| {
            let first = *slot == seen;
            seen += u32::from(first);
            first
        };
        let first: BooleanArray = slots.iter().map(is_first).map(Some).collect();
        Ok(filter_record_batch(batch, &first)?)
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
        _batch: Arc<BatchContext>,
        _task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let operator = self.clone();
        let rows = futures::stream::iter(inputs.into_iter().flatten().map(Ok::<_, DataFusionError>))
            .try_flatten()
            .map(move |batch: DfResult<RecordBatch>| Ok(operator.first_rows(&batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.boxed())))
    }

    fn describe(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        format!("keys=[{}]", keys.join(", "))
    }
}

impl OperatorState for DedupOperator {
    fn operator_name(&self) -> &'static str {
        "dedupe"
    }

    fn fingerprint(&self) -> Vec<String> {
        self.lock().store.schema().fields().iter().map(|f| format!("key {}", f.data_type())).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.lock();
        let slots: Vec<u32> = (inner.published as u32..inner.store.len() as u32).collect();
        if slots.is_empty() {
            return Ok(vec![]);
        }
        let rows = record_batch(inner.store.schema().clone(), inner.store.keys(&slots)?, slots.len())?;
        Ok(vec![StateChange { store: 0, kind: ChangeKind::Put, rows }])
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        inner.metrics.rows_updated = (inner.store.len() - inner.published) as u64;
        inner.published = inner.store.len();
        inner.metrics.rows_total = inner.published as u64;
        inner.metrics.memory_used_bytes = inner.memory.size() as u64;
        Ok(())
    }

    fn abort(&self) {
        let mut inner = self.lock();
        let published = inner.published;
        inner.store.truncate(published);
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        inner.store.apply(change)?;
        inner.published = inner.store.len();
        inner.metrics.rows_total = inner.published as u64;
        let size = inner.store.size();
        inner.memory.try_resize(size)?;
        Ok(())
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(self.lock().store.freeze()))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}
