//! What the names of a session stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;

use super::start::{Flow, checkpoint_of_two, written_already};
use crate::error::{Error, Result};
use crate::options::{Options, did_you_mean};
use crate::sink::Sink;
use crate::sql::statement::{IfThere, Name, ObjectKind};

/// The objects of a session. Streams, tables, sinks and views share their names; flows have names of their own, since a
/// flow may be called as the sink it fills.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalog {
    relations: BTreeMap<String, Arc<Object>>,
    flows: BTreeMap<String, Arc<Flow>>,
    /// Queries of `write_stream()` that write what only one may.
    writers: Vec<Arc<Flow>>,
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

impl Catalog {
    pub(super) fn relation(&self, key: &str) -> Option<&Object> {
        self.relations.get(key).map(Arc::as_ref)
    }

    pub(super) fn flow(&self, key: &str) -> Option<Arc<Flow>> {
        self.flows.get(key).cloned()
    }

    /// Objects of this kind, by name.
    pub(super) fn relations_of(&self, kind: ObjectKind) -> impl Iterator<Item = &Object> {
        self.relations.values().map(Arc::as_ref).filter(move |o| o.kind == kind)
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.flows.values()
    }

    pub(super) fn put(&mut self, key: String, object: Object) {
        self.relations.insert(key, Arc::new(object));
    }

    pub(super) fn put_flow(&mut self, flow: Flow) -> Arc<Flow> {
        let flow = Arc::new(flow);
        self.flows.insert(flow.name().to_lowercase(), flow.clone());
        flow
    }

    /// Keeps a query of `write_stream()` in mind while it runs, as the writer of its sink.
    pub(super) fn put_writer(&mut self, flow: &Arc<Flow>, is_live: impl Fn(&Flow) -> bool) -> Result<()> {
        self.check_only_writer(flow, is_live)?;
        self.writers.retain(|f| f.is_active());
        self.writers.extend(flow.exclusive.is_some().then(|| flow.clone()));
        Ok(())
    }

    /// That no other query writes what only one may, or has the same checkpoint. One of the same name takes the place of the other, or is an error of its
    /// own.
    pub(super) fn check_only_writer(&self, flow: &Flow, is_live: impl Fn(&Flow) -> bool) -> Result<()> {
        let is_other = |f: &&Arc<Flow>| f.name().is_empty() || f.name().to_lowercase() != flow.name().to_lowercase();
        let flows = self.flows.values().filter(|f| is_live(f)).chain(self.writers.iter().filter(|f| f.is_active()));
        for other in flows.filter(is_other) {
            if let Some(exclusive) = flow.exclusive.as_ref().filter(|e| other.exclusive.as_ref() == Some(*e)) {
                return Err(written_already(flow, exclusive, other));
            }
            if let Some(dir) = flow.spec.checkpoint.as_ref().filter(|dir| other.spec.checkpoint.as_ref() == Some(*dir))
            {
                return Err(checkpoint_of_two(flow, dir, other));
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        self.relations.remove(key)
    }

    pub(super) fn remove_flow(&mut self, key: &str) -> Option<Arc<Flow>> {
        self.flows.remove(key)
    }

    /// The objects and flows that are others than `before`, by name; `None` for what is gone.
    pub(super) fn changes_since(&self, before: &Self) -> Changes {
        Changes {
            relations: differences(&self.relations, &before.relations),
            flows: differences(&self.flows, &before.flows),
        }
    }

    /// Whether a name of `changes` stands for something else than `before`.
    pub(super) fn differs_in(&self, before: &Self, changes: &Changes) -> bool {
        let here = self.changes_since(before);
        changes.relations.keys().any(|k| here.relations.contains_key(k))
            || changes.flows.keys().any(|k| here.flows.contains_key(k))
    }

    /// Makes `changes` its own.
    pub(super) fn apply(&mut self, changes: Changes) {
        change(&mut self.relations, changes.relations);
        change(&mut self.flows, changes.flows);
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
            ObjectKind::Flow => ("FLOW_NOT_FOUND", self.flows.values().map(|f| f.name()).collect()),
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

/// How a catalog differs from an older one.
#[derive(Debug)]
pub(super) struct Changes {
    relations: BTreeMap<String, Option<Arc<Object>>>,
    flows: BTreeMap<String, Option<Arc<Flow>>>,
}

type Named<T> = BTreeMap<String, Arc<T>>;

fn differences<T>(now: &Named<T>, before: &Named<T>) -> BTreeMap<String, Option<Arc<T>>> {
    let same = |key: &str, value: &Arc<T>| before.get(key).is_some_and(|b| Arc::ptr_eq(b, value));
    let changed = now.iter().filter(|(k, v)| !same(k, v)).map(|(k, v)| (k.clone(), Some(v.clone())));
    let gone = before.keys().filter(|k| !now.contains_key(*k)).map(|k| (k.clone(), None));
    changed.chain(gone).collect()
}

fn change<T>(of: &mut Named<T>, changes: BTreeMap<String, Option<Arc<T>>>) {
    for (key, value) in changes {
        match value {
            Some(value) => of.insert(key, value),
            None => of.remove(&key),
        };
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

/// Names a table in DataFusion, or with `None` takes the name away.
pub(super) fn replace_table(context: &SessionContext, key: &str, table: Option<NamedTable>) -> Result<()> {
    context.deregister_table(TableReference::bare(key))?;
    if let Some(table) = table {
        context.register_table(TableReference::bare(key), table)?;
    }
    Ok(())
}

/// What a query can read by name.
pub(super) type NamedTable = Arc<dyn TableProvider>;
