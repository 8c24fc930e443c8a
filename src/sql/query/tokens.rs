//! What Spark's syntax has and sqlparser lacks, rewritten on tokens before parsing.
//!
//! - `STREAM t` and `STREAM(t)` become `t` and `(t)`;
//! - `t WATERMARK e [AS n] DELAY OF i` becomes `(SELECT #watermark(e, i) [AS n] FROM t)`, a form no user can type;
//! - `DISTINCT ON (k) WITHIN WATERMARK` becomes `DISTINCT ON (#within_watermark, k)`;
//! - tables of window functions become subqueries, see [`super::windowing`];
//! - interval literals become `INTERVAL 'n unit …'`; `1D`, `2S` and the like become one number;
//! - `array(…)` and `exists(…)` of values become calls of the functions of these names;
//! - a nested type such as `ARRAY<STRUCT<a: INT>>` becomes one name in quotes;
//! - `*` among arguments becomes a name, see [`super::star`];
//! - `MAX RECURSION LEVEL n` moves into the name of its query, see [`super::recursion_level`];
//! - `TRIM(LEADING FROM s)` loses its FROM; `TABLE t` becomes `SELECT * FROM t`.
//!
//! Tokens keep their places, so that errors still point into the user's text.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan, Word};

use super::calls::{quote_calls, quote_types, respell};
use super::dialect::Lines;
use super::interval::{expand_range, is_unit};
use crate::error::{Error, Result};

/// The name of the function that stands for a `WATERMARK` clause.
pub const WATERMARK: &str = "#watermark";
/// The column that stands for `WITHIN WATERMARK`.
pub const WITHIN_WATERMARK: &str = "#within_watermark";

/// All rewrites; white space and comments are dropped.
pub fn rewrite(tokens: Vec<TokenWithSpan>, lines: &Lines) -> Result<Vec<TokenWithSpan>> {
    let tokens: Vec<_> = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let tokens = respell(quote_types(quote_calls(merge_numbers(tokens))));
    let tokens = rewrite_intervals(tokens, lines)?;
    let tokens = super::star::rewrite(drop_stream(super::windowing::rewrite(tokens)));
    let tokens = rewrite_watermarks(tokens, lines)?;
    super::recursion_level::rewrite(rewrite_within_watermark(tokens), lines)
}

/// Whether the token is this unquoted word.
pub fn is_word(t: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(t.map(|t| &t.token), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Whether the token is this one.
pub fn is_token(t: Option<&TokenWithSpan>, token: &Token) -> bool {
    t.is_some_and(|t| t.token == *token)
}

/// A token at a place.
pub fn at(token: Token, span: SqlSpan) -> TokenWithSpan {
    TokenWithSpan { token, span }
}

/// A name in quotes.
pub fn quoted(name: &str) -> Token {
    Token::make_word(name, Some('`'))
}

/// `1` directly followed by `D`: a number with a suffix.
fn merge_numbers(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for t in tokens {
        if let (Some(last), Token::Word(w)) = (out.last_mut(), &t.token)
            && let Token::Number(n, false) = &last.token
            && last.span.end == t.span.start
            && ["L", "S", "Y", "D", "F", "BD"].iter().any(|s| w.value.eq_ignore_ascii_case(s))
        {
            last.token = Token::Number(format!("{n}{}", w.value), false);
            last.span.end = t.span.end;
            continue;
        }
        out.push(t);
    }
    out
}

/// Brings interval literals to one string.
fn rewrite_intervals(tokens: Vec<TokenWithSpan>, lines: &Lines) -> Result<Vec<TokenWithSpan>> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let interval =
            is_word(tokens.get(i), "INTERVAL").then(|| interval_text(&tokens, i, lines)).transpose()?.flatten();
        out.push(tokens[i].clone());
        i += 1;
        if let Some((text, end)) = interval {
            let span = SqlSpan::new(tokens[i].span.start, tokens[end - 1].span.end);
            out.push(at(Token::SingleQuotedString(text), span));
            i = end;
        }
    }
    Ok(out)
}

