//! Every statement and clause, and literal messages of every error.

use std::time::Duration;

use super::*;
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::sql::diagnostic::{SourceText, render};
use crate::sql::statement::{CreateFlow, CreateRelation, ExplainTarget, ObjectKind};
use crate::trigger::Trigger;

fn one(text: &str) -> StatementKind {
    let (mut statements, errors) = parse_script(text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).kind
}

fn relation(text: &str) -> CreateRelation {
    match one(text) {
        StatementKind::CreateRelation(r) => r,
        other => panic!("{other:?}"),
    }
}

fn flow(text: &str) -> CreateFlow {
    match one(text) {
        StatementKind::CreateFlow(f) => f,
        other => panic!("{other:?}"),
    }
}

fn message(text: &str) -> String {
    let (_, errors) = parse_script(text);
    let shown: Vec<_> = errors.iter().map(|e| render(e, Some(SourceText { name: "p.sql", text }), false)).collect();
    shown.join("\n")
}

fn pairs(options: &Options) -> Vec<(&str, &str)> {
    options.iter().collect()
}

#[test]
fn options_in_every_spelling() {
    let r = relation(
        "CREATE STREAM s USING kafka OPTIONS (host '127.0.0.1', port 9999, kafka.bootstrap.servers = 'a:1', \
         'value.format' = 'json', flag true, neg -2, x.1.y \"d\", rate 1.5)",
    );
    assert_eq!(
        pairs(&r.options),
        [
            ("host", "127.0.0.1"),
            ("port", "9999"),
            ("kafka.bootstrap.servers", "a:1"),
            ("value.format", "json"),
            ("flag", "true"),
            ("neg", "-2"),
            ("x.1.y", "d"),
            ("rate", "1.5"),
        ]
    );
    assert!(relation("CREATE SINK s WITH () USING noop").options.is_empty());
}

#[test]
fn columns_and_watermark() {
    let text = "CREATE STREAM orders (id BIGINT, amount DECIMAL(10, 2), \
                WATERMARK FOR ts AS ts - INTERVAL 10 SECONDS, ts TIMESTAMP) USING kafka";
    let r = relation(text);
    let columns = r.columns.unwrap();
    let pieces: Vec<_> = columns.text.split(", ").map(str::trim).collect();
    assert_eq!(pieces, ["id BIGINT", "amount DECIMAL(10", "2)", "ts TIMESTAMP"]);
    let ts = columns.text.find("ts TIMESTAMP").unwrap();
    assert_eq!(&text[columns.span.start + ts..][..12], "ts TIMESTAMP");
    assert_eq!(&text[columns.span.start..columns.span.start + 9], "id BIGINT");
    let watermark = r.watermark.unwrap();
    assert_eq!((watermark.column.text.as_str(), watermark.delay.text.as_str()), ("ts", "INTERVAL 10 SECONDS"));

    let r = relation("CREATE STREAM s (WATERMARK FOR timestamp AS timestamp - '5 seconds') USING rate");
    assert!(r.columns.is_none());
    assert_eq!(r.watermark.unwrap().delay.text, "INTERVAL '5 seconds'");
}

#[test]
fn create_prefixes() {
    assert!(relation("CREATE OR REPLACE TEMPORARY STREAM s USING rate").if_there.replace);
    assert!(relation("create table if not exists `My T` using parquet location '/d'").if_there.keep);
    let r = relation("CREATE SINK t USING parquet PARTITIONED BY (day, `an hour`) LOCATION '/d'");
    assert_eq!(r.options.get("partitionBy"), Some("day,an hour"));
    let r = relation("CREATE TABLE t USING parquet LOCATION '/d' COMMENT 'users'");
    assert_eq!((pairs(&r.options), r.comment.as_deref()), (vec![("path", "/d")], Some("users")));
}

