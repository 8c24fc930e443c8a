//! What a trigger costs over a large state: `cargo bench --bench trigger`.
//!
//! Prints, for batches of 1 to 1000 new rows over a million keys, the median and the 99th percentile of a whole trigger:
//! rows in a memory stream → plan → state → durable record → sink. Then the throughput of large batches beside the plain
//! DataFusion aggregation of the same rows, in turn, memory per key, and the time a restart takes. Figures, no assertions.

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pipeline::{BATCH_ROWS, Pipeline, Random, batch_table, percentile, run_batch_query, runtime, summary};
use tidemill::OutputMode;
use tidemill::testing::MicroBatchExecution;

const KEYS: u64 = 1_000_000;
const COUNT_AND_SUM: &str = "SELECT k, count(*) AS c, sum(v) AS s FROM s GROUP BY k";
const COUNT: &str = "SELECT k, count(*) AS c FROM s GROUP BY k";
/// Triggers of a million rows, and as many batch queries beside them.
const ROUNDS: usize = 40;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8View, true), Field::new("v", DataType::Int64, true)]))
}

/// Keys of ten bytes.
fn rows(keys: impl Iterator<Item = u64>) -> Vec<RecordBatch> {
    let keys: Vec<u64> = keys.collect();
    let batch = |keys: &[u64]| {
        let words: ArrayRef = Arc::new(StringViewArray::from_iter_values(keys.iter().map(|k| format!("w{k:09}"))));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| *k as i64 % 1000)));
        RecordBatch::try_new(schema(), vec![words, values]).expect("columns fit the schema")
    };
    keys.chunks(BATCH_ROWS).map(batch).collect()
}

/// A query with a state of all keys.
async fn warm(sql: &str, durable: bool) -> Pipeline {
    let mut pipeline = Pipeline::new(schema(), sql, OutputMode::Update, durable).await;
    for from in (0..KEYS).step_by(100_000) {
        pipeline.trigger(&rows(from..from + 100_000)).await;
    }
    pipeline
}

/// Trigger overhead, with and without waiting for the disk.
fn latency(_: &mut Criterion) {
    let runtime = runtime();
    println!("\ntrigger latency, 1 M string keys in state, count and sum:");
    for durable in [true, false] {
        runtime.block_on(async {
            let mut pipeline = warm(COUNT_AND_SUM, durable).await;
            let mut random = Random(7);
            for n in [1, 10, 100, 1000] {
                let mut samples = vec![];
                for _ in 0..2000 {
                    let batch = rows((0..n).map(|_| random.below(KEYS)));
                    samples.push(pipeline.trigger(&batch).await);
                }
                let disk = if durable { "fdatasync" } else { "no sync  " };
                println!("  {disk}  {n:>5} rows   {}", summary(&mut samples));
            }
        });
    }
}

/// A million rows a trigger, beside one plain aggregation of the same rows.
fn throughput(_: &mut Criterion) {
    let runtime = runtime();
    println!("\n1 M rows a trigger, 1 M string keys in state, count and sum, durable:");
    for distinct in [1_000, 100_000] {
        let mut random = Random(11);
        let batches = rows((0..1_000_000).map(|_| random.below(distinct) * (KEYS / distinct)));
        runtime.block_on(async {
            let mut pipeline = warm(COUNT_AND_SUM, true).await;
            let table = batch_table(schema(), &batches);
            let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
            for _ in 0..ROUNDS {
                theirs.push(run_batch_query(&table, COUNT_AND_SUM).await);
                ours.push(pipeline.trigger(&batches).await);
                ratios.extend(theirs.last().zip(ours.last()).map(|(t, o)| t.as_secs_f64() / o.as_secs_f64()));
            }
            ratios.sort_unstable_by(f64::total_cmp);
            println!("  {distinct:>6} distinct keys   tidemill    {}", summary(&mut ours));
            println!("                         datafusion  {}", summary(&mut theirs));
            let of_medians = percentile(&mut theirs, 0.5).as_secs_f64() / percentile(&mut ours, 0.5).as_secs_f64();
            println!("                         ratio {:.2} (of medians {of_medians:.2})", ratios[ROUNDS / 2]);
        });
    }
}

/// Memory of a key, and how long a restart takes.
fn state(_: &mut Criterion) {
    runtime().block_on(async {
        let pipeline = warm(COUNT, true).await;
        let (bytes, keys) = pipeline.state();
        println!("\nstate of 1 M string keys of 10 bytes with count: {:.1} bytes a key", bytes as f64 / keys as f64);
        let Pipeline { execution, env, spec, dir: _dir, .. } = pipeline;
        drop(execution);
        let start = Instant::now();
        let execution = MicroBatchExecution::open(&env, spec).await.expect("it comes back");
        println!("recovery of it after a crash: {:.3} s", start.elapsed().as_secs_f64());
        execution.close().await.expect("it closes");
    });
}

criterion_group!(benches, latency, throughput, state);
criterion_main!(benches);
