//! Kafka beside Spark: what a running Spark gives for topics, offsets, limits, restarts, lost records, options and sinks.
//!
//! A line of `tests/data/kafka/cases.jsonl` is a case: steps (topics that are made, written, deleted; runs of the query), the options of streams
//! and sink, and for each run what Spark did. Where `ours` stands, Tidemill is meant to do something else, and it says why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, Producer};
use serde_json::{Value, json};

use super::broker::{Broker, Out, PATIENCE};
use crate::process::{Ended, Tidemill, command};

/// The time of the first record of a case; each later one is a second later.
const FIRST_MS: i64 = 1_704_067_200_000;
/// Settings of the Java client that only make Spark fail sooner.
const ONLY_FOR_SPARK: [&str; 3] = ["kafka.default.api.timeout.ms", "kafka.request.timeout.ms", "kafka.max.block.ms"];
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace("${", "\\${"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A value of the data: a text, bytes in hexadecimal, or none.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        hex => {
            let hex = hex["b"].as_str().unwrap().as_bytes();
            let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
            Some(hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
        }
    }
}

/// The same back, as the data shows what was read.
fn shown(bytes: Option<&Vec<u8>>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => format!("x:{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()).into(),
    }
}

/// What a run did.
#[derive(Default)]
struct Run {
    error: Option<String>,
    stderr: String,
    batches: Vec<Vec<Value>>,
    types: Vec<String>,
    counts: Vec<usize>,
    progress: Vec<Value>,
}

struct Case<'a> {
    case: &'a Value,
    broker: &'a Broker,
    dir: tempfile::TempDir,
    prefix: String,
    records: i64,
    inputs: usize,
    outputs: usize,
    open: Option<BaseProducer>,
}

