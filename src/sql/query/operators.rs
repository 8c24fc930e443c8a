//! The meaning of operators and casts: Spark's, by way of the functions that implement it.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_nested::expr_fn::{array_element, map_extract};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast as df_cast, lit, try_cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::scope::find_field;
use super::types::spark_type_name;
use crate::error::{Error, Result};

/// `CAST(expr AS to)`, or `TRY_CAST`.
pub fn cast(expr: Expr, to: &DataType, is_try: bool, _schema: &DFSchema) -> Result<Expr> {
    Ok(if is_try { try_cast(expr, to.clone()) } else { df_cast(expr, to.clone()) })
}

/// `left op right`.
pub fn binary(left: Expr, op: &BinaryOperator, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let operator = match op {
        BinaryOperator::Divide => return divide(left, right, schema),
        BinaryOperator::MyIntegerDivide => return integer_divide(left, right),
        other => operator(other)?,
    };
    let (left, right) = if is_comparison(operator) {
        compare_as(left, right, schema)?
    } else {
        (left, right)
    };
    Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right))))
}

/// `-expr`.
pub fn negate(expr: Expr, _schema: &DFSchema) -> Result<Expr> {
    Ok(Expr::Negative(Box::new(expr)))
}

/// `base[index]` of an array, from 0, or of a map.
pub fn get_item(base: Expr, index: Expr, schema: &DFSchema) -> Result<Expr> {
    match base.get_type(schema)? {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let from_one = df_cast(index, DataType::Int64) + lit(1i64);
            Ok(array_element(base, from_one))
        }
        DataType::Map(..) => Ok(array_element(map_extract(base, index), lit(1i64))),
        DataType::Struct(fields) => match &index {
            Expr::Literal(ScalarValue::Utf8View(Some(name)), _) => {
                match find_field(fields.iter().map(|f| f.as_ref()), name) {
                    Some(f) => Ok(get_field(base, f.name().clone())),
                    None => Err(Error::invalid("FIELD_NOT_FOUND", format!("no struct field '{name}'"))),
                }
            }
            _ => Err(Error::invalid("INVALID_EXTRACT_FIELD_TYPE", "the name of a struct field must be a string literal")),
        },
        other => Err(Error::invalid(
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!("only an ARRAY, MAP or STRUCT has items, not {}", spark_type_name(&other)),
        )),
    }
}

/// Both sides, a string brought to the type of the other.
pub fn compare_as(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
    Ok(match (l.is_string(), r.is_string()) {
        (true, false) if is_castable_from_string(&r) => (cast(left, &r, false, schema)?, right),
        (false, true) if is_castable_from_string(&l) => {
            let right = cast(right, &l, false, schema)?;
            (left, right)
        },
        _ => (left, right),
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsNotDistinctFrom)
}

fn is_castable_from_string(t: &DataType) -> bool {
    t.is_numeric() || matches!(t, DataType::Boolean | DataType::Date32 | DataType::Timestamp(..))
}

fn divide(left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let is_decimal = |e: &Expr| e.get_type(schema).map(|t| matches!(t, DataType::Decimal128(..)));
    if is_decimal(&left)? && is_decimal(&right)? {
        return Ok(left / right);
    }
    Ok(df_cast(left, DataType::Float64) / df_cast(right, DataType::Float64))
}

fn integer_divide(left: Expr, right: Expr) -> Result<Expr> {
    Ok(df_cast(left, DataType::Int64) / df_cast(right, DataType::Int64))
}

fn operator(op: &BinaryOperator) -> Result<Operator> {
    Ok(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
        BinaryOperator::BitwiseAnd => Operator::BitwiseAnd,
        BinaryOperator::BitwiseOr => Operator::BitwiseOr,
        BinaryOperator::BitwiseXor => Operator::BitwiseXor,
        BinaryOperator::PGBitwiseShiftLeft => Operator::BitwiseShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => Operator::BitwiseShiftRight,
        BinaryOperator::StringConcat => Operator::StringConcat,
        other => return Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("there is no operator '{other}'"))),
    })
}
