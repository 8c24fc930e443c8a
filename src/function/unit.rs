//! Times by unit: `timestampadd`, `timestampdiff`, `date_trunc`, `trunc` and `date_part`.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::logical_expr::ScalarUDF;

use super::arithmetic::arithmetic_overflow;
use super::cast::temporal::{days_since_epoch, to_epoch, to_local};
use super::interval::is_interval;
use super::scalar::{Call, Types, function, timestamp};
use crate::{Error, Result};

const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const MICROS_PER_SECOND: i64 = 1_000_000;
/// The type of seconds with their fraction.
const SECONDS: DataType = DataType::Decimal128(8, 6);

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("timestampadd", 3..=3, add_type, timestamp_add),
        function("timestampdiff", 3..=3, |_| Ok(DataType::Int64), timestamp_diff),
        function("date_trunc", 2..=2, trunc_type, date_trunc),
        function("trunc", 2..=2, |_| Ok(DataType::Date32), trunc),
        function("date_part", 2..=2, part_type, date_part).with_aliases(["datepart"]),
    ]
}

/// The names of the units that `timestampadd` and `timestampdiff` know, as they are written without quotes.
pub fn is_unit_name(name: &str) -> bool {
    Unit::from_name(name).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Months(i32),
    Micros(i64),
}

impl Unit {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "YEAR" => Self::Months(12),
            "QUARTER" => Self::Months(3),
            "MONTH" => Self::Months(1),
            "WEEK" => Self::Micros(7 * 86_400 * MICROS_PER_SECOND),
            "DAY" | "DAYOFYEAR" => Self::Micros(86_400 * MICROS_PER_SECOND),
            "HOUR" => Self::Micros(3600 * MICROS_PER_SECOND),
            "MINUTE" => Self::Micros(60 * MICROS_PER_SECOND),
            "SECOND" => Self::Micros(MICROS_PER_SECOND),
            "MILLISECOND" => Self::Micros(1000),
            "MICROSECOND" => Self::Micros(1),
            _ => return None,
        })
    }

    fn of(call: &Call) -> Result<Self> {
        let name = call.literal_str(0).unwrap_or_default();
        Self::from_name(name).ok_or_else(|| {
            Error::invalid("INVALID_PARAMETER_VALUE.DATETIME_UNIT", format!("'{name}' is no unit of time")).with_help(
                "write one of YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND",
            )
        })
    }
}

/// Whether local times of the type are those of no zone.
fn is_ntz(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, None))
}

fn add_type(types: &Types) -> Result<DataType> {
    Ok(if is_ntz(types.get(2)) { NTZ } else { timestamp() })
}

/// Argument `i` as microseconds, and the zone of its local times.
fn times(call: &Call, i: usize) -> Result<(TimestampMicrosecondArray, Tz)> {
    if is_ntz(&call.value(i).data_type()) {
        return Ok((call.cast(i, &NTZ)?.as_primitive::<TimestampMicrosecondType>().clone(), Tz::UTC));
    }
    Ok((call.timestamps(i)?, call.tz()))
}

fn with_type(us: TimestampMicrosecondArray, to: &DataType) -> ArrayRef {
    Arc::new(us.with_data_type(to.clone()))
}

/// The same day of another month, or its last day.
fn plus_months(time: NaiveDateTime, months: i32) -> Option<NaiveDateTime> {
    let by = Months::new(months.unsigned_abs());
    if months < 0 { time.checked_sub_months(by) } else { time.checked_add_months(by) }
}

/// Months and days move the local time, what is shorter the instant.
fn moved(us: i64, unit: Unit, by: i64, tz: Tz) -> Option<i64> {
    const DAY: i64 = 86_400 * MICROS_PER_SECOND;
    match unit {
        Unit::Months(n) => {
            let months = i32::try_from(by).ok()?.checked_mul(n)?;
            to_epoch(plus_months(to_local(us, tz)?, months)?, Some(tz))
        }
        Unit::Micros(n) if n % DAY == 0 => {
            let days = TimeDelta::try_days(by.checked_mul(n / DAY)?)?;
            to_epoch(to_local(us, tz)?.checked_add_signed(days)?, Some(tz))
        }
        Unit::Micros(n) => us.checked_add(by.checked_mul(n)?),
    }
}

fn timestamp_add(call: &Call) -> Result<ArrayRef> {
    let (unit, by, (us, tz)) = (Unit::of(call)?, call.longs(1)?, times(call, 2)?);
    let rows = us.iter().zip(&by).map(|(us, by)| match us.zip(by) {
        None => Ok(None),
        Some((us, by)) => moved(us, unit, by, tz).map(Some).ok_or_else(|| {
            Error::execution("DATETIME_OVERFLOW", "the time is out of a timestamp's range after adding the units")
                .with_help("add fewer units, or bound the number first, as in least(n, 1000)")
        }),
    });
    Ok(with_type(rows.collect::<Result<TimestampMicrosecondArray>>()?, call.return_type()))
}

