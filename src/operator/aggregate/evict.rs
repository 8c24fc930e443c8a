//! Groups that go once the watermark has passed them, and the image of those that are there.

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;

use super::window::WindowKey;
use super::{AggregateOperator, Inner, Slices};
use crate::error::Result;
use crate::operator::event_time::{EventTimeKey, Finality, TIMELESS};
use crate::state::{FrozenState, FrozenStore, StateChange, record_batch};

/// What the batch that is staged removes.
pub struct Eviction {
    /// Every time up to this one, in microseconds.
    pub bound: i64,
    /// Slices of which nothing stays, in order; with the slots that go, if some of them are gone already.
    whole: Vec<(i64, Option<Vec<u32>>)>,
    /// Slots to be removed of the others.
    partial: Vec<(i64, Vec<u32>)>,
    /// How many groups that is.
    pub groups: u64,
}

impl Eviction {
    /// Whether it removes all of a slice.
    pub fn removes(&self, slice: i64) -> bool {
        self.whole.binary_search_by_key(&slice, |(key, _)| *key).is_ok()
    }

    /// Slices and which of their slots go; `None` for all of them.
    pub fn slots(&self) -> impl Iterator<Item = (i64, Option<&Vec<u32>>)> {
        let whole = self.whole.iter().map(|(key, slots)| (*key, slots.as_ref()));
        whole.chain(self.partial.iter().map(|(key, slots)| (*key, Some(slots))))
    }
}

impl Inner {
    /// What is final once the watermark is at `bound`.
    pub fn eviction_to(&mut self, event_time: &EventTimeKey, bound: i64) -> Result<Eviction> {
        let mut eviction = Eviction { bound, whole: vec![], partial: vec![], groups: 0 };
        // Later slices are not final at all.
        for (key, slice) in self.slices.range_mut(TIMELESS..=event_time.slice(Some(bound))) {
            let finality = event_time.finality(*key, bound);
            if finality == Finality::None {
                continue;
            }
            eviction.groups += match finality {
                Finality::All if slice.len() == slice.store.len() => {
                    eviction.whole.push((*key, None));
                    slice.len()
                }
                finality => {
                    let slots = slice.final_slots(event_time, bound)?;
                    let groups = slots.len();
                    if finality == Finality::All {
                        eviction.whole.push((*key, Some(slots)));
                    } else if groups > 0 {
                        eviction.partial.push((*key, slots));
                    }
                    groups
                }
            } as u64;
        }
        Ok(eviction)
    }

    /// Removes what is final from slices that have nothing staged; how many groups that were.
    pub fn evict(&mut self, eviction: &Eviction) -> u64 {
        for (key, _) in &eviction.whole {
            self.remove(*key);
        }
        for (key, slots) in &eviction.partial {
            if let Some(slice) = self.slices.get_mut(key) {
                slice.evict(slots.len(), eviction.bound);
            }
            self.count(*key);
        }
        eviction.groups
    }
}

/// The image of all slices.
pub struct FrozenSlices {
    schema: SchemaRef,
    num_keys: usize,
    event_time: Option<EventTimeKey>,
    window: Option<WindowKey>,
    slices: Vec<FrozenSlice>,
}

struct FrozenSlice {
    key: i64,
    /// Groups up to this time are gone.
    gone_to: Option<i64>,
    store: FrozenStore,
}

impl FrozenSlices {
    /// Of these slices of an operator.
    pub fn new(operator: &AggregateOperator, slices: &Slices) -> Self {
        let freeze = |(key, slice): (&i64, &super::Slice)| FrozenSlice {
            key: *key,
            gone_to: slice.gone_to,
            store: slice.store.freeze(),
        };
        Self {
            schema: operator.log_schema.clone(),
            num_keys: operator.num_keys,
            event_time: operator.event_time,
            window: operator.slice_window().cloned(),
            slices: slices.iter().map(freeze).collect(),
        }
    }

    fn change(&self, slice: &FrozenSlice, change: StateChange) -> Result<StateChange> {
        let mut rows = change.rows;
        if let Some(window) = &self.window {
            let (len, mut columns) = (rows.num_rows(), rows.columns().to_vec());
            window.insert(slice.key, &mut columns, len)?;
            rows = record_batch(self.schema.clone(), columns, len)?;
        }
        if let Some(gone_to) = slice.gone_to {
            rows = self.live(rows, gone_to)?;
        }
        Ok(StateChange { rows, ..change })
    }

    fn live(&self, rows: RecordBatch, gone_to: i64) -> Result<RecordBatch> {
        let Some(event_time) = &self.event_time else { return Ok(rows) };
        let times = event_time.times(&rows.columns()[..self.num_keys])?;
        let live: BooleanArray = times.into_iter().map(|t| Some(t.is_none_or(|t| t > gone_to))).collect();
        Ok(filter_record_batch(&rows, &live)?)
    }
}

impl FrozenState for FrozenSlices {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        Box::new(
            self.slices
                .iter()
                .flat_map(move |slice| slice.store.changes().map(move |change| self.change(slice, change?))),
        )
    }
}
