//! The open checkpoint: the one object a query holds while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::fs::{Fs, LockGuard, OsFs, io_error};
use super::log::{Log, LogOptions, segment_name};
use super::metadata::{metadata_path, read_json, write_json};
use super::record::FORMAT_VERSION;
use super::recovery::{self, Found, LastBatch, RecoveredBatches, list_segments};
use super::scan::has_records;
use super::snapshot::{SnapshotDir, SnapshotOf, SnapshotReader};
#[cfg(test)]
use super::snapshotter::SnapshotStatus;
use super::snapshotter::{Retention, SnapshotHandle, Snapshotter};
use super::{BatchHeader, BatchRecord, Metadata};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::state::FrozenState;
use crate::time::Clock;

/// How a checkpoint is kept.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// Whether `wait_durable` waits for the disk. Without, a crash of the machine may lose the last batches, and recovery
    /// then says so; a crash of the process loses nothing.
    pub sync: bool,
    /// A new log segment begins after this many bytes.
    pub segment_bytes: u64,
    /// Zeros that are written ahead of the log's end.
    pub preallocate_bytes: u64,
    /// Snapshots kept; the older ones are for when the newest turns out to be damaged.
    pub snapshots_to_retain: usize,
    /// Batches whose records are kept at least, for those who want to look at them.
    pub min_batches_to_retain: u64,
    /// Failpoints of the session.
    pub failpoints: Failpoints,
    /// The file system.
    pub fs: Arc<dyn Fs>,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            sync: true,
            segment_bytes: 64 << 20,
            preallocate_bytes: 256 << 10,
            snapshots_to_retain: 2,
            min_batches_to_retain: 100,
            failpoints: Failpoints::default(),
            fs: Arc::new(OsFs),
        }
    }
}

/// Where a batch record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// For [`Checkpoint::wait_durable`].
    pub lsn: u64,
    /// Checksum of the record: the `record_hash` of the batch's identity.
    pub hash: u32,
}

/// What a checkpoint directory had in it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// `None` if the checkpoint is new.
    pub metadata: Option<Metadata>,
    /// The newest usable snapshot. The sink has everything up to its batch.
    pub snapshot: Option<SnapshotReader>,
    /// The batches after the snapshot.
    pub batches: RecoveredBatches,
    /// The last batch of the log, be it in the snapshot or after it.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it; a query needs only the batches"))]
    pub last_batch: Option<LastBatch>,
}

/// An open, locked checkpoint. Dropping it is a crash: nothing is synced; the lock goes last.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    options: CheckpointOptions,
    id: Mutex<Option<Uuid>>,
    // In this order: the threads that write end before the lock is released.
    snapshotter: Snapshotter,
    log: Arc<Log>,
    _lock: Lock,
}

