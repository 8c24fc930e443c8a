//! Panes put together for the windows they are in, so that a window merges two partial results and not all of its panes.
//!
//! ```text
//! panes           1    2    3    4  │  5    6    7    8       blocks as long as a window
//! from here on   1-4  2-4  3-4   4  │ 5-8  6-8  7-8   8
//! up to here      1   1-2  1-3  1-4 │  5   5-6  5-7  5-8
//! a window            [    2-4      │  5 ]                    the end of a block and the start of the next
//! ```
//!
//! Whatever the number of panes, each is merged into two running results.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::logical_expr::EmitTo;

use super::AggregateOperator;
use super::arrival::{ByNumber, Part, take};
use super::merge::accumulator;
use super::window::WindowKey;
use crate::error::Result;
use crate::state::{KeyIndex, StateBackend, record_batch};

/// Panes up to which putting them together saves nothing.
const FEW_PANES: usize = 2;

/// Rows that come into windows, by the ends of these.
type InWindows = Vec<(i64, Arc<Part>)>;

/// The partial rows of a pane, without its column.
struct Pane {
    start: i64,
    rows: RecordBatch,
}

/// The panes of a window: those before the block in which it ends, and those of that block.
struct Cut {
    end: i64,
    before: Range<usize>,
    within: Range<usize>,
}

impl AggregateOperator {
    /// These partial rows for each of the windows that their panes are in.
    pub(super) fn in_windows(&self, window: &WindowKey, batch: &RecordBatch) -> Result<InWindows> {
        let mut by_pane = ByNumber::default();
        for (row, pane) in window.pane_column(batch)?.values().iter().enumerate() {
            by_pane.push(*pane, row as u32);
        }
        let batch = window.remove(batch)?;
        let pane = |(start, rows)| Ok(Pane { start, rows: take(&batch, rows)? });
        let mut panes = by_pane.rows().map(pane).collect::<Result<Vec<_>>>()?;
        if panes.len() <= FEW_PANES || window.windows.is_tumbling() {
            return self.each_for_itself(window, panes);
        }
        panes.sort_unstable_by_key(|pane| pane.start);
        self.combined(window, &panes)
    }

    fn each_for_itself(&self, window: &WindowKey, panes: Vec<Pane>) -> Result<InWindows> {
        let mut found = vec![];
        for pane in panes {
            let part = self.part(pane.rows)?;
            for end in window.ends(pane.start) {
                found.push((end?, part.clone()));
            }
        }
        Ok(found)
    }

    fn combined(&self, window: &WindowKey, panes: &[Pane]) -> Result<InWindows> {
        let cuts = cuts(window, panes)?;
        let (mut up_to, mut from) = (vec![false; panes.len()], vec![false; panes.len()]);
        for cut in &cuts {
            if !cut.before.is_empty() {
                from[cut.before.start] = true;
            }
            if !cut.within.is_empty() {
                up_to[cut.within.end - 1] = true;
            }
        }
        let block_of = |pane: &Pane| window.windows.block(pane.start);
        let (mut prefixes, mut suffixes) = (vec![], vec![]);
        for block in panes.chunk_by(|a, b| block_of(a) == block_of(b)) {
            let places = prefixes.len()..prefixes.len() + block.len();
            let wanted = |which: &[bool]| block.iter().zip(which[places.clone()].to_vec()).collect::<Vec<_>>();
            prefixes.extend(self.running(wanted(&up_to))?);
            let backwards = wanted(&from).into_iter().rev().collect();
            suffixes.extend(self.running(backwards)?.into_iter().rev());
        }
        let mut found = vec![];
        for Cut { end, before, within } in cuts {
            let suffix = suffixes[before.start..before.end].iter().take(1);
            let prefix = prefixes[within.start..within.end].iter().next_back();
            found.extend(suffix.chain(prefix).flatten().map(|part: &Arc<Part>| (end, part.clone())));
        }
        Ok(found)
    }

    /// What these panes give together, up to each of those that is wanted.
    fn running(&self, panes: Vec<(&Pane, bool)>) -> Result<Vec<Option<Arc<Part>>>> {
        if panes.iter().all(|(_, wanted)| !wanted) {
            return Ok(vec![None; panes.len()]);
        }
        let mut running = Running::new(self);
        let mut states = vec![];
        for (pane, wanted) in panes {
            running.add(&pane.rows)?;
            states.push(if wanted { Some(running.state()?) } else { None });
        }
        running.parts(states)
    }
}

