//! `transformWithState`: Spark's own cases, state variables, timers, times to live.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::*;
use crate::prelude::*;

#[derive(Debug, Clone, Deserialize)]
struct Event {
    #[allow(dead_code, reason = "the key is given apart")]
    k: String,
    n: i64,
}

/// What Spark's processors of its timer tests do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Timers {
    /// At the first row of a and c, five seconds later; the count is cleared at 3 and by the timer.
    Once,
    /// A second row of a puts the timer off to 7.5 seconds later.
    PutOff,
    /// Three at the first row; each gives the present count.
    Three,
}

#[derive(Clone)]
struct Counter {
    timers: Timers,
    count: ValueState<i64>,
    due: ValueState<i64>,
}

impl StatefulProcessor for Counter {
    type Key = String;
    type Input = Rows<Event>;
    type Output = Vec<(String, String)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.count = handle.get_value_state("count", None)?;
        self.due = handle.get_value_state("due", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        handle: &StatefulProcessorHandle,
        key: &String,
        rows: Rows<Event>,
        times: &TimerValues,
    ) -> Result<Self::Output> {
        let now = times.get_current_processing_time_ms();
        let old = self.count.get()?.unwrap_or(0);
        let n = old + rows.len() as i64;
        if old == 0 && (key == "a" || key == "c") {
            let after: &[i64] = if self.timers == Timers::Three { &[5000, 10_000, 15_000] } else { &[5000] };
            after.iter().try_for_each(|ms| handle.register_timer(now + ms))?;
            self.due.update(&(now + 5000))?;
        } else if key == "a" && self.timers == Timers::PutOff {
            handle.delete_timer(self.due.get()?.unwrap_or(0))?;
            handle.register_timer(now + 7500)?;
        }
        if n == 3 && self.timers == Timers::Once {
            self.count.clear()?;
            return Ok(vec![]);
        }
        self.count.update(&n)?;
        Ok(vec![(key.clone(), n.to_string())])
    }

    fn handle_expired_timer(
        &mut self,
        handle: &StatefulProcessorHandle,
        key: &String,
        times: &TimerValues,
        expiry_ms: i64,
    ) -> Result<Self::Output> {
        assert!(handle.list_timers()?.contains(&expiry_ms) && expiry_ms <= times.get_current_processing_time_ms());
        if self.timers == Timers::Three {
            return Ok(vec![(key.clone(), self.count.get()?.unwrap_or(0).to_string())]);
        }
        self.count.clear()?;
        Ok(vec![(key.clone(), "-1".into())])
    }
}

fn counter(timers: Timers) -> impl AsyncFn(&Session, DataFrame) -> Result<DataFrame> {
    async move |_: &Session, s: DataFrame| {
        let counter = Counter { timers, count: ValueState::default(), due: ValueState::default() };
        let (time, mode) = (TimeMode::ProcessingTime, OutputMode::Update);
        s.group_by_key([col("k")])?.transform_with_state("k STRING, count STRING", time, mode, counter)
    }
}

#[tokio::test]
async fn a_timer_clears_the_count() {
    let (bench, query) = (Bench::new(OutputMode::Update).every_second(), counter(Timers::Once));
    let mut run = bench.open(&query).await.unwrap();
    bench.feed(&["a"]);
    bench.advance(1000);
    assert_eq!(run.batch().await.unwrap(), ["a 1"]);
    assert_eq!(run.state(), (2, 2, 0, 0), "a count and the time of the timer; the timer is no row");
    bench.feed(&["b"]);
    bench.advance(1000);
    assert_eq!(run.batch().await.unwrap(), ["b 1"]);
    bench.feed(&["b"]);
    bench.advance(10_000);
    assert_eq!(run.batch().await.unwrap(), ["b 2", "a -1"]);
    let custom = run.operator().custom_metrics;
    assert_eq!((&custom["numExpiredTimers"], &custom["numValueStateVars"]), (&1.into(), &2.into()));
    drop(run);
    let mut run = bench.open(&query).await.unwrap();
    bench.feed(&["b", "c"]);
    bench.advance(1000);
    assert_eq!(run.batch().await.unwrap(), ["c 1"]);
    bench.feed(&["d"]);
    bench.advance(10_000);
    assert_eq!(run.batch().await.unwrap(), ["d 1", "c -1"]);
    assert!(run.batch().await.unwrap().is_empty(), "there is always another batch at the next trigger");
}

