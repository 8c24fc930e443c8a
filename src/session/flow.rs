//! Flows: which query writes where, in which mode, when, and with which checkpoint.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::catalog::{Flow, Object, may_create, memory_sink};
use super::check::check_flow;
use super::filled::{Filled, local_path};
use super::insert::under_columns;
use super::relation::{MEMORY, ResultTable};
use super::script::{Action, Preparation};
use super::{Session, conf, foreach};
use crate::error::{Error, Result, Span};
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::sink::Sink;
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{
    CreateFlow, CreateStreamingTable, FlowSettings, Fragment, Insert, Name, ObjectKind, Statement, StatementKind,
};
use crate::trigger::Trigger;

/// The sink that is always there.
pub(super) const CONSOLE: &str = "console";
/// Formats whose sinks own a directory.
const FILE_FORMATS: [&str; 4] = ["csv", "json", "parquet", "text"];

/// Where a flow writes.
pub(super) struct Destination {
    pub sink: Arc<dyn Sink>,
    /// In words, for people.
    pub target: String,
    /// What only one flow may write.
    pub exclusive: Option<Filled>,
    /// What can be read back.
    pub fills: Vec<Filled>,
    /// Whether it is the standard output.
    pub prints: bool,
}

impl Destination {
    fn new(format: &str, options: &Options, name: &str, target: String) -> Result<Self> {
        let sink = crate::sink::create_sink(format, options, name)?;
        let path = options.get("path").filter(|_| FILE_FORMATS.contains(&format));
        Ok(Self { prints: format == CONSOLE, ..Self::filling(sink, target, path.map(Filled::output)) })
    }

    fn filling(sink: Arc<dyn Sink>, target: String, exclusive: Option<Filled>) -> Self {
        Self { sink, target, fills: exclusive.clone().into_iter().collect(), exclusive, prints: false }
    }
}

/// What a flow is made of, once its query is planned.
struct Draft {
    name: String,
    place: Option<Span>,
    planned: PlannedQuery,
    query: Fragment,
    destination: Destination,
    settings: FlowSettings,
    conf: Options,
    comment: Option<String>,
}

impl Session {
    /// `CREATE FLOW`.
    pub(super) async fn prepare_flow(&self, create: CreateFlow, p: &mut Preparation) -> Result<Action> {
        let live = self.catalog().flow(&create.name.key()).filter(|f| self.is_live(f));
        if !may_create(live.map(|_| "flow"), &create.name, create.if_there)? {
            return Ok(Action::Nothing);
        }
        let planned = self.plan_streaming(&create.query, &create.name.text).await?;
        let planned = under_columns(planned, &create.columns)?;
        let (sink_options, conf) = split_options(&create)?;
        let destination = match (&create.format, &create.target, create.body) {
            (_, _, Some(body)) => {
                let (fills, prints) = (self.filled_by_body(&body), body.iter().any(|s| self.prints(s)));
                let sink = foreach::body_sink(self, body, &planned).await?;
                Destination { sink, target: "FOREACH BATCH".into(), exclusive: None, fills, prints }
            }
            (_, Some(target), None) => self.destination(target)?,
            (Some(format), None, None) if format.key() == MEMORY => {
                self.own_table(&create.name, &sink_options, &planned)?
            }
            (format, None, None) => own_sink(format.as_ref(), &sink_options, &create.name.text)?,
        };
        let draft = Draft {
            name: create.name.text.clone(),
            place: Some(create.name.span),
            planned,
            query: create.query,
            destination,
            settings: create.settings,
            conf,
            comment: create.comment,
        };
        self.start_later(draft, p).await
    }

    /// `CREATE STREAMING TABLE`: a sink, the flow that fills it, and a table.
    pub(super) async fn prepare_streaming_table(
        &self,
        create: CreateStreamingTable,
        p: &mut Preparation,
    ) -> Result<Action> {
        if !self.may_create_relation(&create.name, create.if_there)? {
            return Ok(Action::Nothing);
        }
        let planned = self.plan_streaming(&create.query, &create.name.text).await?;
        let format = create.format.as_ref().map_or_else(|| MEMORY.to_owned(), Name::key);
        let destination = if format == MEMORY {
            self.own_table(&create.name, &create.options, &planned)?
        } else {
            let destination = own_sink(create.format.as_ref(), &create.options, &create.name.text)?;
            self.readable(&create, &format, &planned)?;
            destination
        };
        let object = Object {
            kind: ObjectKind::StreamingTable,
            name: create.name.text.clone(),
            format,
            options: create.options,
            comment: create.comment.clone(),
            sink: None,
            query: Some(create.query.text.clone()),
        };
        self.catalog().put(create.name.key(), object);
        let draft = Draft {
            name: create.name.text.clone(),
            place: Some(create.name.span),
            planned,
            query: create.query,
            destination,
            settings: create.settings,
            conf: Options::new(),
            comment: create.comment,
        };
        self.start_later(draft, p).await
    }

