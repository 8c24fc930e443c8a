//! Times and intervals in the calendar of the session's zone: a day is as long as the zone makes it.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use chrono::{DateTime, LocalResult, Months, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::{Expr, binary_expr};

use super::arithmetic::Op;
use super::cast::cast;
use super::cast::temporal::to_epoch;
use super::interval::is_interval;
use super::scalar::{Call, function, timestamp};
use crate::{Error, Result};

const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// `time ± interval` where days may be longer or shorter than 24 hours; none where the plain operator gives the same.
pub fn shift_time((time, from): (&Expr, &DataType), op: Operator, (by, unit): (&Expr, &DataType)) -> Option<Expr> {
    if !is_interval(unit) || !has_days(by) {
        return None;
    }
    let time = match from {
        DataType::Timestamp(_, Some(_)) => time.clone(),
        DataType::Date32 if has_time(by) || matches!(unit, DataType::Duration(TimeUnit::Microsecond)) => {
            cast(time.clone(), &timestamp(), false)
        }
        _ => return None,
    };
    let shift = match op {
        Operator::Plus => function("add_to_time", 2..=2, |_| Ok(timestamp()), |call| shifted(call, Op::Add)),
        Operator::Minus => {
            function("subtract_from_time", 2..=2, |_| Ok(timestamp()), |call| shifted(call, Op::Subtract))
        }
        _ => return None,
    };
    Some(shift.call(vec![time, by.clone()]))
}

/// `end - start` of two TIMESTAMPs: what lies between their local times.
pub fn time_between(end: &Expr, start: &Expr) -> Expr {
    let local = |e: &Expr| cast(e.clone(), &NTZ, false);
    binary_expr(local(end), Operator::Minus, local(start))
}

/// Whether the interval may have months or days.
fn has_days(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) => i.months != 0 || i.days != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(i)), _) => i.days != 0,
        _ => true,
    }
}

fn has_time(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) => i.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(i)), _) => i.milliseconds != 0,
        _ => false,
    }
}

/// Months, days and microseconds of every row.
fn parts(array: &ArrayRef) -> Result<Vec<Option<(i32, i64, i64)>>> {
    let of_micros = |us: i64| (0, us / MICROS_PER_DAY, us % MICROS_PER_DAY);
    if matches!(array.data_type(), DataType::Duration(_)) {
        let micros = arrow::compute::cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
        return Ok(micros.as_primitive::<DurationMicrosecondType>().iter().map(|us| us.map(of_micros)).collect());
    }
    let calendar = arrow::compute::cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let row = |i: IntervalMonthDayNano| (i.months, i64::from(i.days), i.nanoseconds / 1000);
    Ok(calendar.as_primitive::<IntervalMonthDayNanoType>().iter().map(|i| i.map(row)).collect())
}

fn shifted(call: &Call, op: Op) -> Result<ArrayRef> {
    let (times, intervals, tz) = (call.timestamps(0)?, parts(&call.array(1)?)?, call.tz());
    let rows = times.iter().zip(intervals).map(|(us, by)| {
        let Some((us, (months, days, micros))) = us.zip(by) else { return Ok(None) };
        let by = if op == Op::Subtract { (-i64::from(months), -days, -micros) } else { (months.into(), days, micros) };
        shift_one(us, by, tz).map(Some).ok_or_else(|| {
            Error::execution("DATETIME_OVERFLOW", "the time is out of a timestamp's range after adding the interval")
                .with_help("bound the time or the interval first")
        })
    });
    Ok(Arc::new(rows.collect::<Result<TimestampMicrosecondArray>>()?.with_data_type(timestamp())))
}

/// Months and days move the local time, the rest moves the instant.
fn shift_one(us: i64, (months, days, micros): (i64, i64, i64), tz: Tz) -> Option<i64> {
    if months == 0 && days == 0 {
        return us.checked_add(micros);
    }
    let before = tz.from_utc_datetime(&DateTime::from_timestamp_micros(us)?.naive_utc());
    let by = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let local = before.naive_local();
    let local = if months < 0 { local.checked_sub_months(by)? } else { local.checked_add_months(by)? };
    let local = local.checked_add_signed(TimeDelta::try_days(days)?)?;
    instant(local, before.offset().fix().local_minus_utc(), tz)?.checked_add(micros)
}

/// The instant of a local time. Of two it is the one with the offset from before.
fn instant(local: NaiveDateTime, offset: i32, tz: Tz) -> Option<i64> {
    match tz.from_local_datetime(&local) {
        LocalResult::Ambiguous(first, second) => {
            let keeps = second.offset().fix().local_minus_utc() == offset;
            Some(if keeps { second } else { first }.timestamp_micros())
        }
        _ => to_epoch(local, Some(tz)),
    }
}
