//! The file sink: a directory of files, each batch in it exactly once.
//!
//! ```text
//! out/part-00000-<uuid>.json                    what readers see, complete from the moment it appears
//! out/_tidemill_metadata/manifest               which batches are committed, with their files
//! out/_tidemill_metadata/staged/part-00001-….json.staged   rows of the batch that is prepared
//! out/_tidemill_metadata/pending/part-00001-….arrow        rows of committed batches that wait to become a larger file
//! out/_tidemill_metadata/lock                   held while a query writes
//! ```
//!
//! `prepare` writes and syncs the staged file. `commit` appends the batch to the manifest, durably: from there on it is
//! committed. Then it renames the file; a crash between the two is made good by the next `open`. So whoever lists the
//! directory sees complete files of committed batches only, and whoever reads the manifest ([`committed_files`]) sees
//! whole batches only. In a store it is the same with objects, see `store_log`. When rows become files, and when files go,
//! is decided in `rolling`.

mod append;
mod batches;
mod csv;
mod disk;
mod encode;
mod folders;
mod intervals;
mod json;
mod lines;
mod log;
mod manifest;
mod output;
mod partition;
mod pending;
mod roller;
mod rolling;
mod store_log;
mod target;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use append::FileAppend;
pub use encode::{FileFormat, FileFormatKind};
pub use manifest::{METADATA_DIR, committed_files};
pub use rolling::Rolling;
pub use store_log::committed_objects;

use super::rows::{not_open, not_prepared};
use super::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType, Options};
use crate::output_mode::OutputMode;
use crate::store::{NUM_OPTIONS, with_store_options};
use folders::{FilesByFolder, Written};
use lines::{FileEntry, Line};
use log::{Kind, Log};
use pending::PendingRows;
use roller::Roller;
use target::Target;

/// Appends files to a directory, local or in a store; a batch without rows adds none.
#[derive(Debug)]
pub struct FileSink {
    target: Target,
    format: FileFormat,
    rolling: Rolling,
    state: Shared,
}

/// Shared with the task that rolls files whose time has come.
type Shared = Arc<Mutex<Option<Open>>>;

#[derive(Debug)]
struct Open {
    context: SinkContext,
    log: Box<dyn Log>,
    prepared: Option<(u64, Prepared)>,
    roller: Roller,
    /// Rolls files when their time has come, also if no batch does.
    timer: Option<SpawnedTask<()>>,
    /// What the timer could not do. Nobody knows what the log says since then: every batch fails with it.
    failed: Option<Error>,
}

/// Files of a batch that is not committed.
#[derive(Debug, Default)]
struct Prepared {
    files: Vec<FileEntry>,
    pending: Vec<FileEntry>,
}

/// Where it writes.
const OPTIONS: [OptionSpec; 1 + NUM_OPTIONS] =
    with_store_options([OptionSpec::new("path", OptionType::Path, "The directory for the files.").required()]);

impl FileSink {
    /// The options.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        [&[&OPTIONS[..], &Rolling::OPTIONS][..], &FileFormat::specs(kind)].concat()
    }

    /// Reads the options.
    ///
    /// # Errors
    /// Options that do not fit.
    pub fn new(kind: FileFormatKind, options: &Options) -> Result<Self> {
        let specs = Self::specs(kind);
        let mut reader = OptionReader::new(format!("the {kind} sink"), options, &specs);
        let path = reader.required("path")?;
        let target = Target::read(path, &reader).map_err(|e| e.with_span(options.span("path")))?;
        let format = FileFormat::read(kind, &mut reader)?;
        let rolling = Rolling::read(&reader)?;
        reader.finish()?;
        Ok(Self { target, format, rolling, state: Shared::default() })
    }
}

#[async_trait]
impl Sink for FileSink {
    fn is_exactly_once(&self) -> bool {
        true
    }

    fn description(&self) -> String {
        format!("FileSink[{}]", self.target)
    }

    fn format(&self) -> Option<&str> {
        Some(self.format.kind.name())
    }

