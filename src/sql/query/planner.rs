//! The planner of one text: its tables, loaded up front since that is asynchronous, and what every part of it needs.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, visit_relations};

use super::dialect::{Lines, parse_query};
use super::expr::name_parts;
use super::scope::{Env, eq_names, join};
use crate::error::{Error, Result};
use crate::options::did_you_mean;
use crate::plan::hidden_columns::METADATA;
use crate::sql::ScriptText;

/// A plan, not optimised, and the names of its columns as users see them.
#[derive(Debug, Clone)]
pub struct PlannedQuery {
    pub plan: LogicalPlan,
    pub names: Vec<String>,
}

/// Plans one query over the tables and functions of `ctx`. `script` is what the query is a part of: what fails when the query
/// runs shows it.
///
/// # Errors
/// The place of an error is in bytes of `text`.
pub async fn plan_query(ctx: &SessionContext, text: &str, script: Option<ScriptText>) -> Result<PlannedQuery> {
    let lines = Lines::new(text);
    let query = with_stack(|| parse_query(text, &lines))??;
    let state = ctx.state();
    let tables = match load_tables(&state, &query).await {
        Ok(tables) => tables,
        // The tree of a long chain is dropped by recursion.
        Err(e) => return with_stack(move || drop(query)).and(Err(e)),
    };
    with_stack(move || {
        let names_hidden = [METADATA, "input_file_", "kafka_"].iter().any(|word| has_word(text, word));
        let planner =
            Planner { state, lines, script, tables, names_hidden, aliases: Cell::new(0), watermarks: Cell::new(0) };
        let relation = planner.query(&query, &Env::default())?;
        let names = relation.scope.columns.iter().map(|c| c.name.clone()).collect();
        Ok(PlannedQuery { plan: relation.plan, names })
    })?
}

/// Whether the text has these letters somewhere, in any case.
fn has_word(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|letters| letters.eq_ignore_ascii_case(word.as_bytes()))
}

/// Enough for the deepest text that the parser accepts; a thread of the runtime has less.
/// Only what is used of it takes memory.
const STACK_BYTES: usize = 512 << 20;

/// Runs `work` on a thread with a large stack.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("planner".to_owned()).stack_size(STACK_BYTES);
        let handle = thread
            .spawn_scoped(scope, work)
            .map_err(|e| Error::execution("QUERY_EXECUTION", format!("cannot start a thread: {e}")))?;
        handle.join().map_err(|_| Error::internal("the planner panicked"))
    })
}

/// A table or view that the text names.
#[derive(Clone)]
pub struct KnownTable {
    pub reference: TableReference,
    pub source: Arc<dyn TableSource>,
}

/// See the module.
pub struct Planner<'t> {
    pub state: SessionState,
    pub lines: Lines<'t>,
    /// What the text is a part of.
    pub script: Option<ScriptText>,
    tables: Tables,
    /// Whether the text may name where rows come from.
    pub names_hidden: bool,
    aliases: Cell<usize>,
    watermarks: Cell<usize>,
}

struct Tables {
    found: HashMap<String, KnownTable>,
    /// All names there are, for suggestions.
    names: Vec<String>,
}

impl Planner<'_> {
    /// A name for a relation of the plan that no user can type.
    pub fn fresh_alias(&self, base: &str) -> String {
        self.aliases.set(self.aliases.get() + 1);
        format!("{base}#{}", self.aliases.get())
    }

    /// The number of the next watermark.
    pub fn next_watermark(&self) -> usize {
        self.watermarks.replace(self.watermarks.get() + 1)
    }

    /// The table or view of this name.
    pub fn table(&self, parts: &[Ident]) -> Result<&KnownTable> {
        let name = join(parts);
        self.tables.found.get(&name.to_lowercase()).ok_or_else(|| {
            let span = self.lines.span(parts[0].span.union(&parts[parts.len() - 1].span));
            let e = Error::invalid("TABLE_OR_VIEW_NOT_FOUND", format!("table or view '{name}' does not exist"))
                .with_span(span);
            match did_you_mean(&parts[parts.len() - 1].value, self.tables.names.iter().map(String::as_str)) {
                Some(near) => e.with_help(format!("did you mean '{near}'?")),
                None => e.with_help("make it first: CREATE STREAM, CREATE TABLE or CREATE VIEW"),
            }
        })
    }
}

async fn load_tables(state: &SessionState, query: &Query) -> Result<Tables> {
    let wanted = with_stack(|| relation_names(query))?;
    let mut tables = Tables { found: HashMap::new(), names: vec![] };
    for name in wanted {
        let Ok(parts) = name_parts(&name) else { continue };
        let key = join(&parts).to_lowercase();
        if !tables.found.contains_key(&key)
            && let Some(table) = load_table(state, &parts, &mut tables.names).await?
        {
            tables.found.insert(key, table);
        }
    }
    Ok(tables)
}

fn relation_names(query: &Query) -> Vec<ObjectName> {
    let mut names = vec![];
    let _ = visit_relations(query, |name| {
        names.push(name.clone());
        ControlFlow::<()>::Continue(())
    });
    names
}

/// Finds catalog, schema and table in any case; an exact match goes first.
async fn load_table(state: &SessionState, parts: &[Ident], known: &mut Vec<String>) -> Result<Option<KnownTable>> {
    let defaults = &state.config_options().catalog;
    let (catalog, schema, table) = match parts {
        [table] => (&defaults.default_catalog, &defaults.default_schema, &table.value),
        [schema, table] => (&defaults.default_catalog, &schema.value, &table.value),
        [catalog, schema, table] => (&catalog.value, &schema.value, &table.value),
        _ => return Ok(None),
    };
    let list = state.catalog_list();
    let Some(catalog_name) = pick(list.catalog_names(), catalog) else { return Ok(None) };
    let Some(catalog) = list.catalog(&catalog_name) else { return Ok(None) };
    let Some(schema_name) = pick(catalog.schema_names(), schema) else { return Ok(None) };
    let Some(schema) = catalog.schema(&schema_name) else { return Ok(None) };
    let names = schema.table_names();
    let table_name = pick(names.clone(), table).unwrap_or_else(|| table.clone());
    known.extend(names);
    let Some(provider) = schema.table(&table_name).await? else { return Ok(None) };
    let reference = match parts.len() {
        1 => TableReference::bare(table_name),
        2 => TableReference::partial(schema_name, table_name),
        _ => TableReference::full(catalog_name, schema_name, table_name),
    };
    Ok(Some(KnownTable { reference, source: provider_as_source(provider) }))
}

fn pick(names: Vec<String>, wanted: &str) -> Option<String> {
    let exact = names.iter().position(|n| n == wanted);
    let index = exact.or_else(|| names.iter().position(|n| eq_names(n, wanted)))?;
    names.into_iter().nth(index)
}
