//! Subqueries as values, and LATERAL ones, in a plan: a node that computes one for each row of its input.
//!
//! DataFusion makes joins of subqueries where it can, which is below WHERE and for equalities only. Here is the rest: in a
//! select list, under OR or CASE, with any comparison, with its own aggregates and limits, and with Spark's errors.

mod node;
mod outer;
mod planner;

pub use node::{ApplyNode, as_apply};
pub use outer::map_subqueries;
pub use planner::{ApplyPlanner, BatchPlanner, planned_by};
