//! The errors of calls whose arguments do not fit.

use arrow::datatypes::{DataType, Fields};

use crate::Error;
use crate::options::did_you_mean;
use crate::type_name::sql_type_name;

/// The error of a call with too few or too many arguments; `wanted` is a number, `1 to 3` or `at least 2`.
pub fn wrong_count(name: &str, wanted: &str, got: usize) -> Error {
    let noun = if wanted == "1" { "argument" } else { "arguments" };
    let message = format!("function '{name}' takes {wanted} {noun}, not {got}");
    let error = Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message);
    match wanted.split(' ').find_map(|word| word.parse::<usize>().ok()) {
        Some(n) => {
            let args: Vec<_> = (1..=n).map(|i| format!("arg{i}")).collect();
            error.with_help(format!("write {name}({})", args.join(", ")))
        }
        None => error,
    }
}

/// The error of an argument of another type than `wanted`.
pub fn wrong_type(name: &str, wanted: &str, got: &DataType) -> Error {
    let message = format!("function '{name}' takes {wanted}, not {}", sql_type_name(got));
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(help(got))
}

/// What to do with a value of this type where another is wanted.
pub fn help(got: &DataType) -> &'static str {
    match got {
        DataType::List(_) | DataType::LargeList(_) => {
            "take an element, as in a[0], or call the function for each: transform(a, x -> …)"
        }
        DataType::Map(..) => "take a value, as in m['key'], or map_keys(m), map_values(m)",
        DataType::Struct(_) => "take a field, as in s.field",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            "read the text first: split(…) gives an ARRAY, from_json(…) a STRUCT, CAST(… AS …) a number or time"
        }
        _ => "cast the argument, as in CAST(… AS STRING), or give another column",
    }
}

/// What to write for a field that a struct does not have.
pub fn field_help(name: &str, fields: &Fields) -> String {
    let names = || fields.iter().map(|f| f.name().as_str());
    match did_you_mean(name, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("the fields are {}", names().collect::<Vec<_>>().join(", ")),
    }
}
