//! One batch of a join, from the rows of both inputs to those of the result.
//!
//! ```text
//! new left  ─► late? ─► own filter ─► pairs with stored right ─► residual ─► rows      then stored
//! new right ─► late? ─► own filter ─► pairs with stored left, the new ones among them ─► rows      then stored
//! what expires without a match ─► rows with NULLs
//! ```
//!
//! A semi join takes the right first. Rows come out in pieces, each made when asked for: a frequent key may give more than fits
//! into memory.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use datafusion::arrow::compute::{concat_batches, filter, filter_record_batch, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use datafusion::common::Result as DfResult;

use super::JoinOperator;
use super::side::{Pairs, Probe};
use super::spec::{LEFT, Prepared, RIGHT, passes};
use crate::error::Result;
use crate::operator::BatchContext;
use crate::operator::event_time::{bound_us, times};
use crate::state::record_batch;

/// New rows worked on at once, and pairs at most.
const PIECE_ROWS: usize = 8192;

/// A batch under way.
pub struct Run {
    operator: Arc<JoinOperator>,
    /// Input still to be read, by the order in which it is.
    inputs: VecDeque<(usize, RecordBatch)>,
    phase: Phase,
    ready: VecDeque<RecordBatch>,
    late: i64,
    batch_rows: usize,
}

enum Phase {
    /// The next piece of input.
    Input,
    /// The pairs of a piece.
    Pairs(Box<Piece>),
    /// Rows of a side that expire without a match, by generation.
    Expired { side: usize, rows: Vec<(u32, Vec<u32>)> },
    /// Nothing is left.
    Done,
    /// An error has been given.
    Failed,
}

/// New rows that may match.
struct Piece {
    side: usize,
    rows: RecordBatch,
    prepared: Prepared,
    matched: Vec<bool>,
    probe: Probe,
}

impl Run {
    /// Of the rows of both inputs. Those of one side are joined and stored before those of the other.
    pub fn try_new(
        operator: Arc<JoinOperator>,
        inputs: [Vec<RecordBatch>; 2],
        batch: &BatchContext,
        batch_rows: usize,
    ) -> Result<Self> {
        let [left, right] = inputs;
        let (mut left, mut right) = (pieces(left, LEFT)?, pieces(right, RIGHT)?);
        let inputs = if operator.spec.first() == LEFT {
            left.append(&mut right);
            left
        } else {
            right.append(&mut left);
            right
        };
        let late = bound_us(batch.late_watermark_ms);
        Ok(Self { operator, inputs, phase: Phase::Input, ready: VecDeque::new(), late, batch_rows })
    }

