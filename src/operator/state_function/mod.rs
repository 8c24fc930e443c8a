//! Arbitrary state: a function of the user is called for each key with its new rows and its state.
//!
//! ```text
//! rows of the batch ─ without the late ones ─ by key ─►  function(key, rows, state)  ─► rows
//!                                                             │  ▲
//! keys whose time has come, without rows ────────────────►    ▼  │
//!                                                          entries: state, timeouts, timers
//! ```
//!
//! [`group_state`] is `[flat]MapGroupsWithState`, [`processor`] is `transformWithState`. Both keep their state as
//! [entries](crate::state::EntryMap), which know what the running batch has changed.

mod call;
pub mod group_state;
mod groups;
pub mod processor;
pub mod rows;
mod value;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::dataframe::DataFrame;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use self::groups::Groups;
use super::event_time::{bound_us, times};
use super::exec::collect_batches;
use super::{BatchContext, StatefulOperator, by_name};
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::state::{EntryCodec, EntryMap, FrozenEntryState, FrozenState, OperatorState, StateChange, StateMetrics};

/// Whose time timeouts, timers and times to live are of (Spark's `TimeMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimeMode {
    /// There are none.
    #[default]
    None,
    /// Of the trigger.
    ProcessingTime,
    /// Of the watermark.
    EventTime,
}

impl fmt::Display for TimeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which of Spark's operators a function is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// `mapGroupsWithState`.
    MapGroups,
    /// `flatMapGroupsWithState` with the output mode of its function.
    FlatMapGroups(OutputMode),
    /// `transformWithState`.
    Transform,
}

/// What a function is told about the query it is part of.
#[derive(Debug, Clone)]
pub struct FunctionContext {
    /// Names of the key's columns.
    pub key_names: Vec<String>,
    /// Columns of its rows.
    pub schema: SchemaRef,
    /// Which of them is an event time.
    pub output_event_time: Option<usize>,
    /// Whether its input has an event time.
    pub has_watermark: bool,
}

type Make = dyn Fn(FunctionContext) -> Result<Box<dyn StateFunction>> + Send + Sync;

/// A function in a plan, from which every query makes its own.
#[derive(Clone)]
pub struct FunctionTemplate {
    /// Who calls it.
    pub kind: FunctionKind,
    /// The time of its timeouts and timers.
    pub time: TimeMode,
    /// Makes the function.
    pub make: Arc<Make>,
    /// State to begin with.
    pub initial: Option<InitialState>,
}

impl fmt::Debug for FunctionTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionTemplate").field("kind", &self.kind).field("time", &self.time).finish_non_exhaustive()
    }
}

/// Rows of a batch query that the first batch makes state of.
#[derive(Debug, Clone)]
pub struct InitialState {
    /// The keys' columns, then those of the state.
    pub frame: DataFrame,
    /// How many are keys.
    pub num_keys: usize,
}

/// A function with state, its types hidden.
pub trait StateFunction: Send + Sync {
    /// Spark's name of the operator.
    fn operator_name(&self) -> &'static str;

    /// Calls the user's code for every group, and for every key whose time has come.
    fn run(&self, batch: FunctionBatch<'_>) -> Result<Outcome>;

    /// How many rows the state counts as.
    fn num_rows(&self, entries: &EntryMap) -> u64;

    /// When the first timeout or timer is due, by the clock of the function's time mode.
    fn next_due_ms(&self, entries: &EntryMap) -> Option<i64>;

    /// Whether it has something to do when the watermark moves.
    fn follows_watermark(&self) -> bool;
}

/// What a function is called with.
pub struct FunctionBatch<'a> {
    batch: &'a BatchContext,
    groups: Groups,
    /// Rows of state to begin with.
    initial: Option<Groups>,
    codec: &'a EntryCodec,
    entries: &'a Arc<Mutex<EntryMap>>,
    batch_size: usize,
}

