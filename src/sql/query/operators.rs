//! The meaning of operators and casts: Spark's, by way of the functions that implement it.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::mismatch::{self, is_comparison};
use super::scope::find_field;
use super::types::spark_type_name;
use crate::error::{Error, Result};
use crate::function::{self, coercion};

/// `CAST(expr AS to)`, or `TRY_CAST`.
pub fn cast(expr: Expr, to: &DataType, is_try: bool) -> Expr {
    function::cast(expr, to, is_try)
}

/// `left op right`.
pub fn binary(left: Expr, op: &BinaryOperator, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let shifted = match op {
        BinaryOperator::PGBitwiseShiftLeft => function::shift(&left, "<<", &right),
        BinaryOperator::PGBitwiseShiftRight => function::shift(&left, ">>", &right),
        BinaryOperator::Custom(op) => function::shift(&left, op, &right),
        _ => None,
    };
    if let Some(shifted) = shifted {
        // Operands that do not fit are refused here.
        return shifted.get_type(schema).map_err(Error::from).map(|_| shifted);
    }
    let op = operator(op)?;
    if !matches!(op, Operator::And | Operator::Or)
        && let Some(planned) = function::binary(&left, op, &right, schema)?
    {
        return Ok(planned);
    }
    if op == Operator::StringConcat && [&left, &right].iter().any(|e| e.get_type(schema).is_ok_and(|t| !t.is_string()))
    {
        return Ok(function::concat(left, right));
    }
    let (left, right) = if is_comparison(op) { compare_as(op, left, right, schema)? } else { (left, right) };
    Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
}

/// CASE over conditions and results, which are brought to one type.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>, schema: &DFSchema) -> Result<Expr> {
    let (conditions, mut results): (Vec<_>, Vec<_>) = branches.into_iter().unzip();
    let has_else = otherwise.is_some();
    results.extend(otherwise);
    let mut results = unify("case", results, schema)?;
    let otherwise = if has_else { results.pop().map(Box::new) } else { None };
    let branch = |(c, r)| Ok((Box::new(condition(c, "WHEN", schema)?), Box::new(r)));
    let branches = conditions.into_iter().zip(results).map(branch).collect::<Result<_>>()?;
    Ok(Expr::Case(Case::new(None, branches, otherwise)))
}

/// The values of a function or operator brought to the type that they have in common.
pub fn unify(name: &str, exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let types = exprs.iter().map(|e| e.get_type(schema)).collect::<datafusion::common::Result<Vec<_>>>()?;
    let Some(common) = coercion::common(&types) else { return Err(coercion::mismatch(name, &types)) };
    let one = |(e, t): (Expr, DataType)| if t == common { e } else { cast(e, &common, false) };
    Ok(exprs.into_iter().zip(types).map(one).collect())
}

/// Arrays of numbers, brought to one type: those of a FLOAT or DOUBLE beside others hold DOUBLEs.
pub fn unify_lists(lists: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let types = lists.iter().map(|e| e.get_type(schema)).collect::<datafusion::common::Result<Vec<_>>>()?;
    let real = |t: &DataType| matches!(t, DataType::List(item) if item.data_type().is_floating());
    match coercion::common(&types) {
        Some(common) if types.iter().any(real) && types.iter().any(|t| t != &common) => {
            let one = |(e, t): (Expr, DataType)| if t == common { e } else { cast(e, &common, false) };
            Ok(lists.into_iter().zip(types).map(one).collect())
        }
        _ => Ok(lists),
    }
}

/// `-expr`.
pub fn negate(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let t = expr.get_type(schema).map_err(|e| mismatch::explain(&expr, schema, e))?;
    let is_interval = matches!(t, DataType::Interval(_) | DataType::Duration(_));
    if !(t.is_numeric() || t.is_string() || t.is_null() || is_interval) {
        let message = format!("operator '-' does not take {}", spark_type_name(&t));
        return Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
            .with_help("it takes a number or an interval; a BOOLEAN is negated by NOT"));
    }
    Ok(function::negate(&expr, schema)?.unwrap_or_else(|| Expr::Negative(Box::new(expr))))
}

/// `base[index]` of an array, from 0, or of a map.
pub fn get_item(base: Expr, index: Expr, schema: &DFSchema) -> Result<Expr> {
    match base.get_type(schema)? {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Map(..) => {
            Ok(function::get_array_item(base, index))
        }
        DataType::Struct(fields) => match &index {
            Expr::Literal(ScalarValue::Utf8View(Some(name)), _) => {
                match find_field(fields.iter().map(|f| f.as_ref()), name) {
                    Some(f) => Ok(get_field(base, f.name().clone())),
                    None => Err(Error::invalid("FIELD_NOT_FOUND", format!("no struct field '{name}'"))
                        .with_help(function::field_help(name, &fields))),
                }
            }
            _ => {
                Err(Error::invalid("INVALID_EXTRACT_FIELD_TYPE", "the name of a struct field must be a string literal")
                    .with_help("write s.field or s['field']"))
            }
        },
        other => Err(Error::invalid(
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!("only an ARRAY, MAP or STRUCT has items, not {}", spark_type_name(&other)),
        )
        .with_help("characters of a text are given by substring(s, 1, 1), its parts by split(s, ',')[0]")),
    }
}

