//! `window(time, size[, slide[, start]])`: its arguments, and the windows of each time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimestampMicrosecondType};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::types::{bounds, times_of, window_type, with_watermark};
use crate::error::{Error, Result};
use crate::interval::{duration_text, parse_interval};
use crate::operator::Windows;

impl Windows {
    /// From the literals after the time.
    fn try_new(literals: &[Option<&ScalarValue>]) -> Result<Self> {
        let number = |i: usize| literals.get(i).map(|l| micros(*l)).transpose();
        let Some(size) = number(0)? else { return Err(wrong_number(1)) };
        let slide = number(1)?.unwrap_or(size);
        let start = number(2)?.unwrap_or(0);
        if literals.len() > 3 {
            return Err(wrong_number(literals.len() + 1));
        }
        for (name, value) in [("duration", size), ("slide", slide)] {
            if value <= 0 {
                let message = format!("the {name} of 'window' must be positive, but is {}", duration_text(value));
                return Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message)
                    .with_help("write a length above zero, as in window(ts, '10 minutes')"));
            }
        }
        let constraint = |message: String| {
            Error::invalid("DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION", message).with_help(
                "the order is window(time, length, slide, start), as in window(ts, '10 minutes', '5 minutes')",
            )
        };
        if slide > size {
            let (slide, size) = (duration_text(slide), duration_text(size));
            return Err(constraint(format!("the slide of 'window', {slide}, is longer than its duration, {size}")));
        }
        if start.unsigned_abs() >= slide.unsigned_abs() {
            let (start, slide) = (duration_text(start), duration_text(slide));
            return Err(constraint(format!("the start of 'window', {start}, is not shorter than its slide, {slide}")));
        }
        Ok(Self { size, slide, start })
    }
}

fn wrong_number(actual: usize) -> Error {
    let message = format!("function 'window' takes a time and one to three durations, but has {actual} arguments");
    Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message)
        .with_help("write window(ts, '10 minutes', '5 minutes')")
}

fn micros(literal: Option<&ScalarValue>) -> Result<i64> {
    let no_literal = || {
        Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the durations of 'window' must be literals")
            .with_help("write window(ts, '10 minutes') or window(ts, INTERVAL 10 MINUTES)")
    };
    let invalid = |message: String| {
        Error::invalid("INVALID_INTERVAL_FORMAT", message).with_help("write '10 minutes' or '1 hour 30 minutes'")
    };
    let (months, micros) = match literal {
        Some(ScalarValue::Utf8(Some(t)) | ScalarValue::Utf8View(Some(t)) | ScalarValue::LargeUtf8(Some(t))) => {
            let interval = parse_interval(t).map_err(invalid)?;
            (interval.months, Some(interval.micros))
        }
        Some(ScalarValue::IntervalMonthDayNano(Some(v))) => (
            i64::from(v.months),
            i64::from(v.days).checked_mul(86_400_000_000).and_then(|d| d.checked_add(v.nanoseconds / 1000)),
        ),
        Some(ScalarValue::IntervalDayTime(Some(v))) => {
            (0, Some(i64::from(v.days) * 86_400_000_000 + i64::from(v.milliseconds) * 1000))
        }
        Some(ScalarValue::DurationMicrosecond(Some(v))) => (0, Some(*v)),
        Some(ScalarValue::Int64(Some(v))) => (0, Some(*v)),
        Some(ScalarValue::Int32(Some(v))) => (0, Some(i64::from(*v))),
        _ => return Err(no_literal()),
    };
    if months != 0 {
        return Err(invalid("a duration of 'window' cannot have months or years".to_owned())
            .with_help("they differ in length: use days"));
    }
    micros.ok_or_else(|| invalid("a duration of 'window' is too long".to_owned()))
}

/// `window`; with `all`, the list of all windows of a time rather than its only one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct WindowFunction {
    all: bool,
    signature: Signature,
}

impl WindowFunction {
    /// The function that users call; with `all`, the one that sliding windows become.
    pub fn new(all: bool) -> Self {
        Self { all, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    fn struct_of(&self, times: &TimestampMicrosecondArray, windows: &Windows, fields: &Fields) -> Result<ArrayRef> {
        let zone = zone_of(fields);
        let window = |time: i64| {
            let start = windows.last_start(time);
            bounds(start.and_then(|s| Some((s, s.checked_add(windows.size)?))))
        };
        let found = times.iter().map(|t| t.map(window).transpose()).collect::<Result<Vec<_>>>()?;
        let starts: TimestampMicrosecondArray = found.iter().map(|w| w.map(|w| w.0)).collect();
        let ends: TimestampMicrosecondArray = found.iter().map(|w| w.map(|w| w.1)).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(starts.with_timezone_opt(zone.clone())), Arc::new(ends.with_timezone_opt(zone))];
        Ok(Arc::new(StructArray::try_new(fields.clone(), columns, times.nulls().cloned())?))
    }

    fn lists_of(&self, times: &TimestampMicrosecondArray, windows: &Windows, fields: &Fields) -> Result<ArrayRef> {
        let zone = zone_of(fields);
        let (mut starts, mut ends, mut lengths) = (vec![], vec![], Vec::with_capacity(times.len()));
        for time in times {
            let before = starts.len();
            for window in time.into_iter().flat_map(|t| windows.of(t)) {
                let (start, end) = bounds(window)?;
                starts.push(start);
                ends.push(end);
            }
            lengths.push(starts.len() - before);
        }
        let column =
            |v: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(v).with_timezone_opt(zone.clone())) };
        let items = StructArray::try_new(fields.clone(), vec![column(starts), column(ends)], None)?;
        let field = Arc::new(Field::new("element", DataType::Struct(fields.clone()), true));
        Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?))
    }
}

