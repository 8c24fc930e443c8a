//! The oracle: rows cut into random batches, with restarts between them, give what one batch query gives over all rows.

use std::collections::HashSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidemill::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use tidemill::arrow::compute::concat_batches;
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill::testing::Failpoints;
use tidemill::{MemorySink, MemoryStream, OutputMode, Result};

use super::stepped::{Setup, Stepped, batch_query, last_by_key, sorted, texts};

/// Rows from which the engine takes its parallel plan.
const PARALLEL: usize = 60_000;

const STATIC: &str =
    "CREATE VIEW d AS SELECT * FROM (VALUES ('a', 1), ('b', 2), ('b', 3), ('ü', 4), (NULL, 5), ('zz', 6)) AS t(dk, w);";

/// Aggregates, and how many of the first columns are the key.
const AGGREGATES: &[(usize, &str)] = &[
    (1, "SELECT k, count(*), count(i), sum(i), min(i), max(i), avg(i) FROM s GROUP BY k"),
    (1, "SELECT k, count(x), sum(x), avg(x), min(x), max(x) FROM s WHERE NOT isnan(x) GROUP BY k"),
    (1, "SELECT k, sum(m), avg(m), min(m), max(m), count(m) FROM s GROUP BY k"),
    (1, "SELECT k, min(t), max(t), count(t), min(b), max(b) FROM s GROUP BY k"),
    (1, "SELECT k, bool_and(b), bool_or(b), bit_and(i), bit_or(i), bit_xor(i) FROM s GROUP BY k"),
    (1, "SELECT k, stddev(i), stddev_pop(i), var_samp(i), var_pop(i) FROM s GROUP BY k"),
    (1, "SELECT k, corr(id, i), covar_pop(id, i), covar_samp(id, i) FROM s GROUP BY k"),
    (1, "SELECT k, first_value(i ORDER BY id), last_value(i ORDER BY id), last_value(t ORDER BY id) FROM s GROUP BY k"),
    (1, "SELECT k, sort_array(collect_list(id)), sort_array(collect_set(t)) FROM s GROUP BY k"),
    (1, "SELECT k, approx_count_distinct(i), approx_count_distinct(t) FROM s GROUP BY k"),
    (1, "SELECT k, max_by(t, id), min_by(t, id) FROM s GROUP BY k"),
    (1, "SELECT k, percentile(i, 0.5), median(i) FROM s GROUP BY k"),
    (2, "SELECT DISTINCT k, b FROM s"),
    (1, "SELECT DISTINCT x FROM s"),
    (2, "SELECT DISTINCT m, t FROM s"),
    (1, "SELECT k, count(*) FILTER (WHERE b), sum(i) FILTER (WHERE i > 0) FROM s GROUP BY k"),
    (2, "SELECT k, b, count(*), sum(i) FROM s GROUP BY k, b"),
    (1, "SELECT x, count(*) FROM s GROUP BY x"),
    (1, "SELECT m, count(*), max(t) FROM s GROUP BY m"),
    (1, "SELECT i % 7 AS r, count(*), sum(id) FROM s GROUP BY i % 7"),
    (1, "SELECT upper(t) AS u, count(*) AS n, concat('n=', count(*)) FROM s GROUP BY upper(t)"),
    (0, "SELECT count(*), sum(i), avg(i), min(t), max(t) FROM s"),
    (1, "SELECT w, count(*) FROM (SELECT explode(split(t, ' ')) AS w FROM s) GROUP BY w"),
    (1, "SELECT w, count(*), sum(i) FROM s JOIN d ON k = dk GROUP BY w"),
    (1, "SELECT dk, count(*), sum(w) FROM s LEFT JOIN d ON k = dk GROUP BY dk"),
    (1, "SELECT k, count(*), max(i) FROM (SELECT k, i FROM s UNION ALL SELECT t, id FROM s) GROUP BY k"),
    (1, "SELECT k, sum(n) FROM (SELECT k, i * 2 AS n FROM s WHERE b) GROUP BY k"),
];

/// What only complete mode can have: a group may leave the result, or its rows have an order.
const COMPLETE: &[&str] = &[
    "SELECT k, count(*) AS n FROM s GROUP BY k HAVING count(*) % 2 = 0",
    "SELECT k, count(*) AS n, sum(i) FROM s GROUP BY k ORDER BY n DESC, k LIMIT 5",
    "SELECT k, sum(i) AS n FROM s GROUP BY k HAVING sum(i) > 0 ORDER BY n, k",
];

