//! Watermarks that each partition holds by itself.

use std::path::Path;

use super::broker::{Broker, Out};
use crate::process::{Tidemill, command, run_to_end};

/// Minutes of the hour, one record each, into a partition.
fn minutes(broker: &Broker, topic: &str, partition: i32, minutes: &[u32]) {
    let record = |m: &u32| Out::value(partition, format!("{{\"at\":\"2026-01-01 00:{m:02}:00\"}}"));
    broker.produce(topic, &minutes.iter().map(record).collect::<Vec<_>>());
}

fn script(broker: &Broker, topic: &str, dir: &Path, options: &str, trigger: &str) -> String {
    format!(
        "CREATE STREAM s (at TIMESTAMP) USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe '{topic}', startingOffsets 'earliest',
             value.format 'json', {options});
         CREATE SINK o USING json OPTIONS (path '{}');
         CREATE FLOW q {trigger} CHECKPOINT LOCATION '{}' AS INSERT INTO o
         SELECT minute(window.start) AS m, count(*) AS n FROM STREAM s WATERMARK at DELAY OF INTERVAL 0 SECONDS GROUP BY window(at, '10 minutes');",
        broker.servers(),
        dir.join("out").display(),
        dir.join("checkpoint").display()
    )
}

fn rows(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("out")).into_iter().flatten().map(|e| e.unwrap().path());
    let texts =
        files.filter(|f| f.extension().is_some_and(|e| e == "json")).map(|f| std::fs::read_to_string(f).unwrap());
    let mut rows: Vec<_> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

#[test]
fn a_slow_partition_holds_the_watermark() {
    let broker = Broker::shared();
    broker.create("w-slow", 2, &[]);
    minutes(broker, "w-slow", 0, &[1, 12, 25, 31]);
    minutes(broker, "w-slow", 1, &[2]);
    let run = |dir: &Path, options: &str| {
        run_to_end(["run", "-e", &script(broker, "w-slow", dir, options, "TRIGGER AVAILABLE NOW")]).assert_code(0);
        rows(dir)
    };
    // As in Spark the latest time of all partitions counts.
    let (all, each) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(all.path(), "watermark.byPartition 'false'").len(), 3);
    assert_eq!(run(each.path(), "watermark.byPartition 'true'"), [""; 0]);
    // The slow one comes to minute 22: two windows close, with what came late by the other partition's time.
    minutes(broker, "w-slow", 1, &[9, 13, 22]);
    assert_eq!(run(each.path(), "watermark.byPartition 'true'"), [""; 0], "a new run knows nothing of partition 0 yet");
    minutes(broker, "w-slow", 0, &[32]);
    minutes(broker, "w-slow", 1, &[23]);
    assert_eq!(run(each.path(), "watermark.byPartition 'true'"), [r#"{"m":0,"n":3}"#, r#"{"m":10,"n":2}"#]);
}

#[test]
fn a_filter_stays_above_the_watermark_of_partitions() {
    let broker = Broker::shared();
    broker.create("w-filter", 2, &[]);
    minutes(broker, "w-filter", 0, &[1, 25]);
    minutes(broker, "w-filter", 1, &[2, 25]);
    let dir = tempfile::tempdir().unwrap();
    let sql = script(broker, "w-filter", dir.path(), "watermark.byPartition 'true'", "TRIGGER AVAILABLE NOW");
    let sql = sql.replace(" GROUP BY", " WHERE kafka_partition = 0 GROUP BY");
    run_to_end(["run", "-e", &sql]).assert_code(0);
    assert_eq!(rows(dir.path()), [r#"{"m":0,"n":1}"#]);
}

#[test]
fn an_idle_partition_is_left_out() {
    let broker = Broker::shared();
    broker.create("w-idle", 3, &[]);
    minutes(broker, "w-idle", 0, &[1, 25]);
    minutes(broker, "w-idle", 1, &[3]);
    let dir = tempfile::tempdir().unwrap();
    let options = "watermark.byPartition 'true', watermark.idleTimeout '3 seconds'";
    let sql = script(broker, "w-idle", dir.path(), options, "");
    let mut query = Tidemill::start(&mut command(["run", "-e", &sql]));
    // Partition 2 has no rows, partition 1 none with a time; the first goes on.
    let minute = std::cell::Cell::new(26);
    query.wait_for("the windows close", |_| {
        minutes(broker, "w-idle", 0, &[minute.get()]);
        broker.produce("w-idle", &[Out::value(1, "garbage")]);
        minute.set(29.min(minute.get() + 1));
        std::thread::sleep(std::time::Duration::from_millis(300));
        rows(dir.path()) == [r#"{"m":0,"n":2}"#]
    });
    query.interrupted().assert_code(0);
}

#[test]
fn a_watermark_above_another_query_is_refused() {
    let sql = "CREATE STREAM s (at TIMESTAMP) USING kafka OPTIONS (kafka.bootstrap.servers '127.0.0.1:1', subscribe 't', value.format 'json', watermark.byPartition 'true');
        CREATE FLOW q USING console AS SELECT count(*) FROM (SELECT at FROM s) WATERMARK at DELAY OF INTERVAL 0 SECONDS GROUP BY window(at, '10 minutes');";
    let ended = run_to_end(["run", "-e", sql]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("byPartition"), "{}", ended.stderr);
}
