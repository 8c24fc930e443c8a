//! `INCLUDE 'pipeline.sql' WITH (orders = memory, …)`: a user's own script, on memory.
//!
//! The named streams and tables become ones in memory with the same columns; sinks always do, because a test must not
//! write where the pipeline does. All else is as in the file, and its flows are handed over to be stepped through.

use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::Schema;

use super::pipeline::TestFile;
use crate::error::{Error, Result, Span};
use crate::options::{Options, did_you_mean};
use crate::query::QuerySpec;
use crate::session::{IDLE_TIMEOUT, ParsedScript, Session, is_setting};
use crate::sql::statement::{CreateRelation, Fragment, Name, ObjectKind, Statement, StatementKind};
use crate::type_name::sql_type_name;

const MEMORY: &str = "memory";

/// Runs the script but for its flows; those, and whether they print.
pub async fn include(session: &Session, file: &TestFile, path: &str, with: &Options) -> Result<Vec<(QuerySpec, bool)>> {
    let path = find(&file.dir, path);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::invalid("PATH_NOT_FOUND", format!("script '{}' cannot be read: {e}", path.display()))
            .with_help("the path starts at the directory of the test file")
            .with_source(e)
    })?;
    let place = |e: Error| at(e, &path, &text);
    let mut parsed = ParsedScript::new(&text, &file.variables).map_err(|e| place(first(e)))?;
    let replaced = Replaced::new(with, &parsed.statements)?;
    for statement in &mut parsed.statements {
        replaced.apply(session, &mut statement.kind).await.map_err(place)?;
    }
    let script = session.prepare_parsed(parsed).await.map_err(|e| place(first(e)))?;
    session.execute_all_but_flows(script).await.map_err(place)
}

/// The file beside the test file; else as the working directory has it.
fn find(dir: &Path, path: &str) -> PathBuf {
    let beside = dir.join(path);
    if beside.exists() || !Path::new(path).exists() { beside } else { path.into() }
}

/// The first error of a script, which says how many more there are.
fn first(errors: Vec<Error>) -> Error {
    let more = errors.len().saturating_sub(1);
    let first = errors.into_iter().next().unwrap_or_else(|| Error::internal("a script is wrong without an error"));
    if more == 0 {
        return first;
    }
    let help = first.help().map(|h| format!("{h}; ")).unwrap_or_default();
    first.with_help(format!("{help}{more} more errors in the script: tidemill explain shows them"))
}

/// The error with its place in the script.
fn at(e: Error, path: &Path, text: &str) -> Error {
    let Some(Span { start, .. }) = e.span() else { return e.with_place(path.display().to_string()) };
    let before = &text[..text.floor_char_boundary(start)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    e.with_place(format!("{}:{line}:{column}", path.display()))
}

/// Which objects are replaced.
struct Replaced<'o>(&'o Options);

/// Names of all objects of a kind.
const STREAMS: [&str; 2] = ["stream", "streams"];
const TABLES: [&str; 2] = ["table", "tables"];
const SINKS: [&str; 2] = ["sink", "sinks"];

impl<'o> Replaced<'o> {
    /// Checks that every name is there and can be replaced.
    fn new(with: &'o Options, statements: &[Statement]) -> Result<Self> {
        let made = |s: &Statement| match &s.kind {
            StatementKind::CreateRelation(c) => Some(c.name.key()),
            StatementKind::CreateStreamingTable(c) => Some(c.name.key()),
            StatementKind::CreateFlow(c) => Some(c.name.key()),
            _ => None,
        };
        let names: Vec<String> = statements.iter().filter_map(made).collect();
        for (name, value) in with.iter() {
            if !value.eq_ignore_ascii_case(MEMORY) {
                let message = format!("'{name}' cannot become '{value}' in a test");
                return Err(Error::invalid("INVALID_INCLUDE", message).with_help(format!("write {name} = memory")));
            }
            let key = name.to_lowercase();
            if names.contains(&key) || STREAMS.iter().chain(&TABLES).chain(&SINKS).any(|all| *all == key) {
                continue;
            }
            let e = Error::invalid("INVALID_INCLUDE", format!("the script makes nothing that is called '{name}'"));
            return Err(match did_you_mean(name, names.iter().map(String::as_str)) {
                Some(near) => e.with_help(format!("did you mean '{near}'?")),
                None => e.with_help(format!("it makes: {}", names.join(", "))),
            });
        }
        Ok(Self(with))
    }

    fn has(&self, name: &Name, all: &[&str]) -> bool {
        std::iter::once(name.key().as_str()).chain(all.iter().copied()).any(|key| self.0.get(key).is_some())
    }

    async fn apply(&self, session: &Session, statement: &mut StatementKind) -> Result<()> {
        match statement {
            StatementKind::CreateRelation(create) => match create.kind {
                ObjectKind::Stream if self.has(&create.name, &STREAMS) => stream(session, create).await?,
                ObjectKind::Table if self.has(&create.name, &TABLES) => table(create)?,
                ObjectKind::Sink => {
                    create.format.text = MEMORY.into();
                    create.options = Options::new();
                }
                _ => {}
            },
            StatementKind::CreateStreamingTable(create) => {
                create.format = None;
                create.options = Options::new();
                create.settings.checkpoint = None;
            }
            StatementKind::CreateFlow(create) => {
                if let Some(format) = create.format.as_mut().filter(|f| f.key() != "console") {
                    format.text = MEMORY.into();
                    create.options = only_settings(&create.options);
                }
                create.settings.checkpoint = None;
            }
            _ => {}
        }
        Ok(())
    }
}

fn only_settings(options: &Options) -> Options {
    Options::from_iter(options.iter().filter(|(key, _)| is_setting(key)).map(|(k, v)| (k.to_owned(), v.to_owned())))
}

/// A stream in memory with the columns that it has in the file, or that its source has by itself.
async fn stream(session: &Session, create: &mut CreateRelation) -> Result<()> {
    if create.columns.is_none() {
        let (format, name) = (create.format.key(), &create.name.text);
        let stream = session.stream_of(&format, name, None, &create.options).await;
        let stream = stream.map_err(|e| e.with_span(create.name.span))?;
        let text = ddl(&stream.provider().schema());
        create.columns = Some(Fragment { text, span: create.name.span });
    }
    let idle = create.options.get(IDLE_TIMEOUT.name).map(|v| (IDLE_TIMEOUT.name, v.to_owned()));
    create.options = Options::from_iter(idle);
    create.format.text = MEMORY.into();
    Ok(())
}

/// A table in memory, empty until the test inserts into it.
fn table(create: &mut CreateRelation) -> Result<()> {
    if create.columns.is_none() {
        let message = format!("table '{}' tells its columns from files, which it has not in a test", create.name.text);
        return Err(Error::invalid("UNABLE_TO_INFER_SCHEMA", message)
            .with_span(create.name.span)
            .with_help(format!("declare them: CREATE TABLE {} (column TYPE, …)", create.name.text)));
    }
    create.options = Options::new();
    create.format.text = MEMORY.into();
    Ok(())
}

/// The columns as a statement declares them.
fn ddl(schema: &Schema) -> String {
    let column = |f: &datafusion::arrow::datatypes::FieldRef| {
        format!("`{}` {}", f.name().replace('`', "``"), sql_type_name(f.data_type()))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
