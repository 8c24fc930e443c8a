//! The last check: nothing in the physical plan may compute over all rows of one batch what should be computed over all
//! rows of the stream. DataFusion would do so without a word.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;

use super::micro_batch::MicroBatchExec;
use crate::error::{Error, Result};
use crate::operator::StatefulExec;
use crate::output_mode::OutputMode;

/// Operators that treat every row, or every partial group, on its own.
const ROW_WISE: [&str; 15] = [
    "ProjectionExec",
    "FilterExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "RepartitionExec",
    "UnionExec",
    "InterleaveExec",
    "UnnestExec",
    "CooperativeExec",
    "MicroBatchExec",
    "StatefulExec",
    "BufferExec",
    "WatermarkExec",
    "ApplyExec",
    "RandomExec",
];

/// Operators that are right over the whole result that complete mode gives at every trigger.
const ABOVE_COMPLETE: [&str; 6] =
    ["SortExec", "SortPreservingMergeExec", "GlobalLimitExec", "LocalLimitExec", "PartialSortExec", "TopKExec"];

/// Checks a plan that is to be executed once a batch.
pub fn check(plan: &Arc<dyn ExecutionPlan>, mode: OutputMode) -> Result<()> {
    if !reads_stream(plan) {
        return Ok(());
    }
    let name = plan.name().split('(').next().unwrap_or_default();
    let fits = ROW_WISE.contains(&name)
        || (ABOVE_COMPLETE.contains(&name) && mode == OutputMode::Complete && has_state(plan))
        || joins_batch_with_table(plan);
    if !fits {
        return Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATION",
            format!("operator '{name}' would be computed for every batch on its own"),
        )
        .with_help("write the stream into a table by one flow, and query that table"));
    }
    plan.children().into_iter().try_for_each(|child| match plan.downcast_ref::<StatefulExec>() {
        Some(_) => check_below_state(child, mode),
        None => check(child, mode),
    })
}

/// Below a stateful operator its own partial aggregate is at home, which grouping sets have below a projection.
fn check_below_state(plan: &Arc<dyn ExecutionPlan>, mode: OutputMode) -> Result<()> {
    let aggregate = match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => projection.input(),
        None => plan,
    };
    if aggregate.name() != "AggregateExec" {
        return check(plan, mode);
    }
    aggregate.children().into_iter().try_for_each(|child| check(child, mode))
}

fn reads_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<MicroBatchExec>() || plan.children().into_iter().any(reads_stream)
}

fn has_state(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<StatefulExec>() || plan.children().into_iter().any(has_state)
}

/// A join of one batch with a table keeps only what the table says about each row of the batch.
fn joins_batch_with_table(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let kind = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        *join.join_type()
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        *join.join_type()
    } else if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        join.join_type()
    } else if plan.is::<CrossJoinExec>() {
        JoinType::Inner
    } else {
        return false;
    };
    use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let streams: Vec<bool> = plan.children().into_iter().map(reads_stream).collect();
    match (streams.as_slice(), kind) {
        ([true, true], _) | (_, Full) => false,
        (_, Inner) => true,
        ([left, _], Left | LeftSemi | LeftAnti | LeftMark) => *left,
        ([left, _], Right | RightSemi | RightAnti | RightMark) => !*left,
        _ => false,
    }
}
