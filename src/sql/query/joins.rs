//! Joins of the FROM clause: with ON, USING and NATURAL, and LATERAL subqueries.

use datafusion::common::{Column, TableReference};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    self as sql, BinaryOperator, Ident, Join, JoinConstraint, JoinOperator, TableFactor,
};

use super::expr::{ExprContext, name_parts};
use super::from::{Used, aliased};
use super::operators;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, ScopeColumn, Visibility, eq_names};
use super::set_operation::unsupported;
use super::subquery::{Computed, has_subquery, refuse_stream};
use crate::error::{Error, Result};
use crate::operator::apply::Question;
use crate::plan::apply::ApplyNode;

impl Planner<'_> {
    pub(super) fn join(&self, left: Relation, right: Relation, join: &Join, env: &Env) -> Result<Relation> {
        let (join_type, constraint) = join_kind(&join.join_operator)?;
        match constraint {
            JoinConstraint::On(on) => {
                let both = both_sides(&left, &right)?;
                let condition = ExprContext::new(self, env, &both, &[]).condition(on, "the join").map_err(|e| {
                    let not_boolean = e.condition() == "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN";
                    if not_boolean { e.with_condition("JOIN_CONDITION_IS_NOT_BOOLEAN_TYPE") } else { e }
                })?;
                let span = self.lines.closed_span(sql::Spanned::span(on));
                self.join_on(left, right, join_type, condition, env).map_err(|e| e.with_span(span))
            }
            JoinConstraint::None => join_relations(left, right, join_type, None),
            JoinConstraint::Using(names) => {
                let keys = names.iter().map(|n| Ok(name_parts(n)?.remove(0))).collect::<Result<Vec<_>>>()?;
                self.join_using(left, right, join_type, &keys)
            }
            JoinConstraint::Natural => {
                let common = left.scope.visible().filter(|l| right.scope.visible().any(|r| eq_names(&l.name, &r.name)));
                let keys: Vec<_> = common.map(|c| Ident::new(c.name.clone())).collect();
                self.join_using(left, right, join_type, &keys)
            }
        }
    }

    /// A join whose condition may have subqueries, which are computed for the rows of one side.
    fn join_on(
        &self,
        left: Relation,
        right: Relation,
        join_type: JoinType,
        mut condition: Expr,
        env: &Env,
    ) -> Result<Relation> {
        if !find_aggregate_exprs([&condition]).is_empty() || !find_window_exprs([&condition]).is_empty() {
            let message = "the condition of a join contains an aggregate or window function";
            return Err(Error::invalid("UNSUPPORTED_EXPR_FOR_OPERATOR", message)
                .with_help("compute it in a subquery first, and compare its column"));
        }
        if !has_subquery(&condition) {
            return join_relations(left, right, join_type, Some(condition));
        }
        if join_type == JoinType::Inner {
            return self.filtered(cross_join(left, right)?, condition, env);
        }
        let mut inputs = [left.plan, right.plan];
        self.compute(&mut inputs, &mut condition, &mut Computed::new(), env)?;
        let [l, r] = inputs;
        let (left, right) = (Relation { plan: l, ..left }, Relation { plan: r, ..right });
        join_relations(left, right, join_type, Some(condition))
    }

    /// `LATERAL (SELECT …)`, which names columns of what stands before it.
    pub(super) fn lateral(
        &self,
        left: Relation,
        factor: &TableFactor,
        join: Option<&JoinOperator>,
        env: &Env,
        used: &mut Used,
    ) -> Result<Relation> {
        let TableFactor::Derived { subquery, alias, .. } = factor else { return Err(unsupported("LATERAL")) };
        let (join_type, constraint) =
            join.map(join_kind).transpose()?.unwrap_or((JoinType::Inner, &JoinConstraint::None));
        let outer = match join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            _ => {
                let message = "a LATERAL subquery can be joined by INNER, CROSS and LEFT JOIN only";
                return Err(Error::unsupported("INVALID_LATERAL_JOIN_TYPE", message)
                    .with_span(self.lines.span(sql::Spanned::span(subquery.as_ref())))
                    .with_help("its rows are those of each row on the left"));
            }
        };
        let mut inner = env.clone();
        inner.outer.push((left.scope.clone(), left.plan.schema().clone()));
        let relation = self.query(subquery, &inner)?;
        refuse_stream(&relation.plan)
            .map_err(|e| e.with_span(self.lines.span(sql::Spanned::span(subquery.as_ref()))))?;
        let hidden = self.fresh_alias("subquery");
        let relation = aliased(relation, &hidden, |c| c.qualifier.clone())?;
        let mut right = self.apply_alias(relation, alias.as_ref(), used)?;
        right = match constraint {
            JoinConstraint::None => right,
            JoinConstraint::On(on) => {
                let condition = ExprContext::new(self, &inner, &right, &[]).condition(on, "the join")?;
                self.filtered(right, condition, &inner)?
            }
            _ => return Err(unsupported("USING with LATERAL").with_help("write the condition with ON")),
        };
        // A filter with subqueries has computed columns of its own.
        let right = flatten_to_scope(right)?;
        let node = ApplyNode::try_new(left.plan, right.plan, Question::Rows { outer }, vec![], String::new())?;
        let columns = left.scope.columns.into_iter().chain(right.scope.columns).collect();
        Ok(Relation { plan: node.into_plan(), scope: Scope { columns } })
    }

    /// Each key appears once, in front; the columns of both sides stay in reach of their qualifiers.
    fn join_using(&self, left: Relation, right: Relation, join_type: JoinType, keys: &[Ident]) -> Result<Relation> {
        let side = |r: &Relation, key: &Ident| -> Result<ScopeColumn> {
            match r.scope.find(std::slice::from_ref(key), &self.lines)? {
                Some((c, _)) => Ok(c.clone()),
                None => {
                    let e = r.scope.unresolved(std::slice::from_ref(key), &self.lines);
                    Err(e.with_condition("UNRESOLVED_USING_COLUMN_FOR_JOIN"))
                }
            }
        };
        let mut pairs = vec![];
        for key in keys {
            pairs.push((side(&left, key)?, side(&right, key)?));
        }
        let schema = left.plan.schema().join(right.plan.schema())?;
        let same = |(l, r): &(ScopeColumn, ScopeColumn)| {
            let (l, r) = (Expr::Column(l.column.clone()), Expr::Column(r.column.clone()));
            operators::binary(l, &BinaryOperator::Eq, r, &schema)
        };
        let condition = pairs.iter().map(same).collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::and);
        let mut joined = join_relations(left, right, join_type, condition)?;
        let is_key = |c: &ScopeColumn| pairs.iter().any(|(l, r)| c.column == l.column || c.column == r.column);
        for c in joined.scope.columns.iter_mut().filter(|c| is_key(c)) {
            c.visibility = Visibility::Qualified;
        }
        if join_type == JoinType::Full {
            return self.coalesce_keys(joined, &pairs);
        }
        let kept = pairs
            .into_iter()
            .map(|(l, r)| if join_type == JoinType::Right { ScopeColumn { name: l.name, ..r } } else { l });
        let kept: Vec<_> =
            kept.map(|c| ScopeColumn { qualifier: vec![], visibility: Visibility::Shown, ..c }).collect();
        joined.scope.columns.splice(0..0, kept);
        Ok(joined)
    }

    fn coalesce_keys(&self, joined: Relation, pairs: &[(ScopeColumn, ScopeColumn)]) -> Result<Relation> {
        let qualifier = TableReference::bare(self.fresh_alias("using"));
        let mut exprs: Vec<_> = joined.plan.schema().columns().into_iter().map(Expr::Column).collect();
        let mut columns = vec![];
        for (l, r) in pairs {
            let either = coalesce(vec![Expr::Column(l.column.clone()), Expr::Column(r.column.clone())]);
            exprs.push(either.alias_qualified(Some(qualifier.clone()), &l.name));
            let column = Column::new(Some(qualifier.clone()), &l.name);
            columns.push(ScopeColumn {
                qualifier: vec![],
                name: l.name.clone(),
                column,
                visibility: Visibility::Shown,
            });
        }
        let plan = LogicalPlanBuilder::from(joined.plan).project(exprs)?.build()?;
        columns.extend(joined.scope.columns);
        Ok(Relation { plan, scope: Scope { columns } })
    }
}

