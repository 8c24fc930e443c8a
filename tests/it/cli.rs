//! What the commands do besides running flows: variables, progress, demo, explain, shell.

use std::process::Stdio;

use super::process::{Server, Tidemill, command, lines_from, run_sql, run_to_end};

#[test]
fn variables_come_from_the_command_line_the_environment_and_defaults() {
    let sql = "SELECT '${GIVEN}' AS a, '${FROM_ENV}' AS b, '${MISSING:-default}' AS c;";
    let mut command = command(["run", "-e", sql, "-D", "GIVEN=x y"]);
    let ended = Tidemill::start(command.env("FROM_ENV", "env").env("GIVEN", "hidden")).ended();
    assert!(ended.assert_code(0).stdout.contains("|x y|env|default|"), "{}", ended.stdout);
    let ended = run_to_end(["run", "-e", "SELECT '${NOT_SET_ANYWHERE}'"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("NOT_SET_ANYWHERE") && ended.stderr.contains(":1:9"), "{}", ended.stderr);
}

#[test]
fn secrets_are_never_printed() {
    let secret = "hunter2-very-secret";
    let define = format!("PASSWORD={secret}");
    for sql in [
        "CREATE STREAM s USING rate OPTIONS (password '${PASSWORD}'); DESCRIBE s;",
        "CREATE SINK s USING noop OPTIONS (sasl.jaas.config '${PASSWORD}');",
        "CREATE STREAM s USING socket OPTIONS (host 'h', port 'x', token '${PASSWORD}');",
    ] {
        for verb in ["run", "explain"] {
            let ended = run_to_end(["-vvv", verb, "-e", sql, "-D", &define]);
            ended.assert_code(2);
            assert!(!(ended.stdout + &ended.stderr).contains(secret), "{verb} {sql}");
        }
    }
}

#[test]
fn a_batch_query_prints_its_rows_and_ends() {
    let ended = run_to_end(["run", "-e", "SELECT 7 / 2 AS q, NULL AS n, true AS b;"]);
    assert_eq!(
        ended.assert_code(0).stdout,
        "+---+----+----+\n|  q|   n|   b|\n+---+----+----+\n|3.5|NULL|true|\n+---+----+----+\n\n"
    );
    assert_eq!(ended.stderr, "");
    // The console sink cuts cells as Spark's does; what was asked for once is printed in full.
    let ended = run_to_end(["run", "-e", "SELECT repeat('ab', 20) AS r"]);
    assert!(ended.assert_code(0).stdout.contains(&format!("|{}|", "ab".repeat(20))), "{}", ended.stdout);
}

#[test]
fn progress_is_sparks_json_a_line_each() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW f OUTPUT MODE COMPLETE AS SELECT value, count(*) AS n FROM lines GROUP BY value;";
    let mut tidemill = run_sql(&sql, &["--progress-json"]);
    let mut peer = server.accept();
    for (id, line) in ["a\nb\n", "c\n"].iter().enumerate() {
        peer.send(line);
        tidemill.wait_for_batch(id as u64);
    }
    let ended = tidemill.interrupted();
    ended.assert_code(0);
    let progress: Vec<serde_json::Value> = ended.stderr.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let keys: Vec<_> = progress.last().unwrap().as_object().unwrap().keys().map(String::as_str).collect();
    for (key, at) in [("id", 0), ("runId", 1), ("name", 2), ("timestamp", 3), ("batchId", 4)] {
        assert_eq!(keys[at], key, "{keys:?}");
    }
    for key in ["numInputRows", "inputRowsPerSecond", "durationMs", "stateOperators", "sources", "sink"] {
        assert!(keys.contains(&key), "no {key} in {keys:?}");
    }
    let rows: Vec<_> = progress.iter().map(|p| p["numInputRows"].as_u64().unwrap()).filter(|n| *n > 0).collect();
    assert_eq!(rows, [2, 1]);
    assert_eq!(progress.last().unwrap()["stateOperators"][0]["numRowsTotal"], 3);
    assert_eq!(progress[0]["name"], "f");
}

