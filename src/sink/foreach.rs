//! Sinks that call the user's code: once a batch, or once a row.
//!
//! The code runs in `commit`, when the batch is durable in the checkpoint. Delivery is at least once: after a crash the
//! last batch may come again, with the same rows under the same batch id, so code that remembers batch ids is exact. The
//! rows of one batch are held in memory until then.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::rows::{Prepared, not_open, not_prepared};
use super::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::{Error, Result};

type BatchFn = dyn Fn(Vec<RecordBatch>, u64) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// Spark's `foreachBatch`: a function of the rows of a batch and its id.
#[derive(Clone)]
pub struct ForeachBatchSink {
    function: Arc<BatchFn>,
    held: Arc<Held>,
}

impl ForeachBatchSink {
    /// `function` gets at least one record batch, an empty one if there are no rows, so that the schema is known.
    pub fn new<F, Fut>(function: F) -> Self
    where
        F: Fn(Vec<RecordBatch>, u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        Self { function: Arc::new(move |rows, id| Box::pin(function(rows, id))), held: Arc::default() }
    }
}

impl fmt::Debug for ForeachBatchSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeachBatchSink")
    }
}

#[async_trait]
impl Sink for ForeachBatchSink {
    fn description(&self) -> String {
        "ForeachBatchSink".into()
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.held.open(context).await;
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Unknown)
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        self.held.prepare(batch_id, rows.in_order()).await.map(Some)
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let (schema, mut rows) = self.held.take(batch.batch_id).await?;
        if rows.is_empty() {
            rows.push(RecordBatch::new_empty(schema));
        }
        (self.function)(rows, batch.batch_id).await
    }

    async fn abort(&self) -> Result<()> {
        self.held.drop_rows().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await
    }
}

/// Spark's `ForeachWriter`: called for every row of a batch.
#[async_trait]
pub trait ForeachWriter: Send {
    /// Starts a batch (`epoch_id`); `false` skips its rows. `close` follows in both cases.
    async fn open(&mut self, partition_id: u64, epoch_id: u64) -> Result<bool>;

    /// The row at index `row` of `rows`.
    async fn process(&mut self, rows: &RecordBatch, row: usize) -> Result<()>;

    /// Ends a batch, with what went wrong if something did.
    async fn close(&mut self, error: Option<&Error>);
}

/// Calls a [`ForeachWriter`]. All rows of a batch are partition 0, in order.
pub struct ForeachSink {
    writer: Mutex<Box<dyn ForeachWriter>>,
    held: Held,
}

impl ForeachSink {
    /// Gives every row to `writer`.
    pub fn new(writer: impl ForeachWriter + 'static) -> Self {
        Self { writer: Mutex::new(Box::new(writer)), held: Held::default() }
    }
}

impl fmt::Debug for ForeachSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeachSink")
    }
}

#[async_trait]
impl Sink for ForeachSink {
    fn description(&self) -> String {
        "ForeachSink".into()
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.held.open(context).await;
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Unknown)
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        self.held.prepare(batch_id, rows.in_order()).await.map(Some)
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let (_, rows) = self.held.take(batch.batch_id).await?;
        let mut writer = self.writer.lock().await;
        let result = write_rows(writer.as_mut(), &rows, batch.batch_id).await;
        writer.close(result.as_ref().err()).await;
        result.map_err(|e| e.in_user_function("FOREACH_USER_FUNCTION_ERROR", "foreach sink"))
    }

    async fn abort(&self) -> Result<()> {
        self.held.drop_rows().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await
    }
}

async fn write_rows(writer: &mut dyn ForeachWriter, batches: &[RecordBatch], epoch_id: u64) -> Result<()> {
    if !writer.open(0, epoch_id).await? {
        return Ok(());
    }
    for rows in batches {
        for row in 0..rows.num_rows() {
            writer.process(rows, row).await?;
        }
    }
    Ok(())
}

/// The rows of the batch between `prepare` and `commit`.
#[derive(Debug, Default)]
struct Held(Mutex<(Option<SchemaRef>, Option<Prepared>)>);

impl Held {
    async fn open(&self, context: &SinkContext) {
        *self.0.lock().await = (Some(context.schema.clone()), None);
    }

    async fn prepare(&self, batch_id: u64, rows: SendableRecordBatchStream) -> Result<u64> {
        let mut held = self.0.lock().await;
        let schema = held.0.clone().ok_or_else(|| not_open("the foreach sink"))?;
        let prepared = Prepared::collect(batch_id, &schema, rows).await?;
        let num_rows = prepared.num_rows();
        held.1 = Some(prepared);
        Ok(num_rows)
    }

    async fn take(&self, batch_id: u64) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut held = self.0.lock().await;
        let prepared = held.1.take().filter(|p| p.batch_id == batch_id);
        match (held.0.clone(), prepared) {
            (Some(schema), Some(prepared)) => Ok((schema, prepared.rows)),
            _ => Err(not_prepared("the foreach sink", batch_id)),
        }
    }

    async fn drop_rows(&self) {
        self.0.lock().await.1 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;
    use crate::sink::testing::{context, identity, ints, run_batch, stream, values};

    #[tokio::test]
    async fn the_function_runs_at_commit_and_sees_empty_batches() {
        let seen = Arc::new(StdMutex::new(vec![]));
        let shared = seen.clone();
        let sink = ForeachBatchSink::new(move |rows, id| {
            shared.lock().unwrap().push((id, rows[0].num_columns(), values(&rows)));
            async { Ok(()) }
        });
        sink.open(&context()).await.unwrap();
        sink.prepare(0, stream(vec![ints(&[1, 2])])).await.unwrap();
        assert!(seen.lock().unwrap().is_empty());
        sink.commit(identity(0)).await.unwrap();
        run_batch(&sink, 1, vec![]).await;
        assert_eq!(*seen.lock().unwrap(), [(0, 1, vec![1, 2]), (1, 1, vec![])]);
    }

    struct Recorder(Arc<StdMutex<Vec<String>>>);

    #[async_trait]
    impl ForeachWriter for Recorder {
        async fn open(&mut self, partition_id: u64, epoch_id: u64) -> Result<bool> {
            self.0.lock().unwrap().push(format!("open {partition_id} {epoch_id}"));
            Ok(epoch_id != 1)
        }
        async fn process(&mut self, rows: &RecordBatch, row: usize) -> Result<()> {
            let value = values(std::slice::from_ref(rows))[row];
            self.0.lock().unwrap().push(value.to_string());
            if value < 0 { Err(Error::execution("TEST", "negative")) } else { Ok(()) }
        }
        async fn close(&mut self, error: Option<&Error>) {
            self.0.lock().unwrap().push(format!("close {}", error.map_or("", |e| e.message())));
        }
    }

    #[tokio::test]
    async fn a_writer_is_closed_whatever_happens() {
        let calls = Arc::new(StdMutex::new(vec![]));
        let sink = ForeachSink::new(Recorder(calls.clone()));
        sink.open(&context()).await.unwrap();
        for (id, rows) in [[1, 2], [3, 4], [-1, 5]].iter().enumerate() {
            sink.prepare(id as u64, stream(vec![ints(rows)])).await.unwrap();
            let result = sink.commit(identity(id as u64)).await;
            assert_eq!(result.is_err(), id == 2);
        }
        let expected = ["open 0 0", "1", "2", "close ", "open 0 1", "close ", "open 0 2", "-1", "close negative"];
        assert_eq!(*calls.lock().unwrap(), expected);
    }
}
