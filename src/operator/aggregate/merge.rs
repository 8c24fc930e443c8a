//! Merging the partial rows of a batch with the state of the keys they touch.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::arrival::Arrivals;
use super::slice::{Numbered, Slice};
use super::{AggregateOperator, SINGLE};
use crate::error::{Error, Result};
use crate::operator::BatchContext;
use crate::operator::event_time::bound_us;
use crate::output_mode::OutputMode;
use crate::state::compact_nested;

/// Partial rows of a batch from which it pays to merge on several threads.
const PARALLEL_ROWS: usize = 16_384;

/// A fresh accumulator of many groups.
pub fn accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        return Ok(aggregate.create_groups_accumulator()?);
    }
    let aggregate = aggregate.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
}

/// Whether the only state column of an aggregate is its value.
pub fn is_its_own_state(aggregate: &AggregateFunctionExpr, state: &ArrayRef) -> bool {
    let simple = ["count", "sum", "min", "max"].contains(&aggregate.fun().name()) && !aggregate.is_distinct();
    simple && state.data_type() == aggregate.field().data_type()
}

/// The groups of a batch in a slice.
type Batch = (i64, Arc<Numbered>);

/// A part of the work on the groups of a slice that needs nothing from the others.
#[derive(Clone, Copy)]
enum Job {
    /// Their key columns.
    Keys,
    /// State of one aggregate after the batch; and what it gives, if the mode gives these groups.
    Merge(usize),
}

/// What a job gives: columns, and a value.
type Done = (Vec<ArrayRef>, Option<ArrayRef>);

impl AggregateOperator {
    /// Stages the state of the keys that arrived, and what is final after this batch.
    pub(super) async fn merge(self: &Arc<Self>, arrivals: Arrivals, batch: &BatchContext) -> DfResult<()> {
        let rows: usize = arrivals.visits.values().flatten().map(|v| v.slots.len()).sum();
        let batches = self.number(arrivals)?;
        let jobs: Vec<(Batch, Job)> = batches.iter().flat_map(|b| self.jobs().map(|job| (b.clone(), job))).collect();
        let done = if rows < PARALLEL_ROWS || jobs.len() == 1 {
            jobs.into_iter().map(|(batch, job)| self.run(&batch, job)).collect::<Result<_>>()?
        } else {
            self.run_in_parallel(jobs).await?
        };
        Ok(self.stage(batches, done, batch)?)
    }

    fn jobs(&self) -> impl Iterator<Item = Job> + use<> {
        std::iter::once(Job::Keys).chain((0..self.aggregates.len()).map(Job::Merge))
    }

    /// Gives every group of the batch a number, which is the part that one thread does alone.
    fn number(&self, arrivals: Arrivals) -> Result<Vec<Batch>> {
        let mut inner = self.write();
        inner.dropped = arrivals.count_late(self);
        let mut visits = arrivals.visits;
        if self.event_time.is_none() {
            // Without partial rows there is still the one group of a global aggregate to give.
            visits.entry(SINGLE).or_default();
        }
        let number = |(key, visits)| {
            let slice = inner.begin(key, self);
            Ok((key, Arc::new(slice.number(visits)?)))
        };
        visits.into_iter().map(number).collect()
    }

    async fn run_in_parallel(self: &Arc<Self>, jobs: Vec<(Batch, Job)>) -> DfResult<Vec<Done>> {
        let mut tasks = JoinSet::new();
        let mut all: Vec<Option<Done>> = jobs.iter().map(|_| None).collect();
        for (i, (batch, job)) in jobs.into_iter().enumerate() {
            let operator = self.clone();
            tasks.spawn(async move { (i, operator.run(&batch, job)) });
        }
        while let Some(done) = tasks.join_next().await {
            let (i, done) = done.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?;
            all[i] = Some(done?);
        }
        Ok(all.into_iter().flatten().collect())
    }

    fn run(&self, (slice, numbered): &Batch, job: Job) -> Result<Done> {
        let inner = self.read();
        let slice = inner.slices.get(slice).ok_or_else(|| Error::internal("a slice of state went in a batch"))?;
        match job {
            Job::Keys => Ok((numbered.keys(self.num_store_keys())?, None)),
            Job::Merge(i) => self.merge_one(slice, numbered, i),
        }
    }

    /// An accumulator may take every group below the number it is given as one that has had a value by then: so the
    /// groups are numbered in the order in which they come, and the number grows with them.
    fn merge_one(&self, slice: &Slice, numbered: &Numbered, i: usize) -> Result<Done> {
        let (aggregate, columns) = (&self.aggregates[i], self.state_columns[i].clone());
        let num_old = numbered.num_old;
        let old = slice.store.state_columns(columns.clone(), numbered.slots[..num_old].iter().copied())?;
        if numbered.slots.is_empty() {
            // An accumulator without a group may have no state columns at all.
            return Ok((old, None));
        }
        let mut accumulator = accumulator(aggregate)?;
        if num_old > 0 {
            accumulator.merge_batch(&old, &(0..num_old).collect::<Vec<_>>(), num_old)?;
        }
        let from = self.num_store_keys();
        for visit in &numbered.visits {
            let state = &visit.part.rows.columns()[from + columns.start..from + columns.end];
            accumulator.merge_batch(state, &visit.groups, visit.total)?;
        }
        // One by one put together they hold on to a whole batch each.
        let state: Vec<_> = accumulator.state(EmitTo::All)?.into_iter().map(compact_nested).collect();
        let value = match self.mode {
            OutputMode::Update => Some(self.value(i, &state, numbered.slots.len())?),
            OutputMode::Append | OutputMode::Complete => None,
        };
        Ok((state, value))
    }

    /// What aggregate `i` gives for groups of this state.
    pub(super) fn value(&self, i: usize, state: &[ArrayRef], len: usize) -> Result<ArrayRef> {
        let aggregate = &self.aggregates[i];
        if let [value] = state
            && is_its_own_state(aggregate, value)
        {
            return Ok(value.clone());
        }
        let mut accumulator = accumulator(aggregate)?;
        accumulator.merge_batch(state, &(0..len).collect::<Vec<_>>(), len)?;
        Ok(accumulator.evaluate(EmitTo::All)?)
    }

    fn stage(&self, batches: Vec<Batch>, done: Vec<Done>, batch: &BatchContext) -> Result<()> {
        let mut inner = self.write();
        let mut done = done.into_iter();
        for (key, numbered) in batches {
            let (keys, _) = done.next().unwrap_or_default();
            let (state, values): (Vec<_>, Vec<_>) = done.by_ref().take(self.aggregates.len()).unzip();
            if let Some(slice) = inner.slices.get_mut(&key) {
                slice.stage(
                    &numbered,
                    keys,
                    state.into_iter().flatten().collect(),
                    values.into_iter().flatten().collect(),
                );
            }
        }
        if let Some(event_time) = self.event_time {
            inner.eviction = Some(inner.eviction_to(&event_time, bound_us(batch.watermark_ms))?);
        }
        let size = inner.size();
        Ok(inner.memory.try_resize(size)?)
    }
}
