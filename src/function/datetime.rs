//! Functions of dates and timestamps.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::*;
use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::logical_expr::ScalarUDF;

use super::cast::temporal::{days_since_epoch, parse_timestamp, to_epoch, to_local};
use super::cast::{Mode, cast_array};
use super::java_pattern::Pattern;
use super::scalar::{Call, function, timestamp};
use crate::type_name::sql_type_name;
use crate::{Error, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;
const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";
const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    let mut all = vec![
        function("date_format", 2..=2, |_| Ok(DataType::Utf8View), date_format),
        function("to_timestamp", 1..=2, |_| Ok(timestamp()), |call| to_time(call, Mode::Ansi))
            .with_aliases(["to_timestamp_ltz"]),
        function("try_to_timestamp", 1..=2, |_| Ok(timestamp()), |call| to_time(call, Mode::Try)),
        function("to_timestamp_ntz", 1..=2, |_| Ok(NTZ), |call| to_time(call, Mode::Ansi)),
        function("to_date", 1..=2, |_| Ok(DataType::Date32), |call| to_time(call, Mode::Ansi)).with_aliases(["date"]),
        function("try_to_date", 1..=2, |_| Ok(DataType::Date32), |call| to_time(call, Mode::Try)),
        function("from_unixtime", 1..=2, |_| Ok(DataType::Utf8View), from_unixtime),
        function("unix_timestamp", 1..=2, |_| Ok(DataType::Int64), unix_timestamp).with_aliases(["to_unix_timestamp"]),
        function("timestamp_seconds", 1..=1, |_| Ok(timestamp()), |call| call.cast(0, &timestamp())),
        function("timestamp_millis", 1..=1, |_| Ok(timestamp()), |call| epoch(call, 1000)),
        function("timestamp_micros", 1..=1, |_| Ok(timestamp()), |call| epoch(call, 1)),
        function("months_between", 2..=3, |_| Ok(DataType::Float64), months_between),
        function("make_timestamp", 6..=7, |_| Ok(timestamp()), |call| make_timestamp(call, Mode::Ansi))
            .with_aliases(["make_timestamp_ltz"]),
        function("make_timestamp_ntz", 6..=6, |_| Ok(NTZ), |call| make_timestamp(call, Mode::Ansi)),
        function("try_make_timestamp", 6..=7, |_| Ok(timestamp()), |call| make_timestamp(call, Mode::Try))
            .with_aliases(["try_make_timestamp_ltz"]),
        function("try_make_timestamp_ntz", 6..=6, |_| Ok(NTZ), |call| make_timestamp(call, Mode::Try)),
        function("make_date", 3..=3, |_| Ok(DataType::Date32), make_date),
        function("date_from_unix_date", 1..=1, |_| Ok(DataType::Date32), date_from_unix_date),
        function("dayname", 1..=1, |_| Ok(DataType::Utf8View), dayname),
    ];
    all.extend(parts());
    all
}

/// The functions that take one field out of a date or time.
fn parts() -> [ScalarUDF; 11] {
    fn int(_: &super::scalar::Types) -> Result<DataType> {
        Ok(DataType::Int32)
    }
    [
        function("year", 1..=1, int, |call| part(call, |t| t.year())),
        function("quarter", 1..=1, int, |call| part(call, |t| t.month0() as i32 / 3 + 1)),
        function("month", 1..=1, int, |call| part(call, |t| t.month() as i32)),
        function("weekofyear", 1..=1, int, |call| part(call, |t| t.iso_week().week() as i32)),
        function("day", 1..=1, int, |call| part(call, |t| t.day() as i32)).with_aliases(["dayofmonth"]),
        function("dayofweek", 1..=1, int, |call| part(call, |t| t.weekday().num_days_from_sunday() as i32 + 1)),
        function("weekday", 1..=1, int, |call| part(call, |t| t.weekday().num_days_from_monday() as i32)),
        function("dayofyear", 1..=1, int, |call| part(call, |t| t.ordinal() as i32)),
        function("hour", 1..=1, int, |call| part(call, |t| t.hour() as i32)),
        function("minute", 1..=1, int, |call| part(call, |t| t.minute() as i32)),
        function("second", 1..=1, int, |call| part(call, |t| t.second() as i32)),
    ]
}

