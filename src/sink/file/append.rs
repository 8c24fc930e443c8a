//! `INSERT INTO` a table of files: the rows of a batch query as one more file in its directory.
//!
//! The file has a hidden name until it is complete and durable. It is in no manifest: a directory that a streaming query
//! writes takes no rows from elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::datasource::sink::DataSink;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use futures::StreamExt;
use uuid::Uuid;

use super::encode::{FileFormat, write_failed};
use super::folders::{FilesByFolder, Written};
use super::lines::file_name;
use super::store_log::Place;
use super::target::Target;
use super::{FileFormatKind, blocking, disk, manifest};
use crate::error::{Error, Result};
use crate::glob;
use crate::options::{OptionReader, OptionSpec, OptionType, Options};
use crate::store::{NUM_OPTIONS, with_store_options};

const PATH: [OptionSpec; 1 + NUM_OPTIONS] =
    with_store_options([OptionSpec::new("path", OptionType::Path, "The directory.").required()]);

/// Appends to a directory.
#[derive(Debug)]
pub struct FileAppend {
    target: Target,
    format: FileFormat,
    schema: SchemaRef,
    tz: Tz,
}

impl FileAppend {
    /// For the table of these options; instants are written as `tz` shows them.
    ///
    /// # Errors
    /// A path that is no directory of the table's own, an option that files cannot be written with.
    pub fn new(kind: FileFormatKind, options: &Options, schema: SchemaRef, tz: Tz) -> Result<Self> {
        let (path, format, reader) = read(kind, options)?;
        let target = literal_dir(Target::read(path, &reader)?)?;
        check_target(&target)?;
        format.check_schema(&schema)?;
        Ok(Self { target, format, schema, tz })
    }

    /// Whether the options of a table are such that rows can be written.
    ///
    /// # Errors
    /// An option that does not fit.
    pub fn check_options(kind: FileFormatKind, options: &Options) -> Result<()> {
        read(kind, options).map(drop)
    }

    async fn append(&self, mut rows: SendableRecordBatchStream) -> Result<u64> {
        let name = |folder: &str| format!("{folder}part-{}.{}", Uuid::new_v4(), self.format.extension());
        // Files for a store are written here first.
        let workplace = match &self.target {
            Target::Local(_) => None,
            Target::Store(_) => Some(tempfile::tempdir().map_err(|e| write_failed(&e))?),
        };
        let folder = match (&self.target, &workplace) {
            (Target::Local(dir), _) => dir.clone(),
            (_, folder) => folder.as_ref().map(|f| f.path().to_owned()).unwrap_or_default(),
        };
        let hidden = |name: &str| folder.join(format!(".{}.staged", file_name(name)));
        let mut files = FilesByFolder::new(&self.format, self.schema.clone(), self.tz, name, hidden)?;
        let mut failed = None;
        while let Some(batch) = rows.next().await {
            if let Err(e) = batch.map_err(Error::from).and_then(|batch| files.write(&batch)) {
                failed = Some(e);
                break;
            }
        }
        let (num_rows, written) = files.finish();
        let target = self.target.clone();
        blocking(move || {
            let _workplace = workplace;
            let paths: Vec<_> = written.iter().map(|file| file.path.clone()).collect();
            let published = match failed {
                Some(e) => Err(e),
                None => match &target {
                    Target::Local(dir) => publish(dir, written),
                    Target::Store(place) => put(place, written),
                },
            };
            published.map(|()| num_rows).inspect_err(|_| paths.iter().for_each(|path| drop(disk::remove(path))))
        })
        .await
    }
}

/// The path, and how files are written. Options of reading are those of the table.
fn read(kind: FileFormatKind, options: &Options) -> Result<(&str, FileFormat, OptionReader<'_>)> {
    let specs = [&[&PATH[..]][..], &FileFormat::specs(kind)].concat();
    let mut reader = OptionReader::new(format!("writing to a {kind} table"), options, &specs);
    let (path, format) = (reader.required("path")?, FileFormat::read(kind, &mut reader)?);
    Ok((path, format, reader))
}

/// Gives complete and durable files the names that readers look for.
fn publish(dir: &Path, written: Vec<Written>) -> Result<()> {
    for file in written {
        let (hidden, visible) = (file.path.clone(), dir.join(&file.name));
        file.sync()?;
        if let Some(folder) = visible.parent() {
            disk::create_dirs(folder)?;
        }
        disk::rename(&hidden, &visible)?;
        disk::sync_parent(&visible)?;
    }
    disk::sync_dir(dir)
}

/// Puts complete files into a store: each appears whole, one after the other. What fails leaves none.
fn put(place: &Place, written: Vec<Written>) -> Result<()> {
    let mut uploads = vec![];
    for file in written {
        let (name, path) = (file.name.clone(), file.path.clone());
        let size = file.sync()?;
        let opened = std::fs::File::open(&path).map_err(|e| disk::failed("opening", &path, &e))?;
        uploads.push(place.store.begin_upload(&place.key(&name), opened, size)?);
    }
    let ids: Vec<_> = uploads.iter().map(|upload| upload.id.clone()).collect();
    place.store.finish_uploads(uploads).map(drop).inspect_err(|_| drop(place.store.abandon(&ids)))
}

/// The directory of a table's path, which readers take for a pattern.
fn literal_dir(target: Target) -> Result<Target> {
    let path = match &target {
        Target::Local(dir) => dir.display().to_string(),
        Target::Store(place) => place.dir.clone(),
    };
    let literal = glob::literal(&path).ok_or_else(|| {
        let message = format!("the path '{target}' of the table is a pattern, so that no file can be added to it");
        Error::unsupported("UNSUPPORTED_INSERT.MULTI_PATH", message)
            .with_help(format!("a directory of this name is written '{}'", glob::escape(&path)))
    })?;
    Ok(match target {
        Target::Local(_) => Target::Local(PathBuf::from(literal)),
        Target::Store(place) => Target::Store(Place { dir: literal, ..place }),
    })
}

fn output_of_a_sink(target: &Target) -> Error {
    Error::invalid("SINK_IN_USE", format!("the directory '{target}' is the output of a sink"))
        .with_help("readers see what its queries have committed only: insert into the sink, or into another directory")
}

fn check_target(target: &Target) -> Result<()> {
    match target {
        Target::Local(dir) => check_dir(dir, target),
        Target::Store(place) => {
            let spark = place.key("_spark_metadata");
            match target.owner()?.is_some() || !place.store.list(&spark)?.is_empty() {
                true => Err(output_of_a_sink(target)),
                false => Ok(()),
            }
        }
    }
}

fn check_dir(dir: &Path, target: &Target) -> Result<()> {
    let path = dir.display();
    if manifest::committed_files(dir)?.is_some() || dir.join("_spark_metadata").exists() {
        return Err(output_of_a_sink(target));
    }
    if !dir.is_dir() {
        let message = format!("the path '{path}' of the table is no directory, so that no file can be added to it");
        return Err(Error::unsupported("UNSUPPORTED_INSERT.MULTI_PATH", message)
            .with_help("give the table a directory as its path"));
    }
    Ok(())
}

impl DisplayAs for FileAppend {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "FileAppend[{}]", self.target)
    }
}

#[async_trait]
impl DataSink for FileAppend {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(&self, data: SendableRecordBatchStream, _: &Arc<TaskContext>) -> DfResult<u64> {
        Ok(self.append(data).await?)
    }
}
