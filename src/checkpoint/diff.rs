//! Whether a query may go on from a checkpoint that an earlier version of it wrote, by Spark's rules.
//!
//! Free to change: projections, filters, triggers, rate limits, parallelism, the query's text. Not free: what the state
//! and the offsets in the checkpoint are about.

use super::{Metadata, OperatorMetadata, SourceMetadata};
use crate::error::{Error, Result};

/// What else than the rules has a say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Whether the user lets sources read something else.
    pub source_change: bool,
    /// Whether the sink has the query's rows where it is now.
    pub sink_moved: bool,
}

/// Says what of `new` does not fit a checkpoint of `old`; gives warnings about what was let through.
///
/// # Errors
/// `STREAMING_QUERY_EVOLUTION_ERROR.SOURCES_CHANGED`, `…SINK_CHANGED`, `…OUTPUT_MODE_CHANGED`,
/// `STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA`, `STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE`,
/// `STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE`; each says what differs and what can be done.
pub fn diff_metadata(old: &Metadata, new: &Metadata, allowed: Allowed) -> Result<Vec<String>> {
    check_sources(old, new)?;
    let warnings = check_reads(old, new, allowed.source_change)?;
    check_operators(&old.operators, &new.operators)?;
    check_output_mode(old, new)?;
    check_sink_format(old, new)?;
    if !allowed.sink_moved {
        check_sink(&old.sink, &new.sink)?;
    }
    Ok(warnings)
}

fn check_sources(old: &Metadata, new: &Metadata) -> Result<()> {
    if old.sources == new.sources {
        return Ok(());
    }
    let message = format!(
        "the checkpoint is of a query over the sources {}; this one reads {}{}",
        list(&old.sources),
        list(&new.sources),
        changes(&old.sources, &new.sources)
    );
    Err(incompatible("STREAMING_QUERY_EVOLUTION_ERROR.SOURCES_CHANGED", message))
}

/// What was read is in the state, and what is left of it to read is told by names and offsets: of another path or format
/// neither would be right.
fn check_reads(old: &Metadata, new: &Metadata, allowed: bool) -> Result<Vec<String>> {
    let mut warnings = vec![];
    for (name, (old, new)) in new.sources.iter().zip(old.reads.iter().zip(&new.reads)) {
        let is_same_path = old.path == new.path || old.location == new.location;
        let same_place = old.location == new.location;
        if is_same_path && old.format == new.format && old.options == new.options {
            if let (false, Some(was), Some(is)) = (same_place, &old.location, &new.location) {
                warnings.push(format!("stream '{name}' reads '{is}' now, and did read '{was}': what has been read is known by its path below that"));
            }
            continue;
        }
        let what = format!("stream '{name}' reads {new}; the checkpoint is of a query that read {old}");
        let is_files = old.path.is_some() && new.path.is_some();
        if allowed && is_files {
            warnings
                .push(format!("{what}: files of the new path count as new, and the state keeps what was read before"));
            continue;
        }
        let e = Error::checkpoint("STREAMING_QUERY_EVOLUTION_ERROR.SOURCES_CHANGED", what);
        return Err(if is_files {
            e.with_help(
                "change it back, or start with a new CHECKPOINT LOCATION. The option checkpoint.sourceChange 'allow' of the \
                 flow goes on all the same: files of a new path count as new, unless fileNameOnly 'true' knows them by name",
            )
        } else {
            e.with_help("change it back, or start with a new CHECKPOINT LOCATION")
        });
    }
    Ok(warnings)
}

fn check_operators(old: &[OperatorMetadata], new: &[OperatorMetadata]) -> Result<()> {
    let names = |o: &[OperatorMetadata]| o.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    let (old_names, new_names) = (names(old), names(new));
    if old_names != new_names {
        let message = format!(
            "the checkpoint has state of the operators {}; this query has {}{}",
            list(&old_names),
            list(&new_names),
            changes(&old_names, &new_names)
        );
        return Err(incompatible("STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA", message));
    }
    old.iter().zip(new).enumerate().try_for_each(|(id, (old, new))| check_operator(id, old, new))
}

