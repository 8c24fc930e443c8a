//! `CREATE STREAM | TABLE | SINK | VIEW`, and where `CREATE FLOW` and `CREATE STREAMING TABLE` begin.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::clause::{self, Clauses};
use super::{flow, name, query, unknown_word};
use crate::error::{Error, Result, Span};
use crate::sql::statement::{
    CreateRelation, CreateView, Fragment, IfThere, Name, ObjectKind, StatementKind, Watermark,
};
use crate::sql::token::Cursor;

const OBJECTS: [&str; 6] = ["STREAM", "TABLE", "SINK", "VIEW", "FLOW", "STREAMING TABLE"];

/// What stands before the clauses of every CREATE.
#[derive(Debug)]
pub(super) struct Head {
    pub name: Name,
    pub if_there: IfThere,
}

pub(super) fn parse_create(c: &mut Cursor<'_>) -> Result<StatementKind> {
    c.expect_words(&["CREATE"])?;
    let replace = c.take_words(&["OR", "REPLACE"]);
    if !c.take_words(&["TEMPORARY"]) {
        c.take_words(&["TEMP"]);
    }
    let kind = object_kind(c)?;
    let head = head(c, kind, replace)?;
    match kind {
        ObjectKind::View => view(c, head),
        ObjectKind::Flow => flow::parse_flow(c, head),
        ObjectKind::StreamingTable => flow::parse_streaming_table(c, head),
        ObjectKind::Stream | ObjectKind::Table | ObjectKind::Sink => relation(c, kind, head),
    }
}

fn object_kind(c: &mut Cursor<'_>) -> Result<ObjectKind> {
    for (words, kind) in [
        (&["STREAM"][..], ObjectKind::Stream),
        (&["TABLE"], ObjectKind::Table),
        (&["SINK"], ObjectKind::Sink),
        (&["VIEW"], ObjectKind::View),
        (&["FLOW"], ObjectKind::Flow),
        (&["STREAMING", "TABLE"], ObjectKind::StreamingTable),
    ] {
        if c.take_words(words) {
            return Ok(kind);
        }
    }
    Err(unknown_word(c, "what to create", &OBJECTS))
}

fn head(c: &mut Cursor<'_>, kind: ObjectKind, replace: bool) -> Result<Head> {
    let at = c.span();
    let keep = c.take_words(&["IF", "NOT", "EXISTS"]);
    if keep && replace {
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", "OR REPLACE and IF NOT EXISTS exclude each other")
            .with_span(at)
            .with_help("OR REPLACE makes it anew, IF NOT EXISTS keeps the one that is there: choose one"));
    }
    let name = name(c, &format!("the name of the {}", kind.name()))?;
    Ok(Head { name, if_there: IfThere { replace, keep } })
}

fn view(c: &mut Cursor<'_>, head: Head) -> Result<StatementKind> {
    let clauses = Clauses::parse(c, clause::VIEW)?;
    c.expect_words(&["AS"])?;
    let query = query(c, |_| false)?;
    Ok(StatementKind::CreateView(CreateView {
        name: head.name,
        if_there: head.if_there,
        comment: clauses.comment,
        query,
    }))
}

fn relation(c: &mut Cursor<'_>, kind: ObjectKind, head: Head) -> Result<StatementKind> {
    let columns = if c.take(&Token::LParen) { Columns::parse(c)? } else { Columns::default() };
    let clauses = Clauses::parse(c, clause::RELATION)?;
    if c.at_words(&["AS"]) {
        return Err(as_query(kind).with_span(c.span()));
    }
    let Some(format) = clauses.format else {
        return Err(Error::invalid(
            "PARSE_SYNTAX_ERROR",
            format!("{} '{}' has no format", kind.name(), head.name.text),
        )
        .with_span(head.name.span)
        .with_help("add USING format"));
    };
    if let Some(watermark) = columns.watermark.as_ref().filter(|_| kind != ObjectKind::Stream) {
        return Err(Error::invalid("PARSE_SYNTAX_ERROR", format!("a {} has no watermark", kind.name()))
            .with_span(watermark.column.span)
            .with_help("a watermark belongs to a stream: CREATE STREAM"));
    }
    Ok(StatementKind::CreateRelation(CreateRelation {
        kind,
        name: head.name,
        if_there: head.if_there,
        columns: columns.definitions,
        watermark: columns.watermark,
        format,
        options: clauses.options,
        comment: clauses.comment,
    }))
}

