//! The names of columns without an alias, as Spark prints them.

mod call;

use arrow::array::{Array, IntervalMonthDayNanoArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self as sql, AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, Ident, Subscript,
    TrimWhereField, UnaryOperator, Value,
};

use super::expr::{interval_of, type_text};
use super::field::leading_names;
use super::scope::{Scope, join};
use super::star;
use super::types::parse_data_type;
use super::{literal, types};
use crate::function::display::format_value;

/// The name of a select item: of a field or of a cast column it is the column's own.
pub fn output_name(expr: &Expr, scope: &Scope) -> String {
    match expr {
        Expr::Nested(e) => output_name(e, scope),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        Expr::Cast { expr, .. } if is_column(expr, scope) => output_name(expr, scope),
        Expr::CompoundFieldAccess { root, access_chain } if is_name(root) => match access_chain.as_slice() {
            [.., AccessExpr::Dot(Expr::Identifier(field))] if access_chain.iter().all(is_field) => field.value.clone(),
            _ => display_name(expr, scope),
        },
        _ => display_name(expr, scope),
    }
}

/// Whether it is a column and no field of one.
fn is_column(expr: &Expr, scope: &Scope) -> bool {
    match expr {
        Expr::Nested(e) => is_column(e, scope),
        Expr::CompoundIdentifier(parts) => scope.of_relation(&parts[..parts.len() - 1]).next().is_some(),
        Expr::Identifier(_) => true,
        Expr::Cast { expr, .. } => is_column(expr, scope),
        _ => false,
    }
}

fn is_name(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(e) => is_name(e),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Cast { expr, .. } => is_name(expr),
        _ => false,
    }
}

fn is_field(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(_))
}

