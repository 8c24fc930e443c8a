//! GROUP BY: which expressions are keys, and the select list over their result.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs, grouping_set_to_exprlist};
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArguments, GroupByExpr, GroupByWithModifier};

use super::expr::ExprContext;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope};
use super::select::{Item, Value, ordinal};
use super::set_operation::unsupported;
use crate::error::{Error, Result};

impl Planner<'_> {
    /// The keys of GROUP BY, where a number or an alias stands for an item of the select list.
    pub fn group_keys(
        &self,
        group_by: &GroupByExpr,
        items: &[Item],
        relation: &Relation,
        env: &Env,
    ) -> Result<Vec<Expr>> {
        let (mut keys, modifiers) = match group_by {
            GroupByExpr::All(modifiers) => (all_keys(items), modifiers),
            GroupByExpr::Expressions(exprs, modifiers) => {
                let aliases = item_aliases(items);
                let cx = ExprContext::new(self, env, relation, &aliases);
                let keys = exprs.iter().map(|e| self.group_key(e, items, &cx)).collect::<Result<Vec<_>>>()?;
                (keys, modifiers)
            }
        };
        for modifier in modifiers {
            let set = match modifier {
                GroupByWithModifier::Rollup => GroupingSet::Rollup(std::mem::take(&mut keys)),
                GroupByWithModifier::Cube => GroupingSet::Cube(std::mem::take(&mut keys)),
                other => return Err(unsupported(&format!("GROUP BY … {other}"))),
            };
            keys = vec![Expr::GroupingSet(set)];
        }
        let mut unique: Vec<Expr> = vec![];
        for key in keys {
            if !unique.contains(&key) {
                unique.push(key);
            }
        }
        Ok(unique)
    }

    fn group_key(&self, e: &sql::Expr, items: &[Item], cx: &ExprContext) -> Result<Expr> {
        let key = match ordinal(e, items.len(), "GROUP BY", self)? {
            Some(i) => match &items[i].value {
                Value::Expr(expr) => expr.clone(),
                Value::Generator(..) => {
                    return Err(Error::unsupported(
                        "UNSUPPORTED_GENERATOR.OUTSIDE_SELECT",
                        "a generator cannot be a key of GROUP BY",
                    )
                    .with_help("use LATERAL VIEW, or a subquery")
                    .with_span(cx.span(e)));
                }
            },
            None => cx.expr(e)?,
        };
        if !find_aggregate_exprs([&key]).is_empty() {
            let message = "a key of GROUP BY cannot contain an aggregate function";
            return Err(Error::invalid("GROUP_BY_AGGREGATE", message)
                .with_span(cx.span(e))
                .with_help("aggregate in a subquery, and group by its column"));
        }
        Ok(key)
    }

    /// The keys `window(…)` and `session_window(…)` under their names, which the select list may use.
    pub fn window_keys(&self, group_by: &GroupByExpr, relation: &Relation, env: &Env) -> Result<Vec<(String, Expr)>> {
        let GroupByExpr::Expressions(exprs, _) = group_by else { return Ok(vec![]) };
        let cx = ExprContext::new(self, env, relation, &[]);
        let name = |e: &sql::Expr| match e {
            sql::Expr::Function(f) if matches!(f.args, FunctionArguments::List(_)) => {
                let name = f.name.0.last()?.as_ident()?.value.to_lowercase();
                ["window", "session_window"].contains(&name.as_str()).then_some(name)
            }
            _ => None,
        };
        let mut windows: Vec<(String, Expr)> = vec![];
        for e in exprs.iter().flat_map(grouping_members) {
            let Some(name) = name(e) else { continue };
            let window = (name, cx.expr(e)?);
            if !windows.contains(&window) {
                windows.push(window);
            }
        }
        Ok(windows)
    }

    /// Aggregates the relation if the query does, and brings `exprs`, with their places, to its result.
    pub fn aggregate(
        &self,
        relation: Relation,
        keys: Vec<Expr>,
        grouped: bool,
        exprs: &mut [(&mut Expr, Option<crate::error::Span>)],
    ) -> Result<Relation> {
        let keys = self.group_by_windows(&relation, keys, exprs)?;
        let calls = find_aggregate_exprs(exprs.iter().map(|(e, _)| &**e));
        if keys.is_empty() && calls.is_empty() && !grouped {
            return Ok(relation);
        }
        // HAVING alone makes one group of all rows.
        let calls = if keys.is_empty() && calls.is_empty() { vec![count(lit(1))] } else { calls };
        let no_keys = keys.is_empty();
        let plan = LogicalPlanBuilder::from(relation.plan).aggregate(keys, calls.clone())?.build()?;
        let mut made = calls;
        if let LogicalPlan::Aggregate(a) = &plan {
            made.extend(grouping_set_to_exprlist(&a.group_expr)?.into_iter().cloned());
        }
        for (e, span) in exprs.iter_mut() {
            **e = over(std::mem::take(*e), &made)?;
            if let Some(column) = e.column_refs().into_iter().find(|c| plan.schema().maybe_index_of_column(c).is_none())
            {
                return Err(missing_aggregation(&relation.scope, column, no_keys).with_span(*span));
            }
        }
        Ok(Relation { plan, scope: relation.scope })
    }

    /// Computes the functions with OVER, if there are any.
    pub fn windows(
        &self,
        relation: Relation,
        exprs: &mut [(&mut Expr, Option<crate::error::Span>)],
    ) -> Result<Relation> {
        let calls = find_window_exprs(exprs.iter().map(|(e, _)| &**e));
        if calls.is_empty() {
            return Ok(relation);
        }
        let plan = LogicalPlanBuilder::window_plan(relation.plan, calls.clone())?;
        for (e, _) in exprs.iter_mut() {
            **e = over(std::mem::take(*e), &calls)?;
        }
        Ok(Relation { plan, scope: relation.scope })
    }
}

