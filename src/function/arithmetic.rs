//! Operators whose Spark meaning is not DataFusion's: checked arithmetic, division, comparisons of text with numbers.
//!
//! Owns the types of operands and results; the kernels for DECIMAL are in `decimal`. What needs no special care is left to
//! DataFusion's own operators.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::kernels::numeric;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use datafusion::common::utils::take_function_args;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::cast::{cast, is_string};
use super::coercion::wider;
use super::decimal;
use super::interval::{self, is_interval};
use super::real::{holds_real, one_zero_of};
use super::scalar::timestamp;
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `div`
    IntegralDivide,
}

impl Op {
    fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::Plus => Self::Add,
            Operator::Minus => Self::Subtract,
            Operator::Multiply => Self::Multiply,
            Operator::Divide => Self::Divide,
            Operator::Modulo => Self::Remainder,
            Operator::IntegerDivide => Self::IntegralDivide,
            _ => return None,
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::IntegralDivide => "div",
        }
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.symbol())
    }
}

/// Spark's meaning of `left op right`, or none where DataFusion's operator is the same.
pub fn binary(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
    if let Some(op) = Op::of(op) {
        return arithmetic((left, &left_type), op, (right, &right_type), false);
    }
    if let Operator::BitwiseAnd | Operator::BitwiseOr | Operator::BitwiseXor = op {
        return super::bits::bitwise((left, &left_type), op, (right, &right_type));
    }
    if !is_comparison(op) {
        return Ok(None);
    }
    let common = comparison_type(&left_type, &right_type);
    // Two numbers are compared by DataFusion as they are in Spark; those in arrays and structs by their bits.
    let nested = |t: &DataType| t.is_nested() && holds_real(t);
    let by_value = nested(&left_type) && nested(&right_type);
    if common.is_none() && !by_value {
        return Ok(None);
    }
    let side = |e: &Expr, t: &DataType| {
        let e = match &common {
            Some(to) if to != t => cast(e.clone(), to, false),
            _ => e.clone(),
        };
        if by_value { one_zero_of(e) } else { e }
    };
    Ok(Some(datafusion::logical_expr::binary_expr(side(left, &left_type), op, side(right, &right_type))))
}

/// Spark's meaning of `-operand`, or none where DataFusion's operator is the same.
pub fn negate(operand: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let data_type = operand.get_type(schema)?;
    let zero = match &data_type {
        t if t.is_signed_integer() => ScalarValue::new_zero(t)?,
        t if is_string(t) => {
            return Ok(Some(Expr::Negative(Box::new(cast(operand.clone(), &DataType::Float64, false)))));
        }
        _ => return Ok(None),
    };
    Ok(Some(Arithmetic::udf(Op::Subtract, false).call(vec![Expr::Literal(zero, None), operand.clone()])))
}

/// `try_add(a, b)` and its like: NULL where the operator fails.
pub fn try_function(name: &'static str) -> Option<ScalarUDF> {
    let op = match name {
        "try_add" => Op::Add,
        "try_subtract" => Op::Subtract,
        "try_multiply" => Op::Multiply,
        "try_divide" => Op::Divide,
        "try_mod" => Op::Remainder,
        _ => return None,
    };
    Some(Arithmetic::udf(op, true))
}

fn is_comparison(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The type both sides of a comparison are cast to, where DataFusion would take another: text follows the other side, and
/// what is beside a FLOAT or DOUBLE is a DOUBLE, which no cast to DECIMAL may cut.
pub fn comparison_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let other = match (is_string(left), is_string(right)) {
        (true, false) => right,
        (false, true) => left,
        (true, true) => return None,
        (false, false) if left == right => return None,
        (false, false) if left.is_numeric() && right.is_numeric() => {
            return (left.is_floating() || right.is_floating()).then_some(DataType::Float64);
        }
        (false, false) => return if left.is_nested() { wider(left, right) } else { None },
    };
    match other {
        t if t.is_integer() => Some(DataType::Int64),
        t if t.is_numeric() => Some(DataType::Float64),
        DataType::Boolean | DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => Some(other.clone()),
        _ => None,
    }
}

