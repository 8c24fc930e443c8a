//! What topics cost: `KAFKA=127.0.0.1:9092 cargo bench --bench kafka`, against a broker that is running.
//!
//! Reads a million records of 1 KB of JSON (columns of `from_json`, a filter, rows dropped), beside a loop over librdkafka that decodes with
//! arrow-json; copies them exactly once into another topic, beside a loop of a transactional producer; and measures how long a record takes from
//! topic to topic at a thousand records a second: as it is, counted by window and key, deduplicated, through a stateful processor. Figures, no assertions. Without `KAFKA` it does nothing.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{Array, BooleanArray, Int64Array};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::ReaderBuilder;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidemill::Session;
use tidemill::prelude::*;

const RECORDS: usize = 1_000_000;
const PARTITIONS: i32 = 5;
const ROUNDS: usize = 3;
/// Records of a transaction of the loop that copies.
const TRANSACTION: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    servers: String,
    run: uuid::fmt::Simple,
}

impl Cluster {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// A topic that no run before has used.
    async fn topic(&self, name: &str) -> String {
        let name = format!("bench-{}-{name}", self.run);
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let new = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
        admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(1)).await;
        name
    }

    fn fill(&self, topic: &str) {
        let producer: BaseProducer = self.config().set("linger.ms", "20").create().expect("a producer");
        let padding = "x".repeat(900);
        for n in 0..RECORDS {
            let value =
                format!(r#"{{"id":{n},"price":{},"name":"item {}","text":"{padding}"}}"#, n * 7919 % 1000, n % 100);
            let mut record = BaseRecord::<[u8], str>::to(topic).partition(n as i32 % PARTITIONS).payload(&value);
            while let Err((_, again)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = again;
            }
        }
        producer.flush(PATIENCE * 4).expect("all records are there");
    }

    fn consumer(&self, topic: &str, from: Offset, more: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "bench").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        for (key, value) in more {
            config.set(*key, *value);
        }
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        (0..PARTITIONS).for_each(|p| list.add_partition_offset(topic, p, from).expect("a partition"));
        consumer.assign(&list).expect("partitions");
        consumer
    }

    /// Gives every value of a topic to `each`, until its end.
    fn each(&self, topic: &str, mut each: impl FnMut(&[u8])) {
        let consumer = self.consumer(topic, Offset::Beginning, &[]);
        let mut open = PARTITIONS;
        while open > 0 {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => each(message.payload().unwrap_or_default()),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                other => panic!("reading: {other:?}"),
            }
        }
    }
}

/// Reads, decodes and filters without an engine.
fn read_bare(cluster: &Cluster, topic: &str) -> Duration {
    let start = Instant::now();
    let fields = [("id", DataType::Int64), ("price", DataType::Int64), ("name", DataType::Utf8)];
    let schema = Arc::new(Schema::new(fields.map(|(name, t)| Field::new(name, t, true)).to_vec()));
    let mut decoder = ReaderBuilder::new(schema).build_decoder().expect("a decoder");
    let (mut rows, mut kept) = (0, 0);
    let mut flush = |decoder: &mut datafusion::arrow::json::reader::Decoder| {
        let Some(batch) = decoder.flush().expect("rows") else { return };
        let price = batch.column(1).as_any().downcast_ref::<Int64Array>().expect("numbers");
        let keep = BooleanArray::from_unary(price, |p| p > 500);
        kept += filter_record_batch(&batch, &keep).expect("a filter").num_rows();
    };
    cluster.each(topic, |value| {
        let mut rest = value;
        while !rest.is_empty() {
            let taken = decoder.decode(rest).expect("JSON");
            rest = &rest[taken..];
            if taken == 0 {
                flush(&mut decoder);
            }
        }
        rows += 1;
        if rows % 1024 == 0 {
            flush(&mut decoder);
        }
    });
    flush(&mut decoder);
    assert!(rows == RECORDS && kept > 0, "{rows} rows");
    start.elapsed()
}

async fn run(sql: &str) -> Duration {
    let session = Session::new();
    let start = Instant::now();
    session.sql(sql).await.expect("the flow starts");
    session.streams().await_any_termination().await.expect("the flow ends");
    start.elapsed()
}

fn stream(cluster: &Cluster, topic: &str, more: &str) -> String {
    let servers = &cluster.servers;
    format!(
        "CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topic}', startingOffsets 'earliest'{more});"
    )
}

