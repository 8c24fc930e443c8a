//! Tokens with byte ranges, and a cursor over them.
//!
//! sqlparser's tokenizer counts lines and characters; everything here counts bytes, so that a piece of a script can be
//! cut out as it is and an error inside the piece can be shown in the script.

use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::place::Places;
use super::query::TidemillDialect;
use crate::error::{Error, Result, Span};

/// A token and where it is. White space and comments are left out.
#[derive(Debug, Clone)]
pub struct Spanned {
    /// What it is.
    pub token: Token,
    /// Where it is, in bytes.
    pub span: Span,
}

/// The tokens of `text`.
pub fn tokenize(text: &str) -> Result<Vec<Spanned>> {
    let places = Places::new(text);
    let offset = |at: Location| places.offset(at).unwrap_or(text.len());
    let tokens = Tokenizer::new(&TidemillDialect, text).tokenize_with_location().map_err(|e| {
        let at = offset(e.location);
        Error::invalid("PARSE_SYNTAX_ERROR", lower_first(&e.message))
            .with_help("a quote or comment that is opened must be closed; a quote inside of text is written as \\'")
            .with_span(Span { start: at, end: text.len().min(at + 1) })
    })?;
    Ok(tokens
        .into_iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF))
        .map(|t| Spanned { span: Span { start: offset(t.span.start), end: offset(t.span.end) }, token: t.token })
        .collect())
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Reads tokens one after the other.
#[derive(Debug, Clone)]
pub struct Cursor<'t> {
    text: &'t str,
    tokens: &'t [Spanned],
    at: usize,
}

impl<'t> Cursor<'t> {
    /// At the first of `tokens`, which are tokens of `text`.
    pub fn new(text: &'t str, tokens: &'t [Spanned]) -> Self {
        Self { text, tokens, at: 0 }
    }

    /// The whole text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'t Token> {
        self.peek_at(0)
    }

    /// The token `n` after the next.
    pub fn peek_at(&self, n: usize) -> Option<&'t Token> {
        self.tokens.get(self.at + n).map(|t| &t.token)
    }

    /// The next token, which is then behind.
    pub fn next(&mut self) -> Option<&'t Spanned> {
        let t = self.tokens.get(self.at);
        self.at += usize::from(t.is_some());
        t
    }

    /// Whether there is nothing left.
    pub fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Where the next token is; just behind the last one at the end.
    pub fn span(&self) -> Span {
        match (self.tokens.get(self.at), self.tokens.last()) {
            (Some(t), _) => t.span,
            (None, Some(last)) => Span { start: last.span.end, end: last.span.end },
            (None, None) => Span::default(),
        }
    }

    /// Where the token before is.
    pub fn last_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or_else(Span::default, |t| t.span)
    }

    /// The text of a range.
    pub fn slice(&self, span: Span) -> &'t str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// The unquoted word `n` after the next token, as it is written.
    pub fn word_at(&self, n: usize) -> Option<&'t str> {
        match self.peek_at(n) {
            Some(Token::Word(w)) if w.quote_style.is_none() => Some(&w.value),
            _ => None,
        }
    }

    /// Whether the next words are these.
    pub fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| self.word_at(i).is_some_and(|found| found.eq_ignore_ascii_case(w)))
    }

    /// Takes these words if they are next.
    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let there = self.at_words(words);
        if there {
            self.at += words.len();
        }
        there
    }

    /// Takes this token if it is next.
    pub fn take(&mut self, token: &Token) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    /// Takes these words, which must be next.
    pub fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.take_words(&[word]) {
                return Err(self.unexpected(word));
            }
        }
        Ok(())
    }

    /// Takes this token, which must be next.
    pub fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}'"))) }
    }

    /// The error for a next token that is not `expected`.
    pub fn unexpected(&self, expected: &str) -> Error {
        let found = match self.tokens.get(self.at) {
            Some(t) => format!("'{}'", self.slice(t.span)),
            None => "the end of the statement".to_owned(),
        };
        Error::invalid("PARSE_SYNTAX_ERROR", format!("expected {expected}, found {found}")).with_span(self.span())
    }

    /// The tokens up to the parenthesis that closes the one just taken, which is taken too.
    pub fn take_parenthesised(&mut self) -> Result<Cursor<'t>> {
        let (open, first) = (self.last_span(), self.at);
        let mut depth = 1;
        while let Some(t) = self.next() {
            match t.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(Cursor::new(self.text, &self.tokens[first..self.at - 1]));
            }
        }
        Err(Error::invalid("PARSE_SYNTAX_ERROR", "this parenthesis is never closed")
            .with_span(open)
            .with_help("add ')'"))
    }

    /// The tokens up to the first place outside parentheses where `stop` holds, or to the end.
    pub fn take_until(&mut self, stop: impl Fn(&Cursor<'t>) -> bool) -> Cursor<'t> {
        let first = self.at;
        let mut depth = 0usize;
        while !self.at_end() && (depth > 0 || !stop(self)) {
            match self.next().map(|t| &t.token) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Cursor::new(self.text, &self.tokens[first..self.at])
    }

    /// From the first to the last token.
    pub fn whole_span(&self) -> Span {
        match (self.tokens.first(), self.tokens.last()) {
            (Some(a), Some(b)) => a.span.to(b.span),
            _ => Span::default(),
        }
    }
}

/// The text of a string literal, in any quotes.
pub fn string_value(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(s)
        | Token::DoubleQuotedString(s)
        | Token::EscapedStringLiteral(s)
        | Token::SingleQuotedRawStringLiteral(s)
        | Token::DoubleQuotedRawStringLiteral(s) => Some(s),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_bytes_even_after_wide_characters() {
        let text = "SELECT 'žluť', -- kůň\n  x";
        let tokens = tokenize(text).unwrap();
        let pieces: Vec<_> = tokens.iter().map(|t| &text[t.span.start..t.span.end]).collect();
        assert_eq!(pieces, ["SELECT", "'žluť'", ",", "x"]);
    }

    #[test]
    fn an_unclosed_string_has_its_place() {
        let e = tokenize("SELECT\n 'abc").unwrap_err();
        assert_eq!(e.span().unwrap().start, 8);
    }
}
