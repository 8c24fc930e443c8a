//! The rows a batch gives: the touched groups in update mode, all groups in complete mode.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::interleave;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::EmitTo;

use super::merge::accumulator;
use super::{AggregateOperator, Inner};
use crate::error::Result;
use crate::sink::OutputMode;
use crate::state::record_batch;

/// Groups evaluated at once in complete mode: large enough to spread the cost of the accumulators, small enough that a
/// large result is never in memory as a whole.
const COMPLETE_ROWS: usize = 65_536;

type Rows = Box<dyn Iterator<Item = DfResult<RecordBatch>> + Send>;

impl AggregateOperator {
    /// The result of the staged batch, in pieces of `rows` rows.
    pub(super) fn emit(self: &Arc<Self>, rows: usize) -> Result<Rows> {
        match self.mode {
            OutputMode::Complete => Ok(self.clone().emit_all(rows)),
            OutputMode::Update | OutputMode::Append => Ok(slices(self.emit_touched()?, rows)),
        }
    }

    fn emit_touched(&self) -> Result<RecordBatch> {
        let inner = self.lock();
        let Some(staged) = &inner.staged else { return Ok(RecordBatch::new_empty(self.schema.clone())) };
        self.result(&inner, &staged.touched, &staged.state)
    }

    fn emit_all(self: Arc<Self>, rows: usize) -> Rows {
        let groups = self.lock().store.len();
        let pieces = (0..groups).step_by(COMPLETE_ROWS).map(move |from| from..(from + COMPLETE_ROWS).min(groups));
        Box::new(pieces.flat_map(move |slots| match self.emit_slots(slots.start as u32..slots.end as u32) {
            Ok(batch) => slices(batch, rows),
            Err(e) => Box::new(std::iter::once(Err(e.into()))),
        }))
    }

    fn emit_slots(&self, slots: std::ops::Range<u32>) -> Result<RecordBatch> {
        let inner = self.lock();
        let state = inner.state_after_batch(slots.clone())?;
        self.result(&inner, &slots.collect::<Vec<_>>(), &state)
    }

    fn result(&self, inner: &Inner, slots: &[u32], state: &[ArrayRef]) -> Result<RecordBatch> {
        if slots.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let mut columns = inner.store.keys(slots)?;
        let groups: Vec<usize> = (0..slots.len()).collect();
        let mut from = 0;
        for aggregate in &self.aggregates {
            let to = from + aggregate.state_fields()?.len();
            let mut accumulator = accumulator(aggregate)?;
            accumulator.merge_batch(&state[from..to], &groups, slots.len())?;
            columns.push(accumulator.evaluate(EmitTo::All)?);
            from = to;
        }
        record_batch(self.schema.clone(), columns, slots.len())
    }
}

impl Inner {
    /// State columns of these slots as they are once the staged batch is published.
    fn state_after_batch(&self, slots: std::ops::Range<u32>) -> Result<Vec<ArrayRef>> {
        let Some(staged) = &self.staged else { return self.store.state(slots) };
        let epoch = u64::from(self.epoch);
        // Every slot's row: in the store (array 0) unless this batch touched it (array 1).
        let mut stored = vec![];
        let rows: Vec<(usize, usize)> = slots
            .map(|slot| {
                let untouched = (slot as usize) < staged.old_len && self.marks[slot as usize] >> 32 != epoch;
                if untouched {
                    stored.push(slot);
                    return (0, stored.len() - 1);
                }
                (1, self.group(slot, staged.old_len, staged.num_old))
            })
            .collect();
        let stored = self.store.state(stored.iter().copied())?;
        let overlay = |(old, new): (&ArrayRef, &ArrayRef)| Ok(interleave(&[old.as_ref(), new.as_ref()], &rows)?);
        stored.iter().zip(&staged.state).map(overlay).collect()
    }
}

fn slices(batch: RecordBatch, rows: usize) -> Rows {
    let len = batch.num_rows();
    if len <= rows {
        return Box::new((len > 0).then_some(Ok(batch)).into_iter());
    }
    Box::new((0..len).step_by(rows).map(move |from| Ok(batch.slice(from, rows.min(len - from)))))
}
