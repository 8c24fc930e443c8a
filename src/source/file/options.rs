//! `CREATE STREAM … USING text | csv | json | parquet`: options of the file source.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::clean::CleanSource;
use super::format::{FormatOptions, text_schema};
use super::listing::Location;
use super::metadata_column::with_metadata_column;
use super::partition::Partitions;
use super::read::{Compression, Lenience, Unread};
use super::scan::prunes;
use super::source::FileSource;
use crate::error::{Error, Result};
use crate::function::scalar::session_time_zone;
use crate::options::OptionType::{self, Boolean, Choice, Number};
use crate::options::{OptionReader, OptionSpec, Options};
use crate::sink::file::FileFormatKind;
use crate::source::provider::schema_needed;
use crate::source::{Source, SourceContext, StreamIdentity, StreamProvider};

/// Which files a stream takes, and when.
const OPTIONS: [OptionSpec; 9] = [
    OptionSpec::new(
        "maxFilesPerTrigger",
        OptionType::COUNT,
        "How many files a batch takes at most; else all there are.",
    ),
    OptionSpec::new("maxBytesPerTrigger", OptionType::COUNT, "How many bytes a batch takes at most, but a file at least; excludes maxFilesPerTrigger."),
    OptionSpec::new("latestFirst", Boolean, "Whether the newest files are taken first.").or("false"),
    OptionSpec::new("maxFileAge", OptionType::Duration, "A file older by more than this than the newest that was read is left out; not with latestFirst and a limit.")
        .or("7 days"),
    OptionSpec::new("fileNameOnly", Boolean, "Whether two files of one name are the same, whatever their folders.")
        .or("false"),
    OptionSpec::new(
        "maxCachedFiles",
        OptionType::WHOLE,
        "How many files of a listing are remembered for later batches; 0 lists for each.",
    )
    .or("10000"),
    OptionSpec::new(
        "discardCachedInputRatio",
        Number(0.0, 1.0),
        "Below this share of maxFilesPerTrigger the remembered files are forgotten, and the path is listed anew.",
    )
    .or("0.2"),
    OptionSpec::new(
        "fileChanged",
        Choice(&["fail", "skip"]),
        "What becomes of a file that has changed since a batch took it: the end of the query, or it is left out.",
    )
    .or("fail"),
    OptionSpec::new("schemaInference", Boolean, "Whether the columns, if none are declared, are told from the files: csv and json from all, others from the first.")
        .or("false"),
];

/// A directory of files that are read as they come.
#[derive(Debug, Clone)]
pub struct FileStream {
    pub(super) kind: FileFormatKind,
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
        let max_files = options.parse("maxFilesPerTrigger")?;
        let max_bytes = options.parse("maxBytesPerTrigger")?;
        if max_files.is_some() && max_bytes.is_some() {
            return Err(Error::invalid(
                "INVALID_OPTION",
                "options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' of the file source exclude each other",
            )
            .with_help("keep one of them"));
        }
        Ok(Self {
            max_files,
            max_bytes,
            latest_first: options.bool("latestFirst")?,
            max_cached_files: options.parse("maxCachedFiles")?.unwrap_or_default(),
            discard_cached_ratio: options.parse("discardCachedInputRatio")?.unwrap_or_default(),
        })
    }

    pub fn is_limited(&self) -> bool {
        self.max_files.is_some() || self.max_bytes.is_some()
    }
}

impl FileStream {
    /// The options.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        let mut specs: Vec<&'static [OptionSpec]> =
            vec![&Location::OPTIONS, &OPTIONS, &CleanSource::OPTIONS, &Lenience::OPTIONS];
        if !kind.has_own_codec() {
            specs.push(&Compression::OPTIONS);
        }
        specs.extend(FormatOptions::specs(kind));
        specs
    }

    /// Reads the options of the source and of the format.
    ///
    /// # Errors
    /// Options or columns that do not fit; files whose columns cannot be told.
    pub fn new(
        ctx: &SessionContext,
        kind: FileFormatKind,
        name: &str,
        declared: Option<SchemaRef>,
        options: &Options,
    ) -> Result<Self> {
        let specs = Self::specs(kind);
        let mut reader = OptionReader::new(format!("the {kind} source"), options, &specs);
        let location = Location::read(&mut reader)?;
        let limits = Limits::read(&mut reader)?;
        let clean = CleanSource::read(&mut reader, &location)?;
        let max_age = reader.duration("maxFileAge")?.unwrap_or_default();
        let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let file_name_only = reader.bool("fileNameOnly")?;
        let lenience =
            Lenience { changed: reader.choice("fileChanged")? == Some("skip"), ..Lenience::read(&mut reader)? };
        let codec = match kind.has_own_codec() {
            true => Compression::ByName,
            false => Compression::read(&mut reader)?,
        };
        let infer = reader.bool("schemaInference")?;
        let format_options = FormatOptions::read(kind, &mut reader)?;
        reader.finish()?;
        let schema = match declared {
            None if !infer && kind != FileFormatKind::Text => return Err(schema_needed(kind.name(), name)),
            declared => file_schema(declared, &format_options, &location, kind.name(), name, zone_of(ctx), codec)?,
        };
        Ok(Self {
            kind,
            format_options,
            schema,
            identity: StreamIdentity::of_files(kind.name(), location.plain_path(), options),
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
        (None, _) => {
            let files: Vec<_> = files.iter().filter(|f| f.size > 0).cloned().collect();
            if files.is_empty() {
                let message = format!("'{stream}' has no {name} file that is not empty, to tell the columns from");
                return Err(Error::invalid("UNABLE_TO_INFER_SCHEMA", message)
                    .with_help("declare the columns, (name TYPE, …) behind the name, or add a file first"));
            }
            format.infer(&files, tz, Unread { codec, store: location.store.as_ref() })?
        }
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

#[async_trait]
impl StreamProvider for FileStream {
    fn format(&self) -> &'static str {
        self.kind.name()
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn schema_with_hidden(&self) -> Option<SchemaRef> {
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
