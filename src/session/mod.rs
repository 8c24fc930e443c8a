//! The session: a DataFusion context, its streams, tables, sinks, views and flows, and the queries that run.
//!
//! This module owns names and settings, and turns statements and builder calls into query specifications. It does not
//! own how a query runs: that is `query`.

mod build;
mod catalog;
mod conf;
mod connect;
mod execute;
mod filled;
mod flow;
mod foreach;
mod frame;
mod grouped;
mod insert;
mod layer;
mod overlay;
mod reader;
mod relation;
mod rows;
mod script;
mod start;
mod writer;

use std::sync::{Arc, Weak};

use datafusion::prelude::SessionContext;
use parking_lot::{Mutex, MutexGuard};

pub use build::SessionBuilder;
pub use conf::RuntimeConf;
#[cfg(feature = "cli")]
pub use conf::{checked_all as checked_conf, is_known as is_setting};
#[cfg(feature = "cli")]
pub(crate) use connect::IDLE_TIMEOUT;
pub use execute::StatementResult;
pub use frame::{Delay, StreamingDataFrameExt};
pub use grouped::{Columns, GroupedByKey};
pub use reader::DataStreamReader;
pub use rows::RowSet;
#[cfg(feature = "cli")]
pub(crate) use script::ParsedScript;
pub use script::{Script, Variables};
pub use writer::{DataStreamWriter, WriteStreamExt};

use crate::connector::Connectors;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::query::{Environment, StreamingQueryManager};
use crate::time::Clock;
use catalog::Catalog;

/// The entry point, as Spark's `SparkSession`. Clones are the same session.
///
/// A session owns the queries it started; DataFrames made from it point back to it weakly, so it must be kept while
/// they are used.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

/// What clones of a session share.
pub(crate) struct Shared {
    context: SessionContext,
    clock: Clock,
    failpoints: Failpoints,
    /// Settings and catalog change by single assignments, so they are whole even if a holder panicked.
    conf: Mutex<conf::Settings>,
    catalog: Mutex<Catalog>,
    connectors: Mutex<Connectors>,
    queries: StreamingQueryManager,
    /// The session that this one is laid over while a script is prepared, and its names that are not that session's.
    below: Option<(Weak<Shared>, Arc<overlay::Overlay>)>,
    /// The script that is prepared in this session.
    script: Option<crate::sql::ScriptText>,
}

crate::send_sync::send_sync!(Shared { context, clock, failpoints, conf, catalog, connectors, queries, below, script });

/// Lets a DataFrame find its session: an extension of DataFusion's `SessionConfig`.
#[derive(Debug, Default)]
pub(crate) struct SessionLink(std::sync::OnceLock<Weak<Shared>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.context.session_id()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Session {
    /// A session with default settings.
    #[expect(clippy::new_without_default, reason = "a session is made where one can see it")]
    pub fn new() -> Self {
        Self::builder().build_default()
    }

    /// A session with settings of your own.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// The DataFusion context below: for functions, object stores and tables of your own.
    pub fn context(&self) -> &SessionContext {
        &self.0.context
    }

    /// Processing time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The settings.
    pub fn conf(&self) -> RuntimeConf<'_> {
        RuntimeConf::new(self)
    }

    /// The queries of this session.
    pub fn streams(&self) -> &StreamingQueryManager {
        &self.0.queries
    }

    /// Ends every query of this session, all at the same time: running batches end, everything is closed. What a service
    /// does when it is told to end:
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let session = Session::new();
    /// session.sql("CREATE STREAM ticks USING rate; CREATE FLOW show AS SELECT value FROM ticks").await?;
    /// tokio::select! {
    ///     // A query has ended by itself, or has failed.
    ///     ended = session.streams().await_any_termination() => ended?,
    ///     _ = tokio::signal::ctrl_c() => {}
    /// }
    /// session.stop_all().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error of a query that failed while it ended; the others have ended all the same.
    pub async fn stop_all(&self) -> Result<()> {
        self.streams().stop_all().await
    }

    /// What the queries of this session share.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            context: self.0.context.clone(),
            clock: self.0.clock.clone(),
            failpoints: self.0.failpoints.clone(),
            conf: self.settings().to_options(),
        }
    }

    /// Reads a stream: a DataFrame over a source.
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader::new(self.clone())
    }

    /// Names a stream of your own, so that SQL finds it and [`Session::read_stream`] by its `table`: every query that reads
    /// it opens a source. The name is case-insensitive.
    ///
    /// # Errors
    /// The name stands for something already.
    pub fn register_stream(&self, name: &str, stream: Arc<dyn crate::StreamProvider>) -> Result<()> {
        let key = datafusion::common::TableReference::bare(name.to_lowercase());
        if self.context().table_exist(key.clone())? {
            return Err(Error::invalid("TABLE_OR_VIEW_ALREADY_EXISTS", format!("'{name}' exists already"))
                .with_help("choose another name, or take the old one away with DROP"));
        }
        self.context().register_table(key, Arc::new(crate::StreamTable::new(name, stream)))?;
        Ok(())
    }

    /// Runs the statements of `text`, in order, once all of them are right. `${NAME}` is taken from the environment.
    ///
    /// # Errors
    /// The first error of the text, and nothing was done; or the error of the statement that failed while it ran.
    pub async fn sql(&self, text: &str) -> Result<Vec<StatementResult>> {
        let script = self.prepare(text, &Variables::default()).await.map_err(|errors| {
            errors.into_iter().next().unwrap_or_else(|| Error::internal("a script is wrong without an error"))
        })?;
        let mut results = vec![];
        self.execute(script, |result| results.push(result)).await?;
        Ok(results)
    }

    /// The session that a DataFrame of this state belongs to.
    pub(crate) fn of(state: &datafusion::execution::SessionState) -> Result<Self> {
        let link = state.config().get_extension::<SessionLink>();
        let shared = link.and_then(|link| link.0.get().and_then(Weak::upgrade));
        shared.map(Self).ok_or_else(|| {
            Error::invalid("NO_ACTIVE_SESSION", "this DataFrame belongs to no session that is alive")
                .with_help("make it with a tidemill::Session, and keep the session while its queries run")
        })
    }

    fn settings(&self) -> MutexGuard<'_, conf::Settings> {
        self.0.conf.lock()
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.0.catalog.lock()
    }

    /// What outlives the preparation of a script refers to the session by this.
    fn downgrade(&self) -> Weak<Shared> {
        self.0.below.as_ref().map_or_else(|| Arc::downgrade(&self.0), |(base, _)| base.clone())
    }

    /// Names a table in DataFusion, or with `None` takes the name away.
    fn set_table(&self, key: &str, table: Option<catalog::NamedTable>) -> Result<()> {
        match &self.0.below {
            Some((_, tables)) => {
                tables.set(key, table);
                Ok(())
            }
            None => catalog::replace_table(self.context(), key, table),
        }
    }

    fn upgrade(shared: &Weak<Shared>) -> Result<Self> {
        shared.upgrade().map(Self).ok_or_else(|| {
            Error::execution("NO_ACTIVE_SESSION", "the session of this query has ended")
                .with_help("keep the Session for as long as its queries run")
        })
    }
}

#[cfg(test)]
mod tests;
