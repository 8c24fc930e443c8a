//! Scripts: every statement is checked and prepared before the first one runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Session;
use super::filled::Reads;
use super::layer::Layer;
use super::start::Flow;
use crate::error::{Error, Result, Span};
use crate::function::reference::{self, Scope};
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{ExplainTarget, Name, ObjectKind, Statement, StatementKind};
use crate::sql::{ScriptText, parse_script, variable};

/// Values of `${NAME}`: those given, and behind them the environment.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    given: BTreeMap<String, String>,
}

impl Variables {
    /// Gives `name` a value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.given.insert(name.into(), value.into());
    }

    fn get(&self, name: &str) -> Option<String> {
        self.given.get(name).cloned().or_else(|| std::env::var(name).ok())
    }
}

/// A script that is right: its names are in the session, nothing of it runs yet.
#[derive(Debug)]
pub struct Script {
    pub(super) actions: Vec<Action>,
    /// What the user should know; no reason not to run.
    pub warnings: Vec<String>,
}

impl Script {
    /// Names of the flows that the script starts.
    pub fn flows(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter_map(|a| match a {
            Action::Start { flow, .. } => Some(flow.name()),
            _ => None,
        })
    }
}

/// The statements of a script, with its variables replaced.
pub(crate) struct ParsedScript {
    expanded: Arc<variable::Expansion>,
    /// The script as the user wrote it.
    text: ScriptText,
    /// Those that could be read.
    pub statements: Vec<Statement>,
    unreadable: Vec<Error>,
}

impl ParsedScript {
    /// Reads `text`; what is wrong with a statement comes to light when the script is prepared.
    ///
    /// # Errors
    /// Variables that are not defined.
    pub fn new(text: &str, variables: &Variables) -> Result<Self, Vec<Error>> {
        let names = variables.given.keys().map(String::as_str);
        let expanded = Arc::new(variable::expand(text, |name| variables.get(name), names)?);
        let (statements, unreadable) = parse_script(&expanded.text);
        let text = ScriptText::new(text, Arc::clone(&expanded));
        Ok(Self { expanded, text, statements, unreadable })
    }
}

/// What a statement does when its turn comes.
#[derive(Debug)]
pub(super) enum Action {
    /// Everything was done while it was prepared.
    Nothing,
    /// Starts a flow; one of the same name is stopped first.
    Start {
        flow: Arc<Flow>,
        place: Option<Span>,
    },
    /// Runs a query over static tables.
    Query {
        planned: PlannedQuery,
        /// What it reads that flows may fill.
        reads: Reads,
        place: Span,
    },
    /// Waits for the end of a flow.
    Await {
        name: Name,
        timeout: Option<Duration>,
    },
    /// Runs such a query and writes its rows.
    Insert(super::insert::BatchInsert),
    /// Text that is known already.
    Text(String),
    /// Rows that are known already: names and cells.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    Show(ObjectKind),
    DescribeFlow(Name),
    ExplainFlow {
        name: Name,
        extended: bool,
    },
    ExplainWaiting(Name),
    Stop {
        name: Name,
        forget: bool,
    },
}

/// What preparing a script collects.
#[derive(Default)]
pub(super) struct Preparation {
    pub warnings: Vec<String>,
    /// Flows that an earlier statement of the script stops.
    pub stopped: HashSet<String>,
}

impl Session {
    /// Checks every statement of `text` and names its objects, so that [`Session::execute`] can run it.
    ///
    /// # Errors
    /// All errors of the text, each with its place in it; the session is as before.
    pub async fn prepare(&self, text: &str, variables: &Variables) -> Result<Script, Vec<Error>> {
        self.prepare_parsed(ParsedScript::new(text, variables)?).await
    }

