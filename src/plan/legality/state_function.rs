//! Spark's rules about functions with state: which modes, how many of them, and what may come before and after.

use datafusion::logical_expr::LogicalPlan;

use super::{has_aggregate, wrong_mode};
use crate::error::{Error, Result};
use crate::operator::state_function::{FunctionKind, TimeMode};
use crate::output_mode::OutputMode;
use crate::plan::state_function::{StateFunctionNode, as_state_function};
use crate::plan::watermark::event_time_columns;

const CONDITION: &str = "UNSUPPORTED_STREAMING_OPERATION";

/// Rules about all functions of a query.
pub fn check_all(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let mut all = vec![];
    collect(plan, &mut all);
    let maps = all.iter().filter(|f| f.function.0.kind == FunctionKind::MapGroups).count();
    let flat_modes: Vec<OutputMode> = all
        .iter()
        .filter_map(|f| match f.function.0.kind {
            FunctionKind::FlatMapGroups(mode) => Some(mode),
            _ => None,
        })
        .collect();
    if maps >= 2 {
        return Err(refused("Multiple mapGroupsWithStates are not supported on a streaming DataFrames/Datasets")
            .with_help("do both in one function, or use flat_map_groups_with_state in append mode"));
    }
    if maps > 0 && !flat_modes.is_empty() {
        return Err(refused(
            "Mixing mapGroupsWithStates and flatMapGroupsWithStates are not supported on a streaming DataFrames/Datasets",
        )
        .with_help("use flat_map_groups_with_state in append mode for both"));
    }
    if flat_modes.len() >= 2 && (mode != OutputMode::Append || flat_modes.iter().any(|m| *m != OutputMode::Append)) {
        return Err(refused(
            "Multiple flatMapGroupsWithStates are not supported when they are not all in append mode or the output mode is not append on a streaming DataFrames/Datasets",
        )
        .with_help("give OutputMode::Append to the functions and to the query"));
    }
    // All of a plan's aggregates count, wherever they are.
    let aggregates = has_aggregate(plan);
    all.iter().try_for_each(|f| check_mode(f, mode, aggregates))
}

fn collect<'p>(plan: &'p LogicalPlan, all: &mut Vec<&'p StateFunctionNode>) {
    all.extend(as_state_function(plan));
    plan.inputs().into_iter().for_each(|input| collect(input, all));
}

fn check_mode(node: &StateFunctionNode, mode: OutputMode, aggregates: bool) -> Result<()> {
    const ON: &str = "on a streaming DataFrame/Dataset";
    match node.function.0.kind {
        FunctionKind::MapGroups if aggregates => {
            Err(refused(format!("mapGroupsWithState is not supported with aggregation {ON}"))
                .with_help("aggregate in the function, or use flat_map_groups_with_state in append mode"))
        }
        FunctionKind::MapGroups if mode != OutputMode::Update => {
            Err(wrong_mode(mode, "mapGroupsWithState").with_help("use update mode"))
        }
        FunctionKind::FlatMapGroups(OutputMode::Update) if aggregates => {
            Err(refused(format!("flatMapGroupsWithState in update mode is not supported with aggregation {ON}"))
                .with_help("give it OutputMode::Append"))
        }
        FunctionKind::FlatMapGroups(_) if aggregates && has_aggregate(&node.input) => {
            Err(refused(format!("flatMapGroupsWithState in append mode is not supported after aggregation {ON}"))
                .with_help("call the function first, and aggregate what it gives"))
        }
        FunctionKind::FlatMapGroups(own) if !aggregates && own != mode => {
            Err(wrong_mode(mode, &format!("flatMapGroupsWithState in {own} mode"))
                .with_help(format!("use {own} mode, or give the function the mode of the query")))
        }
        _ => Ok(()),
    }
}

/// Rules about one function, and whether a stateful operator comes after it.
pub fn check(node: &StateFunctionNode, mode: OutputMode, stateful_above: bool) -> Result<()> {
    let (kind, time) = (node.function.0.kind, node.function.0.time);
    let timed = event_time_columns(node.input.schema().fields());
    if timed.len() > 1 && time == TimeMode::EventTime {
        let message = "More than one event time columns are available to a stateful operator. Please ensure there is at most one event time column per stream.";
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION.MULTIPLE_EVENT_TIME_COLUMNS", message)
            .with_help("select the one that counts before .group_by_key(…), or cast the other"));
    }
    if time == TimeMode::EventTime && timed.is_empty() {
        let message = match kind {
            FunctionKind::Transform => "transformWithState in TimeMode::EventTime needs a watermark",
            _ => {
                "Watermark must be specified in the query using '[Dataset/DataFrame].withWatermark()' for using event-time timeout in a [map|flatMap]GroupsWithState. Event-time timeout not supported without watermark."
            }
        };
        return Err(Error::unsupported(CONDITION, message).with_help("call .with_watermark(…) before .group_by_key(…)"));
    }
    if stateful_above && time == TimeMode::EventTime && kind != FunctionKind::Transform {
        let message = format!(
            "a stateful operator after [flatMap|map]GroupsWithState with event-time timeout is not supported in {mode} mode: its rows may be late already"
        );
        return Err(Error::unsupported(CONDITION, message)
            .with_help("use transform_with_state with an event-time column, or a processing-time timeout"));
    }
    Ok(())
}

fn refused(message: impl Into<String>) -> Error {
    Error::unsupported(CONDITION, message)
}
