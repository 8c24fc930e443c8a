//! `MAX RECURSION LEVEL n` in WITH, which sqlparser lacks: the parser gets it within the name of the query, in a form that
//! no user can type.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, Ident, Query, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::Lines;
use super::tokens::{is_token, is_word, quoted};
use crate::error::{Error, Result};

const CLAUSE: [&str; 3] = ["MAX", "RECURSION", "LEVEL"];
const MARK: &str = "#max_recursion_level ";

/// `r MAX RECURSION LEVEL 5 AS (…)` becomes `` `#max_recursion_level 5 r` AS (…)``.
pub fn rewrite(tokens: Vec<TokenWithSpan>, lines: &Lines) -> Result<Vec<TokenWithSpan>> {
    let begins = |i: usize| (0..).zip(CLAUSE).all(|(k, word)| is_word(tokens.get(i + k), word));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        match begins(i).then(|| name_before(&out)).flatten() {
            Some(at) => {
                let number = tokens.get(i + CLAUSE.len());
                let span = lines.span(number.unwrap_or(&tokens[i]).span);
                let level = parse(number).map_err(|e| e.with_span(span))?;
                if let Token::Word(name) = &out[at].token {
                    out[at].token = quoted(&format!("{MARK}{level} {}", name.value));
                }
                i += CLAUSE.len() + 1;
            }
            None => {
                out.push(tokens[i].clone());
                i += 1;
            }
        }
    }
    Ok(out)
}

/// Where the name stands that ends the tokens, with the names of columns behind it or not.
fn name_before(tokens: &[TokenWithSpan]) -> Option<usize> {
    let end = match tokens.last() {
        Some(last) if last.token == Token::RParen => tokens.iter().rposition(|t| is_token(Some(t), &Token::LParen))?,
        _ => tokens.len(),
    };
    let at = end.checked_sub(1)?;
    matches!(tokens[at].token, Token::Word(_)).then_some(at)
}

fn parse(number: Option<&TokenWithSpan>) -> Result<i32> {
    let level = match number.map(|t| &t.token) {
        Some(Token::Number(n, false)) => n.parse().ok(),
        _ => None,
    };
    level.ok_or_else(|| {
        let message = format!("behind MAX RECURSION LEVEL stands a whole number from 0 to {}", i32::MAX);
        Error::invalid("PARSE_SYNTAX_ERROR", message).with_help("write WITH RECURSIVE r MAX RECURSION LEVEL 200 AS (…)")
    })
}

/// Gives the queries their names again, and puts the level aside.
pub fn restore(query: &mut Query) {
    let _ = query.visit(&mut Restore);
}

/// Whether the clause is among rewritten tokens.
pub fn is_among(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().any(|t| matches!(&t.token, Token::Word(w) if w.value.starts_with(MARK)))
}

struct Restore;

impl VisitorMut for Restore {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let name = &mut cte.alias.name;
            if let Some((level, plain)) = name.value.strip_prefix(MARK).and_then(|rest| rest.split_once(' ')) {
                // FROM behind a query of WITH is syntax of other databases, which is not read here.
                cte.from = Some(Ident::with_span(name.span, format!("{MARK}{level}")));
                *name = Ident { value: plain.to_owned(), ..name.clone() };
            }
        }
        ControlFlow::Continue(())
    }
}

/// The most levels that a query of WITH RECURSIVE asks for.
pub fn of(cte: &Cte) -> Option<usize> {
    cte.from.as_ref()?.value.strip_prefix(MARK)?.parse().ok()
}
