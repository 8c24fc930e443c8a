//! The examples of `sql-examples/kafka` run against a real broker.

use std::path::Path;

use super::broker::{Broker, Out};
use crate::process::{Tidemill, command};

#[test]
fn examples_run_against_a_broker() {
    let broker = Broker::new();
    broker.create("words", 1, &[]);
    broker.create("counts", 1, &[]);
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
            "topic_to_topic" => example.wait_for("a record", |_| broker.read(&["counts"]).len() == 2),
            _ => example.wait_for_stdout("arrow"),
        }
        let ended = if example.is_running() { example.interrupted() } else { example.ended() };
        assert_eq!(ended.code, Some(0), "{}: {}", file.display(), ended.stderr);
    }
}
