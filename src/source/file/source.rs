//! One query's reader of a directory.
//!
//! `latest_offset` decides which files the next batch has and logs it before it answers; the offset is the number of that
//! log entry, as in Spark. A directory with a backlog is not listed again until the backlog is used up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use parking_lot::Mutex;

use super::entry::FileEntry;
use super::options::{FileStream, Limits, zone_of};
use super::read::{Decoding, FileReader, unreadable_by_name};
use super::scan::FilesScan;
use super::seen::SeenFiles;
use super::told::Told;
use crate::error::{Error, Result};
use crate::format::BadRecordCounter;
use crate::offset::Offset;
use crate::sink::file::FileFormatKind;
use crate::source::record_log::io_error;
use crate::source::{RangeScan, ReadLimit, Source, SourceContext, SourceMetrics};

const MIN_POLL: Duration = Duration::from_millis(100);
const MAX_POLL: Duration = Duration::from_secs(1);
/// Where the system tells of new files.
#[cfg(feature = "notify")]
const MAX_HINTED_POLL: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct FileSource {
    stream: FileStream,
    reader: Arc<FileReader>,
    bad_counter: BadRecordCounter,
    files: Arc<Mutex<Files>>,
    counts: Arc<Counts>,
    /// Makes the last batch durable while its files are read.
    syncing: Mutex<Option<SpawnedTask<Result<()>>>>,
    #[cfg(feature = "notify")]
    hints: Option<Arc<super::hints::Hints>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Whether the system tells of new files.
    #[cfg_attr(not(feature = "notify"), allow(dead_code, reason = "it comes with the feature"))]
    is_hinted: std::sync::atomic::AtomicBool,
    skipped: AtomicU64,
    waiting: AtomicU64,
    /// Listings in a row that found nothing.
    idle: AtomicU32,
}

/// What is known of the directory.
#[derive(Debug)]
struct Files {
    seen: SeenFiles,
    /// New files of the last listing that no batch has yet, in the order in which they will be taken.
    unread: VecDeque<FileEntry>,
    /// For `TRIGGER AVAILABLE NOW`: `unread` is all there will be.
    is_fixed: bool,
    told: Told,
}

impl FileSource {
    /// Opens the log in the source's directory.
    pub async fn open(stream: FileStream, ctx: SourceContext) -> Result<Self> {
        let bad_counter = BadRecordCounter::default();
        let options = stream.format_options.clone();
        let decoding = Decoding { options, tz: zone_of(&ctx.session), bad_records: bad_counter.clone() };
        let mut reader = FileReader::new(stream.schema.clone(), decoding)?;
        (reader.codec, reader.lenience) = (stream.codec, stream.lenience);
        reader.store = stream.location.store.clone();
        let (by_name, max_age_ms) = (stream.file_name_only, stream.max_age_ms);
        let clock = ctx.clock.clone();
        // A store tells nothing.
        #[cfg(feature = "notify")]
        let hints = stream.location.store.is_none().then(|| Arc::new(super::hints::Hints::new(ctx.wake.clone())));
        let seen = blocking(move || SeenFiles::open(&ctx.dir, by_name, max_age_ms)).await?;
        let told = Told::new(clock);
        let files = Arc::new(Mutex::new(Files { seen, unread: VecDeque::new(), is_fixed: false, told }));
        Ok(Self {
            stream,
            reader: Arc::new(reader),
            bad_counter,
            files,
            counts: Arc::default(),
            syncing: Mutex::default(),
            #[cfg(feature = "notify")]
            hints,
        })
    }

    /// Runs `f`, which may read directories and write the log, where it may block.
    async fn with_files<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Files, &FileStream, &Counts) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (files, stream, counts) = (self.files.clone(), self.stream.clone(), self.counts.clone());
        blocking(move || f(&mut files.lock(), &stream, &counts)).await
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    SpawnedTask::spawn_blocking(f).join().await.map_err(|e| Error::internal(format!("the file source: {e}")))?
}

