//! Files that say themselves which columns they have and that are read in batches of rows: Avro, ORC and Arrow IPC.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::arrow_ipc;
#[cfg(feature = "avro")]
use super::avro::{self, AvroOptions};
#[cfg(feature = "orc")]
use super::orc::{self, OrcOptions};
use crate::error::Result;
use crate::format::bytes::Opened;
use crate::options::{OptionReader, OptionSpec};
use crate::sink::file::FileFormatKind;

/// The rows of a file.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Which format, with its options.
#[derive(Debug, Clone)]
pub enum BatchFormat {
    /// Container files.
    #[cfg(feature = "avro")]
    Avro(AvroOptions),
    /// Stripes.
    #[cfg(feature = "orc")]
    Orc(OrcOptions),
    /// The file format, with its footer.
    ArrowIpc,
}

impl BatchFormat {
    /// What [`BatchFormat::read`] reads.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        match kind {
            #[cfg(feature = "avro")]
            FileFormatKind::Avro => vec![&AvroOptions::OPTIONS],
            #[cfg(feature = "orc")]
            FileFormatKind::Orc => vec![&super::format::MERGE_SCHEMA],
            _ => vec![],
        }
    }

    /// The format of this name; `None` if it is another one.
    ///
    /// # Errors
    /// Options that are wrong, and formats that this build does not have.
    pub fn read(kind: FileFormatKind, options: &mut OptionReader<'_>) -> Result<Option<Self>> {
        let _ = &options;
        Ok(Some(match kind {
            #[cfg(feature = "avro")]
            FileFormatKind::Avro => Self::Avro(AvroOptions::read(options)?),
            #[cfg(feature = "orc")]
            FileFormatKind::Orc => Self::Orc(OrcOptions::read(options)?),
            FileFormatKind::Arrow => Self::ArrowIpc,
            FileFormatKind::Csv | FileFormatKind::Json | FileFormatKind::Parquet | FileFormatKind::Text => {
                return Ok(None);
            }
            #[cfg(not(all(feature = "avro", feature = "orc")))]
            kind => return Err(kind.not_built()),
        }))
    }

    /// The columns of a file.
    ///
    /// # Errors
    /// A file that cannot be read as one of the format.
    pub fn schema(&self, file: &Opened) -> Result<Schema> {
        match *self {
            #[cfg(feature = "avro")]
            Self::Avro(ref options) => avro::schema(options, file),
            #[cfg(feature = "orc")]
            Self::Orc(_) => orc::schema(file),
            Self::ArrowIpc => arrow_ipc::schema(file),
        }
    }

    /// Whether the columns are those of all files, not of the first alone.
    pub fn merges_schemas(&self) -> bool {
        match *self {
            #[cfg(feature = "orc")]
            Self::Orc(ref options) => options.merge_schema,
            _ => false,
        }
    }

    /// The rows of a file, with the columns of `schema`.
    ///
    /// # Errors
    /// A file that cannot be read as one of the format, and columns of other types.
    pub fn rows(&self, schema: &SchemaRef, file: &Opened, path: &Path) -> Result<Batches> {
        let _ = (schema, file, path);
        match *self {
            #[cfg(feature = "avro")]
            Self::Avro(ref options) => avro::rows(options, schema, file, path),
            #[cfg(feature = "orc")]
            Self::Orc(_) => orc::rows(schema, file),
            Self::ArrowIpc => arrow_ipc::rows(schema, file),
        }
    }
}
