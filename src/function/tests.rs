//! Small SQL through a session with the functions registered; answers are those of Spark 4.3.

use crate::time_zone::Tz;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::display::format_value;
use crate::{Error, Result};

fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.dialect = "databricks".parse().unwrap();
    config.options_mut().execution.time_zone = Some("UTC".into());
    config.options_mut().execution.target_partitions = 2;
    let mut builder = SessionStateBuilder::new().with_config(config).with_default_features();
    builder.expr_planners().get_or_insert_default().insert(0, super::expr_planner());
    let ctx = SessionContext::new_with_state(builder.build());
    super::register_all(&ctx).unwrap();
    ctx
}

/// The rows of a query, columns separated by a bar, in the order of their text.
async fn rows(sql: &str) -> Result<Vec<String>> {
    let batches = session().sql(sql).await?.collect().await?;
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values: Vec<_> = batch.columns().iter().map(|c| format_value(c, row, Tz::UTC)).collect();
            rows.push(values.join("|"));
        }
    }
    rows.sort();
    Ok(rows)
}

/// Expressions over one row, literal and as columns (so that no constant is folded).
async fn check(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (expr, expected) in cases {
        match rows(&format!("SELECT {expr}")).await {
            Ok(got) if got == [*expected] => {}
            other => wrong.push(format!("{expr}: expected {expected}, got {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn error(sql: &str) -> Error {
    match rows(sql).await {
        Ok(rows) => panic!("{sql} gave {rows:?}"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn text() {
    check(&[
        ("split('a,b,,', ',')", "[a, b, , ]"),
        ("split('', ' ')", "[]"),
        ("size(split('', ' '))", "1"),
        ("split('oneAtwoBthree', '[AB]')", "[one, two, three]"),
        ("split('oneAtwoBthree', '[AB]', 2)", "[one, twoBthree]"),
        ("split('abc', '')", "[a, b, c]"),
        ("split('a||b', '||')", "[a, |, |, b, ]"),
        ("split('a much longer text, split into long pieces', ', ')", "[a much longer text, split into long pieces]"),
        ("concat('[', trim(' pad '), ']')", "[pad]"),
        ("concat('a', NULL)", "NULL"),
        ("lpad('Hello World', 6, '*')", "Hello "),
        ("lpad('pad', 6, '*')", "***pad"),
        ("rpad('Hello', 3, 'xy')", "Hel"),
        ("repeat('ab', 2)", "abab"),
        ("reverse('abc')", "cba"),
        ("reverse(array(1, 2))", "[2, 1]"),
        ("trim(LEADING 'x' FROM 'xxay')", "ay"),
        ("locate('b', 'abcb', 3)", "4"),
        ("instr('abc', 'c')", "3"),
        ("initcap('heLLo woRLd')", "Hello World"),
        ("left('abc', 2)", "ab"),
        ("right('abc', 2)", "bc"),
        ("length(123)", "3"),
        ("substring('Spark SQL', -3)", "SQL"),
        ("format_number(12332.123456, 4)", "12,332.1235"),
        ("format_number(5, 2)", "5.00"),
        ("conv('100', 2, 10)", "4"),
        ("conv('-10', 16, -10)", "-16"),
        ("regexp_replace('100-200', '(\\d+)', 'num')", "num-num"),
        ("regexp_replace('100-200', '(\\d+)-(\\d+)', '$2-$1')", "200-100"),
        ("regexp_extract('100-200', '(\\d+)-(\\d+)', 1)", "100"),
        ("regexp_extract('foo', '(\\d+)', 1)", ""),
        ("regexp_extract_all('100-200, 300-400', '(\\d+)-(\\d+)', 1)", "[100, 300]"),
        ("rlike('abc', '^a.c$')", "true"),
        ("typeof(1 + 1)", "bigint"),
        ("typeof(array('a'))", "array<string>"),
    ])
    .await;
}

#[tokio::test]
async fn time() {
    let t = "to_timestamp('2024-02-29 13:05:09.123456')";
    check(&[
        (&format!("date_format({t}, 'EEE d MMM yy hh:mm a SSS D EEEE Q')"), "Thu 29 Feb 24 01:05 PM 123 60 Thursday 1"),
        ("to_timestamp('2024-02-29T10:11:12.5Z')", "2024-02-29 10:11:12.5"),
        ("to_timestamp('2024-2-9')", "2024-02-09 00:00:00"),
        ("to_date('2024-02-29T10:11:12.5Z')", "2024-02-29"),
        ("try_to_timestamp('2024-02-29', 'yyyy-MM-dd HH:mm:ss')", "NULL"),
        ("to_date('29/02/2024', 'dd/MM/yyyy')", "2024-02-29"),
        ("from_unixtime(0)", "1970-01-01 00:00:00"),
        ("from_unixtime(0, 'yyyy')", "1970"),
        ("unix_timestamp('1970-01-02', 'yyyy-MM-dd')", "86400"),
        ("timestamp_seconds(1.5)", "1970-01-01 00:00:01.5"),
        ("timestamp_millis(1500)", "1970-01-01 00:00:01.5"),
        ("year(DATE '2024-02-29'), month(DATE '2024-02-29'), day(DATE '2024-02-29')", "2024|2|29"),
        ("dayofweek(DATE '2009-07-30'), weekday(DATE '2009-07-30'), weekofyear(DATE '2008-02-20')", "5|3|8"),
        ("quarter(DATE '2016-08-31'), dayofyear(DATE '2016-04-09')", "3|100"),
        ("hour('2018-02-14 12:58:59'), minute('2018-02-14 12:58:59'), second('2018-02-14 12:58:59')", "12|58|59"),
        ("months_between('1997-02-28 10:30:00', '1996-10-30')", "3.94959677"),
        ("make_timestamp(2014, 12, 28, 6, 30, 45.887)", "2014-12-28 06:30:45.887"),
        ("make_date(2013, 7, 15)", "2013-07-15"),
        ("sequence(DATE '2018-01-01', DATE '2018-03-01', INTERVAL 1 MONTH)", "[2018-01-01, 2018-02-01, 2018-03-01]"),
        ("DATE '2024-02-28' + 2", "2024-03-01"),
        ("DATE '2024-02-28' + INTERVAL 1 DAY", "2024-02-29"),
        ("DATE '2024-02-28' + INTERVAL 90 MINUTES", "2024-02-28 01:30:00"),
        ("add_months(DATE '2016-08-31', 1), last_day(DATE '2009-01-12')", "2016-09-30|2009-01-31"),
        ("date_add(DATE '2016-07-30', 1), datediff(DATE '2009-07-31', DATE '2009-07-30')", "2016-07-31|1"),
        ("date_trunc('HOUR', TIMESTAMP '2015-03-05 09:32:05')", "2015-03-05 09:00:00"),
        ("extract(YEAR FROM TIMESTAMP '2015-03-05 09:32:05')", "2015"),
        ("DATE '2024-03-01' - 1", "2024-02-29"),
    ])
    .await;
    assert_eq!(error("SELECT to_timestamp('x')").await.condition(), "CAST_INVALID_INPUT");
}

#[tokio::test]
async fn collections() {
    check(&[
        ("array(1, 2)[0]", "1"),
        ("get(array(1, 2), 5)", "NULL"),
        ("element_at(array(1, 2, 3), -1)", "3"),
        ("try_element_at(array(1, 2), 5)", "NULL"),
        ("map('a', 1, 'b', NULL)", "{a -> 1, b -> NULL}"),
        ("make_map()", "{}"),
        ("map_keys(map('a', 1)), map_values(map('a', 1))", "[a]|[1]"),
        ("map('a', 1)['a'], map('a', 1)['zz']", "1|NULL"),
        ("element_at(map('a', 1), 'zz')", "NULL"),
        ("map_contains_key(map('a', 1), 'a')", "true"),
        ("size(NULL), size(map('a', 1)), size(array())", "NULL|1|0"),
        ("sort_array(array('b', NULL, 'a'))", "[NULL, a, b]"),
        ("sort_array(array('b', NULL, 'a'), false)", "[b, a, NULL]"),
        ("array_sort(array('b', NULL, 'a'))", "[a, b, NULL]"),
        ("sequence(1, 5), sequence(5, 1), sequence(1, 9, 4)", "[1, 2, 3, 4, 5]|[5, 4, 3, 2, 1]|[1, 5, 9]"),
        ("named_struct('a', 1, 'b', 'x')", "{1, x}"),
        ("typeof(named_struct('a', 1, 'b', 'x'))", "struct<a:bigint,b:string>"),
        ("struct(1, 'x')", "{1, x}"),
        ("concat(array(1), array(2, 3))", "[1, 2, 3]"),
        ("map_from_arrays(array('a'), array(1)), typeof(map('a', 1))", "{a -> 1}|map<string,bigint>"),
        ("array_distinct(array(1, 1)), array_contains(array(1), 1), array_join(array('a', 'b'), ',')", "[1]|true|a,b"),
        ("zip(array(1), array('a'))", "[{1, a}]"),
        ("slice(array(1, 2, 3), 2, 2), array_position(array(3, 2), 2), array_max(array(1, 3))", "[2, 3]|2|3"),
    ])
    .await;
    let condition = async |expr: &str| error(&format!("SELECT {expr}")).await.condition().to_owned();
    assert_eq!(condition("split('a,b', ',')[2]").await, "INVALID_ARRAY_INDEX");
    assert_eq!(condition("element_at(split('a,b', ','), 3)").await, "INVALID_ARRAY_INDEX_IN_ELEMENT_AT");
}

#[tokio::test]
async fn operators() {
    check(&[
        ("7 / 2, -7 / 2, 7 % -2, -7 % 2", "3.5|-3.5|1|-1"),
        ("typeof(7 / 2)", "double"),
        ("pmod(-7, 2), mod(-7, 2), abs(-7)", "1|-1|7"),
        ("try_divide(1, 0), try_add(9223372036854775807, 1)", "NULL|NULL"),
        ("'3' + 4, typeof('3' + 4)", "7|bigint"),
        ("CAST(1.10 AS DECIMAL(10,2)) * CAST(2 AS DECIMAL(10,2))", "2.2000"),
        ("CAST(10 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2))", "3.3333333333333"),
        ("try_to_date('x'), '10' > 9", "NULL|true"),
    ])
    .await;
    assert_eq!(error("SELECT split('a')").await.condition(), "WRONG_NUM_ARGS.WITHOUT_SUGGESTION");
    assert_eq!(error("SELECT sum(true)").await.condition(), "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE");
    let condition = async |expr: &str| error(&format!("SELECT {expr}")).await.condition().to_owned();
    assert_eq!(condition("1 / 0").await, "DIVIDE_BY_ZERO");
    assert_eq!(condition("1 % 0").await, "REMAINDER_BY_ZERO");
    assert_eq!(condition("9223372036854775807 + 1").await, "ARITHMETIC_OVERFLOW");
}

/// The same over columns, with NULL in them, where no constant is folded.
#[tokio::test]
async fn operators_over_columns() {
    let values = "(VALUES (7, 2), (-7, 2), (7, -2), (NULL, 1), (1, NULL)) AS t(a, b)";
    let sql = format!("SELECT a / b, a % b, a + 1, 2 * b, a - b, pmod(a, b), try_divide(a, b - 2) FROM {values}");
    assert_eq!(
        rows(&sql).await.unwrap(),
        [
            "-3.5|-1|-6|4|-9|1|NULL",
            "-3.5|1|8|-4|9|1|-1.75",
            "3.5|1|8|4|5|1|NULL",
            "NULL|NULL|2|NULL|NULL|NULL|NULL",
            "NULL|NULL|NULL|2|NULL|NULL|NULL",
        ]
    );
    let sql = "SELECT split(s, ',')[1], split(s, ',')[0] || 'x', s > 5 FROM (VALUES ('10,a longer piece of text'), (NULL)) AS t(s)";
    assert_eq!(error(sql).await.condition(), "CAST_INVALID_INPUT");
    let sql =
        "SELECT split(s, ',')[1], split(s, ',')[0] || 'x' FROM (VALUES ('10,a longer piece of text'), (NULL)) AS t(s)";
    assert_eq!(rows(sql).await.unwrap(), ["NULL|NULL", "a longer piece of text|10x"]);
    let sql = "SELECT a / b FROM (VALUES (1, 0)) AS t(a, b)";
    assert_eq!(error(sql).await.condition(), "DIVIDE_BY_ZERO");
}

#[tokio::test]
async fn casts() {
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use arrow::datatypes::DataType;
    use std::sync::Arc;

    use super::cast::{Mode, cast_array};
    let show = |array: &ArrayRef, to: DataType, mode| {
        let cast = cast_array(array, &to, mode, Tz::UTC)?;
        Ok::<_, Error>((0..cast.len()).map(|row| format_value(&cast, row, Tz::UTC)).collect::<Vec<_>>())
    };
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.5), Some(-2.5), Some(1.0e9), Some(0.1), None]));
    assert_eq!(show(&doubles, DataType::Int32, Mode::Ansi).unwrap(), ["2", "-2", "1000000000", "0", "NULL"]);
    assert_eq!(show(&doubles, DataType::Utf8View, Mode::Ansi).unwrap(), ["2.5", "-2.5", "1.0E9", "0.1", "NULL"]);
    let decimal = show(&doubles, DataType::Decimal128(12, 0), Mode::Ansi).unwrap();
    assert_eq!(decimal, ["3", "-3", "1000000000", "0", "NULL"]);
    let narrow = show(&doubles, DataType::Int8, Mode::Ansi).unwrap_err();
    assert_eq!(narrow.condition(), "CAST_OVERFLOW");
    assert_eq!(show(&doubles, DataType::Int8, Mode::Try).unwrap(), ["2", "-2", "NULL", "0", "NULL"]);
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("12"), Some(" 7 "), Some("-3"), None]));
    assert_eq!(show(&text, DataType::Decimal128(6, 2), Mode::Ansi).unwrap(), ["12.00", "7.00", "-3.00", "NULL"]);
    assert_eq!(show(&text, DataType::Float64, Mode::Ansi).unwrap(), ["12.0", "7.0", "-3.0", "NULL"]);
    let wrong: ArrayRef = Arc::new(StringArray::from(vec!["12x"]));
    assert_eq!(show(&wrong, DataType::Int32, Mode::Ansi).unwrap_err().condition(), "CAST_INVALID_INPUT");
    assert_eq!(show(&wrong, DataType::Int32, Mode::Try).unwrap(), ["NULL"]);
}