#[test]
fn flow_clauses_in_any_order() {
    let f = flow(
        "CREATE FLOW f CHECKPOINT LOCATION './c' TRIGGER EVERY 1 MINUTE 30 SECONDS COMMENT 'x' OUTPUT MODE UPDATE \
         AS INSERT INTO revenue SELECT CASE WHEN a THEN 1 END FROM STREAM o",
    );
    assert_eq!(f.settings.output_mode, Some(OutputMode::Update));
    assert_eq!(f.settings.trigger, Some(Trigger::ProcessingTime(Duration::from_secs(90))));
    assert_eq!(f.settings.checkpoint.as_deref(), Some("./c"));
    assert_eq!(f.target.unwrap().text, "revenue");
    assert_eq!(f.query.text, "SELECT CASE WHEN a THEN 1 END FROM STREAM o");
}

#[test]
fn settings_as_options() {
    let f = flow(
        "CREATE FLOW f USING console OPTIONS (outputMode 'complete', trigger.availableNow true, \
         checkpointLocation 'c', numRows 5) AS SELECT 1",
    );
    assert_eq!(f.settings.output_mode, Some(OutputMode::Complete));
    assert_eq!(f.settings.trigger, Some(Trigger::AvailableNow));
    assert_eq!(f.settings.checkpoint.as_deref(), Some("c"));
    assert_eq!(pairs(&f.options), [("numRows", "5")]);
    flow("CREATE FLOW f OUTPUT MODE UPDATE OPTIONS (outputMode 'update') AS SELECT 1");
}

#[test]
fn triggers() {
    for (text, trigger) in [
        ("EVERY 5 SECONDS", Trigger::ProcessingTime(Duration::from_secs(5))),
        ("EVERY '500 ms'", Trigger::ProcessingTime(Duration::from_millis(500))),
        ("EVERY INTERVAL '2' HOURS", Trigger::ProcessingTime(Duration::from_secs(7200))),
        ("EVERY 0 SECONDS", Trigger::Default),
        ("ONCE", Trigger::Once),
        ("AVAILABLE NOW", Trigger::AvailableNow),
        ("CONTINUOUS 1 SECOND", Trigger::Continuous(Duration::from_secs(1))),
        ("CONTINUOUS '200 milliseconds'", Trigger::Continuous(Duration::from_millis(200))),
        ("REAL TIME INTERVAL 5 MINUTES", Trigger::Continuous(Duration::from_secs(300))),
        ("REAL TIME '7 seconds'", Trigger::Continuous(Duration::from_secs(7))),
        ("REAL TIME", Trigger::Continuous(Duration::from_secs(300))),
    ] {
        assert_eq!(
            flow(&format!("CREATE FLOW f TRIGGER {text} AS SELECT 1")).settings.trigger,
            Some(trigger),
            "{text}"
        );
    }
}

#[test]
fn foreach_batch_with_case_and_semicolons() {
    let text = "CREATE FLOW f AS SELECT a FROM s FOREACH BATCH BEGIN\n \
                INSERT INTO audit SELECT batch_id(), CASE WHEN true THEN ';' END FROM batch;\n SELECT 1;\nEND;\nSELECT 2";
    let (statements, errors) = parse_script(text);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(statements.len(), 2);
    let StatementKind::CreateFlow(f) = &statements[0].kind else { panic!() };
    assert_eq!(f.query.text, "SELECT a FROM s");
    let body = f.body.as_ref().unwrap();
    assert_eq!(body.len(), 2);
    let StatementKind::Insert(insert) = &body[0].kind else { panic!() };
    assert_eq!(&text[insert.query.span.start..insert.query.span.end], insert.query.text);
}

