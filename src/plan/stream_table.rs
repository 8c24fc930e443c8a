//! A stream in the catalog: what `FROM lines` finds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Error;
use crate::source::StreamProvider;

/// A named stream. A streaming query replaces its scans with slots that it fills batch by batch; nothing else can scan it.
#[derive(Debug, Clone)]
pub struct StreamTable {
    name: String,
    provider: Arc<dyn StreamProvider>,
    idle_timeout: Option<Duration>,
    /// The columns and `_metadata`, for the queries that name it.
    with_hidden: Option<SchemaRef>,
}

impl StreamTable {
    /// The stream `name`.
    pub fn new(name: impl Into<String>, provider: Arc<dyn StreamProvider>) -> Self {
        Self { name: name.into(), provider, idle_timeout: None, with_hidden: None }
    }

    /// The same with a time after which it no longer holds watermarks back, having no rows.
    #[must_use]
    pub fn with_idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self { idle_timeout, ..self }
    }

    /// How long it may have no rows before it stops holding watermarks back; `None` for ever.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// The same stream with the hidden column of files; `None` if it has none.
    #[must_use]
    pub fn with_hidden(&self) -> Option<Self> {
        let with_hidden = Some(self.provider.schema_with_hidden()?);
        Some(Self { with_hidden, ..self.clone() })
    }

    /// The columns and `_metadata`, if it is asked for.
    pub fn hidden_schema(&self) -> Option<&SchemaRef> {
        self.with_hidden.as_ref()
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What opens its sources.
    pub fn provider(&self) -> &Arc<dyn StreamProvider> {
        &self.provider
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.with_hidden.clone().unwrap_or_else(|| self.provider.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let message = format!("stream '{}' was read by a batch query", self.name);
        Err(Error::unsupported("CALL_ON_STREAMING_DATASET_UNSUPPORTED", message)
            .with_help("queries over streams are started as flows: CREATE FLOW … AS SELECT …, or .write_stream()")
            .into())
    }
}
