//! The analyzer rule that puts our stateful nodes in place of DataFusion's, before the optimizer sees one: it would
//! otherwise compute them anew for every batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Between, BinaryExpr, ColumnarValue, Distinct, Expr, ExprSchemable, Extension, FetchType, Filter,
    LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::lit;

use super::dedup::DedupNode;
use super::is_streaming;
use super::join::is_stream_join;
use super::node::{DedupExpiry, StatefulKind, StatefulNode};
use super::state_function::StateFunctionNode;
use super::watermark::{as_watermark, event_time_columns, watermark_delay_ms};
use super::window::session_key;
use crate::operator::EventTimeKey;
use crate::output_mode::OutputMode;

/// Replaces streaming aggregates, distincts and limits.
#[derive(Debug)]
pub struct StreamRewrite {
    mode: OutputMode,
}

impl StreamRewrite {
    /// For a query of this mode.
    pub fn new(mode: OutputMode) -> Self {
        Self { mode }
    }
}

impl AnalyzerRule for StreamRewrite {
    fn name(&self) -> &str {
        "stream_rewrite"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        // Numbers are given from the sink down, whatever the order of rewriting.
        let next = AtomicU32::new(0);
        let plan = self.rewrite(plan, &next, false)?;
        let plan = plan.transform_down(|node| Ok(guard_filter(node))).data()?;
        plan.transform_up(keep_ranges).data()
    }
}

impl StreamRewrite {
    fn rewrite(&self, node: LogicalPlan, next: &AtomicU32, below_aggregate: bool) -> DfResult<LogicalPlan> {
        if !is_streaming(&node) {
            return Ok(node);
        }
        let stateful = self.is_stateful(&node, below_aggregate);
        let id = if stateful { next.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let below =
            below_aggregate || matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::All(_)));
        let node = node.map_children(|child| self.rewrite(child, next, below).map(Transformed::yes)).data()?;
        if stateful { self.replace(node, id) } else { Ok(node) }
    }

    fn is_stateful(&self, node: &LogicalPlan, below_aggregate: bool) -> bool {
        match node {
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::All(_)) => true,
            // Above a complete-mode aggregate a limit is of each batch's whole result.
            LogicalPlan::Limit(_) => below_aggregate || self.mode != OutputMode::Complete,
            LogicalPlan::Extension(e) => ["Dedup", "StateFunction"].contains(&e.node.name()),
            _ => false,
        }
    }

    fn replace(&self, node: LogicalPlan, id: u32) -> DfResult<LogicalPlan> {
        let mode = self.mode.into();
        let stateful = match node {
            LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) => {
                let input = Arc::unwrap_or_clone(input);
                let keys = group_expr.len();
                let event_time =
                    event_time_key(&schema.fields()[..schema.fields().len().saturating_sub(aggr_expr.len())]);
                let group_expr =
                    group_expr.into_iter().map(|e| normalized(e, input.schema())).collect::<DfResult<Vec<_>>>()?;
                let session = session_key(&group_expr, &input)?;
                let expressions = group_expr.into_iter().chain(aggr_expr).collect();
                let kind = match session {
                    Some(session) => StatefulKind::Session { keys, session, timed: event_time.is_some(), mode },
                    None => StatefulKind::Aggregate { keys, mode, event_time },
                };
                StatefulNode { id, kind, expressions, input, schema }
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = Arc::unwrap_or_clone(input);
                let schema = input.schema().clone();
                let columns = schema.columns().into_iter().map(Expr::Column);
                let expressions = columns.map(|e| normalized(e, &schema)).collect::<DfResult<Vec<_>>>()?;
                let event_time = event_time_key(schema.fields());
                let kind = StatefulKind::Aggregate { keys: expressions.len(), mode, event_time };
                StatefulNode { id, kind, expressions, input, schema }
            }
            LogicalPlan::Limit(limit) => {
                let FetchType::Literal(Some(rows)) = limit.get_fetch_type()? else {
                    return Ok(LogicalPlan::Limit(limit));
                };
                let input = Arc::unwrap_or_clone(limit.input);
                let schema = input.schema().clone();
                StatefulNode { id, kind: StatefulKind::Limit { rows: rows as i64 }, expressions: vec![], input, schema }
            }
            LogicalPlan::Extension(e) => {
                let input = e.node.inputs()[0].clone();
                let schema = input.schema().clone();
                let keys =
                    e.node.expressions().into_iter().map(|e| normalized(e, &schema)).collect::<DfResult<Vec<_>>>()?;
                if let Some(node) = e.node.as_any().downcast_ref::<StateFunctionNode>() {
                    let (kind, schema) = (StatefulKind::Function(node.function.clone()), node.schema.clone());
                    StatefulNode { id, kind, expressions: keys, input, schema }
                } else {
                    let within = e.node.as_any().downcast_ref::<DedupNode>().is_some_and(|d| d.within_watermark);
                    StatefulNode { id, kind: dedup(&keys, within, &schema)?, expressions: keys, input, schema }
                }
            }
            other => return Ok(other),
        };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(stateful) }))
    }
}

/// The event time among these keys.
fn event_time_key(keys: &[FieldRef]) -> Option<EventTimeKey> {
    let marked = |(i, f): (usize, &FieldRef)| watermark_delay_ms(f).map(|_| EventTimeKey::new(i, f.data_type()));
    keys.iter().enumerate().find_map(marked)
}