    /// `INSERT INTO target query`: a flow named after its target, or a batch if nothing streams.
    pub(super) async fn prepare_insert(&self, insert: Insert, p: &mut Preparation) -> Result<Action> {
        let planned = self.plan_fragment(&insert.query).await?;
        if !crate::plan::is_streaming(&planned.plan) {
            crate::plan::check_batch(&planned.plan).map_err(|e| e.with_span(insert.query.span))?;
            return self.batch_insert(&insert.target, &insert.columns, planned).await.map(Action::Insert);
        }
        let planned = under_columns(planned, &insert.columns)?;
        let destination = self.destination(&insert.target)?;
        let output_mode = self.is_console(&insert.target).then(|| crate::plan::default_output_mode(&planned.plan));
        self.start_anonymous(&insert.target.text, insert.query, planned, destination, output_mode, p).await
    }

    /// A query by itself: rows on the console, once or for ever.
    pub(super) async fn prepare_query(&self, query: Fragment, p: &mut Preparation) -> Result<Action> {
        let planned = self.plan_fragment(&query).await?;
        if !crate::plan::is_streaming(&planned.plan) {
            crate::plan::check_batch(&planned.plan).map_err(|e| e.with_span(query.span))?;
            let reads = self.reads(&planned.plan);
            return Ok(Action::Query { planned, reads, place: query.span });
        }
        let destination = console()?;
        let output_mode = Some(crate::plan::default_output_mode(&planned.plan));
        self.start_anonymous(CONSOLE, query, planned, destination, output_mode, p).await
    }

    async fn start_anonymous(
        &self,
        base: &str,
        query: Fragment,
        planned: PlannedQuery,
        destination: Destination,
        output_mode: Option<OutputMode>,
        p: &mut Preparation,
    ) -> Result<Action> {
        let settings = FlowSettings { output_mode, ..FlowSettings::default() };
        let name = self.free_flow_name(base);
        let (place, conf, comment) = (Some(query.span), Options::new(), None);
        if self.checkpoint_of(&name, None)?.is_some() {
            p.warnings.push(format!(
                "flow '{name}' is named by its place in the script, and so is its checkpoint; CREATE FLOW gives it a name of its own"
            ));
        }
        self.start_later(Draft { name, place, planned, query, destination, settings, conf, comment }, p).await
    }

    async fn start_later(&self, draft: Draft, p: &mut Preparation) -> Result<Action> {
        let output_mode = draft.settings.output_mode.unwrap_or_default();
        check_flow(self.context(), &draft.planned, output_mode, draft.destination.sink.as_ref())
            .await
            .map_err(|e| e.with_span(draft.query.span))?;
        self.check_exclusive(&draft)?;
        let checkpoint = self.checkpoint_of(&draft.name, draft.settings.checkpoint.as_deref())?;
        if checkpoint.is_none() {
            p.warnings.push(temporary_checkpoint(&draft.name));
        }
        let reads = self.reads(&draft.planned.plan);
        p.warnings.extend(self.connects_twice(&draft.name, &reads));
        let flow = Flow {
            reads,
            plan: draft.planned.plan,
            column_names: draft.planned.names,
            text: draft.query.text,
            sink: draft.destination.sink,
            target: draft.destination.target,
            exclusive: draft.destination.exclusive,
            fills: draft.destination.fills,
            prints: draft.destination.prints,
            output_mode,
            trigger: draft.settings.trigger.unwrap_or(Trigger::Default),
            checkpoint,
            conf: draft.conf,
            comment: draft.comment,
            started: AtomicBool::new(false),
            last_run: Mutex::default(),
            name: draft.name,
        };
        let flow = self.catalog().put_flow(flow);
        Ok(Action::Start { flow, place: draft.place })
    }

    async fn plan_streaming(&self, query: &Fragment, flow: &str) -> Result<PlannedQuery> {
        let planned = self.plan_fragment(query).await?;
        if crate::plan::is_streaming(&planned.plan) {
            return Ok(planned);
        }
        Err(Error::invalid("WRITE_STREAM_NOT_ALLOWED", format!("the query of flow '{flow}' reads no stream"))
            .with_span(query.span)
            .with_help("read an object made by CREATE STREAM; a query over tables alone runs once: SELECT …"))
    }

    /// A sink by name. The name `console` needs no sink.
    pub(super) fn destination(&self, target: &Name) -> Result<Destination> {
        if self.is_console(target) {
            return console();
        }
        let catalog = self.catalog();
        let object = catalog.relation(&target.key()).ok_or_else(|| catalog.not_found(ObjectKind::Sink, target))?;
        let words = format!("sink '{}'", object.name);
        match (object.kind, &object.sink) {
            (ObjectKind::Sink, Some(sink)) => {
                Ok(Destination::filling(sink.clone(), words, Some(Filled::Memory(target.key()))))
            }
            (ObjectKind::Sink, None) => Destination::new(&object.format, &object.options, &object.name, words),
            _ => Err(catalog.not_found(ObjectKind::Sink, target).with_help(format!(
                "'{}' is a {}; a flow writes to a sink: CREATE SINK",
                object.name,
                object.kind.name()
            ))),
        }
    }

