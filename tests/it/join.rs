//! Joins of two streams: rows cut into random batches, with restarts between them, give what one batch query gives over all
//! rows, once a last pair of rows has moved the watermark past the others; and what the watermark has passed is forgotten.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidemill::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use tidemill::arrow::compute::concat_batches;
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill::testing::Failpoints;
use tidemill::{MemorySink, MemoryStream, OutputMode, Result};

use super::stepped::{Setup, Stepped, batch_query, sorted};

/// Later than all other rows.
const LAST: i64 = 10_000_000;
/// Rows from which the engine takes its parallel plan.
const PARALLEL: usize = 50_000;

/// Both sides, of rows whose ids are their times in seconds.
const SIDES: &str = "(SELECT id, k, i, ts, window(ts, '10 seconds') AS w FROM s WATERMARK timestamp_seconds(id) AS ts DELAY \
                     OF INTERVAL 0 SECONDS WHERE b) a JOIN (SELECT id, k, i, ts, window(ts, '10 seconds') AS w FROM s \
                     WATERMARK timestamp_seconds(id) AS ts DELAY OF INTERVAL 0 SECONDS WHERE NOT b) b";

const BOTH: &str = "a.id, a.k, a.i, b.id AS bid, b.k AS bk, b.i AS bi";

const RANGE: &str =
    "a.k = b.k AND a.i = b.i AND b.ts BETWEEN a.ts - INTERVAL 20 SECONDS AND a.ts + INTERVAL 30 SECONDS";

/// Each uses one event time of a side, the time itself or its window: the other is pruned. None compares another column of a side
/// by `<` or `>` with a constant: as in Spark that counts as a bound of the side, and outer rows would wait for ever.
const CONDITIONS: &[&str] = &[
    RANGE,
    "a.k = b.k AND b.ts >= a.ts - INTERVAL 20 SECONDS AND b.ts < a.ts + INTERVAL 30 SECONDS AND a.i < b.i",
    "a.k <=> b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL 15 SECONDS AND a.i <> 0 AND b.i <> 3",
    "a.k = b.k AND a.w = b.w",
    "a.w = b.w AND a.i + 1 = b.i",
];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("k", DataType::Utf8View, true),
        Field::new("i", DataType::Int64, true),
        Field::new("b", DataType::Boolean, true),
    ]))
}

fn rows(rng: &mut StdRng, first: i64, n: usize) -> RecordBatch {
    const KEYS: [&str; 5] = ["a", "b", "", "a key that is longer than twelve bytes", "ü"];
    let some = |rng: &mut StdRng| rng.random_range(0..8) > 0;
    let keys: StringViewArray = (0..n).map(|_| some(rng).then(|| KEYS[rng.random_range(0..KEYS.len())])).collect();
    let distinct = if n == PARALLEL { 100 } else { 4 };
    let numbers: Int64Array = (0..n).map(|_| some(rng).then(|| rng.random_range(0..distinct))).collect();
    let sides: BooleanArray = (0..n).map(|_| some(rng).then(|| rng.random_range(0..2) == 0)).collect();
    let ids = (first..first + n as i64).collect::<Int64Array>();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(keys), Arc::new(numbers), Arc::new(sides)];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// One row for each side that matches nothing, and that no condition on its own side leaves out: it would not move the watermark.
fn last() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![LAST, LAST])),
        Arc::new(StringViewArray::from(vec!["left", "right"])),
        Arc::new(Int64Array::from(vec![1, 1])),
        Arc::new(BooleanArray::from(vec![true, false])),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn pieces(rng: &mut StdRng, large: bool) -> Vec<RecordBatch> {
    let mut sizes: Vec<usize> = (0..rng.random_range(4..9)).map(|_| rng.random_range(0..40)).collect();
    if large {
        sizes.insert(2, PARALLEL);
    }
    let mut first = 1;
    let mut piece = |n: usize| {
        first += n as i64;
        rows(rng, first - n as i64, n)
    };
    let mut pieces: Vec<RecordBatch> = sizes.into_iter().map(&mut piece).collect();
    pieces.push(last());
    pieces
}