fn as_query(kind: ObjectKind) -> Error {
    Error::unsupported("UNSUPPORTED_FEATURE", format!("CREATE {} … AS is not possible", kind.name().to_uppercase()))
        .with_help("CREATE VIEW names a query; CREATE STREAMING TABLE writes its result")
}

/// `(a INT, b STRING, WATERMARK FOR t AS t - INTERVAL …)`.
#[derive(Debug, Default)]
struct Columns {
    definitions: Option<Fragment>,
    watermark: Option<Watermark>,
}

impl Columns {
    /// Reads up to the closing parenthesis. The watermark is blanked out of the text of the definitions, so that
    /// places in it stay right.
    fn parse(c: &mut Cursor<'_>) -> Result<Self> {
        let mut inner = c.take_parenthesised()?;
        let whole = inner.whole_span();
        let mut columns = Self::default();
        let (mut kept, mut comma) = (vec![], None);
        while !inner.at_end() {
            let mut item = inner.take_until(|c| c.peek() == Some(&Token::Comma));
            if item.at_words(&["WATERMARK", "FOR"]) {
                columns.set_watermark(parse_watermark(&mut item)?)?;
            } else {
                kept.extend((!kept.is_empty()).then_some(comma).flatten());
                kept.push(item.whole_span());
            }
            comma = Some(inner.span());
            inner.take(&Token::Comma);
        }
        if !kept.is_empty() {
            columns.definitions = Some(only(c, whole, &kept));
        }
        Ok(columns)
    }

    fn set_watermark(&mut self, watermark: Watermark) -> Result<()> {
        if self.watermark.is_some() {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "a stream has one watermark at most")
                .with_span(watermark.column.span)
                .with_help("keep the one of the event time; other queries may use another: FROM s WATERMARK …"));
        }
        self.watermark = Some(watermark);
        Ok(())
    }
}

/// The text of `whole` with everything but `kept` blanked out.
fn only(c: &Cursor<'_>, whole: Span, kept: &[Span]) -> Fragment {
    let mut text = String::with_capacity(whole.end - whole.start);
    let mut at = whole.start;
    for span in kept {
        text.extend(std::iter::repeat_n(' ', span.start.saturating_sub(at)));
        text.push_str(c.slice(*span));
        at = span.end;
    }
    Fragment { text, span: Span { start: whole.start, end: at } }
}

/// `WATERMARK FOR ts AS ts - INTERVAL 10 SECONDS`, or `AS ts` for no delay.
fn parse_watermark(c: &mut Cursor<'_>) -> Result<Watermark> {
    c.expect_words(&["WATERMARK", "FOR"])?;
    let column = name(c, "the event-time column")?;
    c.expect_words(&["AS"])?;
    let again = name(c, "the event-time column again")?;
    if again.key() != column.key() {
        return Err(Error::unsupported(
            "UNSUPPORTED_FEATURE",
            format!("the watermark of column '{}' is computed from '{}'", column.text, again.text),
        )
        .with_span(again.span)
        .with_help(format!("write WATERMARK FOR {0} AS {0} - INTERVAL …", column.text)));
    }
    if c.at_end() {
        let span = again.span;
        return Ok(Watermark { column, delay: Fragment { text: "INTERVAL 0 SECONDS".into(), span } });
    }
    c.expect(&Token::Minus)?;
    let start = c.span();
    clause::duration(c)?;
    if !c.at_end() {
        return Err(c.unexpected("',' or ')'"));
    }
    let span = start.to(c.last_span());
    let text = c.slice(span);
    let has_word = text.get(..8).is_some_and(|w| w.eq_ignore_ascii_case("INTERVAL"));
    let text = if has_word { text.to_owned() } else { format!("INTERVAL {text}") };
    Ok(Watermark { column, delay: Fragment { text, span } })
}
