//! A file's session and its queries: what the records of a file run against.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

use super::matrix::{Combination, Restart};
use super::query::TestQuery;
use super::seen::SeenSink;
use super::verb::Verb;
use super::{include, session, system};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::function::display::format_value;
use crate::options::{Options, did_you_mean};
use crate::output_mode::OutputMode;
use crate::query::QuerySpec;
use crate::session::{Session, Variables, checked_conf};
use crate::time::{Clock, ManualClock};
use crate::trigger::Trigger;

/// The state of a file that runs.
pub struct Pipeline {
    session: Session,
    clock: Arc<ManualClock>,
    restart: Restart,
    /// Of queries that name none.
    trigger: Trigger,
    queries: BTreeMap<String, TestQuery>,
    files: Arc<TestFile>,
}

crate::send_sync::send_sync!(Pipeline { session, clock, restart, trigger, queries, files });

/// What a test file's records may refer to.
#[derive(Debug, Default)]
pub struct TestFile {
    /// Where the file is: paths of `INCLUDE` start there.
    pub dir: PathBuf,
    /// Values of `${NAME}` in what it includes.
    pub variables: Variables,
}

/// What `sqllogictest` wants.
type RecordResult = DBOutput<DefaultColumnType>;

const DONE: RecordResult = DBOutput::StatementComplete(0);

impl Pipeline {
    /// A new session under these settings.
    pub fn new(combination: &Combination, files: Arc<TestFile>) -> Result<Self> {
        let clock: Arc<ManualClock> = Arc::default();
        let session = session::open_session(combination, Clock::Manual(clock.clone()), Failpoints::default())?;
        Ok(Self {
            session,
            clock,
            restart: combination.restart(),
            trigger: combination.trigger(),
            queries: BTreeMap::new(),
            files,
        })
    }

    fn boxed_record<'a>(&'a mut self, text: &'a str) -> BoxFuture<'a, Result<RecordResult>> {
        Box::pin(self.run_record(text))
    }

