//! Arithmetic of DECIMAL: Spark's result types, exact 256-bit intermediate values, rounding half up.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::kernels::numeric;
use arrow::datatypes::*;

use super::arithmetic::{Op, divide_by_zero};
use super::cast::out_of_range;
use crate::{Error, Result};

const MAX_PRECISION: i32 = 38;
/// What a result too wide keeps of its fraction at least.
const MIN_ADJUSTED_SCALE: i32 = 6;

/// The decimal that holds every value of a numeric type.
pub fn decimal_of(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Decimal128(p, s) => DataType::Decimal128(*p, *s),
        DataType::Int8 => DataType::Decimal128(3, 0),
        DataType::Int16 | DataType::UInt8 => DataType::Decimal128(5, 0),
        DataType::Int32 | DataType::UInt16 => DataType::Decimal128(10, 0),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Null => DataType::Decimal128(1, 0),
        _ => return None,
    })
}

/// Spark's `DecimalPrecision` rules.
pub fn result_type(op: Op, (p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let (precision, scale) = match op {
        Op::Add | Op::Subtract => (s1.max(s2) + (p1 - s1).max(p2 - s2) + 1, s1.max(s2)),
        Op::Multiply => (p1 + p2 + 1, s1 + s2),
        Op::Divide => {
            let scale = MIN_ADJUSTED_SCALE.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        Op::Remainder => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        Op::IntegralDivide => return DataType::Int64,
    };
    let (precision, scale) = adjust(precision, scale);
    DataType::Decimal128(precision, scale)
}

/// Cuts a result to 38 digits: the whole part is kept, the fraction gives way down to six digits.
fn adjust(precision: i32, scale: i32) -> (u8, i8) {
    if precision <= MAX_PRECISION {
        return (precision.max(1) as u8, scale as i8);
    }
    let whole = precision - scale;
    let scale = (MAX_PRECISION - whole).max(scale.min(MIN_ADJUSTED_SCALE));
    (MAX_PRECISION as u8, scale as i8)
}

/// Computes all rows; a result that does not fit is an error, or NULL if `tolerant`.
pub fn compute(op: Op, left: &dyn Datum, right: &dyn Datum, to: &DataType, tolerant: bool) -> Result<ArrayRef> {
    if let Some(result) = arrow_kernel(op, left, right, to) {
        return Ok(result);
    }
    let ((left, left_scalar), (right, right_scalar)) = (left.get(), right.get());
    let (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) = (left.data_type(), right.data_type()) else {
        return Err(Error::internal("decimal arithmetic on other types"));
    };
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let rows = if left_scalar { right.len() } else { left.len() };
    let step = Step { op, scales: (i32::from(*s1), i32::from(*s2)), to };
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let (l, r) = (if left_scalar { 0 } else { row }, if right_scalar { 0 } else { row });
        if left.is_null(l) || right.is_null(r) {
            values.push(None);
            continue;
        }
        match step.apply(left.value(l), right.value(r)) {
            Ok(value) => values.push(Some(value)),
            Err(_) if tolerant => values.push(None),
            Err(e) => return Err(e),
        }
    }
    finish(values, to)
}

fn finish(values: Vec<Option<i128>>, to: &DataType) -> Result<ArrayRef> {
    if to == &DataType::Int64 {
        return Ok(Arc::new(values.into_iter().map(|v| v.map(|v| v as i64)).collect::<Int64Array>()));
    }
    Ok(Arc::new(Decimal128Array::from(values).with_data_type(to.clone())))
}

/// Arrow's vectorized kernel, where it has the same result type and nothing went wrong.
fn arrow_kernel(op: Op, left: &dyn Datum, right: &dyn Datum, to: &DataType) -> Option<ArrayRef> {
    let result = match op {
        Op::Add => numeric::add(left, right),
        Op::Subtract => numeric::sub(left, right),
        Op::Multiply => numeric::mul(left, right),
        _ => return None,
    };
    // At 38 digits a sum may be too long without overflowing 128 bits; the slow path looks at each value.
    result.ok().filter(|array| array.data_type() == to && !matches!(to, DataType::Decimal128(38, _)))
}

/// One operation on unscaled values.
struct Step<'a> {
    op: Op,
    scales: (i32, i32),
    to: &'a DataType,
}

