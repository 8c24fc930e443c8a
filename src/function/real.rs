//! Functions of real numbers that are total in Spark, and rounding up and down: `sqrt`, `log1p`, `rint`, `ceil`, `floor`,
//! `abs`, `signum`, `mod`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::arithmetic::arithmetic_overflow;
use super::cast::is_string;
use super::scalar::{Call, Types, function};
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("sqrt", 1..=1, |_| Ok(DataType::Float64), |call| map(call, |x| Some(x.sqrt()))),
        function("log1p", 1..=1, |_| Ok(DataType::Float64), |call| map(call, |x| (x > -1.0).then(|| x.ln_1p()))),
        function("rint", 1..=1, |_| Ok(DataType::Float64), |call| map(call, |x| Some(x.round_ties_even()))),
        function("ceil", 1..=2, rounded_type, |call| round(call, Toward::Above)).with_aliases(["ceiling"]),
        function("floor", 1..=2, rounded_type, |call| round(call, Toward::Below)),
        function("abs", 1..=1, abs_type, abs),
        // The zeros and NaN are their own sign.
        function(
            "signum",
            1..=1,
            |_| Ok(DataType::Float64),
            |call| map(call, |x| Some(if x > 0.0 || x < 0.0 { x.signum() } else { x })),
        ),
    ]
}

/// `-0.0` as `0.0`, in arrays and structs too.
pub fn one_zero_of(e: Expr) -> Expr {
    function("__one_zero", 1..=1, |types| Ok(types.get(0).clone()), |call| one_zero(&call.array(0)?)).call(vec![e])
}

/// Whether a value of the type holds a FLOAT or DOUBLE.
pub fn holds_real(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => holds_real(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| holds_real(f.data_type())),
        t => t.is_floating(),
    }
}

/// The same values with `0.0` in the place of `-0.0`, in arrays and structs too: Spark compares them as one.
pub fn one_zero(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        t if !holds_real(t) => Arc::clone(array),
        // Adding zero leaves every other value as it is.
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x + 0.0)),
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| x + 0.0)),
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = one_zero(list.values())?;
            Arc::new(ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(one_zero).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, array.nulls().cloned())?)
        }
        _ => Arc::clone(array),
    })
}

