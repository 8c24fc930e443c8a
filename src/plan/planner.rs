//! Planning once: the physical plans of a query and the operators they share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{enumerate_grouping_sets, powerset};
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::displayable;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::apply::{ApplyPlanner, planned_by};
use super::display::as_sql;
use super::grouping_sets::{anchored, without_anchor};
use super::join::{self, StreamJoinNode};
use super::late_columns::place_late_columns;
use super::micro_batch::bound_streams;
use super::node::{DedupExpiry, StatefulKind, StatefulNode};
use super::physical;
use super::rewrite::StreamRewrite;
use super::state_function::{Function, function_context};
use super::trial;
use super::watermark::{WatermarkNode, event_time_columns};
use super::window::panes_of;
use crate::error::{Error, Result};
use crate::interval::duration_text;
use crate::operator::state_function::StateFunctionOperator;
use crate::operator::{
    AggregateOperator, DedupOperator, EventTimeKey, EventTimeTracker, GroupKeys, InputWatermark, KeyExpiry,
    LimitOperator, SessionInput, SessionOperator, StatefulExec, StatefulOperator, WatermarkExec, WatermarkInput,
    WindowKey,
};
use crate::output_mode::OutputMode;
use crate::send_sync::{create_physical_plan_by, plan_extension_by};
use crate::state::StateSpace;

/// The plans of a query, to be reset and executed for every batch, and the state they share.
pub struct StreamPlan {
    /// For small batches: one partition, nothing spawned.
    pub serial: Arc<dyn ExecutionPlan>,
    /// For large batches: as many partitions as the session has; the same as `serial` if that is one.
    pub parallel: Arc<dyn ExecutionPlan>,
    /// The session state to execute them with.
    pub state: SessionState,
    /// Stateful operators by id.
    pub operators: Vec<Arc<dyn StatefulOperator>>,
    /// The watermark that each of them sees.
    pub input_watermarks: Vec<InputWatermark>,
    /// The event times of its watermarks.
    pub event_times: Arc<EventTimeTracker>,
    /// The optimised logical plan.
    pub logical: LogicalPlan,
    /// Columns of the result.
    pub schema: SchemaRef,
    /// Whether a `LIMIT` is nearest to the sink.
    ends_with_limit: bool,
}

impl StreamPlan {
    /// Whether it can never give another row, whatever comes.
    pub fn is_done(&self) -> bool {
        self.ends_with_limit && self.operators.first().is_some_and(|o| o.is_done())
    }

    /// The plan as text; with `extended`, the logical one too.
    pub fn explain(&self, extended: bool) -> String {
        let physical = displayable(self.serial.as_ref()).indent(false).to_string();
        let stateful = self.explain_state();
        if extended {
            let logical = self.logical.display_indent();
            return as_sql(&format!(
                "== Optimized Logical Plan ==\n{logical}\n\n== Physical Plan ==\n{physical}{stateful}"
            ));
        }
        as_sql(&format!("== Physical Plan ==\n{physical}{stateful}"))
    }

    /// The stateful operators, what bounds their state, and the watermarks.
    fn explain_state(&self) -> String {
        let mut text = String::new();
        for (id, operator) in self.operators.iter().enumerate() {
            let (name, what, bound) = (operator.operator_name(), operator.describe(), operator.bound());
            text += &format!("[{id}] {name}: {what}\n    state: {bound}\n");
        }
        if !text.is_empty() {
            text = format!("\n== Stateful Operators ==\n{text}");
        }
        let inputs = self.event_times.inputs();
        if !inputs.is_empty() {
            text += "\n== Watermarks ==\n";
        }
        for WatermarkInput { streams, column, delay_ms, by_partition } in inputs {
            let delay = duration_text(delay_ms.saturating_mul(1000));
            let each = if by_partition { ", each partition by itself" } else { "" };
            text += &format!("'{column}' of {}, delay {delay}{each}\n", streams.join(", "));
        }
        text
    }
}

