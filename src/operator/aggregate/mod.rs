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

mod emit;
mod merge;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::exec::collect_ordered;
use super::{BatchContext, StatefulOperator};
use crate::error::Result;
use crate::sink::OutputMode;
use crate::state::{ChangeKind, FrozenState, KeyedStore, OperatorState, StateChange, StateMetrics, record_batch};

/// Rows of one change in the checkpoint's log.
const CHANGE_ROWS: usize = 65_536;

/// The state of a streaming aggregate and what a batch does with it.
pub struct AggregateOperator {
    schema: SchemaRef,
    num_keys: usize,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    mode: OutputMode,
    inner: Mutex<Inner>,
}

struct Inner {
    store: KeyedStore,
    staged: Option<Staged>,
    /// By slot: the batch's epoch in the upper half, the key's number in the batch in the lower.
    marks: Vec<u64>,
    epoch: u32,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

/// What a batch did, not yet in the store.
struct Staged {
    /// Keys in the store before the batch.
    old_len: usize,
    /// How many of them the batch has touched: the first of `touched`, before the new ones.
    num_old: usize,
    /// The keys of the batch, by slot.
    touched: Vec<u32>,
    /// Their state after the batch.
    state: Vec<ArrayRef>,
}

impl AggregateOperator {
    /// An aggregate over `num_keys` key columns. `partial` is the schema of the partial rows, `schema` of the result.
    pub fn try_new(
        partial: &Schema,
        schema: SchemaRef,
        num_keys: usize,
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        mode: OutputMode,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        // The name of a state column is the planner's own affair; on disk it is its position.
        let column = |(i, f): (usize, &Arc<Field>)| {
            let name = if i < num_keys { format!("key_{i}") } else { format!("state_{}", i - num_keys) };
            Field::new(name, f.data_type().clone(), true)
        };
        let store = Arc::new(Schema::new(partial.fields().iter().enumerate().map(column).collect::<Vec<_>>()));
        let inner = Inner {
            store: KeyedStore::try_new(store, num_keys)?,
            staged: None,
            marks: vec![],
            epoch: 0,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of an aggregate").register(pool),
        };
        Ok(Self { schema, num_keys, aggregates, mode, inner: Mutex::new(inner) })
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
        _batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let partitions = inputs.pop().unwrap_or_default();
        let rows = task.session_config().batch_size();
        let operator = self.clone();
        let emitted = async move {
            let partials = collect_ordered(partitions).await?.into_iter().flatten().collect::<Vec<_>>();
            operator.merge(&partials)?;
            Ok::<_, DataFusionError>(futures::stream::iter(operator.emit(rows)?))
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
}

impl OperatorState for AggregateOperator {
    fn operator_name(&self) -> &'static str {
        "stateStoreSave"
    }

    fn fingerprint(&self) -> Vec<String> {
        let store = self.lock().store.schema().clone();
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
        keys.chain(aggregates).chain(state).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let inner = self.lock();
        let Some(staged) = &inner.staged else { return Ok(vec![]) };
        let mut changes = vec![];
        for from in (0..staged.touched.len()).step_by(CHANGE_ROWS) {
            let len = CHANGE_ROWS.min(staged.touched.len() - from);
            let mut columns = inner.store.keys(&staged.touched[from..from + len])?;
            columns.extend(staged.state.iter().map(|c| c.slice(from, len)));
            let rows = record_batch(inner.store.schema().clone(), columns, len)?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Put, rows });
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        let Some(staged) = inner.staged.take() else { return Ok(()) };
        inner.store.put(&staged.touched, &staged.state)?;
        inner.metrics.rows_total = inner.store.len() as u64;
        inner.metrics.rows_updated = staged.touched.len() as u64;
        inner.metrics.memory_used_bytes = inner.memory.size() as u64;
        Ok(())
    }

    fn abort(&self) {
        let mut inner = self.lock();
        if let Some(staged) = inner.staged.take() {
            inner.store.truncate(staged.old_len);
        }
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        inner.store.apply(change)?;
        let size = inner.size();
        inner.memory.try_resize(size)?;
        inner.metrics.rows_total = inner.store.len() as u64;
        inner.metrics.memory_used_bytes = size as u64;
        Ok(())
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(self.lock().store.freeze()))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}

impl Inner {
    fn size(&self) -> usize {
        self.store.size() + self.marks.capacity() * 8
    }
}
