//! Values as text: what the console prints and what `CAST(… AS STRING)` gives.
//!
//! The two differ in two places only, as in Spark: binary prints as `[31 32]` on the console and is decoded as UTF-8 by a
//! cast; a NULL inside a struct, array or map prints as `NULL` on the console and as `null` in a cast.

use std::fmt::Write;

use crate::time_zone::Tz;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::*;
use chrono::{Datelike, NaiveDate, Offset, TimeZone};

use crate::type_name::type_name;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The calendar repeats itself every 400 years.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0001-01-01 (day 1 of the common era) to 1970-01-01.
const EPOCH_DAYS_FROM_CE: i32 = 719_163;

/// Who reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The console sink and `show`.
    Console,
    /// `CAST(… AS STRING)`.
    Cast,
}

/// One value as Spark's console prints it. Timestamps are shown in `tz`.
pub fn format_value(array: &dyn Array, row: usize, tz: Tz) -> String {
    let mut out = String::new();
    write_value(&mut out, array, row, tz, Style::Console);
    out
}

/// Appends one value to `out`; NULL as `NULL` (console) or `null` (cast).
pub fn write_value(out: &mut String, array: &dyn Array, row: usize, tz: Tz, style: Style) {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str(if style == Style::Console { "NULL" } else { "null" });
    } else if !write_scalar(out, array, row, tz, style) {
        write_nested(out, array, row, tz, style);
    }
}

/// Writes to a `String` cannot fail, so their results are dropped here and only here.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{ let _ = write!($out, $($arg)*); }};
}

