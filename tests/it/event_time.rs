//! Event time against the batch query: sessions and windows of random rows, cut into random batches with restarts between
//! them; times before 1970 and in the year 9999; and streams that go on for a long time.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemill::testing::Failpoints;
use tidemill::{MemorySink, MemoryStream, OutputMode, Result};

use super::stepped::{Setup, Stepped, batch_query, last_by_key, sorted};

const SECOND: i64 = 1_000_000;
const YEAR_9999: i64 = 253_370_764_800 * SECOND;
/// The key of the row that ends a stream: its time closes every window.
const LAST: &str = "the last";

/// Over all rows but the last, with `WATERMARK` in its place.
const SESSIONS: &[&str] = &[
    "SELECT k, session_window.start, session_window.end, count(*), sum(v), min(v), avg(v) FROM s{W} GROUP BY session_window(ts, '10 seconds'), k",
    "SELECT k, session_window, count(*), sort_array(collect_list(v)) FROM s{W} GROUP BY k, session_window(ts, CASE WHEN v % 3 = 0 THEN '1 minute' WHEN v % 7 = 0 THEN '-1 second' ELSE '3 seconds' END)",
    "SELECT v % 5 AS m, k, session_window.end, count(v) FILTER (WHERE v > 50) FROM s{W} WHERE v > 10 GROUP BY v % 5, session_window(ts, '20 seconds'), k HAVING count(*) > 1",
    "SELECT k, window_start, window_end, sum(v) FROM SESSION(TABLE w PARTITION BY k, DESCRIPTOR(ts), INTERVAL '7' SECONDS) GROUP BY k, window_start, window_end",
];