fn arithmetic(left: (&Expr, &DataType), op: Op, right: (&Expr, &DataType), tolerant: bool) -> Result<Option<Expr>> {
    if let Some(result) = date_arithmetic(left, op, right) {
        return Ok(Some(result));
    }
    let types = (literal_decimal(left, right.1), literal_decimal(right, left.1));
    let Some((to_left, to_right)) = operand_types(op, &types.0, &types.1) else {
        // What is left to DataFusion is arithmetic of times.
        let is_time = |t: &DataType| t.is_temporal();
        return if is_time(left.1) || is_time(right.1) { Ok(None) } else { Err(no_operator(op, left.1, right.1)) };
    };
    if !tolerant && to_left.is_floating() && !matches!(op, Op::Divide | Op::Remainder) {
        // DataFusion's own operator, once both sides have the type.
        if left.1 == right.1 && left.1 == &to_left {
            return Ok(None);
        }
        let operator = match op {
            Op::Add => Operator::Plus,
            Op::Subtract => Operator::Minus,
            _ => Operator::Multiply,
        };
        let sides = (convert(left, &to_left), convert(right, &to_right));
        return Ok(Some(datafusion::logical_expr::binary_expr(sides.0, operator, sides.1)));
    }
    let args = vec![convert(left, &to_left), convert(right, &to_right)];
    Ok(Some(Arithmetic::udf(op, tolerant).call(args)))
}

/// The operand as a `to`.
pub fn convert((expr, from): (&Expr, &DataType), to: &DataType) -> Expr {
    if from == to { expr.clone() } else { cast(expr.clone(), to, false) }
}

/// An integer literal beside a DECIMAL counts with the digits it has, not with those of its type.
fn literal_decimal((expr, own): (&Expr, &DataType), other: &DataType) -> DataType {
    let Expr::Literal(value, _) = expr else { return own.clone() };
    if !matches!(other, DataType::Decimal128(_, _)) || !own.is_integer() || value.is_null() {
        return own.clone();
    }
    let digits = value.to_string().trim_start_matches('-').len();
    DataType::Decimal128(digits.clamp(1, 38) as u8, 0)
}

/// The types the operands are cast to; none where Spark has no arithmetic of its own.
fn operand_types(op: Op, left: &DataType, right: &DataType) -> Option<(DataType, DataType)> {
    let wider = wider_type(left, right)?;
    let null = left == &DataType::Null && right == &DataType::Null;
    Some(match (op, &wider) {
        (_, DataType::Decimal128(_, _)) if left == &DataType::Null => (wider.clone(), wider),
        (_, DataType::Decimal128(_, _)) if right == &DataType::Null => (wider.clone(), wider),
        (Op::IntegralDivide, t) if t.is_floating() && !null => return None,
        (_, DataType::Decimal128(_, _)) => (decimal::decimal_of(left)?, decimal::decimal_of(right)?),
        (Op::Divide, _) => (DataType::Float64, DataType::Float64),
        (Op::IntegralDivide, _) => (DataType::Int64, DataType::Int64),
        _ => (wider.clone(), wider),
    })
}

/// Spark's ANSI rules: text follows the other side, an integer beside a FLOAT makes DOUBLE.
fn wider_type(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::*;
    match (left, right) {
        (Null, Null) => Some(Float64),
        (Null, other) | (other, Null) if !is_string(other) => wider_type(other, other),
        (l, r) if is_string(l) || is_string(r) => {
            let other = if is_string(l) { r } else { l };
            match other {
                t if t.is_integer() => Some(Int64),
                t if t.is_numeric() => Some(Float64),
                _ => None,
            }
        }
        (Float64, r) if r.is_numeric() => Some(Float64),
        (l, Float64) if l.is_numeric() => Some(Float64),
        (Float32, Float32) => Some(Float32),
        (Float32, r) if r.is_numeric() => Some(Float64),
        (l, Float32) if l.is_numeric() => Some(Float64),
        (Decimal128(p, s), r) if r.is_integer() || matches!(r, Decimal128(_, _)) => Some(Decimal128(*p, *s)),
        (l, Decimal128(p, s)) if l.is_integer() => Some(Decimal128(*p, *s)),
        (l, r) if l.is_signed_integer() && r.is_signed_integer() => {
            Some(if l.primitive_width() >= r.primitive_width() { l.clone() } else { r.clone() })
        }
        (l, r) if l.is_integer() && r.is_integer() => Some(Int64),
        _ => None,
    }
}

