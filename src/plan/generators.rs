//! Generators: `explode` and its kin, which turn one row into several, as `LogicalPlan::Unnest`.
//!
//! [`plan_generator`] puts a generator above a plan, with only those expressions beside it that are needed above, so that no
//! column travels through the `Unnest` in vain. In the DataFrame API a generator is the marker function [`explode`] (and
//! [`posexplode`], [`inline`], …) in a projection; the analyzer rule [`ResolveGenerators`] replaces it. There, a generator of
//! several columns gives one struct.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, NullHandling, Result as DfResult, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::functions_nested::expr_fn::{array_length, make_array, map_entries};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{Error, Result};

/// Which generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Rows of an array (`col`) or a map (`key`, `value`).
    Explode,
    /// The same, with the position from 0 (`pos`) in front.
    PosExplode,
    /// Rows of an array of structs, a column for each field.
    Inline,
    /// `stack(n, …)`: n rows from the other arguments (`col0`, `col1`, …).
    Stack,
}

/// A call of a generator.
#[derive(Debug, Clone)]
pub struct Generator {
    pub kind: Kind,
    /// Whether an empty or NULL input gives one row of NULLs rather than none.
    pub outer: bool,
    pub args: Vec<Expr>,
}

impl Kind {
    /// The generator of this name and whether it is the `_outer` form; names are in lower case.
    pub fn from_name(name: &str) -> Option<(Kind, bool)> {
        Some(match name {
            "explode" => (Kind::Explode, false),
            "explode_outer" => (Kind::Explode, true),
            "posexplode" => (Kind::PosExplode, false),
            "posexplode_outer" => (Kind::PosExplode, true),
            "inline" => (Kind::Inline, false),
            "inline_outer" => (Kind::Inline, true),
            "stack" => (Kind::Stack, false),
            _ => return None,
        })
    }

    fn name(self, outer: bool) -> &'static str {
        match (self, outer) {
            (Kind::Explode, false) => "explode",
            (Kind::Explode, true) => "explode_outer",
            (Kind::PosExplode, false) => "posexplode",
            (Kind::PosExplode, true) => "posexplode_outer",
            (Kind::Inline, false) => "inline",
            (Kind::Inline, true) => "inline_outer",
            (Kind::Stack, _) => "stack",
        }
    }
}

/// A generator taken apart: the lists to unnest side by side, and the output columns over the unnested ones.
struct Parts {
    lists: Vec<Expr>,
    /// Spark's name, and how to get the value from the columns that the lists became.
    outputs: Vec<(String, Output)>,
}

enum Output {
    /// The unnested list.
    Item(usize),
    /// A field of it.
    Field(usize, String),
}

impl Output {
    fn expr(&self, columns: &[Column]) -> Expr {
        match self {
            Output::Item(i) => Expr::Column(columns[*i].clone()),
            Output::Field(i, name) => get_field(Expr::Column(columns[*i].clone()), name.clone()),
        }
    }
}

/// The plan of a generator above `input`, and its output columns with Spark's names.
///
/// The columns of the plan are `keep`, then the columns that the generator made, with names that begin with `prefix`. The
/// output expressions are over these.
pub fn plan_generator(
    input: LogicalPlan,
    generator: &Generator,
    keep: Vec<Expr>,
    prefix: &str,
) -> Result<(LogicalPlan, Vec<(String, Expr)>)> {
    let parts = take_apart(generator, input.schema())?;
    let columns: Vec<_> = (0..parts.lists.len()).map(|i| Column::new_unqualified(format!("{prefix}{i}"))).collect();
    let lists = parts.lists.into_iter().zip(&columns).map(|(e, c)| e.alias(&c.name));
    let null_handling = if generator.outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let plan = LogicalPlanBuilder::from(input)
        .project(keep.into_iter().chain(lists))?
        .unnest_columns_with_options(columns.clone(), UnnestOptions::new().with_null_handling(null_handling))?
        .build()?;
    let outputs = parts.outputs.into_iter().map(|(name, o)| (name, o.expr(&columns))).collect();
    Ok((plan, outputs))
}

fn take_apart(generator: &Generator, schema: &DFSchema) -> Result<Parts> {
    match (generator.kind, generator.args.as_slice()) {
        (Kind::Stack, [rows, values @ ..]) => stack(rows, values),
        (Kind::Explode, [list]) => explode_parts(list, schema, false),
        (Kind::PosExplode, [list]) => explode_parts(list, schema, true),
        (Kind::Inline, [list]) => inline_parts(list, schema),
        (kind, args) => {
            let name = kind.name(generator.outer);
            Err(crate::function::wrong_count(name, "1", args.len()))
        }
    }
}

fn explode_parts(list: &Expr, schema: &DFSchema, with_position: bool) -> Result<Parts> {
    let mut parts = match list.get_type(schema)? {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            Parts { lists: vec![list.clone()], outputs: vec![("col".to_owned(), Output::Item(0))] }
        }
        DataType::Map(..) => Parts {
            lists: vec![map_entries(list.clone())],
            outputs: ["key", "value"].map(|n| (n.to_owned(), Output::Field(0, n.to_owned()))).into(),
        },
        other => return Err(wrong_type("explode", "an ARRAY or a MAP", &other)),
    };
    if with_position {
        parts.outputs.insert(0, ("pos".to_owned(), Output::Item(parts.lists.len())));
        parts.lists.push(positions(&parts.lists[0], schema)?);
    }
    Ok(parts)
}