/// True if the type was one without children.
fn write_scalar(out: &mut String, array: &dyn Array, row: usize, tz: Tz, style: Style) -> bool {
    match array.data_type() {
        DataType::Boolean => put!(out, "{}", array.as_boolean().value(row)),
        DataType::Int8 => put!(out, "{}", array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => put!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => put!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => put!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => put!(out, "{}", array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => put!(out, "{}", array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => put!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => put!(out, "{}", array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float16 => write_float(out, array.as_primitive::<Float16Type>().value(row).to_f32()),
        DataType::Float32 => write_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write_double(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(_, _) => out.push_str(&array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(_, _) => out.push_str(&array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(_, _) => out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(_, _) => out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Binary => write_binary(out, array.as_binary::<i32>().value(row), style),
        DataType::LargeBinary => write_binary(out, array.as_binary::<i64>().value(row), style),
        DataType::BinaryView => write_binary(out, array.as_binary_view().value(row), style),
        DataType::FixedSizeBinary(_) => write_binary(out, array.as_fixed_size_binary().value(row), style),
        _ => return write_temporal(out, array, row, tz),
    }
    true
}

fn write_temporal(out: &mut String, array: &dyn Array, row: usize, tz: Tz) -> bool {
    match array.data_type() {
        DataType::Date32 => write_date(out, array.as_primitive::<Date32Type>().value(row)),
        DataType::Date64 => {
            let days = array.as_primitive::<Date64Type>().value(row).div_euclid(SECONDS_PER_DAY * 1000);
            write_date(out, days as i32);
        }
        DataType::Timestamp(unit, zone) => {
            let us = to_micros(*unit, time_value(array, row));
            write_timestamp(out, us, zone.as_ref().map(|_| tz));
        }
        DataType::Time32(unit) | DataType::Time64(unit) => {
            write_time(out, to_micros(*unit, time_value(array, row)));
        }
        DataType::Duration(TimeUnit::Second) => {
            put!(out, "INTERVAL '{}' DAY", time_value(array, row).div_euclid(SECONDS_PER_DAY));
        }
        DataType::Duration(unit) => write_day_time(out, to_micros(*unit, time_value(array, row))),
        DataType::Interval(IntervalUnit::YearMonth) => {
            write_year_month(out, array.as_primitive::<IntervalYearMonthType>().value(row));
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let v = array.as_primitive::<IntervalDayTimeType>().value(row);
            let day_us = i64::from(v.days) * SECONDS_PER_DAY * MICROS_PER_SECOND;
            write_day_time(out, day_us + i64::from(v.milliseconds) * 1000);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let v = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_interval(out, v.months, v.days, v.nanoseconds.div_euclid(1000));
        }
        _ => return false,
    }
    true
}

/// The stored integer of a timestamp, time or duration of any unit.
fn time_value(array: &dyn Array, row: usize) -> i64 {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match array.data_type() {
        DataType::Timestamp(Second, _) => array.as_primitive::<TimestampSecondType>().value(row),
        DataType::Timestamp(Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().value(row),
        DataType::Timestamp(Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().value(row),
        DataType::Timestamp(Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().value(row),
        DataType::Duration(Second) => array.as_primitive::<DurationSecondType>().value(row),
        DataType::Duration(Millisecond) => array.as_primitive::<DurationMillisecondType>().value(row),
        DataType::Duration(Microsecond) => array.as_primitive::<DurationMicrosecondType>().value(row),
        DataType::Duration(Nanosecond) => array.as_primitive::<DurationNanosecondType>().value(row),
        DataType::Time32(Second) => array.as_primitive::<Time32SecondType>().value(row).into(),
        DataType::Time32(_) => array.as_primitive::<Time32MillisecondType>().value(row).into(),
        DataType::Time64(Nanosecond) => array.as_primitive::<Time64NanosecondType>().value(row),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row),
        _ => 0,
    }
}

fn to_micros(unit: TimeUnit, value: i64) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(MICROS_PER_SECOND),
        TimeUnit::Millisecond => value.saturating_mul(1000),
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond => value.div_euclid(1000),
    }
}

fn write_nested(out: &mut String, array: &dyn Array, row: usize, tz: Tz, style: Style) {
    match array.data_type() {
        DataType::List(_) => write_list(out, &array.as_list::<i32>().value(row), tz, style),
        DataType::LargeList(_) => write_list(out, &array.as_list::<i64>().value(row), tz, style),
        DataType::FixedSizeList(_, _) => write_list(out, &array.as_fixed_size_list().value(row), tz, style),
        DataType::ListView(_) => write_list(out, &array.as_list_view::<i32>().value(row), tz, style),
        DataType::LargeListView(_) => write_list(out, &array.as_list_view::<i64>().value(row), tz, style),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            write_sequence(out, '{', '}', columns.len(), |out, i| write_value(out, &columns[i], row, tz, style));
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            write_sequence(out, '{', '}', entries.len(), |out, i| {
                write_value(out, entries.column(0), i, tz, style);
                out.push_str(" -> ");
                write_value(out, entries.column(1), i, tz, style);
            });
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            // A key of a valid row is in range by arrow's own invariant.
            let key = dictionary.normalized_keys()[row];
            write_value(out, dictionary.values(), key, tz, style);
        }
        other => put!(out, "<{}>", type_name(other)),
    }
}

fn write_list(out: &mut String, items: &ArrayRef, tz: Tz, style: Style) {
    write_sequence(out, '[', ']', items.len(), |out, i| write_value(out, items, i, tz, style));
}

fn write_sequence(out: &mut String, open: char, close: char, len: usize, mut item: impl FnMut(&mut String, usize)) {
    out.push(open);
    for i in 0..len {
        if i > 0 {
            out.push_str(", ");
        }
        item(out, i);
    }
    out.push(close);
}

fn write_binary(out: &mut String, bytes: &[u8], style: Style) {
    if style == Style::Cast {
        out.push_str(&String::from_utf8_lossy(bytes));
        return;
    }
    out.push('[');
    for (i, byte) in bytes.iter().enumerate() {
        put!(out, "{}{byte:02X}", if i > 0 { " " } else { "" });
    }
    out.push(']');
}

/// `Double.toString`: plain from 1.0E-3 to below 1.0E7, scientific elsewhere, always with a digit after the point.
pub fn write_double(out: &mut String, value: f64) {
    if value.is_finite() {
        write_java_float(out, &shortest(format!("{value:e}"), || format!("{value:.1e}")), value.abs());
    } else {
        write_not_finite(out, value);
    }
}

/// `Float.toString`.
pub fn write_float(out: &mut String, value: f32) {
    if value.is_finite() {
        // The limits are compared as floats: 1.0E-3 as a float is a little above the double of the same name.
        write_java_float(
            out,
            &shortest(format!("{value:e}"), || format!("{value:.1e}")),
            if value.abs() == 1e-3_f32 { 1e-3 } else { value.abs().into() },
        );
    } else {
        write_not_finite(out, value.into());
    }
}

/// The shortest digits of a number, of two if one does: then Java takes the two that are nearest, as in 4.9E-324.
fn shortest(scientific: String, of_two: impl FnOnce() -> String) -> String {
    if scientific.contains('.') {
        return scientific;
    }
    let two = of_two();
    if two.contains(".0e") { scientific } else { two }
}

fn write_not_finite(out: &mut String, value: f64) {
    out.push_str(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    });
}

/// `scientific` is Rust's shortest form (`-1.25e-7`), which has the digits that Java prints.
fn write_java_float(out: &mut String, scientific: &str, magnitude: f64) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    out.push_str(sign);
    if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        put!(out, "{whole}.{fraction}E{exponent}");
    } else {
        write_plain(out, &format!("{whole}{fraction}"), exponent.parse().unwrap_or(0));
    }
}

/// The digits `d₀d₁…` with the point after digit number `exponent`.
fn write_plain(out: &mut String, digits: &str, exponent: i32) {
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        put!(out, "0.{zeros}{digits}");
    } else {
        let point = exponent as usize + 1;
        if digits.len() <= point {
            put!(out, "{digits:0<point$}.0");
        } else {
            put!(out, "{}.{}", &digits[..point], &digits[point..]);
        }
    }
}

/// `yyyy-MM-dd` of a day since the epoch.
pub fn write_date(out: &mut String, days: i32) {
    match days.checked_add(EPOCH_DAYS_FROM_CE).and_then(NaiveDate::from_num_days_from_ce_opt) {
        Some(date) => put!(out, "{}", date.format("%Y-%m-%d")),
        None => write_far_date(out, days.into()),
    }
}

/// The seconds by which a zone is ahead of UTC at a time so far away that `chrono` has no calendar for it: as at the same
/// time of a near era, before the zone had its first rule or after its last.
fn far_offset(us: i64, tz: Option<Tz>) -> i64 {
    const MICROS_PER_ERA: i64 = DAYS_PER_ERA * SECONDS_PER_DAY * MICROS_PER_SECOND;
    let eras = if us < 0 { -5 } else { 1 };
    let near = us.rem_euclid(MICROS_PER_ERA) + eras * MICROS_PER_ERA;
    let near = chrono::DateTime::from_timestamp_micros(near).unwrap_or_default().naive_utc();
    tz.map_or(0, |tz| i64::from(tz.offset_from_utc_datetime(&near).fix().local_minus_utc()))
}

/// A day so far away that the calendar of `chrono` has none, by eras of 400 years, each of which has as many days.
fn write_far_date(out: &mut String, days: i64) {
    let era = days.div_euclid(DAYS_PER_ERA);
    let near = i32::try_from(days.rem_euclid(DAYS_PER_ERA)).unwrap_or_default() + EPOCH_DAYS_FROM_CE;
    let Some(date) = NaiveDate::from_num_days_from_ce_opt(near) else { return };
    let year = era * 400 + i64::from(date.year());
    put!(out, "{}{:04}-{}", if year < 0 { "-" } else { "+" }, year.abs(), date.format("%m-%d"));
}

/// `yyyy-MM-dd HH:mm:ss[.ffffff]` without trailing zeros; a timestamp without time zone when `tz` is none.
pub fn write_timestamp(out: &mut String, us: i64, tz: Option<Tz>) {
    let Some(utc) = chrono::DateTime::from_timestamp_micros(us) else {
        let seconds = us.div_euclid(MICROS_PER_SECOND) + far_offset(us, tz);
        write_far_date(out, seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        put!(out, " {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
        write_fraction(out, us.rem_euclid(MICROS_PER_SECOND));
        return;
    };
    let local = tz
        .filter(|tz| *tz != Tz::UTC)
        .map_or(utc.naive_utc(), |tz| tz.from_utc_datetime(&utc.naive_utc()).naive_local());
    put!(out, "{}", local.format("%Y-%m-%d %H:%M:%S"));
    write_fraction(out, us.rem_euclid(MICROS_PER_SECOND));
}

fn write_fraction(out: &mut String, us: i64) {
    if us != 0 {
        let digits = format!("{us:06}");
        put!(out, ".{}", digits.trim_end_matches('0'));
    }
}

fn write_time(out: &mut String, us: i64) {
    let seconds = us.div_euclid(MICROS_PER_SECOND);
    put!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    write_fraction(out, us.rem_euclid(MICROS_PER_SECOND));
}

fn write_day_time(out: &mut String, us: i64) {
    let (sign, us) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
    let seconds = us / MICROS_PER_SECOND as u64;
    let (days, rest) = (seconds / SECONDS_PER_DAY as u64, seconds % SECONDS_PER_DAY as u64);
    put!(out, "INTERVAL '{sign}{days} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    write_fraction(out, (us % MICROS_PER_SECOND as u64) as i64);
    out.push_str("' DAY TO SECOND");
}

fn write_year_month(out: &mut String, months: i32) {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    put!(out, "INTERVAL '{sign}{}-{}' YEAR TO MONTH", months / 12, months % 12);
}

/// The ANSI form with the fields that the interval has; one of months as well as days or time has none.
fn write_interval(out: &mut String, months: i32, days: i32, us: i64) {
    let whole = i64::from(days).checked_mul(SECONDS_PER_DAY * MICROS_PER_SECOND).and_then(|d| d.checked_add(us));
    match (months, whole) {
        (0, Some(whole)) => write_day_time_fields(out, whole),
        (months, Some(0)) if months % 12 == 0 => put!(out, "INTERVAL '{}' YEAR", months / 12),
        (months, Some(0)) if months.abs() < 12 => put!(out, "INTERVAL '{months}' MONTH"),
        (months, Some(0)) => write_year_month(out, months),
        _ => write_calendar_interval(out, months, days, us),
    }
}

/// From the largest to the smallest of days, hours, minutes and seconds that is not zero.
fn write_day_time_fields(out: &mut String, us: i64) {
    const NAMES: [&str; 4] = ["DAY", "HOUR", "MINUTE", "SECOND"];
    let sign = if us < 0 { "-" } else { "" };
    let (us, fraction) = (us.unsigned_abs() / MICROS_PER_SECOND as u64, us.unsigned_abs() % MICROS_PER_SECOND as u64);
    let fields = [us / SECONDS_PER_DAY as u64, us / 3600 % 24, us / 60 % 60, us % 60];
    let is_there = |i: &usize| fields[*i] != 0 || (*i == 3 && fraction != 0);
    let (first, last) = ((0..4).find(is_there).unwrap_or(3), (0..4).rfind(is_there).unwrap_or(3));
    put!(out, "INTERVAL '{sign}");
    for i in first..=last {
        let before = if i == first { "" } else { [" ", " ", ":", ":"][i] };
        // Only days have no leading zero.
        let width = if i == 0 { 1 } else { 2 };
        put!(out, "{before}{:0width$}", fields[i]);
    }
    if last == 3 {
        write_fraction(out, fraction as i64);
    }
    match first == last {
        true => put!(out, "' {}", NAMES[first]),
        false => put!(out, "' {} TO {}", NAMES[first], NAMES[last]),
    }
}

/// Spark's `CalendarInterval.toString`: `1 years 2 months 3 days 4 hours 5.5 seconds`.
fn write_calendar_interval(out: &mut String, months: i32, days: i32, us: i64) {
    let start = out.len();
    let mut unit = |value: i64, name: &str| {
        if value != 0 {
            let space = if out.len() > start { " " } else { "" };
            put!(out, "{space}{value} {name}");
        }
    };
    unit((months / 12).into(), "years");
    unit((months % 12).into(), "months");
    unit(days.into(), "days");
    unit(us / (3600 * MICROS_PER_SECOND), "hours");
    unit(us / (60 * MICROS_PER_SECOND) % 60, "minutes");
    let rest = us % (60 * MICROS_PER_SECOND);
    if rest != 0 || out.len() == start {
        let space = if out.len() > start { " " } else { "" };
        put!(out, "{space}{}{}", if rest < 0 { "-" } else { "" }, rest.abs() / MICROS_PER_SECOND);
        write_fraction(out, rest.abs() % MICROS_PER_SECOND);
        out.push_str(" seconds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn show(array: &dyn Array) -> Vec<String> {
        (0..array.len()).map(|row| format_value(array, row, Tz::UTC)).collect()
    }

    #[test]
    fn doubles_print_as_in_java() {
        let values = vec![
            1.0,
            0.1,
            1.0E7,
            1.0E-4,
            123456789.125,
            f64::NAN,
            -0.0,
            1.0E21,
            3.0000000000000003E-4,
            0.001,
            9999999.5,
            100.0,
            f64::NEG_INFINITY,
            -2.5,
        ];
        let expected = [
            "1.0",
            "0.1",
            "1.0E7",
            "1.0E-4",
            "1.23456789125E8",
            "NaN",
            "-0.0",
            "1.0E21",
            "3.0000000000000003E-4",
            "0.001",
            "9999999.5",
            "100.0",
            "-Infinity",
            "-2.5",
        ];
        assert_eq!(show(&Float64Array::from(values)), expected);
        let floats = Float32Array::from(vec![0.3333333, 1.0E-7, 0.001, 1.0E7]);
        assert_eq!(show(&floats), ["0.3333333", "1.0E-7", "0.001", "1.0E7"]);
    }

    #[test]
    fn times_have_a_fraction_only_if_there_is_one() {
        let array = TimestampMicrosecondArray::from(vec![10_000_000, 10_250_000, -1_500_000]).with_timezone("UTC");
        assert_eq!(show(&array), ["1970-01-01 00:00:10", "1970-01-01 00:00:10.25", "1969-12-31 23:59:58.5"]);
        assert_eq!(format_value(&array, 0, Tz::Region(chrono_tz::Tz::Asia__Tokyo)), "1970-01-01 09:00:10");
        assert_eq!(show(&Date32Array::from(vec![19_782, -1])), ["2024-02-29", "1969-12-31"]);
    }

    #[test]
    fn nested_values_and_nulls() {
        let mut list = ListBuilder::new(Int32Builder::new());
        list.append_value([Some(1), None]);
        list.append_null();
        assert_eq!(show(&list.finish()), ["[1, NULL]", "NULL"]);
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("a");
        map.values().append_value(1);
        map.keys().append_value("b");
        map.values().append_null();
        map.append(true).unwrap();
        assert_eq!(show(&map.finish()), ["{a -> 1, b -> NULL}"]);
        let fields = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec!["x"]))];
        assert_eq!(show(&StructArray::new(fields, columns, None)), ["{1, x}"]);
        assert_eq!(show(&BinaryArray::from(vec![b"12".as_slice()])), ["[31 32]"]);
    }

    #[test]
    fn intervals_are_calendar_intervals() {
        let values = vec![
            IntervalMonthDayNano::new(14, 3, 3_600_000_000_000 + 5_500_000_000),
            IntervalMonthDayNano::new(0, 0, 0),
        ];
        let array = IntervalMonthDayNanoArray::from(values);
        assert_eq!(show(&array), ["1 years 2 months 3 days 1 hours 5.5 seconds", "INTERVAL '00' SECOND"]);
        assert_eq!(
            show(&DurationMicrosecondArray::from(vec![93_784_500_000])),
            ["INTERVAL '1 02:03:04.5' DAY TO SECOND"]
        );
    }
}
