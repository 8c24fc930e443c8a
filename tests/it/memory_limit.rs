//! A state that is several times the limit of memory: every kind of state goes on in files, and answers as without a limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use tidemill::arrow::datatypes::Int64Type;
use tidemill::{MemoryStream, Session};

const BATCHES: i64 = 40;

/// What a state is asked to bear: keys and values that need three times the limit, or more.
#[derive(Clone, Copy)]
struct Load {
    batch_rows: i64,
    limit: &'static str,
}

/// Every key comes in two batches.
fn rows(batch: i64, count: i64) -> RecordBatch {
    let ids: Vec<i64> = (batch / 2 * count..(batch / 2 + 1) * count).collect();
    let keys = ids.iter().map(|id| format!("a key that is too long to be held inline, {id}"));
    let columns: [(&str, ArrayRef); 4] = [
        ("k", Arc::new(StringViewArray::from_iter_values(keys))),
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("v", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id % 7 + batch)))),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| id * 1000)).with_timezone("UTC")),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn run(
    conf: &[(&str, &str)],
    load: Load,
    query: &str,
    mode: &str,
) -> tidemill::Result<(BTreeMap<i64, i64>, u64)> {
    let mut builder = Session::builder().target_partitions(2);
    for (key, value) in conf {
        builder = builder.conf(*key, value);
    }
    let session = builder.build()?;
    let stream = MemoryStream::new(rows(0, 1).schema());
    session.register_stream("s", Arc::new(stream.clone()))?;
    session
        .sql(&format!("CREATE SINK o USING memory; CREATE FLOW f OUTPUT MODE {mode} AS INSERT INTO o {query}"))
        .await?;
    let flow = session.streams().get_by_name("f").expect("it runs");
    for batch in 0..BATCHES {
        stream.add_data(rows(batch, load.batch_rows))?;
        flow.process_all_available().await?;
    }
    let progress = flow.last_progress().expect("batches ran");
    let held = progress.state_operators[0].memory_used_bytes;
    // The last row of a key is what it has come to.
    let mut last = BTreeMap::new();
    for batch in session.context().sql("SELECT id, n FROM o").await?.collect().await? {
        let (ids, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
        for (id, n) in ids.values().iter().zip(values.values()) {
            last.entry(*id).and_modify(|old: &mut i64| *old = (*old).max(*n)).or_insert(*n);
        }
        assert_eq!(ids.null_count(), 0);
    }
    session.stop_all().await?;
    Ok((last, held))
}

async fn is_the_same_with_a_limit(load: Load, query: &str, mode: &str) {
    let (expected, held) = run(&[], load, query, mode).await.unwrap();
    let limit: u64 = load.limit.trim_end_matches("MB").parse::<u64>().unwrap() << 20;
    assert!(held >= 3 * limit, "{query}: a state of {held} bytes says little about a limit of {limit}");
    assert_eq!(expected.len() as i64, BATCHES / 2 * load.batch_rows, "{query}");
    let limited = run(&[("memory.limit", load.limit)], load, query, mode).await;
    let (limited, held_limited) = limited.unwrap_or_else(|e| panic!("{query}: {e}"));
    assert!(limited == expected, "{query}");
    assert!(held_limited <= limit, "{query}: {held_limited} bytes are on the heap");
    let in_memory = run(&[("memory.limit", load.limit), ("state.backend", "memory")], load, query, mode).await;
    assert_eq!(in_memory.unwrap_err().condition(), "STATE_MEMORY_LIMIT", "{query}: it is larger than the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups() {
    is_the_same_with_a_limit(
        Load { batch_rows: 10_000, limit: "10MB" },
        "SELECT id, n FROM (SELECT k, max(id) id, count(*) + sum(v) n, max(k) m, min(v) w, avg(v) a FROM s GROUP BY k)",
        "UPDATE",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_rows() {
    is_the_same_with_a_limit(
        Load { batch_rows: 10_000, limit: "10MB" },
        "SELECT DISTINCT ON (k, concat(k, ' and what makes it twice as long as that: ', k)) id, CAST(1 AS BIGINT) n FROM s",
        "APPEND",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_is_an_error_for_every_state() {
    let load = Load { batch_rows: 1_000, limit: "" };
    let conf = [("state.backend", "disk"), ("state.directory", "/proc/nothing-can-be-made-here")];
    for (query, mode) in [
        ("SELECT DISTINCT ON (k) id, CAST(1 AS BIGINT) n FROM s", "APPEND"),
        ("SELECT id, count(*) n FROM s GROUP BY id", "UPDATE"),
        ("SELECT a.id, a.v n FROM s a JOIN s b ON a.k = b.k", "APPEND"),
    ] {
        let error = run(&conf, load, query, mode).await.unwrap_err();
        assert_eq!(error.condition(), "STATE_DIRECTORY_IO", "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_join() {
    is_the_same_with_a_limit(
        Load { batch_rows: 5_000, limit: "10MB" },
        "SELECT a.id, a.v + b.v n FROM s a JOIN s b ON a.k = b.k AND a.id = b.id",
        "APPEND",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    is_the_same_with_a_limit(
        Load { batch_rows: 6_000, limit: "8MB" },
        "SELECT id, n FROM (SELECT k, max(id) id, count(*) n, max(k) m FROM s GROUP BY k, session_window(ts, '1 second'))",
        "COMPLETE",
    )
    .await;
}
