//! Subqueries in expressions: planned where they stand, and computed below the expression that they are in.
//!
//! `[NOT] EXISTS` and `IN` that are conditions of WHERE on their own stay in its filter, of which DataFusion makes a join.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery};
use datafusion::sql::sqlparser::ast as sql;

use super::expr::ExprContext;
use super::operators;
use super::planner::Planner;
use super::scope::{Env, Relation};
use super::types::spark_type_name;
use crate::error::{Error, Result};
use crate::function::{coercion, comparison_type};
use crate::operator::apply::Question;
use crate::plan::apply::ApplyNode;
use crate::plan::mentions_stream;

impl ExprContext<'_> {
    /// A query inside this one, which sees the columns of this one.
    fn subquery(&self, query: &sql::Query, e: &sql::Expr) -> Result<(Subquery, usize)> {
        if self.lambdas.is_some() {
            let message = "a subquery stands inside a higher-order function";
            return Err(Error::unsupported("UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.HIGHER_ORDER_FUNCTION", message)
                .with_help("compute it in a subquery below, and name its column in the lambda"));
        }
        let mut env = self.env.clone();
        env.outer.push((self.scope.clone(), std::sync::Arc::new(self.schema.clone())));
        let relation = self.planner.query(query, &env)?;
        refuse_stream(&relation.plan).map_err(|err| err.with_span(self.span(e)))?;
        let columns = relation.scope.columns.len();
        let subquery = std::sync::Arc::new(relation.plan);
        let outer_ref_columns = subquery.all_out_ref_exprs();
        Ok((Subquery { subquery, outer_ref_columns, spans: Spans::new() }, columns))
    }

    /// `(SELECT …)`, the value of its one row.
    pub fn scalar_subquery(&self, query: &sql::Query, e: &sql::Expr) -> Result<Expr> {
        match self.subquery(query, e)? {
            (subquery, 1) => Ok(Expr::ScalarSubquery(subquery)),
            (_, n) => {
                let message = format!("the subquery must give one column, but gives {n}");
                Err(Error::invalid(
                    "INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN",
                    message,
                )
                .with_span(self.span(e))
                .with_help("select the column that is meant, or several as struct(…)"))
            }
        }
    }

    /// `EXISTS (SELECT …)`.
    pub fn exists(&self, query: &sql::Query, negated: bool, e: &sql::Expr) -> Result<Expr> {
        Ok(Expr::Exists(Exists::new(self.subquery(query, e)?.0, negated)))
    }

    /// `value IN (SELECT …)`, or `(a, b) IN (SELECT …)` of as many columns.
    pub fn in_subquery(&self, value: &sql::Expr, query: &sql::Query, negated: bool, e: &sql::Expr) -> Result<Expr> {
        let (subquery, columns) = self.subquery(query, e)?;
        let mut bare = value;
        while let sql::Expr::Nested(inner) = bare {
            bare = inner;
        }
        let values = match bare {
            sql::Expr::Tuple(items) => items.len(),
            _ => 1,
        };
        if values != columns {
            let message = format!("IN compares {values} on its left with {columns} of the subquery");
            return Err(Error::invalid("DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH", message)
                .with_span(self.span(e))
                .with_help("give as many columns on both sides: (a, b) IN (SELECT c, d FROM …)"));
        }
        let value = self.expr(value)?;
        comparable(subquery.subquery.as_ref().clone(), value.clone(), self.schema)
            .map_err(|err| err.with_span(self.span(e)))?;
        let (value, subquery) = self.compared_alike(value, subquery)?;
        Ok(Expr::InSubquery(InSubquery::new(Box::new(value), subquery, negated)))
    }

    /// A value and the one column of a subquery in the type that they are compared in.
    fn compared_alike(&self, value: Expr, mut subquery: Subquery) -> Result<(Expr, Subquery)> {
        let schema = subquery.subquery.schema().clone();
        let column = Expr::Column(schema.columns().swap_remove(0));
        let types = (value.get_type(self.schema)?, column.get_type(schema.as_ref())?);
        let Some(to) = comparison_type(&types.0, &types.1).filter(|_| schema.fields().len() == 1) else {
            return Ok((value, subquery));
        };
        let value = if types.0 == to { value } else { operators::cast(value, &to, false) };
        if types.1 != to {
            let name = schema.field(0).name().clone();
            let plan = LogicalPlanBuilder::from(subquery.subquery.clone());
            let plan = plan.project([operators::cast(column, &to, false).alias(name)])?.build()?;
            subquery.subquery = std::sync::Arc::new(plan);
        }
        Ok((value, subquery))
    }
}