/// The pairs of number and unit after the word at `start`, and where they end; `None` if it is no literal.
fn interval_text(tokens: &[TokenWithSpan], start: usize, lines: &Lines) -> Result<Option<(String, usize)>> {
    let mut pairs: Vec<String> = vec![];
    let mut i = start + 1;
    loop {
        let sign_len = tokens.get(i).is_some_and(|t| matches!(t.token, Token::Minus | Token::Plus)) as usize;
        let negative = is_token(tokens.get(i), &Token::Minus);
        let value = match tokens.get(i + sign_len).map(|t| &t.token) {
            Some(Token::Number(n, _)) => n.clone(),
            Some(Token::SingleQuotedString(s) | Token::DoubleQuotedString(s)) => s.trim().to_owned(),
            _ => break,
        };
        let after = i + sign_len + 1;
        let Some(unit) = tokens.get(after).and_then(unit_word) else {
            // A sign after the first pair is arithmetic: `INTERVAL 1 DAY - 1`.
            if pairs.is_empty() && !value.parse::<f64>().is_ok_and(|_| true) {
                pairs.push(value);
                i = after;
            }
            break;
        };
        let mut pair = format!("{value} {unit}");
        let mut end = after + 1;
        if is_word(tokens.get(end), "TO")
            && let Some(to) = tokens.get(end + 1).and_then(unit_word)
        {
            pair = expand_range(&value, &unit, &to).ok_or_else(|| {
                let span = lines.span(SqlSpan::new(tokens[start].span.start, tokens[end + 1].span.end));
                Error::invalid("INVALID_INTERVAL_FORMAT", format!("'{value}' is not an interval {unit} TO {to}"))
                    .with_span(span)
                    .with_help("write INTERVAL '1 02:03:04' DAY TO SECOND, or '1-6' YEAR TO MONTH")
            })?;
            end += 2;
        }
        pairs.push(if negative { negate(&pair) } else { pair });
        i = end;
    }
    Ok((!pairs.is_empty()).then(|| (pairs.join(" "), i)))
}

fn negate(pairs: &str) -> String {
    let flip = |w: &str| match w.strip_prefix('-') {
        Some(rest) => rest.to_owned(),
        None if w.starts_with(|c: char| c.is_ascii_digit() || c == '.') => format!("-{w}"),
        None => w.to_owned(),
    };
    pairs.split_whitespace().map(flip).collect::<Vec<_>>().join(" ")
}

