//! Arrow IPC files: columns as those of Parquet, found by name in any case and of another type only where no value can change by it.

use std::io::BufReader;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, read_footer_length};
use arrow::ipc::root_as_footer;

use super::batches::Batches;
use super::guarded::guarded;
use super::parquet_columns::{as_declared, declared};
use crate::error::{Error, Result};
use crate::format::bytes::{Opened, OpenedReader};

/// What is read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// The length of the footer and the magic behind it.
const TRAILER_BYTES: u64 = 10;

fn damaged(e: impl std::fmt::Display) -> Error {
    Error::execution("FAILED_READ_FILE", format!("the Arrow file cannot be read: {e}"))
        .with_help("it may still be being written: write it elsewhere and rename it into the directory")
}

fn failed(e: ArrowError) -> Error {
    damaged(e)
}

/// That the footer's blocks lie in the file: the reader would take memory for whatever length they say.
fn check_blocks(file: &Opened) -> Result<()> {
    let size = file.size();
    let read = |from: u64, to: u64| file.read(from..to).map_err(|e| damaged(&e).with_io_source(&e));
    let trailer_at = size.checked_sub(TRAILER_BYTES).ok_or_else(|| damaged("it is too short"))?;
    let trailer = <[u8; TRAILER_BYTES as usize]>::try_from(&read(trailer_at, size)?[..]);
    let length = read_footer_length(trailer.map_err(damaged)?).map_err(failed)? as u64;
    let footer_at = trailer_at.checked_sub(length).ok_or_else(|| damaged("its footer is longer than itself"))?;
    let bytes = read(footer_at, trailer_at)?;
    let footer = root_as_footer(&bytes).map_err(damaged)?;
    for blocks in [footer.recordBatches(), footer.dictionaries()].into_iter().flatten() {
        for block in blocks {
            let (start, header) = (u64::try_from(block.offset()), u64::try_from(block.metaDataLength()));
            let (Ok(start), Ok(header), Ok(body)) = (start, header, u64::try_from(block.bodyLength())) else {
                return Err(damaged("a block of a negative length"));
            };
            if start.checked_add(header).and_then(|at| at.checked_add(body)).is_none_or(|end| end > footer_at) {
                return Err(damaged("its footer says that a block is where there is none"));
            }
        }
    }
    Ok(())
}

fn open(file: &Opened) -> Result<FileReader<BufReader<OpenedReader>>> {
    check_blocks(file)?;
    let reader = BufReader::with_capacity(BUFFER_BYTES, file.reader());
    guarded(damaged, || FileReader::try_new(reader, None).map_err(failed))
}

/// The columns of a file.
pub fn schema(file: &Opened) -> Result<Schema> {
    Ok(declared(&open(file)?.schema()))
}

/// The rows of a file.
pub fn rows(schema: &SchemaRef, file: &Opened) -> Result<Batches> {
    let mut reader = open(file)?;
    let schema = schema.clone();
    // Also for a file without rows.
    as_declared(&RecordBatch::new_empty(reader.schema()), &schema)?;
    let next = move || guarded(damaged, || reader.next().transpose().map_err(failed)).transpose();
    Ok(Box::new(std::iter::from_fn(next).map(move |batch| as_declared(&batch?, &schema))))
}
