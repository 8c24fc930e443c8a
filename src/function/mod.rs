//! Spark's functions and expression semantics on DataFusion.
//!
//! Owns what a function name or an operator means; does not own the parser, time windows, generators or the clock.

mod arithmetic;
mod cast;
mod collection;
mod datetime;
mod decimal;
pub mod display;
mod java_pattern;
mod regex;
mod scalar;
mod split;
mod string;
mod type_name;

pub use arithmetic::{binary, negate};
pub use cast::{cast, try_cast_to};
pub use collection::get_array_item;
pub use type_name::{sql_type_name, type_name};