#[tokio::test]
async fn a_timer_is_put_off() {
    let (bench, query) = (Bench::new(OutputMode::Update).every_second(), counter(Timers::PutOff));
    let mut run = bench.open(&query).await.unwrap();
    for (ms, row) in [(1000, "a 1"), (2000, "a 2")] {
        bench.feed(&["a"]);
        bench.advance(ms);
        assert_eq!(run.batch().await.unwrap(), [row]);
    }
    run.close().await;
    let mut run = bench.open(&query).await.unwrap();
    bench.feed(&["d"]);
    bench.advance(7499);
    assert_eq!(run.batch().await.unwrap(), ["d 1"]);
    bench.advance(1);
    assert_eq!(run.batch().await.unwrap(), ["a -1"], "at its time, not after it");
}

#[tokio::test]
async fn a_key_has_several_timers() {
    let (bench, query) = (Bench::new(OutputMode::Update).every_second(), counter(Timers::Three));
    let mut run = bench.open(&query).await.unwrap();
    for (ms, rows) in [(1000, vec!["a 1"]), (6000, vec!["a 2", "a 2"]), (5000, vec!["a 3", "a 3"])] {
        bench.feed(&["a"]);
        bench.advance(ms);
        assert_eq!(run.batch().await.unwrap(), rows);
    }
    run.close().await;
    let mut run = bench.open(&query).await.unwrap();
    bench.feed(&["a"]);
    bench.advance(5000);
    assert_eq!(run.batch().await.unwrap(), ["a 4", "a 4"]);
    let sizes = run.operator();
    assert_eq!(sizes.num_rows_total, 2);
}

#[tokio::test]
async fn a_timer_fires_once_wherever_the_query_dies() {
    for point in super::random::POINTS {
        let (bench, query) = (Bench::new(OutputMode::Update), counter(Timers::Once));
        let mut run = bench.open(&query).await.unwrap();
        bench.feed(&["a"]);
        assert_eq!(run.drain().await.unwrap(), ["a 1"]);
        bench.advance(5000);
        bench.failpoints.arm(point, crate::failpoint::Action::Error).unwrap();
        run.drain().await.unwrap_err();
        bench.failpoints.clear();
        drop(run);
        let mut run = bench.open(&query).await.unwrap();
        run.drain().await.unwrap();
        let rows: Vec<_> = bench.sink.batches().iter().flat_map(|(_, rows)| rows.iter().flat_map(texts)).collect();
        assert_eq!(rows, ["a 1", "a -1"], "crash at {point}");
        bench.advance(60_000);
        assert!(run.is_idle().await);
    }
}

/// Does with its variables what the rows say: n is the number of an operation.
#[derive(Clone, Default)]
struct Variables {
    ttl: Option<Duration>,
    value: ValueState<i64>,
    list: ListState<i64>,
    map: MapState<String, i64>,
}

