//! What a stream of topics does over a longer time: brokers that go away, groups that see its lag, many partitions and records.

use super::broker::{Broker, Out};
use crate::process::{Tidemill, command, run_to_end};

/// A stream of a topic from its beginning.
fn stream(broker: &Broker, topic: &str, more: &str) -> String {
    format!(
        "CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe '{topic}', startingOffsets 'earliest'{more});",
        broker.servers()
    )
}

fn numbers(range: std::ops::Range<usize>, partitions: i32) -> Vec<Out> {
    range.map(|n| Out::value(n as i32 % partitions, n.to_string())).collect()
}

/// The lines of all files of an output.
fn rows(dir: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    let texts =
        files.filter(|f| f.extension().is_some_and(|e| e == "txt")).map(|f| std::fs::read_to_string(f).unwrap());
    let mut rows: Vec<_> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort_by_key(|row| row.parse::<usize>().unwrap_or(usize::MAX));
    rows
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn brokers_that_are_away_are_waited_for() {
    let broker = Broker::new();
    broker.create("t", 3, &[]);
    broker.produce("t", &numbers(0..300, 3));
    broker.kill();
    let dir = tempfile::tempdir().unwrap();
    let (out, checkpoint) = (dir.path().join("out"), dir.path().join("checkpoint"));
    let sql = format!(
        "{} CREATE SINK o USING text OPTIONS (path '{}');
         CREATE FLOW q CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT CAST(value AS STRING) AS value FROM s;",
        stream(&broker, "t", ""),
        out.display(),
        checkpoint.display()
    );
    // At the start.
    let mut query = Tidemill::start(&mut command(["run", "-e", &sql]));
    query.wait_for_stderr("waiting for them");
    broker.start();
    query.wait_for("the first rows", |_| rows(&out) == expected(0..300));
    // In the middle.
    broker.kill();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    broker.start();
    broker.produce("t", &numbers(300..600, 3));
    query.wait_for("the rows behind the restart", |_| rows(&out) == expected(0..600));
    assert!(query.stderr.text().contains("answer again"), "{}", query.stderr.text());
    // While it waits it can be stopped.
    broker.kill();
    query.wait_for("a word about the broker", |q| q.stderr.text().matches("waiting for them").count() > 1);
    query.interrupted().assert_code(0);
}

#[test]
fn a_batch_whose_records_do_not_come_can_be_left() {
    let broker = Broker::new();
    broker.create("t", 1, &[]);
    let padding = "x".repeat(1000);
    broker.produce("t", &(0..200_000).map(|n| Out::value(0, format!("{n} {padding}"))).collect::<Vec<_>>());
    let checkpoint = tempfile::tempdir().unwrap();
    let flow = |trigger: &str, more: &str| {
        format!(
            "{} CREATE FLOW q USING console {trigger} OUTPUT MODE COMPLETE CHECKPOINT LOCATION '{}' AS SELECT count(*) AS n FROM s;",
            stream(&broker, "t", more),
            checkpoint.path().display()
        )
    };
    let mut query = Tidemill::start(&mut command(["run", "-e", &flow("", ", maxPrefetchBytes '64KB'")]));
    query.wait_for("its checkpoint", |_| checkpoint.path().join("sources").exists());
    std::thread::sleep(std::time::Duration::from_millis(300));
    broker.kill();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    query.interrupted().assert_code(0);
    broker.start();
    let ended = run_to_end(["run", "-e", &flow("TRIGGER AVAILABLE NOW", "")]);
    ended.assert_code(0);
    assert!(ended.stdout.contains("200000"), "{}", ended.stdout);
}

#[test]
fn a_consumer_group_sees_where_a_query_stands() {
    let broker = Broker::shared();
    broker.create("lag", 2, &[]);
    broker.produce("lag", &numbers(0..10, 2));
    let run = |name: &str, more: &str| {
        let sql = format!(
            "{} CREATE FLOW {name} USING noop TRIGGER AVAILABLE NOW AS SELECT value FROM s;",
            stream(broker, "lag", more)
        );
        run_to_end(["run", "-e", &sql]).assert_code(0);
    };
    run("watched", "");
    assert_eq!(broker.committed("tidemill-watched", "lag", 1), Some(5));
    run("other", ", groupIdPrefix 'mine'");
    assert_eq!(broker.committed("mine-other", "lag", 0), Some(5));
    run("third", ", kafka.group.id 'chosen'");
    assert_eq!(broker.committed("chosen", "lag", 0), Some(5));
    run("unseen", ", commitOffsets 'false'");
    assert_eq!(broker.committed("tidemill-unseen", "lag", 0), None);
}

#[test]
fn many_partitions_and_records_are_read_once() {
    const RECORDS: usize = 1_000_000;
    let broker = Broker::shared();
    broker.create("many", 64, &[]);
    let padding = "x".repeat(1000);
    let producer = broker.producer(None);
    for start in (0..RECORDS).step_by(20_000) {
        let records = (start..start + 20_000).map(|n| Out::value(n as i32 % 64, format!("{n} {padding}")));
        broker.send(&producer, "many", &records.collect::<Vec<_>>());
    }
    let dir = tempfile::tempdir().unwrap();
    for (more, kind) in [
        ("", "AVAILABLE NOW"),
        (", maxOffsetsPerTrigger '150000', maxPrefetchBytes '8MB'", "AVAILABLE NOW"),
        (", minPartitions '100'", "ONCE"),
    ] {
        let out = dir.path().join(format!("out{}", more.len()));
        let sql = format!(
            "{} CREATE SINK o USING json OPTIONS (path '{}');
             CREATE FLOW q OUTPUT MODE UPDATE TRIGGER {kind} AS SELECT count(*) AS n, sum(CAST(split(CAST(value AS STRING), ' ')[0] AS BIGINT)) AS d FROM s
             FOREACH BATCH BEGIN INSERT INTO o SELECT * FROM batch; END;",
            stream(broker, "many", more),
            out.display()
        );
        run_to_end(["run", "-e", &sql]).assert_code(0);
        let files = std::fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|f| f.extension().is_some_and(|e| e == "json"));
        let text: String = files.map(|f| std::fs::read_to_string(f).unwrap()).collect();
        let last = format!("{{\"n\":{RECORDS},\"d\":{}}}", RECORDS * (RECORDS - 1) / 2);
        assert!(text.contains(&last), "{more}: no {last} in {text}");
    }
}

