//! Cuts CSV text into records and values.
//!
//! The rules are those of univocity, which Spark reads CSV with: any text is a record, however broken its quotes are.
//! A value is a range of the text; one that has to be put together, because it has escapes, is kept beside it.

use std::ops::Range;

use super::dialect::{Dialect, StrayQuotes};
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
    values: Vec<Token>,
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

    fn put_built(&mut self, value: &[u8]) -> Token {
        let start = self.built.len();
        // Cut at ASCII characters and whole separators, so it is UTF-8 as the text is.
        self.built.push_str(&String::from_utf8_lossy(value));
        match (u32::try_from(start), u32::try_from(self.built.len())) {
            (Ok(start), Ok(end)) => Token::Built(start, end),
            _ => Token::Nothing,
        }
    }
}

/// No character at all.
const NO_CHARACTER: u16 = u16::MAX;
/// Stands for the separator among characters, however long it is.
const SEPARATOR: u16 = 256;
/// Stray quotes within stray quotes beyond this depth end the record.
const MAX_DEPTH: usize = 64;

/// Why reading stopped.
enum Stop {
    /// The text is used up within a value.
    End,
    /// The text is used up, and the values are complete.
    Done,
    /// The record is refused.
    Refused(Refusal),
}

type Step<T = ()> = Result<T, Stop>;

struct Cutter<'a> {
    tokens: &'a mut Tokens,
    text: &'a [u8],
    pos: usize,
    start: usize,
    dialect: &'a Dialect,
    first: u8,
    /// What ends a record.
    new_line: u16,
    quote: u16,
    escape: u16,
    escape_escape: u16,
    ch: u16,
    prev: u16,
    columns: usize,
    /// There was a stray quote.
    stray: bool,
    trim: bool,
    value: Vec<u8>,
}

fn is_blank(ch: u16) -> bool {
    ch <= b' '.into()
}

impl<'a> Cutter<'a> {
    fn new(tokens: &'a mut Tokens, text: &'a [u8], pos: usize, dialect: &'a Dialect, new_line: u16) -> Self {
        Self {
            new_line,
            tokens,
            text,
            pos,
            start: pos,
            dialect,
            first: dialect.separator[0],
            quote: dialect.quote.into(),
            escape: dialect.escape.into(),
            escape_escape: dialect.escape_escape.into(),
            ch: 0,
            prev: 0,
            columns: 0,
            stray: false,
            trim: false,
            value: vec![],
        }
    }

    fn next(&mut self) -> Step<u16> {
        let Some(byte) = self.text.get(self.pos).copied() else { return Err(Stop::End) };
        if byte == self.first {
            let separator = &self.dialect.separator;
            if separator.len() == 1 || self.text[self.pos..].starts_with(separator) {
                self.pos += separator.len();
                return Ok(SEPARATOR);
            }
        }
        self.pos += 1;
        Ok(byte.into())
    }

    fn at_end_of_value(&self) -> bool {
        self.ch == SEPARATOR || self.ch == self.new_line
    }

    fn append(&mut self, ch: u16) {
        match u8::try_from(ch) {
            Ok(byte) => self.value.push(byte),
            Err(_) => self.value.extend_from_slice(&self.dialect.separator),
        }
    }

    fn push(&mut self, token: Token) -> Step {
        if self.columns >= self.dialect.max_columns {
            return Err(Stop::Refused(Refusal::TooManyColumns));
        }
        self.columns += 1;
        self.tokens.values.push(token);
        Ok(())
    }

    fn push_value(&mut self) -> Step {
        if self.trim {
            let kept = self.value.trim_ascii_end_blank();
            self.value.truncate(kept);
        }
        self.check_length(&self.value)?;
        let token = if self.value.is_empty() { Token::Empty } else { self.tokens.put_built(&self.value) };
        self.value.clear();
        self.push(token)
    }

