//! Takes snapshots in the background, one at a time, and removes what they make unnecessary.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::fs::io_error;
use super::log::Log;
use super::snapshot::{Manifest, SnapshotDir, SnapshotOf, publish, write_state};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::state::FrozenState;

/// How snapshots went so far.
#[derive(Debug, Clone, Default)]
pub struct SnapshotStatus {
    /// The batch of the snapshot that is being written.
    pub running: Option<u64>,
    /// The batch of the newest complete snapshot.
    pub last_completed: Option<u64>,
    /// Snapshots that failed in this run. A failed one stops nothing: the log is kept until a later one succeeds.
    pub failures: u64,
    /// Why the last one failed.
    pub last_error: Option<Error>,
}

/// A snapshot that is being written. Clones are the same snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotHandle {
    outcome: watch::Receiver<Option<Result<()>>>,
}

impl SnapshotHandle {
    /// Whether it has ended, well or not.
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }

    /// Returns when it is durable.
    ///
    /// # Errors
    /// Why it failed; the query can go on.
    pub async fn wait(mut self) -> Result<()> {
        match self.outcome.wait_for(Option::is_some).await.map(|o| o.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(Error::internal("the thread that writes a snapshot ended without saying how")),
        }
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub snapshots: usize,
    pub batches: u64,
}

