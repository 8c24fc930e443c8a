//! Reads listed files as streams of rows, in contiguous partitions.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::try_unfold;

use super::entry::FileEntry;
use super::format::FileFormat;
use crate::error::{Error, ErrorKind as ErrorKindOf, Result};
use crate::format::lines::{Block, LineBlocks, LineEnd, MAX_LINE_BYTES, next_lines};
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
    /// A file that cannot be read, or whose rest cannot, is left out, not an error.
    pub ignore_corrupt: bool,
    /// A file that is not as it was listed is left out, not an error.
    pub skip_changed: bool,
    pub missing: AtomicU64,
    pub changed: AtomicU64,
    pub corrupt: AtomicU64,
    /// The first bad record since this was last taken.
    pub bad_place: Mutex<Option<BadPlace>>,
}

/// Where a record that cannot be read begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPlace {
    path: PathBuf,
    /// From the start of the file, in bytes, if a line is a record.
    byte: Option<u64>,
    line_end: LineEnd,
}

impl BadPlace {
    /// File and line, or what is known of them.
    pub fn describe(&self) -> String {
        let line = self.byte.and_then(|byte| line_number(&self.path, &self.line_end, byte).ok());
        match line {
            Some(line) => format!("file '{}', line {line}", self.path.display()),
            None => format!("file '{}'", self.path.display()),
        }
    }
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
            ignore_corrupt: false,
            skip_changed: false,
            missing: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            bad_place: Mutex::default(),
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
        if let Some(e) = unreadable_by_name(&listed.path) {
            return self.leave_out(&listed.path, e).map(|()| None);
        }
        let file = match open_without_waiting(&listed.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound && self.ignore_missing => {
                self.missing.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %listed.path.display(), "file source: the file is gone, and is left out");
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::execution(
                    "FAILED_READ_FILE.FILE_NOT_EXIST",
                    format!("the file '{}' is gone", listed.path.display()),
                )
                .with_help("with ignoreMissingFiles 'true' such files are left out"));
            }
            Err(e) => {
                let e = io_error("opening", &listed.path, &e).with_help(LEAVE_OUT);
                return self.leave_out(&listed.path, e).map(|()| None);
            }
        };
        let metadata = file.metadata().map_err(|e| io_error("opening", &listed.path, &e))?;
        if listed.is_same(&metadata) {
            return Ok(Some(file));
        }
        self.changed.fetch_add(1, Ordering::Relaxed);
        if self.skip_changed {
            tracing::warn!(file = %listed.path.display(), "file source: the file has changed since it was listed, and is left out");
        }
        if self.skip_changed { Ok(None) } else { Err(changed(&listed.path)) }
    }
}

impl FileReader {
    /// Counts a file that cannot be read and goes on without it, if that is what the user wants.
    fn leave_out(&self, path: &Path, e: Error) -> Result<()> {
        if !self.ignore_corrupt {
            return Err(e);
        }
        self.corrupt.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(file = %path.display(), "file source: the file, or the rest of it, is left out: {}", e.message());
        Ok(())
    }

    /// The same for an error of a decoder, unless it is about what was asked for: then every file has it.
    fn leave_out_corrupt(&self, path: &Path, e: Error) -> Result<()> {
        if e.condition() != "FAILED_READ_FILE" {
            return Err(at(e, path));
        }
        let help = e.help().map(|help| format!("{help}. {LEAVE_OUT}"));
        self.leave_out(path, at(e, path).with_help(help.unwrap_or_else(|| LEAVE_OUT.to_owned())))
    }

    /// An error at the record that was noted.
    fn at_bad(&self, e: Error, path: &Path) -> Error {
        let noted = self.bad_place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match noted.filter(|bad| bad.path == path && e.condition() == "MALFORMED_RECORD_IN_PARSING") {
            Some(bad) => e.with_place(bad.describe()),
            None => at(e, path),
        }
    }

    /// Notes where the first bad record is, if some of these lines are bad.
    fn note_bad(&self, path: &Path, block: &Buffer, lines: &[Range<usize>], start: u64) {
        let mut noted = self.bad_place.lock().unwrap_or_else(PoisonError::into_inner);
        let FileFormat::Lines(format, line_end) = &self.format else { return };
        if noted.is_none()
            && let Some(bad) = format.first_bad(block, lines)
        {
            let byte = Some(start + lines[bad].start as u64);
            *noted = Some(BadPlace { path: path.to_path_buf(), byte, line_end: line_end.clone() });
        }
    }

    /// The same where a whole file is a record, or a line was too long to be held.
    fn note_bad_file(&self, path: &Path, byte: Option<u64>) {
        let line_end = match &self.format {
            FileFormat::Lines(_, line_end) => line_end.clone(),
            _ => LineEnd::Any,
        };
        let mut noted = self.bad_place.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get_or_insert(BadPlace { path: path.to_path_buf(), byte, line_end });
    }
}

