//! Rows of committed batches that wait to be put into a larger file, as Arrow IPC: every format has them back as they were.

use std::io::{BufReader, BufWriter, Read};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::disk;
use super::folders::Written;
use crate::error::{Error, Result};
use crate::sink::rows::rename;

/// The rows of one batch on their way to a file. The file is made with the first row.
pub struct PendingRows {
    schema: SchemaRef,
    name: String,
    path: PathBuf,
    writer: Option<StreamWriter<BufWriter<std::fs::File>>>,
    num_rows: u64,
}

impl PendingRows {
    /// Rows of `schema`, for a file `name` that is written at `path`.
    pub fn new(schema: SchemaRef, name: String, path: PathBuf) -> Self {
        Self { schema, name, path, writer: None, num_rows: 0 }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// A file that cannot be made or written.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.num_rows += rows.num_rows() as u64;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let file = BufWriter::new(disk::create(&self.path)?);
                self.writer.insert(StreamWriter::try_new(file, &self.schema).map_err(failed)?)
            }
        };
        writer.write(&rename(rows, &self.schema)?).map_err(failed)
    }

    /// How many rows there were, and their durable file.
    ///
    /// # Errors
    /// A write that fails.
    pub fn finish(self) -> Result<(u64, Vec<Written>)> {
        let Some(writer) = self.writer else { return Ok((0, vec![])) };
        let file = writer.into_inner().map_err(failed)?;
        let file = file.into_inner().map_err(|e| super::encode::write_failed(e.error()))?;
        let size = disk::sync(&file, &self.path)?;
        Ok((self.num_rows, vec![Written::durable(self.name, self.path, size)]))
    }
}

/// The rows in a file that [`PendingRows`] wrote, and their columns.
///
/// # Errors
/// A file that is not whole.
pub fn read(bytes: Box<dyn Read + Send>, name: &str) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>>)> {
    let damaged = {
        let name = name.to_owned();
        move |e: ArrowError| {
            Error::io(
                "SINK_CORRUPT",
                format!("the rows in '{name}', which wait to be put into a file, are damaged: {e}"),
            )
            .with_help("restore the directory from a backup, or write to a new one")
        }
    };
    let reader = StreamReader::try_new(BufReader::new(bytes), None).map_err(&damaged)?;
    Ok((reader.schema(), reader.map(move |rows| rows.map_err(&damaged))))
}

fn failed(e: ArrowError) -> Error {
    match e {
        ArrowError::IoError(_, e) => super::encode::write_failed(&e),
        e => e.into(),
    }
}
