//! Making a session: DataFusion's settings, functions, memory.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::config::Dialect;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;

use super::catalog::Catalog;
use super::conf::Settings;
use super::{Session, SessionLink, Shared};
use crate::error::Result;
use crate::failpoint::Failpoints;
use crate::function;
use crate::options::Options;
use crate::plan::{self, generators};
use crate::query::StreamingQueryManager;
use crate::time::Clock;

/// Settings of a [`Session`] before it is made.
#[derive(Debug, Default)]
pub struct SessionBuilder {
    conf: Options,
    clock: Clock,
    failpoints: Failpoints,
}

impl SessionBuilder {
    /// A setting, as `SET key = value`.
    pub fn conf(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.conf.set(key, value);
        self
    }

    /// Processing time other than the wall clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Crash points, for tests.
    pub fn failpoints(mut self, failpoints: Failpoints) -> Self {
        self.failpoints = failpoints;
        self
    }

    /// Where flows without a checkpoint location keep theirs: a directory for each, named after the flow.
    pub fn checkpoint_root(self, dir: impl Into<PathBuf>) -> Self {
        let dir: PathBuf = dir.into();
        self.conf("checkpoint.root", dir.display())
    }

    /// How many partitions work in parallel; without it, one for each core.
    pub fn target_partitions(self, partitions: usize) -> Self {
        self.conf("default.parallelism", partitions)
    }

    /// Makes the session.
    ///
    /// # Errors
    /// A setting that there is not, or a value that does not fit it.
    pub fn build(self) -> Result<Session> {
        let mut settings = Settings::default();
        for (key, value) in self.conf.iter() {
            settings.set(key, value)?;
        }
        let session = assemble(&settings, self.clock, self.failpoints);
        settings.apply(&session.0.context)?;
        *session.settings() = settings;
        register_functions(&session.0.context, &session.0.clock)?;
        Ok(session)
    }

    /// The same without settings of its own, which cannot be wrong.
    pub(super) fn build_default(self) -> Session {
        let session = assemble(&Settings::default(), self.clock, self.failpoints);
        if let Err(e) = register_functions(&session.0.context, &session.0.clock) {
            tracing::error!("registering functions: {e}");
        }
        session
    }
}

fn assemble(settings: &Settings, clock: Clock, failpoints: Failpoints) -> Session {
    let link = Arc::new(SessionLink::default());
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(session_config(link.clone()))
        .with_optimizer_rules(plan::logic::optimizer_rules())
        .with_query_planner(Arc::new(plan::apply::BatchPlanner))
        .build();
    let context = SessionContext::new_with_state(state);
    let shared = Arc::new(Shared {
        context,
        clock,
        failpoints,
        conf: Mutex::new(settings.clone()),
        catalog: Mutex::new(Catalog::default()),
        connectors: Mutex::default(),
        queries: StreamingQueryManager::new(),
        below: None,
        script: None,
    });
    link.0.get_or_init(|| Arc::downgrade(&shared));
    Session(shared)
}

/// DataFusion's settings that streaming needs.
fn session_config(link: Arc<SessionLink>) -> SessionConfig {
    // Dynamic filters, which a join fills while it runs, would be kept from trigger to trigger. Set by its key, the
    // setting turns off those of TopK and aggregates as well.
    let mut config = SessionConfig::new()
        .with_extension(link)
        .with_round_robin_repartition(false)
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
        // Files would change places between partitions, and rows their order.
        .set_bool("datafusion.execution.enable_file_stream_work_stealing", false);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".into());
    options.sql_parser.dialect = Dialect::Spark;
    config
}

/// Functions, generators and the time, so that every name has Spark's meaning.
fn register_functions(context: &SessionContext, clock: &Clock) -> Result<()> {
    function::register_all(context)?;
    plan::register_trigger_time(context, clock);
    context.add_analyzer_rule(Arc::new(generators::ResolveGenerators));
    context.add_analyzer_rule(Arc::new(plan::random::ResolveRandom));
    plan::window::register(context);
    Ok(())
}
