//! Files beside Spark: what a running Spark 4.3 gives for several hundred small files of every format, and what it writes.
//!
//! A line of `tests/data/files/cases.jsonl` is a case: files, columns, options, a query over the table `s`, and the rows that Spark gave
//! (each value as a text), the files that its sink wrote, or that it failed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tidemill::arrow::array::{Array, RecordBatch};
use tidemill::arrow::util::display::array_value_to_string;
use tidemill::{Session, StatementResult};

/// A file of the data: `cases.jsonl`, or `known.txt` with the cases whose result is another than Spark's, and why.
fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/files").join(name);
    fs::read_to_string(path).unwrap()
}

type Rows = Vec<Vec<Option<String>>>;

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n").replace('\r', "\\r"))
}

fn options(options: &Value, path: &str) -> String {
    let given = options.as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap()));
    let all = [("path", path)].into_iter().chain(given).map(|(k, v)| format!("{} = {}", quote(k), quote(v)));
    format!("OPTIONS ({})", all.collect::<Vec<_>>().join(", "))
}

fn write_files(case: &Value, dir: &Path) {
    for file in case["files"].as_array().unwrap() {
        let path = dir.join("in").join(file[0].as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = match &file[1] {
            Value::String(text) => text.as_bytes().to_vec(),
            hex => {
                let hex = hex["hex"].as_str().unwrap().as_bytes();
                let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
                hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
            }
        };
        fs::write(path, bytes).unwrap();
    }
}

async fn rows(session: &Session, sql: &str) -> tidemill::Result<Vec<RecordBatch>> {
    let results = session.sql(sql).await?;
    let Some(StatementResult::Rows(rows)) = results.into_iter().next_back() else { panic!("no rows of {sql}") };
    Ok(rows.batches().to_vec())
}

/// Makes the table `s` and gives the columns of its query.
async fn prepare(case: &Value, session: &Session, dir: &Path) -> tidemill::Result<Vec<String>> {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    session.sql(&format!("SET TIME ZONE '{}'", text("tz"))).await?;
    let path = format!("{}/in/{}", dir.display(), text("path"));
    let columns = case["schema"].as_str().map_or(String::new(), |columns| format!("({columns}) "));
    session.sql(&format!("CREATE TABLE s {columns}USING {} {}", text("fmt"), options(&case["opts"], &path))).await?;
    let results = session.sql(text("sql")).await?;
    let Some(StatementResult::Rows(rows)) = results.into_iter().next_back() else { panic!("no rows") };
    Ok(rows.schema().fields().iter().map(|f| f.name().clone()).collect())
}

async fn read(case: &Value, session: &Session, dir: &Path) -> tidemill::Result<(Rows, Vec<String>)> {
    let columns = prepare(case, session, dir).await?;
    let quoted = columns.iter().map(|c| format!("`{}`", c.replace('`', "``")));
    let casts: Vec<_> = quoted.clone().map(|c| format!("CAST({c} AS STRING)")).collect();
    let sql = case["sql"].as_str().unwrap();
    let batches = rows(session, &format!("SELECT {} FROM ({sql})", casts.join(", "))).await?;
    let cell =
        |column: &dyn Array, row: usize| (!column.is_null(row)).then(|| array_value_to_string(column, row).unwrap());
    let of = |batch: &RecordBatch| -> Rows {
        (0..batch.num_rows()).map(|row| batch.columns().iter().map(|c| cell(c, row)).collect()).collect()
    };
    let types: Vec<_> = quoted.map(|c| format!("typeof(first({c}))")).collect();
    let types = rows(session, &format!("SELECT {} FROM ({sql})", types.join(", "))).await?;
    let types = types[0].columns().iter().map(|c| cell(c, 0).unwrap_or_default()).collect();
    Ok((batches.iter().flat_map(of).collect(), types))
}

/// Folder, end of the name and contents of what a sink has written.
async fn written(case: &Value, session: &Session, dir: &Path) -> tidemill::Result<Vec<[String; 3]>> {
    prepare(case, session, dir).await?;
    let out = dir.join("out");
    let sink = &case["sink"];
    let by: Vec<_> = sink[2].as_array().into_iter().flatten().map(|c| c.as_str().unwrap()).collect();
    let by = if by.is_empty() { String::new() } else { format!("PARTITIONED BY ({}) ", by.join(", ")) };
    let kind = sink[0].as_str().unwrap();
    session.sql(&format!("CREATE SINK out USING {kind} {by}{}", options(&sink[1], &out.display().to_string()))).await?;
    session.sql(&format!("INSERT INTO out {}", case["sql"].as_str().unwrap())).await?;
    let mut found = vec![];
    let mut folders = vec![out.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                if name.contains('=') || !name.starts_with('_') {
                    folders.push(entry.path());
                }
                continue;
            }
            let below = folder.strip_prefix(&out).unwrap().display().to_string();
            let bytes = fs::read(entry.path()).unwrap();
            let text = bytes.iter().map(|b| char::from(*b)).collect();
            let end = name.find('.').map_or("", |at| &name[at..]).to_owned();
            found.push([if below.is_empty() { ".".to_owned() } else { below }, end, text]);
        }
    }
    found.sort();
    Ok(found)
}

/// What differs from Spark's answer, if something does.
async fn difference(case: &Value) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    write_files(case, dir.path());
    let session = Session::builder().target_partitions(1).build().unwrap();
    let expected = &case["expect"];
    if case["sink"].is_array() {
        return match (written(case, &session, dir.path()).await, expected["files"].as_array()) {
            (Err(_), None) => None,
            (Ok(found), Some(files)) => {
                let files: Vec<[String; 3]> = serde_json::from_value(Value::Array(files.clone())).unwrap();
                (files != found).then(|| format!("Spark {files:?}\n     here {found:?}"))
            }
            (found, files) => Some(format!("Spark {files:?}\n     here {found:?}")),
        };
    }
    match (read(case, &session, dir.path()).await, expected["rows"].as_array()) {
        (Err(_), None) => None,
        (Ok((mut found, types)), Some(rows)) => {
            let mut rows: Rows = serde_json::from_value(Value::Array(rows.clone())).unwrap();
            rows.sort();
            found.sort();
            let wanted: Option<Vec<String>> = serde_json::from_value(expected["types"].clone()).unwrap();
            let same_types = wanted.is_none_or(|wanted| wanted == types || found.is_empty());
            (rows != found || !same_types)
                .then(|| format!("Spark {rows:?} {}\n     here {found:?} {types:?}", expected["types"]))
        }
        (found, rows) => Some(format!("Spark {rows:?}\n     here {found:?}")),
    }
}

#[tokio::test]
async fn files_are_read_and_written_as_spark_does() {
    let (cases, known) = (data("cases.jsonl"), data("known.txt"));
    let known: HashMap<&str, &str> = known.lines().filter_map(|line| line.split_once(": ")).collect();
    let (mut wrong, mut same, mut mended) = (vec![], 0, vec![]);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        match (difference(&case).await, known.contains_key(id)) {
            (None, false) => same += 1,
            (None, true) => mended.push(id.to_owned()),
            (Some(_), true) => {}
            (Some(difference), false) => wrong.push(format!("{id}: {difference}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ, {same} are the same:\n{}", wrong.len(), wrong.join("\n"));
    assert!(mended.is_empty(), "known.txt has cases that are the same: {mended:?}");
    assert!(same > 800, "{same}");
}