#[tokio::test]
async fn cast_expressions() {
    use arrow::datatypes::DataType;
    use datafusion::prelude::{col, lit};
    let batch = session()
        .read_empty()
        .unwrap()
        .select([
            super::cast(lit("12"), &DataType::Int32, false).alias("a"),
            super::cast(lit("x"), &DataType::Date32, true),
        ])
        .unwrap()
        .filter(super::cast(col("a"), &DataType::Utf8View, false).eq(lit("12")))
        .unwrap();
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names[1], "TRY_CAST(Utf8(\"x\") AS DATE)");
    assert_eq!(batch.schema().field(0).data_type(), &DataType::Int32);
    batch.collect().await.unwrap();
}

#[tokio::test]
async fn mathematics() {
    check(&[
        ("sqrt(4.0), round(2.25, 1), round(-2.5), bround(2.5)", "2.0|2.3|-3.0|2.0"),
        ("round(CAST(2.25 AS DOUBLE), 1), round(-0.5e0)", "2.3|-1.0"),
        ("round(log(2, 2.25), 6), round(log10(0.5), 6), round(ln(4.0), 6)", "1.169925|-0.30103|1.386294"),
        ("bround(25, -1), round(25, -1), round(-25, -1)", "20|30|-30"),
        ("round(1.5, 300), bround(CAST(1.25 AS DECIMAL(3,2)), 256)", "1.5|1.25"),
        ("length(format_number(1.5, 70000)), format_number(-1.5, 3)", "70002|-1.500"),
        ("round(CAST(2.5550 AS DECIMAL(10,4)), 1), round(CAST(-2.5550 AS DECIMAL(10,4)))", "2.6|-3"),
        ("bround(CAST(2.5 AS DECIMAL(2,1))), round(1.0E9), round(2.675e0, 2)", "2|1.0E9|2.68"),
        ("cbrt(27.0), hypot(3, 4), signum(-2.5e0), pow(2, 3)", "3.0|5.0|-1.0|8.0"),
        ("ceil(2.5e0), floor(-2.5e0)", "3|-3"),
    ])
    .await;
}

