//! By which column a deduplication drops late rows.
//!
//! Spark drops them by the event time among the columns that are left below the deduplication, and only those are left that something
//! above asks for. So `SELECT k FROM (SELECT DISTINCT ON (k) * FROM s WATERMARK ts …)` drops nothing, and with `ts` in the select
//! list it does.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};

use super::legality::check_one_event_time;
use super::node::{DedupExpiry, StatefulKind, StatefulNode};
use super::watermark::{as_watermark, event_time_columns};
use super::{any, is_streaming};

type Columns = BTreeSet<usize>;

/// Tells the deduplications of an optimized plan which event time they see.
///
/// # Errors
/// A deduplication that sees two.
pub fn place_late_columns(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let wanted = (0..plan.schema().fields().len()).collect();
    with_columns(plan, &wanted)
}

fn with_columns(node: LogicalPlan, wanted: &Columns) -> DfResult<LogicalPlan> {
    if !is_streaming(&node) || !any(&node, |n| as_dedup(n).is_some()) {
        return Ok(node);
    }
    let node = match as_dedup(&node) {
        Some(dedup) => see(dedup, wanted)?,
        None => node,
    };
    let mut of_inputs = wanted_of_inputs(&node, wanted).into_iter();
    node.map_children(|input| {
        let wanted = of_inputs.next().unwrap_or_else(|| all(input.schema()));
        with_columns(input, &wanted).map(Transformed::yes)
    })
    .data()
}

fn as_stateful(node: &LogicalPlan) -> Option<&StatefulNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

fn as_dedup(node: &LogicalPlan) -> Option<&StatefulNode> {
    as_stateful(node).filter(|s| matches!(s.kind, StatefulKind::Dedup { .. }))
}

fn see(dedup: &StatefulNode, wanted: &Columns) -> DfResult<LogicalPlan> {
    let schema = dedup.input.schema();
    let used = with_references(wanted, &dedup.expressions, schema);
    let seen: Vec<usize> = event_time_columns(schema.fields()).into_iter().filter(|i| used.contains(i)).collect();
    check_one_event_time(seen.iter().map(|i| schema.field(*i).name().as_str()))?;
    let mut dedup = dedup.clone();
    if let StatefulKind::Dedup { expiry: expiry @ DedupExpiry::Never { .. } } = &mut dedup.kind {
        *expiry = DedupExpiry::Never { late_by: seen.first().map(|i| schema.columns()[*i].clone()) };
    }
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(dedup) }))
}

/// Which columns of its inputs a node needs for these of its own; nothing where it is all of them, as of a join, whose inputs the
/// optimizer has narrowed.
fn wanted_of_inputs(node: &LogicalPlan, wanted: &Columns) -> Vec<Columns> {
    let passes_on = || node.inputs().iter().map(|i| with_references(wanted, &node.expressions(), i.schema())).collect();
    match node {
        LogicalPlan::Projection(p) => {
            let used: Vec<Expr> = wanted.iter().filter_map(|i| p.expr.get(*i)).cloned().collect();
            vec![with_references(&Columns::new(), &used, p.input.schema())]
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_) => passes_on(),
        LogicalPlan::Extension(_) if as_watermark(node).is_some() => passes_on(),
        LogicalPlan::Extension(_) => match as_stateful(node).map(|s| &s.kind) {
            Some(StatefulKind::Dedup { .. } | StatefulKind::Limit { .. }) => passes_on(),
            Some(StatefulKind::Aggregate { .. } | StatefulKind::Session { .. }) => node
                .inputs()
                .iter()
                .map(|i| with_references(&Columns::new(), &node.expressions(), i.schema()))
                .collect(),
            _ => vec![],
        },
        _ => vec![],
    }
}

fn with_references(wanted: &Columns, expressions: &[Expr], schema: &DFSchema) -> Columns {
    let named = expressions.iter().flat_map(Expr::column_refs);
    wanted.iter().copied().chain(named.filter_map(|c| schema.maybe_index_of_column(c))).collect()
}

fn all(schema: &DFSchema) -> Columns {
    (0..schema.fields().len()).collect()
}
