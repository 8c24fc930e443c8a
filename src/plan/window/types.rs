//! What windows of every kind have in common: their type, their bounds, their errors.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

use crate::error::{Error, Result};
use crate::operator::{end_of, window_ends};
use crate::plan::watermark::WATERMARK_KEY;
use crate::type_name::sql_type_name;

/// `{start, end}` over times of this type; the type the time is brought to.
pub fn window_type(time: &DataType) -> Result<(DataType, DataType)> {
    let zone = match time {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Some("UTC".into())
        }
        DataType::Struct(fields) => match end_of(fields) {
            Some((_, end)) => return window_type(end.data_type()),
            None => return Err(wrong_type("window", time)),
        },
        other => return Err(wrong_type("window", other)),
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let field = |name| Field::new(name, time.clone(), true);
    Ok((DataType::Struct(Fields::from(vec![field("start"), field("end")])), time))
}

/// What to do about times that have no window.
pub const END_OF_TIME: &str = "filter such times out before the window, as in WHERE ts < TIMESTAMP '9999-01-01'";

pub fn wrong_type(function: &str, actual: &DataType) -> Error {
    let expected = if function == "window_time" { "a window" } else { "a TIMESTAMP or a window" };
    let message = format!("function '{function}' takes {expected}, but its argument is {}", sql_type_name(actual));
    let help = match (function, actual) {
        ("window_time", _) => "write window_time(window), with the window that GROUP BY window(…) gives",
        (_, t) if t.is_numeric() => {
            "seconds since 1970 become a time by timestamp_seconds(…), milliseconds by timestamp_millis(…)"
        }
        _ => "cast it: CAST(… AS TIMESTAMP)",
    };
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(help)
}

/// The result's field: the watermark of the time goes on with it.
pub fn with_watermark(name: &str, data_type: DataType, time: &Field) -> FieldRef {
    let mark = time.metadata().get(WATERMARK_KEY).map(|v| (WATERMARK_KEY.to_owned(), v.clone()));
    Arc::new(Field::new(name, data_type, true).with_metadata(HashMap::from_iter(mark)))
}

pub fn bounds(window: Option<(i64, i64)>) -> Result<(i64, i64)> {
    window.ok_or_else(|| {
        Error::execution("DATETIME_OVERFLOW", "a time is too close to the end of time for its window to have bounds")
            .with_help(END_OF_TIME)
    })
}

/// The fields of a window over this column, and the column as times in microseconds.
pub fn times_of(time: ArrayRef) -> Result<(Fields, ArrayRef)> {
    let (DataType::Struct(fields), time_type) = window_type(time.data_type())? else {
        return Err(wrong_type("window", time.data_type()));
    };
    let times = match time.data_type() {
        DataType::Struct(_) => window_times(&time)?,
        _ => time,
    };
    Ok((fields, cast(&times, &time_type)?))
}

/// The end of each window less a microsecond.
pub fn window_times(windows: &ArrayRef) -> Result<ArrayRef> {
    let (ends, nulls) = window_ends(windows).ok_or_else(|| wrong_type("window_time", windows.data_type()))?;
    let times = TimestampMicrosecondArray::new(ends.values().iter().map(|e| e.saturating_sub(1)).collect(), nulls);
    let DataType::Timestamp(_, zone) = ends.data_type() else {
        return Err(wrong_type("window_time", ends.data_type()));
    };
    Ok(Arc::new(times.with_timezone_opt(zone.clone())))
}
