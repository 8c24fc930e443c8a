//! Casts to intervals of given units, and from intervals to numbers and other intervals.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};

use super::{Mode, cast_refused, is_string, numeric, overflow};
use crate::function::interval::DAYS;
use crate::function::scalar::{Call, Types, function};
use crate::interval::{Interval, parse_interval};
use crate::{Error, Result};

const MICROS: DataType = DataType::Duration(TimeUnit::Microsecond);
const CALENDAR: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A unit of an interval, from the largest to the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_uppercase().as_str() {
            "YEAR" => Self::Year,
            "MONTH" => Self::Month,
            "DAY" => Self::Day,
            "HOUR" => Self::Hour,
            "MINUTE" => Self::Minute,
            "SECOND" => Self::Second,
            _ => return None,
        })
    }

    fn is_of_months(self) -> bool {
        self <= Self::Month
    }

    /// How many months or microseconds it has.
    fn size(self) -> i64 {
        match self {
            Self::Year => 12,
            Self::Month => 1,
            Self::Day => MICROS_PER_DAY,
            Self::Hour => 3_600_000_000,
            Self::Minute => 60_000_000,
            Self::Second => 1_000_000,
        }
    }

    /// How many of it make one of the next larger unit.
    fn per_larger(self) -> i64 {
        match self {
            Self::Year | Self::Day => i64::MAX,
            Self::Month => 12,
            Self::Hour => 24,
            Self::Minute | Self::Second => 60,
        }
    }
}

/// The units of an interval type such as `INTERVAL DAY TO SECOND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    first: Unit,
    last: Unit,
}

impl Units {
    /// `DAY TO SECOND`, `HOUR`; nothing if there is no such type.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (first, last) = match words.as_slice() {
            [one] => (Unit::of(one)?, Unit::of(one)?),
            [first, to, last] if to.eq_ignore_ascii_case("to") => (Unit::of(first)?, Unit::of(last)?),
            _ => return None,
        };
        let is_range = words.len() == 1 || first < last;
        (is_range && first.is_of_months() == last.is_of_months()).then_some(Self { first, last })
    }

    /// The type of the values. Those of single hours to seconds are intervals that print with the units they have.
    fn data_type(self) -> DataType {
        match (self.first, self.last) {
            (Unit::Year, Unit::Month) => DataType::Interval(IntervalUnit::YearMonth),
            (Unit::Day, Unit::Day) => DAYS,
            (Unit::Day, Unit::Second) => MICROS,
            _ => CALENDAR,
        }
    }

    fn all(self) -> impl Iterator<Item = Unit> {
        use Unit::{Day, Hour, Minute, Month, Second, Year};
        [Year, Month, Day, Hour, Minute, Second].into_iter().filter(move |u| (self.first..=self.last).contains(u))
    }

    /// The months or microseconds of a text such as `-1 02:03:04.5`, or of that as an interval literal.
    fn read(self, text: &str) -> Option<i64> {
        let text = text.trim();
        match text.get(..8).filter(|word| word.eq_ignore_ascii_case("interval")) {
            None => self.read_plain(text),
            Some(_) => {
                let rest = text[8..].trim_start();
                let (negative, rest) = signed(rest);
                let (value, units) = rest.trim_start().strip_prefix('\'')?.split_once('\'')?;
                let same = Self::parse(units) == Some(self);
                let value = self.read_plain(value.trim()).filter(|_| same)?;
                if negative { value.checked_neg() } else { Some(value) }
            }
        }
    }

    fn read_plain(self, text: &str) -> Option<i64> {
        let (negative, mut rest) = signed(text);
        let mut total = 0_i128;
        for unit in self.all() {
            let part = if unit == self.last {
                std::mem::take(&mut rest)
            } else {
                let separator = [' ', '-', ':'][usize::from(unit == Unit::Year) + 2 * usize::from(unit > Unit::Day)];
                let (part, behind) = rest.split_once(separator)?;
                rest = behind;
                part
            };
            let (whole, fraction) = match part.split_once('.') {
                Some((whole, fraction)) if unit == Unit::Second => (whole, micros(fraction)?),
                Some(_) => return None,
                None => (part, 0),
            };
            let number: i64 = is_digits(whole).then(|| whole.parse().ok())??;
            if unit != self.first && number >= unit.per_larger() {
                return None;
            }
            total += i128::from(number) * i128::from(unit.size()) + i128::from(fraction);
        }
        i64::try_from(if negative { -total } else { total }).ok()
    }

    /// Without what is smaller than the last unit.
    fn cut(self, value: i64) -> i64 {
        if self.last == Unit::Second { value } else { value - value % self.last.size() }
    }

    /// The array of months or microseconds; a value that does not fit is `None`.
    fn array(self, values: Vec<Option<i64>>, mode: Mode, from: &DataType) -> Result<ArrayRef> {
        let to = self.data_type();
        macro_rules! build {
            ($array:ty, $convert:expr) => {{
                let one = |v: Option<i64>| match v {
                    None => Ok(None),
                    Some(v) => mode.settle($convert(v), || overflow(&v.to_string(), from, &to)),
                };
                Ok(Arc::new(values.into_iter().map(one).collect::<Result<$array>>()?))
            }};
        }
        match &to {
            DataType::Interval(IntervalUnit::YearMonth) => build!(IntervalYearMonthArray, |v| i32::try_from(v).ok()),
            DataType::Duration(TimeUnit::Second) => build!(DurationSecondArray, |v| Some(v / 1_000_000)),
            DataType::Duration(_) => build!(DurationMicrosecondArray, Some),
            _ => build!(IntervalMonthDayNanoArray, |v| self.calendar(v)),
        }
    }

    fn calendar(self, value: i64) -> Option<IntervalMonthDayNano> {
        if self.last.is_of_months() {
            return Some(IntervalMonthDayNano::new(i32::try_from(value).ok()?, 0, 0));
        }
        let days = i32::try_from(value / MICROS_PER_DAY).ok()?;
        Some(IntervalMonthDayNano::new(0, days, value % MICROS_PER_DAY * 1000))
    }
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The microseconds of up to nine digits behind the point.
fn micros(fraction: &str) -> Option<i64> {
    let good = is_digits(fraction) && fraction.len() <= 9;
    good.then(|| format!("{fraction:0<6}")[..6].parse().ok())?
}

