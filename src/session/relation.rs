//! `CREATE STREAM | TABLE | SINK | VIEW`, and `DROP`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session as DataFusionSession, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::future::{BoxFuture, ready};

use super::Session;
use super::catalog::{NamedTable, Object, may_create};
use super::script::Preparation;
use crate::error::{Error, Result, Span};
use crate::options::Options;
use crate::plan::{StreamTable, WatermarkedStream};
use crate::sql::ScriptText;
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{CreateRelation, CreateView, Fragment, Name, ObjectKind, Watermark};

/// The format of a streaming table that says none.
pub(super) const MEMORY: &str = "memory";
/// Before the name of a stream whose own name is that of a view with its watermark.
pub(super) const HIDDEN_STREAM: &str = "__stream_";

impl Session {
    /// Plans a query of a script; places in errors are those of the script.
    pub(super) async fn plan_fragment(&self, query: &Fragment) -> Result<PlannedQuery> {
        crate::sql::query::plan_query(self.context(), &query.text, self.script_part(query.span))
            .await
            .map_err(|e| e.map_span(|s| s.shift(query.span.start)).with_span(query.span))
    }

    /// What the script that is prepared here says from the start of a piece on.
    pub(super) fn script_part(&self, piece: Span) -> Option<ScriptText> {
        self.0.script.as_ref().map(|script| script.part(piece.start))
    }

    pub(super) async fn create_relation(&self, create: CreateRelation) -> Result<()> {
        if !self.may_create_relation(&create.name, create.if_there)? {
            return Ok(());
        }
        let declared = self.declared(create.columns.as_ref()).await?;
        let at_format =
            |e: Error| if e.condition() == "DATA_SOURCE_NOT_FOUND" { e.with_span(create.format.span) } else { e };
        let format = create.format.key();
        let (mut sink, mut table) = (None, None);
        match create.kind {
            ObjectKind::Stream => {
                self.create_stream(&create, &format, declared).await.map_err(at_format)?;
            }
            ObjectKind::Sink => {
                no_columns(&create)?;
                let made = self.sink_of(&format, &create.options, &create.name.text).map_err(at_format)?;
                table = made.clone().table();
                // One that can be read is made once and for all, others anew by each flow.
                sink = table.is_some().then_some(made);
            }
            _ => {
                // A flow makes the files: they need not be there before it has run.
                let to_come = self.columns_to_come(&create.options);
                let made = self.table_of(&format, &create.name.text, declared, to_come, &create.options).await;
                table = Some(made.map_err(at_format)?);
            }
        }
        if create.kind != ObjectKind::Stream {
            self.set_table(&create.name.key(), table)?;
        }
        let object = Object {
            kind: create.kind,
            name: create.name.text.clone(),
            format,
            options: create.options,
            comment: create.comment,
            sink,
            query: None,
        };
        self.catalog().put(create.name.key(), object);
        Ok(())
    }

    pub(super) fn may_create_relation(&self, name: &Name, if_there: crate::sql::statement::IfThere) -> Result<bool> {
        let there = self.catalog().relation(&name.key()).map(|o| o.kind.name());
        may_create(there, name, if_there)
    }

    async fn declared(&self, columns: Option<&Fragment>) -> Result<Option<SchemaRef>> {
        let Some(columns) = columns else { return Ok(None) };
        let parsed = crate::sql::query::parse_columns(&columns.text).map(Arc::new);
        parsed.map(Some).map_err(|e| e.map_span(|s| s.shift(columns.span.start)).with_span(columns.span))
    }

    /// A stream with a watermark is a view with the watermark over a stream of a hidden name.
    async fn create_stream(&self, create: &CreateRelation, format: &str, declared: Option<SchemaRef>) -> Result<()> {
        let key = create.name.key();
        let stream = Arc::new(self.stream_of(format, &create.name.text, declared, &create.options).await?);
        let Some(watermark) = &create.watermark else {
            return self.set_table(&key, Some(stream));
        };
        let hidden = format!("{HIDDEN_STREAM}{key}");
        let with_hidden = stream.with_hidden();
        let shown = stream.schema().fields().len();
        self.set_table(&hidden, Some(stream))?;
        let view = view_of(self.plan_watermark(&hidden, "*", watermark).await?, None)?;
        let table: NamedTable = match with_hidden.as_ref().and_then(StreamTable::hidden_schema) {
            None => Arc::new(view),
            Some(schema) => {
                let names = schema.fields().iter().skip(shown).map(|f| format!(", `{}`", f.name()));
                let columns = format!("*{}", names.collect::<String>());
                let with_hidden = view_of(self.plan_watermark(&hidden, &columns, watermark).await?, None)?;
                Arc::new(WatermarkedStream::new(view, with_hidden))
            }
        };
        self.set_table(&key, Some(table))
    }

