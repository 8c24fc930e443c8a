//! The verbs of pipeline tests, parsed. Whatever does not begin with one is SQL.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use crate::error::{Error, Result};
use crate::options::{Options, parse_duration};
use crate::output_mode::OutputMode;
use crate::trigger::Trigger;

/// A record's text.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// `START q [mode] [TRIGGER …] [OPTIONS (…)] AS SELECT …`
    Start { query: String, mode: OutputMode, trigger: Trigger, conf: Options, text: String },
    /// `FEED s VALUES …`; without rows, the source still moves on.
    Feed { stream: String, values: Option<String> },
    /// `TRIGGER q`
    Trigger { query: String },
    /// `DRAIN q [LAST]`
    Drain { query: String, last: bool },
    /// `SINK q`
    Sink { query: String },
    /// `WATERMARK q`
    Watermark { query: String },
    /// `ADVANCE CLOCK '10 seconds'`
    AdvanceClock(Duration),
    /// `STOP q`
    Stop { query: String },
    /// `RESTART q [OPTIONS (…)] [AS SELECT … [OPTIONS (…)]]`
    Restart { query: String, conf: Option<Options>, text: Option<String> },
    /// `CRASH q AT failpoint`
    Crash { query: String, failpoint: String },
    /// `INCLUDE 'file.sql' [WITH (name = memory, …)]`
    Include { path: String, with: Options },
    /// Everything else.
    Sql,
}

macro_rules! pattern {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
    };
}

pattern!(HEAD, r"(?s)^(\w+)\s+(\S+)\s*(.*)$");
pattern!(MODE, r"(?is)^(APPEND|UPDATE|COMPLETE)\b\s*(.*)$");
pattern!(TRIGGER, r"(?is)^TRIGGER\s+(ONCE|AVAILABLE\s+NOW|EVERY\s+'[^']*'|EVERY\s+\d+\s+\w+)\s*(.*)$");
pattern!(OPTIONS, r"(?is)^OPTIONS\s*\(((?:[^()']|'(?:[^']|'')*')*)\)\s*(.*)$");
pattern!(TRAILING_OPTIONS, r"(?is)^(.*\S)\s+OPTIONS\s*\(((?:[^()']|'(?:[^']|'')*')*)\)$");
pattern!(OPTION, r"^\s*('(?:[^']|'')*'|[\w.\-]+)\s*=?\s*('(?:[^']|'')*'|[\w.\-]+)\s*(?:,|$)");
pattern!(AS, r"(?is)^AS\s+(.+)$");
pattern!(VALUES, r"(?is)^VALUES\b\s*(.*)$");
pattern!(INCLUDE, r"(?is)^INCLUDE\s+'((?:[^']|'')*)'\s*(?:(?:WITH|OPTIONS)\s*\(((?:[^()']|'(?:[^']|'')*')*)\))?$");
pattern!(CLOCK, r"(?is)^ADVANCE\s+CLOCK\s+(?:BY\s+)?(.+)$");

/// Groups 1.. of a match.
fn groups<'t>(pattern: &Option<Regex>, text: &'t str) -> Option<Vec<&'t str>> {
    let captures = pattern.as_ref()?.captures(text)?;
    Some(captures.iter().skip(1).map(|m| m.map_or("", |m| m.as_str())).collect())
}

