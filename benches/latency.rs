//! How long a row is on its way: `cargo bench --bench latency`.
//!
//! From `write` on a socket, or from `add_data` of a memory stream, to the call of the user's function with the row. Without a state and
//! counted by key, at several speeds, with a durable checkpoint, under the default trigger and under `CONTINUOUS` with both kinds of delivery.
//! One row at a time means that the next is written a millisecond after the last was seen. Figures, no assertions.

#[path = "pipeline/mod.rs"]
mod pipeline;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use pipeline::{ms, percentile, runtime};
use tidemill::{
    Error, ForeachWriter, MemoryStream, OutputMode, Result, Session, StreamTable, StreamingQuery, Trigger,
    WriteStreamExt,
};

const STATELESS: &str = "SELECT CAST(split_part(value, ' ', 1) AS BIGINT) AS seq FROM lines WHERE value <> ''";
const COUNTED: &str = "SELECT split_part(value, ' ', 2) AS k, count(*) AS n, \
                       max(CAST(split_part(value, ' ', 1) AS BIGINT)) AS seq FROM lines GROUP BY 1";
const KEYS: usize = 1000;

/// When each row was written and seen, in nanoseconds since the start; 0 is never.
struct Stamps {
    start: Instant,
    written: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    num_seen: AtomicUsize,
}

impl Stamps {
    fn new(rows: usize) -> Arc<Self> {
        let zeros = || (0..rows).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { start: Instant::now(), written: zeros(), seen: zeros(), num_seen: AtomicUsize::new(0) })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn write(&self, seq: usize) -> String {
        self.written[seq].store(self.now(), Ordering::Relaxed);
        format!("{seq} key{:06}", seq * 7919 % KEYS)
    }

    fn see(&self, seq: i64) {
        self.seen[seq as usize].store(self.now(), Ordering::Relaxed);
        self.num_seen.fetch_add(1, Ordering::Release);
    }

    /// Of the rows that were seen, the first tenth left out.
    fn latencies(&self) -> Vec<Duration> {
        let pairs = self.written.iter().zip(&self.seen).skip(self.written.len() / 10);
        let of = |(w, s): (&AtomicU64, &AtomicU64)| match s.load(Ordering::Relaxed) {
            0 => None,
            seen => Some(Duration::from_nanos(seen - w.load(Ordering::Relaxed))),
        };
        pairs.filter_map(of).collect()
    }
}

/// The user's function.
struct Seer(Arc<Stamps>);

#[async_trait::async_trait]
impl ForeachWriter for Seer {
    async fn open(&mut self, _: u64, _: u64) -> Result<bool> {
        Ok(true)
    }

    async fn process(&mut self, rows: &RecordBatch, row: usize) -> Result<()> {
        let column = rows.column_by_name("seq").map(|c| c.as_primitive::<Int64Type>());
        column.into_iter().for_each(|column| self.0.see(column.value(row)));
        Ok(())
    }

    async fn close(&mut self, _: Option<&Error>) {}
}

/// Where rows come from.
enum Feed {
    Socket(TcpStream),
    Memory(MemoryStream),
}

impl Feed {
    fn give(&mut self, lines: &[String]) {
        match self {
            Self::Socket(peer) => {
                let mut text = lines.join("\n");
                text.push('\n');
                peer.write_all(text.as_bytes()).expect("the query reads");
            }
            Self::Memory(stream) => {
                let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(lines));
                stream.add_data(RecordBatch::try_new(lines_schema(), vec![column]).expect("it fits")).expect("it fits");
            }
        }
    }
}

fn lines_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8View, true)]))
}

