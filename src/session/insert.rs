//! Batch writes: `INSERT INTO` a static table or a sink from a query that ends.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{DataFrame, SessionContext};

use super::Session;
use super::filled::Reads;
use super::rows::renamed;
use crate::error::{Error, Result, Span};
use crate::failpoint::Failpoints;
use crate::function::cast::{self, cast};
use crate::function::scalar::session_time_zone;
use crate::options::did_you_mean;
use crate::output_mode::OutputMode;
use crate::sink::{BATCH_INSERTS, BatchIdentity, LastCommitted, Sink, SinkContext};
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{Name, ObjectKind};
use crate::trigger::Delivery;
use crate::type_name::type_name;

/// A batch query and where its rows go.
pub(super) struct BatchInsert {
    pub planned: PlannedQuery,
    pub target: InsertTarget,
    /// What the query reads that flows may fill.
    pub reads: Reads,
    /// The statement's target in the text.
    pub place: Span,
}

impl std::fmt::Debug for BatchInsert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchInsert").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Where rows of a batch go.
#[derive(Debug, Clone)]
pub(super) enum InsertTarget {
    /// A sink.
    Sink(Arc<dyn Sink>),
    /// A static table, by its key.
    Table(String),
}

impl Session {
    /// Where `INSERT INTO target` writes a batch.
    pub(super) fn insert_target(&self, target: &Name) -> Result<InsertTarget> {
        let kind = self.catalog().relation(&target.key()).map(|o| o.kind);
        let registered = || self.context().table_exist(TableReference::bare(target.key())).unwrap_or(false);
        match kind {
            Some(ObjectKind::Table) => Ok(InsertTarget::Table(target.key())),
            None if !self.is_console(target) && registered() => Ok(InsertTarget::Table(target.key())),
            _ => self.destination(target).map(|d| InsertTarget::Sink(d.sink)),
        }
    }

    pub(super) async fn batch_insert(
        &self,
        target: &Name,
        columns: &[Name],
        planned: PlannedQuery,
    ) -> Result<BatchInsert> {
        let into = self.insert_target(target)?;
        let planned = for_columns(self.context(), &into, columns, planned).await?;
        check_target(self.context(), &into, &planned).await.map_err(|e| e.with_span(target.span))?;
        Ok(BatchInsert { target: into, reads: self.reads(&planned.plan), place: target.span, planned })
    }

    /// Runs the query and writes all of its rows.
    pub(super) async fn run_insert(&self, insert: BatchInsert) -> Result<()> {
        self.wait_for_fillers(&insert.reads, None, Some(insert.place)).await?;
        match insert.target {
            InsertTarget::Table(key) => insert_into_table(self.context(), &key, insert.planned.plan).await,
            InsertTarget::Sink(sink) => {
                let schema = renamed(insert.planned.plan.schema().as_arrow(), &insert.planned.names);
                let context = SinkContext {
                    query_id: BATCH_INSERTS,
                    query_name: None,
                    is_durable: false,
                    delivery: Delivery::default(),
                    output_mode: OutputMode::Append,
                    schema,
                    failpoints: Failpoints::default(),
                    clock: self.clock().clone(),
                    time_zone: session_time_zone(self.context().state().config_options()),
                };
                sink.open(&context).await?;
                let written = append_batch(self.context(), sink.as_ref(), insert.planned.plan).await;
                let closed = sink.close().await;
                written.and(closed)
            }
        }
    }
}

/// The query with its columns where the target wants them: under these names in a sink, in the order of the table, with
/// NULL for the columns that are not named.
pub(super) async fn for_columns(
    context: &SessionContext,
    target: &InsertTarget,
    columns: &[Name],
    planned: PlannedQuery,
) -> Result<PlannedQuery> {
    let planned = under_columns(planned, columns)?;
    let InsertTarget::Table(key) = target else { return Ok(planned) };
    if columns.is_empty() {
        return Ok(planned);
    }
    let schema = context.table_provider(TableReference::bare(key.as_str())).await?.schema();
    let names = || schema.fields().iter().map(|f| f.name().as_str());
    for column in columns {
        if !names().any(|n| n.to_lowercase() == column.key()) {
            let message = format!("table '{key}' has no column '{}'", column.text);
            let help = match did_you_mean(&column.text, names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("the columns are {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(Error::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
                .with_span(column.span)
                .with_help(help));
        }
    }
    let given = planned.plan.schema().columns();
    let column = |f: &FieldRef| {
        let place = columns.iter().position(|c| c.key() == f.name().to_lowercase());
        let value = place.map_or(Expr::Literal(ScalarValue::Null, None), |i| Expr::Column(given[i].clone()));
        value.alias(f.name())
    };
    let exprs: Vec<_> = schema.fields().iter().map(column).collect();
    let names = names().map(str::to_owned).collect();
    Ok(PlannedQuery { plan: LogicalPlanBuilder::from(planned.plan).project(exprs)?.build()?, names })
}

/// The condition of a query with other columns than are needed.
fn arity_mismatch(given: usize, needed: usize) -> &'static str {
    if given < needed {
        "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"
    } else {
        "INSERT_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS"
    }
}

