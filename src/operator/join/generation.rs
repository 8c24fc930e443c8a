//! Rows of one side that arrived one after the other, with an index over their keys.
//!
//! ```text
//! index   key ─► slot          heads[slot] ─► newest row ── older ─► row ── older ─► row
//! rows    columns, seqs, times, matched, dead                by place
//! queue   100 ms of event time ─► rows                       what a watermark removes next
//! ```
//!
//! Rows are only ever added. One that is gone is dead, and is taken out of its chain by whoever next comes by; its values go with
//! the generation, or when most of that is dead.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::spec::SideSpec;
use crate::error::Result;
use crate::state::{Columns, EncodedKeys, KeyEncoder, KeyIndex, PagedVec, StateBackend, prefetch};

/// No row, and no slot.
pub const NONE: u32 = u32::MAX;
/// The expiry of a row that never expires.
pub const NEVER: i64 = i64::MAX;
/// Expiries that share a list, in microseconds: few enough rows to sort at every small trigger.
const BUCKET_US: i64 = 100_000;
/// Rows gathered at once when a generation is made anew.
const PIECE_ROWS: usize = 65_536;

/// Rows about to be added.
pub struct NewRows<'a> {
    /// Their columns.
    pub rows: &'a RecordBatch,
    /// Their keys.
    pub keys: &'a EncodedKeys,
    /// Those of them that have a key, in order.
    pub keyed: &'a [u32],
    /// When they expire, in microseconds; empty on a side that does not.
    pub times: &'a [i64],
    /// Whether they have matched; empty where nobody asks.
    pub matched: &'a [bool],
}

/// See the module.
pub struct Generation {
    index: KeyIndex,
    heads: PagedVec<u32>,
    older: PagedVec<u32>,
    /// By which rows are known on disk, ascending.
    seqs: PagedVec<u64>,
    columns: Columns,
    times: PagedVec<i64>,
    queue: BTreeMap<i64, Bucket>,
    dead: Bits,
    matched: Bits,
    live: usize,
    slots: Vec<u32>,
}

/// Rows that expire at about the same time.
#[derive(Default)]
struct Bucket {
    rows: Vec<u32>,
    /// Whether they are ordered by expiry, the first one last.
    sorted: bool,
}

impl Generation {
    /// An empty one.
    pub fn try_new(spec: &SideSpec) -> Result<Self> {
        let backend = &spec.backend;
        Ok(Self {
            index: KeyIndex::new(Arc::new(KeyEncoder::try_new(spec.key_types()?)?), backend.clone()),
            heads: PagedVec::new(backend.clone()),
            older: PagedVec::new(backend.clone()),
            seqs: PagedVec::new(backend.clone()),
            columns: Columns::new(spec.schema.fields().iter().map(|f| f.data_type().clone()), backend),
            times: PagedVec::new(backend.clone()),
            queue: BTreeMap::new(),
            dead: Bits::new(backend),
            matched: Bits::new(backend),
            live: 0,
            slots: vec![],
        })
    }

    /// Rows, dead ones included.
    pub fn len(&self) -> usize {
        self.older.len()
    }

    /// Rows that are not dead.
    pub fn live(&self) -> usize {
        self.live
    }

    /// The number of its first row.
    pub fn first_seq(&self) -> Option<u64> {
        self.seqs.get(0).copied()
    }

    /// Numbers of these rows.
    pub fn seqs(&self, rows: &[u32]) -> Vec<u64> {
        rows.iter().map(|row| self.seqs[*row as usize]).collect()
    }

    /// The row of this number.
    pub fn find_seq(&self, seq: u64) -> Option<u32> {
        let row = self.seqs.partition_point(|s| *s < seq);
        (self.seqs.get(row) == Some(&seq)).then_some(row as u32)
    }

    /// Appends rows, which get the numbers `seqs`.
    pub fn append(&mut self, new: &NewRows, seqs: impl Iterator<Item = u64>) -> Result<()> {
        let (first, count) = (self.len() as u32, new.rows.num_rows());
        let places: Vec<u32> = (first..first + count as u32).collect();
        self.columns.put(self.len() + count, &places, new.rows.columns())?;
        self.seqs.extend(seqs.take(count));
        self.older.resize(self.older.len() + count, NONE);
        self.dead.resize(self.older.len());
        self.matched.resize(self.older.len());
        self.live += count;
        self.link(new, first);
        new.matched.iter().zip(&places).filter(|(matched, _)| **matched).for_each(|(_, row)| {
            self.matched.set(*row);
        });
        self.times.extend(new.times.iter().copied());
        for (row, time) in places.iter().zip(new.times).filter(|(_, time)| **time != NEVER) {
            let bucket = self.queue.entry(time.div_euclid(BUCKET_US)).or_default();
            bucket.rows.push(*row);
            bucket.sorted = false;
        }
        Ok(())
    }

