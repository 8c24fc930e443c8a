//! Spark's functions and expression semantics on DataFusion.
//!
//! Owns what a function name or an operator means; does not own the parser, time windows, generators or the clock.

mod aggregate;
mod arithmetic;
pub mod cast;
mod collection;
mod date;
mod datetime;
pub mod ddl;
mod decimal;
pub mod display;
pub mod expr_fn;
mod java_pattern;
mod json;
mod math;
#[cfg(test)]
mod planner;
mod regex;
pub mod scalar;
mod split;
mod string;
#[cfg(test)]
mod tests;
mod type_name;

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub use arithmetic::{binary, negate};
pub use cast::cast;
pub use collection::get_array_item;
#[cfg(test)]
pub use planner::expr_planner;
pub use type_name::type_name;

use crate::Result;

/// Registers datafusion-spark's functions, then ours over them, so that a name has Spark's meaning. Functions that have an
/// ANSI mode are switched to it.
pub fn register_all(ctx: &SessionContext) -> Result<()> {
    let state = ctx.state_ref();
    let mut state = state.write();
    state.config_mut().options_mut().execution.enable_ansi_mode = true;
    datafusion_spark::register_all(&mut *state)?;
    for function in scalar_functions() {
        state.register_udf(function.into())?;
    }
    for function in aggregate::functions() {
        state.register_udaf(function.into())?;
    }
    Ok(())
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
    all.extend(collection::functions());
    all.extend(json::functions());
    all.extend(math::functions());
    all.extend(aliases());
    let tries = ["try_add", "try_subtract", "try_multiply", "try_divide", "try_mod"];
    all.extend(tries.into_iter().filter_map(arithmetic::try_function));
    all
}