fn check_operator(id: usize, old: &OperatorMetadata, new: &OperatorMetadata) -> Result<()> {
    if old.fingerprint == new.fingerprint {
        return Ok(());
    }
    let keys = |o: &OperatorMetadata| o.fingerprint.iter().filter(|f| is_key(f)).cloned().collect::<Vec<_>>();
    let (part, condition) = if keys(old) == keys(new) {
        ("state", "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE")
    } else {
        ("keys", "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE")
    };
    let message = format!(
        "the {part} of operator {id} ('{}') differ from the checkpoint's{}",
        new.name,
        changes(&old.fingerprint, &new.fingerprint)
    );
    Err(incompatible(condition, message))
}

/// Fingerprints are words; those about keys begin with that word.
fn is_key(fingerprint: &str) -> bool {
    fingerprint.trim_start().get(..3).is_some_and(|word| word.eq_ignore_ascii_case("key"))
}

/// Operators whose state is a user's program see the output mode.
fn check_output_mode(old: &Metadata, new: &Metadata) -> Result<()> {
    let depends = |o: &&OperatorMetadata| {
        ["transformWithStateExec", "flatMapGroupsWithState", "mapGroupsWithState"].contains(&o.name.as_str())
    };
    let Some(operator) = new.operators.iter().find(depends).filter(|_| old.output_mode != new.output_mode) else {
        return Ok(());
    };
    let message = format!(
        "the checkpoint is of a query in {} mode, this one is in {} mode, and the state of '{}' depends on it",
        old.output_mode, new.output_mode, operator.name
    );
    Err(incompatible("STREAMING_QUERY_EVOLUTION_ERROR.OUTPUT_MODE_CHANGED", message))
}

/// A file sink's log says which batches are in its directory: nothing else can take its place, or its path.
fn check_sink(old: &str, new: &str) -> Result<()> {
    if old == new || !is_file_sink(new) {
        return Ok(());
    }
    let message = format!("the checkpoint is of a query that writes to {old}; this one writes to {new}");
    Err(Error::checkpoint("STREAMING_QUERY_EVOLUTION_ERROR.SINK_CHANGED", message).with_help(
        "change the path back, or start with a new CHECKPOINT LOCATION. A directory that was moved with all that is in it, \
         '_tidemill_metadata' too, is known wherever it is",
    ))
}

/// One directory has files of one format.
fn check_sink_format(old: &Metadata, new: &Metadata) -> Result<()> {
    let (Some(was), Some(is)) = (&old.sink_format, &new.sink_format) else { return Ok(()) };
    if was == is {
        return Ok(());
    }
    let message = format!("the checkpoint is of a query that writes {was} to {}; this one writes {is}", old.sink);
    Err(Error::checkpoint("STREAMING_QUERY_EVOLUTION_ERROR.SINK_CHANGED", message)
        .with_help("change the format back, or start with another path and a new CHECKPOINT LOCATION"))
}

fn is_file_sink(sink: &str) -> bool {
    sink.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("file"))
}

impl std::fmt::Display for SourceMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format)?;
        if let Some(path) = self.location.as_ref().or(self.path.as_ref()) {
            write!(f, " at '{path}'")?;
        }
        let with = |i| if i == 0 { " with" } else { "," };
        self.options.iter().enumerate().try_for_each(|(i, (k, v))| write!(f, "{} {k} '{v}'", with(i)))
    }
}

fn incompatible(condition: &'static str, message: String) -> Error {
    Error::checkpoint(condition, message).with_help(
        "change the query back, or start it with a new CHECKPOINT LOCATION: it then begins with empty state, and its \
         sources from their beginning",
    )
}

