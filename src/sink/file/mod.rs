//! The file sink: a directory of files, each batch in it exactly once.
//!
//! ```text
//! out/part-00000-<uuid>.json                    what readers see, complete from the moment it appears
//! out/_tidemill_metadata/manifest               which batches are committed, with their files
//! out/_tidemill_metadata/staged/part-00001-….json.staged   rows of the batch that is prepared
//! out/_tidemill_metadata/lock                   held while a query writes
//! ```
//!
//! `prepare` writes and syncs the staged file. `commit` appends the batch to the manifest, durably: from there on it is
//! committed. Then it renames the file; a crash between the two is made good by the next `open`. So whoever lists the
//! directory sees complete files of committed batches only, and whoever reads the manifest ([`committed_files`]) sees
//! whole batches only.

mod append;
mod batches;
mod csv;
mod disk;
mod encode;
mod folders;
mod intervals;
mod json;
mod manifest;
mod output;
mod partition;

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use append::FileAppend;
pub use encode::FileFormatKind;
pub use manifest::committed_files;

use super::rows::{not_open, not_prepared};
use super::{BatchIdentity, LastCommitted, Sink, SinkContext};
use crate::disk::local_path;
use crate::error::{Error, Result};
use crate::options::{OptionReader, Options};
use crate::output_mode::OutputMode;
use encode::FileFormat;
use folders::{FilesByFolder, Written};
use manifest::{Entry, FileEntry, Manifest};

/// Appends one file a batch to a directory; a batch without rows adds none.
#[derive(Debug)]
pub struct FileSink {
    dir: PathBuf,
    format: FileFormat,
    state: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    context: SinkContext,
    manifest: Manifest,
    prepared: Option<(u64, Vec<FileEntry>)>,
}

impl FileSink {
    /// Options: `path`, `compression`, and those of the format.
    pub fn new(kind: FileFormatKind, options: &Options) -> Result<Self> {
        let mut reader = OptionReader::new(format!("the {kind} sink"), options);
        let dir = local_dir(reader.required("path")?).map_err(|e| e.with_span(options.span("path")))?;
        let format = FileFormat::read(kind, &mut reader)?;
        reader.finish()?;
        Ok(Self { dir, format, state: Mutex::new(None) })
    }
}

/// The path of a local directory, written as such or as a `file:` URI.
fn local_dir(path: &str) -> Result<PathBuf> {
    let local = local_path(path);
    if local.contains("://") {
        let message = format!("the file sink writes to local directories, not to '{path}'");
        return Err(Error::unsupported("UNSUPPORTED_FILE_SYSTEM", message));
    }
    Ok(PathBuf::from(local))
}

#[async_trait]
impl Sink for FileSink {
    fn description(&self) -> String {
        format!("FileSink[{}]", self.dir.display())
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
        Ok(manifest::owner(&self.dir)? == Some(query_id))
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.check(context.output_mode, &context.schema)?;
        let mut state = self.state.lock().await;
        // What this sink held before, the lock of the directory above all, goes first.
        *state = None;
        let (dir, query_id, failpoints) = (self.dir.clone(), context.query_id, context.failpoints.clone());
        let manifest = blocking(move || Manifest::open(&dir, query_id, failpoints)).await?;
        *state = Some(Open { context: context.clone(), manifest, prepared: None });
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        let state = self.state.lock().await;
        let open = state.as_ref().ok_or_else(|| not_open("the file sink"))?;
        Ok(open.manifest.last_identity().map_or(LastCommitted::Nothing, LastCommitted::Batch))
    }

    async fn prepare(&self, batch_id: u64, rows: SendableRecordBatchStream) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let open = state.as_mut().ok_or_else(|| not_open("the file sink"))?;
        open.prepared = None;
        let (num_rows, files) = self.stage(batch_id, open, rows).await?;
        open.prepared = Some((batch_id, files));
        open.context.failpoints.hit("filesink.staged")?;
        Ok(Some(num_rows))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut open = state.take().ok_or_else(|| not_open("the file sink"))?;
        let prepared = open.prepared.take().filter(|(id, _)| *id == batch.batch_id);
        let (_, files) = prepared.ok_or_else(|| not_prepared("the file sink", batch.batch_id))?;
        let entry = Entry { batch_id: batch.batch_id, record_hash: batch.record_hash, files };
        // After a failed write nobody knows what the disk holds: the sink stays closed, and the next `open` finds out.
        *state = Some(
            blocking(move || {
                open.manifest.commit(entry)?;
                Ok(open)
            })
            .await?,
        );
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if let Some((_, files)) = state.as_mut().and_then(|open| open.prepared.take()) {
            remove_staged(&self.dir, &files)?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await?;
        *self.state.lock().await = None;
        Ok(())
    }
}

impl FileSink {
    /// Writes the rows to staged files, one for each partition folder, durably. No rows, no file.
    async fn stage(
        &self,
        batch_id: u64,
        open: &Open,
        mut rows: SendableRecordBatchStream,
    ) -> Result<(u64, Vec<FileEntry>)> {
        let (dir, tz) = (self.dir.clone(), open.context.time_zone);
        let name = |folder: &str| format!("{folder}part-{batch_id:05}-{}.{}", Uuid::new_v4(), self.format.extension());
        let path = |name: &str| manifest::staged_path(&dir, name);
        let mut files = FilesByFolder::new(&self.format, open.context.schema.clone(), tz, name, path)?;
        while let Some(batch) = rows.try_next().await? {
            files.write(&batch)?;
        }
        let (num_rows, written) = files.finish();
        let entries = blocking(move || {
            let entry = |file: Written| {
                let (name, path) = (file.name.clone(), file.path.clone());
                let size = file.sync()?;
                disk::sync_parent(&path)?;
                Ok(FileEntry { name, size })
            };
            written.into_iter().map(entry).collect::<Result<Vec<_>>>()
        })
        .await?;
        Ok((num_rows, entries))
    }
}

fn remove_staged(dir: &Path, files: &[FileEntry]) -> Result<()> {
    files.iter().try_for_each(|f| disk::remove(&manifest::staged_path(dir, &f.name)))
}

/// Runs file system calls where they may block.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    SpawnedTask::spawn_blocking(f)
        .join()
        .await
        .map_err(|e| Error::internal(format!("a file system call of the file sink did not end: {e}")))?
}

#[cfg(test)]
mod tests;
