//! `CAST` and `TRY_CAST` as an expression.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Mode, can_cast, cast_array, cast_refused};
use crate::function::scalar::session_time_zone;
use crate::type_name::sql_type_name;

/// `CAST(expr AS to)`; with `try_` it is `TRY_CAST`, which gives NULL where the other fails.
pub fn cast(expr: Expr, to: &DataType, try_: bool) -> Expr {
    let mode = if try_ { Mode::Try } else { Mode::Ansi };
    ScalarUDF::new_from_impl(Cast::new(to.clone(), mode)).call(vec![expr])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    to: DataType,
    mode: Mode,
    signature: Signature,
}

impl Cast {
    fn new(to: DataType, mode: Mode) -> Self {
        Self { to, mode, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        match self.mode {
            Mode::Ansi => "cast",
            Mode::Try => "try_cast",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let arg = args.first().map(|a| a.schema_name().to_string()).unwrap_or_default();
        Ok(format!("{}({arg} AS {})", self.name().to_uppercase(), sql_type_name(&self.to)))
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        match arg_types.first() {
            Some(from) if !can_cast(from, &self.to) => Err(cast_refused(from, &self.to).into()),
            _ => Ok(self.to.clone()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        // The name stays the argument's, as with DataFusion's own cast; only a total cast keeps NOT NULL.
        let (name, same) =
            args.arg_fields.first().map_or(("", false), |f| (f.name().as_str(), f.data_type() == &self.to));
        let nullable = !same || args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(name, self.return_type(&types)?, nullable)))
    }

    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        if args.len() == 1 && info.get_data_type(&args[0])? == self.to {
            return Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let tz = session_time_zone(&args.config_options);
        let [arg] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        match arg {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(cast_array(&array, &self.to, self.mode, tz)?)),
            ColumnarValue::Scalar(value) => {
                let array = cast_array(&value.to_array()?, &self.to, self.mode, tz)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}