impl fmt::Debug for StreamPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPlan").field("operators", &self.operators).finish_non_exhaustive()
    }
}

/// Plans a bound query.
pub async fn plan_stream(session: &SessionState, plan: &LogicalPlan, mode: OutputMode) -> Result<StreamPlan> {
    let operators = Arc::new(Operators::default());
    let partitions = session.config().target_partitions();
    let parallel_state = streaming_state(session, mode, &operators, partitions);
    let serial_state = streaming_state(session, mode, &operators, 1);
    let logical = place_late_columns(join::place_stream_joins(serial_state.optimize(plan)?, &serial_state)?)?;
    let input_watermarks = join::input_watermarks(&logical).into_values().collect();
    let serial = physical_plan(&serial_state, &logical).await?;
    let parallel = if partitions > 1 { physical_plan(&parallel_state, &logical).await? } else { serial.clone() };
    physical::check(&serial, mode)?;
    physical::check(&parallel, mode)?;
    trial::try_empty(&serial)?;
    let event_times = operators.event_times.clone();
    let operators = operators.by_id.lock().values().cloned().collect();
    let schema = serial.schema();
    Ok(StreamPlan {
        serial,
        parallel,
        state: serial_state,
        operators,
        input_watermarks,
        event_times,
        logical,
        schema,
        ends_with_limit: super::ends_with_limit(plan, mode),
    })
}

async fn physical_plan(state: &SessionState, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(state.query_planner().create_physical_plan(logical, state).await?)
}

fn streaming_state(
    session: &SessionState,
    mode: OutputMode,
    operators: &Arc<Operators>,
    partitions: usize,
) -> SessionState {
    let mut config = session.config().clone().with_target_partitions(partitions);
    let options = config.options_mut();
    // The catalog is shared with the session: a new default one would take the place of the session's own.
    options.catalog.create_default_catalog_and_schema = false;
    // A dynamic filter would survive the batch it was learned in; round-robin would reorder rows for nothing.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // Files would change places between partitions, and rows their order.
    options.execution.enable_file_stream_work_stealing = false;
    options.optimizer.enable_round_robin_repartition = false;
    let planner = StatefulPlanner { operators: operators.clone() };
    SessionStateBuilder::new_from_existing(session.clone())
        .with_config(config)
        .with_analyzer_rule(Arc::new(StreamRewrite::new(mode)))
        .with_query_planner(Arc::new(planner))
        .build()
}

/// What the plans of a query share.
#[derive(Default, Debug)]
struct Operators {
    /// Made by whichever plan comes first.
    by_id: Mutex<BTreeMap<u32, Arc<dyn StatefulOperator>>>,
    event_times: Arc<EventTimeTracker>,
}

impl Operators {
    fn get_or_make<T: StatefulOperator + 'static>(
        &self,
        id: u32,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<dyn StatefulOperator>> {
        let mut operators = self.by_id.lock();
        if let Some(operator) = operators.get(&id) {
            return Ok(operator.clone());
        }
        let operator: Arc<dyn StatefulOperator> = Arc::new(make()?);
        operators.insert(id, operator.clone());
        Ok(operator)
    }
}

/// DataFusion's planner, with ours for stateful nodes.
#[derive(Debug)]
struct StatefulPlanner {
    operators: Arc<Operators>,
}

impl QueryPlanner for StatefulPlanner {
    create_physical_plan_by!(Self::plan);
}

impl ExtensionPlanner for StatefulPlanner {
    plan_extension_by!(Self::plan_node);
}

