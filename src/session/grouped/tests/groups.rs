//! `[flat]MapGroupsWithState`: Spark's own cases, and what a function may do.

use serde::{Deserialize, Serialize};

use super::*;
use crate::prelude::*;

/// What the rows of the stream are to a function.
#[derive(Debug, Deserialize)]
struct Event {
    #[allow(dead_code, reason = "the key is given apart")]
    k: String,
    n: i64,
}

/// Spark's running count, which is removed at 3.
async fn running_count(_: &Session, s: DataFrame) -> Result<DataFrame> {
    let count = |key: String, rows: Rows<Event>, state: &mut GroupState<i64>| {
        let n = state.get().unwrap_or(&0) + rows.len() as i64;
        if n == 3 {
            state.remove();
            return Ok((key, "-1".to_owned()));
        }
        state.update(n);
        Ok((key, n.to_string()))
    };
    s.group_by_key([col("k")])?.map_groups_with_state("k STRING, count STRING", GroupStateTimeout::None, count)
}

#[tokio::test]
async fn a_running_count_removed_at_3() {
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(running_count).await.unwrap();
    bench.feed(&["a"]);
    assert_eq!((run.batch().await.unwrap(), run.state()), (vec!["a 1".to_owned()], (1, 1, 0, 0)));
    bench.feed(&["a", "b"]);
    assert_eq!(run.batch().await.unwrap(), ["a 2", "b 1"]);
    assert_eq!(run.state(), (2, 2, 0, 0));
    run.close().await;
    let mut run = bench.open(running_count).await.unwrap();
    assert!(run.is_idle().await);
    bench.feed(&["a", "b"]);
    assert_eq!(run.batch().await.unwrap(), ["a -1", "b 2"]);
    assert_eq!(run.state(), (1, 1, 1, 0));
    drop(run);
    let mut run = bench.open(running_count).await.unwrap();
    bench.feed(&["a", "c"]);
    assert_eq!(run.batch().await.unwrap(), ["a 1", "c 1"]);
    assert_eq!(run.state(), (3, 2, 0, 0));
}

async fn count_with_timeout(_: &Session, s: DataFrame) -> Result<DataFrame> {
    let count = |key: String, rows: Rows<Event>, state: &mut GroupState<i64>| {
        if state.has_timed_out() {
            assert!(rows.is_empty());
            state.remove();
            return Ok(Some((key, "-1".to_owned())));
        }
        let n = state.get().unwrap_or(&0) + rows.len() as i64;
        state.update(n);
        state.set_timeout_duration(Duration::from_secs(10))?;
        Ok(Some((key, n.to_string())))
    };
    let (mode, timeout) = (OutputMode::Update, GroupStateTimeout::ProcessingTime);
    s.group_by_key([col("k")])?.flat_map_groups_with_state("k STRING, count STRING", mode, timeout, count)
}

#[tokio::test]
async fn processing_time_timeouts_fire_strictly_after_their_time() {
    let bench = Bench::new(OutputMode::Update).every_second();
    let mut run = bench.open(count_with_timeout).await.unwrap();
    assert!(run.is_idle().await, "no batch before the first data");
    bench.feed(&["a"]);
    bench.advance(1000);
    assert_eq!((run.batch().await.unwrap(), run.state()), (vec!["a 1".to_owned()], (1, 1, 0, 0)));
    bench.feed(&["b"]);
    bench.advance(1000);
    assert_eq!((run.batch().await.unwrap(), run.state()), (vec!["b 1".to_owned()], (2, 1, 0, 0)));
    bench.feed(&["b"]);
    bench.advance(10_000);
    assert_eq!(run.batch().await.unwrap(), ["b 2", "a -1"]);
    assert_eq!(run.state(), (1, 1, 1, 0));
    run.close().await;
    let mut run = bench.open(count_with_timeout).await.unwrap();
    bench.feed(&["c"]);
    bench.advance(11_000);
    assert_eq!(run.batch().await.unwrap(), ["c 1", "b -1"]);
    assert_eq!(run.state(), (1, 1, 1, 0));
    bench.advance(12_000);
    assert_eq!((run.batch().await.unwrap(), run.state()), (vec!["c -1".to_owned()], (0, 0, 1, 0)));
    assert!(run.batch().await.unwrap().is_empty(), "there is always another batch at the next trigger");
}

