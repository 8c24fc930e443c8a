//! Plans as text for people: literals and names as a user writes them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::interval::duration_text;

/// What a plan prints, and what stands for it.
struct Rewrites {
    literal: Regex,
    interval: Regex,
    place: Regex,
    window_of: Regex,
    pane: Regex,
    hidden: Regex,
    field: Regex,
}

/// The patterns are constants, which a test compiles.
static REWRITES: LazyLock<Option<Rewrites>> = LazyLock::new(|| {
    Some(Rewrites {
        literal: Regex::new(concat!(
            r#"(,?)\b(?:(?:Utf8View|Utf8|LargeUtf8)\("((?:[^"\\]|\\.)*)"\)"#,
            r#"|(?:U?Int(?:8|16|32|64)|Float(?:32|64)|Boolean)\(([^()]*)\)"#,
            r#"|Decimal128\(Some\((-?\d+)\),\d+,(-?\d+)\))"#,
        ))
        .ok()?,
        interval: Regex::new(concat!(
            r#"\bIntervalMonthDayNano(?:\("IntervalMonthDayNano)? "#,
            r"\{ months: (-?\d+), days: (-?\d+), nanoseconds: (-?\d+) \}",
            r#"(?:"\))?"#,
        ))
        .ok()?,
        place: Regex::new(r"(\b[\p{L}_][\p{L}\d_]*|[)}])@\d+\b").ok()?,
        window_of: Regex::new(r"__window_of\((?:[\w.#]*\.)?(\w+), ?(?:[\w.#]*\.)?(\w+)\)").ok()?,
        pane: Regex::new(r"__pane\(([^()]*)\)|__windows\(").ok()?,
        field: Regex::new(r"\bget_field\(([^(),]+), ?'?(\w+)'?\)").ok()?,
        hidden: Regex::new(r"\b(\w+)#[\w#]*").ok()?,
    })
});

/// `count(Int64(1))` is `count(1)`, `Utf8View("2 seconds")` is `'2 seconds'`, and a column has no number.
pub fn as_sql(text: &str) -> String {
    let Some(r) = REWRITES.as_ref() else { return text.to_owned() };
    let text = r.interval.replace_all(text, |c: &Captures| interval(&c[1], &c[2], &c[3]));
    let text = r.literal.replace_all(&text, literal);
    let text = r.place.replace_all(&text, "$1");
    let text = r.window_of.replace_all(&text, "{$1, $2}");
    let text = r.pane.replace_all(&text, |c: &Captures| match c.get(1) {
        Some(time) => format!("pane({})", time.as_str()),
        None => "windows(".to_owned(),
    });
    r.hidden.replace_all(&text, "$1").into_owned()
}

/// The same for what a checkpoint says of an operator, where types stand beside expressions: `s.x STRING`.
pub fn in_plain_words(text: &str) -> String {
    let mut text = as_sql(text);
    if let Some(field) = REWRITES.as_ref().map(|r| &r.field) {
        // From the inside out, while fields of fields are left.
        while let std::borrow::Cow::Owned(less) = field.replace_all(&text, "$1.$2") {
            text = less;
        }
    }
    crate::error::with_type_names(&text)
}

fn literal(c: &Captures) -> String {
    let comma = if c[1].is_empty() { "" } else { ", " };
    let group = |i: usize| c.get(i).map(|m| m.as_str());
    let value = match (group(2), group(3), group(4), group(5)) {
        (Some(text), ..) => format!("'{}'", text.replace("\\\"", "\"")),
        (_, Some(number), ..) => number.to_owned(),
        (_, _, Some(digits), Some(scale)) => decimal(digits, scale),
        _ => c[0].to_owned(),
    };
    format!("{comma}{value}")
}

/// Digits with the point where the scale has it.
fn decimal(digits: &str, scale: &str) -> String {
    let scale: usize = scale.parse().unwrap_or(0);
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    match digits.split_at(digits.len() - scale) {
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

fn interval(months: &str, days: &str, nanos: &str) -> String {
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    let micros = number(days).saturating_mul(86_400_000_000).saturating_add(number(nanos) / 1000);
    match (number(months), micros) {
        (0, micros) => format!("INTERVAL '{}'", duration_text(micros)),
        (months, 0) => format!("INTERVAL '{months} months'"),
        (months, micros) => format!("INTERVAL '{months} months {}'", duration_text(micros)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_checkpoint_says_has_sparks_types_and_fields() {
        for (kept, shown) in [
            ("key k Utf8View", "key k STRING"),
            ("aggregate sum(get_field(get_field(s, y), z))", "aggregate sum(s.y.z)"),
            ("key get_field(s,Utf8View(\"x\")) Timestamp(µs, \"UTC\")", "key s.x TIMESTAMP"),
            ("key (v % CAST(Int32(3) AS BIGINT)) Int64", "key (v % CAST(3 AS BIGINT)) BIGINT"),
            (
                "key w Struct(\"start\": Timestamp(µs, \"UTC\"), \"end\": Timestamp(µs, \"UTC\"))",
                "key w STRUCT<start: TIMESTAMP, end: TIMESTAMP>",
            ),
            ("key concat('Utf8View', k) Utf8View", "key concat('Utf8View', k) STRING"),
            ("state List(Int64)", "state ARRAY<BIGINT>"),
        ] {
            assert_eq!(in_plain_words(kept), shown);
        }
    }

    #[test]
    fn plans_read_like_sql() {
        for (plan, sql) in [
            ("count(Int64(1))", "count(1)"),
            ("window(s.ts,Utf8View(\"1 minute\"),Utf8View(\"30 seconds\"))", "window(s.ts, '1 minute', '30 seconds')"),
            ("keys=[__window_of(tumble.window_start,tumble.window_end)]", "keys=[{window_start, window_end}]"),
            ("v@0 as v, upper(name@1)@2", "v as v, upper(name)"),
            ("s.v > Int32(2) AND b = Boolean(true) AND n = Int64(NULL)", "s.v > 2 AND b = true AND n = NULL"),
            ("d > Decimal128(Some(5),3,2)", "d > 0.05"),
            (
                "window(ts@0, IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 5000000000 }) as tumble#2#window",
                "window(ts, INTERVAL '1 day 5 seconds') as tumble",
            ),
        ] {
            assert_eq!(as_sql(plan), sql);
        }
    }
}
