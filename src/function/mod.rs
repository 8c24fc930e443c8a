//! Spark's functions and expression semantics on DataFusion.
//!
//! Owns what a function name or an operator means; does not own the parser, time windows, generators or the clock.

pub mod display;
mod type_name;

pub use type_name::{sql_type_name, type_name};