#[tokio::test]
async fn without_a_grid_of_triggers_a_batch_comes_when_one_is_due() {
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(count_with_timeout).await.unwrap();
    bench.feed(&["a"]);
    assert_eq!(run.drain().await.unwrap(), ["a 1"]);
    bench.advance(10_000);
    assert!(run.is_idle().await);
    bench.advance(1);
    assert_eq!(run.drain().await.unwrap(), ["a -1"]);
    run.close().await;
    let mut run = bench.open(count_with_timeout).await.unwrap();
    bench.feed(&["b"]);
    assert_eq!(run.drain().await.unwrap(), ["b 1"]);
    drop(run);
    bench.advance(10_001);
    let mut run = bench.open(count_with_timeout).await.unwrap();
    assert_eq!(run.drain().await.unwrap(), ["b -1"], "what is due after a restart needs no data");
}

async fn max_time(_: &Session, s: DataFrame) -> Result<DataFrame> {
    let max = |key: String, rows: Rows<Event>, state: &mut GroupState<i64>| {
        if state.has_timed_out() {
            state.remove();
            return Ok(vec![(key, -1)]);
        }
        let latest = rows.map(|r| r.n).max().max(state.get().copied()).unwrap_or(0);
        let timeout_ms = (latest + 5) * 1000;
        if timeout_ms <= state.get_current_watermark_ms()? {
            state.remove();
        } else {
            state.update(latest);
            state.set_timeout_timestamp(timeout_ms)?;
        }
        Ok(vec![(key, latest)])
    };
    let (mode, timeout) = (OutputMode::Update, GroupStateTimeout::EventTime);
    let groups = s.with_watermark("ts", "10 seconds")?.group_by_key([col("k")])?;
    groups.flat_map_groups_with_state("k STRING, latest BIGINT", mode, timeout, max)
}

#[tokio::test]
async fn event_time_timeouts_follow_the_watermark_and_late_rows_are_dropped() {
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(max_time).await.unwrap();
    bench.feed_rows(&[("a", 11), ("a", 13), ("a", 15)]);
    assert_eq!(run.drain().await.unwrap(), ["a 15"]);
    bench.feed_rows(&[("a", 4)]);
    assert!(run.batch().await.unwrap().is_empty());
    assert_eq!(run.state(), (1, 0, 0, 1));
    bench.feed_rows(&[("a", 10)]);
    assert_eq!(run.drain().await.unwrap(), ["a 15"]);
    run.close().await;
    let mut run = bench.open(max_time).await.unwrap();
    bench.feed_rows(&[("b", 31)]);
    assert_eq!(run.batch().await.unwrap(), ["b 31"]);
    assert_eq!(run.batch().await.unwrap(), ["a -1"], "the watermark is at 21 s in a batch without data");
    assert_eq!(run.state(), (1, 0, 1, 0));
    assert!(run.is_idle().await);
    // The timeout of b is at 36 s: a watermark of just that is not after it.
    bench.feed_rows(&[("c", 46)]);
    assert_eq!(run.drain().await.unwrap(), ["c 46"]);
    bench.feed_rows(&[("c", 47)]);
    assert_eq!(run.drain().await.unwrap(), ["c 47", "b -1"]);
}

#[tokio::test]
async fn keys_begin_with_the_initial_state() {
    async fn query(session: &Session, s: DataFrame) -> Result<DataFrame> {
        session.sql("CREATE OR REPLACE VIEW old AS SELECT * FROM (VALUES ('a', 10), ('z', 20)) AS t(who, n)").await?;
        let old = session.context().table("old").await?;
        let grouped = s.group_by_key([col("k")])?.with_initial_state(old.group_by_key([col("who")])?)?;
        let count = |key: String, rows: Rows<Event>, state: &mut GroupState<i64>| {
            let n = state.get().unwrap_or(&0) + rows.len() as i64;
            if !rows.is_empty() {
                state.update(n);
            }
            Ok(vec![(key, n)])
        };
        grouped.flat_map_groups_with_state("k STRING, n BIGINT", OutputMode::Update, GroupStateTimeout::None, count)
    }
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(query).await.unwrap();
    bench.feed(&["a", "b"]);
    assert_eq!(run.batch().await.unwrap(), ["a 11", "b 1", "z 20"]);
    assert_eq!(run.state(), (3, 2, 0, 0));
    run.close().await;
    let mut run = bench.open(query).await.unwrap();
    bench.feed(&["z", "a"]);
    assert_eq!(run.batch().await.unwrap(), ["z 21", "a 12"]);

    let bench = Bench::new(OutputMode::Update);
    let twice = async |session: &Session, s: DataFrame| {
        session.sql("CREATE OR REPLACE VIEW old AS SELECT * FROM (VALUES ('a', 10), ('a', 20)) AS t(who, n)").await?;
        let old = session.context().table("old").await?;
        let grouped = s.group_by_key([col("k")])?.with_initial_state(old.group_by_key([col("who")])?)?;
        let f = |_: String, _: Rows<Event>, _: &mut GroupState<i64>| Ok(None::<(String, i64)>);
        grouped.flat_map_groups_with_state("k STRING, n BIGINT", OutputMode::Update, GroupStateTimeout::None, f)
    };
    let mut run = bench.open(twice).await.unwrap();
    bench.feed(&["b"]);
    assert_eq!(condition(run.batch().await), "STATEFUL_PROCESSOR_CANNOT_REINITIALIZE_STATE_ON_KEY");
}

