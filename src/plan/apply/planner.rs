//! From the logical node to the operator.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::future::BoxFuture;

use super::node::{ApplyNode, as_apply};
use super::outer::map_expressions;
use crate::function::random::Draw;
use crate::operator::RandomExec;
use crate::operator::apply::{ApplyExec, KeptExec, Parameters, Subquery, parameter};
use crate::plan::lambda::planning_state;
use crate::plan::logic::lower;
use crate::plan::random::RandomNode;
use crate::plan::recursion::RecursionNode;
use crate::send_sync::{create_physical_plan_by, plan_extension_by};

/// DataFusion's planner of queries over tables, with subqueries of every kind.
#[derive(Debug)]
pub struct BatchPlanner;

impl QueryPlanner for BatchPlanner {
    create_physical_plan_by!(Self::plan);
}

impl BatchPlanner {
    fn plan<'a>(
        &'a self,
        plan: &'a LogicalPlan,
        session: &'a dyn Session,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        planned_by(vec![Arc::new(ApplyPlanner)], plan, session)
    }
}

/// The physical plan of a query, made by DataFusion's planner with these for our nodes.
pub fn planned_by<'a>(
    planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
    plan: &'a LogicalPlan,
    session: &'a dyn Session,
) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
    Box::pin(async move {
        let state = planning_state(plan, session)?;
        let session = state.as_ref().map_or(session, |s| s as &dyn Session);
        let planner = DefaultPhysicalPlanner::with_extension_planners(planners);
        planner.create_physical_plan(&lower(plan.clone())?, session).await
    })
}

/// Plans [`ApplyNode`], the levels of recursive queries, and random values.
#[derive(Debug)]
pub struct ApplyPlanner;

impl ExtensionPlanner for ApplyPlanner {
    plan_extension_by!(Self::plan_node);
}

impl ApplyPlanner {
    fn plan_node<'a>(
        &'a self,
        planner: &'a dyn PhysicalPlanner,
        node: &'a dyn UserDefinedLogicalNode,
        logical_inputs: &'a [&'a LogicalPlan],
        physical_inputs: &'a [Arc<dyn ExecutionPlan>],
        session: &'a dyn Session,
        context: &'a PhysicalPlanningContext,
    ) -> BoxFuture<'a, DfResult<Option<Arc<dyn ExecutionPlan>>>> {
        Box::pin(async move {
            if let Some(kept) = node.as_any().downcast_ref::<KeptNode>() {
                let part = planner.create_physical_plan(&lower(kept.part.clone())?, session).await?;
                let kept: Arc<dyn ExecutionPlan> = Arc::new(KeptExec::new(part));
                return Ok(Some(kept));
            }
            if let Some(level) = node.as_any().downcast_ref::<RecursionNode>() {
                return level.operator(physical_inputs.first().cloned()).map(Some);
            }
            if let Some(random) = node.as_any().downcast_ref::<RandomNode>() {
                let over_input =
                    |e: &Expr| planner.create_physical_expr(e, logical_inputs[0].schema(), session, context);
                let draw =
                    |(_, draw): &(String, Draw)| Ok((draw.clone(), draw.of.as_ref().map(over_input).transpose()?));
                let draws = random.draws.iter().map(draw).collect::<DfResult<_>>()?;
                let schema = Arc::clone(UserDefinedLogicalNodeCore::schema(random).inner());
                return Ok(Some(Arc::new(RandomExec::new(physical_inputs[0].clone(), draws, schema))));
            }
            let Some(node) = node.as_any().downcast_ref::<ApplyNode>() else { return Ok(None) };
            let over_input = |e: &Expr| planner.create_physical_expr(e, logical_inputs[0].schema(), session, context);
            let parameters = Arc::new(Parameters::default());
            let state = one_partition(session)?;
            let logical = lower(with_parameters(state.optimize(&node.subquery)?, node, &parameters)?)?;
            let state = planning_state(&logical, &state)?.unwrap_or(state);
            let subquery = Subquery {
                question: node.question.clone(),
                plan: planner.create_physical_plan(&logical, &state).await?,
                parameters,
                arguments: node.arguments.iter().map(|a| over_input(&a.value)).collect::<DfResult<_>>()?,
                values: node.values.iter().map(over_input).collect::<DfResult<_>>()?,
            };
            let schema = Arc::clone(UserDefinedLogicalNodeCore::schema(node).inner());
            Ok(Some(Arc::new(ApplyExec::new(physical_inputs[0].clone(), Arc::new(subquery), schema))))
        })
    }
}

/// The session for a plan that is executed for one row after the other.
fn one_partition(session: &dyn Session) -> DfResult<SessionState> {
    let state = session.as_any().downcast_ref::<SessionState>();
    let state = state.ok_or_else(|| DataFusionError::Internal("a session without state".into()))?;
    let mut config = state.config().clone().with_target_partitions(1);
    config.options_mut().catalog.create_default_catalog_and_schema = false;
    Ok(SessionStateBuilder::new_from_existing(state.clone()).with_config(config).build())
}

/// The plan with calls for its placeholders, and with what depends on none of them marked to be kept.
fn with_parameters(plan: LogicalPlan, node: &ApplyNode, values: &Arc<Parameters>) -> DfResult<LogicalPlan> {
    if node.arguments.is_empty() {
        return Ok(plan);
    }
    let plan = plan.transform_down(|part| {
        let worth = !part.inputs().is_empty() || matches!(part, LogicalPlan::TableScan(_));
        if !worth || depends(&part)? {
            return Ok(Transformed::no(part));
        }
        let kept = LogicalPlan::Extension(Extension { node: Arc::new(KeptNode::new(part)) });
        Ok(Transformed::new(kept, true, TreeNodeRecursion::Jump))
    });
    let schema = node.input.schema();
    let types = node.arguments.iter().map(|a| a.value.get_type(schema)).collect::<DfResult<Vec<_>>>()?;
    map_expressions(plan.data()?, &mut |e| {
        let Expr::Placeholder(p) = &e else { return Ok(Transformed::no(e)) };
        match node.arguments.iter().position(|a| a.placeholder == p.id) {
            Some(index) => Ok(Transformed::yes(parameter(values, index, types[index].clone()))),
            None => Ok(Transformed::no(e)),
        }
    })
}

/// Whether a plan, or a subquery in it, has a placeholder, or a call in the place of one.
fn depends(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let Some(apply) = as_apply(node) {
            found |= depends(&apply.subquery)?;
        }
        node.apply_expressions(|e| {
            e.apply(|e| {
                found |= matches!(e, Expr::Placeholder(_)) || e.is_volatile_node();
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A part of a subquery's plan whose rows are the same for all rows of the outer query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeptNode {
    part: LogicalPlan,
    schema: DFSchemaRef,
}

impl KeptNode {
    fn new(part: LogicalPlan) -> Self {
        let schema = part.schema().clone();
        Self { part, schema }
    }
}

impl PartialOrd for KeptNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for KeptNode {
    fn name(&self) -> &str {
        "Kept"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Kept")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        Ok(self.clone())
    }
}
