//! What is looked at before a function of a library is called: a count of billions, which a row may hold, is an error and
//! not a full memory; `-0.0` and `0.0` are one value.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::cast::{Mode, cast_array, is_string};
use super::real::one_zero;
use super::regex::compile;
use crate::{Error, Result};

/// How many bytes of text, or elements of an array, a call makes at most for the rows of a batch.
pub const LIMIT: i64 = 1 << 27;

/// Functions and what is looked at.
pub const GUARDED: [(&str, Guard); 11] = [
    ("space", Guard::Argument(0)),
    ("lpad", Guard::Argument(1)),
    ("rpad", Guard::Argument(1)),
    ("array_repeat", Guard::Argument(1)),
    ("format_number", Guard::Argument(1)),
    ("format_string", Guard::Format),
    ("array_distinct", Guard::Zeros),
    ("array_union", Guard::Zeros),
    ("array_intersect", Guard::Zeros),
    ("array_except", Guard::Zeros),
    ("array_remove_all", Guard::Zeros),
];

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub enum Guard {
    /// The number of this argument, which the result is as long as.
    Argument(usize),
    /// The widths in the first argument, a format as `printf` takes it.
    Format,
    /// Numbers in arrays, which are compared.
    Zeros,
}

/// The error of a result beyond [`LIMIT`].
pub fn too_large(name: &str, count: impl std::fmt::Display) -> Error {
    let message = format!("function '{name}' would make {count} characters or elements, more than {LIMIT}");
    Error::execution("COLLECTION_SIZE_LIMIT_EXCEEDED", message)
        .with_help("bound the length first, as in least(n, 1000)")
}

/// The function behind its guard.
pub fn guarded(inner: Arc<ScalarUDF>, guard: Guard) -> ScalarUDF {
    ScalarUDF::new_from_impl(Guarded { inner, guard })
}

#[derive(Debug)]
struct Guarded {
    inner: Arc<ScalarUDF>,
    guard: Guard,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Guarded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let at = match self.guard {
            Guard::Argument(i) => i,
            Guard::Format => 0,
            Guard::Zeros => return Ok(()),
        };
        let Some(argument) = args.args.get(at) else { return Ok(()) };
        // A literal counts for every row.
        let (array, times) = match argument {
            ColumnarValue::Array(array) => (Arc::clone(array), 1),
            ColumnarValue::Scalar(value) => (value.to_array()?, i64::try_from(args.number_rows.max(1)).unwrap_or(1)),
        };
        let total = match self.guard {
            Guard::Argument(_) => total_count(&array)?,
            Guard::Format | Guard::Zeros => widths(&array)?,
        };
        if total > LIMIT || (total > 1 << 16 && total.saturating_mul(times) > LIMIT) {
            return Err(too_large(self.inner.name(), total));
        }
        Ok(())
    }
}

/// The sum of the counts of all rows; text that is no number is for the function itself.
fn total_count(array: &ArrayRef) -> Result<i64> {
    if !array.data_type().is_numeric() && !is_string(array.data_type()) {
        return Ok(0);
    }
    let counts = cast_array(array, &DataType::Int64, Mode::Try, crate::time_zone::Tz::UTC)?;
    Ok(counts.as_primitive::<Int64Type>().iter().flatten().fold(0, |sum: i64, n| sum.saturating_add(n.max(0))))
}

/// The sum of the widths and precisions in the formats of all rows.
fn widths(array: &ArrayRef) -> Result<i64> {
    if !is_string(array.data_type()) {
        return Ok(0);
    }
    let formats = cast_array(array, &DataType::Utf8View, Mode::Ansi, crate::time_zone::Tz::UTC)?;
    let numbers = compile("%[^a-zA-Z%]*")?;
    let digits = compile("[0-9]+")?;
    let mut total = 0i64;
    for format in formats.as_string_view().iter().flatten() {
        for number in numbers.find_iter(format).flat_map(|spec| digits.find_iter(spec.as_str())) {
            total = total.saturating_add(number.as_str().parse().unwrap_or(i64::MAX));
        }
    }
    Ok(total)
}

/// Arrays without the elements that equal a struct or an array.
fn without_nested(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let array = |i: usize| -> Result<ArrayRef> { one_zero(&args.args[i].to_array(args.number_rows)?) };
    Ok(ColumnarValue::Array(super::order::without(&array(0)?, &array(1)?)?))
}

/// The same with one zero.
fn one_zero_value(value: ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(one_zero(&array)?),
        ColumnarValue::Scalar(scalar) => {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&one_zero(&scalar.to_array()?)?, 0)?)
        }
    })
}

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<Arc<Field>> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        // Only a change of the arguments: another expression would go without the limit.
        match self.inner.simplify(args.clone(), info)? {
            ExprSimplifyResult::Original(args) => Ok(ExprSimplifyResult::Original(args)),
            ExprSimplifyResult::Simplified(_) => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.check(&args)?;
        if matches!(self.guard, Guard::Zeros) {
            let item = |t: &DataType| matches!(t, DataType::List(item) if item.data_type().is_nested());
            if self.name() == "array_remove_all" && item(&args.args[0].data_type()) {
                return without_nested(&args).map_err(Into::into);
            }
            args.args = args.args.into_iter().map(one_zero_value).collect::<Result<_>>()?;
        }
        self.inner.invoke_with_args(args)
    }
}
