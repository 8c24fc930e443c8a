//! The rows a batch gives: the touched groups in update mode, those that are final in append mode, all in complete mode.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::Result as DfResult;

use super::AggregateOperator;
use crate::error::Result;
use crate::output_mode::OutputMode;
use crate::state::record_batch;

/// Groups evaluated at once: large enough to spread the cost of the accumulators, small enough that a large result is
/// never in memory as a whole.
const PIECE_ROWS: usize = 65_536;

type Rows = Box<dyn Iterator<Item = DfResult<RecordBatch>> + Send>;

/// Groups to give: of which slice, and which slots of it.
type Piece = (i64, Vec<u32>);
type Pieces = Box<dyn Iterator<Item = Piece> + Send>;

impl AggregateOperator {
    /// The result of the staged batch, in pieces of `rows` rows.
    pub(super) fn emit(self: &Arc<Self>, rows: usize) -> Rows {
        let operator = self.clone();
        Box::new(self.pieces().flat_map(move |(slice, slots)| match operator.emit_slots(slice, &slots) {
            Ok(batch) => slices(batch, rows),
            Err(e) => Box::new(std::iter::once(Err(e.into()))),
        }))
    }

    fn pieces(&self) -> Pieces {
        let inner = self.read();
        match self.mode {
            OutputMode::Update => {
                let touched = |key: &i64| Some((*key, inner.slices.get(key)?.staged.as_ref()?.touched.clone()));
                let pieces: Vec<Piece> = inner.touched.iter().filter_map(touched).collect();
                Box::new(pieces.into_iter())
            }
            OutputMode::Append => {
                let Some(eviction) = &inner.eviction else { return Box::new(std::iter::empty()) };
                let length = |key: i64| inner.slices.get(&key).map_or(0, |s| s.store.len());
                let slots = |(key, slots): (i64, Option<&Vec<u32>>)| match slots {
                    None => all_slots(key, length(key)),
                    Some(slots) => Box::new(std::iter::once((key, slots.clone()))),
                };
                let pieces: Vec<_> = eviction.slots().map(slots).collect();
                Box::new(pieces.into_iter().flatten())
            }
            OutputMode::Complete => {
                let lengths: Vec<_> = inner.slices.iter().map(|(key, s)| (*key, s.store.len())).collect();
                Box::new(lengths.into_iter().flat_map(|(key, len)| all_slots(key, len)))
            }
        }
    }

    fn emit_slots(&self, key: i64, slots: &[u32]) -> Result<RecordBatch> {
        let inner = self.read();
        let Some(slice) = inner.slices.get(&key).filter(|_| !slots.is_empty()) else {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        };
        match &slice.staged {
            // In update mode these are the touched groups: their values are at hand.
            Some(staged) if self.mode == OutputMode::Update => {
                self.result(key, staged.keys.clone(), staged.values.clone(), slots.len())
            }
            _ => {
                let state = slice.state_after_batch(slots)?;
                let value = |i: usize| self.value(i, &state[self.state_columns[i].clone()], slots.len());
                let values = (0..self.aggregates.len()).map(value).collect::<Result<Vec<_>>>()?;
                self.result(key, slice.store.keys(slots)?, values, slots.len())
            }
        }
    }

    fn result(&self, slice: i64, keys: Vec<ArrayRef>, values: Vec<ArrayRef>, len: usize) -> Result<RecordBatch> {
        let columns = self.whole_keys(slice, keys, len)?.into_iter().chain(values).collect();
        record_batch(self.schema.clone(), columns, len)
    }
}

fn all_slots(slice: i64, groups: usize) -> Pieces {
    let pieces = (0..groups).step_by(PIECE_ROWS).map(move |from| from as u32..(from + PIECE_ROWS).min(groups) as u32);
    Box::new(pieces.map(move |slots| (slice, slots.collect())))
}

fn slices(batch: RecordBatch, rows: usize) -> Rows {
    let len = batch.num_rows();
    if len <= rows {
        return Box::new((len > 0).then_some(Ok(batch)).into_iter());
    }
    Box::new((0..len).step_by(rows).map(move |from| Ok(batch.slice(from, rows.min(len - from)))))
}