    fn stop_all(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for (name, mut query) in std::mem::take(&mut self.queries) {
                if let Err(e) = query.stop().await {
                    tracing::warn!("stopping query '{name}': {e}");
                }
            }
        })
    }

    async fn run_record(&mut self, text: &str) -> Result<RecordResult> {
        let env = self.session.environment();
        match Verb::parse(text)? {
            Verb::Sql => self.run_sql(text).await,
            Verb::Start { query, mode, trigger, conf, text } => self.start(query, mode, trigger, conf, text).await,
            Verb::Feed { stream, values } => {
                let num_rows = session::feed(&self.session, &stream, values.as_deref()).await?;
                Ok(DBOutput::StatementComplete(num_rows))
            }
            Verb::Trigger { query } => {
                let rows = self.query(&query)?.trigger(&env).await?;
                self.show(&rows)
            }
            Verb::Drain { query, last } => {
                let rows = self.query(&query)?.drain(&env, last).await?;
                self.show(&rows)
            }
            Verb::Sink { query } => {
                let rows = self.query(&query)?.all_rows();
                self.show(&rows)
            }
            Verb::Watermark { query } => {
                let watermark = TimestampMillisecondArray::from(vec![self.query(&query)?.watermark_ms()?]);
                let column: ArrayRef = Arc::new(watermark.with_timezone("UTC"));
                self.show(&[RecordBatch::try_from_iter([("watermark", column)])?])
            }
            Verb::AdvanceClock(by) => {
                self.clock.advance(by);
                Ok(DONE)
            }
            Verb::Include { path, with } => self.include(&path, &with).await,
            Verb::Stop { query } => self.query(&query)?.stop().await.map(|()| DONE),
            Verb::Restart { query, conf, text } => self.restart(&query, conf, text).await,
            Verb::Crash { query, failpoint } => self.query(&query)?.crash_at(&env, &failpoint).map(|()| DONE),
        }
    }

    async fn run_sql(&mut self, text: &str) -> Result<RecordResult> {
        if text.to_ascii_lowercase().contains("system.") {
            self.register_system_tables()?;
        }
        match session::run_sql(&self.session, text).await? {
            Some(rows) => self.show(&rows),
            None => Ok(DONE),
        }
    }

    fn register_system_tables(&self) -> Result<()> {
        let of = |(name, query): (&String, &TestQuery)| {
            query.progress().iter().map(|p| (name.clone(), p.clone())).collect::<Vec<_>>()
        };
        let progress: Vec<system::QueryProgress> = self.queries.iter().flat_map(of).collect();
        system::register(self.session.context(), &progress)
    }

    async fn start(
        &mut self,
        name: String,
        output_mode: OutputMode,
        trigger: Trigger,
        conf: Options,
        text: String,
    ) -> Result<RecordResult> {
        if let Some(mut old) = self.queries.remove(&name) {
            old.stop().await?;
        }
        let planned = session::plan(&self.session, &text).await?;
        let conf = checked_conf(&conf)?;
        let env = self.session.environment();
        let query = TestQuery::start(&env, self.restart, |sink| QuerySpec {
            name: Some(name.clone()),
            plan: planned.plan,
            column_names: planned.names,
            text,
            sink,
            output_mode,
            trigger: or_default(trigger, self.trigger),
            checkpoint: None,
            conf,
        })
        .await?;
        self.queries.insert(name, query);
        Ok(DONE)
    }

    /// Runs a script on memory; its flows become queries of the test.
    async fn include(&mut self, path: &str, with: &Options) -> Result<RecordResult> {
        let flows = include::include(&self.session, &self.files, path, with).await?;
        let env = self.session.environment();
        for (spec, prints) in flows {
            let name = spec.name.clone().unwrap_or_default().to_lowercase();
            let own_sink = (!prints).then(|| spec.sink.clone());
            let trigger = or_default(spec.trigger, self.trigger);
            let query = TestQuery::start(&env, self.restart, |seen| QuerySpec {
                sink: match own_sink {
                    Some(sink) => Arc::new(SeenSink::new(sink, seen)),
                    None => seen,
                },
                trigger,
                ..spec
            });
            self.queries.insert(name, query.await?);
        }
        Ok(DONE)
    }

    async fn restart(&mut self, name: &str, conf: Option<Options>, text: Option<String>) -> Result<RecordResult> {
        let env = self.session.environment();
        // A changed query is planned first: if it is wrong, the old one goes on.
        let planned = match &text {
            Some(text) => Some(session::plan(&self.session, text).await?),
            None => None,
        };
        let query = self.query(name)?;
        let spec = query.spec_mut();
        if let (Some(planned), Some(text)) = (planned, text) {
            (spec.plan, spec.column_names, spec.text) = (planned.plan, planned.names, text);
        }
        if let Some(conf) = conf {
            spec.conf = checked_conf(&conf)?;
        }
        query.restart(&env).await?;
        Ok(DONE)
    }

    fn query(&mut self, name: &str) -> Result<&mut TestQuery> {
        let error = Error::invalid("QUERY_NOT_FOUND", format!("there is no query '{name}'"));
        let error = match did_you_mean(name, self.queries.keys().map(String::as_str)) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None => error.with_help("START it first"),
        };
        self.queries.get_mut(name).ok_or(error)
    }

    /// Rows as Spark's console prints their values.
    fn show(&self, batches: &[RecordBatch]) -> Result<RecordResult> {
        let zone = self.session.context().state().config_options().execution.time_zone.clone();
        let tz = zone.and_then(|z| z.parse().ok()).unwrap_or(Tz::UTC);
        let types = vec![DefaultColumnType::Any; batches.first().map_or(0, RecordBatch::num_columns)];
        let row = |b: &RecordBatch, i: usize| b.columns().iter().map(|c| cell(format_value(c, i, tz))).collect();
        let rows = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |i| row(b, i))).collect();
        Ok(DBOutput::Rows { types, rows })
    }
}

#[async_trait]
impl AsyncDB for Pipeline {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<RecordResult> {
        // As a box: a future inside of another is asked for all that it holds, once more.
        self.boxed_record(sql).await
    }

    async fn shutdown(&mut self) {
        self.stop_all().await;
    }

    fn engine_name(&self) -> &str {
        "tidemill"
    }

    /// A test file is data: it does not get to run programs.
    async fn run_command(_: Command) -> std::io::Result<Output> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "pipeline tests run no system commands"))
    }
}

fn or_default(trigger: Trigger, default: Trigger) -> Trigger {
    if trigger == Trigger::Default { default } else { trigger }
}

/// A value in a line of an expected result, where an empty text would not show.
fn cell(value: String) -> String {
    if value.is_empty() { "(empty)".to_owned() } else { value }
}
