//! What the names of a session stand for, and taking back what a wrong script has named.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;

use super::Session;
use super::conf::Settings;
use super::filled::{Filled, Reads};
use crate::error::{Error, Result};
use crate::options::{OptionReader, Options, did_you_mean};
use crate::output_mode::OutputMode;
use crate::query::{QuerySpec, StreamingQuery};
use crate::sink::{MemorySink, Sink};
use crate::sql::statement::{IfThere, Name, ObjectKind};
use crate::trigger::Trigger;

/// The objects of a session. Streams, tables, sinks and views share their names; flows have names of their own, since a
/// flow may be called as the sink it fills.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalog {
    relations: BTreeMap<String, Object>,
    flows: BTreeMap<String, Arc<Flow>>,
}

/// A stream, table, sink, view or streaming table.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub kind: ObjectKind,
    /// As the user wrote it.
    pub name: String,
    /// The format, or empty for a view.
    pub format: String,
    pub options: Options,
    pub comment: Option<String>,
    /// A sink that lives as long as its name, because it can be read as a table.
    pub sink: Option<Arc<dyn Sink>>,
    /// The query of a view or of a streaming table.
    pub query: Option<String>,
}

/// A query that is to run, or runs.
#[derive(Debug)]
pub(super) struct Flow {
    pub name: String,
    pub plan: LogicalPlan,
    pub column_names: Vec<String>,
    pub text: String,
    pub sink: Arc<dyn Sink>,
    /// The sink in words, for people: `sink 'revenue'`.
    pub target: String,
    /// What no other flow may write to at the same time.
    pub exclusive: Option<Filled>,
    /// What of its output can be read back.
    pub fills: Vec<Filled>,
    /// What it reads that other flows may fill.
    pub reads: Reads,
    /// Whether it writes to the standard output.
    pub prints: bool,
    pub output_mode: OutputMode,
    pub trigger: Trigger,
    pub checkpoint: Option<PathBuf>,
    pub conf: Options,
    pub comment: Option<String>,
    /// Whether it was started once; it may have ended since.
    pub started: AtomicBool,
    /// Its last run, which says how it ended.
    pub last_run: Mutex<Option<StreamingQuery>>,
}

impl Flow {
    /// What its query is started with.
    pub(super) fn spec(&self) -> QuerySpec {
        QuerySpec {
            name: Some(self.name.clone()),
            plan: self.plan.clone(),
            column_names: self.column_names.clone(),
            text: self.text.clone(),
            sink: self.sink.clone(),
            output_mode: self.output_mode,
            trigger: self.trigger,
            checkpoint: self.checkpoint.clone(),
            conf: self.conf.clone(),
        }
    }
}

impl Catalog {
    pub(super) fn relation(&self, key: &str) -> Option<&Object> {
        self.relations.get(key)
    }

    pub(super) fn flow(&self, key: &str) -> Option<Arc<Flow>> {
        self.flows.get(key).cloned()
    }

    /// Objects of this kind, by name.
    pub(super) fn relations_of(&self, kind: ObjectKind) -> impl Iterator<Item = &Object> {
        self.relations.values().filter(move |o| o.kind == kind)
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.flows.values()
    }

    pub(super) fn put(&mut self, key: String, object: Object) {
        self.relations.insert(key, object);
    }

