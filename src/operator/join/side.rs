//! All stored rows of one side, in generations: the oldest go as a whole when the watermark has passed them.
//!
//! ```text
//! generations   [ mostly dead ] [ full ] [ full ] [ active: new rows ]        seqs ascending
//! ```
//!
//! A batch adds its rows to the active generation, behind those that are published. Until it is published they can be taken back.

use super::generation::{Generation, NONE, NewRows};
use super::spec::{Prepared, RowExpiry, SideSpec};
use crate::error::Result;
use crate::state::AHEAD;

/// Rows of the smallest full generation.
const MIN_GENERATION: usize = 4096;
/// Rows of the largest: row numbers are 32 bits.
const MAX_GENERATION: usize = 1 << 30;
/// Generations to look into at most, for each row.
const MANY_GENERATIONS: usize = 8;

/// A stored row: which generation, and where in it.
pub type StoredRow = (u32, u32);

/// See the module.
pub struct Side {
    generations: Vec<Generation>,
    next_seq: u64,
    /// Rows of the active generation before the batch.
    published: usize,
    next_seq_published: u64,
    /// Rows that the batch has found a match for first, those it added not among them.
    newly_matched: Vec<StoredRow>,
}

impl Side {
    /// Without rows.
    pub fn try_new(spec: &SideSpec) -> Result<Self> {
        let generations = vec![Generation::try_new(spec)?];
        Ok(Self { generations, next_seq: 0, published: 0, next_seq_published: 0, newly_matched: vec![] })
    }

    /// All generations, the oldest first.
    pub fn generations(&mut self) -> &mut [Generation] {
        &mut self.generations
    }

    /// What encodes keys of this side.
    pub fn prepare(&self, spec: &SideSpec, rows: &datafusion::arrow::array::RecordBatch) -> Result<Prepared> {
        spec.prepare(self.active().index(), rows)
    }

