//! The node that draws what no argument decides: random numbers and numbers of rows.
//!
//! [`ResolveRandom`] puts it below the node whose expressions have such calls, and a column in the place of each call. So one
//! generator meets all rows of an execution, in their order; the same rows get the same values when a batch is repeated.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore,
};
use datafusion::optimizer::AnalyzerRule;

use crate::function::random::Draw;

/// Adds a column for each draw to its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomNode {
    input: LogicalPlan,
    /// With the name of its column.
    pub draws: Vec<(String, Draw)>,
    schema: DFSchemaRef,
}

impl RandomNode {
    fn try_new(input: LogicalPlan, draws: Vec<(String, Draw)>) -> DfResult<Self> {
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for (name, draw) in &draws {
            let of = draw.of.as_ref().map(|e| e.get_type(input.schema())).transpose()?;
            fields.push((None, Arc::new(Field::new(name, draw.data_type(of), draw.of.is_some()))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, draws, schema })
    }
}

impl PartialOrd for RandomNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for RandomNode {
    fn name(&self) -> &str {
        "Random"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.draws.iter().filter_map(|(_, draw)| draw.of.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let draws: Vec<_> = self.draws.iter().map(|(_, draw)| format!("{:?}", draw.kind)).collect();
        write!(f, "Random: {}", draws.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("what is drawn has rows".into()))?;
        let mut exprs = exprs.into_iter();
        let mut draws = self.draws.clone();
        for (_, draw) in &mut draws {
            if draw.of.is_some() {
                draw.of = exprs.next();
            }
        }
        Self::try_new(input, draws)
    }
}

/// Replaces the calls by columns of a [`RandomNode`] below.
#[derive(Debug)]
pub struct ResolveRandom;

impl AnalyzerRule for ResolveRandom {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(resolve).data()
    }

    fn name(&self) -> &str {
        "resolve_random"
    }
}

fn resolve(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let fits = matches!(
        node,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Sort(_)
    );
    let draws_any = |e: &Expr| e.exists(|e| Ok(Draw::of(e)?.is_some()));
    let mut found = false;
    for e in node.expressions() {
        found |= draws_any(&e)?;
    }
    if !fits || !found {
        return Ok(Transformed::no(node));
    }
    let columns = node.schema().columns();
    let passes_rows = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Sort(_));
    let mut draws = vec![];
    let names = NamePreserver::new(&node);
    let mapped = node.map_expressions(|e| {
        let name = names.save(&e);
        let e = e.transform_up(|e| {
            let Some(draw) = Draw::of(&e)? else { return Ok(Transformed::no(e)) };
            // The node above consumes it, so it need only differ from the others of this node; a restart must find the same name.
            let column = format!("#drawn{}", draws.len());
            draws.push((column.clone(), draw));
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column))))
        });
        Ok(Transformed::yes(name.restore(e.data()?)))
    });
    let node = mapped.data()?;
    let exprs = node.expressions();
    let inputs = node.inputs().into_iter().cloned().map(|input| {
        let node = RandomNode::try_new(input, draws.clone())?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    });
    let node = node.with_new_exprs(exprs, inputs.collect::<DfResult<Vec<_>>>()?)?;
    if !passes_rows {
        return Ok(Transformed::yes(node));
    }
    // What was drawn for a filter or an order goes no further.
    Ok(Transformed::yes(LogicalPlanBuilder::from(node).project(columns.into_iter().map(Expr::Column))?.build()?))
}
