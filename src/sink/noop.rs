//! The noop sink: runs the query and throws its rows away, to measure everything else.

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::{BatchIdentity, LastCommitted, Sink, SinkContext};
use crate::error::Result;

/// Counts rows and drops them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopSink;

#[async_trait]
impl Sink for NoopSink {
    fn description(&self) -> String {
        "NoopSink".into()
    }

    async fn open(&self, _: &SinkContext) -> Result<()> {
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Unknown)
    }

    async fn prepare(&self, _: u64, mut rows: SendableRecordBatchStream) -> Result<Option<u64>> {
        let mut num_rows = 0;
        while let Some(batch) = rows.try_next().await? {
            num_rows += batch.num_rows() as u64;
        }
        Ok(Some(num_rows))
    }

    async fn commit(&self, _: BatchIdentity) -> Result<()> {
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
