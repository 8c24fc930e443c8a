//! A file as it was listed: enough to tell at read time that it is still the same.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Path, size, modification time and inode. Names are bytes: they need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    pub path: PathBuf,
    pub size: u64,
    pub mtime_ns: i64,
    pub inode: u64,
}

impl FileEntry {
    /// The file with this metadata.
    pub fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { path, size: metadata.len(), mtime_ns, inode: metadata.ino() }
    }

    /// The regular file at `path` as it is now; `None` if there is none.
    pub fn stat(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(m) => Ok(m.is_file().then(|| Self::new(path.to_path_buf(), &m))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether an open file is still the one that was listed.
    pub fn is_same(&self, metadata: &Metadata) -> bool {
        *self == Self::new(self.path.clone(), metadata)
    }

    /// Modification time in milliseconds, which is what `maxFileAge` compares.
    pub fn mtime_ms(&self) -> i64 {
        self.mtime_ns.div_euclid(1_000_000)
    }

    /// Appends `mtime i64 | size u64 | inode u64 | path length u32 | path`, little endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let path = self.path.as_os_str().as_bytes();
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&(path.len() as u32).to_le_bytes());
        out.extend_from_slice(path);
    }

    /// Reads one entry from the front of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mtime_ns = i64::from_le_bytes(take(bytes)?);
        let size = u64::from_le_bytes(take(bytes)?);
        let inode = u64::from_le_bytes(take(bytes)?);
        let length = u32::from_le_bytes(take(bytes)?) as usize;
        let (path, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(Self { path: PathBuf::from(OsStr::from_bytes(path)), size, mtime_ns, inode })
    }
}

/// Takes the next `N` bytes.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}
