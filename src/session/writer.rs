//! `frame.write_stream()`: a query from a DataFrame, as Spark's `DataStreamWriter`.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use futures::future::BoxFuture;

use super::catalog::NamedTable;
use super::flow::Destination;
use super::relation::ResultTable;
use super::start::Draft;
use super::{Session, conf};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::query::StreamingQuery;
use crate::sink::{ForeachSink, ForeachWriter, Sink};
use crate::sql::query::PlannedQuery;
use crate::trigger::Trigger;

/// What DataFusion's `DataFrame` lacks: writing a stream.
///
/// A DataFrame finds the [`Session`] it was made with through the extensions of its `SessionConfig`; one that was made
/// with a DataFusion context of your own has none, and starting it is an error.
pub trait WriteStreamExt {
    /// Describes a query over this DataFrame.
    fn write_stream(self) -> DataStreamWriter;
}

impl WriteStreamExt for DataFrame {
    fn write_stream(self) -> DataStreamWriter {
        let (state, plan) = self.into_parts();
        DataStreamWriter {
            state,
            plan,
            output: Output::None,
            options: Options::new(),
            output_mode: OutputMode::default(),
            trigger: Trigger::default(),
            query_name: None,
        }
    }
}

/// Where the rows go.
enum Output {
    None,
    Format(String),
    Sink(Result<Arc<dyn Sink>>),
    /// A sink that the session knows by a name.
    Named(Destination),
}

/// Describes a query; [`DataStreamWriter::start`] starts it.
pub struct DataStreamWriter {
    state: SessionState,
    plan: LogicalPlan,
    output: Output,
    options: Options,
    output_mode: OutputMode,
    trigger: Trigger,
    query_name: Option<String>,
}

impl std::fmt::Debug for DataStreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataStreamWriter").field("query_name", &self.query_name).finish_non_exhaustive()
    }
}

