//! Merging the partial rows of a batch with the state of the keys they touch.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::slice::{Slice, Touched};
use super::{AggregateOperator, Eviction, Inner, SINGLE};
use crate::error::Result;
use crate::operator::BatchContext;
use crate::operator::event_time::{EventTimeKey, Finality, bound_us};
use crate::state::KeyedStore;

/// A fresh accumulator of many groups.
pub fn accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return Ok(aggregate.create_groups_accumulator()?);
    }
    let aggregate = aggregate.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}

/// Rows by slice of time, in their order.
pub type Sliced = BTreeMap<i64, Vec<RecordBatch>>;

impl AggregateOperator {
    /// Stages the state of the keys in `partials` after this batch, and what is final after it.
    pub(super) fn merge(&self, partials: Vec<RecordBatch>, batch: &BatchContext) -> Result<()> {
        let mut inner = self.lock();
        let (sliced, dropped) = self.in_time(partials, bound_us(batch.late_watermark_ms))?;
        inner.dropped = dropped;
        for (key, partials) in sliced {
            self.merge_slice(inner.slice(key, self)?, &partials)?;
        }
        if let Some(event_time) = self.event_time {
            inner.eviction = Some(inner.eviction_to(&event_time, bound_us(batch.watermark_ms))?);
        }
        let size = inner.size();
        Ok(inner.memory.try_resize(size)?)
    }

    /// The rows that are not late, by slice, and how many groups were.
    fn in_time(&self, partials: Vec<RecordBatch>, late: i64) -> Result<(Sliced, u64)> {
        let Some(event_time) = &self.event_time else {
            // Without partial rows there is still the one group of a global aggregate to give.
            return Ok((BTreeMap::from([(SINGLE, partials)]), 0));
        };
        let mut sliced = Sliced::new();
        let mut dropped = vec![];
        for batch in partials.into_iter().filter(|b| b.num_rows() > 0) {
            let is_late = |time: Option<i64>| time.is_some_and(|t| t <= late);
            let late = slice_rows(event_time, &batch, self.num_keys, is_late, &mut sliced)?;
            dropped.extend(late);
        }
        Ok((sliced, self.count_groups(&dropped)?))
    }

    /// Rows of different partitions may be of one group.
    fn count_groups(&self, rows: &[RecordBatch]) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut groups = KeyedStore::try_new(self.store_schema.clone(), self.num_keys)?;
        let mut slots = vec![];
        for batch in rows {
            groups.intern(&batch.columns()[..self.num_keys], batch.num_rows(), &mut slots)?;
        }
        Ok(groups.len() as u64)
    }

    fn merge_slice(&self, slice: &mut Slice, partials: &[RecordBatch]) -> Result<()> {
        slice.begin();
        let touched = slice.touch(partials, self.num_keys)?;
        let state = self.merge_touched(slice, partials, &touched)?;
        slice.stage(touched, state)
    }

    /// An accumulator may take every group below the number it is given as one that has had a value by then: so the
    /// groups are numbered in the order in which they come, and the number grows with them.
    fn merge_touched(&self, slice: &Slice, partials: &[RecordBatch], touched: &Touched) -> Result<Vec<ArrayRef>> {
        let num_old = touched.num_old;
        let old = slice.store.state(touched.slots[..num_old].iter().copied())?;
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

/// Adds the rows of `batch` to their slices, but for those that are late, which are returned.
pub fn slice_rows(
    event_time: &EventTimeKey,
    batch: &RecordBatch,
    num_keys: usize,
    is_late: impl Fn(Option<i64>) -> bool,
    sliced: &mut Sliced,
) -> Result<Option<RecordBatch>> {
    let times = event_time.times(&batch.columns()[..num_keys])?;
    let mut late: Vec<u32> = vec![];
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, time) in times.into_iter().enumerate() {
        let list = if is_late(time) { &mut late } else { rows.entry(event_time.slice(time)).or_default() };
        list.push(row as u32);
    }
    let take = |rows: Vec<u32>| -> Result<RecordBatch> {
        if rows.len() == batch.num_rows() {
            return Ok(batch.clone());
        }
        Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
    };
    for (key, rows) in rows {
        sliced.entry(key).or_default().push(take(rows)?);
    }
    (!late.is_empty()).then(|| take(late)).transpose()
}

impl Inner {
    /// What is final once the watermark is at `bound`.
    pub(super) fn eviction_to(&self, event_time: &EventTimeKey, bound: i64) -> Result<Eviction> {
        let mut eviction = Eviction { bound, whole: vec![], partial: vec![], groups: 0 };
        for (key, slice) in &self.slices {
            match event_time.finality(*key, bound) {
                Finality::None => {}
                Finality::All => {
                    eviction.groups += slice.store.len() as u64;
                    eviction.whole.push(*key);
                }
                Finality::Some => {
                    let slots = slice.final_slots(event_time, bound)?;
                    eviction.groups += slots.len() as u64;
                    if !slots.is_empty() {
                        eviction.partial.push((*key, slots));
                    }
                }
            }
        }
        Ok(eviction)
    }
}

impl Slice {
    /// The slots whose time is not after `bound`.
    fn final_slots(&self, event_time: &EventTimeKey, bound: i64) -> Result<Vec<u32>> {
        let slots: Vec<u32> = (0..self.store.len() as u32).collect();
        let times = event_time.times(&self.store.keys(&slots)?)?;
        Ok(slots.into_iter().zip(times).filter(|(_, t)| t.is_some_and(|t| t <= bound)).map(|(slot, _)| slot).collect())
    }

    /// The slice without these slots, which must be in order.
    pub fn without(&self, slots: &[u32]) -> Result<Self> {
        let mut gone = slots.iter().peekable();
        let kept: Vec<u32> = (0..self.store.len() as u32).filter(|s| gone.next_if_eq(&s).is_none()).collect();
        let mut rest = Self::of(self.store.empty()?);
        let keys = self.store.keys(&kept)?;
        let mut new_slots = vec![];
        rest.store.intern(&keys, kept.len(), &mut new_slots)?;
        rest.store.put(&new_slots, &self.store.state(kept.iter().copied())?)?;
        Ok(rest)
    }
}
