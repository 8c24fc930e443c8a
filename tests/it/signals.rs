//! Ctrl-C, SIGTERM, and a reader of the output that goes away.

use std::io::Read;
use std::process::{ChildStdout, Stdio};

use super::process::{Peer, Server, Tidemill, command, lines_from, run_sql};

#[test]
fn the_first_signal_ends_the_running_batch_and_exits_with_0() {
    for signal in ["INT", "TERM", "HUP"] {
        let server = Server::new();
        let sql = lines_from(server.port(), "") + "SELECT value FROM lines;";
        let mut tidemill = run_sql(&sql, &[]);
        let mut peer = server.accept();
        peer.send("one\n");
        tidemill.wait_for_batch(0);
        tidemill.signal(signal);
        let ended = tidemill.ended();
        ended.assert_code(0);
        assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
        assert_eq!(ended.stdout.matches("|  one|").count(), 1);
    }
}

#[test]
fn a_signal_before_there_is_any_data() {
    let server = Server::new();
    let tidemill = run_sql(&(lines_from(server.port(), "") + "SELECT value FROM lines;"), &[]);
    let _peer = server.accept();
    tidemill.interrupted().assert_code(0);
}

/// A batch that cannot end: nobody reads what it prints.
fn stuck(master: &str) -> (Tidemill, ChildStdout, Peer) {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE SINK c USING console OPTIONS (truncate false); INSERT INTO c SELECT repeat(value, 100000) AS v FROM lines;";
    let (tidemill, unread) = Tidemill::start_unread(&mut command(["run", "-e", &sql, "--master", master]));
    let mut peer = server.accept();
    peer.send("abcdef\n");
    (tidemill, unread, peer)
}

#[test]
fn the_second_signal_ends_the_process_with_130() {
    for master in ["local[1]", "local[4]"] {
        let (mut tidemill, mut unread, _peer) = stuck(master);
        // The batch has begun to print once there is a byte; the rest does not fit into the pipe.
        unread.read_exact(&mut [0]).unwrap();
        tidemill.signal("INT");
        // The first signal is the program's own: it goes on as long as the batch does.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(tidemill.is_running(), "{}", tidemill.stderr.text());
        tidemill.signal("INT");
        tidemill.ended().assert_code(130);
    }
}

#[test]
fn a_query_that_computes_without_a_pause_does_not_keep_the_process() {
    let query = "SELECT count(*) FROM range(1000000) a CROSS JOIN range(1000000) b WHERE a.id * b.id = 7";
    let tidemill = run_sql(query, &[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    tidemill.signal("INT");
    let ended = tidemill.ended();
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = Server::new();
    let sql = lines_from(server.port(), "") + "SELECT value FROM lines;";
    let (tidemill, unread) = Tidemill::start_unread(&mut command(["run", "-e", &sql]));
    let mut peer = server.accept();
    drop(unread);
    peer.send("one\n");
    let ended = tidemill.ended();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
}

/// Values of users in a message decide nothing.
#[test]
fn a_line_that_says_broken_pipe_is_an_error_as_any_other() {
    for line in ["broken pipe", "Broken pipe (os error 32)"] {
        let server = Server::new();
        let sql = lines_from(server.port(), "") + "SELECT CAST(value AS INT) AS n FROM lines;";
        let tidemill = run_sql(&sql, &[]);
        server.accept().send(format!("{line}\n"));
        let ended = tidemill.ended();
        ended.assert_code(1);
        assert!(ended.stderr.contains("CAST_INVALID_INPUT") && ended.stderr.contains(line), "{}", ended.stderr);
    }
}

#[test]
fn a_reader_of_a_body_that_goes_away_ends_it_quietly() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW f AS SELECT value FROM lines FOREACH BATCH BEGIN INSERT INTO console SELECT * FROM batch; END;";
    let (tidemill, unread) = Tidemill::start_unread(&mut command(["run", "-e", &sql]));
    let mut peer = server.accept();
    drop(unread);
    peer.send("one\n");
    let ended = tidemill.ended();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
}

#[test]
fn nohup_outlives_its_terminal() {
    let server = Server::new();
    let sql = lines_from(server.port(), "") + "SELECT value FROM lines;";
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_tidemill")).args(["run", "-e", &sql]).stdin(Stdio::null());
    let mut tidemill = Tidemill::start(nohup.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut peer = server.accept();
    peer.send("one\n");
    tidemill.wait_for_batch(0);
    tidemill.signal("HUP");
    peer.send("two\n");
    tidemill.wait_for_batch(1);
    tidemill.interrupted().assert_code(0);
}
