//! Directories in which something is wrong: what fails says how to go on, and nothing is left out without a word.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::process::{Ended, run_sql, run_to_end};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the directories above it.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn set_age(&self, name: &str, age: i64) {
        let file = fs::File::options().write(true).open(self.at(name)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        let seconds = Duration::from_secs(age.unsigned_abs());
        file.set_modified(if age < 0 { written + seconds } else { written - seconds }).unwrap();
    }

    /// Runs a script in which `$` is this directory.
    fn run(&self, sql: &str) -> Ended {
        run_to_end(["run", "-e", &sql.replace('$', &self.0.path().display().to_string())])
    }

    /// A flow over the JSON files of `in`, which prints `v`.
    fn flow(&self, options: &str) -> Ended {
        self.run(&format!(
            "CREATE STREAM s (v INT) USING json OPTIONS (path '$/in' {options});
             CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS SELECT v FROM s;"
        ))
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in\n{text}");
    }
}

#[test]
fn partition_folders_and_codecs_are_written_and_read() {
    for format in ["json", "csv", "parquet"] {
        for codec in ["none", "gzip", "zstd", "bzip2", "deflate", "lz4", "snappy"] {
            if format == "parquet" && ["bzip2", "deflate"].contains(&codec) {
                continue;
            }
            let dir = Dir::new();
            let write = format!(
                "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 10);
                 CREATE SINK out USING {format} PARTITIONED BY (d, m) OPTIONS (path '$/out', compression '{codec}');
                 CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck' AS
                   INSERT INTO out SELECT value AS v, value % 2 AS d, if(value > 7, NULL, concat('x/', value % 3)) AS m FROM s;"
            );
            // Two batches.
            dir.run(&write).assert_code(0);
            dir.run(&write).assert_code(0);
            assert!(dir.at("out/d=1/m=x%2F0").is_dir());
            assert!(dir.at("out/d=1/m=__HIVE_DEFAULT_PARTITION__").is_dir());
            let ended = dir.run(&format!(
                "CREATE TABLE t (v BIGINT) USING {format} OPTIONS (path '$/out');
                 SELECT count(*) AS n, sum(v) AS v, count(m) AS m, sum(d) AS d, typeof(first(d)) AS t FROM t;
                 SELECT v FROM t WHERE d = 1 AND m IS NULL;
                 CREATE STREAM again (v BIGINT) USING {format} OPTIONS (path '$/out');
                 CREATE FLOW g TRIGGER AVAILABLE NOW AS SELECT v + 100 AS w, m FROM again WHERE d = 0 AND m = 'x/2';"
            ));
            let ended = ended.assert_code(0);
            has(&ended.stdout, &["| 20|190|  8| 10|int|", "|  9|", "|102|x/2|"]);
        }
    }
}

#[test]
fn what_codecs_cannot_read_is_no_empty_file() {
    let dir = Dir::new();
    dir.write("in/a.json.gz", b"\x1f\x8b\x08damaged");
    let ended = dir.flow("");
    has(&ended.assert_code(1).stderr, &["FAILED_READ_FILE", "a.json.gz", "cannot be unpacked as gzip"]);
    let ended = dir.flow(", compression 'none', badRecords 'drop'");
    ended.assert_code(0);
}

#[test]
fn a_compressed_file_is_left_out_by_an_option_of_the_next_start() {
    for option in [", pathGlobFilter '*.json'", ", ignoreCorruptFiles 'true'"] {
        let dir = Dir::new();
        dir.write("in/a.json", "{\"v\": 1}\n").write("in/b.json.gz", b"\x1f\x8b\x08");
        for _ in 0..2 {
            let ended = dir.flow("");
            has(&ended.assert_code(1).stderr, &["b.json.gz", "pathGlobFilter", "ignoreCorruptFiles"]);
        }
        has(&dir.flow(option).assert_code(0).stdout, &["|  1|"]);
        dir.write("in/c.json", "{\"v\": 3}\n");
        has(&dir.flow(option).assert_code(0).stdout, &["|  3|"]);
    }
}

