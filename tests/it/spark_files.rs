//! Directories beside Spark: what its streaming file sink has written, and what it has read of ours.
//!
//! Its data and answers are in `tests/data/spark-files`, made by the script there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::process::run_to_end;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spark-files").join(name)
}

fn copy(from: &Path, to: &Path, replace: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target, replace);
        } else if from.ends_with("_spark_metadata") {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(target, text.replace("file:///spark-files", &format!("file://{replace}"))).unwrap();
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

#[test]
fn what_sparks_streaming_sink_has_written_is_read_by_its_log() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&data("streamed"), scratch.path(), scratch.path().to_str().unwrap());
    for name in ["json", "csv", "parquet", "json-folders"] {
        let dir = scratch.path().join(name);
        // A batch that died has left a file, which would double rows; a first list that was removed is in a later one.
        let strays = fs::read_dir(&dir)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("deadbeef"));
        assert!(name == "json-folders" || strays.count() == 1);
        let format = name.split('-').next().unwrap();
        let options = format!("path '{}'{}", dir.display(), if format == "csv" { ", header 'true'" } else { "" });
        let columns =
            if name == "json-folders" { "(n BIGINT, t STRING)" } else { "(n BIGINT, t STRING, `g x` STRING)" };
        let sql = format!(
            "CREATE TABLE t {columns} USING {format} OPTIONS ({options});
             SELECT count(*) AS c, count(DISTINCT n) AS d, sum(n) AS s, max(t) AS t, min(`g x`) AS g FROM t;
             CREATE STREAM s {columns} USING {format} OPTIONS ({options});
             CREATE FLOW f TRIGGER AVAILABLE NOW AS SELECT n + 1000 AS streamed FROM s WHERE n = 20;"
        );
        let ended = run_to_end(["run", "-e", &sql]);
        ended.assert_code(0);
        // Cells are padded.
        let packed = ended.stdout.replace(' ', "");
        for part in ["|21|21|210|ab/9|k/0%|", "1020"] {
            assert!(packed.contains(part), "{name}: no {part} in\n{}", ended.stdout);
        }
    }
}

/// The contents of the visible files of a directory, by folder, each folder's in the order of the batches.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('_') {
            all.extend(contents(&path).into_iter().map(|(folder, bytes)| (format!("{name}/{folder}"), bytes)));
        } else if path.is_file() {
            let batch = name.get(..10).unwrap_or_default().to_owned();
            all.entry(batch).or_insert_with(Vec::new).extend(fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn spark_has_read_what_we_write() {
    let scratch = tempfile::tempdir().unwrap();
    let sql = fs::read_to_string(data("ours.sql")).unwrap().replace('$', scratch.path().to_str().unwrap());
    run_to_end(["run", "-e", &sql]).assert_code(0);
    for name in ["csv", "json", "text", "json-folders"] {
        assert_eq!(
            contents(&scratch.path().join(name)),
            contents(&data("ours").join(name)),
            "{name}: Spark has read other bytes"
        );
    }
    for name in ["parquet", "parquet-rolled"] {
        let rows = |dir: PathBuf| {
            let sql =
                format!("CREATE TABLE t USING parquet OPTIONS (path '{}'); SELECT * FROM t ORDER BY n;", dir.display());
            run_to_end(["run", "-e", &sql]).assert_code(0).stdout.clone()
        };
        assert_eq!(rows(scratch.path().join(name)), rows(data("ours").join(name)), "{name}");
    }
    let answers: BTreeMap<String, Value> = serde_json::from_slice(&fs::read(data("ours.json")).unwrap()).unwrap();
    assert_eq!(answers.len(), 6);
    for (name, answer) in &answers {
        let rows = answer["rows"].as_array().unwrap();
        assert_eq!(rows.len(), if name == "text" { 2 } else { 4 }, "{name}");
        let has = |text: &str| rows.iter().flat_map(|r| r.as_array().unwrap()).any(|v| v == text);
        for text in ["a,b", "say \"x\" \\ y"] {
            assert!(has(text), "{name}: no {text}");
        }
        if name != "text" {
            // Instants in JSON are text to Spark unless it is asked to look closer.
            for text in ["2024-02-29", "-0.25", "True", "2024-01-02 03:04:05.678000"] {
                let in_json = text.replace(' ', "T").trim_end_matches("000").to_owned() + "Z";
                assert!(has(text) || name.starts_with("json") && has(&in_json), "{name}: no {text}");
            }
            // The other formats have milliseconds, and CSV leaves blanks around values out, as Spark's does.
            assert!(!name.starts_with("parquet") || has("1969-12-31 23:59:59.000001") && has("üñ "), "{name}");
        }
    }
}
