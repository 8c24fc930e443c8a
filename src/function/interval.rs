//! Intervals: their products and quotients, `make_ym_interval`, and the difference of two dates.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::arithmetic::{Op, arithmetic_overflow};
use super::scalar::{Call, Types, function};
use crate::{Error, Result};

const MICROS_PER_DAY: f64 = 86_400_000_000.0;
const CALENDAR: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The type of `date - date`, Spark's INTERVAL DAY: whole days, which no other type of Spark's counts in seconds.
pub const DAYS: DataType = DataType::Duration(TimeUnit::Second);

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![function("make_ym_interval", 0..=2, |_| Ok(DataType::Interval(IntervalUnit::YearMonth)), make_ym_interval)]
}

/// Whether values of the type are intervals.
pub fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

/// `interval * number` or `interval / number`.
pub fn scaled(interval: Expr, op: Op, number: Expr) -> Expr {
    let udf = match op {
        Op::Divide => function("divide_interval", 2..=2, scaled_type, |call| scale(call, Op::Divide)),
        _ => function("multiply_interval", 2..=2, scaled_type, |call| scale(call, Op::Multiply)),
    };
    udf.call(vec![interval, number])
}

/// `end - start` of dates.
pub fn days_between(end: Expr, start: Expr) -> Expr {
    function("subtract_dates", 2..=2, |_| Ok(DAYS), subtract_dates).call(vec![end, start])
}

fn scaled_type(types: &Types) -> Result<DataType> {
    Ok(match types.get(0) {
        // Half a day is no whole number of days.
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        other => other.clone(),
    })
}

fn scale(call: &Call, op: Op) -> Result<ArrayRef> {
    let numbers = call.doubles(1)?;
    if op == Op::Divide && numbers.iter().any(|n| n == Some(0.0)) {
        return Err(Error::execution("INTERVAL_DIVIDED_BY_ZERO", "an interval is divided by zero")
            .with_help("use `try_divide` to tolerate a divisor of 0 and get NULL instead"));
    }
    let by = |n: f64| if op == Op::Divide { 1.0 / n } else { n };
    let overflow = || arithmetic_overflow(&DataType::Int64);
    let array = call.array(0)?;
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let rows = array.as_primitive::<IntervalYearMonthType>().iter().zip(&numbers);
            let rows = rows.map(|(m, n)| m.zip(n).map(|(m, n)| whole(f64::from(m) * by(n))).transpose());
            let rows = rows.map(|m| m?.map(i32::try_from).transpose().map_err(|_| overflow()));
            Arc::new(rows.collect::<Result<IntervalYearMonthArray>>()?)
        }
        DataType::Duration(_) => {
            let micros = arrow::compute::cast(&array, &DataType::Duration(TimeUnit::Microsecond))?;
            let rows = micros.as_primitive::<DurationMicrosecondType>().iter().zip(&numbers);
            let rows = rows.map(|(us, n)| us.zip(n).map(|(us, n)| whole(us as f64 * by(n))).transpose());
            Arc::new(rows.collect::<Result<DurationMicrosecondArray>>()?)
        }
        _ => {
            let intervals = arrow::compute::cast(&array, &CALENDAR)?;
            let rows = intervals.as_primitive::<IntervalMonthDayNanoType>().iter().zip(&numbers);
            let rows = rows.map(|(i, n)| i.zip(n).map(|(i, n)| scaled_calendar(i, by(n))).transpose());
            Arc::new(rows.collect::<Result<IntervalMonthDayNanoArray>>()?)
        }
    })
}

fn whole(value: f64) -> Result<i64> {
    if value.abs() < i64::MAX as f64 { Ok(value.round() as i64) } else { Err(arithmetic_overflow(&DataType::Int64)) }
}

/// Months stay months; days and time are one number of microseconds.
fn scaled_calendar(i: IntervalMonthDayNano, by: f64) -> Result<IntervalMonthDayNano> {
    let overflow = |_| arithmetic_overflow(&DataType::Int32);
    let months = i32::try_from(whole(f64::from(i.months) * by)?).map_err(overflow)?;
    let micros = whole((f64::from(i.days) * MICROS_PER_DAY + (i.nanoseconds / 1000) as f64) * by)?;
    let day = MICROS_PER_DAY as i64;
    let days = i32::try_from(micros / day).map_err(overflow)?;
    Ok(IntervalMonthDayNano::new(months, days, micros % day * 1000))
}

fn subtract_dates(call: &Call) -> Result<ArrayRef> {
    let date = |i| -> Result<Date32Array> { Ok(call.cast(i, &DataType::Date32)?.as_primitive::<Date32Type>().clone()) };
    let (end, start) = (date(0)?, date(1)?);
    let rows = end.iter().zip(&start).map(|(end, start)| Some((i64::from(end?) - i64::from(start?)) * 86_400));
    Ok(Arc::new(rows.collect::<DurationSecondArray>()))
}

fn make_ym_interval(call: &Call) -> Result<ArrayRef> {
    let part = |i: usize| if i < call.len() { call.ints(i) } else { Ok(Int32Array::from(vec![0; call.rows()])) };
    let (years, months) = (part(0)?, part(1)?);
    let total = |(y, m): (Option<i32>, Option<i32>)| match y.zip(m) {
        None => Ok(None),
        Some((y, m)) => {
            let total = y.checked_mul(12).and_then(|y| y.checked_add(m));
            total.map(Some).ok_or_else(|| arithmetic_overflow(&DataType::Int32))
        }
    };
    Ok(Arc::new(years.iter().zip(&months).map(total).collect::<Result<IntervalYearMonthArray>>()?))
}
