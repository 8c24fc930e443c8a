//! The options of reading CSV, the same for files and for `from_csv`.

use crate::time_zone::Tz;

use super::dialect::{self, Dialect};
use super::locale::{self, Locale};
use crate::error::{Error, Result};
use crate::function::record_times::{self, RecordTimes};
use crate::options::OptionType::{Boolean, Text};
use crate::options::{OptionReader, OptionSpec};

/// What [`english`] reads.
pub const LOCALE: [OptionSpec; 1] =
    [OptionSpec::new("locale", Text, "The language of names of months: en-US and no other.").or("en-US")];
/// What [`ReadOptions::read`] reads.
pub const READING: &[&[OptionSpec]] = &[
    &dialect::OPTIONS,
    &dialect::KEEPING,
    &dialect::LIMITS,
    &OPTIONS,
    &record_times::OPTIONS,
    &record_times::READING,
    &locale::OPTIONS,
];
const OPTIONS: [OptionSpec; 7] = [
    OptionSpec::new("nullValue", Text, "A value that is NULL; nothing at all is always NULL.").or(""),
    OptionSpec::new("emptyValue", Text, "What a pair of quotes with nothing between them stands for.").or(""),
    OptionSpec::new("nanValue", Text, "How a number that is none is written.").or("NaN"),
    OptionSpec::new("positiveInf", Text, "How infinity is written.").or("Inf"),
    OptionSpec::new("negativeInf", Text, "How negative infinity is written.").or("-Inf"),
    OptionSpec::new(
        "columnNameOfCorruptRecord",
        Text,
        "The column, if it is declared, for the text of a record that cannot be read.",
    )
    .or("_corrupt_record"),
    OptionSpec::new("preferDate", Boolean, "Whether inference makes DATE of a column of days.").or("true"),
];

/// What the options say about texts and their values.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// How records and values are cut.
    pub dialect: Dialect,
    /// A value of this text is NULL, as is nothing at all.
    pub null_value: String,
    /// What empty quotes stand for.
    pub empty_value: String,
    /// How DOUBLE and FLOAT say not-a-number, infinity and minus infinity, besides Java's words.
    pub nan: String,
    /// See `nan`.
    pub infinity: String,
    /// See `nan`.
    pub minus_infinity: String,
    /// Dates and times.
    pub times: RecordTimes,
    /// The column for the text of a record that cannot be read.
    pub corrupt_record: String,
    /// Whether inference looks for dates.
    pub prefer_date: bool,
    /// How decimals are written.
    pub locale: Locale,
}

impl ReadOptions {
    /// Reads Spark's options of these names.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that does not fit, `UNSUPPORTED_FEATURE` for a locale that is not English.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let locale = Locale::read(options)?;
        let text = |options: &OptionReader<'_>, key| options.text(key).to_owned();
        Ok(Self {
            dialect: Dialect::read(options)?.read_limits(options)?,
            null_value: text(options, "nullValue"),
            empty_value: text(options, "emptyValue"),
            nan: text(options, "nanValue"),
            infinity: text(options, "positiveInf"),
            minus_infinity: text(options, "negativeInf"),
            times: RecordTimes::for_reading(options)?,
            corrupt_record: text(options, "columnNameOfCorruptRecord"),
            prefer_date: options.bool("preferDate")?,
            locale,
        })
    }

    /// The zone of local times: the option's, or else the session's.
    pub fn zone(&self, session: Tz) -> Tz {
        self.times.zone(session)
    }
}

/// Refuses a `locale` whose numbers and names are not read as `en-US` has them.
///
/// # Errors
/// `UNSUPPORTED_FEATURE`.
pub fn english(options: &mut OptionReader<'_>) -> Result<()> {
    match options.string("locale") {
        None => Ok(()),
        Some(locale) if locale.eq_ignore_ascii_case("en-US") => Ok(()),
        Some(locale) => {
            let message = format!("option 'locale' is '{locale}': numbers and names are read as 'en-US' has them");
            Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("read the column as STRING, and convert it by to_number(…) or to_date(…)"))
        }
    }
}
