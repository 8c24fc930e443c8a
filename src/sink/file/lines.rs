//! What a log of a file sink says, line by line, and what all of it together says.
//!
//! A line is the CRC-32C of its rest as eight hex digits, a blank, JSON. The first says who writes; every other one is a step that happens
//! as a whole or not at all.
//!
//! ```text
//! 1c0a5f3e {"version":2,"queryId":"7f0c…"}
//! 9be83a11 {"batchId":0,"recordHash":291,"files":[{"name":"part-00000-5a….json","size":73}],"at":1760000000000}
//! 5f1e02cc {"batchId":1,"recordHash":87,"files":[],"pending":[{"name":"part-00001-9d….arrow","size":512}],"at":…}
//! 0a94b1d7 {"files":[{"name":"part-00001-c2….json","size":99}],"rolled":["part-00001-9d….arrow"],"at":…}
//! 77e0c4aa {"removed":["part-00000-5a….json"]}
//! ```
//!
//! Owns the meaning of lines; does not own where they are kept.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::sink::BatchIdentity;

/// The version that is written. Version 1 has batches with files only, and is read as it is.
pub const VERSION: u32 = 2;

/// Who writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub version: u32,
    pub query_id: Uuid,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// The batch that it commits, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<u64>,
    /// Checksum of the batch's record in the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_hash: Option<u32>,
    /// Files that readers see from here on.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// Where rows are that readers do not see yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<FileEntry>,
    /// Names of what was pending and is in `files` now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rolled: Vec<String>,
    /// Names of files that readers do not see any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// When, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// In a store: which process wrote it. A line of nothing else says that this process goes on from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Uuid>,
}

/// A file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the directory, behind the partition folders that it is in.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// In a store: what changes whenever its bytes change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// A file, and when it was committed; very old lines do not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub file: FileEntry,
    pub at: Option<i64>,
}

/// What all lines of a log say.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub last: Option<BatchIdentity>,
    /// What readers see, in the order in which they came to see it.
    pub files: Vec<Committed>,
    /// Rows of committed batches that are in no file yet, in the order of the batches.
    pub pending: Vec<Committed>,
    /// Names of files that may still have to be deleted.
    pub removed: Vec<String>,
    /// The files of the last line that has some: they may not have their names yet.
    pub newest: Vec<FileEntry>,
    /// How much of the lines says nothing any more.
    pub garbage: usize,
    /// How many lines there were.
    pub lines: usize,
}

/// Lines that say nothing any more are dropped when there are more of them than this, and than other lines.
const MAX_GARBAGE: usize = 1000;

impl State {
    /// What a line adds.
    pub fn apply(&mut self, line: Line) {
        self.lines += 1;
        if let (Some(batch_id), Some(record_hash)) = (line.batch_id, line.record_hash) {
            self.last = Some(BatchIdentity { batch_id, record_hash });
        }
        self.garbage += if line.files.is_empty() { 1 } else { 0 } + line.removed.len();
        if !line.rolled.is_empty() {
            let rolled: HashSet<_> = line.rolled.iter().collect();
            self.pending.retain(|p| !rolled.contains(&p.file.name));
        }
        if !line.removed.is_empty() {
            let removed: HashSet<_> = line.removed.iter().collect();
            self.files.retain(|f| !removed.contains(&f.file.name));
            self.removed.extend(line.removed);
        }
        if !line.files.is_empty() {
            self.newest.clone_from(&line.files);
        }
        let at = line.at;
        self.files.extend(line.files.into_iter().map(|file| Committed { file, at }));
        self.pending.extend(line.pending.into_iter().map(|file| Committed { file, at }));
    }

    /// All lines after the header.
    pub fn of(lines: impl IntoIterator<Item = Line>) -> Self {
        let mut state = Self::default();
        lines.into_iter().for_each(|line| state.apply(line));
        state
    }