/// The windows that these panes are in, in order.
fn cuts(window: &WindowKey, panes: &[Pane]) -> Result<Vec<Cut>> {
    let mut ends = BTreeSet::new();
    for pane in panes {
        for end in window.ends(pane.start) {
            ends.insert(end?);
        }
    }
    let before = |time: i64| panes.partition_point(|pane| pane.start < time);
    let cut = |end: i64| {
        let (first, after) = (before(end.saturating_sub(window.windows.size)), before(end));
        let block = window.windows.block(end.saturating_sub(1));
        let middle = block.map_or(first, before).max(first);
        Cut { end, before: first..middle, within: middle..after }
    };
    Ok(ends.into_iter().map(cut).collect())
}

/// Panes merged one after the other.
struct Running<'a> {
    operator: &'a AggregateOperator,
    index: KeyIndex,
    /// The keys in the order of their groups, in pieces.
    keys: Vec<RecordBatch>,
    /// State of the first groups.
    state: Vec<ArrayRef>,
    merged: usize,
    /// Rows that are not in it yet: their groups, and how many groups there are with them.
    waiting: Vec<(&'a RecordBatch, Vec<usize>, usize)>,
}

impl<'a> Running<'a> {
    fn new(operator: &'a AggregateOperator) -> Self {
        let index = KeyIndex::new(operator.encoder.clone(), StateBackend::default());
        Self { operator, index, keys: vec![], state: vec![], merged: 0, waiting: vec![] }
    }

    fn add(&mut self, rows: &'a RecordBatch) -> Result<()> {
        let num_keys = self.operator.num_store_keys();
        let keys = rows.project(&(0..num_keys).collect::<Vec<_>>())?;
        let (mut next, mut slots) = (self.index.len() as u32, vec![]);
        self.index.intern(keys.columns(), rows.num_rows(), &mut slots)?;
        let mut firsts = vec![];
        for (row, slot) in (0..).zip(&slots) {
            if *slot == next {
                firsts.push(row);
                next += 1;
            }
        }
        self.keys.push(take(&keys, firsts)?);
        self.waiting.push((rows, slots.iter().map(|slot| *slot as usize).collect(), self.index.len()));
        Ok(())
    }

    /// How many groups there are, and their state.
    fn state(&mut self) -> Result<(usize, Vec<ArrayRef>)> {
        let (waiting, from) = (std::mem::take(&mut self.waiting), self.operator.num_store_keys());
        let mut state = vec![];
        for (aggregate, columns) in self.operator.aggregates.iter().zip(&self.operator.state_columns) {
            let mut accumulator = accumulator(aggregate)?;
            if self.merged > 0 {
                let groups: Vec<usize> = (0..self.merged).collect();
                accumulator.merge_batch(&self.state[columns.clone()], &groups, self.merged)?;
            }
            for (rows, groups, total) in &waiting {
                let partial = &rows.columns()[from + columns.start..from + columns.end];
                accumulator.merge_batch(partial, groups, *total)?;
            }
            state.extend(accumulator.state(EmitTo::All)?);
        }
        (self.state, self.merged) = (state, self.index.len());
        Ok((self.merged, self.state.clone()))
    }

    /// The groups with each of these states.
    fn parts(self, states: Vec<Option<(usize, Vec<ArrayRef>)>>) -> Result<Vec<Option<Arc<Part>>>> {
        let Some(schema) = self.keys.first().map(RecordBatch::schema) else { return Ok(vec![]) };
        let keys = concat_batches(&schema, &self.keys)?;
        let encoded = self.operator.encoder.encode(keys.columns(), keys.num_rows())?;
        let part = |(len, state): (usize, Vec<ArrayRef>)| {
            let columns = keys.slice(0, len).columns().iter().cloned().chain(state).collect();
            let rows = record_batch(self.operator.store_schema.clone(), columns, len)?;
            Ok(Arc::new(Part { rows, keys: encoded.first(len) }))
        };
        states.into_iter().map(|state| state.map(part).transpose()).collect()
    }
}
