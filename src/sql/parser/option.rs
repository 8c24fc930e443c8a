//! `OPTIONS (…)` in all its spellings: `k 'v'`, `k = 'v'`, `'k' = 'v'`, `a.b.c 1`, `k true`.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{Error, Result, Span};
use crate::options::Options;
use crate::sql::token::{Cursor, string_value};

/// The options between the parentheses that come next.
pub(super) fn parse_options(c: &mut Cursor<'_>) -> Result<Options> {
    c.expect(&Token::LParen)?;
    let mut inner = c.take_parenthesised()?;
    let mut options = Options::new();
    while !inner.at_end() {
        let (key, span) = parse_key(&mut inner)?;
        inner.take(&Token::Eq);
        let value = parse_value(&mut inner, &key)?;
        if options.get(&key).is_some() {
            return Err(Error::invalid("DUPLICATE_KEY", format!("option '{key}' is given twice"))
                .with_span(span)
                .with_help("keys are the same in any case: keep one"));
        }
        options.set_at(key, value, Some(span));
        if !inner.at_end() {
            inner.expect(&Token::Comma)?;
        }
    }
    Ok(options)
}

/// A quoted key, or words and numbers joined by dots and dashes without space between.
fn parse_key(c: &mut Cursor<'_>) -> Result<(String, Span)> {
    let first = c.span();
    if let Some(key) = c.peek().and_then(string_value) {
        c.next();
        return Ok((key.to_owned(), first));
    }
    if !matches!(c.peek(), Some(Token::Word(_))) {
        return Err(c.unexpected("the name of an option"));
    }
    c.next();
    // `a.1` is a word and the number `.1` to the tokenizer: whatever touches the key belongs to it.
    while c.span().start == c.last_span().end && is_key_part(c.peek()) {
        c.next();
    }
    let span = first.to(c.last_span());
    Ok((c.slice(span).replace('`', ""), span))
}

fn is_key_part(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(_) | Token::Period | Token::Number(..) | Token::Minus))
}

/// A string, a number with or without sign, `true`, `false`, or another bare word.
fn parse_value(c: &mut Cursor<'_>, key: &str) -> Result<String> {
    let first = c.span();
    match c.peek() {
        Some(Token::Plus | Token::Minus) => {
            c.next();
            match c.peek() {
                Some(Token::Number(..)) => c.next(),
                _ => return Err(c.unexpected("a number")),
            };
        }
        Some(Token::Number(..) | Token::Word(_)) => {
            c.next();
        }
        Some(token) => match string_value(token) {
            Some(text) => {
                let text = text.to_owned();
                c.next();
                return Ok(text);
            }
            None => return Err(missing_value(c, key)),
        },
        None => return Err(missing_value(c, key)),
    }
    Ok(c.slice(first.to(c.last_span())).to_owned())
}

fn missing_value(c: &Cursor<'_>, key: &str) -> Error {
    c.unexpected(&format!("a value of option '{key}'")).with_help(format!("write {key} 'value', or {key} = 'value'"))
}
