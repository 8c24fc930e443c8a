//! Frames: the headers of segments and records, each with its own checksum. Pure, no I/O.
//!
//! ```text
//! segment header (64 bytes) | record header (64) | body | pad to 16 | record header | body | … | zeros
//!                crc ──────────▶ previous    crc ────────────────────▶ previous
//! ```
//! The chain of checksums ties every record to all before it, back to the segment header, which holds the query's id.

use uuid::Uuid;

use super::column::ALIGNMENT;

/// Bytes of a segment header and of a record header.
pub(super) const HEADER: usize = 64;
/// Version of the format of everything in the directory.
pub const FORMAT_VERSION: u32 = 1;
/// Longest body. Arrow offsets are 32 bit, so one change is never longer.
pub(super) const MAX_BODY: usize = 1 << 31;

const SEGMENT_MAGIC: [u8; 4] = *b"TMSG";
const RECORD_MAGIC: [u8; 4] = *b"TMRC";
const CRC_AT: usize = HEADER - 4;

/// What a file of records is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum FileKind {
    Log = 1,
    Snapshot = 2,
}

/// The first 64 bytes of a file of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub kind: FileKind,
    /// Number of the log segment, or batch id of the snapshot.
    pub segment: u64,
    /// The query's.
    pub id: Uuid,
    /// Sequence number of the first record.
    pub first_sequence: u64,
    /// Checksum of the last record header of the segment before, 0 if there is none.
    pub previous: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[0..4].copy_from_slice(&SEGMENT_MAGIC);
        b[4..6].copy_from_slice(&(FORMAT_VERSION as u16).to_le_bytes());
        b[6..8].copy_from_slice(&(self.kind as u16).to_le_bytes());
        b[8..16].copy_from_slice(&self.segment.to_le_bytes());
        b[16..32].copy_from_slice(self.id.as_bytes());
        b[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        b[40..44].copy_from_slice(&self.previous.to_le_bytes());
        seal(&mut b);
        b
    }

    /// `None` if these are not the bytes of a segment header.
    pub(super) fn decode(b: &[u8; HEADER]) -> Option<Self> {
        if !is_sealed(b, SEGMENT_MAGIC) {
            return None;
        }
        let kind = match u16_at(b, 6) {
            1 => FileKind::Log,
            2 => FileKind::Snapshot,
            _ => return None,
        };
        Some(Self {
            kind,
            segment: u64_at(b, 8),
            id: Uuid::from_bytes(bytes_at(b, 16)),
            first_sequence: u64_at(b, 32),
            previous: u32_at(b, 40),
        })
    }

    /// What the first record's `previous` must be.
    pub(super) fn chain(&self) -> u32 {
        u32_at(&self.encode(), CRC_AT)
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// A schema that later records of this file refer to.
    Schema = 1,
    /// A batch.
    Batch = 2,
    /// The sink has the batch.
    Commit = 3,
    /// A piece of a snapshot.
    State = 4,
    /// The snapshot is whole.
    End = 5,
    /// The segment is whole, and the next one is on disk.
    Next = 6,
}

/// The 64 bytes before a record's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub kind: RecordKind,
    pub segment: u64,
    /// Dense over all segments of a log.
    pub sequence: u64,
    /// All records up to this sequence number were durable when this record was written.
    pub durable: u64,
    pub batch_id: u64,
    pub body_len: u32,
    pub body_crc: u32,
    /// Checksum of the header before.
    pub previous: u32,
}

impl RecordHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[0..4].copy_from_slice(&RECORD_MAGIC);
        b[4..6].copy_from_slice(&(FORMAT_VERSION as u16).to_le_bytes());
        b[6] = self.kind as u8;
        b[8..16].copy_from_slice(&self.segment.to_le_bytes());
        b[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        b[24..32].copy_from_slice(&self.durable.to_le_bytes());
        b[32..40].copy_from_slice(&self.batch_id.to_le_bytes());
        b[40..44].copy_from_slice(&self.body_len.to_le_bytes());
        b[44..48].copy_from_slice(&self.body_crc.to_le_bytes());
        b[48..52].copy_from_slice(&self.previous.to_le_bytes());
        seal(&mut b);
        b
    }

    /// `None` if these are not the bytes of a record header.
    pub(super) fn decode(b: &[u8; HEADER]) -> Option<Self> {
        if !is_sealed(b, RECORD_MAGIC) {
            return None;
        }
        let kind = match b[6] {
            1 => RecordKind::Schema,
            2 => RecordKind::Batch,
            3 => RecordKind::Commit,
            4 => RecordKind::State,
            5 => RecordKind::End,
            6 => RecordKind::Next,
            _ => return None,
        };
        Some(Self {
            kind,
            segment: u64_at(b, 8),
            sequence: u64_at(b, 16),
            durable: u64_at(b, 24),
            batch_id: u64_at(b, 32),
            body_len: u32_at(b, 40),
            body_crc: u32_at(b, 44),
            previous: u32_at(b, 48),
        })
    }

    /// Bytes of header, body and padding.
    pub(super) fn frame_len(&self) -> u64 {
        (HEADER + (self.body_len as usize).next_multiple_of(ALIGNMENT)) as u64
    }
}