fn unit_word(t: &TokenWithSpan) -> Option<String> {
    match &t.token {
        Token::Word(w) if w.quote_style.is_none() && is_unit(&w.value) => Some(w.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// Which clause a token is in, for each level of parentheses.
#[derive(Default)]
struct Clauses {
    in_from: Vec<bool>,
}

impl Clauses {
    fn step(&mut self, t: &TokenWithSpan) {
        if self.in_from.is_empty() {
            self.in_from.push(false);
        }
        match &t.token {
            Token::LParen => self.in_from.push(self.is_from()),
            Token::RParen if self.in_from.len() > 1 => {
                self.in_from.pop();
            }
            Token::Word(w) => self.word(w),
            _ => {}
        }
    }

    fn word(&mut self, w: &Word) {
        let from = match w.keyword {
            Keyword::FROM | Keyword::JOIN => true,
            Keyword::SELECT | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER | Keyword::LIMIT => {
                false
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::ON | Keyword::WITH => false,
            _ => return,
        };
        if let (Some(top), None) = (self.in_from.last_mut(), w.quote_style) {
            *top = from;
        }
    }

    fn is_from(&self) -> bool {
        self.in_from.last().copied().unwrap_or(false)
    }
}

/// Drops `STREAM` in front of a relation.
fn drop_stream(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut clauses = Clauses::default();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for (i, t) in tokens.iter().enumerate() {
        clauses.step(t);
        let starts_relation = is_word(out.last(), "FROM")
            || is_word(out.last(), "JOIN")
            || (clauses.is_from() && out.last().is_some_and(|p| matches!(p.token, Token::Comma | Token::LParen)));
        if starts_relation && is_word(Some(t), "STREAM") && is_relation_start(&tokens[i + 1..]) {
            continue;
        }
        out.push(t.clone());
    }
    out
}

/// Whether a relation's name, in parentheses or not, begins here, and not a clause after a table named `stream`.
fn is_relation_start(rest: &[TokenWithSpan]) -> bool {
    match rest.first().map(|t| &t.token) {
        Some(Token::LParen) => true,
        Some(Token::Word(w)) => w.quote_style.is_some() || !ends_relation(w),
        _ => false,
    }
}

/// Words that follow a relation and cannot be its name or alias.
fn ends_relation(w: &Word) -> bool {
    const WORDS: [&str; 26] = [
        "AS",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "NATURAL",
        "SEMI",
        "ANTI",
        "ON",
        "USING",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "LATERAL",
        "WATERMARK",
        "TABLESAMPLE",
        "WINDOW",
        "SORT",
    ];
    WORDS.iter().any(|k| w.value.eq_ignore_ascii_case(k))
}

/// Turns `WATERMARK` clauses into subqueries.
fn rewrite_watermarks(tokens: Vec<TokenWithSpan>, lines: &Lines) -> Result<Vec<TokenWithSpan>> {
    let mut clauses = Clauses::default();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let t = &tokens[i];
        if clauses.is_from()
            && is_word(Some(t), "WATERMARK")
            && let Some(clause) = WatermarkClause::find(&tokens, i)
            && let Some(relation) = relation_start(&out)
        {
            clause.check(&tokens, &out[..relation]).map_err(|e| e.with_span(lines.span(t.span)))?;
            let relation = out.split_off(relation);
            clause.write(&tokens, relation, t.span, &mut out);
            i = clause.end;
            continue;
        }
        clauses.step(t);
        out.push(t.clone());
        i += 1;
    }
    Ok(out)
}

/// Places in the tokens: `WATERMARK` expr `[AS name] DELAY OF` interval.
struct WatermarkClause {
    expr: std::ops::Range<usize>,
    name: Option<usize>,
    delay: std::ops::Range<usize>,
    end: usize,
}

impl WatermarkClause {
    fn find(tokens: &[TokenWithSpan], watermark: usize) -> Option<Self> {
        let mut depth = 0usize;
        let mut delay = watermark + 1;
        loop {
            match &tokens.get(delay)?.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.checked_sub(1)?,
                Token::Word(w) if depth == 0 && w.keyword == Keyword::WHERE => return None,
                _ if depth == 0 && is_word(tokens.get(delay), "DELAY") && is_word(tokens.get(delay + 1), "OF") => break,
                _ => {}
            }
            delay += 1;
        }
        let named = delay >= watermark + 4 && is_word(tokens.get(delay - 2), "AS");
        let name = named.then(|| delay - 1);
        let expr = watermark + 1..name.map_or(delay, |n| n - 1);
        // Intervals are two tokens by now: the word and its string.
        let start = delay + 2;
        let complete = is_word(tokens.get(start), "INTERVAL")
            && matches!(tokens.get(start + 1).map(|t| &t.token), Some(Token::SingleQuotedString(_)));
        let end = start + 2;
        (complete && !expr.is_empty()).then_some(Self { expr, name, delay: start..end, end })
    }

    /// Refuses what the clause cannot have: several names, or a relation that it cannot follow.
    fn check(&self, tokens: &[TokenWithSpan], before: &[TokenWithSpan]) -> Result<()> {
        let expr = &tokens[self.expr.clone()];
        let names = expr.iter().rposition(|t| t.token == Token::LParen);
        let aliases = names.and_then(|i| i.checked_sub(1)).is_some_and(|i| is_word(expr.get(i), "AS"));
        if aliases && is_token(expr.last(), &Token::RParen) {
            let message = "a WATERMARK clause gives one column, which has one name";
            return Err(Error::invalid("CANNOT_USE_MULTI_ALIASES_IN_WATERMARK_CLAUSE", message)
                .with_help("write WATERMARK expr AS name DELAY OF INTERVAL 10 SECONDS"));
        }
        if is_word(before.last(), "VALUES") {
            let message = "WATERMARK cannot follow VALUES";
            return Err(Error::invalid("UNRESOLVABLE_TABLE_VALUED_FUNCTION", message)
                .with_help("put it in parentheses: FROM (VALUES (…)) WATERMARK col1 DELAY OF INTERVAL 10 SECONDS"));
        }
        if is_word(before.last(), "AS") {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "WATERMARK stands behind an alias")
                .with_help("the alias comes last: FROM t WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS a"));
        }
        Ok(())
    }

    fn write(
        &self,
        tokens: &[TokenWithSpan],
        relation: Vec<TokenWithSpan>,
        span: SqlSpan,
        out: &mut Vec<TokenWithSpan>,
    ) {
        out.push(at(Token::LParen, span));
        out.push(at(Token::make_word("SELECT", None), span));
        out.push(at(quoted(WATERMARK), span));
        out.push(at(Token::LParen, span));
        out.extend_from_slice(&tokens[self.expr.clone()]);
        out.push(at(Token::Comma, span));
        out.extend_from_slice(&tokens[self.delay.clone()]);
        out.push(at(Token::RParen, span));
        if let Some(name) = self.name {
            out.push(at(Token::make_word("AS", None), span));
            out.push(tokens[name].clone());
        }
        out.push(at(Token::make_word("FROM", None), span));
        out.extend(relation);
        out.push(at(Token::RParen, span));
    }
}