    fn advance(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.phase, Phase::Failed) {
            Phase::Input => match self.inputs.pop_front() {
                Some((side, rows)) => self.begin(side, rows)?,
                None => self.phase = self.expired(LEFT),
            },
            Phase::Pairs(piece) => self.join(piece)?,
            Phase::Expired { side, rows } => self.give_expired(side, rows)?,
            ended @ (Phase::Done | Phase::Failed) => self.phase = ended,
        }
        Ok(())
    }

    /// Leaves out what is late, gives what can match nothing, and begins with the rest.
    fn begin(&mut self, side: usize, rows: RecordBatch) -> Result<()> {
        self.phase = Phase::Input;
        let rows = self.in_time(side, rows)?;
        let rows = self.filtered(side, rows)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let prepared = self.operator.lock().sides[side].prepare(&self.operator.spec.sides[side], &rows)?;
        let matched = vec![false; rows.num_rows()];
        self.phase = Phase::Pairs(Box::new(Piece { side, rows, prepared, matched, probe: Probe::default() }));
        Ok(())
    }

    fn in_time(&self, side: usize, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(column) = self.operator.spec.sides[side].event_time else { return Ok(rows) };
        let times = times(rows.column(column))?;
        let kept: BooleanArray = times.into_iter().map(|t| Some(t.is_none_or(|t| t > self.late))).collect();
        let dropped = kept.len() - kept.true_count();
        if dropped == 0 {
            return Ok(rows);
        }
        self.operator.lock().dropped += dropped as u64;
        Ok(filter_record_batch(&rows, &kept)?)
    }

    fn filtered(&mut self, side: usize, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(condition) = &self.operator.spec.sides[side].filter else { return Ok(rows) };
        let passed = passes(condition, &rows)?;
        let passed: BooleanArray = passed.iter().map(|p| Some(p == Some(true))).collect();
        if self.operator.spec.keeps(side) && passed.true_count() < rows.num_rows() {
            let failed = filter_record_batch(&rows, &datafusion::arrow::compute::not(&passed)?)?;
            self.give_unmatched(side, failed.columns().to_vec(), failed.num_rows())?;
        }
        Ok(filter_record_batch(&rows, &passed)?)
    }

    /// The next pairs of a piece; at the end, its rows are stored.
    fn join(&mut self, mut piece: Box<Piece>) -> Result<()> {
        let operator = self.operator.clone();
        let spec = &operator.spec;
        let other = 1 - piece.side;
        let semi_left = spec.is_semi() && piece.side == LEFT;
        let semi_right = spec.is_semi() && piece.side == RIGHT;
        let matched = &piece.matched;
        let is_done = |row: u32| semi_left && matched[row as usize];
        let mut inner = operator.lock();
        let stored = &mut inner.sides[other];
        let pairs = piece.probe.next(stored, &piece.prepared, PIECE_ROWS, semi_right, is_done);
        let Some(pairs) = pairs else {
            inner.store(spec, piece.side, &piece.rows, &piece.prepared, &piece.matched)?;
            self.phase = Phase::Input;
            return Ok(());
        };
        let pairs = self.passing(&mut inner, &piece, pairs)?;
        let rows = if semi_left {
            first_matches(&mut piece.matched, &pairs)
        } else {
            pairs.new.iter().for_each(|row| piece.matched[*row as usize] = true);
            vec![]
        };
        let stored = &mut inner.sides[other];
        let mut news = vec![];
        if spec.tracks_matches(other) {
            for row in &pairs.stored {
                if stored.set_matched((pairs.generation, *row)) && semi_right {
                    news.push(*row);
                }
            }
        }
        let columns = if semi_left {
            taken(&piece.rows, &rows)?
        } else if semi_right {
            stored.generations()[pairs.generation as usize].gather(&news)?
        } else {
            let new = taken(&piece.rows, &pairs.new)?;
            let stored = stored.generations()[pairs.generation as usize].gather(&pairs.stored)?;
            let (left, right) = if piece.side == LEFT { (new, stored) } else { (stored, new) };
            left.into_iter().chain(right).collect()
        };
        drop(inner);
        let len = if semi_left {
            rows.len()
        } else if semi_right {
            news.len()
        } else {
            pairs.new.len()
        };
        self.give(columns, len)?;
        self.phase = Phase::Pairs(piece);
        Ok(())
    }

    /// The pairs for which the rest of the condition holds.
    fn passing(&self, inner: &mut super::Inner, piece: &Piece, pairs: Pairs) -> Result<Pairs> {
        let Some(residual) = &self.operator.spec.residual else { return Ok(pairs) };
        let generation = &inner.sides[1 - piece.side].generations()[pairs.generation as usize];
        let new = UInt32Array::from(pairs.new);
        let passed = residual.passes(new.len(), |side, column| {
            if side == piece.side {
                return Ok(take(piece.rows.column(column), &new, None)?);
            }
            generation.gather_one(column, &pairs.stored)
        })?;
        let new = chosen(&new, &passed)?;
        let stored = chosen(&UInt32Array::from(pairs.stored), &passed)?;
        Ok(Pairs { generation: pairs.generation, new, stored })
    }

    /// What expires on this side, or on the next one that gives it.
    fn expired(&self, side: usize) -> Phase {
        let mut inner = self.operator.lock();
        for side in side..=RIGHT {
            let Some(bound) = inner.bounds[side].filter(|_| self.operator.spec.keeps(side)) else { continue };
            let generations = inner.sides[side].generations().iter_mut().enumerate();
            let unmatched = generations.map(|(i, generation)| {
                let mut rows = generation.expired(bound);
                rows.retain(|row| !generation.is_matched(*row));
                (i as u32, rows)
            });
            // The last one is given first.
            let rows = unmatched.filter(|(_, rows)| !rows.is_empty()).collect::<Vec<_>>().into_iter().rev().collect();
            return Phase::Expired { side, rows };
        }
        Phase::Done
    }

    fn give_expired(&mut self, side: usize, mut rows: Vec<(u32, Vec<u32>)>) -> Result<()> {
        let Some((generation, mut expired)) = rows.pop() else {
            self.phase = if side == LEFT { self.expired(RIGHT) } else { Phase::Done };
            return Ok(());
        };
        let later = expired.split_off(PIECE_ROWS.min(expired.len()));
        if !later.is_empty() {
            rows.push((generation, later));
        }
        let columns = self.operator.lock().sides[side].generations()[generation as usize].gather(&expired)?;
        self.give_unmatched(side, columns, expired.len())?;
        self.phase = Phase::Expired { side, rows };
        Ok(())
    }

    /// Rows of one side, with NULLs for the other.
    fn give_unmatched(&mut self, side: usize, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let other = &self.operator.spec.sides[1 - side].schema;
        let nulls: Vec<ArrayRef> = other.fields().iter().map(|f| new_null_array(f.data_type(), rows)).collect();
        let (left, right) = if side == LEFT { (columns, nulls) } else { (nulls, columns) };
        self.give(left.into_iter().chain(right).collect(), rows)
    }

    fn give(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let schema: &SchemaRef = &self.operator.spec.schema;
        let batch = record_batch(schema.clone(), columns, rows)?;
        let size = self.batch_rows.max(1);
        self.ready.extend((0..rows).step_by(size).map(|from| batch.slice(from, size.min(rows - from))));
        Ok(())
    }
}

