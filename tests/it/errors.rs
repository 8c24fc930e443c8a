//! Wrong scripts and failing flows: what is shown, what runs, how it ends.

use std::fs;

use super::process::{Server, lines_from, run_sql, run_to_end};

#[test]
fn all_errors_of_all_files_are_shown_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one.sql"), dir.path().join("two.sql"));
    let server = Server::new();
    let first = lines_from(server.port(), "")
        + "CREATE SINK out USING consle;\nSELECT valeu FROM lines;\n\nSELECT explod(split(value, ' ')) FROM lines;\n";
    fs::write(&one, first).unwrap();
    fs::write(&two, "CREATE STREAM r USING rate OPTIONS (rowsPerSecnd 5);\nSELECT 1 FROM missing\n").unwrap();
    let ended = run_to_end(["run", one.to_str().unwrap(), two.to_str().unwrap()]);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "");
    let places = [(&one, "2:"), (&one, "3:8"), (&one, "5:8"), (&two, "1:"), (&two, "2:15")];
    for (file, place) in places {
        let at = format!("--> {}:{place}", file.display());
        assert!(ended.stderr.contains(&at), "no {at} in\n{}", ended.stderr);
    }
    for text in [
        "did you mean 'console'?",
        "did you mean 'value'?",
        "did you mean 'explode'?",
        "did you mean 'rowsPerSecond'?",
        "^",
        "help: ",
    ] {
        assert!(ended.stderr.contains(text), "no {text} in\n{}", ended.stderr);
    }
    assert!(ended.stderr.contains("5 errors, nothing was started"), "{}", ended.stderr);
}

#[test]
fn a_file_that_is_not_there_and_bytes_that_are_no_text() {
    let ended = run_to_end(["run", "no/such/file.sql"]);
    assert!(ended.assert_code(2).stderr.contains("'no/such/file.sql'"), "{}", ended.stderr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bytes.sql");
    fs::write(&file, b"SELECT \xff").unwrap();
    let ended = run_to_end(["run", file.to_str().unwrap()]);
    assert!(ended.assert_code(2).stderr.contains("bytes.sql"), "{}", ended.stderr);
}

#[test]
fn queries_that_streams_do_not_have() {
    for (query, condition) in [
        (
            "CREATE FLOW f OUTPUT MODE COMPLETE AS SELECT value FROM lines",
            "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
        ),
        (
            "CREATE FLOW f AS SELECT value, count(*) FROM lines GROUP BY value",
            "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
        ),
        ("CREATE FLOW f TRIGGER CONTINUOUS AS SELECT value FROM lines", "PARSE_SYNTAX_ERROR"),
        ("CREATE FLOW f OPTIONS (delivery 'at-least-once') AS SELECT value FROM lines", "UNSUPPORTED_FEATURE"),
        ("SELECT value FROM lines ORDER BY value", "UNSUPPORTED_STREAMING"),
    ] {
        let ended = run_sql(&(lines_from(9, "") + query), &[]).ended();
        ended.assert_code(2);
        assert!(ended.stderr.contains(&format!("error[{condition}")), "{query}\n{}", ended.stderr);
        assert!(ended.stderr.contains("help: "), "{query}\n{}", ended.stderr);
    }
}

fn one_fails(server: &Server) -> String {
    lines_from(server.port(), "")
        + "CREATE FLOW numbers AS SELECT cast(value AS INT) AS n FROM lines;
           CREATE FLOW texts AS SELECT concat('<', value, '>') AS t FROM lines;"
}

#[test]
fn the_other_flows_go_on_when_one_fails() {
    let server = Server::new();
    let mut tidemill = run_sql(&one_fails(&server), &[]);
    let mut peers = [server.accept(), server.accept()];
    peers.iter_mut().for_each(|p| p.send("1\n"));
    tidemill.wait_for_stdout("|<1>|");
    tidemill.wait_for_stdout("|  1|");
    peers.iter_mut().for_each(|p| p.send("x\n"));
    tidemill.wait_for_stderr("flow 'numbers' has failed");
    peers.iter_mut().for_each(|p| p.send("3\n"));
    tidemill.wait_for_stdout("|<3>|");
    let ended = tidemill.interrupted();
    ended.assert_code(1);
    assert!(ended.stderr.contains("error[CAST_INVALID_INPUT"), "{}", ended.stderr);
    assert!(!ended.stdout.contains("|  3|"), "{}", ended.stdout);
}

#[test]
fn fail_fast_ends_everything() {
    let server = Server::new();
    let tidemill = run_sql(&one_fails(&server), &["--fail-fast"]);
    let mut peers = [server.accept(), server.accept()];
    peers.iter_mut().for_each(|p| p.send("x\n"));
    let ended = tidemill.ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("flow 'numbers' has failed"), "{}", ended.stderr);
}