impl Verb {
    /// Parses a record.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let Some([verb, name, rest]) = groups(&HEAD, text).and_then(|g| <[&str; 3]>::try_from(g).ok()) else {
            return Ok(Self::Sql);
        };
        let query = || name.to_lowercase();
        Ok(match (verb.to_ascii_uppercase().as_str(), rest) {
            ("START", _) => start(query(), rest)?,
            ("FEED", _) => Self::Feed { stream: query(), values: feed(rest)? },
            ("TRIGGER", "") => Self::Trigger { query: query() },
            ("DRAIN", "") => Self::Drain { query: query(), last: false },
            ("DRAIN", rest) if rest.eq_ignore_ascii_case("last") => Self::Drain { query: query(), last: true },
            ("SINK", "") => Self::Sink { query: query() },
            ("WATERMARK", "") => Self::Watermark { query: query() },
            ("ADVANCE", _) => advance(text)?,
            ("INCLUDE", _) => include(text)?,
            ("STOP", "") => Self::Stop { query: query() },
            ("RESTART", _) => restart(query(), rest)?,
            ("CRASH", _) => crash(query(), rest)?,
            ("TRIGGER" | "DRAIN" | "SINK" | "WATERMARK", _) => return Err(wrong(rest, "the end")),
            _ => Self::Sql,
        })
    }
}

fn start(query: String, mut rest: &str) -> Result<Verb> {
    let (mut mode, mut trigger, mut conf) = (OutputMode::Append, Trigger::Default, Options::new());
    loop {
        if let Some(g) = groups(&AS, rest) {
            return Ok(Verb::Start { query, mode, trigger, conf, text: g[0].to_owned() });
        } else if let Some(g) = groups(&MODE, rest) {
            mode = match g[0].to_ascii_uppercase().as_str() {
                "UPDATE" => OutputMode::Update,
                "COMPLETE" => OutputMode::Complete,
                _ => OutputMode::Append,
            };
            rest = g[1];
        } else if let Some(g) = groups(&TRIGGER, rest) {
            trigger = parse_trigger(g[0])?;
            rest = g[1];
        } else if let Some(g) = groups(&OPTIONS, rest) {
            conf = options(g[0])?;
            rest = g[1];
        } else {
            return Err(wrong(rest, "APPEND, UPDATE, COMPLETE, TRIGGER, OPTIONS (…) or AS SELECT …"));
        }
    }
}

fn parse_trigger(text: &str) -> Result<Trigger> {
    let upper = text.to_ascii_uppercase();
    if upper == "ONCE" {
        return Ok(Trigger::Once);
    }
    if upper.starts_with("AVAILABLE") {
        return Ok(Trigger::AvailableNow);
    }
    match text.get("CONTINUOUS".len()..).filter(|_| upper.starts_with("CONTINUOUS")) {
        Some(every) => duration(every).map(Trigger::Continuous),
        None => duration(text.get("EVERY".len()..).unwrap_or_default()).map(Trigger::ProcessingTime),
    }
}

fn restart(query: String, rest: &str) -> Result<Verb> {
    let (mut conf, mut rest) = (None, rest);
    if let Some(g) = groups(&OPTIONS, rest) {
        (conf, rest) = (Some(options(g[0])?), g[1]);
    }
    if rest.is_empty() {
        return Ok(Verb::Restart { query, conf, text: None });
    }
    let Some(g) = groups(&AS, rest) else { return Err(wrong(rest, "AS SELECT … or OPTIONS (…)")) };
    let mut text = g[0];
    if let Some(g) = groups(&TRAILING_OPTIONS, text) {
        (text, conf) = (g[0], Some(options(g[1])?));
    }
    Ok(Verb::Restart { query, conf, text: Some(text.to_owned()) })
}

fn feed(rest: &str) -> Result<Option<String>> {
    let g = groups(&VALUES, rest).ok_or_else(|| wrong(rest, "VALUES (…), …"))?;
    Ok(if g[0].is_empty() { None } else { Some(g[0].to_owned()) })
}

fn advance(text: &str) -> Result<Verb> {
    let g = groups(&CLOCK, text).ok_or_else(|| wrong(text, "ADVANCE CLOCK '10 seconds'"))?;
    duration(g[0]).map(Verb::AdvanceClock)
}

fn include(text: &str) -> Result<Verb> {
    let g = groups(&INCLUDE, text).ok_or_else(|| wrong(text, "INCLUDE 'file.sql' WITH (stream = memory, …)"))?;
    Ok(Verb::Include { path: g[0].replace("''", "'"), with: options(g[1])? })
}

