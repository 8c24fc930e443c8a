//! Calls of scalar functions that are another expression of their arguments.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, lit};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::expr::{ExprContext, string};
use super::operators;
use crate::error::{Error, Result};
use crate::function::wrong_type;
use crate::plan::hidden_columns::METADATA;

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

    /// `input_file_name()` and its like: fields of the hidden column of the one table of files in FROM.
    pub fn input_file(&self, name: &str, e: &sql::Expr) -> Result<Expr> {
        if self.scope.columns.is_empty() {
            return Ok(if name == "input_file_name" { string("") } else { lit(-1_i64) });
        }
        let mut files = self.scope.named().filter(|column| column.name == METADATA);
        let Some(metadata) = files.next() else {
            return Err(Error::unsupported(
                "UNSUPPORTED_FEATURE",
                format!("there is no file that '{name}' could tell of"),
            )
            .with_span(self.span(e))
            .with_help(
                "call it where a table or stream of files itself is in FROM, and give its result a name there",
            ));
        };
        if files.next().is_some() {
            let message = format!("'{name}' cannot tell of more than one table of files");
            return Err(Error::invalid("MULTI_SOURCES_UNSUPPORTED_FOR_EXPRESSION", message)
                .with_span(self.span(e))
                .with_help("write t._metadata.file_path, with the name of the table"));
        }
        let field = |field: &str| get_field(Expr::Column(metadata.column.clone()), field);
        Ok(match name {
            "input_file_block_start" => field("file_block_start"),
            "input_file_block_length" => field("file_block_length"),
            _ => {
                // Here Spark writes the host of a local path, which is empty.
                let args = vec![field("file_path"), string("^file:/"), string("file:///")];
                self.call("regexp_replace", args, e)?
            }
        })
    }

    /// The arguments as Spark's function takes them, where DataFusion's takes others: a FLOAT is a DOUBLE to functions of
    /// reals, any number an INT or BIGINT to those of bits.
    pub fn expected(&self, name: &str, args: Vec<Expr>) -> Result<Vec<Expr>> {
        let whole = match name {
            "factorial" => Some((0, DataType::Int32)),
            "bit_get" | "getbit" => Some((1, DataType::Int32)),
            "bitmap_bucket_number" | "bitmap_bit_position" => Some((0, DataType::Int64)),
            _ => None,
        };
        if whole.is_none() && !REAL_FUNCTIONS.contains(&name) {
            return Ok(args);
        }
        let one = |(i, arg): (usize, Expr)| -> Result<Expr> {
            let from = arg.get_type(self.schema)?;
            Ok(match &whole {
                Some((at, to)) if *at == i && from.is_numeric() && from != *to => operators::cast(arg, to, false),
                None if from == DataType::Float32 => operators::cast(arg, &DataType::Float64, false),
                _ => arg,
            })
        };
        args.into_iter().enumerate().map(one).collect()
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
        match self.calendar_arithmetic(left, &op, right)? {
            Some(moved) => Ok(Some(moved)),
            None => operators::binary(left.clone(), &op, right.clone(), self.schema).map(Some),
        }
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
        // What nothing fits is a NULL of type STRING.
        let missing = || Expr::Literal(ScalarValue::Utf8View(None), None);
        let is_nested = args[2..].iter().any(|e| e.get_type(self.schema).is_ok_and(|t| t.is_nested()));
        let otherwise = pairs.remainder().first().cloned().or_else(|| (!is_nested).then(missing));
        let branch = |pair: &[Expr]| -> Result<(Expr, Expr)> {
            let (value, search) = operators::compare_as(Operator::Eq, value.clone(), pair[0].clone(), self.schema)?;
            let same = binary_expr(value, Operator::IsNotDistinctFrom, search);
            Ok((same, pair[1].clone()))
        };
        let branches = pairs.map(branch).collect::<Result<_>>()?;
        operators::case(branches, otherwise, self.schema)
    }
}

/// Functions of reals whose result is a DOUBLE whatever they are of.
const REAL_FUNCTIONS: [&str; 25] = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cos", "cosh", "cot", "csc", "degrees", "exp", "expm1",
    "ln", "log", "log10", "log2", "radians", "sec", "sin", "sinh", "tan", "tanh", "hypot",
];

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
