//! One SELECT: from its relation through WHERE, GROUP BY, HAVING and generators to its named columns and their order.

use std::collections::HashSet;

use datafusion::common::{Column, DFSchema};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr};
use datafusion::sql::sqlparser::ast::{
    self as sql, Distinct, GroupByExpr, Ident, NamedWindowDefinition, NamedWindowExpr, ObjectName, OrderBy,
    OrderByKind, OrderByOptions, Select, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};

use super::aggregate::{item_aliases, without_absent};
use super::expr::{ExprContext, name_parts};
use super::function::sort_expr;
use super::name::output_name;
use super::operators;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, ScopeColumn, eq_names, find_field, named, unique_names};
use super::set_operation::{refuse_maps, refuse_select_clauses, unsupported, with_names};
use super::tokens::WITHIN_WATERMARK;
use crate::error::{Error, Result, Span};
use crate::plan::generators::Generator;

/// An item of the select list, after `*` became columns.
#[derive(Debug, Clone)]
pub struct Item {
    /// The name that users see; of a generator it comes later.
    pub name: String,
    pub value: Value,
    pub span: Option<Span>,
}

/// What an item is.
#[derive(Debug, Clone)]
pub enum Value {
    Expr(Expr),
    /// With the names that the user gave its columns.
    Generator(Generator, Vec<Ident>),
}

/// A key of ORDER BY.
struct SortKey {
    target: Target,
    options: OrderByOptions,
    span: Option<Span>,
}

enum Target {
    /// The column of this name in the output.
    Output(usize),
    /// Something that is not in the select list.
    Expr(Expr),
}