#[tokio::test]
async fn json_and_hash() {
    check(&[
        ("from_json('{\"a\":1, \"b\":0.8}', 'a INT, b DOUBLE')", "{1, 0.8}"),
        (
            "from_json('{\"a\":[1, null], \"t\":\"2024-02-29 10:11:12\"}', 'a ARRAY<INT>, t TIMESTAMP')",
            "{[1, NULL], 2024-02-29 10:11:12}",
        ),
        ("from_json('nonsense', 'a INT')", "{NULL}"),
        ("from_json('{\"a\":\"x\"}', 'a INT')", "{NULL}"),
        ("from_csv('1, 0.8', 'a INT, b DOUBLE')", "{1, 0.8}"),
        ("to_json(named_struct('a', 1, 'b', NULL, 'c', array('x')))", "{\"a\":1,\"c\":[\"x\"]}"),
        ("get_json_object('{\"a\":{\"b\":[1, 2]}}', '$.a.b[1]')", "2"),
        ("get_json_object('[{\"a\":\"b\"},{\"a\":\"c\"}]', '$[*].a')", "[\"b\",\"c\"]"),
        ("get_json_object('x', '$.a')", "NULL"),
        ("schema_of_json('[{\"col\":0}]')", "ARRAY<STRUCT<col: BIGINT>>"),
        // The manual's example; its literals are INT.
        ("hash('Spark', array(arrow_cast(123, 'Int32')), arrow_cast(2, 'Int32'))", "-1321691492"),
    ])
    .await;
}

