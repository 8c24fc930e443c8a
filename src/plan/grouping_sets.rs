//! `GROUPING SETS`, `ROLLUP` and `CUBE` over the rows of one batch.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, IsNullExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::PhysicalGroupBy;
use datafusion::physical_plan::projection::ProjectionExec;

/// With one more key, which every grouping set has: for an empty set DataFusion gives a row over no rows at all, in every batch
/// and partition, where Spark gives none. Says whether there are grouping sets.
pub fn anchored(group_by: PhysicalGroupBy) -> (PhysicalGroupBy, bool) {
    let Some((first, _)) = group_by.expr().first().filter(|_| group_by.has_grouping_set()) else {
        return (group_by, false);
    };
    // Always false, but not known as a constant, which would count as an order.
    let anchor: Arc<dyn PhysicalExpr> = Arc::new(IsNullExpr::new(Arc::new(IsNullExpr::new(first.clone()))));
    let with = |rest: &[(Arc<dyn PhysicalExpr>, String)]| {
        [(anchor.clone(), "__anchor".to_owned())].into_iter().chain(rest.iter().cloned()).collect()
    };
    let sets = group_by.groups().iter().map(|set| [false].into_iter().chain(set.iter().copied()).collect());
    (PhysicalGroupBy::new(with(group_by.expr()), with(group_by.null_expr()), sets.collect(), true), true)
}

/// The rows of an anchored aggregate without the anchor, which comes first.
pub fn without_anchor(partial: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = partial.schema();
    let columns = schema.fields().iter().enumerate().skip(1);
    let column =
        |(i, f): (usize, &FieldRef)| (Arc::new(Column::new(f.name(), i)) as Arc<dyn PhysicalExpr>, f.name().clone());
    Ok(Arc::new(ProjectionExec::try_new(columns.map(column).collect::<Vec<_>>(), partial)?))
}
