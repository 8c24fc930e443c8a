//! Rows on their way into a sink that keeps them until the commit.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use crate::error::{Error, Result};

/// The rows of a batch between `prepare` and `commit`.
#[derive(Debug)]
pub struct Prepared {
    /// The batch they belong to.
    pub batch_id: u64,
    /// The rows, under the names users see; no empty batches.
    pub rows: Vec<RecordBatch>,
}

impl Prepared {
    /// Reads the stream to its end.
    pub async fn collect(batch_id: u64, schema: &SchemaRef, mut rows: SendableRecordBatchStream) -> Result<Self> {
        let mut prepared = Self { batch_id, rows: vec![] };
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                prepared.rows.push(rename(&batch, schema)?);
            }
        }
        Ok(prepared)
    }

    /// How many there are.
    pub fn num_rows(&self) -> u64 {
        self.rows.iter().map(|b| b.num_rows() as u64).sum()
    }
}

/// The same columns under the names of `schema`.
pub fn rename(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)?)
}

/// The error for a commit of a batch that was not prepared: the caller broke the contract of sinks.
pub fn not_prepared(sink: &str, batch_id: u64) -> Error {
    Error::internal(format!("batch {batch_id} was committed to {sink} without being prepared"))
}

/// The error for a sink that is written to before `open`.
pub fn not_open(sink: &str) -> Error {
    Error::internal(format!("{sink} was used before it was opened"))
}
