//! Opening listed files: which are left out, which are an error, and what was met.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;

use super::entry::FileEntry;
use super::format::{FileFormat, FormatOptions};
use crate::error::{Error, Result};
use crate::format::BadRecordCounter;
use crate::format::bytes::Opened;
use crate::format::compression::Codec;
use crate::format::lines::LineEnd;
use crate::options::{OptionReader, OptionSpec, OptionType};
use crate::source::record_log::io_error;
use crate::store::{Store, StoreFault, fault_of};
use crate::time_zone::Tz;

/// Everything about reading that is the same for all files of a source.
#[derive(Debug, Clone)]
pub struct FileReader {
    /// The columns that are in the files.
    pub schema: SchemaRef,
    pub format: FileFormat,
    decoding: Decoding,
    /// How all files are compressed; without it the name of a file says it.
    pub codec: Compression,
    pub lenience: Lenience,
    pub seen: Arc<Seen>,
    /// Where the files are, if not on the local disk.
    pub store: Option<Store>,
}

/// How bytes become values, whatever the columns.
#[derive(Debug, Clone)]
pub struct Decoding {
    pub options: FormatOptions,
    /// The zone of local times.
    pub tz: Tz,
    pub bad_records: BadRecordCounter,
}

/// Which codec a file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// What its name says.
    #[default]
    ByName,
    /// This one, or none at all.
    Given(Option<Codec>),
}

impl Decoding {
    fn build(&self, schema: SchemaRef) -> Result<FileFormat> {
        self.options.clone().build(schema, self.tz, self.bad_records.clone())
    }
}

impl Compression {
    /// What [`Compression::read`] reads.
    pub const OPTIONS: [OptionSpec; 1] = [OptionSpec::new(
        "compression",
        OptionType::Text,
        "How files are compressed: none, gzip, zstd, bzip2, deflate, lz4 or snappy; without it their names say it.",
    )];

    /// The codec of a file, if it has one.
    pub fn of(self, path: &Path) -> Option<Codec> {
        match self {
            Self::ByName => path.extension().and_then(|e| e.to_str()).and_then(Codec::of_extension),
            Self::Given(codec) => codec,
        }
    }

    /// Reads the option `compression`.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let Some(text) = options.string("compression") else { return Ok(Self::ByName) };
        match text.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Ok(Self::Given(None)),
            name => match Codec::of_name(name) {
                Some(codec) => Ok(Self::Given(Some(codec))),
                None => Err(options.invalid("compression", text, &format!("none or one of {}", Codec::names()))),
            },
        }
    }
}

/// How files are opened to tell a schema from them, before there is a reader.
#[derive(Debug, Clone, Copy)]
pub struct Unread<'s> {
    pub codec: Compression,
    /// Where they are, if not on the local disk.
    pub store: Option<&'s Store>,
}

impl Unread<'_> {
    /// A file as it is now; one in a store as it was listed.
    pub fn open(&self, file: &FileEntry) -> Result<Opened> {
        if let Some(store) = self.store {
            let key = store.key(&file.path).ok_or_else(|| Error::internal("a file of another store"))?;
            return Ok(Opened::remote(store.file(key, file.size, file.tag.as_deref())?));
        }
        let opened =
            File::open(&file.path).and_then(|opened| Ok(Opened::local(opened.try_clone()?, opened.metadata()?.len())));
        opened.map_err(|e| io_error("opening", &file.path, &e))
    }

    /// What a file holds, unpacked.
    pub fn bytes(&self, file: &FileEntry) -> Result<Vec<u8>> {
        let (codec, mut bytes) = (self.codec.of(&file.path), vec![]);
        let opened = self.open(file)?;
        let read = match codec {
            Some(codec) => codec.decoder(Box::new(opened.reader())).and_then(|mut r| r.read_to_end(&mut bytes)),
            None => opened.reader().read_to_end(&mut bytes),
        };
        read.map_err(|e| read_error(&file.path, codec, &e))?;
        Ok(bytes)
    }
}

/// Which files are left out instead of being an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lenience {
    /// A file that vanished.
    pub missing: bool,
    /// A file that cannot be read, or the rest of it.
    pub corrupt: bool,
    /// A file that is not as it was listed.
    pub changed: bool,
}

impl Lenience {
    /// What [`Lenience::read`] reads.
    pub const OPTIONS: [OptionSpec; 2] = [
        OptionSpec::new(
            "ignoreMissingFiles",
            OptionType::Boolean,
            "Whether a file that is gone is left out, and no error.",
        )
        .or("false"),
        OptionSpec::new(
            "ignoreCorruptFiles",
            OptionType::Boolean,
            "Whether a file that cannot be read, or the rest of it, is left out, and no error.",
        )
        .or("false"),
    ];

