//! CSV files: lines, or a whole file whose values may hold line ends, decoded by [`crate::function::csv`].

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::bad_records::{BadRecordCounter, BadRecords, malformed};
use super::csv_header::{check_names, column_names};
use super::encoding::{self, Encoding};
use super::json::{SAMPLING, sampling_ratio};
use super::lines::LineEnd;
use crate::error::{Error, Result};
use crate::function::csv::decode::{Decoder, lines};
use crate::function::csv::dialect::StrayQuotes;
use crate::function::csv::infer::Types;
use crate::function::csv::options::{self as read_options, ReadOptions};
use crate::function::csv::tokens::{Token, Tokens};
use crate::options::OptionType::Boolean;
use crate::options::{OptionReader, OptionSpec};

const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new("header", Boolean, "Whether the first line of a file holds names.").or("false"),
    OptionSpec::new("enforceSchema", Boolean, "Whether the names in the first line are passed over, or must fit.")
        .or("true"),
    OptionSpec::new("inferSchema", Boolean, "Whether inference tells types; without it all columns are STRING.")
        .or("false"),
    OptionSpec::new("multiLine", Boolean, "Whether quoted values may hold line ends.").or("false"),
];

/// How CSV files are read.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    pub(super) read: Arc<ReadOptions>,
    header: bool,
    /// Whether the names in a header are passed over.
    enforce_schema: bool,
    /// Whether values may hold line ends.
    pub multi_line: bool,
    infer_types: bool,
    sampling_ratio: f64,
    encoding: Encoding,
}

impl CsvOptions {
    /// What [`CsvOptions::read`] reads.
    pub fn specs() -> Vec<&'static [OptionSpec]> {
        [&[&OPTIONS[..], &SAMPLING, &encoding::OPTIONS][..], read_options::READING].concat()
    }

    /// Reads Spark's CSV options.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for what is not done.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let multi_line = options.bool("multiLine")?;
        let sampling_ratio = sampling_ratio(options)?;
        let read = ReadOptions::read(options)?;
        if multi_line && read.dialect.stray_quotes == StrayQuotes::BackToSeparator {
            return Err(not_in_whole_files("unescapedQuoteHandling 'BACK_TO_DELIMITER'"));
        }
        if multi_line && options.string("lineSep").is_some_and(|text| text != "\n") {
            return Err(not_in_whole_files("lineSep"));
        }
        Ok(Self {
            read: Arc::new(read),
            header: options.bool("header")?,
            enforce_schema: options.bool("enforceSchema")?,
            multi_line,
            infer_types: options.bool("inferSchema")?,
            sampling_ratio,
            encoding: Encoding::read(options, multi_line)?,
        })
    }

    /// Whether inference tells types too, not only names.
    pub fn infers_types(&self) -> bool {
        self.infer_types
    }

    /// Refuses columns that CSV cannot hold.
    ///
    /// # Errors
    /// See [`Decoder::new`].
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        Decoder::new(schema.fields().clone(), self.read.clone(), Tz::UTC).map(drop)
    }
}

fn not_in_whole_files(option: &str) -> Error {
    Error::unsupported("UNSUPPORTED_FEATURE", format!("option {option} beside multiLine is not supported"))
        .with_help("leave one of the two options out")
}

/// Decodes CSV by position. Too few values, too many, or one of the wrong type make a bad record.
#[derive(Debug, Clone)]
pub struct CsvFormat {
    pub(super) schema: SchemaRef,
    options: CsvOptions,
    decoder: Decoder,
    /// Names that a header is compared with.
    names: Arc<[String]>,
    /// Which of them.
    columns: Arc<[usize]>,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

impl CsvFormat {
    /// All columns of `schema`; local times are those of `tz`, unless the options have another zone.
    ///
    /// # Errors
    /// See [`Decoder::new`].
    pub fn new(
        schema: SchemaRef,
        options: CsvOptions,
        tz: Tz,
        bad_records: BadRecords,
        counter: BadRecordCounter,
    ) -> Result<Self> {
        let decoder = Decoder::new(schema.fields().clone(), options.read.clone(), tz)?;
        let corrupt = &options.read.corrupt_record;
        let names: Arc<[String]> = schema.fields().iter().map(|f| f.name().clone()).filter(|n| n != corrupt).collect();
        let columns = (0..names.len()).collect();
        Ok(Self { schema, options, decoder, names, columns, bad_records, counter })
    }

