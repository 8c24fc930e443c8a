//! Errors that DataFusion and Arrow worded, in Spark's conditions and names of types.

use std::str::FromStr;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use super::Error;
use crate::type_name::sql_type_name;

/// For what the engine below refuses to plan.
const PLANNED: &str = "take parts of the query away until the error goes: what was taken away last is what it is about";

/// For what failed on a value.
const EXECUTED: &str =
    "a value does not fit what is computed of it: filter such rows out, or use the try_… form of the function";

/// The error of a message that is not ours. Which condition it is says the kind of `e`, not its text: that holds values of
/// users.
pub(super) fn error(e: &DataFusionError) -> Error {
    match e.find_root() {
        DataFusionError::Plan(m) => Error::invalid("INVALID_QUERY", reworded(m)).with_help(PLANNED),
        DataFusionError::SchemaError(m, _) => {
            Error::invalid("INVALID_QUERY", reworded(&m.to_string())).with_help(PLANNED)
        }
        DataFusionError::SQL(m, _) => Error::invalid("PARSE_SYNTAX_ERROR", m.to_string()),
        DataFusionError::NotImplemented(m) => Error::unsupported("UNSUPPORTED_FEATURE", reworded(m)).with_help(PLANNED),
        DataFusionError::ResourcesExhausted(m) => memory_limit(m),
        DataFusionError::Internal(m) => Error::internal(reworded(m)),
        DataFusionError::ArrowError(e, _) => arrow_error(e),
        DataFusionError::Execution(m) => Error::execution("QUERY_EXECUTION", reworded(m)).with_help(EXECUTED),
        other => Error::execution("QUERY_EXECUTION", reworded(&other.strip_backtrace())).with_help(EXECUTED),
    }
}

fn arrow_error(e: &ArrowError) -> Error {
    match e {
        ArrowError::CastError(m) => failed_cast(m),
        ArrowError::ComputeError(m) | ArrowError::InvalidArgumentError(m) | ArrowError::ParseError(m) => {
            Error::execution("QUERY_EXECUTION", reworded(m)).with_help(EXECUTED)
        }
        ArrowError::DivideByZero => Error::execution("DIVIDE_BY_ZERO", "division by zero")
            .with_help("use `try_divide` to tolerate a divisor of 0 and get NULL instead"),
        ArrowError::ArithmeticOverflow(m) => Error::execution("ARITHMETIC_OVERFLOW", reworded(m)),
        other => Error::execution("QUERY_EXECUTION", reworded(&other.to_string())).with_help(EXECUTED),
    }
}

/// A batch that needs more memory than there is.
fn memory_limit(message: &str) -> Error {
    // The pool lists its largest users first, and then says what has failed.
    let parts = || {
        let (_, rest) = message.rsplit_once("Failed to allocate additional ")?;
        let (wanted, rest) = rest.split_once(" for ")?;
        let (consumer, rest) = rest.split_once(" with ")?;
        let left = rest.split_once(" - ")?.1.split_once(" remain")?.0;
        Some(format!("{consumer} needs {wanted} more, but only {left} are left of the memory limit"))
    };
    Error::execution("STATE_MEMORY_LIMIT", parts().unwrap_or_else(|| reworded(message)))
        .with_help("raise it: SET memory.limit = '4GB'; have smaller batches; or bound the state by a WATERMARK")
}

/// A cast that the plan has made by itself: `Cannot cast string 'a' to value of Float64 type`.
fn failed_cast(message: &str) -> Error {
    let parts = || {
        let (value, to) = message.strip_prefix("Cannot cast string '")?.rsplit_once("' to value of ")?;
        Some((value, DataType::from_str(to.trim().strip_suffix("type")?.trim()).ok()?))
    };
    let Some((value, to)) = parts() else {
        return Error::execution("QUERY_EXECUTION", reworded(message));
    };
    let message = format!(
        "the value '{value}' of the type \"STRING\" cannot be cast to \"{}\" because it is malformed",
        sql_type_name(&to)
    );
    Error::execution("CAST_INVALID_INPUT", message)
        .with_help("correct the value, change the target type, or use `try_cast` to get NULL instead")
}