#[test]
fn the_demo_needs_nothing_and_ends_when_told_to() {
    let ended = run_to_end(["demo", "--batches", "2"]);
    ended.assert_code(0);
    assert!(ended.stdout.starts_with("-------------------------------------------\nBatch: 0\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("Batch: 1\n") && ended.stdout.contains("the|"), "{}", ended.stdout);
    assert!(ended.stderr.contains("CREATE STREAM lines USING socket"), "{}", ended.stderr);
}

#[test]
fn the_demo_ends_at_ctrl_c() {
    let mut demo = Tidemill::start(&mut command(["demo"]));
    demo.wait_for_batch(0);
    demo.interrupted().assert_code(0);
}

#[test]
fn explain_shows_plans_and_starts_nothing() {
    // Nobody listens at the port, and nobody connects to it.
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW counts OUTPUT MODE UPDATE AS SELECT value, count(*) AS n FROM lines GROUP BY value;";
    for more in [&[][..], &["--extended"]] {
        let ended = run_to_end(["explain", "-e", &sql].iter().chain(more));
        ended.assert_code(0);
        assert!(ended.stdout.starts_with("-- flow counts: update to "), "{}", ended.stdout);
        assert!(ended.stdout.contains("Physical Plan"), "{}", ended.stdout);
    }
    let ended = run_to_end(["explain", "-e", "SELECT a FROM nowhere"]);
    assert!(ended.assert_code(2).stderr.contains("error[TABLE_OR_VIEW_NOT_FOUND]"), "{}", ended.stderr);
}

#[test]
fn the_shell_reads_statements_from_its_input() {
    let server = Server::new();
    let home = tempfile::tempdir().unwrap();
    let mut shell = Tidemill::start(command(["sql"]).stdin(Stdio::piped()).env("HOME", home.path()));
    shell.write_stdin("SELECT 40 +\n 2 AS answer;\nSELECT nothing;\n");
    shell.wait_for_stdout("|    42|");
    shell.wait_for_stderr("nothing");
    shell.write_stdin(&lines_from(server.port(), ""));
    shell.write_stdin("CREATE FLOW f AS SELECT value FROM lines;\n");
    server.accept().send("typed\n");
    shell.wait_for_stdout("|typed|");
    shell.write_stdin("SHOW FLOWS;\nSTOP FLOW f;\n.help\n.nonsense\n");
    shell.wait_for_stderr("'.nonsense'");
    shell.close_stdin();
    let ended = shell.ended();
    ended.assert_code(0);
    assert!(ended.stdout.contains("|f   |"), "{}", ended.stdout);
}

#[test]
fn the_shell_stops_its_flows_at_the_end_of_input() {
    let server = Server::new();
    let home = tempfile::tempdir().unwrap();
    let mut shell = Tidemill::start(command(["sql"]).stdin(Stdio::piped()).env("HOME", home.path()));
    shell.write_stdin(&(lines_from(server.port(), "") + "CREATE FLOW f AS SELECT value FROM lines;\n"));
    let _peer = server.accept();
    shell.close_stdin();
    let ended = shell.ended();
    assert!(ended.assert_code(0).stderr.contains("flow 'f' was stopped"), "{}", ended.stderr);
}

#[test]
fn the_shell_has_the_words_of_other_shells() {
    let home = tempfile::tempdir().unwrap();
    let mut shell = Tidemill::start(command(["sql"]).stdin(Stdio::piped()).env("HOME", home.path()));
    shell.write_stdin("help\nSELECT 1 AS one;\nquit\n");
    let ended = shell.ended();
    ended.assert_code(0);
    assert!(ended.stderr.contains("SHOW FLOWS"), "{}", ended.stderr);
    assert!(ended.stdout.contains("|one|"), "{}", ended.stdout);
}

#[test]
fn a_script_comes_through_the_standard_input() {
    for (args, code, text) in [
        (&["run", "-"][..], 0, "|  3|"),
        (&["explain", "-"], 0, "Physical Plan"),
        (&["run", "-", "-"], 2, "can be read once"),
    ] {
        let mut tidemill = Tidemill::start(command(args).stdin(Stdio::piped()));
        if code == 0 {
            tidemill.write_stdin("SELECT 1 + 2 AS n;\n");
        }
        tidemill.close_stdin();
        let ended = tidemill.ended();
        ended.assert_code(code);
        assert!(
            format!("{}{}", ended.stdout, ended.stderr).contains(text),
            "{args:?}\n{}{}",
            ended.stdout,
            ended.stderr
        );
    }
    let mut wrong = Tidemill::start(command(["run", "-"]).stdin(Stdio::piped()));
    wrong.write_stdin("SELECT 1;\nSELEC 2;\n");
    wrong.close_stdin();
    let ended = wrong.ended();
    assert!(ended.assert_code(2).stderr.contains("--> <stdin>:2:1"), "{}", ended.stderr);
}

const TEN_ROWS: &str = "CREATE STREAM r USING `rate-micro-batch` OPTIONS (rowsPerBatch 10);
    CREATE FLOW f TRIGGER ONCE AS SELECT value FROM r;";

#[test]
fn progress_goes_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("progress.jsonl");
    let rows = |text: &str| -> Vec<u64> {
        text.lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["numInputRows"].as_u64().unwrap())
            .collect()
    };
    // Nothing but JSON is on the standard output.
    let ended = run_to_end(["run", "-e", TEN_ROWS, "--progress-json", "-"]);
    assert_eq!(rows(&ended.assert_code(0).stdout), [10]);
    assert!(ended.stderr.contains("Batch: 0"), "{}", ended.stderr);
    // A file is gone on with.
    for runs in 1..3 {
        let ended = run_to_end(["run", "-e", TEN_ROWS, "--progress-json", file.to_str().unwrap()]);
        assert!(ended.assert_code(0).stdout.contains("Batch: 0"), "{}", ended.stdout);
        assert_eq!(rows(&std::fs::read_to_string(&file).unwrap()), vec![10; runs]);
    }
    let ended = run_to_end(["run", "-e", TEN_ROWS, "--progress-json", "/no/such/dir/file"]);
    assert!(ended.assert_code(2).stderr.contains("'/no/such/dir/file'"), "{}", ended.stderr);
}