/// Starts the query over a socket or memory; what gives it rows.
async fn start(
    is_socket: bool,
    sql: &str,
    trigger: (Trigger, &str),
    stamps: &Arc<Stamps>,
    dir: &std::path::Path,
) -> (Session, StreamingQuery, Feed) {
    let session = Session::builder().target_partitions(pipeline::PARTITIONS).build().expect("a session");
    let mut listener = None;
    let mut memory = None;
    if is_socket {
        let bound = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = bound.local_addr().expect("an address").port();
        let stream = format!("CREATE STREAM lines USING socket OPTIONS (host '127.0.0.1', port {port})");
        session.sql(&stream).await.expect("a stream");
        listener = Some(bound);
    } else {
        let stream = MemoryStream::new(lines_schema());
        let table = StreamTable::new("lines", Arc::new(stream.clone()));
        session.context().register_table("lines", Arc::new(table)).expect("the name is free");
        memory = Some(stream);
    }
    session.sql(&format!("CREATE VIEW q AS {sql}")).await.expect("the query is right");
    let frame = session.read_stream().table("q").await.expect("the view is there");
    let writer = frame
        .write_stream()
        .foreach(Seer(stamps.clone()))
        .output_mode(OutputMode::Update)
        .trigger(trigger.0)
        .option("checkpointLocation", dir.join("checkpoint").display());
    let writer = if trigger.1.is_empty() { writer } else { writer.option("delivery", trigger.1) };
    let query = writer.start().await.expect("it starts");
    let feed = match (listener, memory) {
        (Some(listener), _) => {
            let (peer, _) = listener.accept().expect("the query connects");
            peer.set_nodelay(true).expect("it can be set");
            Feed::Socket(peer)
        }
        (_, Some(stream)) => Feed::Memory(stream),
        _ => unreachable!("one of the two was made"),
    };
    (session, query, feed)
}

/// Writes the rows; `rate` rows a second, or one at a time.
fn write(feed: &mut Feed, stamps: &Stamps, rate: Option<usize>) {
    let rows = stamps.written.len();
    match rate {
        None => {
            for seq in 0..rows {
                feed.give(&[stamps.write(seq)]);
                while stamps.num_seen.load(Ordering::Acquire) <= seq {
                    std::thread::sleep(Duration::from_micros(50));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Some(rate) => {
            let begun = Instant::now();
            let mut seq = 0;
            while seq < rows {
                let due = ((begun.elapsed().as_secs_f64() * rate as f64) as usize).min(rows);
                let lines: Vec<String> = (seq..due).map(|seq| stamps.write(seq)).collect();
                if !lines.is_empty() {
                    feed.give(&lines);
                }
                seq = due;
                std::thread::sleep(Duration::from_micros(500));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn latency(_: &mut Criterion) {
    let runtime = runtime();
    let second = Duration::from_secs(1);
    let triggers = [
        (Trigger::Default, ""),
        (Trigger::Continuous(second), "exactly-once"),
        (Trigger::Continuous(second), "at-least-once"),
    ];
    println!("\nlatency in ms from the write to the user's function, durable checkpoint:");
    println!("source  query      rate     trigger                                p50      p99    p99.9");
    for is_socket in [true, false] {
        for (name, sql) in [("stateless", STATELESS), ("counted", COUNTED)] {
            for rate in [None, Some(1_000), Some(10_000), Some(100_000)] {
                for trigger in triggers {
                    let rows = rate.map_or(2_000, |rate| (rate * 3).min(200_000));
                    let stamps = Stamps::new(rows);
                    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
                    let (session, query, mut feed) =
                        runtime.block_on(start(is_socket, sql, trigger, &stamps, dir.path()));
                    write(&mut feed, &stamps, rate);
                    runtime.block_on(query.stop()).expect("it stops");
                    drop(session);
                    let mut all = stamps.latencies();
                    let figures = [0.5, 0.99, 0.999].map(|p| ms(percentile(&mut all, p)));
                    let rate = rate.map_or("one".to_owned(), |r| format!("{r}/s"));
                    let source = if is_socket { "socket" } else { "memory" };
                    let shown = format!("{} {}", trigger.0, trigger.1);
                    let [p50, p99, p999] = figures;
                    println!("{source:7} {name:10} {rate:8} {shown:36} {p50:8.3} {p99:8.3} {p999:8.3}");
                }
            }
        }
    }
}

criterion_group!(benches, latency);
criterion_main!(benches);
