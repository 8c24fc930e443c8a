//! The log of a sink in a local directory: a file to which lines are appended.
//!
//! Only appended to, so a crash can only tear the last line: that one is cut. A damaged line before the last is
//! corruption and an error. When most lines say nothing any more, the file is written anew beside the old one and takes its
//! place. Owns everything below `_tidemill_metadata`; does not own how rows become bytes.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::disk;
use super::folders::Written;
use super::lines::{self, Committed, FileEntry, Header, Line, State, VERSION, file_name};
use super::log::{Kind, Log};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::sink::BATCH_INSERTS;

/// The folder of the manifest, in the directory of the sink.
pub const METADATA_DIR: &str = "_tidemill_metadata";

/// The manifest of a directory, open for writing. Holds the lock of the directory.
#[derive(Debug)]
pub struct Manifest {
    dir: PathBuf,
    file: File,
    header: Header,
    /// Without the files, of which there may be very many.
    state: State,
    failpoints: Failpoints,
    _lock: File,
}

/// Where a file is until its batch is committed.
pub fn staged_path(dir: &Path, name: &str) -> PathBuf {
    staged_dir(dir).join(format!("{}.staged", file_name(name)))
}

fn metadata_dir(dir: &Path) -> PathBuf {
    dir.join(METADATA_DIR)
}

fn staged_dir(dir: &Path) -> PathBuf {
    metadata_dir(dir).join("staged")
}

