//! The clauses of CREATE statements, in any order, each at most once.

use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::option::parse_options;
use super::{column_list, name, unknown_word};
use crate::error::{Error, Result, Span};
use crate::options::{Options, did_you_mean, parse_duration};
use crate::output_mode::OutputMode;
use crate::sql::statement::{FlowSettings, Name, processing_time};
use crate::sql::token::{Cursor, string_value};
use crate::trigger::Trigger;

/// How often the log of `TRIGGER REAL TIME` is durable if that is not said, as in Spark.
const REAL_TIME: Duration = Duration::from_secs(300);

/// What a CREATE statement can say besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    Using,
    Options,
    Location,
    PartitionedBy,
    Comment,
    OutputMode,
    Trigger,
    Checkpoint,
}

impl Clause {
    /// The word it begins with.
    fn word(self) -> &'static str {
        match self {
            Self::Using => "USING",
            Self::Options => "OPTIONS",
            Self::Location => "LOCATION",
            Self::PartitionedBy => "PARTITIONED",
            Self::Comment => "COMMENT",
            Self::OutputMode => "OUTPUT",
            Self::Trigger => "TRIGGER",
            Self::Checkpoint => "CHECKPOINT",
        }
    }

    fn starts_at(self, c: &Cursor<'_>) -> bool {
        c.at_words(&[self.word()]) || self == Self::Options && c.at_words(&["WITH"])
    }
}

/// Clauses of objects with rows.
pub(super) const RELATION: &[Clause] =
    &[Clause::Using, Clause::Options, Clause::Location, Clause::PartitionedBy, Clause::Comment];
/// Clauses of a view.
pub(super) const VIEW: &[Clause] = &[Clause::Comment];
/// Clauses of a flow.
pub(super) const FLOW: &[Clause] =
    &[Clause::Using, Clause::Options, Clause::Comment, Clause::OutputMode, Clause::Trigger, Clause::Checkpoint];
/// Clauses of a streaming table.
pub(super) const STREAMING_TABLE: &[Clause] = &[
    Clause::Using,
    Clause::Options,
    Clause::Location,
    Clause::PartitionedBy,
    Clause::Comment,
    Clause::OutputMode,
    Clause::Trigger,
    Clause::Checkpoint,
];

/// The clauses that were there.
#[derive(Debug, Default)]
pub(super) struct Clauses {
    pub format: Option<Name>,
    pub options: Options,
    pub comment: Option<String>,
    pub settings: FlowSettings,
    seen: Vec<Clause>,
}

impl Clauses {
    /// Reads clauses of the `allowed` kinds up to `AS` or the end.
    pub(super) fn parse(c: &mut Cursor<'_>, allowed: &[Clause]) -> Result<Self> {
        let mut clauses = Self::default();
        while !c.at_end() && !c.at_words(&["AS"]) {
            let Some(clause) = allowed.iter().copied().find(|k| k.starts_at(c)) else {
                return Err(unknown_clause(c, allowed));
            };
            clauses.once(clause, c.span())?;
            c.next();
            clauses.parse_clause(c, clause)?;
        }
        clauses.settings_from_options(allowed)?;
        Ok(clauses)
    }

    fn once(&mut self, clause: Clause, span: Span) -> Result<()> {
        if self.seen.contains(&clause) {
            let message = format!("the clause {} is there twice", clause.word());
            return Err(Error::invalid("DUPLICATE_CLAUSES", message).with_span(span).with_help("keep one of them"));
        }
        self.seen.push(clause);
        Ok(())
    }

    fn parse_clause(&mut self, c: &mut Cursor<'_>, clause: Clause) -> Result<()> {
        match clause {
            Clause::Using => self.format = Some(name(c, "the name of a format")?),
            Clause::Options => self.add_options(parse_options(c)?)?,
            Clause::Location => self.add_location(c)?,
            Clause::PartitionedBy => self.add_partitions(c)?,
            Clause::Comment => self.comment = Some(string(c, "the comment as a string")?),
            Clause::OutputMode => self.settings.output_mode = Some(output_mode(c)?),
            Clause::Trigger => self.settings.trigger = Some(trigger(c)?),
            Clause::Checkpoint => {
                c.expect_words(&["LOCATION"])?;
                self.settings.checkpoint = Some(string(c, "the directory as a string")?);
            }
        }
        Ok(())
    }

    fn add_options(&mut self, options: Options) -> Result<()> {
        for (key, value) in options.iter() {
            self.add_option(key, value, options.span(key))?;
        }
        Ok(())
    }