#[tokio::test]
async fn aggregates() {
    let values = "(VALUES ('a', 1), ('a', 2), ('b', NULL), ('a', NULL), ('c', -3)) AS t(k, v)";
    let sql = format!(
        "SELECT k, sort_array(collect_list(v)), size(collect_set(v)), count_if(v > 1), sum(v), avg(v), first(v), last(v) \
         FROM {values} GROUP BY k"
    );
    assert_eq!(
        rows(&sql).await.unwrap(),
        ["a|[1, 2]|2|1|3|1.5|1|NULL", "b|[]|0|0|NULL|NULL|NULL|NULL", "c|[-3]|1|0|-3|-3.0|-3|-3"]
    );
    let sql = format!(
        "SELECT percentile(v, 0.25), median(v), percentile_approx(v, 0.5), max_by(k, v), min_by(k, v), mode(k), \
         approx_count_distinct(k), bool_and(v > 0), every(v > -5), some(v > 1), last(v, true) FROM {values}"
    );
    assert_eq!(rows(&sql).await.unwrap(), ["-1.0|1.0|1|a|c|a|3|false|true|true|-3"]);
}

/// Two partitions, so that partial states are merged; with a filter, so that it reaches the group accumulators.
#[tokio::test]
async fn partial_states_merge() {
    let part = |rows: &str| {
        format!("SELECT k, v, CAST(v AS DECIMAL(10,2)) AS d, CAST(v AS DOUBLE) AS f FROM (VALUES {rows}) AS t(k, v)")
    };
    let union =
        format!("{} UNION ALL {}", part("('a', 1), ('b', 5), ('a', NULL)"), part("('a', 4), ('b', NULL), ('a', 4)"));
    let aggregates = "sum(v), avg(d), sum(d), count_if(v > 3), min(f), max(f), percentile(v, 0.5), median(v), \
                      percentile_approx(v, array(0.0, 1.0)), max_by(f, v), mode(v), approx_count_distinct(v), \
                      sort_array(collect_list(v)), sum(v) FILTER (WHERE v > 1), sum(d) FILTER (WHERE v > 1)";
    let grouped = rows(&format!("SELECT k, {aggregates} FROM ({union}) GROUP BY k")).await.unwrap();
    assert_eq!(
        grouped,
        [
            "a|9|3.000000|9.00|2|1.0|4.0|4.0|4.0|[1, 4]|4.0|4|2|[1, 4, 4]|8|8.00",
            "b|5|5.000000|5.00|1|5.0|5.0|5.0|5.0|[5, 5]|5.0|5|1|[5]|5|5.00"
        ]
    );
    let all = rows(&format!("SELECT {aggregates} FROM ({union})")).await.unwrap();
    assert_eq!(all, ["14|3.500000|14.00|3|1.0|5.0|4.0|4.0|[1, 5]|5.0|4|3|[1, 4, 4, 5]|13|13.00"]);
}

