//! The log of a sink in a store: an object for each step, put only if there is none of its number.
//!
//! ```text
//! out/part-00042-<uuid>.json                                    rows, under their final name from the start
//! out/_tidemill_metadata/log/00000000000000000042.json          step 42
//! out/_tidemill_metadata/snapshot/00000000000000000040.json     what steps 0 to 40 say together
//! out/_tidemill_metadata/staged/<writer>.json                   what the running batch puts, to be removed if it dies
//! out/_tidemill_metadata/pending/part-00042-<uuid>.arrow        rows that are in no file yet
//! ```
//!
//! A store cannot rename, so what is prepared is there before it is committed, and only the log says what counts: readers ask it.
//!
//! **Two writers.** Whoever opens the output puts a step of its own, which says that it goes on from here. A process that wrote
//! before finds that step in the place of its next one, and fails; a request of it that is still on its way fails likewise. Steps
//! that a snapshot holds are removed, so a process that slept for very long could find its place free: after
//! each step it looks whether somebody else's snapshot is beyond it, and fails if so.
//!
//! **Lost answers.** When a put fails, what is there is read: the same bytes are ours, because each writer signs its steps.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use tempfile::TempDir;
use uuid::Uuid;

use super::folders::Written;
use super::lines::{self, Committed, FileEntry, Header, Line, State, VERSION};
use super::log::{Kind, Log};
use super::manifest::{METADATA_DIR, check_owner, corrupt, in_use};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::store::{Object, Store, UploadId};

/// Steps after a snapshot before there is another: more where a snapshot is large.
const STEPS: (u64, u64) = (64, 1000);
const FENCED: &str = "SINK_FENCED";
/// How often reading begins again because what it was about to read has gone.
const MAX_TRIES: usize = 10;

/// The log of an output, open for writing.
#[derive(Debug)]
pub struct StoreLog {
    place: Place,
    writer: Uuid,
    /// The last step.
    version: u64,
    snapshot: Option<u64>,
    num_files: u64,
    /// Without the files.
    state: State,
    staged: Vec<UploadId>,
    /// Where files are written before they are put.
    workplace: TempDir,
    failpoints: Failpoints,
}

/// A directory of a store.
#[derive(Debug, Clone)]
pub struct Place {
    pub store: Store,
    pub dir: String,
}

/// What a log says, and up to which step.
struct Content {
    header: Header,
    state: State,
    version: u64,
    snapshot: Option<u64>,
}

