//! The join of two streams: every row is kept for the rows of the other side that are still to come.
//!
//! ```text
//!                     ┌── probe ── stored right
//! new left  "a", 3 ───┤
//!                     └── add ───► stored left    "a", 1   "a", 3   "b", 2
//!                                     │ probe
//! new right "a", 9 ───────────────────┴──► result "a", 1, "a", 9   "a", 3, "a", 9
//! ```
//!
//! A side is bounded if the condition says up to when its rows can match: they are removed once the watermark has passed that
//! time, and an outer join then gives those that have matched nothing. Rows are known on disk by a number, in order of arrival.

mod change;
mod generation;
mod run;
mod side;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::{JoinSpec, Residual, RowExpiry, SideSpec};

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use self::run::Run;
use self::side::Side;
use self::spec::{LEFT, Prepared, RIGHT};
use super::exec::collect_batches;
use super::{BatchContext, StateGrowth, StatefulOperator, by_name};
use crate::error::{Error, Result};
use crate::state::{FrozenState, OperatorState, StateChange, StateMetrics};

/// See the module.
pub struct JoinOperator {
    spec: JoinSpec,
    inner: Mutex<Inner>,
}

struct Inner {
    sides: [Side; 2],
    /// Up to which time each side is removed when the batch is published, in microseconds.
    bounds: [Option<i64>; 2],
    dropped: u64,
    updated: u64,
    /// Whether all of the batch's result has been given: before that, not all of it is stored.
    is_complete: bool,
    metrics: StateMetrics,
    memory: MemoryReservation,
}

impl JoinOperator {
    /// Without rows.
    pub fn try_new(spec: JoinSpec, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let inner = Inner {
            sides: [Side::try_new(&spec.sides[LEFT])?, Side::try_new(&spec.sides[RIGHT])?],
            bounds: [None, None],
            dropped: 0,
            updated: 0,
            is_complete: true,
            metrics: StateMetrics::default(),
            memory: MemoryConsumer::new("state of a join").register(pool),
        };
        Ok(Self { spec, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn begin(&self, batch: &BatchContext) {
        let mut inner = self.lock();
        inner.bounds = [LEFT, RIGHT].map(|side| self.spec.sides[side].expiry.bound(batch.watermark_ms));
        inner.is_complete = false;
    }
}

impl Inner {
    /// Adds the rows of a batch that may still match, or are to be given without a match.
    fn store(
        &mut self,
        spec: &JoinSpec,
        side: usize,
        rows: &RecordBatch,
        prepared: &Prepared,
        matched: &[bool],
    ) -> Result<()> {
        let of_side = &spec.sides[side];
        let stored = self.to_store(spec, side, prepared, matched);
        let matched = if spec.keeps(side) { matched } else { &[] };
        if stored.true_count() == rows.num_rows() {
            self.sides[side].add(&prepared.new_rows(rows, matched))?;
        } else if stored.true_count() > 0 {
            let rows = filter_record_batch(rows, &stored)?;
            let matched: Vec<bool> =
                matched.iter().zip(stored.values()).filter(|(_, stored)| *stored).map(|(m, _)| *m).collect();
            let prepared = self.sides[side].prepare(of_side, &rows)?;
            self.sides[side].add(&prepared.new_rows(&rows, &matched))?;
        }
        self.updated += stored.true_count() as u64;
        let size = self.size();
        Ok(self.memory.try_resize(size)?)
    }

    fn to_store(&self, spec: &JoinSpec, side: usize, prepared: &Prepared, matched: &[bool]) -> BooleanArray {
        let keeps = spec.keeps(side);
        let mut keyed = vec![keeps; matched.len()];
        prepared.keyed.iter().for_each(|row| keyed[*row as usize] = true);
        let bound = self.bounds[side].unwrap_or(i64::MIN);
        // Rows of the side that comes first are still to be joined with those of the other, whenever they expire.
        let comes_first = side == spec.first();
        let stored = |row: usize| {
            let lives = comes_first || prepared.times.get(row).is_none_or(|t| *t > bound) || keeps && !matched[row];
            let is_given = spec.is_semi() && side == LEFT && matched[row];
            keyed[row] && lives && !is_given
        };
        (0..matched.len()).map(|row| Some(stored(row))).collect()
    }

    fn account(&mut self) -> Result<()> {
        let size = self.size();
        self.memory.try_resize(size)?;
        self.metrics.rows_total = self.sides.iter().map(|s| s.live() as u64).sum();
        self.metrics.memory_used_bytes = size as u64;
        Ok(())
    }

    fn size(&self) -> usize {
        self.sides.iter().map(Side::size).sum()
    }
}

impl fmt::Debug for JoinOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinOperator").field(&self.describe()).finish()
    }
}

impl StatefulOperator for JoinOperator {
    fn schema(&self) -> SchemaRef {
        self.spec.schema.clone()
    }