/// `CAST(expr AS INTERVAL units)`, or `TRY_CAST`.
///
/// # Errors
/// There are no such units.
pub fn cast_to_interval(expr: Expr, units: &str, try_: bool) -> Result<Expr> {
    if units.is_empty() {
        return Ok(function("cast_calendar_interval", 1..=1, calendar_type, to_calendar).call(vec![expr]));
    }
    if Units::parse(units).is_none() {
        let message = format!("there is no type INTERVAL {}", units.to_uppercase());
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", message).with_help(
            "the units are YEAR, MONTH, YEAR TO MONTH, or DAY, HOUR, MINUTE and SECOND with TO from a larger to a smaller",
        ));
    }
    Ok(udf(try_).call(vec![expr, lit(units)]))
}

fn udf(try_: bool) -> ScalarUDF {
    if try_ {
        function("try_cast_interval", 2..=2, interval_type, |call| to_interval(call, Mode::Try))
    } else {
        function("cast_interval", 2..=2, interval_type, |call| to_interval(call, Mode::Ansi))
    }
}

/// `CAST(text AS INTERVAL)`, of any units.
fn calendar_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        t if is_string(t) || *t == DataType::Null || *t == CALENDAR => Ok(CALENDAR),
        other => Err(cast_refused(other, &CALENDAR)),
    }
}

/// A text that is no interval is NULL, as in Spark also where other casts fail.
fn to_calendar(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    if array.data_type() == &CALENDAR {
        return Ok(array);
    }
    let read = |s: Option<&str>| calendar(s?);
    Ok(Arc::new(call.strings(0)?.iter().map(read).collect::<IntervalMonthDayNanoArray>()))
}