/// Owns the thread that writes snapshots. Dropping it stops the thread at the next piece and waits for it.
#[derive(Debug)]
pub(super) struct Snapshotter {
    shared: Arc<Shared>,
    running: Mutex<Option<(SnapshotHandle, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Shared {
    snapshots: SnapshotDir,
    log: Arc<Log>,
    retention: Retention,
    failpoints: Failpoints,
    status: Mutex<SnapshotStatus>,
    stop: AtomicBool,
    /// Batch ids of complete snapshots, oldest first.
    complete: Mutex<Vec<u64>>,
    /// Bytes of the newest of them.
    newest_bytes: AtomicU64,
}

impl Snapshotter {
    /// `complete` has the snapshots that can be recovered from, oldest first, and the bytes of the newest.
    pub(super) fn new(
        snapshots: SnapshotDir,
        log: Arc<Log>,
        retention: Retention,
        failpoints: Failpoints,
        (complete, newest_bytes): (Vec<u64>, u64),
    ) -> Self {
        let status = SnapshotStatus { last_completed: complete.last().copied(), ..Default::default() };
        let shared = Shared {
            snapshots,
            log,
            retention,
            failpoints,
            status: Mutex::new(status),
            stop: AtomicBool::new(false),
            complete: Mutex::new(complete),
            newest_bytes: AtomicU64::new(newest_bytes),
        };
        Self { shared: Arc::new(shared), running: Mutex::default() }
    }

    /// Begins a snapshot; while one is being written, returns that one's handle instead.
    pub(super) fn begin(&self, of: SnapshotOf, operators: Vec<(u32, Arc<dyn FrozenState>)>) -> Result<SnapshotHandle> {
        let mut running = self.running.lock();
        if let Some((handle, _)) = &*running
            && !handle.is_finished()
        {
            return Ok(handle.clone());
        }
        let batch_id = of.header.batch_id;
        let (sender, outcome) = watch::channel(None);
        let handle = SnapshotHandle { outcome };
        let shared = Arc::clone(&self.shared);
        let covered = shared.log.bytes();
        shared.status.lock().running = Some(batch_id);
        let thread = std::thread::Builder::new().name("tidemill-snapshot".to_owned()).spawn(move || {
            let outcome = shared.run(of, operators, covered);
            sender.send_replace(Some(outcome));
        });
        match thread {
            Ok(thread) => *running = Some((handle.clone(), thread)),
            Err(e) => {
                self.shared.status.lock().running = None;
                return Err(io_error(&self.shared.snapshots.dir, "starting the thread", &e));
            }
        }
        Ok(handle)
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> SnapshotStatus {
        self.shared.status.lock().clone()
    }

    /// Bytes of the newest complete snapshot; 0 without one.
    pub(super) fn newest_bytes(&self) -> u64 {
        self.shared.newest_bytes.load(Ordering::Relaxed)
    }

    /// The snapshot that is being written, if one is.
    pub(super) fn current(&self) -> Option<SnapshotHandle> {
        self.running.lock().as_ref().map(|(handle, _)| handle.clone()).filter(|handle| !handle.is_finished())
    }
}

impl Drop for Snapshotter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some((_, thread)) = self.running.lock().take() {
            // How it ended is in the status; the lock on the directory must outlive it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, of: SnapshotOf, operators: Vec<(u32, Arc<dyn FrozenState>)>, covered: u64) -> Result<()> {
        let batch_id = of.header.batch_id;
        let written =
            catch_unwind(AssertUnwindSafe(|| self.write(of, &operators))).unwrap_or_else(|p| Err(panicked(&*p)));
        if let Ok(manifest) = &written {
            self.newest_bytes.store(manifest.bytes, Ordering::Relaxed);
            self.log.covered(covered);
            let mut complete = self.complete.lock();
            complete.retain(|b| *b != batch_id);
            complete.push(batch_id);
        } else {
            // Frees what it took; what cannot be removed now is removed after the next snapshot.
            let _ = self.snapshots.remove(batch_id);
        }
        let completed = written.is_ok();
        let outcome = written.and_then(|_| {
            catch_unwind(AssertUnwindSafe(|| self.collect_garbage())).unwrap_or_else(|p| Err(panicked(&*p)))
        });
        let mut status = self.status.lock();
        status.running = None;
        if completed {
            status.last_completed = Some(batch_id);
        }
        if let Err(e) = &outcome {
            tracing::warn!("the snapshot of batch {batch_id} failed, the query goes on: {e}");
            status.failures += 1;
            status.last_error = Some(e.clone());
        }
        outcome
    }

    fn write(&self, of: SnapshotOf, operators: &[(u32, Arc<dyn FrozenState>)]) -> Result<Manifest> {
        let batch_id = of.header.batch_id;
        self.failpoints.hit("snap.begin")?;
        if self.snapshots.list()?.contains(&batch_id) {
            self.snapshots.remove(batch_id)?;
        }
        let manifest = write_state(&self.snapshots, of, operators, &self.failpoints, &|| self.go_on())?;
        // The snapshot says that its batch is in the log, and that the sink has it: so must the log on disk.
        self.log.sync_now()?;
        publish(&self.snapshots, &manifest, &self.failpoints)?;
        Ok(manifest)
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::execution("SNAPSHOT_STOPPED", "the query stopped before its snapshot was written")
                .with_help("nothing is lost: the log has everything since the snapshot before"));
        }
        self.log.check()
    }

    /// Removes older snapshots, then the log segments that only they needed. Only unlinks: works on a full disk.
    fn collect_garbage(&self) -> Result<()> {
        let oldest_kept = {
            let mut complete = self.complete.lock();
            let surplus = complete.len().saturating_sub(self.retention.snapshots.max(1));
            complete.drain(..surplus);
            complete.first().copied()
        };
        let Some(oldest_kept) = oldest_kept else { return Ok(()) };
        self.failpoints.hit("snap.gc.before")?;
        let kept = self.complete.lock().clone();
        for batch_id in self.snapshots.list()?.into_iter().filter(|b| !kept.contains(b)) {
            self.snapshots.remove(batch_id)?;
        }
        let next = self.log.last().0.map_or(0, |b| b.batch_id + 1);
        self.log.drop_segments(oldest_kept.min(next.saturating_sub(self.retention.batches)))?;
        self.failpoints.hit("snap.gc.after")
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    Error::internal(format!("writing a snapshot panicked: {}", text.unwrap_or("no message")))
}
