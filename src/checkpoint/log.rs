//! The log: appends on the caller's thread, syncs on a thread of its own for all that wait.
//!
//! An append encodes and writes into the page cache (microseconds); only `fdatasync` is handed over, and one call serves
//! every waiter that came before it. Segments are filled with zeros ahead of the records, off the critical path, so that
//! a sync has no metadata to write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;
use uuid::Uuid;

use super::BatchRecord;
use super::codec::{Schemas, encode_batch, encode_schema};
use super::fs::{DurableFile, Fs, io_error};
use super::record::{FileKind, Framer, HEADER, RecordKind, SegmentHeader};
use super::store::Appended;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;

/// A buffer that one large batch made larger than this is given back.
const KEPT_BUFFER: usize = 4 << 20;

/// What the log needs to know.
#[derive(Debug, Clone)]
pub(super) struct LogOptions {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
    pub failpoints: Failpoints,
    pub sync: bool,
    pub segment_bytes: u64,
    pub preallocate_bytes: u64,
}

/// A segment file.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentInfo {
    pub segment: u64,
    /// The last batch in it or before it.
    pub last_batch: Option<u64>,
}

/// Where the log goes on after recovery.
#[derive(Debug, Default)]
pub(super) struct Resume {
    pub id: Option<Uuid>,
    pub segments: Vec<SegmentInfo>,
    pub active: Option<Active>,
    pub framer: Option<Framer>,
    pub schemas: Schemas,
    pub last_batch: Option<LoggedBatch>,
    pub last_commit: Option<u64>,
    /// Bytes of records after the snapshot.
    pub bytes: u64,
}

/// The last batch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoggedBatch {
    pub batch_id: u64,
    pub hash: u32,
}

/// The segment that is written to.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub file: Arc<dyn DurableFile>,
    pub path: PathBuf,
    pub position: u64,
    /// Zeros are written up to here.
    pub zeroed_end: u64,
}

/// An appendable log. Dropping it is a crash: nothing is synced.
#[derive(Debug)]
pub(super) struct Log {
    core: Arc<Core>,
    syncer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Core {
    options: LogOptions,
    /// Behind std's mutex, which knows whether its holder panicked.
    appender: std::sync::Mutex<Appender>,
    requests: Mutex<Requests>,
    wake: Condvar,
    durable: AtomicU64,
    progress: watch::Sender<u64>,
    poison: OnceLock<Error>,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct Appender {
    id: Option<Uuid>,
    segments: Vec<SegmentInfo>,
    active: Option<Active>,
    framer: Framer,
    schemas: Schemas,
    last_batch: Option<LoggedBatch>,
    last_commit: Option<u64>,
    buffer: Vec<u8>,
    numbers: Vec<u32>,
}

#[derive(Debug, Default)]
struct Requests {
    /// Somebody waits for this sequence number.
    wanted: u64,
    stop: bool,
}

/// The name of a segment's file.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:020}.log")
}

impl Log {
    /// Goes on where recovery ended: everything up to there is durable.
    pub(super) fn start(options: LogOptions, resume: Resume) -> Result<Self> {
        let framer = resume.framer.unwrap_or(Framer { segment: 0, sequence: 1, previous: 0 });
        let durable = framer.sequence - 1;
        let threaded = options.sync;
        let core = Arc::new(Core {
            appender: std::sync::Mutex::new(Appender {
                id: resume.id,
                segments: resume.segments,
                active: resume.active,
                framer,
                schemas: resume.schemas,
                last_batch: resume.last_batch,
                last_commit: resume.last_commit,
                buffer: vec![],
                numbers: vec![],
            }),
            requests: Mutex::default(),
            wake: Condvar::new(),
            durable: AtomicU64::new(durable),
            progress: watch::Sender::new(durable),
            poison: OnceLock::new(),
            bytes: AtomicU64::new(resume.bytes),
            syncs: AtomicU64::new(0),
            options,
        });
        let syncer = if threaded { Some(spawn(&core)?) } else { None };
        Ok(Self { core, syncer })
    }

