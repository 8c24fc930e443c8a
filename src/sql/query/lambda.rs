//! Calls with a lambda, `x -> x + 1` or `(x, y) -> x + y`, whose parameters are names in its body.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda, LambdaVariable};
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{Expr, ExprSchemable, HigherOrderUDF, LambdaParametersProgress, ValueOrLambda};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident};

use super::expr::ExprContext;
use super::scope::eq_names;
use crate::error::{Error, Result};
use crate::function;

/// The parameters of a lambda, and of those around it.
pub struct LambdaScope<'c> {
    outer: Option<&'c LambdaScope<'c>>,
    parameters: Vec<(String, FieldRef)>,
}

impl LambdaScope<'_> {
    /// The parameter of this name, the innermost first.
    pub fn find(&self, name: &Ident) -> Option<Expr> {
        match self.parameters.iter().find(|(n, _)| eq_names(n, &name.value)) {
            Some((name, field)) => {
                Some(Expr::LambdaVariable(LambdaVariable::new(name.clone(), Some(Arc::clone(field)))))
            }
            None => self.outer.and_then(|outer| outer.find(name)),
        }
    }
}

fn lambda(arg: &FunctionArg) -> Option<&sql::LambdaFunction> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(sql::Expr::Lambda(lambda))) => Some(lambda),
        _ => None,
    }
}

impl ExprContext<'_> {
    /// The call, if one of its arguments is a lambda.
    pub fn higher_order(&self, name: &str, f: &sql::Function, e: &sql::Expr) -> Result<Option<Expr>> {
        let FunctionArguments::List(list) = &f.args else { return Ok(None) };
        if !list.args.iter().any(|a| lambda(a).is_some()) {
            return match function::lambda::function(name) {
                Some(_) if !self.is_function(name) => Err(Error::invalid(
                    "INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH",
                    format!("function '{name}' takes a lambda, and none is given"),
                )
                .with_help(format!("write {name}(a, x -> …)"))
                .with_span(self.span(e))),
                _ => Ok(None),
            };
        }
        let Some(udf) = function::lambda::function(name) else {
            if !self.is_function(name) {
                return Err(self.unknown_function(name, e));
            }
            let message = format!("function '{name}' does not take a lambda");
            return Err(Error::invalid("INVALID_LAMBDA_FUNCTION_CALL.NON_HIGHER_ORDER_FUNCTION", message)
                .with_help(format!("call it inside of one that does: transform(a, x -> {name}(x))"))
                .with_span(self.span(e)));
        };
        let mut values = vec![];
        for arg in list.args.iter().filter(|a| lambda(a).is_none()) {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) = arg else {
                let message = format!("the argument '{arg}' of '{name}' is not supported");
                return Err(
                    Error::unsupported("UNSUPPORTED_FEATURE", message).with_help("give plain values and a lambda")
                );
            };
            values.push(self.checked(e)?);
        }
        let lambdas: Vec<_> = list.args.iter().filter_map(lambda).collect();
        let parameters =
            self.lambda_parameters(&udf, &values, lambdas.len()).map_err(|err| err.with_span(self.span(e)))?;
        let mut lambdas = lambdas.into_iter().zip(parameters);
        let mut values = values.into_iter();
        let args = list.args.iter().map(|arg| match lambda(arg) {
            None => Ok(values.next().unwrap_or(Expr::Literal(ScalarValue::Null, None))),
            Some(_) => match lambdas.next() {
                Some((lambda, parameters)) => self.lambda(name, lambda, parameters),
                None => Err(Error::internal("a lambda without parameters")),
            },
        });
        let args = args.collect::<Result<Vec<_>>>()?;
        Ok(Some(Expr::HigherOrderFunction(HigherOrderFunction::new(udf, args))))
    }

    fn lambda_parameters(&self, udf: &HigherOrderUDF, values: &[Expr], lambdas: usize) -> Result<Vec<Vec<FieldRef>>> {
        let mut fields = vec![];
        for value in values {
            fields.push(ValueOrLambda::Value(value.to_field(self.schema)?.1));
        }
        fields.extend((0..lambdas).map(|_| ValueOrLambda::Lambda(None)));
        match udf.lambda_parameters(0, &fields)? {
            LambdaParametersProgress::Complete(parameters) => Ok(parameters),
            LambdaParametersProgress::Partial(_) => Err(Error::internal("the parameters of a lambda are unknown")),
        }
    }

    fn lambda(&self, function: &str, lambda: &sql::LambdaFunction, fields: Vec<FieldRef>) -> Result<Expr> {
        let names: Vec<String> = lambda.params.iter().map(|p| p.name.value.clone()).collect();
        let span = || lambda.params.iter().next().and_then(|p| self.planner.lines.span(p.name.span));
        // The position of an element is a parameter that may be left out.
        let fits = names.len() == fields.len() || (names.len() == 1 && matches!(function, "transform" | "filter"));
        if !fits {
            let plural = if names.len() == 1 { "" } else { "s" };
            let message = format!(
                "the lambda of '{function}' has {} parameter{plural}, but {} are needed",
                names.len(),
                fields.len()
            );
            let wanted = ["x", "y", "z"].into_iter().take(fields.len()).collect::<Vec<_>>().join(", ");
            return Err(Error::invalid("INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH", message)
                .with_help(format!("write ({wanted}) -> …"))
                .with_span(span()));
        }
        if (1..names.len()).any(|i| names[..i].iter().any(|n| eq_names(n, &names[i]))) {
            let message = "two parameters of the lambda have one name";
            return Err(Error::invalid("INVALID_LAMBDA_FUNCTION_CALL.DUPLICATE_ARG_NAMES", message)
                .with_help("names are the same in any case: rename one")
                .with_span(span()));
        }
        let scope = LambdaScope { outer: self.lambdas, parameters: names.iter().cloned().zip(fields).collect() };
        let inner = ExprContext { lambdas: Some(&scope), ..*self };
        let body = inner.checked(&lambda.body)?;
        if !find_aggregate_exprs([&body]).is_empty() {
            let message = format!("the lambda of '{function}' contains an aggregate function");
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("the elements of an array are summed up by aggregate(a, 0, (sum, x) -> sum + x)")
                .with_span(self.span(&lambda.body)));
        }
        Ok(Expr::Lambda(Lambda::new(names, body)))
    }
}