fn zone_of(fields: &Fields) -> Option<Arc<str>> {
    match fields.first().map(|f| f.data_type()) {
        Some(DataType::Timestamp(_, zone)) => zone.clone(),
        _ => None,
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        if self.all { "__windows" } else { "window" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let time = args.first().ok_or_else(|| wrong_number(0))?;
        let window = window_type(time)?.0;
        Ok(if self.all { DataType::List(Arc::new(Field::new("element", window, true))) } else { window })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        Windows::try_new(&args.scalar_arguments[1..])?;
        Ok(with_watermark(self.name(), data_type, &args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let literals: Vec<_> = args.args[1..]
            .iter()
            .map(|a| match a {
                ColumnarValue::Scalar(v) => Some(v),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let windows = Windows::try_new(&literals)?;
        let (fields, times) = times_of(args.args[0].to_array(args.number_rows)?)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let result = match (self.all, windows.is_tumbling()) {
            (true, _) => self.lists_of(times, &windows, &fields)?,
            (false, true) => self.struct_of(times, &windows, &fields)?,
            (false, false) => {
                let message = "a sliding window is possible only in GROUP BY or in the select list";
                let help = "group by it, or select it in a subquery and compute with its column";
                return Err(Error::unsupported("UNSUPPORTED_EXPR_FOR_OPERATOR", message).with_help(help).into());
            }
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// The call of `window` that an expression is.
pub fn as_window(e: &Expr) -> Option<&ScalarFunction> {
    let Expr::ScalarFunction(call) = e else { return None };
    call.func.inner().downcast_ref::<WindowFunction>().filter(|f| !f.all).map(|_| call)
}

/// The windows of a call.
pub fn windows_of(call: &ScalarFunction) -> Result<Windows> {
    let literal = |a: &Expr| match a {
        Expr::Literal(v, _) => Some(v.clone()),
        _ => None,
    };
    let literals: Vec<_> = call.args[1..].iter().map(literal).collect();
    Windows::try_new(&literals.iter().map(Option::as_ref).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: i64, slide: i64, start: i64) -> Windows {
        let literals = [size, slide, start].map(|n| ScalarValue::Int64(Some(n)));
        Windows::try_new(&literals.iter().map(Some).collect::<Vec<_>>()).unwrap()
    }

    fn all(windows: &Windows, time: i64) -> Vec<(i64, i64)> {
        windows.of(time).flatten().collect()
    }

    #[test]
    fn times_before_the_epoch_fall_into_the_window_that_holds_them() {
        let tumbling = windows(10, 10, 0);
        for (time, start) in [(-1, -10), (-10, -10), (-11, -20), (0, 0), (9, 0), (10, 10)] {
            assert_eq!(tumbling.last_start(time), Some(start), "{time}");
        }
        assert_eq!(windows(10, 10, -3).last_start(-4), Some(-13));
        assert_eq!(windows(10, 10, 3).last_start(-7), Some(-7));
    }

    #[test]
    fn every_sliding_window_holds_its_time() {
        for (size, slide, start) in [(10, 3, 0), (10, 5, 2), (7, 7, -3), (9, 2, 1)] {
            let w = windows(size, slide, start);
            for time in -30..30 {
                let found = all(&w, time);
                let expected: Vec<_> = (-20..20)
                    .map(|i| (start + i * slide, start + i * slide + size))
                    .filter(|(from, to)| (*from..*to).contains(&time))
                    .rev()
                    .collect();
                assert_eq!(found, expected, "{w:?} at {time}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let w = windows(10, 10, 0);
        assert_eq!((w.last_start(i64::MIN), w.of(i64::MAX).next()), (None, Some(None)));
    }

    #[test]
    fn wrong_durations() {
        let condition = |literals: &[ScalarValue]| {
            let e = Windows::try_new(&literals.iter().map(Some).collect::<Vec<_>>()).unwrap_err();
            e.condition().to_owned()
        };
        let text = |t: &str| ScalarValue::Utf8(Some(t.to_owned()));
        assert_eq!(condition(&[text("0 seconds")]), "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE");
        assert_eq!(condition(&[text("1 month")]), "INVALID_INTERVAL_FORMAT");
        assert_eq!(condition(&[text("nonsense")]), "INVALID_INTERVAL_FORMAT");
        let violation = "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION";
        assert_eq!(condition(&[text("5 seconds"), text("6 seconds")]), violation);
        assert_eq!(condition(&[text("5 seconds"), text("5 seconds"), text("-5 seconds")]), violation);
    }
}