    /// Gives the query's id, before the first append, and makes the first segment.
    pub(super) fn set_id(&self, id: Uuid) -> Result<()> {
        let mut appender = self.core.appender();
        appender.id = Some(id);
        if appender.active.is_none() {
            self.core.poisoning(|| self.core.roll(&mut appender))?;
        }
        Ok(())
    }

    /// Appends a batch record; it is durable once [`Self::wait_durable`] of its number returns.
    pub(super) fn append_batch(&self, record: &BatchRecord) -> Result<Appended> {
        let core = &*self.core;
        core.check()?;
        let mut appender = core.appender();
        let batch_id = record.header.batch_id;
        appender.check_follows(batch_id)?;
        core.poisoning(|| core.make_room(&mut appender))?;
        let durable = core.believed_durable(&appender);
        let hash = appender.encode_batch(record, durable)?;
        core.poisoning(|| core.write(&mut appender))?;
        appender.note_batch(LoggedBatch { batch_id, hash });
        Ok(Appended { lsn: appender.framer.sequence - 1, hash })
    }

    /// Appends that the sink has a batch. Never synced on its own: losing it only costs a re-delivery.
    pub(super) fn append_commit(&self, batch_id: u64) -> Result<()> {
        let core = &*self.core;
        core.check()?;
        let mut appender = core.appender();
        if appender.last_batch.is_none_or(|b| b.batch_id < batch_id) {
            return Err(Error::internal(format!("batch {batch_id} is acknowledged but not in the log")));
        }
        core.poisoning(|| core.make_room(&mut appender))?;
        let durable = core.believed_durable(&appender);
        let Appender { framer, buffer, .. } = &mut *appender;
        buffer.clear();
        framer.append::<Error>(buffer, RecordKind::Commit, batch_id, durable, |_| Ok(()))?;
        core.poisoning(|| core.write(&mut appender))?;
        appender.last_commit = appender.last_commit.max(Some(batch_id));
        Ok(())
    }

    /// Returns once everything up to `lsn` is durable; at once if the log is not synced.
    pub(super) async fn wait_durable(&self, lsn: u64) -> Result<()> {
        let core = &*self.core;
        core.check()?;
        if !core.options.sync || core.durable.load(Ordering::Acquire) >= lsn {
            return Ok(());
        }
        let mut progress = core.progress.subscribe();
        core.request(lsn);
        let reached = progress.wait_for(|durable| *durable >= lsn || core.poison.get().is_some()).await.map(|d| *d);
        match reached {
            Ok(durable) if durable >= lsn => Ok(()),
            _ => core.check(),
        }
    }

    /// Asks that everything up to `lsn` becomes durable, and does not wait for it.
    pub(super) fn request_durable(&self, lsn: u64) {
        if self.core.options.sync {
            self.core.request(lsn);
        }
    }

    /// Whether everything up to `lsn` is durable; it always is if the log is not synced.
    pub(super) fn is_durable(&self, lsn: u64) -> Result<bool> {
        let core = &*self.core;
        core.check()?;
        Ok(!core.options.sync || core.durable.load(Ordering::Acquire) >= lsn)
    }

    /// The number of the last record.
    pub(super) fn last_lsn(&self) -> u64 {
        self.core.appender().framer.sequence - 1
    }

    /// Makes everything that was appended durable, on this thread.
    pub(super) fn sync_now(&self) -> Result<()> {
        self.core.poisoning(|| self.core.sync_once())
    }

    /// The last batch, and the last one the sink has.
    pub(super) fn last(&self) -> (Option<LoggedBatch>, Option<u64>) {
        let appender = self.core.appender();
        (appender.last_batch, appender.last_commit)
    }

    /// Bytes appended since the snapshot that was noted last.
    pub(super) fn bytes(&self) -> u64 {
        self.core.bytes.load(Ordering::Relaxed)
    }

