//! Rows to Avro, ORC and Arrow IPC files.

use std::fs::File;
use std::io::{self, BufWriter};
#[cfg(feature = "orc")]
use std::sync::Arc;
#[cfg(feature = "orc")]
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
#[cfg(feature = "orc")]
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
#[cfg(feature = "orc")]
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::SchemaRef;
#[cfg(feature = "orc")]
use arrow::datatypes::{DataType, Date32Type, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::writer::FileWriter;
#[cfg(feature = "orc")]
use chrono::Datelike;
#[cfg(feature = "orc")]
use orc_rust::ArrowWriterBuilder;
#[cfg(feature = "orc")]
use orc_rust::compression::CompressionType;

#[cfg(any(feature = "avro", feature = "orc"))]
use super::encode::unsupported_type;
use super::encode::{FileFormatKind, write_failed};
use crate::error::{Error, Result};
#[cfg(feature = "avro")]
use crate::format::avro::{Compression as AvroCompression, ContainerWriter, RecordEncoder, schema_of};
#[cfg(any(feature = "avro", feature = "orc"))]
use crate::options::OptionType;
use crate::options::{OptionReader, OptionSpec};

/// Which format, with its options.
#[derive(Debug, Clone)]
pub enum BatchFormat {
    #[cfg(feature = "avro")]
    Avro {
        compression: AvroCompression,
        name: String,
        namespace: String,
    },
    #[cfg(feature = "orc")]
    Orc(Option<CompressionType>),
    Arrow,
}

#[cfg(feature = "avro")]
const AVRO: [OptionSpec; 3] = [
    OptionSpec::new(
        "compression",
        OptionType::Choice(&["none", "uncompressed", "snappy", "deflate", "bzip2", "zstandard"]),
        "How blocks are compressed.",
    )
    .or("snappy"),
    OptionSpec::new("recordName", OptionType::Text, "The name of the record in the schema.").or("topLevelRecord"),
    OptionSpec::new("recordNamespace", OptionType::Text, "The namespace of the record in the schema.").or(""),
];
#[cfg(feature = "orc")]
const ORC: [OptionSpec; 1] = [OptionSpec::new(
    "compression",
    OptionType::Choice(&["none", "uncompressed", "snappy", "zlib", "zstd", "lz4"]),
    "How stripes are compressed.",
)
.or("zstd")];

impl BatchFormat {
    /// What [`BatchFormat::read`] reads.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        match kind {
            #[cfg(feature = "avro")]
            FileFormatKind::Avro => vec![&AVRO],
            #[cfg(feature = "orc")]
            FileFormatKind::Orc => vec![&ORC],
            _ => vec![],
        }
    }

    /// Reads the options of a kind; `None` for a kind of another module.
    ///
    /// # Errors
    /// Options that are wrong, and formats that this build does not have.
    pub fn read(kind: FileFormatKind, options: &mut OptionReader<'_>) -> Result<Option<Self>> {
        let _ = &options;
        Ok(Some(match kind {
            #[cfg(feature = "avro")]
            FileFormatKind::Avro => Self::Avro {
                compression: avro_compression(options)?,
                name: options.text("recordName").to_owned(),
                namespace: options.text("recordNamespace").to_owned(),
            },
            #[cfg(feature = "orc")]
            FileFormatKind::Orc => Self::Orc(orc_compression(options)?),
            FileFormatKind::Arrow => Self::Arrow,
            FileFormatKind::Csv | FileFormatKind::Json | FileFormatKind::Parquet | FileFormatKind::Text => {
                return Ok(None);
            }
            #[cfg(not(all(feature = "avro", feature = "orc")))]
            kind => return Err(kind.not_built()),
        }))
    }

    /// Refuses columns that the format cannot hold.
    ///
    /// # Errors
    /// The first of them.
    pub fn check_schema(&self, schema: &SchemaRef) -> Result<()> {
        // Formats that hold every column do not look.
        let _ = schema;
        match self {
            #[cfg(feature = "avro")]
            Self::Avro { name, namespace, .. } => schema_of(schema.fields(), name, namespace).map(drop),
            #[cfg(feature = "orc")]
            Self::Orc(_) => orc_schema(schema).map(drop),
            Self::Arrow => Ok(()),
        }
    }

    /// The end of file names.
    pub fn extension(&self) -> String {
        match self {
            #[cfg(feature = "avro")]
            Self::Avro { compression: AvroCompression::None, .. } => "avro".to_owned(),
            #[cfg(feature = "avro")]
            Self::Avro { compression, .. } => format!("{}.avro", compression.name()),
            #[cfg(feature = "orc")]
            Self::Orc(None) => "orc".to_owned(),
            #[cfg(feature = "orc")]
            Self::Orc(Some(compression)) => format!("{}.orc", compression.to_string().to_lowercase()),
            Self::Arrow => "arrow".to_owned(),
        }
    }

    /// Starts a file.
    ///
    /// # Errors
    /// A write that fails.
    pub fn start(&self, file: File, schema: &SchemaRef) -> Result<BatchEncoder> {
        let out = BufWriter::new(file);
        Ok(match self {
            #[cfg(feature = "avro")]
            Self::Avro { compression, name, namespace } => {
                let schema = schema_of(schema.fields(), name, namespace)?.to_string();
                BatchEncoder::Avro(ContainerWriter::start(out, &schema, *compression).map_err(|e| write_failed(&e))?)
            }
            #[cfg(feature = "orc")]
            Self::Orc(compression) => BatchEncoder::Orc(Orc::start(out, orc_schema(schema)?, *compression)?),
            Self::Arrow => BatchEncoder::Arrow(Box::new(FileWriter::try_new(out, schema).map_err(failed)?)),
        })
    }
}