/// The argument as local time: dates are midnight, texts are read leniently.
fn part(call: &Call, f: impl Fn(NaiveDateTime) -> i32) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let result: Int32Array = if array.data_type() == &DataType::Date32 {
        array.as_primitive::<Date32Type>().unary_opt(|days| Some(f(date_of(days)?.and_time(NaiveTime::MIN))))
    } else {
        let tz = if array.data_type() == &NTZ { Tz::UTC } else { call.tz() };
        let us = if array.data_type() == &NTZ { array.as_primitive().clone() } else { call.timestamps(0)? };
        us.unary_opt(|us| to_local(us, tz).map(&f))
    };
    Ok(Arc::new(result))
}

fn date_of(days: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::days(days.into()))
}

fn dayname(call: &Call) -> Result<ArrayRef> {
    let days = part(call, |t| t.weekday().num_days_from_monday() as i32)?;
    let name = |day: i32| ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day as usize];
    Ok(Arc::new(days.as_primitive::<Int32Type>().iter().map(|d| d.map(name)).collect::<StringViewArray>()))
}

/// The patterns of all rows: one, if the argument is a literal.
struct Patterns {
    texts: StringViewArray,
    last: Option<(String, Pattern)>,
    is_literal: bool,
}

impl Patterns {
    fn of(call: &Call, i: usize) -> Result<Self> {
        let default = || StringViewArray::from(vec![DEFAULT_PATTERN; call.rows()]);
        let texts = if call.len() > i { call.strings(i)? } else { default() };
        let is_literal = call.len() <= i || call.literal_str(i).is_some();
        Ok(Self { texts, last: None, is_literal })
    }

    /// The pattern of all rows, if there is one.
    fn only(&mut self) -> Result<Option<Pattern>> {
        if !self.is_literal || self.texts.is_empty() {
            return Ok(None);
        }
        self.at(0).map(|pattern| pattern.cloned())
    }

    fn at(&mut self, row: usize) -> Result<Option<&Pattern>> {
        if self.texts.is_null(row) {
            return Ok(None);
        }
        let text = self.texts.value(row);
        if self.last.as_ref().is_none_or(|(known, _)| known != text) {
            self.last = Some((text.to_owned(), Pattern::new(text)?));
        }
        Ok(self.last.as_ref().map(|(_, pattern)| pattern))
    }
}

pub fn date_format(call: &Call) -> Result<ArrayRef> {
    let tz = if call.value(0).data_type() == NTZ { Tz::UTC } else { call.tz() };
    let us = if call.value(0).data_type() == NTZ { call.array(0)?.as_primitive().clone() } else { call.timestamps(0)? };
    format_times(&us, Patterns::of(call, 1)?, tz)
}