/// What a function gave and did.
#[derive(Debug, Default)]
pub struct Outcome {
    batches: Vec<RecordBatch>,
    updated: u64,
    removed: u64,
    custom: Vec<(&'static str, u64)>,
}

/// The state of a function, and what a batch does with it.
pub struct StateFunctionOperator {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    template: FunctionTemplate,
    function: Box<dyn StateFunction>,
    /// The event time among the columns of the input.
    event_time: Option<usize>,
    codec: Arc<EntryCodec>,
    /// A function that panicked leaves changes behind, which the end of the batch takes back.
    entries: Arc<Mutex<EntryMap>>,
    inner: Mutex<Inner>,
}

struct Inner {
    staged: StateMetrics,
    staged_custom: Vec<(&'static str, u64)>,
    metrics: StateMetrics,
    custom: Vec<(&'static str, u64)>,
    memory: MemoryReservation,
}

impl StateFunctionOperator {
    /// Calls a function made from `template` by `keys`, which are evaluated over rows of `input`.
    pub fn try_new(
        input: &SchemaRef,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        event_time: Option<usize>,
        template: FunctionTemplate,
        context: FunctionContext,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        let types = keys.iter().map(|k| k.data_type(input)).collect::<DfResult<Vec<_>>>()?;
        let schema = context.schema.clone();
        let function = (template.make)(context)?;
        let memory = MemoryConsumer::new(format!("state of {}", function.operator_name())).register(pool);
        let (staged, metrics) = Default::default();
        let inner = Inner { staged, staged_custom: vec![], metrics, custom: vec![], memory };
        let (codec, entries) = (Arc::new(EntryCodec::try_new(&types)?), Arc::default());
        Ok(Self { schema, keys, template, function, event_time, codec, entries, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What there is to begin with: in the first batch only.
    async fn initial(&self, batch: &BatchContext) -> Result<Option<Groups>> {
        let Some(initial) = self.template.initial.as_ref().filter(|_| batch.batch_id == 0) else { return Ok(None) };
        let schema = initial.frame.schema().inner().clone();
        let rows = concat_batches(&schema, &initial.frame.clone().collect().await?)?;
        let values: Vec<_> = (initial.num_keys..rows.num_columns()).collect();
        Groups::by(&self.codec, &rows.columns()[..initial.num_keys], &rows.project(&values)?).map(Some)
    }

    fn stage(
        &self,
        rows: &RecordBatch,
        initial: Option<Groups>,
        batch: &BatchContext,
        batch_size: usize,
    ) -> Result<Vec<RecordBatch>> {
        let in_time = self.in_time(rows, batch)?;
        let dropped = (rows.num_rows() - in_time.num_rows()) as u64;
        let groups = self.groups(&in_time)?;
        let (codec, entries) = (self.codec.as_ref(), &self.entries);
        let outcome = self.function.run(FunctionBatch { batch, groups, initial, codec, entries, batch_size })?;
        let bytes = self.entries.lock().bytes();
        let mut inner = self.lock();
        inner.memory.try_resize(bytes)?;
        inner.staged = StateMetrics {
            rows_updated: outcome.updated,
            rows_removed: outcome.removed,
            rows_dropped_by_watermark: dropped,
            ..StateMetrics::default()
        };
        inner.staged_custom = outcome.custom;
        Ok(outcome.batches)
    }

    fn groups(&self, rows: &RecordBatch) -> Result<Groups> {
        if rows.num_rows() == 0 {
            return Ok(Groups::none(rows));
        }
        let evaluate = |k: &Arc<dyn PhysicalExpr>| k.evaluate(rows)?.into_array(rows.num_rows());
        let keys: Vec<ArrayRef> = self.keys.iter().map(evaluate).collect::<DfResult<_>>()?;
        Groups::by(&self.codec, &keys, rows)
    }

    /// The rows that are not late, which only a function that follows event time cares about.
    fn in_time(&self, rows: &RecordBatch, batch: &BatchContext) -> Result<RecordBatch> {
        let Some(column) = self.event_time.filter(|_| self.template.time == TimeMode::EventTime) else {
            return Ok(rows.clone());
        };
        let late = bound_us(batch.late_watermark_ms);
        let times = times(rows.column(column))?;
        let kept: BooleanArray = times.into_iter().map(|t| Some(t.is_none_or(|t| t > late))).collect();
        Ok(filter_record_batch(rows, &kept)?)
    }
}

impl fmt::Debug for StateFunctionOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateFunctionOperator").field(&self.describe()).finish()
    }
}

impl StatefulOperator for StateFunctionOperator {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn execute(
        self: Arc<Self>,
        mut inputs: Vec<Vec<SendableRecordBatchStream>>,
        batch: Arc<BatchContext>,
        task: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let partitions = inputs.pop().unwrap_or_default();
        let schema = partitions.first().map(|p| p.schema());
        let schema = schema.ok_or_else(|| Error::internal("a function with state has no input"))?;
        let batch_size = task.session_config().batch_size();
        let operator = self.clone();
        let emitted = async move {
            let rows = collect_batches(partitions).await?;
            let initial = operator.initial(&batch).await?;
            let rows = concat_batches(&schema, &rows)?;
            let batches = operator.stage(&rows, initial, &batch, batch_size)?;
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        let rows = futures::stream::once(emitted).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows)))
    }

    fn describe(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        format!("keys=[{}], time={}", keys.join(", "), self.template.time)
    }

    fn wants_batch(&self) -> bool {
        self.event_time.is_some() && self.function.follows_watermark()
    }

    fn uses_processing_time(&self) -> bool {
        self.template.time == TimeMode::ProcessingTime
    }

    fn next_due_ms(&self) -> Option<i64> {
        let entries = self.entries.lock();
        self.function.next_due_ms(&entries).filter(|_| self.uses_processing_time())
    }
}

impl OperatorState for StateFunctionOperator {
    fn operator_name(&self) -> &'static str {
        self.function.operator_name()
    }

    fn fingerprint(&self) -> Vec<String> {
        let keys = self.keys.iter().zip(self.codec.key_types()).map(|(k, t)| format!("key {} {t}", by_name(k)));
        keys.chain([format!("time {}", self.template.time)]).collect()
    }

    fn staged(&self) -> Result<Vec<StateChange>> {
        self.codec.changes(&self.entries.lock())
    }

    fn publish(&self) -> Result<()> {
        self.entries.lock().commit();
        let mut inner = self.lock();
        inner.metrics = std::mem::take(&mut inner.staged);
        inner.custom = std::mem::take(&mut inner.staged_custom);
        self.account(&mut inner)
    }

    fn abort(&self) {
        self.entries.lock().rollback();
        let mut inner = self.lock();
        (inner.staged, inner.staged_custom) = Default::default();
    }

    fn apply(&self, change: &StateChange) -> Result<()> {
        self.codec.apply(change, &mut self.entries.lock())?;
        self.account(&mut self.lock())
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenState>> {
        Ok(Arc::new(FrozenEntryState::new(self.codec.clone(), self.entries.lock().freeze())))
    }

    fn metrics(&self) -> StateMetrics {
        self.lock().metrics
    }

    fn custom_metrics(&self) -> Vec<(&'static str, u64)> {
        self.lock().custom.clone()
    }
}

impl StateFunctionOperator {
    fn account(&self, inner: &mut Inner) -> Result<()> {
        let entries = self.entries.lock();
        inner.memory.try_resize(entries.bytes())?;
        inner.metrics.rows_total = self.function.num_rows(&entries);
        inner.metrics.memory_used_bytes = entries.bytes() as u64;
        Ok(())
    }
}
