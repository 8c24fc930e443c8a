//! Arithmetic of dates by function: `date_add`, `date_sub`, `datediff`, `add_months`, `last_day`.
//!
//! Dates may be timestamps or text too, and days any integer, as Spark casts them.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Date32Type};
use chrono::{Datelike, Months, NaiveDate, TimeDelta};
use datafusion::logical_expr::ScalarUDF;

use super::arithmetic::arithmetic_overflow;
use super::cast::temporal::days_since_epoch;
use super::scalar::{Call, function};
use crate::Result;

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("date_add", 2..=2, |_| Ok(DataType::Date32), |call| shift(call, |day, n| day.checked_add(n)))
            .with_aliases(["dateadd"]),
        function("date_sub", 2..=2, |_| Ok(DataType::Date32), |call| shift(call, |day, n| day.checked_sub(n))),
        function("add_months", 2..=2, |_| Ok(DataType::Date32), |call| shift(call, add_months)),
        function("date_diff", 2..=2, |_| Ok(DataType::Int32), datediff).with_aliases(["datediff"]),
        function("last_day", 1..=1, |_| Ok(DataType::Date32), last_day),
    ]
}

fn dates(call: &Call, i: usize) -> Result<Date32Array> {
    Ok(call.cast(i, &DataType::Date32)?.as_primitive::<Date32Type>().clone())
}

/// Applies `f` to a day and a number.
fn shift(call: &Call, f: impl Fn(i32, i32) -> Option<i32>) -> Result<ArrayRef> {
    let (days, by) = (dates(call, 0)?, call.ints(1)?);
    let rows = days.iter().zip(by.iter()).map(|(day, n)| match day.zip(n) {
        Some((day, n)) => f(day, n).map(Some).ok_or_else(|| arithmetic_overflow(&DataType::Int32)),
        None => Ok(None),
    });
    Ok(Arc::new(rows.collect::<Result<Date32Array>>()?))
}

fn date_of(day: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::days(day.into()))
}

/// The same day of another month, or its last day.
fn add_months(day: i32, months: i32) -> Option<i32> {
    let (date, by) = (date_of(day)?, Months::new(months.unsigned_abs()));
    let moved = if months < 0 { date.checked_sub_months(by) } else { date.checked_add_months(by) };
    days_since_epoch(moved?)
}

fn datediff(call: &Call) -> Result<ArrayRef> {
    let (end, start) = (dates(call, 0)?, dates(call, 1)?);
    let rows = end.iter().zip(start.iter()).map(|(end, start)| Some(end?.wrapping_sub(start?)));
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

fn last_day(call: &Call) -> Result<ArrayRef> {
    let last = |day: i32| {
        let first = date_of(day)?.with_day(1)?;
        days_since_epoch(first.checked_add_months(Months::new(1))?.pred_opt()?)
    };
    Ok(Arc::new(dates(call, 0)?.unary_opt::<_, Date32Type>(last)))
}
