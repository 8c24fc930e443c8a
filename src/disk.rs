//! Paths of local files, and how much a disk has left, for messages.

use std::io;
use std::path::Path;

/// The path without the scheme of local files.
pub fn local_path(text: &str) -> &str {
    text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text)
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
