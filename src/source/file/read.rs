//! Reads listed files as streams of rows, in contiguous partitions.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::try_unfold;

use super::entry::FileEntry;
use super::format::FileFormat;
use crate::error::{Error, Result};
use crate::format::lines::{Block, LineBlocks, MAX_LINE_BYTES, next_lines};
use crate::format::parquet::ParquetRows;
use crate::format::{BATCH_ROWS, LineFormat};
use crate::source::record_log::io_error;

/// Less than this is not worth another partition.
const MIN_PARTITION_BYTES: u64 = 1 << 20;

/// Everything about reading that is the same for all files of a source.
#[derive(Debug)]
pub struct FileReader {
    pub schema: SchemaRef,
    pub format: FileFormat,
    /// A file that vanished is left out, not an error.
    pub ignore_missing: bool,
    /// A file that is not as it was listed is left out, not an error.
    pub skip_changed: bool,
    pub missing: AtomicU64,
    pub changed: AtomicU64,
}

/// What one partition reads, in order.
pub type Part = Vec<Piece>;

/// A byte range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    file: FileEntry,
    range: Range<u64>,
}

impl FileReader {
    /// A reader that fails at files that vanish or change.
    pub fn new(schema: SchemaRef, format: FileFormat) -> Self {
        Self {
            schema,
            format,
            ignore_missing: false,
            skip_changed: false,
            missing: AtomicU64::new(0),
            changed: AtomicU64::new(0),
        }
    }

    /// The rows of `files` in at most `partitions` streams; read one after the other they are in the order of the files.
    pub fn streams(self: &Arc<Self>, files: &[FileEntry], partitions: usize) -> Vec<SendableRecordBatchStream> {
        self.parts(files, partitions).iter().map(|part| self.stream(part)).collect()
    }

    /// Cuts `files` into at most `partitions` contiguous parts of about the same size.
    pub fn parts(&self, files: &[FileEntry], partitions: usize) -> Vec<Part> {
        let total: u64 = files.iter().map(|f| f.size).sum();
        let most = if self.format.is_splittable() { total / MIN_PARTITION_BYTES } else { files.len() as u64 };
        let partitions = (partitions as u64).clamp(1, most.max(1));
        let cut = |p: u64| (u128::from(total) * u128::from(p) / u128::from(partitions)) as u64;
        (0..partitions).map(|p| self.pieces_between(files, cut(p), cut(p + 1), p + 1 == partitions)).collect()
    }

    /// What of `files`, laid end to end, is between two bytes; a file that cannot be split is where it starts.
    fn pieces_between(&self, files: &[FileEntry], from: u64, to: u64, is_last: bool) -> Part {
        let mut pieces = vec![];
        let mut start = 0;
        for file in files {
            let end = start + file.size;
            let starts_here = start >= from && (start < to || is_last);
            if !self.format.is_splittable() || file.size == 0 {
                if starts_here {
                    pieces.push(Piece { file: file.clone(), range: 0..file.size });
                }
            } else if start < to && end > from {
                let range = from.saturating_sub(start)..to.min(end) - start;
                pieces.push(Piece { file: file.clone(), range });
            }
            start = end;
        }
        pieces
    }

    /// The rows of one part.
    pub fn stream(self: &Arc<Self>, part: &[Piece]) -> SendableRecordBatchStream {
        let cursor =
            Cursor { reader: self.clone(), pieces: part.iter().cloned().collect(), open: None, lines: Vec::new() };
        let batches = try_unfold(cursor, |cursor| async move { Ok(next(cursor).await?) });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }

    /// Opens a file and checks that it is the one that was listed; `None` if it is to be left out.
    fn open(&self, listed: &FileEntry) -> Result<Option<File>> {
        refuse_compressed(&listed.path)?;
        let file = match open_without_waiting(&listed.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound && self.ignore_missing => {
                self.missing.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::execution(
                    "FAILED_READ_FILE.FILE_NOT_EXIST",
                    format!("the file '{}' is gone", listed.path.display()),
                )
                .with_help("with ignoreMissingFiles 'true' such files are left out"));
            }
            Err(e) => return Err(io_error("opening", &listed.path, &e)),
        };
        let metadata = file.metadata().map_err(|e| io_error("opening", &listed.path, &e))?;
        if listed.is_same(&metadata) {
            return Ok(Some(file));
        }
        self.changed.fetch_add(1, Ordering::Relaxed);
        if self.skip_changed { Ok(None) } else { Err(changed(&listed.path)) }
    }
}

/// Opens a file that may have become a pipe meanwhile: opening a pipe would wait for a writer.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    const O_NONBLOCK: i32 = if cfg!(target_os = "linux") { 0o4000 } else { 4 };
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)
}

fn changed(path: &Path) -> Error {
    Error::execution(
        "SOURCE_FILE_CHANGED",
        format!("the file '{}' is not as it was when it was listed", path.display()),
    )
    .with_help("write files elsewhere and move them in; with fileChanged 'skip' changed files are left out")
}

fn refuse_compressed(path: &Path) -> Result<()> {
    const EXTENSIONS: [&str; 7] = ["gz", "bz2", "zst", "lz4", "xz", "deflate", "snappy"];
    match path.extension().and_then(|e| e.to_str()) {
        Some(e) if EXTENSIONS.contains(&e) => {
            Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("the file '{}' is compressed", path.display()))
                .with_help("unpack it, or leave such files out with 'pathGlobFilter'"))
        }
        _ => Ok(()),
    }
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
    pieces: VecDeque<Piece>,
    open: Option<(FileEntry, Open)>,
    lines: Vec<Range<usize>>,
}

