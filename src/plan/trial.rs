//! What a plan will compute is tried on no rows before anything starts: a kernel that does not know a type says so at once.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

use super::display::as_sql;
use crate::error::{Error, Result};

/// Tries every expression and aggregate of the plan.
pub fn try_empty(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let children = plan.children();
    // The expressions of a join are over both of its sides, each in its own way.
    if let [child] = children.as_slice() {
        let batch = RecordBatch::new_empty(child.schema());
        let mut failed = None;
        plan.apply_expressions(&mut |e| {
            if let (None, Err(why)) = (&failed, e.evaluate(&batch)) {
                failed = refusal(e.to_string(), why);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            failed = failed.or_else(|| tried_aggregates(aggregate, &batch));
        }
        if let Some(refused) = failed {
            return Err(refused);
        }
    }
    children.into_iter().try_for_each(try_empty)
}

fn tried_aggregates(aggregate: &AggregateExec, batch: &RecordBatch) -> Option<Error> {
    if !matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Single) {
        return None;
    }
    aggregate.aggr_expr().iter().find_map(|function| {
        let run = || -> DfResult<()> {
            let of = |e: &Arc<dyn PhysicalExpr>| e.evaluate(batch)?.into_array(0);
            let values = function.expressions().iter().map(of).collect::<DfResult<Vec<_>>>()?;
            let mut accumulator = function.create_accumulator()?;
            accumulator.update_batch(&values)?;
            accumulator.evaluate().map(drop)
        };
        run().err().and_then(|why| refusal(function.name().to_owned(), why))
    })
}

/// The error at the start, if the failure is one of types: a constant such as `1 / 0` fails without rows too, but only if a row
/// comes to it.
fn refusal(expression: String, why: DataFusionError) -> Option<Error> {
    let of_types = match why.find_root() {
        DataFusionError::NotImplemented(_) | DataFusionError::Internal(_) => true,
        DataFusionError::ArrowError(e, _) => {
            use datafusion::arrow::error::ArrowError::*;
            matches!(e.as_ref(), NotYetImplemented(_) | ComputeError(_) | InvalidArgumentError(_) | SchemaError(_))
        }
        _ => false,
    };
    let expression = as_sql(&expression);
    of_types.then(|| {
        let why = Error::from(why);
        Error::unsupported("UNSUPPORTED_FEATURE", format!("'{expression}' cannot be computed: {}", why.message()))
            .with_help("CAST what it is computed of to another type, or take its parts")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::DataType;
    use datafusion::common::not_impl_err;
    use datafusion::logical_expr::{Volatility, create_udf};
    use datafusion::prelude::SessionContext;

    use super::try_empty;

    async fn tried(query: &str) -> crate::error::Result<()> {
        let context = SessionContext::new();
        let types = vec![DataType::Int64];
        let function = |_: &[_]| not_impl_err!("no such kernel");
        let unknown = create_udf("unknown", types, DataType::Int64, Volatility::Volatile, Arc::new(function));
        context.register_udf(unknown);
        context.sql("CREATE TABLE t AS VALUES (1), (0)").await.unwrap().collect().await.unwrap();
        try_empty(&context.sql(query).await.unwrap().create_physical_plan().await.unwrap())
    }

    #[tokio::test]
    async fn what_no_kernel_computes_is_refused_before_rows_come() {
        for query in [
            "SELECT unknown(column1) FROM t",
            "SELECT column1 FROM t WHERE unknown(column1) > 1",
            "SELECT sum(unknown(column1)) FROM t",
            "SELECT column1, count(*) FROM (SELECT unknown(column1) + 1 AS column1 FROM t) GROUP BY column1",
        ] {
            let refused = tried(query).await.expect_err(query);
            assert_eq!(refused.condition(), "UNSUPPORTED_FEATURE", "{query}");
            assert!(refused.message().contains("unknown"), "{query}: {}", refused.message());
        }
    }

    #[tokio::test]
    async fn what_fails_for_some_rows_starts() {
        for query in ["SELECT 1 / column1 FROM t", "SELECT sum(1 / column1) FROM t WHERE column1 / 0 > 1"] {
            tried(query).await.expect(query);
        }
    }
}
