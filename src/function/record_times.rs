//! Dates and times inside the texts of records: read and written by a pattern, or as Spark does without one.

use std::fmt::Write;

use crate::time_zone::Tz;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{Offset, TimeZone};

use super::cast::temporal::{parse_date, parse_timestamp};
use super::display::write_date;
use super::java_pattern::Pattern;
use crate::error::Result;
use crate::options::OptionType::{Boolean, TimePattern};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`RecordTimes::read`] reads.
pub const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new("dateFormat", TimePattern, "How a DATE is written."),
    OptionSpec::new("timestampFormat", TimePattern, "How a TIMESTAMP is written."),
    OptionSpec::new("timestampNTZFormat", TimePattern, "How a TIMESTAMP_NTZ is written."),
    OptionSpec::new(
        "timeZone",
        OptionType::TimeZone,
        "The zone of times without one, and in which times are shown; else the session's.",
    ),
];
/// What [`RecordTimes::for_reading`] reads besides.
pub const READING: [OptionSpec; 1] = [OptionSpec::new(
    "enableDateTimeParsingFallback",
    Boolean,
    "Whether a text that does not fit the pattern may be in the form that is used without one.",
)];

/// The options `dateFormat`, `timestampFormat`, `timestampNTZFormat` and `timeZone`.
#[derive(Debug, Clone, Default)]
pub struct RecordTimes {
    date: Option<Pattern>,
    timestamp: Option<Pattern>,
    local: Option<Pattern>,
    time_zone: Option<Tz>,
    /// Whether a text that does not fit the pattern may still be in Spark's own form.
    lenient: Option<bool>,
}

impl RecordTimes {
    /// Reads the options.
    ///
    /// # Errors
    /// A pattern that Spark does not know, `INVALID_OPTION` for a zone that there is not.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        Self::read_patterns(options, Pattern::new)
    }

    /// Reads the options for texts that are read.
    ///
    /// # Errors
    /// As [`RecordTimes::read`], and a pattern with a weekday or a quarter.
    pub fn for_reading(options: &mut OptionReader<'_>) -> Result<Self> {
        const KEY: &str = "enableDateTimeParsingFallback";
        let mut times = Self::read_patterns(options, Pattern::for_reading)?;
        if options.string(KEY).is_some() {
            times.lenient = Some(options.bool(KEY)?);
            if times.lenient == Some(false) && times.date.is_none() {
                times.date = Some(Pattern::for_reading("yyyy-MM-dd")?);
            }
        }
        Ok(times)
    }

    fn read_patterns(options: &mut OptionReader<'_>, read: fn(&str) -> Result<Pattern>) -> Result<Self> {
        let pattern = |key| options.string(key).map(read).transpose();
        let (date, timestamp, local) =
            (pattern("dateFormat")?, pattern("timestampFormat")?, pattern("timestampNTZFormat")?);
        let time_zone = options.parse("timeZone")?;
        Ok(Self { date, timestamp, local, time_zone, lenient: None })
    }

    /// The zone of local times: the option's, or else the session's.
    pub fn zone(&self, session: Tz) -> Tz {
        self.time_zone.unwrap_or(session)
    }

    /// Days since the epoch.
    pub fn read_date(&self, text: &str) -> Option<i32> {
        if let (None, Some(days)) = (&self.date, iso_date(text)) {
            return Some(days);
        }
        let by_pattern = self.date.as_ref().and_then(|p| p.parse_date(text));
        let lenient = self.lenient.unwrap_or(self.date.is_none());
        by_pattern.or_else(|| lenient.then(|| parse_date(text)).flatten())
    }

    /// Whether a text is a day as inference takes it: by the pattern, or in full.
    pub fn is_date(&self, text: &str) -> bool {
        match &self.date {
            Some(pattern) => pattern.parse_date(text).is_some(),
            None => iso_date(text).is_some(),
        }
    }

    /// Microseconds since the epoch of an instant; `tz` is the zone of local times.
    pub fn read_timestamp(&self, text: &str, tz: Tz) -> Option<i64> {
        match &self.timestamp {
            None => parse_timestamp(text, Some(tz)),
            Some(pattern) => pattern
                .parse(text, Some(tz))
                .or_else(|| (self.lenient == Some(true)).then(|| parse_timestamp(text, Some(tz))).flatten()),
        }
    }

    /// Microseconds since the epoch of a local time; a text with a zone is none.
    pub fn read_local(&self, text: &str) -> Option<i64> {
        match &self.local {
            None => super::cast::temporal::parse_local(text),
            Some(pattern) => pattern.parse_local(text),
        }
    }

    /// Appends a day.
    pub fn write_date(&self, out: &mut String, days: i32) {
        match &self.date {
            Some(pattern) => pattern.format(out, i64::from(days) * 86_400_000_000, Tz::UTC),
            None => write_date(out, days),
        }
    }

    /// Appends an instant as `tz` shows it.
    pub fn write_timestamp(&self, out: &mut String, us: i64, tz: Tz) {
        match &self.timestamp {
            Some(pattern) => pattern.format(out, us, tz),
            None => write_iso(out, us, Some(tz)),
        }
    }

    /// Appends a local time.
    pub fn write_local(&self, out: &mut String, us: i64) {
        match &self.local {
            Some(pattern) => pattern.format(out, us, Tz::UTC),
            None => write_iso(out, us, None),
        }
    }

    /// Appends a date or time of an array's type; `false` if it is none.
    pub fn write(&self, out: &mut String, data_type: &DataType, value: i64, tz: Tz) -> bool {
        match data_type {
            DataType::Date32 => self.write_date(out, value as i32),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => self.write_timestamp(out, value, tz),
            DataType::Timestamp(TimeUnit::Microsecond, None) => self.write_local(out, value),
            _ => return false,
        }
        true
    }
}

/// `yyyy-MM-dd` and nothing else.
fn iso_date(text: &str) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return None };
    let number = |digits: &[&u8]| {
        digits.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(**b - b'0')))
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    super::cast::temporal::days_since_epoch(chrono::NaiveDate::from_ymd_opt(year as i32, month, day)?)
}

/// `yyyy-MM-ddTHH:mm:ss.SSS` and, of an instant, the offset from UTC.
fn write_iso(out: &mut String, us: i64, tz: Option<Tz>) {
    let ms = us.rem_euclid(1_000_000) / 1000;
    let utc = chrono::DateTime::from_timestamp_micros(us).unwrap_or_default().naive_utc();
    let offset = tz.map_or(0, |tz| tz.offset_from_utc_datetime(&utc).fix().local_minus_utc());
    let local = us + i64::from(offset) * 1_000_000;
    let (days, second) = (local.div_euclid(86_400_000_000), local.rem_euclid(86_400_000_000) / 1_000_000);
    write_date(out, days as i32);
    // Writing to a String cannot fail.
    let _ = write!(out, "T{:02}:{:02}:{:02}.{ms:03}", second / 3600, second / 60 % 60, second % 60);
    if tz.is_none() {
        return;
    }
    if offset == 0 {
        out.push('Z');
        return;
    }
    let (sign, s) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let _ = write!(out, "{sign}{:02}:{:02}", s / 3600, s / 60 % 60);
    if s % 60 != 0 {
        let _ = write!(out, ":{:02}", s % 60);
    }
}