#[test]
fn a_command_line_that_is_wrong() {
    for args in [
        &["run"][..],
        &["run", "-e", "SELECT 1", "--master", "yarn"],
        &["run", "-e", "SELECT 1", "-D", "x"],
        &["rn"],
        &["run", "-e", "SELECT 1", "--master", "local[999999]"],
    ] {
        run_to_end(args).assert_code(2);
    }
    // A comment begins as an argument does.
    run_to_end(["run", "-e", "-- a comment\nSELECT 1"]).assert_code(0);
}

#[test]
fn a_directory_without_tests_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run_to_end(["test", dir.path().to_str().unwrap()]);
    assert!(ended.assert_code(2).stderr.contains("no test"), "{}", ended.stderr);
}

#[test]
fn what_fails_for_a_row_is_shown_where_it_was_written() {
    let source = "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 10);\n";
    let flow = |query: &str| format!("{source}CREATE FLOW f TRIGGER ONCE AS\n{query}");
    let view =
        "CREATE VIEW w AS SELECT\n  value / (value - 5) AS q FROM s;\nCREATE FLOW f TRIGGER ONCE AS SELECT q FROM w";
    for (script, variable, place, shown, condition) in [
        // In the select list, over several lines.
        (flow("SELECT value,\n  1 + 100 / (value - 2) AS q FROM s"), "", "4:7", "100 / (value - 2)", "DIVIDE_BY_ZERO"),
        // In a view, which the flow only names; behind a variable that is longer than its name.
        (format!("{source}{view}"), "", "3:3", "value / (value - 5)", "DIVIDE_BY_ZERO"),
        (flow("SELECT ${LONG} AS a, 7 % value AS q FROM s"), "100000000000", "3:22", "7 % value", "REMAINDER_BY_ZERO"),
        // In a condition, behind a guard that lets it through.
        (
            flow("SELECT value FROM s WHERE value > 3 AND element_at(array(1), CAST(value AS INT)) = 1"),
            "",
            "3:41",
            "element_at(array(1), CAST(value AS INT))",
            "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
        ),
        // A cast that nobody wrote, in a comparison.
        (
            flow("SELECT value FROM s WHERE concat('a', value) = 1"),
            "",
            "3:27",
            "concat('a', value) = 1",
            "CAST_INVALID_INPUT",
        ),
        // In a lambda.
        (flow("SELECT transform(array(value), v -> 1 div v) AS q FROM s"), "", "3:37", "1 div v", "DIVIDE_BY_ZERO"),
        // A batch query.
        ("SELECT 1,\n  100 / (a - 2) FROM VALUES (2) t(a)".into(), "", "2:3", "100 / (a - 2)", "DIVIDE_BY_ZERO"),
    ] {
        let ended = run_sql(&script, &["-D", &format!("LONG={variable}")]).ended();
        ended.assert_code(1);
        let (line, column) = place.split_once(':').unwrap();
        let carets = format!("{}{}", " ".repeat(column.parse::<usize>().unwrap() - 1), "^".repeat(shown.len()));
        for text in [format!("error[{condition}"), format!(":{line}:{column}\n"), format!(" | {carets}\n")] {
            assert!(ended.stderr.contains(&text), "no {text} in\n{}\nfor\n{script}", ended.stderr);
        }
        assert!(!script.contains("FLOW") || ended.stderr.contains("note: in batch 0"), "{}", ended.stderr);
    }
}
