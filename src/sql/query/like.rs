//! `LIKE` and `ILIKE`, alone and with ANY, SOME or ALL of several patterns.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, ExprSchemable, Like, Operator};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::chain::balanced;
use super::expr::ExprContext;
use super::operators;
use crate::error::{Error, Result};
use crate::function;

/// What is the same for all patterns.
pub struct LikeCall<'e> {
    pub negated: bool,
    pub any_case: bool,
    pub escape: Option<&'e sql::ValueWithSpan>,
}

impl LikeCall<'_> {
    /// The escape character, if there is one.
    fn escape(&self) -> Result<Option<char>> {
        let Some(text) = self.escape.map(|v| v.value.clone().into_string().unwrap_or_default()) else {
            return Ok(None);
        };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) => Ok(Some(one)),
            _ => {
                let message = format!("the escape '{text}' must be one character");
                Err(Error::invalid("INVALID_ESC", message)
                    .with_help("write one character, as in LIKE '5!%' ESCAPE '!'"))
            }
        }
    }
}

impl ExprContext<'_> {
    /// `LIKE pattern`, `LIKE ANY (patterns)` or `LIKE ALL (patterns)`.
    pub fn like_quantified(&self, like: &LikeCall, any: bool, e: &sql::Expr, pattern: &sql::Expr) -> Result<Expr> {
        let value = self.text(e)?;
        let Some((op, patterns)) = quantified(any, pattern) else {
            return self.like(like, value, pattern);
        };
        if patterns.is_empty() {
            let message = "expected at least one pattern between parentheses";
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", message)
                .with_span(self.span(pattern))
                .with_help("write LIKE ANY ('a%', 'b%')"));
        }
        let terms = patterns.into_iter().map(|p| self.like(like, value.clone(), p));
        Ok(balanced(terms.collect::<Result<_>>()?, op))
    }

    /// A value as text.
    fn text(&self, e: &sql::Expr) -> Result<Expr> {
        let value = self.checked(e)?;
        let t = value.get_type(self.schema)?;
        let is_text = t.is_string() || t.is_null() || t.is_nested();
        Ok(if is_text { value } else { operators::cast(value, &DataType::Utf8View, false) })
    }

    fn like(&self, like: &LikeCall, value: Expr, pattern: &sql::Expr) -> Result<Expr> {
        let mut pattern = self.text(pattern)?;
        // DataFusion knows the backslash only.
        if let Some(escape) = like.escape()?.filter(|c| *c != '\\') {
            pattern = function::like_pattern(pattern, escape);
        }
        Ok(Expr::Like(Like::new(like.negated, Box::new(value), Box::new(pattern), None, like.any_case)))
    }
}

/// The patterns, and the operator that joins their results; none for a single pattern. sqlparser reads `ALL (…)` and
/// `SOME (…)` as calls.
fn quantified(any: bool, pattern: &sql::Expr) -> Option<(Operator, Vec<&sql::Expr>)> {
    match pattern {
        sql::Expr::Tuple(items) if any => Some((Operator::Or, items.iter().collect())),
        sql::Expr::Nested(one) if any => Some((Operator::Or, vec![one.as_ref()])),
        one if any => Some((Operator::Or, vec![one])),
        sql::Expr::Function(f) => {
            let name = f.name.0.last()?.as_ident().filter(|i| i.quote_style.is_none())?.value.to_lowercase();
            let op = match name.as_str() {
                "all" => Operator::And,
                "some" | "any" => Operator::Or,
                _ => return None,
            };
            let FunctionArguments::List(list) = &f.args else { return None };
            let item = |a| match a {
                &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref e)) => Some(e),
                _ => None,
            };
            Some((op, list.args.iter().map(item).collect::<Option<_>>()?))
        }
        _ => None,
    }
}
