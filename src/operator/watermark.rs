//! The event times that pass a `WATERMARK`, and the query's global watermark.
//!
//! ```text
//! rows ─ WatermarkExec 0 ─►      max − delay ─┐
//! rows ─ WatermarkExec 1 ─►      max − delay ─┴─ least (or greatest) ─► global watermark of the next batch, never back
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::partition as arrow_partition;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::array_value_to_string;
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
    /// Whether each partition holds the watermark by itself.
    pub by_partition: bool,
}

/// Who has had no rows for long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Idle {
    /// Streams.
    pub streams: Vec<String>,
    /// The partitions of streams in which each holds watermarks by itself, and whether it is idle.
    pub partitions: BTreeMap<String, Vec<(String, bool)>>,
}

/// One `WATERMARK` of a query.
#[derive(Debug, Default)]
struct Tracked {
    input: WatermarkInput,
    /// Over all batches of this run.
    max_ms: Option<i64>,
    batch: Option<EventTimes>,
    /// The latest time of each partition in this run, if they are told apart.
    partitions: BTreeMap<String, i64>,
    /// The same of this batch.
    batch_partitions: BTreeMap<String, i64>,
}

impl Tracked {
    /// One without data yet counts as 0.
    fn watermark_ms(&self, idle: &Idle) -> i64 {
        let latest = match self.input.by_partition {
            true => self.slowest(idle).and_then(|(_, latest)| latest),
            false => self.max_ms,
        };
        latest.map_or(0, |max| max.saturating_sub(self.input.delay_ms))
    }

    /// The partition that holds the watermark, and its latest time: one without rows before all others. Idle ones are left out while
    /// another is not idle.
    fn slowest<'i>(&self, idle: &'i Idle) -> Option<(&'i str, Option<i64>)> {
        let known = self.input.streams.iter().filter_map(|stream| idle.partitions.get(stream)).flatten();
        let all_idle = known.clone().all(|(_, is_idle)| *is_idle);
        let counted = known.filter(|(_, is_idle)| all_idle || !is_idle);
        counted.map(|(name, _)| (name.as_str(), self.partitions.get(name).copied())).min_by_key(|(_, latest)| *latest)
    }

    /// Whether no stream below it has had rows for long.
    fn is_idle(&self, idle: &Idle) -> bool {
        !self.input.streams.is_empty() && self.input.streams.iter().all(|s| idle.streams.contains(s))
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
    /// The partition that holds it, if each holds it by itself.
    pub slowest: Option<String>,
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
    pub fn states(&self, policy: WatermarkPolicy, idle: &Idle) -> Vec<WatermarkState> {
        let tracked = self.lock();
        let chosen = chosen(&tracked, policy, idle);
        let state = |t: &Tracked| {
            let (watermark_ms, is_idle) = (t.watermark_ms(idle), is_left_out(&tracked, t, idle));
            let holds = !is_idle && Some(watermark_ms) == chosen;
            let slowest = t.slowest(idle).filter(|_| t.input.by_partition).map(|(name, _)| name.to_owned());
            WatermarkState { input: t.input.clone(), max_ms: t.max_ms, watermark_ms, idle: is_idle, holds, slowest }
        };
        tracked.values().map(state).collect()
    }

    /// Whether the query has a watermark.
    pub fn is_used(&self) -> bool {
        !self.lock().is_empty()
    }

    /// A batch begins.
    pub fn begin(&self) {
        for t in self.lock().values_mut() {
            t.batch = None;
            t.batch_partitions.clear();
        }
    }

    fn observe(&self, id: usize, times: Option<EventTimes>, partitions: BTreeMap<String, i64>) {
        let mut tracked = self.lock();
        let t = tracked.entry(id).or_default();
        EventTimes::merge(&mut t.batch, times);
        keep_latest(&mut t.batch_partitions, partitions);
    }

    /// The event times of the batch at the first watermark that saw any.
    pub fn batch(&self) -> Option<EventTimes> {
        self.lock().values().find_map(|t| t.batch)
    }

    /// The streams, and the partitions, in which the batch has seen event times.
    pub fn seen(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let tracked = self.lock();
        let with_times = || tracked.values().filter(|t| t.batch.is_some());
        let streams = with_times().flat_map(|t| t.input.streams.iter().cloned()).collect();
        (streams, with_times().flat_map(|t| t.batch_partitions.keys().cloned()).collect())
    }

    /// The batch is done: the global watermark after it, in milliseconds, if these streams are idle.
    pub fn advance(&self, global_ms: i64, policy: WatermarkPolicy, idle: &Idle) -> i64 {
        let mut tracked = self.lock();
        for t in tracked.values_mut() {
            t.max_ms = t.max_ms.max(t.batch.map(|b| b.max));
            keep_latest(&mut t.partitions, t.batch_partitions.clone());
        }
        chosen(&tracked, policy, idle).map_or(global_ms, |ms| ms.max(global_ms))
    }
}

