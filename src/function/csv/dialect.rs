//! How CSV text is written: separators, quotes, blanks and what stands for NULL.

use crate::error::Result;
use crate::options::OptionType::{Boolean, Character, Choice, Text, Whole};
use crate::options::{OptionReader, OptionSpec};

/// What [`Dialect::read`] reads, besides [`KEEPING`] or [`TRIMMING`].
pub const OPTIONS: [OptionSpec; 6] = [
    OptionSpec::new("sep", Text, "What stands between values: one character or more.").or(","),
    OptionSpec::new("delimiter", Text, "Another name of sep."),
    OptionSpec::new("quote", Character, "What stands around a value that holds a separator or a line end.").or("\""),
    OptionSpec::new("escape", Character, "What stands before a quote inside a quoted value.").or("\\"),
    OptionSpec::new(
        "charToEscapeQuoteEscaping",
        Character,
        "What stands before an escape inside a quoted value; none if escape and quote are the same.",
    ),
    OptionSpec::new("comment", Character, "What begins a line that is no record; none by default."),
];
/// Blanks around values are kept.
pub const KEEPING: [OptionSpec; 2] = [
    OptionSpec::new("ignoreLeadingWhiteSpace", Boolean, "Whether blanks before a value are left out.").or("false"),
    OptionSpec::new("ignoreTrailingWhiteSpace", Boolean, "Whether blanks behind a value are left out.").or("false"),
];
/// Blanks around values are left out.
pub const TRIMMING: [OptionSpec; 2] = [KEEPING[0].or("true"), KEEPING[1].or("true")];
/// What [`Dialect::read_limits`] reads.
pub const LIMITS: [OptionSpec; 3] = [
    OptionSpec::new("maxColumns", Whole(1, i64::MAX), "A record with more values cannot be read.").or("20480"),
    OptionSpec::new("maxCharsPerColumn", Whole(-1, i64::MAX), "A longer value cannot be read; -1 is no limit.")
        .or("-1"),
    OptionSpec::new(
        "unescapedQuoteHandling",
        Choice(&["STOP_AT_CLOSING_QUOTE", "STOP_AT_DELIMITER", "BACK_TO_DELIMITER", "SKIP_VALUE", "RAISE_ERROR"]),
        "What becomes of a quote in the middle of a value.",
    )
    .or("STOP_AT_DELIMITER"),
];

/// What becomes of a quote in the middle of a quoted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayQuotes {
    /// The value goes on to the next quote that a separator follows.
    StopAtClosingQuote,
    /// The value goes on to the next separator, its quotes are part of it.
    StopAtSeparator,
    /// What was read is cut at its separators, and the rest is read anew.
    BackToSeparator,
    /// The value is empty.
    SkipValue,
    /// The record cannot be read.
    Refuse,
}

/// The special characters of a CSV text and the readings of blanks and empty values. A character that is 0 is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Between values.
    pub separator: Vec<u8>,
    /// Around values.
    pub quote: u8,
    /// Before a quote inside a quoted value.
    pub escape: u8,
    /// Before an escape inside a quoted value.
    pub escape_escape: u8,
    /// Begins a line that is no record.
    pub comment: Option<u8>,
    /// Blanks in front of a value are no part of it.
    pub trim_leading: bool,
    /// Blanks behind a value are no part of it.
    pub trim_trailing: bool,
    /// See [`StrayQuotes`].
    pub stray_quotes: StrayQuotes,
    /// A record with more values cannot be read.
    pub max_columns: usize,
    /// A longer value cannot be read.
    pub max_chars: Option<usize>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            separator: b",".to_vec(),
            quote: b'"',
            escape: b'\\',
            escape_escape: b'\\',
            comment: None,
            trim_leading: false,
            trim_trailing: false,
            stray_quotes: StrayQuotes::StopAtSeparator,
            max_columns: 20_480,
            max_chars: None,
        }
    }
}

impl Dialect {
    /// Reads Spark's options.
    ///
    /// # Errors
    /// `INVALID_OPTION` for a value that is no character, number or choice.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let default = Self::default();
        let quote = character(options, "quote")?.unwrap_or(default.quote);
        let escape = character(options, "escape")?.unwrap_or(default.escape);
        let escape_escape = character(options, "charToEscapeQuoteEscaping")?.filter(|c| *c != 0);
        Ok(Self {
            separator: separator(options)?,
            quote,
            escape,
            escape_escape: escape_escape.unwrap_or(if quote == escape { 0 } else { escape }),
            comment: character(options, "comment")?.filter(|c| *c != 0),
            trim_leading: options.bool("ignoreLeadingWhiteSpace")?,
            trim_trailing: options.bool("ignoreTrailingWhiteSpace")?,
            ..default
        })
    }

    /// Reads the options that only a reader has.
    ///
    /// # Errors
    /// As [`Dialect::read`].
    pub fn read_limits(mut self, options: &mut OptionReader<'_>) -> Result<Self> {
        if let Some(n) = options.parse::<usize>("maxColumns")? {
            self.max_columns = n;
        }
        self.max_chars = match options.parse::<i64>("maxCharsPerColumn")? {
            Some(n) if n >= 0 => Some(n as usize),
            _ => None,
        };
        self.stray_quotes = match options.choice("unescapedQuoteHandling")? {
            Some("STOP_AT_CLOSING_QUOTE") => StrayQuotes::StopAtClosingQuote,
            Some("BACK_TO_DELIMITER") => StrayQuotes::BackToSeparator,
            Some("SKIP_VALUE") => StrayQuotes::SkipValue,
            Some("RAISE_ERROR") => StrayQuotes::Refuse,
            _ => StrayQuotes::StopAtSeparator,
        };
        Ok(self)
    }
}

/// `sep` or `delimiter`: one character or more; `\t` and its like stand for one.
fn separator(options: &mut OptionReader<'_>) -> Result<Vec<u8>> {
    let (sep, delimiter) = (options.string("sep"), options.string("delimiter"));
    let (key, text) = match (sep, delimiter) {
        (Some(text), _) => ("sep", text),
        (None, Some(text)) => ("delimiter", text),
        (None, None) => return Ok(b",".to_vec()),
    };
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('0') => '\0',
            Some(c @ ('"' | '\'' | '\\')) => c,
            _ => return Err(options.invalid(key, text, "characters; a backslash is written \\\\, a tab \\t")),
        });
    }
    if out.is_empty() || out.contains('\n') {
        return Err(options.invalid(key, text, "one character or more, without a line end"));
    }
    Ok(out.into_bytes())
}

/// One ASCII character; empty is 0, which is none.
pub fn character(options: &mut OptionReader<'_>, key: &'static str) -> Result<Option<u8>> {
    match options.string(key).map(|text| (text, text.as_bytes())) {
        None => Ok(None),
        Some((_, [])) => Ok(Some(0)),
        Some((_, [b])) => Ok(Some(*b)),
        Some((_, b"\\0" | b"\\u0000")) => Ok(Some(0)),
        Some((text, _)) => Err(options.invalid(key, text, "one ASCII character")),
    }
}
