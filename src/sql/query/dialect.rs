//! Text to syntax tree: the dialect, and errors with their place in the text.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan, Token, TokenWithSpan, Tokenizer};

use super::calls::SHIFT_UNSIGNED;
use super::syntax::{parser_error, syntax_error, with_hint};
use super::{quote, recursion_level, tokens};
use crate::error::{Result, Span};
use crate::sql::place::Places;

/// How deeply parentheses and CASE may nest.
const MAX_DEPTH: usize = 700;

/// How many NOT or signs may stand in a row.
const MAX_SIGNS: usize = 5000;

/// How many operators may stand in a row on one level.
const MAX_CHAIN: usize = 20_000;

/// More than a text within these limits needs: the parser's own limit says nothing about the place.
const PARSER_DEPTH: usize = 100_000;

/// Spark's dialect as sqlparser has it, plus what it lacks. Scripts are cut into tokens by it as well.
#[derive(Debug)]
pub struct TidemillDialect;

impl Dialect for TidemillDialect {
    fn dialect(&self) -> TypeId {
        SparkSqlDialect.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_long_type_as_bigint(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_select_item_multi_column_alias(&self) -> bool {
        true
    }

    fn supports_cte_without_as(&self) -> bool {
        true
    }

    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    /// `date_part` knows which fields there are.
    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_from_first_select(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    /// `||` binds as `+` does; shifts bind weaker than that and stronger than `&`.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let shift = self.prec_value(Precedence::Ampersand) + 1;
        match &parser.peek_token_ref().token {
            Token::StringConcat => Some(Ok(self.prec_value(Precedence::PlusMinus))),
            Token::ShiftLeft | Token::ShiftRight => Some(Ok(shift)),
            Token::CustomBinaryOperator(op) if op == SHIFT_UNSIGNED => Some(Ok(shift)),
            _ => None,
        }
    }

    /// `a DIV b`, as strong as `/`, and `a IS [NOT] DISTINCT FROM b`, stronger than `AND`; sqlparser's own rules take everything
    /// to their right.
    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        use Keyword::{DISTINCT, DIV, FROM, IS, NOT};
        let make: fn(Box<Expr>, Box<Expr>) -> Expr = if parser.parse_keyword(DIV) {
            |left, right| Expr::BinaryOp { left, op: BinaryOperator::MyIntegerDivide, right }
        } else if parser.parse_keywords(&[IS, DISTINCT, FROM]) {
            Expr::IsDistinctFrom
        } else if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) {
            Expr::IsNotDistinctFrom
        } else {
            return None;
        };
        Some(parser.parse_subexpr(precedence).map(|right| make(Box::new(expr.clone()), Box::new(right))))
    }
}

/// Parses one query, which must be all of `text` but for a final semicolon.
pub fn parse_query(text: &str, lines: &Lines) -> Result<Box<Query>> {
    let dialect = TidemillDialect;
    let tokens = Tokenizer::new(&dialect, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|e| syntax_error(&e.message, lines.span(SqlSpan::new(e.location, e.location))))?;
    let tokens = tokens::rewrite(quote::unquoted(tokens), lines)?;
    check_chains(&tokens, lines)?;
    check_depth(&tokens, lines)?;
    let has_level = recursion_level::is_among(&tokens);
    let mut parser = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH).with_tokens_with_locations(tokens);
    let mut query = parser.parse_query().map_err(|e| parser_error(e, lines))?;
    if has_level {
        recursion_level::restore(&mut query);
    }
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(query),
        token => {
            let span = lines.span(rest.span);
            Err(with_hint(syntax_error(&format!("unexpected '{token}' after the query"), span), text, span))
        }
    }
}