/// The error of a column that has many values for one row of the result.
fn missing_aggregation(scope: &Scope, column: &Column, no_keys: bool) -> Error {
    // Plans have names that nobody has typed.
    let typed = scope.columns.iter().find(|c| c.column == *column);
    let name = typed.map_or(column.name.as_str(), |c| c.name.as_str());
    let (condition, message, key) = if no_keys {
        let message = format!("column '{name}' stands beside an aggregate, and there is no GROUP BY");
        ("MISSING_GROUP_BY", message, "GROUP BY it")
    } else {
        let message = format!("column '{name}' is neither a key of GROUP BY nor inside an aggregate function");
        ("MISSING_AGGREGATION", message, "add it to GROUP BY")
    };
    Error::invalid(condition, message).with_help(format!("{key}, or use any_value({name})"))
}

/// The explicit aliases and names of items, for clauses that may use them.
pub fn item_aliases(items: &[Item]) -> Vec<(String, Expr)> {
    let alias = |i: &Item| match &i.value {
        Value::Expr(e) => Some((i.name.clone(), e.clone())),
        Value::Generator(..) => None,
    };
    items.iter().filter_map(alias).collect()
}

/// GROUP BY ALL: the items without an aggregate.
fn all_keys(items: &[Item]) -> Vec<Expr> {
    let exprs = items.iter().filter_map(|i| match &i.value {
        Value::Expr(e) => Some(e),
        Value::Generator(..) => None,
    });
    exprs.filter(|e| find_aggregate_exprs([*e]).is_empty()).cloned().collect()
}

/// `expr` with what the plan below has made replaced by its columns.
fn over(expr: Expr, made: &[Expr]) -> Result<Expr> {
    let replaced = expr.transform_down(|e| {
        if !made.contains(&e) {
            return Ok(Transformed::no(e));
        }
        let column = match e {
            Expr::Column(c) => c,
            e => Column::new_unqualified(e.schema_name().to_string()),
        };
        Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump))
    })?;
    Ok(replaced.data)
}

/// The keys inside ROLLUP, CUBE and GROUPING SETS, or the key itself.
fn grouping_members(e: &sql::Expr) -> Vec<&sql::Expr> {
    match e {
        sql::Expr::Rollup(sets) | sql::Expr::Cube(sets) | sql::Expr::GroupingSets(sets) => {
            sets.iter().flatten().collect()
        }
        e => vec![e],
    }
}
