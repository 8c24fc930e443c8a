//! The rows of one piece of a file: text whose records are lines, or a file that is one record.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result as DfResult};
use futures::stream::{BoxStream, StreamExt, try_unfold};

use super::batches::Batches;
use super::entry::FileEntry;
use super::format::FileFormat;
use super::read::{FileReader, at, read_error};
use crate::error::{Error, Result};
use crate::format::bytes::{Opened, ReadAt, Sequential};
use crate::format::lines::{Block, LineBlocks, LineEnd, MAX_LINE_BYTES, next_lines};
use crate::format::{BATCH_ROWS, LineFormat};

/// The rows of `range` of a file, all of whose columns are those of the reader.
pub fn rows(reader: Arc<FileReader>, file: FileEntry, range: Range<u64>) -> BoxStream<'static, DfResult<RecordBatch>> {
    let cursor = Cursor { reader, file, state: State::Closed(range), lines: vec![] };
    try_unfold(cursor, |cursor| async move { next(cursor).await.map_err(DataFusionError::from) }).boxed()
}

/// The next batch; what waits for the disk runs where it may block.
async fn next(mut cursor: Cursor) -> Result<Option<(RecordBatch, Cursor)>> {
    loop {
        if let Some(batch) = cursor.decode()? {
            if batch.num_rows() > 0 {
                return Ok(Some((batch, cursor)));
            }
            continue;
        }
        let advance = move || {
            let step = cursor.advance();
            (cursor, step)
        };
        // A decoder that panics on crafted bytes takes its batch along, not the process.
        let (back, step) = SpawnedTask::spawn_blocking(advance).join().await.map_err(|e| {
            Error::execution("FAILED_READ_FILE", format!("reading a file ended early: {e}"))
                .with_help("start again from the checkpoint, which has the batch")
        })?;
        cursor = back;
        match step? {
            Step::Loaded => {}
            Step::Rows(batch) => return Ok(Some((batch, cursor))),
            Step::End => return Ok(None),
        }
    }
}

enum Step {
    /// There may be lines to decode.
    Loaded,
    Rows(RecordBatch),
    End,
}

struct Cursor {
    reader: Arc<FileReader>,
    file: FileEntry,
    state: State,
    lines: Vec<Range<usize>>,
}

enum State {
    /// Nothing is read yet.
    Closed(Range<u64>),
    Lines(Lines),
    /// Batches are still to come.
    Batches(Batches),
    End,
}

/// Lines of the block in memory, and where more come from.
struct Lines {
    blocks: LineBlocks,
    at_start: bool,
    block: Buffer,
    pos: usize,
    /// Where the block begins in the bytes of the file.
    start: u64,
}