impl StatefulProcessor for Variables {
    type Key = String;
    type Input = Rows<Event>;
    type Output = Vec<(String, String)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.value = handle.get_value_state("value", self.ttl)?;
        self.list = handle.get_list_state("list", self.ttl)?;
        self.map = handle.get_map_state("map", self.ttl)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        _: &StatefulProcessorHandle,
        key: &String,
        rows: Rows<Event>,
        _: &TimerValues,
    ) -> Result<Self::Output> {
        for row in rows {
            match row.n {
                0 => {}
                1 => self.value.update(&(self.value.get()?.unwrap_or(0) + 1))?,
                2 => self.value.clear()?,
                10 => self.list.append_value(&(self.list.get()?.len() as i64))?,
                11 => self.list.append_list(&[7, 8])?,
                12 => self.list.put(&[5])?,
                13 => self.list.clear()?,
                14 => self.list.put(&[])?,
                20 => self.map.update_value(&"x".into(), &1)?,
                21 => self.map.update_value(&"y".into(), &2)?,
                22 => self.map.remove_key(&"x".into())?,
                23 => self.map.clear()?,
                other => return Err(Error::execution("UNKNOWN", other.to_string())),
            }
        }
        assert_eq!(self.list.exists()?, !self.list.get()?.is_empty());
        assert_eq!(self.map.exists()?, !self.map.keys()?.is_empty());
        assert_eq!(self.map.contains_key(&"x".into())?, self.map.get_value(&"x".into())?.is_some());
        assert_eq!(self.map.values()?.len(), self.map.iterator()?.len());
        assert_eq!(self.value.exists()?, self.value.get()?.is_some());
        let text = format!("{:?} {:?} {:?}", self.value.get()?, self.list.get()?, self.map.iterator()?);
        Ok(vec![(key.clone(), text)])
    }
}

fn variables(ttl: Option<Duration>) -> impl AsyncFn(&Session, DataFrame) -> Result<DataFrame> {
    async move |_: &Session, s: DataFrame| {
        let time = if ttl.is_some() { TimeMode::ProcessingTime } else { TimeMode::None };
        let processor = Variables { ttl, ..Variables::default() };
        s.group_by_key([col("k")])?.transform_with_state("k STRING, v STRING", time, OutputMode::Update, processor)
    }
}

#[tokio::test]
async fn values_lists_and_maps() {
    let (bench, query) = (Bench::new(OutputMode::Update), variables(None));
    let mut run = bench.open(&query).await.unwrap();
    let mut expected = vec![];
    for (operations, shown, state) in [
        (&[1, 1, 10, 10, 11, 20, 21][..], "Some(2) [0, 1, 7, 8] [(\"x\", 1), (\"y\", 2)]", (4, 8, 0, 0)),
        (&[2, 12, 22], "None [5] [(\"y\", 2)]", (2, 1, 2, 0)),
        (&[10, 13, 23], "None [] []", (0, 1, 3, 0)),
        (&[0], "None [] []", (0, 0, 0, 0)),
        (&[10, 1], "Some(1) [0] []", (2, 2, 0, 0)),
    ] {
        bench.feed_rows(&operations.iter().map(|n| ("a", *n)).collect::<Vec<_>>());
        expected.push(format!("a {shown}"));
        assert_eq!(run.batch().await.unwrap(), [format!("a {shown}")]);
        assert_eq!(run.state(), state, "{operations:?}");
        run.close().await;
        run = bench.open(&query).await.unwrap();
    }
    bench.feed_rows(&[("a", 14)]);
    let failed = run.batch().await.unwrap_err();
    assert_eq!(failed.condition(), "TRANSFORM_WITH_STATE_USER_FUNCTION_ERROR");
    assert!(failed.message().contains("[ILLEGAL_STATE_STORE_VALUE.EMPTY_LIST_VALUE]"), "{failed}");
}

#[tokio::test]
async fn values_end_with_their_time_to_live() {
    let bench = Bench::new(OutputMode::Update).every_second();
    let query = variables(Some(Duration::from_secs(10)));
    let mut run = bench.open(&query).await.unwrap();
    bench.feed_rows(&[("a", 1), ("a", 10), ("a", 20), ("b", 1)]);
    assert_eq!(run.batch().await.unwrap()[0], "a Some(1) [0] [(\"x\", 1)]");
    bench.advance(6000);
    bench.feed_rows(&[("a", 10), ("a", 21), ("b", 1)]);
    assert_eq!(run.batch().await.unwrap()[0], "a Some(1) [0, 1] [(\"x\", 1), (\"y\", 2)]");
    assert_eq!(run.state(), (5, 3, 0, 0));
    run.close().await;
    let mut run = bench.open(&query).await.unwrap();
    bench.advance(4000);
    bench.feed_rows(&[("a", 0)]);
    assert_eq!(run.batch().await.unwrap(), ["a None [1] [(\"y\", 2)]"]);
    assert_eq!(run.state(), (3, 0, 3, 0));
    assert_eq!(run.operator().custom_metrics["numValuesRemovedDueToTTLExpiry"], 3);
    bench.advance(6000);
    assert!(run.batch().await.unwrap().is_empty());
    assert_eq!(run.state(), (0, 0, 3, 0));
}