/// `[0, 1, …]`, as long as `list`, and NULL where it is NULL.
fn positions(list: &Expr, schema: &DFSchema) -> Result<Expr> {
    let length = array_length(list.clone());
    let length = datafusion::logical_expr::cast(length, DataType::Int64);
    // A range of nothing is empty; array_length is 0 or NULL for an empty list.
    let positions = datafusion::functions_nested::expr_fn::range(lit(0i64), length, lit(1i64));
    debug_assert!(positions.get_type(schema).is_ok());
    let to = DataType::List(Arc::new(Field::new("element", DataType::Int32, true)));
    Ok(datafusion::logical_expr::cast(positions, to))
}

fn inline_parts(list: &Expr, schema: &DFSchema) -> Result<Parts> {
    let data_type = list.get_type(schema)?;
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) = &data_type else {
        return Err(wrong_type("inline", "an ARRAY of STRUCT", &data_type));
    };
    let DataType::Struct(fields) = item.data_type() else {
        return Err(wrong_type("inline", "an ARRAY of STRUCT", &data_type));
    };
    let outputs = fields.iter().map(|f| (f.name().clone(), Output::Field(0, f.name().clone()))).collect();
    Ok(Parts { lists: vec![list.clone()], outputs })
}

fn stack(rows: &Expr, values: &[Expr]) -> Result<Parts> {
    let count = match rows {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => i64::from(*n),
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => *n,
        _ => 0,
    };
    let rows = usize::try_from(count).ok().filter(|n| *n > 0 && !values.is_empty()).ok_or_else(|| {
        Error::invalid(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            "the first argument of 'stack' must be a positive INT literal",
        )
        .with_help("write stack(2, 'a', 1, 'b', 2)")
    })?;
    let width = values.len().div_ceil(rows);
    let cell = |r: usize, c: usize| values.get(r * width + c).cloned().unwrap_or(lit(ScalarValue::Null));
    let lists = (0..width).map(|c| make_array((0..rows).map(|r| cell(r, c)).collect())).collect();
    Ok(Parts { lists, outputs: (0..width).map(|c| (format!("col{c}"), Output::Item(c))).collect() })
}

fn wrong_type(function: &str, expected: &str, found: &DataType) -> Error {
    crate::function::wrong_type(function, expected, found)
}

/// A row for each element of an array or each entry of a map; none if it is empty or NULL.
pub fn explode(expr: Expr) -> Expr {
    marker(Kind::Explode, false, vec![expr])
}

/// The same; one row of NULL if it is empty or NULL.
pub fn explode_outer(expr: Expr) -> Expr {
    marker(Kind::Explode, true, vec![expr])
}

/// The same as [`explode`], as a struct that begins with the position `pos`.
pub fn posexplode(expr: Expr) -> Expr {
    marker(Kind::PosExplode, false, vec![expr])
}

/// The same as [`posexplode`]; one row of NULLs if it is empty or NULL.
pub fn posexplode_outer(expr: Expr) -> Expr {
    marker(Kind::PosExplode, true, vec![expr])
}

/// A row for each struct of an array.
pub fn inline(expr: Expr) -> Expr {
    marker(Kind::Inline, false, vec![expr])
}

/// The same; one row of NULLs if it is empty or NULL.
pub fn inline_outer(expr: Expr) -> Expr {
    marker(Kind::Inline, true, vec![expr])
}

fn marker(kind: Kind, outer: bool, args: Vec<Expr>) -> Expr {
    ScalarUDF::from(GeneratorMarker { kind, outer, signature: Signature::any(1, Volatility::Volatile) }).call(args)
}

/// A function that only marks the place of a generator.
#[derive(Debug, PartialEq, Eq, Hash)]
struct GeneratorMarker {
    kind: Kind,
    outer: bool,
    signature: Signature,
}