/// `1 month 2 days 3.5 seconds`: pairs of number and unit, of months and of time apart.
fn calendar(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim().to_ascii_lowercase();
    let words: Vec<&str> = text.strip_prefix("interval ").unwrap_or(&text).split_whitespace().collect();
    let (months, rest): (Vec<&[&str]>, Vec<_>) =
        words.chunks(2).partition(|pair| pair.get(1).is_some_and(|u| u.starts_with("year") || u.starts_with("month")));
    let sum = |pairs: Vec<&[&str]>| match pairs.concat().join(" ") {
        none if none.is_empty() => Some(Interval::default()),
        some => parse_interval(&some).ok(),
    };
    let (months, rest) = (sum(months)?, sum(rest)?);
    (!words.is_empty()).then(|| Interval { months: months.months, micros: rest.micros }.to_arrow())?
}

/// An interval literal, such as `1 day 2 hour`, as a number of its last unit.
pub fn count_literal(text: &str, to: &DataType, try_: bool) -> Option<Expr> {
    let unit = text.split_whitespace().last()?.to_ascii_uppercase();
    let unit = Unit::of(unit.strip_suffix('S').unwrap_or(&unit))
        .or_else(|| (unit.starts_with("WEEK")).then_some(Unit::Day))?;
    let interval = parse_interval(text).ok()?;
    let amount = if unit.is_of_months() { interval.months } else { interval.micros };
    let number = match unit {
        // A fraction of a second is cut off, not rounded, where whole numbers are asked for.
        Unit::Second if !to.is_integer() => ScalarValue::Decimal128(Some(amount.into()), 25, 6),
        _ => ScalarValue::Int64(Some(amount / unit.size())),
    };
    (to.is_integer() || to.is_decimal()).then(|| super::cast(Expr::Literal(number, None), to, try_))
}

fn units_of(text: Option<&str>) -> Result<Units> {
    text.and_then(Units::parse).ok_or_else(|| Error::internal("an interval has units"))
}

fn interval_type(types: &Types) -> Result<DataType> {
    let (from, units) = (types.get(0), units_of(types.literal_str(1))?);
    let number = from.is_integer() || matches!(from, DataType::Decimal128(..));
    let fits = match from {
        DataType::Interval(IntervalUnit::YearMonth) => units.last.is_of_months(),
        DataType::Duration(_) => !units.last.is_of_months(),
        DataType::Interval(_) | DataType::Null => true,
        other => number || is_string(other),
    };
    if fits { Ok(units.data_type()) } else { Err(cast_refused(from, &units.data_type())) }
}

fn to_interval(call: &Call, mode: Mode) -> Result<ArrayRef> {
    let units = units_of(call.literal_str(1))?;
    let array = call.array(0)?;
    let from = array.data_type().clone();
    let too_large = |value: String| overflow(&value, &from, &units.data_type());
    let values: Vec<Option<i64>> = match &from {
        DataType::Null => vec![None; array.len()],
        text if is_string(text) => {
            let read = |s: Option<&str>| match s {
                None => Ok(None),
                Some(s) => mode.settle(units.read(s), || malformed(s)),
            };
            call.strings(0)?.iter().map(read).collect::<Result<_>>()?
        }
        DataType::Decimal128(_, scale) => {
            let size = i128::from(units.last.size());
            let scaled = |v: Option<i128>| match v {
                None => Ok(None),
                Some(v) => {
                    let value = v.checked_mul(size).and_then(|v| numeric::rescale_value(v, *scale, 0));
                    let value = value.and_then(|v| i64::try_from(v).ok()).map(|v| units.cut(v));
                    mode.settle(value, || too_large(v.to_string()))
                }
            };
            array.as_primitive::<Decimal128Type>().iter().map(scaled).collect::<Result<_>>()?
        }
        number if number.is_integer() => {
            let one = |v: Option<i64>| match v {
                None => Ok(None),
                Some(v) => mode.settle(v.checked_mul(units.last.size()), || too_large(v.to_string())),
            };
            call.longs(0)?.iter().map(one).collect::<Result<_>>()?
        }
        _ => amounts(&array, Some(units), mode)?.into_iter().map(|v| v.map(|v| units.cut(v))).collect(),
    };
    units.array(values, mode, &from)
}