struct Lock(#[expect(dead_code, reason = "held for its drop")] LockGuard);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`, or prepares a new one: takes the lock, verifies everything, cuts a torn tail, and
    /// makes durable what it then hands out.
    ///
    /// # Errors
    /// `CHECKPOINT_VERSION` (another format version; nothing was touched), `CHECKPOINT_IN_USE`, `CHECKPOINT_CORRUPT`,
    /// `STREAMING_CHECKPOINT_MISSING_METADATA_FILE`, `STATE_STORE_CHECKPOINT_LOCATION_NOT_EMPTY` (a checkpoint of
    /// Spark), `CHECKPOINT_IO`.
    pub fn open(dir: &Path, options: CheckpointOptions) -> Result<(Self, Recovered)> {
        let fs = &*options.fs;
        check_untouched(fs, dir)?;
        fs.create_dir_all(dir).map_err(|e| io_error(dir, "mkdir", &e))?;
        let lock = Lock(take_lock(fs, dir)?);
        options.failpoints.hit("recover.opened")?;
        let metadata: Option<Metadata> = read_json(fs, &metadata_path(dir))?;
        let snapshots = SnapshotDir { fs: Arc::clone(&options.fs), dir: dir.join("snapshots") };
        let log_dir = dir.join("log");
        let found = match &metadata {
            None => {
                check_empty(fs, dir, &log_dir, &snapshots)?;
                Found::default()
            }
            Some(metadata) => recover(&options, &log_dir, &snapshots, metadata.id)?,
        };
        let complete = complete_snapshots(&snapshots, &found)?;
        let id = metadata.as_ref().map(|m| m.id);
        let log = Arc::new(Log::start(log_options(&options, log_dir), found.resume)?);
        let retention = Retention { snapshots: options.snapshots_to_retain, batches: options.min_batches_to_retain };
        let failpoints = options.failpoints.clone();
        let snapshotter = Snapshotter::new(snapshots, Arc::clone(&log), retention, failpoints, complete);
        let recovered =
            Recovered { metadata, snapshot: found.snapshot, batches: found.batches, last_batch: found.last_batch };
        let checkpoint = Self { dir: dir.to_owned(), options, id: Mutex::new(id), snapshotter, log, _lock: lock };
        Ok((checkpoint, recovered))
    }

    /// Writes what the query is; once, before the first batch. Durable when this returns.
    pub fn write_metadata(&self, metadata: &Metadata) -> Result<()> {
        let mut id = self.id.lock();
        if id.is_some() || metadata.format_version != FORMAT_VERSION {
            return Err(Error::internal("a checkpoint's metadata is written once, in this program's format version"));
        }
        let fs = &*self.options.fs;
        for dir in [self.dir.join("log"), self.dir.join("snapshots")] {
            fs.create_dir_all(&dir).map_err(|e| io_error(&dir, "mkdir", &e))?;
        }
        // The first segment is there before the metadata: where there is metadata, a log that is not there was lost.
        self.log.set_id(metadata.id)?;
        self.replace_metadata(metadata)?;
        *id = Some(metadata.id);
        Ok(())
    }

    /// Writes anew what the query is, where it may differ from what the checkpoint was made with.
    pub fn replace_metadata(&self, metadata: &Metadata) -> Result<()> {
        let fs = &*self.options.fs;
        write_json(fs, &metadata_path(&self.dir), metadata)?;
        fs.sync_dir(&self.dir).map_err(|e| io_error(&self.dir, "fsync", &e))
    }

    /// Appends a batch: ids must be dense. It is durable, and its output may be shown, once [`Self::wait_durable`] of
    /// the result returns.
    ///
    /// # Errors
    /// `CHECKPOINT_IO`, after which this object only repeats the error: open the checkpoint anew.
    pub fn append_batch(&self, record: &BatchRecord) -> Result<Appended> {
        self.log.append_batch(record)
    }

    /// Returns once everything up to `lsn` is durable.
    pub async fn wait_durable(&self, lsn: u64) -> Result<()> {
        self.log.wait_durable(lsn).await
    }

    /// Asks that everything up to `lsn` becomes durable, and does not wait for it.
    pub fn request_durable(&self, lsn: u64) {
        self.log.request_durable(lsn);
    }

    /// Whether everything up to `lsn` is durable.
    ///
    /// # Errors
    /// What ended the log.
    pub fn is_durable(&self, lsn: u64) -> Result<bool> {
        self.log.is_durable(lsn)
    }

    /// The number of the last record, be it a batch's or an acknowledgement.
    pub fn last_lsn(&self) -> u64 {
        self.log.last_lsn()
    }

    /// How often the disk was asked to make records durable.
    pub fn num_syncs(&self) -> u64 {
        self.log.num_syncs()
    }

    /// Notes that the sink has a batch. Not synced: losing it costs a re-delivery.
    pub fn append_commit(&self, batch_id: u64) -> Result<()> {
        self.log.append_commit(batch_id)
    }

    /// Whether the log that no snapshot covers has `least` bytes, and as many as the last snapshot: the work of
    /// snapshots stays in proportion to that of batches.
    pub fn is_snapshot_due(&self, least: u64) -> bool {
        self.log.bytes() >= least.max(self.snapshotter.newest_bytes())
    }

    /// Bytes in the log that no snapshot covers.
    #[cfg(test)]
    pub fn log_bytes_since_snapshot(&self) -> u64 {
        self.log.bytes()
    }

    /// Begins to write the state after the last batch, which the sink must have acknowledged, in the background. While
    /// one is being written, returns that one's handle.
    pub fn begin_snapshot(
        &self,
        header: BatchHeader,
        operators: Vec<(u32, Arc<dyn FrozenState>)>,
    ) -> Result<SnapshotHandle> {
        self.log.check()?;
        let id = *self.id.lock();
        match (id, self.log.last()) {
            (Some(id), (Some(batch), Some(commit)))
                if batch.batch_id == header.batch_id && commit == header.batch_id =>
            {
                self.snapshotter.begin(SnapshotOf { id, hash: batch.hash, header }, operators)
            }
            (_, (batch, commit)) => Err(Error::internal(format!(
                "a snapshot of batch {} was asked for, but the log is at {batch:?} and the sink has {commit:?}",
                header.batch_id
            ))),
        }
    }

    /// How snapshots went so far; a failure is logged when it happens.
    #[cfg(test)]
    pub fn snapshot_status(&self) -> SnapshotStatus {
        self.snapshotter.status()
    }

    /// Ends well: waits for a running snapshot and makes the last acknowledgement durable.
    pub async fn close(&self) -> Result<()> {
        if let Some(snapshot) = self.snapshotter.current() {
            // A failed snapshot is in the status, and stops nothing.
            let _ = snapshot.wait().await;
        }
        self.log.sync_now()
    }
}

