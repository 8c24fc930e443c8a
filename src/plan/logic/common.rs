//! DataFusion's search for what is computed twice, which must not find the guards that terms of a filter carry.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::protect::unguarded;
use crate::function::Ordered;

/// The rule.
#[derive(Debug)]
pub struct Common {
    inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl Common {
    /// In front of DataFusion's.
    pub fn new(inner: Arc<dyn OptimizerRule + Send + Sync>) -> Self {
        Self { inner }
    }
}

impl OptimizerRule for Common {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, mut plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let mut changed = false;
        if let LogicalPlan::Filter(filter) = &mut plan {
            let conjuncts = split_conjunction_owned(filter.predicate.clone());
            if conjuncts.len() > 1 && conjuncts.iter().any(|e| Ordered::of(e).is_some()) {
                // Filters are not moved from here on: each term once, in one call.
                filter.predicate = Ordered::And.call(unguarded(conjuncts));
                changed = true;
            }
        }
        let mut result = self.inner.rewrite(plan, config)?;
        result.transformed |= changed;
        Ok(result)
    }
}
