//! The options of `from_json`, `to_json` and their like: `map('timestampFormat', 'dd/MM/yyyy')`.

use arrow::array::*;
use arrow::datatypes::DataType;

use super::cast::{Mode, cast_array};
use super::scalar::Call;
use crate::options::Options;
use crate::{Error, Result};

/// The options in argument `i`, if it is there.
///
/// # Errors
/// `INVALID_OPTIONS.NON_MAP_FUNCTION` for what is no map.
pub fn option_map(call: &Call, i: usize) -> Result<Options> {
    if i >= call.len() || call.rows() == 0 {
        return Ok(Options::new());
    }
    let array = call.array(i)?;
    let Some(map) = array.as_map_opt().filter(|m| m.is_valid(0)) else {
        return Err(Error::invalid("INVALID_OPTIONS.NON_MAP_FUNCTION", "the options must be a map of literals")
            .with_help("write map('key', 'value')"));
    };
    let entries = map.value(0);
    let text = |column: usize| cast_array(entries.column(column), &DataType::Utf8View, Mode::Ansi, call.tz());
    let (keys, values) = (text(0)?, text(1)?);
    let pairs = keys.as_string_view().iter().zip(values.as_string_view().iter());
    Ok(pairs.map(|(key, value)| (key.unwrap_or_default(), value.unwrap_or_default())).collect())
}

/// The error of a record that cannot be read.
pub fn malformed(text: &str) -> Error {
    let message = format!("the record '{text}' does not fit the schema");
    Error::execution("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION", message)
        .with_help("mode PERMISSIVE gives NULL for what cannot be read")
}
