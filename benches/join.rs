//! What a join of two streams costs over a large state: `cargo bench --bench join`.
//!
//! An interval join with a million live rows a side, of which every trigger adds as many as the watermark removes: rows a second
//! with 100 000 + 100 000 new rows a trigger, and the median and 99th percentile of triggers of 10 + 10. Figures, no assertions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemill::testing::{Environment, Failpoints, MicroBatchExecution, QuerySpec};
use tidemill::{MemoryStream, NoopSink, Options, OutputMode, Session, StreamTable, Trigger};

const KEYS: u64 = 1_000_000;
const LIVE: u64 = 1_000_000;
/// Rows of a side for a second of event time.
const RATE: u64 = 100_000;
const TRIGGERS: usize = 20;

const SQL: &str = "SELECT l.k, l.t AS lt, r.t AS rt, l.v + r.v AS v, l.s FROM \
    l WATERMARK t DELAY OF INTERVAL 100 MILLISECONDS AS l JOIN r WATERMARK t DELAY OF INTERVAL 100 MILLISECONDS AS r \
    ON l.k = r.k AND l.t BETWEEN r.t - INTERVAL 10 SECONDS AND r.t + INTERVAL 10 SECONDS";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
    ]))
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

struct Pipeline {
    left: MemoryStream,
    right: MemoryStream,
    execution: MicroBatchExecution,
    random: Random,
    /// Rows of a side so far.
    rows: u64,
    _session: Session,
    _dir: tempfile::TempDir,
}

impl Pipeline {
    async fn new(durable: bool) -> Self {
        let session = Session::builder().target_partitions(1).build().expect("a session");
        let (left, right) = (MemoryStream::new(schema()), MemoryStream::new(schema()));
        for (name, stream) in [("l", &left), ("r", &right)] {
            let table = StreamTable::new(name, Arc::new(stream.clone()));
            session.context().register_table(name, Arc::new(table)).expect("the name is free");
        }
        session.sql(&format!("CREATE VIEW the_query AS {SQL}")).await.expect("the query is right");
        let plan = session.context().table("the_query").await.expect("it is there").into_unoptimized_plan();
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let spec = QuerySpec {
            name: None,
            column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
            plan,
            text: SQL.into(),
            sink: Arc::new(NoopSink),
            output_mode: OutputMode::Append,
            trigger: Trigger::Default,
            checkpoint: durable.then(|| dir.path().join("checkpoint")),
            conf: Options::new(),
        };
        let env = Environment {
            context: session.context().clone(),
            clock: session.clock().clone(),
            failpoints: Failpoints::default(),
            conf: Options::new(),
        };
        let execution = MicroBatchExecution::open(&env, spec).await.expect("the query starts");
        Self { left, right, execution, random: Random(7), rows: 0, _session: session, _dir: dir }
    }

    /// Rows whose times go on from those before, a little out of order.
    fn batches(&mut self, n: u64) -> Vec<RecordBatch> {
        let mut batches = vec![];
        for from in (self.rows..self.rows + n).step_by(8192) {
            let rows = from..(from + 8192).min(self.rows + n);
            let keys: Vec<u64> = rows.clone().map(|_| self.random.below(KEYS)).collect();
            let times = rows.map(|row| (row * 1_000_000 / RATE + self.random.below(50_000)) as i64 + 1_000_000);
            let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
            let texts = StringViewArray::from_iter_values(keys.iter().map(|k| format!("payload {k:07}")));
            let numbers: Int64Array = keys.iter().map(|k| *k as i64).collect();
            let columns: Vec<ArrayRef> =
                vec![Arc::new(numbers.clone()), Arc::new(times), Arc::new(numbers), Arc::new(texts)];
            batches.push(RecordBatch::try_new(schema(), columns).expect("columns fit the schema"));
        }
        batches
    }

    /// One trigger with `n` new rows a side, and the batch without data after it; how long they took.
    async fn trigger(&mut self, n: u64) -> (Duration, Duration) {
        let (left, right) = (self.batches(n), self.batches(n));
        self.rows += n;
        for (stream, batches) in [(&self.left, left), (&self.right, right)] {
            for batch in batches {
                stream.add_data(batch).expect("the rows fit");
            }
        }
        let start = Instant::now();
        assert!(self.execution.run_batch().await.expect("the batch runs"));
        let data = start.elapsed();
        while self.execution.run_batch().await.expect("the batch runs") {}
        (data, start.elapsed() - data)
    }

    async fn warm(&mut self) {
        for _ in 0..LIVE / RATE + 5 {
            self.trigger(RATE).await;
        }
    }

    fn live_rows(&self) -> u64 {
        self.execution.last_progress().map_or(0, |p| p.state_operators[0].num_rows_total)
    }
}

fn percentile(samples: &mut [Duration], p: f64) -> f64 {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * p) as usize].as_secs_f64() * 1e3
}

fn interval_join(_: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for durable in [true, false] {
        runtime.block_on(async {
            let disk = if durable { "fdatasync" } else { "no sync" };
            let mut pipeline = Pipeline::new(durable).await;
            pipeline.warm().await;
            println!("\ninterval join, {} rows in state, {disk}:", pipeline.live_rows());
            let (mut data, mut both) = (vec![], vec![]);
            for _ in 0..TRIGGERS {
                let (with_data, without) = pipeline.trigger(RATE).await;
                data.push(with_data);
                both.push(with_data + without);
            }
            let rate = 2.0 * RATE as f64 / percentile(&mut both, 0.5) / 1e3;
            let (p50, max) = (percentile(&mut data, 0.5), percentile(&mut data, 1.0));
            println!(
                "  {RATE} + {RATE} rows   p50 {p50:>8.3} ms   max {max:>8.3} ms   {rate:.2} M rows/s with eviction"
            );
            let (mut data, mut without) = (vec![], vec![]);
            for _ in 0..2000 {
                let (with_data, no_data) = pipeline.trigger(10).await;
                data.push(with_data);
                without.push(no_data);
            }
            let figures = (percentile(&mut data, 0.5), percentile(&mut data, 0.99), percentile(&mut without, 0.5));
            println!(
                "  10 + 10 rows   p50 {:.3} ms   p99 {:.3} ms   batch without data p50 {:.3} ms",
                figures.0, figures.1, figures.2
            );
        });
    }
}

criterion_group!(benches, interval_join);
criterion_main!(benches);
