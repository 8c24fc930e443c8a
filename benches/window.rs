//! Time windows and what the watermark removes: `cargo bench --bench window`.
//!
//! Prints the throughput of tumbling windows beside DataFusion's batch aggregation by `date_bin` of the same rows, that of
//! sliding windows (a slide of a sixtieth) beside tumbling ones, all in turn, and the slowest trigger while a million groups
//! become final. Figures, no assertions.

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use pipeline::{BATCH_ROWS, Pipeline, Random, batch_table, ms, percentile, run_batch_query, runtime, summary};
use tidemill::OutputMode;

const SECOND: i64 = 1_000_000;
const ROWS: u64 = 1_000_000;
const ROUNDS: u64 = 15;
const BATCH: &str =
    "SELECT date_bin(INTERVAL '60 seconds', ts) AS w, k, count(*) AS c, sum(v) AS s FROM s GROUP BY w, k";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn by_window(window: &str) -> String {
    format!(
        "SELECT window({window}) AS w, k, count(*) AS c, sum(v) AS s \
         FROM STREAM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS GROUP BY window({window}), k"
    )
}

fn rows(count: u64, mut row: impl FnMut(u64) -> (i64, i64)) -> Vec<RecordBatch> {
    let rows: Vec<(i64, i64)> = (0..count).map(&mut row).collect();
    let batch = |rows: &[(i64, i64)]| {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0)).with_timezone("UTC");
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1 % 1000)));
        RecordBatch::try_new(schema(), vec![Arc::new(times), keys, values]).expect("columns fit the schema")
    };
    rows.chunks(BATCH_ROWS).map(batch).collect()
}

fn ratio(of: &mut [Duration], to: &mut [Duration]) -> f64 {
    percentile(of, 0.5).as_secs_f64() / percentile(to, 0.5).as_secs_f64()
}

/// A million rows a trigger over a thousand keys, which cover one second or sixty.
fn throughput(_: &mut Criterion) {
    let runtime = runtime();
    for seconds in [1, 60] {
        runtime.block_on(async {
            let mut tumbling = Pipeline::new(schema(), &by_window("ts, '60 seconds'"), OutputMode::Update, true).await;
            let sliding = by_window("ts, '60 seconds', '1 second'");
            let mut sliding = Pipeline::new(schema(), &sliding, OutputMode::Update, true).await;
            let mut random = Random(5);
            let (mut batch, mut tumble, mut slide) = (vec![], vec![], vec![]);
            for round in 0..ROUNDS {
                let from = (1000 + round as i64 * seconds) * SECOND;
                let span = (seconds * SECOND) as u64;
                let rows = rows(ROWS, |i| (from + (i * span / ROWS) as i64, random.below(1000) as i64));
                batch.push(run_batch_query(&batch_table(schema(), &rows), BATCH).await);
                tumble.push(tumbling.trigger(&rows).await);
                slide.push(sliding.trigger(&rows).await);
            }
            println!("\n1 M rows of {seconds} s a trigger, 1000 keys, windows of 60 s, count and sum, durable:");
            println!("  datafusion, date_bin   {}", summary(&mut batch));
            println!(
                "  tumbling               {}   ratio to date_bin {:.2}",
                summary(&mut tumble),
                ratio(&mut batch, &mut tumble)
            );
            println!(
                "  sliding by 1 s         {}   ratio to tumbling {:.2}",
                summary(&mut slide),
                ratio(&mut tumble, &mut slide)
            );
        });
    }
}

/// A million groups become final: at once, and bit by bit.
fn eviction(_: &mut Criterion) {
    let runtime = runtime();
    println!("\nslowest trigger while the watermark passes 1 M groups:");
    for mode in [OutputMode::Update, OutputMode::Append] {
        runtime.block_on(async {
            let at_once = by_window("ts, '1000 seconds'");
            let mut pipeline = Pipeline::new(schema(), &at_once, mode, true).await;
            for batch in 0..10 {
                let first = batch * 100_000;
                pipeline.trigger(&rows(100_000, |i| (1000 * SECOND + i as i64, first + i as i64))).await;
            }
            pipeline.drain().await;
            let groups = pipeline.state().1;
            let slowest = pipeline.trigger(&rows(1, |_| (9000 * SECOND, 0))).await.max(pipeline.drain().await);
            println!(
                "  one window, {mode:<8} {groups} groups before, {} after: {:.1} ms",
                pipeline.state().1,
                ms(slowest)
            );
        });
        runtime.block_on(async {
            let by_time =
                "SELECT ts, k, count(*) AS c FROM STREAM s WATERMARK ts DELAY OF INTERVAL 20 SECONDS GROUP BY ts, k";
            let mut pipeline = Pipeline::new(schema(), by_time, mode, true).await;
            for batch in 0..10 {
                pipeline.trigger(&rows(100_000, |i| (1000 * SECOND + i as i64 * 100, batch))).await;
            }
            pipeline.drain().await;
            let groups = pipeline.state().1;
            let mut slowest = Duration::ZERO;
            for tenth in 0..=101 {
                let time = 1020 * SECOND + tenth * SECOND / 10;
                slowest = slowest.max(pipeline.trigger(&rows(1, |_| (time, 0))).await).max(pipeline.drain().await);
            }
            println!(
                "  a plain time, {mode:<6} {groups} groups before, {} after: {:.1} ms",
                pipeline.state().1,
                ms(slowest)
            );
        });
    }
}

criterion_group!(benches, throughput, eviction);
criterion_main!(benches);
