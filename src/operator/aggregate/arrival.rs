//! What a partition of the batch brings: its partial rows by slice of time, their keys looked up. Done by every partition
//! for itself, as it only reads the state.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use futures::{Stream, TryStreamExt};

use super::window::WindowKey;
use super::{AggregateOperator, SINGLE, Slices};
use crate::error::Result;
use crate::operator::event_time::EventTimeKey;
use crate::state::{EncodedKeys, KeyedStore, record_batch};

/// Partial rows with the columns of a store, and their keys.
pub struct Part {
    pub rows: RecordBatch,
    pub keys: EncodedKeys,
}

/// Rows that come into a slice, and the slots of their keys in it.
pub struct Visit {
    pub part: Arc<Part>,
    pub slots: Vec<u32>,
}

/// Partial rows by slice of time, and those that are late.
#[derive(Default)]
pub struct Arrivals {
    pub visits: BTreeMap<i64, Vec<Visit>>,
    late: Vec<(i64, Arc<Part>)>,
}

impl Arrivals {
    /// Adds those of the partition that comes next.
    pub fn append(&mut self, next: Self) {
        for (slice, mut visits) in next.visits {
            self.visits.entry(slice).or_default().append(&mut visits);
        }
        self.late.extend(next.late);
    }

    /// How many groups are late. Rows of different partitions may be of one group.
    pub fn count_late(&self, operator: &AggregateOperator) -> u64 {
        let mut groups: BTreeMap<i64, KeyedStore> = BTreeMap::new();
        for (slice, part) in &self.late {
            let groups = groups.entry(*slice).or_insert_with(|| operator.new_slice().store);
            let mut slots = groups.locate(&part.keys);
            groups.insert_missing(&part.keys, &mut slots);
        }
        groups.values().map(|g| g.len() as u64).sum()
    }
}

/// Rows of a batch by slice of time, and those that are late.
type Sliced = (BTreeMap<i64, RecordBatch>, Option<RecordBatch>);

impl AggregateOperator {
    /// Reads a partition. Rows of a time up to `late` microseconds are late.
    pub(super) async fn arrivals<E>(
        self: Arc<Self>,
        partials: impl Stream<Item = Result<RecordBatch, E>> + Send,
        late: i64,
    ) -> Result<Arrivals>
    where
        crate::error::Error: From<E>,
    {
        let batches: Vec<RecordBatch> = partials.try_collect().await?;
        let batches: Vec<RecordBatch> = batches.into_iter().filter(|b| b.num_rows() > 0).collect();
        let mut arrivals = Arrivals::default();
        let inner = self.read();
        for batch in &batches {
            match (self.slice_window(), &self.window) {
                (Some(window), _) => {
                    // Rows of a pane should be together: they are looked up in many windows.
                    let all = concat_batches(batch.schema_ref(), &batches)?;
                    self.arrive_in_windows(window, &all, late, (&inner.slices, &mut arrivals))?;
                    break;
                }
                (None, Some(window)) => self.arrive(&window.expand(batch)?, late, (&inner.slices, &mut arrivals))?,
                (None, None) => self.arrive(batch, late, (&inner.slices, &mut arrivals))?,
            }
        }
        Ok(arrivals)
    }

    fn arrive(&self, batch: &RecordBatch, late: i64, (slices, arrivals): (&Slices, &mut Arrivals)) -> Result<()> {
        let Some(event_time) = &self.event_time else {
            let part = self.part(batch.clone())?;
            arrivals.visits.entry(SINGLE).or_default().push(visit(slices, SINGLE, part));
            return Ok(());
        };
        let (sliced, late) = slice_rows(event_time, batch, self.num_keys, |t| t.is_some_and(|t| t <= late))?;
        for (slice, rows) in sliced {
            let part = self.part(rows)?;
            arrivals.visits.entry(slice).or_default().push(visit(slices, slice, part));
        }
        if let Some(rows) = late {
            arrivals.late.push((SINGLE, self.part(rows)?));
        }
        Ok(())
    }

    /// Every pane's rows come into each of its windows.
    fn arrive_in_windows(
        &self,
        window: &WindowKey,
        batch: &RecordBatch,
        late: i64,
        (slices, arrivals): (&Slices, &mut Arrivals),
    ) -> Result<()> {
        for (end, part) in self.in_windows(window, batch)? {
            if end <= late {
                arrivals.late.push((end, part));
            } else {
                arrivals.visits.entry(end).or_default().push(visit(slices, end, part));
            }
        }
        Ok(())
    }

    pub(super) fn part(&self, rows: RecordBatch) -> Result<Arc<Part>> {
        let keys = self.encoder.encode(&rows.columns()[..self.num_store_keys()], rows.num_rows())?;
        Ok(Arc::new(Part { rows, keys }))
    }
}

fn visit(slices: &Slices, slice: i64, part: Arc<Part>) -> Visit {
    let slots = match slices.get(&slice) {
        Some(slice) => slice.store.locate(&part.keys),
        None => part.keys.without_slots(),
    };
    Visit { part, slots }
}

/// The rows of `batch` by slice, but for those that are late.
pub fn slice_rows(
    event_time: &EventTimeKey,
    batch: &RecordBatch,
    num_keys: usize,
    is_late: impl Fn(Option<i64>) -> bool,
) -> Result<Sliced> {
    let times = event_time.times(&batch.columns()[..num_keys])?;
    let mut late: Vec<u32> = vec![];
    let mut by_slice = ByNumber::default();
    for (row, time) in times.into_iter().enumerate() {
        if is_late(time) {
            late.push(row as u32);
        } else {
            by_slice.push(event_time.slice(time), row as u32);
        }
    }
    let sliced = by_slice.rows().map(|(slice, rows)| Ok((slice, take(batch, rows)?))).collect::<Result<_>>()?;
    let late = (!late.is_empty()).then(|| take(batch, late)).transpose()?;
    Ok((sliced, late))
}

/// These rows; all of them as they are.
pub fn take(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    if rows.len() == batch.num_rows() {
        return Ok(batch.clone());
    }
    if batch.num_columns() == 0 {
        return record_batch(batch.schema(), vec![], rows.len());
    }
    Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
}

/// Rows by a number that often is that of the row before.
#[derive(Default)]
pub struct ByNumber {
    places: BTreeMap<i64, usize>,
    last: Option<(i64, usize)>,
    rows: Vec<(i64, Vec<u32>)>,
}

impl ByNumber {
    #[inline]
    pub fn push(&mut self, number: i64, row: u32) {
        let place = match self.last {
            Some((last, place)) if last == number => place,
            _ => match self.places.entry(number) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => {
                    self.rows.push((number, vec![]));
                    *place.insert(self.rows.len() - 1)
                }
            },
        };
        self.last = Some((number, place));
        self.rows[place].1.push(row);
    }

    /// The numbers in order of appearance, each with its rows in order.
    pub fn rows(self) -> impl Iterator<Item = (i64, Vec<u32>)> {
        self.rows.into_iter()
    }
}