    /// How often what was appended was synced.
    pub(super) fn num_syncs(&self) -> u64 {
        self.core.syncs.load(Ordering::Relaxed)
    }

    /// Takes `bytes` off the count: a snapshot covers them.
    pub(super) fn covered(&self, bytes: u64) {
        self.core.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Removes the oldest segments that hold no batch from `keep_from` on. Only unlinks: works on a full disk.
    pub(super) fn drop_segments(&self, keep_from: u64) -> Result<()> {
        let options = &self.core.options;
        let surplus: Vec<u64> = {
            let appender = self.core.appender();
            let sealed = &appender.segments[..appender.segments.len().saturating_sub(1)];
            let is_surplus = |s: &&SegmentInfo| s.last_batch.is_none_or(|b| b < keep_from);
            sealed.iter().take_while(is_surplus).map(|s| s.segment).collect()
        };
        if surplus.is_empty() {
            return Ok(());
        }
        options.failpoints.hit("log.truncate.before")?;
        // Oldest first and noted one by one: whatever fails, what is left has no gap.
        for segment in surplus {
            let path = options.dir.join(segment_name(segment));
            options.fs.remove_file(&path).map_err(|e| io_error(&path, "unlink", &e))?;
            self.core.appender().segments.retain(|s| s.segment != segment);
        }
        options.fs.sync_dir(&options.dir).map_err(|e| io_error(&options.dir, "fsync", &e))?;
        options.failpoints.hit("log.truncate.after")
    }

    /// The error that ended this log, if there was one.
    pub(super) fn check(&self) -> Result<()> {
        self.core.check()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.core.requests().stop = true;
        self.core.wake.notify_all();
        if let Some(syncer) = self.syncer.take() {
            // The thread only ends with its own errors kept in `poison`.
            let _ = syncer.join();
        }
    }
}

impl Appender {
    fn check_follows(&self, batch_id: u64) -> Result<()> {
        let expected = self.last_batch.map_or(0, |b| b.batch_id + 1);
        if batch_id == expected {
            return Ok(());
        }
        Err(Error::internal(format!("batch {batch_id} was given to the log; batch {expected} comes next")))
    }

    /// Fills the buffer with the record, schemas it needs first. Leaves no trace if that fails.
    fn encode_batch(&mut self, record: &BatchRecord, durable: u64) -> Result<u32> {
        let (framer, schemas) = (self.framer.clone(), self.schemas.len());
        let encoded = self.try_encode_batch(record, durable);
        if encoded.is_err() {
            self.framer = framer;
            self.schemas.truncate(schemas);
        }
        encoded
    }

    fn try_encode_batch(&mut self, record: &BatchRecord, durable: u64) -> Result<u32> {
        let Self { framer, schemas, buffer, numbers, .. } = self;
        let batch_id = record.header.batch_id;
        buffer.clear();
        numbers.clear();
        for (_, change) in &record.changes {
            let schema = change.rows.schema_ref();
            let number = match schemas.number(schema) {
                Ok(known) => known,
                Err(new) => {
                    let write = |out: &mut Vec<u8>| encode_schema(new, schema, out);
                    framer.append(buffer, RecordKind::Schema, batch_id, durable, write)?;
                    new
                }
            };
            numbers.push(number);
        }
        let write = |out: &mut Vec<u8>| encode_batch(record, numbers, out);
        Ok(framer.append(buffer, RecordKind::Batch, batch_id, durable, write)?.body_crc)
    }

    fn note_batch(&mut self, batch: LoggedBatch) {
        self.last_batch = Some(batch);
        if let Some(segment) = self.segments.last_mut() {
            segment.last_batch = Some(batch.batch_id);
        }
    }
}

impl Core {
    fn appender(&self) -> std::sync::MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(|poisoned| {
            // A panic in the middle of an append leaves the log in an unknown state.
            self.poison_with(Error::internal("an append to the checkpoint's log panicked"));
            poisoned.into_inner()
        })
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock()
    }

