//! A running query: the loop that triggers its batches, and the handle that its owner holds.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::Environment;
use super::execution::MicroBatchExecution;
use super::listener::{Listeners, QueryIdle, QueryStarted, QueryTerminated};
use super::progress::{StreamingQueryProgress, StreamingQueryStatus, iso_timestamp};
use crate::error::{Error, Result};
use crate::time::Clock;
use crate::trigger::Trigger;

const IDLE_EVENT_MS: i64 = 10_000;
const RECENT_PROGRESS: usize = 100;

/// A query that runs, or ran. Clones are the same query.
#[derive(Clone)]
pub struct StreamingQuery(Arc<Shared>);

struct Shared {
    id: Uuid,
    run_id: Uuid,
    name: Option<String>,
    plan: String,
    extended_plan: String,
    status: Mutex<StreamingQueryStatus>,
    progress: Mutex<VecDeque<Arc<StreamingQueryProgress>>>,
    /// `None` while it runs.
    end: watch::Sender<Option<Result<()>>>,
    /// Whether it is to end.
    halt: watch::Sender<bool>,
    wake: Arc<Notify>,
    checks_started: AtomicU64,
    /// The last look at the sources that found nothing to do.
    idle_check: watch::Sender<u64>,
}

impl fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQuery").field("name", &self.0.name).field("id", &self.0.id).finish_non_exhaustive()
    }
}

impl StreamingQuery {
    /// Runs `execution` until it ends, on a task of its own.
    pub(super) fn spawn(
        execution: MicroBatchExecution,
        name: Option<String>,
        trigger: Trigger,
        env: &Environment,
        listeners: Arc<Listeners>,
    ) -> Self {
        let query = Self(Arc::new(Shared {
            id: execution.id(),
            run_id: execution.run_id(),
            name,
            plan: execution.explain(false),
            extended_plan: execution.explain(true),
            status: Mutex::new(StreamingQueryStatus {
                message: "Initializing sources".into(),
                is_data_available: false,
                is_trigger_active: false,
            }),
            progress: Mutex::default(),
            end: watch::Sender::new(None),
            halt: execution.halt(),
            wake: execution.waker(),
            checks_started: AtomicU64::new(0),
            idle_check: watch::Sender::new(0),
        }));
        let clock = env.clock.clone();
        let (id, run_id, name) = (query.id(), query.run_id(), query.0.name.clone());
        listeners.started(&QueryStarted { id, run_id, name, timestamp: iso_timestamp(clock.now_ms()) });
        let driver = Driver { query: query.clone(), execution, trigger, clock, listeners, idle_since_ms: 0 };
        tokio::spawn(driver.run());
        query
    }

    /// The query's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Stable over restarts from one checkpoint.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// New at every start.
    pub fn run_id(&self) -> Uuid {
        self.0.run_id
    }

    /// Whether it has neither stopped nor failed.
    pub fn is_active(&self) -> bool {
        self.0.end.borrow().is_none()
    }

    /// What it is doing now.
    pub fn status(&self) -> StreamingQueryStatus {
        self.0.status.lock().clone()
    }

    /// The last progress, if there is one.
    pub fn last_progress(&self) -> Option<Arc<StreamingQueryProgress>> {
        self.0.progress.lock().back().cloned()
    }

    /// The progress of the last 100 batches, oldest first.
    pub fn recent_progress(&self) -> Vec<Arc<StreamingQueryProgress>> {
        self.0.progress.lock().iter().cloned().collect()
    }

    /// Why it failed, if it did.
    pub fn exception(&self) -> Option<Error> {
        self.0.end.borrow().as_ref().and_then(|end| end.as_ref().err().cloned())
    }

    /// The physical plan; with `extended`, the logical one too.
    pub fn explain(&self, extended: bool) -> &str {
        if extended { &self.0.extended_plan } else { &self.0.plan }
    }

    /// Returns when the query has ended.
    ///
    /// # Errors
    /// What the query failed with.
    pub async fn await_termination(&self) -> Result<()> {
        let mut end = self.0.end.subscribe();
        let end = end.wait_for(Option::is_some).await;
        end.map_err(|_| Error::internal("the query's end was lost"))?.clone().unwrap_or(Ok(()))
    }