/// A processor that does one thing in `init`, or when called.
#[derive(Clone)]
struct Probe(fn(&StatefulProcessorHandle) -> Result<()>, fn(&StatefulProcessorHandle) -> Result<()>);

impl StatefulProcessor for Probe {
    type Key = String;
    type Input = RecordBatch;
    type Output = Vec<(String,)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.0(handle)
    }

    fn handle_input_rows(
        &mut self,
        handle: &StatefulProcessorHandle,
        _: &String,
        _: RecordBatch,
        _: &TimerValues,
    ) -> Result<Self::Output> {
        self.1(handle).map(|()| vec![])
    }
}

fn nothing(_: &StatefulProcessorHandle) -> Result<()> {
    Ok(())
}

fn probe(probe: Probe, time: TimeMode) -> impl AsyncFn(&Session, DataFrame) -> Result<DataFrame> {
    async move |_: &Session, s: DataFrame| {
        s.group_by_key([col("k")])?.transform_with_state("k STRING", time, OutputMode::Update, probe.clone())
    }
}

#[tokio::test]
async fn variables_that_cannot_be() {
    use TimeMode::{EventTime, None as Never, ProcessingTime};
    type Init = fn(&StatefulProcessorHandle) -> Result<()>;
    let twice: Init = |h| {
        h.get_value_state::<i64>("a", None)?;
        h.get_list_state::<i64>("a", None).map(|_| ())
    };
    let live: Init = |h| h.get_value_state::<i64>("a", Duration::from_secs(1)).map(|_| ());
    let zero: Init = |h| h.get_map_state::<i64, i64>("a", Duration::ZERO).map(|_| ());
    let timer: Init = |h| h.register_timer(1);
    let bench = Bench::new(OutputMode::Update);
    for (init, time, expected) in [
        (twice, Never, "STATEFUL_PROCESSOR_DUPLICATE_STATE_VARIABLE_DEFINED"),
        (live, Never, "STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL"),
        (zero, ProcessingTime, "STATEFUL_PROCESSOR_TTL_DURATION_MUST_BE_POSITIVE"),
        (timer, ProcessingTime, "STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_HANDLE_STATE"),
        (nothing, EventTime, "UNSUPPORTED_STREAMING_OPERATION"),
        (|_| panic!("in init"), Never, "TRANSFORM_WITH_STATE_USER_FUNCTION_ERROR"),
    ] {
        assert_eq!(condition(bench.open(probe(Probe(init, nothing), time)).await), expected);
    }
    let late: Init = |h| h.get_value_state::<i64>("late", None).map(|_| ());
    let unmade: Init = |_| ValueState::<i64>::default().get().map(|_| ());
    for (call, time, expected) in [
        (timer, Never, "STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE"),
        (late, Never, "STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_HANDLE_STATE"),
        (unmade, Never, "STATE_STORE_HANDLE_NOT_INITIALIZED"),
    ] {
        let bench = Bench::new(OutputMode::Update);
        let mut run = bench.open(probe(Probe(nothing, call), time)).await.unwrap();
        bench.feed(&["a"]);
        let failed = run.batch().await.unwrap_err();
        assert_eq!(failed.condition(), "TRANSFORM_WITH_STATE_USER_FUNCTION_ERROR");
        assert!(failed.message().contains(expected), "{failed}");
    }
}