/// The number of the line, from 1, that begins at `byte` of a file.
fn line_number(path: &Path, line_end: &LineEnd, byte: u64) -> io::Result<u64> {
    let mut before = open_without_waiting(path)?.take(byte);
    let (mut line, mut rest, mut chunk) = (1, vec![], vec![0; 1 << 20]);
    loop {
        let n = before.read(&mut chunk)?;
        rest.extend_from_slice(&chunk[..n]);
        // An end that the next chunk may complete waits for it.
        let whole = if n == 0 { rest.len() } else { rest.len().saturating_sub(64) };
        let mut at = 0;
        while let Some(end) = line_end.find(&rest, at).filter(|end| end.start < whole || n == 0) {
            line += 1;
            at = end.end;
        }
        rest.drain(..at.max(whole.min(rest.len())));
        if n == 0 {
            return Ok(line);
        }
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

/// How a file that cannot be read is left out, also of a query that has met it already.
const LEAVE_OUT: &str = "pathGlobFilter with a pattern of the others' names, such as '*.json', leaves it out, and so does \
                         ignoreCorruptFiles 'true', which goes on without any file that cannot be read";

/// The error for a file whose name says that it cannot be read.
pub fn unreadable_by_name(path: &Path) -> Option<Error> {
    const EXTENSIONS: [&str; 9] = ["gz", "bz2", "zst", "lz4", "xz", "deflate", "snappy", "zip", "lzo"];
    let extension = path.extension()?.to_str()?;
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension)).then(|| {
        Error::execution("UNSUPPORTED_FEATURE", format!("the file '{}' is compressed, and is not read", path.display()))
            .with_help(format!("unpack it; {LEAVE_OUT}"))
    })
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
    /// `start` is where the block begins in the file.
    Lines {
        blocks: LineBlocks,
        at_start: bool,
        block: Buffer,
        pos: usize,
        start: u64,
    },
    Whole(File),
    Parquet(Box<ParquetRows>),
}

impl Cursor {
    /// Rows from the block in memory; `None` if it is used up.
    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        let (Some((file, Open::Lines { block, pos, start, .. })), FileFormat::Lines(format, line_end)) =
            (&mut self.open, &self.reader.format)
        else {
            return Ok(None);
        };
        if *pos >= block.len() {
            return Ok(None);
        }
        next_lines(block, line_end, pos, BATCH_ROWS, &mut self.lines);
        let bad_before = format.counter().get();
        let rows = format.decode(block, &self.lines);
        if rows.is_err() || format.counter().get() > bad_before {
            self.reader.note_bad(&file.path, block, &self.lines, *start);
        }
        rows.map(Some).map_err(|e| self.reader.at_bad(e, &file.path))
    }

    /// Loads the next block or row group batch, or opens the next piece.
    fn advance(&mut self) -> Result<Step> {
        let Some((file, open)) = &mut self.open else { return self.open_next() };
        let step = match open {
            Open::Lines { blocks, at_start, block, pos, start } => {
                let next = match blocks.next_block() {
                    Ok(next) => next,
                    Err(e) => {
                        self.reader.leave_out(&file.path, read_error(&file.path, &e))?;
                        Block::End
                    }
                };
                match next {
                    Block::Lines(bytes) => {
                        *start = blocks.position() - bytes.len() as u64;
                        let first = || first_record(&bytes, &self.reader.format).map_err(|e| at(e, &file.path));
                        *pos = if std::mem::take(at_start) { first()? } else { 0 };
                        *block = Buffer::from_vec(bytes);
                        Step::Loaded
                    }
                    Block::TooLong => {
                        self.reader.note_bad_file(&file.path, None);
                        Step::Rows(self.reader.format.too_long().map_err(|e| at(e, &file.path))?)
                    }
                    Block::End => Step::End,
                }
            }
            Open::Whole(whole) => match &self.reader.format {
                FileFormat::Whole(format) => {
                    let bad_before = format.counter().get();
                    let batch = read_whole(format, whole, file);
                    if format.counter().get() > bad_before {
                        self.reader.note_bad_file(&file.path, None);
                    }
                    let step = match batch {
                        Ok(batch) => Step::Rows(batch),
                        Err(e) if e.kind() == ErrorKindOf::Io => {
                            self.reader.leave_out(&file.path, e)?;
                            Step::Loaded
                        }
                        Err(e) => return Err(e),
                    };
                    self.open = None;
                    return Ok(step);
                }
                _ => Step::End,
            },
            Open::Parquet(rows) => match rows.next_batch() {
                Ok(Some(batch)) => Step::Rows(batch),
                Ok(None) => Step::End,
                Err(e) => {
                    self.reader.leave_out_corrupt(&file.path, e)?;
                    Step::End
                }
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
                Open::Lines { blocks, at_start, block: Buffer::from_vec(Vec::<u8>::new()), pos: 0, start: 0 }
            }
            FileFormat::Whole(_) => Open::Whole(opened),
            // An empty file is a Parquet file that was never finished: the reader says so.
            FileFormat::Parquet => {
                let (range, size) = if file.size == 0 { (0..1, 1) } else { (range, file.size) };
                match ParquetRows::open(opened, self.reader.schema.clone(), range, size) {
                    Ok(rows) => Open::Parquet(Box::new(rows)),
                    Err(e) => {
                        self.reader.leave_out_corrupt(&file.path, e)?;
                        return Ok(Step::Loaded);
                    }
                }
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
        _ => io_error("reading", path, e).with_help(LEAVE_OUT),
    }
}

fn at(e: Error, path: &Path) -> Error {
    e.with_place(format!("file '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
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
