//! Scripts against a session: what is checked before anything starts, and what short forms mean.

use super::*;

async fn errors(text: &str) -> Vec<Error> {
    Session::new().prepare(text, &Variables::default()).await.unwrap_err()
}

fn conditions(errors: &[Error]) -> Vec<&str> {
    errors.iter().map(Error::condition).collect()
}

const STREAM: &str = "CREATE STREAM s (k STRING, v BIGINT) USING memory;";

#[tokio::test]
async fn every_error_of_a_script_is_found_and_nothing_stays() {
    let session = Session::new();
    let text =
        format!("{STREAM} CREATE SINK x USING nop; SELECT nothere FROM s; SELECT 1 FROM missing; SET batch.sise = 1;");
    let errors = session.prepare(&text, &Variables::default()).await.unwrap_err();
    assert_eq!(errors.len(), 4, "{errors:?}");
    let places: Vec<_> = errors.iter().map(|e| e.span().unwrap()).map(|s| &text[s.start..s.end]).collect();
    assert_eq!(places, ["nop", "nothere", "missing", "batch.sise"]);
    assert!(session.context().table("s").await.is_err());
    assert!(session.prepare(STREAM, &Variables::default()).await.is_ok());
}

#[tokio::test]
async fn what_follows_from_an_error_is_not_reported() {
    let text = "CREATE STREAM lines USING sokket; CREATE VIEW v AS SELECT value FROM lines; SELECT * FROM v;";
    assert_eq!(conditions(&errors(text).await), ["DATA_SOURCE_NOT_FOUND"]);
    let text = "CREATE STREAM lines USNG socket; SELECT * FROM lines;";
    assert_eq!(conditions(&errors(text).await), ["PARSE_SYNTAX_ERROR"]);
}

#[tokio::test]
async fn names_are_given_once() {
    let text = format!("{STREAM} {STREAM}");
    assert_eq!(conditions(&errors(&text).await), ["TABLE_OR_VIEW_ALREADY_EXISTS"]);
    let kept = format!("{STREAM} CREATE STREAM IF NOT EXISTS S USING rate; CREATE OR REPLACE STREAM s USING rate;");
    assert!(Session::new().prepare(&kept, &Variables::default()).await.is_ok());
    let flows = format!("{STREAM} CREATE FLOW f AS SELECT k FROM s; CREATE FLOW F AS SELECT v FROM s;");
    assert_eq!(conditions(&errors(&flows).await), ["TABLE_OR_VIEW_ALREADY_EXISTS"]);
}

#[tokio::test]
async fn short_forms_choose_sink_and_mode() {
    let session = Session::new();
    let text = format!(
        "{STREAM} CREATE SINK out USING noop; SELECT k FROM s; SELECT k, count(*) FROM s GROUP BY k; \
         INSERT INTO out SELECT k FROM s; INSERT INTO console SELECT k, count(*) FROM s GROUP BY k;"
    );
    let script = session.prepare(&text, &Variables::default()).await.unwrap();
    let names: Vec<_> = script.flows().map(str::to_owned).collect();
    assert_eq!(names, ["console", "console_2", "out", "console_3"]);
    let modes: Vec<_> = names.iter().map(|n| session.catalog().flow(n).unwrap().spec.output_mode.to_string()).collect();
    assert_eq!(modes, ["append", "complete", "append", "complete"]);
    assert_eq!(script.warnings.len(), 4);
}

#[tokio::test]
async fn checkpoints_clause_before_root_before_none() {
    let session = Session::new();
    let text = format!(
        "SET checkpoint.root = '/root'; {STREAM} CREATE FLOW A AS SELECT k FROM s; \
         CREATE FLOW b CHECKPOINT LOCATION 'file:///own' AS SELECT k FROM s;"
    );
    let script = session.prepare(&text, &Variables::default()).await.unwrap();
    assert!(script.warnings.is_empty());
    let checkpoint = |name: &str| session.catalog().flow(name).unwrap().spec.checkpoint.clone().unwrap();
    assert_eq!((checkpoint("a"), checkpoint("b")), ("/root/a".into(), "/own".into()));
}

