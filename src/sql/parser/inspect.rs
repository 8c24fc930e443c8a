//! `SET`, `EXPLAIN`, `SHOW`, `DESCRIBE`, `STOP`, `AWAIT` and `DROP`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::clause::duration;
use super::{at_query, name, query, unknown_word};
use crate::error::{Error, Result};
use crate::sql::statement::{ExplainTarget, Name, ObjectKind, StatementKind};
use crate::sql::token::{Cursor, string_value};

/// `SET key = value`, `SET key`, `SET`, `SET TIME ZONE 'zone'`.
pub(super) fn parse_set(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["SET"])?;
    if c.at_end() {
        return Ok(StatementKind::ShowSetting(None));
    }
    let start = c.span();
    if c.take_words(&["TIME", "ZONE"]) {
        let key = Name { text: "session.timeZone".into(), span: start.to(c.last_span()) };
        return Ok(StatementKind::Set { key, value: setting_value(c)? });
    }
    let key = setting_key(c)?;
    if c.at_end() {
        return Ok(StatementKind::ShowSetting(Some(key)));
    }
    if !c.take(&Token::Eq) {
        c.take_words(&["TO"]);
    }
    Ok(StatementKind::Set { key, value: setting_value(c)? })
}

fn setting_key(c: &mut Cursor<'_>) -> Result<Name> {
    let span = c.span();
    match c.peek().and_then(string_value) {
        Some(text) => {
            let text = text.to_owned();
            c.next();
            Ok(Name { text, span })
        }
        None => name(c, "the name of a setting"),
    }
}

/// A string, or all that is left as it is written.
fn setting_value(c: &mut Cursor<'_>) -> Result<String> {
    if c.at_end() {
        return Err(c.unexpected("a value"));
    }
    if let (Some(text), None) = (c.peek().and_then(string_value), c.peek_at(1)) {
        let text = text.to_owned();
        c.next();
        return Ok(text);
    }
    let span = c.take_until(|_| false).whole_span();
    Ok(c.slice(span).to_owned())
}

/// `EXPLAIN WAITING name`, `EXPLAIN [EXTENDED] FLOW name`, `EXPLAIN [EXTENDED] query`.
pub(super) fn parse_explain(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["EXPLAIN"])?;
    if c.take_words(&["WAITING"]) {
        let target = ExplainTarget::Waiting(name(c, "the name of the flow")?);
        return Ok(StatementKind::Explain { extended: false, target });
    }
    let extended = c.take_words(&["EXTENDED"]) || c.take_words(&["VERBOSE"]);
    let target = if c.take_words(&["FLOW"]) {
        ExplainTarget::Flow(name(c, "the name of the flow")?)
    } else if at_query(c) {
        ExplainTarget::Query(query(c, |_| false)?)
    } else {
        return Err(unknown_word(c, "what to explain", &["FLOW", "WAITING", "SELECT", "WITH", "EXTENDED"]));
    };
    Ok(StatementKind::Explain { extended, target })
}

pub(super) fn parse_show(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["SHOW"])?;
    for (words, kind) in [
        (&["STREAMING", "TABLES"][..], ObjectKind::StreamingTable),
        (&["FLOWS"], ObjectKind::Flow),
        (&["STREAMS"], ObjectKind::Stream),
        (&["TABLES"], ObjectKind::Table),
        (&["SINKS"], ObjectKind::Sink),
        (&["VIEWS"], ObjectKind::View),
    ] {
        if c.take_words(words) {
            return Ok(StatementKind::Show(kind));
        }
    }
    for (words, scope) in [
        (&["FUNCTIONS"][..], None),
        (&["USER", "FUNCTIONS"], Some("USER")),
        (&["SYSTEM", "FUNCTIONS"], Some("SYSTEM")),
        (&["ALL", "FUNCTIONS"], Some("ALL")),
    ] {
        if c.take_words(words) {
            c.take_words(&["LIKE"]);
            let pattern = if c.at_end() { None } else { Some(rest(c).text) };
            return Ok(StatementKind::ShowFunctions { scope, pattern });
        }
    }
    let words = ["FLOWS", "STREAMS", "TABLES", "SINKS", "VIEWS", "STREAMING TABLES", "FUNCTIONS"];
    Err(unknown_word(c, "what to show", &words))
}

/// All that is left, which may be a string, a name in backticks, or an operator.
fn rest(c: &mut Cursor<'_>) -> Name {
    if let (Some(text), None) = (c.peek().and_then(string_value), c.peek_at(1)) {
        let name = Name { text: text.to_owned(), span: c.span() };
        c.next();
        return name;
    }
    let span = c.take_until(|_| false).whole_span();
    Name { text: c.slice(span).trim().trim_matches('`').to_owned(), span }
}

/// `DESCRIBE [kind] name`, `DESCRIBE FUNCTION [EXTENDED] name`.
pub(super) fn parse_describe(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.next();
    if c.peek_at(1).is_some() && c.take_words(&["FUNCTION"]) {
        let extended = c.peek_at(1).is_some() && c.take_words(&["EXTENDED"]);
        return Ok(StatementKind::DescribeFunction { extended, name: rest(c) });
    }
    let kind = kind_before_name(c);
    Ok(StatementKind::Describe { kind, name: name(c, "the name of what to describe")? })
}

/// `STOP [FLOW] name`.
pub(super) fn parse_stop(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["STOP"])?;
    if c.peek_at(1).is_some() {
        c.expect_words(&["FLOW"])?;
    }
    Ok(StatementKind::Stop(name(c, "the name of the flow")?))
}

/// `AWAIT [FLOW] name [TIMEOUT duration]`.
pub(super) fn parse_await(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["AWAIT"])?;
    let is_name = c.peek_at(1).is_none() || c.word_at(1).is_some_and(|w| w.eq_ignore_ascii_case("timeout"));
    if !is_name {
        c.expect_words(&["FLOW"])?;
    }
    let name = name(c, "the name of the flow")?;
    let timeout = if c.take_words(&["TIMEOUT"]) { Some(duration(c)?) } else { None };
    Ok(StatementKind::Await { name, timeout })
}

/// `DROP kind [IF EXISTS] name`.
pub(super) fn parse_drop(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["DROP"])?;
    let Some(kind) = kind_before_name(c) else {
        return Err(unknown_word(c, "what to drop", &["STREAM", "TABLE", "SINK", "VIEW", "FLOW", "STREAMING TABLE"]));
    };
    let if_exists = c.take_words(&["IF", "EXISTS"]);
    let name = name(c, &format!("the name of the {}", kind.name()))?;
    if !c.at_end() {
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", "DROP takes one name")
            .with_span(c.span())
            .with_help("write a DROP for each, with ';' between"));
    }
    Ok(StatementKind::Drop { kind, if_exists, name })
}

/// A kind, if a name follows it: an object may be called `stream` itself.
fn kind_before_name(c: &mut Cursor<'_>) -> Option<ObjectKind> {
    c.peek_at(1)?;
    for (words, kind) in [
        (&["STREAMING", "TABLE"][..], ObjectKind::StreamingTable),
        (&["FLOW"], ObjectKind::Flow),
        (&["STREAM"], ObjectKind::Stream),
        (&["TABLE"], ObjectKind::Table),
        (&["SINK"], ObjectKind::Sink),
        (&["VIEW"], ObjectKind::View),
    ] {
        if c.take_words(words) {
            return Some(kind);
        }
    }
    None
}
