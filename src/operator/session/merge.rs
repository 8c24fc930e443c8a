//! Merging the rows of a batch with the sessions of their keys.
//!
//! ```text
//! state  a ├───────┤        ├──┤            a row is a session of its own, from its time to its time plus the gap:
//! rows   a       ├────┤ ├───┤          ─►   those that overlap or touch are one
//! merged a ├──────────┤ ├──────┤
//! ```

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::compute::interleave;
use datafusion::logical_expr::EmitTo;

use super::input::{Call, SessionInput};
use super::store::SessionStore;
use crate::error::Result;
use crate::operator::aggregate::accumulator;

const UNNUMBERED: u32 = u32::MAX;
/// Aggregates to which the order of rows is nothing.
const ORDERLESS: [&str; 5] = ["count", "sum", "min", "max", "avg"];

/// A session after the batch that has a row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    pub key: u32,
    pub start: i64,
    pub end: i64,
}

/// What a batch makes of the sessions of its keys.
#[derive(Default)]
pub struct Staged {
    /// The new and changed sessions.
    pub sessions: Vec<Merged>,
    /// Sessions in state that are part of one of them: which, and their slot. In order of both.
    pub consumed: Vec<(u32, u32)>,
    /// The state of `sessions`.
    pub state: Vec<ArrayRef>,
    /// All sessions of the batch's keys after it, as Spark writes them.
    pub written: u64,
    /// How many of `sessions` end at or before the watermark; by number, whether it does.
    pub ended: Vec<bool>,
    /// Slots of other sessions that do.
    pub evicted: Vec<u32>,
}

impl Staged {
    /// Bytes held.
    pub fn size(&self) -> usize {
        let state: usize = self.state.iter().map(|a| a.get_array_memory_size()).sum();
        state + self.sessions.capacity() * size_of::<Merged>() + self.consumed.capacity() * 8
    }

    /// The consumed sessions that no session with the same start replaces.
    pub fn replaced<'s>(&'s self, store: &'s SessionStore) -> impl Iterator<Item = u32> + 's {
        let gone = |(number, slot): &&(u32, u32)| store.session(*slot).start != self.sessions[*number as usize].start;
        self.consumed.iter().filter(gone).map(|(_, slot)| *slot)
    }
}

/// A row of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: u32,
    start: i64,
    end: i64,
    /// Its place in the batch.
    at: u32,
}

/// Merges these rows with the sessions of their keys.
pub fn merge(input: &SessionInput, store: &mut SessionStore, batches: &[RecordBatch]) -> Result<Staged> {
    let mut rows = sorted_rows(input, store, batches)?;
    let mut sweep = Sweep { store, merged: vec![], consumed: vec![], session_of: vec![0; rows.len()], written: 0 };
    for of_key in rows.chunk_by(|a, b| a.key == b.key) {
        sweep.key(of_key);
    }
    let Sweep { merged, consumed, session_of, written, .. } = sweep;
    let in_order = input.calls.iter().all(|c| ORDERLESS.contains(&c.aggregate.fun().name()));
    if in_order {
        rows.clear();
    }
    let groups = number(&merged, consumed, session_of, &rows);
    let consumed_slots: Vec<u32> = groups.consumed.iter().map(|(_, slot)| *slot).collect();
    let old = store.state(&consumed_slots)?;
    let state = match in_order {
        true => groups.aggregate(&input.calls, &old, batches.iter().map(|b| b.columns().to_vec()).collect())?,
        false => groups.aggregate(&input.calls, &old, vec![by_time(input, batches, &rows)?])?,
    };
    let ended = vec![false; groups.sessions.len()];
    Ok(Staged { sessions: groups.sessions, consumed: groups.consumed, state, written, ended, evicted: vec![] })
}

/// The rows by key and time.
fn sorted_rows(input: &SessionInput, store: &mut SessionStore, batches: &[RecordBatch]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut slots = vec![];
    for batch in batches {
        store.intern(input.keys(batch), batch.num_rows(), &mut slots)?;
        let (starts, ends) = input.bounds(batch)?;
        let bounds = starts.iter().zip(ends);
        let at = rows.len() as u32..;
        rows.extend(slots.iter().zip(bounds).zip(at).map(|((key, (start, end)), at)| Row {
            key: *key,
            start: *start,
            end: *end,
            at,
        }));
    }
    rows.sort_unstable();
    Ok(rows)
}

/// The columns of all rows in the order of `rows`, in which aggregates that care see them: by time, as in Spark.
fn by_time(input: &SessionInput, batches: &[RecordBatch], rows: &[Row]) -> Result<Vec<ArrayRef>> {
    let mut places: Vec<(usize, usize)> = vec![];
    for (batch, rows) in batches.iter().enumerate() {
        places.extend((0..rows.num_rows()).map(|row| (batch, row)));
    }
    let places: Vec<_> = rows.iter().map(|r| places[r.at as usize]).collect();
    let column = |i: usize| -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
        Ok(interleave(&parts, &places)?)
    };
    if batches.is_empty() {
        return Ok(input
            .schema
            .fields()
            .iter()
            .map(|f| datafusion::arrow::array::new_empty_array(f.data_type()))
            .collect());
    }
    (0..input.schema.fields().len()).map(column).collect()
}