fn format_times(us: &TimestampMicrosecondArray, mut patterns: Patterns, tz: Tz) -> Result<ArrayRef> {
    // A batch has few days: equal texts are one.
    let mut builder = StringViewBuilder::with_capacity(us.len()).with_deduplicate_strings();
    if let Some(pattern) = patterns.only()? {
        let mut writer = pattern.writer(tz);
        for us in us {
            builder.append_option(us.map(|us| writer.text(us)));
        }
        return Ok(Arc::new(builder.finish()));
    }
    let mut text = String::new();
    for row in 0..us.len() {
        match patterns.at(row)? {
            Some(pattern) if us.is_valid(row) => {
                text.clear();
                pattern.format(&mut text, us.value(row), tz);
                builder.append_value(&text);
            }
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Seconds since the epoch as text.
fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let seconds = call.longs(0)?;
    let us: TimestampMicrosecondArray = seconds.unary_opt(|s| s.checked_mul(MICROS_PER_SECOND));
    format_times(&us, Patterns::of(call, 1)?, call.tz())
}

/// Text to date or timestamp, with a pattern or as a cast does.
fn to_time(call: &Call, mode: Mode) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let is_text = super::cast::is_string(array.data_type());
    if call.len() < 2 || !is_text {
        return cast_array(&array, call.return_type(), mode, call.tz());
    }
    let tz = if call.return_type() == &NTZ { None } else { Some(call.tz()) };
    let us = parse_times(call, tz, mode)?;
    let us: ArrayRef = match call.return_type() {
        DataType::Timestamp(_, None) => Arc::new(us),
        _ => Arc::new(us.with_timezone("UTC")),
    };
    cast_array(&us, call.return_type(), mode, call.tz())
}

fn parse_times(call: &Call, tz: Option<Tz>, mode: Mode) -> Result<TimestampMicrosecondArray> {
    let text = call.strings(0)?;
    let mut patterns = Patterns::of(call, 1)?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(text.len());
    for (row, text) in text.iter().enumerate() {
        let (Some(text), Some(pattern)) = (text, patterns.at(row)?) else {
            builder.append_null();
            continue;
        };
        match pattern.parse(text, tz) {
            Some(us) => builder.append_value(us),
            None if mode == Mode::Try => builder.append_null(),
            None => return Err(cannot_parse(text)),
        }
    }
    Ok(builder.finish())
}

fn cannot_parse(text: &str) -> Error {
    Error::execution("CANNOT_PARSE_TIMESTAMP", format!("text '{text}' could not be parsed with the pattern"))
        .with_help("use `try_to_timestamp` to tolerate invalid input and return NULL instead")
}

fn unix_timestamp(call: &Call) -> Result<ArrayRef> {
    let us = if super::cast::is_string(&call.value(0).data_type()) {
        parse_times(call, Some(call.tz()), Mode::Ansi)?
    } else {
        call.timestamps(0)?
    };
    Ok(Arc::new(us.unary::<_, Int64Type>(|us| us.div_euclid(MICROS_PER_SECOND))))
}

fn epoch(call: &Call, unit: i64) -> Result<ArrayRef> {
    let overflow = || {
        Error::execution("ARITHMETIC_OVERFLOW", "long overflow: the time is out of a timestamp's range")
            .with_help("check the unit: timestamp_seconds, timestamp_millis and timestamp_micros differ by 1000")
    };
    let us: TimestampMicrosecondArray = call.longs(0)?.try_unary(|v| v.checked_mul(unit).ok_or_else(overflow))?;
    Ok(Arc::new(us.with_timezone("UTC")))
}

fn date_from_unix_date(call: &Call) -> Result<ArrayRef> {
    Ok(Arc::new(call.ints(0)?.reinterpret_cast::<Date32Type>()))
}

fn months_between(call: &Call) -> Result<ArrayRef> {
    let (left, right, tz) = (call.timestamps(0)?, call.timestamps(1)?, call.tz());
    let round = call.literal(2).is_none_or(|v| v.to_string() != "false");
    let at = |us: i64| -> Option<(NaiveDateTime, i64)> {
        let local = to_local(us, tz)?;
        // What has passed of the day, which is another time than the clock shows after a change of the zone's offset.
        let midnight = to_epoch(local.date().and_time(chrono::NaiveTime::MIN), Some(tz))?;
        Some((local, (us - midnight).div_euclid(1_000_000)))
    };
    let rows = left.iter().zip(right.iter()).map(|(l, r)| Some(months(at(l?)?, at(r?)?, round)));
    Ok(Arc::new(rows.collect::<Float64Array>()))
}

/// Whole months between equal or last days of months; else a 31st of a month for each day.
fn months((left, of_left): (NaiveDateTime, i64), (right, of_right): (NaiveDateTime, i64), round: bool) -> f64 {
    let whole = (left.year() - right.year()) * 12 + left.month() as i32 - right.month() as i32;
    let is_last = |t: NaiveDateTime| t.date().succ_opt().is_none_or(|next| next.day() == 1);
    if left.day() == right.day() || (is_last(left) && is_last(right)) {
        return whole.into();
    }
    let seconds = |t: NaiveDateTime, of_day: i64| i64::from(t.day()) * 86_400 + of_day;
    let exact = f64::from(whole) + (seconds(left, of_left) - seconds(right, of_right)) as f64 / (31.0 * 86_400.0);
    if round { (exact * 1e8).round() / 1e8 } else { exact }
}

fn make_date(call: &Call) -> Result<ArrayRef> {
    let (y, m, d) = (call.ints(0)?, call.ints(1)?, call.ints(2)?);
    let mut builder = Date32Builder::with_capacity(y.len());
    for ((y, m), d) in y.iter().zip(m.iter()).zip(d.iter()) {
        match (y, m, d) {
            (Some(y), Some(m), Some(d)) => builder.append_value(checked_date(y, m, d)?),
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn checked_date(y: i32, m: i32, d: i32) -> Result<i32> {
    let date = u32::try_from(m).ok().zip(u32::try_from(d).ok()).and_then(|(m, d)| NaiveDate::from_ymd_opt(y, m, d));
    date.and_then(days_since_epoch).ok_or_else(|| field_out_of_bounds(&format!("{y}-{m}-{d}")))
}

fn field_out_of_bounds(what: &str) -> Error {
    Error::execution("DATETIME_FIELD_OUT_OF_BOUNDS", format!("'{what}' is no date or time"))
        .with_help("use try_make_timestamp(…) to get NULL instead, or check the parts first")
}

/// `make_timestamp(year, month, day, hour, minute, seconds[, zone])`.
fn make_timestamp(call: &Call, mode: Mode) -> Result<ArrayRef> {
    let fields = (0..5).map(|i| call.ints(i)).collect::<Result<Vec<_>>>()?;
    let seconds = call.cast(5, &DataType::Decimal128(16, 6))?;
    let seconds = seconds.as_primitive::<Decimal128Type>();
    let zones = if call.len() > 6 { Some(call.strings(6)?) } else { None };
    let tz = if call.return_type() == &NTZ { Tz::UTC } else { call.tz() };
    let mut builder =
        TimestampMicrosecondBuilder::with_capacity(call.rows()).with_data_type(call.return_type().clone());
    for row in 0..call.rows() {
        let missing = fields.iter().any(|f| f.is_null(row)) || zones.as_ref().is_some_and(|z| z.is_null(row));
        if missing || seconds.is_null(row) {
            builder.append_null();
            continue;
        }
        let f = |i: usize| fields[i].value(row);
        let zone = zones.as_ref().map(|z| z.value(row));
        let us = || -> Option<i64> {
            let time = local_time(f(3), f(4), seconds.value(row))?;
            let date = date_of(checked_date(f(0), f(1), f(2)).ok()?)?;
            in_zone(date.and_time(NaiveTime::MIN) + time, zone, tz)
        };
        match us() {
            None if mode == Mode::Ansi => {
                let text = format!("{}-{}-{} {}:{}", f(0), f(1), f(2), f(3), f(4));
                return Err(field_out_of_bounds(&text));
            }
            us => builder.append_option(us),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// `us` is the seconds' part in microseconds; 60 seconds are the next minute.
fn local_time(hour: i32, minute: i32, us: i128) -> Option<TimeDelta> {
    let us = i64::try_from(us).ok().filter(|us| (0..=60 * MICROS_PER_SECOND).contains(us))?;
    let legal = (0..24).contains(&hour) && (0..60).contains(&minute);
    legal.then(|| TimeDelta::microseconds(i64::from(hour * 3600 + minute * 60) * MICROS_PER_SECOND + us))
}

fn in_zone(local: NaiveDateTime, zone: Option<&str>, tz: Tz) -> Option<i64> {
    match zone {
        // The zones that a timestamp's text may end with.
        Some(zone) => parse_timestamp(&format!("{} {zone}", local.format("%Y-%m-%d %H:%M:%S%.f")), Some(tz)),
        None => to_epoch(local, Some(tz)),
    }
}

/// `sequence` over dates or timestamps; the step is an interval, a day if there is none.
pub fn time_sequence(call: &Call, field: &FieldRef) -> Result<ArrayRef> {
    if !matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)) {
        let message = format!("function 'sequence' does not take {}", sql_type_name(field.data_type()));
        return Err(Error::invalid("DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES", message)
            .with_help("give two integers, two dates or two timestamps, cast as in CAST(… AS INT)"));
    }
    let (start, stop) = (call.cast(0, &NTZ)?, call.cast(1, &NTZ)?);
    let (start, stop) =
        (start.as_primitive::<TimestampMicrosecondType>(), stop.as_primitive::<TimestampMicrosecondType>());
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let steps = if call.len() > 2 { Some(arrow::compute::cast(&call.array(2)?, &interval)?) } else { None };
    let mut builder = ListBuilder::new(TimestampMicrosecondBuilder::new());
    for row in 0..call.rows() {
        if start.is_null(row) || stop.is_null(row) || steps.as_ref().is_some_and(|s| s.is_null(row)) {
            builder.append_null();
            continue;
        }
        let (first, last) = (start.value(row), stop.value(row));
        let step = match &steps {
            Some(steps) => steps.as_primitive::<IntervalMonthDayNanoType>().value(row),
            None => IntervalMonthDayNano::new(0, if first <= last { 1 } else { -1 }, 0),
        };
        push_times(builder.values(), first, last, step)?;
        builder.append(true);
    }
    let lists: ArrayRef = Arc::new(builder.finish());
    cast_array(&lists, call.return_type(), Mode::Ansi, call.tz())
}

const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND as i128;

fn push_times(
    values: &mut TimestampMicrosecondBuilder,
    first: i64,
    last: i64,
    step: IntervalMonthDayNano,
) -> Result<()> {
    let wrong = || {
        Error::execution("ILLEGAL_SEQUENCE_BOUNDARIES", "the step of a sequence does not lead to its end")
            .with_help("a step is positive where the end is later than the start, and negative where it is earlier")
    };
    let longest = i128::from(step.months).abs() * 31 * MICROS_PER_DAY
        + i128::from(step.days).abs() * MICROS_PER_DAY
        + i128::from(step.nanoseconds).abs() / 1000;
    let at_least = (i128::from(last) - i128::from(first)).abs() / longest.max(1);
    if at_least + values.len() as i128 > i128::from(super::guard::LIMIT) {
        return Err(super::guard::too_large("sequence", at_least));
    }
    let mut previous = None;
    for i in 0..i32::MAX {
        if values.len() as i64 >= super::guard::LIMIT {
            return Err(super::guard::too_large("sequence", values.len()));
        }
        let at = stepped(first, step, i).ok_or_else(wrong)?;
        let forward = previous.map_or(first <= last, |p| p < at);
        if previous == Some(at) || (previous.is_some() && forward != (first <= last)) {
            return if first == last { Ok(()) } else { Err(wrong()) };
        }
        if (forward && at > last) || (!forward && at < last) {
            return Ok(());
        }
        values.append_value(at);
        previous = Some(at);
    }
    Err(wrong())
}

fn stepped(first: i64, step: IntervalMonthDayNano, times: i32) -> Option<i64> {
    let start = chrono::DateTime::from_timestamp_micros(first)?.naive_utc();
    let months = step.months.checked_mul(times)?;
    let moved = match u32::try_from(months) {
        Ok(months) => start.checked_add_months(Months::new(months))?,
        Err(_) => start.checked_sub_months(Months::new(months.unsigned_abs()))?,
    };
    let us = i64::from(step.days) * 86_400 * MICROS_PER_SECOND + step.nanoseconds / 1000;
    moved.and_utc().timestamp_micros().checked_add(us.checked_mul(times.into())?)
}