#[tokio::test]
async fn variables_come_and_go_between_runs() {
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(variables(None)).await.unwrap();
    bench.feed_rows(&[("a", 1), ("a", 10), ("b", 20)]);
    run.batch().await.unwrap();
    assert_eq!(run.state().0, 3);
    run.close().await;

    let other_kind = Probe(|h| h.get_map_state::<i64, i64>("value", None).map(|_| ()), nothing);
    let mut run = bench.open(probe(other_kind, TimeMode::None)).await.unwrap();
    bench.feed(&["a"]);
    assert_eq!(condition(run.batch().await), "STATE_STORE_INVALID_VARIABLE_TYPE_CHANGE");
    drop(run);

    let purged = Probe(
        |h| {
            h.delete_if_exists("value")?;
            h.delete_if_exists("never")?;
            h.get_map_state::<i64, i64>("value", None).map(|_| ())
        },
        nothing,
    );
    let mut run = bench.open(probe(purged, TimeMode::None)).await.unwrap();
    run.batch().await.unwrap();
    assert_eq!(run.state().0, 2);
    assert_eq!(run.operator().custom_metrics["numDeletedStateVars"], 1);
    run.close().await;
    let mut run = bench.open(variables(None)).await.unwrap();
    bench.feed_rows(&[("a", 0), ("b", 0)]);
    assert_eq!(run.batch().await.unwrap(), ["a None [0] []", "b None [] [(\"x\", 1)]"]);
}

/// Keeps rows until the watermark is at their time, and gives them then; counts runs of `close`.
#[derive(Clone)]
struct Sorter {
    closed: Arc<AtomicU64>,
    lag_ms: i64,
    held: MapState<i64, i64>,
}

impl StatefulProcessor for Sorter {
    type Key = String;
    type Input = Rows<Event>;
    type Output = Vec<(String, i64)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.held = handle.get_map_state("held", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        handle: &StatefulProcessorHandle,
        _: &String,
        rows: Rows<Event>,
        times: &TimerValues,
    ) -> Result<Self::Output> {
        assert!(times.get_current_watermark_ms()? >= 0 && handle.get_query_info().batch_id < 100);
        for row in rows {
            let n = self.held.get_value(&row.n)?.unwrap_or(0);
            self.held.update_value(&row.n, &(n + 1))?;
            handle.register_timer(row.n * 1000)?;
        }
        Ok(vec![])
    }

    fn handle_expired_timer(
        &mut self,
        _: &StatefulProcessorHandle,
        key: &String,
        _: &TimerValues,
        expiry_ms: i64,
    ) -> Result<Self::Output> {
        let at = expiry_ms / 1000;
        let n = self.held.get_value(&at)?.unwrap_or(0);
        self.held.remove_key(&at)?;
        Ok(vec![(key.clone(), (expiry_ms - self.lag_ms) * 1000); n as usize])
    }