impl Planner<'_> {
    /// A SELECT with the ORDER BY that belongs to it.
    pub fn select(&self, s: &Select, order_by: Option<&OrderBy>, env: &Env) -> Result<Relation> {
        refuse_select_clauses(s)?;
        let mut relation = self.from(&s.from, env)?;
        let env = &self.select_env(s, env)?;
        for view in &s.lateral_views {
            relation = self.lateral_view(relation, view, env)?;
        }
        if let Some(condition) = &s.selection {
            relation = self.filter(relation, condition, env)?;
        }
        let windows = self.window_keys(&s.group_by, &relation, env)?;
        let everything = [SelectItem::Wildcard(WildcardAdditionalOptions::default())];
        let projection = if s.projection.is_empty() { &everything[..] } else { &s.projection };
        let mut items = self.select_list(projection, &relation, env, &windows)?;
        let aliases = [windows.clone(), item_aliases(&items)].concat();
        let mut keys = self.sort_keys(order_by, &items, &ExprContext::new(self, env, &relation, &aliases))?;
        let (groups, absent) = self.group_keys(&s.group_by, &items, &relation, env)?;
        let mut having = s
            .having
            .as_ref()
            .map(|h| ExprContext::new(self, env, &relation, &aliases).condition(h, "HAVING"))
            .transpose()?;
        let condition = |q| ExprContext::new(self, env, &relation, &aliases).condition(q, "QUALIFY");
        let mut qualify = s.qualify.as_ref().map(condition).transpose()?;
        if let Some(condition) = &qualify {
            let exprs = items.iter().filter_map(|i| match &i.value {
                Value::Expr(e) => Some(e),
                Value::Generator(..) => None,
            });
            if find_window_exprs(exprs.chain([condition])).is_empty() {
                let message = "QUALIFY needs a window function, in it or in the select list";
                return Err(Error::invalid("QUALIFY_REQUIRES_WINDOW_FUNCTION", message)
                    .with_span(s.qualify.as_ref().and_then(|e| self.lines.closed_span(sql::Spanned::span(e))))
                    .with_help("conditions on the rows themselves stand in WHERE"));
            }
        }
        relation = self.deduplicate(relation, s, &groups, env)?;
        let span = |e: Option<&sql::Expr>| e.and_then(|e| self.lines.closed_span(sql::Spanned::span(e)));
        let (having_span, qualify_span) = (span(s.having.as_ref()), span(s.qualify.as_ref()));

        let grouped = having.is_some() || matches!(s.group_by, GroupByExpr::All(_));
        let mut exprs = all_exprs(&mut items, &mut keys);
        exprs.extend(having.iter_mut().map(|h| (h, having_span)));
        exprs.extend(qualify.iter_mut().map(|q| (q, qualify_span)));
        for (e, _) in &mut exprs {
            **e = without_absent(std::mem::take(*e), &absent, relation.plan.schema())?;
        }
        relation = self.aggregate(relation, groups, grouped, &mut exprs, env)?;
        if let Some(condition) = having {
            relation = self.filtered(relation, condition, env)?;
        }
        let mut exprs = all_exprs(&mut items, &mut keys);
        exprs.extend(qualify.iter_mut().map(|q| (q, None)));
        relation = self.with_subqueries(relation, exprs.iter_mut().map(|(e, _)| &mut **e), env)?;
        relation = self.windows(relation, &mut exprs)?;
        if let Some(condition) = qualify {
            relation.plan = LogicalPlanBuilder::from(relation.plan).filter(condition)?.build()?;
        }
        let count = items.len();
        let generator = items.iter().position(|i| matches!(i.value, Value::Generator(..)));
        let mut others: Vec<&mut Expr> = keys.iter_mut().filter_map(|k| k.expr_mut()).collect();
        relation = self.generate(relation, &mut items, &mut others)?;
        if let Some(at) = generator {
            shift(&mut keys, at, items.len() - count);
        }
        self.project_and_sort(relation, items, keys, is_distinct(s))
    }

    /// What surrounds the expressions of this SELECT.
    fn select_env(&self, s: &Select, env: &Env) -> Result<Env> {
        let mut env = Env { windows: vec![], grouping: grouping_keys(&s.group_by), ..env.clone() };
        for NamedWindowDefinition(name, window) in &s.named_window {
            let spec = match window {
                NamedWindowExpr::WindowSpec(spec) => Some(spec.clone()),
                NamedWindowExpr::NamedWindow(other) => env.window(other).cloned(),
            };
            let Some(spec) = spec else {
                let message = format!("window '{}' names a window that is not defined before it", name.value);
                return Err(Error::invalid("MISSING_WINDOW_SPECIFICATION", message)
                    .with_span(self.lines.span(name.span))
                    .with_help("define it first: WINDOW a AS (…), b AS a"));
            };
            env.windows.push((name.value.clone(), spec));
        }
        Ok(env)
    }

    fn filter(&self, relation: Relation, condition: &sql::Expr, env: &Env) -> Result<Relation> {
        let cx = ExprContext::new(self, env, &relation, &[]);
        let span = cx.span(condition);
        let condition = cx.condition(condition, "WHERE")?;
        if !find_window_exprs([&condition]).is_empty() {
            let message = "WHERE cannot contain a window function";
            return Err(Error::invalid("WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE", message)
                .with_help("use QUALIFY, or compute it in a subquery")
                .with_span(span));
        }
        if !find_aggregate_exprs([&condition]).is_empty() {
            let message = "WHERE cannot contain an aggregate function";
            return Err(Error::invalid("INVALID_WHERE_CONDITION", message).with_help("use HAVING").with_span(span));
        }
        self.filtered(relation, condition, env).map_err(|e| e.with_span(span))
    }

    /// The items, each of which may use the aliases of those before it.
    fn select_list(
        &self,
        list: &[SelectItem],
        relation: &Relation,
        env: &Env,
        windows: &[(String, Expr)],
    ) -> Result<Vec<Item>> {
        let mut items = vec![];
        let mut aliases = windows.to_vec();
        for item in list {
            match item {
                SelectItem::Wildcard(options) => items.extend(self.wildcard(relation, None, options)?),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    items.extend(self.wildcard(relation, Some(name), options)?);
                }
                SelectItem::QualifiedWildcard(..) => return Err(unsupported(&format!("'{item}' in the select list"))),
                SelectItem::UnnamedExpr(e) => items.push(self.item(e, &[], relation, env, &aliases)?),
                SelectItem::ExprWithAlias { expr, alias } => {
                    let item = self.item(expr, std::slice::from_ref(alias), relation, env, &aliases)?;
                    if let Value::Expr(e) = &item.value {
                        aliases.push((alias.value.clone(), e.clone()));
                    }
                    items.push(item);
                }
                SelectItem::ExprWithAliases { expr, aliases: names } => {
                    items.push(self.item(expr, names, relation, env, &aliases)?)
                }
            }
        }
        Ok(items)
    }

    fn item(
        &self,
        e: &sql::Expr,
        names: &[Ident],
        relation: &Relation,
        env: &Env,
        aliases: &[(String, Expr)],
    ) -> Result<Item> {
        let cx = ExprContext::new(self, env, relation, aliases);
        let span = cx.span(e);
        if let Some(generator) = cx.generator(e)? {
            return Ok(Item { name: String::new(), value: Value::Generator(generator, names.to_vec()), span });
        }
        let expr = cx.checked(e)?;
        let name = match names {
            [name] => name.value.clone(),
            [] => output_name(e, &relation.scope),
            _ => {
                let message = "several names are possible for a generator only";
                return Err(Error::invalid("MULTI_ALIAS_WITHOUT_GENERATOR", message)
                    .with_span(span)
                    .with_help("give one name: AS name"));
            }
        };
        Ok(Item { name, value: Value::Expr(expr), span })
    }

    /// `*`, `t.*` or, of a struct, `s.*`, without the columns of EXCEPT.
    fn wildcard(
        &self,
        relation: &Relation,
        of: Option<&ObjectName>,
        options: &WildcardAdditionalOptions,
    ) -> Result<Vec<Item>> {
        if options.opt_ilike.is_some()
            || options.opt_replace.is_some()
            || options.opt_rename.is_some()
            || options.opt_exclude.is_some()
        {
            return Err(unsupported("ILIKE, EXCLUDE, REPLACE and RENAME after '*'"));
        }
        let parts = of.map(name_parts).transpose()?.unwrap_or_default();
        let mut items = self.star_items(&relation.scope, relation.plan.schema(), &parts)?;
        if let Some(except) = &options.opt_except {
            let except = std::iter::once(&except.first_element).chain(&except.additional_elements);
            self.leave_out(&mut items, except, &relation.scope)?;
        }
        if items.is_empty() && of.is_none() && relation.scope.columns.is_empty() {
            return Err(Error::invalid("INVALID_USAGE_OF_STAR_OR_REGEX", "'*' needs a FROM clause")
                .with_help("write SELECT * FROM t"));
        }
        Ok(items)
    }

    /// All columns, those of a relation, or the fields of a struct.
    pub fn star_items(&self, scope: &Scope, schema: &DFSchema, of: &[Ident]) -> Result<Vec<Item>> {
        let item = |c: &ScopeColumn| Item {
            name: c.name.clone(),
            value: Value::Expr(Expr::Column(c.column.clone())),
            span: None,
        };
        if of.is_empty() {
            return Ok(scope.visible().map(item).collect());
        }
        let columns: Vec<_> = scope.of_relation(of).map(item).collect();
        match columns.is_empty() {
            true => self.struct_star(scope, schema, of).map_err(|e| e.with_condition("CANNOT_RESOLVE_STAR_EXPAND")),
            false => Ok(columns),
        }
    }

    /// Takes the columns of EXCEPT away.
    pub fn leave_out<'e>(
        &self,
        items: &mut Vec<Item>,
        except: impl IntoIterator<Item = &'e Ident>,
        scope: &Scope,
    ) -> Result<()> {
        for name in except {
            let before = items.len();
            items.retain(|i| !eq_names(&i.name, &name.value));
            if items.len() == before {
                return Err(scope.unresolved(std::slice::from_ref(name), &self.lines));
            }
        }
        Ok(())
    }

    fn struct_star(&self, scope: &Scope, schema: &DFSchema, parts: &[Ident]) -> Result<Vec<Item>> {
        let unresolved = || scope.unresolved(parts, &self.lines);
        let Some((column, _)) = scope.find(parts, &self.lines)? else { return Err(unresolved()) };
        let path = scope.find(parts, &self.lines)?.map_or(0, |(_, used)| used);
        let mut base = Expr::Column(column.column.clone());
        for part in &parts[path..] {
            let arrow::datatypes::DataType::Struct(fields) = base.get_type(schema)? else { return Err(unresolved()) };
            let field = find_field(fields.iter().map(|f| f.as_ref()), &part.value).ok_or_else(unresolved)?;
            base = get_field(base, field.name().clone());
        }
        match base.get_type(schema)? {
            arrow::datatypes::DataType::Struct(fields) => Ok(fields
                .iter()
                .map(|f| Item {
                    name: f.name().clone(),
                    value: Value::Expr(get_field(base.clone(), f.name().clone())),
                    span: None,
                })
                .collect()),
            _ => Err(unresolved()),
        }
    }

    /// `DISTINCT ON (…)`: below the select list, over the columns of the relation.
    fn deduplicate(&self, relation: Relation, s: &Select, groups: &[Expr], env: &Env) -> Result<Relation> {
        let Some(Distinct::On(exprs)) = &s.distinct else { return Ok(relation) };
        if !groups.is_empty() {
            return Err(unsupported("DISTINCT ON together with GROUP BY").with_help("aggregate in a subquery"));
        }
        let is_marker = |e: &sql::Expr| matches!(e, sql::Expr::Identifier(i) if i.value == WITHIN_WATERMARK);
        let within_watermark = exprs.first().is_some_and(is_marker);
        let cx = ExprContext::new(self, env, &relation, &[]);
        let mut keys = vec![];
        for e in exprs.iter().filter(|e| !is_marker(e)) {
            let key = cx.checked(e)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            keys = relation.scope.visible().map(|c| Expr::Column(c.column.clone())).collect();
        }
        let plan = crate::plan::dedup::deduplicated(relation.plan, keys, within_watermark)?;
        Ok(Relation { plan, scope: relation.scope })
    }

    fn sort_keys(&self, order_by: Option<&OrderBy>, items: &[Item], cx: &ExprContext) -> Result<Vec<SortKey>> {
        let keys = match order_by.map(|o| &o.kind) {
            None => return Ok(vec![]),
            Some(OrderByKind::All(options)) => {
                let key = |i| SortKey { target: Target::Output(i), options: *options, span: None };
                return Ok((0..items.len()).map(key).collect());
            }
            Some(OrderByKind::Expressions(keys)) => keys,
        };
        let key = |k: &sql::OrderByExpr| {
            let target = self.sort_target(&k.expr, items, cx)?;
            let expr = match &target {
                Target::Expr(e) => Some(e),
                Target::Output(i) => match &items[*i].value {
                    Value::Expr(e) => Some(e),
                    Value::Generator(..) => None,
                },
            };
            if let Some(e) = expr {
                operators::check_order("ORDER BY", e, cx.schema).map_err(|e| e.with_span(cx.span(&k.expr)))?;
            }
            Ok(SortKey { target, options: k.options, span: cx.span(&k.expr) })
        };
        keys.iter().map(key).collect()
    }

    /// A number, the name of an item, an expression that is an item too, or anything else.
    fn sort_target(&self, e: &sql::Expr, items: &[Item], cx: &ExprContext) -> Result<Target> {
        if let Some(i) = ordinal(e, items.len(), "ORDER BY", self)? {
            return Ok(Target::Output(i));
        }
        if let sql::Expr::Identifier(name) = e
            && let Some(i) = items.iter().position(|i| match &i.value {
                Value::Expr(_) => eq_names(&i.name, &name.value),
                Value::Generator(_, names) => matches!(names.as_slice(), [one] if eq_names(&one.value, &name.value)),
            })
        {
            return Ok(Target::Output(i));
        }
        let expr = cx.checked(e)?;
        let same = items.iter().position(|i| matches!(&i.value, Value::Expr(x) if *x == expr));
        Ok(same.map_or(Target::Expr(expr), Target::Output))
    }

    /// The output columns under unique names; those that only ORDER BY needs are taken off again.
    fn project_and_sort(
        &self,
        relation: Relation,
        items: Vec<Item>,
        keys: Vec<SortKey>,
        distinct: bool,
    ) -> Result<Relation> {
        let names: Vec<String> = items.iter().map(|i| i.name.clone()).collect();
        let unique = unique_names(&names);
        let mut exprs: Vec<Expr> =
            items.into_iter().zip(&unique).filter_map(|(i, name)| i.into_expr().map(|e| named(e, name))).collect();
        let output = |e: &Expr, name: &String| match e {
            Expr::Column(c) => c.clone(),
            _ => Column::new_unqualified(name),
        };
        let outputs: Vec<Column> = exprs.iter().zip(&unique).map(|(e, name)| output(e, name)).collect();
        let mut sort: Vec<SortExpr> = vec![];
        for key in keys {
            let column = match key.target {
                Target::Output(i) => outputs[i].clone(),
                Target::Expr(_) if distinct => {
                    let message = "with SELECT DISTINCT, ORDER BY can use columns of the select list only";
                    return Err(Error::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
                        .with_span(key.span)
                        .with_help("add it to the select list, or leave DISTINCT out"));
                }
                Target::Expr(e) => {
                    let name = self.fresh_alias("sort");
                    exprs.push(e.alias(&name));
                    Column::new_unqualified(name)
                }
            };
            sort.push(sort_expr(Expr::Column(column), &key.options));
        }
        let hidden = exprs.len() > unique.len();
        let mut builder = LogicalPlanBuilder::from(relation.plan).project(exprs)?;
        if distinct {
            refuse_maps(builder.schema(), "SELECT DISTINCT")?;
            builder = builder.distinct()?;
        }
        if !sort.is_empty() {
            builder = builder.sort(sort)?;
        }
        if hidden {
            builder = builder.project(outputs.into_iter().map(Expr::Column))?;
        }
        Ok(with_names(check_names(builder.build()?)?, names))
    }
}

