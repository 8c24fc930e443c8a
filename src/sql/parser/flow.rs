//! `CREATE FLOW` and `CREATE STREAMING TABLE`: queries that run.

use super::clause::{self, Clauses};
use super::create::Head;
use super::{insert_target, parse_statement, query, split};
use crate::error::{Error, Result};
use crate::sql::statement::{CreateFlow, CreateStreamingTable, Statement, StatementKind};
use crate::sql::token::{Cursor, tokenize};

pub(super) fn parse_flow(c: &mut Cursor<'_>, head: Head) -> Result<StatementKind> {
    let mut clauses = Clauses::parse(c, clause::FLOW)?;
    c.expect_words(&["AS"])?;
    let (target, columns) = match c.at_words(&["INSERT"]) {
        true => insert_target(c).map(|(target, columns)| (Some(target), columns))?,
        false => (None, vec![]),
    };
    let query = query(c, |c| c.at_words(&["FOREACH", "BATCH"]))?;
    let body = if c.at_words(&["FOREACH"]) { Some(body(c)?) } else { None };
    check_query_name(&mut clauses, &head)?;
    check_one_sink(&clauses, target.is_some(), body.is_some())?;
    Ok(StatementKind::CreateFlow(CreateFlow {
        name: head.name,
        if_there: head.if_there,
        settings: clauses.settings,
        format: clauses.format,
        options: clauses.options,
        comment: clauses.comment,
        target,
        columns,
        query,
        body,
    }))
}

/// Option `queryName` is the flow's name by another word.
fn check_query_name(clauses: &mut Clauses, head: &Head) -> Result<()> {
    let span = clauses.options.span("queryName");
    match clauses.options.remove("queryName") {
        Some(name) if !name.eq_ignore_ascii_case(&head.name.text) => {
            Err(Error::invalid("CONFLICTING_OPTION", "option 'queryName' says something else than CREATE FLOW")
                .with_span(span)
                .with_help("leave it out: the flow's name is the query's name"))
        }
        _ => Ok(()),
    }
}

fn check_one_sink(clauses: &Clauses, target: bool, body: bool) -> Result<()> {
    let places = [(clauses.format.is_some(), "USING"), (target, "INSERT INTO"), (body, "FOREACH BATCH")];
    let given: Vec<_> = places.iter().filter(|(there, _)| *there).map(|(_, word)| *word).collect();
    if given.len() < 2 {
        return Ok(());
    }
    Err(Error::invalid("PARSE_SYNTAX_ERROR", format!("the flow has two places to write to: {}", given.join(" and ")))
        .with_span(clauses.format.as_ref().map(|f| f.span))
        .with_help("keep one; a second flow can write to the other"))
}

pub(super) fn parse_streaming_table(c: &mut Cursor<'_>, head: Head) -> Result<StatementKind> {
    let clauses = Clauses::parse(c, clause::STREAMING_TABLE)?;
    c.expect_words(&["AS"])?;
    let query = query(c, |_| false)?;
    Ok(StatementKind::CreateStreamingTable(CreateStreamingTable {
        name: head.name,
        if_there: head.if_there,
        settings: clauses.settings,
        format: clauses.format,
        options: clauses.options,
        comment: clauses.comment,
        query,
    }))
}

/// `FOREACH BATCH BEGIN statement; … END`.
fn body(c: &mut Cursor<'_>) -> Result<Vec<Statement>> {
    c.expect_words(&["FOREACH", "BATCH"])?;
    let begin = c.span();
    c.expect_words(&["BEGIN"])?;
    let mut inner = c.clone();
    let mut end = None;
    while !inner.at_end() {
        if inner.at_words(&["END"]) {
            end = Some(inner.clone());
        }
        inner.next();
    }
    let Some(end) = end else {
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", "BEGIN without END")
            .with_span(begin)
            .with_help("write FOREACH BATCH BEGIN INSERT INTO … SELECT … FROM batch; END"));
    };
    let span = begin.to(begin);
    let statements = statements(c, span.end, end.span().start)?;
    *c = end;
    c.expect_words(&["END"])?;
    if statements.is_empty() {
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", "FOREACH BATCH has no statement")
            .with_span(begin)
            .with_help("write what to do with a batch: INSERT INTO … SELECT … FROM batch;"));
    }
    Ok(statements)
}

/// The inserts and queries between two places of the text.
fn statements(c: &Cursor<'_>, start: usize, end: usize) -> Result<Vec<Statement>> {
    let tokens: Vec<_> =
        tokenize(c.text())?.into_iter().filter(|t| t.span.start >= start && t.span.end <= end).collect();
    split(&tokens)
        .into_iter()
        .map(|range| {
            let statement = parse_statement(Cursor::new(c.text(), &tokens[range]))?;
            match statement.kind {
                StatementKind::Insert(_) | StatementKind::Query(_) => Ok(statement),
                _ => Err(Error::unsupported("UNSUPPORTED_FEATURE", "FOREACH BATCH takes INSERT INTO and SELECT only")
                    .with_help("move the statement before CREATE FLOW")
                    .with_span(statement.span)),
            }
        })
        .collect()
}
