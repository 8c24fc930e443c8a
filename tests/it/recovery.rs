//! `kill -9` at any time: what was counted stays counted, once.

use std::fs;
use std::path::Path;

use tidemill::testing::FAILPOINTS;

use super::process::{Ended, Server, Tidemill, command, eventually, lines_from, run_sql, run_to_end};

fn write_inputs(dir: &Path, files: u32, rows: u32) {
    fs::create_dir_all(dir).unwrap();
    for file in 0..files {
        let text: String = (0..rows).map(|row| format!("{}\n", file * rows + row)).collect();
        fs::write(dir.join(format!("{file:03}.txt")), text).unwrap();
    }
}

fn parts(dir: &Path) -> usize {
    fs::read_dir(dir)
        .map_or(0, |d| d.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("part-")).count())
}

#[test]
fn files_to_files_exactly_once_over_kills() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let (files, rows) = (60, 50);
    write_inputs(&at("in"), files, rows);
    let sql = format!(
        "CREATE STREAM numbers USING text OPTIONS (path '{}', maxFilesPerTrigger 1);
         CREATE SINK copy USING parquet OPTIONS (path '{}');
         CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}'
         AS INSERT INTO copy SELECT cast(value AS BIGINT) AS n FROM numbers;",
        at("in").display(),
        at("out").display(),
        at("checkpoint").display()
    );
    for kill_at in [1, 7, 20, 21, 40] {
        let mut tidemill = run_sql(&sql, &[]);
        tidemill.wait_for(&format!("{kill_at} parts"), |t| {
            parts(&at("out")) >= kill_at || t.stderr.text().contains("error")
        });
        tidemill.killed();
    }
    run_sql(&sql, &[]).ended().assert_code(0);
    let check = format!(
        "CREATE TABLE copy USING parquet OPTIONS (path '{}');
         SELECT count(*) AS rows, count(DISTINCT n) AS numbers, min(n) AS first, max(n) AS last FROM copy;",
        at("out").display()
    );
    let ended = run_to_end(["run", "-e", &check]);
    let total = files * rows;
    let row = format!("|{total:>4}|{total:>7}|{:>5}|{:>4}|", 0, total - 1);
    assert!(ended.assert_code(0).stdout.contains(&row), "{}", ended.stdout);
}

/// A count of lines whose checkpoint is kept. The log of received lines is on.
fn logged_count(port: u16, checkpoint: &Path, trigger: &str) -> Tidemill {
    let sql = lines_from(port, ", wal 'true'")
        + &format!(
            "CREATE FLOW f OUTPUT MODE COMPLETE {trigger} CHECKPOINT LOCATION '{}'
             AS SELECT count(*) AS n, sum(cast(value AS BIGINT)) AS d FROM lines;",
            checkpoint.display()
        );
    run_sql(&sql, &[])
}

fn bytes_below(dir: &Path, needle: &[u8]) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|e| match e.file_type() {
        Ok(t) if t.is_dir() => bytes_below(&e.path(), needle),
        _ => fs::read(e.path()).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle)),
    })
}

#[test]
fn lines_that_were_logged_are_counted_after_a_kill() {
    let checkpoint = tempfile::tempdir().unwrap();
    let server = Server::new();
    let port = server.port();
    let mut tidemill = logged_count(port, checkpoint.path(), "TRIGGER EVERY 10 SECONDS");
    let mut peer = server.accept();
    peer.send("1\n");
    tidemill.wait_for_batch(0);
    // The next batch is seconds away: these lines are in the log of received lines and nowhere else.
    peer.send("2\n3\n987654321\n");
    eventually("the log of lines", || bytes_below(checkpoint.path(), b"987654321"));
    tidemill.killed();

    let mut tidemill = logged_count(port, checkpoint.path(), "");
    tidemill.wait_for_stdout("|  4|987654327|");
    server.accept().send("5\n");
    tidemill.wait_for_stdout("|  5|987654332|");
    tidemill.interrupted().assert_code(0);
}

#[test]
fn lines_that_were_shown_are_counted_once_over_kills() {
    let checkpoint = tempfile::tempdir().unwrap();
    let server = Server::new();
    let mut sent = 0;
    for _ in 0..4 {
        let mut tidemill = logged_count(server.port(), checkpoint.path(), "");
        let mut peer = server.accept();
        for _ in 0..10 {
            peer.send(format!("{sent}\n"));
            sent += 1;
        }
        let sum: u32 = (0..sent).sum();
        tidemill.wait_for_stdout(&format!("|{sent:>3}|{sum:>3}|"));
        tidemill.killed();
    }
}