    fn close(&mut self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn sorter(closed: Arc<AtomicU64>, lag_ms: i64) -> impl AsyncFn(&Session, DataFrame) -> Result<DataFrame> {
    async move |_: &Session, s: DataFrame| {
        let sorter = Sorter { closed: closed.clone(), lag_ms, held: MapState::default() };
        let groups = s.with_watermark("ts", "5 seconds")?.group_by_key([col("k")])?.event_time_column("AT");
        groups.transform_with_state("k STRING, at TIMESTAMP", TimeMode::EventTime, OutputMode::Append, sorter)
    }
}

#[tokio::test]
async fn event_time_timers_and_late_rows() {
    let (bench, closed) = (Bench::new(OutputMode::Append), Arc::new(AtomicU64::new(0)));
    let query = sorter(closed.clone(), 0);
    let mut run = bench.open(&query).await.unwrap();
    bench.feed_rows(&[("a", 12), ("a", 10), ("b", 10), ("a", 10), ("a", 15)]);
    let at = |s: i64| format!("1970-01-01T00:00:{s}Z");
    assert_eq!(run.drain().await.unwrap(), [format!("a {}", at(10)), format!("a {}", at(10)), format!("b {}", at(10))]);
    assert_eq!(run.state(), (2, 0, 2, 0));
    run.close().await;
    assert_eq!(closed.load(Ordering::SeqCst), 1);
    let mut run = bench.open(&query).await.unwrap();
    bench.feed_rows(&[("a", 9), ("a", 17)]);
    assert!(run.batch().await.unwrap().is_empty());
    assert_eq!(run.state(), (3, 1, 0, 1));
    assert_eq!(run.drain().await.unwrap(), [format!("a {}", at(12))]);
}

#[tokio::test]
async fn the_event_time_of_the_result() {
    let closed = Arc::new(AtomicU64::new(0));
    let bench = Bench::new(OutputMode::Append);
    let windowed = async |session: &Session, s: DataFrame| {
        let sorted = sorter(closed.clone(), 0)(session, s).await?;
        Ok(sorted.aggregate(vec![col("at")], vec![count(lit(1)).alias("n")])?)
    };
    let mut run = bench.open(&windowed).await.unwrap();
    bench.feed_rows(&[("a", 10), ("b", 10), ("a", 20)]);
    assert_eq!(run.drain().await.unwrap(), ["1970-01-01T00:00:10Z 2"]);
    run.close().await;

    let bench = Bench::new(OutputMode::Append);
    let mut run = bench.open(sorter(closed.clone(), 60_000)).await.unwrap();
    bench.feed_rows(&[("a", 10), ("a", 20)]);
    assert_eq!(condition(run.drain().await), "EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED");

    let processing = async |_: &Session, s: DataFrame| {
        let groups = s.group_by_key([col("k")])?.event_time_column("k");
        let time = TimeMode::ProcessingTime;
        groups.transform_with_state("k STRING", time, OutputMode::Update, Probe(nothing, nothing))
    };
    let refused = condition(bench.open(processing).await);
    assert_eq!(refused, "STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE");
    for (name, expected) in
        [("k", "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE"), ("none", "UNRESOLVED_COLUMN.WITH_SUGGESTION")]
    {
        let named = async |_: &Session, s: DataFrame| {
            let groups = s.with_watermark("ts", "1 second")?.group_by_key([col("k")])?.event_time_column(name);
            groups.transform_with_state("k STRING", TimeMode::EventTime, OutputMode::Update, Probe(nothing, nothing))
        };
        assert_eq!(condition(bench.open(named).await), expected);
    }
}

#[derive(Clone, Default)]
struct Balance(ValueState<i64>);

impl StatefulProcessor for Balance {
    type Key = String;
    type Input = Rows<Event>;
    type Output = Vec<(String, i64)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.0 = handle.get_value_state("balance", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        _: &StatefulProcessorHandle,
        key: &String,
        rows: Rows<Event>,
        _: &TimerValues,
    ) -> Result<Self::Output> {
        let balance = self.0.get()?.unwrap_or(0) + rows.map(|r| r.n).sum::<i64>();
        self.0.update(&balance)?;
        Ok(vec![(key.clone(), balance)])
    }
}

impl StatefulProcessorWithInitialState for Balance {
    type Initial = (i64, String);

    fn handle_initial_state(
        &mut self,
        _: &StatefulProcessorHandle,
        _: &String,
        (balance, currency): (i64, String),
        _: &TimerValues,
    ) -> Result<()> {
        assert_eq!(currency, "EUR");
        self.0.update(&balance)
    }
}

#[tokio::test]
async fn processors_begin_with_the_initial_state() {
    async fn query(session: &Session, s: DataFrame) -> Result<DataFrame> {
        let view = "CREATE VIEW old AS SELECT * FROM (VALUES (100, 'a', 'EUR'), (7, 'z', 'EUR')) AS t(n, who, c)";
        session.sql(view).await?;
        let old = session.context().table("old").await?.group_by_key([col("who")])?;
        let grouped = s.group_by_key([col("k")])?.with_initial_state(old)?;
        grouped.transform_with_state("k STRING, n BIGINT", TimeMode::None, OutputMode::Update, Balance::default())
    }
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("a", 5), ("b", 1)]);
    assert_eq!(run.batch().await.unwrap(), ["a 105", "b 1"]);
    assert_eq!(run.state().0, 3);
    drop(run);
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("z", 1)]);
    assert_eq!(run.batch().await.unwrap(), ["z 8"]);
}
