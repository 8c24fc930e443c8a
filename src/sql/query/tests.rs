//! Queries over tables in memory: planned, executed, and compared by rows and by the names of columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use super::plan_query;
use crate::error::{Error, Result};
use crate::plan::watermark::watermark_delay_ms;

/// `t(a, B, s, ts)`, `u(a, c)`, `n(id, arr, m, st, items)`, `lines(value)`.
async fn session() -> SessionContext {
    let mut ctx = SessionContext::new();
    datafusion_spark::register_all(&mut ctx).unwrap();
    table(&ctx, "t", "SELECT * FROM VALUES (1, 10L, 'x', TIMESTAMP '1970-01-01 00:00:01'), (2, 20L, 'y', TIMESTAMP '1970-01-01 00:00:02'),
        (3, 30L, 'x', NULL) AS v(a, B, s, ts)").await;
    table(&ctx, "u", "SELECT * FROM VALUES (1, 'one'), (2, 'two'), (4, 'four') AS v(a, c)").await;
    table(&ctx, "n", "SELECT id, CASE WHEN id = 1 THEN make_array('p', 'q') WHEN id = 2 THEN array_remove(make_array('z'), 'z') END AS arr,
        map(make_array('k', 'l'), make_array(id, id * 10)) AS m, named_struct('F', id, 'g', 'G') AS st,
        make_array(named_struct('i', id, 'j', 'J')) AS items FROM VALUES (1), (2), (3) AS v(id)").await;
    table(&ctx, "lines", "SELECT * FROM VALUES ('a b a'), ('b c'), (NULL) AS v(value)").await;
    ctx
}

async fn table(ctx: &SessionContext, name: &str, text: &str) {
    let (names, batch) = run(ctx, text).await.unwrap();
    let fields: Vec<_> =
        names.iter().zip(batch.columns()).map(|(n, c)| Field::new(n, c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap();
    ctx.register_table(name, Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
}

async fn run(ctx: &SessionContext, text: &str) -> Result<(Vec<String>, RecordBatch)> {
    let planned = plan_query(ctx, text, None).await?;
    assert_eq!(planned.names.len(), planned.plan.schema().fields().len(), "{text}");
    let frame = ctx.execute_logical_plan(planned.plan).await?;
    let schema = frame.schema().inner().clone();
    let batches = frame.collect().await?;
    Ok((planned.names, arrow::compute::concat_batches(&schema, &batches)?))
}

fn cells(column: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let f = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len()).map(|i| f.value(i).to_string()).collect()
}

/// Names, then the sorted rows.
async fn answer(text: &str) -> String {
    let ctx = session().await;
    match run(&ctx, text).await {
        Ok((names, batch)) => {
            let columns: Vec<_> = batch.columns().iter().map(cells).collect();
            let mut rows: Vec<String> = (0..batch.num_rows())
                .map(|r| columns.iter().map(|c| c[r].as_str()).collect::<Vec<_>>().join(","))
                .collect();
            if !text.contains("ORDER BY") {
                rows.sort();
            }
            format!("{}: {}", names.join("|"), rows.join(" "))
        }
        Err(e) => format!("{e}"),
    }
}

async fn check(cases: &[(&str, &str)]) {
    let mut wrong = vec![];
    for (text, expected) in cases {
        let got = answer(text).await;
        if got != *expected {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

async fn error(text: &str) -> Error {
    let ctx = session().await;
    match run(&ctx, text).await {
        Ok(_) => panic!("'{text}' has no error"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn names_in_any_case() {
    check(&[
        ("SELECT A, b FROM T", "A|b: 1,10 2,20 3,30"),
        ("SELECT x.A AS Up, x.`b` FROM t X WHERE X.a > 2", "Up|b: 3,30"),
        ("SELECT a, a, a + 1, a + 1 FROM t WHERE a = 1", "a|a|(a + 1)|(a + 1): 1,1,2,2"),
        ("SELECT * FROM (SELECT a, a AS c FROM t) q WHERE q.C = 3", "a|c: 3,3"),
        ("SELECT st.f, ST.G FROM n WHERE id = 1", "f|G: 1,G"),
        ("SELECT n.st.F + 1 FROM n WHERE id = 1", "(st.F + 1): 2"),
        ("SELECT st.* FROM n WHERE id = 2", "F|g: 2,G"),
        ("SELECT * EXCEPT (b, S, ts), a + b AS ab, ab * 2 AS dbl FROM t WHERE a < 2", "a|ab|dbl: 1,11,22"),
        ("SELECT t.*, u.c FROM t JOIN u ON t.a = u.a WHERE u.a = 1", "a|B|s|ts|c: 1,10,x,1970-01-01T00:00:01Z,one"),
        ("WITH c(k) AS (SELECT a FROM t) SELECT x.K, y.k FROM c x JOIN C y ON x.k = y.k WHERE x.k = 1", "K|k: 1,1"),
    ])
    .await;
}

#[tokio::test]
async fn names_of_expressions() {
    let cases = [
        ("count(*)", "count(1)"),
        ("sum(B)", "sum(B)"),
        ("max(t.a + 1)", "max((a + 1))"),
        ("CAST(max(a) AS STRING)", "CAST(max(a) AS STRING)"),
        ("count(DISTINCT a)", "count(DISTINCT a)"),
        ("1.5", "1.5"),
        ("'text'", "text"),
        ("NULL", "NULL"),
        ("-1", "-1"),
        ("upper('k')", "upper(k)"),
        ("max(a) <> 1", "(NOT (max(a) = 1))"),
        ("max(a) IS NULL AND true", "((max(a) IS NULL) AND true)"),
        ("CASE WHEN max(a) = 1 THEN 'x' ELSE 'y' END", "CASE WHEN (max(a) = 1) THEN x ELSE y END"),
        ("if(true, 1, 2)", "(IF(true, 1, 2))"),
        ("INTERVAL 10 SECONDS", "INTERVAL '10' SECOND"),
        ("trim(LEADING 'x' FROM 'xxay')", "TRIM(LEADING x FROM xxay)"),
    ];
    let ctx = session().await;
    for (text, name) in cases {
        let planned = plan_query(&ctx, &format!("SELECT {text} FROM t"), None).await.unwrap();
        assert_eq!(planned.names, [name], "{text}");
    }
    let planned = plan_query(&ctx, "SELECT CAST(a AS BIGINT) FROM t", None).await.unwrap();
    assert_eq!(planned.names, ["a"]);
}

#[tokio::test]
async fn literals() {
    check(&[
        ("SELECT 1, 3000000000, 1.5, 1.0E7, 2D, 3L", "1|3000000000|1.5|1.0E7|2.0|3: 1,3000000000,1.5,10000000.0,2.0,3"),
        ("SELECT TIMESTAMP '1970-01-01 00:00:05' + INTERVAL 1 MINUTE AS t", "t: 1970-01-01T00:01:05Z"),
        ("SELECT DATE '2020-02-03' AS d, \"dq\" AS s, 'a' 'b' AS c", "d|s|c: 2020-02-03,dq,ab"),
        ("SELECT a == '2' AS e, a <=> NULL AS n, NOT a IN (1, 2) AS i FROM t WHERE a = 2", "e|n|i: true,false,false"),
        ("SELECT array(1, 2)[0] AS z", "z: 1"),
        ("SELECT 7 div 2 AS d, 7 / 2 AS q, !true AS n, 7 div 2 + 1 AS p", "d|q|n|p: 3,3.5,false,4"),
        ("SELECT CAST('5' AS INT) + 1 AS c, '6'::BIGINT AS d, TRY_CAST('x' AS INT) AS t", "c|d|t: 6,6,NULL"),
        ("SELECT trim(LEADING 'x' FROM 'xxay') AS t, substring('hello' FROM 2 FOR 3) AS s", "t|s: ay,ell"),
    ])
    .await;
}

#[tokio::test]
async fn aggregates() {
    check(&[
        ("SELECT s, count(*), sum(b) AS total FROM t GROUP BY s", "s|count(1)|total: x,2,40 y,1,20"),
        ("SELECT upper(s) AS k, count(*) FROM t GROUP BY K HAVING count(*) > 1", "k|count(1): X,2"),
        ("SELECT s, count(*) FROM t GROUP BY 1", "s|count(1): x,2 y,1"),
        ("SELECT s, max(a) AS m FROM t GROUP BY ALL ORDER BY m DESC", "s|m: x,3 y,2"),
        ("SELECT s, max(a) AS m, m + 1 AS n FROM t GROUP BY s", "s|m|n: x,3,4 y,2,3"),
        ("SELECT s FROM t GROUP BY s ORDER BY count(*)", "s: y x"),
        ("SELECT s, count(*) FROM t GROUP BY ROLLUP(s)", "s|count(1): NULL,3 x,2 y,1"),
        ("SELECT s, count(*) FROM t GROUP BY s WITH CUBE", "s|count(1): NULL,3 x,2 y,1"),
        ("SELECT count(*) FILTER (WHERE a > 1) AS c FROM t", "c: 2"),
        ("SELECT a, s FROM t ORDER BY b DESC LIMIT 2", "a|s: 3,x 2,y"),
        ("SELECT DISTINCT s FROM t ORDER BY s", "s: x y"),
        ("SELECT a FROM t ORDER BY ALL", "a: 1 2 3"),
    ])
    .await;
}

#[tokio::test]
async fn joins_and_sets() {
    check(&[
        ("SELECT a, c FROM t JOIN u USING (A)", "a|c: 1,one 2,two"),
        ("SELECT a, u.a, c FROM t FULL OUTER JOIN u USING (a)", "a|a|c: 1,1,one 2,2,two 3,NULL,NULL 4,4,four"),
        ("SELECT * FROM t NATURAL RIGHT JOIN u WHERE c = 'four'", "a|B|s|ts|c: 4,NULL,NULL,NULL,four"),
        ("SELECT a FROM t LEFT ANTI JOIN u ON t.a = u.a", "a: 3"),
        ("SELECT a FROM t LEFT SEMI JOIN u ON t.a = u.a", "a: 1 2"),
        ("SELECT x.a FROM t x, t y WHERE x.a = y.a + 1", "a: 2 3"),
        ("SELECT count(*) FROM t CROSS JOIN t AS o", "count(1): 9"),
        ("SELECT q.a FROM (t JOIN u ON t.a = u.a) JOIN t q ON q.a = u.a", "a: 1 2"),
        ("SELECT a FROM t UNION ALL SELECT a FROM u", "a: 1 1 2 2 3 4"),
        ("SELECT a FROM t UNION SELECT a FROM u ORDER BY 1 DESC", "a: 4 3 2 1"),
        ("SELECT x.id, x.w.e, x.arr FROM (SELECT id, named_struct('e', st) AS w, arr FROM n) x JOIN t ON x.id = t.a WHERE x.id = 2", "id|e|arr: 2,{F: 2, g: G},[]"),
        ("SELECT a FROM t EXCEPT SELECT a FROM u", "a: 3"),
        ("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)", "a: 1 2"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u)", "a: 1 2"),
        ("SELECT * FROM range(3)", "id: 0 1 2"),
    ])
    .await;
}

#[tokio::test]
async fn generators() {
    check(&[
        ("SELECT explode(string_to_array(value, ' ')) AS word FROM STREAM lines", "word: a a b b c"),
        ("SELECT word, count(*) FROM (SELECT explode(string_to_array(value, ' ')) AS word FROM STREAM(lines)) GROUP BY word", "word|count(1): a,2 b,2 c,1"),
        ("SELECT id, explode(arr) FROM n", "id|col: 1,p 1,q"),
        ("SELECT explode_outer(arr), id AS i FROM n", "col|i: NULL,2 NULL,3 p,1 q,1"),
        ("SELECT id, posexplode(arr) AS (p, w) FROM n", "id|p|w: 1,0,p 1,1,q"),
        ("SELECT posexplode_outer(arr) FROM n WHERE id < 3", "pos|col: 0,p 1,q NULL,NULL"),
        ("SELECT explode(m) FROM n WHERE id = 1", "key|value: k,1 l,10"),
        ("SELECT id, inline(items) FROM n WHERE id = 3", "id|i|j: 3,3,J"),
        ("SELECT stack(2, 'a', 1, 'b', 2)", "col0|col1: a,1 b,2"),
        ("SELECT id, w FROM n LATERAL VIEW explode(arr) e AS w WHERE E.w <> 'p'", "id|w: 1,q"),
        ("SELECT id, p, w FROM n LATERAL VIEW OUTER posexplode(arr) e AS p, w WHERE id > 2", "id|p|w: 3,NULL,NULL"),
        ("SELECT id, explode(arr) AS w FROM n ORDER BY w DESC, id + 1", "id|w: 1,q 1,p"),
        ("SELECT arr[1], m['l'], st['f'] FROM n WHERE id = 1", "arr[1]|m[l]|st[f]: q,10,1"),
    ])
    .await;
}

#[tokio::test]
async fn word_count_carries_one_column_through_unnest() {
    let ctx = session().await;
    let planned =
        plan_query(&ctx, "SELECT explode(string_to_array(value, ' ')) AS word FROM lines", None).await.unwrap();
    let plan = ctx.state().optimize(&planned.plan).unwrap();
    let mut at = &plan;
    while !matches!(at, LogicalPlan::Unnest(_)) {
        at = at.inputs()[0];
    }
    assert_eq!(at.inputs()[0].schema().fields().len(), 1, "{plan}");
}

#[tokio::test]
async fn watermarks_mark_their_column() {
    let ctx = session().await;
    for (text, names, marked) in [
        ("SELECT * FROM t WATERMARK ts DELAY OF INTERVAL 10 SECONDS", "a B s ts", 3),
        (
            "SELECT o.TS, o.a FROM STREAM t WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS o JOIN u ON u.a = o.a",
            "TS a",
            0,
        ),
        ("SELECT e, t.a FROM t WATERMARK ts + INTERVAL 1 DAY AS e DELAY OF INTERVAL '10' SECOND", "e a", 0),
        ("SELECT ts AS x FROM (SELECT ts FROM t) WATERMARK t.ts DELAY OF INTERVAL '10 seconds' t", "", 0),
    ] {
        let planned = match plan_query(&ctx, text, None).await {
            Ok(p) => p,
            Err(e) if names.is_empty() => {
                assert_eq!(e.condition(), "UNRESOLVED_COLUMN.WITH_SUGGESTION");
                continue;
            }
            Err(e) => panic!("{text}: {e}"),
        };
        assert_eq!(planned.names.join(" "), names, "{text}");
        let delays: Vec<_> = planned.plan.schema().fields().iter().map(|f| watermark_delay_ms(f)).collect();
        let expected: Vec<_> = (0..delays.len()).map(|i| (i == marked).then_some(10_000)).collect();
        assert_eq!(delays, expected, "{text}");
    }
}

#[tokio::test]
async fn nested_event_time_becomes_the_first_column() {
    let ctx = session().await;
    table(&ctx, "w", "SELECT named_struct('t', TIMESTAMP '1970-01-01 00:00:05') AS n").await;
    let planned = plan_query(&ctx, "SELECT * FROM w WATERMARK n.t DELAY OF INTERVAL 1 MINUTE", None).await.unwrap();
    assert_eq!(planned.names, ["t", "n"]);
    assert_eq!(watermark_delay_ms(planned.plan.schema().field(0)), Some(60_000));
}

#[tokio::test]
async fn distinct_on_is_a_node_below_the_select_list() {
    let ctx = session().await;
    let schema = ctx.table("t").await.unwrap().schema().inner().clone();
    let rows = crate::plan::StreamTable::new("r", Arc::new(crate::source::MemoryStream::new(schema)));
    ctx.register_table("r", Arc::new(rows)).unwrap();
    let plan = |text: &'static str| {
        let ctx = ctx.clone();
        async move { plan_query(&ctx, text, None).await.unwrap().plan.to_string() }
    };
    assert!(plan("SELECT DISTINCT ON (S) a FROM r").await.contains("Dedup: [r.s]\n"));
    assert!(
        plan("SELECT DISTINCT ON (s, a) WITHIN WATERMARK * FROM r")
            .await
            .contains("Dedup: [r.s, r.a] within watermark\n")
    );
}

#[tokio::test]
async fn errors() {
    for (text, condition, place, help) in [
        ("SELECT nope FROM t", "UNRESOLVED_COLUMN.WITH_SUGGESTION", "nope", None),
        ("SELECT bb FROM t", "UNRESOLVED_COLUMN.WITH_SUGGESTION", "bb", Some("did you mean 'B'?")),
        ("SELECT a FROM lnes", "TABLE_OR_VIEW_NOT_FOUND", "lnes", None),
        ("SELECT uper(s) FROM t", "UNRESOLVED_ROUTINE", "uper(s)", Some("did you mean 'upper'?")),
        ("SELECT a FROM t x JOIN u y ON x.a = y.a", "AMBIGUOUS_REFERENCE", "a", None),
        ("SELECT a\nFROM t WHERE\n", "PARSE_SYNTAX_ERROR", "", None),
        ("SELECT a FROM t GROUP BY s", "MISSING_AGGREGATION", "a", None),
        ("SELECT s FROM t GROUP BY 2", "GROUP_BY_POS_OUT_OF_RANGE", "2", None),
        ("SELECT * FROM t WHERE s", "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN", "s", None),
        ("SELECT * FROM t TABLESAMPLE (50 PERCENT)", "UNSUPPORTED_STREAMING_OPERATION", "", None),
        ("SELECT * FROM t WATERMARK a DELAY OF INTERVAL 1 SECOND", "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE", "a", None),
        ("SELECT * FROM t WATERMARK ts DELAY OF INTERVAL -1 SECOND", "INVALID_WATERMARK_DELAY", "ts", None),
        (
            "SELECT * FROM t WATERMARK ts + INTERVAL 1 DAY DELAY OF INTERVAL 1 SECOND",
            "REQUIRES_EXPLICIT_NAME_IN_WATERMARK_CLAUSE",
            "ts + INTERVAL 1 DAY",
            None,
        ),
        ("SELECT * FROM t WATERMARK ts DELAY OF INTERVAL '1' MONTH '-40' DAY", "INVALID_INTERVAL_FORMAT", "ts", None),
        (
            "SELECT * FROM t WATERMARK nope DELAY OF INTERVAL 1 MINUTE",
            "UNRESOLVED_COLUMN.WITH_SUGGESTION",
            "nope",
            None,
        ),
        ("SELECT explode(arr), explode(arr) FROM n", "UNSUPPORTED_GENERATOR.MULTI_GENERATOR", "explode(arr)", None),
        ("SELECT upper(explode(arr)) FROM n", "UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", "explode(arr)", None),
        ("SELECT explode(id) FROM n", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", "explode(id)", None),
        ("SELECT st.nope FROM n", "FIELD_NOT_FOUND", "nope", None),
    ] {
        let e = error(text).await;
        assert_eq!(e.condition(), condition, "{text}: {e}");
        let at = e.span().map(|s| &text[s.start..s.end]).unwrap_or_default();
        assert!(at.starts_with(place), "{text}: {e} is at '{at}'");
        assert!(help.is_none() || e.help() == help, "{text}: {e}");
    }
}

#[tokio::test]
async fn deep_text_is_an_error_and_long_text_is_not() {
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(error(&deep).await.condition(), "PARSE_SYNTAX_ERROR");
    let chain = format!("SELECT {} AS n", vec!["1"; 2_000].join(" + "));
    assert_eq!(answer(&chain).await, "n: 2000");
    let long = format!("SELECT a FROM t WHERE {}", vec!["a = 1"; 500].join(" OR "));
    assert_eq!(answer(&long).await, "a: 1");
}
