//! What is noted in an ORC file and the crate does not give: what Spark says of its types (a time without a zone is a BIGINT there),
//! the calendar of dates, and who has written it.
//!
//! It is in the footer, a message of Protocol Buffers of which only this is read: `types` (4), their `attributes` (7), of those
//! `key` (1) and `value` (2); `writer` (9) and `calendar` (11).

use std::collections::HashMap;
use std::io::Read;

use bytes::Bytes;
use orc_rust::compression::{Compression, Decompressor};

use crate::error::{Error, Result};
use crate::format::bytes::Opened;

/// The longest footer that is believed.
const MAX_FOOTER: u64 = 256 << 20;

/// See the module.
#[derive(Debug)]
pub struct Notes {
    /// Spark's types, by the numbers of those of the file.
    pub catalyst: HashMap<usize, String>,
    /// Whether dates are in the calendar of old.
    pub is_julian: bool,
    /// Whether ORC for C++ has written the file.
    pub is_of_cpp: bool,
}

impl Notes {
    /// Those of a file.
    ///
    /// # Errors
    /// A file whose footer cannot be read.
    pub fn of(file: &Opened, compression: Option<Compression>) -> Result<Self> {
        let footer = footer(file, compression).map_err(|e| {
            Error::execution("FAILED_READ_FILE", format!("the ORC file cannot be read: {e}")).with_io_source(&e)
        })?;
        const PROLEPTIC_GREGORIAN: u64 = 2;
        const CPP: u64 = 1;
        Ok(Self {
            catalyst: catalyst_types(&footer),
            is_julian: number_of(&footer, 11) != Some(PROLEPTIC_GREGORIAN),
            is_of_cpp: number_of(&footer, 9) == Some(CPP),
        })
    }
}

fn catalyst_types(footer: &[u8]) -> HashMap<usize, String> {
    let mut found = HashMap::new();
    let types = Fields(footer).filter(|(number, _)| *number == 4);
    for (id, (_, of_type)) in types.enumerate() {
        for (_, pair) in Fields(of_type).filter(|(number, _)| *number == 7) {
            let text = |wanted| Fields(pair).find(|(number, _)| *number == wanted).map(|(_, text)| text);
            if let (Some(b"spark.sql.catalyst.type"), Some(value)) = (text(1), text(2)) {
                found.insert(id, String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    found
}

/// The footer, unpacked: before the postscript, whose length is the last byte.
fn footer(file: &Opened, compression: Option<Compression>) -> std::io::Result<Vec<u8>> {
    let size = file.size();
    let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the file has no footer");
    let last = *file.read(size.saturating_sub(1)..size)?.first().ok_or_else(damaged)?;
    let end = size.checked_sub(1 + u64::from(last)).ok_or_else(damaged)?;
    let postscript = file.read(end..size - 1)?;
    let len = number_of(&postscript, 1).filter(|len| *len <= MAX_FOOTER.min(end)).ok_or_else(damaged)?;
    let mut footer = vec![];
    let packed: Bytes = file.read(end - len..end)?;
    Decompressor::new(packed, compression, vec![]).take(MAX_FOOTER).read_to_end(&mut footer)?;
    Ok(footer)
}

/// The first number of a message under a field number.
fn number_of(message: &[u8], wanted: u64) -> Option<u64> {
    let mut rest = message;
    while let Some((number, kind)) = key(&mut rest) {
        let value = match kind {
            0 => varint(&mut rest)?,
            _ => {
                skip(&mut rest, kind)?;
                continue;
            }
        };
        if number == wanted {
            return Some(value);
        }
    }
    None
}

/// The fields of a message that are bytes.
struct Fields<'m>(&'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = (u64, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, kind) = key(&mut self.0)?;
            if let Some(bytes) = skip(&mut self.0, kind)? {
                return Some((number, bytes));
            }
        }
    }
}

/// The number and the kind of the next field.
fn key(rest: &mut &[u8]) -> Option<(u64, u64)> {
    let key = varint(rest)?;
    Some((key >> 3, key & 7))
}

/// Passes over a value; gives it if it is bytes.
fn skip<'m>(rest: &mut &'m [u8], kind: u64) -> Option<Option<&'m [u8]>> {
    let len = match kind {
        0 => {
            varint(rest)?;
            return Some(None);
        }
        1 => 8,
        5 => 4,
        2 => usize::try_from(varint(rest)?).ok()?,
        _ => return None,
    };
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some((kind == 2).then_some(bytes))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
