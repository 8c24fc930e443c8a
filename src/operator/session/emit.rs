//! The rows a batch gives: the sessions that have ended in append mode, all of them in complete mode.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::EmitTo;

use super::merge::bounds_columns;
use super::{Inner, SessionOperator, take_state};
use crate::error::{Error, Result};
use crate::operator::aggregate::accumulator;
use crate::output_mode::OutputMode;
use crate::state::record_batch;

/// Sessions to give.
enum Piece {
    /// By number in the batch.
    Staged(Vec<u32>),
    /// By slot in state.
    Stored(Vec<u32>),
}

impl SessionOperator {
    /// The result of the staged batch, in pieces of `rows` rows.
    pub(super) fn emit(self: &Arc<Self>, rows: usize) -> impl Iterator<Item = DfResult<RecordBatch>> + Send + use<> {
        let operator = self.clone();
        let pieces = self.pieces(&self.lock(), rows.max(1));
        pieces.into_iter().map(move |piece| Ok(operator.result(&operator.lock(), &piece)?))
    }

    fn pieces(&self, inner: &Inner, rows: usize) -> Vec<Piece> {
        let staged = &inner.staged;
        let numbers = 0..staged.sessions.len() as u32;
        let (stored, staged) = match self.mode {
            OutputMode::Complete => {
                let mut consumed: Vec<u32> = staged.consumed.iter().map(|(_, slot)| *slot).collect();
                consumed.sort_unstable();
                let rest = inner.store.slots().into_iter().filter(|s| consumed.binary_search(s).is_err());
                (rest.collect::<Vec<_>>(), numbers.collect::<Vec<_>>())
            }
            OutputMode::Append | OutputMode::Update => {
                (staged.evicted.clone(), numbers.filter(|n| staged.ended[*n as usize]).collect())
            }
        };
        let stored = stored.chunks(rows).map(|s| Piece::Stored(s.to_vec()));
        stored.chain(staged.chunks(rows).map(|s| Piece::Staged(s.to_vec()))).collect()
    }

    fn result(&self, inner: &Inner, piece: &Piece) -> Result<RecordBatch> {
        let (columns, len) = match piece {
            Piece::Stored(slots) => (inner.stored_rows(slots)?, slots.len()),
            Piece::Staged(numbers) => (inner.staged_rows(numbers)?, numbers.len()),
        };
        let num_keys = self.input.num_keys;
        let mut keys = columns[..num_keys].to_vec();
        keys.insert(self.session_key, self.windows(&columns[num_keys], &columns[num_keys + 1])?);
        let values = self.values(&columns[num_keys + 2..], len)?;
        record_batch(self.schema.clone(), keys.into_iter().chain(values).collect(), len)
    }

    /// `{start, end}`.
    fn windows(&self, starts: &ArrayRef, ends: &ArrayRef) -> Result<ArrayRef> {
        let DataType::Struct(fields) = self.schema.field(self.session_key).data_type() else {
            return Err(Error::internal("a session window is no STRUCT"));
        };
        let columns = fields.iter().zip([starts, ends]).map(|(field, times)| -> Result<ArrayRef> {
            let DataType::Timestamp(_, zone) = field.data_type() else {
                return Err(Error::internal("a session window has a bound that is no TIMESTAMP"));
            };
            let times = times.as_primitive::<Int64Type>().values().clone();
            Ok(Arc::new(TimestampMicrosecondArray::new(times, None).with_timezone_opt(zone.clone())))
        });
        Ok(Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_>>()?, None)?))
    }

    /// What the aggregates are with this state.
    fn values(&self, state: &[ArrayRef], len: usize) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..len).collect();
        let mut values = vec![];
        let mut from = 0;
        for call in &self.input.calls {
            let to = from + call.aggregate.state_fields()?.len();
            let mut accumulator = accumulator(&call.aggregate)?;
            accumulator.merge_batch(&state[from..to], &groups, len)?;
            values.push(accumulator.evaluate(EmitTo::All)?);
            from = to;
        }
        Ok(values)
    }
}

impl Inner {
    /// Keys, bounds and state of sessions of the batch.
    pub(super) fn staged_rows(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let sessions = numbers.iter().map(|n| &self.staged.sessions[*n as usize]);
        let keys: Vec<u32> = sessions.clone().map(|s| s.key).collect();
        let mut columns = self.store.keys(&keys)?;
        columns.extend(bounds_columns(sessions.map(|s| (s.start, s.end))));
        columns.extend(take_state(&self.staged, numbers)?);
        Ok(columns)
    }

    fn stored_rows(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let sessions = slots.iter().map(|s| self.store.session(*s));
        let keys: Vec<u32> = sessions.clone().map(|s| s.key).collect();
        let mut columns = self.store.keys(&keys)?;
        columns.extend(bounds_columns(sessions.map(|s| (s.start, s.end))));
        columns.extend(self.store.state(slots)?);
        Ok(columns)
    }
}
