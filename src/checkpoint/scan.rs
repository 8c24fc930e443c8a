//! Reading a file of records from front to back, verifying all of it; telling a tear from corruption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::buffer::{Buffer, MutableBuffer};

use super::column::ALIGNMENT;
use super::fs::{DurableFile, io_error};
use super::record::{FileKind, Framer, HEADER, MAX_BODY, RecordHeader, RecordKind, SegmentHeader, header_crc};
use crate::error::{Error, Result};

/// Bytes looked at in one go where no record is expected.
const CHUNK: usize = 256 * 1024;

/// A verified record's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located {
    pub header: RecordHeader,
    /// Of the header in the file.
    pub offset: u64,
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Step {
    /// A record whose checksums hold, and its body.
    Record(Located, Buffer),
    /// Zeros, or nothing, up to the end of the file.
    End,
    /// Bytes that are neither.
    Broken(&'static str),
}

/// A file of records, read in order.
#[derive(Debug)]
pub(super) struct Scan {
    pub file: Arc<dyn DurableFile>,
    pub path: PathBuf,
    pub header: SegmentHeader,
    /// Where the next record starts.
    pub position: u64,
    /// What the next record must say.
    pub framer: Framer,
    /// Whether the segment says that the next one is on disk.
    pub is_followed: bool,
    file_len: u64,
    last_batch: Option<u64>,
}

impl Scan {
    /// Reads the segment header; `None` if the file has none that is valid.
    pub(super) fn open(file: Arc<dyn DurableFile>, path: &Path) -> Result<Option<Self>> {
        let file_len = file.len().map_err(|e| io_error(path, "fstat", &e))?;
        if file_len < HEADER as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        read(&*file, path, &mut bytes, 0)?;
        Ok(SegmentHeader::decode(&bytes).map(|header| Self {
            framer: Framer::at_start_of(&header),
            file,
            path: path.to_owned(),
            header,
            position: HEADER as u64,
            is_followed: false,
            file_len,
            last_batch: None,
        }))
    }

    /// The next record, with its body verified.
    pub(super) fn next(&mut self) -> Result<Step> {
        let Some((header, bytes)) = self.header_at(self.position)? else {
            return if self.is_zero_from(self.position)? {
                Ok(Step::End)
            } else {
                Ok(Step::Broken("no valid record header"))
            };
        };
        if let Some(reason) = self.misfit(&header) {
            return Ok(Step::Broken(reason));
        }
        if header.kind == RecordKind::Next {
            let rest = self.position + header.frame_len();
            self.is_followed = header.body_len == 0 && self.is_zero_from(rest)?;
            return Ok(if self.is_followed {
                Step::End
            } else {
                Step::Broken("a record behind the end of the segment")
            });
        }
        let body = read_body(&*self.file, &self.path, self.position, &header)?;
        if crc32c::crc32c(&body) != header.body_crc {
            return Ok(Step::Broken("the body does not match its checksum"));
        }
        let located = Located { header, offset: self.position };
        self.position += header.frame_len();
        self.framer.sequence += 1;
        self.framer.previous = header_crc(&bytes);
        self.last_batch = Some(header.batch_id);
        Ok(Step::Record(located, body))
    }

    /// Whether a record after `position` proves that what should stand at `position` was durable: then it did not tear,
    /// it was damaged.
    pub(super) fn was_durable(&self) -> Result<bool> {
        let mut chunk = vec![0; CHUNK + HEADER];
        let mut at = self.position;
        while at + HEADER as u64 <= self.file_len {
            let len = chunk.len().min((self.file_len - at) as usize);
            read(&*self.file, &self.path, &mut chunk[..len], at)?;
            if chunk[..len].windows(HEADER).step_by(ALIGNMENT).any(|w| self.proves_durable(w)) {
                return Ok(true);
            }
            at += CHUNK as u64;
        }
        Ok(false)
    }

    /// Whether what is broken at `position` is no longer than the note that the next segment is there: it may have torn,
    /// and the next segment says whether a record is missing.
    pub(super) fn is_torn_note(&self) -> Result<bool> {
        self.is_zero_from(self.position + HEADER as u64)
    }

    /// The error for damage at `position`.
    pub(super) fn corrupt(&self, reason: &str) -> Error {
        // What the record says itself, if it can be read, and else what would follow.
        let own = self.header_at(self.position).ok().flatten().map(|(header, _)| header.batch_id);
        let next = self.last_batch.map(|b| b + u64::from(self.header.kind == FileKind::Log));
        corrupt(&self.path, self.position, own.or(next), reason)
    }

    fn misfit(&self, header: &RecordHeader) -> Option<&'static str> {
        if header.segment != self.header.segment {
            Some("a record of another segment")
        } else if header.sequence != self.framer.sequence {
            Some("a record out of sequence")
        } else if header.previous != self.framer.previous {
            Some("a record that does not follow the one before")
        } else if header.body_len as usize > MAX_BODY || self.position + header.frame_len() > self.file_len {
            Some("a record longer than the file")
        } else {
            None
        }
    }

    fn proves_durable(&self, bytes: &[u8]) -> bool {
        bytes.first_chunk::<HEADER>().and_then(RecordHeader::decode).is_some_and(|h| {
            h.segment == self.header.segment && h.sequence > self.framer.sequence && h.durable >= self.framer.sequence
        })
    }

    fn header_at(&self, at: u64) -> Result<Option<(RecordHeader, [u8; HEADER])>> {
        if at + HEADER as u64 > self.file_len {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        read(&*self.file, &self.path, &mut bytes, at)?;
        Ok(RecordHeader::decode(&bytes).map(|h| (h, bytes)))
    }

    fn is_zero_from(&self, mut at: u64) -> Result<bool> {
        let mut chunk = vec![0; CHUNK.min((self.file_len.saturating_sub(at)) as usize)];
        while at < self.file_len {
            let len = chunk.len().min((self.file_len - at) as usize);
            read(&*self.file, &self.path, &mut chunk[..len], at)?;
            if chunk[..len].iter().any(|b| *b != 0) {
                return Ok(false);
            }
            at += len as u64;
        }
        Ok(true)
    }
}

/// Whether a file without a valid segment header holds records nevertheless: then the header was damaged, not torn.
pub(super) fn has_records(file: &dyn DurableFile, path: &Path) -> Result<bool> {
    let file_len = file.len().map_err(|e| io_error(path, "fstat", &e))?;
    let mut chunk = vec![0; CHUNK + HEADER];
    let mut at = 0;
    while at + HEADER as u64 <= file_len {
        let len = chunk.len().min((file_len - at) as usize);
        read(file, path, &mut chunk[..len], at)?;
        let is_record = |w: &[u8]| w.first_chunk::<HEADER>().and_then(RecordHeader::decode).is_some();
        if chunk[..len].windows(HEADER).step_by(ALIGNMENT).any(is_record) {
            return Ok(true);
        }
        at += CHUNK as u64;
    }
    Ok(false)
}

/// Reads a record that was verified before, and verifies it again: the file may have changed since.
pub(super) fn read_record(file: &dyn DurableFile, path: &Path, record: &Located) -> Result<Buffer> {
    let body = read_body(file, path, record.offset, &record.header)?;
    if crc32c::crc32c(&body) != record.header.body_crc {
        return Err(corrupt(path, record.offset, Some(record.header.batch_id), "the body does not match its checksum"));
    }
    Ok(body)
}

/// The error for damage in a file.
pub(super) fn corrupt(path: &Path, byte: u64, batch: Option<u64>, reason: &str) -> Error {
    let batch = batch.map(|b| format!(", batch {b}")).unwrap_or_default();
    Error::checkpoint(
        "CHECKPOINT_CORRUPT",
        format!("checkpoint file '{}' is damaged at byte {byte}{batch}: {reason}", path.display()),
    )
    .with_help(
        "nothing was changed. Restore the checkpoint directory from a backup, or start with a new one and choose where \
         the sources begin",
    )
}

fn read_body(file: &dyn DurableFile, path: &Path, at: u64, header: &RecordHeader) -> Result<Buffer> {
    // Arrow allocates aligned for every type; a plain vector would not be.
    let mut body = MutableBuffer::from_len_zeroed(header.body_len as usize);
    read(file, path, body.as_slice_mut(), at + HEADER as u64)?;
    Ok(body.into())
}

fn read(file: &dyn DurableFile, path: &Path, buf: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(buf, at).map_err(|e| io_error(path, "read", &e))
}
