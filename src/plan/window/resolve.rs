//! The analyzer rule that gives calls of `window` and `session_window` the rows they need.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullHandling, Result as DfResult, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::function::{WindowFunction, as_window, windows_of};
use super::{pane, session};
use crate::error::Error;
use crate::plan::is_streaming;
use crate::plan::watermark::as_watermark;

/// The column of a sliding window between the projection and the node above it.
const SLIDING: &str = "#window";

/// Removes the rows without a time below a node that calls `window`, and gives sliding windows a row each. Watermarks over
/// tables have no meaning and go away.
#[derive(Debug)]
pub struct ResolveTimeWindows;

impl AnalyzerRule for ResolveTimeWindows {
    fn name(&self) -> &str {
        "resolve_time_windows"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let mut recompute = false;
        let plan = plan.transform_up_with_subqueries(|node| match batch_watermark(&node) {
            Some(input) => {
                recompute = true;
                Ok(Transformed::yes(input))
            }
            None if recompute => Ok(Transformed::yes(node.recompute_schema()?)),
            None => Ok(Transformed::no(node)),
        });
        plan.data()?.transform_up_with_subqueries(resolve).data()
    }
}

/// The input of a watermark over tables.
fn batch_watermark(node: &LogicalPlan) -> Option<LogicalPlan> {
    let watermark = as_watermark(node)?;
    (!is_streaming(&watermark.input)).then(|| watermark.input.clone())
}

fn resolve(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Filter(_)) {
        return Ok(Transformed::no(node));
    }
    let mut calls: Vec<ScalarFunction> = vec![];
    for e in node.expressions() {
        e.apply(|e| {
            if let Some(call) = as_window(e).or_else(|| session::as_call(e))
                && !calls.contains(call)
            {
                calls.push(call.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    match calls.as_slice() {
        [] => session::resolve(node, None),
        [call] if as_window(&Expr::ScalarFunction(call.clone())).is_none() => {
            let call = call.clone();
            session::resolve(node, Some(&call))
        }
        [call] => Ok(Transformed::yes(resolve_call(node, call)?)),
        _ => Err(Error::unsupported("MULTIPLE_TIME_WINDOWS", "only one time window is possible in one SELECT")
            .with_help("several would give a row for every combination; use a subquery for the second")
            .into()),
    }
}

fn resolve_call(node: LogicalPlan, call: &ScalarFunction) -> DfResult<LogicalPlan> {
    let input = node.inputs()[0].clone();
    let windows = windows_of(call)?;
    let by_pane = pane::is_possible(&node, call, &windows);
    let timed = LogicalPlanBuilder::from(input).filter(call.args[0].clone().is_not_null())?;
    if windows.is_tumbling() || by_pane {
        return node.with_new_exprs(node.expressions(), vec![timed.build()?]);
    }
    if matches!(node, LogicalPlan::Filter(_)) {
        let message = "a sliding window is possible only in GROUP BY or in the select list";
        return Err(Error::unsupported("UNSUPPORTED_EXPR_FOR_OPERATOR", message).into());
    }
    let timed = timed.build()?;
    let (name, metadata) = (Expr::ScalarFunction(call.clone()).schema_name().to_string(), mark(call, timed.schema())?);
    let mut expanded = expand(timed, call, &node)?;
    let mut column = Expr::Column(Column::new_unqualified(SLIDING)).alias_with_metadata(name.clone(), metadata);
    if node.expressions().iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        // Names inside of grouping sets have no meaning: the column itself must have it.
        let columns = expanded.schema().columns().into_iter().filter(|c| c.name != SLIDING).map(Expr::Column);
        expanded = LogicalPlanBuilder::from(expanded.clone()).project(columns.chain([column]))?.build()?;
        column = Expr::Column(Column::new_unqualified(name));
    }
    let replace = |e: Expr| {
        let original = e.qualified_name();
        let replaced = e.transform_up(|e| match as_window(&e) {
            Some(_) => Ok(Transformed::yes(column.clone())),
            None => Ok(Transformed::no(e)),
        })?;
        // Aliases inside of an expression have no meaning, and the outermost must be as it was.
        let whole = replaced.data == column || matches!(replaced.data, Expr::GroupingSet(_));
        let changed = replaced.transformed && !whole;
        Ok(if changed {
            inner_unaliased(replaced.data)?.alias_qualified(original.0, original.1)
        } else {
            replaced.data
        })
    };
    let exprs = node.expressions().into_iter().map(replace).collect::<DfResult<Vec<_>>>()?;
    match node {
        LogicalPlan::Projection(_) => LogicalPlanBuilder::from(expanded).project(exprs)?.build(),
        LogicalPlan::Aggregate(a) => {
            let keys = a.group_expr.len();
            let (keys, aggregates) = exprs.split_at(keys);
            let aggregate =
                datafusion::logical_expr::Aggregate::try_new(Arc::new(expanded), keys.to_vec(), aggregates.to_vec())?;
            Ok(LogicalPlan::Aggregate(aggregate))
        }
        other => other.with_new_exprs(exprs, vec![expanded]),
    }
}

fn inner_unaliased(e: Expr) -> DfResult<Expr> {
    let top = e.unalias();
    top.transform_up(|e| {
        Ok(match e {
            Expr::Alias(a) if matches!(a.expr.as_ref(), Expr::Column(c) if c.name == SLIDING) => {
                Transformed::yes(*a.expr)
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

/// The metadata of the call's result.
fn mark(call: &ScalarFunction, schema: &DFSchema) -> DfResult<Option<FieldMetadata>> {
    let (_, field) = Expr::ScalarFunction(call.clone()).to_field(schema)?;
    Ok((!field.metadata().is_empty()).then(|| FieldMetadata::from(field.metadata().clone())))
}

/// The columns that `node` needs, once for each window of the row, and the window.
fn expand(input: LogicalPlan, call: &ScalarFunction, node: &LogicalPlan) -> DfResult<LogicalPlan> {
    let expressions = node.expressions();
    let used: Vec<&Column> = expressions.iter().flat_map(Expr::column_refs).collect();
    let kept: Vec<_> = input.schema().columns().into_iter().filter(|c| used.contains(&c)).map(Expr::Column).collect();
    let windows = ScalarUDF::new_from_impl(WindowFunction::new(true)).call(call.args.clone()).alias(SLIDING);
    LogicalPlanBuilder::from(input)
        .project(kept.into_iter().chain([windows]))?
        .unnest_columns_with_options(
            vec![Column::new_unqualified(SLIDING)],
            UnnestOptions::new().with_null_handling(NullHandling::Drop),
        )?
        .build()
}
