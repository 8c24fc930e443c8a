//! The manifest of a file sink: which batches are in the directory, and in which files.
//!
//! One line for each batch, after a line that says who writes: the CRC-32C of the rest of the line as eight hex digits, a
//! blank, JSON.
//!
//! ```text
//! 1c0a5f3e {"version":1,"queryId":"7f0c…"}
//! 9be83a11 {"batchId":0,"recordHash":291,"files":[{"name":"part-00000-5a….json","size":73}]}
//! ```
//!
//! Only appended to, so a crash can only tear the last line: that one is cut. A damaged line before the last is
//! corruption and an error. Owns everything below `_tidemill_metadata`; does not own how rows become bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::sink::{BATCH_INSERTS, BatchIdentity};

const VERSION: u32 = 1;
/// Lines of batches without files are dropped at `open` when there are more of them than this.
const MAX_EMPTY_LINES: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    version: u32,
    query_id: Uuid,
}

/// A committed batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its id.
    pub batch_id: u64,
    /// Checksum of its record in the checkpoint.
    pub record_hash: u32,
    /// Where its rows are.
    pub files: Vec<FileEntry>,
}

/// A file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the directory, behind the partition folders that it is in.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The manifest of a directory, open for writing. Holds the lock of the directory.
#[derive(Debug)]
pub struct Manifest {
    dir: PathBuf,
    file: File,
    last: Option<Entry>,
    failpoints: Failpoints,
    _lock: File,
}

/// Where a file is until its batch is committed.
pub fn staged_path(dir: &Path, name: &str) -> PathBuf {
    staged_dir(dir).join(format!("{}.staged", file_name(name)))
}

/// The name of a file without the partition folders before it: no two files of a directory share it.
pub fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn metadata_dir(dir: &Path) -> PathBuf {
    dir.join("_tidemill_metadata")
}

fn staged_dir(dir: &Path) -> PathBuf {
    metadata_dir(dir).join("staged")
}

fn manifest_path(dir: &Path) -> PathBuf {
    metadata_dir(dir).join("manifest")
}

impl Manifest {
    /// Locks the directory for `query_id`, recovers the manifest or starts one, and completes or removes what a crash left.
    ///
    /// # Errors
    /// `SINK_IN_USE` if the directory belongs to another query or is being written; `SINK_CORRUPT`; I/O.
    pub fn open(dir: &Path, query_id: Uuid, failpoints: Failpoints) -> Result<Self> {
        refuse_spark(dir)?;
        disk::create_dirs(&staged_dir(dir))?;
        let lock = lock(dir)?;
        let path = manifest_path(dir);
        if !path.exists() {
            replace(dir, &Header { version: VERSION, query_id }, &[])?;
        }
        let content = read(&path)?;
        check_owner(dir, &content.header, query_id)?;
        compact(dir, &content, &failpoints)?;
        let manifest = Self {
            dir: dir.to_owned(),
            file: reopen(&path, &content)?,
            last: content.entries.last().cloned(),
            failpoints,
            _lock: lock,
        };
        manifest.publish_last()?;
        manifest.remove_leftovers()?;
        Ok(manifest)
    }

    /// The last batch that is committed.
    pub fn last_identity(&self) -> Option<BatchIdentity> {
        self.last.as_ref().map(|e| BatchIdentity { batch_id: e.batch_id, record_hash: e.record_hash })
    }

    /// Commits a batch whose staged files are durable, and makes it visible. A batch it has is dropped.
    pub fn commit(&mut self, entry: Entry) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| last.batch_id >= entry.batch_id) {
            return self.remove_leftovers();
        }
        self.append(entry)?;
        self.failpoints.hit("filesink.manifest_synced")?;
        self.publish_last()?;
        self.failpoints.hit("filesink.renamed")
    }

    /// From here on the batch is committed.
    fn append(&mut self, entry: Entry) -> Result<()> {
        let path = manifest_path(&self.dir);
        let written = self.file.write_all(line(&entry)?.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| disk::failed("writing manifest", &path, &e))?;
        self.last = Some(entry);
        Ok(())
    }

    /// Gives the files of the last batch the names readers look for. They all have them already unless a crash came
    /// between the two steps of a commit.
    fn publish_last(&self) -> Result<()> {
        let files = self.last.iter().flat_map(|e| &e.files);
        for file in files {
            let staged = staged_path(&self.dir, &file.name);
            if staged.exists() {
                let visible = self.dir.join(&file.name);
                if let Some(folder) = visible.parent() {
                    disk::create_dirs(folder)?;
                }
                disk::rename(&staged, &visible)?;
                disk::sync_parent(&visible)?;
            }
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<()> {
        let staged = staged_dir(&self.dir);
        let entries = fs::read_dir(&staged).map_err(|e| disk::failed("listing directory", &staged, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| disk::failed("listing directory", &staged, &e))?.path();
            disk::remove(&path)?;
        }
        Ok(())
    }
}

/// The files of committed batches in `dir`, in the order of the batches; `None` if there is no manifest, so that every
/// file counts. A batch is listed when all its files have their names.
///
/// # Errors
/// `SINK_CORRUPT` for a damaged manifest; I/O.
pub fn committed_files(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let path = manifest_path(dir);
    if !path.exists() {
        return Ok(None);
    }
    let entries = read(&path)?.entries;
    let is_visible = |e: &&Entry| !e.files.iter().any(|f| staged_path(dir, &f.name).exists());
    let files = entries.iter().filter(is_visible).flat_map(|e| &e.files);
    Ok(Some(files.map(|f| dir.join(&f.name)).collect()))
}

/// The query whose output is in `dir`, if there is a manifest.
///
/// # Errors
/// `SINK_CORRUPT` for a damaged manifest; I/O.
pub fn owner(dir: &Path) -> Result<Option<Uuid>> {
    let path = manifest_path(dir);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(read(&path)?.header.query_id))
}