impl FileSource {
    /// Whether the options of now do not leave out a file of a batch.
    fn are_still_read(&self, files: &[FileEntry]) -> bool {
        let (stream, lenience) = (&self.stream, self.reader.lenience);
        let is_unreadable = |f: &FileEntry| lenience.corrupt && unreadable_by_name(&f.path).is_some();
        if files.iter().any(|f| !stream.location.takes(&f.path) || is_unreadable(f)) {
            return false;
        }
        // Nothing is asked of a store whose answer would change nothing.
        if stream.location.store.is_some() && !lenience.missing && !lenience.changed {
            return true;
        }
        let is_left_out = |(now, then): (Option<FileEntry>, &FileEntry)| match now {
            None => lenience.missing,
            Some(now) => lenience.changed && !then.is_still(&now),
        };
        match stream.location.stat(files) {
            Ok(now) => !now.into_iter().zip(files).any(is_left_out),
            Err(_) => !lenience.corrupt,
        }
    }
}

impl Files {
    /// The number of the last batch to read after `start`, if there is one.
    fn latest(&mut self, start: i64, limit: ReadLimit, stream: &FileStream, counts: &Counts) -> Result<Option<i64>> {
        let logged = self.seen.latest();
        if logged < start {
            return Err(Error::checkpoint(
                "CHECKPOINT_CORRUPT",
                format!("the query has read file batch {start}, but the file source's log ends at {logged}"),
            )
            .with_help("restore the checkpoint from a backup, or start the query with a new one"));
        }
        // A batch of files is used, or the query has ended, before the next is made.
        if logged > start + 1 {
            return Err(Error::checkpoint(
                "CHECKPOINT_CORRUPT",
                format!(
                    "the file source gave out files up to batch {logged}, but the checkpoint's log ends at {start}: the \
                     end of the log is missing"
                ),
            )
            .with_help("restore the checkpoint from a backup, or start the query with a new one"));
        }
        // Logged by a process that ended before the query used it: it is a batch as it is.
        if logged > start {
            return Ok(Some(logged));
        }
        let files = self.take(limit, stream, counts)?;
        counts.waiting.store(self.unread.len() as u64, Ordering::Relaxed);
        if files.is_empty() {
            return Ok(None);
        }
        self.seen.add_batch(files).map(Some)
    }

    /// The files of the next `count` batches, if no listing comes between.
    fn upcoming(&self, count: usize, limits: &Limits) -> Vec<Vec<FileEntry>> {
        let (mut from, mut all) = (0, vec![]);
        while all.len() < count && from < self.unread.len() && !limits.latest_first {
            let end = from + limited(&self.unread, from, limits);
            all.push(self.unread.range(from..end).cloned().collect());
            from = end;
        }
        all
    }

    /// The files of the next batch.
    fn take(&mut self, limit: ReadLimit, stream: &FileStream, counts: &Counts) -> Result<Vec<FileEntry>> {
        let limits = &stream.limits;
        let use_cache =
            self.is_fixed || (limit == ReadLimit::Configured && !limits.latest_first && !self.unread.is_empty());
        if !use_cache {
            self.list(stream, counts)?;
        }
        let mut taken = match limit {
            ReadLimit::All => self.unread.drain(..).collect(),
            ReadLimit::Configured => take_limited(&mut self.unread, limits),
        };
        if !self.is_fixed {
            self.trim_cache(limits);
        }
        if use_cache {
            // Listed a while ago: what changed since then is taken as it is now.
            taken = refresh(taken, stream)?;
        }
        Ok(taken)
    }