    /// Whether it is time to write the log anew.
    pub fn wants_compaction(&self) -> bool {
        self.garbage > MAX_GARBAGE.max(self.lines - self.garbage.min(self.lines))
    }

    /// The fewest lines that say the same.
    pub fn compacted(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = vec![];
        for Committed { file, at } in &self.files {
            match lines.last_mut().filter(|line| line.at == *at) {
                Some(line) => line.files.push(file.clone()),
                None => lines.push(Line { files: vec![file.clone()], at: *at, ..Line::default() }),
            }
        }
        for Committed { file, at } in &self.pending {
            match lines.last_mut().filter(|line| line.at == *at && !line.pending.is_empty()) {
                Some(line) => line.pending.push(file.clone()),
                None => lines.push(Line { pending: vec![file.clone()], at: *at, ..Line::default() }),
            }
        }
        lines.extend(self.last.map(|last| Line {
            batch_id: Some(last.batch_id),
            record_hash: Some(last.record_hash),
            ..Line::default()
        }));
        lines
    }

    /// When the oldest row that is in no file was committed.
    pub fn oldest_pending(&self) -> Option<i64> {
        self.pending.iter().filter_map(|p| p.at).min()
    }

    /// How many bytes are in no file yet.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|p| p.file.size).sum()
    }
}

impl Line {
    /// Whether no name in it leads outside the directory.
    pub fn is_sound(&self) -> bool {
        let is_sound = |part: &str| !part.is_empty() && !part.contains(['\\', '\0']) && part != ".." && part != ".";
        let files = self.files.iter().chain(&self.pending).map(|f| f.name.as_str());
        let names = files.chain(self.rolled.iter().chain(&self.removed).map(String::as_str));
        names.flat_map(|name| name.split('/')).all(is_sound)
    }
}

/// The value of a line, with its end.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (crc, json) = text.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    let is_whole = u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

/// The line of a value, with its end.
pub fn text(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(value).map_err(|e| Error::internal(format!("manifest line: {e}")))?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())))
}

/// The name of a file without the partition folders before it: no two files of a directory share it.
pub fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> FileEntry {
        FileEntry { name: name.into(), size: 5, tag: None }
    }

    #[test]
    fn what_is_compacted_says_the_same() {
        let batch = |id: u64, files: Vec<FileEntry>, pending: Vec<FileEntry>| Line {
            batch_id: Some(id),
            record_hash: Some(id as u32),
            files,
            pending,
            at: Some(id as i64 * 10),
            ..Line::default()
        };
        let lines = [
            batch(0, vec![file("a"), file("k=1/b")], vec![]),
            batch(1, vec![], vec![file("p1")]),
            batch(2, vec![], vec![file("p2")]),
            Line { files: vec![file("c")], rolled: vec!["p1".into()], at: Some(25), ..Line::default() },
            batch(3, vec![], vec![]),
            Line { removed: vec!["a".into()], ..Line::default() },
        ];
        let state = State::of(lines.iter().cloned());
        let names = |of: &[Committed]| of.iter().map(|c| c.file.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&state.files), names(&state.pending)), (vec!["k=1/b".into(), "c".into()], vec!["p2".into()]));
        assert_eq!(
            (state.oldest_pending(), &state.removed, &state.newest),
            (Some(20), &vec!["a".into()], &vec![file("c")])
        );
        let again = State::of(state.compacted());
        assert_eq!((&again.files, &again.pending, again.last), (&state.files, &state.pending, state.last));
        assert!(again.removed.is_empty());
        for line in lines {
            assert_eq!(parse::<Line>(text(&line).unwrap().as_bytes()).unwrap(), line);
            assert!(line.is_sound());
        }
        assert!(!Line { removed: vec!["../x".into()], ..Line::default() }.is_sound());
        assert!(parse::<Line>(b"00000000 {}\n").is_none());
        assert!(parse::<Line>(text(&serde_json::json!({"files":[], "later":1})).unwrap().as_bytes()).is_none());
    }
}