#[test]
fn other_statements() {
    assert!(matches!(one("WITH a AS (SELECT 1) SELECT * FROM a;"), StatementKind::Query(_)));
    assert!(matches!(one("VALUES (1), (2)"), StatementKind::Query(_)));
    assert!(matches!(one("INSERT INTO TABLE t VALUES (1)"), StatementKind::Insert(_)));
    assert!(matches!(one("CREATE VIEW v AS SELECT 1"), StatementKind::CreateView(_)));
    assert!(matches!(
        one("CREATE STREAMING TABLE t USING parquet OUTPUT MODE APPEND OPTIONS (path 'x') AS SELECT 1"),
        StatementKind::CreateStreamingTable(_)
    ));
    let StatementKind::Set { key, value } = one("SET checkpoint.root = './chk'") else { panic!() };
    assert_eq!((key.text.as_str(), value.as_str()), ("checkpoint.root", "./chk"));
    let StatementKind::Set { value, .. } = one("SET memory.limit = 2GB") else { panic!() };
    assert_eq!(value, "2GB");
    assert!(matches!(one("SET x.y"), StatementKind::ShowSetting(Some(_))));
    assert!(matches!(one("SHOW FLOWS"), StatementKind::Show(ObjectKind::Flow)));
    assert!(matches!(
        one("EXPLAIN EXTENDED FLOW f"),
        StatementKind::Explain { extended: true, target: ExplainTarget::Flow(_) }
    ));
    assert!(matches!(one("DESCRIBE stream"), StatementKind::Describe { kind: None, .. }));
    assert!(matches!(one("DESC FLOW f"), StatementKind::Describe { kind: Some(ObjectKind::Flow), .. }));
    assert!(matches!(one("STOP FLOW f"), StatementKind::Stop(_)));
    assert!(matches!(one("DROP STREAM IF EXISTS s"), StatementKind::Drop { if_exists: true, .. }));
    assert!(parse_script(" ;; -- nothing\n ;").0.is_empty());
}

#[test]
fn every_wrong_statement_is_reported() {
    assert_eq!(
        message("CRATE STREAM s;\nSELECT 1;\nCREATE STREAM s USNG rate;\nCREATE FLOW f TRIGGER CONTINUOUS AS SELECT 1"),
        "\
error[PARSE_SYNTAX_ERROR]: expected a statement, found 'CRATE'
 --> p.sql:1:1
  |
1 | CRATE STREAM s;
  | ^^^^^
  |
  = help: did you mean CREATE?
error[PARSE_SYNTAX_ERROR]: 'USNG' is not a clause of this statement
 --> p.sql:3:17
  |
3 | CREATE STREAM s USNG rate;
  |                 ^^^^
  |
  = help: did you mean USING?
error[PARSE_SYNTAX_ERROR]: expected a duration such as 10 SECONDS, found 'AS'
 --> p.sql:4:34
  |
4 | CREATE FLOW f TRIGGER CONTINUOUS AS SELECT 1
  |                                  ^^
  |
  = help: say how often the log is durable: TRIGGER CONTINUOUS 1 SECOND"
    );
}

