//! What of a checkpoint may be missing, moved or written otherwise, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Ended, Tidemill, command, run_to_end};

/// A directory with three files of JSON, and the flow that sums them.
struct Flow {
    scratch: tempfile::TempDir,
}

impl Flow {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("in")).unwrap();
        let flow = Self { scratch };
        for n in 0..3 {
            flow.add(n);
        }
        flow
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn add(&self, n: u32) {
        fs::write(self.at(&format!("in/{n}.json")), format!("{{\"k\":\"k{n}\",\"v\":{n}}}\n")).unwrap();
    }

    fn sql(&self, format: &str, options: &str, flow_options: &str) -> String {
        format!(
            "CREATE STREAM s (k STRING, v INT) USING {format} OPTIONS ({options}, maxFilesPerTrigger 1);
             CREATE FLOW f {flow_options} OUTPUT MODE UPDATE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}'
             AS SELECT k, sum(v) AS q FROM s GROUP BY k;",
            self.at("ck").display()
        )
    }

    fn run(&self, format: &str, options: &str, flow_options: &str) -> Ended {
        run_to_end(["run", "-e", &self.sql(format, options, flow_options)])
    }

    fn run_as_it_is(&self) -> Ended {
        self.run("json", &format!("path '{}'", self.at("in").display()), "")
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.at("ck/log")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

#[track_caller]
fn refused(ended: &Ended, condition: &str) {
    ended.assert_code(1);
    assert!(ended.stderr.contains(condition) && ended.stderr.contains("help: "), "{}", ended.stderr);
    assert!(!ended.stdout.contains("| k"), "{}", ended.stdout);
}

#[test]
fn a_log_that_was_lost_is_damage() {
    let flow = Flow::new();
    flow.run_as_it_is().assert_code(0);
    let log = flow.segments()[0].clone();
    let whole = fs::read(&log).unwrap();
    for left in [None, Some(0), Some(10), Some(64), Some(whole.len() / 1000)] {
        match left {
            None => fs::remove_file(&log).unwrap(),
            Some(len) => fs::write(&log, &whole[..len]).unwrap(),
        }
        refused(&flow.run_as_it_is(), "CHECKPOINT_CORRUPT");
    }
    fs::remove_dir_all(flow.at("ck/log")).unwrap();
    refused(&flow.run_as_it_is(), "CHECKPOINT_CORRUPT");
    fs::create_dir_all(flow.at("ck/log")).unwrap();
    fs::write(&log, &whole).unwrap();
    flow.add(3);
    let ended = flow.run_as_it_is();
    assert!(ended.assert_code(0).stdout.contains("k3") && !ended.stdout.contains("k2"), "{}", ended.stdout);
}

#[test]
fn a_checkpoint_without_a_batch_begins() {
    let flow = Flow::new();
    (0..3).for_each(|n| fs::remove_file(flow.at(&format!("in/{n}.json"))).unwrap());
    flow.run_as_it_is().assert_code(0);
    assert_eq!(flow.segments().len(), 1);
    flow.add(7);
    assert!(flow.run_as_it_is().assert_code(0).stdout.contains("k7"));
}

#[test]
fn other_sources_than_those_of_the_checkpoint_are_refused() {
    let flow = Flow::new();
    let path = format!("path '{}'", flow.at("in").display());
    let allow = "OPTIONS (checkpoint.sourceChange 'allow')";
    flow.run("json", &path, "").assert_code(0);
    let changed = "STREAMING_QUERY_EVOLUTION_ERROR.SOURCES_CHANGED";
    refused(&flow.run("csv", &path, ""), changed);
    refused(&flow.run("json", &format!("{path}, multiLine 'true'"), ""), changed);
    fs::create_dir(flow.at("other")).unwrap();
    fs::write(flow.at("other/0.json"), "{\"k\":\"k0\",\"v\":100}\n").unwrap();
    let other = format!("path '{}'", flow.at("other").display());
    let ended = flow.run("json", &other, "");
    refused(&ended, changed);
    assert!(ended.stderr.contains("checkpoint.sourceChange") && ended.stderr.contains("/in'"), "{}", ended.stderr);

    // What is read stays the same.
    flow.run("json", &format!("path 'file:{}/'", flow.at("in").display()), "").assert_code(0);
    flow.run("json", &format!("{path}, pathGlobFilter '*.json', ignoreMissingFiles 'true'"), "").assert_code(0);

    let ended = flow.run("json", &other, allow);
    assert!(ended.assert_code(0).stdout.contains("| k0|100|"), "{}", ended.stdout);
    assert!(ended.stderr.contains("stream 's' reads json at"), "{}", ended.stderr);
    // From then on it is the path.
    flow.run("json", &other, "").assert_code(0);
    refused(&flow.run("json", &path, ""), changed);
}

/// Runs the script of a directory of its own, with relative paths.
fn run_in(dir: &Path, sql: &str) -> Ended {
    Tidemill::start(command(["run", "-e", sql]).current_dir(dir)).ended()
}

#[test]
fn a_checkpoint_may_move_with_its_output() {
    let flow = Flow::new();
    let sql = |dir: &Path, path: &str| {
        format!(
            "CREATE STREAM s (k STRING, v INT) USING json OPTIONS (path '{}');
             CREATE SINK o USING json OPTIONS (path '{path}');
             CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT * FROM s;",
            flow.at("in").display(),
            dir.join("ck").display()
        )
    };
    let (old, new) = (flow.at("old"), flow.at("new"));
    let out = |dir: &Path| dir.join("out").display().to_string();
    fs::create_dir(&old).unwrap();
    run_to_end(["run", "-e", &sql(&old, &out(&old))]).assert_code(0);
    fs::rename(&old, &new).unwrap();
    flow.add(3);
    run_to_end(["run", "-e", &sql(&new, &out(&new))]).assert_code(0);
    let rows = || {
        let files = fs::read_dir(new.join("out")).unwrap().map(|e| e.unwrap().path());
        let texts = files.filter(|p| p.is_file()).map(|p| fs::read_to_string(p).unwrap());
        texts.map(|t| t.lines().count()).sum::<usize>()
    };
    assert_eq!(rows(), 4);
    // Another directory is another sink.
    let ended = run_to_end(["run", "-e", &sql(&new, &flow.at("elsewhere").display().to_string())]);
    assert!(ended.assert_code(1).stderr.contains("SINK_CHANGED"), "{}", ended.stderr);
}

#[test]
fn a_project_with_relative_paths_may_move() {
    let flow = Flow::new();
    let (old, new) = (flow.at("old"), flow.at("new"));
    fs::create_dir(&old).unwrap();
    assert!(Command::new("mv").arg(flow.at("in")).arg(&old).status().unwrap().success());
    let sql = "CREATE STREAM s (k STRING, v INT) USING json OPTIONS (path 'in');
               CREATE FLOW f OUTPUT MODE UPDATE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION 'ck'
               AS SELECT k, sum(v) AS q FROM s GROUP BY k;";
    assert!(run_in(&old, sql).assert_code(0).stdout.contains("k2"));
    assert!(!run_in(&old, &sql.replace("'in'", "'./in/'")).assert_code(0).stdout.contains("k2"));
    fs::rename(&old, &new).unwrap();
    let ended = run_in(&new, &sql.replace("'in'", &format!("'{}'", new.join("in").display())));
    refused(&ended, "SOURCES_CHANGED");
    let ended = run_in(&new, sql);
    assert!(!ended.assert_code(0).stdout.contains("| k"), "read again: {}", ended.stdout);
}
