//! Casts between numbers, booleans and the epoch seconds of timestamps.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

use super::parse::{self, DecimalError};
use super::{Mode, arrow_cast, cast_refused, invalid_input, overflow};
use crate::function::display::write_double;
use crate::type_name::sql_type_name;
use crate::{Error, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Casts numbers, booleans and timestamps to a number or boolean.
pub fn to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => timestamp_to_number(array, to, mode),
        DataType::Float32 | DataType::Float64 => float_to_number(array, to, mode),
        DataType::Decimal128(_, scale) => decimal_to_number(array, *scale, to, mode),
        DataType::Boolean => Ok(boolean_to_number(array, to, mode)?),
        from if from.is_integer() => integer_to_number(array, to, mode),
        from if from.is_numeric() => arrow_cast(array, to, mode),
        from => Err(cast_refused(from, to)),
    }
}

fn integer_to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match to {
        DataType::Decimal128(precision, scale) => {
            let values = arrow::compute::cast(array, &DataType::Decimal128(20, 0))?;
            rescale(values.as_primitive(), 0, *precision, *scale, mode)
        }
        DataType::Boolean | DataType::Float32 | DataType::Float64 => Ok(arrow::compute::cast(array, to)?),
        _ => {
            let values = arrow::compute::cast(array, &DataType::Int64)?;
            narrow(values.as_primitive(), array.data_type(), to, mode)
        }
    }
}

/// BIGINT to a narrower integer.
fn narrow(values: &Int64Array, from: &DataType, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    macro_rules! narrow {
        ($t:ty) => {
            convert::<Int64Type, $t>(values, to, mode, |v| v.try_into().ok(), |v| overflow(&v.to_string(), from, to))
        };
    }
    match to {
        DataType::Int8 => narrow!(Int8Type),
        DataType::Int16 => narrow!(Int16Type),
        DataType::Int32 => narrow!(Int32Type),
        DataType::Int64 => Ok(Arc::new(values.clone())),
        _ => arrow_cast(&(Arc::new(values.clone()) as ArrayRef), to, mode),
    }
}

/// Converts row by row; `None` is what the target type cannot hold.
fn convert<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    values: &PrimitiveArray<F>,
    to: &DataType,
    mode: Mode,
    op: impl Fn(F::Native) -> Option<T::Native>,
    error: impl Fn(F::Native) -> Error,
) -> Result<ArrayRef> {
    let result: PrimitiveArray<T> = match mode {
        Mode::Try => values.unary_opt(op),
        Mode::Ansi => values.try_unary(|v| op(v).ok_or_else(|| error(v)))?,
    };
    Ok(Arc::new(result.with_data_type(to.clone())))
}

fn float_to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    if matches!(to, DataType::Boolean | DataType::Float32 | DataType::Float64) {
        return Ok(arrow::compute::cast(array, to)?);
    }
    if let DataType::Decimal128(precision, scale) = to {
        return float_to_decimal(array, *precision, *scale, mode);
    }
    let values = arrow::compute::cast(array, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let from = array.data_type();
    let error = |v: f64| {
        let mut text = String::new();
        write_double(&mut text, v);
        overflow(&text, from, to)
    };
    match to {
        DataType::Int8 => convert::<_, Int8Type>(values, to, mode, |v| truncate(v)?.try_into().ok(), error),
        DataType::Int16 => convert::<_, Int16Type>(values, to, mode, |v| truncate(v)?.try_into().ok(), error),
        DataType::Int32 => convert::<_, Int32Type>(values, to, mode, |v| truncate(v)?.try_into().ok(), error),
        DataType::Int64 => convert::<_, Int64Type>(values, to, mode, truncate, error),
        _ => arrow_cast(array, to, mode),
    }
}

/// Toward zero; `None` outside BIGINT. The upper bound is exclusive because 2^63 is a double and `i64::MAX` is none.
fn truncate(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&value).then_some(value as i64)
}

/// Through the shortest text of the number, which is the decimal that Java's `BigDecimal` takes. NaN and infinity are
/// NULL as in Spark.
fn float_to_decimal(array: &ArrayRef, precision: u8, scale: i8, mode: Mode) -> Result<ArrayRef> {
    let single = array.as_primitive_opt::<Float32Type>();
    let double = array.as_primitive_opt::<Float64Type>();
    let text = |row| match (single, double) {
        (Some(a), _) if a.value(row).is_finite() => Some(format!("{:e}", a.value(row))),
        (_, Some(a)) if a.value(row).is_finite() => Some(format!("{:e}", a.value(row))),
        _ => None,
    };
    let rows = (0..array.len()).map(|row| {
        let Some(text) = array.is_valid(row).then(|| text(row)).flatten() else { return Ok(None) };
        let value = parse::decimal(&text, scale).ok().filter(|v| fits(*v, precision));
        mode.settle(value, || out_of_range(&text, precision, scale))
    });
    finish_decimal(rows.collect::<Result<Decimal128Array>>()?, precision, scale)
}

