//! The groups of one slice of time, or all of them if no event time is among the keys.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::SchemaRef;

use super::arrival::{Part, Visit};
use crate::error::Result;
use crate::operator::event_time::EventTimeKey;
use crate::state::{AHEAD, KeyEncoder, KeyedStore, PagedVec, StateBackend, prefetch};

/// Marks a group as one of the batch's new ones, until the number of the old ones is known.
const NEW: usize = 1 << (usize::BITS - 1);

/// Groups and what a batch does to them.
pub struct Slice {
    pub store: KeyedStore,
    pub staged: Option<Staged>,
    /// By slot: the batch's epoch in the upper half, the key's number in the batch in the lower.
    marks: PagedVec<u64>,
    epoch: u32,
    /// By slot, the time of the first groups: as many as an eviction has looked at.
    times: PagedVec<i64>,
    /// Groups whose time is not after this are gone, though their slots stay until the slice goes; none before the first goes.
    pub gone_to: Option<i64>,
    gone: usize,
    /// What the operator's totals have of this slice: groups and bytes.
    pub accounted: (usize, usize),
}

/// What a batch did, not yet in the store.
pub struct Staged {
    /// Keys in the store before the batch.
    old_len: usize,
    /// How many of them the batch has touched: the first of `touched`, before the new ones.
    num_old: usize,
    /// The keys of the batch, by slot.
    pub touched: Vec<u32>,
    /// Their key columns.
    pub keys: Vec<ArrayRef>,
    /// Their state after the batch.
    pub state: Vec<ArrayRef>,
    /// What the aggregates give for it, if the mode gives the groups of the batch.
    pub values: Vec<ArrayRef>,
}

/// The groups of a batch, numbered: those in the store first, then the new ones in order of appearance.
pub struct Numbered {
    /// By group.
    pub slots: Vec<u32>,
    /// Groups that were in the store before the batch.
    pub num_old: usize,
    /// By group, a row with its key: which visit, which row.
    firsts: Vec<(usize, usize)>,
    /// The rows of the batch in their order.
    pub visits: Vec<Grouped>,
}

/// Rows and their groups.
pub struct Grouped {
    pub part: Arc<Part>,
    /// By row.
    pub groups: Vec<usize>,
    /// Groups that have appeared with these rows.
    pub total: usize,
}

impl Numbered {
    /// Key columns of the groups.
    pub fn keys(&self, num_keys: usize) -> Result<Vec<ArrayRef>> {
        let column = |i: usize| {
            let arrays: Vec<_> = self.visits.iter().map(|v| v.part.rows.column(i).as_ref()).collect();
            Ok(interleave(&arrays, &self.firsts)?)
        };
        if self.slots.is_empty() { Ok(vec![]) } else { (0..num_keys).map(column).collect() }
    }
}

impl Slice {
    pub fn new(backend: &StateBackend, schema: SchemaRef, encoder: Arc<KeyEncoder>) -> Self {
        Self::of(KeyedStore::with_encoder(backend, schema, encoder))
    }

    fn of(store: KeyedStore) -> Self {
        let (marks, times) = (PagedVec::new(store.backend().clone()), PagedVec::new(store.backend().clone()));
        Self { store, staged: None, marks, epoch: 0, times, gone_to: None, gone: 0, accounted: (0, 0) }
    }

    /// Groups that are not gone.
    pub fn len(&self) -> usize {
        self.store.len() - self.gone
    }

    /// Begins a batch, so that an abort after an error forgets the keys interned until then.
    pub fn begin(&mut self) {
        let old_len = self.store.len();
        let (touched, keys, state, values) = Default::default();
        self.staged = Some(Staged { old_len, num_old: 0, touched, keys, state, values });
    }

    /// The batch's groups have these keys, state and values.
    pub fn stage(&mut self, numbered: &Numbered, keys: Vec<ArrayRef>, state: Vec<ArrayRef>, values: Vec<ArrayRef>) {
        let old_len = self.staged.as_ref().map_or(self.store.len(), |s| s.old_len);
        let (num_old, touched) = (numbered.num_old, numbered.slots.clone());
        self.staged = Some(Staged { old_len, num_old, touched, keys, state, values });
    }

