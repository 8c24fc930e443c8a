//! The options of reading JSON, the same for files and for `from_json`.

use crate::error::Result;
use crate::function::csv::options::english;
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
        })
    }
}
