//! `CREATE STREAM … USING text | csv | json | parquet`: options of the file source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::time_zone::Tz;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::batches::BATCH_FORMATS;
use super::clean::CleanSource;
use super::format::{FormatOptions, text_schema};
use super::listing::Location;
use super::metadata_column::with_metadata_column;
use super::partition::Partitions;
use super::read::{Compression, Lenience};
use super::scan::prunes;
use super::source::FileSource;
use crate::error::{Error, Result};
use crate::function::scalar::session_time_zone;
use crate::options::{OptionReader, Options};
use crate::source::provider::schema_needed;
use crate::source::rate::positive;
use crate::source::{Source, SourceContext, StreamIdentity, StreamProvider};

const MAX_FILE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_CACHED_FILES: i64 = 10_000;
const DISCARD_CACHED_INPUT_RATIO: f64 = 0.2;

/// A directory of files that are read as they come.
#[derive(Debug, Clone)]
pub struct FileStream {
    pub(super) format: &'static str,
    pub(super) format_options: FormatOptions,
    pub(super) schema: SchemaRef,
    pub(super) location: Location,
    pub(super) identity: StreamIdentity,
    pub(super) limits: Limits,
    pub(super) file_name_only: bool,
    pub(super) max_age_ms: Option<i64>,
    pub(super) clean: CleanSource,
    pub(super) codec: Compression,
    pub(super) lenience: Lenience,
}

/// How many files a batch takes, and which.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_files: Option<usize>,
    pub max_bytes: Option<u64>,
    pub latest_first: bool,
    pub max_cached_files: usize,
    pub discard_cached_ratio: f64,
}

impl Limits {
    fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let max_files = positive(options, "maxFilesPerTrigger")?.map(|n| n as usize);
        let max_bytes = positive(options, "maxBytesPerTrigger")?.map(|n| n as u64);
        if max_files.is_some() && max_bytes.is_some() {
            return Err(Error::invalid(
                "INVALID_OPTION",
                "options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' of the file source exclude each other",
            )
            .with_help("keep one of them"));
        }
        let latest_first = options.bool("latestFirst", false)?;
        let max_cached =
            options.parse::<i64>("maxCachedFiles", "a number of files, 0 or more")?.unwrap_or(MAX_CACHED_FILES);
        let ratio = options
            .parse::<f64>("discardCachedInputRatio", "a number from 0 to 1")?
            .unwrap_or(DISCARD_CACHED_INPUT_RATIO);
        if !(0.0..=1.0).contains(&ratio) {
            return Err(options.invalid("discardCachedInputRatio", &ratio.to_string(), "a number from 0 to 1"));
        }
        let max_cached_files = usize::try_from(max_cached)
            .map_err(|_| options.invalid("maxCachedFiles", &max_cached.to_string(), "a number of files, 0 or more"))?;
        Ok(Self { max_files, max_bytes, latest_first, max_cached_files, discard_cached_ratio: ratio })
    }

    pub fn is_limited(&self) -> bool {
        self.max_files.is_some() || self.max_bytes.is_some()
    }
}

impl FileStream {
    /// Reads the options of the source and of `format`, one of those of files.
    pub fn new(
        ctx: &SessionContext,
        format: &str,
        name: &str,
        declared: Option<SchemaRef>,
        options: &Options,
    ) -> Result<Self> {
        let format = format_name(format)?;
        let mut reader = OptionReader::new(format!("the {format} file source"), options);
        let location = Location::read(&mut reader)?;
        let limits = Limits::read(&mut reader)?;
        let clean = CleanSource::read(&mut reader, &location)?;
        let max_age = reader.duration("maxFileAge")?.unwrap_or(MAX_FILE_AGE);
        let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let file_name_only = reader.bool("fileNameOnly", false)?;
        let lenience = Lenience {
            changed: reader.choice("fileChanged", &["fail", "skip"])? == Some("skip"),
            ..Lenience::read(&mut reader)?
        };
        let codec = if has_own_codec(format) { Compression::ByName } else { Compression::read(&mut reader)? };
        let infer = reader.bool("schemaInference", false)?;
        let format_options = FormatOptions::read(format, &mut reader)?;
        reader.finish()?;
        let schema = match declared {
            None if !infer && format != "text" => return Err(schema_needed(format, name)),
            declared => file_schema(declared, &format_options, &location, format, name, zone_of(ctx), codec)?,
        };
        Ok(Self {
            format,
            format_options,
            schema,
            identity: StreamIdentity::of_files(format, location.local(), options),
            location,
            // Old files would never be read if a batch that begins with the newest made them too old.
            max_age_ms: (!(limits.latest_first && limits.is_limited())).then_some(max_age_ms),
            limits,
            file_name_only,
            clean,
            codec,
            lenience,
        })
    }
}

