//! The inside of quotes: escapes, quotes where none should be, and what follows the closing quote.

use super::cutter::{Cutter, SEPARATOR, Step, Stop, is_blank};
use super::dialect::StrayQuotes;
use super::tokens::Refusal;

/// Stray quotes within stray quotes beyond this depth end the record.
const MAX_DEPTH: usize = 64;

impl Cutter<'_> {
    /// The rest of a value whose opening quote was read.
    pub(super) fn quoted(&mut self) -> Step {
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
        let separator = &self.dialect.separator;
        loop {
            // A separator may have begun in what was searched before.
            let from = self.searched.saturating_sub(separator.len() - 1);
            let Some(at) = memchr::memmem::find(&self.value[from..], separator).map(|at| from + at) else { break };
            let rest = self.value.split_off(at + separator.len());
            self.value.truncate(at);
            self.push_value()?;
            self.value = rest;
        }
        self.searched = self.value.len();
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
