//! The values of the row for which a subquery is computed, as its plan sees them.

use parking_lot::RwLock;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// One value for each parameter of a subquery. Set before the subquery's plan is executed, and read by it.
#[derive(Debug, Default)]
pub struct Parameters(RwLock<Vec<ScalarValue>>);

impl Parameters {
    /// The values for the next execution.
    pub fn set(&self, values: Vec<ScalarValue>) {
        *self.0.write() = values;
    }

    fn get(&self, index: usize) -> Option<ScalarValue> {
        self.0.read().get(index).cloned()
    }
}

/// The call that stands for a parameter in the subquery's plan.
pub fn parameter(values: &Arc<Parameters>, index: usize, data_type: DataType) -> Expr {
    let function =
        Parameter { values: values.clone(), index, data_type, signature: Signature::nullary(Volatility::Volatile) };
    ScalarUDF::new_from_impl(function).call(vec![])
}

/// Volatile, so that nothing takes the value of one execution for that of all.
#[derive(Debug)]
struct Parameter {
    values: Arc<Parameters>,
    index: usize,
    data_type: DataType,
    signature: Signature,
}

impl PartialEq for Parameter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.values, &other.values) && self.index == other.index
    }
}

impl Eq for Parameter {}

impl Hash for Parameter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (Arc::as_ptr(&self.values) as usize, self.index).hash(state);
    }
}

impl ScalarUDFImpl for Parameter {
    fn name(&self) -> &str {
        "outer"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = self.values.get(self.index);
        Ok(ColumnarValue::Scalar(value.map_or_else(|| ScalarValue::try_from(&self.data_type), Ok)?))
    }
}
