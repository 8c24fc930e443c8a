//! Why operands and arguments do not fit, in Spark's conditions and types: DataFusion's own words name Arrow's.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ArrayFunctionSignature, Expr, ExprSchemable, Operator, Signature, TypeSignature};

use super::types::spark_type_name;
use crate::error::Error;
use crate::function::wrong_count;

/// The error of an expression that has no type: of its innermost part whose own parts all have one.
pub fn explain(expr: &Expr, schema: &DFSchema, why: DataFusionError) -> Error {
    let why = Error::from(why);
    if !is_foreign(&why) {
        return why;
    }
    innermost(expr, schema).unwrap_or_else(|| {
        Error::invalid("DATATYPE_MISMATCH", why.message().lines().next().unwrap_or_default().trim_end_matches('.'))
    })
}

/// Whether an error has only DataFusion's words.
pub fn is_foreign(e: &Error) -> bool {
    ["INVALID_QUERY", "QUERY_EXECUTION", "INTERNAL_ERROR", "UNSUPPORTED_FEATURE"].contains(&e.condition())
}

fn innermost(expr: &Expr, schema: &DFSchema) -> Option<Error> {
    let mut found = None;
    // The closure cannot fail.
    let _ = expr.apply_children(|child| {
        if found.is_none() && child.get_type(schema).is_err() {
            found = innermost(child, schema);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if found.is_some() {
        return found;
    }
    let types = |args: &[Expr]| args.iter().map(|a| a.get_type(schema)).collect::<DfResult<Vec<_>>>().ok();
    match expr {
        Expr::BinaryExpr(b) => Some(operands(b.op, &b.left.get_type(schema).ok()?, &b.right.get_type(schema).ok()?)),
        Expr::ScalarFunction(f) => {
            let types = types(&f.args)?;
            Some(arguments(f.func.name(), f.func.signature(), &types, |t| f.func.coerce_types(t)))
        }
        Expr::AggregateFunction(f) => {
            let types = types(&f.params.args)?;
            Some(arguments(f.func.name(), f.func.signature(), &types, |t| f.func.coerce_types(t)))
        }
        _ => None,
    }
}

/// The error of an operator whose operands do not fit.
pub fn operands(op: Operator, left: &DataType, right: &DataType) -> Error {
    let (l, r) = (spark_type_name(left), spark_type_name(right));
    if l != r {
        let message = format!("operator '{op}' does not take {l} and {r}");
        return Error::invalid("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message)
            .with_help(operand_help(op, left, right));
    }
    let (condition, message) = match is_comparison(op) {
        true => ("DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", format!("operator '{op}' cannot compare values of {l}")),
        false => ("DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE", format!("operator '{op}' does not take {l}")),
    };
    Error::invalid(condition, message).with_help(operand_help(op, left, right))
}

/// What to write instead.
fn operand_help(op: Operator, left: &DataType, right: &DataType) -> String {
    let either = |f: fn(&DataType) -> bool| f(left) || f(right);
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32);
    let help = if either(|t| matches!(t, DataType::List(_))) {
        "take one element, as in a[0], or test for one with array_contains(a, …)"
    } else if either(|t| matches!(t, DataType::Map(..))) {
        "take the value of a key, as in m['key']"
    } else if either(|t| matches!(t, DataType::Struct(_))) {
        "take a field of the struct, as in s.field"
    } else if (is_time(left) || is_time(right)) && is_comparison(op) {
        "compare with a time, as in TIMESTAMP '2024-01-31 12:00:00', or cast seconds: timestamp_seconds(…)"
    } else if is_time(left) || is_time(right) {
        "add or subtract an interval, as in ts + INTERVAL 5 MINUTES"
    } else if matches!(op, Operator::And | Operator::Or) {
        "AND and OR take conditions: compare the value with something, as in v > 0"
    } else if either(|t| matches!(t, DataType::Boolean)) {
        "compare a BOOLEAN with TRUE or FALSE, or cast it: CAST(… AS INT)"
    } else {
        return format!("cast one side: CAST(… AS {})", spark_type_name(if left.is_numeric() { left } else { right }));
    };
    help.to_owned()
}

/// The error of a call whose arguments do not fit.
fn arguments(
    name: &str,
    signature: &Signature,
    types: &[DataType],
    coerce: impl Fn(&[DataType]) -> DfResult<Vec<DataType>>,
) -> Error {
    if let Some(counts) = counts(&signature.type_signature)
        && !counts.contains(&types.len())
    {
        return wrong_count(name, &one_of(&counts), types.len());
    }
    if signature.type_signature == TypeSignature::UserDefined
        && let Err(e) = coerce(types)
    {
        let e = Error::from(e);
        if !is_foreign(&e) {
            return e;
        }
    }
    if types.is_empty() {
        return wrong_count(name, "at least 1", 0);
    }
    let given: Vec<_> = types.iter().map(spark_type_name).collect();
    let message = format!("function '{name}' does not take {}", given.join(", "));
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
        .with_help(format!("cast what does not fit, as in {name}(CAST(… AS …)); DESCRIBE shows the types of columns"))
}

/// How many arguments a signature has; nothing if it does not say.
fn counts(signature: &TypeSignature) -> Option<Vec<usize>> {
    use TypeSignature as T;
    Some(match signature {
        T::OneOf(variants) => {
            let mut all = variants.iter().map(counts).collect::<Option<Vec<_>>>()?.concat();
            all.sort_unstable();
            all.dedup();
            all
        }
        T::Exact(types) => vec![types.len()],
        T::Coercible(types) => vec![types.len()],
        T::Uniform(n, _) | T::Comparable(n) | T::Any(n) | T::Numeric(n) | T::String(n) => vec![*n],
        T::Nullary => vec![0],
        T::ArraySignature(ArrayFunctionSignature::Array { arguments, .. }) => vec![arguments.len()],
        T::ArraySignature(_) => vec![1],
        T::Variadic(_) | T::VariadicAny | T::UserDefined => return None,
    })
}

fn one_of(counts: &[usize]) -> String {
    let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
    counts.join(" or ")
}

/// Whether the operator compares values.
pub fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
