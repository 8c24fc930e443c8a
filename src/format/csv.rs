//! CSV, one record a line (Spark's `multiLine false`), decoded by arrow-csv.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, new_null_array};
use arrow::buffer::Buffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use regex::Regex;

use super::bad_records::{BadRecordCounter, BadRecords};
use super::csv_line::{Dialect, split};
use super::pattern::{TimePatterns, parse_column};
use super::rows::{RowDecoder, decode_lines};
use crate::error::Result;
use crate::options::OptionReader;

/// Decodes CSV lines by position. Too few fields, too many, or one of the wrong type make a bad record.
#[derive(Debug, Clone)]
pub struct CsvFormat {
    pub(super) schema: SchemaRef,
    raw_schema: SchemaRef,
    options: CsvOptions,
    pub(super) bad_records: BadRecords,
    pub(super) counter: BadRecordCounter,
}

/// The dialect and conversions of a CSV file.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    dialect: Dialect,
    header: bool,
    null_value: Option<Regex>,
    null_text: String,
    patterns: TimePatterns,
}

impl CsvOptions {
    /// Reads Spark's CSV options.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let sep = byte(options, "sep", None)?;
        let delimiter = byte(options, "delimiter", None)?;
        let null_text = options.string("nullValue").unwrap_or_default().to_string();
        let null_value = (!null_text.is_empty()).then(|| Regex::new(&format!("^(?:{})$", regex::escape(&null_text))));
        let null_value =
            null_value.transpose().map_err(|e| options.invalid("nullValue", &null_text, &e.to_string()))?;
        Ok(Self {
            dialect: Dialect {
                delimiter: sep.or(delimiter).unwrap_or(b','),
                quote: byte(options, "quote", None)?.unwrap_or(b'"'),
                escape: byte(options, "escape", None)?.unwrap_or(b'\\'),
                comment: byte(options, "comment", None)?,
            },
            header: options.bool("header", false)?,
            null_value,
            null_text,
            patterns: TimePatterns::read(options)?,
        })
    }
}

/// One byte, `\t` or another escaped byte.
fn byte(options: &mut OptionReader<'_>, key: &'static str, default: Option<u8>) -> Result<Option<u8>> {
    let Some(text) = options.string(key) else { return Ok(default) };
    match text.as_bytes() {
        [b] => Ok(Some(*b)),
        b"\\t" => Ok(Some(b'\t')),
        b"\\\\" => Ok(Some(b'\\')),
        b"\\0" | b"\\u0000" => Ok(Some(0)),
        _ => Err(options.invalid(key, text, "one ASCII character")),
    }
}

impl CsvFormat {
    /// Columns by position, and what becomes of a line that does not fit them.
    pub fn new(schema: SchemaRef, options: CsvOptions, bad_records: BadRecords, counter: BadRecordCounter) -> Self {
        Self { raw_schema: options.patterns.raw_schema(&schema), schema, options, bad_records, counter }
    }

    /// Whether the first line of a file names the columns.
    pub fn has_header(&self) -> bool {
        self.options.header
    }

    /// The rows of `lines`, which are ranges of `block`.
    pub fn decode(&self, block: &Buffer, lines: &[Range<usize>]) -> Result<RecordBatch> {
        decode_lines(self, block, lines, self.bad_records, &self.counter)
    }

    fn builder(&self, rows: usize) -> ReaderBuilder {
        let dialect = self.options.dialect;
        // One more than there should be, so that a surplus record shows.
        let builder = ReaderBuilder::new(self.raw_schema.clone())
            .with_batch_size(rows + 1)
            .with_delimiter(dialect.delimiter)
            .with_quote(dialect.quote)
            .with_escape(dialect.escape);
        let builder = match dialect.comment {
            Some(c) => builder.with_comment(c),
            None => builder,
        };
        match &self.options.null_value {
            Some(null) => builder.with_null_regex(null.clone()),
            None => builder,
        }
    }

    fn salvage_field(&self, field: &FieldRef, text: Option<&String>) -> ArrayRef {
        let null = || new_null_array(field.data_type(), 1);
        let Some(text) = text.filter(|t| **t != self.options.null_text) else { return null() };
        let text: ArrayRef = Arc::new(StringViewArray::from_iter_values([text]));
        match self.options.patterns.of(field.data_type()) {
            Some(pattern) => parse_column(&text, field.data_type(), pattern).unwrap_or_else(|_| null()),
            None => cast_with_options(&text, field.data_type(), &CastOptions::default()).unwrap_or_else(|_| null()),
        }
    }
}

impl RowDecoder for CsvFormat {
    fn name(&self) -> &'static str {
        "CSV"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn is_skipped(&self, line: &[u8]) -> bool {
        line.trim_ascii().is_empty() || line.first().copied().is_some_and(|b| Some(b) == self.options.dialect.comment)
    }

