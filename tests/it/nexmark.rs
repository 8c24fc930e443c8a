//! The queries of Nexmark by the command line, from every source that needs no server, checked against the same queries over tables.

use std::path::Path;

use serde_json::Value;
use tidemill::testing::nexmark::NexmarkQuery;
use tidemill::{RowSet, Session, StatementResult};

use super::process::run_to_end;

/// Runs all queries over forty seconds of event time, so that windows end; a few at a time, because builds for tests are slow.
fn checked(source: &str) {
    let queries = NexmarkQuery::all();
    for queries in queries.chunks(6) {
        let given =
            ["--events", "20000", "--rate", "500", "--batches", "5", "--seed", "7", "--json", "--source", source];
        let names = queries.iter().map(|query| query.name);
        let ended = run_to_end(["bench", "nexmark"].into_iter().chain(names).chain(given));
        let figures: Vec<Value> = serde_json::from_str(&ended.assert_code(0).stdout).unwrap();
        assert_eq!(figures.len(), queries.len());
        for (f, query) in figures.iter().zip(queries) {
            assert_eq!((&f["query"], &f["right"]), (&query.name.into(), &true.into()), "{source}: {f}");
            let (triggers, p50, p99) = (f["triggers"].as_u64().unwrap(), f["p50Ms"].as_f64(), f["p99Ms"].as_f64());
            assert!(f["rows"].as_u64() > Some(0), "{source}: {f}");
            assert!(triggers >= 5 && p50 > Some(0.0) && p50 <= p99, "{source}: {f}");
        }
    }
}

#[test]
fn queries_over_memory_are_right() {
    checked("memory");
}

#[test]
fn queries_over_parquet_are_right() {
    checked("parquet");
}

#[test]
fn queries_over_json_are_right() {
    checked("json");
}

#[test]
fn figures_are_a_table() {
    for trigger in ["once", "default", "every 20 ms"] {
        let given = ["--events", "2000", "--batches", "2", "--trigger", trigger];
        let ended = run_to_end(["bench", "nexmark", "q1", "Q12"].iter().chain(&given));
        let lines: Vec<Vec<&str>> =
            ended.assert_code(0).stdout.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 3, "{trigger}: {}", ended.stdout);
        assert_eq!((lines[0][0], lines[1][0], lines[2][0]), ("query", "q1", "q12"), "{trigger}");
        assert_eq!((lines[1][1], lines[1].last()), ("1840", Some(&"yes")), "{trigger}: {}", ended.stdout);
    }
    let unchecked = run_to_end(["bench", "nexmark", "q2", "--events", "2000", "--no-check"]);
    assert!(unchecked.assert_code(0).stdout.trim_end().ends_with('-'), "{}", unchecked.stdout);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (args, text) in [
        (&["q6"][..], "there is no query 'q6'; there are q0, q1"),
        (&["--trigger", "soon"], "expected 'available now'"),
        (&["--source", "kafka"], "--bootstrap"),
        (&["--bootstrap", "localhost:9092"], "--bootstrap is for --source kafka"),
        (&["--write", "x", "--json"], "cannot be used with"),
        (&["--format", "json"], "--write"),
        (&["--events", "0"], "0 is not in 1.."),
    ] {
        let ended = run_to_end(["bench", "nexmark"].iter().chain(args));
        ended.assert_code(2);
        assert!(ended.stderr.contains(text), "{args:?}: {}", ended.stderr);
    }
}

async fn rows(session: &Session, sql: &str) -> RowSet {
    let Some(StatementResult::Rows(rows)) = session.sql(sql).await.unwrap().pop() else { panic!("{sql}") };
    rows
}

fn files(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with(['_', '.'])).count()
}

#[tokio::test]
async fn tables_are_written_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new();
    session
        .sql(
            "CREATE STREAM bids USING nexmark OPTIONS (table bid, events 1000, eventsPerTrigger 300, seed 5);
              CREATE FLOW given USING memory TRIGGER AVAILABLE NOW AS SELECT * FROM bids; AWAIT given",
        )
        .await
        .unwrap();
    let expected = rows(&session, "SELECT * FROM given ORDER BY date_time, extra").await.texts("UTC");
    for format in ["parquet", "json"] {
        let out = dir.path().join(format);
        let out_text = out.to_str().unwrap();
        let write = [
            "bench", "nexmark", "--write", out_text, "--format", format, "--files", "4", "--events", "1000", "--seed",
            "5",
        ];
        run_to_end(write).assert_code(0);
        assert_eq!(["bid", "auction", "person"].map(|table| files(&out.join(table))), [4, 4, 4], "{format}");
        let columns = "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP, extra STRING";
        let sql = format!("CREATE TABLE {format}_bids ({columns}) USING {format} OPTIONS (path '{out_text}/bid')");
        session.sql(&sql).await.unwrap();
        let sql = format!("SELECT * FROM {format}_bids ORDER BY date_time, extra");
        assert_eq!(rows(&session, &sql).await.texts("UTC"), expected, "{format}");
        let again = run_to_end(write);
        again.assert_code(2);
        assert!(again.stderr.contains("PATH_ALREADY_EXISTS"), "{}", again.stderr);
    }
}
