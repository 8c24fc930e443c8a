//! The socket source on bad networks and bad bytes.

use super::process::{Server, closed_port, lines_from, run_sql};

/// Counts and lengths of everything that arrived, in complete mode.
const COUNT: &str = "SELECT count(*) AS n, sum(length(value)) AS chars, count(*) - count(value) AS nulls FROM lines;";

#[test]
fn a_peer_that_dies_and_comes_back_is_found_again() {
    let server = Server::new();
    let port = server.port();
    let mut tidemill = run_sql(&(lines_from(port, "") + "SELECT value FROM lines;"), &[]);
    let mut peer = server.accept();
    peer.send("before\n");
    tidemill.wait_for_stdout("|before|");
    drop((peer, server));
    tidemill.wait_for_stderr("connecting again");
    let server = Server::on(port);
    server.accept().send("after\n");
    tidemill.wait_for_stdout("|after|");
    let ended = tidemill.interrupted();
    ended.assert_code(0);
    assert_eq!(ended.stdout.matches("|before|").count(), 1, "{}", ended.stdout);
}

#[test]
fn a_port_that_opens_later() {
    let port = closed_port();
    let mut tidemill = run_sql(&(lines_from(port, "") + "SELECT value FROM lines;"), &[]);
    tidemill.wait_for_stderr("no connection");
    let server = Server::on(port);
    server.accept().send("late\n");
    tidemill.wait_for_stdout("| late|");
    tidemill.interrupted().assert_code(0);
}

#[test]
fn an_unknown_host_is_an_error_with_help() {
    let sql =
        "CREATE STREAM lines USING socket OPTIONS (host 'no.such.host.invalid', port 9); SELECT value FROM lines;";
    let ended = run_sql(sql, &[]).ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("SOCKET_HOST_UNKNOWN") && ended.stderr.contains("help: "), "{}", ended.stderr);
}

#[test]
fn the_half_line_of_a_peer_that_closes_is_a_line() {
    let server = Server::new();
    let mut tidemill = run_sql(&(lines_from(server.port(), "") + "SELECT value FROM lines;"), &[]);
    let mut peer = server.accept();
    peer.send("whole\nhal");
    tidemill.wait_for_stdout("|whole|");
    peer.send("f");
    drop(peer);
    tidemill.wait_for_stdout("| half|");
    // The next connection starts a line of its own.
    server.accept().send("way\n");
    tidemill.wait_for_stdout("|  way|");
    tidemill.interrupted().assert_code(0);
}

#[test]
fn empty_lines_are_rows() {
    let server = Server::new();
    let mut tidemill = run_sql(&(lines_from(server.port(), "") + COUNT), &[]);
    server.accept().send("\n\r\n\r\nx\n");
    tidemill.wait_for_stdout("|  4|    1|    0|");
    tidemill.interrupted().assert_code(0);
}

/// Bytes that are no text and a line that is too long, between two good lines.
fn bad_bytes() -> Vec<u8> {
    let mut bytes = b"good\n\xff\xfe\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 10 << 20));
    bytes.extend(b"\nlast\n");
    bytes
}

#[test]
fn bad_lines_are_dropped_and_counted() {
    let server = Server::new();
    let mut tidemill = run_sql(&(lines_from(server.port(), "") + COUNT), &["--progress-json"]);
    let mut peer = server.accept();
    peer.send(bad_bytes());
    tidemill.wait_for_stdout("|  2|    8|    0|");
    peer.send("end\n");
    tidemill.wait_for_stdout("|  3|   11|    0|");
    let ended = tidemill.interrupted();
    ended.assert_code(0);
    let progress = ended.stderr.lines().rev().find_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()).unwrap();
    let bad = &progress["sources"][0]["metrics"]["badRecords"];
    assert_eq!(bad.as_str().map(str::to_owned).unwrap_or(bad.to_string()), "2", "{progress:#}");
}

#[test]
fn bad_lines_become_nulls() {
    let server = Server::new();
    let mut tidemill = run_sql(&(lines_from(server.port(), ", badRecords 'null'") + COUNT), &[]);
    server.accept().send(bad_bytes());
    tidemill.wait_for_stdout("|  4|    8|    2|");
    tidemill.interrupted().assert_code(0);
}

#[test]
fn bad_lines_fail_the_flow_when_asked_to() {
    let server = Server::new();
    let tidemill = run_sql(&(lines_from(server.port(), ", badRecords 'fail'") + COUNT), &[]);
    server.accept().send(b"good\n\xff\n");
    let ended = tidemill.ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("MALFORMED_RECORD_IN_PARSING"), "{}", ended.stderr);
}
