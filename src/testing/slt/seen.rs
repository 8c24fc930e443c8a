//! The sink of a flow that a test has included: its own, and one in memory in which the test sees the rows.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::memory::MemoryStream;
use futures::TryStreamExt;

use crate::error::Result;
use crate::output_mode::OutputMode;
use crate::sink::{BatchIdentity, BatchRows, LastCommitted, MemorySink, Sink, SinkContext};

/// Gives every row to both.
#[derive(Debug)]
pub struct SeenSink {
    own: Arc<dyn Sink>,
    seen: Arc<MemorySink>,
}

impl SeenSink {
    /// Shows in `seen` what goes to `own`.
    pub fn new(own: Arc<dyn Sink>, seen: Arc<MemorySink>) -> Self {
        Self { own, seen }
    }
}

#[async_trait]
impl Sink for SeenSink {
    fn description(&self) -> String {
        self.own.description()
    }

    fn check(&self, mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        self.own.check(mode, schema)
    }

    fn is_exactly_once(&self) -> bool {
        self.own.is_exactly_once()
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.own.open(context).await?;
        self.seen.open(context).await
    }

    /// The memory outlives restarts and knows every batch; the two commit together.
    async fn last_committed(&self) -> Result<LastCommitted> {
        self.seen.last_committed().await
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let schema = rows.schema().clone();
        let rows: Vec<_> = rows.in_order().try_collect().await?;
        let again = || {
            let rows: SendableRecordBatchStream = Box::pin(MemoryStream::try_new(rows.clone(), schema.clone(), None)?);
            Ok::<_, crate::Error>(BatchRows::from(rows))
        };
        self.own.prepare(batch_id, again()?).await?;
        self.seen.prepare(batch_id, again()?).await
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        self.own.commit(batch).await?;
        self.seen.commit(batch).await
    }

    async fn abort(&self) -> Result<()> {
        self.own.abort().await?;
        self.seen.abort().await
    }

    async fn close(&self) -> Result<()> {
        self.own.close().await?;
        self.seen.close().await
    }
}
