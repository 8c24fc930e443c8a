//! One batch after the other: which rows, computed how, durable before visible.
//!
//! ```text
//! latest offsets ─► rows ─► plan ─► sink.prepare ─► record (offsets, time, state changes) in the log
//!                                                        │  state published while the disk works
//!                      next batch ◄─ ack ◄─ sink.commit ◄┘  durable
//! ```
//!
//! Owns: the order of these steps. Does not own: what is opened and recovered first (`opening`), when the next batch runs
//! (`schedule`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::future::maybe_done;
use futures::poll;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::Environment;
use super::conf::QueryConf;
use super::idle::{IdleInputs, PlannedInput};
use super::losses::{Losses, SourceSeen};
use super::output::execute;
use super::progress::{ProgressBuilder, SourceFigures, StreamingQueryProgress, Timings};
use super::recovery::Pending;
use super::schedule::Schedule;
use super::waiting::Waiting;
use crate::checkpoint::{BatchHeader, BatchRecord, Checkpoint, SourceRange};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::operator::{BatchContext, InputWatermark, StatefulOperator};
use crate::plan::{Slot, StreamPlan, TriggerTime};
use crate::sink::{BatchIdentity, Sink};
use crate::source::Source;
use crate::state::StateChange;
use crate::trigger::TriggerInstant;

/// Rows of a batch from which the parallel plan pays.
const PARALLEL_ROWS: usize = 50_000;
/// How often an idle query looks at a source that neither notifies nor says how often (Spark's `pollingDelay`).
const POLL: Duration = Duration::from_millis(10);
/// How often a query that is to stop in the middle of a batch looks whether the batch can go on.
const GLANCE: Duration = Duration::from_millis(100);
const RECENT_PROGRESS: usize = 100;

/// The engine of one query, batch by batch: what the trigger loop drives, and what pipeline tests step through.
pub struct MicroBatchExecution {
    pub(super) env: Environment,
    pub(super) name: Option<String>,
    pub(super) run_id: Uuid,
    pub(super) query_id: Uuid,
    pub(super) plan: StreamPlan,
    pub(super) time: TriggerTime,
    pub(super) sources: Vec<RunningSource>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) sink_schema: datafusion::arrow::datatypes::SchemaRef,
    pub(super) checkpoint: Checkpoint,
    /// A temporary checkpoint, which goes away with this.
    pub(super) temporary: Option<tempfile::TempDir>,
    pub(super) next_batch: u64,
    pub(super) watermark_ms: i64,
    /// What the last batch ran with: rows up to it are late in the next.
    pub(super) late_watermark_ms: i64,
    pub(super) conf: QueryConf,
    pub(super) schedule: Schedule,
    pub(super) inputs: IdleInputs,
    pub(super) losses: Losses,
    pub(super) timestamp_ms: i64,
    pub(super) pending: Option<Pending>,
    pub(super) wake: Arc<Notify>,
    /// Set once the query is to end: a source that waits for the world outside is waited for no longer.
    pub(super) halt: watch::Sender<bool>,
    pub(super) progress: VecDeque<Arc<StreamingQueryProgress>>,
    pub(super) progress_builder: ProgressBuilder,
    pub(super) failure: Option<Error>,
}

/// A source of a running query.
pub(super) struct RunningSource {
    pub name: String,
    pub source: Arc<dyn Source>,
    pub slots: Vec<Arc<Slot>>,
    /// End of the last batch.
    pub position: Offset,
    /// End of the last batch that will never run again, not yet told to the source.
    pub releasable: Option<Offset>,
}

impl fmt::Debug for MicroBatchExecution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, next_batch) = (&self.name, self.next_batch);
        f.debug_struct("MicroBatchExecution")
            .field("name", name)
            .field("next_batch", &next_batch)
            .finish_non_exhaustive()
    }
}

/// A batch that is about to run.
struct Batch {
    header: BatchHeader,
    /// The record's hash, if the record is in the log already.
    logged: Option<u32>,
    latest: Vec<Offset>,
    timings: Timings,
}

impl MicroBatchExecution {
    /// Runs the next batch, with or without data, if one is due; `false` if there is nothing to do.
    ///
    /// # Errors
    /// Anything that fails a batch. The state is as before the batch, and the execution is at its end: open it again
    /// from the checkpoint.
    pub async fn run_batch(&mut self) -> Result<bool> {
        if let Some(e) = &self.failure {
            return Err(e.clone());
        }
        let result = self.try_run_batch().await;
        if let Err(e) = &result {
            self.plan.operators.iter().for_each(|o| o.abort());
            self.failure = Some(e.clone());
        }
        result
    }