fn log_options(options: &CheckpointOptions, dir: PathBuf) -> LogOptions {
    LogOptions {
        fs: Arc::clone(&options.fs),
        dir,
        failpoints: options.failpoints.clone(),
        sync: options.sync,
        segment_bytes: options.segment_bytes,
        preallocate_bytes: options.preallocate_bytes,
    }
}

/// What can be refused before anything is changed, the lock file included.
fn check_untouched(fs: &dyn Fs, dir: &Path) -> Result<()> {
    if read_json::<serde_json::Value>(fs, &metadata_path(dir))?.is_some() {
        return Ok(());
    }
    let names = fs.list(dir).map_err(|e| io_error(dir, "readdir", &e))?;
    match names.iter().find(|n| ["offsets", "commits", "state"].contains(&n.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::checkpoint(
            "STATE_STORE_CHECKPOINT_LOCATION_NOT_EMPTY",
            format!(
                "'{}' has '{name}' in it but no 'metadata.json': it looks like a checkpoint of Spark",
                dir.display()
            ),
        )
        .with_help("choose an empty directory; this program cannot go on from a checkpoint of Spark")),
    }
}

/// Whether nothing is there, or what a crash left before the metadata was written: a first segment without records, which
/// is made anew.
fn check_empty(fs: &dyn Fs, dir: &Path, log_dir: &Path, snapshots: &SnapshotDir) -> Result<()> {
    let is_begun = match list_segments(fs, log_dir)?.as_slice() {
        [] => false,
        [1] => {
            let path = log_dir.join(segment_name(1));
            let file = fs.open(&path, false).map_err(|e| io_error(&path, "open", &e))?;
            has_records(&*file, &path)?
        }
        _ => true,
    };
    if !is_begun && snapshots.list()?.is_empty() {
        return Ok(());
    }
    Err(Error::checkpoint(
        "STREAMING_CHECKPOINT_MISSING_METADATA_FILE",
        format!("checkpoint '{}' has a log or snapshots but no 'metadata.json'", dir.display()),
    )
    .with_help("nothing was changed: restore the file from a backup, or choose an empty directory"))
}

fn take_lock(fs: &dyn Fs, dir: &Path) -> Result<LockGuard> {
    let path = dir.join("lock");
    let started = Clock::System.now_ms();
    let started = chrono::DateTime::from_timestamp_millis(started).map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string());
    let owner = format!("pid {} started {} UTC", std::process::id(), started.unwrap_or_default());
    fs.lock(&path, &owner).map_err(|e| io_error(&path, "flock", &e))?.map_err(|holder| {
        let holder = if holder.is_empty() { "another process".to_owned() } else { format!("a process ({holder})") };
        Error::checkpoint("CHECKPOINT_IN_USE", format!("checkpoint '{}' is in use by {holder}", dir.display()))
            .with_help("stop the query that uses it, or give this one another CHECKPOINT LOCATION")
    })
}

fn recover(options: &CheckpointOptions, log_dir: &Path, snapshots: &SnapshotDir, id: Uuid) -> Result<Found> {
    let fs = &*options.fs;
    for dir in [log_dir, &snapshots.dir] {
        fs.create_dir_all(dir).map_err(|e| io_error(dir, "mkdir", &e))?;
    }
    let (found, tail) = recovery::read(&options.fs, log_dir, snapshots, id)?;
    let active = found.resume.active.as_ref();
    if tail.is_torn() {
        tail.cut(fs, active)?;
        options.failpoints.hit("recover.tail_cut")?;
    }
    tail.resync(fs, log_dir, active)?;
    options.failpoints.hit("recover.resynced")?;
    Ok(found)
}

/// Snapshots that may be kept: the one that was recovered from, and older ones.
/// And the bytes of the newest.
fn complete_snapshots(snapshots: &SnapshotDir, found: &Found) -> Result<(Vec<u64>, u64)> {
    let Some(newest) = found.snapshot.as_ref().map(|s| s.batch_id) else { return Ok((vec![], 0)) };
    let mut complete = snapshots.list()?;
    let mut bytes = 0;
    complete.retain(|b| match snapshots.manifest(*b) {
        Ok(Some(manifest)) if *b <= newest => {
            bytes = manifest.bytes;
            true
        }
        // One that cannot be read is not kept on account of its name.
        _ => false,
    });
    Ok((complete, bytes))
}
