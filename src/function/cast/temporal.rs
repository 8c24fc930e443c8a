//! Dates and timestamps: the texts that Spark's casts read, and the casts between them.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};

use super::parse::trim;
use super::{Mode, arrow_cast, cast_refused, numeric};
use crate::{Error, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days since the epoch of `[+-]yyyy[-[m]m[-[d]d]]`, with anything after a `T` or space behind a full date.
pub fn parse_date(text: &str) -> Option<i32> {
    let (date, _) = split_date(trim(text))?;
    days_since_epoch(date)
}

/// Days since 1970-01-01.
pub fn days_since_epoch(date: NaiveDate) -> Option<i32> {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since the epoch of `yyyy[-M[-d[( |T)h:m:s[.f][zone]]]]`. Local times are those of `tz`; without one
/// (TIMESTAMP_NTZ) a zone in the text is read and left out.
pub fn parse_timestamp(text: &str, tz: Option<Tz>) -> Option<i64> {
    let (date, rest) = split_date(trim(text))?;
    let Some(rest) = rest else {
        return to_epoch(date.and_time(NaiveTime::MIN), tz);
    };
    let (time, zone) = split_zone(rest);
    let local = date.and_time(NaiveTime::MIN) + parse_time(time)?;
    match (zone.map(str::trim), tz) {
        (None, _) => to_epoch(local, tz),
        (Some(zone), Some(_)) => zone_to_epoch(local, zone),
        (Some(zone), None) => zone_to_epoch(local, zone).and_then(|_| to_epoch(local, None)),
    }
}

/// Microseconds since the epoch of a local time; a text with a zone is none.
pub fn parse_local(text: &str) -> Option<i64> {
    let (_, rest) = split_date(trim(text))?;
    let has_zone = rest.is_some_and(|rest| split_zone(rest).1.is_some());
    if has_zone { None } else { parse_timestamp(text, None) }
}

/// The date in front and, behind a `T` or a space, the rest.
fn split_date(text: &str) -> Option<(NaiveDate, Option<&str>)> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (date, rest) = match unsigned.find(['T', ' ']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4, 7)? as i32 * sign;
    let month = parts.next().map_or(Some(1), |m| digits(m, 1, 2))?;
    let day = parts.next().map(|d| digits(d, 1, 2));
    if parts.next().is_some() || (rest.is_some() && day.is_none()) {
        return None;
    }
    Some((NaiveDate::from_ymd_opt(year, month, day.unwrap_or(Some(1))?)?, rest))
}

/// A number of `least` to `most` digits.
fn digits(text: &str, least: usize, most: usize) -> Option<u32> {
    let legal = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if legal { text.parse().ok() } else { None }
}

/// The time and the zone behind it.
fn split_zone(rest: &str) -> (&str, Option<&str>) {
    match rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.') {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    }
}

/// `h:m[:s[.f]]` as the time since midnight; digits behind the sixth are cut.
fn parse_time(text: &str) -> Option<TimeDelta> {
    let mut parts = text.splitn(3, ':');
    let hour = digits(parts.next()?, 1, 2).filter(|h| *h < 24)?;
    let minute = parts.next().map_or(Some(0), |m| digits(m, 1, 2)).filter(|m| *m < 60)?;
    let (second, fraction) = match parts.next() {
        None => (0, ""),
        Some(s) => {
            let (s, fraction) = s.split_once('.').unwrap_or((s, ""));
            (digits(s, 1, 2).filter(|s| *s < 60)?, fraction)
        }
    };
    let us = if fraction.is_empty() { 0 } else { micros(fraction)? };
    TimeDelta::try_seconds((hour * 3600 + minute * 60 + second).into())?.checked_add(&TimeDelta::microseconds(us))
}

/// The microseconds of the digits behind a point.
pub fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let six = format!("{:0<6}", fraction.get(..fraction.len().min(6))?);
    six.parse().ok()
}

/// `Z`, `UTC`, `GMT+1`, `+01:30`, `+0130`, `Europe/Berlin`.
fn zone_to_epoch(local: NaiveDateTime, zone: &str) -> Option<i64> {
    to_epoch(local, Some(zone.parse().ok()?))
}

/// Microseconds since the epoch of a local time. A time that a zone skips is moved on by the gap; of two it takes the
/// first, as Java does.
pub fn to_epoch(local: NaiveDateTime, tz: Option<Tz>) -> Option<i64> {
    let utc = match tz {
        None | Some(Tz::UTC) => local,
        Some(tz) => match tz.from_local_datetime(&local).earliest() {
            Some(time) => time.naive_utc(),
            None => {
                let before = tz.offset_from_utc_datetime(&(local - TimeDelta::days(1))).fix();
                local.checked_sub_offset(before)?
            }
        },
    };
    Some(utc.and_utc().timestamp_micros())
}

/// The local time of an instant.
pub fn to_local(us: i64, tz: Tz) -> Option<NaiveDateTime> {
    let utc = DateTime::from_timestamp_micros(us)?.naive_utc();
    Some(if tz == Tz::UTC { utc } else { tz.from_utc_datetime(&utc).naive_local() })
}

