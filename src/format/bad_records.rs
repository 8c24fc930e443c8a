//! What becomes of a record that cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;

use super::lines::MAX_LINE_BYTES;
use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};

const OWN: OptionSpec = OptionSpec::new(
    "badRecords",
    OptionType::Choice(&["null", "drop", "fail"]),
    "What becomes of a record that cannot be read: NULL in the columns that it has no value for, no row, or the end of the query.",
);
/// What [`BadRecords::read`] reads where a record is NULL by default.
pub const NULLING: [OptionSpec; 1] = [OWN.or("null")];
/// The same where it is left out by default.
pub const DROPPING: [OptionSpec; 1] = [OWN.or("drop")];
/// What [`BadRecords::read_with_mode`] reads.
pub const WITH_MODE: [OptionSpec; 2] = [
    NULLING[0],
    OptionSpec::new(
        "mode",
        OptionType::Choice(&["PERMISSIVE", "DROPMALFORMED", "FAILFAST"]),
        "The same in Spark's words: PERMISSIVE is null, DROPMALFORMED drop, FAILFAST fail.",
    ),
];

/// The option `badRecords`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRecords {
    /// Columns that cannot be read are NULL (Spark's `PERMISSIVE`).
    Null,
    /// The record is left out (Spark's `DROPMALFORMED`).
    Drop,
    /// The batch fails (Spark's `FAILFAST`).
    Fail,
}

impl BadRecords {
    /// Reads `badRecords`.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        match options.choice("badRecords")? {
            Some("drop") => Ok(Self::Drop),
            Some("fail") => Ok(Self::Fail),
            _ => Ok(Self::Null),
        }
    }

    /// Reads `badRecords`, or Spark's spelling `mode`.
    pub fn read_with_mode(options: &mut OptionReader<'_>) -> Result<Self> {
        let is_given = options.string("badRecords").is_some();
        let own = Self::read(options)?;
        let mode = options.choice("mode")?.map(|m| match m {
            "PERMISSIVE" => Self::Null,
            "DROPMALFORMED" => Self::Drop,
            _ => Self::Fail,
        });
        match mode {
            Some(mode) if is_given && mode != own => {
                Err(Error::invalid("INVALID_OPTION", "options 'badRecords' and 'mode' say different things")
                    .with_help("give one of them"))
            }
            mode => Ok(mode.unwrap_or(own)),
        }
    }

    /// The rows of a record that is longer than [`MAX_LINE_BYTES`].
    pub fn too_long(self, format: &str, schema: &SchemaRef, counter: &BadRecordCounter) -> Result<RecordBatch> {
        counter.add(1);
        match self {
            Self::Drop => Ok(RecordBatch::new_empty(schema.clone())),
            Self::Null => {
                let columns = schema.fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
                Ok(RecordBatch::try_new(schema.clone(), columns)?)
            }
            Self::Fail => Err(malformed(format, b"", &format!("it is longer than {MAX_LINE_BYTES} bytes"))),
        }
    }
}

/// Counts records that could not be read; clones share the count.
#[derive(Debug, Clone, Default)]
pub struct BadRecordCounter(Arc<AtomicU64>);

impl BadRecordCounter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The error of `badRecords 'fail'`.
pub fn malformed(format: &str, record: &[u8], reason: &str) -> Error {
    const SHOWN: usize = 100;
    let text = String::from_utf8_lossy(&record[..record.len().min(SHOWN)]).into_owned();
    let dots = if record.len() > SHOWN { "…" } else { "" };
    Error::execution(
        "MALFORMED_RECORD_IN_PARSING",
        format!("the {format} record '{}{dots}' cannot be read: {reason}", text.escape_debug()),
    )
    .with_help("badRecords 'null' or 'drop' lets the query go on")
}
