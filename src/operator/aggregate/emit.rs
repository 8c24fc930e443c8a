//! The rows a batch gives: the touched groups in update mode, those that are final in append mode, all in complete mode.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::AggregateOperator;
use super::merge::accumulator;
use super::slice::Slice;
use crate::error::Result;
use crate::sink::OutputMode;
use crate::state::record_batch;

/// Groups evaluated at once: large enough to spread the cost of the accumulators, small enough that a large result is
/// never in memory as a whole.
const PIECE_ROWS: usize = 65_536;

type Rows = Box<dyn Iterator<Item = DfResult<RecordBatch>> + Send>;

/// Groups to give: of which slice, and which slots of it.
type Piece = (i64, Vec<u32>);

impl AggregateOperator {
    /// The result of the staged batch, in pieces of `rows` rows.
    pub(super) fn emit(self: &Arc<Self>, rows: usize) -> Rows {
        let operator = self.clone();
        Box::new(self.pieces().flat_map(move |(slice, slots)| match operator.emit_slots(slice, &slots) {
            Ok(batch) => slices(batch, rows),
            Err(e) => Box::new(std::iter::once(Err(e.into()))),
        }))
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = Piece> + Send> {
        let inner = self.lock();
        match self.mode {
            OutputMode::Update => {
                let touched = |(key, slice): (&i64, &Slice)| slice.staged.as_ref().map(|s| (*key, s.touched.clone()));
                let pieces: Vec<Piece> = inner.slices.iter().filter_map(touched).collect();
                Box::new(pieces.into_iter())
            }
            OutputMode::Append => {
                let Some(eviction) = &inner.eviction else { return Box::new(std::iter::empty()) };
                let length = |key: &i64| (*key, inner.slices.get(key).map_or(0, |s| s.store.len()));
                let whole: Vec<_> = eviction.whole.iter().map(length).collect();
                Box::new(whole.into_iter().flat_map(all_slots).chain(eviction.partial.clone()))
            }
            OutputMode::Complete => {
                let lengths: Vec<_> = inner.slices.iter().map(|(key, s)| (*key, s.store.len())).collect();
                Box::new(lengths.into_iter().flat_map(all_slots))
            }
        }
    }

    fn emit_slots(&self, slice: i64, slots: &[u32]) -> Result<RecordBatch> {
        let inner = self.lock();
        let Some(slice) = inner.slices.get(&slice) else { return Ok(RecordBatch::new_empty(self.schema.clone())) };
        match &slice.staged {
            // In update mode these are the touched groups: their state is at hand.
            Some(staged) if self.mode == OutputMode::Update => {
                self.result(staged.keys.clone(), slots.len(), &staged.state)
            }
            _ => self.result(slice.store.keys(slots)?, slots.len(), &slice.state_after_batch(slots)?),
        }
    }

    fn result(&self, mut columns: Vec<ArrayRef>, len: usize, state: &[ArrayRef]) -> Result<RecordBatch> {
        if len == 0 {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let groups: Vec<usize> = (0..len).collect();
        let mut from = 0;
        for aggregate in &self.aggregates {
            let to = from + aggregate.state_fields()?.len();
            columns.push(match &state[from..to] {
                [value] if is_its_own_state(aggregate, value) => value.clone(),
                state => {
                    let mut accumulator = accumulator(aggregate)?;
                    accumulator.merge_batch(state, &groups, len)?;
                    accumulator.evaluate(EmitTo::All)?
                }
            });
            from = to;
        }
        record_batch(self.schema.clone(), columns, len)
    }
}

/// Whether the only state column of an aggregate is its value.
fn is_its_own_state(aggregate: &AggregateFunctionExpr, state: &ArrayRef) -> bool {
    let simple = ["count", "sum", "min", "max"].contains(&aggregate.fun().name()) && !aggregate.is_distinct();
    simple && state.data_type() == aggregate.field().data_type()
}

fn all_slots((slice, groups): (i64, usize)) -> impl Iterator<Item = Piece> {
    let pieces = (0..groups).step_by(PIECE_ROWS).map(move |from| from as u32..(from + PIECE_ROWS).min(groups) as u32);
    pieces.map(move |slots| (slice, slots.collect()))
}

fn slices(batch: RecordBatch, rows: usize) -> Rows {
    let len = batch.num_rows();
    if len <= rows {
        return Box::new((len > 0).then_some(Ok(batch)).into_iter());
    }
    Box::new((0..len).step_by(rows).map(move |from| Ok(batch.slice(from, rows.min(len - from)))))
}
