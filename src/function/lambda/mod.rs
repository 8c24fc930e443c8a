//! Functions that take a lambda: `transform`, `filter`, `aggregate` and their like.
//!
//! A lambda is evaluated once over the elements of all rows side by side, with the columns it captures repeated for each
//! element; only `aggregate` and `array_sort` go step by step, all rows at once.

mod array;
mod map;
mod sort;

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderTypeSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::collection::entry_types;
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// The function of this name, in lower case.
pub fn function(name: &str) -> Option<Arc<HigherOrderUDF>> {
    let kind = match name {
        "transform" => Kind::Transform,
        "filter" => Kind::Filter,
        "exists" | "any_match" => Kind::Exists,
        "forall" | "all_match" => Kind::ForAll,
        "aggregate" | "reduce" => Kind::Aggregate,
        "zip_with" => Kind::ZipWith,
        "array_sort" => Kind::ArraySort,
        "map_filter" => Kind::MapFilter,
        "transform_keys" => Kind::TransformKeys,
        "transform_values" => Kind::TransformValues,
        "map_zip_with" => Kind::MapZipWith,
        _ => return None,
    };
    let signature = HigherOrderSignature::new(HigherOrderTypeSignature::VariadicAny, Volatility::Immutable);
    Some(Arc::new(HigherOrderUDF::new_from_impl(HigherOrder { kind, signature })))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Transform,
    Filter,
    Exists,
    ForAll,
    Aggregate,
    ZipWith,
    ArraySort,
    MapFilter,
    TransformKeys,
    TransformValues,
    MapZipWith,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HigherOrder {
    kind: Kind,
    signature: HigherOrderSignature,
}

/// The types of the arguments that are no lambda, and those of the lambdas' bodies as far as they are known.
struct Shape {
    values: Vec<DataType>,
    bodies: Vec<Option<DataType>>,
}

impl Shape {
    fn value(&self, i: usize) -> &DataType {
        self.values.get(i).unwrap_or(&DataType::Null)
    }

    fn element(&self, i: usize) -> Result<DataType> {
        match self.value(i) {
            DataType::List(field) => Ok(field.data_type().clone()),
            DataType::Null => Ok(DataType::Null),
            other => Err(wrong_type("ARRAY", other)),
        }
    }

    fn body(&self, i: usize) -> DataType {
        self.bodies.get(i).cloned().flatten().unwrap_or(DataType::Null)
    }
}

fn wrong_type(wanted: &str, got: &DataType) -> Error {
    let message = format!("a function with a lambda needs {wanted}, not {}", sql_type_name(got));
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(match wanted {
        "BOOLEAN" => "the lambda must be a condition, as in x -> x > 0",
        "INT" => {
            "the lambda must give -1, 0 or 1, as in (a, b) -> CASE WHEN a < b THEN -1 WHEN a > b THEN 1 ELSE 0 END"
        }
        _ => super::type_help(got),
    })
}

fn parameters(types: Vec<DataType>) -> Vec<FieldRef> {
    types.into_iter().map(|t| Arc::new(Field::new("", t, true))).collect()
}

impl HigherOrder {
    /// How many arguments come before the lambdas, and how many lambdas there may be.
    fn arity(&self) -> (usize, std::ops::RangeInclusive<usize>) {
        match self.kind {
            Kind::Aggregate => (2, 1..=2),
            Kind::ZipWith | Kind::MapZipWith => (2, 1..=1),
            _ => (1, 1..=1),
        }
    }

    fn check_arity(&self, values: usize, lambdas: usize) -> Result<()> {
        let (wanted, range) = self.arity();
        if values == wanted && range.contains(&lambdas) {
            return Ok(());
        }
        let noun = if wanted == 1 { "argument" } else { "arguments" };
        let message = format!("function '{}' takes {wanted} {noun} and then its lambda", self.name());
        let help = match self.kind {
            Kind::Aggregate => "write aggregate(a, 0, (sum, x) -> sum + x)".to_owned(),
            Kind::ZipWith | Kind::MapZipWith => format!("write {}(a, b, … -> …)", self.name()),
            _ => format!("write {}(a, x -> …)", self.name()),
        };
        Err(Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message).with_help(help))
    }

    /// The parameters that each lambda may have.
    fn parameters(&self, shape: &Shape) -> Result<Vec<Vec<DataType>>> {
        Ok(match self.kind {
            Kind::Transform | Kind::Filter => vec![vec![shape.element(0)?, DataType::Int32]],
            Kind::Exists | Kind::ForAll => vec![vec![shape.element(0)?]],
            Kind::ArraySort => vec![vec![shape.element(0)?; 2]],
            Kind::Aggregate => {
                let zero = shape.value(1).clone();
                vec![vec![zero.clone(), shape.element(0)?], vec![zero]]
            }
            Kind::ZipWith => vec![vec![shape.element(0)?, shape.element(1)?]],
            Kind::MapFilter | Kind::TransformKeys | Kind::TransformValues => {
                let (key, value) = entry_types(shape.value(0))?;
                vec![vec![key, value]]
            }
            Kind::MapZipWith => {
                let ((key, left), (_, right)) = (entry_types(shape.value(0))?, entry_types(shape.value(1))?);
                vec![vec![key, left, right]]
            }
        })
    }

    fn result(&self, shape: &Shape) -> Result<DataType> {
        use super::collection::map_of;
        use super::scalar::list_of;
        let body = shape.body(0);
        Ok(match self.kind {
            Kind::Transform | Kind::ZipWith => list_of(body),
            Kind::Filter | Kind::ArraySort | Kind::MapFilter => {
                if self.kind == Kind::ArraySort && body != DataType::Int32 && body != DataType::Null {
                    return Err(wrong_type("INT", &body));
                }
                shape.value(0).clone()
            }
            Kind::Exists | Kind::ForAll => DataType::Boolean,
            Kind::Aggregate => {
                if &body != shape.value(1) {
                    let message = format!(
                        "the lambda gives \"{}\", but the first value is \"{}\"",
                        sql_type_name(&body),
                        sql_type_name(shape.value(1))
                    );
                    return Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
                        .with_help("cast the first value to the type that the lambda gives"));
                }
                if shape.bodies.len() > 1 { shape.body(1) } else { body }
            }
            Kind::TransformKeys => map_of(body, entry_types(shape.value(0))?.1),
            Kind::TransformValues => map_of(entry_types(shape.value(0))?.0, body),
            Kind::MapZipWith => map_of(entry_types(shape.value(0))?.0, body),
        })
    }
}