/// A file that is being written.
pub enum BatchEncoder {
    #[cfg(feature = "avro")]
    Avro(ContainerWriter<BufWriter<File>>),
    #[cfg(feature = "orc")]
    Orc(Orc),
    Arrow(Box<FileWriter<BufWriter<File>>>),
}

impl std::fmt::Debug for BatchEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchEncoder").finish_non_exhaustive()
    }
}

impl BatchEncoder {
    /// Adds rows.
    ///
    /// # Errors
    /// A write that fails.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            #[cfg(feature = "avro")]
            Self::Avro(writer) => {
                let records = RecordEncoder::encode(batch)?;
                writer.block(batch.num_rows() as u64, records).map_err(|e| write_failed(&e))
            }
            #[cfg(feature = "orc")]
            Self::Orc(orc) => orc.write(batch),
            Self::Arrow(writer) => writer.write(batch).map_err(failed),
        }
    }

    /// Ends the file; it is not synced yet.
    ///
    /// # Errors
    /// A write that fails.
    pub fn finish(self) -> Result<File> {
        let out = match self {
            #[cfg(feature = "avro")]
            Self::Avro(writer) => writer.into_inner(),
            #[cfg(feature = "orc")]
            Self::Orc(orc) => orc.finish()?,
            Self::Arrow(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner().map_err(failed)?
            }
        };
        out.into_inner().map_err(|e| write_failed(e.error()))
    }
}

fn failed(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    write_failed(&io::Error::other(e))
}

#[cfg(feature = "avro")]
fn avro_compression(options: &mut OptionReader<'_>) -> Result<AvroCompression> {
    Ok(match options.choice("compression")? {
        Some("none" | "uncompressed") => AvroCompression::None,
        Some("deflate") => AvroCompression::Deflate,
        Some("bzip2") => AvroCompression::Bzip2,
        Some("zstandard") => AvroCompression::Zstandard,
        _ => AvroCompression::Snappy,
    })
}

#[cfg(feature = "orc")]
fn orc_compression(options: &mut OptionReader<'_>) -> Result<Option<CompressionType>> {
    Ok(match options.choice("compression")? {
        Some("none" | "uncompressed") => None,
        Some("snappy") => Some(CompressionType::Snappy),
        Some("zlib") => Some(CompressionType::Zlib),
        Some("lz4") => Some(CompressionType::Lz4),
        _ => Some(CompressionType::Zstd),
    })
}

/// An ORC file that is being written, on a thread of its own: the crate's writer stays where it was made.
#[cfg(feature = "orc")]
pub struct Orc {
    schema: SchemaRef,
    /// Ends the thread when it goes.
    rows: SyncSender<RecordBatch>,
    thread: JoinHandle<Result<BufWriter<File>>>,
}

#[cfg(feature = "orc")]
impl Orc {
    fn start(out: BufWriter<File>, schema: SchemaRef, compression: Option<CompressionType>) -> Result<Self> {
        let (rows, taken) = sync_channel(1);
        let of_thread = schema.clone();
        let thread = std::thread::Builder::new().name("orc-writer".to_owned());
        let thread = thread.spawn(move || write_orc(out, of_thread, compression, &taken));
        Ok(Self { schema, rows, thread: thread.map_err(|e| write_failed(&e))? })
    }

    fn write(&self, batch: &RecordBatch) -> Result<()> {
        // Where the thread has ended already, `finish` says why.
        drop(self.rows.send(orc_rows(batch, &self.schema)?));
        Ok(())
    }