#[test]
fn a_damaged_file_is_left_out_by_an_option_of_the_next_start() {
    for option in [", pathGlobFilter '*.json.parquet'", ", ignoreCorruptFiles 'true'"] {
        let dir = Dir::new();
        let flow = |option: &str| {
            dir.run(&format!(
                "CREATE STREAM s (v INT) USING parquet OPTIONS (path '$/in' {option});
                 CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS SELECT v FROM s;"
            ))
        };
        dir.write("in/bad.parquet", "this is no Parquet file, however long it may be");
        for _ in 0..2 {
            has(&flow("").assert_code(1).stderr, &["FAILED_READ_FILE", "bad.parquet", "ignoreCorruptFiles"]);
        }
        let ended = flow(option);
        assert!(ended.assert_code(0).stderr.contains("bad.parquet") || option.contains("pathGlob"), "{}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_gone_is_left_out_by_an_option_of_the_next_start() {
    let dir = Dir::new();
    dir.write("in/a.json", "{\"v\": 1}\n").write("in/b.json", "bad\n");
    has(&dir.flow(", badRecords 'fail'").assert_code(1).stderr, &["b.json', line 1", "MALFORMED_RECORD"]);
    fs::remove_file(dir.at("in/b.json")).unwrap();
    has(&dir.flow("").assert_code(1).stderr, &["FILE_NOT_EXIST", "ignoreMissingFiles"]);
    let ended = dir.flow(", ignoreMissingFiles 'true'");
    has(&ended.assert_code(0).stdout, &["|  1|"]);
    has(&ended.stderr, &["b.json", "left out"]);
}

#[test]
fn a_batch_that_must_run_again_goes_on_without_its_file() {
    let dir = Dir::new();
    dir.write("in/a.json", "{\"v\": 1}\n").write("in/b.json", "{\"v\": 2}\n");
    let sql = "CREATE STREAM s (v INT) USING json OPTIONS (path '$/in', ignoreMissingFiles 'true');
               CREATE FLOW f OUTPUT MODE COMPLETE TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS SELECT sum(v) AS s FROM s;";
    let sql = sql.replace('$', &dir.0.path().display().to_string());
    let mut crash = super::process::command(["run", "-e", &sql]);
    crash.env("TIDEMILL_FAILPOINTS", "before_sink_commit=kill");
    let ended = super::process::Tidemill::start(&mut crash).ended();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    fs::remove_file(dir.at("in/b.json")).unwrap();
    let ended = run_to_end(["run", "-e", &sql]);
    has(&ended.assert_code(0).stderr, &["cannot be read again"]);
    dir.write("in/c.json", "{\"v\": 4}\n");
    has(&run_to_end(["run", "-e", &sql]).assert_code(0).stdout, &["|  7|"]);
}

#[test]
fn a_bad_record_is_named_by_file_and_line() {
    let dir = Dir::new();
    let lines: String =
        (0..20_000).map(|n| if n == 12_344 { "{bad\n".into() } else { format!("{{\"v\": {n}}}\n") }).collect();
    dir.write("in/a.json", lines);
    has(&dir.flow(", mode 'FAILFAST'").assert_code(1).stderr, &["MALFORMED_RECORD", "a.json', line 12345"]);
    let ended = dir.flow(", badRecords 'drop'");
    has(
        &ended.assert_code(0).stderr,
        &["1 bad record of stream 's', the first in file", "line 12345", "19999 rows in 1 batch"],
    );
}

#[test]
fn late_rows_are_in_the_log() {
    let dir = Dir::new();
    // A row is late by the watermark that the batch before it had.
    for (n, second) in ["01:00", "01:01", "00:01"].iter().enumerate() {
        let name = format!("in/{n}.json");
        dir.write(&name, format!("{{\"ts\": \"2026-01-01T00:{second}Z\"}}\n")).set_age(&name, 30 - n as i64);
    }
    let ended = dir.run(
        "CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL 1 SECOND) USING json OPTIONS (path '$/in', maxFilesPerTrigger 1);
         CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck'
         AS SELECT window(ts, '10 seconds') AS w, count(*) AS n FROM s GROUP BY window(ts, '10 seconds');",
    );
    has(
        &ended.assert_code(0).stderr,
        &["1 late row left out at stateStoreSave, older than the watermark 2026-01-01T00:00:59", "1 late row in all"],
    );
}

#[test]
fn what_a_directory_hides_is_said() {
    let dir = Dir::new();
    dir.write("in/a.json", "{\"v\": 1}\n");
    dir.flow("").assert_code(0);
    dir.write("in/a.json", "{\"v\": 1}\n{\"v\": 2}\n");
    has(&dir.flow("").assert_code(0).stderr, &["a.json", "have changed after they were read"]);

    dir.write("in/future.json", "{\"v\": 3}\n").set_age("in/future.json", -30 * 86_400);
    has(&dir.flow("").assert_code(0).stdout, &["|  3|"]);
    dir.write("in/b.json", "{\"v\": 4}\n");
    let ended = dir.flow("");
    has(&ended.assert_code(0).stderr, &["b.json", "maxFileAge", "future.json", "in the future"]);

    let nothing = dir.run(
        "CREATE STREAM s (v INT) USING json OPTIONS (path '$/none*/[x]');
         CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck2' AS SELECT v FROM s;",
    );
    has(&nothing.assert_code(0).stderr, &["there is no file at this path", "none*"]);
}

#[test]
fn names_that_are_patterns() {
    let dir = Dir::new();
    dir.write("in/a.json", "{\"v\": 1}\n");
    for (n, name) in ["x[1]", "y{a}", "z*", "w?"].into_iter().enumerate() {
        let ended = dir.run(&format!(
            "CREATE STREAM s (v INT) USING json OPTIONS (path '$/in');
             CREATE STREAMING TABLE t TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck{n}'
             USING json OPTIONS (path '$/{name}') AS SELECT v FROM s;
             AWAIT t;
             SELECT 'sum', sum(v) AS sum FROM t;
             CREATE TABLE u (v INT) USING json OPTIONS (path '$/{name}');
             SELECT 'again', count(*) AS n FROM u;"
        ));
        assert!(dir.at(name).is_dir(), "{}", ended.stderr);
        has(&ended.assert_code(0).stdout, &["|sum|  1|", "|again|  1|"]);
    }
    // What we did not write is a pattern.
    dir.write("p[1]/a.json", "{\"v\": 1}\n");
    let ended = dir.run("CREATE TABLE t (v INT) USING json OPTIONS (path '$/p[1]'); SELECT count(*) FROM t;");
    has(&ended.assert_code(2).stderr, &["PATH_NOT_FOUND", r"p\\[1\\]"]);
    let ended = dir.run(
        r"CREATE TABLE t (v INT) USING json OPTIONS (path '$/p\\[1\\]'); INSERT INTO t SELECT 5; SELECT sum(v) AS s FROM t;",
    );
    has(&ended.assert_code(0).stdout, &["|  6|"]);
}

#[test]
fn a_table_is_read_anew_by_a_running_flow() {
    let dir = Dir::new();
    dir.write("t/a.json", "{\"k\": 1}\n").write("in/a.json", "{\"v\": 1}\n");
    let sql = "CREATE STREAM s (v INT) USING json OPTIONS (path '$/in');
               CREATE TABLE t (k INT) USING json OPTIONS (path '$/t', refresh '1ms');
               CREATE FLOW f CHECKPOINT LOCATION '$/ck' AS SELECT v, k FROM s JOIN t ON s.v = t.k;";
    let mut tidemill = run_sql(&sql.replace('$', &dir.0.path().display().to_string()), &[]);
    tidemill.wait_for_stdout("|  1|  1|");
    dir.write("t/b.json", "{\"k\": 2}\n");
    fs::write(dir.at("in/.b"), "{\"v\": 2}\n").unwrap();
    fs::rename(dir.at("in/.b"), dir.at("in/b.json")).unwrap();
    tidemill.wait_for_stdout("|  2|  2|");
    tidemill.interrupted().assert_code(0);
}

#[test]
fn the_output_of_a_checkpoint_stays_what_it_is() {
    let dir = Dir::new();
    dir.write("in/a.json", "{\"v\": 1}\n");
    let write = |format: &str| {
        dir.run(&format!(
            "CREATE STREAM s (v INT) USING json OPTIONS (path '$/in');
             CREATE FLOW f USING {format} OPTIONS (path '$/out') TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck'
             AS SELECT v FROM s;"
        ))
    };
    write("csv").assert_code(0);
    dir.write("in/b.json", "{\"v\": 2}\n");
    let ended = write("json");
    has(&ended.assert_code(1).stderr, &["SINK_CHANGED", "writes csv to", "this one writes json"]);
    write("csv").assert_code(0);
    // The rows of two batches are gone, and the checkpoint will not give them again.
    fs::remove_dir_all(dir.at("out")).unwrap();
    dir.write("in/c.json", "{\"v\": 3}\n");
    let ended = write("csv");
    has(&ended.assert_code(1).stderr, &["SINK_BEHIND_CHECKPOINT", "no batch of this query", "batch 1"]);
}

#[test]
fn a_flow_has_no_zone_of_its_own() {
    let dir = Dir::new();
    let ended = dir.run(
        "CREATE STREAM r USING rate;
         CREATE FLOW f OPTIONS (spark.sql.session.timeZone 'Asia/Tokyo') AS SELECT hour(timestamp) FROM r;",
    );
    has(&ended.assert_code(2).stderr, &["UNSUPPORTED_FEATURE", "SET TIME ZONE"]);
}

const EVERYTHING: &str = "SELECT CAST(value AS INT) AS i, value AS l, CAST(value AS TINYINT) AS t, CAST(value AS SMALLINT) AS m, value / 2 AS d, CAST(value AS FLOAT) AS f, value % 2 = 0 AS b, if(value = 3, NULL, concat('x', value)) AS s, CAST('ab' AS BINARY) AS y, DATE '1500-01-01' + CAST(value AS INT) AS dt, TIMESTAMP '2020-01-05 10:11:12.5' AS ts FROM s";

#[test]
fn other_formats_are_written_and_read() {
    for (format, codecs) in [
        ("avro", &["none", "snappy", "deflate", "bzip2", "zstandard"][..]),
        ("orc", &["none", "snappy", "zlib", "lz4", "zstd"]),
        ("arrow", &[""]),
    ] {
        for codec in codecs {
            let dir = Dir::new();
            let option = if codec.is_empty() { String::new() } else { format!(", compression '{codec}'") };
            let ended = dir.run(&format!(
                "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 10);
                 CREATE SINK out USING {format} OPTIONS (path '$/out'{option});
                 CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck' AS INSERT INTO out {EVERYTHING};"
            ));
            ended.assert_code(0);
            let ended = dir.run(&format!(
                "CREATE TABLE t USING {format} OPTIONS (path '$/out');
                 SELECT count(*) AS n, sum(i) AS i, sum(l) AS l, sum(d) AS d, count(s) AS s, min(dt) AS dt, max(ts) AS ts, hex(max(y)) AS y FROM t WHERE b OR NOT b;
                 SELECT typeof(first(dt)) AS a, typeof(first(ts)) AS b, typeof(first(f)) AS c FROM t;
                 CREATE STREAM again (L BIGINT, gone STRING, s STRING) USING {format} OPTIONS (path '$/out');
                 CREATE FLOW g TRIGGER AVAILABLE NOW AS SELECT l + 100 AS w, gone, s FROM again WHERE l = 7;"
            ));
            let ended = ended.assert_code(0);
            has(
                &ended.stdout,
                &[
                    "| 10| 45| 45|22.5|  9|1500-01-01|2020-01-05 10:11:12.5|6162|",
                    "|date|timestamp|float|",
                    "|107|NULL| x7|",
                ],
            );
        }
    }
}

#[test]
fn nested_columns_are_written_and_read_as_avro_and_arrow() {
    for format in ["avro", "arrow"] {
        let dir = Dir::new();
        let ended = dir.run(&format!(
            "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 2);
             CREATE SINK out USING {format} OPTIONS (path '$/out');
             CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck' AS INSERT INTO out
               SELECT named_struct('x', value, 'd', CAST(-1.25 AS DECIMAL(12,3)), 'n', named_struct('x', 1)) AS st, array(value, NULL) AS a, map('k', array('v')) AS m,
               TIMESTAMP_NTZ '2020-01-05 10:11:12' AS z FROM s;
             "
        ));
        ended.assert_code(0);
        let ended = dir.run(&format!("CREATE TABLE t USING {format} OPTIONS (path '$/out'); SELECT * FROM t;"));
        has(&ended.assert_code(0).stdout, &["|{1, -1.250, {1}}|[1, NULL]|{k -> [v]}|2020-01-05 10:11:12|"]);
    }
}

#[test]
fn damaged_files_of_other_formats_are_named_or_left_out() {
    for format in ["avro", "orc", "arrow"] {
        let whole = Dir::new();
        let ended = whole.run(&format!(
            "CREATE STREAM s USING `rate-micro-batch` OPTIONS (rowsPerBatch 500);
             CREATE SINK out USING {format} OPTIONS (path '$/out');
             CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck' AS INSERT INTO out SELECT value AS v, concat('name ', value) AS s FROM s;"
        ));
        ended.assert_code(0);
        let is_file = |e: &fs::DirEntry| e.path().extension().is_some_and(|e| e == format);
        let file = fs::read_dir(whole.at("out")).unwrap().map(Result::unwrap).find(is_file).unwrap();
        let bytes = fs::read(file.path()).unwrap();
        let cuts = [1, 5, bytes.len() / 2, bytes.len() - 1];
        let damaged = cuts.map(|n| bytes[..n].to_vec()).into_iter().chain([b"no file of any format at all".to_vec()]);
        for damaged in damaged {
            let dir = Dir::new();
            dir.write(&format!("in/bad.{format}"), damaged);
            let sql = |option: &str| {
                format!(
                    "CREATE TABLE t (v BIGINT, s STRING) USING {format} OPTIONS (path '$/in'{option}); SELECT count(s) AS n FROM t;"
                )
            };
            has(
                &dir.run(&sql("")).assert_code(1).stderr,
                &["FAILED_READ_FILE", &format!("bad.{format}"), "ignoreCorruptFiles"],
            );
            has(&dir.run(&sql(", ignoreCorruptFiles 'true'")).assert_code(0).stdout, &["|"]);
        }
    }
}

#[test]
fn rows_say_which_file_they_come_from() {
    let dir = Dir::new();
    dir.write("in/k=1/a b.json", "{\"v\": 1}\n{\"v\": 2}\n").write("in/k=2/c%d.json", "{\"v\": 3}\n");
    let ended = dir.run(
        "CREATE TABLE t (v INT) USING json OPTIONS (path '$/in');
         SELECT * FROM t WHERE v = 3;
         SELECT v, _metadata.file_name, x._metadata.file_size AS z FROM t AS x WHERE _METADATA.file_block_start = 0 ORDER BY v;
         SELECT _metadata.file_name AS f, count(*) AS n FROM t GROUP BY _metadata.file_name ORDER BY f;
         SELECT a._metadata.file_name AS x, b._metadata.file_name AS y FROM t AS a JOIN t AS b ON a.v = b.v + 1 ORDER BY a.v;
         SELECT substring_index(input_file_name(), '/', -2) AS i, input_file_block_length() AS l FROM t WHERE v = 3;
         CREATE STREAM s (v INT) USING json OPTIONS (path '$/in');
         CREATE FLOW f TRIGGER AVAILABLE NOW AS SELECT v AS w, _metadata.file_name AS f, k FROM s WHERE v <> 2;",
    );
    let ended = ended.assert_code(0);
    has(
        &ended.stdout,
        &[
            "|  v|  k|\n",
            "|  1|a%20b.json| 18|",
            "|a%20b.json|  2|",
            "|a%20b.json|a%20b.json|",
            "|c%25d.json|a%20b.json|",
            "|k=2/c%25d.json|  9|",
            "|  3|c%25d.json|  2|",
        ],
    );
    for (sql, condition) in [
        ("SELECT _metadata.file_name FROM t AS a JOIN t AS b ON a.v = b.v", "AMBIGUOUS_REFERENCE"),
        ("SELECT input_file_name() FROM t AS a JOIN t AS b ON a.v = b.v", "MULTI_SOURCES_UNSUPPORTED_FOR_EXPRESSION"),
        ("SELECT _metadata.nope FROM t", "FIELD_NOT_FOUND"),
        ("SELECT _metadata FROM (SELECT 1 AS a)", "UNRESOLVED_COLUMN"),
        ("SELECT input_file_name() FROM (SELECT 1 AS a)", "UNSUPPORTED_FEATURE"),
    ] {
        let ended = dir.run(&format!("CREATE TABLE t (v INT) USING json OPTIONS (path '$/in'); {sql};"));
        has(&ended.assert_code(2).stderr, &[condition]);
    }
}

#[test]
fn what_a_star_gives_has_no_hidden_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, text) in [("one", "1,2\n"), ("two", "1,x\n")] {
        fs::create_dir(path(name)).unwrap();
        fs::write(dir.path().join(name).join("a.csv"), text).unwrap();
    }
    let tables = format!(
        "CREATE TABLE s (id INT, n INT) USING csv OPTIONS (path '{}');
         CREATE TABLE d (id INT, t STRING) USING csv OPTIONS (path '{}');",
        path("one"),
        path("two")
    );
    for (query, rows) in [
        ("SELECT s.*, s._metadata.file_name AS f FROM s", "|1|2|a.csv|"),
        ("SELECT d.*, s._metadata.file_name AS f FROM s JOIN d ON s.id = d.id", "|1|x|a.csv|"),
        ("SELECT count(*) AS c, struct(s.*) AS x, max(_metadata.file_size) AS m FROM s GROUP BY id, n", "|1|{1, 2}|4|"),
    ] {
        let ended = run_to_end(["run", "-e", &format!("{tables} {query}")]);
        let shown = ended.assert_code(0).stdout.replace(' ', "");
        assert!(shown.contains(&rows.replace(' ', "")), "{query}: {}", ended.stdout);
    }
}

