//! File system calls of the file sink, with errors that name the file, and what makes them durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// The error for a call that failed on `path`.
pub fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io("SINK_WRITE", format!("{what} '{}' failed: {error}", path.display()))
        .with_help("the batch was not acknowledged: make room or give access, and start again from the checkpoint")
        .with_io_source(error)
}

/// A new file; it must not exist.
pub fn create(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| failed("creating file", path, &e))
}

/// Makes the contents of `file` durable; its size.
pub fn sync(file: &File, path: &Path) -> Result<u64> {
    let size = file.sync_all().and_then(|()| file.metadata());
    size.map(|m| m.len()).map_err(|e| failed("syncing file", path, &e))
}

/// Makes the names in the directory of `path` durable.
pub fn sync_parent(path: &Path) -> Result<()> {
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("syncing directory", dir, &e))
}

/// Makes `dir` and what is missing above it, durably.
pub fn create_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("creating directory", dir, &e)),
        _ => sync_parent(dir),
    }
}

/// Renames a file; durable once the directories are synced.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| failed("renaming file", from, &e))
}

/// Removes a file if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("removing file", path, &e)),
        _ => Ok(()),
    }
}
