//! What an option is: its name, which values it takes, what it is without being given, and what it does.

use std::fmt;

use super::units::{parse_bytes, parse_duration};
use crate::time_zone::Tz;

/// An option of a connector or a function. Documentation, `tidemill list` and the check of what users write come from it.
///
/// ```
/// use tidemill::{OptionSpec, OptionType};
///
/// const HEADER: OptionSpec = OptionSpec::new("header", OptionType::Boolean, "Whether the first line holds names.").or("false");
/// assert!(HEADER.takes("TRUE") && !HEADER.takes("yes"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionSpec {
    /// The name, in any case.
    pub name: &'static str,
    /// Which values it takes.
    pub option_type: OptionType,
    /// The value that it has without being given, if that is one.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub is_required: bool,
    /// One sentence.
    pub help: &'static str,
}

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionType {
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// `10 seconds`, `500ms`; a bare number is milliseconds.
    Duration,
    /// `64MB`, or a number of bytes.
    Bytes,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// One character, or none.
    Character,
    /// A pattern of dates or times, as `yyyy-MM-dd`.
    TimePattern,
    /// A time zone, as `Europe/Berlin`.
    TimeZone,
    /// A path or a URL.
    Path,
}

impl OptionType {
    /// A whole number above zero.
    pub const COUNT: Self = Self::Whole(1, i64::MAX);
    /// A whole number, zero or more.
    pub const WHOLE: Self = Self::Whole(0, i64::MAX);
}

impl fmt::Display for OptionType {
    /// As in a table of options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Secret => f.write_str("secret"),
            Self::Boolean => f.write_str("true or false"),
            Self::Whole(..) => f.write_str("whole number"),
            Self::Number(..) => f.write_str("number"),
            Self::Duration => f.write_str("duration"),
            Self::Bytes => f.write_str("bytes"),
            Self::Choice(words) => f.write_str(&words.join(", ")),
            Self::Character => f.write_str("character"),
            Self::TimePattern => f.write_str("pattern"),
            Self::TimeZone => f.write_str("time zone"),
            Self::Path => f.write_str("path"),
        }
    }
}

impl OptionSpec {
    /// An option that need not be given.
    pub const fn new(name: &'static str, option_type: OptionType, help: &'static str) -> Self {
        Self { name, option_type, default: None, is_required: false, help }
    }

    /// With the value that it has without being given.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// It must be given.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Whether its values are never shown.
    pub fn is_secret(&self) -> bool {
        self.option_type == OptionType::Secret
    }

    /// Whether it is called so; a name that ends with `.*` stands for all that begin like it.
    pub fn is_named(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
            None => self.name.eq_ignore_ascii_case(name),
        }
    }

    /// Whether its type takes this value. What a connector makes of the value may still be an error.
    pub fn takes(&self, value: &str) -> bool {
        let value = value.trim();
        match self.option_type {
            OptionType::Boolean => ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(value)),
            OptionType::Whole(least, most) => value.parse().is_ok_and(|n: i64| (least..=most).contains(&n)),
            OptionType::Number(least, most) => value.parse().is_ok_and(|n: f64| (least..=most).contains(&n)),
            OptionType::Duration => parse_duration(value).is_some(),
            OptionType::Bytes => parse_bytes(value).is_some(),
            OptionType::Choice(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            OptionType::TimeZone => value.parse::<Tz>().is_ok(),
            OptionType::Text
            | OptionType::Secret
            | OptionType::Character
            | OptionType::TimePattern
            | OptionType::Path => true,
        }
    }

    /// What a value must be, in the words of an error.
    pub fn expected(&self) -> String {
        match self.option_type {
            OptionType::Whole(least, i64::MAX) => match least {
                1 => "a whole number above 0".to_owned(),
                i64::MIN => "a whole number".to_owned(),
                least => format!("a whole number, {least} or more"),
            },
            OptionType::Whole(least, most) => format!("a whole number from {least} to {most}"),
            OptionType::Number(least, most) => format!("a number from {least} to {most}"),
            OptionType::Duration => "a duration such as '10 seconds'".to_owned(),
            OptionType::Bytes => "a number of bytes, or a size such as '64MB'".to_owned(),
            OptionType::Choice(words) => format!("one of {}", words.join(", ")),
            OptionType::Character => "one ASCII character".to_owned(),
            OptionType::TimePattern => "a pattern such as 'yyyy-MM-dd'".to_owned(),
            OptionType::TimeZone => "a zone such as 'Europe/Berlin', or an offset such as '+02:00'".to_owned(),
            OptionType::Boolean => "true or false".to_owned(),
            OptionType::Text | OptionType::Secret => "a text".to_owned(),
            OptionType::Path => "a path".to_owned(),
        }
    }
}