fn keep_latest(all: &mut BTreeMap<String, i64>, new: BTreeMap<String, i64>) {
    for (partition, latest) in new {
        let known = all.entry(partition).or_insert(latest);
        *known = latest.max(*known);
    }
}

/// An idle input is left out while another is not idle.
fn is_left_out(all: &BTreeMap<usize, Tracked>, t: &Tracked, idle: &Idle) -> bool {
    t.is_idle(idle) && !all.values().all(|t| t.is_idle(idle))
}

fn chosen(tracked: &BTreeMap<usize, Tracked>, policy: WatermarkPolicy, idle: &Idle) -> Option<i64> {
    let each = tracked.values().filter(|t| !is_left_out(tracked, t, idle)).map(|t| t.watermark_ms(idle));
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
    /// The columns that tell partitions apart, if each holds the watermark by itself.
    partition: Vec<usize>,
    input: Arc<dyn ExecutionPlan>,
    tracker: Arc<EventTimeTracker>,
    properties: Arc<PlanProperties>,
}

impl WatermarkExec {
    /// Over the event time at `column` of `input`, whose rows are of the partition that the columns `partition` say.
    pub fn new(
        id: usize,
        column: usize,
        partition: Vec<usize>,
        input: Arc<dyn ExecutionPlan>,
        tracker: Arc<EventTimeTracker>,
    ) -> Self {
        let of = input.properties();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            of.partitioning.clone(),
            of.emission_type,
            of.boundedness,
        ));
        Self { id, column, partition, input, tracker, properties }
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
        Ok(Arc::new(Self::new(self.id, self.column, self.partition.clone(), input, self.tracker.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(self.id, self.column, self.partition.clone(), input, self.tracker.clone())))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let (id, column, told_by, tracker) = (self.id, self.column, self.partition.clone(), self.tracker.clone());
        let schema: SchemaRef = self.input.schema();
        let rows = self.input.execute(partition, task)?.map(move |batch| {
            let batch = batch?;
            let mut seen = None;
            for time in times(batch.column(column))?.into_iter().flatten() {
                EventTimes::add(&mut seen, time.div_euclid(1000));
            }
            let partitions = if told_by.is_empty() { BTreeMap::new() } else { latest_of(&batch, column, &told_by)? };
            tracker.observe(id, seen, partitions);
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The latest time of each partition, in milliseconds.
fn latest_of(batch: &RecordBatch, column: usize, partition: &[usize]) -> DfResult<BTreeMap<String, i64>> {
    let names: Vec<_> = partition.iter().map(|i| batch.column(*i).clone()).collect();
    let times = times(batch.column(column))?;
    let mut latest = BTreeMap::new();
    // Rows of a partition come one after the other.
    for rows in arrow_partition(&names)?.ranges() {
        let Some(time) = times[rows.clone()].iter().flatten().max() else { continue };
        let parts = names.iter().map(|name| array_value_to_string(name, rows.start)).collect::<Result<Vec<_>, _>>()?;
        keep_latest(&mut latest, BTreeMap::from([(parts.join("-"), time.div_euclid(1000))]));
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tracker: &EventTimeTracker, id: usize, times: &[i64]) {
        let mut all = None;
        times.iter().for_each(|t| EventTimes::add(&mut all, *t));
        tracker.observe(id, all, BTreeMap::new());
    }

    fn input(stream: &str, delay_ms: i64) -> WatermarkInput {
        WatermarkInput { streams: vec![stream.into()], column: "ts".into(), delay_ms, by_partition: false }
    }

    fn idle(streams: &[&str]) -> Idle {
        Idle { streams: streams.iter().map(|s| (*s).to_owned()).collect(), ..Idle::default() }
    }

    #[test]
    fn each_partition_holds_the_watermark_by_itself() {
        let tracker = EventTimeTracker::default();
        tracker.register(0, WatermarkInput { by_partition: true, ..input("a", 10) });
        let see = |partition: &str, time: i64| {
            tracker.begin();
            tracker.observe(0, None, BTreeMap::from([(partition.to_owned(), time)]));
        };
        let known = |is_idle: [bool; 2]| {
            let partitions =
                [("p-0", is_idle[0]), ("p-1", is_idle[1])].map(|(name, is_idle)| (name.to_owned(), is_idle));
            Idle { partitions: BTreeMap::from([("a".to_owned(), partitions.to_vec())]), ..Idle::default() }
        };
        let advance = |idle: &Idle| tracker.advance(0, WatermarkPolicy::Min, idle);
        see("p-0", 100);
        assert_eq!(advance(&Idle::default()), 0, "which partitions there are is not known");
        assert_eq!(advance(&known([false, false])), 0, "the other has no rows");
        assert_eq!(tracker.states(WatermarkPolicy::Min, &known([false, false]))[0].slowest.as_deref(), Some("p-1"));
        assert_eq!(advance(&known([false, true])), 90);
        see("p-1", 50);
        assert_eq!(advance(&known([false, false])), 40);
        assert_eq!(advance(&known([true, false])), 40);
        assert_eq!(advance(&known([true, true])), 40, "all are idle");
        assert_eq!(tracker.states(WatermarkPolicy::Min, &known([false, true]))[0].slowest.as_deref(), Some("p-0"));
    }

    #[test]
    fn the_least_watermark_counts_and_never_goes_back() {
        let tracker = EventTimeTracker::default();
        tracker.register(0, input("a", 10));
        tracker.register(1, input("b", 0));
        seen(&tracker, 0, &[100, 50]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &idle(&[])), 0);
        tracker.begin();
        seen(&tracker, 1, &[70]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &idle(&[])), 70);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Max, &idle(&[])), 90);
        assert_eq!(tracker.advance(95, WatermarkPolicy::Max, &idle(&[])), 95);
        let batch = tracker.batch().unwrap();
        assert_eq!((batch.count, batch.min, batch.max, batch.avg()), (1, 70, 70, 70));
    }

    #[test]
    fn an_idle_input_is_left_out_while_another_is_not() {
        let tracker = EventTimeTracker::default();
        tracker.register(0, input("a", 10));
        tracker.register(1, input("b", 0));
        seen(&tracker, 0, &[100]);
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &idle(&["b"])), 90);
        let states = tracker.states(WatermarkPolicy::Min, &idle(&["b"]));
        assert_eq!((states[0].holds, states[1].holds, states[1].idle), (true, false, true));
        assert_eq!(tracker.advance(0, WatermarkPolicy::Min, &idle(&["a", "b"])), 0);
        // Back with old times, it cannot take the watermark back.
        tracker.begin();
        seen(&tracker, 1, &[20]);
        assert_eq!(tracker.advance(90, WatermarkPolicy::Min, &idle(&[])), 90);
        assert!(tracker.states(WatermarkPolicy::Min, &idle(&[]))[1].holds);
    }
}
