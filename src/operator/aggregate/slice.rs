//! The groups of one slice of time, or all of them if no event time is among the keys.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::state::{KeyedStore, StateBackend};

/// Groups and what a batch does to them.
pub struct Slice {
    pub store: KeyedStore,
    pub staged: Option<Staged>,
    /// By slot: the batch's epoch in the upper half, the key's number in the batch in the lower.
    marks: Vec<u64>,
    epoch: u32,
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
}

/// The keys of a batch, numbered as its groups: those in the store first, then the new ones in order of appearance.
pub struct Touched {
    /// By group.
    pub slots: Vec<u32>,
    /// Groups that were in the store before the batch.
    pub num_old: usize,
    /// For each partial batch: the group of every row, and the number of groups that have appeared with it.
    pub batches: Vec<(Vec<usize>, usize)>,
}

impl Slice {
    pub fn try_new(backend: &StateBackend, schema: SchemaRef, num_keys: usize) -> Result<Self> {
        Ok(Self::of(KeyedStore::try_new_in(backend, schema, num_keys)?))
    }

    pub fn of(store: KeyedStore) -> Self {
        Self { store, staged: None, marks: vec![], epoch: 0 }
    }

    /// Begins a batch, so that an abort after an error forgets the keys interned until then.
    pub fn begin(&mut self) {
        let old_len = self.store.len();
        self.staged = Some(Staged { old_len, num_old: 0, touched: vec![], keys: vec![], state: vec![] });
    }

    /// The batch's keys have this state.
    pub fn stage(&mut self, touched: Touched, state: Vec<ArrayRef>) -> Result<()> {
        let old_len = self.staged.as_ref().map_or(self.store.len(), |s| s.old_len);
        // The log wants them, and in update mode the result too: they are decoded once.
        let keys = self.store.keys(&touched.slots)?;
        self.staged = Some(Staged { old_len, num_old: touched.num_old, touched: touched.slots, keys, state });
        Ok(())
    }

    pub fn publish(&mut self) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        self.store.put(&staged.touched, &staged.state)
    }

    pub fn abort(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.store.truncate(staged.old_len);
        }
    }

    pub fn size(&self) -> usize {
        let staged = self
            .staged
            .iter()
            .flat_map(|s| s.keys.iter().chain(&s.state))
            .map(|a| a.get_array_memory_size())
            .sum::<usize>();
        self.store.size() + self.marks.capacity() * 8 + staged
    }

    /// Finds the keys of the batch.
    pub fn touch(&mut self, partials: &[RecordBatch], num_keys: usize) -> Result<Touched> {
        let old_len = self.store.len();
        self.next_epoch(old_len);
        let epoch = u64::from(self.epoch) << 32;
        let mut slots = vec![];
        let mut interned = Vec::with_capacity(partials.len());
        for batch in partials {
            let mut row_slots = vec![];
            self.store.intern(&batch.columns()[..num_keys], batch.num_rows(), &mut row_slots)?;
            for slot in row_slots.iter().filter(|slot| (**slot as usize) < old_len) {
                let mark = &mut self.marks[*slot as usize];
                if *mark >> 32 << 32 != epoch {
                    *mark = epoch | slots.len() as u64;
                    slots.push(*slot);
                }
            }
            interned.push((row_slots, self.store.len() - old_len));
        }
        let num_old = slots.len();
        slots.extend(old_len as u32..self.store.len() as u32);
        let group = |slot: u32| self.group(slot, old_len, num_old);
        let numbered = |(rows, new): (Vec<u32>, usize)| (rows.into_iter().map(group).collect(), num_old + new);
        let batches = interned.into_iter().map(numbered).collect();
        Ok(Touched { slots, num_old, batches })
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
