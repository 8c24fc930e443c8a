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

mod under_way;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::future::maybe_done;
use futures::{FutureExt, poll};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::Environment;
use super::ahead::Ahead;
use super::conf::QueryConf;
use super::durability::Durability;
use super::idle::{IdleInputs, PlannedInput};
use super::in_flight::{HandOver, InFlight};
use super::losses::{Losses, SourceSeen};
use super::output::{Collected, collect, execute};
use super::progress::{ProgressBuilder, SourceFigures, StreamingQueryProgress, Timings};
use super::recovery::Pending;
use super::schedule::Schedule;
use super::waiting::Waiting;
use crate::checkpoint::{BatchHeader, BatchRecord, Checkpoint, SourceRange};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::operator::{BatchContext, InputWatermark, StatefulOperator};
use crate::plan::{Slot, StreamPlan, TriggerTime};
use crate::sink::{BatchIdentity, BatchRows, Sink};
use crate::source::Source;
use crate::state::{StateBackend, StateChange};
use crate::trigger::{Delivery, TriggerInstant};

/// Rows of a batch from which the parallel plan pays.
const PARALLEL_ROWS: usize = 50_000;
/// How often an idle query looks at a source that neither notifies nor says how often (Spark's `pollingDelay`).
const POLL: Duration = Duration::from_millis(10);
/// How often a query that is to stop in the middle of a batch looks whether the batch can go on.
const GLANCE: Duration = Duration::from_millis(100);
const RECENT_PROGRESS: usize = 100;
/// Bytes of a batch's output that is held until its record is durable; a longer one goes to the sink as it is computed.
const HELD_BYTES: usize = 8 << 20;

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
    pub(super) checkpoint: Arc<Checkpoint>,
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
    /// Batches that a crash left in the log without their output, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// Batches on their way to the sink, if rows are handed over as they arrive and each is shown once it is durable.
    pub(super) in_flight: Option<InFlight>,
    /// Those batches, oldest first: progress, and ends of their ranges.
    pub(super) unreported: VecDeque<(StreamingQueryProgress, Vec<Offset>)>,
    /// If rows are handed over as they arrive.
    pub(super) durability: Option<Durability>,
    /// Whether the last batch read no rows.
    pub(super) read_nothing: bool,
    pub(super) wake: Arc<Notify>,
    /// Set once the query is to end: a source that waits for the world outside is waited for no longer.
    pub(super) halt: watch::Sender<bool>,
    pub(super) progress: VecDeque<Arc<StreamingQueryProgress>>,
    /// The newest of them, which nobody has taken yet.
    pub(super) num_news: usize,
    pub(super) progress_builder: ProgressBuilder,
    pub(super) failure: Option<Error>,
}

crate::send_sync::send_sync!(MicroBatchExecution {
    env,
    name,
    run_id,
    query_id,
    plan,
    time,
    sources,
    sink,
    sink_schema,
    checkpoint,
    temporary,
    next_batch,
    watermark_ms,
    late_watermark_ms,
    conf,
    schedule,
    inputs,
    losses,
    timestamp_ms,
    pending,
    in_flight,
    unreported,
    durability,
    read_nothing,
    wake,
    halt,
    progress,
    num_news,
    progress_builder,
    failure
});