    fn check_length(&self, value: &[u8]) -> Step {
        match self.dialect.max_chars {
            Some(max) if value.len() > max && String::from_utf8_lossy(value).chars().count() > max => {
                Err(Stop::Refused(Refusal::TooLong))
            }
            _ => Ok(()),
        }
    }

    /// Reads one record.
    fn record(&mut self) -> Result<(), Refusal> {
        let row = self.tokens.ends.len();
        let end = match self.values() {
            Ok(()) => Ok(()),
            Err(Stop::End) => self.end_of_text(),
            Err(stop) => Err(stop),
        };
        match end {
            Err(Stop::Refused(refusal)) => {
                // The rest of the line is no record of its own.
                self.pos = memchr::memchr(b'\n', &self.text[self.pos..]).map_or(self.text.len(), |n| self.pos + n + 1);
                self.tokens.refused.push((row, refusal));
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    fn values(&mut self) -> Step {
        self.ch = self.next()?;
        if self.dialect.comment.is_some_and(|c| self.ch == u16::from(c)) {
            while self.ch != self.new_line {
                self.ch = self.next().map_err(|_| Stop::Done)?;
            }
            return Ok(());
        }
        self.skip_blanks()?;
        while self.ch != self.new_line {
            self.skip_blanks()?;
            if self.at_end_of_value() {
                self.push(Token::Nothing)?;
            } else {
                self.stray = false;
                self.prev = 0;
                if self.ch == self.quote {
                    if self.plain_quoted()? {
                        continue;
                    }
                    self.trim = false;
                    self.quoted()?;
                    if !(self.stray
                        && self.dialect.stray_quotes == StrayQuotes::BackToSeparator
                        && self.value.is_empty())
                    {
                        self.push_value()?;
                    }
                } else {
                    self.unquoted()?;
                }
            }
            if self.ch != self.new_line {
                self.ch = self.next()?;
                if self.ch == self.new_line {
                    self.push(Token::Nothing)?;
                }
            }
        }
        Ok(())
    }

    fn skip_blanks(&mut self) -> Step {
        if !self.dialect.trim_leading {
            return Ok(());
        }
        while is_blank(self.ch) && self.ch != self.new_line && self.ch != self.quote {
            self.ch = self.next()?;
        }
        Ok(())
    }

    /// A value up to the next separator; quotes are nothing special in it.
    fn unquoted(&mut self) -> Step {
        let from = self.pos - 1;
        let rest = &self.text[from..];
        let mut at = 0;
        let end = loop {
            match rest[at..].iter().position(|b| *b == self.first || u16::from(*b) == self.new_line) {
                None => break None,
                Some(n) => {
                    at += n;
                    if u16::from(rest[at]) == self.new_line || rest[at..].starts_with(&self.dialect.separator) {
                        break Some(at);
                    }
                    at += 1;
                }
            }
        };
        let whole = &rest[..end.unwrap_or(rest.len())];
        self.check_length(whole)?;
        let kept = if self.dialect.trim_trailing { whole.trim_ascii_end_blank() } else { whole.len() };
        let token = match (u32::try_from(from), u32::try_from(from + kept)) {
            (Ok(start), Ok(stop)) if kept > 0 => Token::Plain(start, stop),
            // At the end of the text blanks are an empty value, before a separator they are none.
            _ if end.is_none() => Token::Empty,
            _ => Token::Nothing,
        };
        self.push(token)?;
        let Some(end) = end else {
            self.pos = self.text.len();
            return Err(Stop::Done);
        };
        self.pos = from + end;
        self.ch = self.next()?;
        Ok(())
    }

    /// A value in quotes without anything special in it, which is nearly every one; `false` if it has to be looked at.
    fn plain_quoted(&mut self) -> Step<bool> {
        let from = self.pos;
        let rest = &self.text[from..];
        let (quote, escape) = (self.dialect.quote, self.dialect.escape);
        let Some(len) = memchr::memchr2(quote, escape, rest) else { return Ok(false) };
        let behind = &rest[len + 1..];
        let ends = match behind.first() {
            // At the end of the text an escape's escape is looked at.
            None => len > 0 && !rest[..len].contains(&self.dialect.escape_escape),
            Some(b) => u16::from(*b) == self.new_line || behind.starts_with(&self.dialect.separator),
        };
        if rest[len] != quote || !ends || (len == 0 && quote == escape) {
            return Ok(false);
        }
        self.check_length(&rest[..len])?;
        let token = match (u32::try_from(from), u32::try_from(from + len)) {
            (Ok(start), Ok(end)) if len > 0 => Token::Plain(start, end),
            _ => Token::Empty,
        };
        self.pos += len + 1;
        self.push(token)?;
        self.ch = self.next().map_err(|_| Stop::Done)?;
        if self.ch == SEPARATOR {
            let next = self.next();
            if !matches!(next, Ok(ch) if ch != self.new_line) {
                self.push(Token::Nothing)?;
            }
            self.ch = next.map_err(|_| Stop::Done)?;
        }
        Ok(true)
    }

    /// What the end of the text means for the value that was being read.
    fn end_of_text(&mut self) -> Step {
        let mut is_value = false;
        if self.ch == self.quote && self.prev == self.quote {
            is_value = true;
        } else {
            if self.ch == self.quote && !self.stray {
                self.append(self.quote);
            }
            is_value |= self.prev != 0 && !self.at_end_of_value();
        }
        if !self.value.is_empty() || is_value {
            self.push_value()
        } else if self.pos > self.start {
            self.push(Token::Nothing)
        } else {
            Ok(())
        }
    }

    fn append_until(&mut self, stops: [u16; 3]) -> Step {
        let mut ch = self.ch;
        while !stops.contains(&ch) {
            self.append(ch);
            ch = self.next()?;
        }
        self.ch = ch;
        Ok(())
    }

    /// The rest of a value whose opening quote was read.
    fn quoted(&mut self) -> Step {
        let until_separator = matches!(
            self.dialect.stray_quotes,
            StrayQuotes::StopAtSeparator | StrayQuotes::SkipValue | StrayQuotes::BackToSeparator
        );
        loop {
            if self.prev != 0 && until_separator {
                return self.rest_of_stray();
            }
            self.ch = self.next()?;
            if !self.up_to_closing_quote()? {
                return Ok(());
            }
            if self.stray_quote_pending() {
                if !self.stray_quote()? {
                    return Ok(());
                }
                continue;
            }
            if !self.blanks_behind_quote(until_separator)? {
                break;
            }
        }
        if self.at_end_of_value() { Ok(()) } else { Err(Stop::Refused(Refusal::StrayQuote)) }
    }

    fn rest_of_stray(&mut self) -> Step {
        if self.dialect.stray_quotes == StrayQuotes::SkipValue {
            self.value.clear();
            return self.skip_value();
        }
        self.value.insert(0, self.dialect.quote);
        self.ch = self.next()?;
        self.trim = self.dialect.trim_trailing;
        self.append_until([SEPARATOR, self.new_line, self.new_line])
    }

    fn skip_value(&mut self) -> Step {
        self.value.clear();
        while !self.at_end_of_value() {
            self.ch = self.next()?;
        }
        Ok(())
    }

    /// Reads to what follows a closing quote; `false` if the value ended on the way.
    fn up_to_closing_quote(&mut self) -> Step<bool> {
        loop {
            if self.prev == self.quote && (is_blank(self.ch) || self.at_end_of_value()) {
                return Ok(true);
            }
            if self.ch != self.quote && self.ch != self.escape {
                if self.prev == self.quote {
                    return Ok(true);
                }
                if self.prev == self.escape && self.escape != 0 {
                    self.append(self.escape);
                }
                self.append_until([self.quote, self.escape, self.escape_escape])?;
                self.prev = self.ch;
                self.ch = self.next()?;
            } else {
                self.escape_or_quote(0)?;
                self.prev = self.ch;
                self.ch = self.next()?;
                if self.stray && self.at_end_of_value() {
                    return Ok(false);
                }
            }
        }
    }

    fn stray_quote_pending(&self) -> bool {
        self.prev == self.quote && !is_blank(self.ch) && !self.at_end_of_value()
    }

    /// A character behind a closing quote; `true` if the value goes on.
    fn stray_quote(&mut self) -> Step<bool> {
        self.stray = true;
        match self.dialect.stray_quotes {
            StrayQuotes::Refuse => Err(Stop::Refused(Refusal::StrayQuote)),
            StrayQuotes::SkipValue => {
                self.skip_value()?;
                Ok(false)
            }
            StrayQuotes::BackToSeparator => {
                self.split_value()?;
                self.append(self.ch);
                self.prev = 0;
                Ok(true)
            }
            StrayQuotes::StopAtClosingQuote | StrayQuotes::StopAtSeparator => {
                self.append(self.quote);
                self.append(self.ch);
                self.prev = self.ch;
                Ok(true)
            }
        }
    }

    /// What was read so far, cut at its separators; the last part stays.
    fn split_value(&mut self) -> Step {
        let separator = self.dialect.separator.clone();
        while let Some(at) = memchr::memmem::find(&self.value, &separator) {
            let rest = self.value.split_off(at + separator.len());
            self.value.truncate(at);
            self.push_value()?;
            self.value = rest;
        }
        Ok(())
    }

    /// Blanks behind a closing quote are left out, unless more follows; `true` if the value goes on.
    fn blanks_behind_quote(&mut self, until_separator: bool) -> Step<bool> {
        if self.at_end_of_value() || !is_blank(self.ch) {
            return Ok(false);
        }
        let mut blanks = vec![];
        loop {
            blanks.push(self.ch);
            self.ch = self.next()?;
            if self.at_end_of_value() {
                return Ok(false);
            }
            if !is_blank(self.ch) {
                break;
            }
        }
        if self.dialect.stray_quotes == StrayQuotes::Refuse {
            return Ok(false);
        }
        self.append(self.quote);
        blanks.into_iter().for_each(|b| self.append(b));
        if until_separator || (self.ch != self.quote && self.ch != self.escape) {
            self.append(self.ch);
        }
        self.prev = self.ch;
        Ok(true)
    }

    /// A quote or an escape inside a quoted value.
    fn escape_or_quote(&mut self, depth: usize) -> Step {
        if self.ch == self.escape && self.prev == self.escape_escape && self.escape_escape != 0 {
            self.append(self.escape);
            self.ch = 0;
        } else if self.prev == self.escape {
            if self.ch == self.quote {
                self.append(self.quote);
                self.ch = 0;
            } else {
                self.append(self.prev);
            }
        } else if self.ch == self.quote && self.prev == self.quote {
            self.append(self.quote);
        } else if self.prev == self.quote {
            self.stray_quote_in_value(depth)?;
        }
        Ok(())
    }

    fn stray_quote_in_value(&mut self, depth: usize) -> Step {
        match self.dialect.stray_quotes {
            _ if depth > MAX_DEPTH => Err(Stop::Refused(Refusal::StrayQuote)),
            StrayQuotes::Refuse => Err(Stop::Refused(Refusal::StrayQuote)),
            StrayQuotes::SkipValue => self.skip_value(),
            _ => {
                self.append(self.quote);
                self.prev = self.ch;
                while !self.at_end_of_value() {
                    if self.ch == self.quote || self.ch == self.escape {
                        self.escape_or_quote(depth + 1)?;
                    } else if self.prev == self.quote {
                        return self.stray_quote_in_value(depth + 1);
                    } else {
                        self.append(self.ch);
                    }
                    self.prev = self.ch;
                    self.ch = self.next()?;
                }
                Ok(())
            }
        }
    }
}

trait Blanks {
    /// The length without blanks at the end.
    fn trim_ascii_end_blank(&self) -> usize;
}

impl Blanks for [u8] {
    fn trim_ascii_end_blank(&self) -> usize {
        self.iter().rposition(|b| *b > b' ').map_or(0, |at| at + 1)
    }
}
