//! An append-only file of checksummed records, and atomic replacement of small files: what sources keep on disk.
//!
//! ```text
//! file   = "TMRLOG1\n" record*
//! record = magic u32 | length u32 | sequence u64 | crc(body) u32 | crc(previous record's header) u32 | crc(header) u32 | body
//! ```
//!
//! Numbers are little endian, checksums CRC-32C. The header has a checksum of its own, so that a damaged length does not
//! look like a torn tail. What follows the last valid record is cut off, unless a valid record comes after it: then
//! the file is corrupt. After an I/O error a log takes no more records in this process, because the page cache may
//! show data that is not on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const FILE_MAGIC: &[u8; 8] = b"TMRLOG1\n";
const RECORD_MAGIC: [u8; 4] = [0xB5, b'T', b'M', b'R'];
const HEADER_BYTES: usize = 28;
const MAX_BODY_BYTES: usize = 1 << 30;

/// The error of an operation on a file.
pub fn io_error(doing: &str, path: &Path, e: &io::Error) -> Error {
    Error::io("FILE_IO", format!("{doing} '{}' failed: {e}", path.display()))
        .with_io_source(e)
        .with_help("check that the path exists, that this user may use it and that the disk has room; then start again")
}

/// Replaces `path` by `bytes`, durably, with nothing in between for anybody to see.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    write().map_err(|e| io_error("writing", path, &e))
}

/// Makes names made or removed in the directory of `path` durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// An open log.
#[derive(Debug)]
pub struct RecordLog {
    path: PathBuf,
    file: File,
    next_sequence: u64,
    last_header_crc: u32,
    bytes: u64,
    poisoned: bool,
}

impl RecordLog {
    /// Opens or makes the log at `path`; gives its records. A torn tail is cut off, and what is left is on disk.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>)> {
        let failed = |e: io::Error| io_error("opening", path, &e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (records, end, last_header_crc) = parse(path, &bytes)?;
        let mut log = Self {
            path: path.to_path_buf(),
            file,
            next_sequence: records.len() as u64,
            last_header_crc,
            bytes: end as u64,
            poisoned: false,
        };
        log.cut_tail().map_err(failed)?;
        Ok((log, records))
    }

    /// Replaces the log at `path` by one that holds `records`.
    pub fn replace<'a>(path: &Path, records: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut bytes = FILE_MAGIC.to_vec();
        let mut last = 0;
        for (sequence, body) in records.into_iter().enumerate() {
            last = encode(&mut bytes, sequence as u64, last, body);
        }
        write_atomically(path, &bytes)?;
        Ok(Self::open(path)?.0)
    }

    /// Appends a record; it is on disk when this returns.
    pub fn append(&mut self, body: &[u8]) -> Result<()> {
        self.write(body)?;
        let synced = self.file.sync_data().map_err(|e| io_error("writing", &self.path, &e));
        self.poisoned |= synced.is_err();
        synced
    }

    /// The file, to make what was written durable elsewhere, and its path. If that fails, nothing may be appended any more.
    pub fn file(&self) -> Result<(File, PathBuf)> {
        let file = self.file.try_clone().map_err(|e| io_error("opening", &self.path, &e))?;
        Ok((file, self.path.clone()))
    }

    /// Takes no more records: nobody knows what is on disk.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Appends a record, which is on disk when the file is synced.
    pub fn write(&mut self, body: &[u8]) -> Result<()> {
        if self.poisoned {
            return Err(Error::io("FILE_IO", format!("'{}' had an I/O error before", self.path.display()))
                .with_help("start a new process: it opens the file anew and checks what is on disk"));
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(Error::internal(format!("a record of {} bytes is too long for a log", body.len())));
        }
        let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
        let header_crc = encode(&mut record, self.next_sequence, self.last_header_crc, body);
        if let Err(e) = self.file.write_all(&record) {
            self.poisoned = true;
            return Err(io_error("writing", &self.path, &e));
        }
        self.next_sequence += 1;
        self.last_header_crc = header_crc;
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn cut_tail(&mut self) -> io::Result<()> {
        if self.bytes == 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(FILE_MAGIC)?;
            self.bytes = FILE_MAGIC.len() as u64;
        } else {
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
        }
        // The tail may have been written but never synced by the process that died.
        self.file.sync_all()?;
        sync_parent(&self.path)
    }
}

