//! A query under test: stepped batch by batch, on a memory sink that outlives it.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::matrix::Restart;
use super::scratch::ScratchDir;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Action;
use crate::query::{Environment, MicroBatchExecution, QuerySpec, StreamingQueryProgress};
use crate::sink::MemorySink;

/// A query that was started, and may have stopped or crashed since.
#[derive(Debug)]
pub struct TestQuery {
    spec: QuerySpec,
    sink: Arc<MemorySink>,
    /// `None` once stopped, failed or crashed.
    execution: Option<MicroBatchExecution>,
    /// Batches of the sink that were shown already.
    shown: usize,
    /// One for every batch, over all restarts.
    progress: Vec<Arc<StreamingQueryProgress>>,
    /// Where the next batch dies.
    crash_at: Option<String>,
    /// Why its checkpoint was refused at the last restart.
    refused: Option<Error>,
    restart: Restart,
    // Removed when the query is dropped, after the execution that writes there.
    _checkpoint: ScratchDir,
}

/// When the sink must have what was computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// After each batch.
    Each,
    /// When there is nothing to do: till then several may be in flight.
    AtEnd,
}

impl TestQuery {
    /// Starts a query on a fresh checkpoint; `spec` gets a memory sink and that checkpoint.
    pub async fn start(
        env: &Environment,
        restart: Restart,
        make_spec: impl FnOnce(Arc<MemorySink>) -> QuerySpec,
    ) -> Result<Self> {
        let checkpoint = ScratchDir::new()?;
        let sink = Arc::new(MemorySink::keeping_all("memory"));
        let mut spec = make_spec(sink.clone());
        spec.checkpoint = Some(checkpoint.path().to_owned());
        let execution = MicroBatchExecution::open(env, spec.clone()).await?;
        Ok(Self {
            spec,
            sink,
            execution: Some(execution),
            shown: 0,
            progress: vec![],
            crash_at: None,
            refused: None,
            restart,
            _checkpoint: checkpoint,
        })
    }

    /// What it was started with.
    pub fn spec_mut(&mut self) -> &mut QuerySpec {
        &mut self.spec
    }

    /// One progress for every batch so far.
    pub fn progress(&self) -> &[Arc<StreamingQueryProgress>] {
        &self.progress
    }

    /// Runs one batch.
    ///
    /// # Errors
    /// `NOTHING_TO_DO` if none is due and the sink has nothing to show.
    pub async fn trigger(&mut self, env: &Environment) -> Result<Vec<RecordBatch>> {
        let ran = self.run_batch(env, Flush::Each).await?;
        let rows = self.take_new();
        if !ran && rows.is_none() {
            return Err(Error::invalid("NOTHING_TO_DO", "nothing to do: no batch of the query is due"));
        }
        Ok(rows.unwrap_or_default())
    }

    /// Runs batches until none is due.
    pub async fn drain(&mut self, env: &Environment, only_last: bool) -> Result<Vec<RecordBatch>> {
        while self.run_batch(env, Flush::AtEnd).await? {}
        if only_last {
            let batches = self.sink.batches();
            let last = batches.get(self.shown..).and_then(<[_]>::last).map(|(_, rows)| rows.clone());
            self.shown = batches.len();
            return Ok(last.unwrap_or_default());
        }
        Ok(self.take_new().unwrap_or_default())
    }

    /// Everything the sink ever got.
    pub fn all_rows(&self) -> Vec<RecordBatch> {
        self.sink.batches().into_iter().flat_map(|(_, rows)| rows).collect()
    }

    /// The watermark the next batch would run with.
    pub fn watermark_ms(&self) -> Result<i64> {
        self.execution.as_ref().map(MicroBatchExecution::watermark_ms).ok_or_else(|| self.not_running())
    }

    /// Makes the next batch die at `failpoint`.
    pub fn crash_at(&mut self, env: &Environment, failpoint: &str) -> Result<()> {
        // Armed and cleared at once: a wrong name is an error here, not at the next trigger.
        env.failpoints.arm(failpoint, Action::Error)?;
        env.failpoints.clear();
        self.crash_at = Some(failpoint.to_owned());
        Ok(())
    }

    /// Stops it cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        match self.execution.take() {
            Some(execution) => execution.close().await,
            None => Ok(()),
        }
    }

    /// The same for `RESTART`. Spark compares a query with its checkpoint in its first batch: so a refusal is the answer of
    /// the next batch.
    pub async fn restart(&mut self, env: &Environment) -> Result<()> {
        self.refused = match self.reopen(env).await {
            Err(e) if e.kind() == ErrorKind::Checkpoint => Some(e),
            result => return result,
        };
        Ok(())
    }

    /// Opens it again from its checkpoint; nothing but the checkpoint, the streams and the sink remains.
    pub async fn reopen(&mut self, env: &Environment) -> Result<()> {
        self.stop().await?;
        (self.crash_at, self.refused) = (None, None);
        self.execution = Some(MicroBatchExecution::open(env, self.spec.clone()).await?);
        Ok(())
    }

    async fn run_batch(&mut self, env: &Environment, flush: Flush) -> Result<bool> {
        if self.restart == Restart::EveryTrigger && self.execution.is_some() {
            let crash_at = self.crash_at.take();
            self.reopen(env).await?;
            self.crash_at = crash_at;
        }
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let not_running = self.not_running();
        let execution = self.execution.as_mut().ok_or(not_running)?;
        let crash_at = self.crash_at.take();
        if let Some(failpoint) = &crash_at {
            env.failpoints.arm(failpoint, Action::Error)?;
        }
        let mut result = execution.run_batch().await;
        // A restart loses the progress of batches that nobody has asked for.
        let is_each = flush == Flush::Each || crash_at.is_some() || self.restart == Restart::EveryTrigger;
        if is_each || !matches!(result, Ok(true)) {
            let flushed = execution.flush().await;
            result = result.and_then(|ran| flushed.map(|()| ran));
        }
        env.failpoints.clear();
        if result.is_ok() {
            self.record_progress();
        } else {
            // Dropped, not closed: whatever was not durable is lost, as in a crash.
            self.execution = None;
        }
        result
    }

    fn record_progress(&mut self) {
        let Some(execution) = &self.execution else { return };
        for progress in execution.recent_progress() {
            if self.progress.last().is_none_or(|known| known.batch_id < progress.batch_id) {
                self.progress.push(progress);
            }
        }
    }

    /// Rows of batches that were not shown yet; `None` if there are no such batches.
    fn take_new(&mut self) -> Option<Vec<RecordBatch>> {
        let batches = self.sink.batches();
        let new = batches.get(self.shown..).filter(|new| !new.is_empty())?;
        let rows = new.iter().flat_map(|(_, rows)| rows.iter().cloned()).collect();
        self.shown = batches.len();
        Some(rows)
    }

    fn not_running(&self) -> Error {
        let name = self.spec.name.as_deref().unwrap_or_default();
        Error::invalid("QUERY_NOT_RUNNING", format!("query '{name}' is not running")).with_help("RESTART it first")
    }
}
