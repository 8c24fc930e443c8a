//! The examples of `sql-examples/kafka` run against a real broker.

use std::path::Path;

use super::broker::{Broker, Out};
use crate::process::{Tidemill, command};

#[test]
fn examples_run_against_a_broker() {
    let broker = Broker::new();
    broker.create("words", 1, &[]);
    broker.create("counts", 1, &[]);
    broker.create("orders", 1, &[]);
    broker.create("sums", 1, &[]);
    let order = |n: i32| format!(r#"{{"id":{n},"region":"eu","amount":2.5,"at":"2026-01-01 00:00:0{n}"}}"#);
    broker.produce("orders", &[Out::value(0, order(1)), Out::value(0, order(2)), Out::value(0, "no order")]);
    broker.produce("words", &["apache spark", "apache arrow", "kafka"].map(|line| Out::value(0, line)));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-examples/kafka");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "sql"));
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let checkpoint = tempfile::tempdir().unwrap();
        let mut command = command(["run".as_ref(), file.as_os_str()]);
        command.env("BROKERS", broker.servers()).env("CHECKPOINT", checkpoint.path()).env("START", "earliest");
        let mut example = Tidemill::start(&mut command);
        match file.file_stem().unwrap().to_str().unwrap() {
            "json_upserts" => example.wait_for("a sum", |_| {
                let sum = r#"{"minute":"2026-01-01T00:00:00.000Z","region":"eu","amount":5.00,"newest":1}"#;
                broker.read(&["sums"]).iter().any(|r| r.value.as_deref() == Some(sum.as_bytes()))
            }),
            "topic_to_topic" => example.wait_for("a record", |_| broker.read(&["counts"]).len() == 2),
            _ => example.wait_for_stdout("arrow"),
        }
        let ended = if example.is_running() { example.interrupted() } else { example.ended() };
        assert_eq!(ended.code, Some(0), "{}: {}", file.display(), ended.stderr);
    }
}