    fn finish(self) -> Result<BufWriter<File>> {
        drop(self.rows);
        self.thread.join().unwrap_or_else(|_| Err(write_failed(&io::Error::other("the writer of ORC panicked"))))
    }
}

#[cfg(feature = "orc")]
fn write_orc(
    mut out: BufWriter<File>,
    schema: SchemaRef,
    compression: Option<CompressionType>,
    rows: &Receiver<RecordBatch>,
) -> Result<BufWriter<File>> {
    let builder = ArrowWriterBuilder::new(&mut out, schema);
    let builder = match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    };
    let mut writer = builder.try_build().map_err(failed)?;
    rows.iter().try_for_each(|batch| writer.write(&batch)).map_err(failed)?;
    writer.close().map_err(failed)?;
    Ok(out)
}

/// The columns in the types that the writer of ORC has.
#[cfg(feature = "orc")]
fn orc_schema(schema: &SchemaRef) -> Result<SchemaRef> {
    use DataType::*;
    let column = |f: &Arc<Field>| {
        let data_type = match f.data_type() {
            t @ (Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Date32) => t.clone(),
            Utf8 | LargeUtf8 | Utf8View => Utf8,
            DataType::Binary | LargeBinary | BinaryView => DataType::Binary,
            // What Spark calls TIMESTAMP has no zone in ORC.
            Timestamp(_, Some(_)) => Timestamp(TimeUnit::Microsecond, None),
            other => return Err(unsupported_type(FileFormatKind::Orc, f.name(), other)),
        };
        Ok(Field::new(f.name(), data_type, true))
    };
    Ok(Arc::new(Schema::new(schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?)))
}

#[cfg(feature = "orc")]
fn orc_rows(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(array, to): (&arrow::array::ArrayRef, &Arc<Field>)| {
        check_times(array, to.name())?;
        let from = match array.data_type() {
            // The same number, not the local time.
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => arrow::compute::cast(array, &DataType::Int64)?,
            _ => Arc::clone(array),
        };
        Ok(arrow::compute::cast(&from, to.data_type())?)
    };
    let columns: Vec<_> = batch.columns().iter().map(to_julian).collect();
    let columns = columns.iter().zip(schema.fields()).map(column).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Refuses times that ORC has no form for: those of the last second before 1970 that are no whole one.
#[cfg(feature = "orc")]
fn check_times(array: &ArrayRef, column: &str) -> Result<()> {
    let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() else { return Ok(()) };
    let has_no_form = |us: i64| us > -1_000_000 && us < 0 && us.rem_euclid(1_000_000) > 999;
    if !times.iter().flatten().any(has_no_form) {
        return Ok(());
    }
    let message =
        format!("column '{column}' has a time within the last second before 1970, which cannot be written in ORC");
    Err(Error::execution("UNSUPPORTED_FEATURE", message)
        .with_help("leave such rows out, write the column as STRING, or write Parquet"))
}

/// Dates and times in the calendar that readers of ORC take them for, where a file does not say: Julian before 15 October 1582.
#[cfg(feature = "orc")]
fn to_julian(values: &ArrayRef) -> ArrayRef {
    const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
    match values.data_type() {
        DataType::Date32 => Arc::new(values.as_primitive::<Date32Type>().unary::<_, Date32Type>(julian_day)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = values.as_primitive::<TimestampMicrosecondType>();
            let times = times.unary::<_, TimestampMicrosecondType>(|us| match i32::try_from(us.div_euclid(DAY_US)) {
                Ok(day) => i64::from(julian_day(day)) * DAY_US + us.rem_euclid(DAY_US),
                Err(_) => us,
            });
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        _ => values.clone(),
    }
}

/// The day of the same year, month and day of month in the Julian calendar.
#[cfg(feature = "orc")]
fn julian_day(gregorian: i32) -> i32 {
    /// The first day of the Gregorian calendar, in days since the epoch, and the epoch in days since the start of the Julian count.
    const FIRST: i32 = -141_427;
    const EPOCH: i64 = 2_440_588;
    if gregorian >= FIRST {
        return gregorian;
    }
    let Some(date) = Date32Type::to_naive_date_opt(gregorian) else { return gregorian };
    let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let before_march = (14 - month) / 12;
    let (y, m) = (year + 4800 - before_march, month + 12 * before_march - 3);
    let number = day + (153 * m + 2) / 5 + 365 * y + y.div_euclid(4) - 32_083 - EPOCH;
    // Days that the Julian calendar has no more are the first of the other.
    i32::try_from(number).unwrap_or(gregorian).min(FIRST)
}
