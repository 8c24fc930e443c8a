//! The file source: a directory whose files are read once each, in the order in which they came.

mod clean;
mod entry;
pub mod format;
pub mod listing;
mod options;
pub mod read;
mod seen;
mod source;
mod told;

pub use options::{FileStream, format_name, infer_schema, zone_of};

#[cfg(test)]
mod csv_tests;
#[cfg(test)]
mod tests;
