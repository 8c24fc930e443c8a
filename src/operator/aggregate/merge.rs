//! Merging the partial rows of a batch with the state of the keys they touch.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::{AggregateOperator, Inner, Staged};
use crate::error::Result;

/// A fresh accumulator of many groups.
pub fn accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return Ok(aggregate.create_groups_accumulator()?);
    }
    let aggregate = aggregate.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}

/// The keys of a batch, numbered as its groups: those in the store first, then the new ones in order of appearance.
struct Touched {
    /// By group.
    slots: Vec<u32>,
    /// Groups that were in the store before the batch.
    num_old: usize,
    /// For each partial batch: the group of every row, and the number of groups that have appeared with it.
    batches: Vec<(Vec<usize>, usize)>,
}

impl AggregateOperator {
    /// Stages the state of the keys in `partials` after this batch.
    pub(super) fn merge(&self, partials: &[RecordBatch]) -> Result<()> {
        let mut inner = self.lock();
        let old_len = inner.store.len();
        // Set first, so that an abort after an error forgets the keys interned until then.
        inner.staged = Some(Staged { old_len, num_old: 0, touched: vec![], state: vec![] });
        let touched = inner.touch(partials, self.num_keys)?;
        let state = self.merge_touched(&inner, partials, &touched)?;
        let staged_bytes = state.iter().map(|a| a.get_array_memory_size()).sum::<usize>();
        let size = inner.size() + staged_bytes;
        inner.memory.try_resize(size)?;
        inner.staged = Some(Staged { old_len, num_old: touched.num_old, touched: touched.slots, state });
        Ok(())
    }

    /// An accumulator may take every group below the number it is given as one that has had a value by then: so the
    /// groups are numbered in the order in which they come, and the number grows with them.
    fn merge_touched(&self, inner: &Inner, partials: &[RecordBatch], touched: &Touched) -> Result<Vec<ArrayRef>> {
        let num_old = touched.num_old;
        let old = inner.store.state(touched.slots[..num_old].iter().copied())?;
        if touched.slots.is_empty() {
            // An accumulator without a group may have no state columns at all.
            return Ok(old);
        }
        let old_groups: Vec<usize> = (0..num_old).collect();
        let mut merged = vec![];
        let mut from = 0;
        for aggregate in &self.aggregates {
            let to = from + aggregate.state_fields()?.len();
            let mut accumulator = accumulator(aggregate)?;
            if num_old > 0 {
                accumulator.merge_batch(&old[from..to], &old_groups, num_old)?;
            }
            for (batch, (groups, total)) in partials.iter().zip(&touched.batches) {
                let state = &batch.columns()[self.num_keys + from..self.num_keys + to];
                accumulator.merge_batch(state, groups, *total)?;
            }
            merged.extend(accumulator.state(EmitTo::All)?);
            from = to;
        }
        Ok(merged)
    }
}

impl Inner {
    fn touch(&mut self, partials: &[RecordBatch], num_keys: usize) -> Result<Touched> {
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

    /// The number in the batch of a key that the batch has touched.
    pub(super) fn group(&self, slot: u32, old_len: usize, num_old: usize) -> usize {
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