#[tokio::test]
async fn no_two_flows_share_a_directory_and_none_leaves_the_root() {
    let session = Session::new();
    let mut text = format!("SET checkpoint.root = '/root'; {STREAM} ");
    let names = ["..", ".a", "a/b", "a_b", "a%2Fb", "A.b"];
    names.iter().for_each(|n| text.push_str(&format!("CREATE FLOW `{n}` AS SELECT k FROM s; ")));
    session.prepare(&text, &Variables::default()).await.unwrap();
    let checkpoint =
        |name: &&str| session.catalog().flow(&name.to_lowercase()).unwrap().spec.checkpoint.clone().unwrap();
    let dirs: Vec<_> = names.iter().map(checkpoint).collect();
    assert_eq!(dirs, ["%2E.", "%2Ea", "a%2Fb", "a_b", "a%252fb", "a.b"].map(|d| std::path::Path::new("/root").join(d)));
}

#[tokio::test]
async fn flows_that_cannot_be() {
    let sink = "CREATE SINK f USING parquet OPTIONS (path '/tmp/tidemill-none/f');";
    for (text, condition) in [
        (
            format!("{STREAM} {sink} INSERT INTO f SELECT k FROM s; INSERT INTO f SELECT k FROM s;"),
            "CONCURRENT_STREAM_WRITE",
        ),
        (
            format!(
                "{STREAM} CREATE FLOW f CHECKPOINT LOCATION '/ck' AS SELECT k FROM s;
                     CREATE FLOW g CHECKPOINT LOCATION 'file:///ck' AS SELECT k FROM s"
            ),
            "CHECKPOINT_IN_USE",
        ),
        ("CREATE FLOW f AS SELECT 1".into(), "WRITE_STREAM_NOT_ALLOWED"),
        (format!("{STREAM} INSERT INTO nowhere SELECT k FROM s"), "SINK_NOT_FOUND"),
        (format!("{STREAM} INSERT INTO s SELECT k FROM s"), "SINK_NOT_FOUND"),
        (format!("{STREAM} CREATE FLOW f OPTIONS (numRows 1) AS SELECT k FROM s"), "CONFIG_NOT_AVAILABLE"),
        (
            format!("{STREAM} CREATE FLOW f AS SELECT k FROM s FOREACH BATCH BEGIN SELECT z FROM batch; END"),
            "UNRESOLVED_COLUMN",
        ),
        (
            format!("{STREAM} CREATE FLOW f AS SELECT k FROM s FOREACH BATCH BEGIN SELECT * FROM s; END"),
            "UNSUPPORTED_FEATURE",
        ),
        ("STOP FLOW f".into(), "FLOW_NOT_FOUND"),
    ] {
        let errors = errors(&text).await;
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].condition().starts_with(condition), "{text}: {}", errors[0]);
        assert!(errors[0].span().is_some(), "{text}");
    }
}

#[tokio::test]
async fn batch_queries_and_inspection() {
    let session = Session::new();
    let results =
        session.sql("CREATE VIEW v AS SELECT 1 AS a; SELECT a, a FROM v; SHOW VIEWS; SET batch.size").await.unwrap();
    let StatementResult::Rows(rows) = &results[1] else { panic!("{results:?}") };
    assert_eq!(rows.show(20, "UTC").lines().nth(1), Some("|  a|  a|"));
    let StatementResult::Rows(rows) = &results[2] else { panic!("{results:?}") };
    assert!(rows.show(20, "UTC").contains("|v   |"));
    let StatementResult::Rows(rows) = &results[3] else { panic!("{results:?}") };
    assert!(rows.show(20, "UTC").contains("8192"));
}

#[tokio::test]
async fn a_memory_flow_is_a_table_before_it_runs() {
    let session = Session::new();
    let text = format!(
        "{STREAM} CREATE FLOW t USING memory OUTPUT MODE COMPLETE AS SELECT k, count(*) AS n FROM s GROUP BY k; \
         SELECT n, k FROM t;"
    );
    assert!(session.prepare(&text, &Variables::default()).await.is_ok());
}