async fn read_ours(cluster: &Cluster, topic: &str) -> Duration {
    run(&format!(
        "{} CREATE FLOW f USING noop TRIGGER AVAILABLE NOW AS
         SELECT j.id, j.name FROM (SELECT from_json(CAST(value AS STRING), 'id BIGINT, price BIGINT, name STRING') AS j FROM s) WHERE j.price > 500;",
        stream(cluster, topic, "")
    ))
    .await
}

/// Copies in transactions without an engine.
fn copy_bare(cluster: &Cluster, from: &str, to: &str) -> Duration {
    let mut config = cluster.config();
    config.set("transactional.id", format!("bench-{to}")).set("queue.buffering.max.messages", "1000000");
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    let start = Instant::now();
    producer.begin_transaction().expect("a transaction");
    let mut sent = 0;
    cluster.each(from, |value| {
        let mut record = BaseRecord::<[u8], [u8]>::to(to).payload(value);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = again;
        }
        sent += 1;
        if sent % TRANSACTION == 0 {
            producer.commit_transaction(PATIENCE).expect("a commit");
            producer.begin_transaction().expect("a transaction");
        }
    });
    producer.commit_transaction(PATIENCE).expect("a commit");
    start.elapsed()
}

async fn copy_ours(cluster: &Cluster, from: &str, to: &str) -> Duration {
    let checkpoint = tempfile::tempdir().expect("a directory");
    run(&format!(
        "{} CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{}', topic '{to}');
         CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT value FROM s;",
        stream(cluster, from, &format!(", maxOffsetsPerTrigger {TRANSACTION}")),
        cluster.servers,
        checkpoint.path().display()
    ))
    .await
}

fn now_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}

/// What a record goes through on its way: the time that it was sent at is its value, and comes out as base 64.
const QUERIES: [(&str, &str); 4] = [
    ("base64", "SELECT base64(value) AS value FROM s"),
    (
        "count by window and key",
        "SELECT base64(max(value)) AS value, CAST(count(*) AS STRING) AS key FROM s GROUP BY window(timestamp, '10 seconds'), key",
    ),
    (
        "deduplication",
        "SELECT DISTINCT ON (value) WITHIN WATERMARK base64(value) AS value FROM STREAM s WATERMARK timestamp DELAY OF INTERVAL 10 SECONDS",
    ),
    // Its rows go through `Counting`.
    ("transform_with_state", "SELECT base64(key) AS key, base64(value) AS value FROM s"),
];

/// Counts the records of a key in its state, and lets them through.
#[derive(Debug, Clone, Default)]
struct Counting {
    count: ValueState<i64>,
}

#[derive(Debug, serde::Deserialize)]
struct Record {
    value: String,
}

impl StatefulProcessor for Counting {
    type Key = String;
    type Input = Rows<Record>;
    type Output = Vec<(String, String)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.count = handle.get_value_state("count", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        _handle: &StatefulProcessorHandle,
        _key: &String,
        records: Rows<Record>,
        _times: &TimerValues,
    ) -> Result<Self::Output> {
        let mut count = self.count.get()?.unwrap_or_default();
        let counted = |record: Record| {
            count += 1;
            (record.value, count.to_string())
        };
        let rows = records.map(counted).collect();
        self.count.update(&count)?;
        Ok(rows)
    }
}

