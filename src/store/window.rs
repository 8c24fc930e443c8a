//! Reading an object from front to back: in large pieces, the next of which is on its way while one is read.

use std::io;
use std::ops::Range;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use parking_lot::Mutex;

use super::error::StoreFault;
use super::object::RemoteFile;

/// The first piece; each further one that follows it is twice as long, up to the largest.
const FIRST_BYTES: u64 = 1 << 20;
const MOST_BYTES: u64 = 8 << 20;

type Answer = Receiver<Result<Bytes, StoreFault>>;

/// What of an object is in memory, and what has been asked for.
#[derive(Debug, Default)]
pub struct Window {
    start: u64,
    bytes: Bytes,
    /// Behind a lock, which nobody ever waits for, so that threads may share an open file.
    next: Option<(Range<u64>, Mutex<Answer>)>,
    /// How long the last piece was.
    last_bytes: u64,
}

impl Clone for Window {
    /// An empty one: each reader has its own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Window {
    /// Copies bytes from `pos` on into `out`, as many as it takes; fewer only where the object ends.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&mut self, file: &RemoteFile, mut pos: u64, mut out: &mut [u8]) -> io::Result<usize> {
        let wanted = out.len();
        while !out.is_empty() && pos < file.size() {
            if !self.range().contains(&pos) {
                self.load(file, pos, out.len() as u64)?;
            }
            let from = &self.bytes[(pos - self.start) as usize..];
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            (pos, out) = (pos + n as u64, &mut out[n..]);
        }
        Ok(wanted - out.len())
    }

    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }

    /// Loads the piece that has `pos`, and asks for the one after it if bytes are read in order.
    fn load(&mut self, file: &RemoteFile, pos: u64, wanted: u64) -> io::Result<()> {
        let in_order = !self.bytes.is_empty() && pos == self.range().end;
        let asked = self.next.take().filter(|(range, _)| range.contains(&pos));
        let piece = |start: u64, len: u64| start..start.saturating_add(len).min(file.size());
        let (range, answer) = match asked {
            Some((range, answer)) => (range, answer.into_inner()),
            None => {
                let grown = if in_order { self.last_bytes * 2 } else { 0 };
                let range = piece(pos, wanted.max(grown).clamp(FIRST_BYTES, MOST_BYTES));
                let answer = file.begin(range.clone())?;
                (range, answer)
            }
        };
        self.last_bytes = range.end - range.start;
        let ended = || io::Error::other("a request to a store did not end");
        if in_order && range.end < file.size() {
            let next = piece(range.end, (self.last_bytes * 2).clamp(FIRST_BYTES, MOST_BYTES));
            self.next = Some((next.clone(), Mutex::new(file.begin(next)?)));
        }
        self.bytes = answer.recv().map_err(|_| ended())??;
        self.start = range.start;
        Ok(())
    }
}
