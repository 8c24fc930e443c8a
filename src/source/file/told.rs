//! What a listing shows that nobody would see otherwise, said once: a path with nothing in it, files that are too old to be
//! read, and files that have changed after they were read.

use std::collections::HashSet;
use std::path::PathBuf;

use super::entry::FileEntry;
use super::options::FileStream;
use super::seen::SeenFiles;
use crate::interval::duration_text;
use crate::time::Clock;

/// What was said.
#[derive(Debug)]
pub struct Told {
    clock: Clock,
    nothing: bool,
    too_old: bool,
    /// Files that have changed. Not more than are worth remembering.
    changed: HashSet<(PathBuf, u64)>,
}

const MOST_CHANGED: usize = 10_000;

impl Told {
    /// Nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, nothing: false, too_old: false, changed: HashSet::new() }
    }

    /// Says what is new in this listing.
    pub fn look(&mut self, files: &[FileEntry], seen: &SeenFiles, stream: &FileStream) {
        if files.is_empty() && seen.latest() < 0 && !std::mem::replace(&mut self.nothing, true) {
            let hint = stream.location.hint().map(|hint| format!(": {hint}")).unwrap_or_default();
            tracing::warn!(path = stream.location.path, "file source: there is no file at this path yet{hint}");
        }
        self.look_for_too_old(files, seen, stream);
        let changed = files.iter().filter(|f| seen.as_read(f).is_some_and(|read| read.size != f.size));
        let room = MOST_CHANGED.saturating_sub(self.changed.len());
        let new: Vec<_> = changed.filter(|f| self.changed.insert((f.path.clone(), f.size))).take(room.max(1)).collect();
        if let Some(first) = new.first() {
            tracing::warn!(
                file = %first.path.display(),
                files = new.len(),
                "file source: files have changed after they were read, and are not read again: what was added to them is \
                 in no batch. Write new files"
            );
        }
    }

    fn look_for_too_old(&mut self, files: &[FileEntry], seen: &SeenFiles, stream: &FileStream) {
        let (Some(age), false) = (stream.max_age_ms, self.too_old) else { return };
        let mut shut_out = files.iter().filter(|f| seen.shuts_out(f));
        let (Some(first), Some(newest)) = (shut_out.next(), seen.newest()) else { return };
        self.too_old = true;
        let future = if newest.mtime_ms() > self.clock.now_ms() { ", whose time is in the future" } else { "" };
        tracing::warn!(
            file = %first.path.display(),
            files = 1 + shut_out.count(),
            "file source: files are not read, because they are older by more than maxFileAge, {}, than the newest that was \
             read, '{}'{future}",
            duration_text(age.saturating_mul(1000)),
            newest.path.display()
        );
    }
}
