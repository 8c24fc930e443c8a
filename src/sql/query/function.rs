//! Function calls: scalar, aggregate and window functions of the session, by name.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Case, Expr, ExprSchemable, Operator, SortExpr, WindowFrame, WindowFunctionDefinition, binary_expr, lit,
};
use datafusion::sql::sqlparser::ast::{
    self as sql, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::expr::{ExprContext, name_parts};
use super::operators;
use super::types::parse_data_type;
use crate::error::{Error, Result};
use crate::options::did_you_mean;
use crate::plan::generators::Kind;

/// What a call's parentheses hold.
struct Arguments {
    args: Vec<Expr>,
    distinct: bool,
    order_by: Vec<SortExpr>,
    nulls: Option<NullTreatment>,
}

impl ExprContext<'_> {
    /// A call in the syntax of functions.
    pub fn function(&self, f: &sql::Function, e: &sql::Expr) -> Result<Expr> {
        let parts = name_parts(&f.name)?;
        let name = parts[parts.len() - 1].value.to_lowercase();
        if Kind::from_name(&name).is_some() {
            let message =
                format!("the generator '{name}' is possible only in the select list, not inside another expression");
            return Err(Error::unsupported("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", message)
                .with_help("use LATERAL VIEW, or a subquery"));
        }
        let arguments = self.arguments(f, &name)?;
        if let Some(over) = &f.over {
            return self.window_function(&name, arguments, over, f, e);
        }
        if let Some(udaf) = self.planner.state.aggregate_functions().get(&name) {
            let filter = f.filter.as_deref().map(|x| self.expr(x).map(Box::new)).transpose()?;
            let params = AggregateFunctionParams {
                args: arguments.args,
                distinct: arguments.distinct,
                filter,
                order_by: arguments.order_by,
                null_treatment: arguments.nulls,
            };
            let call = Expr::AggregateFunction(AggregateFunction { func: udaf.clone(), params });
            return self.typed(call, e);
        }
        if arguments.distinct || f.filter.is_some() || !arguments.order_by.is_empty() {
            let message = format!("'{name}' is no aggregate function, so DISTINCT, FILTER and ORDER BY do not apply");
            return Err(Error::invalid("INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", message));
        }
        self.scalar(&name, arguments.args, e).and_then(|call| self.typed(call, e))
    }

    /// A scalar function, or what Spark means by its name where DataFusion has another function of that name.
    fn scalar(&self, name: &str, args: Vec<Expr>, e: &sql::Expr) -> Result<Expr> {
        if let ([_], Some(to)) = (args.as_slice(), cast_function(name)) {
            return Ok(operators::cast(args.into_iter().next().unwrap_or_default(), &to, false));
        }
        match (name, args.as_slice()) {
            ("if" | "iff", [condition, then, otherwise]) => {
                let branch = (Box::new(condition.clone()), Box::new(then.clone()));
                Ok(Expr::Case(Case::new(None, vec![branch], Some(Box::new(otherwise.clone())))))
            }
            ("isnull", [x]) => Ok(x.clone().is_null()),
            ("isnotnull", [x]) => Ok(x.clone().is_not_null()),
            ("positive", [x]) => Ok(x.clone()),
            ("e", []) => Ok(lit(std::f64::consts::E)),
            ("sign", [_]) => self.call("signum", args, e),
            ("unix_timestamp" | "to_unix_timestamp", []) => {
                let now = self.call("current_timestamp", vec![], e)?;
                self.call(name, vec![now], e)
            }
            ("position" | "charindex", [_, _] | [_, _, _]) => self.call("locate", args, e),
            // The characters to cut come first.
            ("ltrim" | "rtrim", [chars, text]) => self.call(name, vec![text.clone(), chars.clone()], e),
            ("replace", [text, search]) => self.call(name, vec![text.clone(), search.clone(), lit("")], e),
            ("array_prepend", [array, item]) => self.call(name, vec![item.clone(), array.clone()], e),
            ("array_remove", [_, _]) => self.call("array_remove_all", args, e),
            // One argument is the natural logarithm; a logarithm of what has none is NULL.
            ("log" | "ln", [x]) => logarithm(self.call("ln", vec![x.clone()], e)?, x),
            ("log2" | "log10", [x]) => logarithm(self.call(name, vec![x.clone()], e)?, x),
            ("log", [base, x]) => {
                let base_fits = logarithm(self.call(name, args.clone(), e)?, base)?;
                logarithm(base_fits, x)
            }
            ("decode", [_, _, _, ..]) => self.decode(&args),
            _ => self.call(name, args, e),
        }
    }

    /// `decode(value, search, result, …[, default])`, in which NULL is found as any value.
    fn decode(&self, args: &[Expr]) -> Result<Expr> {
        let (value, pairs) = (&args[0], args[1..].chunks_exact(2));
        let otherwise = pairs.remainder().first().cloned().map(Box::new);
        let branch = |pair: &[Expr]| -> Result<_> {
            let (value, search) = operators::compare_as(value.clone(), pair[0].clone(), self.schema)?;
            let same = binary_expr(value, Operator::IsNotDistinctFrom, search);
            Ok((Box::new(same), Box::new(pair[1].clone())))
        };
        let branches = pairs.map(branch).collect::<Result<_>>()?;
        Ok(Expr::Case(Case::new(None, branches, otherwise)))
    }

    /// The call, if its arguments fit.
    fn typed(&self, call: Expr, e: &sql::Expr) -> Result<Expr> {
        match call.get_type(self.schema) {
            Ok(_) => Ok(call),
            Err(err) => {
                let err = Error::from(err);
                let text = err.message().lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
                let known = !["INVALID_QUERY", "QUERY_EXECUTION", "INTERNAL_ERROR"].contains(&err.condition());
                Err(if known { err } else { Error::invalid("DATATYPE_MISMATCH", text) }.with_span(self.span(e)))
            }
        }
    }

    fn arguments(&self, f: &sql::Function, name: &str) -> Result<Arguments> {
        let mut out = Arguments { args: vec![], distinct: false, order_by: vec![], nulls: None };
        let list = match &f.args {
            FunctionArguments::None => return Ok(out),
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(_) => {
                return Err(unsupported(format!("a subquery as the argument of '{name}'")));
            }
        };
        out.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => out.args.push(self.expr(e)?),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" => out.args.push(lit(1i64)),
                other => return Err(unsupported(format!("the argument '{other}' of '{name}'"))),
            }
        }
        let nulls = f.null_treatment.or_else(|| {
            list.clauses.iter().find_map(|c| match c {
                sql::FunctionArgumentClause::IgnoreOrRespectNulls(n) => Some(*n),
                _ => None,
            })
        });
        out.nulls = nulls.map(|n| match n {
            sql::NullTreatment::IgnoreNulls => NullTreatment::IgnoreNulls,
            sql::NullTreatment::RespectNulls => NullTreatment::RespectNulls,
        });
        for clause in &list.clauses {
            match clause {
                sql::FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                sql::FunctionArgumentClause::OrderBy(keys) => out.order_by.extend(self.sort_keys(keys)?),
                other => return Err(unsupported(format!("the clause '{other}' of '{name}'"))),
            }
        }
        out.order_by.extend(self.sort_keys(&f.within_group)?);
        Ok(out)
    }

    /// `ORDER BY` inside a call or a window.
    fn sort_keys(&self, keys: &[sql::OrderByExpr]) -> Result<Vec<SortExpr>> {
        keys.iter().map(|k| Ok(sort_expr(self.expr(&k.expr)?, &k.options))).collect()
    }

    fn window_function(
        &self,
        name: &str,
        a: Arguments,
        over: &sql::WindowType,
        f: &sql::Function,
        e: &sql::Expr,
    ) -> Result<Expr> {
        let state = &self.planner.state;
        let definition = if let Some(udaf) = state.aggregate_functions().get(name) {
            WindowFunctionDefinition::AggregateUDF(udaf.clone())
        } else if let Some(udwf) = state.window_functions().get(name) {
            WindowFunctionDefinition::WindowUDF(udwf.clone())
        } else {
            return Err(self.unknown_function(name, e));
        };
        let sql::WindowType::WindowSpec(spec) = over else { return Err(unsupported("a named window".to_owned())) };
        let mut call = WindowFunction::new(definition, a.args);
        call.params.distinct = a.distinct;
        call.params.null_treatment = a.nulls;
        call.params.filter = f.filter.as_deref().map(|x| self.expr(x).map(Box::new)).transpose()?;
        call.params.partition_by = self.exprs(&spec.partition_by)?;
        call.params.order_by = self.sort_keys(&spec.order_by)?;
        call.params.window_frame = match &spec.window_frame {
            Some(frame) => {
                let frame = WindowFrame::try_from(frame.clone())?;
                frame.regularize_order_bys(&mut call.params.order_by)?;
                frame
            }
            None => WindowFrame::new((!call.params.order_by.is_empty()).then_some(false)),
        };
        Ok(Expr::WindowFunction(Box::new(call)))
    }

    /// The error for a function that does not exist.
    pub fn unknown_function(&self, name: &str, e: &sql::Expr) -> Error {
        let state = &self.planner.state;
        let names = state.scalar_functions().keys().chain(state.aggregate_functions().keys()).map(String::as_str);
        let mut names: Vec<&str> = names.chain(Kind::NAMES.iter().copied()).collect();
        names.sort_unstable();
        let error =
            Error::invalid("UNRESOLVED_ROUTINE", format!("function '{name}' does not exist")).with_span(self.span(e));
        match did_you_mean(name, names) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None => error,
        }
    }
}

