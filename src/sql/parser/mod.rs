//! Scripts into statements: splitting at semicolons, and which statement it is.
//!
//! A wrong statement costs only itself: parsing goes on behind its semicolon, so that one run shows every error.

mod clause;
mod create;
mod flow;
mod inspect;
mod option;

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{Error, Result};
use crate::options::did_you_mean;
use crate::sql::statement::{Fragment, Insert, Name, Statement, StatementKind};
use crate::sql::token::{Cursor, Spanned, tokenize};

/// Words a statement can begin with.
const STATEMENTS: [&str; 15] = [
    "CREATE", "INSERT", "SELECT", "WITH", "VALUES", "FROM", "TABLE", "SET", "EXPLAIN", "SHOW", "DESCRIBE", "DESC",
    "STOP", "DROP", "AWAIT",
];

/// Words a query can begin with.
const QUERIES: [&str; 5] = ["SELECT", "WITH", "VALUES", "FROM", "TABLE"];

/// The statements of a script, and the errors of those that are wrong. Spans are bytes of `text`.
pub fn parse_script(text: &str) -> (Vec<Statement>, Vec<Error>) {
    let tokens = match tokenize(text) {
        Ok(tokens) => tokens,
        Err(e) => return (vec![], vec![e]),
    };
    let (mut statements, mut errors) = (vec![], vec![]);
    for range in split(&tokens) {
        match parse_statement(Cursor::new(text, &tokens[range])) {
            Ok(statement) => statements.push(statement),
            Err(e) => errors.push(e),
        }
    }
    (statements, errors)
}

/// Whether `text` ends with a whole statement, so that a shell need not ask for more.
pub fn is_complete(text: &str) -> bool {
    let Ok(tokens) = tokenize(text) else { return false };
    let cursor = Cursor::new(text, &tokens);
    let open = (0..tokens.len()).any(|at| is_body(&cursor, at) && body_length(&cursor, at).is_none());
    !open && tokens.last().is_some_and(|t| t.token == Token::SemiColon)
}

/// Ranges of tokens between semicolons; those inside `FOREACH BATCH BEGIN … END` do not count.
fn split(tokens: &[Spanned]) -> Vec<Range<usize>> {
    let cursor = Cursor::new("", tokens);
    let (mut ranges, mut start, mut at) = (vec![], 0, 0);
    while at < tokens.len() {
        if tokens[at].token == Token::SemiColon {
            ranges.push(start..at);
            start = at + 1;
        } else if let Some(length) = body_length(&cursor, at) {
            at += length;
            continue;
        }
        at += 1;
    }
    ranges.push(start..tokens.len());
    ranges.retain(|r| !r.is_empty());
    ranges
}

