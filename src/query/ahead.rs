//! Rows of batches to come, read while earlier ones run.
//!
//! Nothing is decided here: a source says what its next batches will probably be, and rows that were read for a batch which turns out to be
//! another one are dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;

use crate::error::Result;
use crate::plan::Slot;
use crate::source::{MemoryScan, RangeScan, ScanRequest, Source};

/// A batch of more bytes, as they are stored, is not read ahead.
const MAX_STORED_BYTES: u64 = 64 << 20;
/// Nor one of more bytes once they are read.
const MAX_BYTES: usize = 256 << 20;

/// What is read ahead of one source.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// In the order of the batches.
    reads: VecDeque<Read>,
}

#[derive(Debug)]
struct Read {
    identity: String,
    /// The rows, unless they are too many or cannot be read: then the batch reads them itself, and says so.
    rows: SpawnedTask<Option<Rows>>,
}

/// Rows that were read.
#[derive(Debug)]
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    reservation: MemoryReservation,
}

impl Ahead {
    /// Reads the next `count` batches as far as the source can tell what they are.
    pub fn look(
        &mut self,
        source: &dyn Source,
        slots: &[Arc<Slot>],
        count: usize,
        task: impl Fn() -> Arc<TaskContext>,
    ) {
        let [slot] = slots else { return };
        let Some(request) = slot.request() else { return };
        let is_small = |scan: &Arc<dyn RangeScan>| scan.num_bytes().is_some_and(|bytes| bytes <= MAX_STORED_BYTES);
        let upcoming: Vec<_> = source
            .upcoming(count)
            .into_iter()
            .take_while(is_small)
            .filter_map(|scan| Some((scan.identity()?, scan)))
            .collect();
        self.reads.retain(|read| upcoming.iter().any(|(identity, _)| *identity == read.identity));
        for (identity, scan) in upcoming {
            if self.reads.iter().all(|read| read.identity != identity) {
                let (request, task) = (request.clone(), task());
                let rows = SpawnedTask::spawn(async move { read(scan.as_ref(), request, task).await.ok().flatten() });
                self.reads.push_back(Read { identity, rows });
            }
        }
    }

    /// The rows of `scan` if they were read ahead, which may have to be waited for; else `scan` itself.
    pub async fn take(&mut self, scan: Arc<dyn RangeScan>) -> Arc<dyn RangeScan> {
        if self.reads.is_empty() {
            return scan;
        }
        let identity = scan.identity();
        while let Some(read) = self.reads.pop_front() {
            if Some(&read.identity) == identity.as_ref() {
                return match read.rows.join().await {
                    Ok(Some(rows)) => Arc::new(ReadAhead { rows }),
                    _ => scan,
                };
            }
        }
        scan
    }
}

/// All rows of `scan`; `None` if they are too many.
async fn read(scan: &dyn RangeScan, request: ScanRequest, task: Arc<TaskContext>) -> Result<Option<Rows>> {
    let plan = scan.plan(0..scan.pieces(), &ScanRequest { partitions: 1, ..request })?;
    let reservation = MemoryConsumer::new("rows read ahead").register(&task.runtime_env().memory_pool);
    let (mut batches, mut bytes) = (vec![], 0);
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut stream = plan.execute(partition, task.clone())?;
        while let Some(batch) = stream.try_next().await? {
            bytes += batch.get_array_memory_size();
            if bytes > MAX_BYTES || reservation.try_resize(bytes).is_err() {
                return Ok(None);
            }
            batches.push(batch);
        }
    }
    Ok(Some(Rows { schema: plan.schema(), batches, reservation }))
}

/// A range of rows of which those that the query asks for are here.
#[derive(Debug)]
struct ReadAhead {
    rows: Rows,
}

impl RangeScan for ReadAhead {
    fn pieces(&self) -> usize {
        1
    }

    fn num_rows(&self) -> Option<usize> {
        Some(self.rows.batches.iter().map(RecordBatch::num_rows).sum())
    }

    fn num_bytes(&self) -> Option<u64> {
        Some(self.rows.reservation.size() as u64)
    }

    /// Columns and conditions are those that the rows were read with.
    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = if pieces.is_empty() { vec![] } else { self.rows.batches.clone() };
        let scan = MemoryScan::of(self.rows.schema.clone(), batches);
        scan.plan(0..scan.pieces(), &ScanRequest { partitions: request.partitions, ..ScanRequest::default() })
    }
}
