//! Aggregate functions that DataFusion lacks or means otherwise.
//!
//! Every one works in DataFusion's partial → merge → final split, so that its state can be kept between triggers. A state
//! is a row of plain columns: what `state_fields` says, `state` gives and `merge_batch` takes.

mod average;
mod correlation;
mod extreme;
mod histogram;
mod moment;
mod percentile;
mod sliding;
mod sum;
mod top;
mod value;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate as core;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

pub use histogram::check_bin_count;
pub use sliding::sliding;
pub use top::MAX_ROWS as MAX_BY_ROWS;

use super::cast::is_string;
use super::wrong_count;
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// All aggregate functions that shadow or add to DataFusion's and datafusion-spark's.
pub fn functions() -> Vec<AggregateUDF> {
    let mut all = vec![
        sum::sum(),
        sum::avg(),
        sum::try_avg(),
        sum::count_if(),
        extreme::min(),
        extreme::max(),
        value::first(),
        value::last(),
        value::max_by(),
        value::min_by(),
        value::mode(),
        value::mode_desc(),
        top::max_by(),
        top::min_by(),
        value::approx_count_distinct(),
        percentile::percentile(),
        correlation::corr(),
        moment::kurtosis(),
        moment::skewness(),
        percentile::percentile_disc(false),
        percentile::percentile_disc(true),
        percentile::percentile_approx(),
        percentile::median(),
        histogram::histogram_numeric(),
    ];
    all.extend(correlation::regressions());
    all.extend(aliases());
    all
}

/// Spark's names of functions that DataFusion has with the same results.
fn aliases() -> [AggregateUDF; 5] {
    let alias = |udaf: Arc<AggregateUDF>, names: &[&'static str]| udaf.as_ref().clone().with_aliases(names.to_vec());
    [
        alias(core::bool_and_or::bool_and_udaf(), &["every"]),
        alias(core::bool_and_or::bool_or_udaf(), &["some", "any"]),
        alias(core::stddev::stddev_udaf(), &["std", "stddev_samp"]),
        alias(core::variance::var_samp_udaf(), &["variance", "var_samp"]),
        alias(core::string_agg::string_agg_udaf(), &["listagg"]),
    ]
}

type Types = [DataType];

/// An aggregate function made of plain functions, as `scalar::Function` is for scalar ones.
struct Aggregate {
    name: &'static str,
    signature: Signature,
    /// The types the arguments are cast to.
    coerce: fn(&Types) -> Result<Vec<DataType>>,
    /// The result's type from those of the coerced arguments.
    return_type: fn(&Types) -> DataType,
    /// The state's columns from the coerced arguments and the result.
    state: fn(&Types, &DataType) -> Vec<DataType>,
    accumulator: fn(&AccumulatorArgs) -> Box<dyn Accumulator>,
    /// The accumulator of many groups at once, where there is one.
    groups: fn(&AccumulatorArgs) -> Option<Box<dyn GroupsAccumulator>>,
}

impl Aggregate {
    fn udaf(self) -> AggregateUDF {
        AggregateUDF::new_from_impl(self)
    }
}

fn user_defined() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

fn no_groups(_: &AccumulatorArgs) -> Option<Box<dyn GroupsAccumulator>> {
    None
}

/// The types of an accumulator's arguments.
fn arg_types(args: &AccumulatorArgs) -> Vec<DataType> {
    args.expr_fields.iter().map(|f| f.data_type().clone()).collect()
}

/// The error of an argument that has the wrong type.
fn wrong_type(name: &str, got: &DataType) -> Error {
    let message = format!("function '{name}' does not take {}", sql_type_name(got));
    Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).with_help(super::type_help(got))
}

/// Refuses keys and values that have no order.
fn ordered(name: &str, data_type: &DataType) -> Result<()> {
    let has_order = match data_type {
        DataType::Map(..) => false,
        DataType::List(item) => ordered(name, item.data_type()).is_ok(),
        DataType::Struct(fields) => fields.iter().all(|f| ordered(name, f.data_type()).is_ok()),
        _ => true,
    };
    if has_order {
        return Ok(());
    }
    let message = format!("function '{name}' cannot order values of {}", sql_type_name(data_type));
    Err(Error::invalid("DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", message))
}

/// Text counts as DOUBLE in a function of numbers.
fn as_double(name: &str, data_type: &DataType) -> Result<DataType> {
    if data_type.is_numeric() || is_string(data_type) || data_type == &DataType::Null {
        return Ok(DataType::Float64);
    }
    Err(wrong_type(name, data_type))
}

impl PartialEq for Aggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Aggregate {}

impl Hash for Aggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aggregate({})", self.name)
    }
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &Types) -> DfResult<Vec<DataType>> {
        // DataFusion keeps the text only of an error from here, so wrong arguments are refused with the type.
        Ok((self.coerce)(arg_types).unwrap_or_else(|_| arg_types.to_vec()))
    }

    fn return_type(&self, arg_types: &Types) -> DfResult<DataType> {
        Ok((self.return_type)(&(self.coerce)(arg_types)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let inputs: Vec<_> = args.input_fields.iter().map(|f| f.data_type().clone()).collect();
        let columns = (self.state)(&inputs, args.return_type()).into_iter().enumerate();
        let field = |(i, t)| Arc::new(Field::new(format_state_name(args.name, &format!("state{i}")), t, true));
        Ok(columns.map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if args.is_distinct {
            let message = format!("function '{}' does not take DISTINCT", self.name);
            let help = "select the distinct rows in a subquery first: FROM (SELECT DISTINCT …)";
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help(help).into());
        }
        Ok((self.accumulator)(&args))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct && (self.groups)(&args).is_some()
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        (self.groups)(&args).ok_or_else(|| Error::internal(format!("{} has no groups accumulator", self.name)).into())
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }

    fn supports_null_handling_clause(&self) -> bool {
        matches!(self.name, "first" | "last")
    }
}