/// Windows, whose first columns are the key.
const WINDOWS: &[(usize, &str)] = &[
    (1, "SELECT window AS w, count(*), sum(v) FROM s{W} GROUP BY window(ts, '10 seconds')"),
    (2, "SELECT window.start, k, count(*), max(v) FROM s{W} GROUP BY window(ts, '10 seconds', '3 seconds'), k"),
    (1, "SELECT window.end, sum(v) FROM s{W} GROUP BY window(ts, '1 minute', '1 second', '500 milliseconds')"),
    (
        2,
        "SELECT window_start, window_end, count(*), sum(v) FROM TUMBLE(TABLE w, DESCRIPTOR(ts), INTERVAL 10 SECONDS) GROUP BY window_start, window_end",
    ),
    (
        3,
        "SELECT window_start, window_end, k, sum(v) FROM HOP(TABLE w, DESCRIPTOR(ts), INTERVAL 5 SECONDS, INTERVAL 20 SECONDS) GROUP BY window_start, window_end, k",
    ),
];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("k", DataType::Utf8View, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: Vec<(Option<i64>, Option<&str>, i64)>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(rows.iter().map(|r| r.1).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Pieces of rows around this time.
fn pieces(rng: &mut StdRng, around: i64) -> Vec<RecordBatch> {
    let sizes: Vec<usize> = (0..rng.random_range(3..7)).map(|_| rng.random_range(0..60)).collect();
    let row = |rng: &mut StdRng| {
        let ts = around + rng.random_range(-300..300) * SECOND + rng.random_range(0..3) * 333_333;
        let k = [Some("a"), Some("b"), Some("c"), None][rng.random_range(0..4)];
        ((rng.random_range(0..20) > 0).then_some(ts), k, rng.random_range(0..100))
    };
    sizes.into_iter().map(|n| batch((0..n).map(|_| row(rng)).collect())).collect()
}

fn setup(rng: &mut StdRng) -> Setup {
    let pick = |rng: &mut StdRng, of: &[usize]| of[rng.random_range(0..of.len())];
    Setup { partitions: pick(rng, &[1, 2, 4]), batch_size: pick(rng, &[1, 3, 8192]) }
}

/// `sql` over rows, with or without a watermark.
fn query(sql: &str, watermark: &str) -> (String, String) {
    let view = format!("CREATE VIEW w AS SELECT * FROM s{watermark};");
    (sql.replace("{W}", watermark), view)
}

async fn stream(
    rng: &mut StdRng,
    (sql, view): &(String, String),
    mode: OutputMode,
    pieces: &[RecordBatch],
) -> Result<Vec<Vec<Vec<String>>>> {
    let checkpoint = tempfile::tempdir().unwrap();
    let stepped = Stepped {
        sql,
        mode,
        static_side: "",
        views: view,
        stream: MemoryStream::new(schema()),
        sink: Arc::new(MemorySink::keeping_all("q")),
        failpoints: Failpoints::default(),
        checkpoint: checkpoint.path(),
    };
    stepped.run_over_restarts(rng, pieces, setup).await?;
    Ok(stepped.batches())
}

async fn check(seed: u64, sql: &str, keys: usize, mode: OutputMode, around: i64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pieces = pieces(&mut rng, around);
    let (plain, view) = query(sql, "");
    let expected = batch_query(&plain, &view, &pieces).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let watermark = if mode == OutputMode::Append { " WATERMARK ts DELAY OF INTERVAL 1 HOUR" } else { "" };
    if mode == OutputMode::Append {
        pieces.push(batch(vec![(Some(around + 20_000 * SECOND), Some(LAST), 77)]));
    }
    let got = stream(&mut rng, &query(sql, watermark), mode, &pieces).await;
    let got = got.unwrap_or_else(|e| panic!("seed {seed}, {mode} mode, {sql}: {e}"));
    let got = match mode {
        OutputMode::Append => got.concat(),
        OutputMode::Update => last_by_key(&got, keys),
        OutputMode::Complete => got.last().cloned().unwrap_or_default(),
    };
    assert_eq!(sorted(got), sorted(expected), "seed {seed}, {mode} mode, {sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_those_of_the_batch_query() {
    for sql in SESSIONS {
        for seed in 0..4 {
            check(seed, sql, 0, OutputMode::Append, 1_000_000 * SECOND).await;
            check(seed + 10, sql, 0, OutputMode::Complete, [0, -5_000_000 * SECOND, YEAR_9999][seed as usize % 3])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_those_of_the_batch_query() {
    for (keys, sql) in WINDOWS {
        for (seed, around) in [0, -5_000_000 * SECOND, YEAR_9999].into_iter().enumerate() {
            let seed = seed as u64;
            check(seed, sql, *keys, OutputMode::Update, around).await;
            check(seed + 10, sql, 0, OutputMode::Complete, around).await;
            check(seed + 20, sql, 0, OutputMode::Append, around.abs() + 1_000_000 * SECOND).await;
        }
    }
}

/// Rows in state and bytes of it stay what they are while the stream goes on.
#[tokio::test(flavor = "multi_thread")]
async fn state_does_not_grow_over_a_thousand_windows() {
    let windows = [
        "SELECT window.start, k, count(*) FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS GROUP BY window(ts, '10 seconds'), k",
        "SELECT k, session_window.start, count(*) FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS GROUP BY session_window(ts, '3 seconds'), k",
        "SELECT DISTINCT ts, k FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS",
    ];
    for sql in windows {
        let checkpoint = tempfile::tempdir().unwrap();
        let stepped = Stepped {
            sql,
            mode: OutputMode::Append,
            static_side: "",
            views: "",
            stream: MemoryStream::new(schema()),
            sink: Arc::new(MemorySink::keeping_all("q")),
            failpoints: Failpoints::default(),
            checkpoint: checkpoint.path(),
        };
        let (_session, mut query) = stepped.open(Setup::PLAIN).await.unwrap();
        let (mut rows, mut bytes) = (vec![], vec![]);
        for window in 0..1000 {
            let row = |k: &'static str| (Some((window + 1) * 10 * SECOND), Some(k), window);
            stepped.stream.add_data(batch(vec![row("a"), row("b"), row("c")])).unwrap();
            while query.run_batch().await.unwrap() {}
            let progress = query.last_progress().unwrap();
            rows.push(progress.state_operators[0].num_rows_total);
            bytes.push(progress.state_operators[0].memory_used_bytes);
        }
        assert!(rows.iter().all(|n| *n <= 9), "{sql}: {rows:?}");
        assert!(bytes[500..].iter().max() <= bytes[..500].iter().max(), "{sql}: {bytes:?}");
        assert_eq!(stepped.batches().concat().len() as u64, 3000 - rows[999], "{sql}");
    }
}