#[test]
fn tools_of_kafka_read_what_is_written_and_write_what_is_read() {
    let broker = Broker::shared();
    broker.create("tools-in", 1, &[]);
    broker.create("tools-out", 5, &[]);
    let lines = "k1:first\nk2:second\nk3:third\n";
    let properties = ["--property", "parse.key=true", "--property", "key.separator=:"];
    broker.tool("org.apache.kafka.tools.ConsoleProducer", &[&["--topic", "tools-in"][..], &properties].concat(), lines);
    let checkpoint = tempfile::tempdir().unwrap();
    let sql = format!(
        "{} CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{}', topic 'tools-out');
         CREATE FLOW q TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT key, upper(CAST(value AS STRING)) AS value FROM s;",
        stream(broker, "tools-in", ""),
        broker.servers(),
        checkpoint.path().display()
    );
    run_to_end(["run", "-e", &sql]).assert_code(0);
    let read = broker.tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &[
            "--topic",
            "tools-out",
            "--from-beginning",
            "--isolation-level",
            "read_committed",
            "--max-messages",
            "3",
            "--timeout-ms",
            "20000",
            "--formatter-property",
            "print.key=true",
        ],
        "",
    );
    let mut read: Vec<_> = read.lines().collect();
    read.sort_unstable();
    assert_eq!(read, ["k1\tFIRST", "k2\tSECOND", "k3\tTHIRD"]);
    // Java's producer and ours put a key into the same partition.
    let input = "k1:a\nk2:a\nk3:a\n";
    broker.tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &[&["--topic", "tools-out"][..], &properties].concat(),
        input,
    );
    let written = broker.read(&["tools-out"]);
    for key in ["k1", "k2", "k3"] {
        let of_key = written.iter().filter(|r| r.key.as_deref() == Some(key.as_bytes()));
        let partitions: Vec<_> = of_key.map(|r| r.partition).collect();
        assert!(partitions.len() == 2 && partitions[0] == partitions[1], "{key}: {partitions:?}");
    }
}