    /// The same for a script that is parsed already, and may have been changed since.
    pub(crate) async fn prepare_parsed(&self, parsed: ParsedScript) -> Result<Script, Vec<Error>> {
        loop {
            let layer = Layer::over(self, &parsed.text).map_err(|e| vec![e])?;
            let script = layer.session.prepare_here(&parsed).await?;
            // A script that was prepared at the same time may have changed the same names: then this one is prepared once more.
            if layer.commit(self).map_err(|e| vec![e])? {
                return Ok(script);
            }
        }
    }

    /// Prepares a script and names its objects in this very session, even if a later statement is wrong.
    async fn prepare_here(&self, parsed: &ParsedScript) -> Result<Script, Vec<Error>> {
        let ParsedScript { expanded, statements, unreadable, .. } = parsed;
        let mut preparation = Preparation::default();
        let mut suspects = Suspects { all: !unreadable.is_empty(), ..Suspects::default() };
        let (mut actions, mut errors) = (vec![], unreadable.clone());
        for statement in statements {
            let (span, made) = (statement.span, made_name(&statement.kind));
            match self.prepare_statement(statement.clone(), &mut preparation).await {
                Ok(action) => actions.push(action),
                Err(e) => {
                    suspects.names.extend(made);
                    errors.extend((!suspects.explain(&e, &expanded.text)).then(|| e.with_span(span)));
                }
            }
        }
        if errors.is_empty() {
            return Ok(Script { actions, warnings: preparation.warnings });
        }
        errors.sort_by_key(|e| e.span().map(|s| s.start));
        Err(errors.into_iter().map(|e| e.map_span(|s| expanded.original(s))).collect())
    }

    async fn prepare_statement(&self, statement: Statement, p: &mut Preparation) -> Result<Action> {
        let done = |()| Action::Nothing;
        match statement.kind {
            StatementKind::CreateRelation(create) => self.create_relation(create).await.map(done),
            StatementKind::CreateView(create) => self.create_view(create).await.map(done),
            StatementKind::CreateFlow(create) => self.prepare_flow(create, p).await,
            StatementKind::CreateStreamingTable(create) => self.prepare_streaming_table(create, p).await,
            StatementKind::Insert(insert) => self.prepare_insert(insert, p).await,
            StatementKind::Query(query) => self.prepare_query(query, p).await,
            StatementKind::Set { key, value } => {
                self.conf().set(&key.text, value).map(done).map_err(|e| e.with_span(key.span))
            }
            StatementKind::ShowSetting(key) => self.prepare_show_setting(key),
            StatementKind::Explain { extended, target } => self.prepare_explain(extended, target).await,
            StatementKind::Show(kind) => Ok(Action::Show(kind)),
            StatementKind::ShowFunctions { scope, pattern } => Ok(self.show_functions(scope, pattern.as_deref())),
            StatementKind::DescribeFunction { extended, name } => {
                let lines = reference::describe(self.context(), &name.text, extended);
                let lines = lines.map_err(|e| e.with_span(name.span))?;
                Ok(Action::Table(vec!["function_desc"], lines.into_iter().map(|line| vec![line]).collect()))
            }
            StatementKind::Describe { kind, name } => self.prepare_describe(kind, name).await,
            StatementKind::Await { name, timeout } => {
                p.warnings.extend(self.check_await(&name, timeout)?);
                Ok(Action::Await { name, timeout })
            }
            StatementKind::Stop(name) => {
                p.stopped.insert(name.key());
                self.existing_flow(&name).map(|_| Action::Stop { name, forget: false })
            }
            StatementKind::Drop { kind: ObjectKind::Flow, if_exists, name } => {
                p.stopped.insert(name.key());
                self.prepare_drop_flow(if_exists, name)
            }
            StatementKind::Drop { kind, if_exists, name } => self.drop_relation(kind, &name, if_exists, p).map(done),
        }
    }

    pub(super) fn existing_flow(&self, name: &Name) -> Result<Arc<Flow>> {
        let catalog = self.catalog();
        catalog.flow(&name.key()).ok_or_else(|| catalog.not_found(ObjectKind::Flow, name))
    }

