//! The reference of all functions: what `SHOW FUNCTIONS`, `DESCRIBE FUNCTION` and docs/functions.md say.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use datafusion::execution::FunctionRegistry;
use datafusion::prelude::SessionContext;

use crate::options::did_you_mean;
use crate::{Error, Result};

/// What there is to say about a function or operator of Spark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// In lower case.
    pub name: &'static str,
    /// Functions of one kind stand together.
    pub group: &'static str,
    /// How it is called; several ways are separated by `; `.
    pub call: &'static str,
    /// The type of the example's result.
    pub returns: &'static str,
    /// What it gives, in a few words.
    pub meaning: &'static str,
    /// A query; empty if there is none.
    pub example: &'static str,
    /// Its result; `-` if it is never the same.
    pub result: &'static str,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut group = "";
    let mut entries = vec![];
    for line in include_str!("reference.txt").lines() {
        let cells: Vec<&'static str> = line.split('\t').collect();
        match cells.as_slice() {
            [name, call, returns, meaning, example, result] => {
                entries.push(Entry { name, group, call, returns, meaning, example, result });
            }
            [title] => group = title.trim_start_matches("# "),
            _ => {}
        }
    }
    entries
});

/// Spark's functions and operators, by group.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The entry of this name, in any case.
pub fn entry(name: &str) -> Option<&'static Entry> {
    let name = name.to_lowercase();
    ENTRIES.iter().find(|e| e.name == name)
}

/// Why a function of Spark is not there.
pub fn missing(name: &str) -> Option<&'static str> {
    let lines = include_str!("missing.txt").lines().filter(|line| !line.starts_with('#'));
    let mut named = lines.filter_map(|line| line.split_once(": "));
    named.find(|(_, names)| names.split(' ').any(|n| n == name)).map(|(why, _)| why)
}

/// Which functions `SHOW FUNCTIONS` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the program.
    System,
    /// Those that were registered with the session.
    User,
    /// Both.
    All,
}

/// The names of functions that a session knows, in order.
pub fn names(context: &SessionContext, scope: Scope) -> Vec<String> {
    let ours = || ENTRIES.iter().map(|e| e.name.to_owned());
    let registered = registered(context);
    let names: BTreeSet<String> = match scope {
        Scope::All => ours().chain(registered).collect(),
        Scope::System => ours().chain(registered.into_iter().filter(|n| is_system(n))).collect(),
        Scope::User => registered.into_iter().filter(|n| !is_system(n)).collect(),
    };
    names.into_iter().collect()
}

fn registered(context: &SessionContext) -> BTreeSet<String> {
    let state = context.state_ref();
    let state = state.read();
    let all = state.udfs().into_iter().chain(state.udafs()).chain(state.udwfs());
    // Names that no user can write are the plan's own.
    all.filter(|name| !name.starts_with("__")).collect()
}

/// Whether the program itself registers the name.
fn is_system(name: &str) -> bool {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let context = SessionContext::new();
        // A session that cannot be made is seen where it is used.
        let _ = super::register_all(&context);
        registered(&context)
    });
    ENTRIES.iter().any(|e| e.name == name) || NAMES.contains(name) || OF_THE_PLAN.contains(&name)
}

/// What the plan registers beside the functions.
const OF_THE_PLAN: [&str; 4] = ["window", "session_window", "window_time", "batch_id"];

/// Whether a name fits the pattern of `SHOW FUNCTIONS LIKE`: `*` for anything, `|` between alternatives, any case.
pub fn is_like(name: &str, pattern: &str) -> bool {
    pattern.split('|').any(|alternative| {
        let regex = format!("(?i)^(?:{})$", alternative.trim().replace('*', ".*"));
        regex::Regex::new(&regex).is_ok_and(|r| r.is_match(name))
    })
}

/// The lines of `DESCRIBE FUNCTION`.
///
/// # Errors
/// `UNRESOLVED_ROUTINE`.
pub fn describe(context: &SessionContext, name: &str, extended: bool) -> Result<Vec<String>> {
    let key = name.to_lowercase();
    let mut lines = vec![format!("Function: {key}")];
    if let Some(entry) = entry(&key) {
        lines.push(format!("Usage: {} - {}", entry.call, entry.meaning));
        if extended {
            lines.push(format!("Group: {}", entry.group));
            if !entry.example.is_empty() {
                let result = if entry.result == "-" { "another result each time" } else { entry.result };
                lines.push(format!("Example: {}", entry.example));
                lines.push(format!("Result: {result} ({})", entry.returns));
            }
        }
        return Ok(lines);
    }
    if !registered(context).contains(&key) {
        return Err(unknown(context, name));
    }
    match documented(context, &key) {
        Some((usage, arguments)) => {
            lines.push(format!("Usage: {usage}"));
            lines.extend(extended.then_some(arguments).into_iter().flatten());
        }
        None => lines.push(format!("Usage: {key}(…) - registered with the session")),
    }
    Ok(lines)
}