    fn add_location(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let span = c.span();
        let path = string(c, "the path as a string")?;
        self.add_option("path", &path, Some(span))
    }

    fn add_partitions(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        c.expect_words(&["BY"])?;
        let span = c.span();
        let columns: Vec<_> = column_list(c)?.into_iter().map(|column| column.text).collect();
        self.add_option("partitionBy", &columns.join(","), Some(span))
    }

    fn add_option(&mut self, key: &str, value: &str, span: Option<Span>) -> Result<()> {
        if self.options.get(key).is_some_and(|there| there != value) {
            return Err(conflict("LOCATION", key, span));
        }
        self.options.set_at(key, value, span);
        Ok(())
    }

    /// Takes the options that mean the same as a clause. Both given and different is an error.
    fn settings_from_options(&mut self, allowed: &[Clause]) -> Result<()> {
        if allowed.contains(&Clause::OutputMode) {
            self.option_as_clause("outputMode", "OUTPUT MODE", parse_output_mode, |s| &mut s.output_mode)?;
        }
        if allowed.contains(&Clause::Trigger) {
            for key in [
                "trigger.processingTime",
                "trigger.availableNow",
                "trigger.once",
                "trigger.continuous",
                "trigger.realTime",
            ] {
                self.option_as_clause(key, "TRIGGER", |v| trigger_option(key, v), |s| &mut s.trigger)?;
            }
        }
        if allowed.contains(&Clause::Checkpoint) {
            let parse = |v: &str| Ok(v.to_owned());
            self.option_as_clause("checkpointLocation", "CHECKPOINT LOCATION", parse, |s| &mut s.checkpoint)?;
        }
        Ok(())
    }

    fn option_as_clause<T: PartialEq>(
        &mut self,
        key: &str,
        clause: &str,
        parse: impl Fn(&str) -> Result<T>,
        field: impl Fn(&mut FlowSettings) -> &mut Option<T>,
    ) -> Result<()> {
        let span = self.options.span(key);
        let Some(text) = self.options.remove(key) else { return Ok(()) };
        let value = parse(&text).map_err(|e| e.with_span(span))?;
        match field(&mut self.settings) {
            Some(there) if *there != value => Err(conflict(clause, key, span)),
            setting => {
                *setting = Some(value);
                Ok(())
            }
        }
    }
}

fn conflict(clause: &str, key: &str, span: Option<Span>) -> Error {
    Error::invalid("CONFLICTING_OPTION", format!("option '{key}' says something else than {clause}"))
        .with_span(span)
        .with_help("give one of the two")
}

fn unknown_clause(c: &Cursor<'_>, allowed: &[Clause]) -> Error {
    let words: Vec<_> = allowed.iter().map(|k| k.word()).chain(["AS"]).collect();
    let found = c.slice(c.span());
    let e = Error::invalid("PARSE_SYNTAX_ERROR", format!("'{found}' is not a clause of this statement"))
        .with_span(c.span());
    if found == "-" {
        return e.with_help("a name with a dash stands in backquotes, as in USING `rate-micro-batch`");
    }
    match did_you_mean(found, words.iter().copied()) {
        Some(near) => e.with_help(format!("did you mean {near}?")),
        None => e.with_help(format!("it has {}", words.join(", "))),
    }
}

/// A string literal.
pub(super) fn string(c: &mut Cursor<'_>, what: &str) -> Result<String> {
    match c.peek().and_then(string_value) {
        Some(text) => {
            let text = text.to_owned();
            c.next();
            Ok(text)
        }
        None => Err(c.unexpected(what)),
    }
}

fn output_mode(c: &mut Cursor<'_>) -> Result<OutputMode> {
    c.expect_words(&["MODE"])?;
    let mode = c.word_at(0).and_then(output_mode_named);
    match mode {
        Some(mode) => {
            c.next();
            Ok(mode)
        }
        None => Err(unknown_word(c, "an output mode", &["APPEND", "UPDATE", "COMPLETE"])),
    }
}

fn output_mode_named(word: &str) -> Option<OutputMode> {
    match word.to_ascii_lowercase().as_str() {
        "append" => Some(OutputMode::Append),
        "update" => Some(OutputMode::Update),
        "complete" => Some(OutputMode::Complete),
        _ => None,
    }
}

/// An output mode as the value of an option.
pub(super) fn parse_output_mode(text: &str) -> Result<OutputMode> {
    output_mode_named(text.trim()).ok_or_else(|| {
        Error::invalid(
            "STREAMING_OUTPUT_MODE.INVALID",
            format!("option 'outputMode' is '{text}'; expected one of append, update, complete"),
        )
        .with_help("append gives rows that are final, update those that changed, complete the whole result")
    })
}