/// A subquery must end before the row that it is computed for can be given.
pub fn refuse_stream(plan: &LogicalPlan) -> Result<()> {
    match mentions_stream(plan) {
        true => Err(Error::unsupported(
            "INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY",
            "a subquery expression reads a stream",
        )
        .with_help("join the streams instead")),
        false => Ok(()),
    }
}

/// What is computed already: the subquery as it was written, and its column.
pub type Computed = Vec<(Expr, Expr)>;

impl Planner<'_> {
    /// A condition of WHERE, HAVING or QUALIFY above a relation.
    pub fn filtered(&self, relation: Relation, condition: Expr, env: &Env) -> Result<Relation> {
        if !has_subquery(&condition) {
            let plan = LogicalPlanBuilder::from(relation.plan).filter(condition)?.build()?;
            return Ok(Relation { plan, scope: relation.scope });
        }
        let mut conjuncts = split_conjunction_owned(condition);
        let computed = conjuncts.iter_mut().filter(|c| !becomes_join(c)).collect::<Vec<_>>();
        let relation = self.with_subqueries(relation, computed, env)?;
        let condition = conjunction(conjuncts).unwrap_or_else(|| datafusion::logical_expr::lit(true));
        let plan = LogicalPlanBuilder::from(relation.plan).filter(condition)?.build()?;
        Ok(Relation { plan, scope: relation.scope })
    }

    /// The relation with a column for each subquery of the expressions, which name it instead.
    pub fn with_subqueries<'e>(
        &self,
        relation: Relation,
        exprs: impl IntoIterator<Item = &'e mut Expr>,
        env: &Env,
    ) -> Result<Relation> {
        let mut inputs = [relation.plan];
        let mut computed = Computed::new();
        for e in exprs {
            self.compute(&mut inputs, e, &mut computed, env)?;
        }
        let [plan] = inputs;
        Ok(Relation { plan, scope: relation.scope })
    }

    /// Brings the subqueries of an expression below it: onto the first of the inputs that has all the columns that they name.
    pub fn compute(&self, inputs: &mut [LogicalPlan], e: &mut Expr, computed: &mut Computed, env: &Env) -> Result<()> {
        if !has_subquery(e) {
            return Ok(());
        }
        let replaced = without_not(std::mem::take(e), false)?.transform_down(|e| {
            if !is_subquery(&e) {
                return Ok(Transformed::no(e));
            }
            if let Some((_, column)) = computed.iter().find(|(known, _)| *known == e) {
                return Ok(Transformed::new(column.clone(), true, TreeNodeRecursion::Jump));
            }
            let column = self.apply(inputs, e.clone(), computed, env)?;
            computed.push((e, column.clone()));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        *e = replaced.data;
        Ok(())
    }

    fn apply(&self, inputs: &mut [LogicalPlan], e: Expr, computed: &mut Computed, env: &Env) -> Result<Expr> {
        let (question, subquery, left) = match e {
            Expr::ScalarSubquery(q) => (Question::Scalar, q, None),
            Expr::Exists(Exists { subquery, negated: false }) => (Question::Exists, subquery, None),
            Expr::Exists(Exists { subquery, negated: true }) => {
                let there = Expr::Exists(Exists { subquery, negated: false });
                return Ok(Expr::Not(Box::new(self.apply(inputs, there, computed, env)?)));
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                (Question::In { negated }, subquery, Some(*expr))
            }
            other => return Ok(other),
        };
        let mut left = left;
        if let Some(left) = &mut left {
            self.compute(inputs, left, computed, env)?;
        }
        let names = |plan: &LogicalPlan| {
            let schema = plan.schema();
            let left = left.iter().flat_map(Expr::column_refs).all(|c| schema.has_column(c));
            left && outer_columns(&subquery).all(|c| schema.has_column(c) || is_outer(env, c))
        };
        let Some(input) = inputs.iter_mut().find(|plan| names(plan)) else {
            return Err(unnamed(inputs.len() > 1));
        };
        let plan = std::sync::Arc::unwrap_or_clone(subquery.subquery);
        let (plan, values) = match left {
            Some(left) => comparable(plan, left, input.schema())?,
            None => (plan, vec![]),
        };
        let below = std::mem::take(input);
        let node = ApplyNode::try_new(below, plan, question, values, self.fresh_alias("subquery"))?;
        let column = node.column();
        *input = node.into_plan();
        Ok(column)
    }
}

/// The error of a subquery that names what is not there.
fn unnamed(sides: bool) -> Error {
    match sides {
        true => super::set_operation::unsupported(
            "a subquery in the condition of an outer join that names columns of both sides",
        )
        .with_help("compute it in a subquery on one side, and compare its column in ON"),
        false => Error::invalid(
            "MISSING_AGGREGATION",
            "a subquery names a column that is neither a key of GROUP BY nor inside an aggregate function",
        )
        .with_help("add the column to GROUP BY, or aggregate in a subquery first"),
    }
}

fn is_outer(env: &Env, column: &Column) -> bool {
    env.outer.iter().any(|(_, schema)| schema.has_column(column))
}

/// The columns of queries around that a subquery names.
fn outer_columns(subquery: &Subquery) -> impl Iterator<Item = &Column> {
    subquery.outer_ref_columns.iter().filter_map(|e| match e {
        Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    })
}

fn is_subquery(e: &Expr) -> bool {
    matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
}

/// Whether a subquery is in the expression.
pub fn has_subquery(e: &Expr) -> bool {
    e.exists(|e| Ok(is_subquery(e))).unwrap_or(false)
}

/// Whether a condition of WHERE is one that DataFusion makes a semi or anti join of: what it names of the outer query stands in
/// filters alone.
fn becomes_join(conjunct: &Expr) -> bool {
    let subquery = match conjunct {
        Expr::Not(e) => return matches!(e.as_ref(), Expr::Exists(_)) && becomes_join(e),
        Expr::Exists(e) => &e.subquery,
        // NOT IN keeps no row that a NULL leaves open, which an anti join does not know.
        Expr::InSubquery(e)
            if !e.negated && e.subquery.subquery.schema().fields().len() == 1 && !has_subquery(&e.expr) =>
        {
            &e.subquery
        }
        _ => return false,
    };
    subquery.outer_ref_columns.is_empty() || filters_alone(&subquery.subquery)
}

fn filters_alone(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let named = plan.expressions().iter().any(|e| e.contains_outer());
            !named && plan.inputs().into_iter().all(filters_alone)
        }
        LogicalPlan::Filter(f) => !has_subquery(&f.predicate) && filters_alone(&f.input),
        LogicalPlan::TableScan(_) => true,
        _ => plan.all_out_ref_exprs().is_empty() && !any_apply(plan),
    }
}

