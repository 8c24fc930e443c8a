//! Calls and types that sqlparser would read as something else, as tokens that it reads right.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan};

use super::interval::is_unit;
use super::tokens::{at, is_token, is_word, quoted};

/// The operator `>>>`, which sqlparser knows as an operator that a dialect adds.
pub const SHIFT_UNSIGNED: &str = ">>>";

/// `>>>` becomes one token, `TABLE t` the query that it is short for, and `TIMESTAMP_LTZ '…'` has the usual name.
pub fn respell(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for (i, t) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1).map(|t| &t.token);
        match &t.token {
            Token::Gt if out.last().is_some_and(|p| p.token == Token::ShiftRight && p.span.end == t.span.start) => {
                let start = out.pop().map_or(t.span.start, |p| p.span.start);
                out.push(at(Token::CustomBinaryOperator(SHIFT_UNSIGNED.to_owned()), SqlSpan::new(start, t.span.end)));
            }
            Token::Word(_)
                if is_word(Some(t), "TABLE") && matches!(next, Some(Token::Word(_))) && begins_query(&out) =>
            {
                out.push(at(Token::make_word("SELECT", None), t.span));
                out.push(at(Token::Mul, t.span));
                out.push(at(Token::make_word("FROM", None), t.span));
            }
            Token::Word(_)
                if is_word(Some(t), "TIMESTAMP_LTZ") && matches!(next, Some(Token::SingleQuotedString(_))) =>
            {
                out.push(at(Token::make_word("TIMESTAMP", None), t.span));
            }
            _ => out.push(t.clone()),
        }
    }
    out
}

/// Whether a query may begin behind these tokens.
fn begins_query(before: &[TokenWithSpan]) -> bool {
    let Some(last) = before.last() else { return true };
    let set_operation = ["UNION", "ALL", "EXCEPT", "INTERSECT", "MINUS", "DISTINCT"];
    let open = last.token == Token::LParen && !before.iter().rev().nth(1).is_some_and(is_function);
    open || set_operation.iter().any(|w| is_word(Some(last), w)) || is_with(before)
}

/// Whether the parenthesis behind this token holds arguments.
fn is_function(t: &TokenWithSpan) -> bool {
    const NO_FUNCTIONS: [&str; 9] = ["AS", "FROM", "JOIN", "IN", "EXISTS", "UNION", "ALL", "EXCEPT", "INTERSECT"];
    matches!(t.token, Token::Word(_)) && !NO_FUNCTIONS.iter().any(|w| is_word(Some(t), w))
}

/// Whether the tokens are WITH and its queries.
fn is_with(before: &[TokenWithSpan]) -> bool {
    is_word(before.first(), "WITH") && before.last().is_some_and(|t| t.token == Token::RParen) && {
        let depth = |n: i64, t: &TokenWithSpan| match t.token {
            Token::LParen => n + 1,
            Token::RParen => n - 1,
            _ => n,
        };
        before.iter().fold(0, depth) == 0
    }
}

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

/// A type behind `AS` or `::` that nests others or is an interval of units becomes one name, since sqlparser knows no
/// `STRUCT<a: INT>` and no `INTERVAL DAY`.
pub fn quote_types(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let behind = is_word(out.last(), "AS") || is_token(out.last(), &Token::DoubleColon);
        let nests = ["ARRAY", "MAP", "STRUCT"].iter().any(|w| is_word(tokens.get(i), w))
            && matches!(tokens.get(i + 1).map(|t| &t.token), Some(Token::Lt | Token::Neq));
        let end = match behind {
            true if nests => type_end(&tokens, i),
            true => units_end(&tokens, i),
            false => None,
        };
        match end {
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

/// Behind the units of the interval type that begins at `start`.
fn units_end(tokens: &[TokenWithSpan], start: usize) -> Option<usize> {
    let unit = |i: usize| matches!(tokens.get(i).map(|t| &t.token), Some(Token::Word(w)) if w.quote_style.is_none() && is_unit(&w.value));
    let one = is_word(tokens.get(start), "INTERVAL") && unit(start + 1);
    let range = is_word(tokens.get(start + 2), "TO") && unit(start + 3);
    one.then_some(if range { start + 4 } else { start + 2 })
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
