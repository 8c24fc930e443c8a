//! DataFusion's meaning of operators, in the signatures of `crate::function`, which takes its place where it exists.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, cast as df_cast, lit, try_cast};

use crate::error::Result;

/// `CAST(expr AS to)`, or `TRY_CAST`.
pub fn cast(expr: Expr, to: &DataType, is_try: bool) -> Expr {
    if is_try { try_cast(expr, to.clone()) } else { df_cast(expr, to.clone()) }
}

/// Spark's meaning of `left op right`, or none where DataFusion's operator is the same.
pub fn binary(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let is_decimal = |e: &Expr| e.get_type(schema).map(|t| matches!(t, DataType::Decimal128(..)));
    let both = |to: DataType| df_cast(left.clone(), to.clone()) / df_cast(right.clone(), to);
    Ok(match op {
        Operator::Divide if is_decimal(left)? && is_decimal(right)? => None,
        Operator::Divide => Some(both(DataType::Float64)),
        Operator::IntegerDivide => Some(both(DataType::Int64)),
        _ => None,
    })
}

/// Spark's meaning of `-expr`, or none where DataFusion's is the same.
pub fn negate(_expr: &Expr, _schema: &DFSchema) -> Result<Option<Expr>> {
    Ok(None)
}

/// `array[index]` from 0, or `map[key]`.
pub fn get_array_item(collection: Expr, index: Expr, schema: &DFSchema) -> Result<Expr> {
    use datafusion::functions_nested::expr_fn::{array_element, map_extract};
    Ok(match collection.get_type(schema)? {
        DataType::Map(..) => array_element(map_extract(collection, index), lit(1i64)),
        _ => array_element(collection, df_cast(index, DataType::Int64) + lit(1i64)),
    })
}
