//! The checkpoint of a query: one group-committed log of offsets, watermark, time and state changes, and snapshots that
//! bound it.
//!
//! Owns every file below the checkpoint directory but the sources' own. Does not own: what a batch computes, when a
//! snapshot is due.

mod codec;
mod column;
mod describe;
mod diff;
mod fs;
mod log;
mod metadata;
mod record;
mod recovery;
mod scan;
mod shown;
#[cfg(test)]
mod sim;
mod snapshot;
mod snapshotter;
mod store;
#[cfg(test)]
mod tests;

pub use describe::describe;
pub use diff::{Allowed, diff_metadata};
pub use record::FORMAT_VERSION;
pub use shown::CheckpointDescription;
pub use store::{Checkpoint, CheckpointOptions, Recovered};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::offset::Offset;
use crate::state::StateChange;

/// Everything that decides what a batch computes, and what it changed. Durable before the batch's output is visible.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRecord {
    /// What a human can read of it.
    pub header: BatchHeader,
    /// State changes by operator id, in the order in which they must be applied.
    pub changes: Vec<(u32, StateChange)>,
}

/// The part of a batch record that is JSON on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchHeader {
    /// Dense, from 0.
    pub batch_id: u64,
    /// Trigger time in milliseconds since the epoch: `current_timestamp()` of the batch.
    pub batch_timestamp_ms: i64,
    /// The global watermark the batch ran with, in milliseconds since the epoch.
    pub batch_watermark_ms: i64,
    /// The global watermark after the batch.
    pub next_watermark_ms: i64,
    /// The range of every source, in the order of the plan's sources.
    pub sources: Vec<SourceRange>,
    /// Rows read.
    pub num_input_rows: u64,
    /// Settings the batch ran with that later runs must keep (Spark's `conf` in the offset log).
    pub conf: std::collections::BTreeMap<String, String>,
}

/// What a batch read of one source: rows after `start` up to `end`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRange {
    /// The stream's name.
    pub name: String,
    /// Exclusive.
    pub start: Offset,
    /// Inclusive; equal to `start` if the batch read nothing of this source.
    pub end: Offset,
}

/// What a query is, written once when the checkpoint is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Stable over restarts.
    pub id: Uuid,
    /// Version of the format of everything in the directory.
    pub format_version: u32,
    /// The query's text, for a human and for messages about what changed.
    pub query: String,
    /// `append`, `update` or `complete`.
    pub output_mode: String,
    /// Names of the sources, in order.
    pub sources: Vec<String>,
    /// What they read, in the same order. Empty if the checkpoint does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<SourceMetadata>,
    /// The sink.
    pub sink: String,
    /// The format of what is in the sink, if it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_format: Option<String>,
    /// Stateful operators, operator 0 nearest to the sink: name and what must stay as it is.
    pub operators: Vec<OperatorMetadata>,
}

/// What one source of a [`Metadata`] reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceMetadata {
    /// The format's name.
    pub format: String,
    /// The path as the query has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The same from the root on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Options that decide what is read, where they are not the default.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub options: std::collections::BTreeMap<String, String>,
}

/// One stateful operator of a [`Metadata`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorMetadata {
    /// Spark's name of the operator.
    pub name: String,
    /// What must not change, in words.
    pub fingerprint: Vec<String>,
}
