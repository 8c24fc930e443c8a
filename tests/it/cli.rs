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
