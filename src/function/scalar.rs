//! A scalar function made of two plain Rust functions: one for its type, one for its rows.
//!
//! Arguments reach the body as they are; it asks for the type it wants and gets Spark's implicit cast. So one function
//! accepts every string encoding, every integer width and `NULL`.

use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::cast::{Mode, cast_array};
use crate::{Error, Result};

/// Gives the result's type from the arguments' types and literal values.
pub type ReturnType = fn(&Types) -> Result<DataType>;
/// Computes all rows.
pub type Body = fn(&Call) -> Result<ArrayRef>;

/// The types of a call, and the values of the arguments that are literals.
pub struct Types<'a>(ReturnFieldArgs<'a>);

impl Types<'_> {
    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.0.arg_fields.len()
    }

    /// The type of argument `i`; `Null` if it is absent.
    pub fn get(&self, i: usize) -> &DataType {
        self.0.arg_fields.get(i).map_or(&DataType::Null, |f| f.data_type())
    }

    /// The name of argument `i`.
    pub fn name(&self, i: usize) -> &str {
        self.0.arg_fields.get(i).map_or("", |f| f.name())
    }

    /// All types.
    pub fn all(&self) -> Vec<DataType> {
        self.0.arg_fields.iter().map(|f| f.data_type().clone()).collect()
    }

    /// The value of argument `i` if it is a literal.
    pub fn literal(&self, i: usize) -> Option<&ScalarValue> {
        self.0.scalar_arguments.get(i).copied().flatten()
    }

    /// The text of argument `i` if it is a string literal.
    pub fn literal_str(&self, i: usize) -> Option<&str> {
        self.literal(i).and_then(|v| v.try_as_str().flatten())
    }
}

/// The arguments of one invocation over a batch.
pub struct Call {
    args: ScalarFunctionArgs,
    rows: usize,
}

impl Call {
    fn new(args: ScalarFunctionArgs) -> Self {
        // All literals: one row stands for all.
        let literal = !args.args.is_empty() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if literal { 1 } else { args.number_rows };
        Self { args, rows }
    }

    /// How many rows the result must have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.args.args.len()
    }

    /// The type the result must have.
    pub fn return_type(&self) -> &DataType {
        self.args.return_field.data_type()
    }

    /// The argument as it came; only for `i < len()`.
    pub fn value(&self, i: usize) -> &ColumnarValue {
        &self.args.args[i]
    }

    /// The argument's value if it is a literal.
    pub fn literal(&self, i: usize) -> Option<&ScalarValue> {
        match self.args.args.get(i) {
            Some(ColumnarValue::Scalar(value)) => Some(value),
            _ => None,
        }
    }

    /// The text of argument `i` if it is a string literal that is not NULL.
    pub fn literal_str(&self, i: usize) -> Option<&str> {
        self.literal(i).and_then(|v| v.try_as_str().flatten())
    }

    /// Argument `i` as an array of all rows.
    pub fn array(&self, i: usize) -> Result<ArrayRef> {
        match self.args.args.get(i) {
            Some(value) => Ok(value.to_array(self.rows)?),
            None => Err(Error::internal(format!("a function has no argument number {i}"))),
        }
    }

    /// All arguments as arrays.
    pub fn arrays(&self) -> Result<Vec<ArrayRef>> {
        (0..self.len()).map(|i| self.array(i)).collect()
    }

    /// Argument `i`, cast implicitly to `to`.
    pub fn cast(&self, i: usize, to: &DataType) -> Result<ArrayRef> {
        cast_array(&self.array(i)?, to, Mode::Ansi, self.tz())
    }

    /// Argument `i` as strings.
    pub fn strings(&self, i: usize) -> Result<StringViewArray> {
        Ok(self.cast(i, &DataType::Utf8View)?.as_string_view().clone())
    }

    /// Argument `i` as INT.
    pub fn ints(&self, i: usize) -> Result<Int32Array> {
        Ok(self.cast(i, &DataType::Int32)?.as_primitive::<Int32Type>().clone())
    }

    /// Argument `i` as BIGINT.
    pub fn longs(&self, i: usize) -> Result<Int64Array> {
        Ok(self.cast(i, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }

    /// Argument `i` as DOUBLE.
    pub fn doubles(&self, i: usize) -> Result<Float64Array> {
        Ok(self.cast(i, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
    }

    /// Argument `i` as TIMESTAMP.
    pub fn timestamps(&self, i: usize) -> Result<TimestampMicrosecondArray> {
        Ok(self.cast(i, &timestamp())?.as_primitive::<TimestampMicrosecondType>().clone())
    }

    /// The session's time zone as it was set.
    pub fn zone_name(&self) -> &str {
        self.args.config_options.execution.time_zone.as_deref().unwrap_or("UTC")
    }

    /// The session's time zone.
    pub fn tz(&self) -> Tz {
        session_time_zone(&self.args.config_options)
    }
}

/// `execution.time_zone` of the session; UTC if it is unset or no zone.
pub fn session_time_zone(config: &ConfigOptions) -> Tz {
    config.execution.time_zone.as_deref().and_then(parse_time_zone).unwrap_or(Tz::UTC)
}

/// A zone's name, one of Java's short ones too, or an offset such as `+05:30` and `UTC+1`.
pub fn parse_time_zone(text: &str) -> Option<Tz> {
    text.parse().ok()
}

/// Spark's TIMESTAMP.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// An array type with nullable elements.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// A function named `name` that takes `arity` arguments.
pub fn function(name: &'static str, arity: RangeInclusive<usize>, return_type: ReturnType, body: Body) -> ScalarUDF {
    // A call without arguments is refused before it gets to `coerce_types`, unless the signature names it.
    let signature = if *arity.start() == 0 {
        Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::UserDefined], Volatility::Immutable)
    } else {
        Signature::user_defined(Volatility::Immutable)
    };
    ScalarUDF::new_from_impl(Function { name, arity, signature, return_type, body })
}

struct Function {
    name: &'static str,
    arity: RangeInclusive<usize>,
    signature: Signature,
    return_type: ReturnType,
    body: Body,
}

impl Function {
    fn checked_type(&self, args: ReturnFieldArgs) -> Result<DataType> {
        let got = args.arg_fields.len();
        if self.arity.contains(&got) {
            return (self.return_type)(&Types(args));
        }
        let (least, most) = (self.arity.start(), self.arity.end());
        let wanted = match (least, most) {
            (least, &usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(super::wrong_count(self.name, &wanted, got))
    }
}

// A name stands for one function only, so it is the identity.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Function({})", self.name)
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        // DataFusion keeps the text only of an error from here, so wrong arguments are refused with the type.
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        let fields: Vec<_> =
            arg_types.iter().enumerate().map(|(i, t)| Arc::new(Field::new(format!("_{i}"), t.clone(), true))).collect();
        let scalar_arguments = vec![None; fields.len()];
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalar_arguments };
        Ok(self.checked_type(args)?)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<Arc<Field>> {
        Ok(Arc::new(Field::new(self.name, self.checked_type(args)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let call = Call::new(args);
        let scalar = call.rows == 1 && !call.args.args.iter().any(|a| matches!(a, ColumnarValue::Array(_)));
        let result = (self.body)(&call)?;
        if scalar && !call.args.args.is_empty() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
