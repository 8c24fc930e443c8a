//! From text to statements: scripts of streams, tables, sinks, views and flows.
//!
//! This module owns the grammar *around* queries: which statements and clauses there are, options, `${VARIABLES}`, and
//! how an error is shown with its line. It does not own what a query means (that is `sql::query`) nor what a statement
//! does (that is `session`).

pub mod diagnostic;
pub mod parser;
mod place;
pub mod query;
mod script_text;
pub mod statement;
pub mod token;
pub mod variable;

pub use parser::{is_complete, parse_script};
pub use script_text::ScriptText;
