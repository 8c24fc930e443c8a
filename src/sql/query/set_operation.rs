//! Whole queries: common table expressions, set operations, `VALUES`, `ORDER BY` and `LIMIT` above them.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs};
use datafusion::logical_expr::{Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, lit};
use datafusion::sql::sqlparser::ast::{
    Cte, LimitClause, OrderBy, OrderByKind, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, Values, With,
};

use super::expr::ExprContext;
use super::function::sort_expr;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, ScopeColumn, Visibility, eq_names};
use super::select::ordinal;
use super::subquery::has_subquery;
use super::types::spark_type_name;
use super::{operators, recursion_level};
use crate::error::{Error, Result};
use crate::function::coercion;
use crate::plan::watermark::WATERMARK_KEY;

impl Planner<'_> {
    /// A query with everything that belongs to it. Columns of its plan have unique names without a qualifier.
    pub fn query(&self, q: &Query, env: &Env) -> Result<Relation> {
        refuse_clauses(q)?;
        let mut env = env.clone();
        if let Some(with) = &q.with {
            self.with(with, &mut env)?;
        }
        let relation = match q.body.as_ref() {
            SetExpr::Select(s) => self.select(s, q.order_by.as_ref(), &env)?,
            body => {
                let relation = self.set_expr(body, &env)?;
                self.order_by_output(relation, q.order_by.as_ref(), &env)?
            }
        };
        match &q.limit_clause {
            Some(limit) => self.limit(relation, limit, &env),
            None => Ok(relation),
        }
    }

    fn with(&self, with: &With, env: &mut Env) -> Result<()> {
        for (i, cte) in with.cte_tables.iter().enumerate() {
            let name = &cte.alias.name;
            if with.cte_tables[..i].iter().any(|c| eq_names(&c.alias.name.value, &name.value)) {
                let message = format!("WITH defines '{}' twice", name.value);
                return Err(Error::invalid("DUPLICATED_CTE_NAMES", message)
                    .with_span(self.lines.span(name.span))
                    .with_help("give each of them a name of its own"));
            }
            let Cte { alias, query, .. } = cte;
            if with.recursive {
                let relation = self.recursive(cte, env)?;
                env.ctes.push((alias.name.value.clone(), relation));
                continue;
            }
            if recursion_level::of(cte).is_some() {
                let message =
                    format!("MAX RECURSION LEVEL needs WITH RECURSIVE, and '{}' is not recursive", name.value);
                return Err(Error::invalid("INVALID_STATEMENT_OR_CLAUSE", message)
                    .with_span(self.lines.span(name.span))
                    .with_help(format!("write WITH RECURSIVE {} MAX RECURSION LEVEL 200 AS (…)", name.value)));
            }
            let mut relation = self.query(query, env)?;
            self.rename(&mut relation.scope, alias)?;
            env.ctes.push((alias.name.value.clone(), relation));
        }
        Ok(())
    }

    pub fn set_expr(&self, e: &SetExpr, env: &Env) -> Result<Relation> {
        match e {
            SetExpr::Select(s) => self.select(s, None, env),
            SetExpr::Query(q) => self.query(q, env),
            SetExpr::Values(v) => self.values(v, env),
            SetExpr::SetOperation { .. } => self.set_operations(e, env),
            other => Err(unsupported(&format!("'{other}' as a query"))),
        }
    }

    /// `a UNION b UNION c …` without recursion on its left side.
    fn set_operations(&self, e: &SetExpr, env: &Env) -> Result<Relation> {
        let mut rest = vec![];
        let mut first = e;
        while let SetExpr::SetOperation { op, set_quantifier, left, right } = first {
            rest.push((*op, *set_quantifier, right.as_ref()));
            first = left;
        }
        let mut relation = self.set_expr(first, env)?;
        for (op, quantifier, right) in rest.into_iter().rev() {
            let span = self.lines.span(right.span());
            relation = combine(relation, op, quantifier, self.set_expr(right, env)?).map_err(|e| e.with_span(span))?;
        }
        Ok(relation)
    }

    fn values(&self, v: &Values, env: &Env) -> Result<Relation> {
        let nothing = Relation { plan: LogicalPlanBuilder::empty(true).build()?, scope: Scope::default() };
        let cx = ExprContext::new(self, env, &nothing, &[]);
        let rows = v
            .rows
            .iter()
            .map(|row| row.content.iter().map(|e| cx.checked(e)).collect())
            .collect::<Result<Vec<Vec<_>>>>()?;
        let width = rows.first().map_or(0, Vec::len);
        if let Some(row) = v.rows.iter().find(|row| row.content.len() != width) {
            let message = format!("a row of VALUES has {} values, and the first has {width}", row.content.len());
            return Err(Error::invalid("INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH", message)
                .with_span(row.content.first().and_then(|e| cx.span(e)))
                .with_help("give every row as many values, NULL for one that is missing"));
        }
        for (value, e) in rows.iter().flatten().zip(v.rows.iter().flat_map(|row| &row.content)) {
            if !find_aggregate_exprs([value]).is_empty() || !find_window_exprs([value]).is_empty() {
                let message = "an aggregate or window function stands in the VALUES clause";
                return Err(Error::invalid("INVALID_INLINE_TABLE.CANNOT_EVALUATE_EXPRESSION_IN_INLINE_TABLE", message)
                    .with_span(cx.span(e))
                    .with_help("VALUES takes constants: aggregate in a SELECT"));
            }
            if has_subquery(value) {
                let message = "a subquery stands in the VALUES clause";
                return Err(Error::unsupported(
                    "UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.SCALAR_SUBQUERY_IN_VALUES",
                    message,
                )
                .with_span(cx.span(e))
                .with_help("write SELECT (SELECT …) AS a, … instead, and UNION ALL between rows"));
            }
        }
        let plan = LogicalPlanBuilder::values(widened(rows)?)?.build()?;
        let names = (1..=plan.schema().fields().len()).map(|i| format!("col{i}")).collect();
        Ok(with_names(plan, names))
    }

    /// `ORDER BY` that sees the output columns only.
    fn order_by_output(&self, r: Relation, order_by: Option<&OrderBy>, env: &Env) -> Result<Relation> {
        let Some(order_by) = order_by else { return Ok(r) };
        let keys = match &order_by.kind {
            OrderByKind::All(options) => {
                r.scope.columns.iter().map(|c| sort_expr(Expr::Column(c.column.clone()), options)).collect()
            }
            OrderByKind::Expressions(keys) => {
                let cx = ExprContext::new(self, env, &r, &[]);
                let key = |k: &datafusion::sql::sqlparser::ast::OrderByExpr| -> Result<SortExpr> {
                    let expr = match ordinal(&k.expr, r.scope.columns.len(), "ORDER BY", self)? {
                        Some(i) => Expr::Column(r.scope.columns[i].column.clone()),
                        None => cx.checked(&k.expr)?,
                    };
                    Ok(sort_expr(expr, &k.options))
                };
                keys.iter().map(key).collect::<Result<Vec<_>>>()?
            }
        };
        let plan = LogicalPlanBuilder::from(r.plan).sort(keys)?.build()?;
        Ok(Relation { plan, scope: r.scope })
    }

    fn limit(&self, r: Relation, clause: &LimitClause, env: &Env) -> Result<Relation> {
        let (limit, offset) = match clause {
            LimitClause::LimitOffset { limit_by, .. } if !limit_by.is_empty() => return Err(unsupported("LIMIT BY")),
            LimitClause::LimitOffset { limit, offset, .. } => (limit.as_ref(), offset.as_ref().map(|o| &o.value)),
            LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
        };
        let count = |e: &datafusion::sql::sqlparser::ast::Expr, clause: &str| -> Result<Expr> {
            let nothing = Relation { plan: LogicalPlanBuilder::empty(true).build()?, scope: Scope::default() };
            let cx = ExprContext::new(self, env, &nothing, &[]);
            let expr = cx.checked(e).map_err(|e| match e.condition() {
                "UNRESOLVED_COLUMN.WITH_SUGGESTION" => e
                    .with_condition("INVALID_LIMIT_LIKE_EXPRESSION.IS_UNFOLDABLE")
                    .with_help(format!("write the number itself: {clause} 10")),
                _ => e,
            })?;
            let value = match &expr {
                Expr::Literal(value, _) if expr.get_type(nothing.plan.schema())?.is_integer() => {
                    value.cast_to(&arrow::datatypes::DataType::Int64)?
                }
                _ => ScalarValue::Null,
            };
            match value {
                ScalarValue::Int64(Some(n)) if n >= 0 => Ok(lit(n)),
                _ => Err(Error::invalid(
                    match value {
                        ScalarValue::Int64(_) => "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
                        _ => "INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE",
                    },
                    format!("{clause} must be a non-negative integer literal"),
                )
                .with_help(format!("write the number itself: {clause} 10"))
                .with_span(cx.span(e))),
            }
        };
        let limit = limit.map(|e| count(e, "LIMIT")).transpose()?;
        let offset = offset.map(|e| count(e, "OFFSET")).transpose()?;
        if limit.is_none() && offset.is_none() {
            return Ok(r);
        }
        let plan = LogicalPlanBuilder::from(r.plan).limit_by_expr(offset, limit)?.build()?;
        Ok(Relation { plan, scope: r.scope })
    }
}