/// Whether the target takes these rows, before anything is written.
pub(super) async fn check_target(
    context: &SessionContext,
    target: &InsertTarget,
    planned: &PlannedQuery,
) -> Result<()> {
    match target {
        InsertTarget::Sink(sink) => {
            sink.check(OutputMode::Append, &renamed(planned.plan.schema().as_arrow(), &planned.names))
        }
        InsertTarget::Table(key) => {
            let schema = context.table_provider(TableReference::bare(key.as_str())).await?.schema();
            cast_to(planned.plan.clone(), &schema, key).map(drop)
        }
    }
}

/// The query under the names of a column list, if there is one.
pub(super) fn under_columns(mut planned: PlannedQuery, columns: &[Name]) -> Result<PlannedQuery> {
    let (named, given) = (columns.len(), planned.names.len());
    if named > 0 && named != given {
        let condition = arity_mismatch(given, named);
        let message = format!("{named} columns are named, but the query has {given}");
        let span = columns[0].span.to(columns[named - 1].span);
        return Err(Error::invalid(condition, message)
            .with_span(span)
            .with_help("name each column of the query once, in its order"));
    }
    if named > 0 {
        planned.names = columns.iter().map(|c| c.text.clone()).collect();
    }
    Ok(planned)
}

/// Gives the rows of `plan` to an open sink as the batch after its last.
async fn append_batch(context: &SessionContext, sink: &dyn Sink, plan: LogicalPlan) -> Result<()> {
    let batch_id = match sink.last_committed().await? {
        LastCommitted::Batch(last) => last.batch_id + 1,
        LastCommitted::Nothing | LastCommitted::Unknown => 0,
    };
    write_batch(context, sink, BatchIdentity { batch_id, record_hash: 0 }, plan).await
}

/// Gives the rows of `plan` to an open sink as one batch, unless the sink has that batch already.
pub(super) async fn write_batch(
    context: &SessionContext,
    sink: &dyn Sink,
    batch: BatchIdentity,
    plan: LogicalPlan,
) -> Result<()> {
    if sink.last_committed().await? == LastCommitted::Batch(batch) {
        return Ok(());
    }
    let rows = DataFrame::new(context.state(), plan).execute_stream().await?;
    if let Err(e) = sink.prepare(batch.batch_id, rows.into()).await {
        sink.abort().await?;
        return Err(e);
    }
    sink.commit(batch).await
}

/// Appends the rows of `plan` to a static table, column by column in order, as Spark does.
pub(super) async fn insert_into_table(context: &SessionContext, key: &str, plan: LogicalPlan) -> Result<()> {
    let name = TableReference::bare(key);
    let table = context.table_provider(name.clone()).await?;
    let plan = cast_to(plan, &table.schema(), key)?;
    let insert = LogicalPlanBuilder::insert_into(plan, name, provider_as_source(table), InsertOp::Append)?.build()?;
    DataFrame::new(context.state(), insert).collect().await.map(drop).map_err(|e| {
        let e = Error::from(e);
        // What the query itself casts has a place.
        match e.condition() == "CAST_OVERFLOW" && e.span().is_none() {
            true => e.with_condition("CAST_OVERFLOW_IN_TABLE_INSERT"),
            false => e,
        }
    })
}

/// Whether a value of one type may become one of another when it is stored: numbers among each other, dates and times among each
/// other, and everything as text; a text as nothing else.
fn can_store(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let is_time = |t: &DataType| matches!(t, Date32 | Timestamp(..));
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        (List(a), List(b)) => can_store(a.data_type(), b.data_type()),
        (Map(a, _), Map(b, _)) => can_store(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| can_store(a.data_type(), b.data_type()))
        }
        (from, to) if cast::is_string(to) => !from.is_nested(),
        (from, to) => (from.is_numeric() && to.is_numeric()) || (is_time(from) && is_time(to)),
    }
}

fn cast_to(plan: LogicalPlan, schema: &arrow::datatypes::Schema, table: &str) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    if columns.len() != schema.fields().len() {
        let (given, needed) = (columns.len(), schema.fields().len());
        let condition = arity_mismatch(given, needed);
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::invalid(condition, format!("the query has {given} columns, table '{table}' has {needed}"))
            .with_help(format!("select {}", names.join(", "))));
    }
    for (given, needed) in plan.schema().fields().iter().zip(schema.fields()) {
        if !can_store(given.data_type(), needed.data_type()) {
            let (from, to) = (type_name(given.data_type()), type_name(needed.data_type()));
            let message = format!(
                "column '{}' of table '{table}' is of type {to}, in which a {from} cannot be stored",
                needed.name()
            );
            return Err(Error::invalid("INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST", message).with_help(format!(
                "cast it, as in CAST(… AS {to}); columns go to the table by their order, or by the names behind its name"
            )));
        }
    }
    let exprs = columns.into_iter().zip(schema.fields());
    let exprs = exprs.map(|(c, f)| cast(Expr::Column(c), f.data_type(), false).alias(f.name()));
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}
