//! The one way from a query to its run, for flows of SQL and for `write_stream()`: checked, then started as it was checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Session;
use super::filled::{Filled, Reads};
use super::flow::Destination;
use crate::disk::only_local;
use crate::error::{Error, Result, Span};
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::plan::{self, PreparedQuery};
use crate::query::{DELIVERY, QuerySpec, StreamingQuery, delivery, renamed_schema};
use crate::sink::Sink;
use crate::sql::query::PlannedQuery;
use crate::trigger::{Delivery, Trigger};

/// What a query is to be, before anything about it is checked.
pub(super) struct Draft {
    /// Those of SQL have one.
    pub name: Option<String>,
    /// Where the script names it.
    pub place: Option<Span>,
    pub planned: PlannedQuery,
    pub text: String,
    pub destination: Destination,
    pub output_mode: OutputMode,
    pub trigger: Trigger,
    pub checkpoint: Option<String>,
    pub conf: Options,
    pub comment: Option<String>,
}

/// A query that was checked: it is to run, or runs, or has ended.
#[derive(Debug)]
pub(super) struct Flow {
    /// What it is started with.
    pub spec: QuerySpec,
    /// The plan that it was checked with, until it is started.
    prepared: Mutex<Option<PreparedQuery>>,
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
    pub comment: Option<String>,
    /// Whether it was started once; it may have ended since.
    started: AtomicBool,
    /// Its last run, which says how it ended.
    last_run: Mutex<Option<StreamingQuery>>,
}

impl Flow {
    /// Its name; empty for a query of `write_stream()` that has none.
    pub(super) fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or_default()
    }

    /// Whether the plan that it was checked with is there, and would be the same now.
    #[cfg(test)]
    pub(super) fn is_current(&self, session: &datafusion::execution::SessionState) -> bool {
        self.prepared.lock().as_ref().is_some_and(|p| p.is_current(session))
    }

    pub(super) fn was_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn last_run(&self) -> Option<StreamingQuery> {
        self.last_run.lock().clone()
    }

    /// Whether it is still to run, or its own last run goes on.
    pub(super) fn is_active(&self) -> bool {
        !self.was_started() || self.last_run().is_some_and(|run| run.is_active())
    }
}

/// Says at the end that a flow was started, even if the start was given up in the middle: what it writes to is free again.
struct Starting<'f>(&'f Flow);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.started.store(true, Ordering::Release);
    }
}

impl Session {
    /// Checks a query as starting it would, without any effect: the query, its physical plan, whether the sink takes it and
    /// has no other writer. It is not named yet.
    pub(super) async fn checked(&self, draft: Draft) -> Result<Flow> {
        let Draft { name, planned, destination, output_mode, .. } = draft;
        let prepared = plan::prepare(&self.context().state(), &planned.plan, output_mode).await?;
        destination.sink.check(output_mode, &renamed_schema(&prepared.plan.schema, &planned.names))?;
        let mut conf = draft.conf;
        let delivery = self.delivery(&conf, draft.trigger, destination.sink.as_ref());
        let delivery = delivery.map_err(|e| e.with_span(conf.span(DELIVERY)))?;
        if matches!(draft.trigger, Trigger::Continuous(_)) {
            conf.set(DELIVERY, delivery);
        }
        let reads = self.reads(&planned.plan);
        if let Some(own) = destination.fills.iter().find(|filled| reads.has_stream_of(filled)) {
            let message =
                format!("the query reads {own} as a stream, to which it writes: its output would be its input");
            return Err(Error::invalid("SINK_IN_USE", message)
                .with_span(draft.place)
                .with_help("write to another directory"));
        }
        let checkpoint = match (&name, draft.checkpoint) {
            (Some(name), given) => self.checkpoint_of(name, given.as_deref())?,
            (None, given) => given.map(|dir| only_local(&dir, "a checkpoint").map(Into::into)).transpose()?,
        };
        let spec = QuerySpec {
            name,
            plan: planned.plan,
            column_names: planned.names,
            text: draft.text,
            sink: destination.sink,
            output_mode,
            trigger: draft.trigger,
            checkpoint,
            conf,
        };
        let flow = Flow {
            spec,
            prepared: Mutex::new(Some(prepared)),
            target: destination.target,
            exclusive: destination.exclusive,
            fills: destination.fills,
            reads,
            prints: destination.prints,
            comment: draft.comment,
            started: AtomicBool::new(false),
            last_run: Mutex::default(),
        };
        self.catalog().check_only_writer(&flow, |f| self.is_live(f)).map_err(|e| e.with_span(draft.place))?;
        Ok(flow)
    }

