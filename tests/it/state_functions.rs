//! The examples of functions with state, over rows whose results are known; timeouts of queries that run by themselves.

use std::sync::Arc;
use std::time::Duration;

use tidemill::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill::arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill::prelude::*;
use tidemill::{ManualClock, MemoryStream};

#[path = "../../examples/sessions.rs"]
mod sessions;
#[path = "../../examples/state_by_key.rs"]
mod state_by_key;
#[path = "../../examples/timers.rs"]
mod timers;

/// A session whose clock only moves when told.
fn session() -> (Session, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Session::builder().clock(Clock::Manual(clock.clone())).build().unwrap(), clock)
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).unwrap()
}

/// Starts a query into the table `result`.
async fn start(frame: DataFrame, mode: OutputMode, trigger: Trigger) -> StreamingQuery {
    let writer = frame.write_stream().format("memory").query_name("result").output_mode(mode).trigger(trigger);
    writer.start().await.unwrap()
}

/// All rows that came so far.
async fn result(session: &Session) -> Vec<String> {
    let batches = session.context().table("result").await.unwrap().collect().await.unwrap();
    let options = FormatOptions::new();
    let row = |batch: &RecordBatch, i| {
        let cell = |c: &ArrayRef| ArrayFormatter::try_new(c, &options).unwrap().value(i).to_string();
        batch.columns().iter().map(cell).collect::<Vec<_>>().join(" ")
    };
    batches.iter().flat_map(|b| (0..b.num_rows()).map(|i| row(b, i)).collect::<Vec<_>>()).collect()
}

/// Waits until the query has given so many rows.
async fn wait_for_rows(session: &Session, query: &StreamingQuery, n: usize) -> Vec<String> {
    loop {
        let rows = result(session).await;
        if rows.len() >= n {
            return rows;
        }
        assert!(query.is_active(), "the query ended: {:?}", query.exception());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pairs(keys: &[&str]) -> RecordBatch {
    rows(vec![("key", text(keys)), ("n", Arc::new(Int64Array::from(vec![1; keys.len()])))])
}

#[tokio::test]
async fn state_by_key_counts_words() {
    let (session, _clock) = session();
    let stream = MemoryStream::new(pairs(&[]).schema());
    let frame = session.read_stream().memory(&stream).unwrap();
    let updated = state_by_key::update_state_by_key(frame, state_by_key::add).unwrap();
    let query = start(updated, OutputMode::Update, Trigger::Default).await;
    for words in [&["a", "b", "a"][..], &["b"]] {
        stream.add_data(pairs(words)).unwrap();
        query.process_all_available().await.unwrap();
    }
    assert_eq!(result(&session).await, ["a 2", "b 1", "b 2"]);
    query.stop().await.unwrap();
}

#[tokio::test]
async fn state_by_key_forgets_idle_words() {
    let (session, clock) = session();
    let stream = MemoryStream::new(pairs(&[]).schema());
    let frame = session.read_stream().memory(&stream).unwrap();
    let mapped = state_by_key::map_with_state(frame, Duration::from_secs(30), state_by_key::count).unwrap();
    let query = start(mapped, OutputMode::Update, Trigger::Default).await;
    stream.add_data(pairs(&["a", "b", "a"])).unwrap();
    query.process_all_available().await.unwrap();
    clock.advance(Duration::from_millis(30_001));
    assert_eq!(wait_for_rows(&session, &query, 5).await, ["a 1", "a 2", "b 1", "a -2", "b -1"]);
    query.process_all_available().await.unwrap();
    let state = query.last_progress().unwrap().state_operators[0].clone();
    assert_eq!((state.operator_name.as_str(), state.num_rows_total), ("flatMapGroupsWithState", 0));
    query.stop().await.unwrap();
}

fn clicks(clicks: &[(&str, i64, &str)]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(clicks.iter().map(|c| c.1 * 1_000_000));
    rows(vec![
        ("who", text(&clicks.iter().map(|c| c.0).collect::<Vec<_>>())),
        ("at", Arc::new(times.with_timezone("UTC"))),
        ("page", text(&clicks.iter().map(|c| c.2).collect::<Vec<_>>())),
    ])
}

#[tokio::test]
async fn sessions_end_by_silence_and_by_logout() {
    let (session, _clock) = session();
    let stream = MemoryStream::new(clicks(&[]).schema());
    let frame = session.read_stream().memory(&stream).unwrap();
    let query = start(sessions::sessions(frame).unwrap(), OutputMode::Append, Trigger::Default).await;
    stream
        .add_data(clicks(&[("ann", 60, "shop"), ("bob", 60, "shop"), ("ann", 100, "shop"), ("bob", 61, "logout")]))
        .unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(result(&session).await, ["bob 1970-01-01T00:01:00Z 1 2"]);
    // The watermark is a minute behind, and ann's session ends 300 s after her last click.
    stream.add_data(clicks(&[("carl", 470, "shop")])).unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(result(&session).await[1..], ["ann 1970-01-01T00:01:00Z 40 2"]);
    query.stop().await.unwrap();
}

fn readings(devices: &[&str]) -> RecordBatch {
    let values = Float64Array::from_iter_values((0..devices.len()).map(|i| i as f64));
    rows(vec![("device", text(devices)), ("value", Arc::new(values))])
}

#[tokio::test]
async fn silent_devices_are_found_on_a_grid_of_triggers() {
    let (session, clock) = session();
    let stream = MemoryStream::new(readings(&[]).schema());
    let frame = session.read_stream().memory(&stream).unwrap();
    let alerts = timers::alerts(frame, Duration::from_secs(3)).unwrap();
    stream.add_data(readings(&["x", "x", "y", "x", "x"])).unwrap();
    let query = start(alerts, OutputMode::Update, Trigger::ProcessingTime(Duration::from_secs(1))).await;
    let mut expected = vec!["x is silent after [1.0, 3.0, 4.0]", "y is silent after [2.0]"];
    while result(&session).await.len() < 2 {
        assert!(query.is_active(), "{:?}", query.exception());
        clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(result(&session).await, expected);
    stream.add_data(readings(&["y"])).unwrap();
    while result(&session).await.len() < 3 {
        clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expected.push("y is back");
    assert_eq!(result(&session).await[..3], expected);
    // Batches without data go on at every trigger; that is not work to wait for.
    let advance = async {
        loop {
            clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = query.process_all_available() => done.unwrap(),
        () = advance => {}
    }
    query.stop().await.unwrap();
}
