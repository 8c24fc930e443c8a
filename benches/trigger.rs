//! What a trigger costs over a large state: `cargo bench --bench trigger`.
//!
//! Prints, for batches of 1 to 1000 new rows over a million keys, the median and the 99th percentile of a whole trigger:
//! rows in a memory stream → plan → state → durable record → sink. Then the throughput of large batches beside the plain
//! DataFusion aggregation of the same rows, memory per key, and the time a restart takes. Figures, no assertions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidemill::testing::{Environment, Failpoints, MicroBatchExecution, QuerySpec};
use tidemill::{Clock, MemoryStream, NoopSink, Options, OutputMode, StreamTable, Trigger};

const KEYS: u64 = 1_000_000;
const COUNT_AND_SUM: &str = "SELECT k, count(*) AS c, sum(v) AS s FROM s GROUP BY k";
const COUNT: &str = "SELECT k, count(*) AS c FROM s GROUP BY k";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8View, true), Field::new("v", DataType::Int64, true)]))
}

/// Deterministic and quick: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}

/// Keys of ten bytes, in batches of 8192 rows.
fn rows(keys: impl Iterator<Item = u64>) -> Vec<RecordBatch> {
    let keys: Vec<u64> = keys.collect();
    let batch = |keys: &[u64]| {
        let words: ArrayRef = Arc::new(StringViewArray::from_iter_values(keys.iter().map(|k| format!("w{k:09}"))));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| *k as i64 % 1000)));
        RecordBatch::try_new(schema(), vec![words, values]).expect("columns fit the schema")
    };
    keys.chunks(8192).map(batch).collect()
}

struct Pipeline {
    stream: MemoryStream,
    execution: MicroBatchExecution,
    env: Environment,
    spec: QuerySpec,
    _dir: tempfile::TempDir,
}

impl Pipeline {
    async fn new(sql: &str, durable: bool, partitions: usize) -> Self {
        let config = SessionConfig::new().with_target_partitions(partitions);
        let context = SessionContext::new_with_config(config);
        let stream = MemoryStream::new(schema());
        let table = StreamTable::new("s", Arc::new(stream.clone()));
        context.register_table("s", Arc::new(table)).expect("the name is free");
        let plan = context.state().create_logical_plan(sql).await.expect("the query is right");
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let spec = QuerySpec {
            name: None,
            column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
            plan,
            text: sql.into(),
            sink: Arc::new(NoopSink),
            output_mode: OutputMode::Update,
            trigger: Trigger::Default,
            checkpoint: durable.then(|| dir.path().join("checkpoint")),
            conf: Options::new(),
        };
        let (clock, failpoints) = (Clock::System, Failpoints::default());
        let env = Environment { context, clock, failpoints, conf: Options::new() };
        let execution = MicroBatchExecution::open(&env, spec.clone()).await.expect("the query starts");
        Self { stream, execution, env, spec, _dir: dir }
    }

    async fn trigger(&mut self, batches: &[RecordBatch]) {
        for batch in batches {
            self.stream.add_data(batch.clone()).expect("the rows fit");
        }
        assert!(self.execution.run_batch().await.expect("the batch runs"));
    }

    /// A state of all keys.
    async fn warm(&mut self) {
        for from in (0..KEYS).step_by(100_000) {
            self.trigger(&rows(from..from + 100_000)).await;
        }
    }

    fn state_bytes(&self) -> u64 {
        self.execution.last_progress().map_or(0, |p| p.state_operators[0].memory_used_bytes)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn percentile(samples: &mut [Duration], p: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * p) as usize]
}

/// Trigger overhead, with and without waiting for the disk.
fn latency(_: &mut Criterion) {
    let runtime = runtime();
    println!("\ntrigger latency, 1 M string keys in state, count and sum:");
    for durable in [true, false] {
        runtime.block_on(async {
            let mut pipeline = Pipeline::new(COUNT_AND_SUM, durable, 2).await;
            pipeline.warm().await;
            let mut random = Random(7);
            for n in [1, 10, 100, 1000] {
                let mut samples = vec![];
                for _ in 0..2000 {
                    let batch = rows((0..n).map(|_| random.below(KEYS)));
                    let start = Instant::now();
                    pipeline.trigger(&batch).await;
                    samples.push(start.elapsed());
                }
                let (p50, p99) = (percentile(&mut samples, 0.5), percentile(&mut samples, 0.99));
                let disk = if durable { "fdatasync" } else { "no sync  " };
                println!("  {disk}  {n:>5} rows   p50 {:>7.3} ms   p99 {:>7.3} ms", ms(p50), ms(p99));
            }
        });
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// A million rows a trigger, beside one plain aggregation of the same rows.
fn throughput(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("1 M rows a trigger");
    group.throughput(Throughput::Elements(1_000_000)).sample_size(10);
    for distinct in [1_000, 100_000] {
        let mut random = Random(11);
        let batches = rows((0..1_000_000).map(|_| random.below(distinct) * (KEYS / distinct)));
        let mut pipeline = runtime.block_on(async {
            let mut pipeline = Pipeline::new(COUNT_AND_SUM, true, 2).await;
            pipeline.warm().await;
            pipeline
        });
        group.bench_with_input(BenchmarkId::new("tidemill", distinct), &batches, |b, batches| {
            b.iter(|| runtime.block_on(pipeline.trigger(batches)));
        });
        group.bench_with_input(BenchmarkId::new("datafusion batch", distinct), &batches, |b, batches| {
            b.iter_batched(
                || batch_table(batches),
                |table| runtime.block_on(aggregate(table)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn batch_table(batches: &[RecordBatch]) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let (left, right) = batches.split_at(batches.len() / 2);
    let table = MemTable::try_new(schema(), vec![left.to_vec(), right.to_vec()]).expect("the rows fit");
    context.register_table("s", Arc::new(table)).expect("the name is free");
    context
}

async fn aggregate(context: SessionContext) -> usize {
    let result = context.sql(COUNT_AND_SUM).await.expect("the query is right").collect().await.expect("it runs");
    result.iter().map(RecordBatch::num_rows).sum()
}

/// Memory of a key, and how long a restart takes.
fn state(_: &mut Criterion) {
    runtime().block_on(async {
        let mut pipeline = Pipeline::new(COUNT, true, 2).await;
        pipeline.warm().await;
        let bytes = pipeline.state_bytes();
        println!("\nstate of 1 M string keys of 10 bytes with count: {:.1} bytes a key", bytes as f64 / KEYS as f64);
        let Pipeline { execution, env, spec, _dir, .. } = pipeline;
        drop(execution);
        let start = Instant::now();
        let execution = MicroBatchExecution::open(&env, spec).await.expect("it comes back");
        println!("recovery of it after a crash: {:.3} s", start.elapsed().as_secs_f64());
        execution.close().await.expect("it closes");
    });
}

criterion_group!(benches, latency, throughput, state);
criterion_main!(benches);
