//! JSON files: an object a line, an array of objects a line, or a whole file of either.

use std::ops::Range;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};

use super::bad_records::{BadRecordCounter, BadRecords, malformed};
use super::encoding::{self, Encoding};
use super::lines::LineEnd;
use crate::error::{Error, Result};
use crate::function::json::decode::Decoder;
use crate::function::json::infer::{InferOptions, Inference, Type, add_record, duplicate};
use crate::function::json::options::{self as read_options, ReadOptions};
use crate::options::OptionType::{Boolean, Number};
use crate::options::{OptionReader, OptionSpec};

/// What [`sampling_ratio`] reads.
pub const SAMPLING: [OptionSpec; 1] =
    [OptionSpec::new("samplingRatio", Number(0.0, 1.0), "The share of the records that inference looks at.").or("1.0")];
const OPTIONS: [OptionSpec; 5] = [
    OptionSpec::new("multiLine", Boolean, "Whether a file is one text, with line ends anywhere.").or("false"),
    OptionSpec::new("primitivesAsString", Boolean, "Whether inference makes STRING of every plain value.").or("false"),
    OptionSpec::new("prefersDecimal", Boolean, "Whether inference makes DECIMAL of numbers that it holds.").or("false"),
    OptionSpec::new("inferTimestamp", Boolean, "Whether inference looks for times.").or("false"),
    OptionSpec::new("dropFieldIfAllNull", Boolean, "Whether inference leaves out columns without a value.").or("false"),
];

/// How JSON files are read.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    read: Arc<ReadOptions>,
    infer: Arc<InferOptions>,
    sampling_ratio: f64,
    encoding: Encoding,
    /// Whether a file is one text, which may have line ends anywhere.
    pub multi_line: bool,
}

impl JsonOptions {
    /// What [`JsonOptions::read`] reads.
    pub fn specs() -> Vec<&'static [OptionSpec]> {
        [&[&OPTIONS[..], &SAMPLING, &encoding::OPTIONS][..], read_options::READING].concat()
    }

    /// Reads Spark's JSON options.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for what is not done.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let multi_line = options.bool("multiLine")?;
        let infer = InferOptions {
            primitives_as_string: options.bool("primitivesAsString")?,
            prefers_decimal: options.bool("prefersDecimal")?,
            timestamps: options.bool("inferTimestamp")?,
            drop_all_null: options.bool("dropFieldIfAllNull")?,
        };
        Ok(Self {
            read: Arc::new(ReadOptions::read(options)?),
            infer: Arc::new(infer),
            sampling_ratio: sampling_ratio(options)?,
            encoding: Encoding::read(options, multi_line)?,
            multi_line,
        })
    }

    /// Refuses columns that JSON is not read as.
    ///
    /// # Errors
    /// See [`Decoder::new`].
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Decoder::new(schema.fields(), &self.read, Tz::UTC, true).map(drop)
    }
}

/// Decodes JSON. Keys without a column are ignored, columns without a key are NULL.
#[derive(Debug, Clone)]
pub struct JsonFormat {
    pub(super) schema: SchemaRef,
    options: JsonOptions,
    tz: Tz,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

impl JsonFormat {
    /// Columns, and what becomes of a record that does not fit them; local times are those of `tz`.
    ///
    /// # Errors
    /// A type that JSON is not read as.
    pub fn new(
        schema: SchemaRef,
        options: JsonOptions,
        tz: Tz,
        bad_records: BadRecords,
        counter: BadRecordCounter,
    ) -> Result<Self> {
        Decoder::new(schema.fields(), &options.read, tz, true)?;
        Ok(Self { schema, options, tz, bad_records, counter })
    }

    /// The same for some of the columns: what is wrong with the others is not seen, as in Spark.
    ///
    /// # Errors
    /// None for columns that the schema has.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        Ok(Self { schema: Arc::new(self.schema.project(columns)?), ..self.clone() })
    }

    /// Whether a file is one text.
    pub fn is_whole(&self) -> bool {
        self.options.multi_line
    }

