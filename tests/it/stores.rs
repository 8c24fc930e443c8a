//! Streams, tables and sinks in an object store: a real S3 server, whose answers get lost, which refuses requests and goes away.
//!
//! The server is Python's moto, which `tests/run` installs; `TIDEMILL_MOTO` names another Python that has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Ended, Tidemill, command, run_to_end};

struct S3 {
    child: Child,
    port: u16,
    scratch: tempfile::TempDir,
}

/// The Python that `tests/run` has installed what tests need into.
pub fn python() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    std::env::var("TIDEMILL_MOTO")
        .map_or_else(|_| PathBuf::from(home).join(".cache/tidemill/moto/bin/python"), PathBuf::from)
}

impl S3 {
    /// A server of its own for each test, with the bucket `bkt`.
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/s3.py");
        let started = Command::new(python()).arg(script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = started.unwrap_or_else(|e| panic!("{}: {e}; tests/run installs it", python().display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server says its port");
        let s3 = Self { child, port, scratch: tempfile::tempdir().unwrap() };
        s3.request("PUT", "/bkt", b"");
        s3
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let sign =
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nAuthorization: {sign}\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        socket.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = vec![];
        socket.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.") && answer[9] == b'2', "{}", String::from_utf8_lossy(&answer));
        let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(body)
    }

    fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        self.request("PUT", &format!("/bkt/{key}"), body.as_ref());
    }

    fn fault(&self, kind: &str, method: &str, path: &str, count: u32) {
        let fault = format!(r#"{{"kind":"{kind}","method":"{method}","path":"{path}","count":{count}}}"#);
        self.request("POST", "/--fault--", fault.as_bytes());
    }

    /// The keys that contain a text.
    fn keys(&self, part: &str) -> Vec<String> {
        let listed = String::from_utf8(self.request("GET", "/bkt?list-type=2&max-keys=10000", b"")).unwrap();
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap_or_default().to_owned());
        keys.filter(|key| key.contains(part)).collect()
    }

    /// Uploads in parts that are neither complete nor abandoned.
    fn open_uploads(&self) -> usize {
        let listed = String::from_utf8(self.request("GET", "/bkt?uploads", b"")).unwrap();
        listed.matches("<UploadId>").count()
    }

    /// A script in which `$` is a local folder and `%` the options of the store.
    fn script(&self, sql: &str) -> String {
        let options = format!(
            "s3.endpoint 'http://127.0.0.1:{}', s3.accessKeyId 'test', s3.secretAccessKey 'very-secret', storeTimeout '3 seconds'",
            self.port
        );
        sql.replace('$', &self.scratch.path().display().to_string()).replace('%', &options)
    }

    fn run(&self, sql: &str) -> Ended {
        run_to_end(["run", "-e", &self.script(sql)])
    }

    fn start_program(&self, sql: &str, failpoints: &str) -> Tidemill {
        let sql = self.script(sql);
        Tidemill::start(command(["run", "-e", &sql]).env("TIDEMILL_FAILPOINTS", failpoints))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}

#[track_caller]
fn failed(ended: &Ended) -> &Ended {
    assert!(ended.code.is_some_and(|code| code > 0), "{ended:?}");
    ended
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    // Cells are padded.
    let packed = text.replace(' ', "");
    for part in parts {
        assert!(text.contains(part) || packed.contains(part), "no '{part}' in\n{text}");
    }
    assert!(!text.contains("very-secret"), "{text}");
}

#[test]
fn files_are_read_from_a_store() {
    let s3 = S3::start();
    for i in 0..5 {
        s3.put(&format!("in/{i}.json"), format!("{{\"v\":{i}}}\n"));
        s3.put(&format!("parts/k={}/m=x%252F{i}/f.csv", i % 2), format!("{i}\n"));
    }
    s3.put("in/_hidden.json", "{\"v\":100}\n");
    s3.put("in/sub/below.json", "{\"v\":200}\n");
    s3.fault("503", "GET", "", 3);
    let ended = s3.run(
        "CREATE TABLE t (v INT) USING json OPTIONS (path 's3a://bkt/in', %);
         SELECT count(*) AS n, sum(v) AS s FROM t;
         CREATE TABLE one USING json OPTIONS (path 's3://bkt/in/3.json', %);
         SELECT v + 1000 AS one FROM one;
         CREATE TABLE some (v INT) USING json OPTIONS (path 's3://bkt/in/[1-2]*.json', %);
         SELECT sum(v) + 2000 AS some FROM some;
         CREATE TABLE p (v INT) USING csv OPTIONS (path 's3://bkt/parts', %);
         SELECT k, m, v FROM p WHERE k = 1 ORDER BY v;
         DESCRIBE p;
         CREATE STREAM s (v INT) USING json OPTIONS (path 's3://bkt/in', maxFilesPerTrigger 2, recursiveFileLookup 'true', %);
         CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS SELECT v + 3000 AS w FROM s;
         SHOW STREAMS;",
    );
    ended.assert_code(0);
    has(&ended.stdout, &["|5|10|", "|1003|", "|2003|", "x/1", "x/3", "*****", "3200", "Batch: 2"]);
    // What was read is not read again; what changed is noticed, and so is what has gone.
    s3.put("in/5.json", "{\"v\":5}\n");
    let flow = "CREATE STREAM s (v INT) USING json OPTIONS (path 's3://bkt/in', maxFilesPerTrigger 2, recursiveFileLookup 'true', %);
                CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS SELECT v + 3000 AS w FROM s;";
    let ended = s3.run(flow);
    has(&ended.assert_code(0).stdout, &["3005"]);
    assert!(!ended.stdout.contains("3004"), "{}", ended.stdout);
}

#[test]
fn what_is_wrong_is_told_in_time_and_without_secrets() {
    let mut s3 = S3::start();
    let table = "CREATE TABLE t (v INT) USING json OPTIONS (path 's3://bkt/in', %); SELECT * FROM t;";
    s3.put("in/1.json", "{\"v\":1}\n");
    s3.fault("403", "GET", "/bkt/in/1.json", 1);
    has(&failed(&s3.run(table)).stderr, &["STORE_IO", "s3://bkt/in/1.json"]);
    has(&failed(&s3.run(&table.replace("s3://bkt", "s3://other"))).stderr, &["STORE_IO", "s3://other"]);
    let flow = "CREATE FLOW f CHECKPOINT LOCATION 's3://bkt/ck' AS SELECT * FROM STREAM(s)";
    let stream = "CREATE STREAM s (v INT) USING json OPTIONS (path 's3://bkt/in', %);";
    has(&s3.run(&format!("{stream}{flow}")).stderr, &["UNSUPPORTED_FILE_SYSTEM", "checkpoint"]);
    has(&s3.run("CREATE TABLE t (v INT) USING json OPTIONS (path 'hdfs://n/in')").stderr, &["hdfs://", "s3://"]);
    let unknown = "CREATE TABLE t (v INT) USING json OPTIONS (path '$', s3.region 'x')";
    has(&s3.run(unknown).stderr, &["INVALID_OPTION", "s3.region"]);
    s3.kill();
    let start = Instant::now();
    has(&failed(&s3.run(table)).stderr, &["STORE_IO", "storeTimeout"]);
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

const COPY: &str = "CREATE STREAM numbers (n BIGINT) USING csv OPTIONS (path 's3://bkt/in', maxFilesPerTrigger 1, %);
     CREATE SINK copy USING json OPTIONS (path 's3://bkt/out', %);
     CREATE FLOW f TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '$/ck' AS INSERT INTO copy SELECT n FROM numbers;";
const COUNT: &str = "CREATE TABLE copy (n BIGINT) USING json OPTIONS (path 's3://bkt/out', %);
     SELECT count(*) AS n, sum(n) AS s, count(DISTINCT n) AS d FROM copy;";

#[test]
fn a_copy_is_exact_over_kills_lost_answers_and_refusals() {
    let s3 = S3::start();
    for file in 0..4 {
        s3.put(&format!("in/{file}.csv"), (file * 10..file * 10 + 10).map(|n| format!("{n}\n")).collect::<String>());
    }
    for point in ["storesink.intended", "storesink.put", "filesink.staged", "storesink.logged", "after_sink_commit"] {
        let ended = s3.start_program(COPY, &format!("{point}=kill")).ended();
        assert_eq!(ended.code, None, "{point}: {}", ended.stderr);
    }
    s3.fault("lost", "PUT", "/log/", 1);
    s3.fault("503", "PUT", "", 2);
    // A batch whose put is in doubt may end the run; the next one goes on.
    let _ = s3.run(COPY);
    s3.run(COPY).assert_code(0);
    has(&s3.run(COUNT).assert_code(0).stdout, &["|40|780|40|"]);
    let rows = s3.keys("out/part-");
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(s3.keys("/staged/").len() <= 1);
    // A stream reads it as it is.
    let stream = "CREATE STREAM s (n BIGINT) USING json OPTIONS (path 's3://bkt/out', %);
                  CREATE FLOW g TRIGGER AVAILABLE NOW AS SELECT n + 5000 AS w FROM s WHERE n = 39;";
    has(&s3.run(stream).assert_code(0).stdout, &["5039"]);
}

#[test]
fn rows_are_inserted_into_tables_and_sinks_and_large_files_go_in_parts() {
    let s3 = S3::start();
    let ended = s3.run(
        "CREATE TABLE t (k INT, v STRING) USING parquet PARTITIONED BY (k) OPTIONS (path 's3://bkt/t', %);
         INSERT INTO t VALUES (1, 'a'), (2, 'b');
         INSERT INTO t VALUES (1, 'c');
         SELECT count(*) AS n, count(DISTINCT k) AS k FROM t;
         CREATE SINK out USING parquet OPTIONS (path 's3://bkt/out', compression 'none', %);
         INSERT INTO out SELECT id, sha2(CAST(id AS STRING), 512) AS h FROM range(200000);",
    );
    has(&ended.assert_code(0).stdout, &["|3|2|"]);
    let ended = s3.run(
        "CREATE TABLE back USING parquet OPTIONS (path 's3://bkt/out', %);
         SELECT count(*) AS n, sum(id) AS s, count(DISTINCT h) AS h FROM back;
         SELECT h = sha2('77', 512) AS same FROM back WHERE id = 77;",
    );
    has(&ended.assert_code(0).stdout, &["|200000|19999900000|200000|", "true"]);
    assert_eq!(s3.keys("t/k=1/").len(), 2);
    assert_eq!(s3.open_uploads(), 0);
    // Killed with an upload in parts begun: who comes next abandons it.
    let flow = "CREATE STREAM r USING `rate-micro-batch` OPTIONS (rowsPerBatch 300000);
                CREATE SINK big USING parquet OPTIONS (path 's3://bkt/big', compression 'none', %);
                CREATE FLOW f TRIGGER ONCE CHECKPOINT LOCATION '$/ck' AS
                  INSERT INTO big SELECT value AS id, sha2(CAST(value AS STRING), 512) AS h FROM r;";
    assert_eq!(s3.start_program(flow, "storesink.intended=kill").ended().code, None);
    // One for each partition of the plan.
    assert!(s3.open_uploads() >= 1);
    s3.run(flow).assert_code(0);
    assert_eq!(s3.open_uploads(), 0);
    let once = "CREATE TABLE big USING parquet OPTIONS (path 's3://bkt/big', %);
                SELECT count(*) = count(DISTINCT id) AND count(*) >= 300000 AS once FROM big;";
    has(&s3.run(once).assert_code(0).stdout, &["true"]);
}

#[test]
fn a_server_that_goes_away_ends_the_query_in_time() {
    let mut s3 = S3::start();
    s3.put("in/0.csv", "1\n");
    let flow = COPY.replace("TRIGGER AVAILABLE NOW", "TRIGGER EVERY 100 MILLISECONDS");
    let program = s3.start_program(&flow, "");
    super::process::eventually("a batch", || !s3.keys("out/part-").is_empty());
    s3.kill();
    let start = Instant::now();
    let ended = program.ended();
    has(&failed(&ended).stderr, &["STORE_IO"]);
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

#[test]
fn two_writers_of_one_output_the_earlier_one_is_told() {
    let s3 = S3::start();
    s3.put("in/0.csv", "1\n");
    let flow = COPY.replace("TRIGGER AVAILABLE NOW", "TRIGGER EVERY 100 MILLISECONDS");
    let first = s3.start_program(&flow, "");
    super::process::eventually("a batch", || !s3.keys("out/part-").is_empty());
    // The same query from a copy of its checkpoint, as on another machine.
    let copied =
        Command::new("cp").arg("-r").arg(s3.scratch.path().join("ck")).arg(s3.scratch.path().join("ck2")).status();
    assert!(copied.unwrap().success());
    let second = s3.start_program(&flow.replace("$/ck", "$/ck2"), "");
    super::process::eventually("a second writer", || s3.keys("/log/").len() >= 3);
    s3.put("in/1.csv", "2\n");
    let ended = first.ended();
    has(&failed(&ended).stderr, &["SINK_FENCED", "s3://bkt/out"]);
    super::process::eventually("the second batch", || s3.run(COUNT).stdout.replace(' ', "").contains("|2|3|2|"));
    drop(second);
    has(&s3.run(COUNT).assert_code(0).stdout, &["|2|3|2|"]);
}

/// A web server of one file, `/data/x.csv`, with ranges.
fn web_server(body: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(socket) = socket else { return };
            std::thread::spawn(move || serve(socket, body));
        }
    });
    port
}

fn serve(socket: TcpStream, body: &str) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let (line, all) = (head.lines().next()?, body.len());
        let range = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let (from, to) = match &range {
            Some(range) => {
                let (from, to) = range.split_once('-')?;
                (from.parse().ok()?, to.parse().map_or(all, |to: usize| (to + 1).min(all)))
            }
            None => (0, all),
        };
        let times = "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\nETag: \"1\"\r\nConnection: keep-alive";
        let answer = match line.split(' ').nth(1)? {
            "/data/x.csv" if range.is_some() => format!(
                "HTTP/1.1 206 Partial Content\r\n{times}\r\nContent-Range: bytes {from}-{}/{all}\r\nContent-Length: {}\r\n\r\n",
                to - 1,
                to - from
            ),
            "/data/x.csv" => format!("HTTP/1.1 200 OK\r\n{times}\r\nContent-Length: {all}\r\n\r\n"),
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        let has_body = line.starts_with("GET") && !answer.contains("404");
        (&socket).write_all(answer.as_bytes()).ok()?;
        if has_body {
            (&socket).write_all(&body.as_bytes()[from..to]).ok()?;
        }
    }
}

