//! Errors of sqlparser: its message, its place, and what was probably meant.

use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Location;

use super::dialect::Lines;
use crate::error::{Error, Span};
use crate::options::did_you_mean;

/// Words that begin or join the clauses of a query.
const CLAUSES: [&str; 24] = [
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT",
    "RIGHT",
    "FULL",
    "INNER",
    "CROSS",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "LATERAL",
    "WATERMARK",
    "WINDOW",
    "QUALIFY",
    "USING",
    "BETWEEN",
];

/// What sqlparser found wrong.
pub fn parser_error(e: ParserError, lines: &Lines) -> Error {
    match e {
        ParserError::RecursionLimitExceeded => syntax_error("the query is nested too deeply", None)
            .with_help("split it into views or common table expressions"),
        ParserError::ParserError(m) | ParserError::TokenizerError(m) => {
            let (message, location) = split_location(&m);
            let end = lines.text().len();
            let span = match location {
                Some(location) => lines.token_span(location),
                None => Some(Span { start: end, end }),
            };
            with_hint(syntax_error(&reworded(message), span), lines.text(), span)
        }
    }
}

/// The error of a text that is no query.
pub fn syntax_error(message: &str, span: Option<Span>) -> Error {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    Error::invalid("PARSE_SYNTAX_ERROR", format!("{first}{}", chars.as_str())).with_span(span)
}

/// The error with what was probably meant there.
pub fn with_hint(error: Error, text: &str, span: Option<Span>) -> Error {
    let Some(span) = span else { return error };
    let (before, at) = (text.get(..span.start).unwrap_or_default(), text.get(span.start..span.end).unwrap_or_default());
    if let Some(comma) = comma_before_from(text, span) {
        return Error::invalid("TRAILING_COMMA_IN_SELECT", "a comma stands before FROM")
            .with_span(comma)
            .with_help("remove the comma, or add the column that is missing");
    }
    match hint(before, at) {
        Some(help) => error.with_help(help),
        None => error.with_help(
            "look at what stands before this place: a word, comma, operator or quote is missing or too much",
        ),
    }
}

/// The comma, if the error is at `, FROM` or at the word behind it: sqlparser takes FROM for a name first.
fn comma_before_from(text: &str, span: Span) -> Option<Span> {
    let from = [text.get(..span.end)?, text.get(..span.start)?].into_iter().find_map(|t| {
        let head = t.trim_end();
        let start = head.len().checked_sub(4)?;
        head.get(start..)?.eq_ignore_ascii_case("FROM").then_some(start)
    })?;
    let head = text.get(..from)?.trim_end();
    head.ends_with(',').then(|| Span { start: head.len() - 1, end: head.len() })
}

fn hint(before: &str, at: &str) -> Option<String> {
    let words: Vec<&str> = before.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let recent = || words.iter().rev().take(3).copied();
    let is = |word: Option<&&str>, wanted: &str| word.is_some_and(|w| w.eq_ignore_ascii_case(wanted));
    if recent().any(|w| w.eq_ignore_ascii_case("WATERMARK")) || is(words.iter().rev().nth(1), "DELAY") {
        return Some("write FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS".to_owned());
    }
    if let Some(word) =
        [at].iter().chain(words.last()).find(|w| ["GROUP", "ORDER", "PARTITION"].contains(&w.to_uppercase().as_str()))
        && !at.eq_ignore_ascii_case("BY")
    {
        return Some(format!("write {} BY", word.to_uppercase()));
    }
    let open = before.matches('(').count() > before.matches(')').count();
    if at.is_empty() && open {
        return Some("a parenthesis is open: add ')'".to_owned());
    }
    if at.is_empty() || CLAUSES.iter().chain(&["BY", "AS", "ON", "AND", "OR"]).any(|c| c.eq_ignore_ascii_case(at)) {
        let last = words.last()?;
        let is_clause = CLAUSES.iter().chain(&["BY", "ON", "AND", "OR", "IN"]).any(|c| c.eq_ignore_ascii_case(last));
        return is_clause.then(|| format!("something is missing after {}", last.to_uppercase()));
    }
    let near = |word: &str| {
        let known = CLAUSES.iter().any(|c| c.eq_ignore_ascii_case(word));
        (!known && word.len() > 2).then(|| did_you_mean(word, CLAUSES)).flatten()
    };
    std::iter::once(at)
        .chain(recent())
        .find_map(|word| near(word).map(|clause| format!("did you mean {clause} instead of '{word}'?")))
}

/// `Expected: an expression, found: EOF` as a sentence.
fn reworded(message: &str) -> String {
    let message = message.strip_prefix("sql parser error: ").unwrap_or(message);
    let Some((expected, found)) = message.split_once(", found: ") else { return message.to_owned() };
    let expected = expected.trim_start_matches("Expected").trim_start_matches([':', ' ']);
    let found = if found == "EOF" { "the end of the query".to_owned() } else { format!("'{found}'") };
    format!("expected {expected}, found {found}")
}

/// Takes ` at Line: 1, Column: 8` off the end of a message of sqlparser.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let parse = || {
        let (head, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((head, Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)))
    };
    match parse() {
        Some((head, location)) => (head, Some(location)),
        None => (message, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::parse_query;
    use super::*;

    #[test]
    fn what_was_meant() {
        for (query, help) in [
            ("SELECT v FORM s", "did you mean FROM instead of 'FORM'?"),
            ("SELECT v FROM s WERE v > 1", "did you mean WHERE instead of 'WERE'?"),
            ("SELECT v FROM s GROUP v", "write GROUP BY"),
            ("SELECT v FROM s WHERE (v > 1", "a parenthesis is open: add ')'"),
            ("SELECT count(*) FROM s GROUP BY", "something is missing after BY"),
            ("SELECT * FROM s WATERMARK ts", "write FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS"),
            (
                "SELECT * FROM s WATERMARK ts DELAY OF 10 SECONDS",
                "write FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS",
            ),
        ] {
            let e = parse_query(query, &Lines::new(query)).unwrap_err();
            assert_eq!((e.condition(), e.help()), ("PARSE_SYNTAX_ERROR", Some(help)), "{query}: {}", e.message());
            assert!(!e.message().contains("EOF"), "{}", e.message());
        }
        let query = "SELECT DISTINCT v, FROM s";
        assert_eq!(parse_query(query, &Lines::new(query)).unwrap_err().condition(), "TRAILING_COMMA_IN_SELECT");
    }
}
