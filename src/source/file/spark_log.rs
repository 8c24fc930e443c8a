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
use crate::store::{Store, same_bucket};

/// A line of the log.
#[derive(Deserialize)]
struct Line {
    path: String,
    #[serde(default)]
    action: String,
}

/// The folder of the log.
pub const DIR: &str = "_spark_metadata";

/// The files that the log of `dir` has, in the order of the batches; `None` if it has no log, so that every file counts.
///
/// # Errors
/// `SINK_CORRUPT` for a log that is not what Spark writes; I/O.
pub fn committed_files(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let log = dir.join(DIR);
    let entries = match fs::read_dir(&log) {
        Ok(entries) => entries,
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(io_error("listing", &log, &e)),
    };
    let mut names = vec![];
    for entry in entries {
        let name = entry.map_err(|e| io_error("listing", &log, &e))?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    let mut texts = vec![];
    for name in wanted(&names) {
        let path = log.join(name);
        let text = fs::read_to_string(&path).map_err(|e| io_error("reading", &path, &e))?;
        texts.push((path.display().to_string(), text));
    }
    Ok(Some(files_of(&texts)?.iter().map(|uri| local(uri)).collect()))
}

/// The same for a directory of a store: keys.
///
/// # Errors
/// As [`committed_files`].
pub fn committed_keys(store: &Store, dir: &str) -> Result<Option<Vec<String>>> {
    let log = if dir.is_empty() { DIR.to_owned() } else { format!("{dir}/{DIR}") };
    let listed = store.list(&log)?;
    if listed.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = listed.iter().filter_map(|o| o.key.rsplit('/').next()).map(str::to_owned).collect();
    let keys: Vec<_> = wanted(&names).into_iter().map(|name| format!("{log}/{name}")).collect();
    let mut texts = vec![];
    for (key, bytes) in keys.iter().zip(store.gets(keys.clone())?) {
        let path = store.path(key).display().to_string();
        let text = bytes.and_then(|b| String::from_utf8(b.into()).ok()).ok_or_else(|| damaged(&path, 1))?;
        texts.push((path, text));
    }
    let mut keys = vec![];
    for uri in files_of(&texts)? {
        keys.extend(same_bucket(&unescaped(&uri), store)?);
    }
    Ok(Some(keys))
}

/// The last whole list and the batches after it.
fn wanted(names: &[String]) -> Vec<String> {
    let mut batches = vec![];
    for name in names {
        let (number, is_whole) = name.strip_suffix(".compact").map_or((name.as_str(), false), |number| (number, true));
        if let Ok(number) = number.parse::<u64>() {
            batches.push((number, is_whole, name));
        }
    }
    batches.sort_unstable();
    let first = batches.iter().rposition(|(_, is_whole, _)| *is_whole).unwrap_or(0);
    batches[first..].iter().map(|(_, _, name)| (*name).clone()).collect()
}

/// The URIs that the files of a log, by path and text, add and do not delete.
fn files_of(texts: &[(String, String)]) -> Result<Vec<String>> {
    let (mut order, mut files) = (vec![], HashMap::new());
    for (path, text) in texts {
        for line in read(path, text)? {
            if files.insert(line.path.clone(), line.action != "delete").is_none() {
                order.push(line.path);
            }
        }
    }
    order.retain(|file| files.get(file).copied().unwrap_or(false));
    Ok(order)
}

fn damaged(path: &str, line: usize) -> Error {
    Error::io("SINK_CORRUPT", format!("the log of a file sink, '{path}', is damaged at line {line}"))
        .with_help("restore the directory from a backup; without its folder '_spark_metadata' every file in it counts")
}

fn read(path: &str, text: &str) -> Result<Vec<Line>> {
    let mut lines = text.lines();
    if lines.next() != Some("v1") {
        return Err(damaged(path, 1));
    }
    lines.enumerate().map(|(i, line)| serde_json::from_str(line).map_err(|_| damaged(path, i + 2))).collect()
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
