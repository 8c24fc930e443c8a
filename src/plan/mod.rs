//! Logical nodes of streaming queries and the rules over them.

pub mod dedup;
pub mod generators;
pub mod watermark;
