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

impl AggregateOperator {
    /// Stages the state of the keys in `partials` after this batch.
    pub(super) fn merge(&self, partials: &[RecordBatch]) -> Result<()> {
        let mut inner = self.lock();
        let old_len = inner.store.len();
        // Set first, so that an abort after an error forgets the keys interned until then.
        inner.staged = Some(Staged { old_len, touched: vec![], state: vec![] });
        let (touched, groups) = inner.touch(partials, self.num_keys)?;
        let state = self.merge_touched(&inner, partials, &touched, &groups, old_len)?;
        let staged_bytes = state.iter().map(|a| a.get_array_memory_size()).sum::<usize>();
        let size = inner.size() + staged_bytes;
        inner.memory.try_resize(size)?;
        inner.staged = Some(Staged { old_len, touched, state });
        Ok(())
    }

    fn merge_touched(
        &self,
        inner: &Inner,
        partials: &[RecordBatch],
        touched: &[u32],
        groups: &[Vec<usize>],
        old_len: usize,
    ) -> Result<Vec<ArrayRef>> {
        let is_old = |(_, slot): &(usize, &u32)| (**slot as usize) < old_len;
        let (old_groups, old_slots): (Vec<usize>, Vec<u32>) =
            touched.iter().enumerate().filter(is_old).map(|(group, slot)| (group, *slot)).unzip();
        let old = inner.store.state(old_slots.iter().copied())?;
        let mut merged = vec![];
        let mut from = 0;
        for aggregate in &self.aggregates {
            let to = from + aggregate.state_fields()?.len();
            let mut accumulator = accumulator(aggregate)?;
            if !old_groups.is_empty() {
                accumulator.merge_batch(&old[from..to], &old_groups, touched.len())?;
            }
            for (batch, groups) in partials.iter().zip(groups) {
                let state = &batch.columns()[self.num_keys + from..self.num_keys + to];
                accumulator.merge_batch(state, groups, touched.len())?;
            }
            merged.extend(accumulator.state(EmitTo::All)?);
            from = to;
        }
        Ok(merged)
    }
}

impl Inner {
    /// The slots of the batch's keys in order of appearance, and each partial row's number among them.
    fn touch(&mut self, partials: &[RecordBatch], num_keys: usize) -> Result<(Vec<u32>, Vec<Vec<usize>>)> {
        self.next_epoch();
        let epoch = u64::from(self.epoch) << 32;
        let mut touched = vec![];
        let mut groups = Vec::with_capacity(partials.len());
        let mut slots = vec![];
        for batch in partials {
            self.store.intern(&batch.columns()[..num_keys], batch.num_rows(), &mut slots)?;
            self.marks.resize(self.store.len(), 0);
            let group = |slot: &u32| {
                let mark = &mut self.marks[*slot as usize];
                if *mark >> 32 << 32 != epoch {
                    *mark = epoch | touched.len() as u64;
                    touched.push(*slot);
                }
                *mark as u32 as usize
            };
            groups.push(slots.iter().map(group).collect());
        }
        Ok((touched, groups))
    }

    fn next_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.marks.fill(0);
            self.epoch = 1;
        }
        let len = self.store.len();
        self.marks.resize(len, 0);
    }
}