/// An expression as Spark prints it inside another.
pub fn display_name(expr: &Expr, scope: &Scope) -> String {
    let name = |e: &Expr| display_name(e, scope);
    let shown = |e: &Expr| star::shown(e, scope).unwrap_or_else(|| vec![name(e)]);
    let list = |es: &[Expr]| es.iter().flat_map(shown).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Nested(e) => name(e),
        Expr::Identifier(i) => i.value.clone(),
        Expr::CompoundIdentifier(parts) => without_qualifier(parts, scope),
        Expr::Value(v) => literal_name(&v.value),
        Expr::Function(f) => call::function(f, scope),
        Expr::BinaryOp { left, op, right } => binary(&name(left), op, &name(right)),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if matches!(**expr, Expr::Value(_)) => {
            format!("-{}", name(expr))
        }
        Expr::UnaryOp { op, expr } => match op {
            UnaryOperator::Minus => format!("(- {})", name(expr)),
            UnaryOperator::Plus => format!("(+ {})", name(expr)),
            UnaryOperator::Not | UnaryOperator::BangNot => format!("(NOT {})", name(expr)),
            other => format!("{other}{}", name(expr)),
        },
        Expr::IsNull(e) => format!("({} IS NULL)", name(e)),
        Expr::IsNotNull(e) => format!("({} IS NOT NULL)", name(e)),
        Expr::IsUnknown(e) => format!("({} IS NULL)", name(e)),
        Expr::IsNotUnknown(e) => format!("({} IS NOT NULL)", name(e)),
        Expr::IsTrue(e) => format!("({} <=> true)", name(e)),
        Expr::IsNotTrue(e) => format!("(NOT ({} <=> true))", name(e)),
        Expr::IsFalse(e) => format!("({} <=> false)", name(e)),
        Expr::IsNotFalse(e) => format!("(NOT ({} <=> false))", name(e)),
        Expr::IsDistinctFrom(l, r) => format!("(NOT ({} <=> {}))", name(l), name(r)),
        Expr::IsNotDistinctFrom(l, r) => format!("({} <=> {})", name(l), name(r)),
        Expr::Between { expr, negated, low, high } => {
            negate(*negated, format!("between({}, {}, {})", name(expr), name(low), name(high)))
        }
        Expr::InList { expr, list: items, negated } => {
            negate(*negated, format!("({} IN ({}))", name(expr), list(items)))
        }
        Expr::Like { expr, pattern, negated, escape_char, .. } => {
            let escape = escape_char.as_ref().map(|c| format!(" ESCAPE {c}")).unwrap_or_default();
            negate(*negated, format!("{} LIKE {}{escape}", name(expr), name(pattern)))
        }
        Expr::ILike { expr, pattern, negated, .. } => {
            negate(*negated, format!("ilike({}, {})", name(expr), name(pattern)))
        }
        Expr::RLike { expr, pattern, negated, .. } => {
            negate(*negated, format!("RLIKE({}, {})", name(expr), name(pattern)))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            case(operand.as_deref(), conditions, else_result.as_deref(), scope)
        }
        Expr::Cast { kind, expr, data_type, .. } => {
            let function = if *kind == CastKind::TryCast { "TRY_CAST" } else { "CAST" };
            format!("{function}({} AS {})", name(expr), type_of_cast(data_type))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let (names, rest) = leading_names(root, access_chain);
            let base = if names.is_empty() { name(root) } else { without_qualifier(&names, scope) };
            rest.iter().fold(base, |base, access| match access {
                AccessExpr::Dot(e) => format!("{base}.{}", name(e)),
                AccessExpr::Subscript(Subscript::Index { index }) => format!("{base}[{}]", name(index)),
                AccessExpr::Subscript(other) => format!("{base}[{other}]"),
            })
        }
        Expr::TypedString(t) => typed(t),
        Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let function = if *shorthand { "substr" } else { "substring" };
            let from = substring_from.as_deref().map_or("1".to_owned(), name);
            let length = substring_for.as_deref().map_or("2147483647".to_owned(), name);
            format!("{function}({}, {from}, {length})", name(expr))
        }
        Expr::Trim { trim_where, trim_what, expr, .. } => {
            trim(*trim_where, trim_what.as_deref().map(name), &name(expr))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_deref().map_or("-1".to_owned(), name);
            format!("overlay({}, {}, {}, {length})", name(expr), name(overlay_what), name(overlay_from))
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            format!("CEIL({})", name(expr))
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            format!("FLOOR({})", name(expr))
        }
        Expr::Ceil { expr, field: CeilFloorKind::Scale(s) } => {
            format!("ceil({}, {})", name(expr), literal_name(&s.value))
        }
        Expr::Floor { expr, field: CeilFloorKind::Scale(s) } => {
            format!("floor({}, {})", name(expr), literal_name(&s.value))
        }
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", name(expr)),
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", name(expr), name(r#in)),
        Expr::Interval(i) => interval(i),
        Expr::InSubquery { expr, negated, .. } => negate(*negated, format!("({} IN (listquery()))", name(expr))),
        Expr::Subquery(_) => "scalarsubquery()".to_owned(),
        Expr::Exists { negated, .. } => negate(*negated, "exists()".to_owned()),
        Expr::Tuple(items) => {
            let field = |(i, e): (usize, &Expr)| match e {
                Expr::Identifier(column) => format!("{}, {}", column.value, name(e)),
                _ => format!("col{}, {}", i + 1, name(e)),
            };
            format!("named_struct({})", items.iter().enumerate().map(field).collect::<Vec<_>>().join(", "))
        }
        Expr::Struct { values, .. } => format!("struct({})", list(values)),
        Expr::Named { expr, name: alias } => format!("{} AS {}", name(expr), alias.value),
        other => other.to_string(),
    }
}

/// A dotted name without the relation that qualifies it.
fn without_qualifier(parts: &[Ident], scope: &Scope) -> String {
    let qualified = (1..parts.len()).rev().find(|n| scope.of_relation(&parts[..*n]).next().is_some());
    join(&parts[qualified.unwrap_or(0)..])
}