impl Place {
    /// The key of a name in the directory.
    pub fn key(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.dir) }
    }

    fn metadata(&self, name: &str) -> String {
        self.key(&format!("{METADATA_DIR}/{name}"))
    }

    fn step(&self, version: u64) -> String {
        self.metadata(&format!("log/{version:020}.json"))
    }

    fn snapshot(&self, version: u64) -> String {
        self.metadata(&format!("snapshot/{version:020}.json"))
    }

    /// The whole path, for messages.
    pub fn shown(&self) -> String {
        self.store.path(&self.dir).display().to_string()
    }

    /// The numbers of the steps or snapshots that are there, rising.
    fn versions(&self, folder: &str) -> Result<Vec<u64>> {
        let listed = self.store.list(&self.metadata(folder))?;
        let number = |o: Object| o.key.rsplit('/').next()?.strip_suffix(".json")?.parse().ok();
        Ok(listed.into_iter().filter_map(number).collect())
    }

    /// What the log says; `None` if there is none.
    fn read(&self) -> Result<Option<Content>> {
        for _ in 0..MAX_TRIES {
            // In this order: what is gone from the first is in the second.
            let steps = self.versions("log")?;
            if steps.is_empty() {
                return Ok(None);
            }
            let snapshot = self.versions("snapshot")?.last().copied();
            if let Some(content) = self.read_from(snapshot, &steps)? {
                return Ok(Some(content));
            }
        }
        Err(corrupt(&self.metadata("log"), 1))
    }

    /// `None` if something has gone meanwhile.
    fn read_from(&self, snapshot: Option<u64>, steps: &[u64]) -> Result<Option<Content>> {
        let first = snapshot.map_or(0, |s| s + 1);
        let wanted: Vec<u64> = steps.iter().copied().filter(|s| *s >= first).collect();
        if !wanted.iter().copied().eq((first..).take(wanted.len())) || (snapshot.is_none() && wanted.is_empty()) {
            return Ok(None);
        }
        let keys = snapshot.map(|s| self.snapshot(s)).into_iter().chain(wanted.iter().map(|s| self.step(*s)));
        let keys: Vec<_> = keys.collect();
        let (mut header, mut state) = (None, State::default());
        for (key, bytes) in keys.iter().zip(self.store.gets_fixed(&self.dir, keys.clone())?) {
            let Some(bytes) = bytes else { return Ok(None) };
            let path = || self.store.path(key).display().to_string();
            for (i, text) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
                if header.is_none() {
                    header = Some(lines::parse::<Header>(text).ok_or_else(|| corrupt(&path(), 1))?);
                    continue;
                }
                let line = lines::parse::<Line>(text).filter(Line::is_sound);
                state.apply(line.ok_or_else(|| corrupt(&path(), i + 1))?);
            }
        }
        let header = header.ok_or_else(|| corrupt(&self.metadata("log"), 1))?;
        let version = wanted.last().copied().or(snapshot).unwrap_or_default();
        Ok(Some(Content { header, state, version, snapshot }))
    }
}

impl StoreLog {
    /// Takes the output over for `query_id`, and removes what a writer that died has left.
    ///
    /// # Errors
    /// `SINK_IN_USE` if it belongs to another query; `SINK_CORRUPT`; a store that does not answer or has no conditional puts.
    pub fn open(place: Place, query_id: Uuid, failpoints: Failpoints) -> Result<Self> {
        if !place.store.list(&place.key("_spark_metadata"))?.is_empty() {
            return Err(in_use(&place.shown(), "holds the output of a Spark query"));
        }
        let writer = Uuid::new_v4();
        let claim = lines::text(&Line { writer: Some(writer), ..Line::default() })?;
        for _ in 0..MAX_TRIES {
            let content = place.read()?;
            let (next, text) = match &content {
                Some(content) => {
                    check_owner(&place.shown(), &content.header, query_id)?;
                    (content.version + 1, claim.clone())
                }
                None => (0, format!("{}{claim}", lines::text(&Header { version: VERSION, query_id })?)),
            };
            // The writer before us may have committed since.
            if place.store.create(&place.step(next), text)?.is_some() {
                continue;
            }
            let (mut state, snapshot) = content.map_or_else(Default::default, |c| (c.state, c.snapshot));
            let workplace = tempfile::tempdir().map_err(|e| {
                Error::io("SINK_WRITE", format!("no folder for files that are to be put: {e}")).with_io_source(&e)
            })?;
            let known: HashSet<String> =
                state.files.iter().chain(&state.pending).map(|c| c.file.name.clone()).collect();
            let (num_files, removed) = (state.files.len() as u64, std::mem::take(&mut state.removed));
            state.files = vec![];
            let staged = vec![];
            let log = Self { place, writer, version: next, snapshot, num_files, state, staged, workplace, failpoints };
            log.check_not_overtaken()?;
            log.remove_leftovers(&known)?;
            log.delete(&removed)?;
            return Ok(log);
        }
        Err(in_use(&place.shown(), "is being written by another query"))
    }