/// What DataFusion says about a function of its own: the call with its meaning, and a line for each argument.
fn documented(context: &SessionContext, name: &str) -> Option<(String, Vec<String>)> {
    let state = context.state_ref();
    let state = state.read();
    let scalar = state.udf(name).ok();
    let aggregate = state.udaf(name).ok();
    let window = state.udwf(name).ok();
    let documentation = scalar.as_ref().and_then(|f| f.documentation());
    let documentation = documentation.or_else(|| aggregate.as_ref().and_then(|f| f.documentation()));
    let documentation = documentation.or_else(|| window.as_ref().and_then(|f| f.documentation()))?;
    let arguments = documentation.arguments.iter().flatten().map(|(name, what)| format!("Argument {name}: {what}"));
    let what = documentation.description.split_whitespace().collect::<Vec<_>>().join(" ");
    Some((format!("{} - {what}", documentation.syntax_example), arguments.collect()))
}

/// The error of a name that no function has.
pub fn unknown(context: &SessionContext, name: &str) -> Error {
    let error = Error::invalid("UNRESOLVED_ROUTINE", format!("function '{name}' does not exist"));
    if let Some(why) = missing(&name.to_lowercase()) {
        return error.with_help(why);
    }
    let names = names(context, Scope::All);
    match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => error.with_help(format!("did you mean '{near}'?")),
        None => error.with_help("SHOW FUNCTIONS lists all"),
    }
}

/// docs/functions.md, made from the entries.
#[cfg(test)]
fn markdown() -> String {
    let mut text = String::from(
        "# Functions\n\nAll functions and operators of Spark SQL that Tidemill has, made from its own registry. A test runs every \
         example; the results are those of a running Spark 4.3.\nIn SQL: `SHOW FUNCTIONS LIKE 'array*'` and `DESCRIBE FUNCTION \
         EXTENDED array_join`.\n",
    );
    let cell = |s: &str| s.replace('|', "\\|");
    let code = |s: &str| match s {
        "" => String::new(),
        s if s.contains('`') => format!("`` {} ``", cell(s)),
        s => format!("`{}`", cell(s)),
    };
    let mut group = "";
    for e in entries() {
        if e.group != group {
            group = e.group;
            text += &format!(
                "\n## {group}\n\n| function | gives | example | result | type |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        let result = if e.result == "-" { "another each time".to_owned() } else { code(e.result) };
        let calls = e.call.split("; ").map(code).collect::<Vec<_>>().join(" ");
        text += &format!("| {calls} | {} | {} | {result} | {} |\n", cell(e.meaning), code(e.example), code(e.returns));
    }
    text += include_str!("reference_end.md");
    text += "\n| functions of Spark | why they are not there |\n| --- | --- |\n";
    for line in include_str!("missing.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some((why, names)) = line.split_once(": ") {
            let names: Vec<_> = names.split(' ').map(code).collect();
            text += &format!("| {} | {} |\n", names.join(", "), cell(why));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_sparks() {
        for (name, pattern, fits) in [
            ("abs", "a*", true),
            ("abs", "A[bc]s", true),
            ("max", "a*|ma*", true),
            ("abs", "bs", false),
            ("abs", "abs", true),
        ] {
            assert_eq!(is_like(name, pattern), fits, "{name} LIKE {pattern}");
        }
    }

    #[test]
    fn the_document_is_made_from_the_entries() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/functions.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == markdown(),
            "docs/functions.md is not what the registry says: run this test with UPDATE_DOCS=1"
        );
    }

    #[test]
    fn entries_are_whole_and_differ() {
        let mut seen = BTreeSet::new();
        for e in entries() {
            assert!(seen.insert(e.name), "{} is there twice", e.name);
            assert!(!e.call.is_empty() && !e.meaning.is_empty() && !e.group.is_empty(), "{e:?}");
            assert!(missing(e.name).is_none(), "{} is there and missing", e.name);
        }
        assert!(seen.len() > 420, "{}", seen.len());
    }
}
