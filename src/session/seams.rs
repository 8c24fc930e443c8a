//! Where the session meets planner, sources, sinks and functions.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::{OutputMode, Sink};

/// A query, planned.
#[derive(Debug)]
pub struct PlannedQuery {
    pub plan: LogicalPlan,
    pub names: Vec<String>,
}

pub async fn plan_query(ctx: &SessionContext, text: &str) -> Result<PlannedQuery> {
    let plan = ctx.state().create_logical_plan(&text.replace("STREAM ", "")).await?;
    let names = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
    Ok(PlannedQuery { plan, names })
}

pub async fn parse_columns(ctx: &SessionContext, text: &str) -> Result<SchemaRef> {
    let plan = ctx.state().create_logical_plan(&format!("CREATE TABLE t ({text})")).await?;
    Ok(plan.schema().inner().clone())
}

/// A stream as it was created.
pub trait StreamProvider: Send + Sync + std::fmt::Debug {
    fn format(&self) -> &'static str;
    fn schema(&self) -> SchemaRef;
}

#[derive(Debug)]
struct EmptyStream(&'static str, SchemaRef);

impl StreamProvider for EmptyStream {
    fn format(&self) -> &'static str {
        self.0
    }
    fn schema(&self) -> SchemaRef {
        self.1.clone()
    }
}

pub async fn stream_provider(
    _: &SessionContext,
    format: &str,
    _: &str,
    declared: Option<SchemaRef>,
    _: &Options,
) -> Result<Arc<dyn StreamProvider>> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fixed = match format {
        "socket" => ("socket", Schema::new(vec![Field::new("value", DataType::Utf8View, true)])),
        "rate" => {
            let fields = vec![Field::new("timestamp", time, true), Field::new("value", DataType::Int64, true)];
            ("rate", Schema::new(fields))
        }
        "memory" => ("memory", declared.map(|s| s.as_ref().clone()).unwrap_or_else(Schema::empty)),
        _ => return Err(Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no stream format '{format}'"))),
    };
    Ok(Arc::new(EmptyStream(fixed.0, Arc::new(fixed.1))))
}

/// The table that marks a stream.
#[derive(Debug)]
struct StreamTable(MemTable);

#[async_trait::async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
    fn table_type(&self) -> datafusion::logical_expr::TableType {
        datafusion::logical_expr::TableType::Temporary
    }
    async fn scan(
        &self,
        state: &dyn datafusion::catalog::Session,
        projection: Option<&Vec<usize>>,
        filters: &[datafusion::prelude::Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }
}

pub fn stream_table(_: &str, provider: Arc<dyn StreamProvider>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(StreamTable(MemTable::try_new(provider.schema(), vec![vec![]])?)))
}

pub async fn static_table(
    _: &SessionContext,
    format: &str,
    declared: Option<SchemaRef>,
    _: &Options,
) -> Result<Arc<dyn TableProvider>> {
    let schema = declared.ok_or_else(|| Error::invalid("DATA_SOURCE_NOT_FOUND", format!("no format '{format}'")))?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?))
}

pub fn is_streaming(plan: &LogicalPlan) -> bool {
    use datafusion::common::tree_node::TreeNode;
    plan.exists(|node| {
        Ok(match node {
            LogicalPlan::TableScan(scan) => is_stream_source(&scan.source),
            _ => false,
        })
    })
    .unwrap_or(false)
}

fn is_stream_source(source: &Arc<dyn TableSource>) -> bool {
    datafusion::datasource::source_as_provider(source).is_ok_and(|p| format!("{p:?}").starts_with("StreamTable"))
}

pub fn default_output_mode(plan: &LogicalPlan) -> OutputMode {
    let text = plan.display_indent().to_string();
    if text.contains("Aggregate") { OutputMode::Complete } else { OutputMode::Append }
}

pub fn check_query(_: &LogicalPlan, _: OutputMode) -> Result<()> {
    Ok(())
}

pub fn type_name(data_type: &DataType) -> String {
    data_type.to_string()
}

pub async fn explain_plan(_: &SessionContext, plan: &LogicalPlan, _: OutputMode, _: bool) -> Result<String> {
    Ok(plan.display_indent().to_string())
}

pub fn create_sink(format: &str, _: &Options, name: &str) -> Result<Arc<dyn Sink>> {
    match format {
        "console" | "noop" | "parquet" => foreach_batch_sink(|_, _| Box::pin(async { Ok(()) })),
        _ => Err(Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no sink format '{format}' for '{name}'"))),
    }
}

/// A memory sink, and itself as a table.
pub fn memory_sink(name: &str, _: &Options) -> Result<(Arc<dyn Sink>, Arc<dyn TableProvider>)> {
    let table = MemTable::try_new(Arc::new(Schema::empty()), vec![vec![]])?;
    Ok((create_sink("noop", &Options::new(), name)?, Arc::new(table)))
}

type BatchFn = dyn Fn(Vec<RecordBatch>, u64) -> futures::future::BoxFuture<'static, Result<()>> + Send + Sync;

#[derive(Clone)]
struct FnSink(Arc<BatchFn>);

impl std::fmt::Debug for FnSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnSink")
    }
}

#[async_trait::async_trait]
impl Sink for FnSink {
    fn description(&self) -> String {
        "FnSink".into()
    }
    async fn open(&self, _: &crate::sink::SinkContext) -> Result<()> {
        Ok(())
    }
    async fn last_committed(&self) -> Result<crate::sink::LastCommitted> {
        Ok(crate::sink::LastCommitted::Unknown)
    }
    async fn prepare(
        &self,
        batch_id: u64,
        rows: datafusion::execution::SendableRecordBatchStream,
    ) -> Result<Option<u64>> {
        let rows = datafusion::physical_plan::common::collect(rows).await?;
        (self.0)(rows, batch_id).await?;
        Ok(None)
    }
    async fn commit(&self, _: crate::sink::BatchIdentity) -> Result<()> {
        Ok(())
    }
    async fn abort(&self) -> Result<()> {
        Ok(())
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

pub fn foreach_batch_sink<F>(function: F) -> Result<Arc<dyn Sink>>
where
    F: Fn(Vec<RecordBatch>, u64) -> futures::future::BoxFuture<'static, Result<()>> + Send + Sync + 'static,
{
    Ok(Arc::new(FnSink(Arc::new(function))))
}

pub fn show_table(schema: &SchemaRef, rows: &[RecordBatch], _: usize, _: &str) -> String {
    pretty_format_batches_with_schema(schema.clone(), rows).map(|t| format!("{t}\n\n")).unwrap_or_default()
}

pub fn register_functions(_: &SessionContext) -> Result<()> {
    Ok(())
}
