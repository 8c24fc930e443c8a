//! The options of reading JSON, the same for files and for `from_json`.

use crate::error::{Error, Result};
use crate::function::record_times::RecordTimes;
use crate::options::OptionReader;

use super::tokens::Syntax;

/// What the options say about texts and their values.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// What is taken besides strict JSON.
    pub syntax: Syntax,
    /// Dates and times.
    pub times: RecordTimes,
    /// Whether a DATE may be a text of days since the epoch.
    pub takes_epoch_days: bool,
    /// The column for the text of a record that cannot be read.
    pub corrupt_record: String,
    /// Whether inference takes numbers and booleans for STRING.
    pub primitives_as_string: bool,
    /// Whether inference takes numbers with a point for DECIMAL.
    pub prefers_decimal: bool,
    /// Whether inference looks for timestamps.
    pub infer_timestamp: bool,
    /// Whether inference leaves out what is NULL or empty everywhere.
    pub drop_all_null: bool,
}

impl ReadOptions {
    /// Reads Spark's options of these names.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for a locale that is not English.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        english(options)?;
        let syntax = Syntax {
            comments: options.bool("allowComments", false)?,
            unquoted_names: options.bool("allowUnquotedFieldNames", false)?,
            single_quotes: options.bool("allowSingleQuotes", true)?,
            leading_zeros: options.bool("allowNumericLeadingZeros", false)?,
            non_numeric: options.bool("allowNonNumericNumbers", true)?,
            any_escape: options.bool("allowBackslashEscapingAnyCharacter", false)?,
            control_chars: options.bool("allowUnquotedControlChars", false)?,
        };
        Ok(Self {
            syntax,
            takes_epoch_days: options.string("dateFormat").is_none(),
            times: RecordTimes::for_reading(options)?,
            corrupt_record: options.string("columnNameOfCorruptRecord").unwrap_or("_corrupt_record").to_owned(),
            primitives_as_string: options.bool("primitivesAsString", false)?,
            prefers_decimal: options.bool("prefersDecimal", false)?,
            infer_timestamp: options.bool("inferTimestamp", false)?,
            drop_all_null: options.bool("dropFieldIfAllNull", false)?,
        })
    }
}

/// Refuses a `locale` whose names are not read as `en-US` has them.
fn english(options: &mut OptionReader<'_>) -> Result<()> {
    match options.string("locale") {
        Some(locale) if !locale.eq_ignore_ascii_case("en-US") => {
            let message = format!("option 'locale' is '{locale}': numbers and names are read as 'en-US' has them");
            Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("read the column as STRING, and convert it by to_number(…) or to_date(…)"))
        }
        _ => Ok(()),
    }
}
