//! Rows to bytes: the formats of the file sink and their options.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};

use crate::time_zone::Tz;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;

use super::batches::{BatchEncoder, BatchFormat};
use super::csv::{CsvEncoder, CsvOptions};
use super::intervals::{has_interval, plain_rows, plain_schema};
use super::json::{JsonEncoder, JsonOptions};
use super::output::Output;
use super::partition::PartitionBy;
use crate::error::{Error, Result};
use crate::format::compression::Codec;
use crate::format::encoding;
use crate::function::json::encode as json_encode;
use crate::options::OptionType::{Choice, Text};
use crate::options::{OptionReader, OptionSpec};

/// What to do after a failed write.
const RESTART: &str = "the batch was not acknowledged: make room or give access, and start again from the checkpoint";

/// Which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormatKind {
    /// Comma-separated values.
    Csv,
    /// One JSON object a line, NULL fields left out.
    Json,
    /// Apache Parquet.
    Parquet,
    /// One string column, one line a row.
    Text,
    /// Apache Avro.
    #[cfg_attr(not(feature = "avro"), allow(dead_code, reason = "it comes with the feature"))]
    Avro,
    /// Apache ORC.
    #[cfg_attr(not(feature = "orc"), allow(dead_code, reason = "it comes with the feature"))]
    Orc,
    /// Arrow IPC, the file format.
    Arrow,
}

impl fmt::Display for FileFormatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FileFormatKind {
    /// As statements write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Text => "text",
            Self::Avro => "avro",
            Self::Orc => "orc",
            Self::Arrow => "arrow",
        }
    }

    /// The error for a format that was left out when the program was built.
    #[cfg(not(all(feature = "avro", feature = "orc")))]
    pub fn not_built(self) -> Error {
        Error::unsupported("DATA_SOURCE_NOT_FOUND", format!("the format {self} is not part of this build"))
            .with_help(format!("build with the cargo feature '{self}'"))
    }

    /// Whether files of the format say themselves how they are compressed.
    pub fn has_own_codec(self) -> bool {
        !matches!(self, Self::Csv | Self::Json | Self::Text)
    }

    /// All of them that this build has.
    pub const ALL: &[Self] = &[
        Self::Arrow,
        #[cfg(feature = "avro")]
        Self::Avro,
        Self::Csv,
        Self::Json,
        #[cfg(feature = "orc")]
        Self::Orc,
        Self::Parquet,
        Self::Text,
    ];

    /// What it is, in a sentence.
    pub fn help(self) -> &'static str {
        match self {
            Self::Csv => "Files of lines of values with a separator between them.",
            Self::Json => "Files of JSON: an object a line, an array of objects, or a file of either.",
            Self::Parquet => "Apache Parquet files.",
            Self::Text => "Files of lines of text, one STRING column.",
            Self::Avro => "Apache Avro container files.",
            Self::Orc => "Apache ORC files.",
            Self::Arrow => "Files of Arrow IPC.",
        }
    }
}

/// A format with its options.
#[derive(Debug, Clone)]
pub struct FileFormat {
    /// Which.
    pub kind: FileFormatKind,
    csv: CsvOptions,
    json: JsonOptions,
    line_sep: String,
    compression: Compression,
    batches: Option<BatchFormat>,
    /// Of the formats of lines.
    codec: Option<Codec>,
    /// Which columns are folders.
    pub partition_by: PartitionBy,
}

/// What ends a record that is written.
pub const LINE_SEP: [OptionSpec; 1] = [OptionSpec::new("lineSep", Text, "What ends a record.").or("\\n")];
const LINES: [OptionSpec; 1] = [OptionSpec::new(
    "compression",
    Text,
    "How files are compressed: none, gzip, zstd, bzip2, deflate, lz4 or snappy.",
)
.or("none")];
const PARQUET: [OptionSpec; 1] = [OptionSpec::new(
    "compression",
    Choice(&["none", "uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw"]),
    "How columns are compressed.",
)
.or("snappy")];