/// What a manifest says, and how much of the file says it.
struct Content {
    header: Header,
    entries: Vec<Entry>,
    /// Bytes of whole lines; what follows is a tear.
    valid_bytes: usize,
    is_torn: bool,
}

fn read(path: &Path) -> Result<Content> {
    let bytes = fs::read(path).map_err(|e| disk::failed("reading manifest", path, &e))?;
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').enumerate();
    let (_, first) = lines.next().ok_or_else(|| corrupt(path, 1))?;
    let header: Header = parse(first).ok_or_else(|| corrupt(path, 1))?;
    let mut content = Content { header, entries: vec![], valid_bytes: first.len(), is_torn: false };
    for (i, text) in lines {
        if content.is_torn {
            return Err(corrupt(path, i));
        }
        match parse::<Entry>(text).filter(is_sound) {
            Some(entry) => {
                content.entries.push(entry);
                content.valid_bytes += text.len();
            }
            None => content.is_torn = true,
        }
    }
    Ok(content)
}

/// A manifest never leads outside its directory.
fn is_sound(entry: &Entry) -> bool {
    let is_sound = |part: &str| !part.is_empty() && !part.contains(['\\', '\0']) && part != ".." && part != ".";
    entry.files.iter().all(|f| f.name.split('/').all(is_sound))
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (crc, json) = text.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    let is_whole = u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

fn line(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(value).map_err(|e| Error::internal(format!("manifest line: {e}")))?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())))
}

/// Opens for appending, the tear cut off.
fn reopen(path: &Path, content: &Content) -> Result<File> {
    let open = || {
        let file = OpenOptions::new().append(true).open(path)?;
        if content.is_torn {
            file.set_len(content.valid_bytes as u64)?;
        }
        // The whole lines may still be in the page cache only, from a process that died before its sync.
        file.sync_all()?;
        Ok(file)
    };
    open().map_err(|e: io::Error| disk::failed("opening manifest", path, &e))
}

/// Writes the manifest anew and puts it in place of the old one, if there is one.
fn replace(dir: &Path, header: &Header, entries: &[&Entry]) -> Result<()> {
    let path = manifest_path(dir);
    let new = path.with_extension("new");
    let mut text = line(header)?;
    for entry in entries {
        text.push_str(&line(entry)?);
    }
    let written = File::create(&new).and_then(|mut f| {
        f.write_all(text.as_bytes())?;
        f.sync_all()
    });
    written.map_err(|e| disk::failed("writing manifest", &new, &e))?;
    disk::rename(&new, &path)?;
    disk::sync_parent(&path)
}

/// Drops the lines of batches that wrote nothing, but the last: an idle query must not grow the manifest for ever.
fn compact(dir: &Path, content: &Content, failpoints: &Failpoints) -> Result<()> {
    let useful: Vec<&Entry> = content
        .entries
        .iter()
        .enumerate()
        .filter(|(i, e)| i + 1 == content.entries.len() || !e.files.is_empty())
        .map(|(_, e)| e)
        .collect();
    if content.entries.len() - useful.len() <= MAX_EMPTY_LINES {
        return Ok(());
    }
    replace(dir, &content.header, &useful)?;
    failpoints.hit("filesink.compacted")
}

fn lock(dir: &Path) -> Result<File> {
    let path = metadata_dir(dir).join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| disk::failed("opening lock", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(in_use(dir, "is being written by another query")),
        Err(fs::TryLockError::Error(e)) => Err(disk::failed("locking", &path, &e)),
    }
}

fn check_owner(dir: &Path, header: &Header, query_id: Uuid) -> Result<()> {
    if header.version != VERSION {
        let what = format!("has a manifest of version {}, this program writes version {VERSION}", header.version);
        return Err(in_use(dir, &what));
    }
    if header.query_id != query_id {
        let whose = match header.query_id {
            BATCH_INSERTS => "rows of INSERT INTO from batch queries".to_owned(),
            other => format!("the output of another query, {other}"),
        };
        return Err(in_use(dir, &format!("holds {whose}")));
    }
    Ok(())
}

fn refuse_spark(dir: &Path) -> Result<()> {
    if dir.join("_spark_metadata").exists() {
        return Err(in_use(dir, "holds the output of a Spark query"));
    }
    Ok(())
}

fn in_use(dir: &Path, what: &str) -> Error {
    Error::invalid("SINK_IN_USE", format!("output directory '{}' {what}", dir.display()))
        .with_help("give each query a directory of its own, or start from the checkpoint of the query that wrote it")
}

fn corrupt(path: &Path, line: usize) -> Error {
    let message = format!("manifest '{}' is damaged at line {line}", path.display());
    Error::io("SINK_CORRUPT", message).with_help("restore the directory from a backup, or write to a new one")
}

/// Names in `dir` that are neither committed nor ours; for tests.
#[cfg(test)]
pub fn visible_names(dir: &Path) -> std::collections::HashSet<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| !n.starts_with('_')).collect()
}