/// Rows in, rows out.
const APPEND: &[&str] = &[
    "SELECT id, k, upper(t), i + 1, m * 2, x FROM s WHERE b OR i IS NULL",
    "SELECT id, explode(split(t, ' ')) AS w FROM s",
    "SELECT id, pos, w FROM s LATERAL VIEW posexplode(split(t, ' ')) e AS pos, w",
    "SELECT id, k FROM s WHERE i > 0 UNION ALL SELECT -id, t FROM s WHERE i <= 0",
    "SELECT id, k, w FROM s JOIN d ON k = dk",
    "SELECT id, k, w FROM s LEFT JOIN d ON k = dk AND w > 1",
    "SELECT id, k, w FROM d RIGHT JOIN s ON k = dk",
    "SELECT id, k FROM s LEFT SEMI JOIN d ON k = dk",
    "SELECT id, k FROM s LEFT ANTI JOIN d ON k = dk",
    "SELECT id FROM s WHERE k IN (SELECT dk FROM d WHERE w > 1)",
];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("k", DataType::Utf8View, true),
        Field::new("i", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("m", DataType::Decimal128(10, 2), true),
        Field::new("t", DataType::Utf8View, true),
        Field::new("b", DataType::Boolean, true),
    ]))
}

/// Random rows; their ids go on from `first`. Doubles are such that sums of them are exact in any order.
fn rows(rng: &mut StdRng, first: i64, n: usize) -> RecordBatch {
    fn some<T>(rng: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
        (rng.random_range(0..8) > 0).then(|| value(rng))
    }
    const KEYS: [&str; 8] = ["a", "b", "", "ü", "日本", "zz", "a key that is longer than twelve bytes", "B"];
    const TEXTS: [&str; 6] = ["x", "x y", "  ", "", "straße y", "🦀 x 🦀"];
    const DOUBLES: [f64; 8] = [0.0, -0.0, 1.5, -2.25, 1024.0, f64::NAN, 0.5, -7.0];
    let mut column = |f: &mut dyn FnMut(&mut StdRng) -> usize| (0..n).map(|_| some(rng, &mut *f)).collect::<Vec<_>>();
    let k = column(&mut |r| r.random_range(0..KEYS.len()));
    let i = column(&mut |r| r.random_range(0..100));
    let x = column(&mut |r| r.random_range(0..DOUBLES.len()));
    let m = column(&mut |r| r.random_range(0..2_000));
    let t = column(&mut |r| r.random_range(0..TEXTS.len()));
    let b = column(&mut |r| r.random_range(0..2));
    let decimals: Decimal128Array = m.into_iter().map(|v| v.map(|v| v as i128 - 500)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new((first..first + n as i64).collect::<Int64Array>()),
        Arc::new(k.into_iter().map(|v| v.map(|v| KEYS[v])).collect::<StringViewArray>()),
        Arc::new(i.into_iter().map(|v| v.map(|v| v as i64 - 50)).collect::<Int64Array>()),
        Arc::new(x.into_iter().map(|v| v.map(|v| DOUBLES[v])).collect::<Float64Array>()),
        Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(t.into_iter().map(|v| v.map(|v| TEXTS[v])).collect::<StringViewArray>()),
        Arc::new(b.into_iter().map(|v| v.map(|v| v == 1)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Rows in random pieces, some of them without rows; with `large`, one that the parallel plan gets.
fn pieces(rng: &mut StdRng, large: bool) -> Vec<RecordBatch> {
    let mut sizes: Vec<usize> = (0..rng.random_range(3..7)).map(|_| rng.random_range(0..40)).collect();
    if large {
        sizes.insert(rng.random_range(0..=2), PARALLEL);
    }
    let mut first = 0;
    let mut piece = |n: usize| {
        first += n as i64;
        rows(rng, first - n as i64, n)
    };
    sizes.into_iter().map(&mut piece).collect()
}

fn setup(rng: &mut StdRng) -> Setup {
    let pick = |rng: &mut StdRng, of: &[usize]| of[rng.random_range(0..of.len())];
    Setup { partitions: pick(rng, &[1, 2, 4]), batch_size: pick(rng, &[1, 3, 8192]) }
}

/// Runs the query over the pieces, several of them to a batch at times; it is stopped, or dies, and comes back.
async fn stream(
    rng: &mut StdRng,
    sql: &str,
    mode: OutputMode,
    pieces: &[RecordBatch],
) -> Result<Vec<Vec<Vec<String>>>> {
    let checkpoint = tempfile::tempdir().unwrap();
    let stepped = Stepped {
        sql,
        mode,
        static_side: STATIC,
        views: "",
        stream: MemoryStream::new(schema()),
        sink: Arc::new(MemorySink::keeping_all("q")),
        failpoints: Failpoints::default(),
        checkpoint: checkpoint.path(),
    };
    let large = pieces.iter().any(|p| p.num_rows() >= PARALLEL);
    // Batches of one row would take a debug build too long over many rows.
    let next = |rng: &mut StdRng| if large { Setup { batch_size: 8192, ..setup(rng) } } else { setup(rng) };
    stepped.run_over_restarts(rng, pieces, next).await?;
    Ok(stepped.batches())
}

/// One round of one query; what is wrong with it.
async fn differs(seed: u64, sql: &str, mode: OutputMode, keys: usize, large: bool) -> Option<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let pieces = pieces(&mut rng, large);
    let all = concat_batches(&schema(), &pieces).unwrap();
    let expected = match batch_query(sql, STATIC, &[all]).await {
        Ok(expected) => expected,
        Err(e) => return Some(format!("the batch query {sql}: {e}")),
    };
    let batches = match stream(&mut rng, sql, mode, &pieces).await {
        Ok(batches) => batches,
        Err(e) => return Some(format!("seed {seed}, {mode} mode, {sql}: {e}")),
    };
    let got = match mode {
        OutputMode::Append => batches.concat(),
        OutputMode::Update => last_by_key(&batches, keys),
        OutputMode::Complete => batches.last().cloned().unwrap_or_default(),
    };
    let ordered = sql.contains("ORDER BY n");
    let (got, expected) = if ordered { (got, expected) } else { (sorted(got), sorted(expected)) };
    if got == expected {
        return None;
    }
    let only = |these: &[Vec<String>], those: &[Vec<String>]| -> Vec<Vec<String>> {
        these.iter().filter(|row| !those.contains(row)).take(5).cloned().collect()
    };
    Some(format!(
        "seed {seed}, {mode} mode, {sql}\n  {} rows instead of {}\n  only in the stream: {:?}\n  only in the batch query: {:?}",
        got.len(),
        expected.len(),
        only(&got, &expected),
        only(&expected, &got)
    ))
}

async fn check(queries: impl Iterator<Item = (usize, &'static str, OutputMode)>, seeds: &[u64]) {
    let mut failures = vec![];
    for (keys, sql, mode) in queries {
        for &seed in seeds {
            failures.extend(differs(seed, sql, mode, keys, seed % 4 == 0).await);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_in_update_mode() {
    check(AGGREGATES.iter().map(|(keys, sql)| (*keys, *sql, OutputMode::Update)), &[1, 2, 3, 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_in_complete_mode() {
    let both = AGGREGATES.iter().map(|(_, sql)| *sql).chain(COMPLETE.iter().copied());
    check(both.map(|sql| (0, sql, OutputMode::Complete)), &[5, 6, 8]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_append_mode() {
    check(APPEND.iter().map(|sql| (0, *sql, OutputMode::Append)), &[9, 10, 11, 12]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_gives_the_first_rows_that_came() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let pieces = pieces(&mut rng, false);
        let total: usize = pieces.iter().map(RecordBatch::num_rows).sum();
        let limit = rng.random_range(0..total + 10);
        let sql = format!("SELECT id, k FROM s LIMIT {limit}");
        let got = stream(&mut rng, &sql, OutputMode::Append, &pieces).await.unwrap().concat();
        let mut all = texts(&pieces);
        all.iter_mut().for_each(|row| row.truncate(2));
        all.truncate(limit);
        assert_eq!(sorted(got), sorted(all), "seed {seed}, {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_on_gives_one_row_of_every_key() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let pieces = pieces(&mut rng, false);
        let sql = "SELECT DISTINCT ON (k, b) * FROM s";
        let got = stream(&mut rng, sql, OutputMode::Append, &pieces).await.unwrap().concat();
        let all = texts(&pieces);
        let key = |row: &Vec<String>| (row[1].clone(), row[6].clone());
        let keys: HashSet<_> = all.iter().map(key).collect();
        assert_eq!(got.iter().map(key).collect::<HashSet<_>>(), keys, "seed {seed}");
        assert_eq!(got.len(), keys.len(), "seed {seed}: a key came twice");
        assert!(got.iter().all(|row| all.contains(row)), "seed {seed}: a row that was never sent");
    }
}
