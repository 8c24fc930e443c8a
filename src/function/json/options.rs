//! The options of reading JSON, the same for files and for `from_json`.

use crate::error::Result;
use crate::function::csv::options::{LOCALE, english};
use crate::function::record_times::{self, RecordTimes};
use crate::options::OptionType::{Boolean, Text};
use crate::options::{OptionReader, OptionSpec};

use super::tokens::Syntax;

/// What [`ReadOptions::read`] reads.
pub const READING: &[&[OptionSpec]] = &[&OPTIONS, &record_times::OPTIONS, &record_times::READING, &LOCALE];
const OPTIONS: [OptionSpec; 8] = [
    OptionSpec::new("allowComments", Boolean, "Whether comments as in Java are passed over.").or("false"),
    OptionSpec::new("allowUnquotedFieldNames", Boolean, "Whether names may stand without quotes.").or("false"),
    OptionSpec::new("allowSingleQuotes", Boolean, "Whether single quotes may stand for double ones.").or("true"),
    OptionSpec::new("allowNumericLeadingZeros", Boolean, "Whether numbers may begin with zeros.").or("false"),
    OptionSpec::new("allowNonNumericNumbers", Boolean, "Whether NaN, Infinity and their like are numbers.").or("true"),
    OptionSpec::new("allowBackslashEscapingAnyCharacter", Boolean, "Whether a backslash may stand before anything.")
        .or("false"),
    OptionSpec::new("allowUnquotedControlChars", Boolean, "Whether a text may hold control characters as they are.")
        .or("false"),
    OptionSpec::new(
        "columnNameOfCorruptRecord",
        Text,
        "The column, if it is declared, for the text of a record that cannot be read.",
    )
    .or("_corrupt_record"),
];

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
            comments: options.bool("allowComments")?,
            unquoted_names: options.bool("allowUnquotedFieldNames")?,
            single_quotes: options.bool("allowSingleQuotes")?,
            leading_zeros: options.bool("allowNumericLeadingZeros")?,
            non_numeric: options.bool("allowNonNumericNumbers")?,
            any_escape: options.bool("allowBackslashEscapingAnyCharacter")?,
            control_chars: options.bool("allowUnquotedControlChars")?,
        };
        Ok(Self {
            syntax,
            takes_epoch_days: options.string("dateFormat").is_none(),
            times: RecordTimes::for_reading(options)?,
            corrupt_record: options.text("columnNameOfCorruptRecord").to_owned(),
        })
    }
}
