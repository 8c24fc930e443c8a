//! `WITH RECURSIVE`: a query that begins with rows and goes on from its own until there are no more.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    Cte, ObjectNamePart, SetExpr, SetOperator, SetQuantifier, Spanned, Visit, visit_relations,
};

use super::planner::Planner;
use super::recursion_level;
use super::scope::{Env, Relation, eq_names, unique_names};
use super::set_operation::with_names;
use super::types::spark_type_name;
use crate::error::{Error, Result};
use crate::function::coercion;
use crate::plan::apply::as_apply;
use crate::plan::recursion::bounded;

/// How often a recursive query may go on from its own rows unless it says otherwise, as in Spark.
const MAX_LEVELS: usize = 100;

impl Planner<'_> {
    /// The relation of a common table expression of `WITH RECURSIVE`.
    pub fn recursive(&self, cte: &Cte, env: &Env) -> Result<Relation> {
        let name = &cte.alias.name.value;
        if count_names(&cte.query, name) == 0 {
            let mut relation = self.query(&cte.query, env)?;
            self.rename(&mut relation.scope, &cte.alias)?;
            return Ok(relation);
        }
        let span = self.lines.span(cte.alias.name.span);
        let SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } = cte.query.body.as_ref()
        else {
            return Err(not_recursive(name).with_span(span));
        };
        let is_plain = cte.query.order_by.is_none() && cte.query.limit_clause.is_none() && cte.query.with.is_none();
        if !is_plain || count_names(left, name) > 0 {
            return Err(not_recursive(name).with_span(span));
        }
        if *set_quantifier != SetQuantifier::All {
            let message = "UNION without ALL is not supported in a recursive query";
            return Err(Error::unsupported("UNION_NOT_SUPPORTED_IN_RECURSIVE_CTE", message)
                .with_span(self.lines.span(right.span()))
                .with_help("write UNION ALL, and SELECT DISTINCT over its result"));
        }
        let mut anchor = self.set_expr(left, env)?;
        self.rename(&mut anchor.scope, &cte.alias)?;
        // The work table's columns are those of the anchor, which later rows may make NULL.
        let shown: Vec<String> = anchor.scope.columns.iter().map(|c| c.name.clone()).collect();
        let unique = unique_names(&shown);
        let columns = anchor.scope.columns.iter().zip(&unique);
        let columns = columns.map(|(c, name)| Expr::Column(c.column.clone()).alias(name));
        let plan = LogicalPlanBuilder::from(anchor.plan).project(columns.collect::<Vec<_>>())?.build()?;
        let work = self.fresh_alias(name);
        let mut inner = env.clone();
        inner.ctes.push((name.clone(), with_names(work_table(&work, &plan)?, shown.clone())));
        let step = self.set_expr(right, &inner).map_err(|e| e.with_span(span))?;
        check_places(&step.plan, &work, name).map_err(|e| e.with_span(self.lines.span(right.span())))?;
        let step = self.like_anchor(&plan, step).map_err(|e| e.with_span(self.lines.span(right.span())))?;
        let max = recursion_level::of(cte).unwrap_or(MAX_LEVELS);
        let (plan, step) = bounded(plan, step, (name, &work), max)?;
        let plan = LogicalPlanBuilder::from(plan).to_recursive_query(work, step, false)?.build()?;
        Ok(with_names(plan, shown))
    }

    /// The rows that follow, with the columns of the anchor.
    fn like_anchor(&self, anchor: &LogicalPlan, step: Relation) -> Result<LogicalPlan> {
        let (wanted, given) = (anchor.schema(), &step.scope.columns);
        if wanted.fields().len() != given.len() {
            let message = format!(
                "UNION needs the same number of columns on both sides, but has {} and {}",
                wanted.fields().len(),
                given.len()
            );
            return Err(Error::invalid("NUM_COLUMNS_MISMATCH", message)
                .with_help("select as many columns in both, NULL AS name for one that is missing"));
        }
        let mut exprs = vec![];
        for (field, column) in wanted.fields().iter().zip(given) {
            let e = Expr::Column(column.column.clone());
            let (to, from) = (field.data_type(), e.get_type(step.plan.schema())?);
            if coercion::wider(to, &from).as_ref() != Some(to) {
                let message = format!(
                    "column '{}' of a recursive query begins as {} and goes on as {}",
                    field.name(),
                    spark_type_name(to),
                    spark_type_name(&from)
                );
                return Err(Error::invalid("INCOMPATIBLE_COLUMN_TYPE", message).with_help(format!(
                    "CAST it to {} behind UNION ALL, or begin with the wider type",
                    spark_type_name(to)
                )));
            }
            let e = if from == *to { e } else { crate::function::cast(e, to, false) };
            exprs.push(e.alias(field.name()));
        }
        Ok(LogicalPlanBuilder::from(step.plan).project(exprs)?.build()?)
    }
}

fn work_table(name: &str, anchor: &LogicalPlan) -> Result<LogicalPlan> {
    let fields = anchor.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let table = Arc::new(CteWorkTable::new(name, schema));
    Ok(LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)?.build()?)
}

/// Refuses a part that needs all rows of a recursive query at once, since it sees only those of one level.
fn check_places(step: &LogicalPlan, work: &str, name: &str) -> Result<()> {
    let mut wrong = false;
    step.apply_with_subqueries(|node| {
        let found = match node {
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) => reads(node, work)?,
            LogicalPlan::Join(join) => match join.join_type {
                JoinType::Inner => false,
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    reads(&join.right, work)?
                }
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    reads(&join.left, work)?
                }
                JoinType::Full => reads(node, work)?,
            },
            // Such a subquery is run for itself, where there are no rows of a level.
            LogicalPlan::Extension(_) => match as_apply(node) {
                Some(apply) => reads(&apply.subquery, work)?,
                None => false,
            },
            _ => false,
        };
        wrong |= found;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !wrong {
        return Ok(());
    }
    let message = format!(
        "'{name}' is read where all of its rows are needed: below an aggregate, a window function, ORDER BY, a subquery that is a value, \
         or the side of an outer join that may be missing"
    );
    Err(Error::invalid("INVALID_RECURSIVE_REFERENCE.PLACE", message).with_help(format!(
        "the recursive part sees the rows of one level only: aggregate behind it, in the query that reads {name}"
    )))
}

fn reads(plan: &LogicalPlan, table: &str) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == table);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn not_recursive(name: &str) -> Error {
    Error::invalid(
        "INVALID_RECURSIVE_CTE",
        format!("the recursive query '{name}' is no UNION ALL of rows and of what follows from them"),
    )
    .with_help(format!("write WITH RECURSIVE {name} AS (SELECT … UNION ALL SELECT … FROM {name} WHERE …)"))
}

/// How often the relation `name` is read.
fn count_names(query: &impl Visit, name: &str) -> usize {
    let mut count = 0;
    let _ = visit_relations(query, |relation| {
        let same = |part: &ObjectNamePart| part.as_ident().is_some_and(|i| eq_names(&i.value, name));
        count += usize::from(matches!(relation.0.as_slice(), [part] if same(part)));
        ControlFlow::<()>::Continue(())
    });
    count
}