#[tokio::test]
async fn keys_of_several_columns_and_arrow_rows() {
    #[derive(Serialize, Deserialize)]
    struct Key {
        k: Option<String>,
        odd: i64,
    }
    #[derive(Serialize)]
    struct Sum {
        key: Key,
        sum: i64,
    }
    async fn query(_: &Session, s: DataFrame) -> Result<DataFrame> {
        let sum = |key: Key, rows: RecordBatch, state: &mut GroupState<Vec<i64>>| {
            let n = rows.column_by_name("n").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
            let mut all = state.get().cloned().unwrap_or_default();
            all.extend(n.into_iter().flatten().flatten());
            let sum = all.iter().sum();
            state.update(all);
            Ok(vec![Sum { key, sum }])
        };
        let keys = [col("k"), (col("n") % lit(2_i64)).alias("odd")];
        let columns = "key STRUCT<k: STRING, odd: BIGINT>, sum BIGINT";
        s.group_by_key(keys)?.flat_map_groups_with_state(columns, OutputMode::Update, GroupStateTimeout::None, sum)
    }
    let bench = Bench { partitions: 4, ..Bench::new(OutputMode::Update) };
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("a", 1), ("b", 2), ("a", 3), ("a", 4)]);
    assert_eq!(run.batch().await.unwrap(), ["{k: a, odd: 1} 4", "{k: b, odd: 0} 2", "{k: a, odd: 0} 4"]);
    bench.feed_rows(&[("a", 5)]);
    assert_eq!(run.batch().await.unwrap(), ["{k: a, odd: 1} 9"]);
}

#[tokio::test]
async fn what_fails_in_a_function_fails_the_batch_and_changes_nothing() {
    async fn query(_: &Session, s: DataFrame) -> Result<DataFrame> {
        let f = |key: String, rows: Rows<Event>, state: &mut GroupState<i64>| {
            let n = state.get().unwrap_or(&0) + rows.len() as i64;
            state.update(n);
            match key.as_str() {
                "error" => Err(Error::execution("MINE", "a reason of my own")),
                "panic" => panic!("at the function"),
                "duration" => state.set_timeout_duration(Duration::from_secs(1)).map(|()| vec![]),
                "timestamp" => state.set_timeout_timestamp(1).map(|()| vec![]),
                "watermark" => state.get_current_watermark_ms().map(|_| vec![]),
                _ => Ok(vec![(key, n)]),
            }
        };
        let groups = s.group_by_key([col("k")])?;
        groups.flat_map_groups_with_state("k STRING, n BIGINT", OutputMode::Update, GroupStateTimeout::None, f)
    }
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(query).await.unwrap();
    bench.feed(&["a"]);
    assert_eq!(run.drain().await.unwrap(), ["a 1"]);
    for (key, reason) in [
        ("error", "[MINE] a reason of my own"),
        ("panic", "[USER_FUNCTION_PANIC] it panicked: at the function"),
        ("duration", "Cannot set timeout duration"),
        ("timestamp", "Cannot set timeout timestamp"),
        ("watermark", "Cannot get event time watermark"),
    ] {
        let bench = Bench::new(OutputMode::Update);
        let mut run = bench.open(query).await.unwrap();
        bench.feed(&["a"]);
        run.batch().await.unwrap();
        bench.feed(&["a", key]);
        let failed = run.batch().await.unwrap_err();
        assert_eq!(failed.condition(), "FLATMAPGROUPSWITHSTATE_USER_FUNCTION_ERROR");
        assert!(failed.message().contains(reason), "{failed}");
    }
}

