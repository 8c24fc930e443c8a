//! The operators of bits: `&`, `|` and `^`, and the shifts `<<`, `>>` and `>>>`, which are of INT or BIGINT, by as many bits as the
//! lower bits of the count say.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::{Expr, Operator, ScalarUDF};

use super::arithmetic::{convert, no_operator};
use super::cast::is_string;
use super::scalar::{Call, Types, function};
use crate::Result;

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    ["<<", ">>", ">>>"].into_iter().filter_map(udf).collect()
}

/// `left op right` for a shift.
pub fn shift(left: &Expr, op: &str, right: &Expr) -> Option<Expr> {
    udf(op).map(|f| f.call(vec![left.clone(), right.clone()]))
}

/// `&`, `|` and `^` are of whole numbers, which the narrower side becomes as wide as; text is a BIGINT beside them.
pub fn bitwise(left: (&Expr, &DataType), op: Operator, right: (&Expr, &DataType)) -> Result<Option<Expr>> {
    let side = |t: &DataType| if is_string(t) { DataType::Int64 } else { t.clone() };
    let whole = |t: &DataType| t.is_integer() || t.is_null();
    let both_text = is_string(left.1) && is_string(right.1);
    let Some(to) = super::coercion::wider(&side(left.1), &side(right.1)).filter(|t| whole(t) && !both_text) else {
        return Err(no_operator(op, left.1, right.1));
    };
    let to = if to.is_null() { DataType::Int32 } else { to };
    if left.1 == &to && right.1 == &to {
        return Ok(None);
    }
    Ok(Some(datafusion::logical_expr::binary_expr(convert(left, &to), op, convert(right, &to))))
}

fn udf(op: &str) -> Option<ScalarUDF> {
    Some(match op {
        "<<" => function("shiftleft", 2..=2, shift_type, |call| {
            shifted(call, |v, n| v.wrapping_shl(n as u32), |v, n| v.wrapping_shl(n as u32))
        }),
        ">>" => function("shiftright", 2..=2, shift_type, |call| {
            shifted(call, |v, n| v.wrapping_shr(n as u32), |v, n| v.wrapping_shr(n as u32))
        }),
        ">>>" => function("shiftrightunsigned", 2..=2, shift_type, |call| {
            shifted(
                call,
                |v, n| (v as u32).wrapping_shr(n as u32) as i32,
                |v, n| (v as u64).wrapping_shr(n as u32) as i64,
            )
        }),
        _ => return None,
    })
}

fn shift_type(types: &Types) -> Result<DataType> {
    let is_number = |t: &DataType| t.is_numeric() || is_string(t) || t == &DataType::Null;
    match types.all().iter().find(|t| !is_number(t)) {
        Some(wrong) => Err(super::wrong_type("shift", "INT or BIGINT", wrong)),
        None if types.get(0) == &DataType::Int64 => Ok(DataType::Int64),
        None => Ok(DataType::Int32),
    }
}

fn shifted(call: &Call, int: fn(i32, i32) -> i32, long: fn(i64, i32) -> i64) -> Result<ArrayRef> {
    let by = call.ints(1)?;
    if call.return_type() == &DataType::Int64 {
        let rows = call.longs(0)?;
        return Ok(Arc::new(rows.iter().zip(&by).map(|(v, n)| Some(long(v?, n?))).collect::<Int64Array>()));
    }
    let rows = call.ints(0)?;
    Ok(Arc::new(rows.iter().zip(&by).map(|(v, n)| Some(int(v?, n?))).collect::<Int32Array>()))
}