#[test]
fn a_reader_of_the_progress_that_goes_away_ends_it_quietly() {
    let sql =
        "CREATE STREAM r USING rate OPTIONS (rowsPerSecond 100); CREATE FLOW f USING noop AS SELECT value FROM r;";
    let (tidemill, unread) = Tidemill::start_unread(&mut command(["run", "-e", sql, "--progress-json=-"]));
    drop(unread);
    let ended = tidemill.ended();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
}

#[test]
fn a_temporary_checkpoint_goes_away_with_its_flow_however_that_ends() {
    let (dir, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(input.path().join("a.txt"), "x\n").unwrap();
    for (query, code) in [("CAST(value AS INT)", 1), ("value", 0)] {
        let sql = format!(
            "CREATE STREAM lines USING text OPTIONS (path '{}'); CREATE FLOW f TRIGGER ONCE AS SELECT {query} AS n FROM lines;",
            input.path().display()
        );
        let ended = Tidemill::start(command(["run", "-e", &sql]).env("TMPDIR", dir.path())).ended();
        ended.assert_code(code);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn two_connections_to_one_server_are_pointed_out() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW f AS SELECT value FROM lines; CREATE FLOW g AS SELECT value FROM lines;";
    let mut tidemill = run_sql(&sql, &[]);
    tidemill.wait_for_stderr("flows 'f' and 'g' each connect to 127.0.0.1:");
    let _peers = [server.accept(), server.accept()];
    let ended = tidemill.interrupted();
    assert!(ended.assert_code(0).stderr.contains("nc serves one client"), "{}", ended.stderr);
}

#[test]
fn a_pipe_gets_no_prompt() {
    let home = tempfile::tempdir().unwrap();
    let mut shell =
        Tidemill::start(command(["sql"]).stdin(Stdio::piped()).env("HOME", home.path()).env("TERM", "dumb"));
    shell.write_stdin("SELECT 1 AS one;\n");
    shell.close_stdin();
    let ended = shell.ended();
    assert!(ended.assert_code(0).stdout.starts_with("+---+\n|one|"), "{}", ended.stdout);
}

#[test]
fn checkpoints_are_shown_one_by_one_and_as_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root").display().to_string();
    let sql = "CREATE STREAM r USING `rate-micro-batch` OPTIONS (rowsPerBatch 2);
        CREATE FLOW counts USING noop OUTPUT MODE UPDATE TRIGGER ONCE AS
        SELECT s.x, sum(s.y) FROM (SELECT named_struct('x', CAST(value AS STRING), 'y', value) AS s FROM r) GROUP BY s.x;
        CREATE FLOW rows USING noop TRIGGER ONCE AS SELECT value FROM r;";
    for _ in 0..3 {
        run_to_end(["run", "-e", sql, "--checkpoint-root", &root]).assert_code(0);
    }
    let shown = |args: &[&str]| {
        let ended = run_to_end(["checkpoint", "show"].iter().chain(args));
        ended.assert_code(0).stdout.clone()
    };
    let list = shown(&[&root]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1].starts_with("counts  2 ") && lines[2].starts_with("rows    2 "), "{list}");
    let counts = format!("{root}/counts");
    let all = shown(&[&counts]);
    assert!(all.contains("batch 0:") && all.contains("batch 2:"), "{all}");
    assert!(all.contains("s[x] STRING") && all.contains("sum(s.y)") && all.contains("state BIGINT"), "{all}");
    for word in ["Utf8View", "get_field", "Int64"] {
        assert!(!all.contains(word), "{all}");
    }
    let last = shown(&[&counts, "--last", "1"]);
    assert!(!last.contains("batch 1:") && last.contains("batch 2:") && last.contains("2 earlier"), "{last}");
    let json: serde_json::Value = serde_json::from_str(&shown(&[&counts, "--json", "--last", "2"])).unwrap();
    let ids: Vec<_> = json["batches"].as_array().unwrap().iter().map(|b| b["batchId"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!(json["outputMode"], "update");
    let json: serde_json::Value = serde_json::from_str(&shown(&[&root, "--json"])).unwrap();
    assert_eq!(json["flows"][1]["name"], "rows");
    let ended = run_to_end(["checkpoint", "show", dir.path().to_str().unwrap()]);
    assert!(ended.assert_code(1).stderr.contains("CHECKPOINT_NOT_FOUND"), "{}", ended.stderr);
}