/// Whole units from the first time to the second.
fn timestamp_diff(call: &Call) -> Result<ArrayRef> {
    let (unit, (start, tz), (end, end_tz)) = (Unit::of(call)?, times(call, 1)?, times(call, 2)?);
    let between = |start: i64, end: i64| -> Option<i64> {
        let (start, end) = (to_local(start, tz)?, to_local(end, end_tz)?);
        match unit {
            Unit::Micros(n) => Some((end - start).num_microseconds()? / n),
            Unit::Months(n) => Some(i64::from(whole_months(start, end)? / n)),
        }
    };
    let rows = start.iter().zip(&end).map(|(start, end)| match start.zip(end) {
        None => Ok(None),
        Some((start, end)) => between(start, end).map(Some).ok_or_else(|| arithmetic_overflow(&DataType::Int64)),
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

fn whole_months(start: NaiveDateTime, end: NaiveDateTime) -> Option<i32> {
    let months = (end.year() - start.year()) * 12 + end.month() as i32 - start.month() as i32;
    let rest = (end.day(), end.time()).cmp(&(start.day(), start.time()));
    Some(match (months.signum(), rest) {
        (1, std::cmp::Ordering::Less) => months - 1,
        (-1, std::cmp::Ordering::Greater) => months + 1,
        _ => months,
    })
}

/// The first day of the year, quarter, month or week.
fn first_day(date: NaiveDate, level: &str) -> Option<NaiveDate> {
    match level {
        "YEAR" | "YYYY" | "YY" => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        "QUARTER" => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
        "MONTH" | "MM" | "MON" => date.with_day(1),
        "WEEK" => date.checked_sub_signed(TimeDelta::days(date.weekday().num_days_from_monday().into())),
        _ => None,
    }
}

fn truncated(local: NaiveDateTime, level: &str) -> Option<NaiveDateTime> {
    let date = local.date();
    let time = local.time();
    let (h, m, s, us) = (time.hour(), time.minute(), time.second(), time.nanosecond() / 1000);
    match level {
        "DAY" | "DD" => Some(date.and_time(NaiveTime::MIN)),
        "HOUR" => date.and_hms_opt(h, 0, 0),
        "MINUTE" => date.and_hms_opt(h, m, 0),
        "SECOND" => date.and_hms_opt(h, m, s),
        "MILLISECOND" => date.and_hms_micro_opt(h, m, s, us / 1000 * 1000),
        "MICROSECOND" => date.and_hms_micro_opt(h, m, s, us),
        level => Some(first_day(date, level)?.and_time(NaiveTime::MIN)),
    }
}

fn trunc_type(types: &Types) -> Result<DataType> {
    Ok(if is_ntz(types.get(1)) { NTZ } else { timestamp() })
}

/// An unknown unit gives NULL.
fn date_trunc(call: &Call) -> Result<ArrayRef> {
    let (levels, (us, tz)) = (call.strings(0)?, times(call, 1)?);
    let rows = us.iter().zip(&levels).map(|(us, level)| {
        let local = truncated(to_local(us?, tz)?, &level?.to_ascii_uppercase())?;
        to_epoch(local, Some(tz))
    });
    Ok(with_type(rows.collect(), call.return_type()))
}

/// An unknown unit, or one shorter than a week, gives NULL.
fn trunc(call: &Call) -> Result<ArrayRef> {
    let (days, levels) = (call.cast(0, &DataType::Date32)?, call.strings(1)?);
    let rows = days.as_primitive::<Date32Type>().iter().zip(&levels).map(|(day, level)| {
        let date = NaiveDate::default().checked_add_signed(TimeDelta::days(day?.into()))?;
        days_since_epoch(first_day(date, &level?.to_ascii_uppercase())?)
    });
    Ok(Arc::new(rows.collect::<Date32Array>()))
}

/// A field that `extract` takes out of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    YearOfWeek,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    DayOfWeekIso,
    DayOfYear,
    Hour,
    Minute,
    Second,
}

impl Part {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => Self::Year,
            "YEAROFWEEK" => Self::YearOfWeek,
            "QUARTER" | "QTR" => Self::Quarter,
            "MONTH" | "MON" | "MONS" | "MONTHS" => Self::Month,
            "WEEK" | "W" | "WEEKS" => Self::Week,
            "DAY" | "D" | "DAYS" => Self::Day,
            "DAYOFWEEK" | "DOW" => Self::DayOfWeek,
            "DAYOFWEEK_ISO" | "DOW_ISO" => Self::DayOfWeekIso,
            "DOY" => Self::DayOfYear,
            "HOUR" | "H" | "HOURS" | "HR" | "HRS" => Self::Hour,
            "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => Self::Minute,
            "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => Self::Second,
            _ => {
                return Err(Error::invalid("INVALID_EXTRACT_FIELD", format!("'{name}' is no field of a time"))
                    .with_help(
                        "the fields are YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFWEEK, DOY, HOUR, MINUTE, SECOND",
                    ));
            }
        })
    }

    fn of_time(self, t: NaiveDateTime) -> i32 {
        match self {
            Self::Year => t.year(),
            Self::YearOfWeek => t.iso_week().year(),
            Self::Quarter => t.month0() as i32 / 3 + 1,
            Self::Month => t.month() as i32,
            Self::Week => t.iso_week().week() as i32,
            Self::Day => t.day() as i32,
            Self::DayOfWeek => t.weekday().num_days_from_sunday() as i32 + 1,
            Self::DayOfWeekIso => t.weekday().number_from_monday() as i32,
            Self::DayOfYear => t.ordinal() as i32,
            Self::Hour => t.hour() as i32,
            Self::Minute => t.minute() as i32,
            Self::Second => t.second() as i32,
        }
    }

    /// The field of an interval; none if intervals do not have it.
    fn of_interval(self, i: IntervalMonthDayNano) -> Option<i64> {
        let seconds = i.nanoseconds / 1_000_000_000;
        Some(match self {
            Self::Year => i64::from(i.months / 12),
            Self::Month => i64::from(i.months % 12),
            Self::Day => i64::from(i.days) + seconds / 86_400,
            Self::Hour => seconds / 3600 % 24,
            Self::Minute => seconds / 60 % 60,
            _ => return None,
        })
    }
}

