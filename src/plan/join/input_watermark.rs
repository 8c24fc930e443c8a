//! What each stateful operator's watermark is made of: Spark's `WatermarkPropagator`.

use std::collections::BTreeMap;

use datafusion::logical_expr::LogicalPlan;

use super::node::StreamJoinNode;
use crate::operator::InputWatermark;
use crate::operator::state_function::{FunctionKind, TimeMode};
use crate::plan::node::{StatefulKind, StatefulNode};
use crate::plan::watermark::as_watermark;

/// Of an operator over these inputs.
pub fn input_watermark(inputs: &[&LogicalPlan]) -> InputWatermark {
    let outputs = inputs.iter().map(|i| output_watermark(i)).filter(|w| *w != InputWatermark::None);
    let mut outputs: Vec<InputWatermark> = outputs.collect();
    outputs.dedup();
    match outputs.len() {
        0 => InputWatermark::None,
        1 => outputs.swap_remove(0),
        _ => InputWatermark::Least(outputs),
    }
}

fn output_watermark(plan: &LogicalPlan) -> InputWatermark {
    if as_watermark(plan).is_some() {
        return InputWatermark::Global;
    }
    if ends_event_time(plan) {
        return InputWatermark::None;
    }
    let input = input_watermark(&plan.inputs());
    match as_stream_join(plan) {
        Some(join) if input != InputWatermark::None => {
            let bounds = join.sides.iter().map(|s| s.expiry.bounds()).collect();
            InputWatermark::Join { input: Box::new(input), bounds }
        }
        _ => input,
    }
}

/// Rows of functions mean no event time, but for those of a processor that follows it.
fn ends_event_time(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(e) = plan else { return false };
    match e.node.as_any().downcast_ref::<StatefulNode>().map(|s| &s.kind) {
        Some(StatefulKind::Function(f)) => f.0.kind != FunctionKind::Transform || f.0.time == TimeMode::ProcessingTime,
        _ => false,
    }
}

fn as_stream_join(plan: &LogicalPlan) -> Option<&StreamJoinNode> {
    let LogicalPlan::Extension(e) = plan else { return None };
    e.node.as_any().downcast_ref()
}

/// Of all stateful operators of a plan, by id.
pub fn input_watermarks(plan: &LogicalPlan) -> BTreeMap<u32, InputWatermark> {
    let mut all = BTreeMap::new();
    collect(plan, &mut all);
    all
}

fn collect(plan: &LogicalPlan, all: &mut BTreeMap<u32, InputWatermark>) {
    if let LogicalPlan::Extension(e) = plan {
        let any = e.node.as_any();
        let join = any.downcast_ref::<StreamJoinNode>().map(|j| j.id);
        if let Some(id) = join.or_else(|| any.downcast_ref::<StatefulNode>().map(|s| s.id)) {
            all.insert(id, input_watermark(&plan.inputs()));
        }
    }
    plan.inputs().into_iter().for_each(|input| collect(input, all));
}
