//! The parts of a trigger by themselves: `cargo bench --bench parts`.
//!
//! Looking keys up, merging a state, appending to the log, printing a table; and through a whole trigger without a checkpoint, of one row (executing
//! a plan again) and of ten thousand: decoding JSON and CSV, expanding windows, a join of streams. Criterion's figures, no assertions.

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use pipeline::{Pipeline, runtime};
use tidemill::OutputMode;
use tidemill::testing::parts::{self, Work};

const KEYS: usize = 1_000_000;
const ROWS: usize = 10_000;

fn measure(c: &mut Criterion, name: &str, rows: usize, work: tidemill::Result<Work>) {
    let mut work = work.expect("it can be set up");
    let mut group = c.benchmark_group("parts");
    group.throughput(Throughput::Elements(rows as u64));
    group.bench_function(name, |b| b.iter(|| work().expect("it works")));
    group.finish();
}

fn by_themselves(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    measure(c, "key index: 1000 of 1 M keys", 1000, parts::key_index(KEYS, 1000));
    measure(c, "state merge: 1000 of 1 M keys", 1000, parts::state_merge(KEYS, 1000));
    measure(c, "log append: 1 change", 1, parts::log_append(&dir.path().join("1"), 1));
    measure(c, "log append: 1000 changes", 1000, parts::log_append(&dir.path().join("1000"), 1000));
    measure(c, "console table: 20 rows", 20, parts::console_table(20));
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [("k", DataType::Int64), ("t", time), ("json", DataType::Utf8View), ("csv", DataType::Utf8View)];
    Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
}

fn rows(count: usize, round: i64) -> RecordBatch {
    let numbers = || 0..count as i64;
    let text = |f: fn(i64) -> String| Arc::new(StringViewArray::from_iter_values(numbers().map(f))) as ArrayRef;
    let times = TimestampMicrosecondArray::from_iter_values(numbers().map(|i| (round * 10 + i % 10) * 1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers().map(|i| i % 1000))),
        Arc::new(times.with_timezone("UTC")),
        text(|i| format!(r#"{{"id": {i}, "word": "word{i}", "price": {i}.25, "more": [1, 2]}}"#)),
        text(|i| format!("{i},word{i},{i}.25")),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit the schema")
}

fn through_a_trigger(c: &mut Criterion) {
    let fields = "'id BIGINT, word STRING, price DOUBLE'";
    let window = |window: &str| {
        format!("SELECT {window} AS w, k, count(*) AS n FROM s WATERMARK t DELAY OF INTERVAL 1 SECOND GROUP BY 1, k")
    };
    let queries = [
        ("plan again: 1 row, filter", 1, "SELECT k FROM s WHERE k >= 0".to_owned()),
        ("plan again: 1 row, count by key", 1, "SELECT k, count(*) AS n FROM s GROUP BY k".to_owned()),
        ("json", ROWS, format!("SELECT from_json(json, {fields}) AS j FROM s")),
        ("csv", ROWS, format!("SELECT from_csv(csv, {fields}) AS c FROM s")),
        ("tumbling windows", ROWS, window("window(t, '10 seconds')")),
        ("sliding windows, five each", ROWS, window("window(t, '10 seconds', '2 seconds')")),
        (
            "join of streams",
            ROWS,
            "SELECT a.k FROM s WATERMARK t DELAY OF INTERVAL 1 SECOND AS a JOIN s WATERMARK t DELAY OF INTERVAL 1 SECOND AS b \
             ON a.k = b.k AND a.json = b.json AND b.t BETWEEN a.t - INTERVAL 1 SECOND AND a.t + INTERVAL 1 SECOND"
                .to_owned(),
        ),
    ];
    let runtime = runtime();
    for (name, count, sql) in queries {
        let is_update = !sql.contains("JOIN") && sql.contains("GROUP BY");
        let mode = if is_update { OutputMode::Update } else { OutputMode::Append };
        let mut pipeline = runtime.block_on(Pipeline::new(schema(), &sql, mode, false));
        let mut round = 0;
        let mut group = c.benchmark_group("parts");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| {
            let next = || {
                round += 1;
                rows(count, round)
            };
            let run = |batch: RecordBatch| runtime.block_on(pipeline.trigger(&[batch]));
            b.iter_batched(next, run, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, by_themselves, through_a_trigger);
criterion_main!(benches);
