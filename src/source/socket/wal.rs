//! The log of a socket source with `wal 'true'`: a line counts as received once it is on disk.
//!
//! A directory of segments named by their first row. A record is what was received between two syncs:
//! `first row u64 | rows u32 | times u32 (0 or 1) | length u32 × rows | time i64 × rows × times | bytes`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use super::rows::{NULL_LENGTH, Rows};
use crate::error::{Error, Result};
use crate::source::record_log::{RecordLog, io_error, sync_parent};

const SEGMENT_BYTES: u64 = 16 << 20;

/// The open log.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    /// First row and file of each segment; the last one is open.
    segments: VecDeque<(u64, PathBuf)>,
    open: Option<RecordLog>,
    next_row: u64,
    closed: bool,
}

impl Wal {
    /// Opens the log in `dir`; gives the offset of its first row, if it has any segment, and its rows.
    pub fn open(dir: &Path) -> Result<(Self, Option<u64>, Rows)> {
        fs::create_dir_all(dir).map_err(|e| io_error("making", dir, &e))?;
        sync_parent(dir).map_err(|e| io_error("syncing", dir, &e))?;
        let segments = list(dir)?;
        let first = segments.front().map(|(row, _)| *row);
        let mut wal =
            Self { dir: dir.to_path_buf(), segments, open: None, next_row: first.unwrap_or(0), closed: false };
        let mut rows = Rows::default();
        for (row, path) in wal.segments.clone() {
            if row != wal.next_row {
                return Err(damaged(&path));
            }
            let (log, records) = RecordLog::open(&path)?;
            for record in records {
                let (first, mut read) =
                    decode(&record).filter(|(f, _)| *f == wal.next_row).ok_or_else(|| damaged(&path))?;
                wal.next_row = first + read.len() as u64;
                rows.append(&mut read);
            }
            wal.open = Some(log);
        }
        Ok((wal, first, rows))
    }

    /// Writes rows that were received; they are on disk when this returns. `first_row` is where an empty log begins.
    pub fn append(&mut self, first_row: u64, rows: &Rows) -> Result<()> {
        if self.closed {
            return Err(Error::io("FILE_IO", "the socket source is stopped").with_help("start the query again"));
        }
        if self.segments.is_empty() {
            self.next_row = first_row;
        }
        let record = encode(self.next_row, rows);
        self.segment()?.append(&record)?;
        self.next_row += rows.len() as u64;
        Ok(())
    }

    /// Removes segments that hold only rows before `end`.
    pub fn truncate(&mut self, end: u64) -> Result<()> {
        while self.segments.get(1).is_some_and(|(first, _)| *first <= end) {
            let Some((_, path)) = self.segments.pop_front() else { break };
            fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
        }
        Ok(())
    }

    /// Takes no more rows, so that another process may open the log.
    pub fn close(&mut self) {
        self.closed = true;
        self.open = None;
    }

    fn segment(&mut self) -> Result<&mut RecordLog> {
        let log = match self.open.take() {
            Some(log) if log.bytes() < SEGMENT_BYTES => log,
            _ => {
                let path = self.dir.join(format!("{:020}.wal", self.next_row));
                let (log, _) = RecordLog::open(&path)?;
                self.segments.push_back((self.next_row, path));
                log
            }
        };
        Ok(self.open.insert(log))
    }
}

fn list(dir: &Path) -> Result<VecDeque<(u64, PathBuf)>> {
    let failed = |e| io_error("listing", dir, &e);
    let mut segments = vec![];
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let row = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let (Some(row), Some("wal")) = (row, path.extension().and_then(|e| e.to_str())) {
            segments.push((row, path));
        }
    }
    segments.sort();
    Ok(segments.into())
}

fn damaged(path: &Path) -> Error {
    Error::checkpoint(
        "CHECKPOINT_CORRUPT",
        format!("the socket source's log '{}' does not fit the one before", path.display()),
    )
    .with_help("restore the checkpoint from a backup, or start the query with a new one")
}

fn encode(first_row: u64, rows: &Rows) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.size());
    out.extend_from_slice(&first_row.to_le_bytes());
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    out.extend_from_slice(&u32::from(!rows.times_us.is_empty()).to_le_bytes());
    rows.lengths.iter().for_each(|l| out.extend_from_slice(&l.to_le_bytes()));
    rows.times_us.iter().for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
    out.extend_from_slice(&rows.bytes);
    out
}

/// The first row's number and the rows; `None` if the record is not one of ours.
fn decode(record: &[u8]) -> Option<(u64, Rows)> {
    let (first, rest) = record.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (times, rest) = rest.split_first_chunk()?;
    let count = u32::from_le_bytes(*count) as usize;
    let (lengths, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
    let times = if u32::from_le_bytes(*times) == 0 { 0 } else { count.checked_mul(8)? };
    let (times, bytes) = rest.split_at_checked(times)?;
    let lengths: Vec<_> = lengths.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    let times_us = times.chunks_exact(8).filter_map(|c| c.try_into().ok().map(i64::from_le_bytes)).collect();
    let total: usize = lengths.iter().filter(|l| **l != NULL_LENGTH).map(|l| *l as usize).sum();
    (total == bytes.len()).then(|| (u64::from_le_bytes(*first), Rows { bytes: bytes.to_vec(), lengths, times_us }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[&str]) -> Rows {
        let mut rows = Rows::default();
        lines.iter().for_each(|l| rows.push(l.as_bytes()));
        rows.push_null();
        rows.stamp(7);
        rows
    }

    #[test]
    fn rows_come_back_and_a_torn_tail_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, first, _) = Wal::open(dir.path()).unwrap();
        assert_eq!(first, None);
        wal.append(500, &rows(&["a", "bb"])).unwrap();
        wal.append(500, &rows(&["ccc"])).unwrap();
        let path = wal.segments[0].1.clone();
        let (_, first, all) = Wal::open(dir.path()).unwrap();
        assert_eq!(
            (first, all.len(), all.times_us.len(), all.bytes.as_slice()),
            (Some(500), 5, 5, b"abbccc".as_slice())
        );
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(Wal::open(dir.path()).unwrap().2, rows(&["a", "bb"]));
    }

    #[test]
    fn commit_removes_whole_segments_only() {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, _, _) = Wal::open(dir.path()).unwrap();
        let long = "x".repeat(SEGMENT_BYTES as usize);
        for _ in 0..3 {
            wal.append(0, &rows(&[&long])).unwrap();
        }
        wal.truncate(3).unwrap();
        assert_eq!(list(dir.path()).unwrap().iter().map(|s| s.0).collect::<Vec<_>>(), [2, 4]);
        wal.truncate(100).unwrap();
        let (_, first, rows) = Wal::open(dir.path()).unwrap();
        assert_eq!((first, rows.len()), (Some(4), 2));
    }
}