    fn execute(
        self: Arc<Self>,
        inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let rows = task.session_config().batch_size();
        let schema = self.spec.schema.clone();
        let joined = async move {
            let [left, right] =
                <[_; 2]>::try_from(inputs).map_err(|_| Error::internal("a join of two streams has two inputs"))?;
            let left = collect_batches(left).await?;
            let right = collect_batches(right).await?;
            self.begin(&batch);
            let run = Run::try_new(self, [left, right], &batch, rows)?;
            Ok::<_, DataFusionError>(futures::stream::iter(run))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(joined).try_flatten().boxed())))
    }

    fn describe(&self) -> String {
        let [left, right] = &self.spec.sides;
        let pair = |((l, r), null_equal): ((&Arc<dyn datafusion::physical_expr::PhysicalExpr>, _), &bool)| {
            format!("{l} {} {r}", if *null_equal { "<=>" } else { "=" })
        };
        let keys: Vec<_> = left.keys.iter().zip(&right.keys).zip(&left.null_equal).map(pair).collect();
        format!("{}, keys=[{}], left {}, right {}", self.spec.join_type, keys.join(", "), left.kept(), right.kept())
    }

    fn bound(&self) -> StateGrowth {
        let [left, right] = &self.spec.sides;
        match [left, right].iter().any(|s| s.expiry == RowExpiry::Never) {
            true => StateGrowth::UnboundedRows(format!(
                "left rows are {}, right rows are {}; WATERMARK on both streams and a time range in ON would bound both",
                left.kept(),
                right.kept()
            )),
            false => StateGrowth::Watermark(format!("left rows are {}, right rows are {}", left.kept(), right.kept())),
        }
    }

    fn wants_batch(&self) -> bool {
        self.spec.sides.iter().any(|s| s.expiry != RowExpiry::Never)
    }
}

impl OperatorState for JoinOperator {
    fn operator_name(&self) -> &'static str {
        "symmetricHashJoin"
    }

    fn fingerprint(&self) -> Vec<String> {
        let [left, right] = &self.spec.sides;
        let keys = left.keys.iter().zip(&right.keys).zip(&left.null_equal).map(|((l, r), null_equal)| {
            let data_type = l.data_type(&left.schema).map_or_else(|_| "of no type".to_owned(), |t| t.to_string());
            format!("key {} {} {} {data_type}", by_name(l), if *null_equal { "<=>" } else { "=" }, by_name(r))
        });
        let columns = |name: &'static str, side: &spec::SideSpec| {
            let types = side.schema.fields().iter().map(move |f| format!("{name} {} {}", f.name(), f.data_type()));
            let expiry = match &side.expiry {
                RowExpiry::Never => format!("{name} for ever"),
                RowExpiry::Key(key) => format!("{name} until the watermark passes key {key}"),
                RowExpiry::Column(column, _) => format!("{name} until the watermark passes column {column}"),
            };
            types.chain([expiry]).collect::<Vec<_>>()
        };
        let join_type = format!("join {}", self.spec.join_type);
        keys.chain([join_type]).chain(columns("left", left)).chain(columns("right", right)).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        let mut inner = self.lock();
        if !inner.is_complete {
            return Err(Error::internal("the result of a join was not read to its end"));
        }
        let bounds = inner.bounds;
        let mut changes = vec![];
        for side in [LEFT, RIGHT] {
            change::staged(&self.spec, side, &mut inner.sides[side], bounds[side], &mut changes)?;
        }
        Ok(changes)
    }

    fn publish(&self) -> Result<()> {
        let mut inner = self.lock();
        inner.metrics.rows_dropped_by_watermark = std::mem::take(&mut inner.dropped);
        inner.metrics.rows_updated = std::mem::take(&mut inner.updated);
        let before = inner.metrics.rows_total + inner.metrics.rows_updated;
        let bounds = inner.bounds;
        for side in [LEFT, RIGHT] {
            let matched_go = self.spec.is_semi() && side == LEFT;
            inner.sides[side].publish(&self.spec.sides[side], bounds[side], matched_go)?;
        }
        inner.account()?;
        // Evicted, given without a match, or of no more use after one.
        inner.metrics.rows_removed = before.saturating_sub(inner.metrics.rows_total);
        Ok(())
    }

    fn abort(&self) {
        let mut inner = self.lock();
        inner.sides.iter_mut().for_each(Side::abort);
        (inner.dropped, inner.updated, inner.is_complete) = (0, 0, true);
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        let mut inner = self.lock();
        change::apply(&self.spec, &mut inner.sides, change)?;
        inner.account()
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        let inner = self.lock();
        Ok(Arc::new(change::FrozenJoin::new(&self.spec, &inner.sides)))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }
}