    /// The same for some of the columns, which is all that is converted then.
    ///
    /// # Errors
    /// None for columns that the schema has.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        let schema = Arc::new(self.schema.project(columns)?);
        let decoder = self.decoder.project(columns);
        // Of a header only the names of these columns are compared.
        let places = decoder.places().filter(|_| decoder.is_partial()).collect::<Vec<_>>();
        let columns = if places.is_empty() { self.columns.clone() } else { places.into() };
        Ok(Self { schema, decoder, columns, ..self.clone() })
    }

    /// Whether a file is one text whose values may hold line ends.
    pub fn is_whole(&self) -> bool {
        self.options.multi_line
    }

    /// Where records begin in the first block of a file, behind the header.
    ///
    /// # Errors
    /// `CSV_HEADER_DOES_NOT_CONFORM` for other names than the schema's, if the schema is not enforced.
    pub fn first_record(&self, block: &[u8], line_end: &LineEnd) -> Result<usize> {
        if !self.options.header {
            return Ok(0);
        }
        let mut pos = 0;
        while pos < block.len() {
            let end = line_end.find(block, pos).unwrap_or(block.len()..block.len());
            let line = &block[pos..end.start];
            pos = end.end;
            if !self.is_skipped(line) {
                let text = self.options.encoding.decode(line);
                let mut tokens = Tokens::default();
                tokens.push_line(&text, 0..text.len(), &self.options.read.dialect);
                self.check_header(&text, &tokens)?;
                break;
            }
        }
        Ok(pos)
    }

    fn check_header(&self, text: &str, tokens: &Tokens) -> Result<()> {
        let found: Vec<_> = tokens.record(0).iter().map(|t| tokens.text(text, *t).unwrap_or_default()).collect();
        let is_partial = self.decoder.is_partial();
        let found =
            if is_partial { self.columns.iter().filter_map(|i| found.get(*i).copied()).collect() } else { found };
        let names: Vec<_> = self.columns.iter().map(|i| self.names[*i].as_str()).collect();
        check_names(&found, &names, self.options.enforce_schema)
    }

    /// The rows of `lines`, which are ranges of `block`; of a whole file, of which there is one line.
    ///
    /// # Errors
    /// A bad record, if bad records are refused.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        };
        let span = first.start..last.end;
        if self.options.multi_line {
            return self.decode_whole(&block[span]);
        }
        let kept = lines.iter().filter(|line| !self.is_skipped(&block[(*line).clone()]));
        if self.options.encoding.is_utf8(&block[span.clone()]) {
            let ranges: Vec<_> = kept.map(|line| line.start - span.start..line.end - span.start).collect();
            let block = block.slice_with_length(span.start, span.len());
            return self.decode_records(&block, &ranges);
        }
        let mut text = String::new();
        let ranges: Vec<_> = kept
            .map(|line| {
                let start = text.len();
                text.push_str(&self.options.encoding.decode(&block[line.clone()]));
                start..text.len()
            })
            .collect();
        self.decode_records(&Buffer::from_vec(text.into_bytes()), &ranges)
    }

    fn decode_records(&self, block: &Buffer, ranges: &[Range<usize>]) -> Result<RecordBatch> {
        if self.decoder.is_empty() {
            return self.batch(vec![], ranges.len());
        }
        let text = std::str::from_utf8(block).map_err(|e| Error::internal(format!("decoded text: {e}")))?;
        let tokens = lines(text, ranges, &self.decoder);
        self.finish(block, text, &tokens, None)
    }

    /// A file as one text.
    fn decode_whole(&self, bytes: &[u8]) -> Result<RecordBatch> {
        let text = self.options.encoding.decode(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let line_end = first_line_end(text);
        let text = match line_end {
            None => Cow::Borrowed(text),
            Some(end) => Cow::Owned(text.replace(end, "\n")),
        };
        let mut tokens = Tokens::default();
        tokens.push_all(&text, &self.options.read.dialect);
        if self.options.header && !tokens.is_empty() {
            self.check_header(&text, &tokens)?;
            tokens.skip_first();
        }
        if self.decoder.is_empty() {
            return self.batch(vec![], tokens.len());
        }
        let block = Buffer::from_vec(text.clone().into_owned().into_bytes());
        self.finish(&block, &text, &tokens, line_end)
    }

    fn finish(&self, block: &Buffer, text: &str, tokens: &Tokens, line_end: Option<&str>) -> Result<RecordBatch> {
        let decoded = self.decoder.decode(block, text, tokens, line_end)?;
        if let Some((row, refusal)) = decoded.refused {
            return Err(refusal.error(&text[tokens.ranges[row].clone()]));
        }
        let bad = decoded.bad.iter().filter(|bad| **bad).count();
        self.counter.add(bad as u64);
        let batch = self.batch(decoded.columns, tokens.len())?;
        match self.bad_records {
            _ if bad == 0 => Ok(batch),
            BadRecords::Null => Ok(batch),
            BadRecords::Drop => {
                let good: BooleanArray = decoded.bad.iter().map(|bad| Some(!bad)).collect();
                Ok(filter_record_batch(&batch, &good)?)
            }
            BadRecords::Fail => {
                let row = decoded.bad.iter().position(|bad| *bad).unwrap_or_default();
                let record = &text[tokens.ranges[row].clone()];
                Err(malformed("CSV", record.as_bytes(), "it does not fit the columns"))
            }
        }
    }

    fn batch(&self, columns: Vec<arrow::array::ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Whether a line is no record: nothing but blanks, or a comment.
    fn is_skipped(&self, line: &[u8]) -> bool {
        is_skipped(line, &self.options.read)
    }
}

fn is_skipped(line: &[u8], options: &ReadOptions) -> bool {
    options.dialect.comment.is_some_and(|c| line.first() == Some(&c)) || line.iter().all(|b| *b <= b' ')
}

/// The line end of a text whose lines do not end with `\n`: its first one.
fn first_line_end(text: &str) -> Option<&'static str> {
    let at = memchr::memchr2(b'\n', b'\r', text.as_bytes())?;
    match text.as_bytes()[at..] {
        [b'\r', b'\n', ..] => Some("\r\n"),
        [b'\r', ..] => Some("\r"),
        _ => None,
    }
}