impl Iterator for Run {
    type Item = DfResult<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(Ok(ready));
            }
            if matches!(self.phase, Phase::Done) {
                self.operator.lock().is_complete = true;
                return None;
            }
            if matches!(self.phase, Phase::Failed) {
                return None;
            }
            if let Err(e) = self.advance() {
                self.phase = Phase::Failed;
                return Some(Err(e.into()));
            }
        }
    }
}

/// The new rows that these pairs match first.
fn first_matches(matched: &mut [bool], pairs: &Pairs) -> Vec<u32> {
    let is_first = |row: &&u32| !std::mem::replace(&mut matched[**row as usize], true);
    pairs.new.iter().filter(is_first).copied().collect()
}

fn taken(rows: &RecordBatch, indices: &[u32]) -> Result<Vec<ArrayRef>> {
    let indices = UInt32Array::from(indices.to_vec());
    Ok(rows.columns().iter().map(|c| take(c, &indices, None)).collect::<Result<_, _>>()?)
}

fn chosen(rows: &UInt32Array, passed: &BooleanArray) -> Result<Vec<u32>> {
    debug_assert_eq!(rows.data_type(), &DataType::UInt32);
    Ok(filter(rows, passed)?.as_primitive::<UInt32Type>().values().to_vec())
}

/// The rows of a side in pieces large enough for their number to matter little.
fn pieces(batches: Vec<RecordBatch>, side: usize) -> Result<VecDeque<(usize, RecordBatch)>> {
    let mut pieces = VecDeque::new();
    let mut small: Vec<RecordBatch> = vec![];
    let mut rows = 0;
    for batch in batches.into_iter().filter(|b| b.num_rows() > 0) {
        rows += batch.num_rows();
        small.push(batch);
        if rows >= PIECE_ROWS {
            pieces.push_back((side, joined(std::mem::take(&mut small))?));
            rows = 0;
        }
    }
    if rows > 0 {
        pieces.push_back((side, joined(small)?));
    }
    Ok(pieces)
}

fn joined(mut batches: Vec<RecordBatch>) -> Result<RecordBatch> {
    if batches.len() == 1 {
        return Ok(batches.swap_remove(0));
    }
    Ok(concat_batches(&batches[0].schema(), &batches)?)
}
