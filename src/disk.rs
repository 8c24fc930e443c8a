//! Paths of local files, and how much a disk has left, for messages.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// The path without the scheme of local files.
pub fn local_path(text: &str) -> &str {
    text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text)
}

/// Scheme and rest of `scheme://rest`.
pub fn scheme(path: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = path.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

/// Whether a path names another place than the local disk.
pub fn is_remote(path: &str) -> bool {
    scheme(path).is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("file"))
}

/// The path without the scheme of local files, if it is one.
///
/// # Errors
/// `UNSUPPORTED_FILE_SYSTEM` for a path of a store, with what must not be there.
pub fn only_local<'p>(path: &'p str, what: &str) -> Result<&'p str> {
    if !is_remote(path) {
        return Ok(local_path(path));
    }
    let message = format!("{what} is on a local or mounted disk, and '{path}' is not");
    Err(Error::unsupported("UNSUPPORTED_FILE_SYSTEM", message).with_help("give it a directory of this machine"))
}

/// Whether a call failed because there is no room.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// `; 4096 bytes are free there`, for a path that may not exist yet; nothing if the system does not say.
pub fn free_space(path: &Path) -> String {
    let stat = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok());
    stat.map_or_else(String::new, |s| format!("; {} bytes are free there", s.f_bavail.saturating_mul(s.f_frsize)))
}
