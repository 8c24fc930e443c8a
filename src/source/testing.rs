//! What the tests of several sources share.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::{RangeScan, ScanRequest, SourceContext};
use crate::time::Clock;

pub fn context(dir: &Path) -> SourceContext {
    context_with(dir, Clock::System)
}

pub fn context_with(dir: &Path, clock: Clock) -> SourceContext {
    SourceContext {
        dir: dir.to_path_buf(),
        query: "q".to_owned(),
        clock,
        wake: Arc::default(),
        session: SessionContext::new(),
    }
}

pub fn ints(values: Range<i64>) -> RecordBatch {
    let schema =
        arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int64, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(values)) as ArrayRef]).unwrap()
}

/// All rows of a scan, read one partition of the plan after the other.
pub async fn try_read(scan: Arc<dyn RangeScan>, partitions: usize) -> DfResult<Vec<RecordBatch>> {
    read_request(scan.as_ref(), &ScanRequest { partitions, ..ScanRequest::default() }).await
}

/// The rows that a request gives of all pieces.
pub async fn read_request(scan: &dyn RangeScan, request: &ScanRequest) -> DfResult<Vec<RecordBatch>> {
    let plan = scan.plan(0..scan.pieces(), request)?;
    let task = SessionContext::new().task_ctx();
    let mut all = vec![];
    for partition in 0..plan.output_partitioning().partition_count() {
        let rows = plan.execute(partition, task.clone())?;
        all.extend(rows.try_collect::<Vec<_>>().await?);
    }
    Ok(all)
}

/// The same of a scan that can be read.
pub async fn read(scan: Arc<dyn RangeScan>, partitions: usize) -> Vec<RecordBatch> {
    try_read(scan, partitions).await.unwrap()
}

pub async fn read_ints(scan: Arc<dyn RangeScan>, partitions: usize) -> Vec<i64> {
    let batches = read(scan, partitions).await;
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

pub async fn read_strings(scan: Arc<dyn RangeScan>, partitions: usize) -> Vec<String> {
    let batches = read(scan, partitions).await;
    let texts =
        batches.iter().flat_map(|b| b.column(0).as_string_view().iter().map(|s| s.unwrap_or("NULL").to_string()));
    texts.collect()
}