    fn prepare_drop_flow(&self, if_exists: bool, name: Name) -> Result<Action> {
        match self.existing_flow(&name) {
            Ok(_) => Ok(Action::Stop { name, forget: true }),
            Err(_) if if_exists => Ok(Action::Nothing),
            Err(e) => Err(e),
        }
    }

    fn prepare_show_setting(&self, key: Option<Name>) -> Result<Action> {
        let rows = match key {
            None => self.settings().all().into_iter().map(|(k, v)| vec![k.to_owned(), v]).collect(),
            Some(key) => {
                let value = self.conf().get(&key.text).map_err(|e| e.with_span(key.span))?;
                vec![vec![key.text, value]]
            }
        };
        Ok(Action::Table(vec!["key", "value"], rows))
    }

    async fn prepare_explain(&self, extended: bool, target: ExplainTarget) -> Result<Action> {
        match target {
            ExplainTarget::Flow(name) => self.existing_flow(&name).map(|_| Action::ExplainFlow { name, extended }),
            ExplainTarget::Waiting(name) => self.existing_flow(&name).map(|_| Action::ExplainWaiting(name)),
            ExplainTarget::Query(query) => {
                let plan = self.plan_fragment(&query).await?.plan;
                let mode = crate::plan::default_output_mode(&plan);
                self.explain(&plan, mode, extended).await.map(Action::Text).map_err(|e| e.with_span(query.span))
            }
        }
    }

    fn show_functions(&self, scope: Option<&str>, pattern: Option<&str>) -> Action {
        let scope = match scope {
            Some("USER") => Scope::User,
            Some("SYSTEM") => Scope::System,
            _ => Scope::All,
        };
        let names = reference::names(self.context(), scope).into_iter();
        let fits = |name: &String| pattern.is_none_or(|p| reference::is_like(name, p));
        Action::Table(vec!["function"], names.filter(fits).map(|name| vec![name]).collect())
    }

    async fn prepare_describe(&self, kind: Option<ObjectKind>, name: Name) -> Result<Action> {
        let found = self.catalog().relation(&name.key()).map(|o| o.kind);
        match (kind, found) {
            (Some(ObjectKind::Flow), _) => self.existing_flow(&name).map(|_| Action::DescribeFlow(name)),
            (None, None) if self.catalog().flow(&name.key()).is_some() => Ok(Action::DescribeFlow(name)),
            (Some(kind), Some(there)) if kind == there => self.describe_relation(&name).await,
            (None, Some(_)) => self.describe_relation(&name).await,
            (kind, _) => Err(self.catalog().not_found(kind.unwrap_or(ObjectKind::Table), &name)),
        }
    }
}

/// Names that are missing only because the statement that makes them is wrong.
#[derive(Debug, Default)]
struct Suspects {
    /// A statement could not even be read, so it may have made any name.
    all: bool,
    names: Vec<String>,
}

impl Suspects {
    /// Whether `error` only follows from one that was reported.
    fn explain(&self, error: &Error, text: &str) -> bool {
        const MISSING: [&str; 3] = ["TABLE_OR_VIEW_NOT_FOUND", "SINK_NOT_FOUND", "FLOW_NOT_FOUND"];
        let place = error.span().and_then(|s| text.get(s.start..s.end)).unwrap_or_default();
        let name = place.trim_matches('`').to_lowercase();
        MISSING.contains(&error.condition()) && (self.all || self.names.contains(&name))
    }
}

/// The name that the statement makes.
fn made_name(kind: &StatementKind) -> Option<String> {
    match kind {
        StatementKind::CreateRelation(c) => Some(c.name.key()),
        StatementKind::CreateView(c) => Some(c.name.key()),
        StatementKind::CreateFlow(c) => Some(c.name.key()),
        StatementKind::CreateStreamingTable(c) => Some(c.name.key()),
        _ => None,
    }
}
