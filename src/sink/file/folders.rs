//! The files of one batch: one for each partition folder, made with its first row.

use std::collections::HashMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::disk;
use super::encode::{FileEncoder, FileFormat};
use crate::error::Result;
use crate::sink::rows::rename;
use crate::time_zone::Tz;

/// How many files are open at once. One more closes the one that was begun first; if more rows come for its folder, they go
/// into another file there.
const MAX_OPEN: usize = 200;

/// See the module.
pub struct FilesByFolder<'f, N, P> {
    format: &'f FileFormat,
    /// Of the rows, and of the files.
    schemas: (SchemaRef, SchemaRef),
    tz: Tz,
    /// The name of a new file in a folder, and where it is written.
    name: N,
    path: P,
    num_rows: u64,
    /// Where in `files` the open file of a folder is.
    open: HashMap<String, usize>,
    files: Vec<Written>,
    /// Files before this one take no more rows.
    first_open: usize,
    /// How many bytes of rows in memory a file takes.
    limit: Option<u64>,
}

/// A file of the batch.
pub struct Written {
    /// From the directory of the sink on.
    pub name: String,
    /// Where it is now.
    pub path: PathBuf,
    contents: Contents,
    /// The size of its rows in memory.
    bytes: u64,
}

enum Contents {
    Open(Box<FileEncoder>),
    /// Durable, of this size.
    Durable(u64),
}

impl Written {
    /// A file that is durable already.
    pub fn durable(name: String, path: PathBuf, size: u64) -> Self {
        Self { name, path, contents: Contents::Durable(size), bytes: 0 }
    }

    /// Makes the file durable; its size.
    ///
    /// # Errors
    /// A write that fails.
    pub fn sync(self) -> Result<u64> {
        match self.contents {
            Contents::Open(encoder) => disk::sync(&encoder.finish()?, &self.path),
            Contents::Durable(size) => Ok(size),
        }
    }
}

impl<'f, N: Fn(&str) -> String, P: Fn(&str) -> PathBuf> FilesByFolder<'f, N, P> {
    /// Files of rows of `schema`; instants are written as `tz` shows them.
    ///
    /// # Errors
    /// A partition column that the rows do not have.
    pub fn new(format: &'f FileFormat, schema: SchemaRef, tz: Tz, name: N, path: P) -> Result<Self> {
        let of_files = format.partition_by.file_schema(&schema)?;
        let schemas = (schema, of_files);
        let open = HashMap::new();
        Ok(Self { format, schemas, tz, name, path, num_rows: 0, open, files: vec![], first_open: 0, limit: None })
    }

    /// Begins another file in a folder once one has so many bytes of rows.
    pub fn with_limit(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
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
        for (folder, rows) in self.format.partition_by.split(&rename(rows, &self.schemas.0)?, self.tz)? {
            let file = match self.open.get(&folder) {
                Some(file) => *file,
                None => self.begin(folder.clone())?,
            };
            self.add(file, &folder, &rows)?;
        }
        Ok(())
    }

    fn add(&mut self, file: usize, folder: &str, rows: &RecordBatch) -> Result<()> {
        let written = &mut self.files[file];
        if let Contents::Open(encoder) = &mut written.contents {
            encoder.write(rows)?;
        }
        if let Some(limit) = self.limit {
            written.bytes +=
                rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0) as u64).sum::<u64>();
            if written.bytes >= limit {
                self.open.remove(folder);
                self.end(file)?;
            }
        }
        Ok(())
    }

    /// Makes a file durable, which takes no more rows.
    fn end(&mut self, file: usize) -> Result<()> {
        let file = &mut self.files[file];
        match std::mem::replace(&mut file.contents, Contents::Durable(0)) {
            Contents::Open(encoder) => {
                file.contents = Contents::Durable(disk::sync(&encoder.finish()?, &file.path)?);
            }
            durable => file.contents = durable,
        }
        Ok(())
    }

    fn begin(&mut self, folder: String) -> Result<usize> {
        while self.open.len() >= MAX_OPEN {
            let first = self.first_open;
            self.open.retain(|_, file| *file != first);
            self.first_open += 1;
            self.end(first)?;
        }
        let name = (self.name)(&folder);
        let path = (self.path)(&name);
        let encoder = self.format.start(disk::create(&path)?, &self.schemas.1, self.tz)?;
        self.open.insert(folder, self.files.len());
        self.files.push(Written { name, path, contents: Contents::Open(Box::new(encoder)), bytes: 0 });
        Ok(self.files.len() - 1)
    }

    /// How many rows there were, and their files.
    pub fn finish(self) -> (u64, Vec<Written>) {
        (self.num_rows, self.files)
    }
}
