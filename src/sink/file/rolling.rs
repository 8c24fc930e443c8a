//! When rows become files, and when files go: the options `maxFileSize`, `maxFileAge` and `retention`.
//!
//! Without the first two every batch is a file. With one of them the rows of a batch wait in the sink's own folder, durable
//! and committed with their batch, until there are enough of them, or the oldest is too old: then all that wait become one file,
//! which appears whole, once, and is never replaced. So readers of every kind see a row exactly once, and see it later:
//! at most `maxFileAge` after its batch, or when the query stops. The alternative, files of single batches that are merged
//! afterwards, shows rows at once, but to who lists the directory it shows them twice or not at all for a moment, and a
//! stream that has read some of the small files cannot take the large one: so it was not chosen.

use std::time::Duration;

use super::lines::State;
use crate::error::Result;
use crate::options::{OptionReader, OptionSpec, OptionType};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rolling {
    max_size: Option<u64>,
    max_age_ms: Option<i64>,
    retention_ms: Option<i64>,
}

/// Files are removed when some are older than `retention` by this part of it, so that it is done seldom.
const RETENTION_SLACK: i64 = 50;

impl Rolling {
    /// What [`Rolling::read`] reads.
    pub const OPTIONS: [OptionSpec; 3] = [
        OptionSpec::new(
            "maxFileSize",
            OptionType::Bytes,
            "About how large a file becomes: rows of several batches wait for it, and become visible with it.",
        ),
        OptionSpec::new(
            "maxFileAge",
            OptionType::Duration,
            "How long rows wait for others at most before they become a file, and visible with it.",
        ),
        OptionSpec::new(
            "retention",
            OptionType::Duration,
            "Files that have been there for longer are removed, a little later, when a batch is committed.",
        ),
    ];

    /// Reads the three options.
    pub fn read(reader: &OptionReader<'_>) -> Result<Self> {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Ok(Self {
            max_size: reader.bytes("maxFileSize")?,
            max_age_ms: reader.duration("maxFileAge")?.map(millis),
            retention_ms: reader.duration("retention")?.map(millis),
        })
    }

    /// Whether rows wait to become a file.
    pub fn waits(&self) -> bool {
        self.max_size.is_some() || self.max_age_ms.is_some()
    }

    /// Whether files are ever removed.
    pub fn removes(&self) -> bool {
        self.retention_ms.is_some()
    }

    /// About how large a file may get.
    pub fn max_size(&self) -> Option<u64> {
        self.max_size
    }

    /// Whether all that waits becomes a file now. `ratio` is how many bytes of a file a byte that waits has become before.
    pub fn is_due(&self, state: &State, ratio: f64, now_ms: i64) -> bool {
        let is_full = self.max_size.is_some_and(|max| state.pending_bytes() as f64 * ratio >= max as f64);
        !state.pending.is_empty() && (is_full || !self.waits() || self.deadline(state).is_some_and(|at| at <= now_ms))
    }

    /// When the oldest row that waits is too old.
    pub fn deadline(&self, state: &State) -> Option<i64> {
        Some(state.oldest_pending()?.saturating_add(self.max_age_ms?))
    }

    /// Files from before this time are removed, if it is time to remove some; `oldest_ms` is when the oldest was committed.
    pub fn removes_before(&self, oldest_ms: Option<i64>, now_ms: i64) -> Option<i64> {
        let retention = self.retention_ms?;
        let due = oldest_ms?.saturating_add(retention).saturating_add(retention / RETENTION_SLACK);
        (due <= now_ms).then(|| now_ms.saturating_sub(retention))
    }
}
