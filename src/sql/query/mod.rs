//! Query text to a DataFusion `LogicalPlan`, with Spark's names, types and clauses.
//!
//! ```text
//! text → tokens (STREAM, WATERMARK, intervals rewritten) → sqlparser's tree → planner: from → select → query
//! ```
//!
//! Owns: name resolution in any case, the types of literals, the names of output columns, generators, watermark and
//! deduplication clauses. Does not own: what functions and operators compute (`crate::function`), what a stream may do.
//!
//! The plan's own column names are unique but need not be those the user sees: two columns may have the same name in SQL.
//! [`PlannedQuery::names`] has the names to show.

mod aggregate;
mod aggregate_call;
mod calls;
mod chain;
mod dialect;
mod expr;
mod field;
mod from;
mod function;
mod generator;
mod joins;
mod lambda;
mod like;
mod literal;
mod mismatch;
mod name;
mod operators;
mod pivot;
mod planner;
mod quote;
mod recursion_level;
mod recursive;
mod scope;
mod select;
mod set_operation;
mod special_call;
mod star;
mod subquery;
mod syntax;
mod tokens;
pub mod types;
mod watermark;
mod window_call;
mod windowing;

use crate::interval;

pub use dialect::TidemillDialect;
pub use planner::{PlannedQuery, plan_query};
pub use types::parse_columns;

#[cfg(test)]
mod tests;