    /// Removes what other writers have put and not committed: none of them can any more.
    fn remove_leftovers(&self, known: &HashSet<String>) -> Result<()> {
        let records: Vec<_> =
            self.place.store.list(&self.place.metadata("staged"))?.into_iter().map(|o| o.key).collect();
        for bytes in self.place.store.gets(records.clone())?.into_iter().flatten() {
            let ids: Vec<UploadId> = serde_json::from_slice(&bytes).unwrap_or_default();
            let left = ids.into_iter().filter(|id| !self.name_of(&id.key).is_some_and(|name| known.contains(name)));
            self.place.store.abandon(&left.collect::<Vec<_>>())?;
        }
        self.place.store.delete(records)?;
        // Rows that became files, of a writer that died before it removed them.
        let waiting = self.place.store.list(&self.place.metadata("pending"))?.into_iter().map(|o| o.key);
        let gone = waiting.filter(|key| !self.name_of(key).is_some_and(|name| known.contains(name)));
        self.place.store.delete(gone.collect())
    }

    /// The name of an object in the log: that of rows which wait has no folders.
    fn name_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let pending = self.place.metadata("pending/");
        key.strip_prefix(&pending).or_else(|| match self.place.dir.is_empty() {
            true => Some(key),
            false => key.strip_prefix(&self.place.dir)?.strip_prefix('/'),
        })
    }

    fn object_key(&self, name: &str, kind: Kind) -> String {
        match kind {
            Kind::Visible => self.place.key(name),
            Kind::Pending => self.place.metadata(&format!("pending/{name}")),
        }
    }

    fn delete(&self, names: &[String]) -> Result<()> {
        self.place.store.delete(names.iter().map(|name| self.place.key(name)).collect())
    }

    fn record_key(&self) -> String {
        self.place.metadata(&format!("staged/{}.json", self.writer))
    }

    /// Fails if another writer's snapshot holds our last step, or one in its place.
    fn check_not_overtaken(&self) -> Result<()> {
        let last = self.place.versions("snapshot")?.last().copied();
        match last.is_some_and(|last| last >= self.version && Some(last) != self.snapshot) {
            true => Err(self.overtaken()),
            false => Ok(()),
        }
    }

    fn overtaken(&self) -> Error {
        Error::io(
            FENCED,
            format!("another process has taken over the output '{}', which this one wrote to", self.place.shown()),
        )
        .with_help("let one process run the query: this one has committed nothing since then, and goes on from its checkpoint if the other has committed nothing either")
    }

    /// Puts all that the steps say into one object, and removes them. What fails here is done another time.
    fn compact(&mut self) -> Result<()> {
        let Some(content) = self.place.read()? else { return Ok(()) };
        if content.version != self.version {
            return Err(self.overtaken());
        }
        let mut text = lines::text(&content.header)?;
        for line in content.state.compacted() {
            text.push_str(&lines::text(&line)?);
        }
        self.place.store.put(&self.place.snapshot(self.version), text)?;
        self.snapshot = Some(self.version);
        self.num_files = content.state.files.len() as u64;
        self.failpoints.hit("storesink.compacted")?;
        // The last step stays: that there is one says that there is a log.
        let steps = self.place.versions("log")?.into_iter().filter(|s| *s < self.version);
        let mut gone: Vec<_> = steps.map(|s| self.place.step(s)).collect();
        let snapshots = self.place.versions("snapshot")?.into_iter().filter(|s| *s < self.version);
        gone.extend(snapshots.map(|s| self.place.snapshot(s)));
        self.place.store.delete(gone)
    }
}

impl Log for StoreLog {
    fn state(&self) -> &State {
        &self.state
    }

    fn workplace(&self, _kind: Kind) -> PathBuf {
        self.workplace.path().to_owned()
    }

