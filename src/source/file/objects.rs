//! Lists objects of a store as if their keys were paths of files in directories.

use std::collections::{BTreeMap, HashSet};

use super::entry::FileEntry;
use super::listing::{Found, Location, is_hidden};
use super::spark_log;
use crate::error::Result;
use crate::glob::Component;
use crate::sink::file::{METADATA_DIR, committed_objects};
use crate::store::{Object, Store};

/// Whether an object is there, or a key that begins like a directory's.
pub fn exists(location: &Location, store: &Store) -> Result<bool> {
    Ok(!list(location, store)?.files.is_empty() || committed(store, &literal(location, store))?.is_some())
}

/// The files of a path in a store.
pub fn list(location: &Location, store: &Store) -> Result<Found> {
    // What a query of ours has written is there by the letter, though its name be a pattern.
    let literal = literal(location, store);
    let mut objects = vec![];
    match committed(store, &literal)? {
        Some(files) => objects.extend(files.into_iter().filter(|o| !is_hidden(name(&o.key).as_bytes()))),
        None => {
            for pattern in &location.patterns {
                objects.extend(matching(pattern, store)?);
            }
        }
    }
    let is_root = |o: &Object| location.patterns.iter().any(|p| p.len() == o.key.split('/').count());
    objects.retain(|o| is_root(o) && o.key == literal || location.takes_name(name(&o.key).as_ref()));
    let mut found = Found::default();
    // In the order of keys, files of a folder are beside each other.
    objects.sort_unstable_by(|a, b| folder(&a.key).cmp(folder(&b.key)).then_with(|| a.key.cmp(&b.key)));
    objects.dedup_by(|a, b| a.key == b.key);
    let mut objects = objects.into_iter().peekable();
    while let Some(object) = objects.next() {
        let is_last = objects.peek().is_none_or(|next| folder(&next.key) != folder(&object.key));
        found.files.push(FileEntry::remote(store, object));
        if is_last {
            found.end_folder(location);
        }
    }
    Ok(found)
}

fn literal(location: &Location, store: &Store) -> String {
    store.key(&location.literal).unwrap_or_default().to_owned()
}

/// What is at or below the keys that fit a pattern.
fn matching(pattern: &[Component], store: &Store) -> Result<Vec<Object>> {
    let names = pattern.iter().map_while(|c| match c {
        Component::Name(name) => Some(name.as_str()),
        Component::Matching(_) => None,
    });
    let prefix = names.collect::<Vec<_>>();
    let is_fixed = prefix.len() == pattern.len();
    let prefix = prefix.join("/");
    // Most web servers have files and list nothing, and some are slow to say so.
    if is_fixed && store.is_web() && name(&prefix).contains('.') {
        return Ok(store.head(&prefix)?.into_iter().collect());
    }
    let listed = store.list(&prefix)?;
    if listed.is_empty() && is_fixed {
        return Ok(store.head(&prefix)?.into_iter().collect());
    }
    let outputs = outputs(&listed, pattern.len());
    let mut found = vec![];
    for dir in &outputs {
        let files = committed(store, dir)?.unwrap_or_default();
        found.extend(files.into_iter().filter(|o| fits(pattern, &o.key)));
    }
    let is_below = |key: &str| key.match_indices('/').any(|(at, _)| outputs.contains(&key[..at]));
    found.extend(listed.into_iter().filter(|o| fits(pattern, &o.key) && !is_below(&o.key)));
    Ok(found)
}

/// Whether a key is one that the pattern stands for, or lies below it, and no part of it is hidden that the pattern does not name.
fn fits(pattern: &[Component], key: &str) -> bool {
    let mut names = key.split('/');
    let begins = pattern.iter().all(|component| match (component, names.next()) {
        (_, None) => false,
        (Component::Name(wanted), Some(name)) => wanted == name,
        (Component::Matching(glob), Some(name)) => !is_hidden(name.as_bytes()) && glob.matches(name),
    });
    begins && names.all(|name| !is_hidden(name.as_bytes()))
}

/// The directories that are the output of a sink, ours or Spark's, and not above what was asked for.
fn outputs(listed: &[Object], depth: usize) -> HashSet<String> {
    let mut outputs = HashSet::new();
    for object in listed {
        for marker in [METADATA_DIR, spark_log::DIR] {
            let at = object.key.split('/').position(|name| name == marker);
            if let Some(at) = at.filter(|at| *at >= depth) {
                outputs.insert(object.key.split('/').take(at).collect::<Vec<_>>().join("/"));
            }
        }
    }
    outputs
}

/// The objects that the log of a file sink has, ours or Spark's, if there is one.
fn committed(store: &Store, dir: &str) -> Result<Option<Vec<Object>>> {
    if let Some(files) = committed_objects(store, dir)? {
        return Ok(Some(files));
    }
    if store.is_web() {
        return Ok(None);
    }
    let Some(keys) = spark_log::committed_keys(store, dir)? else { return Ok(None) };
    let there: BTreeMap<String, Object> = store.list(dir)?.into_iter().map(|o| (o.key.clone(), o)).collect();
    Ok(Some(keys.iter().filter_map(|key| there.get(key).cloned()).collect()))
}

fn name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(folder, _)| folder)
}