/// The number of tokens of `FOREACH BATCH BEGIN … END` at `at`, if there is one and it ends.
fn body_length(cursor: &Cursor<'_>, at: usize) -> Option<usize> {
    if !is_body(cursor, at) {
        return None;
    }
    let word = |i: usize, w: &str| cursor.word_at(at + i).is_some_and(|found| found.eq_ignore_ascii_case(w));
    let (mut depth, mut i) = (1usize, 3);
    while cursor.peek_at(at + i).is_some() {
        // CASE … END nests inside the body.
        depth += usize::from(word(i, "CASE"));
        depth -= usize::from(word(i, "END"));
        i += 1;
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

fn is_body(cursor: &Cursor<'_>, at: usize) -> bool {
    let word = |(i, w): (usize, &&str)| cursor.word_at(at + i).is_some_and(|found| found.eq_ignore_ascii_case(w));
    ["FOREACH", "BATCH", "BEGIN"].iter().enumerate().all(word)
}

/// The statement that these tokens are.
fn parse_statement(mut c: Cursor<'_>) -> Result<Statement> {
    let span = c.whole_span();
    let kind = parse_kind(&mut c).map_err(|e| e.with_span(span))?;
    if !c.at_end() {
        return Err(c.unexpected("';' after the statement"));
    }
    Ok(Statement { kind, span })
}

fn parse_kind(c: &mut Cursor<'_>) -> Result<StatementKind> {
    if at_query(c) {
        return Ok(StatementKind::Query(query(c, |_| false)?));
    }
    let first = c.word_at(0).unwrap_or("").to_ascii_uppercase();
    match first.as_str() {
        "CREATE" => create::parse_create(c),
        "INSERT" => insert(c).map(StatementKind::Insert),
        "SET" => inspect::parse_set(c),
        "EXPLAIN" => inspect::parse_explain(c),
        "SHOW" => inspect::parse_show(c),
        "DESCRIBE" | "DESC" => inspect::parse_describe(c),
        "STOP" => inspect::parse_stop(c),
        "AWAIT" => inspect::parse_await(c),
        "DROP" => inspect::parse_drop(c),
        _ => Err(unknown_word(c, "a statement", &STATEMENTS)),
    }
}

/// Whether a query comes next.
fn at_query(c: &Cursor<'_>) -> bool {
    c.peek() == Some(&Token::LParen) || QUERIES.iter().any(|w| c.at_words(&[w]))
}

/// The query that comes next, up to `stop` or the end.
fn query<'t>(c: &mut Cursor<'t>, stop: impl Fn(&Cursor<'t>) -> bool) -> Result<Fragment> {
    if !at_query(c) {
        return Err(unknown_word(c, "a query", &QUERIES));
    }
    let span = c.take_until(stop).whole_span();
    Ok(Fragment { text: c.slice(span).to_owned(), span })
}

/// `INSERT INTO [TABLE] target [(column, …)] query`.
fn insert(c: &mut Cursor<'_>) -> Result<Insert> {
    let (target, columns) = insert_target(c)?;
    Ok(Insert { target, columns, query: query(c, |_| false)? })
}

fn insert_target(c: &mut Cursor<'_>) -> Result<(Name, Vec<Name>)> {
    c.expect_words(&["INSERT"])?;
    if c.at_words(&["OVERWRITE"]) {
        return Err(Error::unsupported("UNSUPPORTED_FEATURE", "INSERT OVERWRITE is not possible in a stream")
            .with_span(c.span())
            .with_help("write INSERT INTO; OUTPUT MODE COMPLETE gives the whole result at every trigger"));
    }
    c.expect_words(&["INTO"])?;
    c.take_words(&["TABLE"]);
    let target = name(c, "the name of a sink or table")?;
    let is_list = c.peek() == Some(&Token::LParen)
        && matches!(c.peek_at(1), Some(Token::Word(_)))
        && matches!(c.peek_at(2), Some(Token::Comma | Token::RParen | Token::Period));
    let columns = if is_list { column_list(c)? } else { vec![] };
    Ok((target, columns))
}

/// `(a, b, …)`, each name once.
fn column_list(c: &mut Cursor<'_>) -> Result<Vec<Name>> {
    c.expect(&Token::LParen)?;
    let mut columns: Vec<Name> = vec![];
    while columns.is_empty() || c.take(&Token::Comma) {
        let column = name(c, "the name of a column")?;
        if columns.iter().any(|other| other.key() == column.key()) {
            let message = format!("column '{}' is named twice", column.text);
            return Err(Error::invalid("COLUMN_ALREADY_EXISTS", message)
                .with_span(column.span)
                .with_help("name it once"));
        }
        columns.push(column);
    }
    c.expect(&Token::RParen)?;
    Ok(columns)
}

/// A name, with or without quotes; parts separated by dots are one name.
fn name(c: &mut Cursor<'_>, what: &str) -> Result<Name> {
    let start = c.span();
    let mut text = word(c, what)?;
    while c.take(&Token::Period) {
        text.push('.');
        text.push_str(&word(c, "the rest of the name")?);
    }
    Ok(Name { text, span: start.to(c.last_span()) })
}

fn word(c: &mut Cursor<'_>, what: &str) -> Result<String> {
    match c.peek() {
        Some(Token::Word(w)) => {
            c.next();
            Ok(w.value.clone())
        }
        _ => Err(c.unexpected(what)),
    }
}

/// The error for a word that is none of `known`.
fn unknown_word(c: &Cursor<'_>, expected: &str, known: &[&str]) -> Error {
    let e = c.unexpected(expected);
    match c.word_at(0).and_then(|w| did_you_mean(w, known.iter().copied())) {
        Some(near) => e.with_help(format!("did you mean {near}?")),
        None => e.with_help(format!("it begins with one of {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests;