impl ScalarUDFImpl for GeneratorMarker {
    fn name(&self) -> &str {
        self.kind.name(self.outer)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        let input = args.first().cloned().unwrap_or(DataType::Null);
        let schema = DFSchema::from_unqualified_fields(vec![Field::new("x", input, true)].into(), Default::default())?;
        let list = Expr::Column(Column::new_unqualified("x"));
        let parts = take_apart(&Generator { kind: self.kind, outer: self.outer, args: vec![list] }, &schema)?;
        let lists = parts.lists.iter().map(|l| l.get_type(&schema)).collect::<DfResult<Vec<_>>>()?;
        let types: Vec<_> = parts.outputs.iter().map(|(name, o)| (name.clone(), output_type(o, &lists))).collect();
        Ok(match types.as_slice() {
            [(_, t)] => t.clone(),
            _ => DataType::Struct(types.into_iter().map(|(n, t)| Field::new(n, t, true)).collect::<Fields>()),
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let message = format!(
            "the generator '{}' is possible only in the select list, not inside another expression",
            self.name()
        );
        let help = "use it as a column of its own, and compute with that column in the next select";
        Err(Error::unsupported("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", message).with_help(help).into())
    }
}

fn output_type(output: &Output, lists: &[DataType]) -> DataType {
    let item = |i: &usize| match lists.get(*i) {
        Some(DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _)) => f.data_type().clone(),
        _ => DataType::Null,
    };
    match output {
        Output::Item(i) => item(i),
        Output::Field(i, name) => match item(i) {
            DataType::Struct(fields) => fields.find(name).map_or(DataType::Null, |(_, f)| f.data_type().clone()),
            _ => DataType::Null,
        },
    }
}

/// Replaces generator markers in projections; must run before type coercion.
#[derive(Debug, Default)]
pub struct ResolveGenerators;

impl AnalyzerRule for ResolveGenerators {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(resolve)?.data)
    }

    fn name(&self) -> &str {
        "resolve_generators"
    }
}

fn resolve(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(Transformed::no(plan)) };
    let markers: Vec<_> = (0..projection.expr.len()).filter(|i| as_generator(&projection.expr[*i]).is_some()).collect();
    match markers.as_slice() {
        [] => Ok(Transformed::no(LogicalPlan::Projection(projection))),
        [one] => Ok(Transformed::yes(resolve_projection(projection, *one)?)),
        _ => Err(Error::unsupported(
            "UNSUPPORTED_GENERATOR.MULTI_GENERATOR",
            "only one generator is possible in a select list",
        )
        .with_help("select one after the other")
        .into()),
    }
}

fn resolve_projection(projection: Projection, marker: usize) -> DfResult<LogicalPlan> {
    let Some(generator) = as_generator(&projection.expr[marker]) else {
        return Ok(LogicalPlan::Projection(projection));
    };
    let names = projection.schema.columns();
    let mut keep = projection.expr;
    keep.remove(marker);
    let kept: Vec<_> = (0..keep.len()).map(|i| format!("#keep{i}")).collect();
    let keep = keep.into_iter().zip(&kept).map(|(e, k)| e.unalias().alias(k)).collect();
    let (plan, outputs) = plan_generator(Arc::unwrap_or_clone(projection.input), &generator, keep, "#generated")?;
    let mut exprs: Vec<_> = kept.into_iter().map(|k| Expr::Column(Column::new_unqualified(k))).collect();
    exprs.insert(marker, single(outputs));
    let exprs = exprs.into_iter().zip(names).map(|(e, c)| e.alias_qualified(c.relation, c.name));
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// One expression for all outputs: the only one, or a struct.
fn single(mut outputs: Vec<(String, Expr)>) -> Expr {
    match outputs.len() {
        1 => outputs.remove(0).1,
        _ => named_struct(outputs.into_iter().flat_map(|(name, e)| [lit(name), e]).collect()),
    }
}

fn as_generator(expr: &Expr) -> Option<Generator> {
    let mut found = None;
    let mut at = expr;
    while let Expr::Alias(a) = at {
        at = &a.expr;
    }
    if let Expr::ScalarFunction(f) = at
        && let Some(m) = f.func.inner().downcast_ref::<GeneratorMarker>()
    {
        found = Some(Generator { kind: m.kind, outer: m.outer, args: f.args.clone() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::assert_batches_eq;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionContext, col};

    fn context() -> SessionContext {
        let rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(ResolveGenerators)];
        let rest = datafusion::optimizer::Analyzer::new().rules;
        let state = SessionStateBuilder::new().with_default_features();
        SessionContext::new_with_state(state.with_analyzer_rules(rules.into_iter().chain(rest).collect()).build())
    }

    #[tokio::test]
    async fn markers_in_a_data_frame() {
        let rows = context().sql("SELECT 1 AS id, make_array('a', 'b') AS l UNION ALL SELECT 2, NULL").await.unwrap();
        let words = rows.clone().select([explode(col("l")).alias("w"), col("id")]).unwrap();
        let counts =
            words.aggregate(vec![col("w")], vec![datafusion::functions_aggregate::expr_fn::sum(col("id")).alias("n")]);
        let batches = counts.unwrap().sort(vec![col("w").sort(true, true)]).unwrap().collect().await.unwrap();
        assert_batches_eq!(["+---+---+", "| w | n |", "+---+---+", "| a | 1 |", "| b | 1 |", "+---+---+"], &batches);

        let outer = rows.select([col("id"), posexplode_outer(col("l")).alias("p")]).unwrap();
        let batches = outer.sort(vec![col("id").sort(true, true)]).unwrap().collect().await.unwrap();
        assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 3);
    }

    #[tokio::test]
    async fn a_marker_inside_an_expression_is_refused() {
        let rows = context().sql("SELECT make_array(1) AS l").await.unwrap();
        let e = rows.select([explode(col("l")) + lit(1)]).unwrap().collect().await.unwrap_err();
        assert_eq!(Error::from(e).condition(), "UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS");
    }
}
