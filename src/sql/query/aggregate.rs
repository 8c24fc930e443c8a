//! GROUP BY: which expressions are keys, and the select list over their result.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs, grouping_set_to_exprlist};
use datafusion::logical_expr::{Expr, ExprSchemable, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArguments, GroupByExpr, GroupByWithModifier};

use super::expr::ExprContext;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope};
use super::select::{Item, Value, ordinal};
use super::set_operation::unsupported;
use super::subquery::{Computed, has_subquery};
use crate::error::{Error, Result};

impl Planner<'_> {
    /// The keys of GROUP BY, where a number or an alias stands for an item of the select list; and those that are listed before
    /// GROUPING SETS and in none of them, which are NULL in every row.
    pub fn group_keys(
        &self,
        group_by: &GroupByExpr,
        items: &[Item],
        relation: &Relation,
        env: &Env,
    ) -> Result<(Vec<Expr>, Vec<Expr>)> {
        let mut absent = vec![];
        let (mut keys, modifiers) = match group_by {
            GroupByExpr::All(modifiers) => (all_keys(items), modifiers),
            GroupByExpr::Expressions(exprs, modifiers) => {
                let aliases = [self.window_keys(group_by, relation, env)?, item_aliases(items)].concat();
                let cx = ExprContext::new(self, env, relation, &aliases);
                let keys = exprs.iter().map(|e| self.group_key(e, items, &cx)).collect::<Result<Vec<_>>>()?;
                (keys, modifiers)
            }
        };
        for modifier in modifiers {
            let set = match modifier {
                GroupByWithModifier::Rollup => GroupingSet::Rollup(std::mem::take(&mut keys)),
                GroupByWithModifier::Cube => GroupingSet::Cube(std::mem::take(&mut keys)),
                GroupByWithModifier::GroupingSets(sql::Expr::GroupingSets(sets)) => {
                    let aliases = item_aliases(items);
                    let cx = ExprContext::new(self, env, relation, &aliases);
                    let set = |set: &Vec<sql::Expr>| set.iter().map(|e| self.group_key(e, items, &cx)).collect();
                    let sets: Vec<Vec<Expr>> = sets.iter().map(set).collect::<Result<_>>()?;
                    absent = std::mem::take(&mut keys);
                    absent.retain(|key| !sets.iter().any(|set| set.contains(key)));
                    GroupingSet::GroupingSets(sets)
                }
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
        Ok((unique, absent))
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
        env: &Env,
    ) -> Result<Relation> {
        let timed = exprs.iter().position(|(e, _)| calls_window_time(e, &keys));
        let mut keys = self.group_by_windows(&relation, keys, exprs)?;
        let calls = find_aggregate_exprs(exprs.iter().map(|(e, _)| &**e));
        if keys.is_empty() && calls.is_empty() && !grouped {
            return Ok(relation);
        }
        if let Some(at) = timed {
            return Err(window_time_is_no_key().with_span(exprs[at].1));
        }
        let relation = self.subqueries_below(relation, &mut keys, exprs, env)?;
        let calls = find_aggregate_exprs(exprs.iter().map(|(e, _)| &**e));
        // HAVING alone makes one group of all rows.
        let calls = if keys.is_empty() && calls.is_empty() { vec![count(lit(1))] } else { calls };
        let no_keys = keys.is_empty();
        let plan = LogicalPlanBuilder::from(relation.plan).aggregate(keys, calls.clone())?.build()?;
        let mut made = calls;
        if let LogicalPlan::Aggregate(a) = &plan {
            made.extend(grouping_set_to_exprlist(&a.group_expr)?.into_iter().cloned());
        }
        check_grouping(&made, &plan)?;
        for (e, span) in exprs.iter_mut() {
            **e = over(std::mem::take(*e), &made)?;
            if let Some(column) = e.column_refs().into_iter().find(|c| plan.schema().maybe_index_of_column(c).is_none())
            {
                return Err(missing_aggregation(&relation.scope, column, no_keys).with_span(*span));
            }
        }
        Ok(Relation { plan, scope: relation.scope })
    }

    /// Computes the subqueries of keys and of the arguments of aggregates, which stand below the aggregate.
    fn subqueries_below(
        &self,
        relation: Relation,
        keys: &mut [Expr],
        exprs: &mut [(&mut Expr, Option<crate::error::Span>)],
        env: &Env,
    ) -> Result<Relation> {
        let (mut inputs, mut computed) = ([relation.plan], Computed::new());
        for key in keys {
            self.compute(&mut inputs, key, &mut computed, env)?;
        }
        for (e, _) in exprs.iter_mut().filter(|(e, _)| has_subquery(e)) {
            let known = computed.clone();
            let replaced = std::mem::take(*e).transform_down(|mut e| {
                if let Some((_, column)) = known.iter().find(|(known, _)| *known == e) {
                    return Ok(Transformed::new(column.clone(), true, TreeNodeRecursion::Jump));
                }
                if !matches!(e, Expr::AggregateFunction(_)) || !has_subquery(&e) {
                    return Ok(Transformed::no(e));
                }
                self.compute(&mut inputs, &mut e, &mut computed, env)?;
                Ok(Transformed::new(e, true, TreeNodeRecursion::Jump))
            });
            **e = replaced?.data;
        }
        let [plan] = inputs;
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

/// Whether a call of `window_time` stands above the aggregate: Spark computes it below, where it is a key or an argument.
fn calls_window_time(e: &Expr, keys: &[Expr]) -> bool {
    if keys.contains(e) || matches!(e, Expr::AggregateFunction(_)) {
        return false;
    }
    let mut found = matches!(e, Expr::ScalarFunction(f) if f.name() == "window_time");
    let _ = e.apply_children(|child| {
        found |= calls_window_time(child, keys);
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn window_time_is_no_key() -> Error {
    Error::invalid("MISSING_AGGREGATION", "window_time(…) is neither a key of GROUP BY nor inside an aggregate function")
        .with_help("add it to GROUP BY, or take it in a query above: SELECT window_time(window), … FROM (SELECT window, … GROUP BY …)")
}

/// `grouping(k)` is about a key of ROLLUP, CUBE or GROUPING SETS.
fn check_grouping(made: &[Expr], plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(()) };
    let sets = aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
    let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
    for e in made {
        let Expr::AggregateFunction(call) = e else { continue };
        if call.func.name() != "grouping" {
            continue;
        }
        if !sets {
            let message = "grouping() needs GROUP BY ROLLUP, CUBE or GROUPING SETS";
            return Err(Error::invalid("UNSUPPORTED_GROUPING_EXPRESSION", message)
                .with_help("write GROUP BY ROLLUP (a, b), or leave grouping() out"));
        }
        if call.params.args.iter().any(|a| !keys.contains(&a)) {
            let message = "the argument of grouping() is no key of ROLLUP, CUBE or GROUPING SETS";
            return Err(Error::invalid("GROUPING_COLUMN_MISMATCH", message).with_help("name a key of GROUP BY"));
        }
    }
    Ok(())
}

/// The expression with NULL for the keys that are in no grouping set.
pub fn without_absent(e: Expr, absent: &[Expr], schema: &DFSchema) -> Result<Expr> {
    if absent.is_empty() {
        return Ok(e);
    }
    let replaced = e.transform_down(|e| {
        if !absent.contains(&e) {
            return Ok(Transformed::no(e));
        }
        let null = ScalarValue::try_from(e.get_type(schema)?)?;
        Ok(Transformed::new(Expr::Literal(null, None), true, TreeNodeRecursion::Jump))
    });
    Ok(replaced?.data)
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
