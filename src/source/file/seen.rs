//! Which files belong to which batch: decided once, on disk before anybody reads a file.
//!
//! A record of the log is `kind u8 | batch u64 | count u32 | entry × count`. Kind 0 is the files of a batch; kind 1, made by
//! compaction, is files of batches up to `batch` that are committed: they only count as seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::entry::{FileEntry, take};
use crate::disk::is_remote;
use crate::error::{Error, Result};
use crate::source::record_log::{RecordLog, io_error};

const COMPACT_BYTES: u64 = 1 << 20;
const BATCH: u8 = 0;
const SEEN: u8 = 1;

/// The log and what it says.
#[derive(Debug)]
pub struct SeenFiles {
    path: PathBuf,
    log: RecordLog,
    compacted_bytes: u64,
    by_name_only: bool,
    max_age_ms: Option<i64>,
    /// Files by path, or by name, with all that compaction must keep of them. An entry whose path is the key has none of its own: there may
    /// be very many.
    seen: HashMap<OsString, FileEntry>,
    /// Files of batches that are not committed.
    batches: BTreeMap<i64, Vec<FileEntry>>,
    latest: i64,
    newest_ms: i64,
    /// Whether files have been forgotten because they are too old.
    has_forgotten: bool,
}

impl SeenFiles {
    /// Opens or makes the log in `dir`.
    pub fn open(dir: &Path, by_name_only: bool, max_age_ms: Option<i64>) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|e| io_error("making", dir, &e))?;
        let path = dir.join("seen-files");
        let (log, records) = RecordLog::open(&path)?;
        let mut this = Self {
            compacted_bytes: log.bytes(),
            path,
            log,
            by_name_only,
            max_age_ms,
            seen: HashMap::new(),
            batches: BTreeMap::new(),
            latest: -1,
            newest_ms: i64::MIN,
            has_forgotten: false,
        };
        for record in records {
            let (kind, batch, files) = decode(&record).ok_or_else(|| damaged(&this.path))?;
            this.apply(kind, batch, files);
        }
        Ok(this)
    }

    /// The last batch, -1 if there is none.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Whether no batch has this file, and it is not too old to tell.
    pub fn is_new(&self, file: &FileEntry) -> bool {
        file.mtime_ms() >= self.oldest_ms() && !self.seen.contains_key(&*self.key(file))
    }

    /// The file of this path as it was when a batch took it, if it is remembered; its path may be left out.
    pub fn as_read(&self, file: &FileEntry) -> Option<&FileEntry> {
        let is_same_path = |seen: &&FileEntry| seen.path.as_os_str().is_empty() || seen.path == file.path;
        self.seen.get(&*self.key(file)).filter(is_same_path)
    }

    /// Whether a file that no batch has is taken for too old. Not one that may have been read and forgotten since.
    pub fn shuts_out(&self, file: &FileEntry) -> bool {
        file.mtime_ms() < self.oldest_ms() && !self.has_forgotten && !self.seen.contains_key(&*self.key(file))
    }

    /// The newest file that was read.
    pub fn newest(&self) -> Option<FileEntry> {
        self.seen.iter().max_by_key(|(_, f)| f.mtime_ns).map(with_path)
    }

    /// Makes `files` the next batch; gives its number. It is on disk once [`SeenFiles::log_file`] is synced.
    pub fn add_batch(&mut self, files: Vec<FileEntry>) -> Result<i64> {
        let batch = self.latest + 1;
        self.log.write(&encode(BATCH, batch, &files))?;
        self.apply(BATCH, batch, files);
        Ok(batch)
    }

    /// The file of the log, to be synced, and its path.
    pub fn log_file(&self) -> Result<(File, PathBuf)> {
        self.log.file()
    }

    /// Takes no more batches: nobody knows what is on disk.
    pub fn poison(&mut self) {
        self.log.poison();
    }

    /// The files of some batches, in order.
    pub fn files(&self, batches: RangeInclusive<i64>) -> Vec<FileEntry> {
        self.batches.range(batches).flat_map(|(_, files)| files.iter().cloned()).collect()
    }

    /// Whether the files of all these batches are known.
    pub fn has(&self, batches: RangeInclusive<i64>) -> bool {
        batches.into_iter().all(|b| self.batches.contains_key(&b))
    }

    /// Batches up to `batch` will not be read again; gives their files.
    pub fn commit(&mut self, batch: i64) -> Result<Vec<FileEntry>> {
        let rest = self.batches.split_off(&(batch + 1));
        let done: Vec<_> = std::mem::replace(&mut self.batches, rest).into_values().flatten().collect();
        if self.log.bytes() > COMPACT_BYTES + 2 * self.compacted_bytes {
            self.compact(batch)?;
        }
        Ok(done)
    }

    fn compact(&mut self, committed: i64) -> Result<()> {
        let oldest_ms = self.oldest_ms();
        let before = self.seen.len();
        self.seen.retain(|_, f| f.mtime_ms() >= oldest_ms);
        self.has_forgotten |= self.seen.len() < before;
        let seen: Vec<_> = self.seen.iter().map(with_path).collect();
        let mut records = vec![encode(SEEN, committed.min(self.latest), &seen)];
        records.extend(self.batches.iter().map(|(batch, files)| encode(BATCH, *batch, files)));
        self.log = RecordLog::replace(&self.path, records.iter().map(Vec::as_slice))?;
        self.compacted_bytes = self.log.bytes();
        Ok(())
    }

    fn apply(&mut self, kind: u8, batch: i64, files: Vec<FileEntry>) {
        self.latest = self.latest.max(batch);
        for file in &files {
            self.newest_ms = self.newest_ms.max(file.mtime_ms());
            let key = self.key(file).into_owned();
            let mut seen = file.clone();
            if key == *seen.path.as_os_str() {
                seen.path = PathBuf::new();
            }
            self.seen.insert(key, seen);
        }
        // Written when old ones were dropped, perhaps.
        self.has_forgotten |= kind == SEEN;
        if kind == BATCH {
            self.batches.insert(batch, files);
        }
    }

    /// Files from before this time are not remembered and not taken: `maxFileAge` before the newest file seen.
    fn oldest_ms(&self) -> i64 {
        self.max_age_ms.map_or(i64::MIN, |age| self.newest_ms.saturating_sub(age))
    }

    fn key<'f>(&self, file: &'f FileEntry) -> Cow<'f, OsStr> {
        match file.path.file_name() {
            Some(name) if self.by_name_only => name.into(),
            // However the path is written, and wherever a directory with a relative path was moved to.
            _ if file.path.is_relative() && file.tag.is_none() && !is_remote(&file.path.to_string_lossy()) => {
                match std::path::absolute(&file.path) {
                    Ok(path) => path.into_os_string().into(),
                    Err(_) => file.path.as_os_str().into(),
                }
            }
            _ => file.path.as_os_str().into(),
        }
    }
}

