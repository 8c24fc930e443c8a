//! Recovery: what a checkpoint directory says happened, verified, and made durable before anybody acts on it.
//!
//! Order: version → lock → read → choose the snapshot → cut a torn tail → write the tail again and sync → only then
//! hand anything out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use uuid::Uuid;

use super::codec::{Schemas, decode_batch, decode_batch_header};
use super::fs::{DurableFile, Fs, io_error};
use super::log::{Active, LoggedBatch, Resume, SegmentInfo, segment_name};
use super::record::{FileKind, Framer, HEADER, RecordKind};
use super::scan::{Located, Scan, Step, corrupt, has_records, read_record};
use super::snapshot::{SnapshotDir, SnapshotReader};
use super::{BatchHeader, BatchRecord};
use crate::error::{Error, Result};

/// A batch of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredBatch {
    /// As it was appended.
    pub record: BatchRecord,
    /// The `hash` of [`super::store::Appended`].
    pub hash: u32,
    /// Whether the sink has said that it has the batch.
    pub acknowledged: bool,
}

/// The batches after the snapshot, in order, each read and decoded when asked for.
#[derive(Debug, Default)]
pub struct RecoveredBatches {
    segments: Vec<Arc<Segment>>,
    batches: std::vec::IntoIter<Entry>,
    last_commit: Option<u64>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<dyn DurableFile>,
    path: PathBuf,
    schemas: Schemas,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    segment: usize,
    at: Located,
}

impl RecoveredBatches {
    fn read(&self, entry: Entry) -> Result<RecoveredBatch> {
        let segment = &self.segments[entry.segment];
        let body = read_record(&*segment.file, &segment.path, &entry.at)?;
        let header = entry.at.header;
        Ok(RecoveredBatch {
            record: decode_batch(body, &segment.schemas)?,
            hash: header.body_crc,
            acknowledged: self.last_commit >= Some(header.batch_id),
        })
    }
}

impl Iterator for RecoveredBatches {
    type Item = Result<RecoveredBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.batches.next()?;
        Some(self.read(entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

impl ExactSizeIterator for RecoveredBatches {}

/// The last batch of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LastBatch {
    /// What a human can read of it.
    pub header: BatchHeader,
    /// The `hash` of [`super::store::Appended`].
    pub hash: u32,
    /// Whether the sink has said that it has the batch.
    pub acknowledged: bool,
}

/// What recovery of log and snapshots found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub snapshot: Option<SnapshotReader>,
    pub batches: RecoveredBatches,
    pub last_batch: Option<LastBatch>,
    pub resume: Resume,
}

/// Reads log and snapshots; changes nothing.
pub(super) fn read(fs: &Arc<dyn Fs>, log_dir: &Path, snapshots: &SnapshotDir, id: Uuid) -> Result<(Found, Tail)> {
    let mut log = LogReader::new(Arc::clone(fs), log_dir, id);
    log.read_segments()?;
    let snapshot = choose_snapshot(snapshots, &log, id)?;
    log.into_found(snapshot)
}

/// What is to be done to the end of the log before anything is handed out.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// A segment that was being made.
    discard: Option<PathBuf>,
    /// Cut the file here.
    cut: bool,
    /// Records from here on were not known to be durable.
    rewrite_from: u64,
}

impl Tail {
    /// Whether the log ended in something that is not a record.
    pub(super) fn is_torn(&self) -> bool {
        self.cut || self.discard.is_some()
    }

    /// Cuts what is torn.
    pub(super) fn cut(&self, fs: &dyn Fs, active: Option<&Active>) -> Result<()> {
        if let Some(path) = &self.discard {
            fs.remove_file(path).map_err(|e| io_error(path, "unlink", &e))?;
        }
        match active {
            Some(a) if self.cut => a.file.set_len(a.position).map_err(|e| io_error(&a.path, "ftruncate", &e)),
            _ => Ok(()),
        }
    }

    /// Writes the tail again and syncs it: pages that the kernel holds for clean need not be on disk.
    pub(super) fn resync(&self, fs: &dyn Fs, log_dir: &Path, active: Option<&Active>) -> Result<()> {
        if let Some(Active { file, path, position, .. }) = active {
            let mut chunk = vec![0; 1 << 20];
            let mut at = self.rewrite_from;
            while at < *position {
                let len = chunk.len().min((position - at) as usize);
                file.read_exact_at(&mut chunk[..len], at).map_err(|e| io_error(path, "read", &e))?;
                file.write_all_at(&chunk[..len], at).map_err(|e| io_error(path, "write", &e))?;
                at += len as u64;
            }
            file.sync_data().map_err(|e| io_error(path, "fdatasync", &e))?;
        }
        fs.sync_dir(log_dir).map_err(|e| io_error(log_dir, "fsync", &e))
    }
}

