//! What a query tells about itself: Spark's `StreamingQueryProgress`, field for field and in its order.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::waiting::Waiting;
use crate::checkpoint::{BatchHeader, SourceRange};
use crate::offset::Offset;
use crate::operator::EventTimes;
use crate::source::Source;
use crate::state::StateMetrics;

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
    /// Beyond Spark: what a query with a watermark waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
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
    /// Exclusive start of the batch's range; null for a query's first batch.
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

/// When each part of a trigger ended.
#[derive(Debug)]
pub(super) struct Timings {
    started: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Timings {
    /// A trigger starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { started: now, last: now, parts: vec![] }
    }

    /// The part `name` (Spark's) has just ended.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.parts.push((name, now - self.last));
        self.last = now;
    }

    fn total(&self) -> Duration {
        self.last - self.started
    }

    fn to_json(&self) -> Map<String, Value> {
        let total = ("triggerExecution", self.total());
        let mut parts: Vec<_> = self.parts.iter().copied().chain([total]).collect();
        parts.sort_by_key(|(name, _)| *name);
        parts.into_iter().map(|(name, d)| (name.to_string(), (d.as_millis() as u64).into())).collect()
    }
}

/// What one source did in a batch.
pub(super) struct SourceFigures<'a> {
    pub source: &'a dyn Source,
    pub range: &'a SourceRange,
    pub latest: &'a Offset,
    pub rows: u64,
}

/// A stateful operator's name, its figures, and those that only it has.
type OperatorFigures = (&'static str, StateMetrics, Vec<(&'static str, u64)>);

/// Makes the progress of one batch after the other.
#[derive(Debug)]
pub(super) struct ProgressBuilder {
    id: Uuid,
    run_id: Uuid,
    name: Option<String>,
    last_timestamp_ms: Option<i64>,
}

impl ProgressBuilder {
    /// For a new run of a query.
    pub fn new(id: Uuid, name: Option<String>) -> Self {
        Self { id, run_id: Uuid::new_v4(), name, last_timestamp_ms: None }
    }

    /// Identifies this run.
    pub fn run_id(&self) -> Uuid {
        self.run_id
    }

    /// The progress of a batch that has ended.
    pub fn build(
        &mut self,
        header: &BatchHeader,
        timings: &Timings,
        sources: Vec<SourceFigures>,
        operators: Vec<OperatorFigures>,
        sink: (String, Option<u64>),
        event_times: Option<Option<EventTimes>>,
    ) -> StreamingQueryProgress {
        let rows = sources.iter().map(|s| s.rows).sum();
        let rates = self.rates(header.batch_timestamp_ms, timings.total());
        StreamingQueryProgress {
            id: self.id,
            run_id: self.run_id,
            name: self.name.clone(),
            timestamp: iso_timestamp(header.batch_timestamp_ms),
            batch_id: header.batch_id,
            batch_duration: timings.total().as_millis() as u64,
            num_input_rows: rows,
            input_rows_per_second: rows as f64 * rates.0,
            processed_rows_per_second: rows as f64 * rates.1,
            duration_ms: timings.to_json(),
            event_time: event_times.map(|t| event_time(t, header.batch_watermark_ms)).unwrap_or_default(),
            state_operators: operators.into_iter().map(StateOperatorProgress::new).collect(),
            sources: sources.iter().map(|s| SourceProgress::new(s, header.batch_id == 0, rates)).collect(),
            sink: SinkProgress {
                description: sink.0,
                num_output_rows: sink.1.map_or(-1, |n| n as i64),
                metrics: Map::new(),
            },
            observed_metrics: Map::new(),
            waiting: None,
        }
    }

    /// Triggers a second, by arrival and by work; not finite if unknown.
    fn rates(&mut self, timestamp_ms: i64, took: Duration) -> (f64, f64) {
        let arrival = self.last_timestamp_ms.replace(timestamp_ms).map(|last| (timestamp_ms - last) as f64 / 1e3);
        (arrival.filter(|s| *s > 0.0).map_or(f64::NAN, |s| 1.0 / s), 1.0 / took.as_secs_f64())
    }
}

/// The event times of a batch, if it has some, and the watermark it ran with.
fn event_time(times: Option<EventTimes>, watermark_ms: i64) -> Map<String, Value> {
    let times = times.map(|t| [("avg", t.avg()), ("max", t.max), ("min", t.min)]);
    let all = times.into_iter().flatten().chain([("watermark", watermark_ms)]);
    all.map(|(name, ms)| (name.to_owned(), iso_timestamp(ms).into())).collect()
}

impl StateOperatorProgress {
    fn new((name, m, custom): OperatorFigures) -> Self {
        Self {
            operator_name: name.to_string(),
            num_rows_total: m.rows_total,
            num_rows_updated: m.rows_updated,
            num_rows_removed: m.rows_removed,
            memory_used_bytes: m.memory_used_bytes,
            num_rows_dropped_by_watermark: m.rows_dropped_by_watermark,
            num_shuffle_partitions: 1,
            num_state_store_instances: 1,
            custom_metrics: custom.into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect(),
            ..Self::default()
        }
    }
}

impl SourceProgress {
    /// A query's first batch has no start, as in Spark.
    fn new(s: &SourceFigures, first: bool, rates: (f64, f64)) -> Self {
        let metrics = s.source.metrics();
        let custom = metrics.custom.into_iter().map(|(k, v)| (k, Value::from(v)));
        let bad = (metrics.bad_records > 0).then(|| ("badRecords".to_string(), metrics.bad_records.into()));
        Self {
            description: s.source.description(),
            start_offset: if first { Value::Null } else { s.range.start.clone() },
            end_offset: s.range.end.clone(),
            latest_offset: s.latest.clone(),
            num_input_rows: s.rows,
            input_rows_per_second: s.rows as f64 * rates.0,
            processed_rows_per_second: s.rows as f64 * rates.1,
            metrics: bad.into_iter().chain(custom).collect(),
        }
    }
}

/// ISO 8601, UTC, milliseconds.
pub(super) fn iso_timestamp(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
