//! The operator of a [`StreamJoinNode`].

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use super::condition::Key;
use super::node::{SideExpiry, SideNode, StreamJoinNode};
use crate::error::Result;
use crate::operator::{JoinOperator, JoinSpec, Residual, RowExpiry, SideSpec};
use crate::state::StateSpace;

/// Makes it. `expression` plans an expression over the columns of a schema, `inputs` are the columns of both inputs.
pub fn operator(
    node: &StreamJoinNode,
    inputs: [SchemaRef; 2],
    space: &StateSpace,
    expression: impl Fn(&Expr, &DFSchema) -> DfResult<Arc<dyn PhysicalExpr>>,
) -> Result<JoinOperator> {
    let side = |node: &SideNode, schema: &SchemaRef, keys: Vec<&Expr>, null_equal: Vec<bool>| {
        let logical = node.input.schema();
        let keys = keys.into_iter().map(|k| expression(k, logical)).collect::<DfResult<Vec<_>>>()?;
        let filter = node.filter.as_ref().map(|f| expression(f, logical)).transpose()?;
        let expiry = match &node.expiry {
            SideExpiry::Never => RowExpiry::Never,
            SideExpiry::Key(key, _) => RowExpiry::Key(*key),
            SideExpiry::Column(column, bounds) => RowExpiry::Column(*column, bounds.clone()),
        };
        let (event_time, backend) = (node.event_time, space.backend.clone());
        let schema = schema.clone();
        Ok::<_, crate::error::Error>(SideSpec { schema, keys, null_equal, filter, event_time, expiry, backend })
    };
    let [left, right] = &inputs;
    let keys = |of: fn(&Key) -> &Expr| node.keys.iter().map(of).collect();
    let null_equal: Vec<bool> = node.keys.iter().map(|k| k.null_equal).collect();
    let sides = [
        side(&node.sides[0], left, keys(|k| &k.left), null_equal.clone())?,
        side(&node.sides[1], right, keys(|k| &k.right), null_equal)?,
    ];
    let both = node.sides[0].input.schema().join(node.sides[1].input.schema())?;
    let residual = node.filter.as_ref().map(|f| Residual::try_new(expression(f, &both)?, left, right)).transpose()?;
    let schema = node.schema.inner().clone();
    JoinOperator::try_new(JoinSpec { join_type: node.join_type, schema, sides, residual }, &space.pool)
}