/// A value that is true, false or NULL, as `owner` takes it; text is brought to it.
pub fn condition(expr: Expr, owner: &str, schema: &DFSchema) -> Result<Expr> {
    match expr.get_type(schema).map_err(|e| mismatch::explain(&expr, schema, e))? {
        DataType::Boolean | DataType::Null => Ok(expr),
        t if t.is_string() => Ok(cast(expr, &DataType::Boolean, false)),
        other => {
            let message = format!("{owner} takes a BOOLEAN, not {}", spark_type_name(&other));
            Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
                .with_help("write a condition, as in v > 0 or v IS NOT NULL"))
        }
    }
}

/// Both sides of a comparison, brought to the type in which they are compared.
pub fn compare_as(op: Operator, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let type_of = |e: &Expr| e.get_type(schema).map_err(|why| mismatch::explain(e, schema, why));
    let (l, r) = (type_of(&left)?, type_of(&right)?);
    if !is_comparable(op, &l, &r) {
        return Err(mismatch::operands(op, &l, &r));
    }
    let common = common_time(&l, &r).or_else(|| function::comparison_type(&l, &r));
    let to = common.map(|to| (to.clone(), to)).or_else(|| text_beside(&l, &r));
    let Some((to_left, to_right)) = to else { return Ok((left, right)) };
    let side = |e: Expr, from: &DataType, to: &DataType| if from == to { e } else { cast(e, to, false) };
    Ok((side(left, &l, &to_left), side(right, &r, &to_right)))
}

/// An array and a value to be looked for in it, brought to the type in which they are compared.
pub fn among(list: Expr, value: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let (DataType::List(item), of_value) = (list.get_type(schema)?, value.get_type(schema)?) else {
        return Ok((list, value));
    };
    match function::comparison_type(item.data_type(), &of_value) {
        Some(to) if !item.data_type().is_string() && !of_value.is_string() => {
            let value = if of_value == to { value } else { cast(value, &to, false) };
            let list = if *item.data_type() == to { list } else { cast(list, &super::types::list_of(to), false) };
            Ok((list, value))
        }
        _ => Ok((list, value)),
    }
}

/// Text beside what has no type of its own to be compared in.
fn text_beside(left: &DataType, right: &DataType) -> Option<(DataType, DataType)> {
    match (left.is_string(), right.is_string()) {
        (true, false) if is_castable_from_string(right) => Some((right.clone(), right.clone())),
        (false, true) if is_castable_from_string(left) => Some((left.clone(), left.clone())),
        _ => None,
    }
}

/// The type that two different kinds of times are compared in: a local time is one of the session's zone.
fn common_time(left: &DataType, right: &DataType) -> Option<DataType> {
    let is_time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(..));
    (left != right && is_time(left) && is_time(right)).then(|| coercion::wider(left, right)).flatten()
}

/// The type of several times of different kinds, of which the first is not of that type.
pub fn common_time_of(exprs: &[&Expr], schema: &DFSchema) -> Option<DataType> {
    let types = exprs.iter().map(|e| e.get_type(schema)).collect::<datafusion::common::Result<Vec<_>>>().ok()?;
    let first = types.first()?;
    let common = types.iter().try_fold(first.clone(), |common, t| match t {
        t if *t == common || *t == DataType::Null => Some(common),
        t => common_time(&common, t),
    })?;
    (common != *first).then_some(common)
}

/// Whether Spark compares values of these types: they have a type in common, and it has an order.
fn is_comparable(op: Operator, left: &DataType, right: &DataType) -> bool {
    let is_interval = |t: &DataType| matches!(t, DataType::Interval(_) | DataType::Duration(_));
    if is_interval(left) && is_interval(right) {
        return BinaryTypeCoercer::new(left, &op, right).get_result_type().is_ok();
    }
    coercion::wider(left, right).is_some_and(|common| !has_map(&common))
}

/// Refuses values that contain a map, which cannot be told apart.
pub fn check_no_map(function: &str, e: &Expr, schema: &DFSchema) -> Result<()> {
    let data_type = e.get_type(schema).map_err(|why| mismatch::explain(e, schema, why))?;
    if !has_map(&data_type) {
        return Ok(());
    }
    let message = format!("function '{function}' does not take {}", spark_type_name(&data_type));
    Err(Error::invalid("DATATYPE_MISMATCH.UNSUPPORTED_INPUT_TYPE", message)
        .with_help(format!("take the entries of the map: {function}(sort_array(map_entries(m)))")))
}

/// Refuses values without an order, which `function` needs.
pub fn check_order(function: &str, e: &Expr, schema: &DFSchema) -> Result<()> {
    let data_type = e.get_type(schema).map_err(|why| mismatch::explain(e, schema, why))?;
    if !has_map(&data_type) {
        return Ok(());
    }
    let message = format!("function '{function}' cannot order values of {}", spark_type_name(&data_type));
    Err(Error::invalid("DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", message)
        .with_help(format!("take a value of the map: {function}(m['key'])")))
}

/// Whether values of the type contain a map.
pub fn has_map(t: &DataType) -> bool {
    match t {
        DataType::Map(..) => true,
        DataType::List(f) | DataType::LargeList(f) => has_map(f.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_map(f.data_type())),
        _ => false,
    }
}

fn is_castable_from_string(t: &DataType) -> bool {
    t.is_numeric() || matches!(t, DataType::Boolean | DataType::Date32 | DataType::Timestamp(..))
}

fn operator(op: &BinaryOperator) -> Result<Operator> {
    Ok(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::MyIntegerDivide => Operator::IntegerDivide,
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
        BinaryOperator::StringConcat => Operator::StringConcat,
        other => {
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("there is no operator '{other}'"))
                .with_help("a regular expression is tested by RLIKE, a JSON field read by get_json_object(s, '$.a')"));
        }
    })
}