/// The entry of a key, with its path.
fn with_path((key, entry): (&OsString, &FileEntry)) -> FileEntry {
    match entry.path.as_os_str().is_empty() {
        true => FileEntry { path: PathBuf::from(key), ..entry.clone() },
        false => entry.clone(),
    }
}

fn encode(kind: u8, batch: i64, files: &[FileEntry]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&batch.to_le_bytes());
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    files.iter().for_each(|f| f.encode(&mut out));
    out
}

fn decode(mut record: &[u8]) -> Option<(u8, i64, Vec<FileEntry>)> {
    let [kind] = take(&mut record)?;
    let batch = i64::from_le_bytes(take(&mut record)?);
    let count = u32::from_le_bytes(take(&mut record)?);
    let files = (0..count).map(|_| FileEntry::decode(&mut record)).collect::<Option<_>>()?;
    (record.is_empty() && kind <= SEEN).then_some((kind, batch, files))
}

fn damaged(path: &Path) -> Error {
    Error::checkpoint(
        "CHECKPOINT_CORRUPT",
        format!("the file source's log '{}' has a record of unknown form", path.display()),
    )
    .with_help("restore the checkpoint from a backup, or start the query with a new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, ms: i64) -> FileEntry {
        FileEntry { path: PathBuf::from("/data").join(name), size: 1, mtime_ns: ms * 1_000_000, inode: 7, tag: None }
    }

    #[test]
    fn batches_survive_restarts_and_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = SeenFiles::open(dir.path(), false, Some(1000)).unwrap();
        assert_eq!(seen.add_batch(vec![file("a", 10), file("b", 20)]).unwrap(), 0);
        assert_eq!(seen.add_batch(vec![file("c", 900)]).unwrap(), 1);
        let mut seen = SeenFiles::open(dir.path(), false, Some(1000)).unwrap();
        assert_eq!(seen.files(0..=1), [file("a", 10), file("b", 20), file("c", 900)]);
        assert!(!seen.is_new(&file("a", 10)) && seen.is_new(&file("d", 5)));

        assert_eq!(seen.commit(0).unwrap().len(), 2);
        seen.add_batch(vec![file("e", 1015)]).unwrap();
        seen.compact(0).unwrap();
        let seen = SeenFiles::open(dir.path(), false, Some(1000)).unwrap();
        assert_eq!((seen.latest(), seen.files(0..=2)), (2, vec![file("c", 900), file("e", 1015)]));
        assert!(!seen.has(0..=1) && seen.has(1..=2));
        assert!(!seen.is_new(&file("b", 20)), "seen");
        assert!(!seen.is_new(&file("a", 10)), "forgotten, and too old to be new");
        assert!(!seen.is_new(&file("new", 14)) && seen.is_new(&file("new", 15)));
    }

    #[test]
    fn by_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = SeenFiles::open(dir.path(), true, None).unwrap();
        seen.add_batch(vec![file("x/a", 10)]).unwrap();
        assert!(!seen.is_new(&file("y/a", 99)) && seen.is_new(&file("y/b", 1)));
    }
}
