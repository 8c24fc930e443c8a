//! The options of reading CSV, the same for files and for `from_csv`.

use crate::time_zone::Tz;

use super::dialect::Dialect;
use super::locale::Locale;
use crate::error::{Error, Result};
use crate::function::record_times::RecordTimes;
use crate::options::OptionReader;

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
        let text =
            |options: &mut OptionReader<'_>, key, default: &str| options.string(key).unwrap_or(default).to_owned();
        Ok(Self {
            dialect: Dialect::read(options, false)?.read_limits(options)?,
            null_value: text(options, "nullValue", ""),
            empty_value: text(options, "emptyValue", ""),
            nan: text(options, "nanValue", "NaN"),
            infinity: text(options, "positiveInf", "Inf"),
            minus_infinity: text(options, "negativeInf", "-Inf"),
            times: RecordTimes::for_reading(options)?,
            corrupt_record: text(options, "columnNameOfCorruptRecord", "_corrupt_record"),
            prefer_date: options.bool("preferDate", true)?,
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
