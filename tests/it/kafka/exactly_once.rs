//! Records that go from topic to topic while everything is killed: afterwards each is there once, and no reader has ever seen a part of a batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::broker::{Broker, Out};
use crate::process::{Ended, Tidemill, command};

/// Offsets of a batch.
const BATCH: usize = 10;

/// How often each query is killed at a random moment; `tests/run --chaos N` says another number.
fn kills() -> u32 {
    std::env::var("TIDEMILL_CHAOS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

struct Copy<'b> {
    broker: &'b Broker,
    from: String,
    to: String,
    query: &'static str,
    mode: &'static str,
    checkpoint: tempfile::TempDir,
}

impl<'b> Copy<'b> {
    fn new(broker: &'b Broker, name: &str, query: &'static str, mode: &'static str) -> Self {
        let (from, to) = (format!("{name}-in"), format!("{name}-out"));
        broker.create(&from, 1, &[]);
        broker.create(&to, 1, &[]);
        Self { broker, from, to, query, mode, checkpoint: tempfile::tempdir().unwrap() }
    }

    fn start(&self, trigger: &str, failpoints: &str) -> Tidemill {
        let (servers, from, to) = (self.broker.servers(), &self.from, &self.to);
        let sql = format!(
            "CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest', \
               maxOffsetsPerTrigger {BATCH}); \
             CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}'); \
             CREATE FLOW q OUTPUT MODE {} {trigger} CHECKPOINT LOCATION '{}' AS INSERT INTO o {};",
            self.mode,
            self.checkpoint.path().display(),
            self.query
        );
        Tidemill::start(command(["run", "-e", &sql]).env("TIDEMILL_FAILPOINTS", failpoints))
    }

    /// The same with a checkpoint of its own.
    fn twin(&self) -> Self {
        let checkpoint = tempfile::tempdir().unwrap();
        Self {
            broker: self.broker,
            from: self.from.clone(),
            to: self.to.clone(),
            query: self.query,
            mode: self.mode,
            checkpoint,
        }
    }

    fn finish(&self) -> Ended {
        let ended = self.start("TRIGGER AVAILABLE NOW", "").ended();
        ended.assert_code(0);
        ended
    }

    fn produce(&self, range: std::ops::Range<usize>) {
        let record = |n: usize| Out {
            key: Some(format!("k{}", n % 7).into_bytes()),
            time: Some(1_704_067_200_000 + n as i64 * 1000),
            ..Out::value(0, n.to_string())
        };
        self.broker.produce(&self.from, &range.map(record).collect::<Vec<_>>());
    }

    /// The values in the order of the topic.
    fn written(&self) -> Vec<String> {
        let value = |r: super::broker::Read| String::from_utf8(r.value.unwrap_or_default()).unwrap();
        self.broker.read(&[&self.to]).into_iter().map(value).collect()
    }
}

const FILTER: &str = "SELECT key, value FROM s WHERE CAST(CAST(value AS STRING) AS INT) >= 0";
const WINDOW: &str = "SELECT CAST(key AS STRING) AS key, concat(CAST(window.start AS STRING), ' ', CAST(count(*) AS STRING)) AS value \
    FROM s WATERMARK timestamp DELAY OF INTERVAL 0 SECONDS GROUP BY window(timestamp, '20 seconds'), key";

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn a_kill_at_every_point_leaves_every_record_once() {
    let points = [
        "before_offset_log",
        "after_offset_log",
        "after_batch",
        "kafkasink.sent",
        "kafkasink.identified",
        "before_sink_commit",
        "after_sink_commit",
        "before_commit_log",
        "after_commit_log",
        "log.written_not_synced",
        "recover.sink_queried",
        "recover.replayed",
    ];
    let copy = Copy::new(Broker::shared(), "points", FILTER, "APPEND");
    for (round, point) in points.into_iter().enumerate() {
        copy.produce(round * 30..round * 30 + 30);
        let ended = copy.start("TRIGGER AVAILABLE NOW", &format!("{point}=kill")).ended();
        assert_eq!(ended.code, None, "{point}: {ended:?}");
        assert_eq!(copy.written().len() % BATCH, 0, "{point}: a part of a batch is seen");
        copy.finish();
        assert_eq!(copy.written(), numbers(0..round * 30 + 30), "{point}");
    }
}

#[test]
fn kills_at_random_moments_leave_every_record_once() {
    let continuous = "TRIGGER CONTINUOUS 200 MILLISECONDS";
    for (name, query, trigger) in [
        ("random", FILTER, ""),
        ("random-window", WINDOW, ""),
        ("random-continuous", FILTER, continuous),
        ("random-continuous-window", WINDOW, continuous),
    ] {
        let copy = Copy::new(Broker::shared(), name, query, "APPEND");
        let done = AtomicBool::new(false);
        let mut produced = 0;
        std::thread::scope(|scope| {
            // A reader that looks all the time: it never sees a part of a batch, where batches have one size.
            if query == FILTER && trigger.is_empty() {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let seen = copy.written().len();
                        assert_eq!(seen % BATCH, 0, "a part of a batch is seen");
                        std::thread::sleep(Duration::from_millis(50));
                    }
                });
            }
            let mut chance = 0x2545_F491_4F6C_DD1D_u64;
            for _ in 0..kills().div_ceil(2) {
                copy.produce(produced..produced + 5 * BATCH);
                produced += 5 * BATCH;
                let running = copy.start(trigger, "");
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                std::thread::sleep(Duration::from_millis(150 + chance % 700));
                running.killed();
            }
            copy.finish();
            done.store(true, Ordering::Relaxed);
        });
        match query {
            FILTER => assert_eq!(copy.written(), numbers(0..produced)),
            _ => {
                // A window of twenty seconds has twenty records; the last is still open.
                let counts =
                    copy.written().into_iter().map(|v| v.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
                let closed = (produced - 1) / 20 * 20;
                assert_eq!(counts.sum::<usize>(), closed);
            }
        }
    }
}

