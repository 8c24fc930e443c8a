//! `LIMIT` over a stream: the first n rows of all batches together.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use super::{BatchContext, StateGrowth, StatefulOperator};
use crate::error::{Error, Result};
use crate::state::{ChangeKind, FrozenState, OperatorState, StateChange, StateMetrics};

/// How many rows have passed.
pub struct LimitOperator {
    schema: SchemaRef,
    limit: i64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    passed: i64,
    staged: Option<i64>,
    metrics: StateMetrics,
}

impl LimitOperator {
    /// Passes the first `limit` rows.
    pub fn new(schema: SchemaRef, limit: i64) -> Self {
        Self { schema, limit, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn pass(&self, batch: &RecordBatch) -> RecordBatch {
        let mut inner = self.lock();
        let passed = inner.staged.unwrap_or(inner.passed);
        let rows = (self.limit - passed).clamp(0, batch.num_rows() as i64);
        if rows > 0 {
            inner.staged = Some(passed + rows);
        }
        batch.slice(0, rows as usize)
    }
}

impl fmt::Debug for LimitOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitOperator").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl StatefulOperator for LimitOperator {
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
            .map(move |batch: DfResult<RecordBatch>| Ok(operator.pass(&batch?)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.boxed())))
    }

    fn describe(&self) -> String {
        format!("limit={}", self.limit)
    }

    fn is_done(&self) -> bool {
        self.lock().passed >= self.limit
    }

    fn bound(&self) -> StateGrowth {
        StateGrowth::Fixed
    }
}

fn store() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("passed", DataType::Int64, false)]))
}

fn put(passed: i64) -> Result<StateChange> {
    let rows = RecordBatch::try_new(store(), vec![Arc::new(Int64Array::from(vec![passed]))])?;
    Ok(StateChange { store: 0, kind: ChangeKind::Put, rows })
}

impl OperatorState for LimitOperator {
    fn operator_name(&self) -> &'static str {
        "globalLimit"
    }

    fn fingerprint(&self) -> Vec<String> {
        vec!["rows passed".into()]
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        self.lock().staged.map(put).into_iter().collect()
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        let staged = inner.staged.take();
        inner.metrics.rows_updated = u64::from(staged.is_some());
        if let Some(passed) = staged {
            inner.passed = passed;
            (inner.metrics.rows_total, inner.metrics.memory_used_bytes) = (1, 8);
        }
        Ok(())
    }

    fn abort(&self) {
        self.lock().staged = None;
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let passed = change.rows.columns().first().and_then(|c| c.as_primitive_opt::<Int64Type>());
        let passed = passed.filter(|c| c.len() == 1).ok_or_else(|| Error::internal("a limit's state is one number"))?;
        let mut inner = self.lock();
        inner.passed = passed.value(0);
        inner.metrics.rows_total = 1;
        Ok(())
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(FrozenLimit(self.lock().passed)))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}

struct FrozenLimit(i64);

impl FrozenState for FrozenLimit {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        Box::new(std::iter::once(put(self.0)))
    }
}