    fn active(&self) -> &Generation {
        // There is always one: `try_new` and `maintain` see to it.
        &self.generations[self.generations.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Generation {
        let last = self.generations.len() - 1;
        &mut self.generations[last]
    }

    /// Adds rows of the batch.
    pub fn add(&mut self, new: &NewRows) -> Result<()> {
        let first = self.next_seq;
        self.next_seq += new.rows.num_rows() as u64;
        self.active_mut().append(new, first..)
    }

    /// Adds rows that are known by these numbers, at recovery.
    pub fn restore(&mut self, new: &NewRows, seqs: &[u64]) -> Result<()> {
        self.next_seq = seqs.last().map_or(self.next_seq, |last| last + 1);
        self.active_mut().append(new, seqs.iter().copied())
    }

    /// The row has a match; whether it is the first.
    pub fn set_matched(&mut self, (generation, row): StoredRow) -> bool {
        let news = self.generations[generation as usize].set_matched(row);
        let is_new_row = generation as usize + 1 == self.generations.len() && row as usize >= self.published;
        if news && !is_new_row {
            self.newly_matched.push((generation, row));
        }
        news
    }

    /// The row of this number.
    pub fn find_seq(&self, seq: u64) -> Option<StoredRow> {
        let after = self.generations.partition_point(|g| g.first_seq().is_some_and(|first| first <= seq));
        let at = after.checked_sub(1)?;
        Some((at as u32, self.generations[at].find_seq(seq)?))
    }

    /// The row has matched, at recovery.
    pub fn restore_matched(&mut self, (generation, row): StoredRow) {
        self.generations[generation as usize].set_matched(row);
    }

    /// Removes a row, at recovery.
    pub fn remove(&mut self, (generation, row): StoredRow) {
        self.generations[generation as usize].remove(row);
    }

    /// The rows that the batch has added and that have not expired at `bound`.
    pub fn added(&self, bound: Option<i64>) -> (&Generation, Vec<u32>) {
        let active = self.active();
        let alive = active.tail(self.published, bound.unwrap_or(i64::MIN)).filter(|(_, expired)| !expired);
        (active, alive.map(|(row, _)| row).collect())
    }

    /// Numbers of the rows before the batch that the batch has matched, ascending.
    pub fn newly_matched(&self) -> Vec<u64> {
        let seq = |(generation, row): &StoredRow| self.generations[*generation as usize].seqs(&[*row]);
        let mut seqs: Vec<u64> = self.newly_matched.iter().flat_map(seq).collect();
        seqs.sort_unstable();
        seqs
    }

    /// Whether rows from before the batch expire at `bound`.
    pub fn has_expired(&mut self, bound: i64) -> bool {
        self.generations.iter_mut().any(|g| g.has_expired(bound))
    }

    /// Removes what has expired; how many rows.
    pub fn evict(&mut self, bound: i64) -> usize {
        self.generations.iter_mut().map(|g| g.evict(bound)).sum()
    }

    /// The batch is the state now. Matched rows go, on a side that has no more use for them.
    pub fn publish(&mut self, spec: &SideSpec, bound: Option<i64>, matched_go: bool) -> Result<usize> {
        let matched = std::mem::take(&mut self.newly_matched);
        if matched_go {
            matched.into_iter().for_each(|place| self.remove(place));
        }
        let evicted = bound.map_or(0, |bound| self.evict(bound));
        self.maintain(spec, matched_go)?;
        self.settle();
        Ok(evicted)
    }

    /// What is there now is what a failed batch goes back to.
    pub fn settle(&mut self) {
        self.published = self.active().len();
        self.next_seq_published = self.next_seq;
    }

    /// Forgets the batch.
    pub fn abort(&mut self) {
        for (generation, row) in std::mem::take(&mut self.newly_matched) {
            self.generations[generation as usize].unset_matched(row);
        }
        let published = self.published;
        let active = self.active_mut();
        for row in published as u32..active.len() as u32 {
            active.remove(row);
        }
        // The dead rows keep their numbers: none is given twice within a run.
        self.published = active.len();
    }

    /// Drops what is dead and begins a new generation when the active one is full.
    pub fn maintain(&mut self, spec: &SideSpec, rows_go: bool) -> Result<()> {
        let live = self.live();
        let goes = rows_go || spec.expiry != RowExpiry::Never;
        let full = if goes { (live / 3).max(MIN_GENERATION) } else { MAX_GENERATION };
        if self.active().len() >= full {
            let mut next = Generation::try_new(spec)?;
            if goes {
                // It will hold about as many keys.
                next.reserve(self.active().index().len());
            }
            self.generations.push(next);
        }
        let active = self.generations.len() - 1;
        let mut kept = Vec::with_capacity(self.generations.len());
        for (i, generation) in std::mem::take(&mut self.generations).into_iter().enumerate() {
            let (len, live) = (generation.len(), generation.live());
            match i {
                i if i == active => kept.push(generation),
                _ if live == 0 => {}
                _ if live * 4 < len => kept.push(Generation::merged(&[generation], spec)?),
                _ => kept.push(generation),
            }
        }
        self.generations = kept;
        while self.generations.len() > MANY_GENERATIONS {
            self.merge_smallest(spec)?;
        }
        Ok(())
    }

    fn merge_smallest(&mut self, spec: &SideSpec) -> Result<()> {
        let rows = |at: &usize| self.generations[*at].live() + self.generations[*at + 1].live();
        let Some(at) = (0..self.generations.len() - 2).min_by_key(rows) else { return Ok(()) };
        let merged = Generation::merged(&self.generations[at..at + 2], spec)?;
        self.generations.splice(at..at + 2, [merged]);
        Ok(())
    }

    /// Rows stored.
    pub fn live(&self) -> usize {
        self.generations.iter().map(Generation::live).sum()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.generations.iter().map(Generation::size).sum()
    }

    /// Images of all generations.
    pub fn freeze(&self) -> Vec<super::generation::FrozenGeneration> {
        self.generations.iter().map(Generation::freeze).collect()
    }
}

/// Pairs of a new row and a stored one of one generation.
#[derive(Default)]
pub struct Pairs {
    /// Which generation.
    pub generation: u32,
    /// Among the new rows.
    pub new: Vec<u32>,
    /// In the generation.
    pub stored: Vec<u32>,
}

/// Goes through the stored rows that have the keys of new ones, a bounded number of pairs at a time.
#[derive(Default)]
pub struct Probe {
    generation: usize,
    slots: Option<Vec<u32>>,
    /// Among the keyed rows.
    position: usize,
    /// Where in the chain of that row's key; none if not begun.
    cursor: Option<u32>,
}

impl Probe {
    /// The next pairs, at most `limit`; none at the end. Stored rows that are matched are left out with `unmatched`; for a new row
    /// that `is_done` no more are wanted.
    pub fn next(
        &mut self,
        side: &mut Side,
        new: &Prepared,
        limit: usize,
        unmatched: bool,
        is_done: impl Fn(u32) -> bool,
    ) -> Option<Pairs> {
        while let Some(generation) = side.generations.get_mut(self.generation) {
            let mut pairs = Pairs { generation: self.generation as u32, ..Pairs::default() };
            if generation.live() > 0 {
                self.fill(generation, new, limit, unmatched, &is_done, &mut pairs);
            } else {
                self.position = new.keyed.len();
            }
            if self.position == new.keyed.len() {
                *self = Self { generation: self.generation + 1, ..Self::default() };
            }
            if !pairs.new.is_empty() {
                return Some(pairs);
            }
        }
        None
    }

    fn fill(
        &mut self,
        generation: &mut Generation,
        new: &Prepared,
        limit: usize,
        unmatched: bool,
        is_done: impl Fn(u32) -> bool,
        pairs: &mut Pairs,
    ) {
        let slots = self.slots.get_or_insert_with(|| {
            let mut slots = vec![];
            generation.find(&new.keys, &new.keyed, &mut slots);
            slots
        });
        while let (Some(row), Some(slot)) = (new.keyed.get(self.position), slots.get(self.position)) {
            generation.prefetch(slots.get(self.position + 2 * AHEAD), slots.get(self.position + AHEAD));
            let begun = self.cursor.take();
            let mut stored = match (begun, *slot) {
                (_, NONE) => NONE,
                _ if is_done(*row) => NONE,
                (Some(stored), _) => stored,
                (None, slot) => generation.head(slot),
            };
            while stored != NONE {
                if pairs.new.len() == limit {
                    self.cursor = Some(stored);
                    return;
                }
                if !(unmatched && generation.is_matched(stored)) {
                    pairs.new.push(*row);
                    pairs.stored.push(stored);
                }
                stored = generation.next(stored);
            }
            self.position += 1;
        }
    }
}
