//! From what a query is started with to an engine that stands where the checkpoint ended.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::ahead::Ahead;
use super::conf::{QueryConf, delivery};
use super::durability::Durability;
use super::execution::{MicroBatchExecution, RunningSource};
use super::idle::IdleInputs;
use super::in_flight::{InFlight, Target};
use super::losses::Losses;
use super::output::renamed_schema;
use super::progress::ProgressBuilder;
use super::recovery;
use super::schedule::Schedule;
use super::{Environment, QuerySpec};
use crate::error::{Error, Result};
use crate::function::scalar::session_time_zone;
use crate::plan::{self, PreparedQuery};
use crate::sink::SinkContext;
use crate::source::SourceContext;
use crate::trigger::{Delivery, Trigger};

impl MicroBatchExecution {
    /// Prepares the query and opens it.
    pub async fn open(env: &Environment, spec: QuerySpec) -> Result<Self> {
        let prepared = plan::prepare(&env.context.state(), &spec.plan, spec.output_mode).await?;
        Self::open_prepared(env, spec, prepared).await
    }

    /// Opens and recovers the checkpoint, opens sources and sink.
    pub(super) async fn open_prepared(env: &Environment, spec: QuerySpec, prepared: PreparedQuery) -> Result<Self> {
        let PreparedQuery { plan, sources, time, .. } = prepared;
        let opened = recovery::open_checkpoint(env, &spec, &plan, &sources)?;
        let query_id = opened.metadata.id;
        let sink_schema = renamed_schema(&plan.schema, &spec.column_names);
        let context = SinkContext {
            query_id,
            query_name: spec.name.clone(),
            is_durable: opened.temporary.is_none(),
            delivery: match spec.trigger {
                Trigger::Continuous(_) => delivery(&spec.conf, &env.conf),
                _ => Delivery::ExactlyOnce,
            },
            output_mode: spec.output_mode,
            schema: sink_schema.clone(),
            time_zone: session_time_zone(env.context.state().config_options()),
            clock: env.clock.clone(),
            failpoints: env.failpoints.clone(),
        };
        spec.sink.check(spec.output_mode, &sink_schema)?;
        spec.sink.open(&context).await?;
        let sink_knows = spec.sink.last_committed().await?;
        env.failpoints.hit("recover.sink_queried")?;
        let mut recovered = recovery::replay(opened.recovered, &plan, sink_knows, opened.same_sink)?;
        env.failpoints.hit("recover.replayed")?;

        let wake = Arc::new(Notify::new());
        let timeouts = sources.iter().map(|s| (s.name.as_str(), s.idle_timeout));
        let inputs = IdleInputs::new(env.clock.clone(), timeouts);
        let mut running = vec![];
        for (i, bound) in sources.into_iter().enumerate() {
            let dir = opened.dir.join("sources").join(i.to_string());
            let context = SourceContext {
                dir,
                query: spec.name.clone().unwrap_or_else(|| query_id.to_string()),
                clock: env.clock.clone(),
                wake: wake.clone(),
                session: env.context.clone(),
            };
            let place = |e: Error| e.with_place(format!("stream '{}'", bound.name));
            let source = bound.provider.open(context).await.map_err(place)?;
            let position = match recovered.positions.get(i) {
                Some(position) => position.clone(),
                None => source.initial_offset().await.map_err(place)?,
            };
            running.push(RunningSource {
                name: bound.name,
                source,
                slots: bound.slots,
                ahead: Ahead::default(),
                position,
                previous: None,
                releasable: None,
            });
        }
        recovery::settle_pending(&mut recovered, &mut running, &plan)?;
        let conf = QueryConf::read(&spec.conf, &env.conf, &recovered.conf)?;
        let schedule = Schedule::new(spec.trigger, conf.no_data_batches, env.clock.now_ms());
        let checkpoint = Arc::new(opened.checkpoint);
        let durability = schedule.hands_over().map(|every| Durability::new(every, env.clock.now_ms()));
        let target = |checkpoint| Target {
            sink: spec.sink.clone(),
            schema: sink_schema.clone(),
            checkpoint,
            failpoints: env.failpoints.clone(),
        };
        let in_flight = (durability.is_some() && conf.delivery == Delivery::ExactlyOnce)
            .then(|| InFlight::start(target(checkpoint.clone()), wake.clone()));
        let progress_builder = ProgressBuilder::new(query_id, spec.name.clone());
        let mut execution = Self {
            env: env.clone(),
            run_id: progress_builder.run_id(),
            name: spec.name,
            query_id,
            inputs,
            losses: Losses::new(env.clock.clone(), running.len(), plan.operators.len()),
            plan,
            time,
            sources: running,
            sink: spec.sink,
            sink_schema,
            checkpoint,
            temporary: opened.temporary,
            next_batch: recovered.next_batch,
            watermark_ms: recovered.watermark_ms,
            late_watermark_ms: recovered.late_watermark_ms,
            conf,
            schedule,
            timestamp_ms: recovered.timestamp_ms,
            pending: recovered.pending,
            in_flight,
            unreported: VecDeque::new(),
            durability,
            read_nothing: false,
            wake,
            halt: watch::Sender::new(false),
            progress: VecDeque::new(),
            num_news: 0,
            progress_builder,
            failure: None,
        };
        let name = execution.name.as_deref().unwrap_or_default();
        match execution.next_batch {
            0 => tracing::info!(query = name, id = %query_id, "begins"),
            next => tracing::info!(query = name, id = %query_id, "goes on with batch {next}"),
        }
        if let Some(acknowledged) = recovered.unlogged_ack {
            // The sink has the last batch, the log does not know yet.
            execution.checkpoint.append_commit(acknowledged)?;
        }
        if execution.pending.is_empty() {
            execution.sources.iter_mut().for_each(|s| s.releasable = Some(s.position.clone()));
        }
        if schedule.ends_with_what_is_there() {
            for s in &execution.sources {
                s.source.prepare_available_now().await.map_err(|e| e.with_place(format!("stream '{}'", s.name)))?;
            }
        }
        Ok(execution)
    }
}
