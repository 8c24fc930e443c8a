//! Calls of scalar functions that are another expression of their arguments.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, lit};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::expr::ExprContext;
use super::operators;
use crate::error::{Error, Result};
use crate::function::wrong_type;

impl ExprContext<'_> {
    /// The fields are named by the columns, and by their number where there is none.
    pub fn arrays_zip(&self, args: Vec<Expr>, e: &sql::Expr) -> Result<Expr> {
        let missing = args.iter().cloned().map(Expr::is_null).reduce(Expr::or).unwrap_or_else(|| lit(false));
        let zipped = self.typed(self.call("arrays_zip", args, e)?, e)?;
        let null = Expr::Literal(ScalarValue::Null, None);
        let zipped = operators::case(vec![(missing, null)], Some(zipped), self.schema)?;
        let list = zipped.get_type(self.schema)?;
        let (DataType::List(item), sql::Expr::Function(f)) = (&list, e) else { return Ok(zipped) };
        let (DataType::Struct(fields), FunctionArguments::List(given)) = (item.data_type(), &f.args) else {
            return Ok(zipped);
        };
        let name = |(i, arg): (usize, &FunctionArg)| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => column_name(e).unwrap_or_else(|| i.to_string()),
            _ => i.to_string(),
        };
        let names = given.args.iter().enumerate().map(name);
        let renamed = fields.iter().zip(names).map(|(f, name)| f.as_ref().clone().with_name(name));
        let item = item.as_ref().clone().with_data_type(DataType::Struct(renamed.collect()));
        Ok(operators::cast(zipped, &DataType::List(std::sync::Arc::new(item)), false))
    }

    /// `try_add` and its like of dates, times and intervals: the operator, and NULL for a division by zero.
    pub fn try_times(&self, name: &str, left: &Expr, right: &Expr) -> Result<Option<Expr>> {
        let types = [left.get_type(self.schema)?, right.get_type(self.schema)?];
        if !types.iter().any(|t| t.is_temporal() || is_interval(t)) {
            return Ok(None);
        }
        let op = match name {
            "try_add" => sql::BinaryOperator::Plus,
            "try_subtract" => sql::BinaryOperator::Minus,
            "try_multiply" => sql::BinaryOperator::Multiply,
            _ => {
                let zero = operators::binary(right.clone(), &sql::BinaryOperator::Eq, lit(0), self.schema)?;
                let null = Expr::Literal(ScalarValue::Null, None);
                let divisor = operators::case(vec![(zero, null)], Some(right.clone()), self.schema)?;
                return operators::binary(left.clone(), &sql::BinaryOperator::Divide, divisor, self.schema).map(Some);
            }
        };
        operators::binary(left.clone(), &op, right.clone(), self.schema).map(Some)
    }

    /// `uniform(min, max[, seed])` is `rand(seed)` over another range, in the wider type of the two.
    pub fn uniform(&self, min: &Expr, max: &Expr, seed: Option<&Expr>, e: &sql::Expr) -> Result<Expr> {
        let mut wider = DataType::Null;
        for bound in [min, max] {
            let t = bound.get_type(self.schema)?;
            if !t.is_numeric() && !t.is_null() {
                return Err(wrong_type("uniform", "numbers", &t).with_span(self.span(e)));
            }
            if !bound.column_refs().is_empty() {
                let message = "a bound of 'uniform' is not constant";
                return Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
                    .with_span(self.span(e))
                    .with_help("write numbers, or compute low + (high - low) * rand()"));
            }
            if t.is_null() {
                return Ok(Expr::Literal(ScalarValue::Float64(None), None));
            }
            if width(&t) > width(&wider) {
                wider = t;
            }
        }
        let double = |e: &Expr| operators::cast(e.clone(), &DataType::Float64, false);
        let drawn = self.call("rand", seed.cloned().into_iter().collect(), e)?;
        let range = binary_expr(double(max), Operator::Minus, double(min));
        let drawn = binary_expr(range, Operator::Multiply, self.typed(drawn, e)?);
        Ok(operators::cast(binary_expr(double(min), Operator::Plus, drawn), &wider, false))
    }

    /// `decode(value, search, result, …[, default])`, in which NULL is found as any value.
    pub fn decode(&self, args: &[Expr]) -> Result<Expr> {
        let (value, pairs) = (&args[0], args[1..].chunks_exact(2));
        let otherwise = pairs.remainder().first().cloned();
        let branch = |pair: &[Expr]| -> Result<(Expr, Expr)> {
            let (value, search) = operators::compare_as(Operator::Eq, value.clone(), pair[0].clone(), self.schema)?;
            let same = binary_expr(value, Operator::IsNotDistinctFrom, search);
            Ok((same, pair[1].clone()))
        };
        let branches = pairs.map(branch).collect::<Result<_>>()?;
        operators::case(branches, otherwise, self.schema)
    }
}

/// The order of numeric types, the widest last.
fn width(t: &DataType) -> (u8, u8) {
    match t {
        DataType::Null => (0, 0),
        DataType::Int8 => (1, 0),
        DataType::Int16 => (2, 0),
        DataType::Int32 => (3, 0),
        DataType::Decimal128(precision, _) => (5, *precision),
        DataType::Float32 => (6, 0),
        DataType::Float64 => (7, 0),
        _ => (4, 0),
    }
}

/// The name of a column or field.
fn column_name(e: &sql::Expr) -> Option<String> {
    match e {
        sql::Expr::Nested(e) => column_name(e),
        sql::Expr::Identifier(name) => Some(name.value.clone()),
        sql::Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()),
        sql::Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(sql::AccessExpr::Dot(sql::Expr::Identifier(name))) => Some(name.value.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Who runs this process, as the environment says.
pub fn user_name() -> String {
    let known = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    known("USER").or_else(|| known("LOGNAME")).or_else(|| known("USERNAME")).unwrap_or_else(|| "unknown".to_owned())
}

pub fn is_interval(t: &DataType) -> bool {
    matches!(t, DataType::Interval(_) | DataType::Duration(_))
}
