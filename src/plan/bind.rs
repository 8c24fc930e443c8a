//! Binding a query to its run: every scan of a stream gets a slot, every time function the trigger's
//! time, every watermark a number.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TransformedResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, TableScan};

use super::apply::map_subqueries;
use super::micro_batch::{Slot, SlotTable};
use super::trigger_time::{self, TriggerTime};
use super::watermark::as_watermark;
use super::{StreamTable, scanned_stream};
use crate::error::Result;
use crate::source::StreamProvider;

/// A stream that a query reads, once however often the query names it.
#[derive(Debug, Clone)]
pub struct BoundSource {
    /// The stream's name.
    pub name: String,
    /// What opens the source.
    pub provider: Arc<dyn StreamProvider>,
    /// How long it may have no rows before it stops holding watermarks back.
    pub idle_timeout: Option<Duration>,
    /// One for each scan: every one gets all rows of a batch.
    pub slots: Vec<Arc<Slot>>,
}

/// The plan over slots and trigger time, and its sources in the order in which the plan names them.
pub fn bind(plan: LogicalPlan, time: &TriggerTime) -> Result<(LogicalPlan, Vec<BoundSource>)> {
    let mut sources = vec![];
    let plan = plan.transform_down(|node| match scanned_stream(&node) {
        Some(stream) => bind_scan(node, &stream, &mut sources).map(Transformed::yes),
        None => Ok(Transformed::no(node)),
    });
    Ok((number_watermarks(bind_time(plan.data()?, time)?)?, sources))
}

/// The time functions, in subqueries as well.
fn bind_time(plan: LogicalPlan, time: &TriggerTime) -> DfResult<LogicalPlan> {
    let bind = |node: LogicalPlan| {
        node.map_expressions(|e| {
            e.transform_up(|e| {
                Ok(match trigger_time::bind_call(&e, time) {
                    Some(bound) => Transformed::yes(bound),
                    None => Transformed::no(e),
                })
            })
        })
    };
    let plan = plan.transform_up_with_subqueries(bind).data()?;
    map_subqueries(plan, &mut |subquery| bind_time(subquery, time))
}

/// Numbers the watermarks over the whole query: those of views were numbered within their view.
fn number_watermarks(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut next = 0;
    let number = |node: LogicalPlan| match as_watermark(&node) {
        Some(watermark) => {
            let numbered = watermark.numbered(next);
            next += 1;
            Ok(Transformed::yes(numbered.into_plan()))
        }
        None => Ok(Transformed::no(node)),
    };
    plan.transform_down(number).data()
}

/// Streams made by a reader are named after their format, so that several may have one name.
fn unused_name(name: &str, sources: &[BoundSource]) -> String {
    let is_used = |name: &str| sources.iter().any(|s| s.name == name);
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|n| !is_used(n)).unwrap_or_else(|| name.to_owned())
}

fn bind_scan(node: LogicalPlan, stream: &StreamTable, sources: &mut Vec<BoundSource>) -> DfResult<LogicalPlan> {
    let LogicalPlan::TableScan(scan) = node else { return Ok(node) };
    let slot = Arc::new(Slot::default());
    match sources.iter_mut().find(|s| Arc::ptr_eq(&s.provider, stream.provider())) {
        Some(source) => source.slots.push(slot.clone()),
        None => sources.push(BoundSource {
            name: unused_name(stream.name(), sources),
            provider: stream.provider().clone(),
            idle_timeout: stream.idle_timeout(),
            slots: vec![slot.clone()],
        }),
    }
    let with_hidden = stream.hidden_schema().cloned();
    let table = SlotTable { name: stream.name().to_string(), provider: stream.provider().clone(), with_hidden, slot };
    Ok(LogicalPlan::TableScan(TableScan { source: provider_as_source(Arc::new(table)), ..scan }))
}
