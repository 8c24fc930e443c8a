//! The noop sink: runs the query and throws its rows away, to measure everything else.

use async_trait::async_trait;
use datafusion::common::runtime::JoinSet;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
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

    async fn prepare(&self, _: u64, rows: BatchRows) -> Result<Option<u64>> {
        let count = |rows: SendableRecordBatchStream| {
            rows.try_fold(0, |n, batch| std::future::ready(Ok(n + batch.num_rows() as u64)))
        };
        let mut partitions = rows.into_partitions().into_iter();
        // The first is read here: most batches have no other.
        let Some(first) = partitions.next() else { return Ok(Some(0)) };
        let mut others = JoinSet::new();
        partitions.for_each(|rows| drop(others.spawn(count(rows))));
        let mut num_rows = count(first).await?;
        while let Some(counted) = others.join_next().await {
            num_rows += counted.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
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
