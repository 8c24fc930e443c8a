//! Cuts rows in memory into contiguous partitions.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::SourceBatch;
use crate::format::BATCH_ROWS;

/// Fewer rows than this are not worth another partition.
const MIN_PARTITION_ROWS: usize = 1024;

/// `batches` as about `partitions` streams, in order.
pub fn split_rows(schema: SchemaRef, batches: Vec<RecordBatch>, partitions: usize) -> SourceBatch {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let partitions = partitions.clamp(1, rows.div_ceil(MIN_PARTITION_ROWS).max(1));
    let mut streams = Vec::with_capacity(partitions);
    let mut rest = batches.into_iter();
    let mut current: Option<RecordBatch> = None;
    for p in 0..partitions {
        let mut wanted = rows * (p + 1) / partitions - rows * p / partitions;
        let mut part = vec![];
        while wanted > 0 {
            let Some(batch) = current.take().or_else(|| rest.next()) else { break };
            let taken = batch.num_rows().min(wanted).min(BATCH_ROWS);
            if taken < batch.num_rows() {
                current = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            wanted -= taken;
            part.push(batch.slice(0, taken));
        }
        streams.push(ready(schema.clone(), part));
    }
    SourceBatch { partitions: streams, num_rows: Some(rows) }
}

/// A stream of batches that are there already.
pub fn ready(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))))
}
