//! The memory source: rows that a test or an embedding program adds.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{MemoryScan, RangeScan, ReadLimit, Source, SourceContext, StreamProvider};
use crate::error::{Error, Result};
use crate::offset::Offset;

/// Spark's `MemoryStream`. Every call of [`MemoryStream::add_data`] is one offset, from 0.
///
/// The stream outlives the queries that read it: data stays until every reader has committed it, and a reader that comes
/// back with the same checkpoint is the same reader.
#[derive(Debug, Clone)]
pub struct MemoryStream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    schema: SchemaRef,
    data: Mutex<Data>,
}

#[derive(Debug, Default)]
struct Data {
    /// What was added and is still needed by some reader.
    batches: VecDeque<RecordBatch>,
    /// Number of calls whose data is dropped.
    dropped: u64,
    /// By checkpoint directory: how many calls the reader has committed.
    committed: HashMap<PathBuf, u64>,
    wakes: Vec<Weak<Notify>>,
}

impl Data {
    fn added(&self) -> u64 {
        self.dropped + self.batches.len() as u64
    }

    fn drop_committed(&mut self) {
        let needed_from = self.committed.values().copied().min().unwrap_or(0);
        while self.dropped < needed_from && self.batches.pop_front().is_some() {
            self.dropped += 1;
        }
    }
}

impl MemoryStream {
    /// Calls whose rows some reader may still ask for.
    #[cfg(test)]
    pub(crate) fn num_held(&self) -> usize {
        self.shared.data.lock().batches.len()
    }

    /// A stream without rows.
    pub fn new(schema: SchemaRef) -> Self {
        Self { shared: Arc::new(Shared { schema, data: Mutex::default() }) }
    }

    /// Adds rows; gives their offset. Wakes the queries that read the stream.
    ///
    /// # Errors
    /// The rows' types are not those of the stream.
    pub fn add_data(&self, rows: RecordBatch) -> Result<Offset> {
        let rows = rows.with_schema(self.shared.schema.clone()).map_err(|e| {
            Error::invalid("INCOMPATIBLE_DATA", format!("the rows do not have the schema of the memory stream: {e}"))
                .with_help("give a batch with the columns and types of the stream, in their order")
        })?;
        let mut data = self.lock();
        data.batches.push_back(rows);
        data.wakes.retain(|w| w.strong_count() > 0);
        data.wakes.iter().filter_map(Weak::upgrade).for_each(|w| w.notify_one());
        Ok(offset(data.added()))
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        // The data is whole between any two statements that can panic, so a poisoned lock is still good.
        self.shared.data.lock()
    }
}

#[async_trait]
impl StreamProvider for MemoryStream {
    fn format(&self) -> &'static str {
        "memory"
    }

    fn schema(&self) -> SchemaRef {
        self.shared.schema.clone()
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        let mut data = self.lock();
        let dropped = data.dropped;
        data.committed.entry(ctx.dir.clone()).or_insert(dropped);
        data.wakes.push(Arc::downgrade(&ctx.wake));
        drop(data);
        Ok(Arc::new(MemorySource { stream: self.clone(), ctx, available_now: Mutex::default() }))
    }

    fn as_memory(&self) -> Option<&MemoryStream> {
        Some(self)
    }
}

/// One query's reader of a [`MemoryStream`].
#[derive(Debug)]
struct MemorySource {
    stream: MemoryStream,
    ctx: SourceContext,
    available_now: Mutex<Option<u64>>,
}

/// Spark's offset: the index of the last call, -1 before the first.
fn offset(calls: u64) -> Offset {
    Offset::from(i64::try_from(calls).unwrap_or(i64::MAX) - 1)
}

/// The number of calls up to an offset.
fn calls(offset: &Offset) -> Result<u64> {
    let index = offset.as_i64().filter(|i| *i >= -1);
    let index =
        index.ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' is no offset of a memory stream")))?;
    Ok((index + 1) as u64)
}