/// `date ± days`, `date - date`, `interval * number`, and `date ± interval` with a part of a day, which is a timestamp.
fn date_arithmetic(left: (&Expr, &DataType), op: Op, right: (&Expr, &DataType)) -> Option<Expr> {
    match (op, left.1, right.1) {
        (Op::Multiply | Op::Divide, l, r) if is_interval(l) && (r.is_numeric() || is_string(r) || r.is_null()) => {
            return Some(interval::scaled(left.0.clone(), op, right.0.clone()));
        }
        (Op::Multiply, l, r) if (l.is_numeric() || is_string(l) || l.is_null()) && is_interval(r) => {
            return Some(interval::scaled(right.0.clone(), op, left.0.clone()));
        }
        (Op::Subtract, DataType::Date32, DataType::Date32) => {
            return Some(interval::days_between(left.0.clone(), right.0.clone()));
        }
        (Op::Add | Op::Subtract, _, _) => {}
        _ => return None,
    }
    let operator = if op == Op::Add { Operator::Plus } else { Operator::Minus };
    match (left.1, right.1) {
        (DataType::Date32, t) if t.is_signed_integer() => {
            Some(Arithmetic::udf(op, false).call(vec![left.0.clone(), cast(right.0.clone(), &DataType::Int32, false)]))
        }
        (t, DataType::Date32) if t.is_signed_integer() && op == Op::Add => {
            Some(Arithmetic::udf(op, false).call(vec![right.0.clone(), cast(left.0.clone(), &DataType::Int32, false)]))
        }
        (DataType::Date32, t) if *t == interval::DAYS => {
            Some(Arithmetic::udf(op, false).call(vec![left.0.clone(), cast(right.0.clone(), &DataType::Int32, false)]))
        }
        (t, DataType::Date32) if *t == interval::DAYS && op == Op::Add => {
            Some(Arithmetic::udf(op, false).call(vec![right.0.clone(), cast(left.0.clone(), &DataType::Int32, false)]))
        }
        (DataType::Date32, by) if has_time(right.0) || matches!(by, DataType::Duration(TimeUnit::Microsecond)) => {
            let time = cast(left.0.clone(), &timestamp(), false);
            Some(datafusion::logical_expr::binary_expr(time, operator, right.0.clone()))
        }
        _ => None,
    }
}

fn has_time(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) => i.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(i)), _) => i.milliseconds != 0,
        _ => false,
    }
}

/// The operator as a function of operands that have the right types already.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    op: Op,
    /// NULL instead of an error.
    tolerant: bool,
    signature: Signature,
}

impl Arithmetic {
    fn udf(op: Op, tolerant: bool) -> ScalarUDF {
        // The `try_` functions come straight from SQL: their operands are still of any type.
        let signature = if tolerant {
            Signature::user_defined(Volatility::Immutable)
        } else {
            Signature::any(2, Volatility::Immutable)
        };
        ScalarUDF::new_from_impl(Self { op, tolerant, signature })
    }

    fn compute(&self, left: &dyn Datum, right: &dyn Datum, to: &DataType) -> Result<ArrayRef> {
        let (left_type, right_type) = (left.get().0.data_type(), right.get().0.data_type());
        match (left_type, right_type) {
            (DataType::Date32, _) => shift_days(self.op, left, right),
            (DataType::Decimal128(_, _), DataType::Decimal128(_, _)) => {
                decimal::compute(self.op, left, right, to, self.tolerant)
            }
            (l, r) if l == r && (l.is_numeric()) => self.compute_primitive(left, right),
            (l, r) => Err(no_operator(self.op, l, r)),
        }
    }

