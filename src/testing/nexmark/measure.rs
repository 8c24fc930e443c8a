//! A query, trigger by trigger, and its figures.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::check::NexmarkChecked;
use super::input::{Feed, Input, temporary};
use super::queries::NexmarkQuery;
use super::{NexmarkBench, NexmarkInput, check};
use crate::connector::ConnectorRequest;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::query::{MicroBatchExecution, QuerySpec};
use crate::session::Session;
use crate::sink::{MemorySink, NoopSink, Sink};
use crate::sql::query::plan_query;
use crate::time::Clock;
use crate::trigger::Trigger;

/// What a query costs.
#[derive(Debug, Clone)]
pub struct NexmarkFigures {
    /// Its name.
    pub query: &'static str,
    /// Which rows it gives.
    pub mode: OutputMode,
    /// Events that it read: rows of the tables in it.
    pub events: i64,
    /// From the first trigger to the end of the last.
    pub took: Duration,
    /// How long each trigger took, the shortest first.
    pub triggers: Vec<Duration>,
    /// Bytes of state, the most after any trigger.
    pub state_bytes: u64,
    /// How often the disk was asked to make records durable.
    pub syncs: u64,
    /// The most memory of the process while it ran, rows in memory included, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// What the check found, if there was one.
    pub checked: Option<NexmarkChecked>,
}

impl NexmarkFigures {
    /// Events a second.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// How long a trigger takes that is longer than this share of all.
    pub fn percentile(&self, share: f64) -> Duration {
        let place = (self.triggers.len().saturating_sub(1) as f64 * share).ceil() as usize;
        self.triggers.get(place).copied().unwrap_or_default()
    }
}

/// Runs a query to its end, and once more for its rows if they are checked.
///
/// # Errors
/// It fails.
pub async fn query(query: &NexmarkQuery, bench: &NexmarkBench, input: &Input) -> Result<NexmarkFigures> {
    let dir = tempfile::tempdir().map_err(|e| temporary(&e))?;
    reset_peak_memory();
    let run = run(query, bench, input, None, dir.path()).await?;
    let peak_memory_bytes = peak_memory();
    let mut triggers = run.triggers;
    triggers.sort_unstable();
    let mut figures = NexmarkFigures {
        query: query.name,
        mode: query.mode,
        events: input.count(&query.tables()),
        took: run.took,
        triggers,
        state_bytes: run.state_bytes,
        syncs: run.syncs,
        peak_memory_bytes,
        checked: None,
    };
    if bench.is_checked {
        let sink = Arc::new(MemorySink::new(query.name));
        let dir = tempfile::tempdir().map_err(|e| temporary(&e))?;
        let checked = self::run(query, bench, input, Some(sink.clone()), dir.path()).await?;
        figures.checked = Some(check::compare(query, &sink.rows(), checked.watermark_ms, input).await?);
    }
    Ok(figures)
}

/// One run of a query.
struct Run {
    triggers: Vec<Duration>,
    took: Duration,
    state_bytes: u64,
    syncs: u64,
    watermark_ms: i64,
}

/// A run in a directory of its own, into `sink`, or else into where its rows go when it is measured.
async fn run(
    query: &NexmarkQuery,
    bench: &NexmarkBench,
    input: &Input,
    sink: Option<Arc<dyn Sink>>,
    dir: &Path,
) -> Result<Run> {
    let session = Session::builder().build()?;
    let feed = input.register_streams(&session).await?;
    let planned = plan_query(session.context(), query.sql, None).await?;
    let sink = match sink {
        Some(sink) => sink,
        None => measured_sink(query, &session, &dir.join("out"))?,
    };
    // Rows in memory come while the query runs.
    let trigger = match (bench.trigger, &bench.input) {
        (Trigger::AvailableNow, NexmarkInput::Memory) => Trigger::Default,
        (trigger, _) => trigger,
    };
    let spec = QuerySpec {
        name: Some(query.name.to_owned()),
        plan: planned.plan,
        column_names: planned.names,
        text: query.sql.to_owned(),
        sink,
        output_mode: query.mode,
        trigger,
        checkpoint: Some(dir.join("checkpoint")),
        conf: Options::new(),
    };
    let execution = MicroBatchExecution::open(&session.environment(), spec).await?;
    let clock = session.clock().clone();
    // A task as that of a query, not the thread that waits for it.
    let ended = tokio::spawn(drive(execution, feed, trigger, clock)).await;
    ended.map_err(|e| Error::internal(format!("the task of a query: {e}")))?
}

/// Files, or nothing.
fn measured_sink(query: &NexmarkQuery, session: &Session, path: &Path) -> Result<Arc<dyn Sink>> {
    let Some(folders) = query.partition_by else { return Ok(Arc::new(NoopSink)) };
    let path = path.display().to_string();
    let options = Options::from_iter([("path", path.as_str()), ("partitionBy", folders)]);
    let request = ConnectorRequest { context: session.context(), name: query.name, declared: None, options: &options };
    session.connectors().sink("parquet", request)
}

/// Runs batches until there is nothing more to do.
async fn drive(mut execution: MicroBatchExecution, mut feed: Feed, trigger: Trigger, clock: Clock) -> Result<Run> {
    let mut run = Run { triggers: vec![], took: Duration::ZERO, state_bytes: 0, syncs: 0, watermark_ms: 0 };
    if trigger == Trigger::Once {
        while feed.next()? {}
    }
    let started = Instant::now();
    loop {
        let is_fed = feed.next()?;
        let due = trigger.next_ms(clock.now_ms());
        let at = Instant::now();
        let has_run = execution.run_batch().await?;
        if has_run {
            run.triggers.push(at.elapsed());
            let operators = execution.last_progress().map(|p| p.state_operators.clone()).unwrap_or_default();
            run.state_bytes = run.state_bytes.max(operators.iter().map(|o| o.memory_used_bytes).sum());
        }
        if trigger == Trigger::Once || !has_run && !is_fed {
            break;
        }
        if due > clock.now_ms() {
            clock.sleep_until(due).await;
        }
    }
    execution.flush().await?;
    run.took = started.elapsed();
    run.syncs = execution.num_syncs();
    run.watermark_ms = execution.watermark_ms();
    execution.close().await?;
    Ok(run)
}

/// Lets the system forget the most memory so far; it does not where it cannot.
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that the process has held.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