/// A source of a running query.
pub(super) struct RunningSource {
    pub name: String,
    pub source: Arc<dyn Source>,
    pub slots: Vec<Arc<Slot>>,
    /// Rows of batches to come.
    pub ahead: Ahead,
    /// End of the last batch.
    pub position: Offset,
    /// End of the batch before it, if both are of this run.
    pub previous: Option<Offset>,
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

/// What became of the rows of a batch.
enum Output {
    /// The sink has prepared them, if it counts so many.
    Prepared(Option<u64>),
    /// They are here, with their bytes.
    Held(Vec<datafusion::arrow::array::RecordBatch>, usize),
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
            // The batches before the one that failed are the sink's.
            let _ = self.drain().await;
            self.failure = Some(e.clone());
        }
        result
    }

    async fn try_run_batch(&mut self) -> Result<bool> {
        self.take_done()?;
        self.keep_durable().await?;
        if let Some(in_flight) = &self.in_flight
            && self.unless_given_up(in_flight.room().map(Ok::<_, Error>)).await?.is_none()
        {
            return Ok(false);
        }
        let Some(batch) = self.next().await? else { return Ok(false) };
        let id = batch.header.batch_id;
        self.run(batch).await.map_err(|e| e.with_place(format!("batch {id}")))
    }

    /// The batch to run: the one a crash left over, or one with what the sources have now.
    async fn next(&mut self) -> Result<Option<Batch>> {
        if let Some(pending) = self.pending.pop_front() {
            let latest = pending.header.sources.iter().map(|s| s.end.clone()).collect();
            let timings = Timings::start();
            return Ok(Some(Batch { header: pending.header, logged: Some(pending.hash), latest, timings }));
        }
        let mut timings = Timings::start();
        let mut ranges = vec![];
        for s in &self.sources {
            let place = |e: Error| e.with_place(format!("stream '{}'", s.name));
            let mut halted = self.halt.subscribe();
            let newest = async {
                match self.durability {
                    Some(_) => s.source.arrived(&s.position).await,
                    None => s.source.latest_offset(&s.position, self.schedule.limit()).await,
                }
            };
            let end = tokio::select! {
                biased;
                end = newest => end.map_err(place)?,
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
        self.read_nothing && !self.watermark_wants_batch()
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

    /// Runs a batch to its end, or until it is in flight; `false` if the query is to stop and the batch could only wait.
    async fn run(&mut self, mut batch: Batch) -> Result<bool> {
        let rows = self.read(&batch.header).await?;
        batch.timings.end("getBatch");
        let Some(output) = self.compute(&batch, rows).await? else {
            self.plan.operators.iter().for_each(|o| o.abort());
            return Ok(false);
        };
        self.check_state()?;
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

        for s in self.sources.iter().zip(&batch.header.sources).filter(|(_, r)| r.start != r.end).map(|(s, _)| s) {
            s.source.settled().await.map_err(|e| e.with_place(format!("stream '{}'", s.name)))?;
        }
        let (identity, lsn) = self.log(&mut batch, read)?;
        match output {
            Output::Held(rows, bytes) => {
                self.checkpoint.request_durable(lsn);
                self.publish()?;
                batch.timings.end("walCommit");
                self.advance(&batch, read);
                let report = self.report(&batch, None);
                let ends = batch.header.sources.iter().map(|s| s.end.clone());
                self.unreported.push_back((report, ends.collect()));
                let in_flight = self.in_flight.as_ref().ok_or_else(|| Error::internal("nothing can be in flight"))?;
                in_flight.push(HandOver { identity, lsn, rows, bytes });
            }
            Output::Prepared(output_rows) => {
                match batch.logged {
                    Some(_) => self.publish()?,
                    None => self.publish_durable(lsn).await?,
                }
                batch.timings.end("walCommit");
                self.release().await?;
                if !self.commit(identity).await? {
                    return Ok(false);
                }
                self.advance(&batch, read);
                match &mut self.durability {
                    Some(d) => d.acknowledge(batch.header.sources.iter().map(|s| s.end.clone()).collect(), read),
                    None => self.sources.iter_mut().for_each(|s| s.releasable = Some(s.position.clone())),
                }
                batch.timings.end("commitOffsets");
                let report = self.report(&batch, output_rows);
                self.remember(report);
            }
        }
        self.snapshot_if_due(&batch.header).await?;
        Ok(true)
    }

    /// State that should be in files and could not be there is an error, though it found a place: it would fill the memory.
    fn check_state(&self) -> Result<()> {
        let backend = self.plan.state.config().get_extension::<StateBackend>();
        backend.map_or(Ok(()), |backend| backend.check())
    }

    /// While this batch runs, the rows of the next ones are read, as many at a time as there are partitions.
    fn read_ahead(&mut self) {
        let state = &self.plan.state;
        let task = || Arc::new(TaskContext::from(state));
        for s in &mut self.sources {
            s.ahead.look(s.source.as_ref(), &s.slots, state.config().target_partitions(), task);
        }
    }

    /// Executes the plan and gives the rows to the sink, which shows nothing of them yet, or holds them; `None` if the query is to stop
    /// and could only wait.
    async fn compute(&mut self, batch: &Batch, rows: Option<usize>) -> Result<Option<Output>> {
        let is_small = rows.is_some_and(|rows| rows < PARALLEL_ROWS);
        let mut output = self.execute(&batch.header, is_small)?;
        if is_small && batch.logged.is_none() && self.in_flight.is_some() {
            match self.unless_given_up(collect(output, HELD_BYTES)).await? {
                None => return Ok(None),
                Some(Collected::All(rows, bytes)) => {
                    self.release_slots();
                    return Ok(Some(Output::Held(rows, bytes)));
                }
                Some(Collected::More(rows)) => output = rows,
            }
        }
        if !self.drain().await? {
            return Ok(None);
        }
        let prepared = self.unless_given_up(self.sink.prepare(batch.header.batch_id, output)).await?;
        self.release_slots();
        Ok(prepared.map(Output::Prepared))
    }

    /// An idle query does not hold the rows of its last batch.
    fn release_slots(&self) {
        self.sources.iter().flat_map(|s| &s.slots).for_each(|slot| slot.release());
    }

    /// Makes the batch visible and says so in the log; `false` if the query is to stop and the sink waits. The batch is then committed by
    /// the next run.
    async fn commit(&self, identity: BatchIdentity) -> Result<bool> {
        let failpoints = &self.env.failpoints;
        failpoints.hit("before_sink_commit")?;
        if self.unless_given_up(self.sink.commit(identity)).await?.is_none() {
            return Ok(false);
        }
        failpoints.hit("after_sink_commit")?;
        failpoints.hit("before_commit_log")?;
        self.checkpoint.append_commit(identity.batch_id)?;
        failpoints.hit("after_commit_log")?;
        Ok(true)
    }

    /// The next batch builds on this one.
    fn advance(&mut self, batch: &Batch, read: u64) {
        self.count_losses(&batch.header, read);
        for (s, range) in self.sources.iter_mut().zip(&batch.header.sources) {
            s.previous = Some(std::mem::replace(&mut s.position, range.end.clone()));
        }
        self.read_nothing = batch.header.sources.iter().all(|s| s.start == s.end);
        self.next_batch = batch.header.batch_id + 1;
        self.watermark_ms = batch.header.next_watermark_ms;
        self.late_watermark_ms = batch.header.batch_watermark_ms;
        self.timestamp_ms = batch.header.batch_timestamp_ms;
    }

    /// The result of `future`; `None` if the query is to stop while a source or the sink waits.
    async fn unless_given_up<T, E: Into<Error>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<Option<T>> {
        tokio::select! {
            biased;
            result = future => result.map(Some).map_err(Into::into),
            () = self.is_given_up() => Ok(None),
        }
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
    async fn read(&mut self, header: &BatchHeader) -> Result<Option<usize>> {
        let mut total = Some(0);
        for (s, range) in self.sources.iter_mut().zip(&header.sources) {
            let mut scan = None;
            if range.start != range.end {
                let found = s.source.scan(&range.start, &range.end).await;
                let found =
                    found.map_err(|e| e.with_place(format!("stream '{}', batch {}", s.name, header.batch_id)))?;
                let found = s.ahead.take(found).await;
                total = total.zip(found.num_rows()).map(|(a, b)| a + b * s.slots.len());
                scan = Some(found);
            }
            s.slots.iter().for_each(|slot| slot.fill(scan.clone()));
        }
        self.read_ahead();
        Ok(total)
    }

    /// The rows of the batch, which are computed as they are read.
    fn execute(&self, header: &BatchHeader, is_small: bool) -> Result<BatchRows> {
        self.time.set(header.batch_timestamp_ms);
        self.plan.event_times.begin();
        let plan = if is_small { &self.plan.serial } else { &self.plan.parallel };
        let plan = reset_plan_states(plan.clone())?;
        let batch = BatchContext {
            batch_id: header.batch_id,
            watermark_ms: header.batch_watermark_ms,
            late_watermark_ms: self.late_watermark_ms,
            timestamp_ms: header.batch_timestamp_ms,
            query: (self.query_id, self.run_id),
        };
        let task = Arc::new(self.task(batch));
        Ok(execute(&plan, &task, &self.sink_schema)?)
    }

    fn task(&self, batch: BatchContext) -> TaskContext {
        let state = &self.plan.state;
        let instant = TriggerInstant { batch_id: batch.batch_id, timestamp_ms: batch.timestamp_ms };
        let config = state.config().clone().with_extension(Arc::new(batch)).with_extension(Arc::new(instant));
        // A physical plan holds its functions: the session's hundreds of them need not be copied for every batch.
        let (id, runtime) = (state.session_id().to_string(), state.runtime_env().clone());
        TaskContext::new(None, id, config, HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new(), runtime)
    }

    /// Writes the batch into the log, where one that runs again is already; its identity, and its place there.
    fn log(&self, batch: &mut Batch, read: u64) -> Result<(BatchIdentity, u64)> {
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
            return Ok((BatchIdentity { batch_id, record_hash }, 0));
        }
        batch.header.num_input_rows = read;
        let mut changes: Vec<(u32, StateChange)> = vec![];
        for (id, operator) in self.plan.operators.iter().enumerate() {
            changes.extend(operator.staged()?.into_iter().map(|c| (id as u32, c)));
        }
        self.env.failpoints.hit("before_offset_log")?;
        let record = BatchRecord { header: batch.header.clone(), changes };
        let appended = self.checkpoint.append_batch(&record)?;
        Ok((BatchIdentity { batch_id, record_hash: appended.hash }, appended.lsn))
    }

    /// Publishes state while the disk works; returns when the record is durable, unless output need not wait for that.
    async fn publish_durable(&self, lsn: u64) -> Result<()> {
        if self.durability.is_some() && self.conf.delivery == Delivery::AtLeastOnce {
            self.publish()?;
        } else {
            // The first poll sets the disk to work, and state is published meanwhile. Nobody sees it before the batch is
            // done: if the disk fails, it is gone.
            let mut durable = pin!(maybe_done(self.checkpoint.wait_durable(lsn)));
            let _ = poll!(durable.as_mut());
            self.publish()?;
            durable.as_mut().await;
            durable.take_output().transpose()?;
        }
        self.env.failpoints.hit("after_offset_log")
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

    fn report(&mut self, batch: &Batch, output_rows: Option<u64>) -> StreamingQueryProgress {
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
        progress
    }

    fn remember(&mut self, progress: StreamingQueryProgress) {
        if self.progress.len() == RECENT_PROGRESS {
            self.progress.pop_front();
        }
        self.progress.push_back(Arc::new(progress));
        self.num_news = RECENT_PROGRESS.min(self.num_news + 1);
    }

    /// Progress that was not taken yet, oldest first.
    pub(super) fn take_news(&mut self) -> Vec<Arc<StreamingQueryProgress>> {
        let known = self.progress.len() - self.num_news;
        self.num_news = 0;
        self.progress.range(known..).cloned().collect()
    }

    /// What the next batch waits for, if the query has a watermark.
    fn waiting(&self) -> Option<Waiting> {
        let times = &self.plan.event_times;
        let inputs = || times.states(self.conf.policy, &self.inputs.idle());
        times
            .is_used()
            .then(|| Waiting::new(self.watermark_ms, inputs(), &self.plan.operators, &self.losses.late_rows()))
    }

    async fn snapshot_if_due(&mut self, header: &BatchHeader) -> Result<()> {
        if !self.checkpoint.is_snapshot_due(self.conf.snapshot_log_bytes) || !self.drain().await? {
            return Ok(());
        }
        if self.durability.is_some() {
            // The log must not end before a snapshot does.
            self.checkpoint.wait_durable(self.checkpoint.last_lsn()).await?;
        }
        let frozen = self.plan.operators.iter().enumerate().map(|(id, o)| Ok((id as u32, o.freeze()?)));
        self.checkpoint.begin_snapshot(header.clone(), frozen.collect::<Result<Vec<_>>>()?)?;
        Ok(())
    }

    /// Returns when a source may have rows, at the latest when a source wants to be asked or a timer is due.
    pub async fn wait_for_data(&self) {
        let poll = self.sources.iter().filter_map(|s| s.source.poll_interval()).min();
        let durable = async {
            match self.durability.as_ref().and_then(Durability::asked) {
                // What the disk fails with is seen by whoever asks the log next.
                Some(lsn) => drop(self.checkpoint.wait_durable(lsn).await),
                None => std::future::pending().await,
            }
        };
        let woken = async {
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.inputs.next() => {}
                () = durable => {}
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
        let durability_due_ms = self.durability.as_ref().and_then(Durability::due_ms);
        match self.next_due_ms().into_iter().chain(durability_due_ms).min() {
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
        self.plan.is_done() && self.pending.is_empty()
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

    /// How often the disk was asked to make records of batches durable.
    pub fn num_syncs(&self) -> u64 {
        self.checkpoint.num_syncs()
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
    pub async fn close(mut self) -> Result<()> {
        let drained = self.drain().await;
        // A failure was said already.
        let mut results = match (&self.failure, drained) {
            (Some(_), _) => vec![],
            (None, Ok(true)) => vec![self.tell_sources().await],
            (None, drained) => vec![drained.map(|_| ())],
        };
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.abandon().await;
        }
        let Self { sink, sources, checkpoint, temporary, name, next_batch, losses, .. } = self;
        losses.end(name.as_deref().unwrap_or_default(), next_batch);
        results.extend([sink.abort().await, sink.close().await]);
        for s in &sources {
            results.push(s.source.stop().await);
        }
        results.push(checkpoint.close().await);
        drop(temporary);
        results.into_iter().collect()
    }
}