impl Case<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{p}", &self.prefix).replace("{b}", &self.broker.servers())
    }

    fn clean(&self, text: &str) -> String {
        text.replace(&self.prefix, "{p}").replace(&self.broker.servers(), "{b}")
    }

    fn records(&mut self, rows: &Value) -> Vec<Out> {
        let mut record = |row: &Value| {
            let time = row[4].as_i64().unwrap_or(FIRST_MS + 1000 * self.records);
            self.records += 1;
            let header = |h: &Value| (h[0].as_str().unwrap().to_owned(), bytes(&h[1]));
            Out {
                partition: row[0].as_i64().unwrap() as i32,
                key: bytes(&row[1]),
                value: bytes(&row[2]),
                headers: row[3].as_array().into_iter().flatten().map(header).collect(),
                time: Some(time),
            }
        };
        rows.as_array().unwrap().iter().map(&mut record).collect()
    }

    /// Changes the world outside.
    fn change(&mut self, step: &Value) {
        let topic = format!("{}{}", self.prefix, step[1].as_str().unwrap_or_default());
        match step[0].as_str().unwrap() {
            "topic" => {
                let config: Vec<_> = step[3].as_object().into_iter().flatten().collect();
                let config: Vec<_> = config.into_iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
                self.broker.create(&topic, step[2].as_i64().unwrap() as i32, &config);
            }
            "produce" => {
                let records = self.records(&step[2]);
                self.broker.produce(&topic, &records);
            }
            "partitions" => self.broker.add_partitions(&topic, step[2].as_u64().unwrap() as usize),
            "drop" => self.broker.delete(&topic),
            "delete" => {
                let offsets = step[2].as_object().unwrap().iter();
                let offsets: BTreeMap<_, _> = offsets.map(|(p, o)| (p.parse().unwrap(), o.as_i64().unwrap())).collect();
                self.broker.delete_before(&topic, &offsets);
            }
            "compact" => {
                let (most, begin) = (step[2].as_u64().unwrap() as usize, Instant::now());
                while self.broker.read(&[&topic]).len() > most {
                    assert!(begin.elapsed() < 2 * PATIENCE, "{topic} is not compacted");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            "txn" => {
                let topic = format!("{}{}", self.prefix, step[2].as_str().unwrap());
                let records = self.records(&step[3]);
                let producer = self.broker.producer(Some(&format!("{topic}-{}", self.records)));
                producer.begin_transaction().unwrap();
                self.broker.send(&producer, &topic, &records);
                match step[1].as_str().unwrap() {
                    "commit" => producer.commit_transaction(PATIENCE).unwrap(),
                    "abort" => producer.abort_transaction(PATIENCE).unwrap(),
                    _ => self.open = Some(producer),
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            "txn_end" => {
                let producer = self.open.take().unwrap();
                match step[1].as_str().unwrap() {
                    "commit" => producer.commit_transaction(PATIENCE).unwrap(),
                    _ => producer.abort_transaction(PATIENCE).unwrap(),
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            "input" => {
                let dir = self.dir.path().join("in");
                fs::create_dir_all(&dir).unwrap();
                let lines: String = step[1].as_array().unwrap().iter().map(|row| format!("{row}\n")).collect();
                let file = dir.join(format!("{:03}.json", self.inputs));
                let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.inputs as u64);
                fs::write(file.with_extension("tmp"), lines).unwrap();
                fs::File::options().append(true).open(file.with_extension("tmp")).unwrap().set_modified(time).unwrap();
                fs::rename(file.with_extension("tmp"), &file).unwrap();
                self.inputs += 1;
            }
            other => panic!("no step '{other}'"),
        }
    }

    fn options(&self, options: &Value) -> String {
        let given = options.as_object().unwrap();
        let servers = (!given.contains_key("-servers")).then(|| ("kafka.bootstrap.servers", self.broker.servers()));
        let own = given.iter().filter(|(key, value)| !key.starts_with('-') && !value.is_null());
        let own = own.filter(|(key, _)| !ONLY_FOR_SPARK.contains(&key.as_str()));
        let own = own.map(|(key, value)| (key.as_str(), self.fill(value.as_str().unwrap())));
        let all: Vec<_> =
            servers.into_iter().chain(own).map(|(k, v)| format!("{} = {}", quote(k), quote(&v))).collect();
        if all.is_empty() { String::new() } else { format!(" OPTIONS ({})", all.join(", ")) }
    }

    fn output(&self) -> std::path::PathBuf {
        self.dir.path().join(format!("out{}", self.outputs))
    }

    /// The script of a run; `change` replaces parts of the case.
    fn script(&mut self, change: &Value, trigger: &str, is_batch: bool) -> String {
        self.outputs += 1;
        let (case, dir) = (self.case, self.dir.path().display().to_string());
        let mut script = String::new();
        for (name, options) in case["src"].as_object().unwrap() {
            let mut options = options.clone();
            for (key, value) in change["src"].as_object().into_iter().flatten() {
                options[key] = value.clone();
            }
            let is_table = is_batch || texts(&case["static"]).contains(&name.as_str());
            let kind = if is_table { "TABLE" } else { "STREAM" };
            script += &format!("CREATE {kind} {name} USING kafka{};\n", self.options(&options));
        }
        if let Some(columns) = case["fcols"].as_str() {
            let (kind, limit) = if is_batch { ("TABLE", "") } else { ("STREAM", ", maxFilesPerTrigger '1'") };
            script += &format!("CREATE {kind} f ({columns}) USING json OPTIONS (path '{dir}/in'{limit});\n");
        }
        let sql = self.fill(change["sql"].as_str().or(case["sql"].as_str()).unwrap());
        let mode = change["mode"].as_str().or(case["mode"].as_str()).unwrap();
        let flow = format!("CREATE FLOW q OUTPUT MODE {mode} {trigger} CHECKPOINT LOCATION '{dir}/checkpoint' AS");
        if !case["sink"].is_null() {
            script += &format!("CREATE SINK k USING kafka{};\n", self.options(&case["sink"]));
            script += &match is_batch {
                true => format!("INSERT INTO k {sql};"),
                false => format!("{flow} INSERT INTO k {sql};"),
            };
            return script;
        }
        script += &format!(
            "CREATE SINK out USING json OPTIONS (path '{}', ignoreNullFields 'false');\n",
            self.output().display()
        );
        let columns: Vec<_> = case["columns"].as_array().into_iter().flatten().filter_map(|c| c[0].as_str()).collect();
        let columns = if columns.is_empty() { vec!["offset"] } else { columns };
        let with_types = case["check"].as_str().unwrap().contains("types");
        let cells = columns.iter().enumerate().map(|(i, name)| match with_types {
            true => format!("CAST(`{name}` AS STRING) AS c{i}, typeof(`{name}`) AS t{i}"),
            false => format!("CAST(`{name}` AS STRING) AS c{i}"),
        });
        let cells = cells.collect::<Vec<_>>().join(", ");
        script += &match is_batch {
            true => format!("INSERT INTO out SELECT 0 AS b, {cells} FROM ({sql}) AS batch;"),
            false => format!(
                "{flow} {sql} FOREACH BATCH BEGIN INSERT INTO out SELECT batch_id() AS b, {cells} FROM batch; END;"
            ),
        };
        script
    }

    /// The rows that came out, a line each.
    fn lines(&self) -> Vec<Value> {
        let files = fs::read_dir(self.output()).into_iter().flatten().map(|e| e.unwrap().path());
        let files: BTreeSet<_> = files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        let text = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn run(&mut self, change: &Value, trigger: &str, steps: Option<&Value>, is_batch: bool) -> Run {
        let script = self.script(change, trigger, is_batch);
        let path = self.dir.path().join("p.sql");
        fs::write(&path, script).unwrap();
        let mut running = Tidemill::start(&mut command(["run", "--progress-json", path.to_str().unwrap()]));
        let mut run = Run::default();
        let ended = match steps {
            None => running.ended(),
            Some(steps) => {
                for step in steps.as_array().unwrap() {
                    match step[0].as_str().unwrap() {
                        "rows" => {
                            let (wanted, begin) = (step[1].as_u64().unwrap() as usize, Instant::now());
                            while self.lines().len() < wanted && begin.elapsed() < PATIENCE && running.is_running() {
                                std::thread::sleep(Duration::from_millis(50));
                            }
                            std::thread::sleep(Duration::from_millis(300));
                            run.counts.push(self.lines().len());
                        }
                        "still" => {
                            std::thread::sleep(Duration::from_secs(step[1].as_u64().unwrap()));
                            run.counts.push(self.lines().len());
                        }
                        _ => self.change(step),
                    }
                }
                running.interrupted()
            }
        };
        self.judge_output(&mut run, &ended);
        run
    }

    fn judge_output(&self, run: &mut Run, ended: &Ended) {
        run.stderr = self.clean(&ended.stderr);
        if ended.code != Some(0) {
            let condition = ended.stderr.split("error[").nth(1).and_then(|rest| rest.split(']').next());
            run.error = Some(condition.unwrap_or("no condition").to_owned());
        }
        let mut done = BTreeSet::new();
        for line in ended.stderr.lines().filter(|line| line.starts_with('{') && line.contains("\"batchId\"")) {
            let progress: Value = serde_json::from_str(&self.clean(line)).unwrap();
            let of = |s: &Value| json!([s["startOffset"], s["endOffset"], s["latestOffset"], s["metrics"]]);
            let sources: Vec<_> = progress["sources"].as_array().unwrap().iter().map(of).collect();
            if done.insert(progress["batchId"].as_u64()) && sources.iter().any(|s| s[0] != s[1]) {
                run.progress.push(sources.into());
            }
        }
        let mut batches: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for line in self.lines() {
            let cells = |name: &str| (0..).map_while(|i| line.get(format!("{name}{i}"))).cloned().collect::<Vec<_>>();
            let texts = |v: Value| match v {
                Value::String(text) => Value::String(self.clean(&text)),
                other => other,
            };
            run.types = cells("t").iter().map(|t| t.as_str().unwrap().to_owned()).collect();
            batches
                .entry(line["b"].as_u64().unwrap_or_default())
                .or_default()
                .push(cells("c").into_iter().map(texts).collect());
        }
        run.batches = batches.into_values().collect();
    }

    /// All steps; what is not as Spark did it, and for each run whether Spark and Tidemill failed.
    fn differences(&mut self) -> (Vec<String>, Vec<(bool, bool)>) {
        let trigger = if self.case["trigger"] == "once" { "TRIGGER ONCE" } else { "TRIGGER AVAILABLE NOW" };
        let (mut found, mut errors) = (vec![], vec![]);
        let (mut wanted, mut failed) = (texts_of(&self.case["want"]).into_iter(), false);
        for step in self.case["steps"].as_array().unwrap().clone() {
            let change = step.get(1).filter(|c| c.is_object()).cloned().unwrap_or_default();
            let run = match step[0].as_str().unwrap() {
                "run" => self.run(&change, trigger, None, false),
                "live" => self.run(&Value::Null, "", Some(&step[1]), false),
                "batch" => self.run(&change, "", None, true),
                "read" => {
                    let want = wanted.next().unwrap();
                    found.extend(self.read_difference(&step, &want, failed));
                    continue;
                }
                _ => {
                    self.change(&step);
                    continue;
                }
            };
            let want = wanted.next().unwrap();
            failed |= want.get("error").is_some();
            errors.push((want.get("error").is_some(), run.error.is_some()));
            found.extend(difference(self.case, &want, &run));
        }
        (found, errors)
    }

    fn read_difference(&self, step: &Value, want: &Value, failed: bool) -> Option<String> {
        let topics: Vec<_> = texts(step)[1..].iter().map(|topic| format!("{}{topic}", self.prefix)).collect();
        let read = self.broker.read(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        let headers = |r: &super::broker::Read| match r.headers.is_empty() {
            true => Value::Null,
            false => r.headers.iter().map(|(name, value)| json!([name, shown(value.as_ref())])).collect(),
        };
        let of = |r: &super::broker::Read| {
            json!([self.clean(&r.topic), r.partition, shown(r.key.as_ref()), shown(r.value.as_ref()), headers(r)])
        };
        let got: Vec<_> = read.iter().map(of).collect();
        let (got, want) = (sorted(&got), sorted(want["read"].as_array().unwrap()));
        // What Spark had written before it failed need not be there.
        let is_part = got.iter().all(|record| want.contains(record));
        (got != want && !(failed && is_part)).then(|| format!("records {got:?}, not {want:?}"))
    }
}

fn texts_of(values: &Value) -> Vec<Value> {
    values.as_array().cloned().unwrap_or_default()
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

/// What a run did otherwise than Spark.
fn difference(case: &Value, want: &Value, run: &Run) -> Option<String> {
    if let Some(error) = want["error"].as_str() {
        let Some(ours) = &run.error else { return Some(format!("no error, where Spark has {error}")) };
        let said = run.stderr.to_lowercase();
        let is_said = |word: &&str| word.split('|').any(|word| said.contains(&word.to_lowercase()));
        let lacks: Vec<_> = texts(&case["words"]).into_iter().filter(|word| !is_said(word)).collect();
        let is_spelled = error.starts_with("KAFKA_") && ours.split('.').next() != error.split('.').next();
        return (!lacks.is_empty() || is_spelled).then(|| format!("{ours} for {error}, without {lacks:?}: {said}"));
    }
    if let Some(error) = &run.error {
        return Some(format!("{error}, where Spark has rows: {}", run.stderr));
    }
    let batches = |all: &[Vec<Value>]| all.iter().map(|rows| sorted(rows)).collect::<Vec<_>>();
    let want_batches: Vec<Vec<Value>> = texts_of(&want["batches"]).iter().map(texts_of).collect();
    let check = case["check"].as_str().unwrap();
    let same = match check.contains("total") {
        true => sorted(&run.batches.concat()) == sorted(&want_batches.concat()),
        false => batches(&run.batches) == batches(&want_batches),
    };
    if case["sink"].is_null() && !same {
        return Some(format!("batches {:?}, not {want_batches:?}", run.batches));
    }
    let counts: Vec<_> = texts_of(&want["counts"]).iter().map(|n| n.as_u64().unwrap() as usize).collect();
    if run.counts != counts {
        return Some(format!("counts {:?}, not {counts:?}", run.counts));
    }
    if check.contains("types") {
        let types: Vec<_> = texts_of(&case["columns"]).iter().map(|c| c[1].as_str().unwrap().to_owned()).collect();
        if run.types != types {
            return Some(format!("types {:?}, not {types:?}", run.types));
        }
    }
    let moved = |sources: &Value| sources.as_array().unwrap().iter().any(|s| s[0] != s[1]);
    let progress: Vec<_> = texts_of(&want["progress"]).into_iter().filter(moved).collect();
    (check.contains("progress") && run.progress != progress)
        .then(|| format!("progress {:?}, not {progress:?}", run.progress))
}

#[test]
fn topics_are_read_and_written_as_spark_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka/cases.jsonl");
    let cases: Vec<Value> =
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let only = std::env::var("TIDEMILL_KAFKA_CASE").unwrap_or_default();
    let cases: Vec<_> = cases.iter().filter(|c| c["id"].as_str().unwrap().contains(&only)).collect();
    let (broker, next, wrong) = (Broker::shared(), AtomicUsize::new(0), Mutex::new(vec![]));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let id = case["id"].as_str().unwrap();
            let prefix = format!("{id}--");
            let dir = tempfile::tempdir().unwrap();
            let mut run = Case { case, broker, dir, prefix, records: 0, inputs: 0, outputs: 0, open: None };
            let (differences, errors) = run.differences();
            // What Tidemill does instead, where it is meant to.
            let is_meant = match case["ours"][0].as_str() {
                Some("error") => errors.iter().any(|(_, ours)| *ours),
                Some("rows") => errors.iter().all(|(_, ours)| !ours),
                Some("steps") => errors.iter().all(|(spark, ours)| spark == ours),
                _ => false,
            };
            if !differences.is_empty() && !is_meant {
                wrong.lock().unwrap().push(format!("{id} ({}): {}", case["title"], differences.join("; ")));
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