fn any_apply(plan: &LogicalPlan) -> bool {
    crate::plan::apply::as_apply(plan).is_some() || plan.inputs().into_iter().any(any_apply)
}

/// NOT in front of AND and OR is brought to what it negates, so that NOT IN is one question wherever it is asked, as in Spark.
fn without_not(e: Expr, negated: bool) -> Result<Expr> {
    if !has_subquery(&e) {
        return Ok(if negated { Expr::Not(Box::new(e)) } else { e });
    }
    Ok(match e {
        Expr::Not(e) => without_not(*e, !negated)?,
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let op = match (op, negated) {
                (Operator::And, true) => Operator::Or,
                (Operator::Or, true) => Operator::And,
                (op, _) => op,
            };
            let (left, right) = (without_not(*left, negated)?, without_not(*right, negated)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::InSubquery(q) => Expr::InSubquery(InSubquery { negated: q.negated != negated, ..q }),
        Expr::Exists(q) => Expr::Exists(Exists { negated: q.negated != negated, ..q }),
        other => {
            let inner = other.map_children(|e| Ok(Transformed::yes(without_not(e, false)?))).data()?;
            if negated { Expr::Not(Box::new(inner)) } else { inner }
        }
    })
}

/// Both sides of IN with the types in which they are compared.
fn comparable(plan: LogicalPlan, left: Expr, schema: &DFSchema) -> Result<(LogicalPlan, Vec<Expr>)> {
    let columns = plan.schema().columns();
    let mut values = match left {
        Expr::ScalarFunction(call) if columns.len() > 1 => call.args,
        one => vec![one],
    };
    let mut exprs = vec![];
    for (value, column) in values.iter_mut().zip(columns) {
        let name = column.name.clone();
        let column = Expr::Column(column);
        let (l, r) = (value.get_type(schema)?, column.get_type(plan.schema())?);
        let null = |t| ScalarValue::try_from(t).map(|null| Expr::Literal(null, None));
        let none = DFSchema::empty();
        let compared = operators::compare_as(Operator::Eq, null(&l)?, null(&r)?, &none)
            .and_then(|(a, b)| Ok((a.get_type(&none)?, b.get_type(&none)?)));
        let common = compared.ok().and_then(|(l, r)| coercion::wider(&l, &r));
        let Some(common) = common else {
            let message = format!("IN compares {} with {} of the subquery", spark_type_name(&l), spark_type_name(&r));
            return Err(Error::invalid("DATATYPE_MISMATCH.IN_SUBQUERY_DATA_TYPE_MISMATCH", message)
                .with_help("CAST one of the two sides"));
        };
        if l != common {
            *value = crate::function::cast(std::mem::take(value), &common, false);
        }
        exprs.push(if r == common { column } else { crate::function::cast(column, &common, false).alias(name) });
    }
    Ok((LogicalPlanBuilder::from(plan).project(exprs)?.build()?, values))
}