    fn stage(&mut self, written: Vec<Written>, kind: Kind) -> Result<Vec<FileEntry>> {
        let (mut uploads, mut entries, mut paths) = (vec![], vec![], vec![]);
        for file in written {
            let (name, path) = (file.name.clone(), file.path.clone());
            let size = file.sync()?;
            let opened = File::open(&path).map_err(|e| super::disk::failed("opening", &path, &e))?;
            uploads.push(self.place.store.begin_upload(&self.object_key(&name, kind), opened, size)?);
            entries.push(FileEntry { name, size, tag: None });
            paths.push(path);
        }
        if entries.is_empty() {
            return Ok(entries);
        }
        self.staged.extend(uploads.iter().map(|upload| upload.id.clone()));
        let record = serde_json::to_vec(&self.staged).map_err(|e| Error::internal(format!("a record of puts: {e}")))?;
        self.place.store.put(&self.record_key(), record)?;
        self.failpoints.hit("storesink.intended")?;
        for (entry, tag) in entries.iter_mut().zip(self.place.store.finish_uploads(uploads)?) {
            entry.tag = tag;
        }
        self.failpoints.hit("storesink.put")?;
        paths.iter().try_for_each(|path| super::disk::remove(path))?;
        Ok(entries)
    }

    fn forget(&mut self) -> Result<()> {
        for entry in std::fs::read_dir(self.workplace.path()).into_iter().flatten().flatten() {
            super::disk::remove(&entry.path())?;
        }
        let staged = std::mem::take(&mut self.staged);
        self.place.store.abandon(&staged)
    }

    fn append(&mut self, line: Line) -> Result<()> {
        let line = Line { writer: Some(self.writer), ..line };
        let next = self.version + 1;
        if self.place.store.create(&self.place.step(next), lines::text(&line)?)?.is_some() {
            // It is certain that nobody sees what was put.
            let _ = self.forget();
            return Err(self.overtaken());
        }
        self.version = next;
        if let Err(e) = self.check_not_overtaken() {
            // Where nobody knows, the step stays: it counts, unless a snapshot is beyond it.
            if e.condition() == FENCED {
                let _ = self.place.store.delete(vec![self.place.step(next)]);
                let _ = self.forget();
            }
            return Err(e);
        }
        self.failpoints.hit("storesink.logged")?;
        self.staged.clear();
        self.num_files += line.files.len() as u64;
        self.state.apply(line.clone());
        self.state.files = vec![];
        self.state.removed = vec![];
        let rolled = line.rolled.iter().map(|name| self.object_key(name, Kind::Pending)).collect();
        self.place.store.delete(rolled)?;
        self.delete(&line.removed)?;
        let steps = (self.num_files / 200).clamp(STEPS.0, STEPS.1);
        if self.version - self.snapshot.unwrap_or(0) >= steps {
            match self.compact() {
                Err(e) if e.condition() == "STORE_IO" => {
                    tracing::warn!(
                        output = self.place.shown(),
                        "file sink: writing the log anew failed: {}",
                        e.message()
                    );
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<Committed>> {
        Ok(self.place.read()?.map(|content| content.state.files).unwrap_or_default())
    }

    fn pending(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let key = self.object_key(name, Kind::Pending);
        let bytes = self.place.store.get(&key)?;
        let bytes = bytes.ok_or_else(|| corrupt(&self.place.store.path(&key).display().to_string(), 1))?;
        Ok(Box::new(Cursor::new(bytes)))
    }
}

/// The objects of committed files below `dir`; `None` if no sink writes there, so that every object counts.
///
/// # Errors
/// `SINK_CORRUPT`; those of the store.
pub fn committed_objects(store: &Store, dir: &str) -> Result<Option<Vec<Object>>> {
    // Web servers take no sinks, and most list nothing.
    if store.is_web() {
        return Ok(None);
    }
    let place = Place { store: store.clone(), dir: dir.to_owned() };
    let Some(content) = place.read()? else { return Ok(None) };
    let object = |Committed { file, at }: Committed| Object {
        key: place.key(&file.name),
        size: file.size,
        modified_ns: at.unwrap_or_default().saturating_mul(1_000_000),
        tag: file.tag,
    };
    Ok(Some(content.state.files.into_iter().map(object).collect()))
}

/// The query whose output is in a directory of a store, if there is a log.
///
/// # Errors
/// As [`committed_objects`].
pub fn owner(place: &Place) -> Result<Option<Uuid>> {
    Ok(place.read()?.map(|content| content.header.query_id))
}
