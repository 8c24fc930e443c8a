//! How much a disk has left, for messages.

use std::io;
use std::path::Path;

/// Whether a call failed because there is no room.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// `; 4096 bytes are free there`, for a path that may not exist yet; nothing if the system does not say.
pub fn free_space(path: &Path) -> String {
    let stat = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok());
    stat.map_or_else(String::new, |s| format!("; {} bytes are free there", s.f_bavail.saturating_mul(s.f_frsize)))
}
