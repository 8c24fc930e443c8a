//! Spark's functions and expression semantics on DataFusion.
//!
//! Owns what a function name or an operator means; does not own the parser, time windows, generators or the clock.

mod aggregate;
mod arithmetic;
mod arity;
mod array;
mod bits;
mod bytes;
mod calendar;
pub mod cast;
mod chain;
pub mod coercion;
mod collection;
pub mod csv;
mod date;
mod datetime;
pub mod ddl;
mod decimal;
mod decimal_format;
mod deep;
pub mod display;
mod encoding;
pub mod expr_fn;
mod fallible;
mod format_number;
mod guard;
mod hmac;
pub mod interval;
mod jaro_winkler;
mod java_pattern;
pub mod json;
pub mod lambda;
mod located;
mod math;
mod mismatch;
mod number_format;
mod order;
mod ordered;
#[cfg(test)]
mod planner;
pub mod random;
mod real;
mod record_options;
pub mod record_times;
pub mod reference;
pub mod regex;
pub mod scalar;
mod slices;
mod split;
mod string;
#[cfg(test)]
mod tests;
mod text;
pub mod unit;
mod vector;
mod zone;

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub use aggregate::{MAX_BY_ROWS, check_bin_count, sliding};
pub use arithmetic::{binary, comparison_type, negate};
pub use arity::check_count;
pub use array::element_field;
pub use bits::shift;
pub use calendar::{shift_time, time_between};
pub use cast::{cast, cast_to_interval, count_literal};
pub use chain::Chain;
pub use collection::{get_array_item, map_of};
pub use deep::folded;
pub use fallible::can_fail;
pub use located::locate;
pub use mismatch::{field_help, help as type_help, wrong_count, wrong_type};
pub use ordered::Ordered;
#[cfg(test)]
pub use planner::expr_planner;
pub use real::{holds_real, one_zero_of as one_zero};
pub use text::{array_of_one, like_pattern};

use crate::Result;

/// Registers datafusion-spark's functions, then ours over them, so that a name has Spark's meaning. Functions that have an
/// ANSI mode are switched to it.
pub fn register_all(ctx: &SessionContext) -> Result<()> {
    let state = ctx.state_ref();
    let mut state = state.write();
    state.config_mut().options_mut().execution.enable_ansi_mode = true;
    datafusion_spark::register_all(&mut *state)?;
    // The planner has it, as a field of the hidden column of files.
    state.deregister_udf("input_file_name")?;
    for function in scalar_functions() {
        state.register_udf(function.into())?;
    }
    for (name, guard) in guard::GUARDED {
        let inner = state.udf(name)?;
        state.register_udf(guard::guarded(inner, guard).into())?;
    }
    for function in aggregate::functions() {
        state.register_udaf(function.into())?;
    }
    Ok(())
}

/// `left || right`.
pub fn concat(
    left: datafusion::logical_expr::Expr,
    right: datafusion::logical_expr::Expr,
) -> datafusion::logical_expr::Expr {
    string::concat_function().call(vec![left, right])
}

/// Spark's names of functions that DataFusion has with the same results.
fn aliases() -> [ScalarUDF; 1] {
    [datafusion::functions_nested::arrays_zip::arrays_zip_udf().as_ref().clone().with_aliases(["zip"])]
}

/// All scalar functions of ours.
fn scalar_functions() -> Vec<ScalarUDF> {
    let mut all = vec![split::split()];
    all.extend(string::functions());
    all.extend(regex::functions());
    all.extend(date::functions());
    all.extend(datetime::functions());
    all.extend(array::functions());
    all.extend(encoding::functions());
    all.extend(interval::functions());
    all.extend(real::functions());
    all.extend(number_format::functions());
    all.extend(text::functions());
    all.extend(bits::functions());
    all.extend(bytes::functions());
    all.extend(format_number::functions());
    all.extend(zone::functions());
    all.extend(unit::functions());
    all.extend(collection::functions());
    all.extend(csv::functions());
    all.extend(json::functions());
    all.extend(math::functions());
    all.extend(order::functions());
    all.extend(random::functions());
    all.extend(hmac::functions());
    all.extend(vector::functions());
    all.extend(aliases());
    let tries = ["try_add", "try_subtract", "try_multiply", "try_divide", "try_mod"];
    all.extend(tries.into_iter().filter_map(arithmetic::try_function));
    all
}
