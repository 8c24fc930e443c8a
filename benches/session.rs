//! Session windows over many keys: `cargo bench --bench session`.
//!
//! Prints input rows a second, whole triggers (rows in a memory stream → sessions → durable record → sink) of 100 000 rows over as many
//! keys, some of which go on with a session and some of which begin one. Figures, no assertions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemill::testing::{Environment, Failpoints, MicroBatchExecution, QuerySpec};
use tidemill::{MemoryStream, NoopSink, Options, OutputMode, Result, Session, StreamTable, Trigger};

const KEYS: u64 = 100_000;
const ROWS: u64 = 100_000;
const TRIGGERS: u64 = 30;
const SQL: &str = "SELECT k, session_window, count(*), sum(v) FROM s WATERMARK ts DELAY OF INTERVAL 10 SECONDS \
                   GROUP BY session_window(ts, '5 seconds'), k";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("k", DataType::Utf8View, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// Rows of one second, their keys mixed.
fn rows(second: u64) -> Vec<RecordBatch> {
    let keys: Vec<u64> = (0..ROWS).map(|i| (i * 7919 + second * 104_729).wrapping_mul(2_654_435_761) % KEYS).collect();
    let batch = |keys: &[u64]| {
        let times = TimestampMicrosecondArray::from_iter_values(
            keys.iter().map(|k| ((second + 1_000_000) * 1_000_000 + k % 1_000_000) as i64),
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(StringViewArray::from_iter_values(keys.iter().map(|k| format!("key-{k:08}")))),
            Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| *k as i64))),
        ];
        RecordBatch::try_new(schema(), columns)
    };
    keys.chunks(8192).filter_map(|keys| batch(keys).ok()).collect()
}

async fn run(partitions: usize) -> Result<()> {
    let session = Session::builder().target_partitions(partitions).build()?;
    let stream = MemoryStream::new(schema());
    session.context().register_table("s", Arc::new(StreamTable::new("s", Arc::new(stream.clone()))))?;
    session.sql(&format!("CREATE VIEW q AS {SQL}")).await?;
    let plan = session.context().table("q").await?.into_unoptimized_plan();
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let spec = QuerySpec {
        name: None,
        column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
        plan,
        text: SQL.into(),
        sink: Arc::new(NoopSink),
        output_mode: OutputMode::Append,
        trigger: Trigger::Default,
        checkpoint: Some(dir.path().join("checkpoint")),
        conf: Options::new(),
    };
    let env = Environment {
        context: session.context().clone(),
        clock: session.clock().clone(),
        failpoints: Failpoints::default(),
        conf: Options::new(),
    };
    let mut query = MicroBatchExecution::open(&env, spec).await?;
    let mut took = Duration::ZERO;
    for second in 0..TRIGGERS {
        for batch in rows(second) {
            stream.add_data(batch)?;
        }
        let started = Instant::now();
        while query.run_batch().await? {}
        took += started.elapsed();
    }
    let rate = (TRIGGERS * ROWS) as f64 / took.as_secs_f64() / 1e6;
    let state = query.last_progress().map_or(0, |p| p.state_operators[0].num_rows_total);
    println!("{partitions} partitions: {rate:.2} M rows/s, {state} sessions in state");
    query.close().await
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        run(1).await?;
        run(2).await
    })
}