fn literal_name(v: &Value) -> String {
    match v {
        Value::Number(text, long) => match literal::number(text, *long) {
            Ok(number) => shown(&number).unwrap_or_else(|| text.clone()),
            Err(_) => text.clone(),
        },
        Value::Null => "NULL".to_owned(),
        Value::Boolean(b) => b.to_string(),
        Value::HexStringLiteral(digits) => {
            let padding = if digits.len() % 2 == 1 { "0" } else { "" };
            format!("X'{padding}{}'", digits.to_uppercase())
        }
        other => other.clone().into_string().unwrap_or_else(|| other.to_string()),
    }
}

/// A value as the console prints it.
fn shown(value: &ScalarValue) -> Option<String> {
    value.to_array().ok().map(|array| format_value(array.as_ref(), 0, crate::time_zone::Tz::UTC))
}

/// `DATE '2020-01-01'`: the value that was read, where it does not depend on a zone.
fn typed(t: &sql::TypedString) -> String {
    let Some(text) = t.value.value.clone().into_string() else { return t.to_string() };
    let value = match parse_data_type(&t.data_type.to_string()) {
        Ok(DataType::Timestamp(unit, Some(_))) => literal::typed(&DataType::Timestamp(unit, None), &text, None),
        Ok(other) => literal::typed(&other, &text, None),
        Err(_) => None,
    };
    let value = value.and_then(Result::ok).and_then(|v| shown(&v));
    format!("{} '{}'", t.data_type, value.unwrap_or(text))
}

/// `INTERVAL '10' SECOND`, whatever units it was written in.
fn interval(i: &sql::Interval) -> String {
    match interval_of(i).ok().and_then(crate::interval::Interval::to_arrow) {
        Some(value) => {
            format_value(&IntervalMonthDayNanoArray::from(vec![value]) as &dyn Array, 0, crate::time_zone::Tz::UTC)
        }
        None => i.to_string(),
    }
}

fn type_of_cast(data_type: &sql::DataType) -> String {
    match parse_data_type(&type_text(data_type)) {
        Ok(parsed) => types::spark_type_name(&parsed).to_uppercase(),
        Err(_) => type_text(data_type).to_uppercase(),
    }
}

fn trim(side: Option<TrimWhereField>, what: Option<String>, text: &str) -> String {
    let (function, side) = match side {
        Some(TrimWhereField::Leading) => ("ltrim", "LEADING"),
        Some(TrimWhereField::Trailing) => ("rtrim", "TRAILING"),
        Some(TrimWhereField::Both) | None => ("trim", "BOTH"),
    };
    match what {
        Some(what) => format!("TRIM({side} {what} FROM {text})"),
        None => format!("{function}({text})"),
    }
}

fn binary(left: &str, op: &BinaryOperator, right: &str) -> String {
    match op {
        BinaryOperator::NotEq => format!("(NOT ({left} = {right}))"),
        BinaryOperator::StringConcat => format!("concat({left}, {right})"),
        BinaryOperator::MyIntegerDivide => format!("({left} div {right})"),
        BinaryOperator::Eq => format!("({left} = {right})"),
        op => format!("({left} {op} {right})"),
    }
}

fn negate(negated: bool, text: String) -> String {
    if negated { format!("(NOT {text})") } else { text }
}

fn case(operand: Option<&Expr>, conditions: &[CaseWhen], otherwise: Option<&Expr>, scope: &Scope) -> String {
    let mut text = "CASE".to_owned();
    for when in conditions {
        let condition = display_name(&when.condition, scope);
        let condition = match operand {
            Some(o) => format!("({} = {condition})", display_name(o, scope)),
            None => condition,
        };
        text += &format!(" WHEN {condition} THEN {}", display_name(&when.result, scope));
    }
    if let Some(e) = otherwise {
        text += &format!(" ELSE {}", display_name(e, scope));
    }
    text + " END"
}
