//! The most usual Spark functions as Rust functions of expressions.

use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF};

use super::{aggregate, collection, datetime, json, regex, split as split_fn, string};

/// `split(text, pattern)`: the pieces between the matches of a regular expression.
pub fn split(text: Expr, pattern: Expr) -> Expr {
    split_fn::split().call(vec![text, pattern])
}

/// Defines a function of expressions for each scalar function.
macro_rules! scalar {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),+) in $module:ident;)+) => {$(
        $(#[$doc])*
        pub fn $name($($arg: Expr),+) -> Expr {
            call($module::functions(), stringify!($name), vec![$($arg),+])
        }
    )+};
}

scalar! {
    /// `date_format(time, pattern)` with a Java pattern.
    date_format(time, pattern) in datetime;
    /// `to_timestamp(text, pattern)` with a Java pattern.
    to_timestamp(text, pattern) in datetime;
    /// `to_date(text, pattern)` with a Java pattern.
    to_date(text, pattern) in datetime;
    /// The year of a date or timestamp.
    year(time) in datetime;
    /// The month of a date or timestamp, from 1.
    month(time) in datetime;
    /// The day of the month.
    day(time) in datetime;
    /// The hour of a timestamp.
    hour(time) in datetime;
    /// `from_json(text, schema)`; the schema is a literal such as `a INT, b STRING`.
    from_json(text, schema) in json;
    /// A struct, map or array as JSON.
    to_json(value) in json;
    /// `get_json_object(text, path)`.
    get_json_object(text, path) in json;
    /// `regexp_extract(text, pattern, group)`.
    regexp_extract(text, pattern, group) in regex;
    /// `regexp_replace(text, pattern, replacement)`.
    regexp_replace(text, pattern, replacement) in regex;
    /// Whether a text has a match of a pattern.
    rlike(text, pattern) in regex;
    /// `element_at(collection, key)`: from 1.
    element_at(collection, key) in collection;
    /// How many elements an array or map has.
    size(collection) in collection;
    /// The elements in ascending order, NULL first.
    sort_array(array) in collection;
    /// The characters of a text.
    length(text) in string;
}

/// Defines a function of expressions for each aggregate.
macro_rules! aggregates {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),+);)+) => {$(
        $(#[$doc])*
        pub fn $name($($arg: Expr),+) -> Expr {
            call_aggregate(stringify!($name), vec![$($arg),+])
        }
    )+};
}

aggregates! {
    /// The sum, checked.
    sum(value);
    /// The average.
    avg(value);
    /// The least value; NaN only if there is nothing else.
    min(value);
    /// The greatest value; NaN is the greatest number.
    max(value);
    /// How often the condition is true.
    count_if(condition);
    /// The value of the row with the greatest key.
    max_by(value, key);
    /// The value of the row with the least key.
    min_by(value, key);
    /// The first value in the order of arrival.
    first(value);
    /// The last value in the order of arrival.
    last(value);
    /// An estimate of how many different values there are.
    approx_count_distinct(value);
}

/// All values that are not NULL.
pub fn collect_list(value: Expr) -> Expr {
    datafusion_spark::expr_fn::collect_list(value)
}

/// All different values that are not NULL.
pub fn collect_set(value: Expr) -> Expr {
    datafusion_spark::expr_fn::collect_set(value)
}

/// The names are those of the tables of functions, so one is always found; an unknown one would be the literal NULL.
fn call(functions: Vec<ScalarUDF>, name: &str, args: Vec<Expr>) -> Expr {
    let found = functions.into_iter().find(|f| f.name() == name);
    found.map_or_else(|| datafusion::prelude::lit(datafusion::common::ScalarValue::Null), |f| f.call(args))
}

fn call_aggregate(name: &str, args: Vec<Expr>) -> Expr {
    let found: Option<AggregateUDF> = aggregate::functions().into_iter().find(|f| f.name() == name);
    found.map_or_else(|| datafusion::prelude::lit(datafusion::common::ScalarValue::Null), |f| f.call(args))
}
