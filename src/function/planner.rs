//! Spark's operators for DataFusion's SQL planner.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::arithmetic::binary;
use super::collection::{get_array_item, make_map};

/// Plans arithmetic, comparisons and `a[i]` with Spark's meaning. It must stand before DataFusion's own planners.
pub fn expr_planner() -> Arc<dyn ExprPlanner> {
    Arc::new(SparkOperators)
}

#[derive(Debug)]
struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let Some(op) = operator(&expr.op) else { return Ok(PlannerResult::Original(expr)) };
        Ok(match binary(&expr.left, op, &expr.right, schema)? {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }

    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        // Spark counts a negative position from the end.
        Ok(PlannerResult::Planned(datafusion_spark::function::string::substring().call(args)))
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(make_map().call(args)))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        datafusion_spark::planner::SparkFunctionPlanner.plan_extract(args)
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
        let data_type = expr.expr.get_type(schema)?;
        let is_collection =
            data_type.is_list() || matches!(data_type, datafusion::arrow::datatypes::DataType::Map(_, _));
        let index = match &expr.field_access {
            GetFieldAccess::ListIndex { key } if is_collection => key.as_ref().clone(),
            GetFieldAccess::NamedStructField { name } if is_collection => Expr::Literal(name.clone(), None),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(get_array_item(expr.expr, index)))
    }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => Operator::IntegerDivide,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
        _ => return None,
    })
}