fn trigger(c: &mut Cursor<'_>) -> Result<Trigger> {
    if c.take_words(&["ONCE"]) {
        return Ok(Trigger::Once);
    }
    if c.take_words(&["AVAILABLE", "NOW"]) || c.take_words(&["AVAILABLENOW"]) {
        return Ok(Trigger::AvailableNow);
    }
    if c.take_words(&["CONTINUOUS"]) {
        let every = duration(c).map_err(|e| match e.help() {
            Some(_) => e,
            None => e.with_help("say how often the log is durable: TRIGGER CONTINUOUS 1 SECOND"),
        });
        return every.map(Trigger::Continuous);
    }
    if c.take_words(&["REAL", "TIME"]) || c.take_words(&["REALTIME"]) {
        let is_given = c.at_words(&["INTERVAL"])
            || c.peek().is_some_and(|t| matches!(t, Token::Number(..)) || string_value(t).is_some());
        let every = if is_given { duration(c)? } else { REAL_TIME };
        return Ok(Trigger::Continuous(every));
    }
    if c.take_words(&["EVERY"]) || c.take_words(&["PROCESSING", "TIME"]) || c.take_words(&["PROCESSINGTIME"]) {
        return duration(c).map(processing_time);
    }
    Err(unknown_word(c, "a trigger", &["EVERY", "ONCE", "AVAILABLE NOW", "CONTINUOUS", "REAL TIME"]))
}

fn trigger_option(key: &str, value: &str) -> Result<Trigger> {
    let wrong = |expected: &str| {
        Error::invalid("INVALID_OPTION", format!("option '{key}' of a flow is '{value}'; expected {expected}"))
            .with_help("the clause for it is TRIGGER EVERY 10 SECONDS, TRIGGER AVAILABLE NOW, TRIGGER ONCE or TRIGGER CONTINUOUS 1 SECOND")
    };
    match key {
        "trigger.processingTime" => {
            with_unit(value).map(processing_time).ok_or_else(|| wrong("a duration such as '10 seconds'"))
        }
        "trigger.continuous" | "trigger.realTime" => {
            with_unit(value).map(Trigger::Continuous).ok_or_else(|| wrong("a duration such as '1 second'"))
        }
        _ if !value.eq_ignore_ascii_case("true") => Err(wrong("true, or leave it out")),
        "trigger.once" => Ok(Trigger::Once),
        _ => Ok(Trigger::AvailableNow),
    }
}

/// `5 SECONDS`, `'5 seconds'`, `INTERVAL 1 MINUTE 30 SECONDS`, `INTERVAL '5' SECOND`.
pub(super) fn duration(c: &mut Cursor<'_>) -> Result<Duration> {
    let mut text = String::new();
    c.take_words(&["INTERVAL"]);
    let first = c.span();
    while let Some(part) = duration_part(c) {
        text.push_str(&part);
        text.push(' ');
    }
    if text.is_empty() {
        return Err(c.unexpected("a duration such as 10 SECONDS"));
    }
    with_unit(&text).ok_or_else(|| {
        Error::invalid("INVALID_INTERVAL_FORMAT", format!("'{}' is not a duration", text.trim()))
            .with_span(first.to(c.last_span()))
            .with_help("write 10 SECONDS, 500 MILLISECONDS, 1 MINUTE 30 SECONDS, …")
    })
}

/// A number alone says milliseconds in options, but as a clause it is a unit that was forgotten.
fn with_unit(text: &str) -> Option<Duration> {
    let bare = text.trim().trim_matches('\'').parse::<f64>().is_ok_and(|n| n != 0.0);
    parse_duration(text).filter(|_| !bare)
}

/// A string, or a number; and the unit behind it.
fn duration_part(c: &mut Cursor<'_>) -> Option<String> {
    let (number, is_string) = match c.peek()? {
        Token::Number(n, _) => (n.clone(), false),
        token => (string_value(token)?.to_owned(), true),
    };
    c.next();
    let bare = number.trim().parse::<f64>().is_ok();
    if is_string && !bare {
        return Some(number);
    }
    let Some(unit) = c.word_at(0).filter(|w| parse_duration(&format!("1 {w}")).is_some() || !is_clause_word(w)) else {
        return Some(number);
    };
    c.next();
    Some(format!("{number} {unit}"))
}

fn is_clause_word(word: &str) -> bool {
    word.eq_ignore_ascii_case("AS") || STREAMING_TABLE.iter().any(|k| k.word().eq_ignore_ascii_case(word))
}