/// Milliseconds from the producer of one topic to a consumer of the other, sorted.
async fn latencies(cluster: &Cluster, delivery: &str, is_continuous: bool, number: usize) -> Vec<f64> {
    const SECONDS: usize = 15;
    const KEYS: usize = 100;
    let (what, query) = QUERIES[number];
    let name = format!("{delivery}-{is_continuous}-{number}");
    let trigger = if is_continuous { Trigger::Continuous(Duration::from_secs(1)) } else { Trigger::Default };
    let mode = if query.contains("GROUP BY") { OutputMode::Update } else { OutputMode::Append };
    let (from, to) = (cluster.topic(&format!("{name}-in")).await, cluster.topic(&format!("{name}-out")).await);
    let (checkpoint, session) = (tempfile::tempdir().expect("a directory"), Session::new());
    let view = format!("{} CREATE VIEW v AS {query}", stream(cluster, &from, ""));
    session.sql(&view).await.expect("a stream and a query");
    let mut rows = session.context().table("v").await.expect("the query");
    if what == "transform_with_state" {
        let keys = rows.group_by_key([col("key")]).expect("keys");
        rows = keys
            .transform_with_state("value STRING, key STRING", TimeMode::None, mode, Counting::default())
            .expect("a processor");
    }
    let mut writer = rows.write_stream().format("kafka").output_mode(mode).trigger(trigger);
    let checkpoint_dir = checkpoint.path().display().to_string();
    for (key, value) in [
        ("kafka.bootstrap.servers", cluster.servers.as_str()),
        ("topic", &to),
        ("delivery", delivery),
        ("checkpointLocation", &checkpoint_dir),
    ] {
        writer = writer.option(key, value);
    }
    writer.start().await.expect("the flow starts");
    let producer: BaseProducer = cluster.config().set("linger.ms", "0").create().expect("a producer");
    let sending = std::thread::spawn(move || {
        let start = Instant::now();
        for n in 0..SECONDS * 1000 {
            let due = Duration::from_millis(n as u64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let (value, key) = (now_us().to_be_bytes(), [(n % KEYS) as u8]);
            let record = BaseRecord::<[u8], [u8]>::to(&from).partition(n as i32 % PARTITIONS);
            let record = record.key(&key[..]).payload(&value[..]);
            producer.send(record).map_err(|(e, _)| e).expect("room");
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("all records are there");
    });
    let consumer = cluster.consumer(&to, Offset::Beginning, &[("fetch.wait.max.ms", "100")]);
    let reading = std::thread::spawn(move || {
        // An aggregate gives a row for several records: the end is where nothing comes any more.
        let (mut seen, mut last) = (vec![], Instant::now());
        while seen.len() < SECONDS * 1000 && last.elapsed() < Duration::from_secs(3) {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(500)) else { continue };
            last = Instant::now();
            let now = now_us();
            let bytes = decode(message.payload().unwrap_or_default());
            seen.push((now - u64::from_be_bytes(bytes)) as f64 / 1000.0);
        }
        seen
    });
    sending.join().expect("the producer");
    let mut seen = reading.join().expect("the consumer");
    session.stop_all().await.expect("the flow stops");
    // The first second is the start of everything.
    seen.drain(..seen.len() / SECONDS);
    seen.sort_by(f64::total_cmp);
    seen
}

/// Base 64 of eight bytes.
fn decode(text: &[u8]) -> [u8; 8] {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits = text.iter().filter(|b| **b != b'=').fold(0u128, |bits, b| bits << 6 | u128::from(digit(*b)));
    ((bits >> 2) as u64).to_be_bytes()
}

fn median(mut samples: Vec<Duration>) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64()
}

fn topics(_: &mut Criterion) {
    let Ok(servers) = std::env::var("KAFKA") else {
        println!("kafka: set KAFKA to the address of a broker");
        return;
    };
    let cluster = Cluster { servers, run: uuid::Uuid::new_v4().simple() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (number, (what, _)) in QUERIES.iter().enumerate() {
        let runs = [("at-least-once", false), ("exactly-once", false), ("at-least-once", true), ("exactly-once", true)];
        for (delivery, is_continuous) in runs {
            let seen = runtime.block_on(latencies(&cluster, delivery, is_continuous, number));
            let at = |share: f64| seen[(seen.len() as f64 * share) as usize];
            let (p50, p99) = (at(0.5), at(0.99));
            let trigger = if is_continuous { "continuous" } else { "default" };
            println!(
                "latency, 1000 records/s, {what:23} {trigger:10} {delivery:14} p50 {p50:6.2} ms   p99 {p99:6.2} ms"
            );
        }
    }
    let from = runtime.block_on(cluster.topic("in"));
    cluster.fill(&from);
    let (mut bare, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.push(read_bare(&cluster, &from));
        ours.push(runtime.block_on(read_ours(&cluster, &from)));
    }
    let (bare, ours) = (median(bare), median(ours));
    println!(
        "read 1 KB JSON     tidemill {ours:6.2} s   librdkafka and arrow-json {bare:6.2} s   ratio {:.2}",
        bare / ours
    );
    let (mut bare, mut ours) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let to = runtime.block_on(cluster.topic(&format!("bare-{round}")));
        bare.push(copy_bare(&cluster, &from, &to));
        let to = runtime.block_on(cluster.topic(&format!("ours-{round}")));
        ours.push(runtime.block_on(copy_ours(&cluster, &from, &to)));
    }
    let (bare, ours) = (median(bare), median(ours));
    println!(
        "copy exactly once  tidemill {ours:6.2} s   transactional producer    {bare:6.2} s   ratio {:.2}",
        bare / ours
    );
}

criterion_group!(benches, topics);
criterion_main!(benches);