/// What a deduplication by these keys is.
fn dedup(keys: &[Expr], within: bool, schema: &DFSchema) -> DfResult<StatefulKind> {
    let timed = event_time_columns(schema.fields());
    let first = timed.first().map(|i| schema.qualified_field(*i));
    let expiry = match first {
        Some((qualifier, field)) if within => DedupExpiry::Within {
            time: Column::new(qualifier.cloned(), field.name()),
            delay_ms: watermark_delay_ms(field).unwrap_or_default(),
        },
        _ => {
            let keys = keys.iter().map(|k| Ok(k.to_field(schema)?.1)).collect::<DfResult<Vec<_>>>()?;
            event_time_key(&keys).map_or(DedupExpiry::Never { late_by: None }, DedupExpiry::Key)
        }
    };
    Ok(StatefulKind::Dedup { expiry })
}

/// A key that holds floats, with -0.0 as 0.0 and one NaN, as in Spark; other keys as they are.
pub fn normalized(key: Expr, schema: &DFSchema) -> DfResult<Expr> {
    if matches!(key, Expr::GroupingSet(_)) || !matches!(key.get_type(schema)?, DataType::Float32 | DataType::Float64) {
        return Ok(key);
    }
    let name = key.qualified_name();
    Ok(ScalarUDF::new_from_impl(NormalizeFloat::new()).call(vec![key.unalias()]).alias_qualified(name.0, name.1))
}

/// A conjunct without a column would be pushed below a stateful node, and then decide what goes into its state rather
/// than what comes out: it is tied to a column of the filter's input. So is one that gives something else for every row,
/// above a watermark, which only sees the rows that are below it.
fn guard_filter(node: LogicalPlan) -> Transformed<LogicalPlan> {
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = &node else { return Transformed::no(node) };
    let above_state = has_state(input);
    let loose = |e: &Expr| {
        above_state && e.column_refs().is_empty()
            || e.is_volatile() && !event_time_columns(input.schema().fields()).is_empty()
    };
    let columns = input.schema().columns();
    let anchor = event_time_columns(input.schema().fields()).first().copied().unwrap_or(0);
    let Some(anchor) = columns.into_iter().nth(anchor).filter(|_| above_state || has_watermark(input)) else {
        return Transformed::no(node);
    };
    let conjuncts = split_conjunction_owned(predicate.clone());
    if !conjuncts.iter().any(loose) {
        return Transformed::no(node);
    }
    let keep = ScalarUDF::new_from_impl(Keep::new());
    let tie = |e: Expr| if loose(&e) { keep.call(vec![e, Expr::Column(anchor.clone())]) } else { e };
    let guarded = conjunction(conjuncts.into_iter().map(tie)).and_then(|p| Filter::try_new(p, input.clone()).ok());
    match guarded {
        Some(filter) => Transformed::yes(LogicalPlan::Filter(filter)),
        None => Transformed::no(node),
    }
}

/// The optimizer would make an equality of `a >= b AND a <= b`, and a key of the join of that. For Spark it is a range whose
/// bounds happen to be equal, which bounds the state otherwise.
fn keep_ranges(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !matches!(node, LogicalPlan::Join(_) | LogicalPlan::Filter(_)) || !is_streaming(&node) {
        return Ok(Transformed::no(node));
    }
    node.map_expressions(|predicate| {
        let conjuncts: Vec<Expr> = split_conjunction_owned(predicate).into_iter().flat_map(split_point).collect();
        let turned = conjuncts.iter().map(|e| turned_round(e, &conjuncts));
        Ok(Transformed::yes(conjunction(turned).unwrap_or_else(|| lit(true))))
    })
}

/// `a BETWEEN b AND b` in two.
fn split_point(e: Expr) -> Vec<Expr> {
    match e {
        Expr::Between(Between { expr, negated: false, low, high }) if low == high => {
            vec![expr.clone().gt_eq(*low), expr.lt_eq(*high)]
        }
        other => vec![other],
    }
}

/// `a <= b` as `b >= a` where `a >= b` is among the conjuncts.
fn turned_round(e: &Expr, conjuncts: &[Expr]) -> Expr {
    match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::LtEq, right })
            if conjuncts.contains(&left.as_ref().clone().gt_eq(right.as_ref().clone())) =>
        {
            right.as_ref().clone().gt_eq(left.as_ref().clone())
        }
        other => other.clone(),
    }
}

fn has_watermark(node: &LogicalPlan) -> bool {
    as_watermark(node).is_some() || node.inputs().into_iter().any(has_watermark)
}

fn has_state(node: &LogicalPlan) -> bool {
    let keeps = match node {
        LogicalPlan::Extension(e) => e.node.name() == "Stateful",
        LogicalPlan::Join(join) => is_stream_join(join),
        _ => false,
    };
    keeps || node.inputs().into_iter().any(has_state)
}

/// Gives its first argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Keep {
    signature: Signature,
}

impl Keep {
    fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Keep {
    fn name(&self) -> &str {
        "__keep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}

/// -0.0 to 0.0, and every NaN to one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NormalizeFloat {
    signature: Signature,
}

impl NormalizeFloat {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for NormalizeFloat {
    fn name(&self) -> &str {
        "__normalize_float"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        use datafusion::arrow::array::{ArrayRef, AsArray};
        use datafusion::arrow::datatypes::{Float32Type, Float64Type};
        let array = args.args[0].to_array(args.number_rows)?;
        let normal: ArrayRef = match array.data_type() {
            DataType::Float32 => Arc::new(
                array
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
            ),
            _ => Arc::new(
                array
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
            ),
        };
        Ok(ColumnarValue::Array(normal))
    }
}
