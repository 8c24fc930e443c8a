//! Small JSON files: metadata and manifests, with version and checksum on a first line of their own.
//!
//! ```text
//! tidemill 1 9ae0daaf
//! { "id": "…", … }
//! ```

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fs::{Fs, io_error};
use super::record::FORMAT_VERSION;
use super::scan::corrupt;
use crate::error::{Error, Result};

/// Longest file that is read whole.
const MAX_LEN: u64 = 64 << 20;

/// Where the metadata of a checkpoint is.
pub(super) fn metadata_path(dir: &Path) -> PathBuf {
    dir.join("metadata.json")
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(super) fn write_json<T: Serialize>(fs: &dyn Fs, path: &Path, value: &T) -> Result<()> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|e| Error::internal(format!("'{}' could not be written as JSON: {e}", path.display())))?;
    let crc = checksum(FORMAT_VERSION, json.as_bytes());
    let text = format!("tidemill {FORMAT_VERSION} {crc:08x}\n{json}");
    let temporary = path.with_extension("json.tmp");
    let file = fs.create(&temporary).map_err(|e| io_error(&temporary, "open", &e))?;
    file.write_all_at(text.as_bytes(), 0).map_err(|e| io_error(&temporary, "write", &e))?;
    file.sync_data().map_err(|e| io_error(&temporary, "fdatasync", &e))?;
    fs.rename(&temporary, path).map_err(|e| io_error(path, "rename", &e))
}

/// Reads a file that [`write_json`] wrote; `None` if there is none.
///
/// # Errors
/// `CHECKPOINT_VERSION` if a newer version wrote it, `CHECKPOINT_CORRUPT` if it is not as it was written.
pub(super) fn read_json<T: DeserializeOwned>(fs: &dyn Fs, path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read_file(fs, path)? else { return Ok(None) };
    let json = open_envelope(path, &bytes)?;
    serde_json::from_slice(json)
        .map(Some)
        .map_err(|e| corrupt(path, 0, None, &format!("it is not what was expected: {e}")))
}

/// The whole file; `None` if there is none.
fn read_file(fs: &dyn Fs, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match fs.open(path, false) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| io_error(path, "open", &e))?,
    };
    let len = file.len().map_err(|e| io_error(path, "fstat", &e))?;
    if len > MAX_LEN {
        return Err(corrupt(path, MAX_LEN, None, "it is far too long"));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| io_error(path, "read", &e))?;
    Ok(Some(bytes))
}

fn open_envelope<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let line_end = bytes.iter().position(|b| *b == b'\n');
    let line = line_end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
    let json = line_end.map_or(&[][..], |end| &bytes[end + 1..]);
    let mut words = line.unwrap_or_default().split(' ');
    let head = (words.next(), words.next().and_then(|w| w.parse::<u32>().ok()), words.next());
    let (Some("tidemill"), Some(version), Some(crc)) = head else {
        return Err(corrupt(path, 0, None, "its first line is not that of a checkpoint file"));
    };
    if version != FORMAT_VERSION {
        return Err(wrong_version(path, version));
    }
    if crc != format!("{:08x}", checksum(version, json)) {
        return Err(corrupt(path, 0, None, "the content does not match its checksum"));
    }
    Ok(json)
}

fn checksum(version: u32, json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&version.to_le_bytes()), json)
}

fn wrong_version(path: &Path, version: u32) -> Error {
    Error::checkpoint(
        "CHECKPOINT_VERSION",
        format!(
            "checkpoint file '{}' has format version {version}; this program reads and writes version {FORMAT_VERSION}",
            path.display()
        ),
    )
    .with_help("nothing was changed: run the query with the release that wrote the checkpoint, or start with a new one")
}