impl StatefulPlanner {
    fn plan<'a>(
        &'a self,
        plan: &'a LogicalPlan,
        session: &'a dyn Session,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        let ours = StatefulPlanner { operators: self.operators.clone() };
        planned_by(vec![Arc::new(ours), Arc::new(ApplyPlanner)], plan, session)
    }

    fn plan_node<'a>(
        &'a self,
        planner: &'a dyn PhysicalPlanner,
        node: &'a dyn UserDefinedLogicalNode,
        logical_inputs: &'a [&'a LogicalPlan],
        physical_inputs: &'a [Arc<dyn ExecutionPlan>],
        session: &'a dyn Session,
        context: &'a PhysicalPlanningContext,
    ) -> BoxFuture<'a, DfResult<Option<Arc<dyn ExecutionPlan>>>> {
        Box::pin(ready(self.exec_of(planner, node, logical_inputs, physical_inputs, session, context)))
    }

    fn exec_of(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(watermark) = node.as_any().downcast_ref::<WatermarkNode>() {
            return self.watermark(watermark, &physical_inputs[0]).map(Some);
        }
        let watermark = join::input_watermark(logical_inputs);
        if let Some(node) = node.as_any().downcast_ref::<StreamJoinNode>() {
            let [left, right] = physical_inputs else { return Ok(None) };
            let plan = |e: &Expr, schema: &DFSchema| planner.create_physical_expr(e, schema, session, context);
            let space = StateSpace::of(session);
            let make = || join::operator(node, [left.schema(), right.schema()], &space, plan);
            let operator = self.operators.get_or_make(node.id, make)?;
            let exec = StatefulExec::new(node.id, physical_inputs.to_vec(), operator);
            return Ok(Some(Arc::new(exec.with_watermark(watermark))));
        }
        let Some(node) = node.as_any().downcast_ref::<StatefulNode>() else { return Ok(None) };
        let planning =
            Planning { planner, session, context, logical: logical_inputs[0].schema(), input: &physical_inputs[0] };
        let exec = match &node.kind {
            StatefulKind::Aggregate { keys, mode, event_time } => {
                self.aggregate(node, (*keys, *event_time), (*mode).into(), &planning)?
            }
            StatefulKind::Session { keys, session, timed, mode } => {
                self.session(node, (*keys, *session, *timed), (*mode).into(), &planning)?
            }
            StatefulKind::Dedup { expiry } => {
                let keys = node.expressions.iter().map(|e| planning.expression(e)).collect::<DfResult<Vec<_>>>()?;
                let expiry = planning.expiry(expiry)?;
                let space = StateSpace::of(session);
                let make = || DedupOperator::try_new(planning.input.schema(), keys, expiry, &space);
                StatefulExec::new(node.id, vec![planning.input.clone()], self.operators.get_or_make(node.id, make)?)
            }
            StatefulKind::Limit { rows } => {
                let make = || Ok(LimitOperator::new(planning.input.schema(), *rows));
                StatefulExec::new(node.id, vec![planning.input.clone()], self.operators.get_or_make(node.id, make)?)
            }
            StatefulKind::Function(function) => self.function(node, function, &planning)?,
        };
        Ok(Some(Arc::new(exec.with_watermark(watermark))))
    }
}

/// What it takes to plan the expressions of a node over its input.
struct Planning<'a> {
    planner: &'a dyn PhysicalPlanner,
    session: &'a dyn Session,
    context: &'a PhysicalPlanningContext,
    logical: &'a DFSchema,
    input: &'a Arc<dyn ExecutionPlan>,
}

