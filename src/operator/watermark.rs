//! The event times that pass a `WATERMARK`, and the query's global watermark.
//!
//! ```text
//! rows ─ WatermarkExec 0 ─►      max − delay ─┐
//! rows ─ WatermarkExec 1 ─►      max − delay ─┴─ least (or greatest) ─► global watermark of the next batch, never back
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt;
use parking_lot::{Mutex, MutexGuard};

use super::event_time::times;

/// Which of several watermarks is the query's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatermarkPolicy {
    /// The least: no input is ahead of what is dropped.
    #[default]
    Min,
    /// The greatest.
    Max,
}

impl WatermarkPolicy {
    /// The policy of this name, in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "min" => Some(Self::Min),
            "max" => Some(Self::Max),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

/// The event times of one batch at one watermark, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimes {
    /// Rows with a time.
    pub count: u64,
    /// The earliest.
    pub min: i64,
    /// The latest.
    pub max: i64,
    sum: i128,
}

impl EventTimes {
    /// The mean.
    pub fn avg(&self) -> i64 {
        (self.sum / i128::from(self.count.max(1))) as i64
    }

    fn add(into: &mut Option<Self>, time: i64) {
        let all = into.get_or_insert(Self { count: 0, min: time, max: time, sum: 0 });
        (all.count, all.sum) = (all.count + 1, all.sum + i128::from(time));
        (all.min, all.max) = (all.min.min(time), all.max.max(time));
    }

    fn merge(into: &mut Option<Self>, other: Option<Self>) {
        *into = match (*into, other) {
            (Some(a), Some(b)) => Some(Self {
                count: a.count + b.count,
                min: a.min.min(b.min),
                max: a.max.max(b.max),
                sum: a.sum + b.sum,
            }),
            (a, b) => a.or(b),
        };
    }
}

/// What a `WATERMARK` says, and over what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatermarkInput {
    /// The streams below it.
    pub streams: Vec<String>,
    /// The event-time column.
    pub column: String,
    /// How late rows may be.
    pub delay_ms: i64,
}

/// One `WATERMARK` of a query.
#[derive(Debug, Default)]
struct Tracked {
    input: WatermarkInput,
    /// Over all batches of this run.
    max_ms: Option<i64>,
    batch: Option<EventTimes>,
}

impl Tracked {
    /// One without data yet counts as 0.
    fn watermark_ms(&self) -> i64 {
        self.max_ms.map_or(0, |max| max.saturating_sub(self.input.delay_ms))
    }

    /// Whether no stream below it has had rows for long.
    fn is_idle(&self, idle: &[&str]) -> bool {
        !self.input.streams.is_empty() && self.input.streams.iter().all(|s| idle.contains(&s.as_str()))
    }
}

/// Where one watermark of a query stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkState {
    /// Its input.
    pub input: WatermarkInput,
    /// The latest event time of this run.
    pub max_ms: Option<i64>,
    /// That less the delay.
    pub watermark_ms: i64,
    /// Whether it is left out because its input is idle.
    pub idle: bool,
    /// Whether the query's watermark is where it is because of this one.
    pub holds: bool,
}

/// The event times of a query, by watermark.
#[derive(Debug, Default)]
pub struct EventTimeTracker(Mutex<BTreeMap<usize, Tracked>>);

impl EventTimeTracker {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Tracked>> {
        self.0.lock()
    }

    /// Knows of the watermark `id`.
    pub fn register(&self, id: usize, input: WatermarkInput) {
        self.lock().entry(id).or_default().input = input;
    }

    /// The watermarks of the query, by number.
    pub fn inputs(&self) -> Vec<WatermarkInput> {
        self.lock().values().map(|t| t.input.clone()).collect()
    }

    /// Where each watermark stands, if these streams are idle.
    pub fn states(&self, policy: WatermarkPolicy, idle: &[&str]) -> Vec<WatermarkState> {
        let tracked = self.lock();
        let chosen = chosen(&tracked, policy, idle);
        let state = |t: &Tracked| {
            let (watermark_ms, idle) = (t.watermark_ms(), is_left_out(&tracked, t, idle));
            let holds = !idle && Some(watermark_ms) == chosen;
            WatermarkState { input: t.input.clone(), max_ms: t.max_ms, watermark_ms, idle, holds }
        };
        tracked.values().map(state).collect()
    }

    /// Whether the query has a watermark.
    pub fn is_used(&self) -> bool {
        !self.lock().is_empty()
    }

    /// A batch begins.
    pub fn begin(&self) {
        self.lock().values_mut().for_each(|t| t.batch = None);
    }

    fn observe(&self, id: usize, times: Option<EventTimes>) {
        EventTimes::merge(&mut self.lock().entry(id).or_default().batch, times);
    }