    async fn plan_watermark(&self, table: &str, columns: &str, watermark: &Watermark) -> Result<PlannedQuery> {
        let column = watermark.column.text.replace('`', "``");
        let text = format!("SELECT {columns} FROM `{table}` WATERMARK `{column}` DELAY OF {}", watermark.delay.text);
        let planned = crate::sql::query::plan_query(self.context(), &text, None).await;
        planned.map_err(|e| e.map_span(|_| watermark.column.span).with_span(watermark.column.span))
    }

    pub(super) async fn create_view(&self, create: CreateView) -> Result<()> {
        if !self.may_create_relation(&create.name, create.if_there)? {
            return Ok(());
        }
        let planned = self.plan_fragment(&create.query).await?;
        let table = view_table(planned, Some(create.query.text.clone())).map_err(|e| e.with_span(create.query.span))?;
        self.set_table(&create.name.key(), Some(table))?;
        let object = Object {
            kind: ObjectKind::View,
            name: create.name.text.clone(),
            format: String::new(),
            options: Options::new(),
            comment: create.comment,
            sink: None,
            query: Some(create.query.text),
        };
        self.catalog().put(create.name.key(), object);
        Ok(())
    }

    /// Takes a stream, table, sink or view away. Queries that read or write it go on.
    pub(super) fn drop_relation(
        &self,
        kind: ObjectKind,
        name: &Name,
        if_exists: bool,
        p: &mut Preparation,
    ) -> Result<()> {
        let found = self.catalog().relation(&name.key()).map(|o| o.kind);
        match found {
            Some(there) if there == kind => {
                let flow = self.catalog().flow(&name.key()).filter(|_| kind == ObjectKind::StreamingTable);
                if flow.is_some_and(|f| self.is_live(&f)) && !p.stopped.contains(&name.key()) {
                    let message = format!("the flow of streaming table '{}' runs", name.text);
                    return Err(Error::invalid("FLOW_RUNNING", message)
                        .with_span(name.span)
                        .with_help(format!("STOP FLOW {} first", name.text)));
                }
                self.catalog().remove(&name.key());
                self.set_table(&name.key(), None)
            }
            _ if if_exists => Ok(()),
            _ => Err(self.catalog().not_found(kind, name)),
        }
    }
}

fn no_columns(create: &CreateRelation) -> Result<()> {
    match &create.columns {
        Some(columns) => Err(Error::unsupported("UNSUPPORTED_FEATURE", "a sink has no columns of its own")
            .with_span(columns.span)
            .with_help("leave them out: the columns are those of the query")),
        None => Ok(()),
    }
}

/// A view whose columns have the names that users see.
fn view_table(planned: PlannedQuery, definition: Option<String>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(view_of(planned, definition)?))
}

fn view_of(planned: PlannedQuery, definition: Option<String>) -> Result<ViewTable> {
    Ok(ViewTable::new(named_plan(planned)?, definition))
}

/// The plan with its columns under the names that users see, which must be unique here.
pub(super) fn named_plan(planned: PlannedQuery) -> Result<LogicalPlan> {
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = planned.names.iter().find(|n| !seen.insert(n.to_lowercase())) {
        return Err(Error::invalid("COLUMN_ALREADY_EXISTS", format!("column '{twice}' is there twice"))
            .with_help("name columns with AS"));
    }
    let fields = planned.plan.schema().clone();
    if fields.fields().iter().zip(&planned.names).all(|(f, n)| f.name() == n) {
        return Ok(planned.plan);
    }
    let columns = fields.columns().into_iter().zip(planned.names);
    let exprs: Vec<Expr> = columns.map(|(column, name)| Expr::Column(column).alias(name)).collect();
    Ok(LogicalPlanBuilder::from(planned.plan).project(exprs)?.build()?)
}

/// A table that a query will fill: its columns are known before its first row.
#[derive(Debug)]
pub(super) struct ResultTable {
    schema: SchemaRef,
    rows: Arc<dyn TableProvider>,
}

impl ResultTable {
    pub(super) fn new(schema: &Schema, names: &[String], rows: Arc<dyn TableProvider>) -> Self {
        Self { schema: super::rows::renamed(schema, names), rows }
    }
}

#[async_trait::async_trait]
impl TableProvider for ResultTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    crate::send_sync::scan_by!(Self::scan_rows);
}

impl ResultTable {
    fn scan_rows<'a>(
        &'a self,
        state: &'a dyn DataFusionSession,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DataFusionResult<Arc<dyn ExecutionPlan>>> {
        if !self.rows.schema().fields().is_empty() {
            return self.rows.scan(state, projection, filters, limit);
        }
        let schema = projection.map_or(Ok(self.schema.clone()), |columns| self.schema.project(columns).map(Arc::new));
        let empty = schema.map(|schema| Arc::new(EmptyExec::new(schema)) as Arc<dyn ExecutionPlan>);
        Box::pin(ready(empty.map_err(Into::into)))
    }
}