/// Refuses a chain of operators whose tree, as deep as the chain is long, no stack would hold: the parser makes it in a
/// loop, but whoever walks it or drops it goes down.
fn check_chains(tokens: &[TokenWithSpan], lines: &Lines) -> Result<()> {
    let mut operators = vec![0_usize];
    for t in tokens {
        match &t.token {
            Token::LParen | Token::LBracket => operators.push(0),
            Token::RParen | Token::RBracket if operators.len() > 1 => drop(operators.pop()),
            Token::Comma => operators.iter_mut().rev().take(1).for_each(|n| *n = 0),
            token if is_chained(token) => operators.iter_mut().rev().take(1).for_each(|n| *n += 1),
            _ => {}
        }
        if operators.last().is_some_and(|n| *n > MAX_CHAIN) {
            let message = format!("the expression has a chain of more than {MAX_CHAIN} operators");
            return Err(
                syntax_error(&message, lines.span(t.span)).with_help("use IN (…), or group it with parentheses")
            );
        }
    }
    Ok(())
}

/// Refuses what nests more deeply than all who walk its tree can follow.
fn check_depth(tokens: &[TokenWithSpan], lines: &Lines) -> Result<()> {
    let (mut depth, mut signs) = (0_usize, 0_usize);
    for t in tokens {
        let word = |keyword| matches!(&t.token, Token::Word(w) if w.keyword == keyword && w.quote_style.is_none());
        match &t.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ if word(Keyword::CASE) => depth += 1,
            _ if word(Keyword::END) => depth = depth.saturating_sub(1),
            _ => {}
        }
        let sign =
            word(Keyword::NOT) || matches!(t.token, Token::Minus | Token::Plus | Token::Tilde | Token::ExclamationMark);
        signs = if sign { signs + 1 } else { 0 };
        if depth > MAX_DEPTH || signs > MAX_SIGNS {
            return Err(syntax_error("the query is nested too deeply", lines.span(t.span))
                .with_help("compute its parts in subqueries, views or common table expressions"));
        }
    }
    Ok(())
}

fn is_chained(token: &Token) -> bool {
    match token {
        Token::Word(w) => matches!(w.keyword, Keyword::AND | Keyword::OR | Keyword::DIV),
        token => {
            matches!(token, Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat)
        }
    }
}

/// The places of a text, to turn those of sqlparser into bytes.
#[derive(Debug)]
pub struct Lines<'a>(Places<'a>);

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        Self(Places::new(text))
    }

    /// The bytes of a span of sqlparser; `None` for the empty one, which it gives when it does not know.
    pub fn span(&self, span: SqlSpan) -> Option<Span> {
        let start = self.0.offset(span.start)?;
        Some(Span { start, end: self.0.offset(span.end)?.max(start) })
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.0.text()
    }

    /// The bytes of a span, up to the closing parentheses of what it opens: sqlparser leaves out the end of calls and casts.
    pub fn closed_span(&self, span: SqlSpan) -> Option<Span> {
        let span = self.span(span)?;
        let bytes = self.0.text().as_bytes();
        let (mut at, mut open, mut quote) = (span.start, 0usize, None);
        while let Some(&byte) = bytes.get(at) {
            match (quote, byte) {
                _ if at >= span.end && open == 0 => break,
                (Some(q), _) if byte == q => quote = None,
                (Some(b'\'' | b'"'), b'\\') => at += 1,
                (Some(_), _) => {}
                (None, b'\'' | b'"' | b'`') => quote = Some(byte),
                (None, b'(') => open += 1,
                (None, b')') if open == 0 => break,
                (None, b')') => open -= 1,
                _ => {}
            }
            at += 1;
        }
        let end = if open == 0 && quote.is_none() { at.max(span.end) } else { span.end };
        Some(Span { start: span.start, end })
    }

    /// The word or sign that begins at `location`.
    pub fn token_span(&self, location: Location) -> Option<Span> {
        let Some(start) = self.0.offset(location) else {
            let end = self.0.text().len();
            return Some(Span { start: end, end });
        };
        let rest = &self.0.text()[start..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let one = rest.chars().next().map_or(0, char::len_utf8);
        Some(Span { start, end: start + word.max(one) })
    }
}