    /// The event times of the batch at the first watermark that saw any.
    pub fn batch(&self) -> Option<EventTimes> {
        self.lock().values().find_map(|t| t.batch)
    }

    /// The batch is done: the global watermark after it, in milliseconds, if these streams are idle.
    pub fn advance(&self, global_ms: i64, policy: WatermarkPolicy, idle: &[&str]) -> i64 {
        let mut tracked = self.lock();
        for t in tracked.values_mut() {
            t.max_ms = t.max_ms.max(t.batch.map(|b| b.max));
        }
        chosen(&tracked, policy, idle).map_or(global_ms, |ms| ms.max(global_ms))
    }
}

/// An idle input is left out while another is not idle.
fn is_left_out(all: &BTreeMap<usize, Tracked>, t: &Tracked, idle: &[&str]) -> bool {
    t.is_idle(idle) && !all.values().all(|t| t.is_idle(idle))
}

fn chosen(tracked: &BTreeMap<usize, Tracked>, policy: WatermarkPolicy, idle: &[&str]) -> Option<i64> {
    let each = tracked.values().filter(|t| !is_left_out(tracked, t, idle)).map(Tracked::watermark_ms);
    match policy {
        WatermarkPolicy::Min => each.min(),
        WatermarkPolicy::Max => each.max(),
    }
}

/// Passes its rows and tracks their event times.
#[derive(Clone)]
pub struct WatermarkExec {
    id: usize,
    column: usize,
    input: Arc<dyn ExecutionPlan>,
    tracker: Arc<EventTimeTracker>,
    properties: Arc<PlanProperties>,
}

impl WatermarkExec {
    /// Over the event time at `column` of `input`.
    pub fn new(id: usize, column: usize, input: Arc<dyn ExecutionPlan>, tracker: Arc<EventTimeTracker>) -> Self {
        let of = input.properties();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            of.partitioning.clone(),
            of.emission_type,
            of.boundedness,
        ));
        Self { id, column, input, tracker, properties }
    }
}

impl fmt::Debug for WatermarkExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkExec").field("id", &self.id).field("column", &self.column).finish_non_exhaustive()
    }
}

impl DisplayAs for WatermarkExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WatermarkExec: {} [{}]", self.input.schema().field(self.column).name(), self.id)
    }
}

impl ExecutionPlan for WatermarkExec {
    fn name(&self) -> &'static str {
        "WatermarkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(self.id, self.column, input, self.tracker.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(self.id, self.column, input, self.tracker.clone())))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let (id, column, tracker) = (self.id, self.column, self.tracker.clone());
        let schema: SchemaRef = self.input.schema();
        let rows = self.input.execute(partition, task)?.map(move |batch| {
            let batch = batch?;
            let mut seen = None;
            for time in times(batch.column(column))?.into_iter().flatten() {
                EventTimes::add(&mut seen, time.div_euclid(1000));
            }
            tracker.observe(id, seen);
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tracker: &EventTimeTracker, id: usize, times: &[i64]) {
        let mut all = None;
        times.iter().for_each(|t| EventTimes::add(&mut all, *t));
        tracker.observe(id, all);
    }

    fn input(stream: &str, delay_ms: i64) -> WatermarkInput {
        WatermarkInput { streams: vec![stream.into()], column: "ts".into(), delay_ms }
    }

    #[test]
    fn the_least_watermark_counts_and_never_goes_back() {
        let tracker = EventTimeTracker::default();
        tracker.register(0, input("a", 10));
        tracker.register(1, input("b", 0));
        seen(&tracker, 0, &[100, 50]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &[]), 0);
        tracker.begin();
        seen(&tracker, 1, &[70]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &[]), 70);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Max, &[]), 90);
        assert_eq!(tracker.advance(95, WatermarkPolicy::Max, &[]), 95);
        let batch = tracker.batch().unwrap();
        assert_eq!((batch.count, batch.min, batch.max, batch.avg()), (1, 70, 70, 70));
    }

    #[test]
    fn an_idle_input_is_left_out_while_another_is_not() {
        let tracker = EventTimeTracker::default();
        tracker.register(0, input("a", 10));
        tracker.register(1, input("b", 0));
        seen(&tracker, 0, &[100]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &["b"]), 90);
        let states = tracker.states(WatermarkPolicy::Min, &["b"]);
        assert_eq!((states[0].holds, states[1].holds, states[1].idle), (true, false, true));
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &["a", "b"]), 0);
        // Back with old times, it cannot take the watermark back.
        tracker.begin();
        seen(&tracker, 1, &[20]);
        assert_eq!(tracker.advance(90, WatermarkPolicy::Min, &[]), 90);
        assert!(tracker.states(WatermarkPolicy::Min, &[])[1].holds);
    }
}