    fn check(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |e| Err(e.clone()))
    }

    /// After an error nobody knows what is on disk: it ends this log for the process.
    fn poisoning<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        call().inspect_err(|e| self.poison_with(e.clone()))
    }

    fn poison_with(&self, e: Error) {
        let _ = self.poison.set(e);
        // Wakes the waiters, who then see the poison.
        self.progress.send_modify(|_| {});
    }

    fn request(&self, lsn: u64) {
        let mut requests = self.requests();
        requests.wanted = requests.wanted.max(lsn);
        self.wake.notify_one();
    }

    /// What a record may say was durable before it. Without syncs the order of writes is all there is.
    fn believed_durable(&self, appender: &Appender) -> u64 {
        if self.options.sync { self.durable.load(Ordering::Acquire) } else { appender.framer.sequence - 1 }
    }

    fn make_room(&self, appender: &mut Appender) -> Result<()> {
        match &appender.active {
            Some(active) if active.position < self.options.segment_bytes => Ok(()),
            _ => self.roll(appender),
        }
    }

    fn write(&self, appender: &mut Appender) -> Result<()> {
        let Appender { active: Some(active), buffer, .. } = appender else {
            return Err(Error::internal("the log has no segment to write to"));
        };
        let write = |data: &[u8]| {
            let call = || format!("write ({} bytes)", data.len());
            active.file.write_all_at(data, active.position).map_err(|e| io_error(&active.path, &call(), &e))
        };
        if self.options.failpoints.is_armed("log.write.partial") {
            write(&buffer[..buffer.len() / 2])?;
            self.options.failpoints.hit("log.write.partial")?;
        }
        write(buffer)?;
        active.position += buffer.len() as u64;
        active.zeroed_end = active.zeroed_end.max(active.position);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        if buffer.capacity() > KEPT_BUFFER {
            *buffer = vec![];
        }
        Ok(())
    }

    /// Ends the segment and makes the next one. The old one is durable before the new one exists, so that only the
    /// newest segment can ever be torn.
    fn roll(&self, appender: &mut Appender) -> Result<()> {
        let Some(id) = appender.id else {
            return Err(Error::internal("the checkpoint's metadata must be written before its log"));
        };
        if let Some(active) = &appender.active {
            active.file.sync_data().map_err(|e| io_error(&active.path, "fdatasync", &e))?;
            self.publish(appender.framer.sequence - 1);
        }
        let header = SegmentHeader {
            kind: FileKind::Log,
            segment: appender.framer.segment + 1,
            id,
            first_sequence: appender.framer.sequence,
            previous: appender.framer.previous,
        };
        let sealed = appender.active.replace(self.create_segment(&header)?);
        if let Some(sealed) = sealed {
            self.note_next(&sealed, appender)?;
        }
        appender.framer = Framer::at_start_of(&header);
        appender.schemas = Schemas::default();
        let last_batch = appender.last_batch.map(|b| b.batch_id);
        appender.segments.push(SegmentInfo { segment: header.segment, last_batch });
        Ok(())
    }

    /// Notes at the end of a segment that the next one is on disk: if that is lost later, it is not taken for one that never
    /// was. The note is not part of the chain, because it is written after what follows it.
    fn note_next(&self, sealed: &Active, appender: &mut Appender) -> Result<()> {
        let Appender { framer, buffer, last_batch, .. } = appender;
        let (batch_id, durable) = (last_batch.map_or(0, |b| b.batch_id), framer.sequence - 1);
        buffer.clear();
        framer.clone().append::<Error>(buffer, RecordKind::Next, batch_id, durable, |_| Ok(()))?;
        sealed.file.write_all_at(buffer, sealed.position).map_err(|e| io_error(&sealed.path, "write", &e))?;
        sealed.file.sync_data().map_err(|e| io_error(&sealed.path, "fdatasync", &e))
    }

    fn create_segment(&self, header: &SegmentHeader) -> Result<Active> {
        let LogOptions { fs, dir, failpoints, preallocate_bytes, .. } = &self.options;
        let path = dir.join(segment_name(header.segment));
        let file = fs.create(&path).map_err(|e| io_error(&path, "open", &e))?;
        let mut start = header.encode().to_vec();
        start.resize(HEADER.max(*preallocate_bytes as usize), 0);
        file.write_all_at(&start, 0).map_err(|e| io_error(&path, "write", &e))?;
        failpoints.hit("log.roll.created")?;
        file.sync_data().map_err(|e| io_error(&path, "fdatasync", &e))?;
        fs.sync_dir(dir).map_err(|e| io_error(dir, "fsync", &e))?;
        failpoints.hit("log.roll.dir_synced")?;
        Ok(Active { file, path, position: HEADER as u64, zeroed_end: start.len() as u64 })
    }

    /// Syncs everything appended so far and tells all who wait for it.
    fn sync_once(&self) -> Result<()> {
        let (active, target) = {
            let appender = self.appender();
            (appender.active.clone(), appender.framer.sequence - 1)
        };
        let Some(active) = active else { return Ok(()) };
        let failpoints = &self.options.failpoints;
        failpoints.hit("log.written_not_synced")?;
        active.file.sync_data().map_err(|e| io_error(&active.path, "fdatasync", &e))?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.check_still_there(&active)?;
        failpoints.hit("log.synced_not_published")?;
        self.publish(target);
        failpoints.hit("group.leader_synced_followers_waiting")
    }

    fn check_still_there(&self, active: &Active) -> Result<()> {
        if !active.file.is_unlinked().map_err(|e| io_error(&active.path, "fstat", &e))? {
            return Ok(());
        }
        let message = format!("checkpoint file '{}' was removed while the query runs", active.path.display());
        Err(Error::checkpoint("CHECKPOINT_REMOVED", message)
            .with_help("restore the checkpoint directory, or start the query with a new one"))
    }

    fn publish(&self, sequence: u64) {
        self.durable.fetch_max(sequence, Ordering::AcqRel);
        self.progress.send_if_modified(|durable| {
            let rises = *durable < sequence;
            *durable = sequence.max(*durable);
            rises
        });
    }

    /// Writes zeros ahead, and syncs them while nobody waits.
    fn preallocate(&self) -> Result<()> {
        let ahead = self.options.preallocate_bytes;
        let grown = {
            let mut appender = self.appender();
            let Some(active) = &mut appender.active else { return Ok(()) };
            let end = active.zeroed_end;
            if end - active.position >= ahead / 2 || end >= self.options.segment_bytes {
                return Ok(());
            }
            let zeros = vec![0; ahead as usize];
            active.file.write_all_at(&zeros, end).map_err(|e| io_error(&active.path, "write", &e))?;
            active.zeroed_end = end + ahead;
            active.clone()
        };
        if self.requests().wanted > self.durable.load(Ordering::Acquire) {
            return Ok(());
        }
        grown.file.sync_data().map_err(|e| io_error(&grown.path, "fdatasync", &e))
    }

    fn serve(&self) {
        loop {
            let mut requests = self.requests();
            while !requests.stop && requests.wanted <= self.durable.load(Ordering::Acquire) {
                self.wake.wait(&mut requests);
            }
            if requests.stop {
                return;
            }
            drop(requests);
            if self.poisoning(|| self.sync_once().and_then(|()| self.preallocate())).is_err() {
                return;
            }
        }
    }
}

fn spawn(core: &Arc<Core>) -> Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    let serve = move || {
        // A waiter must never hang because this thread died.
        if catch_unwind(AssertUnwindSafe(|| core.serve())).is_err() {
            core.poison_with(Error::internal("the thread that syncs the checkpoint's log panicked"));
        }
    };
    std::thread::Builder::new()
        .name("tidemill-log".to_owned())
        .spawn(serve)
        .map_err(|e| io_error(Path::new("log"), "starting the thread", &e))
}