#[tokio::test]
async fn decimals_widen() {
    let values = "(VALUES ('a', 1.10), ('a', 2.25), ('a', -0.35), ('c', 99999999.99), ('c', 99999999.99), ('d', 0.01), ('d', 0.01), \
                  ('d', 0.00)) AS t(k, x)";
    let sql = format!(
        "SELECT k, sum(v), avg(v), min(v), typeof(sum(v)), typeof(avg(v)) FROM \
         (SELECT k, CAST(x AS DECIMAL(10,2)) AS v FROM {values}) GROUP BY k"
    );
    assert_eq!(
        rows(&sql).await.unwrap(),
        [
            "a|3.00|1.000000|-0.35|decimal(20,2)|decimal(14,6)",
            "c|199999999.98|99999999.990000|99999999.99|decimal(20,2)|decimal(14,6)",
            "d|0.02|0.006667|0.00|decimal(20,2)|decimal(14,6)"
        ]
    );
}

#[tokio::test]
async fn nan_is_the_greatest() {
    let values = "(VALUES ('a', 1.0e0), ('a', CAST('NaN' AS DOUBLE)), ('b', CAST('Infinity' AS DOUBLE)), ('b', 2.0e0), \
                  ('c', CAST('NaN' AS DOUBLE))) AS t(k, d)";
    let sql = format!("SELECT k, min(d), max(d), sum(d) FROM {values} GROUP BY k");
    assert_eq!(rows(&sql).await.unwrap(), ["a|1.0|NaN|NaN", "b|2.0|Infinity|Infinity", "c|NaN|NaN|NaN"]);
    let sql = format!("SELECT min(d), max(d) FROM {values}");
    assert_eq!(rows(&sql).await.unwrap(), ["1.0|NaN"]);
}

#[tokio::test]
async fn sums_are_checked() {
    let sql = "SELECT sum(v) FROM (VALUES (9223372036854775807), (1)) AS t(v)";
    assert_eq!(error(sql).await.condition(), "ARITHMETIC_OVERFLOW");
}
