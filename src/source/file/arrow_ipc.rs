//! Arrow IPC files: columns as those of Parquet, found by name in any case and of another type only where no value can change by it.

use std::io::BufReader;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;

use super::batches::Batches;
use super::parquet_columns::{as_declared, declared};
use crate::error::{Error, Result};
use crate::format::bytes::{Opened, OpenedReader};

/// What is read at once.
const BUFFER_BYTES: usize = 256 << 10;

fn damaged(e: ArrowError) -> Error {
    Error::execution("FAILED_READ_FILE", format!("the Arrow file cannot be read: {e}"))
        .with_help("it may still be being written: write it elsewhere and rename it into the directory")
}

fn open(file: &Opened) -> Result<FileReader<BufReader<OpenedReader>>> {
    FileReader::try_new(BufReader::with_capacity(BUFFER_BYTES, file.reader()), None).map_err(damaged)
}

/// The columns of a file.
pub fn schema(file: &Opened) -> Result<Schema> {
    Ok(declared(&open(file)?.schema()))
}

/// The rows of a file.
pub fn rows(schema: &SchemaRef, file: &Opened) -> Result<Batches> {
    let reader = open(file)?;
    let schema = schema.clone();
    // Also for a file without rows.
    as_declared(&arrow::array::RecordBatch::new_empty(reader.schema()), &schema)?;
    Ok(Box::new(reader.map(move |batch| as_declared(&batch.map_err(damaged)?, &schema))))
}
