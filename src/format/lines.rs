//! Cuts a byte range of a file into blocks of whole lines, so that several readers can share one file.
//!
//! A line belongs to the range that holds its first byte: a reader skips to the first line that starts in its range, and
//! reads the last one to its end, beyond the range if need be.

use std::io;
use std::ops::Range;

use memchr::{memchr2, memmem, memrchr2};

use super::bytes::ReadAt;
use crate::options::{OptionSpec, OptionType};

/// The option that says what ends a line.
pub const LINE_SEP: [OptionSpec; 1] =
    [OptionSpec::new("lineSep", OptionType::Text, "What ends a record; without it \\n, \\r\\n and \\r all do.")];

/// Bytes read at once, unless a line is longer.
pub const BLOCK_BYTES: usize = 4 << 20;

/// A longer line is a bad record: it is skipped without being held in memory.
pub const MAX_LINE_BYTES: u64 = 256 << 20;

/// Bytes read at once while looking for a line end.
const SKIP_BYTES: u64 = 64 << 10;

/// What [`LineBlocks::next_block`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Whole lines.
    Lines(Vec<u8>),
    /// A line of more than [`MAX_LINE_BYTES`], which was skipped.
    TooLong,
    /// The end of the range.
    End,
}

/// What ends a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`, `\r\n` or `\r`.
    Any,
    /// Exactly these bytes.
    Bytes(Vec<u8>),
}

impl LineEnd {
    /// Position and length of the first line end at or after `from`.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        match self {
            Self::Any => {
                let at = from + memchr2(b'\n', b'\r', &bytes[from..])?;
                let len = if bytes[at..].starts_with(b"\r\n") { 2 } else { 1 };
                Some(at..at + len)
            }
            Self::Bytes(end) => memmem::find(&bytes[from..], end).map(|at| from + at..from + at + end.len()),
        }
    }

    /// One past the last line end that is whole: a `\r` as the last byte may yet become `\r\n`.
    fn find_last(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Any => {
                let at = memrchr2(b'\n', b'\r', bytes)?;
                if at + 1 == bytes.len() && bytes[at] == b'\r' {
                    return memrchr2(b'\n', b'\r', &bytes[..at]).map(|at| at + 1);
                }
                Some(at + 1)
            }
            Self::Bytes(end) => memmem::rfind(bytes, end).map(|at| at + end.len()),
        }
    }

    /// Bytes at the end of a piece that may begin a line end which the next piece completes.
    fn overlap(&self, at_file_end: bool) -> u64 {
        match self {
            Self::Bytes(end) if !at_file_end => end.len() as u64 - 1,
            _ => 0,
        }
    }

    /// Whether a reader can find the start of a line in the middle of a file.
    pub fn is_splittable(&self) -> bool {
        *self == Self::Any
    }
}

/// Ranges of the lines of a block, without their line ends, at most `max`; `pos` moves on.
pub fn next_lines(block: &[u8], line_end: &LineEnd, pos: &mut usize, max: usize, lines: &mut Vec<Range<usize>>) {
    lines.clear();
    while *pos < block.len() && lines.len() < max {
        let end = line_end.find(block, *pos).unwrap_or(block.len()..block.len());
        lines.push(*pos..end.start);
        *pos = end.end;
    }
}

/// Reads blocks of whole lines from a range of the bytes of a file.
pub struct LineBlocks {
    bytes: Box<dyn ReadAt>,
    line_end: LineEnd,
    pos: u64,
    end: u64,
    /// Where the bytes end, as far as is known.
    size: u64,
    block_bytes: u64,
    max_line_bytes: u64,
    aligned: bool,
}

impl LineBlocks {
    /// The lines of `bytes` that start in `range`; `size` is [`u64::MAX`] where it is not known.
    pub fn new(bytes: Box<dyn ReadAt>, line_end: LineEnd, range: Range<u64>, size: u64) -> Self {
        Self {
            bytes,
            line_end,
            aligned: range.start == 0,
            pos: range.start,
            end: range.end.min(size),
            size,
            block_bytes: BLOCK_BYTES as u64,
            max_line_bytes: MAX_LINE_BYTES,
        }
    }

    /// Where in the file the last block ended.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// The next lines of the range.
    pub fn next_block(&mut self) -> io::Result<Block> {
        if !std::mem::replace(&mut self.aligned, true) {
            self.pos -= 1;
            self.skip_line()?;
        }
        let mut wanted = self.block_bytes;
        while self.pos < self.end {
            let mut block = self.read_at(self.pos, wanted)?;
            if block.is_empty() {
                break;
            }
            if let Some(len) = self.cut(&block) {
                block.truncate(len);
                self.pos += len as u64;
                return Ok(Block::Lines(block));
            }
            if wanted > self.max_line_bytes {
                self.skip_line()?;
                return Ok(Block::TooLong);
            }
            wanted *= 2;
        }
        Ok(Block::End)
    }