#[test]
fn conditions_and_places() {
    for (text, condition, at, help) in [
        ("CREATE STREAM s", "PARSE_SYNTAX_ERROR", "s", "add USING format"),
        (
            "CREATE STREAM s USING rate-micro-batch",
            "PARSE_SYNTAX_ERROR",
            "-",
            "a name with a dash stands in backquotes, as in USING `rate-micro-batch`",
        ),
        ("CREATE STREM s USING x", "PARSE_SYNTAX_ERROR", "STREM", "did you mean STREAM?"),
        ("CREATE STREAM s USING a USING b", "DUPLICATE_CLAUSES", "USING", ""),
        ("CREATE STREAM s USING a OPTIONS (k 1, K 2)", "DUPLICATE_KEY", "K", ""),
        ("CREATE STREAM s USING a OPTIONS (k)", "PARSE_SYNTAX_ERROR", "", "write k 'value', or k = 'value'"),
        ("CREATE STREAM s USING a OPTIONS (k 1", "PARSE_SYNTAX_ERROR", "(", ""),
        ("CREATE FLOW f OUTPUT MODE APEND AS SELECT 1", "PARSE_SYNTAX_ERROR", "APEND", "did you mean APPEND?"),
        ("CREATE FLOW f TRIGGER EVRY 1 SECOND AS SELECT 1", "PARSE_SYNTAX_ERROR", "EVRY", "did you mean EVERY?"),
        (
            "CREATE FLOW f TRIGGER EVERY 5 FORTNIGHTS AS SELECT 1",
            "INVALID_INTERVAL_FORMAT",
            "5 FORTNIGHTS",
            "write 10 SECONDS, 500 MILLISECONDS, 1 MINUTE 30 SECONDS, …",
        ),
        (
            "CREATE FLOW f OUTPUT MODE UPDATE OPTIONS (outputMode 'append') AS SELECT 1",
            "CONFLICTING_OPTION",
            "outputMode",
            "give one of the two",
        ),
        (
            "CREATE FLOW f OPTIONS (queryName 'g') AS SELECT 1",
            "CONFLICTING_OPTION",
            "queryName",
            "leave it out: the flow's name is the query's name",
        ),
        ("CREATE FLOW f OPTIONS (trigger.once 'no') AS SELECT 1", "INVALID_OPTION", "trigger.once", ""),
        (
            "CREATE FLOW f USING console AS INSERT INTO x SELECT 1",
            "PARSE_SYNTAX_ERROR",
            "console",
            "keep one; a second flow can write to the other",
        ),
        (
            "CREATE FLOW f AS UPDATE x",
            "PARSE_SYNTAX_ERROR",
            "UPDATE",
            "it begins with one of SELECT, WITH, VALUES, FROM, TABLE",
        ),
        ("CREATE FLOW f AS SELECT 1 FOREACH BATCH BEGIN DROP SINK x; END", "UNSUPPORTED_FEATURE", "DROP SINK x", ""),
        ("CREATE FLOW f AS SELECT 1 FOREACH BATCH BEGIN END", "PARSE_SYNTAX_ERROR", "BEGIN", ""),
        ("CREATE FLOW f AS SELECT 1 FOREACH BATCH BEGIN SELECT 1", "PARSE_SYNTAX_ERROR", "BEGIN", ""),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS a - INTERVAL 1 SECOND) USING csv",
            "PARSE_SYNTAX_ERROR",
            "a",
            "a watermark belongs to a stream: CREATE STREAM",
        ),
        (
            "CREATE STREAM t (WATERMARK FOR a AS b - INTERVAL 1 SECOND) USING csv",
            "UNSUPPORTED_FEATURE",
            "b",
            "write WATERMARK FOR a AS a - INTERVAL …",
        ),
        (
            "CREATE TABLE t USING csv AS SELECT 1",
            "UNSUPPORTED_FEATURE",
            "AS",
            "CREATE VIEW names a query; CREATE STREAMING TABLE writes its result",
        ),
        (
            "INSERT OVERWRITE t SELECT 1",
            "UNSUPPORTED_FEATURE",
            "OVERWRITE",
            "write INSERT INTO; OUTPUT MODE COMPLETE gives the whole result at every trigger",
        ),
        ("SHOW FLOW", "PARSE_SYNTAX_ERROR", "FLOW", "did you mean FLOWS?"),
        ("DROP x", "PARSE_SYNTAX_ERROR", "x", "it begins with one of STREAM, TABLE, SINK, VIEW, FLOW, STREAMING TABLE"),
        ("SELECT 'abc", "PARSE_SYNTAX_ERROR", "'", ""),
    ] {
        let (_, errors) = parse_script(text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        let (e, span) = (&errors[0], errors[0].span().unwrap());
        assert_eq!(e.condition(), condition, "{text}");
        assert_eq!(&text[span.start..span.end], at, "{text}");
        assert!(e.help().is_some_and(|h| h == help || help.is_empty()), "{text}: {:?}", e.help());
    }
}

#[test]
fn the_shell_asks_for_more_until_a_statement_is_whole() {
    let body = "CREATE FLOW f AS SELECT a FROM s FOREACH BATCH BEGIN SELECT 1;";
    for (text, complete) in [("SELECT 1", false), ("SELECT 1;", true), ("SELECT ';", false), (body, false)] {
        assert_eq!(is_complete(text), complete, "{text}");
    }
    assert!(is_complete(&format!("{body} END;")));
}
