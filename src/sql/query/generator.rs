//! Generators in the select list, as LATERAL VIEW and as a relation.

use datafusion::common::TableReference;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LateralView,
};

use super::expr::{ExprContext, name_parts};
use super::planner::Planner;
use super::scope::{Env, Relation, ScopeColumn, Visibility};
use super::select::{Item, Value};
use super::set_operation::with_names;
use crate::error::{Error, Result};
use crate::function;
use crate::plan::generators::{Generator, Kind, plan_generator};

impl ExprContext<'_> {
    /// The generator that an expression calls, if it does.
    pub fn generator(&self, e: &sql::Expr) -> Result<Option<Generator>> {
        let sql::Expr::Function(f) = e else { return Ok(None) };
        let parts = name_parts(&f.name)?;
        let name = parts[parts.len() - 1].value.to_lowercase();
        if name == "json_tuple" {
            let call = self.typed_call(f, e)?;
            let one = function::array_of_one(call);
            return Ok(Some(Generator { kind: Kind::Inline, outer: false, args: vec![one] }));
        }
        let Some((kind, outer)) = Kind::from_name(&name) else { return Ok(None) };
        self.check_count(&name, f).map_err(|err| err.with_span(self.span(e)))?;
        let FunctionArguments::List(list) = &f.args else { return Ok(Some(Generator { kind, outer, args: vec![] })) };
        let args = list.args.iter().map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => match self.star(e)? {
                Some(columns) => Ok(columns.into_iter().map(|(_, e)| e).collect()),
                None => self.checked(e).map(|e| vec![e]),
            },
            FunctionArg::Named { name: argument, arg: FunctionArgExpr::Expr(e), .. }
                if list.args.len() == 1 && argument.value.eq_ignore_ascii_case(argument_name(kind)) =>
            {
                self.checked(e).map(|e| vec![e])
            }
            other => Err(Error::unsupported(
                "UNSUPPORTED_FEATURE",
                format!("the argument '{other}' of '{name}' is not supported"),
            )
            .with_help(format!("give plain values: {name}(a)"))),
        });
        Ok(Some(Generator { kind, outer, args: args.collect::<Result<Vec<Vec<_>>>>()?.concat() }))
    }
}