    /// The rows of `lines`, which are ranges of `block`.
    ///
    /// # Errors
    /// A bad record, if bad records are refused.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        let mut decoder = Decoder::new(self.schema.fields(), &self.options.read, self.tz, true)?;
        let mut tokens = decoder.tokens();
        if self.options.encoding != Encoding::Utf8 {
            let (text, lines) = self.options.encoding.decode_lines(block, lines);
            let recoded =
                Self { options: JsonOptions { encoding: Encoding::Utf8, ..self.options.clone() }, ..self.clone() };
            return recoded.decode(&Buffer::from_vec(text.into_bytes()), &lines);
        }
        let whole = std::str::from_utf8(block).ok();
        for line in lines {
            let bytes = &block[line.clone()];
            let text = whole.and_then(|w| w.get(line.clone())).or_else(|| std::str::from_utf8(bytes).ok());
            let start = decoder.rows();
            let reason = match text {
                Some(text) => {
                    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                    if !decoder.record(text, &mut tokens).is_bad {
                        continue;
                    }
                    "it does not fit the schema"
                }
                None => {
                    decoder.lossy_record(&String::from_utf8_lossy(bytes));
                    "it is not valid UTF-8"
                }
            };
            self.counter.add(1);
            match self.bad_records {
                BadRecords::Null => {}
                BadRecords::Drop => decoder.truncate(start),
                BadRecords::Fail => return Err(malformed("JSON", bytes, reason)),
            }
        }
        let rows = decoder.rows();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), decoder.finish()?, &options)?)
    }
}

/// The columns of JSON files: every field of every record, in the order of their names, in the narrowest type that has all its
/// values; and one for the texts that could not be read, if there are such and bad records stay.
///
/// # Errors
/// A file that cannot be read; a bad record, if bad records are refused.
pub fn infer_json_schema(
    files: impl Iterator<Item = Result<Vec<u8>>>,
    options: &JsonOptions,
    line_end: &LineEnd,
    bad_records: BadRecords,
    tz: Tz,
) -> Result<Schema> {
    let tz = options.read.times.zone(tz);
    let inference = Inference::new(options.read.syntax, &options.infer, &options.read.times, tz);
    let (mut root, mut is_corrupt, mut seen) = (Type::Null, false, 0u64);
    for file in files {
        let file = file?;
        let bytes = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&file);
        let mut pos = 0;
        while pos < bytes.len() {
            let whole = bytes.len()..bytes.len();
            let end = if options.multi_line { None } else { line_end.find(bytes, pos) }.unwrap_or(whole);
            let record = &bytes[pos..end.start];
            pos = end.end;
            seen += 1;
            let share = |n: u64| (n as f64 * options.sampling_ratio) as u64;
            if record.is_empty() || share(seen) == share(seen - 1) {
                continue;
            }
            let text = options.encoding.decode(record);
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            if !add_record(&mut root, inference.of(text)) {
                match bad_records {
                    BadRecords::Fail => return Err(malformed("JSON", record, "it is no object")),
                    BadRecords::Null => is_corrupt = true,
                    BadRecords::Drop => {}
                }
            }
        }
    }
    if let Some(name) = duplicate(&root) {
        let message = format!("column '{}' is there twice: names are the same in any case", name.to_lowercase());
        return Err(Error::invalid("COLUMN_ALREADY_EXISTS", message));
    }
    let corrupt = is_corrupt.then_some(options.read.corrupt_record.as_str());
    let columns = inference.columns(root, corrupt);
    if let ([only], Some(_)) = (columns.as_slice(), corrupt) {
        let message = format!("no record can be read, so that '{}' would be the only column", only.name());
        return Err(Error::invalid("UNSUPPORTED_FEATURE.QUERY_ONLY_CORRUPT_RECORD_COLUMN", message));
    }
    Ok(Schema::new(columns))
}

/// Reads `samplingRatio`: the share of the records that types are told from.
///
/// # Errors
/// A number that is no share.
pub fn sampling_ratio(options: &mut OptionReader<'_>) -> Result<f64> {
    let ratio = options.parse::<f64>("samplingRatio")?.unwrap_or(1.0);
    if !(ratio > 0.0 && ratio <= 1.0) {
        return Err(options.invalid("samplingRatio", &ratio.to_string(), "a number above 0, at most 1"));
    }
    Ok(ratio)
}
