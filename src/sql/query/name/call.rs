//! The names of calls: Spark prints some functions in capitals, fills in defaults, and drops what is no argument to it.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderByExpr, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};

use super::super::scope::Scope;
use super::super::star;
use super::display_name;

/// A call as Spark prints it.
pub fn function(f: &Function, scope: &Scope) -> String {
    let name = f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default();
    if ["window", "session_window"].contains(&name.as_str()) {
        return name;
    }
    let mut text = base(f, &name, scope);
    if let [key] = f.within_group.as_slice() {
        text += &format!(" WITHIN GROUP (ORDER BY {})", within_key(&name, key, scope));
    }
    if let Some(filter) = &f.filter {
        text += &format!(" FILTER (WHERE {})", display_name(filter, scope));
    }
    match &f.over {
        Some(WindowType::WindowSpec(spec)) => text += &format!(" OVER ({})", window(&name, f, spec, scope)),
        Some(WindowType::NamedWindow(window)) => text += &format!(" OVER {window}"),
        None => {}
    }
    text
}

/// The call without its clauses.
fn base(f: &Function, name: &str, scope: &Scope) -> String {
    let FunctionArguments::List(list) = &f.args else { return format!("{}()", shown_name(name, 0)) };
    let mut args: Vec<String> = list.args.iter().flat_map(|a| arguments(a, scope)).collect();
    let count = args.len();
    args.extend(defaults(name, count).iter().map(|d| (*d).to_owned()));
    if let Some(shown) = as_operator(name, count, &args) {
        return shown;
    }
    args.truncate(kept(name, count, args.len()));
    let distinct = if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) { "DISTINCT " } else { "" };
    let name = if name == "string_agg" && !f.within_group.is_empty() { "listagg" } else { shown_name(name, count) };
    format!("{name}({distinct}{})", args.join(", "))
}

/// What one argument is shown as; a star as its columns.
fn arguments(a: &FunctionArg, scope: &Scope) -> Vec<String> {
    match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => star::shown(e, scope),
        _ => None,
    }
    .unwrap_or_else(|| vec![argument(a, scope)])
}

fn argument(argument: &FunctionArg, scope: &Scope) -> String {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => display_name(e, scope),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".to_owned(),
        other => other.to_string(),
    }
}

/// Calls that are shown as an operator, or as what they are short for.
fn as_operator(name: &str, count: usize, args: &[String]) -> Option<String> {
    Some(match (name, args) {
        ("if", _) => format!("(IF({}))", args.join(", ")),
        ("isnull", [x]) => format!("({x} IS NULL)"),
        ("isnotnull", [x]) => format!("({x} IS NOT NULL)"),
        ("positive", [x]) => format!("(+ {x})"),
        ("like", [x, pattern]) => format!("{x} LIKE {pattern}"),
        ("log", [x]) => format!("LOG(E(), {x})"),
        ("ltrim", [chars, x]) => format!("TRIM(LEADING {chars} FROM {x})"),
        ("rtrim", [chars, x]) => format!("TRIM(TRAILING {chars} FROM {x})"),
        ("datepart", [field, x]) => format!("datepart({field} FROM {x})"),
        ("convert_timezone", [to, x]) => format!("convert_timezone(current_timezone(), {to}, {x})"),
        // Casts that the user has not written as such are not shown.
        (
            "boolean" | "tinyint" | "smallint" | "int" | "bigint" | "float" | "double" | "decimal" | "date"
            | "timestamp" | "binary" | "string",
            [x],
        ) if count == 1 => x.clone(),
        _ => return None,
    })
}

/// The name under which Spark shows a function.
fn shown_name(name: &str, count: usize) -> &str {
    match (name, count) {
        ("acos", _) => "ACOS",
        ("acosh", _) => "ACOSH",
        ("asin", _) => "ASIN",
        ("asinh", _) => "ASINH",
        ("atan", _) => "ATAN",
        ("atan2", _) => "ATAN2",
        ("atanh", _) => "ATANH",
        ("cbrt", _) => "CBRT",
        ("cos", _) => "COS",
        ("cosh", _) => "COSH",
        ("cot", _) => "COT",
        ("csc", _) => "CSC",
        ("degrees", _) => "DEGREES",
        ("e", _) => "E",
        ("exp", _) => "EXP",
        ("expm1", _) => "EXPM1",
        ("hypot", _) => "HYPOT",
        ("log", _) => "LOG",
        ("log10", _) => "LOG10",
        ("log1p", _) => "LOG1P",
        ("log2", _) => "LOG2",
        ("pi", _) => "PI",
        ("power", _) => "POWER",
        ("radians", _) => "RADIANS",
        ("sec", _) => "SEC",
        ("signum", _) => "SIGNUM",
        ("sin", _) => "SIN",
        ("sinh", _) => "SINH",
        ("sqrt", _) => "SQRT",
        ("tan", _) => "TAN",
        ("tanh", _) => "TANH",
        ("regexp", _) => "REGEXP",
        ("regexp_like", _) => "REGEXP_LIKE",
        ("rlike", _) => "RLIKE",
        ("rank", _) => "RANK",
        ("dense_rank", _) => "DENSE_RANK",
        ("percent_rank", _) => "PERCENT_RANK",
        ("array_agg", _) => "collect_list",
        ("dateadd", 2) => "date_add",
        ("date_add" | "dateadd", 3) => "timestampadd",
        ("date_diff" | "datediff", 3) => "timestampdiff",
        _ => name,
    }
}