#[tokio::test]
async fn the_body_of_a_batch_sees_its_rows_and_number() {
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    let session = Session::new();
    session.sql("CREATE VIEW other AS SELECT 5 AS five").await.unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
    let context = foreach::batch_context(session.context(), schema, vec![rows], 7).unwrap();
    let text = "SELECT batch_id() AS id, sum(v) AS s, max(five) AS f FROM batch CROSS JOIN other";
    let planned = crate::sql::query::plan_query(&context, text, None).await.unwrap();
    let rows = datafusion::prelude::DataFrame::new(context.state(), planned.plan).collect().await.unwrap();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
    assert!(shown.contains("| 7  | 3 | 5 |"), "{shown}");
    assert!(session.context().table("batch").await.is_err());
}

const TIMED: &str = "CREATE STREAM orders (ts TIMESTAMP, k STRING) USING memory; \
                     CREATE STREAM payments (pt TIMESTAMP, k STRING) USING memory OPTIONS (watermark.idleTimeout '1 hour'); \
                     CREATE SINK out USING noop;";
const PER_KEY: &str = "SELECT k, count(*) FROM (SELECT ts, k FROM orders WATERMARK ts DELAY OF INTERVAL 10 SECONDS \
                       UNION ALL SELECT pt, k FROM payments WATERMARK pt DELAY OF INTERVAL 0 SECONDS) \
                       GROUP BY k, window(ts, '1 minute')";

/// The text that the last statement gives.
async fn text_of(session: &Session, text: &str) -> Result<String, Vec<Error>> {
    let script = session.prepare(text, &Variables::default()).await?;
    let mut given = String::new();
    let run = session.execute(script, |result| {
        if let StatementResult::Text(text) = result {
            given = text;
        }
    });
    run.await.map_err(|e| vec![e])?;
    Ok(given)
}

#[tokio::test]
async fn explain_flow_says_what_bounds_the_state() {
    let session = Session::new();
    let flow = format!("{TIMED} CREATE FLOW f AS INSERT INTO out {PER_KEY};");
    session.prepare(&flow, &Variables::default()).await.unwrap();
    let text = text_of(&session, "EXPLAIN FLOW f").await.unwrap();
    assert!(text.contains("[0] stateStoreSave: keys=[k, "), "{text}");
    assert!(text.contains("bounded by the watermark: a group goes when it reaches the end of '"), "{text}");
    assert!(text.contains("'ts' of orders, delay 10 seconds\n'pt' of payments, delay 0 seconds"), "{text}");
    let unbounded = "EXPLAIN SELECT k, count(*) FROM orders GROUP BY k";
    let text = text_of(&session, unbounded).await.unwrap();
    assert!(text.contains("state: unbounded") && text.contains("aggregates=[count(1)]"), "{text}");
    let joined = "EXPLAIN SELECT a.k FROM orders a JOIN orders b ON a.k = b.k";
    let text = text_of(&session, joined).await.unwrap();
    assert!(text.contains("state: unbounded: left rows are kept for ever"), "{text}");
}

/// Rows of a memory stream with these times, in seconds.
async fn feed_times(session: &Session, stream: &str, seconds: &[i64]) {
    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMicrosecondArray};
    let table = session.context().table_provider(stream).await.unwrap();
    let table = table.downcast_ref::<crate::plan::StreamTable>().unwrap();
    let times = TimestampMicrosecondArray::from_iter_values(seconds.iter().map(|s| s * 1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(seconds.iter().map(|_| "a"))),
    ];
    let rows = RecordBatch::try_new(table.provider().schema(), columns).unwrap();
    table.provider().as_memory().unwrap().add_data(rows).unwrap();
}

