//! Keys and values in formats: decoded into columns, and made of columns.

use std::path::Path;

use super::broker::{Broker, Out, Read};
use super::registry::Registry;
use crate::process::{Ended, run_to_end};

fn keyed(key: &str, value: Option<&str>) -> Out {
    Out { key: Some(key.into()), value: value.map(Into::into), ..Out::default() }
}

/// Runs `SELECT {select}` over a stream of a topic; the lines of JSON that it wrote.
fn select(broker: &Broker, topic: &str, columns: &str, options: &str, select: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let ended = flow(broker, dir.path(), topic, columns, options, select);
    ended.assert_code(0);
    lines(&dir.path().join("out"))
}

fn flow(broker: &Broker, dir: &Path, topic: &str, columns: &str, options: &str, select: &str) -> Ended {
    let sql = format!(
        "CREATE STREAM s {columns} USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe '{topic}', startingOffsets 'earliest', {options});
         CREATE SINK o USING json OPTIONS (path '{}', ignoreNullFields 'false');
         CREATE FLOW q TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT {select};",
        broker.servers(),
        dir.join("out").display(),
        dir.join("checkpoint").display()
    );
    run_to_end(["run", "-e", &sql])
}

fn lines(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
        .iter()
        .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// A topic of one partition with these values.
fn topic(broker: &Broker, name: &str, values: &[&[u8]]) {
    broker.create(name, 1, &[]);
    broker.produce(name, &values.iter().map(|value| Out::value(0, *value)).collect::<Vec<_>>());
}

#[test]
fn json_becomes_columns_with_those_of_the_record_beside_them() {
    let broker = Broker::shared();
    broker.create("f-json", 1, &[]);
    broker.produce(
        "f-json",
        &[
            keyed("a", Some(r#"{"id": 1, "at": "2026-01-02 03:04:05", "tags": ["x", "y"], "more": {"n": 1.5}}"#)),
            keyed("b", Some(r#"{"id": "no number", "tags": ["z"]}"#)),
            keyed("c", Some("no json")),
            keyed("d", None),
            keyed("e", Some(r#"{"id": 5}"#)),
        ],
    );
    let columns = "(id BIGINT, at TIMESTAMP, tags ARRAY<STRING>, more STRUCT<n: DOUBLE>)";
    assert_eq!(
        select(broker, "f-json", columns, "value.format 'json'", "* FROM s"),
        [
            r#"{"id":1,"at":"2026-01-02T03:04:05.000Z","tags":["x","y"],"more":{"n":1.5}}"#,
            r#"{"id":null,"at":null,"tags":["z"],"more":null}"#,
            r#"{"id":null,"at":null,"tags":null,"more":null}"#,
            r#"{"id":null,"at":null,"tags":null,"more":null}"#,
            r#"{"id":5,"at":null,"tags":null,"more":null}"#,
        ]
    );
    assert_eq!(
        select(
            broker,
            "f-json",
            columns,
            "value.format 'json', badRecords 'drop'",
            "id, kafka_offset AS o, CAST(s.kafka_key AS STRING) AS k, kafka_topic, kafka_partition AS p, kafka_value IS NULL AS t,
             kafka_timestamp > TIMESTAMP '2020-01-01' AS n, kafka_timestamp_type AS y, kafka_headers AS h FROM s WHERE kafka_offset <> 4"
        ),
        [
            r#"{"id":1,"o":0,"k":"a","kafka_topic":"f-json","p":0,"t":false,"n":true,"y":0,"h":null}"#,
            r#"{"id":null,"o":3,"k":"d","kafka_topic":"f-json","p":0,"t":true,"n":true,"y":0,"h":null}"#,
        ]
    );
    // What is dropped does not depend on what is asked for.
    assert_eq!(
        select(broker, "f-json", columns, "value.format 'json', mode 'DROPMALFORMED'", "kafka_offset AS o FROM s"),
        [r#"{"o":0}"#, r#"{"o":3}"#, r#"{"o":4}"#]
    );
    assert_eq!(
        select(
            broker,
            "f-json",
            "(id INT, _corrupt_record STRING)",
            "value.format 'json'",
            "* FROM s WHERE kafka_offset BETWEEN 1 AND 2"
        ),
        [
            r#"{"id":null,"_corrupt_record":"{\"id\": \"no number\", \"tags\": [\"z\"]}"}"#,
            r#"{"id":null,"_corrupt_record":"no json"}"#,
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let failed = flow(broker, dir.path(), "f-json", columns, "value.format 'json', badRecords 'fail'", "id FROM s");
    failed.assert_code(1);
    assert!(failed.stderr.contains("MALFORMED_RECORD_IN_PARSING"), "{}", failed.stderr);
    assert!(failed.stderr.contains("the value at offset 1 of partition f-json-0"), "{}", failed.stderr);
    let told = flow(broker, tempfile::tempdir().unwrap().path(), "f-json", columns, "value.format 'json'", "id FROM s");
    assert!(told.stderr.contains("2 bad records of stream 's', the first in the value at offset 1"), "{}", told.stderr);
}

#[test]
fn tables_and_joins_have_the_columns_of_records_too() {
    let broker = Broker::shared();
    topic(broker, "f-table", &[b"{\"id\":1}", b"{\"id\":2}"]);
    let sql = format!(
        "CREATE TABLE t (id INT) USING kafka OPTIONS (kafka.bootstrap.servers '{}', subscribe 'f-table', value.format 'json');
         SELECT a.id, a.kafka_offset, b.kafka_offset AS other FROM t a JOIN t b ON a.id = b.id + 1;
         SELECT * FROM t ORDER BY id;",
        broker.servers()
    );
    let ended = run_to_end(["run", "-e", &sql]);
    ended.assert_code(0);
    let squeezed: Vec<String> = ended.stdout.lines().map(|l| l.replace(' ', "")).collect();
    assert!(squeezed.contains(&"|2|1|0|".to_owned()), "{}", ended.stdout);
    assert!(squeezed.contains(&"|id|".to_owned()), "{}", ended.stdout);
}

#[test]
fn csv_text_and_bytes_become_columns() {
    let broker = Broker::shared();
    topic(
        broker,
        "f-csv",
        &[b"1;a;2026-02-03", b"2;\"b;c\";03.02.2026", b"x;d;2026-02-03", b"4", b"\xff;e;2026-02-03"],
    );
    assert_eq!(
        select(
            broker,
            "f-csv",
            "(n INT, t STRING, d DATE)",
            "value.format 'csv', sep ';'",
            "*, kafka_offset AS o FROM s"
        ),
        [
            r#"{"n":1,"t":"a","d":"2026-02-03","o":0}"#,
            r#"{"n":2,"t":"b;c","d":null,"o":1}"#,
            r#"{"n":null,"t":"d","d":"2026-02-03","o":2}"#,
            r#"{"n":4,"t":null,"d":null,"o":3}"#,
            r#"{"n":null,"t":"e","d":"2026-02-03","o":4}"#,
        ]
    );
    assert_eq!(
        select(
            broker,
            "f-csv",
            "(n INT, t STRING, d DATE)",
            "value.format 'csv', sep ';', badRecords 'drop'",
            "n FROM s"
        ),
        [r#"{"n":1}"#]
    );
    topic(broker, "f-text", &[b"one", "zw\u{f6}lf".as_bytes(), b"\xff"]);
    assert_eq!(
        select(broker, "f-text", "", "value.format 'text'", "*, kafka_offset AS o FROM s"),
        [r#"{"value":"one","o":0}"#, "{\"value\":\"zw\u{f6}lf\",\"o\":1}", r#"{"value":null,"o":2}"#]
    );
    assert_eq!(
        select(broker, "f-text", "(bytes BINARY)", "value.format 'raw'", "hex(bytes) AS h FROM s"),
        [r#"{"h":"6F6E65"}"#, r#"{"h":"7A77C3B66C66"}"#, r#"{"h":"FF"}"#]
    );
}

#[test]
fn keys_become_columns() {
    let broker = Broker::shared();
    broker.create("f-key", 1, &[]);
    broker.produce(
        "f-key",
        &[
            keyed(r#"{"region":"eu","id":7}"#, Some("1.5,x")),
            keyed("broken", Some("2.5,y")),
            Out { key: None, ..keyed("", Some("3.5,z")) },
        ],
    );
    let columns = "(amount DOUBLE, id INT, name STRING, region STRING)";
    let options = "value.format 'csv', key.format 'json', key.columns 'region, id', value.fields-include 'EXCEPT_KEY'";
    assert_eq!(
        select(broker, "f-key", columns, options, "* FROM s"),
        [
            r#"{"amount":1.5,"id":7,"name":"x","region":"eu"}"#,
            r#"{"amount":2.5,"id":null,"name":"y","region":null}"#,
            r#"{"amount":3.5,"id":null,"name":"z","region":null}"#,
        ]
    );
    assert_eq!(
        select(broker, "f-key", columns, &format!("{options}, badRecords 'drop'"), "name FROM s"),
        [r#"{"name":"x"}"#, r#"{"name":"z"}"#]
    );
    assert_eq!(
        select(
            broker,
            "f-key",
            "(name STRING, k STRING)",
            "value.format 'text', key.format 'text', key.columns 'k'",
            "k, name FROM s WHERE k LIKE 'b%'"
        ),
        [r#"{"k":"broken","name":"2.5,y"}"#]
    );
}

#[test]
fn changes_of_debezium_become_rows_with_op() {
    let broker = Broker::shared();
    let change = |op: &str, before: &str, after: &str| {
        format!(r#"{{"before":{before},"after":{after},"source":{{"ts_ms":1,"table":"t"}},"op":"{op}","ts_ms":2}}"#)
    };
    let wrapped =
        format!(r#"{{"schema":{{"type":"struct"}},"payload":{}}}"#, change("r", "null", r#"{"id":4,"v":"four"}"#));
    let values = [
        change("c", "null", r#"{"id":1,"v":"one"}"#),
        change("u", r#"{"id":1,"v":"one"}"#, r#"{"id":1,"v":"uno"}"#),
        change("d", r#"{"id":1,"v":"uno"}"#, "null"),
        String::new(),
        wrapped,
        r#"{"id":5}"#.to_owned(),
    ];
    let values: Vec<&[u8]> = values.iter().map(|v| v.as_bytes()).collect();
    topic(broker, "f-debezium", &values);
    assert_eq!(
        select(
            broker,
            "f-debezium",
            "(id INT, op STRING, v STRING)",
            "value.format 'debezium-json'",
            "*, kafka_offset AS o FROM s"
        ),
        [
            r#"{"id":1,"op":"c","v":"one","o":0}"#,
            r#"{"id":1,"op":"u","v":"uno","o":1}"#,
            r#"{"id":1,"op":"d","v":"uno","o":2}"#,
            r#"{"id":4,"op":"r","v":"four","o":4}"#,
            r#"{"id":null,"op":null,"v":null,"o":5}"#,
        ]
    );
    assert_eq!(
        select(
            broker,
            "f-debezium",
            "(id INT, op STRING, v STRING)",
            "value.format 'debezium-json', badRecords 'drop'",
            "op FROM s"
        ),
        [r#"{"op":"c"}"#, r#"{"op":"u"}"#, r#"{"op":"d"}"#, r#"{"op":"r"}"#]
    );
}

/// Writes rows into a topic, in a format.
fn write(broker: &Broker, topic: &str, options: &str, rows: &str) -> Ended {
    let sql = format!(
        "CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{}', {topic}, {options}); INSERT INTO o {rows};",
        broker.servers()
    );
    run_to_end(["run", "-e", &sql])
}

fn texts(read: &[Read]) -> Vec<(Option<String>, Option<String>)> {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let mut all: Vec<_> = read.iter().map(|r| (text(&r.key), text(&r.value))).collect();
    all.sort();
    all
}

fn pair(key: Option<&str>, value: &str) -> (Option<String>, Option<String>) {
    (key.map(str::to_owned), Some(value.to_owned()))
}

#[test]
fn columns_become_keys_and_values() {
    let broker = Broker::shared();
    broker.create("g-json", 3, &[]);
    let rows = "SELECT * FROM VALUES (1, 'a', TIMESTAMP '2026-01-01 00:00:00'), (2, NULL, NULL) AS t(id, name, at)";
    write(broker, "topic 'g-json'", "value.format 'json', key.format 'json', key.columns 'id'", rows).assert_code(0);
    assert_eq!(
        texts(&broker.read(&["g-json"])),
        [
            pair(Some(r#"{"id":1}"#), r#"{"id":1,"name":"a","at":"2026-01-01T00:00:00.000Z"}"#),
            pair(Some(r#"{"id":2}"#), r#"{"id":2}"#)
        ]
    );
    broker.create("g-csv", 2, &[]);
    let rows = "SELECT 1 AS id, 'x,y' AS name, 'g-csv' AS kafka_topic, 1 AS kafka_partition, array(named_struct('key', 'h', 'value', X'01')) AS kafka_headers";
    write(broker, "includeHeaders 'true'", "value.format 'csv', key.format 'raw', key.columns 'name'", rows)
        .assert_code(0);
    let read = broker.read(&["g-csv"]);
    assert_eq!(texts(&read), [pair(Some("x,y"), "1,\"x,y\"")]);
    assert_eq!((read[0].partition, &read[0].headers[..]), (1, &[("h".to_owned(), Some(vec![1]))][..]));
    broker.create("g-raw", 1, &[]);
    write(broker, "topic 'g-raw'", "value.format 'raw'", "SELECT * FROM VALUES ('v'), (NULL) AS t(v)").assert_code(0);
    assert_eq!(
        broker.read(&["g-raw"]).iter().map(|r| r.value.clone()).collect::<Vec<_>>(),
        [Some(b"v".to_vec()), None]
    );
    // What was written in Avro is read again.
    broker.create("g-avro", 1, &[]);
    let rows = "SELECT 1 AS id, 'a' AS name, array(1.5D, NULL) AS list, DATE '2026-01-01' AS d, CAST(1.25 AS DECIMAL(10,2)) AS m UNION ALL SELECT NULL, NULL, NULL, NULL, NULL";
    write(broker, "topic 'g-avro'", "value.format 'avro', key.format 'avro', key.columns 'id'", rows).assert_code(0);
    let columns = "(id INT, name STRING, list ARRAY<DOUBLE>, d DATE, m DECIMAL(10,2))";
    let mut read = select(broker, "g-avro", columns, "value.format 'avro'", "* FROM s");
    read.sort();
    assert_eq!(
        read,
        [
            r#"{"id":1,"name":"a","list":[1.5,null],"d":"2026-01-01","m":1.25}"#,
            r#"{"id":null,"name":null,"list":null,"d":null,"m":null}"#
        ]
    );
}

#[test]
fn what_is_written_with_a_key_is_read_again() {
    let broker = Broker::shared();
    let rows = "SELECT * FROM VALUES (1, 'a', 10), (2, 'b', 20) AS v(i, k, n)";
    let expected = [r#"{"i":1,"k":"a","n":10}"#, r#"{"i":2,"k":"b","n":20}"#];
    for (n, format) in ["avro", "csv", "json"].into_iter().enumerate() {
        for (m, include) in ["", ", value.fields-include 'EXCEPT_KEY'"].into_iter().enumerate() {
            let name = format!("g-again-{n}-{m}");
            broker.create(&name, 1, &[]);
            let options = format!("value.format '{format}', key.format '{format}', key.columns 'k'{include}");
            write(broker, &format!("topic '{name}'"), &options, rows).assert_code(0);
            assert_eq!(
                select(broker, &name, "(i SMALLINT, k STRING, n INT)", &options, "* FROM s"),
                expected,
                "{options}"
            );
        }
    }
}

#[test]
fn a_column_of_bad_records_is_the_same_whatever_is_asked_for() {
    let broker = Broker::shared();
    topic(broker, "f-corrupt", &[b"x", b"1", b"2,3"]);
    let columns = "(a INT, _corrupt_record STRING)";
    for format in ["csv", "json"] {
        let all = select(broker, "f-corrupt", columns, &format!("value.format '{format}'"), "* FROM s");
        let alone =
            select(broker, "f-corrupt", columns, &format!("value.format '{format}'"), "_corrupt_record AS c FROM s");
        let text = |lines: Vec<String>| {
            lines.into_iter().map(|l| l.rsplit(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text(all), text(alone), "{format}");
    }
}

#[test]
fn a_stream_with_a_watermark_has_the_columns_of_records() {
    let broker = Broker::shared();
    topic(broker, "f-marked", &[br#"{"at":"2026-01-01 00:00:01"}"#, br#"{"at":"2026-01-01 00:00:02"}"#]);
    let columns = "(at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL 10 SECONDS)";
    for more in ["", ", watermark.byPartition 'true'"] {
        let options = format!("value.format 'json'{more}");
        let rows = select(
            broker,
            "f-marked",
            columns,
            &options,
            "second(at) AS s, kafka_offset AS o, x.kafka_partition AS p FROM s x WHERE kafka_offset > 0",
        );
        assert_eq!(rows, [r#"{"s":2,"o":1,"p":0}"#]);
        assert_eq!(select(broker, "f-marked", columns, &options, "* FROM s").len(), 2);
    }
}

#[test]
fn a_query_upserts_by_key() {
    let broker = Broker::shared();
    topic(broker, "g-words", &[b"a b", b"a"]);
    broker.create("g-counts", 1, &[]);
    let dir = tempfile::tempdir().unwrap();
    let sql = format!(
        "CREATE STREAM s USING kafka OPTIONS (kafka.bootstrap.servers '{0}', subscribe 'g-words', startingOffsets 'earliest', value.format 'text', maxOffsetsPerTrigger 1);
         CREATE SINK o USING kafka OPTIONS (kafka.bootstrap.servers '{0}', topic 'g-counts', value.format 'json', key.format 'text', key.columns 'word');
         CREATE FLOW q OUTPUT MODE UPDATE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{1}' AS
         INSERT INTO o SELECT word, count(*) AS n FROM (SELECT explode(split(value, ' ')) AS word FROM s) GROUP BY word;",
        broker.servers(),
        dir.path().display()
    );
    run_to_end(["run", "-e", &sql]).assert_code(0);
    assert_eq!(
        texts(&broker.read(&["g-counts"])),
        [
            pair(Some("a"), r#"{"word":"a","n":1}"#),
            pair(Some("a"), r#"{"word":"a","n":2}"#),
            pair(Some("b"), r#"{"word":"b","n":1}"#)
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused_before_anything_starts() {
    let stream = |columns: &str, options: &str| {
        let sql = format!(
            "CREATE STREAM s {columns} USING kafka OPTIONS (kafka.bootstrap.servers '127.0.0.1:1', subscribe 't', {options});"
        );
        let ended = run_to_end(["run", "-e", &sql]);
        assert_ne!(ended.code, Some(0), "{options} is taken");
        ended.stderr
    };
    for (columns, options, condition, word) in [
        ("(a INT)", "value.format 'jsn'", "INVALID_OPTION", "did you mean 'json'?"),
        ("", "value.format 'json'", "UNABLE_TO_INFER_SCHEMA", "columns declared"),
        ("(a INT)", "value.format 'json', sep ','", "UNKNOWN_OPTION", "sep"),
        ("(a INT)", "value.format 'json', multiLine 'true'", "UNKNOWN_OPTION", "multiLine"),
        ("", "mode 'FAILFAST'", "UNKNOWN_OPTION", "mode"),
        ("(a INT)", "value.format 'json', key.format 'text'", "INVALID_OPTION", "key.columns"),
        ("(a INT)", "value.format 'json', key.columns 'a'", "INVALID_OPTION", "key.format"),
        ("(a INT)", "value.format 'json', key.format 'json', key.columns 'b'", "INVALID_OPTION", "declared columns"),
        ("(a INT)", "value.format 'text'", "INVALID_SCHEMA", "STRING"),
        ("(a ARRAY<INT>)", "value.format 'csv'", "UNSUPPORTED_DATATYPE", "'a'"),
        ("(a INT)", "value.format 'avro', avroSchema '{}'", "INVALID_SCHEMA", "Avro"),
        ("(a INT)", "value.format 'avro', schema.registry.url 'ftp://x'", "INVALID_OPTION", "URL"),
        ("", "value.format 'protobuf', descriptorFile '/nowhere', messageName 'a'", "INVALID_OPTION", "descriptorFile"),
        ("(op INT)", "value.format 'debezium-json'", "INVALID_SCHEMA", "'op'"),
        ("(a INT, kafka_offset INT)", "value.format 'json'", "INVALID_SCHEMA", "hidden"),
        ("(a INT)", "value.format 'json', key.format 'debezium-json', key.columns 'a'", "INVALID_OPTION", "key.format"),
        ("", "value.fields-include 'ALL'", "INVALID_OPTION", "value.format"),
        ("(a INT)", "failOnDataLoss 'true'", "INVALID_SCHEMA", "value.format"),
        ("(a INT)", "key.format 'json', key.columns 'a'", "INVALID_OPTION", "value.format"),
    ] {
        let told = stream(columns, options);
        assert!(told.contains(condition) && told.contains(word), "{columns} {options}:\n{told}");
    }
    let broker = Broker::shared();
    broker.create("g-refused", 1, &[]);
    for (topic, options, rows, condition, word) in [
        ("topic 'g-refused'", "value.format 'protobuf'", "SELECT 1 AS a", "INVALID_OPTION", "value.format"),
        ("topic 'g-refused'", "value.format 'json', header 'true'", "SELECT 1 AS a", "UNKNOWN_OPTION", "header"),
        ("topic 'g-refused'", "value.format 'raw'", "SELECT 1 AS a", "INVALID_SINK_SCHEMA", "raw"),
        ("topic 'g-refused'", "value.format 'csv'", "SELECT array(1) AS a", "UNSUPPORTED_DATA_TYPE", "CSV"),
        (
            "topic 'g-refused'",
            "value.format 'json', key.format 'json', key.columns 'b'",
            "SELECT 1 AS a",
            "INVALID_SINK_SCHEMA",
            "'b'",
        ),
        ("includeHeaders 'true'", "value.format 'json'", "SELECT 1 AS a", "INVALID_SINK_SCHEMA", "kafka_topic"),
        ("topic 'g-refused'", "value.format 'avro'", "SELECT 1 AS `a b`", "INVALID_COLUMN_NAME", "a b"),
    ] {
        let ended = write(broker, topic, options, rows);
        assert_ne!(ended.code, Some(0), "{options} is taken");
        assert!(ended.stderr.contains(condition) && ended.stderr.contains(word), "{options}:\n{}", ended.stderr);
    }
}

#[test]
fn avro_with_a_registry_is_read_and_written_as_confluent_does() {
    let broker = Broker::shared();
    let mut registry = Registry::new();
    // Two schemas of one topic: the second has a field more.
    let written = registry
        .python(
            r#"
import json
one = '{"type":"record","name":"o","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"]}]}'
two = '{"type":"record","name":"o","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"]},{"name":"n","type":"int","default":0}]}'
at = SerializationContext('r-in', MessageField.VALUE)
for schema, value in [(one, {"id": 1, "name": "a"}), (two, {"id": 2, "name": None, "n": 5})]:
    print(AvroSerializer(client, schema)(value, at).hex())
"#,
        )
        .unwrap();
    let mut values: Vec<Vec<u8>> = written.lines().map(unhex).collect();
    assert_eq!(values.len(), 2);
    values.extend([b"\0\0\0\x27\x0fxx".to_vec(), b"plain".to_vec()]);
    topic(broker, "r-in", &values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let options = format!("value.format 'avro', schema.registry.url '{}'", registry.url());
    let columns = "(id BIGINT, name STRING, n INT)";
    assert_eq!(
        select(broker, "r-in", columns, &options, "* FROM s"),
        [
            r#"{"id":1,"name":"a","n":null}"#,
            r#"{"id":2,"name":null,"n":5}"#,
            r#"{"id":null,"name":null,"n":null}"#,
            r#"{"id":null,"name":null,"n":null}"#
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let failed = flow(broker, dir.path(), "r-in", columns, &format!("{options}, badRecords 'fail'"), "* FROM s");
    assert!(failed.stderr.contains("the registry has no schema 9999"), "{}", failed.stderr);
    // Written by us, read by Confluent's client.
    broker.create("r-out", 1, &[]);
    let options = format!("{options}, key.format 'avro', key.columns 'id'");
    write(broker, "topic 'r-out'", &options, "SELECT CAST(7 AS BIGINT) AS id, 'x' AS name").assert_code(0);
    let read = broker.read(&["r-out"]);
    let hex: String = read[0].value.iter().flatten().map(|b| format!("{b:02x}")).collect();
    let script = format!(
        "print(AvroDeserializer(client)(bytes.fromhex('{hex}'), SerializationContext('r-out', MessageField.VALUE)))"
    );
    assert_eq!(registry.python(&script).unwrap(), "{'id': 7, 'name': 'x'}");
    assert_eq!(
        registry.python("print(sorted(client.get_subjects()))").unwrap(),
        "['r-in-value', 'r-out-key', 'r-out-value']"
    );
    // A registry that is away ends the query, which goes on when it is back.
    registry.kill();
    let dir = tempfile::tempdir().unwrap();
    let options = format!("value.format 'avro', schema.registry.url '{}'", registry.url());
    let failed = flow(broker, dir.path(), "r-in", columns, &options, "id FROM s WHERE kafka_offset < 2");
    failed.assert_code(1);
    assert!(failed.stderr.contains("SCHEMA_REGISTRY_FAILED"), "{}", failed.stderr);
    registry.start();
    flow(broker, dir.path(), "r-in", columns, &options, "id FROM s WHERE kafka_offset < 2").assert_code(0);
    assert_eq!(lines(&dir.path().join("out")), [r#"{"id":1}"#, r#"{"id":2}"#]);
    let secret = run_to_end([
        "run",
        "-e",
        &format!(
        "CREATE STREAM s (a INT) USING kafka OPTIONS (kafka.bootstrap.servers 'x', subscribe 't', value.format 'avro',
         schema.registry.url '{}', schema.registry.basic.auth.user.info 'hunter2');", registry.url()),
    ]);
    assert!(secret.stderr.contains("user.info") && !secret.stderr.contains("hunter2"), "{}", secret.stderr);
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}