impl DataStreamWriter {
    /// The sink's format: `console`, `memory`, `parquet`, …
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.output = Output::Format(format.into());
        self
    }

    /// A sink of your own.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.output = Output::Sink(Ok(sink));
        self
    }

    /// Calls `function` with the rows of every batch and its id. At least once: a batch may come again after a crash,
    /// with the same id and rows.
    #[must_use]
    pub fn foreach_batch<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(DataFrame, u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let session = Session::of(&self.state).map(|s| s.downgrade());
        self.output = Output::Sink(session.map(|session| {
            let sink: Arc<dyn Sink> = Arc::new(crate::sink::ForeachBatchSink::new(move |rows, batch_id| {
                let frame = Session::upgrade(&session)
                    .and_then(|session| session.context().read_batches(rows).map_err(Error::from))
                    .map(|frame| function(frame, batch_id));
                let future: BoxFuture<'static, Result<()>> = Box::pin(async move {
                    let done = frame?.await;
                    done.map_err(|e| e.in_user_function("FOREACH_BATCH_USER_FUNCTION_ERROR", "foreach batch sink"))
                });
                future
            }));
            sink
        }));
        self
    }

    /// Gives every row of every batch to `writer`. At least once, as [`DataStreamWriter::foreach_batch`].
    #[must_use]
    pub fn foreach(self, writer: impl ForeachWriter + 'static) -> Self {
        self.sink(Arc::new(ForeachSink::new(writer)))
    }

    /// An option of the sink, `checkpointLocation`, or a setting of the query.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.options.set(key, value);
        self
    }

    /// Options, as [`DataStreamWriter::option`].
    #[must_use]
    pub fn options<K: Into<String>, V: ToString>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        options.into_iter().for_each(|(k, v)| self.options.set(k, v));
        self
    }

    /// Which rows go to the sink; append without.
    #[must_use]
    pub fn output_mode(mut self, mode: OutputMode) -> Self {
        self.output_mode = mode;
        self
    }

    /// When batches run; as soon as possible without.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// The query's name, unique among the active queries of the session.
    #[must_use]
    pub fn query_name(mut self, name: impl Into<String>) -> Self {
        self.query_name = Some(name.into());
        self
    }

    /// Starts a query into the sink of this name, made by `CREATE SINK`, or into `console`.
    ///
    /// # Errors
    /// As [`DataStreamWriter::start`]; there is no such sink, or another query writes to it.
    pub async fn to_table(mut self, name: &str) -> Result<StreamingQuery> {
        let session = Session::of(&self.state)?;
        let name = crate::sql::statement::Name { text: name.to_owned(), span: crate::error::Span::default() };
        // The place of a name that stands in no text means nothing.
        let destination = session.destination(&name)?;
        self.output = Output::Named(destination);
        self.start().await
    }

    /// Starts the query.
    ///
    /// # Errors
    /// The query is not possible in this mode, an option is wrong, source, sink or checkpoint cannot be opened.
    pub async fn start(mut self) -> Result<StreamingQuery> {
        let session = Session::of(&self.state)?;
        if !crate::plan::is_streaming(&self.plan) {
            return Err(Error::invalid("WRITE_STREAM_NOT_ALLOWED", "write_stream() needs a DataFrame over a stream")
                .with_help("make it with session.read_stream()"));
        }
        let checkpoint = self.options.remove("checkpointLocation");
        let declares = |key: &str| match &self.output {
            Output::Format(format) => session.sink_declares(&format.to_lowercase(), key),
            _ => false,
        };
        let (options, conf) = conf::split(&self.options, self.trigger, true, declares)?;
        let (destination, table) = self.destination(&session, &options)?;
        let names: Vec<_> = self.plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        let rows = table.map(|rows| ResultTable::new(self.plan.schema().as_arrow(), &names, rows));
        let text = self.plan.display_indent().to_string();
        let draft = Draft {
            name: self.query_name.clone(),
            place: None,
            planned: PlannedQuery { plan: self.plan, names },
            text,
            destination,
            output_mode: self.output_mode,
            trigger: self.trigger,
            checkpoint,
            conf,
            comment: None,
        };
        let query = session.start_writer(session.checked(draft).await?).await?;
        if let (Some(rows), Some(name)) = (rows, self.query_name) {
            super::catalog::replace_table(session.context(), &name.to_lowercase(), Some(Arc::new(rows)))?;
        }
        Ok(query)
    }

    /// Where the rows go, and the table that a memory sink is.
    fn destination(&mut self, session: &Session, options: &Options) -> Result<(Destination, Option<NamedTable>)> {
        let name = self.query_name.as_deref();
        match std::mem::replace(&mut self.output, Output::None) {
            Output::None => Err(Error::invalid("DATA_SOURCE_NOT_FOUND", "write_stream() has no format and no sink")
                .with_help("call .format(\"console\") or .sink(…)")),
            Output::Sink(sink) => {
                no_options(options)?;
                Ok((Destination::filling(sink?, "a sink of its own".into(), None), None))
            }
            Output::Named(destination) => {
                no_options(options)?;
                Ok((destination, None))
            }
            Output::Format(format) => {
                let format = format.to_lowercase();
                let (destination, table) = session.own_sink(&format, options, name.unwrap_or(&format))?;
                if table.is_some() && name.is_none() {
                    let message = format!("the {format} sink is a table named as its query");
                    return Err(
                        Error::invalid("STREAMING_QUERY_NAME_REQUIRED", message).with_help("call .query_name(…)")
                    );
                }
                // Nothing but the table's own name says that two queries write the same.
                Ok((Destination { exclusive: destination.exclusive.filter(|_| table.is_none()), ..destination }, table))
            }
        }
    }
}

/// A sink that is made already has no options.
fn no_options(options: &Options) -> Result<()> {
    match options.iter().next() {
        Some((key, _)) => Err(Error::invalid("UNKNOWN_OPTION", format!("a sink of your own has no option '{key}'"))
            .with_help("give it what it needs when you make it")),
        None => Ok(()),
    }
}