fn finish_decimal(array: Decimal128Array, precision: u8, scale: i8) -> Result<ArrayRef> {
    Ok(Arc::new(array.with_precision_and_scale(precision, scale)?))
}

/// Reads decimals from text.
pub fn strings_to_decimal(strings: &StringViewArray, precision: u8, scale: i8, mode: Mode) -> Result<ArrayRef> {
    let to = DataType::Decimal128(precision, scale);
    let rows = strings.iter().map(|s| {
        let Some(s) = s else { return Ok(None) };
        match parse::decimal(s, scale) {
            Ok(v) if fits(v, precision) => Ok(Some(v)),
            Err(DecimalError::Malformed) => mode.settle(None, || invalid_input(s, &DataType::Utf8View, &to)),
            _ => mode.settle(None, || out_of_range(s, precision, scale)),
        }
    });
    finish_decimal(rows.collect::<Result<Decimal128Array>>()?, precision, scale)
}

fn decimal_to_number(array: &ArrayRef, scale: i8, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let values = array.as_primitive::<Decimal128Type>();
    let divisor = power_of_ten(scale.max(0) as u32).unwrap_or(i128::MAX);
    match to {
        DataType::Decimal128(p, s) => rescale(values, scale, *p, *s, mode),
        DataType::Float32 | DataType::Float64 => Ok(arrow::compute::cast(array, to)?),
        DataType::Boolean => Ok(Arc::new(BooleanArray::from_unary(values, |v| v != 0))),
        _ => {
            let from = array.data_type();
            let long = convert::<_, Int64Type>(
                values,
                &DataType::Int64,
                mode,
                |v| (v / divisor).try_into().ok(),
                |v| overflow(&Decimal128Type::format_decimal(v, 38, scale), from, to),
            )?;
            narrow(long.as_primitive(), from, to, mode)
        }
    }
}

/// Changes precision and scale, rounding half up.
fn rescale(values: &Decimal128Array, from_scale: i8, precision: u8, scale: i8, mode: Mode) -> Result<ArrayRef> {
    let to = DataType::Decimal128(precision, scale);
    let op = |v: i128| rescale_value(v, from_scale, scale).filter(|v| fits(*v, precision));
    convert::<_, Decimal128Type>(values, &to, mode, op, |v| {
        out_of_range(&Decimal128Type::format_decimal(v, 38, from_scale), precision, scale)
    })
}

/// The same number with another scale; `None` if it needs more than 128 bits.
pub fn rescale_value(value: i128, from: i8, to: i8) -> Option<i128> {
    if to >= from {
        return value.checked_mul(power_of_ten((to - from) as u32)?);
    }
    let divisor = power_of_ten((from - to) as u32)?;
    let (quotient, remainder) = (value / divisor, value % divisor);
    let away = remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
    Some(if away { quotient + value.signum() } else { quotient })
}

fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// Whether an unscaled value has no more than `precision` digits.
pub fn fits(value: i128, precision: u8) -> bool {
    power_of_ten(precision.into()).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs())
}

/// The error of a number with too many digits.
pub fn out_of_range(value: &str, precision: u8, scale: i8) -> Error {
    let to = sql_type_name(&DataType::Decimal128(precision, scale));
    let message = format!("the value {value} cannot be represented as \"{to}\"");
    Error::execution("NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION", message)
        .with_help("use `try_cast` to get NULL instead, or a larger precision")
}

fn boolean_to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let ints = arrow::compute::cast(array, &DataType::Int32)?;
    if to == &DataType::Int32 { Ok(ints) } else { integer_to_number(&ints, to, mode) }
}

/// Seconds since the epoch: rounded down to an integer, with a fraction otherwise.
fn timestamp_to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let us = array.as_primitive::<TimestampMicrosecondType>();
    match to {
        DataType::Float32 | DataType::Float64 => {
            let seconds: Float64Array = us.unary(|v| v as f64 / MICROS_PER_SECOND as f64);
            Ok(arrow::compute::cast(&seconds, to)?)
        }
        DataType::Decimal128(p, s) => {
            let seconds: Decimal128Array = us.unary(i128::from);
            rescale(&seconds, 6, *p, *s, mode)
        }
        DataType::Boolean => Err(cast_refused(array.data_type(), to)),
        _ => {
            let seconds: Int64Array = us.unary(|v| v.div_euclid(MICROS_PER_SECOND));
            narrow(&seconds, array.data_type(), to, mode)
        }
    }
}
