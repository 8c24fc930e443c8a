//! `window_time(window)`: the time that stands for a window.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::types::{window_times, window_type, with_watermark, wrong_type};

/// The time that stands for a window: the last microsecond of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct WindowTime {
    signature: Signature,
}

impl WindowTime {
    /// The function.
    pub fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        "window_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args.first() {
            Some(t @ DataType::Struct(_)) => {
                window_type(t).map(|(_, time)| time).map_err(|_| wrong_type("window_time", t).into())
            }
            other => Err(wrong_type("window_time", other.unwrap_or(&DataType::Null)).into()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let data_type = self.return_type(&[args.arg_fields[0].data_type().clone()])?;
        Ok(with_watermark(self.name(), data_type, &args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Array(window_times(&args.args[0].to_array(args.number_rows)?)?))
    }
}