#[tokio::test]
async fn explain_waiting_says_which_input_holds_the_watermark() {
    let session = Session::new();
    let flow = format!(
        "{TIMED} CREATE FLOW f AS INSERT INTO out {PER_KEY}; CREATE FLOW g AS INSERT INTO out SELECT k FROM orders;"
    );
    let script = session.prepare(&flow, &Variables::default()).await.unwrap();
    let not_running = text_of(&session, "EXPLAIN WAITING f").await.unwrap_err();
    assert_eq!(conditions(&not_running), ["FLOW_NOT_RUNNING"]);
    session.execute(script, |_| {}).await.unwrap();
    for (stream, seconds) in [("orders", &[30, 95][..]), ("payments", &[40]), ("orders", &[96])] {
        feed_times(&session, stream, seconds).await;
        session.streams().get_by_name("f").unwrap().process_all_available().await.unwrap();
    }
    let text = text_of(&session, "EXPLAIN WAITING f").await.unwrap();
    for part in [
        "watermark: 1970-01-01T00:00:40.000Z\n",
        "'ts' of orders: 1970-01-01T00:01:26.000Z (latest 1970-01-01T00:01:36.000Z, delay 10 seconds)\n",
        "'pt' of payments: 1970-01-01T00:00:40.000Z (latest 1970-01-01T00:00:40.000Z, delay 0 seconds), holds the watermark\n",
        "[0] stateStoreSave: the oldest of its state closes at 1970-01-01T00:01:00.000Z; 0 late rows\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let json = session.streams().get_by_name("f").unwrap().last_progress().unwrap().to_json();
    assert!(json.contains(r#""holdsWatermark":true}],"operators":[{"operatorName":"stateStoreSave""#), "{json}");
    assert!(text_of(&session, "EXPLAIN WAITING g").await.unwrap().contains("has no watermark"));
    for query in session.streams().active() {
        query.stop().await.unwrap();
    }
}

#[tokio::test]
async fn streams_of_one_format_stay_apart() {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    let session = Session::new();
    let stream = |n: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let stream = crate::source::MemoryStream::new(rows.schema());
        stream.add_data(rows).unwrap();
        stream
    };
    let (one, two) = (stream(1), stream(20));
    let frame = |s| session.read_stream().memory(s).unwrap();
    let both = frame(&one).union(frame(&two)).unwrap();
    let query = both.write_stream().format("memory").query_name("both").start().await.unwrap();
    query.process_all_available().await.unwrap();
    query.stop().await.unwrap();
    let rows = session.context().table("both").await.unwrap().collect().await.unwrap();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
    assert!(shown.contains("| 1  |") && shown.contains("| 20 |"), "{shown}");
}

#[tokio::test]
async fn code_of_the_user_fails_its_query_and_listeners_none() {
    use crate::query::{QueryStarted, StreamingQueryListener, StreamingQueryProgress};
    struct Panics;
    impl StreamingQueryListener for Panics {
        fn on_query_started(&self, _: &QueryStarted) {
            panic!("at the start");
        }
        fn on_query_progress(&self, _: &Arc<StreamingQueryProgress>) {
            panic!("at the progress");
        }
    }
    let session = Session::new();
    session.streams().add_listener(Arc::new(Panics));
    session.sql("CREATE STREAM ticks USING `rate-micro-batch` OPTIONS (rowsPerBatch 1)").await.unwrap();
    let ticks = session.read_stream().table("ticks").await.unwrap();
    let once = |frame: datafusion::prelude::DataFrame| frame.write_stream().trigger(crate::trigger::Trigger::Once);
    let query = once(ticks.clone()).format("noop").start().await.unwrap();
    query.await_termination().await.unwrap();
    let failing = |_, id: u64| async move { Err(Error::execution("MINE", format!("in batch {id}"))) };
    let query = once(ticks).foreach_batch(failing).start().await.unwrap();
    let failed = query.await_termination().await.unwrap_err();
    assert_eq!(failed.condition(), "FOREACH_BATCH_USER_FUNCTION_ERROR");
    assert!(failed.message().ends_with("Reason: [MINE] in batch 0"), "{failed}");
}

#[tokio::test]
async fn columns_of_an_insert_are_found_by_name() {
    use datafusion::arrow::array::{Int32Array, RecordBatch, StringViewArray};
    let session = Session::new();
    let empty = RecordBatch::try_from_iter([
        ("a", std::sync::Arc::new(Int32Array::from(vec![0])) as datafusion::arrow::array::ArrayRef),
        ("b", std::sync::Arc::new(StringViewArray::from(vec!["x"]))),
    ])
    .unwrap();
    let schema = RecordBatch::schema(&empty);
    let nullable: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let schema = std::sync::Arc::new(datafusion::arrow::datatypes::Schema::new(nullable));
    let empty = RecordBatch::try_new(schema.clone(), empty.columns().to_vec()).unwrap();
    let table = datafusion::datasource::MemTable::try_new(schema, vec![vec![empty]]).unwrap();
    session.context().register_table("t", std::sync::Arc::new(table)).unwrap();
    session.sql("INSERT INTO t (B, a) SELECT 'y', 1; INSERT INTO t (a) VALUES (2);").await.unwrap();
    let rows = session.context().sql("SELECT a, b FROM t ORDER BY a").await.unwrap().collect().await.unwrap();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
    assert!(shown.contains("| 1 | y |") && shown.contains("| 2 |   |"), "{shown}");
    for (text, condition) in [
        ("INSERT INTO t (a, d) SELECT 1, 2", "UNRESOLVED_COLUMN.WITH_SUGGESTION"),
        ("INSERT INTO t (a, A) SELECT 1, 2", "COLUMN_ALREADY_EXISTS"),
        ("INSERT INTO t (a, b) SELECT 1", "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"),
        ("INSERT INTO t (a) SELECT 1, 2", "INSERT_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS"),
    ] {
        let errors = session.prepare(text, &Variables::default()).await.unwrap_err();
        assert_eq!(conditions(&errors), [condition], "{text}");
    }
}

#[tokio::test]
async fn nothing_starts_before_every_plan_and_sink_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let streams = format!(
        "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 2);
         CREATE SINK files USING json OPTIONS (path '{}');
         CREATE FLOW good AS INSERT INTO files SELECT value FROM s;",
        out.display()
    );
    for (faulty, condition) in [
        ("CREATE FLOW f OUTPUT MODE UPDATE AS SELECT value FROM s", None),
        (
            "CREATE SINK p USING parquet OPTIONS (path '/tmp/never'); \
             CREATE FLOW f OUTPUT MODE UPDATE AS INSERT INTO p SELECT value FROM s",
            Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE"),
        ),
        ("CREATE FLOW f AS SELECT a.value AS x, b.value AS y FROM s a JOIN s b ON a.value < b.value", Some("")),
    ] {
        let session = Session::new();
        let prepared = session.prepare(&format!("{streams} {faulty}"), &Variables::default()).await;
        match condition {
            None => assert!(prepared.is_ok(), "{faulty}"),
            Some(condition) => {
                let errors = prepared.unwrap_err();
                assert!(errors.len() == 1 && errors[0].span().is_some(), "{faulty}: {errors:?}");
                assert!(condition.is_empty() || errors[0].condition() == condition, "{faulty}: {errors:?}");
            }
        }
        assert!(!out.exists(), "{faulty}");
    }
}

#[tokio::test]
async fn a_streaming_table_is_not_dropped_under_its_flow() {
    let session = Session::new();
    let table = "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 2); \
                 CREATE STREAMING TABLE t AS SELECT value FROM s;";
    session.sql(table).await.unwrap();
    let refused = session.prepare("DROP STREAMING TABLE t", &Variables::default()).await.unwrap_err();
    assert_eq!(conditions(&refused), ["FLOW_RUNNING"]);
    session.sql("STOP FLOW t; DROP STREAMING TABLE t;").await.unwrap();
    assert!(session.streams().active().is_empty());
    assert!(session.prepare("SELECT * FROM t", &Variables::default()).await.is_err());
}

#[tokio::test]
async fn batch_inserts_add_up_in_tables_and_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(dir.path().join("table")).unwrap();
    std::fs::write(dir.path().join("table/before.csv"), "a,b\n0,x\n").unwrap();
    let session = Session::new();
    let text = format!(
        "CREATE TABLE t (a INT, b STRING) USING csv OPTIONS (path '{}', header 'true');
         CREATE SINK s USING json OPTIONS (path '{}');
         INSERT INTO t VALUES (1, 'y'), (NULL, NULL);
         INSERT INTO t (b) SELECT concat(b, 'z') FROM t WHERE a = 1;
         INSERT INTO s SELECT * FROM t WHERE a = 0; INSERT INTO s SELECT 7 AS a;
         SELECT * FROM t ORDER BY a NULLS FIRST, b;",
        path("table"),
        path("sink")
    );
    assert_eq!(rows_of(&session, &text).await.unwrap(), ["|   |    |", "|   | yz |", "| 0 | x  |", "| 1 | y  |"]);
    let read =
        format!("CREATE TABLE r (a INT) USING json OPTIONS (path '{}'); SELECT sum(a) AS a FROM r", path("sink"));
    assert_eq!(rows_of(&session, &read).await.unwrap(), ["| 7 |"]);
    for (name, condition) in [("sink", "SINK_IN_USE"), ("table/before.csv", "UNSUPPORTED_INSERT.MULTI_PATH")] {
        let text =
            format!("CREATE TABLE u (a INT) USING csv OPTIONS (path '{}'); INSERT INTO u VALUES (1)", path(name));
        assert_eq!(rows_of(&session, &text).await.unwrap_err().condition(), condition);
        session.sql("DROP TABLE u").await.unwrap();
    }
    let before = std::fs::read_dir(path("table")).unwrap().count();
    for (wrong, condition) in [
        ("INSERT INTO t VALUES (1)", "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"),
        ("INSERT INTO t VALUES (array(1), 'x')", "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST"),
        ("INSERT INTO s SELECT 1 AS a, 2 AS A", "COLUMN_ALREADY_EXISTS"),
    ] {
        let text = format!("INSERT INTO t VALUES (9, 'z'); {wrong};");
        assert_eq!(conditions(&session.prepare(&text, &Variables::default()).await.unwrap_err()), [condition]);
    }
    assert_eq!(std::fs::read_dir(path("table")).unwrap().count(), before);
}