/// Where the relation that ends the tokens begins: a name, a subquery, or a table function.
fn relation_start(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut i = tokens.len();
    if is_token(tokens.last(), &Token::RParen) {
        let mut depth = 0usize;
        loop {
            i = i.checked_sub(1)?;
            match tokens[i].token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        let is_name = |t: &TokenWithSpan| matches!(&t.token, Token::Word(w) if w.keyword == Keyword::NoKeyword || w.keyword == Keyword::RANGE);
        return Some(if i > 0 && is_name(&tokens[i - 1]) { i - 1 } else { i });
    }
    loop {
        i = i.checked_sub(1)?;
        if !matches!(tokens[i].token, Token::Word(_)) {
            return None;
        }
        match i.checked_sub(1).map(|p| &tokens[p].token) {
            Some(Token::Period) => i -= 1,
            _ => return Some(i),
        }
    }
}

/// Moves `WITHIN WATERMARK` into the keys of `DISTINCT ON`.
fn rewrite_within_watermark(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut opened = vec![];
    let mut closed = None;
    let mut skip = 0;
    for (i, t) in tokens.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        match t.token {
            Token::LParen => opened.push(out.len()),
            Token::RParen => closed = opened.pop(),
            _ => {}
        }
        let after_keys = is_token(out.last(), &Token::RParen);
        if after_keys
            && is_word(Some(t), "WITHIN")
            && is_word(tokens.get(i + 1), "WATERMARK")
            && let Some(open) = closed
            && open > 1
            && is_word(out.get(open - 1), "ON")
            && is_word(out.get(open - 2), "DISTINCT")
        {
            let mut marker = vec![at(quoted(WITHIN_WATERMARK), t.span)];
            if !is_token(out.get(open + 1), &Token::RParen) {
                marker.push(at(Token::Comma, t.span));
            }
            out.splice(open + 1..open + 1, marker);
            skip = 1;
            continue;
        }
        out.push(t.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::dialect::parse_query;
    use super::*;

    fn parsed(text: &str) -> String {
        parse_query(text, &Lines::new(text)).unwrap().to_string()
    }

    #[test]
    fn stream_is_dropped_only_before_a_relation() {
        assert_eq!(parsed("SELECT * FROM STREAM lines, stream AS x"), "SELECT * FROM lines, stream AS x");
        assert_eq!(
            parsed("SELECT stream FROM STREAM(lines) JOIN STREAM b ON true"),
            "SELECT stream FROM lines JOIN b ON true"
        );
        assert_eq!(parsed("SELECT * FROM stream WHERE stream > 1"), "SELECT * FROM stream WHERE stream > 1");
    }

    #[test]
    fn watermark_becomes_a_subquery() {
        assert_eq!(
            parsed("SELECT * FROM a.t WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS o JOIN b ON true"),
            "SELECT * FROM (SELECT `#watermark`(ts, INTERVAL '10 seconds') FROM a.t) AS o JOIN b ON true"
        );
        assert_eq!(
            parsed("SELECT * FROM (SELECT 1) WATERMARK f(a, b) AS t DELAY OF INTERVAL '1 2:3:4' DAY TO SECOND x"),
            "SELECT * FROM (SELECT `#watermark`(f(a, b), INTERVAL '1 day 2 hour 3 minute 4 second') AS t FROM (SELECT 1)) x"
        );
        assert_eq!(parsed("SELECT watermark FROM t watermark"), "SELECT watermark FROM t watermark");
    }

    #[test]
    fn within_watermark_becomes_a_key() {
        assert_eq!(
            parsed("SELECT DISTINCT ON (f(k), j) WITHIN WATERMARK * FROM t"),
            "SELECT DISTINCT ON (`#within_watermark`, f(k), j) * FROM t"
        );
    }

    #[test]
    fn numbers_and_intervals() {
        assert_eq!(
            parsed("SELECT 1D, 2 d, -INTERVAL 1 MINUTE 30 SECONDS"),
            "SELECT 1D, 2 AS d, -INTERVAL '1 minute 30 seconds'"
        );
        assert_eq!(
            parsed("SELECT INTERVAL '10 seconds', INTERVAL -1 MONTH"),
            "SELECT INTERVAL '10 seconds', INTERVAL '-1 month'"
        );
        assert_eq!(parsed("SELECT t + INTERVAL 1 DAY - 1"), "SELECT t + INTERVAL '1 day' - 1");
    }
}
