//! Spark's functions and expression semantics on DataFusion.
//!
//! Owns what a function name or an operator means; does not own the parser, time windows, generators or the clock.

mod cast;
pub mod display;
mod scalar;
mod type_name;

pub use cast::{cast, try_cast_to};
pub use type_name::{sql_type_name, type_name};