/// The checksum in an encoded header.
pub(super) fn header_crc(header: &[u8; HEADER]) -> u32 {
    u32_at(header, CRC_AT)
}

fn seal(b: &mut [u8; HEADER]) {
    let crc = crc32c::crc32c(&b[..CRC_AT]);
    b[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(b: &[u8; HEADER], magic: [u8; 4]) -> bool {
    b[0..4] == magic && u32_at(b, CRC_AT) == crc32c::crc32c(&b[..CRC_AT]) && u32::from(u16_at(b, 4)) == FORMAT_VERSION
}

fn bytes_at<const N: usize>(b: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&b[at..at + N]);
    bytes
}

fn u16_at(b: &[u8; HEADER], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(b, at))
}

fn u32_at(b: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(b, at))
}

fn u64_at(b: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(b, at))
}

/// Appends records to a buffer, each chained to the one before.
#[derive(Debug, Clone)]
pub(super) struct Framer {
    pub segment: u64,
    /// Of the next record.
    pub sequence: u64,
    /// Checksum of the header before.
    pub previous: u32,
}

impl Framer {
    /// Goes on after `header`, at the start of a file.
    pub(super) fn at_start_of(header: &SegmentHeader) -> Self {
        Self { segment: header.segment, sequence: header.first_sequence, previous: header.chain() }
    }

    /// Appends a record whose body `write_body` appends; returns its header.
    pub(super) fn append<E: From<TooLong>>(
        &mut self,
        out: &mut Vec<u8>,
        kind: RecordKind,
        batch_id: u64,
        durable: u64,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<RecordHeader, E> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        write_body(out)?;
        let body = &out[start + HEADER..];
        if body.len() > MAX_BODY {
            return Err(TooLong(body.len()).into());
        }
        let header = RecordHeader {
            kind,
            segment: self.segment,
            sequence: self.sequence,
            durable,
            batch_id,
            body_len: body.len() as u32,
            body_crc: crc32c::crc32c(body),
            previous: self.previous,
        };
        let bytes = header.encode();
        out[start..start + HEADER].copy_from_slice(&bytes);
        super::column::pad(out);
        self.sequence += 1;
        self.previous = header_crc(&bytes);
        Ok(header)
    }
}

/// A body longer than [`MAX_BODY`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TooLong(pub usize);

impl From<TooLong> for crate::error::Error {
    fn from(e: TooLong) -> Self {
        Self::execution(
            "CHECKPOINT_RECORD_TOO_LONG",
            format!("the state changes of one batch take {} bytes; at most {MAX_BODY} fit into a record", e.0),
        )
        .with_help("read fewer rows per trigger, e.g. with maxFilesPerTrigger or maxOffsetsPerTrigger")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let header = SegmentHeader { kind: FileKind::Log, segment: 7, id: Uuid::max(), first_sequence: 9, previous: 3 };
        let record = RecordHeader {
            kind: RecordKind::Batch,
            segment: 7,
            sequence: 10,
            durable: 9,
            batch_id: 4,
            body_len: 5,
            body_crc: 6,
            previous: header.chain(),
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
        assert_eq!(RecordHeader::decode(&record.encode()), Some(record));
        for bit in 0..HEADER * 8 {
            let (mut s, mut r) = (header.encode(), record.encode());
            s[bit / 8] ^= 1 << (bit % 8);
            r[bit / 8] ^= 1 << (bit % 8);
            assert_eq!((SegmentHeader::decode(&s), RecordHeader::decode(&r)), (None, None), "bit {bit}");
        }
    }
}