#[async_trait]
impl Source for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.stream.shared.schema.clone()
    }

    fn description(&self) -> String {
        let columns: Vec<_> = self.stream.shared.schema.fields().iter().map(|f| f.name().as_str()).collect();
        format!("MemoryStream[{}]", columns.join(","))
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(offset(self.stream.lock().dropped))
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let mut end = self.stream.lock().added();
        if limit == ReadLimit::Configured
            && let Some(fixed) = *self.available_now.lock()
        {
            end = end.min(fixed);
        }
        Ok((end > calls(start)?).then(|| offset(end)))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (calls(start)?, calls(end)?);
        let data = self.stream.lock();
        if start < data.dropped || end > data.added() {
            return Err(Error::execution(
                "MEMORY_STREAM_DATA_LOST",
                format!("the memory stream has no longer, or not yet, the rows of calls {start} to {end}"),
            )
            .with_help("its rows end with the process: use a new checkpoint, or a source that can be read again"));
        }
        let range = (start - data.dropped) as usize..(end - data.dropped) as usize;
        let batches = data.batches.range(range).filter(|b| b.num_rows() > 0).cloned().collect();
        Ok(MemoryScan::of(self.schema(), batches))
    }

    async fn commit(&self, end: &Offset) -> Result<()> {
        let end = calls(end)?;
        let mut data = self.stream.lock();
        let committed = data.committed.entry(self.ctx.dir.clone()).or_default();
        *committed = end.max(*committed);
        data.drop_committed();
        Ok(())
    }

    fn is_replayable(&self, start: &Offset, end: &Offset) -> bool {
        let data = self.stream.lock();
        calls(start).is_ok_and(|s| s >= data.dropped) && calls(end).is_ok_and(|e| e <= data.added())
    }

    async fn prepare_available_now(&self) -> Result<()> {
        let added = self.stream.lock().added();
        *self.available_now.lock() = Some(added);
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        None
    }

    async fn stop(&self) -> Result<()> {
        let gone = Arc::as_ptr(&self.ctx.wake);
        self.stream.lock().wakes.retain(|w| w.as_ptr() != gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{context, ints, read_ints};

    #[tokio::test]
    async fn calls_before_a_trigger_land_in_one_batch_and_stay_until_all_committed() {
        let stream = MemoryStream::new(ints(0..0).schema());
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = stream.open(context(a.path())).await.unwrap();
        let two = stream.open(context(b.path())).await.unwrap();
        let start = one.initial_offset().await.unwrap();
        assert_eq!(start, Offset::from(-1));
        assert_eq!(one.latest_offset(&start, ReadLimit::All).await.unwrap(), None);
        stream.add_data(ints(0..3)).unwrap();
        stream.add_data(ints(3..5)).unwrap();
        let end = one.latest_offset(&start, ReadLimit::Configured).await.unwrap().unwrap();
        assert_eq!(end, Offset::from(1));
        assert_eq!(read_ints(one.scan(&start, &end).await.unwrap(), 2).await, vec![0, 1, 2, 3, 4]);

        one.commit(&end).await.unwrap();
        one.stop().await.unwrap();
        assert_eq!(read_ints(two.scan(&start, &end).await.unwrap(), 1).await.len(), 5);
        two.commit(&Offset::from(0)).await.unwrap();
        let again = stream.open(context(a.path())).await.unwrap();
        assert!(again.is_replayable(&Offset::from(0), &end) && !again.is_replayable(&start, &end));
        assert!(again.scan(&start, &end).await.is_err());
    }

    #[tokio::test]
    async fn available_now_stops_at_what_was_there() {
        let stream = MemoryStream::new(ints(0..0).schema());
        let dir = tempfile::tempdir().unwrap();
        let source = stream.open(context(dir.path())).await.unwrap();
        stream.add_data(ints(0..3)).unwrap();
        source.prepare_available_now().await.unwrap();
        stream.add_data(ints(3..5)).unwrap();
        let end = source.latest_offset(&Offset::from(-1), ReadLimit::Configured).await.unwrap();
        assert_eq!(end, Some(Offset::from(0)));
    }
}