    fn link(&mut self, new: &NewRows, first: u32) {
        let mut slots = std::mem::take(&mut self.slots);
        self.index.intern_encoded(new.keys, new.keyed, &mut slots);
        self.heads.resize(self.index.len(), NONE);
        for (slot, row) in slots.iter().zip(new.keyed) {
            let row = first + row;
            self.older[row as usize] = std::mem::replace(&mut self.heads[*slot as usize], row);
        }
        self.slots = slots;
    }

    /// The newest row with the key of each of these rows; [`NONE`] if no row has it.
    pub fn find(&self, keys: &EncodedKeys, keyed: &[u32], slots: &mut Vec<u32>) {
        self.index.find_encoded(keys, keyed, slots);
    }

    /// Makes room for this many keys.
    pub fn reserve(&mut self, keys: usize) {
        self.index.reserve(keys);
    }

    /// Brings what [`Self::head`] will read into the cache: of a key that comes later the place of its newest row, of one
    /// that comes soon that row.
    #[inline]
    pub fn prefetch(&self, later: Option<&u32>, soon: Option<&u32>) {
        let head = |slot: Option<&u32>| self.heads.get(*slot? as usize);
        if let Some(head) = head(later) {
            prefetch(head);
        }
        if let Some(head) = head(soon).filter(|head| **head != NONE) {
            prefetch(&raw const self.older[*head as usize]);
            prefetch(&raw const self.dead.0[*head as usize / 64]);
        }
    }

    /// The newest living row of a key.
    pub fn head(&mut self, slot: u32) -> u32 {
        let head = self.living(self.heads[slot as usize]);
        self.heads[slot as usize] = head;
        head
    }

    /// The next older living row with the same key.
    pub fn next(&mut self, row: u32) -> u32 {
        let next = self.living(self.older[row as usize]);
        self.older[row as usize] = next;
        next
    }

    fn living(&self, mut row: u32) -> u32 {
        while row != NONE && self.dead.get(row) {
            row = self.older[row as usize];
        }
        row
    }

    /// Whether the row has matched.
    pub fn is_matched(&self, row: u32) -> bool {
        self.matched.get(row)
    }

    /// The row has matched; whether that is news.
    pub fn set_matched(&mut self, row: u32) -> bool {
        self.matched.set(row)
    }

    /// Takes back [`Self::set_matched`].
    pub fn unset_matched(&mut self, row: u32) {
        self.matched.clear(row);
    }

    /// Removes a row.
    pub fn remove(&mut self, row: u32) {
        if self.dead.set(row) {
            self.live -= 1;
        }
    }

    /// The columns of these rows.
    pub fn gather(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        self.columns.gather(rows.iter().copied())
    }

    /// One column of these rows.
    pub fn gather_one(&self, column: usize, rows: &[u32]) -> Result<ArrayRef> {
        self.columns.gather_one(column, rows.iter().copied())
    }