fn map(call: &Call, f: impl Fn(f64) -> Option<f64>) -> Result<ArrayRef> {
    Ok(Arc::new(call.doubles(0)?.unary_opt::<_, Float64Type>(f)))
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toward {
    Above,
    Below,
}

impl Toward {
    fn divide(self, value: i128, unit: i128) -> i128 {
        let down = value.div_euclid(unit);
        if self == Self::Above && value.rem_euclid(unit) != 0 { down + 1 } else { down }
    }
}

/// The number of digits behind the point, which may be negative.
fn places(types: &Types) -> Result<i32> {
    let wrong = || {
        let message = "the number of digits of 'ceil' and 'floor' must be an integer literal";
        Error::invalid("NON_FOLDABLE_ARGUMENT", message).with_help("write the number itself, as in ceil(v, 2)")
    };
    types.literal(1).and_then(|v| v.to_string().parse().ok()).ok_or_else(wrong)
}

/// As a DECIMAL, which every number is with its own digits.
fn decimal_of(t: &DataType) -> (u8, i8) {
    match super::decimal::decimal_of(t) {
        Some(DataType::Decimal128(p, s)) => (p, s),
        _ => (30, 15),
    }
}

fn rounded_type(types: &Types) -> Result<DataType> {
    let t = types.get(0);
    let number = t.is_numeric() || is_string(t) || t == &DataType::Null;
    if !number {
        return Err(super::wrong_type("ceil", "a number", t));
    }
    if types.len() == 1 {
        return Ok(match t {
            DataType::Decimal128(p, s) if *s > 0 => {
                DataType::Decimal128((i16::from(*p) - i16::from(*s) + 1).clamp(1, 38) as u8, 0)
            }
            DataType::Decimal128(p, _) => DataType::Decimal128(*p, 0),
            _ => DataType::Int64,
        });
    }
    let (places, (precision, scale)) = (places(types)?, decimal_of(t));
    let kept = i32::from(scale).min(places).max(0);
    let whole = i32::from(precision) - i32::from(scale) + 1;
    Ok(DataType::Decimal128(whole.max(-places + 1).saturating_add(kept).clamp(1, 38) as u8, kept as i8))
}

fn round(call: &Call, toward: Toward) -> Result<ArrayRef> {
    let (from, to) = (call.value(0).data_type(), call.return_type());
    if let DataType::Int64 = to {
        if from.is_integer() {
            return call.cast(0, to);
        }
        let f = |x: f64| if toward == Toward::Above { x.ceil() } else { x.floor() };
        let whole = |x: f64| match f(x) {
            // NaN is 0, as Java converts it. 2^63 is the first number beyond BIGINT.
            x if x.is_nan() || (-TWO_TO_63..TWO_TO_63).contains(&x) => Ok(x as i64),
            _ => Err(arithmetic_overflow(to)),
        };
        return Ok(Arc::new(call.doubles(0)?.try_unary::<_, Int64Type, _>(whole)?));
    }
    let DataType::Decimal128(_, kept) = to else { return Err(Error::internal("ceil and floor give a DECIMAL")) };
    let (precision, scale) = decimal_of(&from);
    let exact = DataType::Decimal128(precision, scale);
    let values = match from.is_floating() {
        // The digits that the number prints with.
        true => {
            super::cast::cast_array(&call.cast(0, &DataType::Utf8View)?, &exact, super::cast::Mode::Ansi, call.tz())?
        }
        false => call.cast(0, &exact)?,
    };
    let places = if call.len() > 1 { call.ints(1)? } else { Int32Array::from(vec![0; call.rows()]) };
    let rows = values.as_primitive::<Decimal128Type>().iter().zip(&places).map(|(v, n)| {
        let (v, n) = (v?, n?);
        let digits = u32::try_from(i32::from(scale).saturating_sub(n)).unwrap_or(0);
        let unit = 10_i128.checked_pow(digits)?;
        // Back to the scale of the result.
        let shown = 10_i128.checked_pow(u32::try_from(i32::from(*kept).saturating_sub(n)).unwrap_or(0))?;
        let rounded = if digits == 0 { v } else { toward.divide(v, unit) };
        let scale_up = if digits == 0 { 10_i128.checked_pow((*kept - scale).max(0) as u32)? } else { shown };
        rounded.checked_mul(scale_up)
    });
    Ok(Arc::new(rows.collect::<Decimal128Array>().with_data_type(to.clone())))
}

fn abs_type(types: &Types) -> Result<DataType> {
    match types.get(0) {
        t if is_string(t) || t == &DataType::Null => Ok(DataType::Float64),
        t if t.is_numeric() => Ok(t.clone()),
        other => Err(super::wrong_type("abs", "a number", other)),
    }
}

fn abs(call: &Call) -> Result<ArrayRef> {
    let array = call.cast(0, call.return_type())?;
    macro_rules! checked {
        ($t:ty) => {{
            let overflow = || arithmetic_overflow(array.data_type());
            let values = array.as_primitive::<$t>();
            Arc::new(values.try_unary::<_, $t, _>(|v| v.checked_abs().ok_or_else(overflow))?) as ArrayRef
        }};
    }
    Ok(match array.data_type() {
        DataType::Int8 => checked!(Int8Type),
        DataType::Int16 => checked!(Int16Type),
        DataType::Int32 => checked!(Int32Type),
        DataType::Int64 => checked!(Int64Type),
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
        DataType::Decimal128(_, _) => {
            let values = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(i128::abs);
            Arc::new(values.with_data_type(array.data_type().clone()))
        }
        _ => array,
    })
}