impl Planner<'_> {
    /// `LATERAL VIEW [OUTER] generator(…) table AS column, …`
    pub fn lateral_view(&self, relation: Relation, view: &LateralView, env: &Env) -> Result<Relation> {
        let cx = ExprContext::new(self, env, &relation, &[]);
        let span = cx.span(&view.lateral_view);
        let Some(mut generator) = cx.generator(&view.lateral_view)? else {
            return Err(Error::invalid("UNSUPPORTED_GENERATOR.NOT_GENERATOR", "LATERAL VIEW needs a generator")
                .with_span(span)
                .with_help(
                    "the generators are explode, posexplode, inline, stack and json_tuple, with _outer or without",
                ));
        };
        generator.outer |= view.outer;
        let kept = relation.plan.schema().columns();
        let keep = kept.iter().cloned().map(Expr::Column).collect();
        let prefix = self.fresh_alias("generated");
        let (plan, outputs) =
            plan_generator(relation.plan, &generator, keep, &prefix).map_err(|e| e.with_span(span))?;
        let names = aliases(outputs.iter().map(|(n, _)| n.clone()).collect(), &view.lateral_col_alias)
            .map_err(|e| e.with_span(span))?;
        let name = name_parts(&view.lateral_view_name)?.pop().map(|i| i.value).unwrap_or_default();
        let qualifier = TableReference::bare(self.fresh_alias(&name));
        let mut exprs: Vec<_> = kept.into_iter().map(Expr::Column).collect();
        let mut scope = relation.scope;
        for ((_, e), shown) in outputs.into_iter().zip(names) {
            exprs.push(e.alias_qualified(Some(qualifier.clone()), &shown));
            let column = datafusion::common::Column::new(Some(qualifier.clone()), &shown);
            scope.columns.push(ScopeColumn {
                qualifier: vec![name.clone()],
                name: shown,
                column,
                visibility: Visibility::Shown,
            });
        }
        Ok(Relation { plan: LogicalPlanBuilder::from(plan).project(exprs)?.build()?, scope })
    }

    /// `FROM explode(…)`; `None` if the function is no generator.
    pub fn generator_relation(&self, function: &str, args: &[Expr], nothing: &Relation) -> Result<Option<Relation>> {
        let Some((kind, outer)) = Kind::from_name(function) else { return Ok(None) };
        let generator = Generator { kind, outer, args: args.to_vec() };
        let (plan, outputs) = plan_generator(nothing.plan.clone(), &generator, vec![], &self.fresh_alias("generated"))?;
        let names: Vec<_> = outputs.iter().map(|(n, _)| n.clone()).collect();
        let plan = LogicalPlanBuilder::from(plan).project(outputs.into_iter().map(|(n, e)| e.alias(n)))?.build()?;
        Ok(Some(with_names(plan, names)))
    }

    /// Plans the generator among the items, if there is one, and replaces every item by columns; `others` are further
    /// expressions that are needed above.
    pub fn generate(&self, relation: Relation, items: &mut Vec<Item>, others: &mut [&mut Expr]) -> Result<Relation> {
        let Some(at) = items.iter().position(|i| matches!(i.value, Value::Generator(..))) else { return Ok(relation) };
        let item = items.remove(at);
        let Value::Generator(generator, names) = item.value else { return Ok(relation) };
        if items.iter().any(|i| matches!(i.value, Value::Generator(..))) {
            let message = "only one generator is possible in a select list";
            return Err(Error::unsupported("UNSUPPORTED_GENERATOR.MULTI_GENERATOR", message)
                .with_span(item.span)
                .with_help("use LATERAL VIEW for the others"));
        }
        let prefix = self.fresh_alias("generated");
        let mut keep = vec![];
        let exprs = items.iter_mut().filter_map(|i| match &mut i.value {
            Value::Expr(e) => Some(e),
            Value::Generator(..) => None,
        });
        for e in exprs.chain(others.iter_mut().map(|e| &mut **e)) {
            let name = format!("{prefix}k{}", keep.len());
            let column = Expr::Column(datafusion::common::Column::new_unqualified(&name));
            keep.push(std::mem::replace(e, column).alias(name));
        }
        let (plan, outputs) =
            plan_generator(relation.plan, &generator, keep, &prefix).map_err(|e| e.with_span(item.span))?;
        let shown = outputs.iter().map(|(n, _)| n.clone()).collect();
        let shown = aliases(shown, &names).map_err(|e| e.with_span(item.span))?;
        let new =
            outputs.into_iter().zip(shown).map(|((_, e), name)| Item { name, value: Value::Expr(e), span: item.span });
        items.splice(at..at, new);
        Ok(Relation { plan, scope: relation.scope })
    }
}

fn columns(n: usize) -> String {
    if n == 1 { "1 column".to_owned() } else { format!("{n} columns") }
}

fn names(n: usize) -> String {
    if n == 1 { "1 name is".to_owned() } else { format!("{n} names are") }
}

/// What the argument of a generator is called in `explode(collection => …)`.
fn argument_name(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Inline) { "input" } else { "collection" }
}

/// The names that the user gave, of which there must be one for each column, or Spark's.
fn aliases(own: Vec<String>, given: &[Ident]) -> Result<Vec<String>> {
    if given.is_empty() {
        return Ok(own);
    }
    if given.len() != own.len() {
        let message = format!("the generator gives {}, but {} given", columns(own.len()), names(given.len()));
        return Err(
            Error::invalid("UDTF_ALIAS_NUMBER_MISMATCH", message).with_help(format!("write AS ({})", own.join(", ")))
        );
    }
    Ok(given.iter().map(|i| i.value.clone()).collect())
}