/// The type that a function such as `int(x)` casts to.
fn cast_function(name: &str) -> Option<DataType> {
    let is_cast = matches!(
        name,
        "boolean"
            | "tinyint"
            | "smallint"
            | "int"
            | "bigint"
            | "float"
            | "double"
            | "decimal"
            | "date"
            | "timestamp"
            | "binary"
            | "string"
    );
    is_cast.then(|| parse_data_type(name).ok()).flatten()
}

/// `value`, or NULL unless its argument is above 0.
fn logarithm(value: Expr, argument: &Expr) -> Result<Expr> {
    let number = operators::cast(argument.clone(), &DataType::Float64, false);
    let branch = (Box::new(number.lt_eq(lit(0.0))), Box::new(lit(ScalarValue::Float64(None))));
    Ok(Expr::Case(Case::new(None, vec![branch], Some(Box::new(value)))))
}

/// A sort key; NULLs go first in ascending order and last in descending order, as in Spark.
pub fn sort_expr(expr: Expr, options: &sql::OrderByOptions) -> SortExpr {
    let asc = options.asc.unwrap_or(true);
    SortExpr::new(expr, asc, options.nulls_first.unwrap_or(asc))
}

fn unsupported(what: String) -> Error {
    Error::unsupported("UNSUPPORTED_FEATURE", format!("{what} is not supported"))
}