fn pending_dir(dir: &Path) -> PathBuf {
    metadata_dir(dir).join("pending")
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
        disk::create_dirs(&pending_dir(dir))?;
        let lock = lock(dir)?;
        let path = manifest_path(dir);
        if !path.exists() {
            replace(dir, &Header { version: VERSION, query_id }, &[])?;
        }
        let content = read(&path)?;
        check_owner(&dir.display().to_string(), &content.header, query_id)?;
        let file = reopen(&path, &content)?;
        let header = content.header;
        let state = State::of(content.lines);
        let mut manifest = Self { dir: dir.to_owned(), file, header, state, failpoints, _lock: lock };
        manifest.publish(&manifest.state.newest)?;
        manifest.remove_committed()?;
        manifest.remove_leftovers()?;
        if manifest.header.version != VERSION || manifest.state.wants_compaction() {
            manifest.compact()?;
        }
        manifest.state.files = vec![];
        Ok(manifest)
    }

    /// From here on the step is done.
    fn write(&mut self, line: &Line) -> Result<()> {
        let path = manifest_path(&self.dir);
        let written = self.file.write_all(lines::text(line)?.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| disk::failed("writing manifest", &path, &e))
    }

    /// Gives files the names readers look for. They all have them already unless a crash came before.
    fn publish(&self, files: &[FileEntry]) -> Result<()> {
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

    /// Deletes the files that lines remove, and folders that are empty without them.
    fn remove_committed(&mut self) -> Result<()> {
        for name in &self.state.removed {
            let path = self.dir.join(name);
            disk::remove(&path)?;
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.dir);
            for folder in folders {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes what no line names.
    fn remove_leftovers(&self) -> Result<()> {
        let pending: HashSet<&str> = self.state.pending.iter().map(|p| p.file.name.as_str()).collect();
        for folder in [staged_dir(&self.dir), pending_dir(&self.dir)] {
            let entries = fs::read_dir(&folder).map_err(|e| disk::failed("listing directory", &folder, &e))?;
            for entry in entries {
                let entry = entry.map_err(|e| disk::failed("listing directory", &folder, &e))?;
                if !entry.file_name().to_str().is_some_and(|name| pending.contains(name)) {
                    disk::remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Writes the manifest anew, with the fewest lines: neither an idle query nor one of many small batches makes it grow for ever.
    fn compact(&mut self) -> Result<()> {
        let path = manifest_path(&self.dir);
        let state = State::of(read(&path)?.lines);
        self.header.version = VERSION;
        replace(&self.dir, &self.header, &state.compacted())?;
        self.failpoints.hit("filesink.compacted")?;
        let content = read(&path)?;
        self.file = reopen(&path, &content)?;
        self.state = State { files: vec![], newest: vec![], ..State::of(content.lines) };
        Ok(())
    }
}

impl Log for Manifest {
    fn state(&self) -> &State {
        &self.state
    }

    fn workplace(&self, kind: Kind) -> PathBuf {
        match kind {
            Kind::Visible => staged_dir(&self.dir),
            Kind::Pending => pending_dir(&self.dir),
        }
    }

    fn stage(&mut self, written: Vec<Written>, _kind: Kind) -> Result<Vec<FileEntry>> {
        let mut entries = vec![];
        for file in written {
            let (name, path) = (file.name.clone(), file.path.clone());
            let size = file.sync()?;
            disk::sync_parent(&path)?;
            entries.push(FileEntry { name, size, tag: None });
        }
        Ok(entries)
    }

    fn forget(&mut self) -> Result<()> {
        self.remove_leftovers()
    }

    fn append(&mut self, line: Line) -> Result<()> {
        self.write(&line)?;
        self.failpoints.hit("filesink.manifest_synced")?;
        self.publish(&line.files)?;
        if !line.files.is_empty() {
            self.failpoints.hit("filesink.renamed")?;
        }
        for name in &line.rolled {
            disk::remove(&pending_dir(&self.dir).join(name))?;
        }
        self.state.apply(line);
        self.state.files = vec![];
        self.remove_committed()?;
        self.state.removed = vec![];
        if self.state.wants_compaction() {
            self.compact()?;
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<Committed>> {
        let mut files = State::of(read(&manifest_path(&self.dir))?.lines).files;
        for old in files.iter_mut().filter(|f| f.at.is_none()) {
            // Lines of version 1 say no time; the file does.
            let path = self.dir.join(&old.file.name);
            let written = fs::metadata(&path).and_then(|m| m.modified()).ok();
            let since = written.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            old.at = since.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        }
        Ok(files)
    }

    fn pending(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let path = pending_dir(&self.dir).join(name);
        let file = File::open(&path).map_err(|e| disk::failed("opening", &path, &e))?;
        Ok(Box::new(file))
    }
}

/// The files of committed batches in `dir`, in the order of the batches; `None` if there is no manifest, so that every
/// file counts. The files of a step are listed when all of them have their names.
///
/// # Errors
/// `SINK_CORRUPT` for a damaged manifest; I/O.
pub fn committed_files(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let path = manifest_path(dir);
    if !path.exists() {
        return Ok(None);
    }
    let State { mut files, newest, .. } = State::of(read(&path)?.lines);
    if newest.iter().any(|f| staged_path(dir, &f.name).exists()) {
        let hidden: HashSet<_> = newest.iter().map(|f| &f.name).collect();
        files.retain(|f| !hidden.contains(&f.file.name));
    }
    Ok(Some(files.into_iter().map(|f| dir.join(f.file.name)).collect()))
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
    lines: Vec<Line>,
    /// Bytes of whole lines; what follows is a tear.
    valid_bytes: usize,
    is_torn: bool,
}

fn read(path: &Path) -> Result<Content> {
    let bytes = fs::read(path).map_err(|e| disk::failed("reading manifest", path, &e))?;
    let shown = path.display().to_string();
    let mut texts = bytes.split_inclusive(|b| *b == b'\n').enumerate();
    let (_, first) = texts.next().ok_or_else(|| corrupt(&shown, 1))?;
    let header: Header = lines::parse(first).ok_or_else(|| corrupt(&shown, 1))?;
    let mut content = Content { header, lines: vec![], valid_bytes: first.len(), is_torn: false };
    if content.header.version > VERSION {
        return Err(in_use(&path.display().to_string(), &version_text(&content.header)));
    }
    for (i, text) in texts {
        if content.is_torn {
            return Err(corrupt(&shown, i));
        }
        match lines::parse::<Line>(text).filter(Line::is_sound) {
            Some(line) => {
                content.lines.push(line);
                content.valid_bytes += text.len();
            }
            None => content.is_torn = true,
        }
    }
    Ok(content)
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
fn replace(dir: &Path, header: &Header, all: &[Line]) -> Result<()> {
    let path = manifest_path(dir);
    let new = path.with_extension("new");
    let mut text = lines::text(header)?;
    for line in all {
        text.push_str(&lines::text(line)?);
    }
    let written = File::create(&new).and_then(|mut f| {
        f.write_all(text.as_bytes())?;
        f.sync_all()
    });
    written.map_err(|e| disk::failed("writing manifest", &new, &e))?;
    disk::rename(&new, &path)?;
    disk::sync_parent(&path)
}

fn lock(dir: &Path) -> Result<File> {
    let path = metadata_dir(dir).join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| disk::failed("opening lock", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(in_use(&dir.display().to_string(), "is being written by another query"))
        }
        Err(fs::TryLockError::Error(e)) => Err(disk::failed("locking", &path, &e)),
    }
}

/// Refuses a log of another query, or of a later version.
pub fn check_owner(dir: &str, header: &Header, query_id: Uuid) -> Result<()> {
    if header.version > VERSION {
        return Err(in_use(dir, &version_text(header)));
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

fn version_text(header: &Header) -> String {
    format!("has a manifest of version {}, this program writes version {VERSION}", header.version)
}

fn refuse_spark(dir: &Path) -> Result<()> {
    if dir.join("_spark_metadata").exists() {
        return Err(in_use(&dir.display().to_string(), "holds the output of a Spark query"));
    }
    Ok(())
}

/// The error of an output that another has.
pub fn in_use(dir: &str, what: &str) -> Error {
    Error::invalid("SINK_IN_USE", format!("output directory '{dir}' {what}"))
        .with_help("give each query a directory of its own, or start from the checkpoint of the query that wrote it")
}

/// The error of a log that cannot be read.
pub fn corrupt(path: &str, line: usize) -> Error {
    let message = format!("manifest '{path}' is damaged at line {line}");
    Error::io("SINK_CORRUPT", message).with_help("restore the directory from a backup, or write to a new one")
}

/// Names in `dir` that are neither committed nor ours; for tests.
#[cfg(test)]
pub fn visible_names(dir: &Path) -> HashSet<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| !n.starts_with('_')).collect()
}
