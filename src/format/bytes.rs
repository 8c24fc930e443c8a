//! The bytes of a file, wherever they are and however they are packed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes that are read a part at a time.
pub trait ReadAt: Send {
    /// About `wanted` bytes from `pos` on; fewer only where the bytes end. Where the bytes before `pos` are gone, `pos` does not
    /// lie before that of the last call.
    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>>;
}

/// A file that is open, of the size that it had when it was listed. Cheap to clone; reading it may wait.
#[derive(Debug, Clone)]
pub struct Opened {
    file: Arc<File>,
    size: u64,
}

impl Opened {
    /// A local file.
    pub fn local(file: File, size: u64) -> Self {
        Self { file: Arc::new(file), size }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range, all of them.
    pub fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, range.start).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"),
            _ => e,
        })?;
        Ok(bytes.into())
    }

    /// Its bytes from the first on, in order or from wherever they are sought.
    pub fn reader(&self) -> OpenedReader {
        OpenedReader { file: self.clone(), pos: 0 }
    }
}

impl ReadAt for Opened {
    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let end = pos.saturating_add(wanted).min(self.size);
        Ok(self.read(pos.min(end)..end)?.into())
    }
}

/// A position in an open file. It buffers nothing.
#[derive(Debug)]
pub struct OpenedReader {
    file: Opened,
    pos: u64,
}

impl Read for OpenedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let end = self.pos.saturating_add(buf.len() as u64).min(self.file.size);
        let bytes = self.file.read(self.pos.min(end)..end)?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        self.pos += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Seek for OpenedReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let pos = match to {
            SeekFrom::Start(pos) => Some(pos),
            SeekFrom::End(by) => self.file.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
        };
        self.pos = pos.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the first byte"))?;
        Ok(self.pos)
    }
}

/// Bytes that come one after the other, such as those of a decompressor.
pub struct Sequential {
    reader: Box<dyn Read + Send>,
    /// What was read and not yet passed.
    kept: Vec<u8>,
    /// Where `kept` begins.
    start: u64,
}

impl Sequential {
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, kept: vec![], start: 0 }
    }
}

impl ReadAt for Sequential {
    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let passed = pos.checked_sub(self.start).ok_or_else(|| io::Error::other("the bytes are gone"))?;
        let passed = usize::try_from(passed).map_err(io::Error::other)?;
        if passed > self.kept.len() {
            let skip = (passed - self.kept.len()) as u64;
            io::copy(&mut (&mut self.reader).take(skip), &mut io::sink())?;
            self.kept.clear();
        } else {
            self.kept.drain(..passed);
        }
        self.start = pos;
        let missing = wanted.saturating_sub(self.kept.len() as u64);
        (&mut self.reader).take(missing).read_to_end(&mut self.kept)?;
        let len = self.kept.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(self.kept[..len].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_sequence_as_if_from_a_file() {
        let text: Vec<u8> = (0..=255).collect();
        let mut bytes = Sequential::new(Box::new(io::Cursor::new(text.clone())));
        assert_eq!(bytes.read_at(0, 10).unwrap(), text[..10]);
        assert_eq!(bytes.read_at(0, 20).unwrap(), text[..20]);
        assert_eq!(bytes.read_at(5, 4).unwrap(), text[5..9]);
        assert_eq!(bytes.read_at(100, 10).unwrap(), text[100..110]);
        assert_eq!(bytes.read_at(250, 10).unwrap(), text[250..]);
        assert!(bytes.read_at(256, 10).unwrap().is_empty());
        assert!(bytes.read_at(0, 1).is_err());
    }
}