/// Casts dates, timestamps and epoch seconds to a date or timestamp.
pub fn to_temporal(array: &ArrayRef, to: &DataType, mode: Mode, tz: Tz) -> Result<ArrayRef> {
    use DataType::{Date32, Timestamp};
    match (array.data_type(), to) {
        (Date32, Timestamp(TimeUnit::Microsecond, zone)) => {
            let tz = zone.as_ref().map(|_| tz);
            let days = array.as_primitive::<Date32Type>();
            finish(days.unary_opt(|d| midnight(d, tz)), to)
        }
        (Timestamp(unit, zone), _) if *unit != TimeUnit::Microsecond => {
            let micros = arrow::compute::cast(array, &Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            to_temporal(&micros, to, mode, tz)
        }
        (Timestamp(_, zone), Date32) => {
            let tz = zone.as_ref().map_or(Tz::UTC, |_| tz);
            let us = array.as_primitive::<TimestampMicrosecondType>();
            Ok(Arc::new(us.unary_opt::<_, Date32Type>(|us| local_day(us, tz))))
        }
        (Timestamp(_, from), Timestamp(TimeUnit::Microsecond, zone)) => {
            let us = array.as_primitive::<TimestampMicrosecondType>();
            let result = match (from.is_some(), zone.is_some()) {
                (true, false) if tz != Tz::UTC => us.unary_opt(|us| to_epoch(to_local(us, tz)?, None)),
                (false, true) if tz != Tz::UTC => {
                    us.unary_opt(|us| to_epoch(DateTime::from_timestamp_micros(us)?.naive_utc(), Some(tz)))
                }
                _ => us.clone(),
            };
            finish(result, to)
        }
        (from, Timestamp(TimeUnit::Microsecond, Some(_))) if from.is_numeric() => seconds_to_timestamp(array, to, mode),
        (DataType::Date64 | Timestamp(_, _), _) => arrow_cast(array, to, mode),
        (from, _) => Err(cast_refused(from, to)),
    }
}

fn finish(us: TimestampMicrosecondArray, to: &DataType) -> Result<ArrayRef> {
    Ok(Arc::new(us.with_data_type(to.clone())))
}

fn midnight(days: i32, tz: Option<Tz>) -> Option<i64> {
    if tz.is_none_or(|tz| tz == Tz::UTC) {
        return Some(i64::from(days) * MICROS_PER_DAY);
    }
    let date = NaiveDate::default().checked_add_signed(TimeDelta::days(days.into()))?;
    to_epoch(date.and_time(NaiveTime::MIN), tz)
}

fn local_day(us: i64, tz: Tz) -> Option<i32> {
    if tz == Tz::UTC {
        return i32::try_from(us.div_euclid(MICROS_PER_DAY)).ok();
    }
    days_since_epoch(to_local(us, tz)?.date())
}

fn seconds_to_timestamp(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let overflow = || {
        Error::execution("ARITHMETIC_OVERFLOW", "long overflow: the seconds are out of a timestamp's range")
            .with_help("if these are milliseconds or microseconds, use timestamp_millis(…) or timestamp_micros(…)")
    };
    let settle = |value: Option<i64>| mode.settle(value, overflow);
    let rows: TimestampMicrosecondArray = match array.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let seconds = arrow::compute::cast(array, &DataType::Float64)?;
            let seconds = seconds.as_primitive::<Float64Type>();
            let us = |v: f64| v.is_finite().then_some((v * MICROS_PER_SECOND as f64) as i64);
            seconds.iter().map(|v| v.and_then(us)).collect()
        }
        DataType::Decimal128(_, _) => {
            let seconds = numeric::to_number(array, &DataType::Decimal128(38, 6), mode)?;
            let seconds = seconds.as_primitive::<Decimal128Type>();
            seconds.iter().map(|v| v.map_or(Ok(None), |v| settle(v.try_into().ok()))).collect::<Result<_>>()?
        }
        _ => {
            let seconds = arrow::compute::cast(array, &DataType::Int64)?;
            let seconds = seconds.as_primitive::<Int64Type>();
            // Spark stops at the ends of the range here, though not for a DECIMAL.
            seconds.iter().map(|v| v.map(|v| v.saturating_mul(MICROS_PER_SECOND))).collect()
        }
    };
    finish(rows, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_forms() {
        let utc = Some(Tz::UTC);
        let at = |text| parse_timestamp(text, utc);
        assert_eq!(at("2024-02-29 10:11:12"), Some(1_709_201_472_000_000));
        assert_eq!(at("2024-02-29T10:11:12.5Z"), Some(1_709_201_472_500_000));
        assert_eq!(at("2024-2-9"), Some(1_707_436_800_000_000));
        assert_eq!(at("2024-02-29T10:11:12+01:00"), Some(1_709_197_872_000_000));
        assert_eq!(at("2024-02-29 10:11:12 Europe/Berlin"), Some(1_709_197_872_000_000));
        assert_eq!(at("1969-12-31 23:59:59"), Some(-1_000_000));
        assert_eq!(at("2024-02-30"), None);
        assert_eq!(at("24-02-03"), None);
        assert_eq!(at("2024-02-03 25:00:00"), None);
        assert_eq!(at(""), None);
        assert_eq!(parse_date("2024-02-29T10:11:12.5Z"), Some(19_782));
        assert_eq!(parse_date("2024"), Some(19_723));
    }

    #[test]
    fn local_times_are_those_of_the_zone() {
        assert_eq!(parse_timestamp("1970-01-01 09:00:00", Some(Tz::Region(chrono_tz::Tz::Asia__Tokyo))), Some(0));
        // 02:30 does not exist on this day: the clock went from 02:00 to 03:00.
        let skipped = parse_timestamp("2024-03-31 02:30:00", Some(Tz::Region(chrono_tz::Tz::Europe__Berlin)));
        assert_eq!(skipped, parse_timestamp("2024-03-31 01:30:00", None));
    }
}
