//! Calls and types that sqlparser would read as something else, as tokens that it reads right.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan};

use super::tokens::{at, is_token, is_word, quoted};

/// `array(…)`, and `exists(…)` of no query, are functions, which sqlparser would read as subqueries.
pub fn quote_calls(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for i in 1..tokens.len() {
        if !is_token(tokens.get(i), &Token::LParen) {
            continue;
        }
        let is_query = ["SELECT", "WITH", "VALUES", "FROM", "TABLE"].iter().any(|w| is_word(tokens.get(i + 1), w))
            || is_token(tokens.get(i + 1), &Token::LParen);
        if is_word(tokens.get(i - 1), "ARRAY") {
            tokens[i - 1].token = quoted("array");
        } else if is_word(tokens.get(i - 1), "EXISTS") && !is_query {
            tokens[i - 1].token = quoted("exists");
        }
    }
    let mut previous: Option<Token> = None;
    tokens.retain(|t| {
        let side = |p: &Token| matches!(p, Token::Word(w) if w.quote_style.is_none() && matches!(w.keyword, Keyword::LEADING | Keyword::TRAILING | Keyword::BOTH));
        let lone = is_word(Some(t), "FROM") && previous.as_ref().is_some_and(side);
        previous = Some(t.token.clone());
        !lone
    });
    tokens
}

/// A type behind `AS` or `::` that nests others becomes one name, since sqlparser knows no `STRUCT<a: INT>`.
pub fn quote_types(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let behind = is_word(out.last(), "AS") || is_token(out.last(), &Token::DoubleColon);
        let nests = ["ARRAY", "MAP", "STRUCT"].iter().any(|w| is_word(tokens.get(i), w))
            && matches!(tokens.get(i + 1).map(|t| &t.token), Some(Token::Lt | Token::Neq));
        match (behind && nests).then(|| type_end(&tokens, i)).flatten() {
            Some(end) => {
                let text: Vec<_> = tokens[i..end].iter().map(|t| t.token.to_string()).collect();
                let span = SqlSpan::new(tokens[i].span.start, tokens[end - 1].span.end);
                out.push(at(quoted(&text.join(" ")), span));
                i = end;
            }
            None => {
                out.push(tokens[i].clone());
                i += 1;
            }
        }
    }
    out
}

/// Behind the bracket that closes the one after the word at `start`.
fn type_end(tokens: &[TokenWithSpan], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, t) in tokens.iter().enumerate().skip(start + 1) {
        match t.token {
            Token::Lt => depth += 1,
            Token::Gt => depth = depth.checked_sub(1)?,
            Token::ShiftRight => depth = depth.checked_sub(2)?,
            // `<>`: a struct without fields.
            Token::Neq => {}
            _ => continue,
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}
