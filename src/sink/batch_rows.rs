//! The rows of a batch on their way into a sink.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio::sync::mpsc;

/// Batches that a partition may be ahead of whoever reads them in order.
const AHEAD: usize = 4;

/// The rows of a batch as the partitions of the plan that computes them. Partitions are contiguous: read one after the other they give
/// the rows in order. Nothing is computed before a partition is read.
pub struct BatchRows {
    schema: SchemaRef,
    partitions: Vec<SendableRecordBatchStream>,
}

impl fmt::Debug for BatchRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRows").field("partitions", &self.partitions.len()).finish_non_exhaustive()
    }
}

impl From<SendableRecordBatchStream> for BatchRows {
    /// Rows in one partition.
    fn from(rows: SendableRecordBatchStream) -> Self {
        Self::new(rows.schema(), vec![rows])
    }
}

impl BatchRows {
    /// Rows in partitions, all of this schema.
    pub fn new(schema: SchemaRef, partitions: Vec<SendableRecordBatchStream>) -> Self {
        Self { schema, partitions }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The partitions, in order: for a sink that writes several at once.
    pub fn into_partitions(self) -> Vec<SendableRecordBatchStream> {
        self.partitions
    }

    /// All rows as one stream, in order: for a sink that has one writer. The partitions are computed at once, each a few batches ahead of the
    /// reader.
    pub fn in_order(self) -> SendableRecordBatchStream {
        let Self { schema, mut partitions } = self;
        if partitions.len() == 1
            && let Some(only) = partitions.pop()
        {
            return only;
        }
        let streams: Vec<_> = partitions.into_iter().map(ahead).collect();
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(streams).flatten()))
    }
}

/// The stream, read by a task of its own that ends when the result is dropped.
fn ahead(mut stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let (sender, receiver) = mpsc::channel::<DfResult<RecordBatch>>(AHEAD);
    let task = SpawnedTask::spawn(async move {
        while let Some(batch) = stream.next().await {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    });
    // The task ends the channel by returning or by panicking: only a look at it tells which.
    let rows = futures::stream::unfold((receiver, Some(task)), |(mut receiver, mut task)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, task)));
        }
        match task.take()?.join().await {
            Ok(()) => None,
            Err(e) => Some((Err(DataFusionError::ExecutionJoin(Box::new(e))), (receiver, None))),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
