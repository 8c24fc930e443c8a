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

use super::encode::FileFormat;
use super::folders::{FilesByFolder, Written};
use super::manifest::file_name;
use super::{FileFormatKind, blocking, disk, local_dir, manifest};
use crate::error::{Error, Result};
use crate::glob;
use crate::options::{OptionReader, Options};

/// Options of a table that concern its reading only.
const READ_ONLY: [&str; 33] = [
    "path",
    "basePath",
    "positionalFieldMatching",
    "ignoreExtension",
    "datetimeRebaseMode",
    "mergeSchema",
    "pathGlobFilter",
    "recursiveFileLookup",
    "ignoreMissingFiles",
    "ignoreCorruptFiles",
    "inferSchema",
    "badRecords",
    "mode",
    "wholetext",
    "columnNameOfCorruptRecord",
    "enforceSchema",
    "multiLine",
    "samplingRatio",
    "maxColumns",
    "maxCharsPerColumn",
    "unescapedQuoteHandling",
    "nanValue",
    "positiveInf",
    "negativeInf",
    "preferDate",
    "enableDateTimeParsingFallback",
    "allowComments",
    "allowUnquotedFieldNames",
    "allowSingleQuotes",
    "allowNumericLeadingZeros",
    "allowNonNumericNumbers",
    "allowBackslashEscapingAnyCharacter",
    "allowUnquotedControlChars",
];

/// Appends to a directory.
#[derive(Debug)]
pub struct FileAppend {
    dir: PathBuf,
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
        let mut reader = OptionReader::new(format!("writing to a {kind} table"), options);
        let dir = literal_dir(reader.required("path")?)?;
        let format = FileFormat::read(kind, &mut reader)?;
        for key in READ_ONLY {
            reader.string(key);
        }
        reader.finish()?;
        check_dir(&dir)?;
        format.check_schema(&schema)?;
        Ok(Self { dir, format, schema, tz })
    }

    async fn append(&self, mut rows: SendableRecordBatchStream) -> Result<u64> {
        let name = |folder: &str| format!("{folder}part-{}.{}", Uuid::new_v4(), self.format.extension());
        let hidden = |name: &str| self.dir.join(format!(".{}.staged", file_name(name)));
        let mut files = FilesByFolder::new(&self.format, self.schema.clone(), self.tz, name, hidden)?;
        let mut failed = None;
        while let Some(batch) = rows.next().await {
            if let Err(e) = batch.map_err(Error::from).and_then(|batch| files.write(&batch)) {
                failed = Some(e);
                break;
            }
        }
        let (num_rows, written) = files.finish();
        let dir = self.dir.clone();
        blocking(move || {
            let paths: Vec<_> = written.iter().map(|file| file.path.clone()).collect();
            let published = match failed {
                Some(e) => Err(e),
                None => publish(&dir, written),
            };
            published.map(|()| num_rows).inspect_err(|_| paths.iter().for_each(|path| drop(disk::remove(path))))
        })
        .await
    }
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

/// The directory of a table's path, which readers take for a pattern.
fn literal_dir(path: &str) -> Result<PathBuf> {
    let local = local_dir(path)?.display().to_string();
    glob::literal(&local).map(PathBuf::from).ok_or_else(|| {
        let message = format!("the path '{path}' of the table is a pattern, so that no file can be added to it");
        Error::unsupported("UNSUPPORTED_INSERT.MULTI_PATH", message)
            .with_help(format!("a directory of this name is written '{}'", glob::escape(&local)))
    })
}

fn check_dir(dir: &Path) -> Result<()> {
    let path = dir.display();
    if manifest::committed_files(dir)?.is_some() || dir.join("_spark_metadata").exists() {
        let message = format!("the directory '{path}' is the output of a sink");
        return Err(Error::invalid("SINK_IN_USE", message).with_help(
            "readers see what its queries have committed only: insert into the sink, or into another directory",
        ));
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
        write!(f, "FileAppend[{}]", self.dir.display())
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