impl Step<'_> {
    fn apply(&self, left: i128, right: i128) -> Result<i128> {
        let divides = matches!(self.op, Op::Divide | Op::Remainder | Op::IntegralDivide);
        if divides && right == 0 {
            return Err(divide_by_zero(self.op));
        }
        let precision = match self.to {
            DataType::Decimal128(p, _) => *p,
            _ => 18,
        };
        let value = self.exact(left, right).and_then(i256::to_i128);
        let limit = 10_i128.pow(precision.min(38).into());
        let fits = |v: &i128| match self.to {
            DataType::Int64 => i64::try_from(*v).is_ok(),
            _ => v.unsigned_abs() < limit.unsigned_abs(),
        };
        value.filter(fits).ok_or_else(|| self.overflow(left, right))
    }

    fn exact(&self, left: i128, right: i128) -> Option<i256> {
        let (s1, s2) = self.scales;
        let (l, r) = (i256::from_i128(left), i256::from_i128(right));
        let to = match self.to {
            DataType::Decimal128(_, s) => i32::from(*s),
            _ => 0,
        };
        let common = s1.max(s2);
        let (wide_l, wide_r) = (shift(l, common - s1)?, shift(r, common - s2)?);
        match self.op {
            Op::Add => shift(wide_l.checked_add(wide_r)?, to - common),
            Op::Subtract => shift(wide_l.checked_sub(wide_r)?, to - common),
            Op::Multiply => shift(l.checked_mul(r)?, to - s1 - s2),
            Op::Divide => {
                let exponent = to - s1 + s2;
                if exponent >= 0 {
                    divide_half_up(shift(l, exponent)?, r)
                } else {
                    divide_half_up(l, shift(r, -exponent)?)
                }
            }
            Op::Remainder => shift(wide_l.checked_rem(wide_r)?, to - common),
            Op::IntegralDivide => wide_l.checked_div(wide_r),
        }
    }

    fn overflow(&self, left: i128, right: i128) -> Error {
        let text = |v, s: i32| Decimal128Type::format_decimal(v, 38, s as i8);
        let sides = format!("of {} and {}", text(left, self.scales.0), text(right, self.scales.1));
        match self.to {
            DataType::Decimal128(p, s) => out_of_range(&sides, *p, *s),
            _ => Error::execution("ARITHMETIC_OVERFLOW", format!("long overflow {sides}"))
                .with_help("divide with / rather than div, or cast the result to a wider DECIMAL"),
        }
    }
}

/// Times ten to the power `exponent`; rounds half up if it is negative.
fn shift(value: i256, exponent: i32) -> Option<i256> {
    let power = i256::from_i128(10).checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 { value.checked_mul(power) } else { divide_half_up(value, power) }
}

fn divide_half_up(left: i256, right: i256) -> Option<i256> {
    let (quotient, remainder) = (left.checked_div(right)?, left.checked_rem(right)?);
    let twice = remainder.checked_abs()?.checked_mul(i256::from_i128(2))?;
    if twice < right.checked_abs()? {
        return Some(quotient);
    }
    let negative = left.is_negative() != right.is_negative();
    quotient.checked_add(if negative { i256::MINUS_ONE } else { i256::ONE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_types_are_sparks() {
        let of = |op, l, r| result_type(op, l, r);
        assert_eq!(of(Op::Add, (10, 2), (5, 3)), DataType::Decimal128(12, 3));
        assert_eq!(of(Op::Multiply, (10, 2), (5, 3)), DataType::Decimal128(16, 5));
        assert_eq!(of(Op::Divide, (10, 2), (5, 3)), DataType::Decimal128(19, 8));
        assert_eq!(of(Op::Multiply, (38, 10), (38, 10)), DataType::Decimal128(38, 6));
        assert_eq!(of(Op::Divide, (38, 18), (38, 18)), DataType::Decimal128(38, 6));
    }

    #[test]
    fn quotients_round_half_up() {
        let left = Decimal128Array::from(vec![Some(200), Some(-200), None]).with_precision_and_scale(10, 2).unwrap();
        let right = Decimal128Array::from(vec![3, 3, 0]).with_precision_and_scale(10, 0).unwrap();
        let to = result_type(Op::Divide, (10, 2), (10, 0));
        let result = compute(Op::Divide, &left, &right, &to, false).unwrap();
        assert_eq!(to, DataType::Decimal128(21, 13));
        assert_eq!(result.as_primitive::<Decimal128Type>().value(0), 6_666_666_666_667);
        assert_eq!(result.as_primitive::<Decimal128Type>().value(1), -6_666_666_666_667);
        assert!(result.is_null(2));
    }
}