    /// Moves behind the next line end, or to the end of the file.
    fn skip_line(&mut self) -> io::Result<()> {
        while self.pos < self.size {
            let bytes = self.read_at(self.pos, self.block_bytes.clamp(2, SKIP_BYTES))?;
            let at_file_end = self.pos + bytes.len() as u64 >= self.size;
            match self.line_end.find(&bytes, 0) {
                // A line end at the end of what was read may go on.
                Some(end) if at_file_end || end.end < bytes.len() => {
                    self.pos += end.end as u64;
                    return Ok(());
                }
                Some(end) if end.start > 0 => self.pos += end.start as u64,
                Some(end) => {
                    let whole = self.read_at(self.pos, end.len() as u64 + 1)?;
                    self.pos += self.line_end.find(&whole, 0).map_or(end.len(), |end| end.end) as u64;
                    return Ok(());
                }
                None => self.pos += (bytes.len() as u64).saturating_sub(self.line_end.overlap(at_file_end)),
            }
        }
        Ok(())
    }

    /// Where to end a block: after its last whole line, or after the last line that starts in the range.
    fn cut(&self, block: &[u8]) -> Option<usize> {
        let at_file_end = self.pos + block.len() as u64 >= self.size;
        let in_range = self.end - self.pos;
        if (block.len() as u64) < in_range {
            return if at_file_end { Some(block.len()) } else { self.line_end.find_last(block) };
        }
        match self.line_end.find(block, in_range as usize - 1) {
            // The end of the range may cut `\r\n` in two; it is then one line end all the same.
            Some(end) if at_file_end || end.end < block.len() => Some(end.end),
            _ => at_file_end.then_some(block.len()),
        }
    }

    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let bytes = self.bytes.read_at(pos, wanted)?;
        if (bytes.len() as u64) < wanted {
            self.size = pos + bytes.len() as u64;
            self.end = self.end.min(self.size);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bytes::Opened;
    use std::io::Write;

    fn read(text: &[u8], cuts: &[u64], block_bytes: u64) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let size = text.len() as u64;
        let mut got = vec![];
        for range in cuts.windows(2) {
            let mut blocks = LineBlocks::new(
                Box::new(Opened::local(file.try_clone().unwrap(), size)),
                LineEnd::Any,
                range[0]..range[1],
                size,
            );
            blocks.block_bytes = block_bytes;
            loop {
                let block = match blocks.next_block().unwrap() {
                    Block::Lines(block) => block,
                    Block::TooLong => panic!("no line is too long"),
                    Block::End => break,
                };
                let (mut pos, mut lines) = (0, vec![]);
                next_lines(&block, &LineEnd::Any, &mut pos, usize::MAX, &mut lines);
                got.extend(lines.into_iter().map(|l| String::from_utf8_lossy(&block[l]).into_owned()));
            }
        }
        got
    }

    #[test]
    fn every_line_is_read_once_wherever_ranges_and_blocks_end() {
        let text = b"one\r\ntwo\n\n\rthree\rfour is longer\r\n\r\nlast";
        let all = ["one", "two", "", "", "three", "four is longer", "", "last"];
        let size = text.len() as u64;
        for a in 0..=size {
            for b in a..=size {
                for block in [1, 2, 7, 1000] {
                    assert_eq!(read(text, &[0, a, b, size], block), all, "cuts {a} {b}, blocks of {block}");
                }
            }
        }
        assert!(read(b"", &[0, 0], 8).is_empty());
        assert_eq!(read(b"\n\n", &[0, 1, 2], 8), ["", ""]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped() {
        let mut file = tempfile::tempfile().unwrap();
        let text = format!("ok\n{}\r\nlast\n", "x".repeat(1000));
        file.write_all(text.as_bytes()).unwrap();
        let mut blocks = LineBlocks::new(
            Box::new(Opened::local(file, text.len() as u64)),
            LineEnd::Any,
            0..text.len() as u64,
            text.len() as u64,
        );
        (blocks.block_bytes, blocks.max_line_bytes) = (16, 64);
        assert_eq!(blocks.next_block().unwrap(), Block::Lines(b"ok\n".to_vec()));
        assert_eq!(blocks.next_block().unwrap(), Block::TooLong);
        assert_eq!(blocks.next_block().unwrap(), Block::Lines(b"last\n".to_vec()));
        assert_eq!(blocks.next_block().unwrap(), Block::End);
    }

    #[test]
    fn own_line_ends() {
        let end = LineEnd::Bytes(b"||".to_vec());
        let (mut pos, mut lines) = (0, vec![]);
        next_lines(b"a|b||c||", &end, &mut pos, 10, &mut lines);
        assert_eq!(lines, [0..3, 5..6]);
    }
}
