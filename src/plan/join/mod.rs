//! Joins of two streams, from the logical plan to the node that the physical planner knows.
//!
//! ```text
//! legality (analyzed plan) ─ optimizer ─ infer filters ─ optimizer ─ StreamJoinNode ─ JoinOperator
//! ```
//!
//! Unlike other stateful nodes a join stays what it is until the optimizer is done: which conjuncts and columns are below it
//! decides which rows are stored, and what the watermark sees.

mod condition;
mod infer;
mod input_watermark;
mod node;
mod physical;
mod state_bound;

pub use input_watermark::{input_watermark, input_watermarks};
pub use node::{SideExpiry, StreamJoinNode};
pub use physical::operator;

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Extension, Join, LogicalPlan};

pub(super) use self::condition::Condition;
use self::condition::Key;
use self::node::SideNode;
pub(super) use self::state_bound::state_bounds;
use super::key_filter::push_key_filters;
use super::legality::check_one_event_time;
use super::node::StatefulNode;
use super::watermark::event_time_columns;
use super::{any, is_streaming};
use crate::error::{Error, Result};
use crate::plan::rewrite::normalized;

/// Whether both sides are streams.
pub fn is_stream_join(join: &Join) -> bool {
    is_streaming(&join.left) && is_streaming(&join.right)
}

/// Puts nodes in place of the joins of two streams in an optimized plan, and numbers all stateful nodes from the sink down.
///
/// # Errors
/// A join without an equality, and one with two event times on a side.
pub fn place_stream_joins(plan: LogicalPlan, session: &SessionState) -> Result<LogicalPlan> {
    let has_join = any(&plan, |n| matches!(n, LogicalPlan::Join(j) if is_stream_join(j)));
    let plan = if has_join { optimized(infer::infer_filters(plan)?, session)? } else { plan };
    let plan = below_aggregates(plan, session)?;
    let plan = if has_join { plan.transform_up(|node| Ok(replaced(node)?)).data()? } else { plan };
    Ok(numbered(plan)?)
}

fn optimized(plan: LogicalPlan, session: &SessionState) -> DfResult<LogicalPlan> {
    session.optimizer().optimize(plan, session, |_, _| {})
}

/// Moves filters on keys below aggregates, one after the other: each time the optimizer takes them as far as it can.
fn below_aggregates(mut plan: LogicalPlan, session: &SessionState) -> DfResult<LogicalPlan> {
    loop {
        let pushed = push_key_filters(plan)?;
        if !pushed.transformed {
            return Ok(pushed.data);
        }
        plan = optimized(pushed.data, session)?;
    }
}

fn replaced(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Join(join) if is_stream_join(&join) => {
            Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(stream_join(join)?) })))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn stream_join(join: Join) -> Result<StreamJoinNode> {
    let mut condition = Condition::of(&join);
    if condition.keys.is_empty() {
        return Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATION",
            "a stream-stream join without equality predicate is not supported",
        )
        .with_help("add an equality between columns of both streams to the ON condition"));
    }
    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
    let watermark_key = condition.watermark_key(&left, &right);
    let conjuncts = condition.residual();
    let expiry = |this: usize| {
        let (mine, other) = if this == 0 { (&left, &right) } else { (&right, &left) };
        let event_time = event_time_columns(mine.fields()).first().copied();
        match (watermark_key, event_time) {
            (Some(key), _) => SideExpiry::Key(key, condition.keys[key].bounds(mine, other)),
            (None, Some(column)) => match state_bounds(&conjuncts, mine, other) {
                bounds if bounds.is_empty() => SideExpiry::Never,
                bounds => SideExpiry::Column(column, bounds),
            },
            (None, None) => SideExpiry::Never,
        }
    };
    let expiries = [expiry(0), expiry(1)];
    for key in &mut condition.keys {
        key.left = normalized(key.left.clone(), &left)?;
        key.right = normalized(key.right.clone(), &right)?;
    }
    let side = |input: Arc<LogicalPlan>, filter: Vec<Expr>, expiry: SideExpiry| {
        let fields = input.schema().fields();
        let event_times = event_time_columns(fields);
        check_one_event_time(event_times.iter().map(|i| fields[*i].name().as_str()))?;
        let (filter, event_time) = (conjunction(filter), event_times.first().copied());
        Ok::<_, Error>(SideNode { input: Arc::unwrap_or_clone(input), filter, event_time, expiry })
    };
    let [left_expiry, right_expiry] = expiries;
    let sides =
        [side(join.left, condition.left_only, left_expiry)?, side(join.right, condition.right_only, right_expiry)?];
    Ok(StreamJoinNode {
        id: 0,
        join_type: join.join_type,
        keys: condition.keys,
        sides,
        filter: conjunction(condition.both),
        schema: join.schema,
    })
}

/// Ids are dense from the sink down, left before right.
fn numbered(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut next = 0;
    let mut id = || {
        next += 1;
        next - 1
    };
    let number = |node: LogicalPlan| {
        let LogicalPlan::Extension(e) = &node else { return Ok(Transformed::no(node)) };
        let any = e.node.as_any();
        let numbered: Arc<dyn datafusion::logical_expr::UserDefinedLogicalNode> =
            if let Some(join) = any.downcast_ref::<StreamJoinNode>() {
                Arc::new(StreamJoinNode { id: id(), ..join.clone() })
            } else if let Some(stateful) = any.downcast_ref::<StatefulNode>() {
                Arc::new(StatefulNode { id: id(), ..stateful.clone() })
            } else {
                return Ok(Transformed::no(node));
            };
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: numbered })))
    };
    plan.transform_down(number).data()
}