enum Open {
    Lines { blocks: LineBlocks, at_start: bool, block: Buffer, pos: usize },
    Whole(File),
    Parquet(Box<ParquetRows>),
}

impl Cursor {
    /// Rows from the block in memory; `None` if it is used up.
    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        let (Some((file, Open::Lines { block, pos, .. })), FileFormat::Lines(format, line_end)) =
            (&mut self.open, &self.reader.format)
        else {
            return Ok(None);
        };
        if *pos >= block.len() {
            return Ok(None);
        }
        next_lines(block, line_end, pos, BATCH_ROWS, &mut self.lines);
        format.decode(block, &self.lines).map(Some).map_err(|e| at(e, &file.path))
    }

    /// Loads the next block or row group batch, or opens the next piece.
    fn advance(&mut self) -> Result<Step> {
        let Some((file, open)) = &mut self.open else { return self.open_next() };
        let step = match open {
            Open::Lines { blocks, at_start, block, pos } => {
                match blocks.next_block().map_err(|e| read_error(&file.path, &e))? {
                    Block::Lines(bytes) => {
                        let first = || first_record(&bytes, &self.reader.format).map_err(|e| at(e, &file.path));
                        *pos = if std::mem::take(at_start) { first()? } else { 0 };
                        *block = Buffer::from_vec(bytes);
                        Step::Loaded
                    }
                    Block::TooLong => Step::Rows(self.reader.format.too_long().map_err(|e| at(e, &file.path))?),
                    Block::End => Step::End,
                }
            }
            Open::Whole(whole) => match &self.reader.format {
                FileFormat::Whole(format) => {
                    let batch = read_whole(format, whole, file)?;
                    self.open = None;
                    return Ok(Step::Rows(batch));
                }
                _ => Step::End,
            },
            Open::Parquet(rows) => match rows.next_batch().map_err(|e| at(e, &file.path))? {
                Some(batch) => Step::Rows(batch),
                None => Step::End,
            },
        };
        if matches!(step, Step::End) {
            self.open = None;
            return Ok(Step::Loaded);
        }
        Ok(step)
    }

    fn open_next(&mut self) -> Result<Step> {
        let Some(Piece { file, range }) = self.pieces.pop_front() else { return Ok(Step::End) };
        let Some(opened) = self.reader.open(&file)? else { return Ok(Step::Loaded) };
        let open = match &self.reader.format {
            FileFormat::Lines(_, line_end) => {
                let at_start = range.start == 0;
                let blocks = LineBlocks::new(opened, line_end.clone(), range, file.size);
                Open::Lines { blocks, at_start, block: Buffer::from_vec(Vec::<u8>::new()), pos: 0 }
            }
            FileFormat::Whole(_) => Open::Whole(opened),
            // An empty file is a Parquet file that was never finished: the reader says so.
            FileFormat::Parquet => {
                let (range, size) = if file.size == 0 { (0..1, 1) } else { (range, file.size) };
                let rows = ParquetRows::open(opened, self.reader.schema.clone(), range, size)
                    .map_err(|e| at(e, &file.path))?;
                Open::Parquet(Box::new(rows))
            }
        };
        self.open = Some((file, open));
        Ok(Step::Loaded)
    }
}

/// Where records begin in the first block of a file.
fn first_record(block: &[u8], format: &FileFormat) -> Result<usize> {
    match format {
        FileFormat::Lines(format, line_end) => format.first_record(block, line_end),
        _ => Ok(0),
    }
}

fn read_whole(format: &LineFormat, file: &mut File, listed: &FileEntry) -> Result<RecordBatch> {
    if listed.size > MAX_LINE_BYTES {
        return format.too_long().map_err(|e| at(e, &listed.path));
    }
    let mut bytes = vec![];
    file.take(listed.size).read_to_end(&mut bytes).map_err(|e| read_error(&listed.path, &e))?;
    let line = 0..bytes.len();
    format.decode(&Buffer::from_vec(bytes), &[line]).map_err(|e| at(e, &listed.path))
}

fn read_error(path: &Path, e: &io::Error) -> Error {
    match e.kind() {
        ErrorKind::UnexpectedEof => changed(path),
        _ => io_error("reading", path, e),
    }
}

fn at(e: Error, path: &Path) -> Error {
    e.with_place(format!("file '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::lines::LineEnd;
    use crate::format::{BadRecordCounter, BadRecords, TextFormat};
    use crate::source::file::format::text_schema;

    fn reader(line_end: LineEnd) -> FileReader {
        let text = TextFormat::new(text_schema(), BadRecords::Null, BadRecordCounter::default());
        FileReader::new(text_schema(), FileFormat::Lines(LineFormat::Text(text), line_end))
    }

    fn file(name: &str, size: u64) -> FileEntry {
        FileEntry { path: name.into(), size, mtime_ns: 0, inode: 0 }
    }

    #[test]
    fn pieces_tile_the_files() {
        const MIB: u64 = 1 << 20;
        let files = [file("a", 3 * MIB), file("empty", 0), file("b", 10), file("c", 5 * MIB)];
        for partitions in 1..9 {
            let all = reader(LineEnd::Any).parts(&files, partitions);
            assert_eq!(all.len(), partitions.min(8));
            for f in &files {
                let of: Vec<_> = all.iter().flatten().filter(|p| p.file == *f).collect();
                assert_eq!((of[0].range.start, of[of.len() - 1].range.end), (0, f.size));
                assert!(of.windows(2).all(|w| w[0].range.end == w[1].range.start));
            }
            let whole = reader(LineEnd::Bytes(b"x".to_vec())).parts(&files, partitions).concat();
            assert_eq!(whole.iter().map(|p| &p.file).collect::<Vec<_>>(), files.iter().collect::<Vec<_>>());
        }
    }
}