    fn list(&mut self, stream: &FileStream, counts: &Counts) -> Result<()> {
        let mut listing = stream.location.list()?;
        if stream.lenience.corrupt {
            let all = listing.files.len();
            listing.files.retain(|f| unreadable_by_name(&f.path).is_none());
            listing.skipped += (all - listing.files.len()) as u64;
        }
        counts.skipped.store(listing.skipped, Ordering::Relaxed);
        self.told.look(&listing.files, &self.seen, stream);
        self.unread = listing.files.into_iter().filter(|f| self.seen.is_new(f)).collect();
        // Before a batch has it: an option can still leave it out.
        if let Some(e) = self.unread.iter().find_map(|f| unreadable_by_name(&f.path)) {
            return Err(e);
        }
        if stream.file_name_only {
            self.drop_same_names();
        }
        if stream.limits.latest_first {
            self.unread.make_contiguous().reverse();
        }
        match self.unread.is_empty() {
            true => counts.idle.fetch_add(1, Ordering::Relaxed),
            false => counts.idle.swap(0, Ordering::Relaxed),
        };
        Ok(())
    }

    /// With `fileNameOnly`, of two new files of one name the first is read.
    fn drop_same_names(&mut self) {
        let mut names = std::collections::HashSet::new();
        self.unread.retain(|f| names.insert(f.path.file_name().map(ToOwned::to_owned)));
    }

    /// Keeps no more than `maxCachedFiles`, and so few that a new listing is worth it not at all.
    fn trim_cache(&mut self, limits: &Limits) {
        self.unread.truncate(limits.max_cached_files);
        let enough = match limits.max_files {
            Some(max) => max as f64 * limits.discard_cached_ratio,
            None => 0.0,
        };
        if (self.unread.len() as f64) < enough {
            self.unread.clear();
        }
    }

    fn commit(&mut self, batch: i64, stream: &FileStream) -> Result<()> {
        let done = self.seen.commit(batch)?;
        if !stream.clean.is_off() {
            stream.clean.clean(&done, stream.location.store.as_ref());
        }
        Ok(())
    }
}

fn take_limited(unread: &mut VecDeque<FileEntry>, limits: &Limits) -> Vec<FileEntry> {
    let count = limited(unread, 0, limits);
    unread.drain(..count).collect()
}

/// How many of the files from `from` on are a batch.
fn limited(unread: &VecDeque<FileEntry>, from: usize, limits: &Limits) -> usize {
    let there = unread.len() - from;
    let Some(max_bytes) = limits.max_bytes else { return limits.max_files.unwrap_or(usize::MAX).min(there) };
    let mut bytes = 0u64;
    let fits = unread.range(from..).take_while(|f| {
        bytes = bytes.saturating_add(f.size);
        bytes <= max_bytes
    });
    // A file that is larger than the limit is a batch of its own.
    fits.count().max(1).min(there)
}

fn refresh(files: Vec<FileEntry>, stream: &FileStream) -> Result<Vec<FileEntry>> {
    let now = stream.location.stat(&files)?;
    for (_, file) in now.iter().zip(&files).filter(|(now, _)| now.is_none()) {
        tracing::warn!(file = %file.path.display(), "file source: a file is gone before it was read");
    }
    Ok(now.into_iter().flatten().collect())
}

/// The `n` of `{"logOffset": n}`.
fn log_offset(offset: &Offset) -> Result<i64> {
    offset
        .get("logOffset")
        .and_then(Offset::as_i64)
        .ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' is no offset of a file source")))
}

fn to_offset(batch: i64) -> Offset {
    serde_json::json!({ "logOffset": batch })
}

