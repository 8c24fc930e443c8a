//! The rows of a batch on their way to the sink.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result as DfResult;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use crate::sink::BatchRows;

/// The partitions of the plan, under the schema that the sink sees. Several run at once.
pub fn execute(plan: &Arc<dyn ExecutionPlan>, task: &Arc<TaskContext>, schema: &SchemaRef) -> DfResult<BatchRows> {
    let partitions = 0..plan.properties().partitioning.partition_count();
    let partitions = partitions.map(|p| Ok(renamed(plan.execute(p, task.clone())?, schema.clone())));
    Ok(BatchRows::new(schema.clone(), partitions.collect::<DfResult<_>>()?))
}

/// Rows that were computed.
pub enum Collected {
    /// All of them, and their bytes.
    All(Vec<RecordBatch>, usize),
    /// Too many to be held: those that were computed so far, and the rest.
    More(BatchRows),
}

/// Computes the rows, as long as they are at most about `limit` bytes.
pub async fn collect(rows: BatchRows, limit: usize) -> DfResult<Collected> {
    let schema = rows.schema().clone();
    let mut stream = rows.in_order();
    let (mut all, mut bytes) = (vec![], 0);
    while let Some(batch) = stream.try_next().await? {
        bytes += batch.get_array_memory_size();
        all.push(batch);
        if bytes > limit {
            let rows = futures::stream::iter(all.into_iter().map(Ok)).chain(stream);
            let rows = RecordBatchStreamAdapter::new(schema.clone(), rows);
            return Ok(Collected::More(BatchRows::new(schema, vec![Box::pin(rows)])));
        }
    }
    Ok(Collected::All(all, bytes))
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
fn renamed(stream: SendableRecordBatchStream, schema: SchemaRef) -> SendableRecordBatchStream {
    let to = schema.clone();
    let rows = stream.and_then(move |batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let renamed = RecordBatch::try_new_with_options(to.clone(), batch.columns().to_vec(), &options);
        std::future::ready(renamed.map_err(DataFusionError::from))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
