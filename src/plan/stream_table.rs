//! A stream in the catalog: what `FROM lines` finds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::options::{OptionReader, Options};
use crate::source::{StreamProvider, stream_provider};

/// The option of every stream.
pub const IDLE_TIMEOUT: &str = "watermark.idleTimeout";

/// A named stream. A streaming query replaces its scans with slots that it fills batch by batch; nothing else can scan it.
#[derive(Debug, Clone)]
pub struct StreamTable {
    name: String,
    provider: Arc<dyn StreamProvider>,
    idle_timeout: Option<Duration>,
    /// The columns and `_metadata`, for the queries that name it.
    with_metadata: Option<SchemaRef>,
}

impl StreamTable {
    /// The stream `name`.
    pub fn new(name: impl Into<String>, provider: Arc<dyn StreamProvider>) -> Self {
        Self { name: name.into(), provider, idle_timeout: None, with_metadata: None }
    }

    /// The stream `name` of a format with these options: those of the format, and those of every stream.
    ///
    /// # Errors
    /// The errors of the format, and an option that does not fit.
    pub async fn create(
        context: &SessionContext,
        format: &str,
        name: &str,
        declared: Option<SchemaRef>,
        options: &Options,
    ) -> Result<Self> {
        let idle_timeout = OptionReader::new(format!("the {format} source"), options).duration(IDLE_TIMEOUT)?;
        let mut of_format = options.clone();
        of_format.remove(IDLE_TIMEOUT);
        let provider = stream_provider(context, format, name, declared, &of_format).await?;
        Ok(Self { idle_timeout, ..Self::new(name, provider) })
    }

    /// How long it may have no rows before it stops holding watermarks back; `None` for ever.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// The same stream with the hidden column of files; `None` if it has none.
    #[must_use]
    pub fn with_metadata(&self) -> Option<Self> {
        let with_metadata = Some(self.provider.schema_with_metadata()?);
        Some(Self { with_metadata, ..self.clone() })
    }

    /// The columns and `_metadata`, if it is asked for.
    pub fn metadata_schema(&self) -> Option<&SchemaRef> {
        self.with_metadata.as_ref()
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
        self.with_metadata.clone().unwrap_or_else(|| self.provider.schema())
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