/// Appends one record to `out`; gives the checksum of its header.
fn encode(out: &mut Vec<u8>, sequence: u64, previous_crc: u32, body: &[u8]) -> u32 {
    let start = out.len();
    out.extend_from_slice(&RECORD_MAGIC);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    out.extend_from_slice(&previous_crc.to_le_bytes());
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    crc
}

struct Header {
    length: usize,
    sequence: u64,
    body_crc: u32,
    previous_crc: u32,
    header_crc: u32,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..HEADER_BYTES)?;
    let u32_at = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
    let header_crc = u32_at(24);
    if bytes[..4] != RECORD_MAGIC || crc32c::crc32c(&bytes[..24]) != header_crc {
        return None;
    }
    Some(Header {
        length: u32_at(4) as usize,
        sequence: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
        body_crc: u32_at(16),
        previous_crc: u32_at(20),
        header_crc,
    })
}

/// The records, where the last valid one ends, and the checksum of its header.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize, u32)> {
    if !bytes.starts_with(FILE_MAGIC) {
        return match FILE_MAGIC.starts_with(bytes) {
            true => Ok((vec![], 0, 0)),
            false => Err(corrupt(path, 0)),
        };
    }
    let (mut records, mut pos, mut last_crc) = (vec![], FILE_MAGIC.len(), 0);
    while let Some((h, body)) = record(&bytes[pos..]) {
        if h.sequence != records.len() as u64 || h.previous_crc != last_crc {
            return Err(corrupt(path, pos));
        }
        records.push(body.to_vec());
        pos += HEADER_BYTES + h.length;
        last_crc = h.header_crc;
    }
    if has_later_record(&bytes[pos..]) {
        return Err(corrupt(path, pos));
    }
    Ok((records, pos, last_crc))
}

fn record(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let h = header(bytes)?;
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + h.length)?;
    (crc32c::crc32c(body) == h.body_crc).then_some((h, body))
}

fn has_later_record(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, &RECORD_MAGIC).any(|at| record(&bytes[at..]).is_some())
}

fn corrupt(path: &Path, pos: usize) -> Error {
    Error::checkpoint("CHECKPOINT_CORRUPT", format!("the source log '{}' is damaged at byte {pos}", path.display()))
        .with_help("restore the checkpoint from a backup, or start the query with a new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_with(records: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, _) = RecordLog::open(&path).unwrap();
        records.iter().for_each(|r| log.append(r).unwrap());
        (dir, path)
    }

    #[test]
    fn a_log_cut_anywhere_keeps_its_whole_records_and_goes_on() {
        let (_dir, path) = log_with(&[b"one", b"", b"three"]);
        let bytes = fs::read(&path).unwrap();
        for len in 0..=bytes.len() {
            fs::write(&path, &bytes[..len]).unwrap();
            let (mut log, records) = RecordLog::open(&path).unwrap();
            assert!([&b"one"[..], b"", b"three"].starts_with(&records.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            log.append(b"next").unwrap();
            assert_eq!(RecordLog::open(&path).unwrap().1.len(), records.len() + 1);
        }
    }

    #[test]
    fn damage_before_the_tail_is_told() {
        let (_dir, path) = log_with(&[b"one", b"two", b"three"]);
        let bytes = fs::read(&path).unwrap();
        let last = bytes.len() - HEADER_BYTES - 5;
        for at in 0..last {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert_eq!(RecordLog::open(&path).unwrap_err().condition(), "CHECKPOINT_CORRUPT", "byte {at}");
        }
    }

    #[test]
    fn replacing_keeps_only_what_is_given() {
        let (_dir, path) = log_with(&[b"one", b"two"]);
        let mut log = RecordLog::replace(&path, [&b"two"[..]]).unwrap();
        log.append(b"three").unwrap();
        assert_eq!(RecordLog::open(&path).unwrap().1, [b"two".to_vec(), b"three".to_vec()]);
    }
}
