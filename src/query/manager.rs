//! The queries of a session.

use std::fmt;
use std::sync::Arc;

use futures::future::{join_all, select_all};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

use super::execution::MicroBatchExecution;
use super::listener::{Listeners, StreamingQueryListener};
use super::streaming_query::StreamingQuery;
use super::{Environment, QuerySpec};
use crate::error::{Error, Result};
use crate::plan::PreparedQuery;

/// Knows the queries of a session: [`Session::streams`](crate::Session::streams). `write_stream()` and `CREATE FLOW` start
/// them. Clones are the same manager.
#[derive(Clone, Default)]
pub struct StreamingQueryManager(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Queries started since the last `reset_terminated`, ended ones among them.
    queries: Mutex<Vec<StreamingQuery>>,
    /// Names of queries that are being started.
    starting: Mutex<Vec<String>>,
    started: Notify,
    listeners: Arc<Listeners>,
}

impl fmt::Debug for StreamingQueryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQueryManager").field("active", &self.active()).finish()
    }
}

impl StreamingQueryManager {
    /// No queries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a query, with the plan it was checked with if that would be the same now.
    ///
    /// # Errors
    /// An active query has its name; the query cannot be a stream in this mode; its checkpoint, sources or sink cannot
    /// be opened.
    pub(crate) async fn start(
        &self,
        env: &Environment,
        spec: QuerySpec,
        prepared: Option<PreparedQuery>,
    ) -> Result<StreamingQuery> {
        let (name, trigger) = (spec.name.clone(), spec.trigger);
        let _reserved = name.as_ref().map(|n| self.reserve(n)).transpose()?;
        let execution = match prepared.filter(|p| p.is_current(&env.context.state())) {
            Some(prepared) => MicroBatchExecution::open_prepared(env, spec, prepared).await?,
            None => MicroBatchExecution::open(env, spec).await?,
        };
        let query = StreamingQuery::spawn(execution, name, trigger, env, self.0.listeners.clone());
        self.queries().push(query.clone());
        self.0.started.notify_waiters();
        Ok(query)
    }

    /// Holds a name from before the query exists until it is among the queries.
    fn reserve(&self, name: &str) -> Result<Reserved> {
        let mut starting = self.0.starting.lock();
        if self.get_by_name(name).is_some() || starting.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            return Err(Error::invalid(
                "QUERY_NAME_ALREADY_ACTIVE",
                format!("a query named '{name}' is active already"),
            )
            .with_help("stop it first, or give this one another name"));
        }
        starting.push(name.to_string());
        Ok(Reserved { manager: self.clone(), name: name.to_string() })
    }

    /// The active queries, in the order in which they were started.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.queries().iter().filter(|q| q.is_active()).cloned().collect()
    }

    /// Every query started since the last `reset_terminated`, ended ones too.
    pub fn all(&self) -> Vec<StreamingQuery> {
        self.queries().clone()
    }

    /// The active query with this id.
    pub fn get(&self, id: Uuid) -> Option<StreamingQuery> {
        self.active().into_iter().find(|q| q.id() == id)
    }

    /// The active query with this name, in any case.
    pub fn get_by_name(&self, name: &str) -> Option<StreamingQuery> {
        self.active().into_iter().find(|q| q.name().is_some_and(|n| n.eq_ignore_ascii_case(name)))
    }

    /// Returns when a query has ended since the start or the last `reset_terminated`.
    ///
    /// # Errors
    /// What that query failed with.
    pub async fn await_any_termination(&self) -> Result<()> {
        loop {
            let started = self.0.started.notified();
            let queries = self.all();
            if let Some(failed) = queries.iter().find_map(StreamingQuery::exception) {
                return Err(failed);
            }
            if queries.is_empty() {
                started.await;
                continue;
            }
            let ends = queries.iter().map(|q| Box::pin(q.await_termination()));
            tokio::select! {
                (end, ..) = select_all(ends) => return end,
                () = started => {}
            }
        }
    }

    /// Ends every active query, all at the same time: the running batches end, everything is closed.
    ///
    /// # Errors
    /// The first error of a query that failed while it ended; the others have ended all the same.
    pub async fn stop_all(&self) -> Result<()> {
        let active = self.active();
        active.iter().for_each(StreamingQuery::request_stop);
        let ends = join_all(active.iter().map(StreamingQuery::await_termination)).await;
        ends.into_iter().collect()
    }

    /// Forgets the queries that have ended.
    pub fn reset_terminated(&self) {
        self.queries().retain(StreamingQuery::is_active);
    }

    /// Adds a listener.
    pub fn add_listener(&self, listener: Arc<dyn StreamingQueryListener>) {
        self.0.listeners.add(listener);
    }

    /// Removes a listener (the same `Arc`).
    pub fn remove_listener(&self, listener: &Arc<dyn StreamingQueryListener>) {
        self.0.listeners.remove(listener);
    }

    fn queries(&self) -> MutexGuard<'_, Vec<StreamingQuery>> {
        self.0.queries.lock()
    }
}

struct Reserved {
    manager: StreamingQueryManager,
    name: String,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut starting = self.manager.0.starting.lock();
        starting.retain(|n| *n != self.name);
    }
}