fn stepped<'a>(sql: &'a str, checkpoint: &'a std::path::Path) -> Stepped<'a> {
    Stepped {
        sql,
        mode: OutputMode::Append,
        static_side: "",
        views: "",
        stream: MemoryStream::new(schema()),
        sink: Arc::new(MemorySink::keeping_all("q")),
        failpoints: Failpoints::default(),
        checkpoint,
    }
}

/// Runs the query over the pieces; it is stopped, or dies, and comes back.
async fn stream(rng: &mut StdRng, sql: &str, pieces: &[RecordBatch], large: bool) -> Result<Vec<Vec<String>>> {
    let checkpoint = tempfile::tempdir().unwrap();
    let stepped = stepped(sql, checkpoint.path());
    let setup = |rng: &mut StdRng| Setup {
        partitions: [1, 2, 4][rng.random_range(0..3)],
        batch_size: if large { 8192 } else { [1, 3, 8192][rng.random_range(0..3)] },
    };
    stepped.run_over_restarts(rng, pieces, setup).await?;
    Ok(stepped.batches().concat())
}

fn without_last(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let last = LAST.to_string();
    sorted(rows.into_iter().filter(|row| !row.contains(&last)).collect())
}

async fn check(join: &str, columns: &str) {
    for (at, condition) in CONDITIONS.iter().enumerate() {
        let sql = format!("SELECT {columns} FROM {} ON {condition}", SIDES.replace("JOIN", join));
        for seed in 0..4 {
            let mut rng = StdRng::seed_from_u64(seed * 10 + at as u64);
            let large = at == 0 && seed == 0 && join == "FULL JOIN";
            let pieces = pieces(&mut rng, large);
            let all = concat_batches(&schema(), &pieces).unwrap();
            let expected = batch_query(&sql, "", &[all]).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            let got =
                stream(&mut rng, &sql, &pieces, large).await.unwrap_or_else(|e| panic!("seed {seed}, {sql}: {e}"));
            let (got, expected) = (without_last(got), without_last(expected));
            assert!(expected.len() > 1, "seed {seed}, {sql}: nothing to compare");
            assert_eq!(got, expected, "seed {seed}, {sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inner_joins_give_what_the_batch_query_gives() {
    check("JOIN", BOTH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn left_joins_give_what_the_batch_query_gives() {
    check("LEFT JOIN", BOTH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn right_joins_give_what_the_batch_query_gives() {
    check("RIGHT JOIN", BOTH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_joins_give_what_the_batch_query_gives() {
    check("FULL JOIN", BOTH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn semi_joins_give_what_the_batch_query_gives() {
    check("LEFT SEMI JOIN", "a.id, a.k, a.i").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_without_a_watermark_keeps_everything() {
    let sql = "SELECT a.id, b.id AS bid FROM s a JOIN s b ON a.k = b.k AND a.i = b.i";
    for seed in 0..4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let pieces = pieces(&mut rng, false);
        let all = concat_batches(&schema(), &pieces).unwrap();
        let expected = batch_query(sql, "", &[all]).await.unwrap();
        assert_eq!(sorted(stream(&mut rng, sql, &pieces, false).await.unwrap()), sorted(expected), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_does_not_grow_while_the_watermark_moves() {
    let sql = format!("SELECT a.id, b.id AS bid FROM {} ON {RANGE}", SIDES.replace("JOIN", "FULL JOIN"));
    let checkpoint = tempfile::tempdir().unwrap();
    let stepped = stepped(&sql, checkpoint.path());
    let (_session, mut query) = stepped.open(Setup::PLAIN).await.unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let (mut most_rows, mut most_bytes) = (0, [0, 0]);
    for batch in 0..1000 {
        stepped.stream.add_data(rows(&mut rng, 1 + batch * 20, 20)).unwrap();
        while query.run_batch().await.unwrap() {}
        let progress = query.last_progress().unwrap();
        let state = &progress.state_operators[0];
        most_rows = most_rows.max(state.num_rows_total);
        let half = usize::from(batch >= 500);
        most_bytes[half] = most_bytes[half].max(state.memory_used_bytes);
    }
    // Rows that a range of 50 s leaves in state, and those of a batch.
    assert!(most_rows < 100, "{most_rows} rows");
    assert!(most_bytes[1] <= most_bytes[0] * 3 / 2, "{most_bytes:?} bytes");
}
