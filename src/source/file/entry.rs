//! A file as it was listed: enough to tell at read time that it is still the same.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::{Object, Store};

/// Path, size, modification time, and what else tells it from another file of this path. Names are bytes: they need not be UTF-8.
/// There may be very many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    pub path: PathBuf,
    pub size: u64,
    pub mtime_ns: i64,
    /// 0 in a store.
    pub inode: u64,
    /// Of an object in a store: what changes whenever its bytes change.
    pub tag: Option<Box<str>>,
}

/// In the length of a path: a tag follows it.
const HAS_TAG: u32 = 1 << 31;

impl FileEntry {
    /// The file with this metadata.
    pub fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { path, size: metadata.len(), mtime_ns, inode: metadata.ino(), tag: None }
    }

    /// The regular file at `path` as it is now; `None` if there is none.
    pub fn stat(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(m) => Ok(m.is_file().then(|| Self::new(path.to_path_buf(), &m))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// An object of `store`.
    pub fn remote(store: &Store, object: Object) -> Self {
        let Object { key, size, modified_ns, tag } = object;
        Self { path: store.path(&key), size, mtime_ns: modified_ns, inode: 0, tag: tag.map(Into::into) }
    }

    /// Whether this is the same file with the same bytes. The time of an object is not as exact everywhere.
    pub fn is_still(&self, now: &Self) -> bool {
        match self.tag.is_some() && now.tag.is_some() {
            true => self.tag == now.tag && self.size == now.size && self.path == now.path,
            false => self == now,
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

    /// Appends `mtime i64 | size u64 | inode u64 | path length u32 | path`, little endian; behind a length with the highest bit set
    /// there is also `tag length u32 | tag`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let path = self.path.as_os_str().as_bytes();
        let has_tag = if self.tag.is_some() { HAS_TAG } else { 0 };
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&(path.len() as u32 | has_tag).to_le_bytes());
        out.extend_from_slice(path);
        if let Some(tag) = &self.tag {
            out.extend_from_slice(&(tag.len() as u32).to_le_bytes());
            out.extend_from_slice(tag.as_bytes());
        }
    }

    /// Reads one entry from the front of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mtime_ns = i64::from_le_bytes(take(bytes)?);
        let size = u64::from_le_bytes(take(bytes)?);
        let inode = u64::from_le_bytes(take(bytes)?);
        let length = u32::from_le_bytes(take(bytes)?);
        let path = take_slice(bytes, length & !HAS_TAG)?;
        let tag = match length & HAS_TAG {
            0 => None,
            _ => {
                let length = u32::from_le_bytes(take(bytes)?);
                Some(std::str::from_utf8(take_slice(bytes, length)?).ok()?.into())
            }
        };
        Some(Self { path: PathBuf::from(OsStr::from_bytes(path)), size, mtime_ns, inode, tag })
    }
}

fn take_slice<'b>(bytes: &mut &'b [u8], length: u32) -> Option<&'b [u8]> {
    let (slice, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(slice)
}

/// Takes the next `N` bytes.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_and_without_a_tag() {
        let local = FileEntry { path: "/a/b".into(), size: 7, mtime_ns: -3, inode: 9, tag: None };
        let remote = FileEntry { path: "s3://b/k".into(), inode: 0, tag: Some("\"e\"".into()), ..local.clone() };
        let mut bytes = vec![];
        [&local, &remote, &local].into_iter().for_each(|e| e.encode(&mut bytes));
        let mut rest = &bytes[..];
        let decoded: Vec<_> = std::iter::from_fn(|| FileEntry::decode(&mut rest)).collect();
        assert_eq!(decoded, [local.clone(), remote.clone(), local.clone()]);
        assert!(rest.is_empty() && FileEntry::decode(&mut &bytes[..bytes.len() - 1]).is_some());
        // As records without tags have always been.
        assert_eq!(bytes[..24 + 4 + 4][24..], [4, 0, 0, 0, b'/', b'a', b'/', b'b']);
        assert!(remote.is_still(&FileEntry { mtime_ns: 0, ..remote.clone() }));
        assert!(!remote.is_still(&FileEntry { tag: Some("f".into()), ..remote.clone() }));
        assert!(!local.is_still(&FileEntry { mtime_ns: 0, ..local.clone() }));
        assert!(std::mem::size_of::<FileEntry>() <= 64);
    }
}
