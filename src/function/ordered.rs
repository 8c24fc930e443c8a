//! AND, OR and CASE whose terms are evaluated from left to right, each only where those before it leave the result open.
//!
//! DataFusion's AND and OR evaluate the right side for all rows unless few are left, and its optimizer takes them apart, turns
//! them round and makes them of a CASE. So while it works, terms that can fail stand in a call that it does not look into;
//! at the end the call becomes a CASE, which evaluates a branch for the rows that reach it.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and_kleene, or_kleene, prep_null_mask_filter};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, and, lit, or,
};

use super::can_fail;

/// What the terms are joined to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ordered {
    /// All of them hold.
    And,
    /// One of them holds.
    Or,
    /// Condition and result in turn, and what is otherwise; all of BOOLEAN.
    Case,
}

impl Ordered {
    /// The call.
    pub fn call(self, terms: Vec<Expr>) -> Expr {
        let signature = Signature::variadic_any(Volatility::Immutable);
        ScalarUDF::new_from_impl(OrderedFunction { kind: self, signature }).call(terms)
    }

    /// What the expression is a call of, with its terms.
    pub fn of(e: &Expr) -> Option<(Self, &[Expr])> {
        let Expr::ScalarFunction(call) = e else { return None };
        let function = call.func.inner().downcast_ref::<OrderedFunction>()?;
        Some((function.kind, &call.args))
    }

    /// The terms joined by the plain operator; only of AND and OR.
    pub fn plain(self, terms: Vec<Expr>) -> Expr {
        let join = if self == Self::And { and } else { or };
        terms.into_iter().reduce(join).unwrap_or_else(|| lit(self == Self::And))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedFunction {
    kind: Ordered,
    signature: Signature,
}

impl OrderedFunction {
    fn text(&self, args: impl Iterator<Item = String>) -> String {
        let args: Vec<String> = args.collect();
        match self.kind {
            Ordered::And => format!("({})", args.join(" AND ")),
            Ordered::Or => format!("({})", args.join(" OR ")),
            Ordered::Case => format!("CASE({})", args.join(", ")),
        }
    }
}

impl ScalarUDFImpl for OrderedFunction {
    fn name(&self) -> &str {
        match self.kind {
            Ordered::And => "and",
            Ordered::Or => "or",
            Ordered::Case => "case",
        }
    }

    fn display_name(&self, args: &[Expr]) -> DfResult<String> {
        Ok(self.text(args.iter().map(ToString::to_string)))
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        Ok(self.text(args.iter().map(|a| a.schema_name().to_string())))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    /// Only the first term is evaluated for every row.
    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        let (first, rest) = args.split_at(args.len().min(1));
        Some((first.iter().collect(), rest.iter().collect()))
    }

    fn short_circuits(&self) -> bool {
        true
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        if self.kind == Ordered::Case {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let neutral = self.kind == Ordered::And;
        let count = args.len();
        let mut terms = vec![];
        for arg in args {
            match arg {
                Expr::Literal(ScalarValue::Boolean(Some(value)), _) if value == neutral => {}
                Expr::Literal(ScalarValue::Boolean(Some(_)), _) => {
                    terms.push(arg);
                    break;
                }
                arg => terms.push(arg),
            }
        }
        let plain = !terms.iter().skip(1).any(|t| can_fail(t, info.schema()));
        Ok(match plain {
            true => ExprSimplifyResult::Simplified(self.kind.plain(terms)),
            false if terms.len() < count => ExprSimplifyResult::Simplified(self.kind.call(terms)),
            false => ExprSimplifyResult::Original(terms),
        })
    }

    /// Of constants: a plan that is executed holds a CASE instead.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let mut terms = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
        for term in &mut terms {
            *term = arrow::compute::cast(term, &DataType::Boolean)?;
        }
        let result: ArrayRef = match self.kind {
            Ordered::Case => chosen(terms, rows)?,
            kind => {
                let join = if kind == Ordered::And { and_kleene } else { or_kleene };
                let mut all = BooleanArray::from(vec![kind == Ordered::And; rows]);
                for term in &terms {
                    all = join(&all, term.as_boolean())?;
                }
                std::sync::Arc::new(all)
            }
        };
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

/// For each row the result of the first condition that is true.
fn chosen(mut terms: Vec<ArrayRef>, rows: usize) -> DfResult<ArrayRef> {
    let otherwise = if terms.len() % 2 == 1 { terms.pop() } else { None };
    let mut result = otherwise.unwrap_or_else(|| std::sync::Arc::new(BooleanArray::new_null(rows)));
    while let (Some(then), Some(when)) = (terms.pop(), terms.pop()) {
        let when = when.as_boolean();
        let when = if when.null_count() > 0 { prep_null_mask_filter(when) } else { when.clone() };
        result = zip(&when, &then, &result)?;
    }
    Ok(result)
}
