//! The FROM clause: tables, subqueries and what stands between them.

use datafusion::catalog::TableFunctionArgs;
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinConstraint, JoinOperator,
    LateralView, ObjectName, TableAlias, TableFactor, TableFunctionArgs as Arguments, TableWithJoins,
};

use super::expr::{ExprContext, name_parts};
use super::joins::cross_join;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, ScopeColumn, Visibility, eq_names, named, unique_names};
use super::set_operation::{unsupported, with_names};
use super::watermark::watermark_clause;
use crate::error::{Error, Result};
use crate::options::did_you_mean;
use crate::plan::hidden_columns::{holds_by_partition, with_hidden};
use crate::plan::recursion;

/// The qualifiers that the plan of one FROM clause uses already.
pub type Used = Vec<String>;

impl Planner<'_> {
    /// All relations of a FROM clause; one empty row if there is none.
    pub fn from(&self, tables: &[TableWithJoins], env: &Env) -> Result<Relation> {
        let mut used: Used = env.outer.iter().flat_map(|(_, schema)| qualifiers(schema)).collect();
        let mut relations = tables.iter();
        let Some(first) = relations.next() else {
            return Ok(Relation { plan: LogicalPlanBuilder::empty(true).build()?, scope: Scope::default() });
        };
        let first = self.joins(first, env, &mut used)?;
        relations.try_fold(first, |left, next| match lateral_call(&next.relation) {
            Some(view) if next.joins.is_empty() => self.lateral_view(left, &view, env),
            None if matches!(next.relation, TableFactor::Derived { lateral: true, .. }) => {
                let first = self.lateral(left, &next.relation, None, env, &mut used)?;
                self.further_joins(first, &next.joins, env, &mut used)
            }
            _ => cross_join(left, self.joins(next, env, &mut used)?),
        })
    }

    pub(super) fn joins(&self, t: &TableWithJoins, env: &Env, used: &mut Used) -> Result<Relation> {
        let first = self.factor(&t.relation, env, used)?;
        self.further_joins(first, &t.joins, env, used)
    }

    fn further_joins(&self, first: Relation, joins: &[Join], env: &Env, used: &mut Used) -> Result<Relation> {
        joins.iter().try_fold(first, |left, join| {
            if matches!(join.relation, TableFactor::Derived { lateral: true, .. }) {
                return self.lateral(left, &join.relation, Some(&join.join_operator), env, used);
            }
            if let (Some(mut view), JoinOperator::CrossJoin(_) | JoinOperator::Join(JoinConstraint::None)) =
                (lateral_call(&join.relation), &join.join_operator)
            {
                view.outer = false;
                return self.lateral_view(left, &view, env);
            }
            let right = self.factor(&join.relation, env, used)?;
            self.join(left, right, join, env)
        })
    }

    pub(super) fn factor(&self, factor: &TableFactor, env: &Env, used: &mut Used) -> Result<Relation> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                Err(Error::unsupported(
                    "UNSUPPORTED_STREAMING_OPERATION",
                    "sampling is not supported on streaming DataFrames/Datasets, and TABLESAMPLE not at all",
                )
                .with_help("take the rows of some keys, with a condition such as pmod(hash(k), 10) = 0"))
            }
            TableFactor::Table { name, alias, args, with_hints, version, partitions, json_path, .. } => {
                if !with_hints.is_empty() || version.is_some() || !partitions.is_empty() || json_path.is_some() {
                    return Err(unsupported(&format!("'{factor}' as a relation")));
                }
                match args {
                    Some(args) => self.table_function(name, args, alias.as_ref(), env, used),
                    None => self.table_or_cte(name, alias.as_ref(), env, used),
                }
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let relation = match watermark_clause(subquery) {
                    Some(clause) => self.watermark(&clause, env, used)?,
                    None => {
                        let relation = self.query(subquery, env)?;
                        let hidden = self.fresh_alias("subquery");
                        aliased(relation, &hidden, |c| c.qualifier.clone())?
                    }
                };
                self.apply_alias(relation, alias.as_ref(), used)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let relation = self.joins(table_with_joins, env, used)?;
                self.apply_alias(relation, alias.as_ref(), used)
            }
            TableFactor::Pivot { table, alias, .. } => {
                let relation = self.factor(table, env, used)?;
                let span = super::pivot::place(self, factor);
                let pivoted = self.pivot(relation, factor, env).map_err(|e| e.with_span(span))?;
                self.named_relation(pivoted, alias.as_ref(), used)
            }
            TableFactor::Unpivot { table, alias, .. } => {
                let relation = self.factor(table, env, used)?;
                let span = super::pivot::place(self, factor);
                let unpivoted = self.unpivot(relation, factor, env).map_err(|e| e.with_span(span))?;
                self.named_relation(unpivoted, alias.as_ref(), used)
            }
            TableFactor::MatchRecognize { .. } => Err(unsupported("MATCH_RECOGNIZE")),
            other => Err(unsupported(&format!("'{other}' as a relation"))),
        }
    }

    fn table_or_cte(
        &self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        env: &Env,
        used: &mut Used,
    ) -> Result<Relation> {
        let parts = name_parts(name)?;
        if let [one] = parts.as_slice()
            && let Some((cte, relation)) = env.ctes.iter().rev().find(|(n, _)| eq_names(n, &one.value))
        {
            let qualifier = self.unused(cte, used);
            let relation = Relation { plan: recursion::fresh(relation.plan.clone())?, ..relation.clone() };
            let relation = aliased(relation, &qualifier, |_| vec![cte.clone()])?;
            return self.apply_alias(relation, alias, used);
        }
        let table = self.table(&parts)?;
        let is_wanted = self.names_hidden || holds_by_partition(&table.source);
        let with_hidden = if is_wanted { with_hidden(&table.source) } else { None };
        let name = table.reference.table();
        let reference = if used.iter().any(|u| u == name) {
            TableReference::bare(self.fresh_alias(name))
        } else {
            table.reference.clone()
        };
        used.push(name.to_owned());
        let source = with_hidden.as_ref().unwrap_or(&table.source).clone();
        let plan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
        // A view may have a recursive query inside.
        let plan = recursion::fresh(plan)?;
        let qualifier: Vec<String> = table.reference.to_vec();
        let relation = with_qualifier(plan, &qualifier);
        match with_hidden {
            None => self.apply_alias(relation, alias, used),
            Some(_) => self.hide(relation, table.source.schema().fields().len(), alias, used),
        }
    }

    /// `relation AS alias(columns)` for one whose columns from number `shown` on are hidden.
    fn hide(&self, relation: Relation, shown: usize, alias: Option<&TableAlias>, used: &mut Used) -> Result<Relation> {
        let mut relation = match alias {
            Some(alias) => {
                let qualifier = self.unused(&alias.name.value, used);
                aliased(relation, &qualifier, |_| vec![alias.name.value.clone()])?
            }
            None => relation,
        };
        let mut hidden = relation.scope.columns.split_off(shown);
        if let Some(alias) = alias {
            self.rename(&mut relation.scope, alias)?;
        }
        hidden.iter_mut().for_each(|column| column.visibility = Visibility::Named);
        relation.scope.columns.extend(hidden);
        Ok(relation)
    }

    fn table_function(
        &self,
        name: &ObjectName,
        args: &Arguments,
        alias: Option<&TableAlias>,
        env: &Env,
        used: &mut Used,
    ) -> Result<Relation> {
        let parts = name_parts(name)?;
        let mut function = parts[parts.len() - 1].value.to_lowercase();
        if is_unnest(name) {
            function = "explode".to_owned();
        }
        let span = self.lines.span(parts[parts.len() - 1].span);
        if let Some(windows) = self.windowing(&function, &args.args, (env, span))? {
            let qualifier = self.unused(&function, used);
            return self.apply_alias(aliased(flatten(windows)?, &qualifier, |c| c.qualifier.clone())?, alias, used);
        }
        let nothing = Relation { plan: LogicalPlanBuilder::empty(true).build()?, scope: Scope::default() };
        let cx = ExprContext::new(self, env, &nothing, &[]);
        let args = args.args.iter().map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => cx.checked(e),
            other => Err(unsupported(&format!("the argument '{other}' of '{function}'"))),
        });
        let args = args.collect::<Result<Vec<_>>>()?;
        if let Some(generated) = self.generator_relation(&function, &args, &nothing)? {
            let qualifier = self.unused(&function, used);
            return self.apply_alias(aliased(generated, &qualifier, |_| vec![function.clone()])?, alias, used);
        }
        let Some(found) = self.state.table_functions().get(&function) else {
            let message = format!("table function '{function}' does not exist");
            let names =
                self.state.table_functions().keys().map(String::as_str).chain(["explode", "tumble", "hop", "session"]);
            let help = match did_you_mean(&function, names) {
                Some(near) => format!("did you mean '{near}'?"),
                None => {
                    "functions in FROM are range(…), generators such as explode(…), TUMBLE, HOP and SESSION".to_owned()
                }
            };
            return Err(Error::invalid("UNRESOLVABLE_TABLE_VALUED_FUNCTION", message).with_span(span).with_help(help));
        };
        let args = if function == "range" { range_arguments(args).map_err(|e| e.with_span(span))? } else { args };
        let args: Vec<_> = args.into_iter().map(widened).collect();
        let call = TableFunctionArgs::new(&args, &self.state);
        let provider = found.create_table_provider_with_args(call).map_err(|e| Error::from(e).with_span(span))?;
        let source = datafusion::datasource::provider_as_source(provider);
        let reference = TableReference::bare(self.unused(&function, used));
        let plan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
        let mut relation = with_qualifier(plan, std::slice::from_ref(&function));
        if function == "range" {
            relation.scope.columns.iter_mut().for_each(|c| c.name = "id".to_owned());
        }
        self.apply_alias(relation, alias, used)
    }

    /// A relation that was made here, under its alias or none.
    fn named_relation(&self, made: Relation, alias: Option<&TableAlias>, used: &mut Used) -> Result<Relation> {
        let hidden = self.fresh_alias("made");
        let relation = aliased(made, &hidden, |c| c.qualifier.clone())?;
        self.apply_alias(relation, alias, used)
    }

    /// `relation AS alias(columns)`; the relation as it is without one.
    pub(super) fn apply_alias(
        &self,
        relation: Relation,
        alias: Option<&TableAlias>,
        used: &mut Used,
    ) -> Result<Relation> {
        let Some(alias) = alias else { return Ok(relation) };
        let name = &alias.name.value;
        let qualifier = self.unused(name, used);
        let mut relation = aliased(flatten(relation)?, &qualifier, |_| vec![name.clone()])?;
        self.rename(&mut relation.scope, alias)?;
        Ok(relation)
    }

    /// Gives the columns the names of an alias's list.
    pub fn rename(&self, scope: &mut Scope, alias: &TableAlias) -> Result<()> {
        if !alias.columns.is_empty() && alias.columns.len() != scope.columns.len() {
            let message = format!(
                "alias '{}' names {} columns of {}",
                alias.name.value,
                alias.columns.len(),
                scope.columns.len()
            );
            return Err(Error::invalid("ASSIGNMENT_ARITY_MISMATCH", message)
                .with_span(self.lines.span(alias.name.span))
                .with_help("give each column a name, or none"));
        }
        for (column, new) in scope.columns.iter_mut().zip(&alias.columns) {
            column.name = new.name.value.clone();
        }
        Ok(())
    }

    /// A qualifier of the plan for a relation called `name`, which others may be called as well.
    fn unused(&self, name: &str, used: &mut Used) -> String {
        let qualifier = if used.iter().any(|u| u == name) { self.fresh_alias(name) } else { name.to_owned() };
        used.push(qualifier.clone());
        qualifier
    }
}

