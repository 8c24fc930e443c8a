//! The file source: a directory whose files are read once each, in the order in which they came.

mod arrow_ipc;
#[cfg(feature = "avro")]
mod avro;
mod batches;
mod clean;
mod cursor;
mod entry;
pub mod format;
mod guarded;
#[cfg(feature = "notify")]
mod hints;
mod julian;
mod lenient;
pub mod listing;
pub mod metadata_column;
mod objects;
mod options;
#[cfg(feature = "orc")]
mod orc;
#[cfg(feature = "orc")]
mod orc_notes;
mod parquet;
mod parquet_columns;
mod partition;
pub mod read;
mod records;
pub mod scan;
mod seen;
mod source;
mod spark_log;
mod told;
mod walk;

pub use options::{FileStream, file_schema, zone_of};

#[cfg(all(test, feature = "avro", feature = "orc"))]
mod batches_tests;
#[cfg(test)]
mod csv_tests;
#[cfg(test)]
mod parquet_tests;
#[cfg(test)]
mod tests;