/// The first line without the names of the layers it came through, and with Spark's names of types.
fn reworded(message: &str) -> String {
    const LAYERS: [&str; 7] = [
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Internal error: ",
        "Error during planning: ",
        "Invalid argument error: ",
    ];
    let mut text = message.lines().next().unwrap_or_default();
    while let Some(rest) = LAYERS.iter().find_map(|layer| text.strip_prefix(layer)) {
        text = rest;
    }
    with_type_names(text.trim_end_matches('.'))
}

/// The text with Arrow's types, such as `List(Int32, field: 'item')`, as Spark's. What stands in quotes is a value or a
/// name, and stays.
pub(crate) fn with_type_names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_word = false;
    while let Some(c) = rest.chars().next() {
        if !in_word
            && c == '\''
            && let Some(end) = rest[1..].find('\'')
        {
            let quoted = &rest[..end + 2];
            out.push_str(quoted);
            rest = &rest[quoted.len()..];
            continue;
        }
        if !in_word
            && c.is_ascii_uppercase()
            && let Some((name, length)) = type_at(rest)
        {
            out.push_str(&name);
            rest = &rest[length..];
            continue;
        }
        in_word = c.is_alphanumeric() || c == '_';
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Spark's name of the type that the text begins with, and the bytes of Arrow's.
fn type_at(text: &str) -> Option<(String, usize)> {
    let word = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let mut depth = 0;
    let closes = |(i, c): (usize, char)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(i + 1)
    };
    let end = match text[word..].starts_with('(') {
        true => word + text[word..].char_indices().find_map(closes)?,
        false => word,
    };
    // A plain word may be one of a sentence.
    let ambiguous = ["Null", "Binary", "Boolean", "Map", "List", "Struct", "Union", "Duration", "Interval"];
    if end == word && ambiguous.contains(&&text[..word]) {
        return None;
    }
    let data_type = DataType::from_str(&text[..end]).ok()?;
    Some((sql_type_name(&data_type), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sparks() {
        for (foreign, ours) in [
            ("cannot compare Timestamp(µs, \"UTC\") > Int32", "cannot compare TIMESTAMP > INT"),
            ("got Utf8View, Map key", "got STRING, Map key"),
            ("Int32Array and List(Int64)", "Int32Array and ARRAY<BIGINT>"),
        ] {
            assert_eq!(with_type_names(foreign), ours);
        }
    }

    #[test]
    fn casts_of_the_plan_are_casts() {
        let cast = |text: &str| DataFusionError::from(ArrowError::CastError(text.into()));
        let e = error(&cast("Cannot cast string 'it's' to value of Float64 type"));
        assert_eq!(e.condition(), "CAST_INVALID_INPUT");
        assert_eq!(
            e.message(),
            "the value 'it's' of the type \"STRING\" cannot be cast to \"DOUBLE\" because it is malformed"
        );
    }

    #[test]
    fn texts_of_users_decide_nothing_and_stay_as_they_are() {
        let value = "Internal error: Cannot cast string 'x' to value of Int32 type";
        let e = error(&DataFusionError::Execution(format!("the record '{value}' is bad")));
        assert_eq!(e.condition(), "QUERY_EXECUTION");
        let e = error(&DataFusionError::Execution("no Int64 like 'Utf8 and Int32', Execution error: Int32".into()));
        assert_eq!(e.message(), "no BIGINT like 'Utf8 and Int32', Execution error: INT");
    }

    #[test]
    fn the_memory_limit_says_who_needs_what() {
        let text = "Additional allocation failed for state with top memory consumers (across reservations) as:\n  state#1(can spill: false) consumed 9.0 MB, peak 9.0 MB.\nError: Failed to allocate additional 2.0 MB for state with 9.0 MB already allocated for this reservation - 1.0 MB remain available for the total memory pool: greedy(used: 9.0 MB, pool_size: 10.0 MB)";
        let e = error(&DataFusionError::ResourcesExhausted(text.into()));
        assert_eq!(e.message(), "state needs 2.0 MB more, but only 1.0 MB are left of the memory limit");
        assert!(e.help().is_some_and(|h| h.contains("memory.limit")));
    }
}