fn is_predicate(kind: Kind) -> bool {
    matches!(kind, Kind::Filter | Kind::Exists | Kind::ForAll | Kind::MapFilter)
}

/// The types of the fields, apart.
fn shape_of<'f>(fields: impl Iterator<Item = ValueOrLambda<&'f FieldRef, Option<&'f FieldRef>>>) -> Shape {
    let mut shape = Shape { values: vec![], bodies: vec![] };
    for field in fields {
        match field {
            ValueOrLambda::Value(f) => shape.values.push(f.data_type().clone()),
            ValueOrLambda::Lambda(f) => shape.bodies.push(f.map(|f| f.data_type().clone())),
        }
    }
    shape
}

impl HigherOrderUDFImpl for HigherOrder {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Transform => "transform",
            Kind::Filter => "filter",
            Kind::Exists => "exists",
            Kind::ForAll => "forall",
            Kind::Aggregate => "aggregate",
            Kind::ZipWith => "zip_with",
            Kind::ArraySort => "array_sort",
            Kind::MapFilter => "map_filter",
            Kind::TransformKeys => "transform_keys",
            Kind::TransformValues => "transform_values",
            Kind::MapZipWith => "map_zip_with",
        }
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        _step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> DfResult<LambdaParametersProgress> {
        let shape = shape_of(fields.iter().map(|f| match f {
            ValueOrLambda::Value(f) => ValueOrLambda::Value(f),
            ValueOrLambda::Lambda(f) => ValueOrLambda::Lambda(f.as_ref()),
        }));
        self.check_arity(shape.values.len(), shape.bodies.len())?;
        let lambdas = self.parameters(&shape)?.into_iter().take(shape.bodies.len());
        Ok(LambdaParametersProgress::Complete(lambdas.map(parameters).collect()))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> DfResult<FieldRef> {
        let shape = shape_of(args.arg_fields.iter().map(|f| match f {
            ValueOrLambda::Value(f) => ValueOrLambda::Value(f),
            ValueOrLambda::Lambda(f) => ValueOrLambda::Lambda(Some(f)),
        }));
        self.check_arity(shape.values.len(), shape.bodies.len())?;
        let body = shape.body(0);
        if is_predicate(self.kind) && !matches!(body, DataType::Boolean | DataType::Null) {
            return Err(wrong_type("BOOLEAN", &body).into());
        }
        Ok(Arc::new(Field::new(self.name(), self.result(&shape)?, true)))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> DfResult<ColumnarValue> {
        let call = LambdaCall::new(args)?;
        if call.values.iter().any(|v| v.data_type() == &DataType::Null && self.kind != Kind::Aggregate) {
            return Ok(ColumnarValue::Array(new_null_array(&call.return_type, call.rows)));
        }
        let result = match self.kind {
            Kind::Transform => array::transform(&call),
            Kind::Filter => array::filter(&call),
            Kind::Exists => array::any(&call, true),
            Kind::ForAll => array::any(&call, false),
            Kind::Aggregate => array::aggregate(&call),
            Kind::ZipWith => array::zip_with(&call),
            Kind::ArraySort => sort::array_sort(&call),
            Kind::MapFilter => map::filter(&call),
            Kind::TransformKeys => map::transform(&call, 0),
            Kind::TransformValues => map::transform(&call, 1),
            Kind::MapZipWith => map::zip_with(&call),
        };
        Ok(ColumnarValue::Array(result?))
    }
}

/// The arguments of one invocation.
struct LambdaCall {
    values: Vec<ArrayRef>,
    lambdas: Vec<LambdaArgument>,
    bodies: Vec<DataType>,
    rows: usize,
    return_type: DataType,
}

impl LambdaCall {
    fn new(args: HigherOrderFunctionArgs) -> Result<Self> {
        let return_type = args.return_type().clone();
        let (mut values, mut lambdas, mut bodies) = (vec![], vec![], vec![]);
        for (arg, field) in args.args.into_iter().zip(&args.arg_fields) {
            match (arg, field) {
                (ValueOrLambda::Value(value), _) => values.push(value.into_array(args.number_rows)?),
                (ValueOrLambda::Lambda(lambda), ValueOrLambda::Lambda(body) | ValueOrLambda::Value(body)) => {
                    lambdas.push(lambda);
                    bodies.push(body.data_type().clone());
                }
            }
        }
        Ok(Self { values, lambdas, bodies, rows: args.number_rows, return_type })
    }

    /// Lambda `i` over `params`; `rows` says of which row each of them is.
    fn evaluate(&self, i: usize, params: &[ArrayRef], rows: &UInt32Array) -> Result<ArrayRef> {
        let (Some(lambda), Some(body)) = (self.lambdas.get(i), self.bodies.get(i)) else {
            return Err(Error::internal("a lambda is missing"));
        };
        if rows.is_empty() {
            return Ok(new_empty_array(body));
        }
        let getters: Vec<_> = params.iter().map(|p| move || Ok(Arc::clone(p))).collect();
        let getters: Vec<&dyn Fn() -> DfResult<ArrayRef>> = getters.iter().map(|g| g as _).collect();
        let captured = |arrays: &[ArrayRef]| Ok(arrow::compute::take_arrays(arrays, rows, None)?);
        Ok(lambda.evaluate(&getters, captured)?.into_array(rows.len())?)
    }

    /// The same of a condition; NULL of a body that is NULL.
    fn predicate(&self, params: &[ArrayRef], rows: &UInt32Array) -> Result<BooleanArray> {
        let result = self.evaluate(0, params, rows)?;
        Ok(match result.as_boolean_opt() {
            Some(booleans) => booleans.clone(),
            None => BooleanArray::new_null(result.len()),
        })
    }
}

/// The elements of lists or maps, one behind the other, without those of rows that are NULL.
struct Elements {
    /// The row of each.
    rows: UInt32Array,
    /// Its place in the values of the array.
    places: UInt32Array,
    /// Its place in its row, from 0.
    positions: Int32Array,
    /// How many each row has.
    lengths: Vec<usize>,
}

impl Elements {
    fn of(array: &dyn Array, offsets: &[i32]) -> Self {
        let mut lengths = Vec::with_capacity(array.len());
        let (mut rows, mut places, mut positions) = (vec![], vec![], vec![]);
        for row in 0..array.len() {
            let (start, end) = (offsets[row], offsets[row + 1]);
            let length = if array.is_null(row) { 0 } else { end - start };
            lengths.push(length as usize);
            rows.extend((0..length).map(|_| row as u32));
            places.extend((0..length).map(|i| (start + i) as u32));
            positions.extend(0..length);
        }
        Self { rows: rows.into(), places: places.into(), positions: positions.into(), lengths }
    }
}
