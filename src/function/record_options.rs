//! The options of `from_json`, `to_json` and their like: `map('timestampFormat', 'dd/MM/yyyy')`.

use arrow::array::*;
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use chrono_tz::Tz;
use std::sync::Arc;

use super::cast::{Mode, cast_array};
use super::java_pattern::Pattern;
use super::scalar::Call;
use crate::options::{Options, did_you_mean};
use crate::{Error, Result};

/// How a timestamp is written where no option says otherwise.
const ISO: &str = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX";

/// What the functions of records may be told.
#[derive(Debug)]
pub struct RecordOptions {
    timestamp: Option<Pattern>,
    date: Option<Pattern>,
    /// A malformed record is an error.
    pub fail_fast: bool,
    /// The column that takes the text of a malformed record.
    pub corrupt_record: String,
    /// Whether fields that are NULL are left out.
    pub ignore_nulls: bool,
    /// The zone of local times.
    pub tz: Tz,
}

impl RecordOptions {
    /// The options in argument `i`, if it is there; each key must be one of `known`.
    pub fn of(call: &Call, i: usize, known: &[&str]) -> Result<Self> {
        let mut options = Self {
            timestamp: None,
            date: None,
            fail_fast: false,
            corrupt_record: "_corrupt_record".to_owned(),
            ignore_nulls: true,
            tz: call.tz(),
        };
        if i >= call.len() || call.rows() == 0 {
            return Ok(options);
        }
        let array = call.array(i)?;
        let Some(map) = array.as_map_opt().filter(|m| m.is_valid(0)) else {
            return Err(Error::invalid("INVALID_OPTIONS.NON_MAP_FUNCTION", "the options must be a map of literals")
                .with_help("write map('key', 'value')"));
        };
        let entries = map.value(0);
        let text = |column: usize| cast_array(entries.column(column), &DataType::Utf8View, Mode::Ansi, call.tz());
        let (keys, values) = (text(0)?, text(1)?);
        for (key, value) in keys.as_string_view().iter().zip(values.as_string_view()) {
            options.set(key.unwrap_or_default(), value.unwrap_or_default(), known)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str, known: &[&str]) -> Result<()> {
        let Some(known_key) = known.iter().find(|k| k.eq_ignore_ascii_case(key)) else {
            let e = Error::invalid("INVALID_OPTIONS.UNKNOWN_KEY", format!("there is no option '{key}' here"));
            return Err(match did_you_mean(key, known.iter().copied()) {
                Some(near) => e.with_help(format!("did you mean '{near}'?")),
                None => e.with_help(format!("the options are {}", known.join(", "))),
            });
        };
        let wrong = |wanted: &str| {
            Error::invalid("INVALID_OPTIONS.VALUE", format!("option '{key}' must be {wanted}, not '{value}'"))
                .with_help(format!("write it in the map of options: map('{known_key}', '…')"))
        };
        match *known_key {
            "timestampFormat" => self.timestamp = Some(Pattern::new(value)?),
            "dateFormat" => self.date = Some(Pattern::new(value)?),
            "columnNameOfCorruptRecord" => value.clone_into(&mut self.corrupt_record),
            "mode" => {
                self.fail_fast = match value.to_ascii_uppercase().as_str() {
                    "PERMISSIVE" => false,
                    "FAILFAST" => true,
                    _ => return Err(wrong("PERMISSIVE or FAILFAST")),
                }
            }
            _ => self.ignore_nulls = value.parse().map_err(|_| wrong("true or false"))?,
        }
        Ok(())
    }

    /// Texts of values as values; what does not fit is NULL.
    pub fn parse(&self, text: StringViewArray, to: &DataType) -> Result<ArrayRef> {
        let pattern = match to {
            DataType::Date32 => &self.date,
            DataType::Timestamp(TimeUnit::Microsecond, _) => &self.timestamp,
            _ => &None,
        };
        let Some(pattern) = pattern else {
            return cast_array(&(Arc::new(text) as ArrayRef), to, Mode::Try, self.tz);
        };
        let zone = if matches!(to, DataType::Timestamp(_, Some(_))) { Some(self.tz) } else { None };
        let us = text.iter().map(|t| t.and_then(|t| pattern.parse(t, zone))).collect::<TimestampMicrosecondArray>();
        let us: ArrayRef = match to {
            DataType::Timestamp(_, _) => Arc::new(us.with_data_type(to.clone())),
            _ => Arc::new(us),
        };
        cast_array(&us, to, Mode::Try, self.tz)
    }

    /// A date or timestamp as text, where it is one.
    pub fn format(&self, array: &dyn Array, row: usize) -> Option<String> {
        let mut text = String::new();
        match array.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let us = array.as_primitive::<TimestampMicrosecondType>().value(row);
                let iso = if zone.is_some() { ISO } else { "yyyy-MM-dd'T'HH:mm:ss.SSS" };
                let tz = if zone.is_some() { self.tz } else { Tz::UTC };
                match &self.timestamp {
                    Some(pattern) => pattern.format(&mut text, us, tz),
                    None => Pattern::new(iso).ok()?.format(&mut text, us, tz),
                }
            }
            DataType::Date32 => {
                let us = i64::from(array.as_primitive::<Date32Type>().value(row)) * 86_400_000_000;
                self.date.as_ref()?.format(&mut text, us, Tz::UTC);
            }
            _ => return None,
        }
        Some(text)
    }
}

/// The options in argument `i`, if it is there.
///
/// # Errors
/// `INVALID_OPTIONS.NON_MAP_FUNCTION` for what is no map.
pub fn option_map(call: &Call, i: usize) -> Result<Options> {
    if i >= call.len() || call.rows() == 0 {
        return Ok(Options::new());
    }
    let array = call.array(i)?;
    let Some(map) = array.as_map_opt().filter(|m| m.is_valid(0)) else {
        return Err(Error::invalid("INVALID_OPTIONS.NON_MAP_FUNCTION", "the options must be a map of literals")
            .with_help("write map('key', 'value')"));
    };
    let entries = map.value(0);
    let text = |column: usize| cast_array(entries.column(column), &DataType::Utf8View, Mode::Ansi, call.tz());
    let (keys, values) = (text(0)?, text(1)?);
    let pairs = keys.as_string_view().iter().zip(values.as_string_view().iter());
    Ok(pairs.map(|(key, value)| (key.unwrap_or_default(), value.unwrap_or_default())).collect())
}

/// The error of a record that cannot be read.
pub fn malformed(text: &str) -> Error {
    let message = format!("the record '{text}' does not fit the schema");
    Error::execution("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION", message)
        .with_help("mode PERMISSIVE gives NULL for what cannot be read")
}