/// Goes over the rows and sessions of one key after the other.
struct Sweep<'s> {
    store: &'s SessionStore,
    merged: Vec<Merged>,
    /// Number in `merged`, slot.
    consumed: Vec<(u32, u32)>,
    /// By place in the batch: number in `merged`.
    session_of: Vec<u32>,
    written: u64,
}

impl Sweep<'_> {
    fn key(&mut self, rows: &[Row]) {
        let store = self.store;
        let mut rows = rows.iter().peekable();
        let mut olds = store.of_key(rows.peek().map_or(0, |r| r.key)).peekable();
        let mut open: Option<Open> = None;
        loop {
            let old_is_next = match (olds.peek(), rows.peek()) {
                (Some((_, old)), Some(row)) => old.start.cmp(&row.start) != Ordering::Greater,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if old_is_next && let Some((slot, old)) = olds.next() {
                let session = self.reach(&mut open, Merged { key: old.key, start: old.start, end: old.end });
                self.consumed.push((session, slot));
            } else if let Some(row) = rows.next() {
                let session = self.reach(&mut open, Merged { key: row.key, start: row.start, end: row.end });
                self.session_of[row.at as usize] = session;
                open.iter_mut().for_each(|o| o.has_row = true);
            } else {
                break;
            }
        }
        self.close(open);
    }

    /// Makes the open session reach over `next`, or opens another; its number.
    fn reach(&mut self, open: &mut Option<Open>, next: Merged) -> u32 {
        if let (Some(_), Some(last)) = (&open, self.merged.last_mut())
            && next.start <= last.end
        {
            last.end = last.end.max(next.end);
            return self.merged.len() as u32 - 1;
        }
        self.close(open.take());
        *open = Some(Open { has_row: false, consumed: self.consumed.len() });
        self.merged.push(next);
        self.merged.len() as u32 - 1
    }

    /// A session that no row of the batch is part of stays as it is.
    fn close(&mut self, open: Option<Open>) {
        let Some(open) = open else { return };
        self.written += 1;
        if !open.has_row {
            self.consumed.truncate(open.consumed);
            self.merged.pop();
        }
    }
}

struct Open {
    has_row: bool,
    /// Sessions consumed before it.
    consumed: usize,
}

/// The groups that the accumulators see: sessions, numbered in the order in which they get their first value, since an
/// accumulator may take every group below the number it is given as one that has had a value.
struct Groups {
    sessions: Vec<Merged>,
    consumed: Vec<(u32, u32)>,
    /// By row in the order in which the accumulators see them.
    of_row: Vec<usize>,
    num_old: usize,
}

/// Rows come in the order of `sorted`, or of the batch if that is empty.
fn number(merged: &[Merged], mut consumed: Vec<(u32, u32)>, session_of: Vec<u32>, sorted: &[Row]) -> Groups {
    let mut numbers = vec![UNNUMBERED; merged.len()];
    let mut sessions = Vec::with_capacity(merged.len());
    let mut number = |session: u32| {
        let number = &mut numbers[session as usize];
        if *number == UNNUMBERED {
            *number = sessions.len() as u32;
            sessions.push(merged[session as usize]);
        }
        *number
    };
    for (session, _) in &mut consumed {
        *session = number(*session);
    }
    let num_old = consumed.last().map_or(0, |(session, _)| *session as usize + 1);
    let of_row = if sorted.is_empty() {
        session_of.into_iter().map(|s| number(s) as usize).collect()
    } else {
        sorted.iter().map(|r| number(session_of[r.at as usize]) as usize).collect()
    };
    Groups { sessions, consumed, of_row, num_old }
}

impl Groups {
    /// The state of the sessions: that of the old ones they are made of, and the rows.
    fn aggregate(&self, calls: &[Call], old: &[ArrayRef], batches: Vec<Vec<ArrayRef>>) -> Result<Vec<ArrayRef>> {
        let mut state = vec![];
        if self.sessions.is_empty() {
            return Ok(state);
        }
        let old_groups: Vec<usize> = self.consumed.iter().map(|(group, _)| *group as usize).collect();
        let mut from = 0;
        for call in calls {
            let to = from + call.aggregate.state_fields()?.len();
            let mut accumulator = accumulator(&call.aggregate)?;
            if self.num_old > 0 {
                accumulator.merge_batch(&old[from..to], &old_groups, self.num_old)?;
            }
            let (mut row, mut seen) = (0, self.num_old);
            for columns in &batches {
                let len = columns.first().map_or(0, |c| c.len());
                let groups = &self.of_row[row..row + len];
                seen = groups.iter().map(|g| g + 1).max().unwrap_or(0).max(seen);
                accumulator.update_batch(call.args(columns), groups, call.filter(columns)?, seen)?;
                row += len;
            }
            state.extend(accumulator.state(EmitTo::All)?);
            from = to;
        }
        Ok(state)
    }
}

/// Start and end columns of these sessions.
pub fn bounds_columns(sessions: impl Iterator<Item = (i64, i64)> + Clone) -> [ArrayRef; 2] {
    let column = |values: Int64Array| -> ArrayRef { std::sync::Arc::new(values) };
    [
        column(Int64Array::from_iter_values(sessions.clone().map(|s| s.0))),
        column(Int64Array::from_iter_values(sessions.map(|s| s.1))),
    ]
}