/// The plan, whose columns must be distinct since everything above relies on it.
fn check_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let distinct: HashSet<_> = columns.iter().map(|c| &c.name).collect();
    if distinct.len() == columns.len() { Ok(plan) } else { Err(Error::internal("two columns of a plan have one name")) }
}

impl Item {
    fn into_expr(self) -> Option<Expr> {
        match self.value {
            Value::Expr(e) => Some(e),
            Value::Generator(..) => None,
        }
    }
}

impl SortKey {
    fn expr_mut(&mut self) -> Option<&mut Expr> {
        match &mut self.target {
            Target::Expr(e) => Some(e),
            Target::Output(_) => None,
        }
    }
}

/// Every expression of the query above its relation, with its place.
fn all_exprs<'e>(items: &'e mut [Item], keys: &'e mut [SortKey]) -> Vec<(&'e mut Expr, Option<Span>)> {
    let mut exprs = vec![];
    for item in items {
        let span = item.span;
        match &mut item.value {
            Value::Expr(e) => exprs.push((e, span)),
            Value::Generator(g, _) => exprs.extend(g.args.iter_mut().map(|e| (e, span))),
        }
    }
    for key in keys {
        let span = key.span;
        exprs.extend(key.expr_mut().map(|e| (e, span)));
    }
    exprs
}