    /// The same, for at most `timeout`; whether it has ended.
    ///
    /// # Errors
    /// What the query failed with.
    pub async fn await_termination_timeout(&self, timeout: Duration) -> Result<bool> {
        match tokio::time::timeout(timeout, self.await_termination()).await {
            Ok(end) => end.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Returns when everything that is available now has been processed and is in the sink.
    ///
    /// # Errors
    /// What the query failed with, if it ends before.
    pub async fn process_all_available(&self) -> Result<()> {
        // A look that started before this call may have missed the newest rows: the next one has not.
        let enough = self.0.checks_started.load(Ordering::SeqCst) + 1;
        self.0.wake.notify_one();
        let mut idle = self.0.idle_check.subscribe();
        tokio::select! {
            _ = idle.wait_for(|check| *check >= enough) => Ok(()),
            end = self.await_termination() => end,
        }
    }

    /// Ends the query: the running batch ends, everything is closed. A stopped query does not restart.
    ///
    /// # Errors
    /// Only what closing failed with; a query that has failed before stays as it is.
    pub async fn stop(&self) -> Result<()> {
        let active = self.is_active();
        self.request_stop();
        let end = self.await_termination().await;
        if active { end } else { Ok(()) }
    }

    /// Asks the query to end, and returns at once.
    pub fn request_stop(&self) {
        self.0.halt.send_replace(true);
        self.0.wake.notify_one();
    }

    fn is_stopping(&self) -> bool {
        *self.0.halt.borrow()
    }

    fn set_status(&self, message: impl Into<String>, is_data_available: bool, is_trigger_active: bool) {
        *self.0.status.lock() = StreamingQueryStatus { message: message.into(), is_data_available, is_trigger_active };
    }
}

/// The task of a query.
struct Driver {
    query: StreamingQuery,
    execution: MicroBatchExecution,
    trigger: Trigger,
    clock: Clock,
    listeners: Arc<Listeners>,
    idle_since_ms: i64,
}

impl Driver {
    async fn run(mut self) {
        self.idle_since_ms = self.clock.now_ms();
        // A panic of a user's function or of a library ends this query, and no other.
        let result =
            AssertUnwindSafe(self.trigger_batches()).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&panic)));
        let Self { query, execution, listeners, .. } = self;
        let closed =
            AssertUnwindSafe(execution.close()).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&panic)));
        let end = result.and(closed);
        match &end {
            Ok(()) => query.set_status("Stopped", false, false),
            Err(e) => query.set_status(format!("Terminated with exception: {e}"), false, false),
        }
        let exception = end.as_ref().err().cloned();
        query.0.end.send_replace(Some(end));
        listeners.terminated(&QueryTerminated { id: query.id(), run_id: query.run_id(), exception });
    }

    async fn trigger_batches(&mut self) -> Result<()> {
        while !self.query.is_stopping() && !self.execution.is_done() {
            let due = self.trigger.next_ms(self.clock.now_ms());
            let ran = self.run_one().await?;
            match self.trigger {
                Trigger::Once => return Ok(()),
                Trigger::AvailableNow if !ran => return Ok(()),
                Trigger::AvailableNow => {}
                Trigger::Default | Trigger::Continuous(_) if ran => {}
                Trigger::Default | Trigger::Continuous(_) => self.wait_for_data().await,
                Trigger::ProcessingTime(_) => self.wait_for(due).await,
            }
        }
        self.execution.flush().await?;
        self.publish_progress();
        Ok(())
    }

    async fn run_one(&mut self) -> Result<bool> {
        let check = self.query.0.checks_started.fetch_add(1, Ordering::SeqCst) + 1;
        self.query.set_status("Processing new data", true, true);
        let ran = self.execution.run_batch().await;
        self.publish_progress();
        let ran = ran?;
        if !ran {
            self.report_idle();
        }
        if self.execution.is_settled() && (!ran || self.execution.waits_for_time_only()) {
            self.query.0.idle_check.send_replace(check);
        }
        let message = match self.trigger {
            Trigger::ProcessingTime(_) => "Waiting for next trigger",
            _ => "Waiting for data to arrive",
        };
        self.query.set_status(message, false, false);
        Ok(ran)
    }

    fn publish_progress(&mut self) {
        for progress in self.execution.take_news() {
            self.idle_since_ms = self.clock.now_ms();
            let mut recent = self.query.0.progress.lock();
            if recent.len() == RECENT_PROGRESS {
                recent.pop_front();
            }
            recent.push_back(progress.clone());
            drop(recent);
            self.listeners.progress(&progress);
        }
    }

    fn report_idle(&mut self) {
        let now = self.clock.now_ms();
        if now - self.idle_since_ms >= IDLE_EVENT_MS {
            self.idle_since_ms = now;
            let (id, run_id) = (self.query.id(), self.query.run_id());
            self.listeners.idle(&QueryIdle { id, run_id, timestamp: iso_timestamp(now) });
        }
    }

    async fn wait_for_data(&self) {
        if !self.query.is_stopping() {
            self.execution.wait_for_data().await;
        }
    }

    /// Waits until `due_ms`; a batch that took longer is followed at once.
    async fn wait_for(&self, due_ms: i64) {
        let mut halted = self.query.0.halt.subscribe();
        tokio::select! {
            () = self.clock.sleep_until(due_ms) => {}
            _ = halted.wait_for(|halted| *halted) => {}
        }
    }
}

/// The error for a panic of a user's function or of a library.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into());
    Error::execution("USER_FUNCTION_PANIC", format!("a function panicked while a batch ran: {text}"))
        .with_help("the state is as before the batch; mend the function and restart from the checkpoint")
}