#[async_trait]
impl Source for FileSource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema.clone()
    }

    fn description(&self) -> String {
        format!("FileStreamSource[{}]", self.stream.location.path)
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(to_offset(-1))
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let start = log_offset(start)?;
        #[cfg(feature = "notify")]
        let hints = self.hints.clone();
        let latest = move |files: &mut Files, stream: &FileStream, counts: &Counts| {
            let latest = files.latest(start, limit, stream, counts)?;
            // The query is about to wait.
            #[cfg(feature = "notify")]
            if latest.is_none()
                && let Some(hints) = hints
            {
                let is_hinted = hints.watch(&super::walk::directories(&stream.location));
                counts.is_hinted.store(is_hinted, Ordering::Relaxed);
            }
            Ok(latest)
        };
        let latest = self.with_files(latest).await?;
        if latest.is_some() {
            // The next one is not written before this one is durable.
            let (file, path) = self.files.lock().seen.log_file()?;
            let files = self.files.clone();
            *self.syncing.lock() = Some(SpawnedTask::spawn_blocking(move || {
                file.sync_data().map_err(|e| {
                    files.lock().seen.poison();
                    io_error("writing", &path, &e)
                })
            }));
        }
        Ok(latest.map(to_offset))
    }

    async fn settled(&self) -> Result<()> {
        let syncing = self.syncing.lock().take();
        match syncing {
            Some(syncing) => syncing.join().await.map_err(|e| Error::internal(format!("the file source: {e}")))?,
            None => Ok(()),
        }
    }

    fn upcoming(&self, count: usize) -> Vec<Arc<dyn RangeScan>> {
        if self.stream.kind != FileFormatKind::Parquet {
            return vec![];
        }
        let scan = |files| {
            let (location, reader) = (self.stream.location.clone(), self.reader.clone());
            Arc::new(FilesScan::new(self.stream.kind.name(), location, reader, files)) as Arc<dyn RangeScan>
        };
        self.files.lock().upcoming(count, &self.stream.limits).into_iter().map(scan).collect()
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (log_offset(start)?, log_offset(end)?);
        let seen = |files: &Files| files.seen.has(start + 1..=end).then(|| files.seen.files(start + 1..=end));
        let Some(mut files) = seen(&self.files.lock()) else {
            return Err(Error::checkpoint(
                "CHECKPOINT_CORRUPT",
                format!("the file source's log lacks batches {} to {end}", start + 1),
            )
            .with_help("restore the checkpoint from a backup, or start the query with a new one"));
        };
        *self.reader.seen.bad_place.lock() = None;
        // Files that are in a batch, and which the user has learned to leave out since.
        files.retain(|f| self.stream.location.takes(&f.path));
        let (location, reader) = (self.stream.location.clone(), self.reader.clone());
        Ok(Arc::new(FilesScan::new(self.stream.kind.name(), location, reader, files)))
    }

    async fn commit(&self, end: &Offset) -> Result<()> {
        let end = log_offset(end)?;
        self.with_files(move |files, stream, _| files.commit(end, stream)).await
    }

    fn is_replayable(&self, start: &Offset, end: &Offset) -> bool {
        let (Ok(start), Ok(end)) = (log_offset(start), log_offset(end)) else { return false };
        let files = self.files.lock();
        files.seen.has(start + 1..=end) && self.are_still_read(&files.seen.files(start + 1..=end))
    }

    async fn prepare_available_now(&self) -> Result<()> {
        self.with_files(|files, stream, counts| {
            files.list(stream, counts)?;
            files.is_fixed = true;
            Ok(())
        })
        .await
    }

    fn poll_interval(&self) -> Option<Duration> {
        let idle = self.counts.idle.load(Ordering::Relaxed).min(6);
        #[cfg(feature = "notify")]
        let most = if self.counts.is_hinted.load(Ordering::Relaxed) { MAX_HINTED_POLL } else { MAX_POLL };
        #[cfg(not(feature = "notify"))]
        let most = MAX_POLL;
        Some((MIN_POLL * 2u32.pow(idle.saturating_sub(1))).min(most))
    }

    fn first_bad_record(&self) -> Option<String> {
        let place = self.reader.seen.bad_place.lock().clone();
        place.map(|place| place.describe())
    }

    fn metrics(&self) -> SourceMetrics {
        let custom = [
            ("numFilesOutstanding", &self.counts.waiting),
            ("numFilesSkipped", &self.counts.skipped),
            ("numFilesMissing", &self.reader.seen.missing),
            ("numFilesChanged", &self.reader.seen.changed),
            ("numFilesCorrupt", &self.reader.seen.corrupt),
        ];
        let custom = custom.map(|(name, n)| (name.to_string(), n.load(Ordering::Relaxed).to_string()));
        SourceMetrics { bad_records: self.bad_counter.get(), custom: custom.into() }
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}
