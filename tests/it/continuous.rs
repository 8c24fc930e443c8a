//! `TRIGGER CONTINUOUS`: rows are handed over as they arrive, also over a state, and nothing is lost when the process is killed.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::process::{Server, lines_from, run_sql, run_to_end};

fn count_into(sink: &str, checkpoint: &Path, more: &str) -> String {
    format!(
        "CREATE FLOW f {sink} OUTPUT MODE UPDATE TRIGGER CONTINUOUS '200 milliseconds'
         CHECKPOINT LOCATION '{}' OPTIONS (delivery 'exactly-once'{more})
         AS SELECT value, count(*) AS n FROM lines GROUP BY value;",
        checkpoint.display()
    )
}

#[test]
fn killed_and_started_again_each_line_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new();
    let sql = lines_from(server.port(), ", wal 'true'") + &count_into("", &dir.path().join("c"), "");
    let mut count = 0;
    for _ in 0..5 {
        let mut tidemill = run_sql(&sql, &[]);
        let mut peer = server.accept();
        for _ in 0..20 {
            peer.send("a\n");
            count += 1;
        }
        tidemill.wait_for_stdout(&format!("|    a|{count:>3}|"));
        tidemill.killed();
    }
    let mut tidemill = run_sql(&sql, &[]);
    server.accept().send("a\n");
    tidemill.wait_for_stdout(&format!("|    a|{:>3}|", count + 1));
    tidemill.interrupted().assert_code(0);
}

#[test]
fn files_are_written_once_however_often_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out, checkpoint) = (dir.path().join("in"), dir.path().join("out"), dir.path().join("c"));
    fs::create_dir_all(&input).unwrap();
    let flow = |trigger: &str| {
        format!(
            "CREATE STREAM lines USING text OPTIONS (path '{}', maxFilesPerTrigger 1);
             CREATE SINK o USING json OPTIONS (path '{}');
             CREATE FLOW f {trigger} CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT value FROM lines;",
            input.display(),
            out.display(),
            checkpoint.display()
        )
    };
    let mut written = 0;
    for _ in 0..4 {
        let mut tidemill = run_sql(&flow("TRIGGER CONTINUOUS 1 SECOND"), &["--progress-json"]);
        for _ in 0..25 {
            fs::write(input.join(format!(".{written}")), format!("{written}\n")).unwrap();
            fs::rename(input.join(format!(".{written}")), input.join(format!("{written}.txt"))).unwrap();
            written += 1;
        }
        tidemill.wait_for_stderr("\"batchId\"");
        tidemill.killed();
    }
    // Another trigger goes on from the same checkpoint.
    let end = flow("TRIGGER AVAILABLE NOW")
        + &format!("AWAIT f; CREATE TABLE t USING json OPTIONS (path '{}');", out.display())
        + "SELECT count(*) AS n, count(DISTINCT value) AS d FROM t;";
    let ended = run_to_end(["run", "-e", &end]);
    let expected = format!("|{written}|{written}|");
    assert!(ended.assert_code(0).stdout.contains(&expected), "{}\n{}", ended.stdout, ended.stderr);
}

#[test]
fn spellings_and_delivery_are_shown() {
    let server = Server::new();
    let mut sql = lines_from(server.port(), "");
    for (name, clause) in [
        ("a", "TRIGGER CONTINUOUS 1 SECOND OPTIONS (delivery 'at-least-once')"),
        ("b", "TRIGGER REAL TIME"),
        ("c", "OPTIONS (\"trigger.continuous\" '1 second')"),
        ("d", "OPTIONS (\"trigger.realTime\" '5 minutes')"),
    ] {
        write!(
            sql,
            "CREATE FLOW {name} {clause} AS SELECT value FROM lines; DESCRIBE FLOW {name}; EXPLAIN FLOW {name};"
        )
        .unwrap();
    }
    let ended = run_to_end(["run", "-e", &(sql + "STOP FLOW a; STOP FLOW b; STOP FLOW c; STOP FLOW d;")]);
    for text in [
        "continuous 1000 ms",
        "continuous 300000 ms",
        "at-least-once: output waits for nothing",
        "exactly-once: output waits until its record is durable",
        "delivery: at-least-once",
    ] {
        assert!(ended.stdout.contains(text), "{text}\n{}\n{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn a_sink_that_knows_its_batches_is_not_written_before_they_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    for (sink, body) in [("INSERT INTO o", ""), ("", "FOREACH BATCH BEGIN INSERT INTO o SELECT value FROM batch; END")]
    {
        let sql = format!(
            "{} CREATE SINK o USING json OPTIONS (path '{}');
             CREATE FLOW f TRIGGER CONTINUOUS 1 SECOND OPTIONS (delivery 'at-least-once')
             AS {sink} SELECT value FROM lines {body};",
            lines_from(9, ""),
            dir.path().display()
        );
        let ended = run_to_end(["run", "-e", &sql]);
        ended.assert_code(2);
        for text in ["error[UNSUPPORTED_FEATURE]", "delivery 'at-least-once' does not go with", "help: leave it out"] {
            assert!(ended.stderr.contains(text), "{text}\n{}", ended.stderr);
        }
    }
}

#[test]
fn windows_close_and_clean_stops_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new();
    let sql = lines_from(server.port(), ", wal 'true'")
        + &format!(
            "CREATE FLOW f TRIGGER CONTINUOUS 1 SECOND CHECKPOINT LOCATION '{}' AS
             SELECT window.start AS s, count(*) AS n
             FROM (SELECT CAST(value AS TIMESTAMP) AS t FROM lines) WATERMARK t DELAY OF INTERVAL 1 SECOND
             GROUP BY window(t, '10 seconds');",
            dir.path().join("c").display()
        );
    let mut tidemill = run_sql(&sql, &[]);
    let mut peer = server.accept();
    peer.send("2026-01-01 00:00:01\n");
    peer.send("2026-01-01 00:00:02\n");
    tidemill.wait_for_batch(0);
    tidemill.interrupted().assert_code(0);
    let mut tidemill = run_sql(&sql, &[]);
    server.accept().send("2026-01-01 00:00:12\n");
    tidemill.wait_for_stdout("|2026-01-01 00:00:00|  2|");
    tidemill.interrupted().assert_code(0);
}
