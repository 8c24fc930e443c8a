//! Ranges of rows that are in memory, or that are made from their numbers.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::memory::{LazyBatchGenerator, LazyMemoryExec};
use parking_lot::RwLock;

use super::scan::{RangeScan, ScanRequest, cut};
use crate::error::Result;
use crate::format::BATCH_ROWS;

/// Fewer rows than this are not worth another partition.
const MIN_PARTITION_ROWS: usize = 1024;

/// A range of rows that are in memory: what a source gives that has received them.
#[derive(Debug, Clone)]
pub struct MemoryScan {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl MemoryScan {
    /// The rows of `batches`, in their order; all have `schema`.
    pub fn of(schema: SchemaRef, batches: Vec<RecordBatch>) -> Arc<dyn RangeScan> {
        Arc::new(Self { schema, batches })
    }
}

impl RangeScan for MemoryScan {
    fn pieces(&self) -> usize {
        self.batches.len()
    }

    fn num_rows(&self) -> Option<usize> {
        Some(self.batches.iter().map(RecordBatch::num_rows).sum())
    }

    fn num_bytes(&self) -> Option<u64> {
        Some(self.batches.iter().map(|b| b.get_array_memory_size() as u64).sum())
    }

    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = &self.batches[pieces];
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let partitions = request.partitions.clamp(1, rows.div_ceil(MIN_PARTITION_ROWS).max(1));
        let partitions = match partitions {
            1 => vec![batches.to_vec()],
            n => split(batches, rows, n),
        };
        Ok(MemorySourceConfig::try_new_exec(&partitions, self.schema.clone(), request.projection.clone())?)
    }
}

/// `batches`, of `rows` rows in all, as `partitions` contiguous parts of about the same length.
fn split(batches: &[RecordBatch], rows: usize, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let mut rest = batches.iter().cloned();
    let mut current: Option<RecordBatch> = None;
    let part = |range: Range<usize>| {
        let (mut wanted, mut part) = (range.len(), vec![]);
        while wanted > 0 {
            let Some(batch) = current.take().or_else(|| rest.next()) else { break };
            let taken = batch.num_rows().min(wanted);
            if taken < batch.num_rows() {
                current = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            wanted -= taken;
            part.push(batch.slice(0, taken));
        }
        part
    };
    cut(rows, partitions).map(part).collect()
}

/// Makes the rows of a range of numbers.
type Make = dyn Fn(Range<i64>) -> Result<RecordBatch> + Send + Sync;

/// A range of rows that are made when they are read.
pub struct GeneratedScan {
    schema: SchemaRef,
    rows: Range<i64>,
    /// As many partitions as the stream's options say, if they do.
    partitions: Option<usize>,
    make: Arc<Make>,
}

impl GeneratedScan {
    /// The rows of these numbers, which `make` makes for a part of them.
    pub fn of(
        schema: SchemaRef,
        rows: Range<i64>,
        partitions: Option<usize>,
        make: impl Fn(Range<i64>) -> Result<RecordBatch> + Send + Sync + 'static,
    ) -> Arc<dyn RangeScan> {
        Arc::new(Self { schema, rows, partitions, make: Arc::new(make) })
    }

    fn len(&self) -> usize {
        usize::try_from(self.rows.end.saturating_sub(self.rows.start)).unwrap_or(0)
    }
}

impl fmt::Debug for GeneratedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedScan").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl RangeScan for GeneratedScan {
    fn pieces(&self) -> usize {
        1
    }

    fn num_rows(&self) -> Option<usize> {
        Some(self.len())
    }

    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let len = if pieces.is_empty() { 0 } else { self.len() };
        let partitions = self.partitions.unwrap_or(request.partitions).clamp(1, len.max(1));
        let at = |row: usize| self.rows.start + row as i64;
        let generators = cut(len, partitions).map(|part| {
            let rows = at(part.start)..at(part.end);
            Arc::new(RwLock::new(Generator { next: rows.start, rows, make: self.make.clone() }))
                as Arc<RwLock<dyn LazyBatchGenerator>>
        });
        let plan = LazyMemoryExec::try_new(self.schema.clone(), generators.collect())?;
        Ok(Arc::new(plan.with_projection(request.projection.clone())))
    }
}

struct Generator {
    rows: Range<i64>,
    next: i64,
    make: Arc<Make>,
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows {} to {}", self.rows.start, self.rows.end)
    }
}

impl LazyBatchGenerator for Generator {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn generate_next_batch(&mut self) -> DfResult<Option<RecordBatch>> {
        if self.next >= self.rows.end {
            return Ok(None);
        }
        let rows = self.next..self.rows.end.min(self.next.saturating_add(BATCH_ROWS as i64));
        self.next = rows.end;
        Ok(Some((self.make)(rows)?))
    }

    fn reset_state(&self) -> Arc<RwLock<dyn LazyBatchGenerator>> {
        let (rows, make) = (self.rows.clone(), self.make.clone());
        Arc::new(RwLock::new(Self { next: rows.start, rows, make }))
    }
}