/// The months or microseconds of intervals; which of them `wanted` says where a value could have both.
fn amounts(array: &ArrayRef, wanted: Option<Units>, mode: Mode) -> Result<Vec<Option<i64>>> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            Ok(array.as_primitive::<IntervalYearMonthType>().iter().map(|m| m.map(i64::from)).collect())
        }
        DataType::Duration(_) => {
            let micros = arrow::compute::cast(array, &MICROS)?;
            Ok(micros.as_primitive::<DurationMicrosecondType>().iter().collect())
        }
        from => {
            let months = wanted.is_some_and(|units| units.last.is_of_months());
            let amount = |i: IntervalMonthDayNano| match months {
                true => (i.days == 0 && i.nanoseconds == 0).then(|| i64::from(i.months)),
                false => (i.months == 0).then(|| i64::from(i.days) * MICROS_PER_DAY)?.checked_add(i.nanoseconds / 1000),
            };
            let intervals = arrow::compute::cast(array, &CALENDAR)?;
            let one = |i: Option<IntervalMonthDayNano>| match i {
                None => Ok(None),
                Some(i) => mode.settle(amount(i), || cast_refused(from, &wanted.map_or(MICROS, Units::data_type))),
            };
            intervals.as_primitive::<IntervalMonthDayNanoType>().iter().map(one).collect()
        }
    }
}

/// Whether an interval has one unit that it can be counted in.
pub fn is_countable(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(IntervalUnit::YearMonth))
}

/// An interval as a number of its smallest unit: days of whole days, seconds of other times, months.
pub fn to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let unit = match array.data_type() {
        DataType::Interval(_) => Unit::Month,
        DataType::Duration(TimeUnit::Second) => Unit::Day,
        _ => Unit::Second,
    };
    let amounts = amounts(array, None, mode)?;
    if !to.is_integer() && unit == Unit::Second {
        let micros = amounts.into_iter().map(|v| v.map(i128::from)).collect::<Decimal128Array>();
        let micros: ArrayRef = Arc::new(micros.with_precision_and_scale(25, 6)?);
        return numeric::to_number(&micros, to, mode);
    }
    let numbers: ArrayRef = Arc::new(amounts.into_iter().map(|v| v.map(|v| v / unit.size())).collect::<Int64Array>());
    numeric::to_number(&numbers, to, mode)
}

fn malformed(text: &str) -> Error {
    Error::execution("INVALID_INTERVAL_FORMAT", format!("'{text}' is not an interval of these units")).with_help(
        "write '3' for one unit, '1 02:03:04' DAY TO SECOND, '1-6' YEAR TO MONTH; `try_cast` gives NULL instead",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_by_their_units() {
        for (units, text, value) in [
            ("DAY", " 1 ", Some(MICROS_PER_DAY)),
            ("DAY", "1.5", None),
            ("DAY", "1-2", None),
            ("SECOND", "-1.5", Some(-1_500_000)),
            ("DAY TO HOUR", "1 25", None),
            ("DAY TO HOUR", "1 2", Some(26 * 3_600_000_000)),
            ("HOUR TO MINUTE", "25:10", Some(1510 * 60_000_000)),
            ("MINUTE TO SECOND", "90:10.25", Some(5_410_250_000)),
            ("DAY TO SECOND", "02:03:04", None),
            ("YEAR TO MONTH", "-1-2", Some(-14)),
            ("YEAR TO MONTH", "1-12", None),
            ("YEAR TO MONTH", "INTERVAL -'1-2' YEAR TO MONTH", Some(-14)),
            ("DAY", "INTERVAL '1' HOUR", None),
            ("DAY", "", None),
        ] {
            assert_eq!(Units::parse(units).unwrap().read(text), value, "{text} {units}");
        }
        assert!(["DAY TO YEAR", "MONTH TO DAY", "DAY TO DAY", "WEEK", ""].iter().all(|u| Units::parse(u).is_none()));
    }
}
