//! Which expressions may end a query with an error for some values of a row: the one place that knows.
//!
//! What is not known to be safe may fail. A shift of a time by an interval counts as safe: only years that no clock shows overflow.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};

/// Functions that give a value, or NULL, for every value of the types that they take.
const SAFE: &[&str] = &[
    "__keep",
    "__normalize_float",
    "__pane",
    "__same",
    "__window_of",
    "__windows",
    "add_to_time",
    "array",
    "array_append",
    "array_contains",
    "array_distinct",
    "array_max",
    "array_min",
    "array_position",
    "array_size",
    "arrays_overlap",
    "ascii",
    "bit_length",
    "btrim",
    "cardinality",
    "cbrt",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "cos",
    "crc32",
    "current_date",
    "current_timestamp",
    "date_add",
    "date_diff",
    "date_sub",
    "datediff",
    "day",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "endswith",
    "equal_null",
    "exp",
    "floor",
    "get",
    "get_field",
    "get_json_object",
    "greatest",
    "hash",
    "hour",
    "ifnull",
    "initcap",
    "instr",
    "isnan",
    "isnotnull",
    "isnull",
    "last_day",
    "lcase",
    "least",
    "left",
    "len",
    "length",
    "levenshtein",
    "like",
    "ilike",
    "ln",
    "locate",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "make_array",
    "map_contains_key",
    "map_entries",
    "map_keys",
    "map_values",
    "md5",
    "minute",
    "month",
    "named_struct",
    "nanvl",
    "now",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "position",
    "quarter",
    "replace",
    "reverse",
    "right",
    "row",
    "rtrim",
    "second",
    "session_window",
    "sha",
    "sha1",
    "sha2",
    "sign",
    "signum",
    "sin",
    "size",
    "sort_array",
    "soundex",
    "sqrt",
    "startswith",
    "struct",
    "substr",
    "substring",
    "substring_index",
    "subtract_from_time",
    "tan",
    "translate",
    "trim",
    "try_add",
    "try_cast",
    "try_cast_interval",
    "try_divide",
    "try_element_at",
    "try_mod",
    "try_multiply",
    "try_subtract",
    "try_to_number",
    "try_to_timestamp",
    "typeof",
    "ucase",
    "upper",
    "weekday",
    "weekofyear",
    "window",
    "window_time",
    "xxhash64",
    "year",
];

/// Functions that fail for a bad pattern only, which a literal is refused for before anything starts.
const SAFE_WITH_LITERAL_PATTERN: &[&str] = &[
    "regexp",
    "regexp_count",
    "regexp_extract",
    "regexp_extract_all",
    "regexp_instr",
    "regexp_like",
    "regexp_replace",
    "rlike",
    "split",
];

/// Whether the expression may fail for some row whose columns have the types of the schema.
pub fn can_fail(e: &Expr, schema: &DFSchema) -> bool {
    e.exists(|node| Ok(node_can_fail(node, schema))).unwrap_or(true)
}

/// Whether the expression may fail for some row whose operands are values.
pub fn node_can_fail(e: &Expr, schema: &DFSchema) -> bool {
    match e {
        Expr::ScalarFunction(call) => call_can_fail(e, call, schema),
        Expr::BinaryExpr(binary) => operator_can_fail(binary, schema),
        Expr::Negative(of) => !of.get_type(schema).is_ok_and(|t| t.is_floating()),
        Expr::Cast(Cast { expr, field, .. }) => !is_total_cast(expr, field.data_type(), schema),
        Expr::HigherOrderFunction(_) => true,
        _ => false,
    }
}

fn call_can_fail(e: &Expr, call: &ScalarFunction, schema: &DFSchema) -> bool {
    let args = &call.args;
    match call.name() {
        "cast" => match (args.as_slice(), e.get_type(schema)) {
            ([from], Ok(to)) => !is_total_cast(from, &to, schema),
            _ => true,
        },
        "+" | "-" if !e.column_refs().is_empty() && args.iter().all(|a| is_seconds(a, schema)) => false,
        "+" | "-" => args.first().and_then(|a| a.get_type(schema).ok()).is_none_or(|t| t != DataType::Date32),
        "/" | "%" | "div" => {
            let whole = args.iter().all(|a| a.get_type(schema).is_ok_and(|t| t.is_integer() || t.is_floating()));
            !(whole && args.get(1).is_some_and(is_safe_divisor))
        }
        "and" | "or" | "case" => false,
        name if SAFE_WITH_LITERAL_PATTERN.contains(&name) => !matches!(args.get(1), Some(Expr::Literal(..))),
        name => !SAFE.contains(&name),
    }
}

