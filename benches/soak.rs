//! A million triggers over a bounded state: `cargo bench --bench soak`, or `TRIGGERS=50000 cargo bench --bench soak`.
//!
//! Ten rows a trigger go into windows by key and through a deduplication, both bounded by a watermark that moves on; every record is durable.
//! Prints, for each twentieth of the run, the median and the slowest hundredth of a trigger, resident memory, rows of state, and files and bytes of the
//! checkpoint: at the end they must be as at the beginning. Figures, no assertions.

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use pipeline::{Pipeline, Random, ms, percentile, runtime};
use tidemill::OutputMode;

const QUERIES: [(&str, &str); 2] = [
    (
        "windows",
        "SELECT window.start AS w, k, count(*) AS n, sum(v) AS s \
         FROM s WATERMARK t DELAY OF INTERVAL 2 SECONDS GROUP BY window(t, '10 seconds'), k",
    ),
    (
        "deduplication",
        "SELECT DISTINCT ON (k, v) WITHIN WATERMARK k, v, t FROM s WATERMARK t DELAY OF INTERVAL 10 SECONDS",
    ),
];
const ROWS: usize = 10;
const PARTS: usize = 20;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [("k", DataType::Int64), ("v", DataType::Int64), ("t", time)];
    Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
}

/// The rows of trigger `number`, which is a hundredth of a second later than the one before.
fn rows(number: usize, random: &mut Random) -> RecordBatch {
    let ids = |random: &mut Random, below| (0..ROWS).map(|_| random.below(below) as i64).collect::<Vec<_>>();
    let late = |_| (number * 10_000) as i64 - random.below(1_000_000) as i64;
    let times = TimestampMicrosecondArray::from_iter_values((0..ROWS).map(late)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids(random, 1000))),
        Arc::new(Int64Array::from(ids(random, 1000))),
        Arc::new(times),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit the schema")
}

fn resident_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Files below `dir`, and their bytes.
fn size(dir: &Path) -> (usize, u64) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.fold((0, 0), |(files, bytes), entry| match entry.metadata() {
        Ok(m) if m.is_dir() => {
            let below = size(&entry.path());
            (files + below.0, bytes + below.1)
        }
        Ok(m) => (files + 1, bytes + m.len()),
        Err(_) => (files, bytes),
    })
}

fn soak(_: &mut Criterion) {
    let triggers: usize = std::env::var("TRIGGERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let runtime = runtime();
    for (name, sql) in QUERIES {
        println!("\n{name}: {triggers} triggers of {ROWS} rows, durable");
        println!("triggers so far   p50 ms   p99 ms   slowest   resident MB   rows of state   files      MB");
        runtime.block_on(async {
            let mut pipeline = Pipeline::new(schema(), sql, OutputMode::Append, true).await;
            let mut random = Random(7);
            let mut samples = vec![];
            for number in 1..=triggers {
                samples.push(pipeline.trigger(&[rows(number, &mut random)]).await);
                if number % (triggers / PARTS).max(1) == 0 {
                    let [p50, p99, slowest] = [0.5, 0.99, 1.0].map(|p| ms(percentile(&mut samples, p)));
                    let (files, bytes) = size(pipeline.dir.path());
                    let (resident, state) = (resident_mb(), pipeline.state().1);
                    let mb = bytes as f64 / (1 << 20) as f64;
                    println!(
                        "{number:>15} {p50:>8.3} {p99:>8.3} {slowest:>9.3} {resident:>13.1} {state:>15} {files:>7} {mb:>7.1}"
                    );
                    samples.clear();
                }
            }
        });
    }
}

criterion_group!(benches, soak);
criterion_main!(benches);
