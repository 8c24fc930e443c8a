//! Numbers and texts, byte by byte.

use super::{Malformed, Result, Token, Tokens};

/// Bytes of a number.
const MAX_NUMBER: usize = 1000;

/// Bytes before the first that is the quote, a backslash or, unless they are allowed, a control character.
fn plain_len(bytes: &[u8], quote: u8, allows_control: bool) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The high bit of the first byte that is zero is set, those behind it may be; so of the first that is below a limit.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let controls = if allows_control { 0 } else { b' ' };
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = is(quote) | is(b'\\') | below(word, controls);
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |b: &u8| *b == quote || *b == b'\\' || *b < controls;
    words.len() * 8 + rest.iter().position(is_special).unwrap_or(rest.len())
}

impl Tokens<'_> {
    fn digits(&self, from: usize) -> usize {
        let bytes = &self.text.as_bytes()[from..];
        bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len())
    }

    pub(super) fn read_number(&mut self, byte: u8) -> Result<Token> {
        let bytes = self.text.as_bytes();
        let is_negative = byte == b'-';
        let mut first = self.start + usize::from(is_negative);
        let at = |i: usize| bytes.get(i).copied();
        if is_negative && at(first) == Some(b'I') {
            let is_short = self.text[first..].starts_with("INF");
            return self.not_a_number(if is_short { "-INF" } else { "-Infinity" });
        }
        let mut end = first + self.digits(first);
        if end == first {
            self.pos = (first + 1).min(bytes.len());
            self.skip_to_boundary();
            return Err(Malformed);
        }
        if at(first) == Some(b'0') && end > first + 1 {
            if !self.syntax.leading_zeros {
                self.pos = first + 1;
                return Err(Malformed);
            }
            let zeros = bytes[first..end - 1].iter().take_while(|b| **b == b'0').count();
            first += zeros;
        }
        let mut token = Token::Int;
        if at(end) == Some(b'.') {
            let fraction = self.digits(end + 1);
            if fraction == 0 {
                self.pos = first + usize::from(!is_negative);
                return Err(Malformed);
            }
            (token, end) = (Token::Float, end + 1 + fraction);
        }
        if matches!(at(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(at(end + 1), Some(b'+' | b'-')));
            let exponent = self.digits((end + 1 + sign).min(bytes.len()));
            if exponent == 0 {
                self.pos = first + usize::from(!is_negative);
                return Err(Malformed);
            }
            (token, end) = (Token::Float, end + 1 + sign + exponent);
        }
        self.pos = end;
        // Leading zeros are no part of the value; a sign in front of them is kept by not cutting them.
        self.value = if is_negative { self.start..end } else { first..end };
        if self.value.len() > MAX_NUMBER { Err(Malformed) } else { Ok(token) }
    }

    /// A text up to `quote`; the opening quote was read.
    pub(super) fn read_text(&mut self, quote: u8) -> Result<()> {
        if self.is_lossy {
            self.check_bytes(quote)?;
        }
        let start = self.pos;
        let bytes = self.text.as_bytes();
        let allows = self.syntax.control_chars;
        self.pos += plain_len(&bytes[start..], quote, allows);
        if bytes.get(self.pos) == Some(&quote) {
            (self.value, self.is_escaped) = (start..self.pos, false);
            self.pos += 1;
            return Ok(());
        }
        self.is_escaped = true;
        self.scratch.clear();
        self.scratch.push_str(&self.text[start..self.pos]);
        loop {
            let byte = self.peek().ok_or(Malformed)?;
            self.pos += 1;
            match byte {
                b'\\' => self.read_escape()?,
                b if b == quote => return Ok(()),
                b if b < b' ' && !allows => return Err(Malformed),
                _ => {
                    let from = self.pos - 1;
                    self.pos += plain_len(&bytes[self.pos..], quote, allows);
                    self.scratch.push_str(&self.text[from..self.pos]);
                }
            }
        }
    }

    /// Goes behind bytes that are no UTF-8, and the byte that showed it.
    fn check_bytes(&mut self, quote: u8) -> Result<()> {
        let mut is_escape = false;
        for (at, c) in self.text[self.pos..].char_indices() {
            match c {
                '\u{fffd}' => {
                    self.pos = (self.pos + at + c.len_utf8() + 1).min(self.text.len());
                    self.skip_to_boundary();
                    return Err(Malformed);
                }
                _ if is_escape => is_escape = false,
                '\\' => is_escape = true,
                c if c == char::from(quote) => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_escape(&mut self) -> Result<()> {
        let c = self.text[self.pos..].chars().next().ok_or(Malformed)?;
        self.pos += c.len_utf8();
        self.scratch.push(match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '"' | '\\' | '/' => c,
            'u' => return self.read_unicode(),
            '\'' if self.syntax.single_quotes => c,
            _ if self.syntax.any_escape => c,
            _ => return Err(Malformed),
        });
        Ok(())
    }

    /// `\uXXXX`, of which two make a character beyond 65535; half of such a pair is a question mark.
    fn read_unicode(&mut self) -> Result<()> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.pos..].starts_with("\\u") {
            let behind = self.pos;
            self.pos += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                self.scratch.push(char::from_u32(code).unwrap_or('?'));
                return Ok(());
            }
            self.pos = behind;
        }
        self.scratch.push(char::from_u32(high).unwrap_or('?'));
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let c = self.text[self.pos..].chars().next().ok_or(Malformed)?;
            self.pos += c.len_utf8();
            code = code * 16 + c.to_digit(16).ok_or(Malformed)?;
        }
        Ok(code)
    }
}
