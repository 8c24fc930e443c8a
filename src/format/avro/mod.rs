//! Avro: schemas, the blocks of container files, and values to rows with Spark's meaning.
//!
//! A plan is made from the schema that the bytes were written with, the one that the user wants to see them by, and the columns that
//! are asked for; it is followed once for each record. What nobody asked for is passed over.

mod columns;
mod container;
mod encode;
mod input;
mod plan;
mod read;
mod schema;
mod values;

pub use container::{Compression, Container, ContainerWriter};
pub use encode::{RecordEncoder, schema_of};
pub use plan::{Matching, Plan};
#[cfg(feature = "kafka")]
pub use read::MessageRows;
pub use read::Rows;
pub use schema::Schema;
#[cfg(feature = "protobuf")]
pub use values::Values;

use crate::error::Error;

/// The error for bytes that are no Avro.
fn damaged(what: impl std::fmt::Display) -> Error {
    Error::execution("FAILED_READ_FILE", format!("the bytes are no Avro: {what}"))
        .with_help("a file may still be being written: write it elsewhere and rename it into the directory")
}
