//! `PIVOT` and `UNPIVOT`: columns of values, and values of columns.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, Operator, binary_expr, lit};
use datafusion::sql::sqlparser::ast::{
    self as sql, ExprWithAlias, Ident, NullInclusion, PivotValueSource, Spanned, TableFactor,
};

use super::expr::{ExprContext, string};
use super::name::display_name;
use super::operators;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, ScopeColumn, named, unique_names};
use super::set_operation::{unsupported, with_names};
use super::types::spark_type_name;
use crate::error::{Error, Result};
use crate::function;
use crate::plan::generators::{Generator, Kind, plan_generator};

/// One value of a pivot: its name, and the condition that a row has it.
type Pivoted = (String, Expr);

impl Planner<'_> {
    /// `input PIVOT (aggregate, … FOR column IN (value, …))`: groups by all columns that it does not name.
    pub fn pivot(&self, input: Relation, factor: &TableFactor, env: &Env) -> Result<Relation> {
        let TableFactor::Pivot { aggregate_functions, value_column, value_source, default_on_null: None, .. } = factor
        else {
            return Err(unsupported("DEFAULT ON NULL of PIVOT"));
        };
        let PivotValueSource::List(values) = value_source else {
            return Err(unsupported("PIVOT without its values").with_help("list them: FOR name IN ('a', 'b')"));
        };
        let cx = ExprContext::new(self, env, &input, &[]);
        let columns = value_column.iter().map(|e| cx.checked(e)).collect::<Result<Vec<_>>>()?;
        let aggregates =
            aggregate_functions.iter().map(|a| self.pivot_aggregate(a, &cx)).collect::<Result<Vec<_>>>()?;
        let values = values.iter().map(|v| self.pivot_value(v, &columns, &cx, env)).collect::<Result<Vec<_>>>()?;
        let used: Vec<_> =
            columns.iter().chain(aggregates.iter().map(|(_, e)| e)).flat_map(Expr::column_refs).cloned().collect();
        let keys: Vec<&ScopeColumn> = input.scope.visible().filter(|c| !used.contains(&c.column)).collect();
        let mut names: Vec<String> = keys.iter().map(|c| c.name.clone()).collect();
        let mut exprs: Vec<Expr> = keys.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let keys = exprs.clone();
        let missing_is_null = aggregates.iter().map(|(_, e)| Ok(is_kept_apart(&e.get_type(cx.schema)?)));
        let missing_is_null = missing_is_null.collect::<Result<Vec<bool>>>()?.into_iter().all(|kept| kept);
        for (value, condition) in &values {
            for (name, aggregate) in &aggregates {
                names.push(if aggregates.len() == 1 { value.clone() } else { format!("{value}_{name}") });
                exprs.push(of_rows(aggregate.clone(), condition, missing_is_null, cx.schema)?);
            }
        }
        let unique = unique_names(&names);
        let mut output: Vec<Expr> = exprs.into_iter().collect();
        let scope = input.scope.clone();
        let mut places: Vec<_> = output.iter_mut().map(|e| (e, None)).collect();
        let grouped = self.aggregate(Relation { plan: input.plan, scope }, keys, true, &mut places, env)?;
        let output = output.into_iter().zip(&unique).map(|(e, name)| named(e, name));
        Ok(with_names(LogicalPlanBuilder::from(grouped.plan).project(output)?.build()?, names))
    }

    fn pivot_aggregate(&self, a: &ExprWithAlias, cx: &ExprContext) -> Result<(String, Expr)> {
        let expr = cx.checked(&a.expr)?;
        if find_aggregate_exprs([&expr]).is_empty() {
            let message = "PIVOT needs an aggregate function for each of its values";
            return Err(Error::invalid("PIVOT_AGGREGATE_REQUIRED", message)
                .with_span(cx.span(&a.expr))
                .with_help("write PIVOT (sum(v) FOR name IN ('a', 'b'))"));
        }
        let name = a.alias.as_ref().map_or_else(|| display_name(&a.expr, cx.scope), |alias| alias.value.clone());
        Ok((name, expr))
    }

    /// The values are constants, of the type of the column.
    fn pivot_value(&self, v: &ExprWithAlias, columns: &[Expr], cx: &ExprContext, env: &Env) -> Result<Pivoted> {
        let nothing = Relation { plan: LogicalPlanBuilder::empty(true).build()?, scope: Scope::default() };
        let constant = ExprContext::new(self, env, &nothing, &[]);
        let items: Vec<&sql::Expr> = match &v.expr {
            sql::Expr::Tuple(items) => items.iter().collect(),
            one => vec![one],
        };
        if items.len() != columns.len() {
            let message = format!("a value of PIVOT has {} parts for {} columns", items.len(), columns.len());
            return Err(Error::invalid("PIVOT_VALUE_DATA_TYPE_MISMATCH", message)
                .with_span(cx.span(&v.expr))
                .with_help("write FOR (a, b) IN ((1, 2), (3, 4))"));
        }
        let mut conditions = vec![];
        for (item, column) in items.iter().zip(columns) {
            let value = operators::cast(constant.checked(item)?, &column.get_type(cx.schema)?, false);
            conditions.push(binary_expr(column.clone(), Operator::IsNotDistinctFrom, value));
        }
        let condition = super::chain::balanced(conditions, Operator::And);
        let shown = |e: &&sql::Expr| self.constant_text(e, &constant);
        let name = match (&v.alias, items.as_slice()) {
            (Some(alias), _) => alias.value.clone(),
            (None, [one]) => shown(one)?,
            (None, several) => format!("{{{}}}", several.iter().map(shown).collect::<Result<Vec<_>>>()?.join(", ")),
        };
        Ok((name, condition))
    }

    /// A constant as text.
    fn constant_text(&self, e: &sql::Expr, cx: &ExprContext) -> Result<String> {
        use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
        let text = operators::cast(cx.checked(e)?, &DataType::Utf8View, false);
        let schema = std::sync::Arc::new(cx.schema.clone());
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(schema).build());
        match simplifier.simplify(text)? {
            Expr::Literal(value, _) if value.is_null() => Ok("null".to_owned()),
            Expr::Literal(value, _) => Ok(value.try_as_str().flatten().unwrap_or_default().to_owned()),
            _ => Ok(display_name(e, cx.scope)),
        }
    }

    /// `input UNPIVOT (value FOR name IN (column, …))`: a row for each of the columns.
    pub fn unpivot(&self, input: Relation, factor: &TableFactor, env: &Env) -> Result<Relation> {
        let TableFactor::Unpivot { value, name, columns, null_inclusion, .. } = factor else {
            return Err(unsupported("UNPIVOT"));
        };
        let cx = ExprContext::new(self, env, &input, &[]);
        let value_names = names_of(value).ok_or_else(|| {
            Error::invalid("PARSE_SYNTAX_ERROR", format!("'{value}' is no name for the values of UNPIVOT"))
                .with_span(cx.span(value))
                .with_help("write UNPIVOT (value FOR name IN (a, b))")
        })?;
        let rows = columns.iter().map(|c| self.unpivoted(c, value_names.len(), &cx)).collect::<Result<Vec<_>>>()?;
        let mut types = vec![];
        for place in 0..value_names.len() {
            types.push(common_type(&rows, place, &cx)?);
        }
        let used: Vec<_> =
            rows.iter().flat_map(|(_, values)| values).flat_map(|(_, e)| e.column_refs()).cloned().collect();
        let kept: Vec<&ScopeColumn> = input.scope.visible().filter(|c| !used.contains(&c.column)).collect();
        let mut names: Vec<String> = kept.iter().map(|c| c.name.clone()).collect();
        let keep = kept.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let mut args = vec![lit(rows.len() as i32)];
        for (name, values) in rows {
            args.push(string(&name));
            args.extend(values.into_iter().zip(&types).map(|((_, e), to)| operators::cast(e, to, false)));
        }
        names.push(name.value.clone());
        names.extend(value_names);
        let generator = Generator { kind: Kind::Stack, outer: false, args };
        let kept = kept.len();
        let (plan, outputs) = plan_generator(input.plan, &generator, keep, &self.fresh_alias("unpivot"))?;
        let unique = unique_names(&names);
        let columns = plan.schema().columns().into_iter().take(kept).map(Expr::Column);
        let exprs = columns.chain(outputs.into_iter().map(|(_, e)| e)).zip(&unique).map(|(e, name)| e.alias(name));
        let mut plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        if *null_inclusion != Some(NullInclusion::IncludeNulls) {
            let values = plan.schema().columns().split_off(kept + 1);
            let there = values.into_iter().map(|c| Expr::Column(c).is_not_null()).collect();
            plan = LogicalPlanBuilder::from(plan).filter(super::chain::balanced(there, Operator::Or))?.build()?;
        }
        Ok(with_names(plan, names))
    }

    /// One row that UNPIVOT makes: its name, and its values with theirs.
    fn unpivoted(&self, c: &ExprWithAlias, count: usize, cx: &ExprContext) -> Result<(String, Vec<(String, Expr)>)> {
        let items: Vec<&sql::Expr> = match &c.expr {
            sql::Expr::Tuple(items) => items.iter().collect(),
            sql::Expr::Nested(one) => vec![one.as_ref()],
            one => vec![one],
        };
        let named = |e: &&sql::Expr| match e {
            sql::Expr::Identifier(i) => Ok((i.value.clone(), cx.checked(e)?)),
            sql::Expr::CompoundIdentifier(parts) => {
                Ok((parts.last().map(|p| p.value.clone()).unwrap_or_default(), cx.checked(e)?))
            }
            other => Err(Error::invalid("UNPIVOT_REQUIRES_ATTRIBUTES", format!("'{other}' is no column"))
                .with_span(cx.span(other))
                .with_help("UNPIVOT takes columns: compute others in a subquery below")),
        };
        let values = items.iter().map(named).collect::<Result<Vec<_>>>()?;
        if values.len() != count {
            let message = format!("UNPIVOT names {count} values, but a row of it has {} columns", values.len());
            return Err(Error::invalid("UNPIVOT_VALUE_SIZE_MISMATCH", message)
                .with_span(cx.span(&c.expr))
                .with_help("write as many columns in each of the rows: ((a, b), (c, d))"));
        }
        let own = values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("_");
        Ok((c.alias.as_ref().map_or(own, |alias| alias.value.clone()), values))
    }
}