/// The plan with the columns of its scope alone.
fn flatten_to_scope(relation: Relation) -> Result<Relation> {
    if relation.plan.schema().fields().len() == relation.scope.columns.len() {
        return Ok(relation);
    }
    let columns = relation.scope.columns.iter().map(|c| Expr::Column(c.column.clone()));
    let plan = LogicalPlanBuilder::from(relation.plan).project(columns)?.build()?;
    Ok(Relation { plan, scope: relation.scope })
}

fn join_kind(op: &JoinOperator) -> Result<(JoinType, &JoinConstraint)> {
    Ok(match op {
        JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => (JoinType::Inner, c),
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinType::Left, c),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinType::Right, c),
        JoinOperator::FullOuter(c) => (JoinType::Full, c),
        JoinOperator::Semi(c) | JoinOperator::LeftSemi(c) => (JoinType::LeftSemi, c),
        JoinOperator::Anti(c) | JoinOperator::LeftAnti(c) => (JoinType::LeftAnti, c),
        _ => return Err(unsupported("this kind of join")),
    })
}

pub fn cross_join(left: Relation, right: Relation) -> Result<Relation> {
    join_relations(left, right, JoinType::Inner, None)
}

fn join_relations(left: Relation, right: Relation, join_type: JoinType, on: Option<Expr>) -> Result<Relation> {
    let mut columns = left.scope.columns;
    if !matches!(join_type, JoinType::LeftSemi | JoinType::LeftAnti) {
        columns.extend(right.scope.columns);
    }
    let builder = LogicalPlanBuilder::from(left.plan);
    let plan = match (on, join_type) {
        (None, JoinType::Inner) => builder.cross_join(right.plan)?,
        (on, _) => builder.join_on(right.plan, join_type, on.or_else(|| Some(lit(true))))?,
    };
    Ok(Relation { plan: plan.build()?, scope: Scope { columns } })
}

/// Both relations side by side, for the names and types of a join's condition.
fn both_sides(left: &Relation, right: &Relation) -> Result<Relation> {
    cross_join(left.clone(), right.clone())
}