fn crash(query: String, rest: &str) -> Result<Verb> {
    match rest.split_whitespace().collect::<Vec<_>>()[..] {
        [at, failpoint] if at.eq_ignore_ascii_case("at") => Ok(Verb::Crash { query, failpoint: failpoint.to_owned() }),
        _ => Err(wrong(rest, "AT and the name of a failpoint")),
    }
}

fn duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    parse_duration(text).ok_or_else(|| wrong(text, "a duration such as '10 seconds'"))
}

/// `k 'v', k = v, …`
fn options(text: &str) -> Result<Options> {
    let (mut options, mut rest) = (Options::new(), text);
    while !rest.trim().is_empty() {
        let captures = OPTION.as_ref().and_then(|r| r.captures(rest)).ok_or_else(|| wrong(rest, "key 'value'"))?;
        options.set(unquote(&captures[1]), unquote(&captures[2]));
        rest = &rest[captures[0].len()..];
    }
    Ok(options)
}

fn unquote(text: &str) -> String {
    match text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => text.to_owned(),
    }
}

fn wrong(found: &str, expected: &str) -> Error {
    let found: String = found.chars().take(40).collect();
    Error::invalid("PARSE_SYNTAX_ERROR", format!("expected {expected}, found '{found}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_takes_its_clauses_in_any_order() {
        let text = "START Q OPTIONS (a.b 'x(''y)', c = 1) UPDATE TRIGGER EVERY 5 SECONDS AS\nSELECT 1 AS x";
        let Verb::Start { query, mode, trigger, conf, text } = Verb::parse(text).unwrap() else { panic!() };
        assert_eq!((query.as_str(), mode, text.as_str()), ("q", OutputMode::Update, "SELECT 1 AS x"));
        assert_eq!(trigger, Trigger::ProcessingTime(Duration::from_secs(5)));
        assert_eq!((conf.get("a.b"), conf.get("c")), (Some("x('y)"), Some("1")));
    }

    #[test]
    fn restart_with_a_query_and_options() {
        let Verb::Restart { conf, text, .. } = Verb::parse("RESTART q AS SELECT f(x) FROM s OPTIONS (k 'v')").unwrap()
        else {
            panic!()
        };
        assert_eq!(text.as_deref(), Some("SELECT f(x) FROM s"));
        assert_eq!(conf.unwrap().get("k"), Some("v"));
        let plain = Verb::Restart { query: "q".into(), conf: None, text: None };
        assert_eq!(Verb::parse("RESTART q").unwrap(), plain);
    }

    #[test]
    fn sql_is_left_alone_and_bad_verbs_are_errors() {
        for sql in ["SELECT 1", "STOP FLOW f", "CREATE STREAM s (a INT) USING memory", ""] {
            assert_eq!(Verb::parse(sql).unwrap(), Verb::Sql, "{sql}");
        }
        for bad in ["START q SELECT 1", "DRAIN q FIRST", "FEED s (1)", "CRASH q", "ADVANCE CLOCK soon"] {
            assert!(Verb::parse(bad).is_err(), "{bad}");
        }
        let include = "INCLUDE 'my pipe.sql'\nWITH (orders = memory, 'x y' 'memory')";
        let Verb::Include { path, with } = Verb::parse(include).unwrap() else { panic!() };
        assert_eq!(
            (path.as_str(), with.get("orders"), with.get("x y")),
            ("my pipe.sql", Some("memory"), Some("memory"))
        );
        assert!(Verb::parse("INCLUDE pipeline.sql").is_err());
        assert_eq!(Verb::parse("FEED s VALUES ").unwrap(), Verb::Feed { stream: "s".into(), values: None });
        assert_eq!(Verb::parse("ADVANCE CLOCK '10 seconds'").unwrap(), Verb::AdvanceClock(Duration::from_secs(10)));
    }
}