/// Aggregates of these types are computed for the rows that have the value only, and are NULL where there is none: as in Spark,
/// where others are computed over all rows.
fn is_kept_apart(t: &DataType) -> bool {
    t.is_numeric() || matches!(t, DataType::Boolean)
}

/// The aggregates in an expression, over the rows of one value.
fn of_rows(e: Expr, condition: &Expr, missing_is_null: bool, schema: &datafusion::common::DFSchema) -> Result<Expr> {
    let filtered = e.transform_down(|e| match e {
        Expr::AggregateFunction(mut f) => {
            let own = f.params.filter.take().map(|own| *own);
            let both = own.into_iter().fold(condition.clone(), |a, b| a.and(b));
            f.params.filter = Some(Box::new(both));
            if !missing_is_null && ["first", "last", "first_value", "last_value"].contains(&f.func.name()) {
                f.params.null_treatment = Some(NullTreatment::IgnoreNulls);
            }
            Ok(Transformed::new(
                Expr::AggregateFunction(f),
                true,
                datafusion::common::tree_node::TreeNodeRecursion::Jump,
            ))
        }
        other => Ok(Transformed::no(other)),
    });
    let filtered = filtered.data()?;
    if !missing_is_null {
        return Ok(filtered);
    }
    let there = datafusion::logical_expr::ExprFunctionExt::filter(count(lit(1i64)), condition.clone()).build()?;
    operators::case(vec![(there.gt(lit(0i64)), filtered)], None, schema)
}

