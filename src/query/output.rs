//! The rows of a batch on their way to the sink.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result as DfResult;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

/// Batches that a partition may be ahead of the sink.
const AHEAD: usize = 4;

/// All partitions of the plan as one stream, in partition order. Several partitions run at once, each a few batches
/// ahead of the reader.
pub fn execute_ordered(plan: &Arc<dyn ExecutionPlan>, task: &Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
    let partitions = plan.properties().partitioning.partition_count();
    if partitions == 1 {
        return plan.execute(0, task.clone());
    }
    let streams = (0..partitions).map(|p| Ok(ahead(plan.execute(p, task.clone())?))).collect::<DfResult<Vec<_>>>()?;
    let rows = futures::stream::iter(streams).flatten();
    Ok(Box::pin(RecordBatchStreamAdapter::new(plan.schema(), rows)))
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

/// The schema with the names that users see, which need not be unique.
pub fn renamed_schema(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    if names.len() != schema.fields().len() {
        return schema.clone();
    }
    let fields = schema.fields().iter().zip(names).map(|(f, name)| f.as_ref().clone().with_name(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows under another schema of the same types.
pub fn renamed(stream: SendableRecordBatchStream, schema: SchemaRef) -> SendableRecordBatchStream {
    let to = schema.clone();
    let rows = stream.and_then(move |batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let renamed = RecordBatch::try_new_with_options(to.clone(), batch.columns().to_vec(), &options);
        std::future::ready(renamed.map_err(DataFusionError::from))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