/// A point in time as a number, or a literal: a sum of few of them is far from the greatest BIGINT.
fn is_seconds(e: &Expr, schema: &DFSchema) -> bool {
    match e {
        Expr::Literal(..) => true,
        Expr::ScalarFunction(call) if ["+", "-"].contains(&call.name()) => {
            call.args.iter().all(|a| is_seconds(a, schema))
        }
        Expr::ScalarFunction(call) if call.name() == "cast" => {
            let is_time = |a: &Expr| a.get_type(schema).is_ok_and(|t| matches!(t, DataType::Timestamp(..)));
            let literal = matches!(call.args.first(), Some(Expr::Literal(..)));
            (literal || call.args.first().is_some_and(is_time))
                && e.get_type(schema).is_ok_and(|t| t == DataType::Int64)
        }
        _ => false,
    }
}

/// A literal that is neither zero nor the -1 that the least number overflows by.
fn is_safe_divisor(e: &Expr) -> bool {
    match e {
        Expr::Literal(value, _) if value.is_null() => true,
        Expr::Literal(value, _) => {
            let number = value.cast_to(&DataType::Float64);
            matches!(number, Ok(ScalarValue::Float64(Some(n))) if n != 0.0 && n != -1.0)
        }
        Expr::ScalarFunction(call) if call.name() == "cast" => call.args.first().is_some_and(is_safe_divisor),
        _ => false,
    }
}

fn operator_can_fail(BinaryExpr { left, op, right }: &BinaryExpr, schema: &DFSchema) -> bool {
    match op {
        Operator::Plus | Operator::Minus | Operator::Multiply => {
            let safe = |e: &Expr| e.get_type(schema).is_ok_and(|t| t.is_floating() || t.is_temporal());
            !(safe(left) || safe(right))
        }
        Operator::Divide | Operator::Modulo | Operator::IntegerDivide => true,
        Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
            !matches!(right.as_ref(), Expr::Literal(..))
        }
        _ => false,
    }
}

fn is_total_cast(from: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    from.get_type(schema).is_ok_and(|from| is_total(&from, to))
}

/// Whether every value of the one type has one in the other.
fn is_total(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) | (_, Utf8 | LargeUtf8 | Utf8View) => true,
        (Date32 | Timestamp(..), Date32 | Timestamp(..)) => true,
        (Timestamp(..), Int64 | Float64) => true,
        (Boolean, to) => to.is_integer() || to.is_floating(),
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => {
            from.primitive_width() <= to.primitive_width()
        }
        (from, to) if from.is_floating() => to.is_floating(),
        (from, to) if to.is_floating() => from.is_integer() || from.is_decimal(),
        (Decimal128(p, s), Decimal128(to_p, to_s)) => {
            i16::from(*to_p) - i16::from(*to_s) >= i16::from(*p) - i16::from(*s) && to_s >= s
        }
        (from, Decimal128(p, s)) if from.is_signed_integer() => {
            let digits = match from {
                Int8 => 3,
                Int16 => 5,
                Int32 => 10,
                _ => 19,
            };
            i16::from(*p) - i16::from(*s) >= digits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_that_lose_nothing_cannot_fail() {
        use DataType::*;
        let total = [
            (Int32, Int64),
            (Int32, Float64),
            (Int64, Utf8View),
            (Boolean, Int32),
            (Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), Int64),
            (Decimal128(5, 2), Decimal128(10, 3)),
            (Int32, Decimal128(12, 2)),
        ];
        for (from, to) in total {
            assert!(is_total(&from, &to), "{from} to {to}");
        }
        let partial = [
            (Int64, Int32),
            (Utf8View, Int32),
            (Float64, Int64),
            (Decimal128(10, 3), Decimal128(5, 2)),
            (Int64, Decimal128(12, 2)),
            (Utf8View, Boolean),
        ];
        for (from, to) in partial {
            assert!(!is_total(&from, &to), "{from} to {to}");
        }
    }
}
