//! What the tests of sinks share.

use std::sync::Arc;

use arrow::array::{AsArray, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use uuid::Uuid;

use super::{BatchIdentity, BatchRows, Sink, SinkContext};
use crate::failpoint::Failpoints;
use crate::output_mode::OutputMode;
use crate::time::Clock;
use crate::trigger::Delivery;

/// One column, `value INT`.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Int32, true)]))
}

/// An append query over [`schema`], always the same.
pub fn context() -> SinkContext {
    SinkContext {
        time_zone: crate::time_zone::Tz::UTC,
        query_id: Uuid::from_u128(7),
        query_name: Some("q".into()),
        is_durable: true,
        delivery: Delivery::default(),
        output_mode: OutputMode::Append,
        schema: schema(),
        clock: Clock::default(),
        failpoints: Failpoints::default(),
    }
}

/// Rows of [`schema`].
pub fn ints(values: &[i32]) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int32Array::from(values.to_vec()))]).unwrap()
}

/// The first column of rows of [`schema`].
pub fn values(rows: &[RecordBatch]) -> Vec<i32> {
    rows.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
}

/// Rows as a sink gets them.
pub fn stream(rows: Vec<RecordBatch>) -> BatchRows {
    let schema = rows.first().map_or_else(schema, RecordBatch::schema);
    let rows: SendableRecordBatchStream =
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows.into_iter().map(Ok))));
    rows.into()
}

/// The identity of batch `batch_id` in these tests.
pub fn identity(batch_id: u64) -> BatchIdentity {
    BatchIdentity { batch_id, record_hash: 100 + batch_id as u32 }
}

/// Prepares and commits.
pub async fn run_batch(sink: &dyn Sink, batch_id: u64, rows: Vec<RecordBatch>) {
    sink.prepare(batch_id, stream(rows)).await.unwrap();
    sink.commit(identity(batch_id)).await.unwrap();
}