/// Puts `qualifier` on the plan's columns; `shown` gives the qualifier that users see.
pub fn aliased(relation: Relation, qualifier: &str, shown: impl Fn(&ScopeColumn) -> Vec<String>) -> Result<Relation> {
    let mut scope = relation.scope.qualified("", qualifier);
    for (new, old) in scope.columns.iter_mut().zip(relation.scope.visible()) {
        new.qualifier = shown(old);
    }
    let plan = LogicalPlanBuilder::from(relation.plan).alias(TableReference::bare(qualifier))?.build()?;
    Ok(Relation { plan, scope })
}

/// The qualifiers of a schema's columns.
fn qualifiers(schema: &DFSchema) -> impl Iterator<Item = String> {
    schema.iter().filter_map(|(qualifier, _)| qualifier.map(|q| q.table().to_owned()))
}

/// Only the visible columns, under unique names, if more than one relation or a hidden column is in it.
fn flatten(relation: Relation) -> Result<Relation> {
    let columns: Vec<_> = relation.scope.visible().collect();
    let schema = relation.plan.schema().columns();
    let same = columns.len() == schema.len() && columns.iter().zip(&schema).all(|(c, s)| c.column == *s);
    let one_relation = schema.windows(2).all(|w| w[0].relation == w[1].relation);
    if same && one_relation {
        return Ok(relation);
    }
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let exprs: Vec<_> = columns
        .iter()
        .zip(unique_names(&names))
        .map(|(c, name)| named(Expr::Column(c.column.clone()), &name))
        .collect();
    let plan = LogicalPlanBuilder::from(relation.plan.clone()).project(exprs)?.build()?;
    Ok(with_names(plan, names))
}