    /// The living rows from `from` on, and whether each has expired at `bound`.
    pub fn tail(&self, from: usize, bound: i64) -> impl Iterator<Item = (u32, bool)> + '_ {
        let expired = move |row: u32| self.times.get(row as usize).is_some_and(|t| *t <= bound);
        (from as u32..self.len() as u32).filter(|row| !self.dead.get(*row)).map(move |row| (row, expired(row)))
    }

    /// The rows that expire at `bound` microseconds or before, earliest bucket first.
    pub fn expired(&mut self, bound: i64) -> Vec<u32> {
        let last = bound.div_euclid(BUCKET_US);
        let (times, dead) = (&self.times, &self.dead);
        let mut expired = vec![];
        for (key, bucket) in self.queue.range_mut(..=last) {
            if *key < last {
                expired.extend(bucket.rows.iter().filter(|row| !dead.get(**row)));
                continue;
            }
            bucket.sort(times);
            let due = bucket.rows.iter().rev().take_while(|row| times[**row as usize] <= bound);
            expired.extend(due.filter(|row| !dead.get(**row)));
        }
        expired
    }

    /// Removes them; how many they were.
    pub fn evict(&mut self, bound: i64) -> usize {
        let last = bound.div_euclid(BUCKET_US);
        let expired = self.expired(bound);
        expired.iter().for_each(|row| self.remove(*row));
        while let Some(bucket) = self.queue.first_entry().filter(|b| *b.key() < last) {
            bucket.remove();
        }
        if let Some(mut bucket) = self.queue.first_entry().filter(|b| *b.key() == last) {
            let times = &self.times;
            let rows = &mut bucket.get_mut().rows;
            let kept = rows.iter().rposition(|row| times[*row as usize] > bound).map_or(0, |last| last + 1);
            rows.truncate(kept);
        }
        expired.len()
    }

    /// Whether there is a row to evict.
    pub fn has_expired(&mut self, bound: i64) -> bool {
        let last = bound.div_euclid(BUCKET_US);
        let (times, dead) = (&self.times, &self.dead);
        let lives = |row: &u32| !dead.get(*row);
        self.queue.range_mut(..=last).any(|(key, bucket)| {
            if *key < last {
                return bucket.rows.iter().any(lives);
            }
            bucket.sort(times);
            bucket.rows.iter().rev().take_while(|row| times[**row as usize] <= bound).any(lives)
        })
    }

    /// The living rows.
    pub fn living_rows(&self) -> Vec<u32> {
        (0..self.len() as u32).filter(|row| !self.dead.get(*row)).collect()
    }

    /// The living rows of adjacent generations, as one that has nothing dead.
    pub fn merged(generations: &[Self], spec: &SideSpec) -> Result<Self> {
        let mut merged = Self::try_new(spec)?;
        for old in generations {
            for rows in old.living_rows().chunks(PIECE_ROWS) {
                let batch = crate::state::record_batch(spec.schema.clone(), old.gather(rows)?, rows.len())?;
                let prepared = spec.prepare(&merged.index, &batch)?;
                let matched: Vec<bool> = rows.iter().map(|row| old.is_matched(*row)).collect();
                merged.append(&prepared.new_rows(&batch, &matched), old.seqs(rows).into_iter())?;
            }
        }
        Ok(merged)
    }

    /// What keys are encoded with: the same for all generations of a side.
    pub fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.index.size()
            + self.heads.size()
            + self.older.size()
            + self.seqs.size()
            + self.times.size()
            + self.times.len() * 5
            + self.columns.size()
            + self.dead.0.size()
            + self.matched.0.size()
    }

    /// An image of the rows.
    pub fn freeze(&self) -> FrozenGeneration {
        let rows = self.living_rows();
        let matched = rows.iter().map(|row| self.is_matched(*row)).collect();
        FrozenGeneration { columns: self.columns.clone(), seqs: self.seqs(&rows), matched, rows }
    }
}

impl Bucket {
    fn sort(&mut self, times: &PagedVec<i64>) {
        if !self.sorted {
            self.rows.sort_by_key(|row| std::cmp::Reverse(times[*row as usize]));
            self.sorted = true;
        }
    }
}

/// The living rows of a generation at a batch boundary.
pub struct FrozenGeneration {
    columns: Columns,
    rows: Vec<u32>,
    seqs: Vec<u64>,
    matched: Vec<bool>,
}

impl FrozenGeneration {
    /// Numbers, whether they have matched, and columns of the rows, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = Result<(&[u64], &[bool], Vec<ArrayRef>)>> + '_ {
        let pieces =
            self.rows.chunks(PIECE_ROWS).zip(self.seqs.chunks(PIECE_ROWS)).zip(self.matched.chunks(PIECE_ROWS));
        pieces.map(|((rows, seqs), matched)| Ok((seqs, matched, self.columns.gather(rows.iter().copied())?)))
    }
}

/// A bit for each row.
struct Bits(PagedVec<u64>);

impl Bits {
    fn new(backend: &StateBackend) -> Self {
        Self(PagedVec::new(backend.clone()))
    }

    fn resize(&mut self, len: usize) {
        self.0.resize(len.div_ceil(64), 0);
    }

    #[inline]
    fn get(&self, row: u32) -> bool {
        self.0[row as usize / 64] >> (row % 64) & 1 == 1
    }

    /// Whether it was clear.
    fn set(&mut self, row: u32) -> bool {
        let was = self.get(row);
        self.0[row as usize / 64] |= 1 << (row % 64);
        !was
    }

    fn clear(&mut self, row: u32) {
        self.0[row as usize / 64] &= !(1 << (row % 64));
    }
}