    /// Whether a statement of a body writes to the standard output.
    fn prints(&self, statement: &Statement) -> bool {
        match &statement.kind {
            StatementKind::Insert(i) => {
                let format = self.catalog().relation(&i.target.key()).map(|o| o.format == CONSOLE);
                format.unwrap_or_else(|| self.is_console(&i.target))
            }
            _ => true,
        }
    }

    /// Says on the console whose rows they are, if several flows print.
    pub(super) fn label_flows(&self) {
        let several = self.catalog().flows().filter(|f| f.prints && self.is_live(f)).count() > 1;
        crate::sink::set_several_flows(several);
    }

    pub(super) fn is_console(&self, target: &Name) -> bool {
        target.key() == CONSOLE && self.catalog().relation(CONSOLE).is_none()
    }

    /// A table in memory of the flow's own, readable under the flow's name.
    fn own_table(&self, name: &Name, options: &Options, planned: &PlannedQuery) -> Result<Destination> {
        let (sink, rows) = memory_sink(&name.text, options)?;
        let table = ResultTable::new(planned.plan.schema().as_arrow(), &planned.names, rows);
        self.set_table(&name.key(), Some(Arc::new(table)))?;
        let target = format!("table '{}' in memory", name.text);
        Ok(Destination::filling(sink, target, Some(Filled::Memory(name.key()))))
    }

    /// Names the files of a streaming table as a static table, read as they are written.
    fn readable(&self, create: &CreateStreamingTable, format: &str, planned: &PlannedQuery) -> Result<()> {
        let schema = super::rows::renamed(planned.plan.schema().as_arrow(), &planned.names);
        let shared = ["path", "header", "sep", "delimiter", "quote", "escape", "nullValue", "lineSep"];
        let options = shared.into_iter().filter_map(|key| create.options.get(key).map(|value| (key, value)));
        let table = crate::source::output_table(format, &schema, &Options::from_iter(options))?;
        self.set_table(&create.name.key(), Some(table))
    }

    fn check_exclusive(&self, draft: &Draft) -> Result<()> {
        let Some(exclusive) = &draft.destination.exclusive else { return Ok(()) };
        let name = draft.name.to_lowercase();
        let catalog = self.catalog();
        let other = catalog
            .flows()
            .find(|f| f.exclusive.as_ref() == Some(exclusive) && f.name.to_lowercase() != name && self.is_live(f));
        match other {
            None => Ok(()),
            Some(other) => Err(Error::invalid(
                "CONCURRENT_STREAM_WRITE",
                format!("flow '{}' writes to {exclusive}, which flow '{}' writes already", draft.name, other.name),
            )
            .with_span(draft.place)
            .with_help("give each flow a directory or table of its own, or join them with UNION ALL in one flow")),
        }
    }

    /// Whether the flow runs, or will when its script does.
    pub(super) fn is_live(&self, flow: &Flow) -> bool {
        !flow.started.load(Ordering::Acquire) || self.streams().get_by_name(&flow.name).is_some()
    }

    fn free_flow_name(&self, base: &str) -> String {
        let catalog = self.catalog();
        catalog.free_flow_name(base, |flow| self.is_live(flow))
    }

    /// The checkpoint of a query: as given, else its directory under `checkpoint.root`, else none.
    pub(super) fn checkpoint_of(&self, name: &str, given: Option<&str>) -> Result<Option<PathBuf>> {
        if let Some(dir) = given {
            return Ok(Some(local_path(dir).into()));
        }
        let root = self.settings().get("checkpoint.root")?;
        if root.is_empty() {
            return Ok(None);
        }
        Ok(Some(Path::new(local_path(&root)).join(directory_of(name))))
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

fn temporary_checkpoint(name: &str) -> String {
    format!(
        "flow '{name}' has a temporary checkpoint and begins anew after a restart; \
         CHECKPOINT LOCATION or SET checkpoint.root keeps it"
    )
}

pub(super) fn console() -> Result<Destination> {
    Destination::new(CONSOLE, &Options::new(), CONSOLE, CONSOLE.into())
}

/// The sink of a flow that names a format, or nothing at all.
fn own_sink(format: Option<&Name>, options: &Options, name: &str) -> Result<Destination> {
    let Some(format) = format else { return console() };
    let destination = Destination::new(&format.key(), options, name, format!("format {}", format.key()));
    destination.map_err(|e| if e.condition() == "DATA_SOURCE_NOT_FOUND" { e.with_span(format.span) } else { e })
}

/// Options of a flow: those of its own sink, and settings of the query.
fn split_options(create: &CreateFlow) -> Result<(Options, Options)> {
    let (mut sink, mut conf) = (Options::new(), Options::new());
    for (key, value) in create.options.iter() {
        let span = create.options.span(key);
        if conf::is_known(key) || create.format.is_none() {
            let (key, value) = conf::checked(key, value).map_err(|e| e.with_span(span))?;
            if key == conf::TIME_ZONE {
                let message =
                    "a flow has no time zone of its own: the names and times in its query are those of the session";
                return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                    .with_span(span)
                    .with_help("write SET TIME ZONE '…' before the flow"));
            }
            conf.set_at(key, value, span);
        } else {
            sink.set_at(key, value, span);
        }
    }
    Ok((sink, conf))
}