    async fn try_run_batch(&mut self) -> Result<bool> {
        let Some(batch) = self.next().await? else { return Ok(false) };
        let id = batch.header.batch_id;
        self.run(batch).await.map_err(|e| e.with_place(format!("batch {id}")))
    }

    /// The batch to run: the one a crash left over, or one with what the sources have now.
    async fn next(&mut self) -> Result<Option<Batch>> {
        if let Some(pending) = self.pending.take() {
            let latest = pending.header.sources.iter().map(|s| s.end.clone()).collect();
            let timings = Timings::start();
            return Ok(Some(Batch { header: pending.header, logged: Some(pending.hash), latest, timings }));
        }
        let mut timings = Timings::start();
        let mut ranges = vec![];
        for s in &self.sources {
            let place = |e: Error| e.with_place(format!("stream '{}'", s.name));
            let mut halted = self.halt.subscribe();
            let end = tokio::select! {
                biased;
                end = s.source.latest_offset(&s.position, self.schedule.limit()) => end.map_err(place)?,
                _ = halted.wait_for(|halted| *halted) => return Ok(None),
            };
            let end = end.unwrap_or_else(|| s.position.clone());
            ranges.push(SourceRange { name: s.name.clone(), start: s.position.clone(), end });
        }
        timings.end("latestOffset");
        self.look_for_idle(&ranges);
        let is_first = self.next_batch == 0 && self.sources.iter().any(|s| s.source.begins_with_a_batch());
        if ranges.iter().all(|r| r.start == r.end) && !self.wants_no_data_batch() && !is_first {
            return Ok(None);
        }
        let header = BatchHeader {
            batch_id: self.next_batch,
            // A wall clock that is set back must not take the query's time with it.
            batch_timestamp_ms: self.env.clock.now_ms().max(self.timestamp_ms),
            batch_watermark_ms: self.watermark_ms,
            next_watermark_ms: self.watermark_ms,
            sources: ranges,
            num_input_rows: 0,
            conf: self.kept_conf(),
        };
        let ends = self.sources.iter().zip(&header.sources);
        let latest = ends.map(|(s, range)| s.source.latest_known().unwrap_or_else(|| range.end.clone())).collect();
        Ok(Some(Batch { header, logged: None, latest, timings }))
    }

    /// An input that has become idle may let the watermark move without a batch.
    fn look_for_idle(&mut self, ranges: &[SourceRange]) {
        let planned = ranges.iter().zip(&self.sources).map(|(range, source)| PlannedInput {
            name: &range.name,
            has_rows: range.start != range.end,
            partitions: source.source.partitions(&range.start, &range.end),
        });
        self.inputs.look(&planned.collect::<Vec<_>>());
        if !self.inputs.is_used() {
            return;
        }
        self.watermark_ms = self.plan.event_times.advance(self.watermark_ms, self.conf.policy, &self.inputs.idle());
    }

    /// Whether the watermark has moved past what the last batch did for some operator, or time has.
    fn wants_no_data_batch(&self) -> bool {
        self.watermark_wants_batch() || self.next_due_ms().is_some_and(|due| due <= self.env.clock.now_ms())
    }

    fn watermark_wants_batch(&self) -> bool {
        let moved = |seen: &InputWatermark| seen.at(self.watermark_ms) > seen.at(self.late_watermark_ms);
        let mut operators = self.plan.operators.iter().zip(&self.plan.input_watermarks);
        self.schedule.follows_watermark() && operators.any(|(operator, seen)| operator.wants_batch() && moved(seen))
    }

    /// Whether the last batch read nothing, and only the passing of time can be reason for the next.
    pub(super) fn waits_for_time_only(&self) -> bool {
        let read_nothing =
            self.progress.back().is_some_and(|p| p.sources.iter().all(|s| s.start_offset == s.end_offset));
        read_nothing && !self.watermark_wants_batch()
    }

    /// When processing time alone is reason for a batch.
    fn next_due_ms(&self) -> Option<i64> {
        let waiting = self.plan.operators.iter().filter(|o| o.uses_processing_time());
        self.schedule.due_ms(self.next_batch, waiting.map(|o| o.next_due_ms()))
    }