#[tokio::test]
async fn a_failed_flow_says_so() {
    let session = Session::new();
    let text = "CREATE STREAM r USING `rate-micro-batch` OPTIONS (rowsPerBatch 10);
                CREATE FLOW f USING noop TRIGGER ONCE AS SELECT 1 / (value - 3) AS x FROM r;";
    let Some(StatementResult::Query(query)) = session.sql(text).await.unwrap().pop() else { panic!("no query") };
    assert_eq!(query.await_termination().await.unwrap_err().condition(), "DIVIDE_BY_ZERO");
    let described = rows_of(&session, "DESCRIBE FLOW f").await.unwrap().concat();
    assert!(described.contains("failed: DIVIDE_BY_ZERO"), "{described}");
}

#[tokio::test]
async fn a_trigger_has_a_unit() {
    for trigger in ["TRIGGER EVERY 5", "TRIGGER EVERY '5'"] {
        let text = format!("{STREAM} CREATE FLOW f {trigger} AS SELECT k FROM s;");
        assert_eq!(conditions(&errors(&text).await), ["INVALID_INTERVAL_FORMAT"], "{trigger}");
    }
}

/// The rows that the last statement gives, a line each.
async fn rows_of(session: &Session, text: &str) -> Result<Vec<String>> {
    let Some(StatementResult::Rows(rows)) = session.sql(text).await?.pop() else { return Ok(vec![]) };
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(rows.batches())?.to_string();
    Ok(shown.lines().skip(3).filter(|l| l.starts_with('|')).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_script_takes_nothing_from_scripts_beside_it() {
    let session = Session::new();
    let wrong = {
        let session = session.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let text = "SET default.parallelism = 3; CREATE VIEW half AS SELECT 1 AS a; SELECT missing FROM half";
                assert_eq!(session.sql(text).await.unwrap_err().condition(), "UNRESOLVED_COLUMN.WITH_SUGGESTION");
            }
        })
    };
    let names: Vec<String> = (0..50).map(|i| format!("v{i}")).collect();
    for name in &names {
        session
            .sql(&format!(
                "CREATE VIEW {name} AS SELECT 1 AS a; CREATE TEMPORARY VIEW t_{name} AS SELECT * FROM {name}"
            ))
            .await
            .unwrap();
        assert!(!session.context().table_exist("half").unwrap(), "a script that is wrong shows its names");
    }
    wrong.await.unwrap();
    assert_ne!(session.conf().get("default.parallelism").unwrap(), "3");
    for name in &names {
        session.sql(&format!("DROP VIEW t_{name}; SELECT a FROM {name}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_scripts_that_make_one_name_at_the_same_time_one_wins() {
    let session = Session::new();
    for i in 0..20 {
        let make = |n: usize| {
            let session = session.clone();
            tokio::spawn(async move { session.sql(&format!("CREATE VIEW one{i} AS SELECT {n} AS a")).await })
        };
        let made = futures::future::join_all((0..4).map(make)).await;
        let errors: Vec<_> = made.into_iter().filter_map(|r| r.unwrap().err()).collect();
        assert_eq!(errors.len(), 3);
        assert!(errors.iter().all(|e| e.condition() == "TABLE_OR_VIEW_ALREADY_EXISTS"), "{errors:?}");
    }
}

#[tokio::test]
async fn a_sink_has_one_writer_whoever_starts_it() {
    let session = Session::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out").display().to_string();
    session
        .sql(&format!("{STREAM} CREATE SINK out USING json OPTIONS (path '{path}'); CREATE SINK m USING memory"))
        .await
        .unwrap();
    let rows = session.read_stream().table("s").await.unwrap();
    let write = |name: &str| {
        let writer = rows.clone().write_stream();
        writer.query_name(name).option("checkpointLocation", dir.path().join(name).display())
    };
    let refused = |e: Error| {
        assert_eq!(e.condition(), "CONCURRENT_STREAM_WRITE", "{e}");
        e.message().to_owned()
    };
    let first = write("one").to_table("m").await.unwrap();
    assert!(refused(write("two").to_table("m").await.unwrap_err()).contains("which flow 'one' writes already"));
    refused(session.sql("INSERT INTO m SELECT * FROM s").await.unwrap_err());
    first.stop().await.unwrap();
    write("three").to_table("m").await.unwrap().stop().await.unwrap();
    session.sql("CREATE FLOW f AS INSERT INTO m SELECT * FROM s").await.unwrap();
    assert!(refused(write("four").to_table("m").await.unwrap_err()).contains("which flow 'f' writes already"));
    let to_path = write("five").to_table("out").await.unwrap();
    refused(session.sql("CREATE FLOW g AS INSERT INTO out SELECT * FROM s").await.unwrap_err());
    to_path.stop().await.unwrap();
    let to_path = write("five").format("json").option("path", &path).start().await.unwrap();
    refused(write("six").format("json").option("path", &path).start().await.unwrap_err());
    to_path.stop().await.unwrap();
}

#[tokio::test]
async fn a_flow_starts_with_the_plan_it_was_checked_with_unless_that_would_be_another_now() {
    let session = Session::new();
    let text = format!(
        "{STREAM} CREATE TABLE t (v BIGINT) USING memory; CREATE FLOW plain AS SELECT k FROM s; \
         CREATE FLOW joined AS SELECT k FROM s JOIN t USING (v); \
         CREATE FLOW filtered AS SELECT k FROM s WHERE v IN (SELECT v FROM t)"
    );
    let script = session.prepare(&text, &Variables::default()).await.unwrap();
    let current = |name: &str| session.catalog().flow(name).unwrap().is_current(&session.context().state());
    assert_eq!(["plain", "joined", "filtered"].map(current), [true, false, false], "a table may have other files now");
    for (key, value) in
        [("session.timeZone", "Asia/Tokyo"), ("batch.size", "7"), ("state.backend", "disk"), ("memory.limit", "1GB")]
    {
        let before = session.conf().get(key).unwrap();
        session.conf().set(key, value).unwrap();
        assert!(!current("plain"), "{key}");
        if key != "memory.limit" {
            session.conf().set(key, before).unwrap();
            assert!(current("plain"), "{key}");
        }
    }
    drop(script);
    let session = Session::builder().conf("memory.limit", "1GB").build().unwrap();
    session.prepare(&text, &Variables::default()).await.unwrap();
    assert!(session.catalog().flow("plain").unwrap().is_current(&session.context().state()));
}
