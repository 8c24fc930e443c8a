//! From a logical plan over streams to one physical plan that is executed again at every trigger.
//!
//! ```text
//! logical plan ─ legality (Spark's rules) ─ bind (streams → slots, now() → trigger time)
//!              ─ analyzer ─ StreamRewrite (aggregate, distinct, limit → StatefulNode) ─ optimizer
//!              ─ StatefulPlanner ─ whitelist check ─ StreamPlan
//! ```

pub mod apply;
mod bind;
pub mod dedup;
pub mod display;
pub mod generators;
mod grouping_sets;
pub mod hidden_columns;
mod join;
mod key_filter;
mod lambda;
mod late_columns;
mod legality;
pub mod logic;
mod micro_batch;
mod node;
mod physical;
mod planner;
mod prepared;
pub mod random;
pub mod recursion;
mod rewrite;
pub mod state_function;
mod stream_table;
mod trial;
mod trigger_time;
pub mod watermark;
mod watermarked;
pub mod window;

pub use bind::BoundSource;
pub use legality::check_batch;
pub use micro_batch::Slot;
pub use planner::StreamPlan;
pub use prepared::{PreparedQuery, prepare};
pub use stream_table::StreamTable;
pub use trigger_time::{TriggerTime, register as register_trigger_time};
pub use watermarked::WatermarkedStream;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;

use crate::output_mode::OutputMode;

/// The stream that a plan node reads, if it is the scan of one.
pub fn scanned_stream(node: &LogicalPlan) -> Option<std::sync::Arc<StreamTable>> {
    let LogicalPlan::TableScan(scan) = node else { return None };
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<StreamTable>().map(|t| std::sync::Arc::new(t.clone()))
}

/// Whether the plan reads a stream, subqueries in expressions left out.
pub fn is_streaming(plan: &LogicalPlan) -> bool {
    any(plan, |node| scanned_stream(node).is_some() || micro_batch::is_bound(node))
}

/// Whether the plan reads a stream anywhere, subqueries included.
pub fn mentions_stream(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visit = plan.apply_with_subqueries(|node| {
        found |= scanned_stream(node).is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visit.is_ok() && found
}

/// The mode of a query that does not say one: complete if it aggregates a stream without a watermark, else append.
pub fn default_output_mode(plan: &LogicalPlan) -> OutputMode {
    let aggregates = any(plan, |n| match n {
        LogicalPlan::Aggregate(a) => is_streaming(&a.input) && !has_event_time(&a.schema.fields()[..keys_of(a)]),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => {
            is_streaming(input) && !has_event_time(input.schema().fields())
        }
        _ => false,
    });
    if aggregates { OutputMode::Complete } else { OutputMode::Append }
}

/// Whether a query over a stream can give no more rows once its `LIMIT` has passed as many as it may.
pub fn ends_with_limit(plan: &LogicalPlan, mode: OutputMode) -> bool {
    match plan {
        LogicalPlan::Limit(limit) => mode == OutputMode::Append && is_streaming(&limit.input),
        LogicalPlan::Projection(p) => ends_with_limit(&p.input, mode),
        LogicalPlan::SubqueryAlias(a) => ends_with_limit(&a.input, mode),
        LogicalPlan::Filter(f) => ends_with_limit(&f.input, mode),
        LogicalPlan::Unnest(u) => ends_with_limit(&u.input, mode),
        _ => false,
    }
}

/// How many of an aggregate's columns are keys.
fn keys_of(aggregate: &datafusion::logical_expr::Aggregate) -> usize {
    aggregate.schema.fields().len().saturating_sub(aggregate.aggr_expr.len())
}

fn has_event_time(fields: &[arrow::datatypes::FieldRef]) -> bool {
    fields.iter().any(|f| watermark::watermark_delay_ms(f).is_some())
}

fn any(plan: &LogicalPlan, mut wanted: impl FnMut(&LogicalPlan) -> bool) -> bool {
    let mut found = false;
    let visit: DfResult<_> = plan.apply(|node| {
        found |= wanted(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visit.is_ok() && found
}