/// The arguments of `range(start, end, step, partitions)`: numbers, of which the last says nothing here.
fn range_arguments(mut args: Vec<Expr>) -> Result<Vec<Expr>> {
    if !(1..=4).contains(&args.len()) {
        return Err(crate::function::wrong_count("range", "1 or 2 or 3 or 4", args.len()));
    }
    args.truncate(3);
    for arg in &mut args {
        let Expr::Literal(value, _) = arg else { continue };
        if let Some(text) = value.try_as_str() {
            let text = text.unwrap_or_default();
            let number: i64 = text.trim().parse().map_err(|_| {
                let message = format!(
                    "the value '{text}' of the type \"STRING\" cannot be cast to \"BIGINT\" because it is malformed"
                );
                Error::invalid("CAST_INVALID_INPUT", message).with_help("write range(10) or range(0, 10, 2)")
            })?;
            *arg = lit(number);
        }
    }
    let is_zero = |e: &Expr| matches!(e, Expr::Literal(v, _) if v.cast_to(&arrow::datatypes::DataType::Int64).is_ok_and(|v| v == ScalarValue::Int64(Some(0))));
    match args.get(2) {
        Some(step) if is_zero(step) => Err(Error::invalid("FAILED_FUNCTION_CALL", "the step of 'range' must not be 0")
            .with_help("write range(0, 10, 2), or a negative step to count down")),
        _ => Ok(args),
    }
}