    /// Reads `ignoreMissingFiles` and `ignoreCorruptFiles`.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let (missing, corrupt) = (options.bool("ignoreMissingFiles")?, options.bool("ignoreCorruptFiles")?);
        Ok(Self { missing, corrupt, changed: false })
    }
}

/// What reading has met.
#[derive(Debug, Default)]
pub struct Seen {
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
    codec: Option<Codec>,
    /// Lines of objects are not counted: they would have to be fetched again.
    is_remote: bool,
}

impl BadPlace {
    /// File and line, or what is known of them.
    pub fn describe(&self) -> String {
        let byte = self.byte.filter(|_| !self.is_remote);
        let line = byte.and_then(|byte| line_number(&self.path, self.codec, &self.line_end, byte).ok());
        match line {
            Some(line) => format!("file '{}', line {line}", self.path.display()),
            None => format!("file '{}'", self.path.display()),
        }
    }
}

impl FileReader {
    /// A reader that fails at files that vanish or change.
    ///
    /// # Errors
    /// A schema that the format cannot have.
    pub fn new(schema: SchemaRef, decoding: Decoding) -> Result<Self> {
        let format = decoding.build(schema.clone())?;
        let (codec, lenience) = Default::default();
        Ok(Self { schema, format, decoding, codec, lenience, seen: Arc::default(), store: None })
    }

    /// The zone of local times.
    pub fn tz(&self) -> Tz {
        self.decoding.tz
    }

    /// The same reader for files of other columns.
    ///
    /// # Errors
    /// As [`FileReader::new`].
    pub fn with_schema(&self, schema: SchemaRef) -> Result<Self> {
        Ok(Self { format: self.decoding.build(schema.clone())?, schema, ..self.clone() })
    }

    /// The codec of a file, if it has one.
    pub fn codec_of(&self, path: &Path) -> Option<Codec> {
        self.codec.of(path)
    }

    /// The same reader for some of the columns.
    ///
    /// # Errors
    /// None for columns that the schema has.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        let schema = Arc::new(self.schema.project(columns)?);
        Ok(Self { schema, format: self.format.clone().project(columns)?, ..self.clone() })
    }

    /// Whether several readers can share a file.
    pub fn is_splittable(&self, path: &Path) -> bool {
        self.format.is_splittable() && self.codec_of(path).is_none()
    }

    /// Opens a file and checks that it is the one that was listed; `None` if it is to be left out.
    pub fn open(&self, listed: &FileEntry) -> Result<Option<Opened>> {
        if let Some(e) = unreadable_by_name(&listed.path) {
            return self.leave_out(&listed.path, e).map(|()| None);
        }
        if let Some(store) = &self.store {
            return self.open_object(store, listed);
        }
        let file = match open_without_waiting(&listed.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return self.missing(&listed.path),
            Err(e) => {
                let e = io_error("opening", &listed.path, &e).with_help(LEAVE_OUT);
                return self.leave_out(&listed.path, e).map(|()| None);
            }
        };
        let metadata = file.metadata().map_err(|e| io_error("opening", &listed.path, &e))?;
        if listed.is_same(&metadata) {
            return Ok(Some(Opened::local(file, listed.size)));
        }
        self.changed(&listed.path)
    }

    /// An object is looked for only where one that is gone or changed is to be left out: otherwise reading it tells.
    fn open_object(&self, store: &Store, listed: &FileEntry) -> Result<Option<Opened>> {
        let key = store.key(&listed.path).ok_or_else(|| Error::internal("a file of another store"))?;
        if self.lenience.missing || self.lenience.changed {
            let now = store.head(key)?.map(|now| FileEntry::remote(store, now));
            match now {
                None => return self.missing(&listed.path),
                Some(now) if !listed.is_still(&now) => return self.changed(&listed.path),
                Some(_) => {}
            }
        }
        Ok(Some(Opened::remote(store.file(key, listed.size, listed.tag.as_deref())?)))
    }

    fn missing(&self, path: &Path) -> Result<Option<Opened>> {
        if !self.lenience.missing {
            return Err(gone(path));
        }
        self.seen.missing.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(file = %path.display(), "file source: the file is gone, and is left out");
        Ok(None)
    }

    fn changed(&self, path: &Path) -> Result<Option<Opened>> {
        self.seen.changed.fetch_add(1, Ordering::Relaxed);
        if !self.lenience.changed {
            return Err(changed(path));
        }
        tracing::warn!(file = %path.display(), "file source: the file has changed since it was listed, and is left out");
        Ok(None)
    }
}