/// `v`, or `(v, w)`.
fn names_of(e: &sql::Expr) -> Option<Vec<String>> {
    let name = |e: &sql::Expr| match e {
        sql::Expr::Identifier(Ident { value, .. }) => Some(value.clone()),
        _ => None,
    };
    match e {
        sql::Expr::Tuple(items) => items.iter().map(name).collect(),
        sql::Expr::Nested(one) => names_of(one),
        one => name(one).map(|one| vec![one]),
    }
}

/// The type that the values at one place have in common.
fn common_type(rows: &[(String, Vec<(String, Expr)>)], place: usize, cx: &ExprContext) -> Result<DataType> {
    let mut common: Option<DataType> = None;
    for (name, e) in rows.iter().filter_map(|(_, values)| values.get(place)) {
        let own = e.get_type(cx.schema)?;
        let is_text = |t: &DataType| t.is_string();
        let wider = match &common {
            None => Some(own.clone()),
            // Text and numbers have no type in common here, unlike in a UNION.
            Some(t) if is_text(t) != is_text(&own) => None,
            Some(t) => function::coercion::wider(t, &own),
        };
        let Some(wider) = wider else {
            let had = common.as_ref().map(spark_type_name).unwrap_or_default();
            let message = format!("column '{name}' of UNPIVOT is {}, and others are {had}", spark_type_name(&own));
            return Err(Error::invalid("UNPIVOT_VALUE_DATA_TYPE_MISMATCH", message)
                .with_help("CAST them to one type in a subquery below"));
        };
        common = Some(wider);
    }
    common.ok_or_else(|| Error::internal("UNPIVOT without columns"))
}

/// The place of a PIVOT or UNPIVOT clause, about.
pub fn place(planner: &Planner, factor: &TableFactor) -> Option<crate::error::Span> {
    match factor {
        TableFactor::Pivot { table, .. } | TableFactor::Unpivot { table, .. } => planner.lines.span(table.span()),
        _ => None,
    }
}