impl Planning<'_> {
    fn expression(&self, e: &Expr) -> DfResult<Arc<dyn PhysicalExpr>> {
        self.planner.create_physical_expr(e, self.logical, self.session, self.context)
    }

    fn expiry(&self, expiry: &DedupExpiry) -> DfResult<KeyExpiry> {
        Ok(match expiry {
            DedupExpiry::Never { late_by } => {
                let late_by = late_by.as_ref().map(|c| self.logical.index_of_column(c)).transpose()?;
                KeyExpiry::Never { late_by }
            }
            DedupExpiry::Key(key) => KeyExpiry::Key(*key),
            DedupExpiry::Within { time, delay_ms } => {
                KeyExpiry::Within { time: self.logical.index_of_column(time)?, delay_ms: *delay_ms }
            }
        })
    }

    fn named(&self, e: &Expr) -> DfResult<(Arc<dyn PhysicalExpr>, String)> {
        Ok((self.expression(e)?, e.schema_name().to_string()))
    }

    fn group_by(&self, keys: &[Expr]) -> DfResult<PhysicalGroupBy> {
        let expanded = enumerate_grouping_sets(keys.to_vec())?;
        match expanded.as_slice() {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => self.grouping_sets(sets),
            [Expr::GroupingSet(GroupingSet::Rollup(keys))] => {
                self.grouping_sets(&(0..=keys.len()).map(|n| keys[..n].to_vec()).collect::<Vec<_>>())
            }
            [Expr::GroupingSet(GroupingSet::Cube(keys))] => self.grouping_sets(
                &powerset(keys)?.into_iter().map(|set| set.into_iter().cloned().collect()).collect::<Vec<_>>(),
            ),
            [] => Ok(PhysicalGroupBy::new(vec![], vec![], vec![], false)),
            keys => Ok(PhysicalGroupBy::new_single(keys.iter().map(|k| self.named(k)).collect::<DfResult<_>>()?)),
        }
    }

    fn grouping_sets(&self, sets: &[Vec<Expr>]) -> DfResult<PhysicalGroupBy> {
        // In the order of the logical schema, which lists the keys as they first appear.
        let mut distinct: Vec<&Expr> = vec![];
        for e in sets.iter().flatten() {
            if !distinct.contains(&e) {
                distinct.push(e);
            }
        }
        let keys = distinct.iter().map(|e| self.named(e)).collect::<DfResult<Vec<_>>>()?;
        let null = |(key, name): &(Arc<dyn PhysicalExpr>, String)| {
            let null = ScalarValue::try_from(&key.data_type(&self.input.schema())?)?;
            Ok((Arc::new(Literal::new(null)) as Arc<dyn PhysicalExpr>, name.clone()))
        };
        let nulls = keys.iter().map(null).collect::<DfResult<Vec<_>>>()?;
        let mask = |set: &Vec<Expr>| distinct.iter().map(|e| !set.contains(e)).collect();
        Ok(PhysicalGroupBy::new(keys, nulls, sets.iter().map(mask).collect(), true))
    }
}

impl StatefulPlanner {
    fn function(&self, node: &StatefulNode, function: &Function, planning: &Planning) -> DfResult<StatefulExec> {
        let keys = node.expressions.iter().map(|e| planning.expression(e)).collect::<DfResult<Vec<_>>>()?;
        let event_time = event_time_columns(planning.logical.fields()).first().copied();
        let pool = &planning.session.runtime_env().memory_pool;
        let make = || {
            let context = function_context(&node.expressions, &node.input, &node.schema);
            let (input, template) = (planning.input.schema(), function.0.clone());
            StateFunctionOperator::try_new(&input, keys, event_time, template, context, pool)
        };
        let operator = self.operators.get_or_make(node.id, make)?;
        Ok(StatefulExec::new(node.id, vec![planning.input.clone()], operator))
    }

    fn watermark(&self, node: &WatermarkNode, input: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let column = node.input.schema().index_of_column(&node.event_time)?;
        let tracker = self.operators.event_times.clone();
        let streams = bound_streams(&node.input);
        tracker.register(
            node.id,
            WatermarkInput {
                streams,
                column: node.event_time.name.clone(),
                delay_ms: node.delay_ms,
                by_partition: !node.partition.is_empty(),
            },
        );
        Ok(Arc::new(WatermarkExec::new(node.id, column, node.partition.clone(), input.clone(), tracker)))
    }