impl FileReader {
    /// Counts a file that cannot be read and goes on without it, if that is what the user wants.
    pub fn leave_out(&self, path: &Path, e: Error) -> Result<()> {
        // A store that does not answer says nothing about the file.
        if !self.lenience.corrupt || !is_of_file(&e) {
            return Err(e);
        }
        self.seen.corrupt.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(file = %path.display(), "file source: the file, or the rest of it, is left out: {}", e.message());
        Ok(())
    }

    /// The same for an error of a decoder, unless it is about what was asked for: then every file has it.
    pub fn leave_out_corrupt(&self, path: &Path, e: Error) -> Result<()> {
        if e.condition() != "FAILED_READ_FILE" {
            return Err(at(e, path));
        }
        let help = e.help().map(|help| format!("{help}. {LEAVE_OUT}"));
        self.leave_out(path, at(e, path).with_help(help.unwrap_or_else(|| LEAVE_OUT.to_owned())))
    }

    /// An error at the record that was noted.
    pub fn at_bad(&self, e: Error, path: &Path) -> Error {
        let noted = self.seen.bad_place.lock().clone();
        match noted.filter(|bad| bad.path == path && e.condition() == "MALFORMED_RECORD_IN_PARSING") {
            Some(bad) => e.with_place(bad.describe()),
            None => at(e, path),
        }
    }

    /// Notes where the first bad record is, if some of these lines are bad.
    pub fn note_bad(&self, path: &Path, block: &Buffer, lines: &[Range<usize>], start: u64) {
        let mut noted = self.seen.bad_place.lock();
        let FileFormat::Lines(format, line_end) = &self.format else { return };
        if noted.is_none()
            && let Some(bad) = format.first_bad(block, lines)
        {
            let byte = Some(start + lines[bad].start as u64);
            *noted = Some(BadPlace {
                path: path.to_path_buf(),
                byte,
                line_end: line_end.clone(),
                codec: self.codec_of(path),
                is_remote: self.store.is_some(),
            });
        }
    }

    /// The same where a whole file is a record, or a line was too long to be held.
    pub fn note_bad_file(&self, path: &Path, byte: Option<u64>) {
        let line_end = match &self.format {
            FileFormat::Lines(_, line_end) => line_end.clone(),
            _ => LineEnd::Any,
        };
        let mut noted = self.seen.bad_place.lock();
        let (codec, is_remote) = (self.codec_of(path), self.store.is_some());
        noted.get_or_insert(BadPlace { path: path.to_path_buf(), byte, line_end, codec, is_remote });
    }
}

/// The number of the line, from 1, that begins at `byte` of a file.
fn line_number(path: &Path, codec: Option<Codec>, line_end: &LineEnd, byte: u64) -> io::Result<u64> {
    let file: Box<dyn Read + Send> = Box::new(open_without_waiting(path)?);
    let mut before = match codec {
        Some(codec) => codec.decoder(file)?,
        None => file,
    }
    .take(byte);
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

fn gone(path: &Path) -> Error {
    Error::execution("FAILED_READ_FILE.FILE_NOT_EXIST", format!("the file '{}' is gone", path.display()))
        .with_help("with ignoreMissingFiles 'true' such files are left out")
}

/// Whether an error says something about a file, and not about the store that it is in.
fn is_of_file(e: &Error) -> bool {
    !["STORE_IO", "FAILED_READ_FILE.FILE_NOT_EXIST"].contains(&e.condition())
}

/// The error of reading an object, if a store has failed.
pub fn store_fault(path: &Path, e: &io::Error) -> Option<Error> {
    Some(match fault_of(e)? {
        StoreFault::Missing => gone(path),
        StoreFault::Changed => changed(path),
        StoreFault::Failed(e) => e.clone(),
    })
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
    const EXTENSIONS: [&str; 3] = ["xz", "zip", "lzo"];
    let extension = path.extension()?.to_str()?;
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension)).then(|| {
        Error::execution(
            "UNSUPPORTED_FEATURE",
            format!("the file '{}' is compressed in a way that is not read", path.display()),
        )
        .with_help(format!("unpack it, or compress it as .gz, .zst or .bz2; {LEAVE_OUT}"))
    })
}

/// The error of reading a file, or of unpacking it.
pub fn read_error(path: &Path, codec: Option<Codec>, e: &io::Error) -> Error {
    if let Some(e) = store_fault(path, e) {
        return e;
    }
    match (codec, e.kind()) {
        (Some(codec), _) if e.raw_os_error().is_none() => {
            let message = format!("the file '{}' cannot be unpacked as {codec}: {e}", path.display());
            Error::execution("FAILED_READ_FILE", message).with_help(LEAVE_OUT)
        }
        (None, ErrorKind::UnexpectedEof) => changed(path),
        _ => io_error("reading", path, e).with_help(LEAVE_OUT),
    }
}

pub fn at(e: Error, path: &Path) -> Error {
    e.with_place(format!("file '{}'", path.display()))
}