    /// Settings that later runs must keep.
    fn kept_conf(&self) -> BTreeMap<String, String> {
        self.plan.event_times.is_used().then(|| self.conf.kept()).into_iter().collect()
    }

    /// Runs a batch to its end; `false` if the query is to stop and the batch could only wait.
    async fn run(&mut self, mut batch: Batch) -> Result<bool> {
        let rows = self.read(&batch.header).await?;
        batch.timings.end("getBatch");
        let computed = tokio::select! {
            biased;
            computed = self.compute(&batch.header, rows) => Some(computed?),
            () = self.is_given_up() => None,
        };
        let Some(output_rows) = computed else {
            self.plan.operators.iter().for_each(|o| o.abort());
            return Ok(false);
        };
        let read: u64 = self.sources.iter().map(|s| s.slots.iter().map(|s| s.rows()).sum::<u64>()).sum();
        batch.timings.end("addBatch");
        self.env.failpoints.hit("after_batch")?;
        let (streams, partitions) = self.plan.event_times.seen();
        self.inputs.end(&streams, &partitions);
        // A batch that runs again computes the same, which the log has already.
        let next_watermark_ms =
            self.plan.event_times.advance(batch.header.batch_watermark_ms, self.conf.policy, &self.inputs.idle());
        if batch.logged.is_none() {
            batch.header.next_watermark_ms = next_watermark_ms;
        }

        let identity = self.log(&mut batch, read).await?;
        batch.timings.end("walCommit");
        self.release().await?;
        self.env.failpoints.hit("before_sink_commit")?;
        tokio::select! {
            biased;
            committed = self.sink.commit(identity) => committed?,
            // The batch is in the log, and is committed by the next run.
            () = self.is_given_up() => return Ok(false),
        }
        self.env.failpoints.hit("after_sink_commit")?;
        self.env.failpoints.hit("before_commit_log")?;
        self.checkpoint.append_commit(identity.batch_id)?;
        self.env.failpoints.hit("after_commit_log")?;

        self.count_losses(&batch.header, read);
        for (s, range) in self.sources.iter_mut().zip(&batch.header.sources) {
            s.position = range.end.clone();
            s.releasable = Some(range.end.clone());
        }
        self.next_batch = batch.header.batch_id + 1;
        self.watermark_ms = batch.header.next_watermark_ms;
        self.late_watermark_ms = batch.header.batch_watermark_ms;
        self.timestamp_ms = batch.header.batch_timestamp_ms;
        batch.timings.end("commitOffsets");
        self.report(&batch, output_rows);
        self.snapshot_if_due(&batch.header)?;
        Ok(true)
    }

