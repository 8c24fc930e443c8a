//! What a query tells about itself: Spark's `StreamingQueryProgress`, field for field and in its order.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Figures of one trigger. `to_json` gives Spark's JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryProgress {
    /// Stable over restarts from one checkpoint.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// The query's name.
    pub name: Option<String>,
    /// Start of the trigger, ISO 8601, UTC, milliseconds.
    pub timestamp: String,
    /// Dense, from 0.
    pub batch_id: u64,
    /// Milliseconds the trigger took.
    pub batch_duration: u64,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows a second that arrived since the last trigger; left out if unknown.
    #[serde(skip_serializing_if = "not_finite")]
    pub input_rows_per_second: f64,
    /// Rows a second that were processed; left out if unknown.
    #[serde(skip_serializing_if = "not_finite")]
    pub processed_rows_per_second: f64,
    /// Where the time went, in milliseconds.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub duration_ms: serde_json::Map<String, serde_json::Value>,
    /// Event times of the batch (`avg`, `max`, `min`) and the watermark it ran with.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub event_time: serde_json::Map<String, serde_json::Value>,
    /// Stateful operators, the one nearest to the sink first.
    pub state_operators: Vec<StateOperatorProgress>,
    /// Sources.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Always empty: there are no observed metrics.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub observed_metrics: serde_json::Map<String, serde_json::Value>,
}

/// Figures of one stateful operator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperatorProgress {
    /// Spark's name, e.g. `stateStoreSave`.
    pub operator_name: String,
    /// Rows in state.
    pub num_rows_total: u64,
    /// Rows put by the batch.
    pub num_rows_updated: u64,
    /// Milliseconds spent on them.
    pub all_updates_time_ms: u64,
    /// Rows removed by the batch.
    pub num_rows_removed: u64,
    /// Milliseconds spent on them.
    pub all_removals_time_ms: u64,
    /// Milliseconds to publish the batch's changes.
    pub commit_time_ms: u64,
    /// Bytes of state.
    pub memory_used_bytes: u64,
    /// Input rows that came too late.
    pub num_rows_dropped_by_watermark: u64,
    /// Shards of the state.
    pub num_shuffle_partitions: u64,
    /// Stores of the operator.
    pub num_state_store_instances: u64,
    /// Operator-specific figures.
    pub custom_metrics: serde_json::Map<String, serde_json::Value>,
}

/// Figures of one source.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The source in words.
    pub description: String,
    /// Exclusive start of the batch's range.
    pub start_offset: serde_json::Value,
    /// Inclusive end of the batch's range.
    pub end_offset: serde_json::Value,
    /// What the source had when the batch was planned.
    pub latest_offset: serde_json::Value,
    /// Rows read from it.
    pub num_input_rows: u64,
    /// Rows a second that arrived.
    #[serde(skip_serializing_if = "not_finite")]
    pub input_rows_per_second: f64,
    /// Rows a second that were processed.
    #[serde(skip_serializing_if = "not_finite")]
    pub processed_rows_per_second: f64,
    /// Source-specific figures, `badRecords` among them.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
}

/// Figures of the sink.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The sink in words.
    pub description: String,
    /// Rows given to it; -1 if it does not count.
    pub num_output_rows: i64,
    /// Sink-specific figures.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
}

impl StreamingQueryProgress {
    /// One line of JSON, as Spark's `progress.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same, indented, as Spark's `progress.prettyJson`.
    pub fn to_pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// What a query is doing now.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryStatus {
    /// Spark's words: `Initializing sources`, `Processing new data`, `Waiting for data to arrive`, …
    pub message: String,
    /// Whether a source has rows that no batch has read.
    pub is_data_available: bool,
    /// Whether a batch is running.
    pub is_trigger_active: bool,
}

fn not_finite(v: &f64) -> bool {
    !v.is_finite()
}