impl Cursor {
    /// Rows from the block in memory; `None` if it is used up.
    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        let (State::Lines(lines), FileFormat::Lines(format, line_end)) = (&mut self.state, &self.reader.format) else {
            return Ok(None);
        };
        if lines.pos >= lines.block.len() {
            return Ok(None);
        }
        next_lines(&lines.block, line_end, &mut lines.pos, BATCH_ROWS, &mut self.lines);
        let bad_before = format.counter().get();
        let rows = format.decode(&lines.block, &self.lines);
        if rows.is_err() || format.counter().get() > bad_before {
            self.reader.note_bad(&self.file.path, &lines.block, &self.lines, lines.start);
        }
        rows.map(Some).map_err(|e| self.reader.at_bad(e, &self.file.path))
    }

    /// Opens the file, or loads the next block.
    fn advance(&mut self) -> Result<Step> {
        match std::mem::replace(&mut self.state, State::End) {
            State::Closed(range) => {
                let Some(opened) = self.reader.open(&self.file)? else { return Ok(Step::End) };
                match &self.reader.format {
                    FileFormat::Lines(_, line_end) => match self.lines_of(opened, line_end, range) {
                        Ok(lines) => {
                            self.state = State::Lines(lines);
                            Ok(Step::Loaded)
                        }
                        Err(e) => self.reader.leave_out(&self.file.path, e).map(|()| Step::End),
                    },
                    FileFormat::Whole(format) => self.whole(format, opened),
                    FileFormat::Batches(format, schema) => match format.rows(schema, &opened, &self.file.path) {
                        Ok(batches) => self.next_batch(batches),
                        Err(e) => self.reader.leave_out_corrupt(&self.file.path, e).map(|()| Step::End),
                    },
                    FileFormat::Parquet => Err(Error::internal("a Parquet file has no lines")),
                }
            }
            State::Lines(lines) => self.next_block(lines),
            State::Batches(batches) => self.next_batch(batches),
            State::End => Ok(Step::End),
        }
    }

    fn next_block(&mut self, mut lines: Lines) -> Result<Step> {
        let path = &self.file.path;
        let next = match lines.blocks.next_block() {
            Ok(next) => next,
            Err(e) => {
                self.reader.leave_out(path, self.failed(&e))?;
                Block::End
            }
        };
        let step = match next {
            Block::Lines(bytes) => {
                lines.start = lines.blocks.position() - bytes.len() as u64;
                let first = || first_record(&bytes, &self.reader.format).map_err(|e| at(e, path));
                lines.pos = if std::mem::take(&mut lines.at_start) { first()? } else { 0 };
                lines.block = Buffer::from_vec(bytes);
                Step::Loaded
            }
            Block::TooLong => {
                self.reader.note_bad_file(path, None);
                Step::Rows(self.reader.format.too_long().map_err(|e| at(e, path))?)
            }
            Block::End => return Ok(Step::End),
        };
        self.state = State::Lines(lines);
        Ok(step)
    }

    fn next_batch(&mut self, mut batches: Batches) -> Result<Step> {
        match batches.next() {
            None => Ok(Step::End),
            Some(Ok(batch)) => {
                self.state = State::Batches(batches);
                Ok(Step::Rows(batch))
            }
            Some(Err(e)) => self.reader.leave_out_corrupt(&self.file.path, e).map(|()| Step::End),
        }
    }

    fn lines_of(&self, file: Opened, line_end: &LineEnd, range: Range<u64>) -> Result<Lines> {
        let at_start = range.start == 0;
        let blocks = match self.reader.codec_of(&self.file.path) {
            None => LineBlocks::new(Box::new(file), line_end.clone(), range, self.file.size),
            Some(_) => LineBlocks::new(self.bytes(file)?, line_end.clone(), 0..u64::MAX, u64::MAX),
        };
        Ok(Lines { blocks, at_start, block: Buffer::from_vec(Vec::<u8>::new()), pos: 0, start: 0 })
    }

    /// What the file holds, unpacked.
    fn bytes(&self, file: Opened) -> Result<Box<dyn ReadAt>> {
        Ok(match self.reader.codec_of(&self.file.path) {
            None => Box::new(file),
            Some(codec) => {
                let decoder = codec.decoder(Box::new(file.reader())).map_err(|e| self.failed(&e))?;
                Box::new(Sequential::new(decoder))
            }
        })
    }

    fn failed(&self, e: &std::io::Error) -> Error {
        read_error(&self.file.path, self.reader.codec_of(&self.file.path), e)
    }

    /// The one record of a file.
    fn whole(&self, format: &LineFormat, file: Opened) -> Result<Step> {
        let path = &self.file.path;
        let bytes = self.bytes(file).and_then(|mut b| b.read_at(0, MAX_LINE_BYTES + 1).map_err(|e| self.failed(&e)));
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(e) => return self.reader.leave_out(path, e).map(|()| Step::End),
        };
        let bad_before = format.counter().get();
        let line = 0..bytes.len();
        let batch = match bytes.len() as u64 > MAX_LINE_BYTES {
            true => format.too_long(),
            false => format.decode(&Buffer::from_vec(bytes), &[line]),
        };
        if format.counter().get() > bad_before {
            self.reader.note_bad_file(path, None);
        }
        batch.map(Step::Rows).map_err(|e| at(e, path))
    }
}

/// Where records begin in the first block of a file.
fn first_record(block: &[u8], format: &FileFormat) -> Result<usize> {
    match format {
        FileFormat::Lines(format, line_end) => format.first_record(block, line_end),
        _ => Ok(0),
    }
}
