//! Lists that something is looked for in.
//!
//! DataFusion asks a list for its values over no rows, and takes it for constant if each gives one. A CASE does, whatever its
//! columns hold: it has no row to ask. So an element of a list with columns stands in a call that gives a value for each row.
//! And it takes `-0.0` for another number than `0.0` in a list, though not in a comparison.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::function::one_zero;

/// The list as DataFusion is to execute it.
pub fn executable(looked: InList, schema: &DFSchema) -> DfResult<InList> {
    let mut looked = looked;
    if looked.expr.get_type(schema)?.is_floating() {
        *looked.expr = without_sign(std::mem::take(&mut looked.expr));
        looked.list = looked.list.into_iter().map(without_sign).collect();
    }
    // A column alone is an array, over no rows too: that is enough to tell.
    let is_plain = looked.list.iter().any(|item| matches!(item, Expr::Column(_)));
    if !is_plain && let Some(item) = looked.list.iter_mut().find(|item| item.any_column_refs() || item.is_volatile()) {
        let each = ScalarUDF::new_from_impl(Each { signature: Signature::any(1, Volatility::Immutable) });
        *item = each.call(vec![std::mem::take(item)]);
    }
    Ok(looked)
}

/// The number, where `-0.0` is `0.0`.
fn without_sign(e: Expr) -> Expr {
    match e {
        Expr::Literal(ScalarValue::Float64(Some(x)), m) => Expr::Literal(ScalarValue::Float64(Some(x + 0.0)), m),
        Expr::Literal(ScalarValue::Float32(Some(x)), m) => Expr::Literal(ScalarValue::Float32(Some(x + 0.0)), m),
        other => one_zero(other),
    }
}

/// Gives its argument, as one value for each row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Each {
    signature: Signature,
}

impl ScalarUDFImpl for Each {
    fn name(&self) -> &str {
        "__each"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        args.args.swap_remove(0).into_array(args.number_rows).map(ColumnarValue::Array)
    }
}