#[test]
fn a_restart_after_a_clean_stop_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let root_arg = root.path().to_str().unwrap();
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW words OUTPUT MODE COMPLETE AS SELECT value, count(*) AS n FROM lines GROUP BY value;";
    for n in 1..=3 {
        let mut tidemill = run_sql(&sql, &["--checkpoint-root", root_arg]);
        // Held open, so that this process does not connect again and take the connection of the next.
        let mut peer = server.accept();
        peer.send("a\n");
        tidemill.wait_for_stdout(&format!("|    a|  {n}|"));
        let ended = tidemill.interrupted();
        assert!(ended.assert_code(0).stdout.contains(&format!("Batch: {}", n - 1)), "{}", ended.stdout);
    }
    let shown = run_to_end(["checkpoint", "show", root.path().join("words").to_str().unwrap()]);
    shown.assert_code(0);
    for text in ["select value", "complete", "batch 2", "lines: 2 -> 3"] {
        assert!(shown.stdout.to_lowercase().contains(text), "no {text} in:\n{}", shown.stdout);
    }
    let mut segments: Vec<_> =
        std::fs::read_dir(root.path().join("words/log")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let shown = run_to_end(["checkpoint", "show", root.path().join("words").to_str().unwrap()]);
    shown.assert_code(1);
    let file = segments[0].to_str().unwrap();
    assert!(shown.stderr.contains("CHECKPOINT_CORRUPT") && shown.stderr.contains(file), "{}", shown.stderr);
}

#[test]
fn a_second_process_on_a_checkpoint_is_refused() {
    let checkpoint = tempfile::tempdir().unwrap();
    let server = Server::new();
    let mut first = logged_count(server.port(), checkpoint.path(), "");
    // Held open, so that the first process does not connect again in the meantime.
    let mut peer = server.accept();
    peer.send("1\n");
    first.wait_for_batch(0);
    let second = logged_count(server.port(), checkpoint.path(), "").ended();
    second.assert_code(1);
    assert!(second.stderr.contains("error[CHECKPOINT_IN_USE]"), "{}", second.stderr);
    assert!(first.is_running());
    first.killed();
    // What a killed process leaves behind keeps nobody out.
    let mut third = logged_count(server.port(), checkpoint.path(), "");
    server.accept().send("2\n");
    third.wait_for_stdout("|  2|  3|");
    third.interrupted().assert_code(0);
}

#[test]
fn another_query_on_a_checkpoint_is_refused() {
    let checkpoint = tempfile::tempdir().unwrap();
    let server = Server::new();
    let mut first = logged_count(server.port(), checkpoint.path(), "");
    server.accept().send("1\n");
    first.wait_for_batch(0);
    first.interrupted().assert_code(0);
    let sql = lines_from(server.port(), ", wal 'true'")
        + &format!(
            "CREATE FLOW f OUTPUT MODE COMPLETE CHECKPOINT LOCATION '{}' AS SELECT min(value) AS n FROM lines;",
            checkpoint.path().display()
        );
    let ended = run_sql(&sql, &[]).ended();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("NOT_COMPATIBLE") && ended.stderr.contains("help:"), "{}", ended.stderr);
}

#[test]
fn what_is_no_checkpoint_cannot_be_shown() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_path_buf(), dir.path().join("missing")] {
        let ended = Tidemill::start(&mut command(["checkpoint", "show", path.to_str().unwrap()])).ended();
        assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
        assert!(ended.stderr.starts_with("error"), "{}", ended.stderr);
    }
}

/// One run of a count over a directory of files, a file a batch, with a snapshot after every batch.
fn counted(scratch: &Path, failpoints: &str) -> Ended {
    let sql = format!(
        "SET checkpoint.snapshotLogBytes = 1;
         CREATE STREAM numbers USING text OPTIONS (path '{0}/in', maxFilesPerTrigger 1);
         CREATE FLOW f OUTPUT MODE COMPLETE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{0}/checkpoint'
         AS SELECT cast(value AS BIGINT) % 2 AS odd, count(*) AS n, sum(cast(value AS BIGINT)) AS s,
                   sort_array(collect_set(length(value))) AS digits
         FROM numbers GROUP BY cast(value AS BIGINT) % 2 ORDER BY odd;",
        scratch.display()
    );
    let mut command = command(["run", "-e", &sql]);
    Tidemill::start(command.env("TIDEMILL_FAILPOINTS", failpoints)).ended()
}

#[test]
fn killed_while_a_snapshot_is_written_or_read() {
    let snapshots = FAILPOINTS.iter().filter(|p| p.starts_with("snap."));
    let recoveries = FAILPOINTS.iter().filter(|p| p.starts_with("recover.") && **p != "recover.tail_cut");
    let runs = snapshots.map(|p| vec![*p]).chain(recoveries.map(|p| vec!["after_offset_log", *p]));
    for points in runs {
        let scratch = tempfile::tempdir().unwrap();
        write_inputs(&scratch.path().join("in"), 30, 10);
        for point in &points {
            let ended = counted(scratch.path(), &format!("{point}=kill"));
            assert_eq!(ended.code, None, "{points:?}: it was not killed at {point}\n{}", ended.stderr);
        }
        let ended = counted(scratch.path(), "");
        for row in ["|  0|150|22350|[1, 2, 3]|", "|  1|150|22500|[1, 2, 3]|"] {
            assert!(ended.assert_code(0).stdout.contains(row), "{points:?}: no {row} in\n{}", ended.stdout);
        }
    }
}
