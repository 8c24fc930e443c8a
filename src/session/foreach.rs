//! `FOREACH BATCH BEGIN … END`: statements that run for the rows of every batch.
//!
//! The rows are the view `batch`, their number is `batch_id()`. Both are seen by the body only: it runs in a copy of the
//! DataFusion session with a catalog laid over the session's own. The body runs when the batch is durable in the
//! checkpoint; sinks in it that know their last batch are written exactly once, tables at least once.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::physical_plan::common::collect;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::insert::{InsertTarget, check_target, for_columns, insert_into_table, write_batch};
use super::overlay::Overlay;
use super::rows::{renamed, under};
use super::{Session, Shared};
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::sink::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::sql::ScriptText;
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{Fragment, Name, Statement, StatementKind};

/// The name of the view in the body.
const BATCH: &str = "batch";

/// A checked body as a sink for the rows of `planned`.
pub(super) async fn body_sink(
    session: &Session,
    body: Vec<Statement>,
    planned: &PlannedQuery,
) -> Result<Arc<dyn Sink>> {
    let schema = renamed(planned.plan.schema().as_arrow(), &planned.names);
    let context = batch_context(session.context(), schema, vec![], 0)?;
    let mut steps = vec![];
    for statement in body {
        steps.push(Step::checked(session, &context, statement).await?);
    }
    Ok(Arc::new(BodySink { session: session.downgrade(), steps, state: Mutex::default() }))
}

/// A statement of the body.
#[derive(Debug)]
struct Step {
    query: Fragment,
    /// What the script says from the query on.
    text: Option<ScriptText>,
    /// `None` is the console.
    target: Option<Name>,
    is_exactly_once: bool,
    columns: Vec<Name>,
}

impl Step {
    async fn checked(session: &Session, context: &SessionContext, statement: Statement) -> Result<Self> {
        let (query, target, columns) = match statement.kind {
            StatementKind::Query(query) => (query, None, vec![]),
            StatementKind::Insert(insert) => (insert.query, Some(insert.target), insert.columns),
            _ => return Err(Error::internal("a body holds inserts and queries only").with_span(statement.span)),
        };
        let place = |e: Error| e.map_span(|s| s.shift(query.span.start)).with_span(query.span);
        let text = session.script_part(query.span);
        let planned = crate::sql::query::plan_query(context, &query.text, text.clone()).await.map_err(place)?;
        if crate::plan::is_streaming(&planned.plan) {
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", "a statement of FOREACH BATCH reads a stream")
                .with_span(query.span)
                .with_help("read the view `batch` and static tables"));
        }
        let mut is_exactly_once = false;
        if let Some(target) = &target {
            let into = session.insert_target(target)?;
            let planned = for_columns(context, &into, &columns, planned).await?;
            check_target(context, &into, &planned).await.map_err(|e| e.with_span(target.span))?;
            is_exactly_once = matches!(&into, InsertTarget::Sink(sink) if sink.is_exactly_once());
        }
        Ok(Self { query, text, target, is_exactly_once, columns })
    }

    fn open_target(&self, session: &Session) -> Result<InsertTarget> {
        match &self.target {
            Some(target) => session.insert_target(target),
            None => session.console().map(|d| InsertTarget::Sink(d.sink)),
        }
    }
}

/// Runs the steps for each batch.
#[derive(Debug)]
struct BodySink {
    session: Weak<Shared>,
    steps: Vec<Step>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    context: Option<SinkContext>,
    prepared: Option<(u64, Vec<RecordBatch>)>,
    /// Targets of the steps, as far as they are open.
    targets: Vec<InsertTarget>,
}

impl BodySink {
    /// As a box: a future inside of another is asked for all that it holds, once more.
    fn boxed_commit(&self, batch: BatchIdentity) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let (Some(context), Some((_, rows))) =
                (state.context.clone(), state.prepared.take_if(|(id, _)| *id == batch.batch_id))
            else {
                return Err(Error::internal(format!("batch {} of FOREACH BATCH was not prepared", batch.batch_id)));
            };
            let session = Session::upgrade(&self.session)?;
            let body = batch_context(session.context(), context.schema.clone(), rows, batch.batch_id)?;
            for (i, step) in self.steps.iter().enumerate() {
                let planned = crate::sql::query::plan_query(&body, &step.query.text, step.text.clone()).await?;
                let planned = for_columns(&body, &step.open_target(&session)?, &step.columns, planned).await?;
                if state.targets.len() == i {
                    let target = open_step(&session, step, i, &context, &planned).await?;
                    state.targets.push(target);
                }
                match &state.targets[i] {
                    InsertTarget::Table(key) => insert_into_table(&body, key, planned.plan).await?,
                    InsertTarget::Sink(sink) => write_batch(&body, sink.as_ref(), batch, planned.plan).await?,
                }
            }
            Ok(())
        })
    }
}

#[async_trait]
impl Sink for BodySink {
    fn description(&self) -> String {
        "ForeachBatchSink".into()
    }

    fn is_exactly_once(&self) -> bool {
        self.steps.iter().any(|step| step.is_exactly_once)
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        *self.state.lock().await = State { context: Some(context.clone()), ..State::default() };
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Unknown)
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let rows = collect(rows.in_order()).await?;
        let count = rows.iter().map(|b| b.num_rows() as u64).sum();
        self.state.lock().await.prepared = Some((batch_id, rows));
        Ok(Some(count))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        self.boxed_commit(batch).await
    }

    async fn abort(&self) -> Result<()> {
        self.state.lock().await.prepared = None;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        let targets = std::mem::take(&mut self.state.lock().await.targets);
        let mut result = Ok(());
        for target in targets {
            if let InsertTarget::Sink(sink) = target {
                result = result.and(sink.close().await);
            }
        }
        result
    }
}

/// Opens the sink of a step. Each step is a query of its own to the sink: two may write to the same one.
async fn open_step(
    session: &Session,
    step: &Step,
    index: usize,
    outer: &SinkContext,
    planned: &PlannedQuery,
) -> Result<InsertTarget> {
    let target = step.open_target(session)?;
    if let InsertTarget::Sink(sink) = &target {
        let context = SinkContext {
            query_id: Uuid::from_u128(outer.query_id.as_u128() ^ (index as u128 + 1)),
            query_name: outer.query_name.clone(),
            is_durable: outer.is_durable,
            delivery: outer.delivery,
            output_mode: OutputMode::Append,
            schema: renamed(planned.plan.schema().as_arrow(), &planned.names),
            failpoints: outer.failpoints.clone(),
            clock: outer.clock.clone(),
            time_zone: outer.time_zone,
        };
        sink.open(&context).await?;
    }
    Ok(target)
}

/// A copy of the session in which `batch` and `batch_id()` are those of one batch.
pub(super) fn batch_context(
    session: &SessionContext,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    batch_id: u64,
) -> Result<SessionContext> {
    let rows = rows.into_iter().map(|b| under(&schema, b)).collect::<Result<Vec<_>>>()?;
    let batch: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(schema, vec![rows])?);
    let (context, tables) = Overlay::context(session)?;
    tables.set(BATCH, Some(batch));
    let id = ScalarValue::Int64(Some(i64::try_from(batch_id).unwrap_or(i64::MAX)));
    let value = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(id.clone())));
    context.register_udf(create_udf("batch_id", vec![], DataType::Int64, Volatility::Immutable, value));
    Ok(context)
}