fn combine(left: Relation, op: SetOperator, quantifier: SetQuantifier, right: Relation) -> Result<Relation> {
    let all = match quantifier {
        SetQuantifier::All => true,
        SetQuantifier::None | SetQuantifier::Distinct => false,
        _ => return Err(unsupported("BY NAME")),
    };
    let (l, r) = (left.scope.columns.len(), right.scope.columns.len());
    if l != r {
        let message = format!("{op} needs the same number of columns on both sides, but has {l} and {r}");
        return Err(Error::invalid("NUM_COLUMNS_MISMATCH", message)
            .with_help("select as many columns in both, NULL AS name for one that is missing"));
    }
    let names = left.scope.columns.iter().map(|c| c.name.clone()).collect();
    if !(all && op == SetOperator::Union) {
        refuse_maps(left.plan.schema(), &op.to_string())?;
    }
    let (left, right) = same_types(left, right, op)?;
    if all && op != SetOperator::Union {
        return Ok(with_names(each_row(left, op, right)?, names));
    }
    let right = Relation { plan: with_marks_of(&left.plan, right.plan)?, ..right };
    let builder = LogicalPlanBuilder::from(left.plan);
    let plan = match (op, all) {
        (SetOperator::Union, true) => builder.union(right.plan)?.build()?,
        (SetOperator::Union, false) => builder.union_distinct(right.plan)?.build()?,
        (SetOperator::Intersect, _) => LogicalPlanBuilder::intersect(builder.build()?, right.plan, false)?,
        (SetOperator::Except | SetOperator::Minus, _) => {
            LogicalPlanBuilder::except(builder.build()?, right.plan, false)?
        }
    };
    Ok(with_names(plan, names))
}