    fn compute_primitive(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef> {
        let divides = matches!(self.op, Op::Divide | Op::Remainder | Op::IntegralDivide);
        let shown = if self.tolerant && divides { Some(hide_zeros(right)?) } else { None };
        let right = shown.as_deref().unwrap_or(right);
        if divides && right.get().0.data_type().is_floating() {
            // Arrow follows IEEE here; Spark refuses to divide by zero.
            refuse_zeros(self.op, left, right)?;
        }
        let result = match self.op {
            Op::Add => numeric::add(left, right),
            Op::Subtract => numeric::sub(left, right),
            Op::Multiply => numeric::mul(left, right),
            Op::Divide | Op::IntegralDivide => numeric::div(left, right),
            Op::Remainder => numeric::rem(left, right),
        };
        match result {
            Ok(array) => Ok(array),
            Err(ArrowError::DivideByZero) => Err(divide_by_zero(self.op)),
            // MIN % -1 is 0 in Java, an overflow in Rust.
            Err(_) if self.op == Op::Remainder => Ok(numeric::rem(left, &*wrap_minus_one(right)?)?),
            Err(ArrowError::ArithmeticOverflow(_)) if self.tolerant => self.row_by_row(left, right),
            Err(ArrowError::ArithmeticOverflow(_)) => Err(binary_overflow(self.op, left.get().0.data_type())),
            Err(e) => Err(e.into()),
        }
    }

    /// After an overflow somewhere in the batch: NULL for the rows that overflow.
    fn row_by_row(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef> {
        let ((left, left_scalar), (right, right_scalar)) = (left.get(), right.get());
        let rows = if left_scalar { right.len() } else { left.len() };
        let one = |array: &dyn Array, scalar: bool, row: usize| array.slice(if scalar { 0 } else { row }, 1);
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let (l, r) = (one(left, left_scalar, row), one(right, right_scalar, row));
            let result = match self.op {
                Op::Add => numeric::add(&l, &r),
                Op::Subtract => numeric::sub(&l, &r),
                Op::Multiply => numeric::mul(&l, &r),
                _ => numeric::div(&l, &r),
            };
            results.push(result.unwrap_or_else(|_| new_null_array(l.data_type(), 1)));
        }
        let results: Vec<&dyn Array> = results.iter().map(|a| a.as_ref()).collect();
        Ok(arrow::compute::concat(&results)?)
    }
}

/// Zero divisors become NULL.
fn hide_zeros(right: &dyn Datum) -> Result<Box<dyn Datum>> {
    each(right, |array| Ok(arrow::compute::nullif(array, &zeros(array)?)?))
}

/// Divisors of -1 become 1, which has the same remainder without the overflow.
fn wrap_minus_one(right: &dyn Datum) -> Result<Box<dyn Datum>> {
    each(right, |array| {
        let one = ScalarValue::new_one(array.data_type())?;
        let minus_one = ScalarValue::new_negative_one(array.data_type())?;
        let hits = arrow::compute::kernels::cmp::eq(&array, &minus_one.to_scalar()?)?;
        Ok(arrow::compute::kernels::zip::zip(&hits, &one.to_scalar()?, &array)?)
    })
}

/// Other values of the same shape: one for all rows stays one for all rows.
fn each(datum: &dyn Datum, f: impl FnOnce(&dyn Array) -> Result<ArrayRef>) -> Result<Box<dyn Datum>> {
    let (array, is_scalar) = datum.get();
    let result = f(array)?;
    Ok(if is_scalar { Box::new(Scalar::new(result)) } else { Box::new(result) })
}

/// Which values are zero.
fn zeros(array: &dyn Array) -> Result<BooleanArray> {
    let zero = ScalarValue::new_zero(array.data_type())?.to_scalar()?;
    if !array.data_type().is_floating() {
        return Ok(arrow::compute::kernels::cmp::eq(&array, &zero)?);
    }
    // `-0.0` is another value than `0.0` to arrow's total order.
    let magnitude = arrow::compute::cast(array, &DataType::Float64)?;
    let magnitude: Float64Array = magnitude.as_primitive::<Float64Type>().unary(f64::abs);
    Ok(arrow::compute::kernels::cmp::eq(&magnitude, &Float64Array::new_scalar(0.0))?)
}

/// An error if a row with two values divides by zero.
fn refuse_zeros(op: Op, left: &dyn Datum, right: &dyn Datum) -> Result<()> {
    let (divisors, scalar) = right.get();
    let zeros = zeros(divisors)?;
    if zeros.true_count() == 0 {
        return Ok(());
    }
    let (dividends, left_scalar) = left.get();
    let hit = match (scalar, left_scalar) {
        (true, _) => dividends.null_count() < dividends.len(),
        (false, true) => dividends.is_valid(0),
        (false, false) => (0..zeros.len()).any(|i| zeros.is_valid(i) && zeros.value(i) && dividends.is_valid(i)),
    };
    if hit { Err(divide_by_zero(op)) } else { Ok(()) }
}

fn shift_days(op: Op, dates: &dyn Datum, days: &dyn Datum) -> Result<ArrayRef> {
    let to_ints = |d: &dyn Datum| -> Result<ArrayRef> {
        Ok(arrow::compute::cast(&d.get().0.slice(0, d.get().0.len()), &DataType::Int32)?)
    };
    let (dates_scalar, days_scalar) = (dates.get().1, days.get().1);
    let (dates, days) = (to_ints(dates)?, to_ints(days)?);
    let datum = |array: ArrayRef, scalar: bool| -> Box<dyn Datum> {
        if scalar { Box::new(Scalar::new(array)) } else { Box::new(array) }
    };
    let (dates, days) = (datum(dates, dates_scalar), datum(days, days_scalar));
    let result = if op == Op::Add { numeric::add(&*dates, &*days) } else { numeric::sub(&*dates, &*days) };
    let result = result.map_err(|_| arithmetic_overflow(&DataType::Int32))?;
    Ok(arrow::compute::cast(&result, &DataType::Date32)?)
}

/// The error of an integer result that its type cannot hold.
pub fn arithmetic_overflow(data_type: &DataType) -> Error {
    let name = match data_type {
        DataType::Int64 => "long".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        other => sql_type_name(other).to_lowercase(),
    };
    Error::execution("ARITHMETIC_OVERFLOW", format!("{name} overflow"))
        .with_help("use `try_add`, `try_subtract` or `try_multiply` to get NULL instead, or a wider type")
}

/// The error of an operator whose result its type cannot hold: Spark has another condition for the types narrower than INT.
fn binary_overflow(op: Op, data_type: &DataType) -> Error {
    let name = match data_type {
        DataType::Int8 | DataType::Int16 => sql_type_name(data_type),
        _ => return arithmetic_overflow(data_type),
    };
    Error::execution("BINARY_ARITHMETIC_OVERFLOW", format!("the result of '{op}' does not fit into {name}"))
        .with_help("use `try_add`, `try_subtract` or `try_multiply` to get NULL instead, or a wider type")
}

/// The error of a zero divisor.
pub fn divide_by_zero(op: Op) -> Error {
    match op {
        Op::Remainder => Error::execution("REMAINDER_BY_ZERO", "remainder by zero")
            .with_help("use `try_mod` to tolerate a divisor of 0 and return NULL instead"),
        _ => Error::execution("DIVIDE_BY_ZERO", "division by zero")
            .with_help("use `try_divide` to tolerate a divisor of 0 and return NULL instead"),
    }
}

/// The error of operands that an operator is not for.
pub fn no_operator(op: impl std::fmt::Display, left: &DataType, right: &DataType) -> Error {
    let help = "cast one side, as in CAST(… AS INT); a time takes an interval, as in ts + INTERVAL 5 MINUTES";
    let text = is_string(left) && !right.is_nested() || is_string(right) && !left.is_nested();
    // Text takes the type of the other side first.
    let condition = if left == right || text { "BINARY_OP_WRONG_TYPE" } else { "BINARY_OP_DIFF_TYPES" };
    let (left, right) = (sql_type_name(left), sql_type_name(right));
    let message = format!("operator '{op}' does not take {left} and {right}");
    Error::invalid(format!("DATATYPE_MISMATCH.{condition}"), message).with_help(help)
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match (self.tolerant, self.op) {
            (false, op) => op.symbol(),
            (true, Op::Add) => "try_add",
            (true, Op::Subtract) => "try_subtract",
            (true, Op::Multiply) => "try_multiply",
            (true, Op::Remainder) => "try_mod",
            (true, _) => "try_divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [left, right] = take_function_args(self.name(), arg_types)?;
        match operand_types(self.op, left, right) {
            Some((left, right)) => Ok(vec![left, right]),
            None => Err(no_operator(self.op, left, right).into()),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let names: Vec<_> = args.iter().map(|a| a.schema_name().to_string()).collect();
        if self.tolerant {
            return Ok(format!("{}({})", self.name(), names.join(", ")));
        }
        Ok(format!("({})", names.join(&format!(" {} ", self.op.symbol()))))
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        let [left, right] = take_function_args(self.name(), arg_types)?;
        match (left, right) {
            (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
                Ok(decimal::result_type(self.op, (*p1, *s1), (*p2, *s2)))
            }
            (DataType::Date32, _) => Ok(DataType::Date32),
            (l, r) if l == r => Ok(l.clone()),
            (l, r) => Err(no_operator(self.op, l, r).into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let [left, right] = take_function_args(self.name(), args.args)?;
        if let (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) = (&left, &right) {
            let result = self.compute(&l.to_array()?, &r.to_array()?, &to)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        let datum = |value: ColumnarValue| -> DfResult<Box<dyn Datum>> {
            Ok(match value {
                ColumnarValue::Array(array) => Box::new(array),
                ColumnarValue::Scalar(value) => Box::new(value.to_scalar()?),
            })
        };
        let (left, right): (Arc<dyn Datum>, Arc<dyn Datum>) = (datum(left)?.into(), datum(right)?.into());
        Ok(ColumnarValue::Array(self.compute(&*left, &*right, &to)?))
    }
}
