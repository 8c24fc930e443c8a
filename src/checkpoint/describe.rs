//! Reading checkpoints for `tidemill checkpoint show`. Takes no lock: a running query is not disturbed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::codec::{Schemas, change_sizes, decode_batch_header};
use super::fs::{Fs, OsFs, io_error};
use super::log::segment_name;
use super::metadata::{metadata_path, read_json};
use super::record::RecordKind;
use super::recovery::list_segments;
use super::scan::{Scan, Step};
use super::shown::{CheckpointDescription, OneCheckpoint, Shown, ShownBatch, ShownSegment, ShownSnapshot};
use super::snapshot::{OperatorSize, SnapshotDir};
use super::{BatchHeader, Metadata};
use crate::error::{Error, Result};

/// What is in the checkpoint in `dir`, or in those of the directories in it: metadata, snapshots, segments, and the batches
/// of the log. `words` writes types and expressions of a plan as a user does.
///
/// # Errors
/// `CHECKPOINT_NOT_FOUND` if there is none, `CHECKPOINT_VERSION` if it has another format version. Damage in the log or
/// in a snapshot is part of the description.
pub fn describe(dir: &Path, words: &dyn Fn(&str) -> String) -> Result<CheckpointDescription> {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    if let Some(one) = one(&fs, dir, words)? {
        let damage = one.damage.clone();
        return Ok(CheckpointDescription { shown: Shown::One(Box::new(one)), damage });
    }
    let mut all = vec![];
    for name in fs.list(dir).map_err(|e| io_error(dir, "readdir", &e))? {
        let below = dir.join(&name);
        if below.is_dir() {
            all.extend(one(&fs, &below, words)?);
        }
    }
    if all.is_empty() {
        let message = format!("there is no checkpoint in '{}'", dir.display());
        return Err(Error::checkpoint("CHECKPOINT_NOT_FOUND", message)
            .with_help("it would have a file 'metadata.json', or a directory with one for each flow"));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let of = |one: &OneCheckpoint| one.damage.iter().map(|d| format!("flow '{}': {d}", one.name)).collect::<Vec<_>>();
    let damage = all.iter().flat_map(of).collect();
    Ok(CheckpointDescription { shown: Shown::Root(all), damage })
}

/// The checkpoint in `dir`, if there is one.
fn one(fs: &Arc<dyn Fs>, dir: &Path, words: &dyn Fn(&str) -> String) -> Result<Option<OneCheckpoint>> {
    let Some(mut metadata) = read_json::<Metadata>(&**fs, &metadata_path(dir))? else { return Ok(None) };
    for part in metadata.operators.iter_mut().flat_map(|o| &mut o.fingerprint) {
        *part = words(part);
    }
    let named = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = named.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut shown =
        OneCheckpoint { name, metadata, snapshots: vec![], segments: vec![], batches: vec![], damage: vec![] };
    read_snapshots(&SnapshotDir { fs: Arc::clone(fs), dir: dir.join("snapshots") }, &mut shown)?;
    read_log(&**fs, &dir.join("log"), &mut shown)?;
    Ok(Some(shown))
}

fn read_snapshots(snapshots: &SnapshotDir, shown: &mut OneCheckpoint) -> Result<()> {
    for batch_id in snapshots.list()? {
        let none = ShownSnapshot { batch_id, bytes: None, record: None, operators: BTreeMap::new(), problem: None };
        shown.snapshots.push(match snapshots.manifest(batch_id) {
            Ok(None) => none,
            Err(e) => {
                shown.damage.push(format!("snapshot of batch {batch_id}: {}", e.message()));
                ShownSnapshot { problem: Some(e.message().to_owned()), ..none }
            }
            Ok(Some(manifest)) => ShownSnapshot {
                bytes: Some(manifest.bytes),
                record: Some(format!("{:08x}", manifest.hash)),
                operators: manifest.operators,
                ..none
            },
        });
    }
    Ok(())
}

fn read_log(fs: &dyn Fs, dir: &Path, shown: &mut OneCheckpoint) -> Result<()> {
    let mut batches: Vec<(BatchHeader, u32, BTreeMap<u32, OperatorSize>)> = vec![];
    let mut last_commit = None;
    let segments = list_segments(fs, dir)?;
    for number in segments.iter().copied() {
        let newest = segments.last() == Some(&number);
        let path = dir.join(segment_name(number));
        let file = match fs.open(&path, false) {
            // A running query may just have dropped it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| io_error(&path, "open", &e))?,
        };
        let Some(mut scan) = Scan::open(file, &path)? else {
            let problem = Some("no valid header".to_owned());
            shown.segments.push(ShownSegment { number, records: 0, bytes: 0, problem });
            shown.damage.extend((!newest).then(|| format!("file '{}' has no valid header", path.display())));
            continue;
        };
        let (mut schemas, mut records) = (Schemas::default(), 0u64);
        let problem = loop {
            match scan.next()? {
                Step::End => break None,
                // What was being written when the lights went out.
                Step::Broken(_) if newest && !scan.was_durable()? => {
                    break Some("the end is torn, and the next start cuts it off".to_owned());
                }
                Step::Broken(_) if !newest && scan.is_torn_note()? => break None,
                Step::Broken(reason) => {
                    shown.damage.push(format!("file '{}', byte {}: {reason}", path.display(), scan.position));
                    break Some(format!("what follows is no record: {reason}"));
                }
                Step::Record(at, body) => {
                    records += 1;
                    match at.header.kind {
                        RecordKind::Schema => schemas.read(body)?,
                        RecordKind::Batch => {
                            let header = decode_batch_header(&body)?;
                            batches.push((header, at.header.body_crc, operator_sizes(change_sizes(body, &schemas)?)));
                        }
                        _ => last_commit = last_commit.max(Some(at.header.batch_id)),
                    }
                }
            }
        };
        shown.segments.push(ShownSegment { number, records, bytes: scan.position, problem });
    }
    shown.batches.extend(batches.into_iter().map(|(header, hash, operators)| ShownBatch {
        acknowledged: last_commit >= Some(header.batch_id),
        header,
        record: format!("{hash:08x}"),
        operators,
    }));
    Ok(())
}

fn operator_sizes(changes: Vec<(u32, usize, u64)>) -> BTreeMap<u32, OperatorSize> {
    let mut sizes = BTreeMap::<u32, OperatorSize>::new();
    for (operator, rows, bytes) in changes {
        let size = sizes.entry(operator).or_default();
        *size = OperatorSize { rows: size.rows + rows as u64, bytes: size.bytes + bytes };
    }
    sizes
}