    fn aggregate(
        &self,
        node: &StatefulNode,
        (keys, event_time): (usize, Option<EventTimeKey>),
        mode: OutputMode,
        planning: &Planning,
    ) -> DfResult<StatefulExec> {
        let (keys, aggregates) = node.expressions.split_at(keys);
        let (keys, window) = panes_of(keys, planning.logical)?;
        let group_by = planning.group_by(&keys)?;
        let num_keys = group_by.output_exprs().len();
        let (group_by, is_anchored) = anchored(group_by);
        let input = planning.input.clone();
        let schema = input.schema();
        let lower = |e: &Expr| {
            let properties = planning.session.execution_props();
            LoweredAggregateBuilder::new(e, planning.logical, &schema, properties, planning.context).build()
        };
        let lowered = aggregates.iter().map(lower).collect::<DfResult<Vec<_>>>()?;
        let filters = lowered.iter().map(|l| l.filter.clone()).collect();
        let functions = lowered.into_iter().map(|l| l.aggregate).collect();
        let partial = AggregateExec::try_new(AggregateMode::Partial, group_by, functions, filters, input, schema)?;
        // The partial aggregate may have replaced a function by its reverse: its own list is the one to merge with.
        let functions = partial.aggr_expr().to_vec();
        let partial: Arc<dyn ExecutionPlan> = Arc::new(partial);
        let partial = if is_anchored { without_anchor(partial)? } else { partial };
        let output: SchemaRef = node.schema.inner().clone();
        let make = || {
            check_result_types(&output, (&partial.schema(), &functions), num_keys, window.as_ref())?;
            let space = StateSpace::of(planning.session);
            let keys = GroupKeys { count: num_keys, event_time, window: window.clone() };
            AggregateOperator::try_new(&partial.schema(), output.clone(), keys, functions, mode, &space)
        };
        let operator = self.operators.get_or_make(node.id, make)?;
        Ok(StatefulExec::new(node.id, vec![partial], operator))
    }
}

impl StatefulPlanner {
    fn session(
        &self,
        node: &StatefulNode,
        (keys, session, timed): (usize, usize, bool),
        mode: OutputMode,
        planning: &Planning,
    ) -> DfResult<StatefulExec> {
        let (keys, aggregates) = node.expressions.split_at(keys);
        let mut keys = keys.iter().map(|k| planning.expression(k)).collect::<DfResult<Vec<_>>>()?;
        let session_expr = keys.remove(session);
        let input = planning.input.schema();
        let lower = |e: &Expr| {
            let properties = planning.session.execution_props();
            let lowered = LoweredAggregateBuilder::new(e, planning.logical, &input, properties, planning.context);
            let lowered = lowered.build()?;
            Ok((lowered.aggregate, lowered.filter))
        };
        let aggregates = aggregates.iter().map(lower).collect::<DfResult<Vec<_>>>()?;
        let output: SchemaRef = node.schema.inner().clone();
        let make = || {
            let values = aggregates.iter().map(|(a, _)| a.field().data_type().clone());
            let values: Vec<DataType> = values.collect();
            let expected = output.fields()[keys.len() + 1..].iter().map(|f| f.data_type().clone());
            check_types(&values, &expected.collect::<Vec<_>>())?;
            let input = SessionInput::try_new(&input, keys, session_expr, aggregates)?;
            let space = StateSpace::of(planning.session);
            SessionOperator::try_new(input, output.clone(), (session, timed), mode, &space)
        };
        let operator = self.operators.get_or_make(node.id, make)?;
        Ok(StatefulExec::new(node.id, vec![planning.input.clone()], operator))
    }
}

/// What the aggregates give must be what the rest of the plan was made for.
fn check_result_types(
    output: &Schema,
    (partial, functions): (&SchemaRef, &[Arc<AggregateFunctionExpr>]),
    num_keys: usize,
    window: Option<&WindowKey>,
) -> Result<()> {
    let keys = window.map_or_else(|| partial.clone(), |w| Arc::new(w.schema(partial)));
    let keys = keys.fields()[..num_keys].iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    let values = functions.iter().map(|a| a.field().data_type().clone());
    let actual: Vec<DataType> = keys.into_iter().chain(values).collect();
    let expected: Vec<DataType> = output.fields().iter().map(|f| f.data_type().clone()).collect();
    check_types(&actual, &expected)
}

fn check_types(actual: &[DataType], expected: &[DataType]) -> Result<()> {
    if actual != expected {
        return Err(Error::internal(format!("an aggregate gives {actual:?} where {expected:?} was planned")));
    }
    Ok(())
}
