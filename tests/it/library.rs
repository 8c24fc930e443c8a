//! The library from outside: sources, sinks and functions of a program's own, and a service that ends in order.

use std::fs;

use tidemill::arrow::array::RecordBatch;
use tidemill::arrow::util::pretty::pretty_format_batches;
use tidemill::prelude::*;

#[allow(dead_code, reason = "its main is for cargo run --example")]
#[path = "../../examples/custom_sink.rs"]
mod custom_sink;
#[allow(dead_code, reason = "its main is for cargo run --example")]
#[path = "../../examples/custom_source.rs"]
mod custom_source;
#[allow(dead_code, reason = "its main is for cargo run --example")]
#[path = "../../examples/functions.rs"]
mod functions;
#[allow(dead_code, reason = "its main is for cargo run --example")]
#[path = "../../examples/service.rs"]
mod service;

/// Rows as lines of cells.
fn lines(rows: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(rows).unwrap().to_string();
    let cells = |l: &str| l.split('|').map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>().join(" ");
    table.lines().filter(|l| l.starts_with('|')).skip(1).map(cells).collect()
}

#[tokio::test]
async fn a_source_of_ones_own_is_read_in_batches() {
    let (rows, batches) = custom_source::run().await.unwrap();
    assert_eq!(batches, 3);
    let total: i64 = lines(&rows).iter().map(|l| l.split(' ').nth(1).unwrap().parse::<i64>().unwrap()).sum();
    assert_eq!(total, 30, "{rows:?}");
}

#[tokio::test]
async fn a_sink_of_ones_own_is_exactly_once_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a b a\n").unwrap();
    let first = custom_sink::run(dir.path()).await.unwrap();
    assert_eq!(first.lines().skip(1).collect::<Vec<_>>(), ["a 2", "b 1"]);
    fs::write(dir.path().join("b.txt"), "b c\n").unwrap();
    let second = custom_sink::run(dir.path()).await.unwrap();
    assert_eq!(second.lines().skip(1).collect::<Vec<_>>(), ["a 2", "b 2", "c 1"]);
    // Nothing new: the file stays that of the last batch.
    assert_eq!(custom_sink::run(dir.path()).await.unwrap(), second);
}

#[tokio::test]
async fn a_sink_of_ones_own_is_asked_before_anything_starts() {
    let session = Session::new();
    let rows = session.read_stream().format("rate").load().await.unwrap();
    let sink = custom_sink::TotalsFile::new("/nowhere");
    let e = rows.write_stream().sink(std::sync::Arc::new(sink)).start().await.unwrap_err();
    assert_eq!(e.condition(), "TOTALS_FILE");
}

#[tokio::test]
async fn functions_aggregates_and_tables_of_the_session_are_seen_by_sql_over_streams() {
    assert_eq!(lines(&functions::run().await.unwrap()), ["Chile VALENTINA!", "Norway INGEBORG!"]);
}

#[tokio::test]
async fn a_service_ends_all_of_its_flows() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = tokio::time::sleep(std::time::Duration::from_millis(500));
    service::serve(dir.path(), shutdown).await.unwrap();
    for flow in ["latest", "every"] {
        assert!(dir.path().join(flow).join("metadata.json").is_file(), "{flow}");
    }
    // All is closed: another session takes the checkpoints.
    service::serve(dir.path(), std::future::ready(())).await.unwrap();
}

#[tokio::test]
async fn stop_all_ends_every_query_and_keeps_what_one_has_failed_with() {
    let session = Session::new();
    let values: std::sync::Arc<dyn tidemill::arrow::array::Array> =
        std::sync::Arc::new(tidemill::arrow::array::StringViewArray::from(vec!["x"]));
    let rows = RecordBatch::try_from_iter_with_nullable([("v", values, true)]).unwrap();
    let stream = tidemill::MemoryStream::new(rows.schema());
    session.register_stream("s", std::sync::Arc::new(stream.clone())).unwrap();
    assert_eq!(
        session.register_stream("S", std::sync::Arc::new(stream.clone())).unwrap_err().condition(),
        "TABLE_OR_VIEW_ALREADY_EXISTS"
    );
    session
        .sql("CREATE FLOW bad USING noop AS SELECT CAST(v AS INT) AS n FROM s; CREATE FLOW good USING noop AS SELECT v FROM s;")
        .await
        .unwrap();
    assert_eq!(session.streams().active().len(), 2);
    stream.add_data(rows).unwrap();
    let failed = session.streams().await_any_termination().await.unwrap_err();
    assert_eq!(failed.condition(), "CAST_INVALID_INPUT");
    session.stop_all().await.unwrap();
    assert!(session.streams().active().is_empty());
    assert_eq!(session.streams().all().iter().filter(|q| q.exception().is_some()).count(), 1);
}