#[test]
fn damaged_arrow_files_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    fs::create_dir(&input).unwrap();
    let table = format!("CREATE TABLE t (a INT, s STRING) USING arrow OPTIONS (path '{}'", input.display());
    let insert = format!("{table}); INSERT INTO t SELECT CAST(id AS INT), concat('row ', id) FROM range(100);");
    run_to_end(["run", "-e", &insert]).assert_code(0);
    let file = fs::read_dir(&input).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for at in (8..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x7f;
        fs::write(&file, bytes).unwrap();
        let read = format!("{table}, ignoreCorruptFiles true); SELECT count(*) AS n, max(s) AS m FROM t;");
        let ended = run_to_end(["run", "-e", &read]);
        assert!(ended.code == Some(0) || ended.stderr.contains("FAILED_READ_FILE"), "byte {at}: {}", ended.stderr);
        assert!(!ended.stderr.contains("ended early"), "byte {at}: {}", ended.stderr);
    }
}

#[test]
fn a_flow_does_not_read_what_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let sql = format!(
        "CREATE STREAM t (id INT) USING csv OPTIONS (path '{path}'); CREATE SINK k USING csv OPTIONS (path '{path}/');
         CREATE FLOW f AS INSERT INTO k SELECT id + 1 AS id FROM t"
    );
    let ended = run_to_end(["run", "-e", &sql]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("SINK_IN_USE"), "{}", ended.stderr);
}
