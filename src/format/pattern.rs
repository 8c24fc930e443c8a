//! Java date patterns (`yyyy-MM-dd HH:mm:ss`) for reading dates and times out of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::format::{Parsed, StrftimeItems};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use crate::error::{Error, Result};
use crate::options::OptionReader;

/// The options `dateFormat` and `timestampFormat`.
#[derive(Debug, Clone, Default)]
pub struct TimePatterns {
    date: Option<String>,
    timestamp: Option<String>,
}

impl TimePatterns {
    /// Reads the two options and translates them.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let mut pattern = |key: &'static str| -> Result<Option<String>> {
            let Some(java) = options.string(key) else { return Ok(None) };
            to_strftime(java).map(Some).ok_or_else(|| {
                options.invalid(
                    key,
                    java,
                    "a pattern of yyyy, MM, dd, HH, mm, ss, S, XXX and quoted or punctuation text",
                )
            })
        };
        Ok(Self { date: pattern("dateFormat")?, timestamp: pattern("timestampFormat")? })
    }

    /// `schema` with the columns as text that [`TimePatterns::apply`] converts.
    pub fn raw_schema(&self, schema: &SchemaRef) -> SchemaRef {
        let raw = |f: &Arc<Field>| match self.of(f.data_type()) {
            Some(_) => Arc::new(f.as_ref().clone().with_data_type(DataType::Utf8View)),
            None => f.clone(),
        };
        Arc::new(Schema::new(schema.fields().iter().map(raw).collect::<Vec<_>>()))
    }

    /// Converts a batch of [`TimePatterns::raw_schema`] to `schema`.
    pub fn apply(&self, schema: &SchemaRef, raw: RecordBatch) -> Result<RecordBatch> {
        if self.date.is_none() && self.timestamp.is_none() {
            return Ok(raw);
        }
        let convert = |(f, c): (&Arc<Field>, &ArrayRef)| match self.of(f.data_type()) {
            Some(pattern) => parse_column(c, f.data_type(), pattern),
            None => Ok(c.clone()),
        };
        let columns = schema.fields().iter().zip(raw.columns()).map(convert).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    /// The pattern that a column of this type is read with, if it is not the format's own way.
    pub fn of(&self, data_type: &DataType) -> Option<&str> {
        match data_type {
            DataType::Date32 => self.date.as_deref(),
            DataType::Timestamp(TimeUnit::Microsecond, _) => self.timestamp.as_deref(),
            _ => None,
        }
    }
}

/// Parses a column of strings; the first value that does not fit is an error.
pub fn parse_column(text: &ArrayRef, data_type: &DataType, pattern: &str) -> Result<ArrayRef> {
    let mismatch = |s: &str| {
        Error::execution("CANNOT_PARSE_TIMESTAMP", format!("'{s}' does not fit the pattern '{pattern}'"))
            .with_help("set timestampFormat or dateFormat to what the records have, as in 'yyyy-MM-dd HH:mm:ss'")
    };
    let text = text.as_string_view();
    match data_type {
        DataType::Date32 => {
            let days = text.iter().map(|s| s.map(|s| parse_date(s, pattern).ok_or_else(|| mismatch(s))).transpose());
            Ok(Arc::new(days.collect::<Result<Date32Array>>()?))
        }
        _ => {
            let times =
                text.iter().map(|s| s.map(|s| parse_timestamp(s, pattern).ok_or_else(|| mismatch(s))).transpose());
            let times = times.collect::<Result<TimestampMicrosecondArray>>()?;
            Ok(Arc::new(times.with_data_type(data_type.clone())))
        }
    }
}

fn parse(text: &str, pattern: &str) -> Option<Parsed> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, StrftimeItems::new(pattern)).ok()?;
    Some(parsed)
}

fn parse_date(text: &str, pattern: &str) -> Option<i32> {
    let date = parse(text, pattern)?.to_naive_date().ok()?;
    i32::try_from((date - NaiveDate::default()).num_days()).ok()
}

/// Microseconds since the epoch; fields that the pattern lacks are zero, and without a zone the time is UTC.
fn parse_timestamp(text: &str, pattern: &str) -> Option<i64> {
    let parsed = parse(text, pattern)?;
    let date = parsed.to_naive_date().ok()?;
    let part = |n: Option<u32>| n.unwrap_or(0);
    let hour = match (parsed.hour_div_12(), parsed.hour_mod_12()) {
        (None, None) => 0,
        (half, hour) => part(half) * 12 + part(hour),
    };
    let time =
        NaiveTime::from_hms_nano_opt(hour, part(parsed.minute()), part(parsed.second()), part(parsed.nanosecond()))?;
    let local_us = NaiveDateTime::new(date, time).and_utc().timestamp_micros();
    local_us.checked_sub(i64::from(parsed.offset().unwrap_or(0)) * 1_000_000)
}

/// A Java pattern in chrono's notation; `None` for letters that have no counterpart here.
fn to_strftime(java: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = java;
    while let Some(c) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(c).len();
        if c == '\'' {
            let end = rest[1..].find('\'')?;
            out.push_str(&if end == 0 { "'".to_string() } else { rest[1..=end].replace('%', "%%") });
            rest = &rest[end + 2..];
            continue;
        }
        if !c.is_ascii_alphabetic() {
            out.push_str(if c == '%' { "%%" } else { &rest[..c.len_utf8()] });
            rest = &rest[c.len_utf8()..];
            continue;
        }
        out.push_str(specifier(c, run)?);
        rest = &rest[run..];
        // A fraction is written after a point, which chrono takes as part of the fraction.
        if c == 'S' && out.ends_with(".%f") {
            out.truncate(out.len() - 3);
            out.push_str("%.f");
        }
    }
    Some(out)
}

fn specifier(letter: char, run: usize) -> Option<&'static str> {
    Some(match (letter, run) {
        ('y' | 'u', 1 | 4) => "%Y",
        ('y' | 'u', 2) => "%y",
        ('M' | 'L', 1 | 2) => "%m",
        ('M' | 'L', 3) => "%b",
        ('M' | 'L', 4) => "%B",
        ('d', 1 | 2) => "%d",
        ('D', 1..=3) => "%j",
        ('E', 1..=3) => "%a",
        ('E', 4) => "%A",
        ('H', 1 | 2) => "%H",
        ('h', 1 | 2) => "%I",
        ('a', 1) => "%p",
        ('m', 1 | 2) => "%M",
        ('s', 1 | 2) => "%S",
        ('S', 3) => "%3f",
        ('S', 6) => "%6f",
        ('S', 9) => "%9f",
        ('S', _) => "%f",
        ('X', 1..=3) | ('x' | 'Z', 1..=3) => "%#z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_patterns_read_what_java_reads() {
        for (java, text, us) in [
            ("yyyy-MM-dd HH:mm:ss", "1970-01-02 00:00:01", 86_401_000_000),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "1970-01-01T01:00:00.250+01:00", 250_000),
            ("dd/MM/yyyy", "02/01/1970", 86_400_000_000),
            ("yyyyMMddHHmmss", "19700101000002", 2_000_000),
        ] {
            let pattern = to_strftime(java).unwrap();
            assert_eq!(parse_timestamp(text, &pattern), Some(us), "{java} = {pattern}");
        }
        assert_eq!(to_strftime("yyyy-MM-dd GGG"), None);
        assert_eq!(parse_date("1970-02-01", &to_strftime("yyyy-MM-dd").unwrap()), Some(31));
    }
}
