//! The Nexmark benchmark: its queries, run over its rows from memory, files or topics, with figures, and with a check of what they give.
//!
//! `tidemill bench nexmark` and `cargo bench --bench nexmark` are made of this. It is no part of the interface that stays.

mod check;
mod input;
mod measure;
mod queries;
mod report;
#[cfg(feature = "kafka")]
mod topics;

pub use check::NexmarkChecked;
pub use measure::NexmarkFigures;
pub use queries::NexmarkQuery;
pub use report::{json, table};

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::options::parse_duration;
use crate::source::NexmarkSettings;
use crate::trigger::Trigger;
use input::{Input, Rows};

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NexmarkFormat {
    /// Parquet, packed with Snappy.
    Parquet,
    /// A row of JSON a line.
    Json,
}

impl NexmarkFormat {
    /// As SQL calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
        }
    }
}

/// Where the queries read their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NexmarkInput {
    /// Rows in memory, which are given to the streams before each trigger.
    Memory,
    /// Files in a temporary directory, of which a trigger takes one.
    Files(NexmarkFormat),
    /// JSON in new topics at these servers.
    Kafka(String),
}

/// What is run.
#[derive(Debug, Clone)]
pub struct NexmarkBench {
    /// The queries, in this order.
    pub queries: Vec<NexmarkQuery>,
    /// Events of all three tables together.
    pub events: i64,
    /// Events in a second of event time.
    pub events_per_second: i64,
    /// Into how many parts the events are cut: what a trigger takes.
    pub batches: usize,
    /// Another one, other rows.
    pub seed: u64,
    /// Where the rows are.
    pub input: NexmarkInput,
    /// When batches run.
    pub trigger: Trigger,
    /// Whether each query runs once more, over streams and over tables, to compare what it gives.
    pub is_checked: bool,
}

impl Default for NexmarkBench {
    /// All queries over a million events in memory.
    fn default() -> Self {
        Self {
            queries: NexmarkQuery::all(),
            events: 1_000_000,
            events_per_second: 10_000,
            batches: 20,
            seed: 0,
            input: NexmarkInput::Memory,
            trigger: Trigger::AvailableNow,
            is_checked: true,
        }
    }
}

impl NexmarkBench {
    fn rows(&self) -> Rows {
        let settings = NexmarkSettings {
            seed: self.seed,
            start_ms: NexmarkSettings::START_MS,
            events_per_second: self.events_per_second,
            late_ms: 2000,
        };
        Rows { events: self.events, parts: self.batches, settings }
    }

    /// Runs the queries, one after the other; `each` gets the figures of one when it has ended.
    ///
    /// # Errors
    /// The first query that fails. One that gives wrong rows does not fail: its figures say so.
    pub async fn run(&self, mut each: impl FnMut(&NexmarkFigures)) -> Result<Vec<NexmarkFigures>> {
        let input = Input::prepare(self).await?;
        let mut all = vec![];
        for query in &self.queries {
            let measured = measure::query(query, self, &input).await;
            let figures = measured.map_err(|e| e.with_place(format!("query {}", query.name)))?;
            each(&figures);
            all.push(figures);
        }
        Ok(all)
    }

    /// Writes the rows as files: a folder in `dir` for each table, with a file for each batch.
    ///
    /// # Errors
    /// A folder is there already; writing failed.
    pub async fn write(&self, dir: &Path, format: NexmarkFormat) -> Result<()> {
        input::write(&self.rows(), dir, format).await
    }
}

/// A trigger as a word or two say it: `available now`, `once`, `default`, `every 1 second`.
pub fn trigger(text: &str) -> Option<Trigger> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "available now" | "available-now" | "availablenow" => Some(Trigger::AvailableNow),
        "once" => Some(Trigger::Once),
        "default" => Some(Trigger::Default),
        other => {
            let every = parse_duration(other.strip_prefix("every")?).filter(|every| *every > Duration::ZERO)?;
            Some(Trigger::ProcessingTime(every))
        }
    }
}