/// The arguments that a call of `count` arguments leaves to their defaults.
fn defaults(name: &str, count: usize) -> &'static [&'static str] {
    const MASK: [&str; 4] = ["X", "x", "n", "NULL"];
    const INTERVAL: [&str; 7] = ["0", "0", "0", "0", "0", "0", "0.000000"];
    match (name, count) {
        ("round" | "bround", 1) => &["0"],
        ("split", 2) => &["-1"],
        ("regexp_replace", 3) | ("regexp_extract" | "regexp_extract_all", 2) => &["1"],
        ("regexp_instr", 2) => &["0"],
        ("locate" | "position", 2) => &["1"],
        ("lpad" | "rpad", 2) => &[" "],
        ("replace", 2) => &[""],
        ("substr" | "substring", 2) => &["2147483647"],
        ("overlay", 3) => &["-1"],
        ("sort_array", 1) | ("months_between", 2) => &["true"],
        ("from_unixtime" | "unix_timestamp" | "to_unix_timestamp", 1) => &["yyyy-MM-dd HH:mm:ss"],
        ("percentile", 2) => &["1"],
        ("percentile_approx" | "approx_percentile", 2) => &["10000"],
        ("listagg" | "string_agg", 1) => &["NULL"],
        ("lag" | "lead", 1) => &["1", "NULL"],
        ("lag" | "lead", 2) => &["NULL"],
        ("str_to_map", 1) => &[",", ":"],
        ("str_to_map", 2) => &[":"],
        ("sentences", 1) => &["", ""],
        ("sentences", 2) => &[""],
        ("mask", 1..=4) => &MASK[count - 1..],
        ("make_interval" | "try_make_interval", 0..=6) => &INTERVAL[count..],
        ("make_dt_interval", 0..=3) => &INTERVAL[count + 3..],
        ("make_ym_interval", 0..=1) => &INTERVAL[count + 4..6],
        _ => &[],
    }
}

/// How many of `all` arguments are shown: flags, formats and options are no arguments to Spark.
fn kept(name: &str, count: usize, all: usize) -> usize {
    match (name, count) {
        ("first" | "first_value" | "last" | "last_value" | "any_value", 2) => 1,
        ("approx_count_distinct", 2) => 1,
        ("from_json" | "from_csv" | "to_json" | "to_csv", _) => 1,
        ("rank" | "dense_rank" | "percent_rank", _) => 0,
        ("try_make_timestamp", 7) => 6,
        _ => all,
    }
}

/// The key of WITHIN GROUP.
fn within_key(name: &str, key: &OrderByExpr, scope: &Scope) -> String {
    match name {
        "listagg" | "string_agg" => sort_key(key, scope),
        // What comes last in the order is what Spark looks for first.
        "mode" if key.options.asc == Some(false) => display_name(&key.expr, scope),
        "mode" => format!("{} DESC", display_name(&key.expr, scope)),
        _ if key.options.asc == Some(false) => format!("{} DESC", display_name(&key.expr, scope)),
        _ => display_name(&key.expr, scope),
    }
}

fn sort_key(key: &OrderByExpr, scope: &Scope) -> String {
    let ascending = key.options.asc.unwrap_or(true);
    let nulls = if key.options.nulls_first.unwrap_or(ascending) { "FIRST" } else { "LAST" };
    let order = if ascending { "ASC" } else { "DESC" };
    format!("{} {order} NULLS {nulls}", display_name(&key.expr, scope))
}

/// A window with the frame it has.
fn window(name: &str, f: &Function, spec: &WindowSpec, scope: &Scope) -> String {
    let mut parts = vec![];
    if !spec.partition_by.is_empty() {
        let keys: Vec<_> = spec.partition_by.iter().map(|e| display_name(e, scope)).collect();
        parts.push(format!("PARTITION BY {}", keys.join(", ")));
    }
    if !spec.order_by.is_empty() {
        let keys: Vec<_> = spec.order_by.iter().map(|k| sort_key(k, scope)).collect();
        parts.push(format!("ORDER BY {}", keys.join(", ")));
    }
    parts.push(frame(name, f, spec, scope));
    parts.join(" ")
}

fn frame(name: &str, f: &Function, spec: &WindowSpec, scope: &Scope) -> String {
    const CURRENT: &str = "CURRENT ROW";
    let between = |units: &str, from: &str, to: &str| format!("{units} BETWEEN {from} AND {to}");
    match name {
        "lag" | "lead" => {
            let sign = if name == "lag" { "-" } else { "" };
            let offset = match &f.args {
                FunctionArguments::List(l) => l.args.get(1).map(|a| argument(a, scope)),
                _ => None,
            };
            let bound = format!("{sign}{} FOLLOWING", offset.as_deref().unwrap_or("1"));
            return between("ROWS", &bound, &bound);
        }
        "row_number" | "rank" | "dense_rank" | "percent_rank" | "ntile" => {
            return between("ROWS", "UNBOUNDED PRECEDING", CURRENT);
        }
        _ => {}
    }
    let bound = |b: &WindowFrameBound| match b {
        WindowFrameBound::CurrentRow => CURRENT.to_owned(),
        WindowFrameBound::Preceding(n) => format!("{} PRECEDING", amount(n.as_deref(), scope)),
        WindowFrameBound::Following(n) => format!("{} FOLLOWING", amount(n.as_deref(), scope)),
    };
    match &spec.window_frame {
        Some(frame) => {
            let units = if frame.units == WindowFrameUnits::Rows { "ROWS" } else { "RANGE" };
            let end = frame.end_bound.as_ref().map_or(CURRENT.to_owned(), bound);
            between(units, &bound(&frame.start_bound), &end)
        }
        None if spec.order_by.is_empty() => between("ROWS", "UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING"),
        None => between("RANGE", "UNBOUNDED PRECEDING", CURRENT),
    }
}

fn amount(n: Option<&Expr>, scope: &Scope) -> String {
    n.map_or("UNBOUNDED".to_owned(), |e| display_name(e, scope))
}
