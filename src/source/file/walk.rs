//! Lists directories of the local disk.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::entry::FileEntry;
use super::listing::{Found, Location, is_hidden, plain};
use super::spark_log;
use crate::error::Result;
use crate::glob::{Component, Glob};
use crate::sink::file::committed_files;
use crate::source::record_log::io_error;

/// The files of a local path.
pub fn list(location: &Location) -> Result<Found> {
    let mut walk = Walk { location, found: Found::default(), visited: HashSet::new() };
    for root in found(location)? {
        walk.root(&root)?;
    }
    Ok(walk.found)
}

/// The paths to look at. What a query of ours has written is there by the letter, though its name be a pattern.
pub fn found(location: &Location) -> Result<Vec<PathBuf>> {
    if location.patterns.is_empty() || committed(&location.literal)?.is_some() {
        return Ok(vec![plain(&location.literal)]);
    }
    let mut all = vec![];
    for pattern in &location.patterns {
        let mut found = vec![location.start.clone()];
        for component in pattern {
            match component {
                Component::Name(name) => found.iter_mut().for_each(|path| path.push(name)),
                Component::Matching(glob) => found = matches(&found, glob)?,
            }
        }
        // A pattern of no component is the directory where the program is.
        all.extend(found.into_iter().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p }));
    }
    Ok(all)
}

/// The directories in which files of this path may appear.
#[cfg(feature = "notify")]
pub fn directories(location: &Location) -> Vec<PathBuf> {
    let found = found(location).unwrap_or_default();
    let mut dirs: Vec<_> = found.iter().filter(|path| path.is_dir()).cloned().collect();
    // New matches of a pattern appear beside the old ones.
    dirs.extend(found.iter().filter(|path| path.is_file()).filter_map(|path| path.parent()).map(Path::to_owned));
    dirs.sort_unstable();
    dirs.dedup();
    dirs.truncate(MOST_WATCHED);
    dirs
}

/// Patterns that stand for more directories than this are looked at from time to time only.
#[cfg(feature = "notify")]
const MOST_WATCHED: usize = 100;

struct Walk<'a> {
    location: &'a Location,
    found: Found,
    /// Device and inode of directories on the way, so that a loop of links ends.
    visited: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    fn root(&mut self, root: &Path) -> Result<()> {
        match fs::metadata(root) {
            Ok(m) if m.is_dir() => self.directory(root, &m),
            Ok(m) if m.is_file() => {
                self.found.files.push(FileEntry::new(root.to_path_buf(), &m));
                self.found.end_folder(self.location);
                Ok(())
            }
            Ok(_) => {
                self.found.skipped += 1;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(io_error("listing", root, &e)),
        }
    }

    fn directory(&mut self, dir: &Path, metadata: &Metadata) -> Result<()> {
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            self.found.skipped += 1;
            return Ok(());
        }
        if let Some(files) = committed(dir)? {
            for file in files {
                let name = file.file_name().unwrap_or_default();
                if !is_hidden(name.as_bytes()) {
                    self.looked_at(&file, name, fs::metadata(&file))?;
                    self.found.end_folder(self.location);
                }
            }
            return Ok(());
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io_error("listing", dir, &e)),
        };
        let mut below = vec![];
        for entry in entries {
            let entry = entry.map_err(|e| io_error("listing", dir, &e))?;
            below.extend(self.entry(dir, &entry)?);
        }
        self.found.end_folder(self.location);
        // Partition folders may be further below.
        below.into_iter().try_for_each(|(path, metadata)| self.directory(&path, &metadata))
    }

    /// Takes a file; a directory is for later.
    fn entry(&mut self, dir: &Path, entry: &DirEntry) -> Result<Option<(PathBuf, Metadata)>> {
        let name = entry.file_name();
        if is_hidden(name.as_bytes()) {
            return Ok(None);
        }
        let path = joined(dir, &name);
        let metadata = match entry.file_type() {
            // What is no link is looked at without resolving its path again.
            Ok(t) if !t.is_symlink() => entry.metadata(),
            _ => fs::metadata(&path),
        };
        match metadata {
            Ok(m) if m.is_dir() => Ok(Some((path, m))),
            metadata => self.looked_at(&path, &name, metadata).map(|()| None),
        }
    }

    fn looked_at(&mut self, path: &Path, name: &OsStr, metadata: io::Result<Metadata>) -> Result<()> {
        match metadata {
            Ok(m) if m.is_file() => {
                if self.location.takes_name(name) {
                    self.found.files.push(FileEntry::new(path.to_path_buf(), &m));
                }
                Ok(())
            }
            Err(e) if !is_of_this_entry(&e) => Err(io_error("listing", path, &e)),
            _ => {
                self.found.skipped += 1;
                Ok(())
            }
        }
    }
}

/// `dir/name`, without room for more: there may be very many of them.
fn joined(dir: &Path, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::with_capacity(dir.as_os_str().len() + 1 + name.len());
    path.push(dir);
    path.push(name);
    path.shrink_to_fit();
    path
}

/// The files that the log of a file sink has, ours or Spark's, if there is one.
fn committed(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    match committed_files(dir)? {
        Some(files) => Ok(Some(files)),
        None => spark_log::committed_files(dir),
    }
}

/// Whether only this entry is at fault: it vanished, or is a link in a loop or to nowhere.
fn is_of_this_entry(e: &io::Error) -> bool {
    const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };
    e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(ELOOP)
}

/// Names in the directories that fit.
fn matches(dirs: &[PathBuf], glob: &Glob) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for dir in dirs {
        let listed = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let Ok(entries) = fs::read_dir(listed) else { continue };
        for entry in entries {
            let name = entry.map_err(|e| io_error("listing", listed, &e))?.file_name();
            if !is_hidden(name.as_bytes()) && glob.matches(&name.to_string_lossy()) {
                found.push(dir.join(name));
            }
        }
    }
    Ok(found)
}