#[test]
fn a_file_is_read_from_a_web_server() {
    let port = web_server("1,a\n2,b\n");
    let read = |path: &str| {
        let sql = format!(
            "CREATE TABLE t (n INT, s STRING) USING csv OPTIONS (path 'http://127.0.0.1:{port}/{path}', storeTimeout '2 seconds');
             SELECT sum(n) + 500 AS n, max(s) AS s FROM t;
             CREATE STREAM w (n INT, s STRING) USING csv OPTIONS (path 'http://127.0.0.1:{port}/{path}', storeTimeout '2 seconds');
             CREATE FLOW f TRIGGER AVAILABLE NOW AS SELECT n + 700 AS n FROM w;"
        );
        run_to_end(["run", "-e", &sql])
    };
    has(&read("data/x.csv").assert_code(0).stdout, &["503", "701", "702"]);
    has(&read("data/{x,y}.csv").assert_code(0).stdout, &["503", "702"]);
    has(&read("data/y.csv").stderr, &["PATH_NOT_FOUND", "/data/y.csv"]);
    let sink = format!("CREATE SINK s USING csv OPTIONS (path 'http://127.0.0.1:{port}/out')");
    has(&run_to_end(["run", "-e", &sink]).stderr, &["UNSUPPORTED_FILE_SYSTEM"]);
}