    /// Returns once the query is to stop while a source waits for rows that do not come, or the sink for a server.
    async fn is_given_up(&self) {
        let mut halted = self.halt.subscribe();
        let is_halted = halted.wait_for(|halted| *halted).await.is_ok();
        while !is_halted || !(self.sink.is_waiting() || self.sources.iter().any(|s| s.source.is_waiting())) {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Puts what the batch reads into the slots of the plan; about how many rows there are, if known.
    async fn read(&self, header: &BatchHeader) -> Result<Option<usize>> {
        let mut total = Some(0);
        for (s, range) in self.sources.iter().zip(&header.sources) {
            let mut scan = None;
            if range.start != range.end {
                let found = s.source.scan(&range.start, &range.end).await;
                let found =
                    found.map_err(|e| e.with_place(format!("stream '{}', batch {}", s.name, header.batch_id)))?;
                total = total.zip(found.num_rows()).map(|(a, b)| a + b * s.slots.len());
                scan = Some(found);
            }
            s.slots.iter().for_each(|slot| slot.fill(scan.clone()));
        }
        Ok(total)
    }

    /// Executes the plan and gives the rows to the sink, which shows nothing of them yet.
    async fn compute(&self, header: &BatchHeader, rows: Option<usize>) -> Result<Option<u64>> {
        self.time.set(header.batch_timestamp_ms);
        self.plan.event_times.begin();
        let plan = match rows {
            Some(rows) if rows < PARALLEL_ROWS => &self.plan.serial,
            _ => &self.plan.parallel,
        };
        let plan = reset_plan_states(plan.clone())?;
        let batch = BatchContext {
            batch_id: header.batch_id,
            watermark_ms: header.batch_watermark_ms,
            late_watermark_ms: self.late_watermark_ms,
            timestamp_ms: header.batch_timestamp_ms,
            query: (self.query_id, self.run_id),
        };
        let task = Arc::new(self.task(batch));
        let rows = execute(&plan, &task, &self.sink_schema)?;
        let prepared = self.sink.prepare(header.batch_id, rows).await;
        // An idle query does not hold the rows of its last batch.
        self.sources.iter().flat_map(|s| &s.slots).for_each(|slot| slot.release());
        prepared
    }

    fn task(&self, batch: BatchContext) -> TaskContext {
        let state = &self.plan.state;
        let instant = TriggerInstant { batch_id: batch.batch_id, timestamp_ms: batch.timestamp_ms };
        let config = state.config().clone().with_extension(Arc::new(batch)).with_extension(Arc::new(instant));
        // A physical plan holds its functions: the session's hundreds of them need not be copied for every batch.
        let (id, runtime) = (state.session_id().to_string(), state.runtime_env().clone());
        TaskContext::new(None, id, config, HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new(), runtime)
    }

    /// Makes the batch durable. A batch that runs again is in the log already.
    async fn log(&self, batch: &mut Batch, read: u64) -> Result<BatchIdentity> {
        let batch_id = batch.header.batch_id;
        if let Some(record_hash) = batch.logged {
            let is_whole = self.sources.iter().flat_map(|s| &s.slots).all(|slot| slot.is_whole());
            if is_whole && read != batch.header.num_input_rows {
                let was = batch.header.num_input_rows;
                return Err(Error::execution(
                    "SOURCE_CHANGED",
                    format!("batch {batch_id} read {was} rows before the crash and {read} now, of the same offsets"),
                )
                .with_help("the source does not give the same rows again; what it gave first is lost"));
            }
            self.publish()?;
            return Ok(BatchIdentity { batch_id, record_hash });
        }
        batch.header.num_input_rows = read;
        let mut changes: Vec<(u32, StateChange)> = vec![];
        for (id, operator) in self.plan.operators.iter().enumerate() {
            changes.extend(operator.staged()?.into_iter().map(|c| (id as u32, c)));
        }
        self.env.failpoints.hit("before_offset_log")?;
        let record = BatchRecord { header: batch.header.clone(), changes };
        let appended = self.checkpoint.append_batch(&record)?;
        // The first poll sets the disk to work, and state is published meanwhile. Nobody sees it before the batch is
        // done: if the disk fails, it is gone.
        let mut durable = pin!(maybe_done(self.checkpoint.wait_durable(appended.lsn)));
        let _ = poll!(durable.as_mut());
        self.publish()?;
        durable.as_mut().await;
        durable.take_output().transpose()?;
        self.env.failpoints.hit("after_offset_log")?;
        Ok(BatchIdentity { batch_id, record_hash: appended.hash })
    }

    fn publish(&self) -> Result<()> {
        self.plan.operators.iter().try_for_each(|o| o.publish())
    }

    /// Tells the sources what will never be asked for again: a batch whose successor is durable does not run again.
    async fn release(&mut self) -> Result<()> {
        for s in &mut self.sources {
            if let Some(end) = s.releasable.take() {
                s.source.commit(&end).await.map_err(|e| e.with_place(format!("stream '{}'", s.name)))?;
            }
        }
        Ok(())
    }

    /// Counts what the batch left out, and warns of it.
    fn count_losses(&mut self, header: &BatchHeader, read: u64) {
        let sources = self.sources.iter().zip(&header.sources);
        let sources = sources.map(|(s, range)| SourceSeen { source: s.source.as_ref(), range });
        let dropped = |o: &Arc<dyn StatefulOperator>| (o.operator_name(), o.metrics().rows_dropped_by_watermark);
        self.losses.count(read, sources, self.plan.operators.iter().map(dropped), self.late_watermark_ms);
        self.losses.say(self.name.as_deref().unwrap_or_default(), header.batch_id);
    }

    fn report(&mut self, batch: &Batch, output_rows: Option<u64>) {
        let sources = self.sources.iter().zip(&batch.header.sources).zip(&batch.latest).map(|((s, range), latest)| {
            let rows = s.slots.iter().map(|s| s.rows()).sum();
            SourceFigures { source: s.source.as_ref(), range, latest, rows }
        });
        let operators = self.plan.operators.iter().map(|o| (o.operator_name(), o.metrics(), o.custom_metrics()));
        let mut progress = self.progress_builder.build(
            &batch.header,
            &batch.timings,
            sources.collect(),
            operators.collect(),
            (self.sink.description(), output_rows),
            self.plan.event_times.is_used().then(|| self.plan.event_times.batch()),
        );
        progress.waiting = self.waiting();
        let (name, rows) = (self.name.as_deref().unwrap_or_default(), progress.num_input_rows);
        tracing::debug!(query = name, batch = batch.header.batch_id, rows, "done");
        if self.progress.len() == RECENT_PROGRESS {
            self.progress.pop_front();
        }
        self.progress.push_back(Arc::new(progress));
    }

    /// What the next batch waits for, if the query has a watermark.
    fn waiting(&self) -> Option<Waiting> {
        let times = &self.plan.event_times;
        let inputs = || times.states(self.conf.policy, &self.inputs.idle());
        times
            .is_used()
            .then(|| Waiting::new(self.watermark_ms, inputs(), &self.plan.operators, &self.losses.late_rows()))
    }

    fn snapshot_if_due(&self, header: &BatchHeader) -> Result<()> {
        if !self.checkpoint.is_snapshot_due(self.conf.snapshot_log_bytes) {
            return Ok(());
        }
        let frozen = self.plan.operators.iter().enumerate().map(|(id, o)| Ok((id as u32, o.freeze()?)));
        self.checkpoint.begin_snapshot(header.clone(), frozen.collect::<Result<Vec<_>>>()?)?;
        Ok(())
    }

    /// Returns when a source may have rows, at the latest when a source wants to be asked or a timer is due.
    pub async fn wait_for_data(&self) {
        let poll = self.sources.iter().filter_map(|s| s.source.poll_interval()).min();
        let woken = async {
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.inputs.next() => {}
            }
        };
        let data = async {
            match poll {
                Some(poll) => {
                    let _ = tokio::time::timeout(poll.max(POLL), woken).await;
                }
                None => woken.await,
            }
        };
        match self.next_due_ms() {
            Some(due) => {
                tokio::select! {
                    () = data => {}
                    () = self.env.clock.sleep_until(due) => {}
                }
            }
            None => data.await,
        }
    }

    /// Whether no later batch can give a row: the query is at its end.
    pub fn is_done(&self) -> bool {
        self.plan.is_done() && self.pending.is_none()
    }

    /// Set to `true`, it ends the wait of [`MicroBatchExecution::run_batch`] for a source that does not answer.
    pub fn halt(&self) -> watch::Sender<bool> {
        self.halt.clone()
    }

    /// Wakes `wait_for_data`.
    pub fn waker(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// The global watermark the next batch would run with, in milliseconds since the epoch.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// Progress of the batches of this run, oldest first (the last 100).
    pub fn recent_progress(&self) -> Vec<Arc<StreamingQueryProgress>> {
        self.progress.iter().cloned().collect()
    }

    /// Progress of the last batch.
    pub fn last_progress(&self) -> Option<Arc<StreamingQueryProgress>> {
        self.progress.back().cloned()
    }

    /// Stable over restarts from one checkpoint.
    pub fn id(&self) -> Uuid {
        self.query_id
    }

    /// New at every start.
    pub fn run_id(&self) -> Uuid {
        self.run_id
    }

    /// The plan as text.
    pub fn explain(&self, extended: bool) -> String {
        self.plan.explain(extended)
    }

    /// Descriptions of the sources, for status messages.
    pub fn source_descriptions(&self) -> Vec<String> {
        self.sources.iter().map(|s| s.source.description()).collect()
    }

    /// Closes everything. Dropping instead is a crash: nothing is flushed.
    pub async fn close(self) -> Result<()> {
        let Self { sink, sources, checkpoint, temporary, name, next_batch, losses, .. } = self;
        losses.end(name.as_deref().unwrap_or_default(), next_batch);
        let mut results = vec![sink.abort().await, sink.close().await];
        for s in &sources {
            results.push(s.source.stop().await);
        }
        results.push(checkpoint.close().await);
        drop(temporary);
        results.into_iter().collect()
    }
}