/// An INT literal as BIGINT, which is all that DataFusion's table functions take.
fn widened(e: Expr) -> Expr {
    match e {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => lit(i64::from(n)),
        other => other,
    }
}

fn with_qualifier(plan: LogicalPlan, qualifier: &[String]) -> Relation {
    let columns = plan.schema().columns().into_iter().map(|column| ScopeColumn {
        qualifier: qualifier.to_vec(),
        name: column.name.clone(),
        column,
        visibility: Visibility::Shown,
    });
    let scope = Scope { columns: columns.collect() };
    Relation { plan, scope }
}

/// `LATERAL generator(…) AS name(columns)`, which says the same as a LATERAL VIEW.
fn lateral_call(factor: &TableFactor) -> Option<LateralView> {
    let (name, args, alias) = match factor {
        TableFactor::Function { lateral: true, name, args, alias, .. } => (name.clone(), args, alias),
        // The standard's name, which needs no LATERAL.
        TableFactor::Table { name, args: Some(args), alias, .. } if is_unnest(name) => {
            (ObjectName::from(Ident::new("explode")), &args.args, alias)
        }
        _ => return None,
    };
    let call = sql::Function {
        name: name.clone(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(sql::FunctionArgumentList {
            duplicate_treatment: None,
            args: args.clone(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    };
    let alias_name = alias.as_ref().map_or_else(|| name.clone(), |a| ObjectName::from(a.name.clone()));
    let mut columns: Vec<Ident> = alias.iter().flat_map(|a| &a.columns).map(|c| c.name.clone()).collect();
    if let (TableFactor::Table { .. }, Some(alias)) = (factor, alias)
        && columns.is_empty()
    {
        columns.push(alias.name.clone());
    }
    let lateral_view = sql::Expr::Function(call);
    Some(LateralView { lateral_view, lateral_view_name: alias_name, lateral_col_alias: columns, outer: false })
}

fn is_unnest(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|i| eq_names(&i.value, "unnest")))
}
