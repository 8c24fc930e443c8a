//! What reading files costs beside DataFusion's own batch over the same files: `cargo bench --bench files`.
//!
//! Prints how long a flow takes that reads a directory once (two of eight columns, a filter, rows dropped), and how long DataFusion takes
//! for the same query, in turn, for Parquet, JSON, CSV and JSON in gzip. Then what a directory of 100 000 files costs:
//! the listing, one trigger, and memory. Figures, no assertions.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::json;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures::StreamExt;
use tidemill::Session;

const ROUNDS: usize = 7;
const QUERY: &str = "SELECT auction, price FROM bids WHERE price > 500";
const COLUMNS: &str = "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, at TIMESTAMP, extra STRING, is_new BOOLEAN";

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("auction", DataType::Int64),
        field("bidder", DataType::Int64),
        field("price", DataType::Int64),
        field("channel", DataType::Utf8),
        field("url", DataType::Utf8),
        field("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("extra", DataType::Utf8),
        field("is_new", DataType::Boolean),
    ]))
}

/// Bids whose numbers look like chance, and are always the same.
fn rows(from: u64, count: u64) -> RecordBatch {
    let mixed =
        |n: u64, salt: u64| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt)).rotate_left(29) % 1_000_003;
    let numbers = |salt, most: u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((from..from + count).map(|n| (mixed(n, salt) % most) as i64)))
    };
    let texts = |prefix: &str, most: u64| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((from..from + count).map(|n| format!("{prefix}{}", mixed(n, 9) % most))))
    };
    let times = (from..from + count).map(|n| 1_700_000_000_000_000 + n as i64 * 1000);
    let columns: Vec<ArrayRef> = vec![
        numbers(1, 100_000),
        numbers(2, 50_000),
        numbers(3, 1000),
        texts("channel-", 20),
        texts("https://example.org/item/", 10_000),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        texts("some more text that nobody asks for ", 1_000_000),
        Arc::new(BooleanArray::from_iter((from..from + count).map(|n| Some(n % 3 == 0)))),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit the schema")
}

/// Writes `files` files of `count` rows.
fn write(dir: &Path, format: &str, files: u64, count: u64) {
    std::fs::create_dir_all(dir).expect("a directory");
    for file in 0..files {
        let rows = rows(file * count, count);
        let out = File::create(dir.join(format!("{file}.{format}"))).expect("a file");
        match format {
            "parquet" => {
                let mut writer = ArrowWriter::try_new(out, schema(), None).expect("a writer");
                writer.write(&rows).expect("rows are written");
                writer.close().expect("the file is closed");
            }
            "csv" => csv::WriterBuilder::new().with_header(false).build(out).write(&rows).expect("rows are written"),
            "json" => json::LineDelimitedWriter::new(out).write(&rows).expect("rows are written"),
            _ => {
                let mut text = vec![];
                json::LineDelimitedWriter::new(&mut text).write(&rows).expect("rows are written");
                let mut packed = GzEncoder::new(out, Compression::default());
                packed.write_all(&text).and_then(|()| packed.finish().map(drop)).expect("the file is packed");
            }
        }
    }
}

/// A flow that takes all files in one batch.
async fn ours(dir: &Path, format: &str) -> Duration {
    let session = Session::new();
    let sql = format!(
        "CREATE STREAM bids ({COLUMNS}) USING {format} OPTIONS (path '{}');
         CREATE FLOW f USING noop TRIGGER ONCE AS {QUERY};",
        dir.display()
    );
    let start = Instant::now();
    session.sql(&sql).await.expect("the flow starts");
    session.streams().await_any_termination().await.expect("the flow ends");
    start.elapsed()
}

async fn theirs(dir: &Path, format: &str) -> Duration {
    let context = SessionContext::new();
    let (path, schema) = (dir.display().to_string(), schema());
    match format {
        "parquet" => context.register_parquet("bids", &path, ParquetReadOptions::default()).await,
        "csv" => {
            let options = CsvReadOptions::new().has_header(false).schema(&schema).file_extension("csv");
            context.register_csv("bids", &path, options).await
        }
        _ => {
            let options = JsonReadOptions::default().schema(&schema).file_extension("json");
            context.register_json("bids", &path, options).await
        }
    }
    .expect("a table");
    let start = Instant::now();
    let plan = context.sql(QUERY).await.expect("a plan").create_physical_plan().await.expect("a plan");
    let task = context.task_ctx();
    let partition = |p| {
        let mut rows = plan.execute(p, task.clone()).expect("a partition");
        tokio::spawn(async move {
            while let Some(batch) = rows.next().await {
                drop(batch.expect("rows"))
            }
        })
    };
    let running: Vec<_> = (0..plan.output_partitioning().partition_count()).map(partition).collect();
    for partition in running {
        partition.await.expect("a partition ends");
    }
    start.elapsed()
}

