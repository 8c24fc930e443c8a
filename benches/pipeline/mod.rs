//! What the benches share: a query that is stepped through, rows to give it, and plain DataFusion beside it.

#![allow(dead_code, reason = "every bench uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidemill::testing::{Environment, Failpoints, MicroBatchExecution, QuerySpec};
use tidemill::{MemoryStream, NoopSink, Options, OutputMode, Session, StreamTable, Trigger};

/// The allocator of the binary, for both sides.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Partitions of the session, and of DataFusion beside it.
pub const PARTITIONS: usize = 2;
/// Rows of a batch that a source gives.
pub const BATCH_ROWS: usize = 8192;

/// A query over the stream `s`.
pub struct Pipeline {
    pub stream: MemoryStream,
    pub execution: MicroBatchExecution,
    pub env: Environment,
    pub spec: QuerySpec,
    pub dir: tempfile::TempDir,
}

impl Pipeline {
    pub async fn new(schema: SchemaRef, sql: &str, mode: OutputMode, durable: bool) -> Self {
        let session = Session::builder().target_partitions(PARTITIONS).build().expect("a session");
        let stream = MemoryStream::new(schema);
        let table = StreamTable::new("s", Arc::new(stream.clone()));
        session.context().register_table("s", Arc::new(table)).expect("the name is free");
        session.sql(&format!("CREATE VIEW q AS {sql}")).await.expect("the query is right");
        let frame = session.read_stream().table("q").await.expect("the view is there");
        let plan = frame.into_unoptimized_plan();
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let spec = QuerySpec {
            name: None,
            column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
            plan,
            text: sql.into(),
            sink: Arc::new(NoopSink),
            output_mode: mode,
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
        let execution = MicroBatchExecution::open(&env, spec.clone()).await.expect("the query starts");
        Self { stream, execution, env, spec, dir }
    }

    /// Runs one batch over these rows; how long it takes.
    pub async fn trigger(&mut self, batches: &[RecordBatch]) -> Duration {
        for batch in batches {
            self.stream.add_data(batch.clone()).expect("the rows fit");
        }
        let start = Instant::now();
        assert!(self.execution.run_batch().await.expect("the batch runs"));
        start.elapsed()
    }

    /// Runs what is due without new rows; how long the slowest batch takes.
    pub async fn drain(&mut self) -> Duration {
        let mut slowest = Duration::ZERO;
        loop {
            let start = Instant::now();
            if !self.execution.run_batch().await.expect("the batch runs") {
                return slowest;
            }
            slowest = slowest.max(start.elapsed());
        }
    }

    /// State bytes and state rows.
    pub fn state(&self) -> (u64, u64) {
        let operators = self.execution.last_progress().map(|p| p.state_operators.clone()).unwrap_or_default();
        operators.first().map_or((0, 0), |o| (o.memory_used_bytes, o.num_rows_total))
    }
}

/// Plain DataFusion over these rows as table `s`.
pub fn batch_table(schema: SchemaRef, batches: &[RecordBatch]) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(PARTITIONS));
    let (left, right) = batches.split_at(batches.len() / 2);
    let table = MemTable::try_new(schema, vec![left.to_vec(), right.to_vec()]).expect("the rows fit");
    context.register_table("s", Arc::new(table)).expect("the name is free");
    context
}

/// Plans and runs a query to its end; how long that takes.
pub async fn run_batch_query(context: &SessionContext, sql: &str) -> Duration {
    let start = Instant::now();
    let result = context.sql(sql).await.expect("the query is right").collect().await.expect("it runs");
    assert!(!result.is_empty());
    start.elapsed()
}

/// Deterministic and quick: xorshift.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

pub fn percentile(samples: &mut [Duration], p: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * p) as usize]
}

pub fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// Median, and the 99th percentile.
pub fn summary(samples: &mut [Duration]) -> String {
    let (p50, p99) = (percentile(samples, 0.5), percentile(samples, 0.99));
    format!("p50 {:>8.3} ms   p99 {:>8.3} ms", ms(p50), ms(p99))
}