fn changes(old: &[String], new: &[String]) -> String {
    let without = |a: &[String], b: &[String]| a.iter().filter(|x| !b.contains(x)).cloned().collect::<Vec<_>>();
    let (removed, added) = (without(old, new), without(new, old));
    let mut text = String::new();
    if !removed.is_empty() {
        text += &format!("; no longer there: {}", list(&removed));
    }
    if !added.is_empty() {
        text += &format!("; new: {}", list(&added));
    }
    if text.is_empty() { "; the order or the number differs".to_owned() } else { text }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "(none)".to_owned();
    }
    names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::metadata;

    fn operator(name: &str, fingerprint: &[&str]) -> OperatorMetadata {
        OperatorMetadata { name: name.into(), fingerprint: fingerprint.iter().map(|s| (*s).to_owned()).collect() }
    }

    fn condition(change: impl FnOnce(&mut Metadata)) -> Option<String> {
        let mut old = metadata();
        old.operators = vec![operator("stateStoreSave", &["key word: Utf8", "count(1): Int64"])];
        old.sink = "FileSink[/out]".into();
        let mut new = old.clone();
        change(&mut new);
        diff_metadata(&old, &new, Allowed::default()).err().map(|e| e.condition().to_owned())
    }

    fn files(format: &str, path: &str, options: &[(&str, &str)]) -> SourceMetadata {
        SourceMetadata {
            format: format.into(),
            path: Some(path.into()),
            location: Some(format!("/here/{path}")),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    /// The number of warnings, or the condition.
    fn reads(old: SourceMetadata, new: SourceMetadata, source_change: bool) -> std::result::Result<usize, String> {
        let (mut before, mut after) = (metadata(), metadata());
        (before.reads, after.reads) = (vec![old], vec![new]);
        let allowed = Allowed { source_change, sink_moved: false };
        diff_metadata(&before, &after, allowed).map(|w| w.len()).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn what_a_source_reads_may_not_change_unless_it_is_allowed() {
        let json = || files("json", "in", &[]);
        for new in [files("csv", "in", &[]), files("json", "other", &[]), files("json", "in", &[("multiLine", "true")])]
        {
            let e = reads(json(), new.clone(), false).unwrap_err();
            assert!(e.contains("stream 'a' reads") && e.contains("json at '/here/in'"), "{e}");
            assert_eq!(reads(json(), new, true), Ok(1));
        }
        let socket = SourceMetadata { format: "socket".into(), ..Default::default() };
        assert!(reads(json(), socket.clone(), true).is_err() && reads(socket, json(), true).is_err());
    }

    #[test]
    fn what_a_source_reads_may_be_written_or_moved_otherwise() {
        let json = || files("json", "in", &[]);
        assert_eq!(reads(json(), json(), false), Ok(0));
        assert_eq!(reads(json(), SourceMetadata { path: Some("/here/in".into()), ..json() }, false), Ok(0));
        assert_eq!(reads(json(), SourceMetadata { location: Some("/there/in".into()), ..json() }, false), Ok(1));
    }

    #[test]
    fn a_directory_that_was_moved_is_the_same_sink() {
        let old = Metadata { sink: "FileSink[/out]".into(), ..metadata() };
        let new = Metadata { sink: "FileSink[/moved]".into(), ..metadata() };
        let written = |format: &str| Metadata { sink_format: Some(format.into()), ..old.clone() };
        assert!(diff_metadata(&written("csv"), &written("csv"), Allowed::default()).is_ok());
        let e = diff_metadata(&written("csv"), &written("json"), Allowed::default()).unwrap_err();
        assert_eq!(e.condition(), "STREAMING_QUERY_EVOLUTION_ERROR.SINK_CHANGED");
        assert!(diff_metadata(&old, &new, Allowed::default()).is_err());
        assert!(diff_metadata(&old, &new, Allowed { sink_moved: true, ..Allowed::default() }).is_ok());
    }

    #[test]
    fn says_what_may_not_change() {
        let is = |c: Option<String>, expected: &str| assert_eq!(c.as_deref(), Some(expected));
        is(condition(|m| m.sources.push("b".into())), "STREAMING_QUERY_EVOLUTION_ERROR.SOURCES_CHANGED");
        is(condition(|m| m.operators.clear()), "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA");
        is(
            condition(|m| m.operators = vec![operator("dedupe", &["key word: Utf8"])]),
            "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA",
        );
        is(
            condition(|m| m.operators[0].fingerprint[0] = "key word: Int64".into()),
            "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE",
        );
        is(
            condition(|m| m.operators[0].fingerprint[1] = "sum(x): Int64".into()),
            "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE",
        );
        is(condition(|m| m.sink = "FileSink[/other]".into()), "STREAMING_QUERY_EVOLUTION_ERROR.SINK_CHANGED");
    }

    #[test]
    fn lets_the_rest_change() {
        assert_eq!(condition(|m| m.query = "SELECT 2".into()), None);
        assert_eq!(condition(|m| m.sink = "KafkaSink[out]".into()), None);
        assert_eq!(condition(|m| m.output_mode = "append".into()), None);
    }
}
