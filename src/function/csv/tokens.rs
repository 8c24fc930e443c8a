//! Cuts CSV text into records and values.
//!
//! The rules are those of univocity, which Spark reads CSV with: any text is a record, however broken its quotes are.
//! A value is a range of the text; one that has to be put together, because it has escapes, is kept beside it.

use std::ops::Range;

use super::cutter::{Cutter, NO_CHARACTER};
use super::dialect::Dialect;
use crate::error::Error;

/// A value of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Nothing between two separators: what the option `nullValue` is for.
    Nothing,
    /// Empty quotes: what the option `emptyValue` is for.
    Empty,
    /// A range of the text.
    Plain(u32, u32),
    /// A range of [`Tokens::built`].
    Built(u32, u32),
}

/// Why a record cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// More values than `maxColumns`.
    TooManyColumns,
    /// A value longer than `maxCharsPerColumn`.
    TooLong,
    /// A stray quote, and the dialect refuses them.
    StrayQuote,
}

impl Refusal {
    /// The error of a record that cannot be cut.
    pub fn error(self, record: &str) -> Error {
        let (reason, help) = match self {
            Self::TooManyColumns => ("has more values than maxColumns allows", "raise maxColumns"),
            Self::TooLong => ("has a longer value than maxCharsPerColumn allows", "raise maxCharsPerColumn"),
            Self::StrayQuote => ("has a quote inside a quoted value", "choose another unescapedQuoteHandling"),
        };
        let shown: String = record.chars().take(100).collect();
        Error::execution("MALFORMED_CSV_RECORD", format!("the CSV record '{}' {reason}", shown.escape_debug()))
            .with_help(help)
    }
}

/// The values of many records of one text.
#[derive(Debug, Default)]
pub struct Tokens {
    pub(super) values: Vec<Token>,
    /// Where each record ends in `values`.
    ends: Vec<usize>,
    /// The text of each record.
    pub ranges: Vec<Range<usize>>,
    /// Values that are not as they stand in the text.
    built: String,
    /// Records that could not be cut.
    pub refused: Vec<(usize, Refusal)>,
}

impl Tokens {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The values of record `row`.
    pub fn record(&self, row: usize) -> &[Token] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.values[start..self.ends[row]]
    }

    /// The text of a token; None for [`Token::Nothing`] and [`Token::Empty`].
    pub fn text<'a>(&'a self, text: &'a str, token: Token) -> Option<&'a str> {
        match token {
            Token::Plain(start, end) => text.get(start as usize..end as usize),
            Token::Built(start, end) => self.built.get(start as usize..end as usize),
            Token::Nothing | Token::Empty => None,
        }
    }

    /// Cuts one record out of `range` of `text`, in which a line end is nothing special; if there is none (no text, a
    /// comment) it has no values.
    pub fn push_line(&mut self, text: &str, range: Range<usize>, dialect: &Dialect) {
        // What refused the record is kept in `refused`.
        let _ = Cutter::new(self, &text.as_bytes()[..range.end], range.start, dialect, NO_CHARACTER).record();
        self.end_record(range);
    }

    /// Cuts all records out of `text`, whose lines end with `\n`. Empty lines and comments are none.
    pub fn push_all(&mut self, text: &str, dialect: &Dialect) {
        let mut start = 0;
        while start < text.len() {
            let before = self.values.len();
            let mut cutter = Cutter::new(self, text.as_bytes(), start, dialect, b'\n'.into());
            let refused = cutter.record();
            let end = cutter.pos;
            if self.values.len() > before || refused.is_err() {
                let bytes = text.as_bytes();
                let last = end - usize::from(end > start && bytes[end - 1] == b'\n');
                self.end_record(start..last);
            }
            start = end.max(start + 1);
        }
    }

    /// Leaves the first record out.
    pub fn skip_first(&mut self) {
        if !self.ends.is_empty() {
            let values = self.ends.remove(0);
            self.values.drain(..values);
            self.ends.iter_mut().for_each(|end| *end -= values);
            self.ranges.remove(0);
            self.refused.retain(|(row, _)| *row > 0);
            self.refused.iter_mut().for_each(|(row, _)| *row -= 1);
        }
    }

    fn end_record(&mut self, range: Range<usize>) {
        self.ends.push(self.values.len());
        self.ranges.push(range);
    }

    /// Keeps a value that is not as it stands in the text.
    pub(super) fn put_built(&mut self, value: &[u8]) -> Token {
        let start = self.built.len();
        // Cut at ASCII characters and whole separators, so it is UTF-8 as the text is.
        self.built.push_str(&String::from_utf8_lossy(value));
        match (u32::try_from(start), u32::try_from(self.built.len())) {
            (Ok(start), Ok(end)) => Token::Built(start, end),
            _ => Token::Nothing,
        }
    }
}