/// The schema of CSV files: names from the header of the first one, or `_c0`, `_c1`, …; types from all records, or all
/// strings.
///
/// # Errors
/// `COLUMN_ALREADY_EXISTS` for names that are there twice once they are made.
pub fn infer_csv_schema(files: &[Vec<u8>], options: &CsvOptions, line_end: &LineEnd, tz: Tz) -> Result<Schema> {
    let read = &options.read;
    let tz = read.zone(tz);
    let mut header: Option<(String, Vec<Option<String>>)> = None;
    let mut types = Types::default();
    let mut seen = 0u64;
    for file in files {
        let (text, tokens) = records(file, options, line_end);
        for row in 0..tokens.len() {
            let record = &text[tokens.ranges[row].clone()];
            let names = || tokens.record(row).iter().map(|t| name(&text, &tokens, *t)).collect::<Vec<_>>();
            match &header {
                None => {
                    header = Some((record.to_owned(), names()));
                    types = Types::new(tokens.record(row).len());
                    if options.header {
                        continue;
                    }
                }
                Some((first, _)) if options.header && first == record => continue,
                _ => {}
            }
            seen += 1;
            let is_sample =
                (seen as f64 * options.sampling_ratio) as u64 > ((seen - 1) as f64 * options.sampling_ratio) as u64;
            if options.infer_types && is_sample {
                types.add(&text, &tokens, row, read, tz);
            }
        }
    }
    let names = header.map(|(_, names)| names).unwrap_or_default();
    let names = column_names(&names, options.header.then_some(read.null_value.as_str()))?;
    let fields = names.into_iter().zip(types.finish()).map(|(name, t)| Field::new(name, t, true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

fn name(text: &str, tokens: &Tokens, token: Token) -> Option<String> {
    tokens.text(text, token).map(str::to_owned)
}

/// The records of a file, its header among them.
fn records(bytes: &[u8], options: &CsvOptions, line_end: &LineEnd) -> (String, Tokens) {
    let mut tokens = Tokens::default();
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if options.multi_line {
        let text = options.encoding.decode(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = first_line_end(text).map_or_else(|| text.to_owned(), |end| text.replace(end, "\n"));
        tokens.push_all(&text, &options.read.dialect);
        return (text, tokens);
    }
    let (mut text, mut pos) = (String::new(), 0);
    let mut ranges = vec![];
    while pos < bytes.len() {
        let end = line_end.find(bytes, pos).unwrap_or(bytes.len()..bytes.len());
        let line = &bytes[pos..end.start];
        pos = end.end;
        if !is_skipped(line, &options.read) {
            let start = text.len();
            text.push_str(&options.encoding.decode(line));
            ranges.push(start..text.len());
        }
    }
    for range in ranges {
        tokens.push_line(&text, range, &options.read.dialect);
    }
    (text, tokens)
}
