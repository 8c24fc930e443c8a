//! Scripts that wait: `AWAIT`, and queries over what a flow of the same session fills.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::process::{Server, Tidemill, command, lines_from, run_sql, run_to_end};

/// Files of one line each, read one a batch: slow enough that a query which does not wait is seen.
fn files(dir: &Path, count: usize) -> String {
    let input = dir.join("in");
    fs::create_dir_all(&input).unwrap();
    for i in 0..count {
        fs::write(input.join(format!("{i}.txt")), format!("{i}\n")).unwrap();
    }
    format!("CREATE STREAM lines USING text OPTIONS (path '{}', maxFilesPerTrigger 1);\n", input.display())
}

#[test]
fn a_query_waits_for_the_flow_that_fills_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (out, table) = (at("out"), at("table"));
    for (flow, read) in [
        ("CREATE FLOW m USING memory TRIGGER AVAILABLE NOW AS SELECT value FROM lines;".to_owned(), "m"),
        ("CREATE FLOW m USING memory TRIGGER ONCE AS SELECT value FROM lines;".to_owned(), "m"),
        ("CREATE SINK s USING memory; CREATE FLOW f TRIGGER AVAILABLE NOW AS INSERT INTO s SELECT value FROM lines;".to_owned(), "s"),
        ("CREATE STREAMING TABLE t TRIGGER AVAILABLE NOW AS SELECT value FROM lines;".to_owned(), "t"),
        (format!("CREATE STREAMING TABLE t USING json OPTIONS (path '{table}') TRIGGER AVAILABLE NOW AS SELECT value FROM lines;"), "t"),
        (format!("CREATE SINK o USING parquet OPTIONS (path '{out}');
                  CREATE FLOW f TRIGGER AVAILABLE NOW AS INSERT INTO o SELECT value FROM lines;
                  CREATE TABLE t USING parquet OPTIONS (path '{out}');"), "(SELECT * FROM t WHERE value IS NOT NULL)"),
        ("CREATE SINK s USING memory;
          CREATE FLOW f TRIGGER AVAILABLE NOW AS SELECT value FROM lines FOREACH BATCH BEGIN INSERT INTO s SELECT * FROM batch; END;".to_owned(), "s"),
        ("CREATE FLOW m USING memory TRIGGER AVAILABLE NOW AS SELECT value FROM lines; CREATE VIEW v AS SELECT * FROM m;".to_owned(), "v"),
    ] {
        let sql = files(dir.path(), 20) + &flow + &format!("SELECT count(*) AS n FROM {read};");
        let ended = run_to_end(["run", "-e", &sql]);
        assert!(ended.assert_code(0).stdout.contains("| 20|"), "{flow}\n{}\n{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn await_waits_for_the_end_of_a_flow() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    // Files that no table of the session names are seen by AWAIT only.
    let sql = files(dir.path(), 20)
        + &format!(
            "CREATE FLOW f USING csv OPTIONS (path '{0}') TRIGGER AVAILABLE NOW AS SELECT value FROM lines;
             AWAIT FLOW f TIMEOUT 1 MINUTE; SELECT 'done' AS done; AWAIT f;",
            out.display()
        );
    let ended = run_to_end(["run", "-e", &sql]);
    assert!(ended.assert_code(0).stdout.contains("|done|"), "{}", ended.stdout);
    assert_eq!(
        fs::read_dir(&out).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with("part")).count(),
        20
    );
}

#[test]
fn await_has_a_timeout() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW f AS SELECT value FROM lines; AWAIT f TIMEOUT 300 MILLISECONDS; SELECT 1 AS never;";
    let ended = run_sql(&sql, &[]).ended();
    ended.assert_code(1);
    assert!(
        ended.stderr.contains("error[AWAIT_TIMEOUT]: flow 'f' has not ended within 300 milliseconds"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("never"));
    for (sql, text) in [("AWAIT nobody;", "FLOW_NOT_FOUND"), ("AWAIT f TIMEOUT soon;", "a duration")] {
        let ended = run_to_end(["run", "-e", sql]);
        assert!(ended.assert_code(2).stderr.contains(text), "{}", ended.stderr);
    }
}

#[test]
fn a_flow_without_end_is_said_to_have_none() {
    let server = Server::new();
    let sql = lines_from(server.port(), "") + "CREATE FLOW f AS SELECT value FROM lines; AWAIT f;";
    let mut tidemill = run_sql(&sql, &[]);
    tidemill.wait_for_stderr("AWAIT waits for that");
    let _peer = server.accept();
    tidemill.interrupted().assert_code(0);
}

#[test]
fn what_a_failed_flow_has_filled_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let input = files(dir.path(), 3);
    fs::write(dir.path().join("in/9.txt"), "x\n").unwrap();
    for then in ["SELECT count(*) AS never FROM m;", "AWAIT m; SELECT 1 AS never;"] {
        let sql = format!(
            "{input} CREATE FLOW m USING memory TRIGGER AVAILABLE NOW AS SELECT CAST(value AS INT) AS n FROM lines; {then}"
        );
        let ended = run_to_end(["run", "-e", &sql]);
        ended.assert_code(1);
        assert!(!ended.stdout.contains("never"), "{}", ended.stdout);
        for text in ["error[CAST_INVALID_INPUT]", "flow 'm' has failed", "error[FLOW_FAILED]"] {
            // A query says itself what has failed; AWAIT repeats the words of the flow.
            let repeated = usize::from(text.starts_with("flow") && then.starts_with("AWAIT"));
            assert_eq!(ended.stderr.matches(text).count(), 1 + repeated, "{text}\n{}", ended.stderr);
        }
    }
}

#[test]
fn the_shell_waits_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Tidemill::start(command(["sql"]).stdin(Stdio::piped()).env("HOME", dir.path()));
    shell.write_stdin(&files(dir.path(), 20));
    shell.write_stdin("CREATE FLOW m USING memory TRIGGER AVAILABLE NOW AS SELECT value FROM lines;\n");
    shell.write_stdin("SELECT count(*) AS n FROM m;\nAWAIT m;\n");
    shell.wait_for_stdout("| 20|");
    shell.close_stdin();
    shell.ended().assert_code(0);
}

#[test]
fn a_limit_ends_its_flow_when_it_has_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint").display().to_string();
    let sql = "CREATE STREAM r USING rate OPTIONS (rowsPerSecond 1000);
               CREATE FLOW first CHECKPOINT LOCATION '${C}' AS SELECT upper('x') AS x FROM (SELECT value FROM r LIMIT 3);";
    // It goes on at its end, too.
    for rows in [3, 0] {
        let ended = run_to_end(["run", "-e", sql, "-D", &format!("C={checkpoint}")]);
        assert_eq!(ended.assert_code(0).stdout.matches("|  X|").count(), rows, "{}", ended.stdout);
    }
    // In complete mode it is about the result, which goes on.
    let server = Server::new();
    let sql =
        lines_from(server.port(), "") + "SELECT value, count(*) AS n FROM lines GROUP BY value ORDER BY value LIMIT 1;";
    let mut tidemill = run_sql(&sql, &[]);
    let mut peer = server.accept();
    peer.send("b\n");
    tidemill.wait_for_stdout("|    b|  1|");
    peer.send("a\n");
    tidemill.wait_for_stdout("|    a|  1|");
    tidemill.interrupted().assert_code(0);
}
