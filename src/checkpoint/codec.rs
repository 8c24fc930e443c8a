//! Bodies: batch records, snapshot pieces and schemas as bytes. Pure, no I/O.
//!
//! A schema is written once per file, as a record of its own, and changes refer to it by number: a one-row change costs
//! its values only.

use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::convert::try_schema_from_flatbuffer_bytes;
use datafusion::arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};

use super::column::{ALIGNMENT, Cursor, decode_columns, encode_columns, malformed, pad};
use super::{BatchHeader, BatchRecord};
use crate::error::Result;
use crate::state::{ChangeKind, StateChange};

/// Schemas of one file, by number, in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub(super) struct Schemas(Vec<SchemaRef>);

impl Schemas {
    /// The number of `schema`; `Err` has the number it now gets and must be written under.
    pub(super) fn number(&mut self, schema: &SchemaRef) -> Result<u32, u32> {
        let same = |s: &SchemaRef| Arc::ptr_eq(s, schema);
        let known = self.0.iter().position(same).or_else(|| self.0.iter().position(|s| s == schema));
        known.map(|n| n as u32).ok_or_else(|| {
            self.0.push(Arc::clone(schema));
            (self.0.len() - 1) as u32
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Reads the body of a schema record; they come in the order of their numbers.
    pub(super) fn read(&mut self, body: Buffer) -> Result<()> {
        let mut cursor = Cursor::new(body);
        let (number, len) = (cursor.u32()?, cursor.u32()?);
        cursor.align();
        let schema = try_schema_from_flatbuffer_bytes(&cursor.take(len as usize)?)?;
        if number as usize != self.0.len() {
            return Err(malformed());
        }
        self.0.push(Arc::new(schema));
        Ok(())
    }

    fn get(&self, number: u32) -> Result<SchemaRef> {
        self.0.get(number as usize).cloned().ok_or_else(malformed)
    }
}

/// Appends the body of a schema record.
pub(super) fn encode_schema(number: u32, schema: &Schema, out: &mut Vec<u8>) -> Result<()> {
    let (mut dictionaries, options) = (DictionaryTracker::new(false), IpcWriteOptions::default());
    let message =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut dictionaries, &options);
    let bytes = message.ipc_message;
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    pad(out);
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Appends the body of a batch record. `schema_numbers` has the number of each change's schema.
pub(super) fn encode_batch(record: &BatchRecord, schema_numbers: &[u32], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(record.changes.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    let json_start = out.len();
    serde_json::to_writer(&mut *out, &record.header)
        .map_err(|e| crate::Error::internal(format!("a batch header could not be written: {e}")))?;
    let json_len = (out.len() - json_start) as u32;
    out[start..start + 4].copy_from_slice(&json_len.to_le_bytes());
    for ((operator, change), number) in record.changes.iter().zip(schema_numbers) {
        encode_change(*operator, change, *number, out)?;
    }
    Ok(())
}

/// Appends one change.
pub(super) fn encode_change(operator: u32, change: &StateChange, schema: u32, out: &mut Vec<u8>) -> Result<()> {
    pad(out);
    out.extend_from_slice(&operator.to_le_bytes());
    out.extend_from_slice(&change.store.to_le_bytes());
    out.extend_from_slice(&[change.kind as u8, 0]);
    out.extend_from_slice(&schema.to_le_bytes());
    out.extend_from_slice(&(change.rows.num_rows() as u32).to_le_bytes());
    encode_columns(&change.rows, out)
}

/// Reads only the header of a batch record.
pub(super) fn decode_batch_header(body: &Buffer) -> Result<BatchHeader> {
    read_header(&mut Cursor::new(body.clone())).map(|(header, _)| header)
}

/// Reads the body of a batch record.
pub(super) fn decode_batch(body: Buffer, schemas: &Schemas) -> Result<BatchRecord> {
    let mut cursor = Cursor::new(body);
    let (header, count) = read_header(&mut cursor)?;
    let mut changes = vec![];
    for _ in 0..count {
        changes.push(read_change(&mut cursor, schemas)?);
    }
    Ok(BatchRecord { header, changes })
}

/// Reads the body of a snapshot piece.
pub(super) fn decode_change(body: Buffer, schemas: &Schemas) -> Result<(u32, StateChange)> {
    read_change(&mut Cursor::new(body), schemas)
}

fn read_header(cursor: &mut Cursor) -> Result<(BatchHeader, u32)> {
    let (json_len, count) = (cursor.u32()?, cursor.u32()?);
    cursor.take(8)?;
    let json = cursor.take(json_len as usize)?;
    let header = serde_json::from_slice(&json).map_err(|_| malformed())?;
    Ok((header, count))
}

fn read_change(cursor: &mut Cursor, schemas: &Schemas) -> Result<(u32, StateChange)> {
    cursor.align();
    let (operator, store) = (cursor.u32()?, cursor.u16()?);
    let kind = match cursor.u8()? {
        1 => ChangeKind::Put,
        2 => ChangeKind::Delete,
        3 => ChangeKind::Evict,
        _ => return Err(malformed()),
    };
    cursor.take(1)?;
    let schema = schemas.get(cursor.u32()?)?;
    let rows = cursor.u32()? as usize;
    let rows = decode_columns(schema, rows, cursor)?;
    Ok((operator, StateChange { store, kind, rows }))
}

/// Bytes of each operator's changes in a batch record, for a reader that only shows sizes.
pub(super) fn change_sizes(body: Buffer, schemas: &Schemas) -> Result<Vec<(u32, usize, u64)>> {
    let record = decode_batch(body, schemas)?;
    let size = |change: &StateChange| -> Result<u64> {
        let mut out = Vec::with_capacity(ALIGNMENT);
        encode_columns(&change.rows, &mut out)?;
        Ok(out.len() as u64)
    };
    record.changes.iter().map(|(operator, c)| Ok((*operator, c.rows.num_rows(), size(c)?))).collect()
}