/// Reads all segments, oldest first.
#[derive(Debug)]
struct LogReader {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    id: Uuid,
    segments: Vec<Arc<Segment>>,
    infos: Vec<SegmentInfo>,
    entries: Vec<Entry>,
    last_header: Option<BatchHeader>,
    last_commit: Option<u64>,
    framer: Option<Framer>,
    active: Option<Active>,
    tail: Tail,
    /// Whether the segment read last says that the next one was on disk.
    is_followed: bool,
    /// Records of the newest segment that no later record says were durable.
    unproven: std::collections::VecDeque<(u64, u64)>,
}

impl LogReader {
    fn new(fs: Arc<dyn Fs>, dir: &Path, id: Uuid) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            id,
            segments: vec![],
            infos: vec![],
            entries: vec![],
            last_header: None,
            last_commit: None,
            framer: None,
            active: None,
            tail: Tail::default(),
            is_followed: false,
            unproven: Default::default(),
        }
    }

    fn read_segments(&mut self) -> Result<()> {
        let numbers = list_segments(&*self.fs, &self.dir)?;
        // The first segment is on disk before the metadata is: a checkpoint without one has lost it.
        if numbers.is_empty() {
            return Err(missing(&self.dir, "the log"));
        }
        for (i, number) in numbers.iter().enumerate() {
            let path = self.dir.join(segment_name(*number));
            if i > 0 && numbers[i - 1] + 1 != *number {
                return Err(missing(&self.dir.join(segment_name(numbers[i - 1] + 1)), "the segment"));
            }
            self.read_segment(*number, &path, i + 1 == numbers.len())?;
        }
        if let (true, Some(last)) = (self.is_followed, numbers.last()) {
            return Err(missing(&self.dir.join(segment_name(last + 1)), "the newest segment"));
        }
        self.tail.rewrite_from = self.unproven.front().map_or(u64::MAX, |(_, offset)| *offset);
        Ok(())
    }

    fn read_segment(&mut self, number: u64, path: &Path, newest: bool) -> Result<()> {
        let file = self.fs.open(path, true).map_err(|e| io_error(path, "open", &e))?;
        let Some(mut scan) = Scan::open(Arc::clone(&file), path)? else {
            // The header is durable before the first record is written: a file without one is still being made, unless it
            // is the first, or the one before knows that it was.
            let may_be_new = newest && self.framer.is_some() && !self.is_followed;
            if may_be_new && !has_records(&*file, path)? {
                self.tail.discard = Some(path.to_owned());
                return Ok(());
            }
            return Err(corrupt(path, 0, None, "it does not start with a valid header"));
        };
        self.check_header(&scan, number)?;
        self.unproven.clear();
        let mut schemas = Schemas::default();
        loop {
            match scan.next()? {
                Step::Record(at, body) => self.record(at, body, &mut schemas, path)?,
                Step::End => break,
                Step::Broken(_) if newest && !scan.was_durable()? => {
                    self.tail.cut = true;
                    break;
                }
                Step::Broken(_) if !newest && scan.is_torn_note()? => break,
                Step::Broken(reason) => return Err(scan.corrupt(reason)),
            }
        }
        self.is_followed = scan.is_followed;
        let position = scan.position;
        let zeroed_end = if self.tail.cut { position } else { file.len().map_err(|e| io_error(path, "fstat", &e))? };
        self.active = Some(Active { file: Arc::clone(&file), path: path.to_owned(), position, zeroed_end });
        self.framer = Some(scan.framer);
        let last_batch = self.entries.last().map(|e| e.at.header.batch_id);
        self.infos.push(SegmentInfo { segment: number, last_batch });
        self.segments.push(Arc::new(Segment { file, path: path.to_owned(), schemas }));
        Ok(())
    }

    fn check_header(&self, scan: &Scan, number: u64) -> Result<()> {
        let h = &scan.header;
        let damaged = |reason: &str| Err(corrupt(&scan.path, 0, None, reason));
        if h.id != self.id {
            return damaged(&format!("it belongs to another query, with id {}", h.id));
        }
        if h.kind != FileKind::Log || h.segment != number {
            return damaged(&format!("it is not segment {number} of the log"));
        }
        match &self.framer {
            Some(f) if (f.sequence, f.previous) != (h.first_sequence, h.previous) => {
                damaged("it does not follow the segment before, whose end is missing or was changed")
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, at: Located, body: Buffer, schemas: &mut Schemas, path: &Path) -> Result<()> {
        let header = at.header;
        while self.unproven.front().is_some_and(|(sequence, _)| *sequence <= header.durable) {
            self.unproven.pop_front();
        }
        self.unproven.push_back((header.sequence, at.offset));
        match header.kind {
            RecordKind::Schema => schemas.read(body),
            RecordKind::Batch => self.batch(at, &body, path),
            RecordKind::Commit => {
                self.last_commit = self.last_commit.max(Some(header.batch_id));
                Ok(())
            }
            RecordKind::State | RecordKind::End | RecordKind::Next => {
                Err(corrupt(path, at.offset, Some(header.batch_id), "a record that does not belong here"))
            }
        }
    }

    fn batch(&mut self, at: Located, body: &Buffer, path: &Path) -> Result<()> {
        let batch_id = at.header.batch_id;
        let last = self.entries.last().map(|e| e.at.header.batch_id);
        if last.is_some_and(|last| last + 1 != batch_id) {
            return Err(corrupt(path, at.offset, Some(batch_id), "a batch out of order"));
        }
        let header = decode_batch_header(body)?;
        if header.batch_id != batch_id {
            return Err(corrupt(path, at.offset, Some(batch_id), "a batch under another one's number"));
        }
        self.last_header = Some(header);
        self.entries.push(Entry { segment: self.segments.len(), at });
        Ok(())
    }

    /// Whether the log has every batch from `first` on.
    fn reaches_back_to(&self, first: u64) -> bool {
        self.entries.first().is_some_and(|e| e.at.header.batch_id <= first) && self.last_batch() >= Some(first)
    }

    fn last_batch(&self) -> Option<u64> {
        self.entries.last().map(|e| e.at.header.batch_id)
    }

    fn into_found(self, snapshot: Option<SnapshotReader>) -> Result<(Found, Tail)> {
        let base = snapshot.as_ref().map(|s| s.batch_id);
        let last_commit = self.last_commit.max(base);
        let logged =
            self.entries.last().map(|e| LoggedBatch { batch_id: e.at.header.batch_id, hash: e.at.header.body_crc });
        let last_batch = self.last_header.zip(logged).map(|(header, b)| LastBatch {
            header,
            hash: b.hash,
            acknowledged: last_commit >= Some(b.batch_id),
        });
        let after: Vec<Entry> = self.entries.into_iter().filter(|e| Some(e.at.header.batch_id) > base).collect();
        let bytes = after.iter().map(|e| e.at.header.frame_len()).sum();
        let schemas = self.segments.last().map(|s| s.schemas.clone()).unwrap_or_default();
        let resume = Resume {
            id: Some(self.id),
            segments: self.infos,
            active: self.active,
            framer: self.framer,
            schemas,
            last_batch: logged,
            last_commit,
            bytes,
        };
        let batches = RecoveredBatches { segments: self.segments, batches: after.into_iter(), last_commit };
        Ok((Found { snapshot, batches, last_batch, resume }, self.tail))
    }
}

/// Numbers of the segments in a log directory, oldest first.
pub(super) fn list_segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>> {
    let names = fs.list(dir).map_err(|e| io_error(dir, "readdir", &e))?;
    Ok(names.iter().filter_map(|n| n.strip_suffix(".log")).filter_map(|n| n.parse().ok()).collect())
}

/// The newest snapshot that is whole. An older one will do if the log reaches back to it.
fn choose_snapshot(snapshots: &SnapshotDir, log: &LogReader, id: Uuid) -> Result<Option<SnapshotReader>> {
    let mut damage: Option<Error> = None;
    for batch_id in snapshots.list()?.into_iter().rev() {
        match open_snapshot(snapshots, batch_id, id) {
            Ok(None) => {}
            Ok(Some(snapshot)) if log.reaches_back_to(batch_id) => {
                warn_fallback(damage.as_ref(), &format!("the older snapshot of batch {batch_id}"));
                return Ok(Some(snapshot));
            }
            Ok(Some(_)) => return Err(damage.unwrap_or_else(|| log_behind(log, batch_id))),
            Err(e) => damage = damage.or(Some(e)),
        }
    }
    if log.entries.first().is_none_or(|e| e.at.header.batch_id == 0) {
        if log.entries.is_empty() && damage.is_some() {
            return damage.map_or(Ok(None), Err);
        }
        warn_fallback(damage.as_ref(), "the log from the first batch on");
        return Ok(None);
    }
    Err(damage.unwrap_or_else(|| missing(&snapshots.dir, "the snapshot the log goes on from")))
}

fn open_snapshot(snapshots: &SnapshotDir, batch_id: u64, id: Uuid) -> Result<Option<SnapshotReader>> {
    let Some(manifest) = snapshots.manifest(batch_id)? else { return Ok(None) };
    if manifest.id != id || manifest.batch_id != batch_id || manifest.header.batch_id != batch_id {
        let reason = format!("its manifest is of batch {} of query {}", manifest.batch_id, manifest.id);
        return Err(corrupt(&snapshots.dir, 0, Some(batch_id), &reason));
    }
    SnapshotReader::open(snapshots, manifest).map(Some)
}

fn warn_fallback(damage: Option<&Error>, what: &str) {
    if let Some(e) = damage {
        tracing::warn!("recovering from {what}, because: {e}");
    }
}

fn log_behind(log: &LogReader, batch_id: u64) -> Error {
    let end = log.last_batch().map_or("is empty".to_owned(), |b| format!("ends at batch {b}"));
    missing(&log.dir, &format!("part of the log, which {end} although there is a snapshot of batch {batch_id},"))
}

fn missing(path: &Path, what: &str) -> Error {
    Error::checkpoint("CHECKPOINT_CORRUPT", format!("{what} is missing from checkpoint '{}'", path.display())).with_help(
        "nothing was changed. Restore the checkpoint directory from a backup, or start with a new one and choose where \
         the sources begin",
    )
}

/// The active segment never starts before its header.
const _: () = assert!(HEADER == 64);
