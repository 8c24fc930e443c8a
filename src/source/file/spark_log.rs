//! The log of Spark's file sink: which files of a directory its batches have committed.
//!
//! `_spark_metadata/N` has the files of batch N, `_spark_metadata/N.compact` those of all batches up to N; after a line with the version each
//! line is a JSON object with the URI of a file and what was done with it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::partition::unescaped;
use crate::error::{Error, Result};
use crate::source::record_log::io_error;

/// A line of the log.
#[derive(Deserialize)]
struct Line {
    path: String,
    #[serde(default)]
    action: String,
}

/// The files that the log of `dir` has, in the order of the batches; `None` if it has no log, so that every file counts.
///
/// # Errors
/// `SINK_CORRUPT` for a log that is not what Spark writes; I/O.
pub fn committed_files(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let log = dir.join("_spark_metadata");
    let entries = match fs::read_dir(&log) {
        Ok(entries) => entries,
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(io_error("listing", &log, &e)),
    };
    let mut batches = vec![];
    for entry in entries {
        let name = entry.map_err(|e| io_error("listing", &log, &e))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let (number, is_whole) = name.strip_suffix(".compact").map_or((name, false), |number| (number, true));
        if let Ok(number) = number.parse::<u64>() {
            batches.push((number, is_whole));
        }
    }
    batches.sort_unstable();
    let first = batches.iter().rposition(|(_, is_whole)| *is_whole).unwrap_or(0);
    let (mut order, mut files) = (vec![], HashMap::new());
    for (number, is_whole) in &batches[first..] {
        let path = log.join(if *is_whole { format!("{number}.compact") } else { number.to_string() });
        for line in read(&path)? {
            let file = local(&line.path);
            if files.insert(file.clone(), line.action != "delete").is_none() {
                order.push(file);
            }
        }
    }
    order.retain(|file| files.get(file).copied().unwrap_or(false));
    Ok(Some(order))
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).map_err(|e| io_error("reading", path, &e))?;
    let mut lines = text.lines();
    let damaged = |line: usize| {
        Error::io("SINK_CORRUPT", format!("the log of a file sink, '{}', is damaged at line {line}", path.display()))
            .with_help(
                "restore the directory from a backup; without its folder '_spark_metadata' every file in it counts",
            )
    };
    if lines.next() != Some("v1") {
        return Err(damaged(1));
    }
    lines.enumerate().map(|(i, line)| serde_json::from_str(line).map_err(|_| damaged(i + 2))).collect()
}

/// The path of a `file:` URI.
fn local(uri: &str) -> PathBuf {
    let path = uri.strip_prefix("file://").or_else(|| uri.strip_prefix("file:")).unwrap_or(uri);
    PathBuf::from(unescaped(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_last_whole_list_and_the_batches_after_it_say() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(committed_files(dir.path()).unwrap(), None);
        let log = dir.path().join("_spark_metadata");
        fs::create_dir(&log).unwrap();
        let line = |name: &str, action: &str| {
            format!("{{\"path\":\"file:///out/{name}\",\"size\":1,\"action\":\"{action}\"}}\n")
        };
        fs::write(log.join("0"), format!("v1\n{}", line("gone", "add"))).unwrap();
        fs::write(log.join("9.compact"), format!("v1\n{}{}", line("a%20b", "add"), line("c", "add"))).unwrap();
        fs::write(log.join("10"), format!("v1\n{}{}", line("d", "add"), line("c", "delete"))).unwrap();
        fs::write(log.join(".10.crc"), "x").unwrap();
        assert_eq!(committed_files(dir.path()).unwrap().unwrap(), ["/out/a b", "/out/d"].map(PathBuf::from));
        fs::write(log.join("11"), "v1\n{\"path\"").unwrap();
        assert_eq!(committed_files(dir.path()).unwrap_err().condition(), "SINK_CORRUPT");
    }
}
