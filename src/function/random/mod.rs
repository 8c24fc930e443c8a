//! Values that no argument decides: random numbers, texts and orders, and numbers of rows.
//!
//! A call here is only a mark. The plan draws the values in a node below ([`crate::plan::random`]), whose generators begin
//! anew with every execution, so that the same rows in the same order get the same values.

mod generator;
mod java;
mod twister;
mod xor_shift;

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

pub use generator::Generator;
pub use java::JavaRandom;

use super::cast::{Mode, cast_array};
use crate::{Error, Result};

/// What is drawn for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A DOUBLE from 0 up to 1.
    Uniform,
    /// A DOUBLE of the standard normal distribution.
    Normal,
    /// A text of so many digits and letters.
    Text(i32),
    /// A UUID as text.
    Uuid,
    /// The number of the row, from 0.
    Row,
    /// The number of the partition.
    Partition,
    /// An array in another order.
    Shuffle,
}

/// What a call draws.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct Draw {
    pub kind: Kind,
    /// What the generator begins with; without, with another number at each execution.
    pub seed: Option<i64>,
    /// The array, of [`Kind::Shuffle`].
    pub of: Option<Expr>,
}

impl Draw {
    /// What the expression draws, if it is a mark.
    ///
    /// # Errors
    /// Arguments that are not constant.
    pub fn of(expr: &Expr) -> Result<Option<Self>> {
        let Expr::ScalarFunction(f) = expr else { return Ok(None) };
        let Some(mark) = f.func.inner().downcast_ref::<Mark>() else { return Ok(None) };
        let number = |i: usize| -> Result<Option<i64>> {
            match f.args.get(i) {
                None => Ok(None),
                Some(e) => match constant(mark.name, e)? {
                    None if matches!(mark.kind, Kind::Uuid | Kind::Shuffle) => Ok(None),
                    seed => Ok(Some(seed.unwrap_or(0))),
                },
            }
        };
        Ok(Some(match mark.kind {
            Kind::Text(_) => {
                let length = number(0)?.unwrap_or_default();
                let length = i32::try_from(length).ok().filter(|n| *n >= 0).ok_or_else(|| wrong_length(length))?;
                Self { kind: Kind::Text(length), seed: number(1)?, of: None }
            }
            Kind::Shuffle => Self { kind: mark.kind, seed: number(1)?, of: f.args.first().cloned() },
            kind => Self { kind, seed: number(0)?, of: None },
        }))
    }

    /// The type of what is drawn.
    pub fn data_type(&self, of: Option<DataType>) -> DataType {
        match self.kind {
            Kind::Uniform | Kind::Normal => DataType::Float64,
            Kind::Text(_) | Kind::Uuid => DataType::Utf8View,
            Kind::Row => DataType::Int64,
            Kind::Partition => DataType::Int32,
            Kind::Shuffle => of.unwrap_or(DataType::Null),
        }
    }
}

/// The calls that stand for a value to be drawn.
pub fn functions() -> Vec<ScalarUDF> {
    let mark = |name, kind, aliases: &[&str]| {
        let counts: &[usize] = match kind {
            Kind::Text(_) | Kind::Shuffle => &[1, 2],
            Kind::Row | Kind::Partition => &[0],
            _ => &[0, 1],
        };
        let variant = |n: &usize| if *n == 0 { TypeSignature::Nullary } else { TypeSignature::Any(*n) };
        let signature = Signature::one_of(counts.iter().map(variant).collect(), Volatility::Volatile);
        let aliases = aliases.iter().map(ToString::to_string).collect();
        ScalarUDF::new_from_impl(Mark { name, kind, aliases, signature })
    };
    vec![
        mark("rand", Kind::Uniform, &["random"]),
        mark("randn", Kind::Normal, &[]),
        mark("randstr", Kind::Text(0), &[]),
        mark("uuid", Kind::Uuid, &[]),
        mark("monotonically_increasing_id", Kind::Row, &[]),
        mark("spark_partition_id", Kind::Partition, &[]),
        mark("shuffle", Kind::Shuffle, &[]),
    ]
}

impl Mark {
    fn check(&self, i: usize, t: &DataType, value: Option<&ScalarValue>) -> Result<()> {
        let constant = value.is_some();
        let refuse =
            |condition, message: String, help: &str| Err(Error::invalid(condition, message).with_help(help.to_owned()));
        match (self.kind, i) {
            (Kind::Shuffle, 0) if matches!(t, DataType::List(_) | DataType::Null) => Ok(()),
            (Kind::Shuffle, 0) => Err(super::wrong_type(self.name, "an array", t)),
            (Kind::Text(_), 0) if !constant => {
                let message = format!("the length of '{}' is not constant", self.name);
                refuse("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message, "write a length such as 10")
            }
            (Kind::Text(_), 0) => match value.map(as_long).transpose()?.flatten() {
                Some(length) if !(0..=i64::from(i32::MAX)).contains(&length) => Err(wrong_length(length)),
                _ => Ok(()),
            },
            (Kind::Shuffle | Kind::Uuid, _) if !constant || !(t.is_integer() || t.is_null()) => {
                let message = format!("the seed of '{}' is no constant whole number", self.name);
                refuse("INVALID_PARAMETER_VALUE.LONG", message, "write a number such as 42, or leave the seed out")
            }
            (_, _)
                if !matches!(t, DataType::Int32 | DataType::Int64 | DataType::Null)
                    && !matches!(self.kind, Kind::Shuffle | Kind::Uuid) =>
            {
                Err(super::wrong_type(self.name, "an INT or BIGINT as its seed", t))
            }
            _ if !constant => Err(not_constant(self.name)),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    name: &'static str,
    kind: Kind,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(Draw { kind: self.kind, seed: None, of: None }.data_type(arg_types.first().cloned()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        for (i, t) in types.iter().enumerate() {
            self.check(i, t, args.scalar_arguments[i])?;
        }
        Ok(Arc::new(Field::new(self.name, self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let message = format!("'{}()' has no place here: each row gets another value", self.name);
        Err(Error::unsupported("INVALID_NON_DETERMINISTIC_EXPRESSIONS", message)
            .with_help("select it in a subquery first, and use its column here")
            .into())
    }
}

/// The whole number that the expression is.
fn constant(name: &str, e: &Expr) -> Result<Option<i64>> {
    match e {
        Expr::Literal(value, _) => as_long(value),
        Expr::Alias(a) => constant(name, &a.expr),
        _ => Err(not_constant(name)),
    }
}

fn as_long(value: &ScalarValue) -> Result<Option<i64>> {
    let array = cast_array(&value.to_array()?, &DataType::Int64, Mode::Ansi, crate::time_zone::Tz::UTC)?;
    Ok(array.as_primitive::<Int64Type>().iter().next().flatten())
}

fn not_constant(name: &str) -> Error {
    Error::invalid("SEED_EXPRESSION_IS_UNFOLDABLE", format!("the seed of '{name}' is not constant"))
        .with_help("write a number such as 42, or leave the seed out")
}

fn wrong_length(length: i64) -> Error {
    let message = format!("the length {length} of 'randstr' is not between 0 and {}", i32::MAX);
    Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message).with_help("write a length such as 10")
}