    fn decode(&self, mut bytes: &[u8], rows: usize) -> Result<RecordBatch> {
        let mut decoder = self.builder(rows).build_decoder();
        while !bytes.is_empty() {
            let read = decoder.decode(bytes)?;
            if read == 0 {
                break;
            }
            bytes = &bytes[read..];
        }
        // An empty input ends the last record, which has no line end.
        decoder.decode(&[])?;
        let raw = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(self.raw_schema.clone()));
        self.options.patterns.apply(&self.schema, raw)
    }

    fn salvage(&self, line: &[u8]) -> Result<RecordBatch> {
        let fields = split(line, self.options.dialect);
        let columns =
            self.schema.fields().iter().enumerate().map(|(i, f)| self.salvage_field(f, fields.get(i))).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// The schema of a CSV file: names from the header, or `_c0`, `_c1`, …; types from the first records, or all strings.
pub fn infer_csv_schema(reader: impl Read, options: &CsvOptions, infer_types: bool) -> Result<Schema> {
    const RECORDS: usize = 10_000;
    let dialect = options.dialect;
    let mut format = Format::default()
        .with_header(options.header)
        .with_delimiter(dialect.delimiter)
        .with_quote(dialect.quote)
        .with_escape(dialect.escape)
        .with_truncated_rows(true);
    if let Some(comment) = dialect.comment {
        format = format.with_comment(comment);
    }
    if let Some(null) = &options.null_value {
        format = format.with_null_regex(null.clone());
    }
    let (schema, _) = format.infer_schema(reader, Some(if infer_types { RECORDS } else { 1 }))?;
    let field = |(i, f): (usize, &FieldRef)| {
        let name = if options.header { f.name().clone() } else { format!("_c{i}") };
        Field::new(name, if infer_types { spark_type(f.data_type()) } else { DataType::Utf8View }, true)
    };
    Ok(Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn spark_type(inferred: &DataType) -> DataType {
    match inferred {
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Date32 => inferred.clone(),
        _ => DataType::Utf8View,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use arrow::util::pretty::pretty_format_batches;

    fn rows(text: &str, options: &[(&str, &str)], bad: BadRecords) -> (Result<Vec<String>>, u64) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ]));
        let options = Options::from_iter(options.iter().copied());
        let mut reader = OptionReader::new("the file source", &options);
        let csv = CsvOptions::read(&mut reader).unwrap();
        reader.finish().unwrap();
        let counter = BadRecordCounter::default();
        let mut start = 0;
        let lines: Vec<_> = text
            .split_inclusive('\n')
            .map(|l| {
                let range = start..start + l.trim_end_matches('\n').len();
                start += l.len();
                range
            })
            .collect();
        let batch = CsvFormat::new(schema, csv, bad, counter.clone()).decode(&Buffer::from(text.as_bytes()), &lines);
        let table = batch.map(|b| {
            let table = pretty_format_batches(&[b]).unwrap().to_string();
            table.lines().filter(|l| l.starts_with('|')).skip(1).map(|l| l.replace(' ', "")).collect()
        });
        (table, counter.get())
    }

    #[test]
    fn one_line_is_one_record_whatever_its_quotes_say() {
        let text = "1,a,2020-01-01 00:00:00\n\n2,\"open,2020-01-01\nx,b,\n4,\"d,e\",\n5,f\n6,g,,surplus\n";
        let (got, bad) = rows(text, &[], BadRecords::Null);
        assert_eq!(
            got.unwrap(),
            ["|1|a|2020-01-01T00:00:00Z|", "|2|open,2020-01-01||", "||b||", "|4|d,e||", "|5|f||", "|6|g||"]
        );
        assert_eq!(bad, 4);
        let (got, _) = rows(text, &[], BadRecords::Drop);
        assert_eq!(got.unwrap(), ["|1|a|2020-01-01T00:00:00Z|", "|4|d,e||"]);
        assert!(rows(text, &[], BadRecords::Fail).0.is_err());
    }

    #[test]
    fn options_change_the_dialect() {
        let options = [("sep", ";"), ("nullValue", "NA"), ("comment", "#"), ("timestampFormat", "dd.MM.yyyy HH:mm")];
        let (got, bad) = rows("#x;y;z\n1;NA;02.01.1970 03:04\n2;'q';nonsense\n", &options, BadRecords::Null);
        assert_eq!(got.unwrap(), ["|1||1970-01-02T03:04:00Z|", "|2|'q'||"]);
        assert_eq!(bad, 1);
    }

    #[test]
    fn schema_of_a_file_with_and_without_header() {
        let options = Options::from_iter([("header", "true")]);
        let csv = CsvOptions::read(&mut OptionReader::new("t", &options)).unwrap();
        let schema = infer_csv_schema("a,b\n1,x\n".as_bytes(), &csv, true).unwrap();
        assert_eq!(schema.field(0), &Field::new("a", DataType::Int64, true));
        let csv = CsvOptions::read(&mut OptionReader::new("t", &Options::new())).unwrap();
        let schema = infer_csv_schema("a,b\n1,x\n".as_bytes(), &csv, false).unwrap();
        assert_eq!(schema.field(1), &Field::new("_c1", DataType::Utf8View, true));
    }
}
