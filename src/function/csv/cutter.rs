//! Walks over one record, a character at a time, and cuts it into values.

use super::dialect::{Dialect, StrayQuotes};
use super::tokens::{Refusal, Token, Tokens};

/// No character at all.
pub(super) const NO_CHARACTER: u16 = u16::MAX;
/// Stands for the separator among characters, however long it is.
pub(super) const SEPARATOR: u16 = 256;

/// Why reading stopped.
pub(super) enum Stop {
    /// The text is used up within a value.
    End,
    /// The text is used up, and the values are complete.
    Done,
    /// The record is refused.
    Refused(Refusal),
}

pub(super) type Step<T = ()> = Result<T, Stop>;

pub(super) struct Cutter<'a> {
    tokens: &'a mut Tokens,
    text: &'a [u8],
    pub(super) pos: usize,
    start: usize,
    pub(super) dialect: &'a Dialect,
    pub(super) first: u8,
    /// What ends a record.
    pub(super) new_line: u16,
    pub(super) quote: u16,
    pub(super) escape: u16,
    pub(super) escape_escape: u16,
    pub(super) ch: u16,
    pub(super) prev: u16,
    columns: usize,
    /// There was a stray quote.
    pub(super) stray: bool,
    pub(super) trim: bool,
    pub(super) value: Vec<u8>,
    /// How much of `value` is known to have no separator.
    pub(super) searched: usize,
}

pub(super) fn is_blank(ch: u16) -> bool {
    ch <= b' '.into()
}

impl<'a> Cutter<'a> {
    pub(super) fn new(tokens: &'a mut Tokens, text: &'a [u8], pos: usize, dialect: &'a Dialect, new_line: u16) -> Self {
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
            searched: 0,
        }
    }

    pub(super) fn next(&mut self) -> Step<u16> {
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

    pub(super) fn at_end_of_value(&self) -> bool {
        self.ch == SEPARATOR || self.ch == self.new_line
    }

    pub(super) fn append(&mut self, ch: u16) {
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

    pub(super) fn push_value(&mut self) -> Step {
        if self.trim {
            let kept = self.value.trim_ascii_end_blank();
            self.value.truncate(kept);
        }
        self.check_length(&self.value)?;
        let token = if self.value.is_empty() { Token::Empty } else { self.tokens.put_built(&self.value) };
        self.value.clear();
        self.searched = 0;
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
    pub(super) fn record(&mut self) -> Result<(), Refusal> {
        let row = self.tokens.len();
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
        let stop = |rest: &[u8]| match u8::try_from(self.new_line) {
            Ok(new_line) => memchr::memchr2(self.first, new_line, rest),
            Err(_) => memchr::memchr(self.first, rest),
        };
        let end = loop {
            match stop(&rest[at..]) {
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

    pub(super) fn append_until(&mut self, stops: [u16; 3]) -> Step {
        let mut ch = self.ch;
        while !stops.contains(&ch) {
            self.append(ch);
            ch = self.next()?;
        }
        self.ch = ch;
        Ok(())
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