    fn check(&self, mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        if mode != OutputMode::Append {
            let kind = self.format.kind;
            return Err(Error::invalid(
                "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE",
                format!("output mode {mode} is not supported by the {kind} sink"),
            )
            .with_help(
                "files can only be added to: use output mode append, which needs a watermark if the query aggregates",
            ));
        }
        self.format.check_schema(schema)
    }

    fn holds_output_of(&self, query_id: Uuid) -> Result<bool> {
        Ok(self.target.owner()? == Some(query_id))
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.check(context.output_mode, &context.schema)?;
        let mut state = self.state.lock().await;
        // What this sink held before, the lock of the directory above all, goes first.
        *state = None;
        let (target, query_id, failpoints) = (self.target.clone(), context.query_id, context.failpoints.clone());
        let (context, format, rolling) = (context.clone(), self.format.clone(), self.rolling);
        let mut open = blocking(move || {
            let log = target.open(query_id, failpoints)?;
            let roller = Roller::new(format, rolling, log.as_ref(), &context)?;
            let mut open = Open { context, log, prepared: None, roller, timer: None, failed: None };
            open.maintain()?;
            Ok(open)
        })
        .await?;
        self.set_timer(&mut open);
        *state = Some(open);
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        let state = self.state.lock().await;
        let open = state.as_ref().ok_or_else(|| not_open("the file sink"))?;
        Ok(open.log.last().map_or(LastCommitted::Nothing, LastCommitted::Batch))
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let open = state.as_mut().ok_or_else(|| not_open("the file sink"))?;
        open.check()?;
        if open.prepared.take().is_some() {
            open.log.forget()?;
        }
        let (num_rows, written, kind) = match self.rolling.waits() {
            true => self.write_pending(batch_id, open, rows.in_order()).await?,
            false => self.write_files(batch_id, open, rows).await?,
        };
        let mut open = state.take().ok_or_else(|| not_open("the file sink"))?;
        let (open, staged) = blocking(move || {
            let staged = open.log.stage(written, kind);
            Ok((open, staged))
        })
        .await?;
        let open = state.insert(open);
        let prepared = match kind {
            Kind::Visible => Prepared { files: staged?, pending: vec![] },
            Kind::Pending => Prepared { files: vec![], pending: staged? },
        };
        open.prepared = Some((batch_id, prepared));
        open.context.failpoints.hit("filesink.staged")?;
        Ok(Some(num_rows))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut open = state.take().ok_or_else(|| not_open("the file sink"))?;
        let prepared = open.prepared.take().filter(|(id, _)| *id == batch.batch_id);
        let (_, Prepared { files, pending }) = prepared.ok_or_else(|| not_prepared("the file sink", batch.batch_id))?;
        // After a failed write nobody knows what the disk holds: the sink stays closed, and the next `open` finds out.
        let mut open = blocking(move || {
            open.check()?;
            if open.log.last().is_some_and(|last| last.batch_id >= batch.batch_id) {
                open.log.forget()?;
                return Ok(open);
            }
            let (batch_id, record_hash) = (Some(batch.batch_id), Some(batch.record_hash));
            let at = Some(open.context.clock.now_ms());
            open.log.append(Line { batch_id, record_hash, files, pending, at, ..Line::default() })?;
            open.maintain()?;
            Ok(open)
        })
        .await?;
        self.set_timer(&mut open);
        *state = Some(open);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        let Some(mut open) = state.take() else { return Ok(()) };
        let (open, done) = blocking(move || {
            let is_prepared = open.prepared.take().is_some() && open.failed.is_none();
            let done = if is_prepared { open.log.forget() } else { Ok(()) };
            Ok((open, done))
        })
        .await?;
        *state = Some(open);
        done
    }

    async fn close(&self) -> Result<()> {
        self.abort().await?;
        let Some(mut open) = self.state.lock().await.take() else { return Ok(()) };
        // What waits becomes a file: a query that has stopped has all its rows where readers see them.
        blocking(move || open.check().and_then(|()| open.roll())).await
    }
}

