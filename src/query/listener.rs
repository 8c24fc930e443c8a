//! What happens to queries, for those who watch: Spark's `StreamingQueryListener`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::RwLock;
use uuid::Uuid;

use super::progress::StreamingQueryProgress;

/// Gets the events of a session's queries. Called by the query's own task: return quickly.
pub trait StreamingQueryListener: Send + Sync {
    /// A query has started; called before `start` returns.
    fn on_query_started(&self, event: &QueryStarted) {
        let _ = event;
    }

    /// A batch has ended.
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        let _ = progress;
    }

    /// There has been nothing to do for ten seconds.
    fn on_query_idle(&self, event: &QueryIdle) {
        let _ = event;
    }

    /// A query has ended.
    fn on_query_terminated(&self, event: &QueryTerminated) {
        let _ = event;
    }
}

/// See [`StreamingQueryListener::on_query_started`].
#[derive(Debug, Clone)]
pub struct QueryStarted {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// The query's name.
    pub name: Option<String>,
    /// ISO 8601, UTC, milliseconds.
    pub timestamp: String,
}

/// See [`StreamingQueryListener::on_query_idle`].
#[derive(Debug, Clone)]
pub struct QueryIdle {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// ISO 8601, UTC, milliseconds.
    pub timestamp: String,
}

/// See [`StreamingQueryListener::on_query_terminated`].
#[derive(Debug, Clone)]
pub struct QueryTerminated {
    /// Stable over restarts.
    pub id: Uuid,
    /// New at every start.
    pub run_id: Uuid,
    /// Why, if it failed.
    pub exception: Option<crate::Error>,
}

/// The listeners of a session.
#[derive(Default)]
pub(super) struct Listeners(RwLock<Vec<Arc<dyn StreamingQueryListener>>>);

impl Listeners {
    pub fn add(&self, listener: Arc<dyn StreamingQueryListener>) {
        self.0.write().push(listener);
    }

    pub fn remove(&self, listener: &Arc<dyn StreamingQueryListener>) {
        self.0.write().retain(|l| !Arc::ptr_eq(l, listener));
    }

    pub fn started(&self, event: &QueryStarted) {
        self.each(|l| l.on_query_started(event));
    }

    pub fn progress(&self, progress: &Arc<StreamingQueryProgress>) {
        self.each(|l| l.on_query_progress(progress));
    }

    pub fn idle(&self, event: &QueryIdle) {
        self.each(|l| l.on_query_idle(event));
    }

    pub fn terminated(&self, event: &QueryTerminated) {
        self.each(|l| l.on_query_terminated(event));
    }

    /// Calls without the lock held, so that a listener may add or remove listeners. One that panics is no reason for a
    /// query to end.
    fn each(&self, call: impl Fn(&dyn StreamingQueryListener)) {
        let listeners = self.0.read().clone();
        for listener in &listeners {
            if catch_unwind(AssertUnwindSafe(|| call(listener.as_ref()))).is_err() {
                tracing::warn!("a listener of streaming queries panicked");
            }
        }
    }
}
