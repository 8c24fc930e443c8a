//! The names of columns without an alias, as Spark prints them.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Subscript, UnaryOperator, Value,
};

use super::scope::{Scope, join};

/// The name of a select item: of a field or of a cast column it is the column's own.
pub fn output_name(expr: &Expr, scope: &Scope) -> String {
    match expr {
        Expr::Nested(e) => output_name(e, scope),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        Expr::Cast { expr, .. } if is_name(expr) => output_name(expr, scope),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(field))) => field.value.clone(),
            _ => display_name(expr, scope),
        },
        _ => display_name(expr, scope),
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

/// An expression as Spark prints it inside another.
pub fn display_name(expr: &Expr, scope: &Scope) -> String {
    let name = |e: &Expr| display_name(e, scope);
    let list = |es: &[Expr]| es.iter().map(name).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Nested(e) => name(e),
        Expr::Identifier(i) => i.value.clone(),
        Expr::CompoundIdentifier(parts) => without_qualifier(parts, scope),
        Expr::Value(v) => literal(&v.value),
        Expr::Function(f) => function(f, scope),
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
        Expr::IsTrue(e) => format!("({} IS TRUE)", name(e)),
        Expr::IsFalse(e) => format!("({} IS FALSE)", name(e)),
        Expr::Between { expr, negated, low, high } => {
            negate(*negated, format!("between({}, {}, {})", name(expr), name(low), name(high)))
        }
        Expr::InList { expr, list: items, negated } => {
            negate(*negated, format!("({} IN ({}))", name(expr), list(items)))
        }
        Expr::Like { expr, pattern, negated, .. } => negate(*negated, format!("{} LIKE {}", name(expr), name(pattern))),
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
            format!("{function}({} AS {})", name(expr), data_type.to_string().to_uppercase())
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            access_chain.iter().fold(name(root), |base, access| match access {
                AccessExpr::Dot(e) => format!("{base}.{}", name(e)),
                AccessExpr::Subscript(Subscript::Index { index }) => format!("{base}[{}]", name(index)),
                AccessExpr::Subscript(other) => format!("{base}[{other}]"),
            })
        }
        Expr::TypedString(t) => match t.value.value.clone().into_string() {
            Some(text) => format!("{} '{text}'", t.data_type),
            None => t.to_string(),
        },
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let from = substring_from.as_deref().map_or("1".to_owned(), name);
            let length = substring_for.as_deref().map_or("2147483647".to_owned(), name);
            format!("substring({}, {from}, {length})", name(expr))
        }
        Expr::Trim { trim_where, trim_what, expr, .. } => match (trim_where, trim_what) {
            (None, None) => format!("trim({})", name(expr)),
            (w, None) => format!("TRIM({} FROM {})", w.map_or("BOTH".to_owned(), |w| w.to_string()), name(expr)),
            (w, Some(what)) => {
                format!("TRIM({} {} FROM {})", w.map_or("BOTH".to_owned(), |w| w.to_string()), name(what), name(expr))
            }
        },
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            format!("CEIL({})", name(expr))
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            format!("FLOOR({})", name(expr))
        }
        Expr::Ceil { expr, field: CeilFloorKind::Scale(s) } => format!("ceil({}, {})", name(expr), literal(&s.value)),
        Expr::Floor { expr, field: CeilFloorKind::Scale(s) } => format!("floor({}, {})", name(expr), literal(&s.value)),
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", name(expr)),
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", name(expr), name(r#in)),
        Expr::Interval(i) => interval(&i.value),
        Expr::Subquery(_) => "scalarsubquery()".to_owned(),
        Expr::Exists { negated, .. } => negate(*negated, "exists()".to_owned()),
        Expr::Tuple(items) => format!("struct({})", list(items)),
        other => other.to_string(),
    }
}

/// A dotted name without the relation that qualifies it.
fn without_qualifier(parts: &[Ident], scope: &Scope) -> String {
    let qualified = (1..parts.len()).rev().find(|n| scope.of_relation(&parts[..*n]).next().is_some());
    join(&parts[qualified.unwrap_or(0)..])
}

fn literal(v: &Value) -> String {
    match v {
        Value::Number(n, _) => {
            n.trim_end_matches(|c: char| c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'e')).to_owned()
        }
        Value::Null => "NULL".to_owned(),
        Value::Boolean(b) => b.to_string(),
        other => other.clone().into_string().unwrap_or_else(|| other.to_string()),
    }
}

/// `INTERVAL '10' SECOND` for one pair of number and unit.
fn interval(value: &Expr) -> String {
    let text = match value {
        Expr::Value(v) => literal(&v.value),
        other => other.to_string(),
    };
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [number, unit] => format!("INTERVAL '{number}' {}", unit.trim_end_matches('s').to_uppercase()),
        _ => format!("INTERVAL '{text}'"),
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

fn function(f: &Function, scope: &Scope) -> String {
    let name = f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default();
    if ["window", "session_window"].contains(&name.as_str()) {
        return name;
    }
    let arg = |a: &FunctionArg| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => display_name(e, scope),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".to_owned(),
        other => other.to_string(),
    };
    let mut text = match &f.args {
        FunctionArguments::None => format!("{name}()"),
        FunctionArguments::Subquery(_) => format!("{name}(…)"),
        FunctionArguments::List(l) => {
            let args = l.args.iter().map(arg).collect::<Vec<_>>().join(", ");
            let distinct = if l.duplicate_treatment == Some(DuplicateTreatment::Distinct) { "DISTINCT " } else { "" };
            if name == "if" { format!("(IF({args}))") } else { format!("{name}({distinct}{args})") }
        }
    };
    if let Some(filter) = &f.filter {
        text += &format!(" FILTER (WHERE {})", display_name(filter, scope));
    }
    if let Some(over) = &f.over {
        text += &format!(" OVER ({over})");
    }
    text
}