    pub fn publish(&mut self) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        self.store.put(&staged.touched, &staged.state)
    }

    pub fn abort(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.store.truncate(staged.old_len);
            self.times.truncate(staged.old_len);
        }
    }

    pub fn size(&self) -> usize {
        let staged = self.staged.iter().flat_map(|s| s.keys.iter().chain(&s.state));
        let staged = staged.map(|a| a.get_array_memory_size()).sum::<usize>();
        self.store.size() + self.marks.size() + self.times.size() + staged
    }

    /// Numbers the groups of the batch.
    pub fn number(&mut self, mut visits: Vec<Visit>) -> Result<Numbered> {
        self.revive(&mut visits)?;
        let old_len = self.store.len();
        self.next_epoch(old_len);
        let epoch = u64::from(self.epoch) << 32;
        let (mut slots, mut firsts, mut new_firsts) = (vec![], vec![], vec![]);
        let mut grouped = Vec::with_capacity(visits.len());
        for (i, mut visit) in visits.into_iter().enumerate() {
            self.store.insert_missing(&visit.part.keys, &mut visit.slots);
            new_firsts.reserve_exact(self.store.len() - old_len - new_firsts.len());
            let mut groups = Vec::with_capacity(visit.slots.len());
            for (row, slot) in visit.slots.iter().enumerate() {
                if let Some(mark) = visit.slots.get(row + AHEAD).and_then(|next| self.marks.get(*next as usize)) {
                    prefetch(mark);
                }
                let Some(mark) = self.marks.get_mut(*slot as usize) else {
                    let new = *slot as usize - old_len;
                    if new == new_firsts.len() {
                        new_firsts.push((i, row));
                    }
                    groups.push(NEW | new);
                    continue;
                };
                if *mark >> 32 << 32 != epoch {
                    *mark = epoch | slots.len() as u64;
                    slots.push(*slot);
                    firsts.push((i, row));
                }
                groups.push(*mark as u32 as usize);
            }
            grouped.push(Grouped { part: visit.part, groups, total: new_firsts.len() });
        }
        let num_old = slots.len();
        for visit in &mut grouped {
            visit.total += num_old;
            let number = |g: &mut usize| *g = if *g & NEW == 0 { *g } else { (*g & !NEW) + num_old };
            visit.groups.iter_mut().for_each(number);
        }
        slots.extend(old_len as u32..self.store.len() as u32);
        firsts.append(&mut new_firsts);
        Ok(Numbered { slots, num_old, firsts, visits: grouped })
    }

    fn is_gone(&self, time: i64) -> bool {
        self.gone_to.is_some_and(|to| time <= to)
    }

    /// A group that is gone and comes again is a new one.
    fn revive(&mut self, visits: &mut [Visit]) -> Result<()> {
        let gone = |slot: &u32| self.times.get(*slot as usize).is_some_and(|t| self.is_gone(*t));
        if self.gone == 0 || !visits.iter().flat_map(|v| &v.slots).any(gone) {
            return Ok(());
        }
        *self = self.without_gone()?;
        self.begin();
        for visit in visits {
            visit.slots = self.store.locate(&visit.part.keys);
        }
        Ok(())
    }

    fn without_gone(&self) -> Result<Self> {
        let is_live = |slot: &u32| self.times.get(*slot as usize).is_none_or(|t| !self.is_gone(*t));
        let kept: Vec<u32> = (0..self.store.len() as u32).filter(is_live).collect();
        let mut rest = Self::of(self.store.empty());
        let mut new_slots = vec![];
        rest.store.intern(&self.store.keys(&kept)?, kept.len(), &mut new_slots)?;
        rest.store.put(&new_slots, &self.store.state(kept.iter().copied())?)?;
        rest.accounted = self.accounted;
        Ok(rest)
    }

    /// The slots that are not gone and whose time is not after `bound`.
    pub fn final_slots(&mut self, event_time: &EventTimeKey, bound: i64) -> Result<Vec<u32>> {
        let unseen: Vec<u32> = (self.times.len() as u32..self.store.len() as u32).collect();
        // A key without a time is in no slice that a watermark reaches.
        let times = event_time.times(&self.store.keys(&unseen)?)?.into_iter().map(|t| t.unwrap_or(i64::MAX));
        self.times.extend(times);
        let is_final = |(slot, time): (usize, i64)| (!self.is_gone(time) && time <= bound).then_some(slot as u32);
        Ok(self.times.iter().enumerate().filter_map(is_final).collect())
    }

    /// Lets the `groups` groups up to `bound` go.
    pub fn evict(&mut self, groups: usize, bound: i64) {
        self.gone += groups;
        self.gone_to = Some(bound);
    }

    /// State columns of these slots as they are once the staged batch is published.
    pub fn state_after_batch(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let Some(staged) = &self.staged else { return self.store.state(slots.iter().copied()) };
        let epoch = u64::from(self.epoch);
        // Every slot's row: in the store (array 0) unless this batch touched it (array 1).
        let mut stored = vec![];
        let rows: Vec<(usize, usize)> = slots
            .iter()
            .map(|&slot| {
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

    /// The number in the batch of a key that the batch has touched.
    fn group(&self, slot: u32, old_len: usize, num_old: usize) -> usize {
        match (slot as usize).checked_sub(old_len) {
            Some(new) => num_old + new,
            None => self.marks[slot as usize] as u32 as usize,
        }
    }

    fn next_epoch(&mut self, len: usize) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.marks.fill(0);
            self.epoch = 1;
        }
        self.marks.resize(len, 0);
    }
}