/// Files in gzip by arrow's decoder, a thread for each two files: DataFusion is built without compression here.
async fn theirs_packed(dir: &Path) -> Duration {
    let start = Instant::now();
    let files: Vec<_> = std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    let wanted = Arc::new(schema().project(&[0, 2]).expect("two columns"));
    let half = files.len().div_ceil(2);
    let read = |files: Vec<std::path::PathBuf>| {
        let wanted = wanted.clone();
        tokio::task::spawn_blocking(move || {
            for file in files {
                let bytes = BufReader::with_capacity(1 << 20, MultiGzDecoder::new(File::open(file).expect("a file")));
                let reader = json::ReaderBuilder::new(wanted.clone()).build(bytes).expect("a reader");
                reader.for_each(|batch| {
                    let batch = batch.expect("rows");
                    let price = batch.column(1).as_any().downcast_ref::<Int64Array>().expect("numbers");
                    let keep = BooleanArray::from_unary(price, |p| p > 500);
                    drop(datafusion::arrow::compute::filter_record_batch(&batch, &keep).expect("a filter"));
                });
            }
        })
    };
    let running: Vec<_> = files.chunks(half).map(|files| read(files.to_vec())).collect();
    for thread in running {
        thread.await.expect("a thread ends");
    }
    start.elapsed()
}

fn median(samples: &mut [Duration]) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64() * 1000.0
}

fn formats(_: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let root = tempfile::tempdir().expect("a directory");
    println!("\ntwo of eight columns and a filter over a directory, in milliseconds (medians of {ROUNDS} rounds):");
    for (format, files, count) in
        [("parquet", 24, 500_000), ("json", 4, 250_000), ("csv", 4, 500_000), ("json.gz", 4, 250_000)]
    {
        let dir = root.path().join(format);
        write(&dir, format, files, count);
        let bytes: u64 = std::fs::read_dir(&dir)
            .expect("a directory")
            .map(|e| e.expect("an entry").metadata().expect("its size").len())
            .sum();
        let (mut one, mut other) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            other.push(runtime.block_on(async {
                match format {
                    "json.gz" => theirs_packed(&dir).await,
                    format => theirs(&dir, format).await,
                }
            }));
            one.push(runtime.block_on(ours(&dir, format.trim_end_matches(".gz"))));
        }
        let (one, other) = (median(&mut one), median(&mut other));
        println!(
            "  {format:8} {:>6.1} MB   tidemill {one:>8.1}   datafusion {other:>8.1}   ratio {:.2}",
            bytes as f64 / 1e6,
            other / one
        );
    }
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / 1e6
}

fn listing(_: &mut Criterion) {
    const FILES: usize = 100_000;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    for file in 0..FILES {
        std::fs::write(dir.path().join(format!("part-{file:06}.txt")), "a line\n").expect("a file");
    }
    println!("\na directory of {FILES} files, a batch of 1000 of them:");
    for _ in 0..3 {
        let before = resident();
        let (took, after) = runtime.block_on(async {
            let session = Session::new();
            let sql = format!(
                "CREATE STREAM s USING text OPTIONS (path '{}', maxFilesPerTrigger 1000);
                 CREATE FLOW f USING noop TRIGGER EVERY 1 HOUR AS SELECT value FROM s;",
                dir.path().display()
            );
            let start = Instant::now();
            session.sql(&sql).await.expect("the flow starts");
            let query = session.streams().active().pop().expect("the flow runs");
            while query.last_progress().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let took = start.elapsed();
            let after = resident();
            session.stop_all().await.expect("the flow stops");
            (took, after)
        });
        println!(
            "  first trigger done after {:.2} s, memory {before:.0} MB before, {after:.0} MB after",
            took.as_secs_f64()
        );
    }
}

criterion_group!(benches, listing, formats);
criterion_main!(benches);