impl FileFormat {
    /// What [`FileFormat::read`] reads.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        let of_format: Vec<&'static [OptionSpec]> = match kind {
            FileFormatKind::Parquet => return vec![&PartitionBy::OPTIONS, &PARQUET],
            FileFormatKind::Avro | FileFormatKind::Orc | FileFormatKind::Arrow => {
                return [&[&PartitionBy::OPTIONS[..]][..], &BatchFormat::specs(kind)].concat();
            }
            FileFormatKind::Csv => CsvOptions::specs(),
            FileFormatKind::Json => [&[&encoding::OPTIONS[..]][..], json_encode::WRITING].concat(),
            FileFormatKind::Text => vec![],
        };
        [&[&PartitionBy::OPTIONS[..], &LINES, &LINE_SEP][..], &of_format].concat()
    }

    /// Reads the options that `kind` has.
    pub fn read(kind: FileFormatKind, reader: &mut OptionReader<'_>) -> Result<Self> {
        let mut format = Self {
            kind,
            csv: CsvOptions::default(),
            json: JsonOptions::default(),
            line_sep: "\n".into(),
            compression: Compression::SNAPPY,
            batches: BatchFormat::read(kind, reader)?,
            codec: None,
            partition_by: PartitionBy::read(reader)?,
        };
        match kind {
            FileFormatKind::Parquet => format.compression = parquet_compression(reader)?,
            FileFormatKind::Csv => format.csv = CsvOptions::read(reader)?,
            FileFormatKind::Json => format.json = JsonOptions::read(reader)?,
            FileFormatKind::Text => {
                if let Some(sep) = reader.string("lineSep") {
                    format.line_sep = sep.to_owned();
                }
            }
            FileFormatKind::Avro | FileFormatKind::Orc | FileFormatKind::Arrow => {}
        }
        if !kind.has_own_codec() {
            format.codec = codec(reader)?;
        }
        Ok(format)
    }

    /// Refuses columns that the format cannot hold.
    pub fn check_schema(&self, schema: &SchemaRef) -> Result<()> {
        check_names(schema)?;
        let schema = &self.partition_by.file_schema(schema)?;
        let kind = self.kind;
        if kind == FileFormatKind::Text {
            return check_text(schema);
        }
        if let Some(batches) = &self.batches {
            return batches.check_schema(schema);
        }
        for field in schema.fields() {
            let (name, data_type) = (field.name(), field.data_type());
            let holds = match kind {
                FileFormatKind::Csv => !data_type.is_nested(),
                _ => true,
            };
            if !holds || has_interval(kind, data_type) {
                return Err(unsupported_type(kind, name, data_type));
            }
        }
        Ok(())
    }

    /// The end of file names.
    pub fn extension(&self) -> String {
        if let Some(batches) = &self.batches {
            return batches.extension();
        }
        let of_lines = match (self.kind, self.compression) {
            (FileFormatKind::Parquet, Compression::UNCOMPRESSED) => return "parquet".into(),
            (FileFormatKind::Parquet, c) => return format!("{}.parquet", short_name(c)),
            (FileFormatKind::Text, _) => "txt",
            (kind, _) => kind.name(),
        };
        match self.codec {
            Some(codec) => format!("{of_lines}.{}", codec.extension()),
            None => of_lines.into(),
        }
    }

    /// Starts a file; instants are written as `tz` shows them.
    pub fn start(&self, file: File, schema: &SchemaRef, tz: Tz) -> Result<FileEncoder> {
        let out = |file| Output::new(file, self.codec).map_err(|e| write_failed(&e));
        Ok(match self.kind {
            FileFormatKind::Csv => FileEncoder::Csv(CsvEncoder::start(out(file)?, schema, self.csv.clone(), tz)?),
            FileFormatKind::Json => FileEncoder::Json(JsonEncoder::start(out(file)?, self.json.clone(), tz)?),
            FileFormatKind::Text => FileEncoder::Text(out(file)?, self.line_sep.clone()),
            FileFormatKind::Avro | FileFormatKind::Orc | FileFormatKind::Arrow => match &self.batches {
                Some(batches) => FileEncoder::Batches(batches.start(file, schema)?),
                None => return Err(Error::internal("a format without its options")),
            },
            FileFormatKind::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(self.compression)
                    // Names of the parts of lists and maps as Spark has them.
                    .set_coerce_types(true)
                    .build();
                let schema = plain_schema(schema);
                let writer = ArrowWriter::try_new(BufWriter::new(file), schema, Some(properties)).map_err(parquet)?;
                FileEncoder::Parquet(Box::new(writer))
            }
        })
    }
}

/// A file that is being written.
#[derive(Debug)]
pub enum FileEncoder {
    /// See [`FileFormatKind`].
    Csv(CsvEncoder),
    /// See [`FileFormatKind`].
    Json(JsonEncoder),
    /// See [`FileFormatKind`].
    Text(Output, String),
    /// See [`FileFormatKind`].
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    /// See [`BatchFormat`].
    Batches(BatchEncoder),
}

