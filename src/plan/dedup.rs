//! The logical node of `SELECT DISTINCT ON (k, …)`: keeps the first row of each key, in input order.
//!
//! NULL keys are equal to each other. Output columns are those of the input.

use std::fmt;

use datafusion::common::{DFSchemaRef, Result as DfResult, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};
use std::sync::Arc;

use super::is_streaming;
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct DedupNode {
    /// What gives the rows.
    pub input: LogicalPlan,
    /// The key, over the columns of the input.
    pub keys: Vec<Expr>,
    /// Whether a key is forgotten once the watermark passes the row's event time by the delay (`dropDuplicatesWithinWatermark`).
    pub within_watermark: bool,
}

impl DedupNode {
    /// As a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// The rows of `input` with the first of every value of `keys`; over tables as DataFusion has it.
///
/// # Errors
/// Tables have no watermark to forget values by.
pub fn deduplicated(input: LogicalPlan, keys: Vec<Expr>, within_watermark: bool) -> Result<LogicalPlan> {
    if is_streaming(&input) {
        return Ok(DedupNode { input, keys, within_watermark }.into_plan());
    }
    if within_watermark {
        let message = "dropDuplicatesWithinWatermark is not supported with batch DataFrames/DataSets";
        return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help("leave WITHIN WATERMARK out"));
    }
    let all = input.schema().columns().into_iter().map(Expr::Column).collect();
    Ok(LogicalPlanBuilder::from(input).distinct_on(keys, all, None)?.build()?)
}

impl UserDefinedLogicalNodeCore for DedupNode {
    fn name(&self) -> &str {
        "Dedup"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        let within = if self.within_watermark { " within watermark" } else { "" };
        write!(f, "Dedup: [{}]{within}", keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, keys: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input, keys, within_watermark: self.within_watermark }),
            None => plan_err!("a deduplication has one input"),
        }
    }
}