fn part_type(types: &Types) -> Result<DataType> {
    let Some(name) = types.literal_str(0) else {
        let message = "the field of 'date_part' must be a string literal";
        return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
            .with_help("write it in quotes: date_part('hour', ts)"));
    };
    let part = Part::from_name(name)?;
    let of_months = matches!(part, Part::Year | Part::Month);
    let absent = match types.get(1) {
        DataType::Duration(TimeUnit::Second) => part != Part::Day,
        DataType::Duration(_) => of_months,
        DataType::Interval(IntervalUnit::YearMonth) => !of_months,
        _ => false,
    };
    let unknown = part != Part::Second && part.of_interval(IntervalMonthDayNano::ZERO).is_none();
    if is_interval(types.get(1)) && (absent || unknown) {
        return Err(Error::invalid("INVALID_EXTRACT_FIELD", format!("an interval has no field '{name}'"))
            .with_help("an interval has YEAR, MONTH, DAY, HOUR, MINUTE and SECOND"));
    }
    Ok(match part {
        Part::Second => SECONDS,
        Part::Month | Part::Hour | Part::Minute if is_interval(types.get(1)) => DataType::Int8,
        _ => DataType::Int32,
    })
}

fn date_part(call: &Call) -> Result<ArrayRef> {
    let part = Part::from_name(call.literal_str(0).unwrap_or_default())?;
    if is_interval(&call.value(1).data_type()) {
        return interval_part(call, part);
    }
    let (us, tz) = times(call, 1)?;
    if part == Part::Second {
        let micros = us.unary::<_, Decimal128Type>(|us| i128::from(us.rem_euclid(60 * MICROS_PER_SECOND)));
        return Ok(Arc::new(micros.with_data_type(SECONDS)));
    }
    Ok(Arc::new(us.unary_opt::<_, Int32Type>(|us| to_local(us, tz).map(|t| part.of_time(t)))))
}

fn interval_part(call: &Call, part: Part) -> Result<ArrayRef> {
    let calendar = DataType::Interval(IntervalUnit::MonthDayNano);
    let intervals = arrow::compute::cast(&call.array(1)?, &calendar)?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    if part == Part::Second {
        let micros =
            intervals.unary::<_, Decimal128Type>(|i| i128::from(i.nanoseconds / 1000 % (60 * MICROS_PER_SECOND)));
        return Ok(Arc::new(micros.with_data_type(SECONDS)));
    }
    if matches!(part, Part::Month | Part::Hour | Part::Minute) {
        return Ok(Arc::new(intervals.unary_opt::<_, Int8Type>(|i| i8::try_from(part.of_interval(i)?).ok())));
    }
    Ok(Arc::new(intervals.unary_opt::<_, Int32Type>(|i| i32::try_from(part.of_interval(i)?).ok())))
}