impl FileEncoder {
    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Csv(csv) => csv.write(batch),
            Self::Json(json) => json.write(batch),
            Self::Text(out, line_sep) => write_text(out, batch, line_sep),
            Self::Parquet(writer) => writer.write(&plain_rows(batch)?).map_err(parquet),
            Self::Batches(encoder) => encoder.write(batch),
        }
    }

    /// Ends the file; it is not synced yet.
    pub fn finish(self) -> Result<File> {
        let out = match self {
            Self::Csv(csv) => csv.into_inner(),
            Self::Json(json) => json.into_inner(),
            Self::Text(out, _) => out,
            Self::Batches(encoder) => return encoder.finish(),
            Self::Parquet(writer) => {
                let file = writer.into_inner().map_err(parquet)?;
                return file.into_inner().map_err(|e| write_failed(e.error()));
            }
        };
        out.finish().map_err(|e| write_failed(&e))
    }
}

/// The error for a write that failed.
pub fn write_failed(error: &std::io::Error) -> Error {
    Error::io("SINK_WRITE", format!("writing the staged file failed: {error}")).with_help(RESTART).with_io_source(error)
}

fn parquet(error: ParquetError) -> Error {
    Error::io("SINK_WRITE", format!("writing the staged parquet file failed: {error}"))
        .with_help(RESTART)
        .with_source(error)
}

/// NULL is an empty line, as in Spark.
fn write_text(out: &mut Output, batch: &RecordBatch, line_sep: &str) -> Result<()> {
    let lines = cast(batch.column(0), &DataType::Utf8View)?;
    let lines = lines.as_string_view();
    for line in lines.iter() {
        out.write_all(line.unwrap_or_default().as_bytes())
            .and_then(|()| out.write_all(line_sep.as_bytes()))
            .map_err(|e| write_failed(&e))?;
    }
    Ok(())
}

fn parquet_compression(reader: &mut OptionReader<'_>) -> Result<Compression> {
    Ok(match reader.choice("compression")? {
        Some("none" | "uncompressed") => Compression::UNCOMPRESSED,
        Some("gzip") => Compression::GZIP(GzipLevel::default()),
        Some("zstd") => Compression::ZSTD(ZstdLevel::default()),
        Some("brotli") => Compression::BROTLI(BrotliLevel::default()),
        Some("lz4") => Compression::LZ4,
        Some("lz4_raw") => Compression::LZ4_RAW,
        _ => Compression::SNAPPY,
    })
}

fn short_name(compression: Compression) -> &'static str {
    match compression {
        Compression::GZIP(_) => "gz",
        Compression::ZSTD(_) => "zstd",
        Compression::BROTLI(_) => "br",
        Compression::LZ4 => "lz4hadoop",
        Compression::LZ4_RAW => "lz4raw",
        _ => "snappy",
    }
}

/// How lines are compressed.
fn codec(reader: &mut OptionReader<'_>) -> Result<Option<Codec>> {
    let Some(text) = reader.string("compression") else { return Ok(None) };
    let name = text.to_ascii_lowercase();
    if ["none", "uncompressed"].contains(&name.as_str()) {
        return Ok(None);
    }
    Codec::of_name(&name)
        .map(Some)
        .ok_or_else(|| reader.invalid("compression", text, &format!("one of none, uncompressed, {}", Codec::names())))
}

fn check_names(schema: &SchemaRef) -> Result<()> {
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|f| !seen.insert(f.name().to_lowercase())) {
        None => Ok(()),
        Some(f) => Err(Error::invalid("COLUMN_ALREADY_EXISTS", format!("column '{}' is there twice", f.name()))
            .with_help("give every column of a file its own name with AS")),
    }
}

fn check_text(schema: &SchemaRef) -> Result<()> {
    match schema.fields().as_ref() {
        [f] if matches!(f.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Ok(()),
        [f] => Err(unsupported_type(FileFormatKind::Text, f.name(), f.data_type())),
        fields => Err(Error::invalid(
            "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
            format!("the text sink writes one string column, not {} columns", fields.len()),
        )
        .with_help("select one text: concat_ws(',', a, b) AS value, or to_json(struct(*)) AS value")),
    }
}

/// The error for a column that a format cannot hold.
pub fn unsupported_type(kind: FileFormatKind, column: &str, data_type: &DataType) -> Error {
    let type_name = crate::type_name::type_name(data_type);
    Error::invalid(
        "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
        format!("the {kind} sink cannot hold column '{column}' of type {type_name}"),
    )
    .with_help("cast it to another type, e.g. with to_json(…) or CAST(… AS STRING)")
}