/// Whether files of the format say themselves how they are compressed.
fn has_own_codec(format: &str) -> bool {
    format == "parquet" || BATCH_FORMATS.contains(&format)
}

/// The format's name as we write it.
pub fn format_name(format: &str) -> Result<&'static str> {
    let known =
        ["text", "csv", "json", "parquet"].into_iter().chain(BATCH_FORMATS).find(|f| f.eq_ignore_ascii_case(format));
    known.ok_or_else(|| Error::internal(format!("'{format}' is no file format")))
}

/// The session's time zone.
pub fn zone_of(ctx: &SessionContext) -> Tz {
    session_time_zone(ctx.state_ref().read().config_options())
}

/// The columns of files: those that are declared, or else those that the files have which are not empty; and those that their
/// folders say, if there are such folders.
///
/// # Errors
/// Files whose columns cannot be told; columns that the format cannot have.
pub fn file_schema(
    declared: Option<SchemaRef>,
    format: &FormatOptions,
    location: &Location,
    name: &str,
    stream: &str,
    tz: Tz,
    codec: Compression,
) -> Result<SchemaRef> {
    let files = location.list()?.files;
    let partitions = Partitions::of(&files, |path| location.root(path))?;
    let schema = match (declared, format) {
        (Some(declared), _) => declared,
        (None, FormatOptions::Text { .. }) => text_schema(),
        (None, _) => infer(
            format,
            files.iter().filter(|f| f.size > 0).map(|f| f.path.clone()).collect(),
            name,
            stream,
            (tz, codec),
        )?,
    };
    let (of_folders, in_files): (Vec<_>, Vec<_>) =
        schema.fields().iter().cloned().partition(|f| partitions.has(f.name()));
    // A folder that is to come may be the column that is too many.
    if !files.is_empty() || !matches!(format, FormatOptions::Text { .. }) {
        format.check(&Arc::new(Schema::new(in_files.clone())))?;
    }
    // Columns of folders come last, in the order of the folders.
    let inferred = partitions.inferred();
    let known =
        |f: &FieldRef| of_folders.iter().find(|known| known.name().eq_ignore_ascii_case(f.name())).unwrap_or(f).clone();
    let fields: Vec<_> = in_files.into_iter().chain(inferred.iter().map(known)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn infer(
    format: &FormatOptions,
    files: Vec<PathBuf>,
    name: &str,
    stream: &str,
    (tz, codec): (Tz, Compression),
) -> Result<SchemaRef> {
    if files.is_empty() {
        let message = format!("'{stream}' has no {name} file that is not empty, to tell the columns from");
        return Err(Error::invalid("UNABLE_TO_INFER_SCHEMA", message)
            .with_help("declare the columns, (name TYPE, …) behind the name, or add a file first"));
    }
    format.infer(&files, tz, |path| codec.of(path))
}

#[async_trait]
impl StreamProvider for FileStream {
    fn format(&self) -> &'static str {
        self.format
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn schema_with_metadata(&self) -> Option<SchemaRef> {
        with_metadata_column(&self.schema)
    }

    fn identity(&self) -> StreamIdentity {
        self.identity.clone()
    }

    fn prunes_by(&self, filter: &Expr) -> bool {
        prunes(filter)
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FileSource::open(self.clone(), ctx).await?))
    }
}