#[test]
fn a_broker_that_is_killed_leaves_every_record_once() {
    let broker = Broker::new();
    let copy = Copy::new(&broker, "broker", FILTER, "APPEND");
    let mut query = copy.start("", "");
    for round in 0..3 {
        copy.produce(round * 500..round * 500 + 500);
        query.wait_for("some of the records", |_| copy.written().len() > round * 500);
        broker.kill();
        broker.start();
    }
    query.wait_for("all records", |_| copy.written().len() >= 1500);
    query.interrupted().assert_code(0);
    assert_eq!(copy.written(), numbers(0..1500));
}

#[test]
fn a_second_run_of_a_query_shuts_the_first_one_out() {
    let copy = Copy::new(Broker::shared(), "zombie", FILTER, "APPEND");
    let id = |checkpoint: &std::path::Path| std::fs::read_to_string(checkpoint.join("metadata")).unwrap_or_default();
    copy.produce(0..20);
    copy.finish();
    // A copy of the checkpoint, as after a restore from a backup while the first still runs.
    let mut first = copy.start("", "");
    copy.produce(20..30);
    first.wait_for("its batch", |_| copy.written().len() == 30);
    let twin = copy.twin();
    copy_dir(copy.checkpoint.path(), twin.checkpoint.path());
    assert_eq!(id(copy.checkpoint.path()), id(twin.checkpoint.path()));
    let second = twin.start("TRIGGER AVAILABLE NOW", "").ended();
    second.assert_code(0);
    copy.produce(30..40);
    first.wait_for_stderr("KAFKA_PRODUCER_FENCED");
    assert_ne!(first.ended().code, Some(0));
    twin.finish();
    assert_eq!(copy.written(), numbers(0..40));
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_open_transaction_of_another_query_hides_nothing() {
    let broker = Broker::new();
    let (dead, living) = (Copy::new(&broker, "dead", FILTER, "APPEND"), Copy::new(&broker, "living", FILTER, "APPEND"));
    living.produce(0..10);
    living.finish();
    // The identity of its batch is written and neither committed nor aborted.
    dead.produce(0..10);
    assert_eq!(dead.start("TRIGGER AVAILABLE NOW", "kafkasink.identified=kill").ended().code, None);
    // It dies when its batch is committed, and its log does not know: only the topic says so, behind the open transaction.
    living.produce(10..20);
    let mut blocked = living.start("TRIGGER AVAILABLE NOW", "after_sink_commit=kill");
    blocked.wait_for_stderr("waiting for an open transaction");
    dead.finish();
    assert_eq!(blocked.ended().code, None);
    living.finish();
    assert_eq!((dead.written(), living.written()), (numbers(0..10), numbers(0..20)));
}

#[test]
fn at_least_once_needs_no_transaction() {
    let broker = Broker::shared();
    broker.create("plain-in", 1, &[]);
    broker.create("plain-out", 3, &[]);
    broker.produce("plain-in", &(0..50).map(|n| Out::value(0, n.to_string())).collect::<Vec<_>>());
    let sql = format!(
        "CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{0}', subscribe 'plain-in', startingOffsets 'earliest'); \
         CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{0}', topic 'plain-out', delivery 'at-least-once', commitsTopic 'never-made'); \
         CREATE FLOW q TRIGGER AVAILABLE NOW AS INSERT INTO o SELECT value AS key, value FROM s;",
        broker.servers()
    );
    crate::process::run_to_end(["run", "-e", &sql]).assert_code(0);
    let written = broker.read(&["plain-out"]);
    assert_eq!(written.len(), 50);
    assert!(written.iter().any(|r| r.partition > 0));
    // There are no markers of transactions, which would take offsets.
    for partition in 0..3 {
        let own: Vec<_> = written.iter().filter(|r| r.partition == partition).map(|r| r.offset).collect();
        assert_eq!(own, (0..own.len() as i64).collect::<Vec<_>>());
    }
    assert_eq!(broker.partitions("never-made"), 0);
}
