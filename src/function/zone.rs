//! Time zones and calendars by name: `convert_timezone`, `current_timezone`, `next_day`, `monthname`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use chrono::{Datelike, NaiveDate, TimeDelta, Weekday};
use datafusion::logical_expr::ScalarUDF;

use super::cast::temporal::{days_since_epoch, to_epoch, to_local};
use super::scalar::{Call, function, parse_time_zone, timestamp};
use crate::{Error, Result};

const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("convert_timezone", 2..=3, |_| Ok(NTZ), convert_timezone),
        function(
            "current_timezone",
            0..=0,
            |_| Ok(DataType::Utf8View),
            |call| {
                let name = call.zone_name();
                Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(name, call.rows()))))
            },
        ),
        function("from_utc_timestamp", 2..=2, |_| Ok(timestamp()), |call| shifted(call, false)),
        function("to_utc_timestamp", 2..=2, |_| Ok(timestamp()), |call| shifted(call, true)),
        function("next_day", 2..=2, |_| Ok(DataType::Date32), next_day),
        function("monthname", 1..=1, |_| Ok(DataType::Utf8View), monthname),
    ]
}

fn zone(name: &str) -> Result<crate::time_zone::Tz> {
    parse_time_zone(name).ok_or_else(|| {
        Error::execution("INVALID_TIMEZONE", format!("there is no time zone '{name}'"))
            .with_help("write a region such as 'Europe/Berlin', or an offset such as '+02:00'")
    })
}

/// `from_utc_timestamp(time, zone)`: what a clock in the zone shows at a time, as a time; `to_utc_timestamp` is its inverse.
fn shifted(call: &Call, to_utc: bool) -> Result<ArrayRef> {
    let (times, zones) = (call.timestamps(0)?, call.strings(1)?);
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for (us, name) in times.iter().zip(zones.iter()) {
        let Some((us, name)) = us.zip(name) else {
            builder.append_null();
            continue;
        };
        let zone = zone(name)?;
        let moved = if to_utc {
            let local = chrono::DateTime::from_timestamp_micros(us).map(|t| t.naive_utc());
            local.and_then(|local| to_epoch(local, Some(zone)))
        } else {
            to_local(us, zone).map(|local| local.and_utc().timestamp_micros())
        };
        let fails = || Error::execution("DATETIME_OVERFLOW", "a time leaves the range of TIMESTAMP in another zone");
        builder
            .append_value(moved.ok_or_else(|| fails().with_help("keep times between the years -290308 and 294247"))?);
    }
    Ok(Arc::new(builder.finish().with_timezone("UTC")))
}

/// `convert_timezone([from,] to, local time)`: from the session's zone if none is given.
fn convert_timezone(call: &Call) -> Result<ArrayRef> {
    let last = call.len() - 1;
    let from = if call.len() > 2 { Some(call.strings(0)?) } else { None };
    let (to, times) = (call.strings(last - 1)?, call.cast(last, &NTZ)?);
    let mut builder = TimestampMicrosecondBuilder::with_capacity(to.len());
    for (row, us) in times.as_primitive::<TimestampMicrosecondType>().iter().enumerate() {
        let missing = to.is_null(row) || from.as_ref().is_some_and(|f| f.is_null(row));
        let Some(us) = us.filter(|_| !missing) else {
            builder.append_null();
            continue;
        };
        let from = from.as_ref().map_or(Ok(call.tz()), |f| zone(f.value(row)))?;
        let to = zone(to.value(row))?;
        let local = chrono::DateTime::from_timestamp_micros(us).map(|t| t.naive_utc());
        let converted = local.and_then(|local| to_local(to_epoch(local, Some(from))?, to));
        builder.append_option(converted.map(|t| t.and_utc().timestamp_micros()));
    }
    Ok(Arc::new(builder.finish()))
}

fn date_of(day: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::days(day.into()))
}

fn weekday(name: &str) -> Result<Weekday> {
    Ok(match name.trim().to_ascii_uppercase().as_str() {
        "MO" | "MON" | "MONDAY" => Weekday::Mon,
        "TU" | "TUE" | "TUESDAY" => Weekday::Tue,
        "WE" | "WED" | "WEDNESDAY" => Weekday::Wed,
        "TH" | "THU" | "THURSDAY" => Weekday::Thu,
        "FR" | "FRI" | "FRIDAY" => Weekday::Fri,
        "SA" | "SAT" | "SATURDAY" => Weekday::Sat,
        "SU" | "SUN" | "SUNDAY" => Weekday::Sun,
        _ => {
            return Err(Error::execution("ILLEGAL_DAY_OF_WEEK", format!("'{name}' is no day of the week"))
                .with_help("write its first two or three letters or its English name, as in 'Mon'"));
        }
    })
}

/// The first such day of the week after a date.
fn next_day(call: &Call) -> Result<ArrayRef> {
    let (days, names) = (call.cast(0, &DataType::Date32)?, call.strings(1)?);
    let rows = days.as_primitive::<Date32Type>().iter().zip(&names).map(|(day, name)| {
        let Some((day, name)) = day.zip(name) else { return Ok(None) };
        let wanted = weekday(name)?;
        let next = |date: NaiveDate| {
            let distance = wanted.days_since(date.weekday());
            date.checked_add_signed(TimeDelta::days(if distance == 0 { 7 } else { distance.into() }))
        };
        Ok(date_of(day).and_then(next).and_then(days_since_epoch))
    });
    Ok(Arc::new(rows.collect::<Result<Date32Array>>()?))
}

fn monthname(call: &Call) -> Result<ArrayRef> {
    let days = call.cast(0, &DataType::Date32)?;
    let name = |day: i32| date_of(day).map(|d| d.format("%b").to_string());
    let days = days.as_primitive::<Date32Type>();
    Ok(Arc::new(days.iter().map(|d| d.and_then(name)).collect::<StringViewArray>()))
}