    /// Whether output waits for its record, which only a query that hands rows over as they arrive may leave out, and only for a sink that
    /// does not remember batches.
    fn delivery(&self, conf: &Options, trigger: Trigger, sink: &dyn Sink) -> Result<Delivery> {
        let session = self.settings().to_options();
        let is_continuous = matches!(trigger, Trigger::Continuous(_));
        let delivery = delivery(conf, if is_continuous { &session } else { conf });
        let refused = |what: String, help: &str| {
            Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("delivery '{delivery}' {what}")).with_help(help))
        };
        match delivery {
            Delivery::ExactlyOnce => Ok(delivery),
            Delivery::AtLeastOnce if !is_continuous => refused(
                format!("is for TRIGGER CONTINUOUS; this one is {trigger}"),
                "leave it out, or write TRIGGER CONTINUOUS 1 SECOND",
            ),
            Delivery::AtLeastOnce if sink.is_exactly_once() => refused(
                format!("does not go with {}, which keeps which batch it has", sink.description()),
                "leave it out: output then waits until its record is durable, a fraction of a millisecond on most disks",
            ),
            Delivery::AtLeastOnce => Ok(delivery),
        }
    }

    /// Starts a query that was checked.
    pub(super) async fn start(&self, flow: &Flow) -> Result<StreamingQuery> {
        let _starting = Starting(flow);
        let prepared = flow.prepared.lock().take();
        let query = self.streams().start(&self.environment(), flow.spec.clone(), prepared).await;
        *flow.last_run.lock() = query.as_ref().ok().cloned();
        query
    }

    /// Starts a query of `write_stream()`, which is no flow of the catalog.
    pub(super) async fn start_writer(&self, flow: Flow) -> Result<StreamingQuery> {
        let flow = Arc::new(flow);
        self.catalog().put_writer(&flow, |f| self.is_live(f))?;
        self.start(&flow).await
    }

    /// Whether the flow runs, or will when its script does.
    pub(super) fn is_live(&self, flow: &Flow) -> bool {
        !flow.was_started() || self.streams().get_by_name(flow.name()).is_some()
    }

    /// The checkpoint of a query: as given, else its directory under `checkpoint.root`, else none.
    pub(super) fn checkpoint_of(&self, name: &str, given: Option<&str>) -> Result<Option<PathBuf>> {
        if let Some(dir) = given {
            return Ok(Some(only_local(dir, "a checkpoint")?.into()));
        }
        let root = self.settings().get("checkpoint.root")?;
        if root.is_empty() {
            return Ok(None);
        }
        Ok(Some(Path::new(only_local(&root, "a checkpoint")?).join(directory_of(name))))
    }
}

/// The directory of a flow: its name, which is case-insensitive, without what a file name must not hold. No two flows share one.
fn directory_of(name: &str) -> String {
    let name = name.to_lowercase();
    let is_unsafe = |i: usize, c: char| matches!(c, '/' | '\\' | '\0' | '%') || i == 0 && c == '.';
    let escaped = |(i, c): (usize, char)| match is_unsafe(i, c) {
        true => format!("%{:02X}", u32::from(c)),
        false => c.to_string(),
    };
    name.chars().enumerate().map(escaped).collect()
}

/// The error for a second query over one checkpoint.
pub(super) fn checkpoint_of_two(flow: &Flow, dir: &Path, other: &Flow) -> Error {
    let message =
        format!("the checkpoint '{}' of flow '{}' is that of flow '{}'", dir.display(), flow.name(), other.name());
    Error::checkpoint("CHECKPOINT_IN_USE", message).with_help("give every flow a CHECKPOINT LOCATION of its own")
}

/// The error for a second writer.
pub(super) fn written_already(flow: &Flow, exclusive: &Filled, other: &Flow) -> Error {
    let who = |f: &Flow, unnamed: &str| match f.name() {
        "" => unnamed.to_owned(),
        name => format!("flow '{name}'"),
    };
    let (one, two) = (who(flow, "the query"), who(other, "another query"));
    Error::invalid("CONCURRENT_STREAM_WRITE", format!("{one} writes to {exclusive}, which {two} writes already"))
        .with_help("give each flow a directory or table of its own, or join them with UNION ALL in one flow")
}
