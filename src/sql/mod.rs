//! SQL: text to statements and plans.

pub mod query;
