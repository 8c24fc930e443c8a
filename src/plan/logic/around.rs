//! A rule of DataFusion's with something of ours around it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// A rule that can be shared.
pub type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's part of the work.
pub type Inner<'a> = dyn Fn(LogicalPlan) -> DfResult<Transformed<LogicalPlan>> + 'a;

/// The rule; it has DataFusion's name and order.
pub struct Around {
    inner: Rule,
    rewrite: fn(LogicalPlan, &Inner<'_>) -> DfResult<Transformed<LogicalPlan>>,
}

impl Around {
    /// `rewrite` calls what is inside when it is its turn.
    pub fn new(inner: Rule, rewrite: fn(LogicalPlan, &Inner<'_>) -> DfResult<Transformed<LogicalPlan>>) -> Self {
        Self { inner, rewrite }
    }
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Around").field(&self.inner).finish()
    }
}

impl OptimizerRule for Around {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        (self.rewrite)(plan, &|plan| self.inner.rewrite(plan, config))
    }
}
