//! Batches in flight: computed and in the log, on their way to the sink while later ones are computed.
//!
//! Each is shown once its own record is durable, in order. What a crash finds in flight is in the log, and runs again.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, Weak};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{FutureExt, stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::streaming_query::panicked;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::sink::{BatchIdentity, BatchRows, Sink};

/// Batches in flight at most, and bytes of their rows.
const MAX_BATCHES: usize = 64;
const MAX_BYTES: usize = 16 << 20;

/// A batch whose record is in the log.
#[derive(Debug)]
pub(super) struct HandOver {
    pub identity: BatchIdentity,
    /// Of the record.
    pub lsn: u64,
    pub rows: Vec<RecordBatch>,
    /// Of the rows.
    pub bytes: usize,
}

/// A batch that the sink has.
#[derive(Debug)]
pub(super) struct Done {
    pub batch_id: u64,
    pub output_rows: Option<u64>,
}

/// Where batches in flight go.
#[derive(Debug)]
pub(super) struct Target {
    pub sink: Arc<dyn Sink>,
    pub schema: SchemaRef,
    pub checkpoint: Arc<Checkpoint>,
    pub failpoints: Failpoints,
}

/// The batches in flight, and the task that gives them to the sink.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The task has it only while it works: whoever drops this has closed the checkpoint, unless a batch is on its way.
    _target: Arc<Target>,
    signals: Arc<Signals>,
    queue: mpsc::UnboundedSender<HandOver>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Signals {
    load: watch::Sender<Load>,
    done: Mutex<Vec<Done>>,
    failure: OnceLock<Error>,
    /// Wakes the query when nothing is in flight any more, or a batch has failed.
    wake: Arc<Notify>,
}

/// What is in flight.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    batches: usize,
    bytes: usize,
    /// Whether the sink works: a slow one is given more rows at a time instead of more batches in a row.
    is_in_sink: bool,
}

impl InFlight {
    /// Nothing is in flight yet.
    pub fn start(target: Target, wake: Arc<Notify>) -> Self {
        let target = Arc::new(target);
        let load = watch::Sender::new(Load::default());
        let signals = Arc::new(Signals { load, done: Mutex::default(), failure: OnceLock::new(), wake });
        let (queue, batches) = mpsc::unbounded_channel();
        let task = tokio::spawn(release_all(Arc::downgrade(&target), signals.clone(), batches));
        Self { _target: target, signals, queue, task }
    }

    /// Takes a batch on its way.
    pub fn push(&self, batch: HandOver) {
        self.signals.load.send_modify(|load| {
            load.batches += 1;
            load.bytes += batch.bytes;
        });
        // The task ends only with a failure, which whoever waits will see.
        let _ = self.queue.send(batch);
    }

    /// The batches that the sink has got since this was asked last, in order.
    ///
    /// # Errors
    /// What a batch has failed with: no later one is given to the sink.
    pub fn take_done(&self) -> (Vec<Done>, Result<()>) {
        let failure = self.signals.failure.get().map_or(Ok(()), |e| Err(e.clone()));
        (std::mem::take(&mut *self.signals.done.lock()), failure)
    }

    /// Returns when there is room for another batch, or one has failed.
    pub async fn room(&self) {
        self.until(|load| load.batches < MAX_BATCHES && load.bytes < MAX_BYTES && !load.is_in_sink).await;
    }

    /// Returns when nothing is in flight, or a batch has failed.
    pub async fn drained(&self) {
        self.until(|load| load.batches == 0).await;
    }

    async fn until(&self, is_reached: impl Fn(&Load) -> bool) {
        let mut load = self.signals.load.subscribe();
        // The sender lives as long as this.
        let _ = load.wait_for(|load| is_reached(load) || self.signals.failure.get().is_some()).await;
    }

    /// Gives up what is in flight, and lets go of sink and checkpoint.
    pub async fn abandon(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn release_all(target: Weak<Target>, signals: Arc<Signals>, mut batches: mpsc::UnboundedReceiver<HandOver>) {
    while let Some(batch) = batches.recv().await {
        let (batch_id, bytes) = (batch.identity.batch_id, batch.bytes);
        let Some(working) = target.upgrade() else { return };
        // A panic of the user's function ends this query, and no other.
        let result = AssertUnwindSafe(working.release(batch, &signals)).catch_unwind().await;
        drop(working);
        match result.unwrap_or_else(|panic| Err(panicked(&panic))) {
            Ok(output_rows) => signals.done.lock().push(Done { batch_id, output_rows }),
            Err(e) => {
                let _ = signals.failure.set(e.with_place(format!("batch {batch_id}")));
            }
        }
        signals.load.send_modify(|load| {
            load.batches -= 1;
            load.bytes -= bytes;
            load.is_in_sink = false;
        });
        let has_failed = signals.failure.get().is_some();
        if has_failed || signals.load.borrow().batches == 0 {
            signals.wake.notify_one();
        }
        if has_failed {
            return;
        }
    }
}

impl Signals {
    fn is_in_sink(&self, is_in_sink: bool) {
        self.load.send_modify(|load| load.is_in_sink = is_in_sink);
    }
}

impl Target {
    /// Gives a batch to the sink, and shows it once its record is durable.
    async fn release(&self, batch: HandOver, signals: &Signals) -> Result<Option<u64>> {
        let HandOver { identity, lsn, rows, .. } = batch;
        let rows = RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(rows.into_iter().map(Ok)));
        let rows = BatchRows::new(self.schema.clone(), vec![Box::pin(rows)]);
        signals.is_in_sink(true);
        let output_rows = self.sink.prepare(identity.batch_id, rows).await?;
        signals.is_in_sink(false);
        self.checkpoint.wait_durable(lsn).await?;
        signals.is_in_sink(true);
        self.failpoints.hit("after_offset_log")?;
        self.failpoints.hit("before_sink_commit")?;
        self.sink.commit(identity).await?;
        self.failpoints.hit("after_sink_commit")?;
        self.failpoints.hit("before_commit_log")?;
        self.checkpoint.append_commit(identity.batch_id)?;
        self.failpoints.hit("after_commit_log")?;
        Ok(output_rows)
    }
}
