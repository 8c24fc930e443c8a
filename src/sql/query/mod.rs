//! Query text to a DataFusion `LogicalPlan` with Spark's names, types and clauses.

pub mod types;

pub use types::{parse_columns, parse_data_type};