impl FileSink {
    /// Writes the rows to files, one for each partition of the plan and folder, all partitions at once. No rows, no file.
    async fn write_files(&self, batch_id: u64, open: &Open, rows: BatchRows) -> Result<(u64, Vec<Written>, Kind)> {
        let write = |rows: SendableRecordBatchStream| {
            let (format, context) = (self.format.clone(), open.context.clone());
            write_partition(format, context, open.log.workplace(Kind::Visible), batch_id, rows)
        };
        let mut partitions = rows.into_partitions().into_iter();
        let Some(first) = partitions.next() else { return Ok((0, vec![], Kind::Visible)) };
        // The first is written here: most batches have no other.
        let others: Vec<_> = partitions.map(|rows| SpawnedTask::spawn(write(rows))).collect();
        let (mut num_rows, mut written) = write(first).await?;
        for other in others {
            let (more, files) = other.join().await.map_err(|e| Error::internal(format!("writing a file: {e}")))??;
            num_rows += more;
            written.extend(files);
        }
        Ok((num_rows, written, Kind::Visible))
    }

    /// Writes the rows where they wait to be put into a larger file.
    async fn write_pending(
        &self,
        batch_id: u64,
        open: &Open,
        mut rows: SendableRecordBatchStream,
    ) -> Result<(u64, Vec<Written>, Kind)> {
        let name = file_name("", batch_id, "arrow");
        let path = open.log.workplace(Kind::Pending).join(&name);
        let mut pending = PendingRows::new(open.context.schema.clone(), name, path);
        while let Some(batch) = rows.try_next().await? {
            pending.write(&batch)?;
        }
        let (num_rows, written) = pending.finish()?;
        Ok((num_rows, written, Kind::Pending))
    }

    /// Sees to it that rows that wait become a file in time, whether another batch comes or not.
    fn set_timer(&self, open: &mut Open) {
        open.timer = None;
        let Some(deadline) = open.roller.deadline(open.log.state()) else { return };
        // The task holds nothing that would outlive the sink.
        let (state, clock) = (Arc::downgrade(&self.state), open.context.clock.clone());
        open.timer = Some(SpawnedTask::spawn(async move {
            clock.sleep_until(deadline).await;
            let Some(state) = state.upgrade() else { return };
            let mut state = state.lock().await;
            // The batch that is being prepared rolls them with its commit.
            let Some(mut open) = state.take_if(|open| open.prepared.is_none()) else { return };
            // The sink keeps this task, whose end would otherwise come here.
            let rolled = blocking(move || {
                open.failed = open.maintain().err();
                Ok(open)
            });
            if let Ok(open) = rolled.await {
                *state = Some(open);
            }
        }));
    }
}

impl Open {
    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Rolls files that are large or old enough, and removes those that are too old.
    fn maintain(&mut self) -> Result<()> {
        let now_ms = self.context.clock.now_ms();
        if self.roller.is_due(self.log.state(), now_ms) {
            self.roll()?;
        }
        self.roller.remove_old(self.log.as_mut(), now_ms)
    }

    fn roll(&mut self) -> Result<()> {
        self.roller.roll(self.log.as_mut(), &self.context)
    }
}

/// Writes the rows of a partition to files in `dir`, one for each folder.
async fn write_partition(
    format: FileFormat,
    context: SinkContext,
    dir: PathBuf,
    batch_id: u64,
    mut rows: SendableRecordBatchStream,
) -> Result<(u64, Vec<Written>)> {
    let name = |folder: &str| file_name(folder, batch_id, &format.extension());
    let path = |name: &str| target::staged_path(&dir, name);
    let mut files = FilesByFolder::new(&format, context.schema.clone(), context.time_zone, name, path)?;
    while let Some(batch) = rows.try_next().await? {
        files.write(&batch)?;
    }
    Ok(files.finish())
}

/// The name of a new file of a batch, behind its folder.
fn file_name(folder: &str, batch_id: u64, extension: &str) -> String {
    format!("{folder}part-{batch_id:05}-{}.{extension}", Uuid::new_v4())
}

/// Runs file system calls where they may block.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    SpawnedTask::spawn_blocking(f)
        .join()
        .await
        .map_err(|e| Error::internal(format!("a file system call of the file sink did not end: {e}")))?
}

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod years_tests;
