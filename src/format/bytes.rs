//! The bytes of a file, wherever they are and however they are packed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::runtime::SpawnedTask;

use crate::store::{RemoteFile, Window};

/// Bytes that are read a part at a time.
pub trait ReadAt: Send {
    /// About `wanted` bytes from `pos` on; fewer only where the bytes end. Where the bytes before `pos` are gone, `pos` does not
    /// lie before that of the last call.
    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>>;
}

/// A file that is open, or an object of a store, of the size that it had when it was listed. Cheap to clone; reading it may wait.
#[derive(Debug, Clone)]
pub struct Opened(Place);

#[derive(Debug, Clone)]
enum Place {
    Local(Arc<File>, u64),
    /// With what is in memory of it already, for who reads it in order.
    Remote(RemoteFile, Window),
}

impl Opened {
    /// A local file.
    pub fn local(file: File, size: u64) -> Self {
        Self(Place::Local(Arc::new(file), size))
    }

    /// An object of a store. Nothing is asked for before it is read.
    pub fn remote(file: RemoteFile) -> Self {
        Self(Place::Remote(file, Window::default()))
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Place::Local(_, size) => *size,
            Place::Remote(file, _) => file.size(),
        }
    }

    /// The bytes of a range, all of them.
    pub fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        match &self.0 {
            Place::Local(file, _) => read_local(file, range),
            Place::Remote(file, _) => Ok(file.read(range)?),
        }
    }

    /// The bytes of ranges, in order, without holding a thread: near ones of a store with one request, several side by side.
    pub async fn fetch(&self, ranges: Vec<Range<u64>>) -> io::Result<Vec<Bytes>> {
        match &self.0 {
            Place::Remote(file, _) => Ok(file.fetch(ranges).await?),
            Place::Local(file, _) => {
                let file = file.clone();
                let all = move || ranges.into_iter().map(|range| read_local(&file, range)).collect();
                SpawnedTask::spawn_blocking(all).join().await.map_err(io::Error::other)?
            }
        }
    }

    /// Its bytes from the first on, in order or from wherever they are sought.
    pub fn reader(&self) -> OpenedReader {
        OpenedReader { file: self.clone(), pos: 0 }
    }

    /// Fills `out` from `pos` on; less only where the bytes end.
    fn read_into(&mut self, pos: u64, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.size().saturating_sub(pos)).unwrap_or(usize::MAX).min(out.len());
        match &mut self.0 {
            Place::Local(file, _) => {
                file.read_exact_at(&mut out[..len], pos).map_err(shorter)?;
                Ok(len)
            }
            Place::Remote(file, window) => window.read(file, pos, &mut out[..len]),
        }
    }
}

fn read_local(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start).map_err(shorter)?;
    Ok(bytes.into())
}

fn shorter(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"),
        _ => e,
    }
}

impl ReadAt for Opened {
    fn read_at(&mut self, pos: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let len = wanted.min(self.size().saturating_sub(pos));
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let n = self.read_into(pos, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }
}

/// A position in an open file. It buffers nothing of a local file.
#[derive(Debug)]
pub struct OpenedReader {
    file: Opened,
    pos: u64,
}

impl Read for OpenedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_into(self.pos, buf)?;
        self.pos += n as u64;
        Ok(n)
    }
}

impl Seek for OpenedReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let pos = match to {
            SeekFrom::Start(pos) => Some(pos),
            SeekFrom::End(by) => self.file.size().checked_add_signed(by),
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
