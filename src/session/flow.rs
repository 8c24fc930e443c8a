//! Flows: which query writes where, in which mode, when, and with which checkpoint.

use std::sync::Arc;

use super::catalog::{NamedTable, Object, may_create};
use super::filled::Filled;
use super::insert::under_columns;
use super::relation::{MEMORY, ResultTable};
use super::script::{Action, Preparation};
use super::start::Draft;
use super::{Session, conf, foreach};
use crate::connector::Role;
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
    pub(super) fn filling(sink: Arc<dyn Sink>, target: String, exclusive: Option<Filled>) -> Self {
        Self { sink, target, fills: exclusive.clone().into_iter().collect(), exclusive, prints: false }
    }
}

impl Draft {
    fn new(
        name: &Name,
        query: Fragment,
        planned: PlannedQuery,
        destination: Destination,
        settings: FlowSettings,
    ) -> Self {
        Self {
            name: Some(name.text.clone()),
            place: Some(name.span),
            planned,
            text: query.text,
            destination,
            output_mode: settings.output_mode.unwrap_or_default(),
            trigger: settings.trigger.unwrap_or(Trigger::Default),
            checkpoint: settings.checkpoint,
            conf: Options::new(),
            comment: None,
        }
    }
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
        let (sink_options, conf) = self.split_options(&create)?;
        let destination = match (&create.format, &create.target, create.body) {
            (_, _, Some(body)) => {
                let (fills, prints) = (self.filled_by_body(&body), body.iter().any(|s| self.prints(s)));
                let sink = foreach::body_sink(self, body, &planned).await?;
                Destination { sink, target: "FOREACH BATCH".into(), exclusive: None, fills, prints }
            }
            (_, Some(target), None) => self.destination(target)?,
            (Some(format), None, None) => {
                let (destination, table) = self
                    .own_sink(&format.key(), &sink_options, &create.name.text)
                    .map_err(|e| if e.condition() == "DATA_SOURCE_NOT_FOUND" { e.with_span(format.span) } else { e })?;
                if let Some(rows) = table {
                    self.name_result(&create.name, rows, &planned)?;
                }
                destination
            }
            (None, None, None) => self.console()?,
        };
        let query = create.query.span;
        let draft = Draft {
            conf,
            comment: create.comment,
            ..Draft::new(&create.name, create.query, planned, destination, create.settings)
        };
        self.start_later(draft, query, p).await
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
        let at_format = |e: Error| match (&create.format, e.condition()) {
            (Some(format), "DATA_SOURCE_NOT_FOUND") => e.with_span(format.span),
            _ => e,
        };
        let (destination, table) = self.own_sink(&format, &create.options, &create.name.text).map_err(at_format)?;
        match table {
            Some(rows) => self.name_result(&create.name, rows, &planned)?,
            None => self.readable(&create, &format, &planned).await.map_err(at_format)?,
        }
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
        let query = create.query.span;
        let draft = Draft {
            comment: create.comment,
            ..Draft::new(&create.name, create.query, planned, destination, create.settings)
        };
        self.start_later(draft, query, p).await
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
        let destination = self.console()?;
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
        let name = Name { text: self.free_flow_name(base), span: query.span };
        if self.checkpoint_of(&name.text, None)?.is_some() {
            p.warnings.push(format!(
                "flow '{}' is named by its place in the script, and so is its checkpoint; CREATE FLOW gives it a name of its own",
                name.text
            ));
        }
        self.start_later(Draft::new(&name, query, planned, destination, settings), name.span, p).await
    }

    async fn start_later(&self, draft: Draft, query: Span, p: &mut Preparation) -> Result<Action> {
        let place = draft.place;
        let flow = self.checked(draft).await.map_err(|e| e.with_span(query))?;
        if flow.spec.checkpoint.is_none() {
            p.warnings.push(temporary_checkpoint(flow.name()));
        }
        p.warnings.extend(self.connects_twice(flow.name(), &flow.reads));
        let flow = self.catalog().put_flow(flow);
        Ok(Action::Start { flow, place })
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

    /// Options of a flow: those of its own sink, and settings of the query.
    fn split_options(&self, create: &CreateFlow) -> Result<(Options, Options)> {
        let trigger = create.settings.trigger.unwrap_or(Trigger::Default);
        let declares = |key: &str| create.format.as_ref().is_some_and(|f| self.sink_declares(&f.key(), key));
        conf::split(&create.options, trigger, create.format.is_some(), declares)
    }

    /// Whether sinks of this format have an option of this name.
    pub(super) fn sink_declares(&self, format: &str, option: &str) -> bool {
        let connectors = self.connectors();
        connectors
            .find(format, Role::Sink)
            .is_ok_and(|c| c.options(Role::Sink).iter().any(|spec| spec.name.eq_ignore_ascii_case(option)))
    }

    /// A sink by name. The name `console` needs no sink.
    pub(super) fn destination(&self, target: &Name) -> Result<Destination> {
        if self.is_console(target) {
            return self.console();
        }
        let catalog = self.catalog();
        let object = catalog.relation(&target.key()).ok_or_else(|| catalog.not_found(ObjectKind::Sink, target))?;
        let words = format!("sink '{}'", object.name);
        match (object.kind, &object.sink) {
            (ObjectKind::Sink, Some(sink)) => {
                Ok(Destination::filling(sink.clone(), words, Some(Filled::Memory(target.key()))))
            }
            (ObjectKind::Sink, None) => {
                Ok(self.destination_of(&object.format, &object.options, &object.name, words)?)
            }
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

    /// The sink that is always there.
    pub(super) fn console(&self) -> Result<Destination> {
        self.destination_of(CONSOLE, &Options::new(), CONSOLE, CONSOLE.into())
    }

    /// A sink of a format; `name` is its own, or that of its query.
    fn destination_of(&self, format: &str, options: &Options, name: &str, target: String) -> Result<Destination> {
        let sink = self.sink_of(format, options, name)?;
        let exclusive = match self.connectors().find(format, Role::Sink)?.has_one_writer() {
            true => Some(options.get("path").map_or_else(|| Filled::Sink(sink.description()), Filled::output)),
            false => None,
        };
        Ok(Destination { prints: format == CONSOLE, ..Destination::filling(sink, target, exclusive) })
    }

    /// A sink of a query's own, and what it is as a table, if it is one.
    pub(super) fn own_sink(
        &self,
        format: &str,
        options: &Options,
        name: &str,
    ) -> Result<(Destination, Option<NamedTable>)> {
        let destination = self.destination_of(format, options, name, format!("format {format}"))?;
        let Some(table) = destination.sink.clone().table() else { return Ok((destination, None)) };
        let target = format!("table '{name}' in memory");
        let exclusive = Some(Filled::Memory(name.to_lowercase()));
        Ok((Destination::filling(destination.sink, target, exclusive), Some(table)))
    }

    /// Names what a flow's own sink holds as the flow.
    fn name_result(&self, name: &Name, rows: NamedTable, planned: &PlannedQuery) -> Result<()> {
        let table = ResultTable::new(planned.plan.schema().as_arrow(), &planned.names, rows);
        self.set_table(&name.key(), Some(Arc::new(table)))
    }

    /// Names the files of a streaming table as a static table, read as they are written.
    async fn readable(&self, create: &CreateStreamingTable, format: &str, planned: &PlannedQuery) -> Result<()> {
        let schema = super::rows::renamed(planned.plan.schema().as_arrow(), &planned.names);
        let options = self.options_to_read(format, &create.options)?;
        let table = self.table_of(format, &create.name.text, None, Some(schema), &options).await?;
        self.set_table(&create.name.key(), Some(table))
    }

    fn free_flow_name(&self, base: &str) -> String {
        let catalog = self.catalog();
        catalog.free_flow_name(base, |flow| self.is_live(flow))
    }
}

fn temporary_checkpoint(name: &str) -> String {
    format!(
        "flow '{name}' has a temporary checkpoint and begins anew after a restart; \
         CHECKPOINT LOCATION or SET checkpoint.root keeps it"
    )
}