    pub(super) fn put_flow(&mut self, flow: Flow) -> Arc<Flow> {
        let flow = Arc::new(flow);
        self.flows.insert(flow.name.to_lowercase(), flow.clone());
        flow
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Object> {
        self.relations.remove(key)
    }

    pub(super) fn remove_flow(&mut self, key: &str) -> Option<Arc<Flow>> {
        self.flows.remove(key)
    }

    /// The first of `base`, `base_2`, `base_3`, … that is no live flow's name.
    pub(super) fn free_flow_name(&self, base: &str, is_live: impl Fn(&Flow) -> bool) -> String {
        let taken = |name: &str| self.flows.get(&name.to_lowercase()).is_some_and(|f| is_live(f));
        if !taken(base) {
            return base.to_owned();
        }
        (2usize..).map(|n| format!("{base}_{n}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// The error for a name that stands for nothing of this kind.
    pub(super) fn not_found(&self, kind: ObjectKind, name: &Name) -> Error {
        let (condition, names): (_, Vec<&str>) = match kind {
            ObjectKind::Flow => ("FLOW_NOT_FOUND", self.flows.values().map(|f| f.name.as_str()).collect()),
            ObjectKind::Sink => ("SINK_NOT_FOUND", self.names(|o| o.kind == kind).chain(["console"]).collect()),
            _ => ("TABLE_OR_VIEW_NOT_FOUND", self.names(|o| o.kind == kind).collect()),
        };
        let e = Error::invalid(condition, format!("there is no {} '{}'", kind.name(), name.text)).with_span(name.span);
        if let Some(near) = did_you_mean(&name.text, names) {
            return e.with_help(format!("did you mean '{near}'?"));
        }
        match self.relation(&name.key()) {
            Some(o) => e.with_help(format!("'{}' is a {}", o.name, o.kind.name())),
            None => e.with_help(match kind {
                ObjectKind::Flow => "SHOW FLOWS lists the flows that there are".to_owned(),
                ObjectKind::Sink => {
                    "make it first: CREATE SINK name USING parquet OPTIONS (path '…'); 'console' is always there"
                        .to_owned()
                }
                other => format!("make it first: CREATE {} …, or look at SHOW {0}S", other.name().to_uppercase()),
            }),
        }
    }

    fn names(&self, of: impl Fn(&Object) -> bool) -> impl Iterator<Item = &str> {
        self.relations.values().filter(move |o| of(o)).map(|o| o.name.as_str())
    }
}

/// Whether a name can be given: an error if it is taken, `false` if the older object is to be kept.
pub(super) fn may_create(there: Option<&str>, name: &Name, if_there: IfThere) -> Result<bool> {
    match there {
        None => Ok(true),
        Some(_) if if_there.keep => Ok(false),
        Some(_) if if_there.replace => Ok(true),
        Some(kind) => {
            Err(Error::invalid("TABLE_OR_VIEW_ALREADY_EXISTS", format!("{kind} '{}' is there already", name.text))
                .with_span(name.span)
                .with_help("choose another name, or write CREATE OR REPLACE or IF NOT EXISTS"))
        }
    }
}

/// The session as it was before a script, to go back to if the script is wrong.
#[derive(Debug)]
pub(super) struct Savepoint {
    catalog: Catalog,
    settings: Settings,
    /// Tables as they were, oldest change last.
    tables: Vec<(String, Option<Arc<dyn TableProvider>>)>,
}

impl Savepoint {
    pub(super) fn of(session: &Session) -> Self {
        Self { catalog: session.catalog().clone(), settings: session.settings().clone(), tables: vec![] }
    }

    /// Names a table in DataFusion, or with `None` takes the name away; remembers what was there.
    pub(super) fn set_table(
        &mut self,
        session: &Session,
        key: &str,
        table: Option<Arc<dyn TableProvider>>,
    ) -> Result<()> {
        let old = replace_table(session, key, table)?;
        self.tables.push((key.to_owned(), old));
        Ok(())
    }

    /// Takes back everything that was named or set since.
    pub(super) fn roll_back(self, session: &Session) {
        for (key, old) in self.tables.into_iter().rev() {
            if let Err(e) = replace_table(session, &key, old) {
                tracing::warn!("taking back '{key}': {e}");
            }
        }
        if let Err(e) = self.settings.apply(session.context()) {
            tracing::warn!("taking back settings: {e}");
        }
        *session.settings() = self.settings;
        *session.catalog() = self.catalog;
    }
}

fn replace_table(
    session: &Session,
    key: &str,
    table: Option<Arc<dyn TableProvider>>,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let old = session.context().deregister_table(TableReference::bare(key))?;
    if let Some(table) = table {
        session.context().register_table(TableReference::bare(key), table)?;
    }
    Ok(old)
}

/// What a query can read by name.
pub(super) type Table = Arc<dyn TableProvider>;

/// A memory sink, and itself as a table.
pub(super) fn memory_sink(name: &str, options: &Options) -> Result<(Arc<dyn Sink>, Table)> {
    OptionReader::new("the memory sink", options).finish()?;
    let sink = Arc::new(MemorySink::new(name));
    Ok((sink.clone(), sink))
}