#[tokio::test]
async fn timeouts_are_checked() {
    async fn query(_: &Session, s: DataFrame) -> Result<DataFrame> {
        let f = |key: String, _: Rows<Event>, state: &mut GroupState<()>| {
            let wrong = |r: Result<()>| r.err().map(|e| e.message().to_owned()).unwrap_or_default();
            let zero = wrong(state.set_timeout_timestamp(0));
            let early = wrong(state.set_timeout_timestamp(state.get_current_watermark_ms()?.saturating_sub(1)));
            state.set_timeout_timestamp(state.get_current_watermark_ms()?.max(1))?;
            Ok(vec![(key, format!("{zero}, {early}"))])
        };
        let groups = s.with_watermark("ts", Duration::ZERO)?.group_by_key([col("k")])?;
        groups.flat_map_groups_with_state("k STRING, e STRING", OutputMode::Update, GroupStateTimeout::EventTime, f)
    }
    let bench = Bench::new(OutputMode::Update);
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("a", 5)]);
    run.batch().await.unwrap();
    // A timeout without a state keeps the key.
    assert_eq!(run.state(), (1, 1, 0, 0));
    bench.feed_rows(&[("b", 6)]);
    let rows = run.batch().await.unwrap();
    let early = "Timeout timestamp (4999) cannot be earlier than the current watermark (5000)";
    assert_eq!(rows[0], format!("b Timeout timestamp must be positive, {early}"));
    assert!(rows[1].starts_with('a'));
}

#[tokio::test]
async fn the_type_of_state_may_grow() {
    #[derive(Serialize, Deserialize)]
    struct Old {
        n: i64,
    }
    #[derive(Serialize, Deserialize, Clone)]
    struct New {
        #[serde(default)]
        names: Vec<String>,
        n: i64,
    }
    let bench = Bench::new(OutputMode::Update);
    let old = async |_: &Session, s: DataFrame| {
        let f = |key: String, rows: Rows<Event>, state: &mut GroupState<Old>| {
            state.update(Old { n: rows.len() as i64 });
            Ok(Some((key,)))
        };
        let groups = s.group_by_key([col("k")])?;
        groups.flat_map_groups_with_state("k STRING", OutputMode::Update, GroupStateTimeout::None, f)
    };
    let mut run = bench.open(old).await.unwrap();
    bench.feed(&["a", "a"]);
    run.batch().await.unwrap();
    run.close().await;
    let new = async |_: &Session, s: DataFrame| {
        let f = |key: String, _: Rows<Event>, state: &mut GroupState<New>| {
            let mut old = state.get().cloned().unwrap_or(New { names: vec![], n: 0 });
            old.names.push(key);
            let row = (format!("{:?}", old.names), old.n);
            state.update(old);
            Ok(Some(row))
        };
        let groups = s.group_by_key([col("k")])?;
        groups.flat_map_groups_with_state("names STRING, n BIGINT", OutputMode::Update, GroupStateTimeout::None, f)
    };
    let mut run = bench.open(new).await.unwrap();
    bench.feed(&["a"]);
    assert_eq!(run.batch().await.unwrap(), ["[\"a\"] 2"]);
}

#[tokio::test]
async fn duplicates_are_dropped_as_in_sql() {
    let bench = Bench::new(OutputMode::Append);
    let query = async |_: &Session, s: DataFrame| {
        s.with_watermark("ts", "2 seconds")?
            .drop_duplicates_within_watermark(&["K"])?
            .select_columns(&["k", "n"])
            .map_err(Error::from)
    };
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("a", 10), ("a", 11), ("b", 12)]);
    assert_eq!(run.drain().await.unwrap(), ["a 10", "b 12"]);
    bench.feed_rows(&[("a", 12), ("c", 9), ("c", 20)]);
    assert_eq!(run.batch().await.unwrap(), ["c 20"]);
    assert_eq!(run.state().3, 1);

    let bench = Bench::new(OutputMode::Append);
    let query = async |_: &Session, s: DataFrame| {
        s.with_watermark("ts", "10 seconds")?
            .drop_duplicates(&["k", "ts"])?
            .select_columns(&["k", "n"])
            .map_err(Error::from)
    };
    let mut run = bench.open(query).await.unwrap();
    bench.feed_rows(&[("a", 10), ("a", 10), ("a", 25)]);
    assert_eq!(run.drain().await.unwrap(), ["a 10", "a 25"]);
    assert_eq!(run.state().0, 1);
}