/// The expressions inside ROLLUP, CUBE and GROUPING SETS, each once.
fn grouping_keys(group_by: &GroupByExpr) -> Vec<sql::Expr> {
    let GroupByExpr::Expressions(exprs, modifiers) = group_by else { return vec![] };
    let mut keys: Vec<sql::Expr> = vec![];
    let mut add = |e: &sql::Expr| {
        if !keys.contains(e) {
            keys.push(e.clone());
        }
    };
    for e in exprs {
        match e {
            sql::Expr::Rollup(sets) | sql::Expr::Cube(sets) | sql::Expr::GroupingSets(sets) => {
                sets.iter().flatten().for_each(&mut add);
            }
            e if !modifiers.is_empty() => add(e),
            _ => {}
        }
    }
    keys
}

/// Moves the outputs behind the item at `at`, which became `more` columns more.
fn shift(keys: &mut [SortKey], at: usize, more: usize) {
    for key in keys {
        if let Target::Output(i) = &mut key.target
            && *i > at
        {
            *i += more;
        }
    }
}

fn is_distinct(s: &Select) -> bool {
    matches!(s.distinct, Some(Distinct::Distinct))
}

/// The item that a number in GROUP BY or ORDER BY means, from 0.
pub fn ordinal(e: &sql::Expr, count: usize, clause: &str, planner: &Planner) -> Result<Option<usize>> {
    use datafusion::sql::sqlparser::ast::Spanned;
    let sql::Expr::Value(v) = e else { return Ok(None) };
    let sql::Value::Number(n, _) = &v.value else { return Ok(None) };
    let Ok(number) = n.parse::<usize>() else { return Ok(None) };
    match number.checked_sub(1).filter(|i| *i < count) {
        Some(i) => Ok(Some(i)),
        None => {
            let condition =
                if clause == "GROUP BY" { "GROUP_BY_POS_OUT_OF_RANGE" } else { "ORDER_BY_POS_OUT_OF_RANGE" };
            let items = if count == 1 { "1 item".to_owned() } else { format!("{count} items") };
            let message = format!("{clause} position {number} is not in the select list, which has {items}");
            let help = format!("positions are 1 to {count}; or write the column's name");
            Err(Error::invalid(condition, message).with_span(planner.lines.span(e.span())).with_help(help))
        }
    }
}