/// Rows with a map cannot be told apart.
pub fn refuse_maps(schema: &DFSchema, operation: &str) -> Result<()> {
    match schema.fields().iter().find(|f| operators::has_map(f.data_type())) {
        Some(field) => {
            let message = format!("{operation} cannot tell maps apart, and column '{}' has one", field.name());
            Err(Error::unsupported("UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE", message)
                .with_help("take its entries instead: sort_array(map_entries(m))"))
        }
        None => Ok(()),
    }
}

/// The plan with the event times of another: of the sides of a set operation, the first says which columns are one.
/// DataFusion keeps only what all sides agree on, and delays may differ.
fn with_marks_of(first: &LogicalPlan, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mark = |f: &Field| f.metadata().get(WATERMARK_KEY).cloned();
    let wanted: Vec<_> = first.schema().fields().iter().map(|f| mark(f)).collect();
    let differs = |(f, wanted): (&FieldRef, &Option<String>)| wanted.is_some() && mark(f) != *wanted;
    if !plan.schema().fields().iter().zip(&wanted).any(differs) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().zip(&wanted);
    let exprs: Vec<Expr> = columns
        .map(|(column, wanted)| {
            let marks =
                wanted.clone().map(|delay| FieldMetadata::from(HashMap::from([(WATERMARK_KEY.to_owned(), delay)])));
            match marks {
                Some(marks) => {
                    let (relation, name) = (column.relation.clone(), column.name.clone());
                    Expr::Column(column).alias_qualified_with_metadata(relation, name, Some(marks))
                }
                None => Expr::Column(column),
            }
        })
        .collect();
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// Both sides with the columns of each pair brought to one type.
fn same_types(left: Relation, right: Relation, op: SetOperator) -> Result<(Relation, Relation)> {
    let types = |r: &Relation| -> Result<Vec<DataType>> {
        let schema = r.plan.schema();
        let types = r.scope.columns.iter().map(|c| Expr::Column(c.column.clone()).get_type(schema));
        Ok(types.collect::<datafusion::common::Result<_>>()?)
    };
    let (l, r) = (types(&left)?, types(&right)?);
    let mut common = vec![];
    for (i, (l, r)) in l.iter().zip(&r).enumerate() {
        let Some(to) = coercion::wider(l, r) else {
            let (l, r) = (spark_type_name(l), spark_type_name(r));
            let message = format!("column {} of {op} is {l} on one side and {r} on the other", i + 1);
            return Err(Error::invalid("INCOMPATIBLE_COLUMN_TYPE", message)
                .with_help("columns are matched by place, not by name: reorder them, or CAST one side"));
        };
        common.push(to);
    }
    Ok((with_types(left, &l, &common)?, with_types(right, &r, &common)?))
}

fn with_types(relation: Relation, from: &[DataType], to: &[DataType]) -> Result<Relation> {
    if from == to {
        return Ok(relation);
    }
    let column = |((c, from), to): ((&ScopeColumn, &DataType), &DataType)| {
        let e = Expr::Column(c.column.clone());
        if from == to { e } else { crate::function::cast(e, to, false).alias(&c.column.name) }
    };
    let exprs: Vec<_> = relation.scope.columns.iter().zip(from).zip(to).map(column).collect();
    let names = relation.scope.columns.iter().map(|c| c.name.clone()).collect();
    Ok(with_names(LogicalPlanBuilder::from(relation.plan).project(exprs)?.build()?, names))
}

/// `EXCEPT ALL` and `INTERSECT ALL`: equal rows are numbered, which makes all rows different.
fn each_row(left: Relation, op: SetOperator, right: Relation) -> Result<LogicalPlan> {
    const NUMBER: &str = "#number";
    let numbered = |r: Relation| -> Result<LogicalPlan> {
        let columns: Vec<_> = r.scope.columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let number = row_number().partition_by(columns.clone()).build()?;
        let name = number.schema_name().to_string();
        let plan = LogicalPlanBuilder::window_plan(r.plan, vec![number])?;
        let number = Expr::Column(Column::new_unqualified(name)).alias(NUMBER);
        Ok(LogicalPlanBuilder::from(plan).project(columns.into_iter().chain([number]))?.build()?)
    };
    let width = left.scope.columns.len();
    let (left, right) = (numbered(left)?, numbered(right)?);
    let plan = match op {
        SetOperator::Intersect => LogicalPlanBuilder::intersect(left, right, false)?,
        _ => LogicalPlanBuilder::except(left, right, false)?,
    };
    // Where both sides have columns of one name, the sides have got names of their own.
    let columns: Vec<_> = plan.schema().columns().into_iter().take(width).map(Expr::Column).collect();
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// Rows whose values are brought to one type for each column.
fn widened(mut rows: Vec<Vec<Expr>>) -> Result<Vec<Vec<Expr>>> {
    let schema = DFSchema::empty();
    for column in 0..rows.first().map_or(0, Vec::len) {
        let values: Vec<Expr> = rows.iter().filter_map(|row| row.get(column)).cloned().collect();
        let unified = operators::unify("VALUES", values, &schema)?;
        for (e, unified) in rows.iter_mut().filter_map(|row| row.get_mut(column)).zip(unified) {
            *e = unified;
        }
    }
    Ok(rows)
}

/// A relation whose columns, in order, have these names.
pub fn with_names(plan: LogicalPlan, names: Vec<String>) -> Relation {
    let columns = plan.schema().columns().into_iter().zip(names);
    let columns = columns
        .map(|(column, name)| ScopeColumn { qualifier: vec![], name, column, visibility: Visibility::Shown })
        .collect();
    Relation { plan, scope: Scope { columns } }
}

fn refuse_clauses(q: &Query) -> Result<()> {
    let clauses = [
        (q.fetch.is_some(), "FETCH"),
        (!q.locks.is_empty() || q.for_clause.is_some(), "FOR"),
        (q.settings.is_some(), "SETTINGS"),
        (q.format_clause.is_some(), "FORMAT"),
        (!q.pipe_operators.is_empty(), "the operator |>"),
    ];
    match clauses.iter().find(|(there, _)| *there) {
        Some((_, clause)) => Err(unsupported(clause)),
        None => Ok(()),
    }
}

/// Refuses clauses of SELECT that mean nothing here.
pub fn refuse_select_clauses(s: &Select) -> Result<()> {
    let clauses = [
        (s.top.is_some(), "TOP"),
        (s.into.is_some(), "SELECT INTO"),
        (s.prewhere.is_some(), "PREWHERE"),
        (!s.connect_by.is_empty(), "CONNECT BY"),
        (!s.cluster_by.is_empty(), "CLUSTER BY"),
        (!s.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!s.sort_by.is_empty(), "SORT BY"),
        (s.value_table_mode.is_some(), "SELECT AS"),
        (s.exclude.is_some(), "EXCLUDE"),
    ];
    match clauses.iter().find(|(there, _)| *there) {
        Some((_, clause)) => Err(unsupported(clause)),
        None => Ok(()),
    }
}

/// The error for a clause that this version does not have.
pub fn unsupported(what: &str) -> Error {
    let error = Error::unsupported("UNSUPPORTED_FEATURE", format!("{what} is not supported"));
    match instead(what) {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// What to write instead of a clause.
fn instead(what: &str) -> Option<&'static str> {
    Some(match what.split([' ', '\'']).find(|w| !w.is_empty()).unwrap_or_default() {
        "SORT" | "CLUSTER" | "DISTRIBUTE" => {
            "leave it out: rows are placed by the engine; ORDER BY sorts the whole result"
        }
        "PIVOT" | "DEFAULT" => "write one aggregate for each value: sum(v) FILTER (WHERE name = 'a') AS a",
        "FETCH" | "TOP" => "write LIMIT 10",
        "BY" => "select the columns of both sides in one order, and write UNION ALL",
        "GROUP" => "write GROUP BY ROLLUP (…), CUBE (…) or GROUPING SETS (…)",
        "EXCLUDE" | "ILIKE," => "write SELECT * EXCEPT (column)",
        "MATCH_RECOGNIZE" => "compare a row with those before it by lag(…) OVER (…) over a table",
        _ => return None,
    })
}
