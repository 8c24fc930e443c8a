//! A checkpoint as text, for `tidemill checkpoint show`. Reads only, takes no lock: a running query is not disturbed.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::codec::{Schemas, change_sizes, decode_batch_header};
use super::fs::{Fs, OsFs, io_error};
use super::log::segment_name;
use super::metadata::{metadata_path, read_json};
use super::record::RecordKind;
use super::recovery::list_segments;
use super::scan::{Scan, Step};
use super::snapshot::SnapshotDir;
use super::{BatchHeader, Metadata};
use crate::error::{Error, Result};

/// What is in the checkpoint in `dir`: metadata, snapshots, segments, and the batches of the log.
///
/// # Errors
/// `CHECKPOINT_NOT_FOUND` if there is none, `CHECKPOINT_VERSION` if it has another format version. Damage in the log or
/// in a snapshot is part of the description.
pub fn describe(dir: &Path) -> Result<CheckpointDescription> {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let Some(metadata) = read_json::<Metadata>(&*fs, &metadata_path(dir))? else {
        let message = format!("there is no checkpoint in '{}'", dir.display());
        return Err(
            Error::checkpoint("CHECKPOINT_NOT_FOUND", message).with_help("it would have a file 'metadata.json'")
        );
    };
    let mut shown = CheckpointDescription::default();
    describe_metadata(&metadata, &mut shown.text);
    describe_snapshots(&SnapshotDir { fs: Arc::clone(&fs), dir: dir.join("snapshots") }, &mut shown)?;
    describe_log(&*fs, &dir.join("log"), &mut shown)?;
    Ok(shown)
}

/// What a checkpoint has in it, for people.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckpointDescription {
    /// Everything, line by line.
    pub text: String,
    /// What is not as it was written: file, place and reason.
    pub damage: Vec<String>,
}

impl CheckpointDescription {
    /// The damage as an error, if there is any.
    ///
    /// # Errors
    /// `CHECKPOINT_CORRUPT`.
    pub fn check(&self) -> Result<()> {
        if self.damage.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt_checkpoint(format!("the checkpoint is damaged: {}", self.damage.join("; "))))
    }
}

// Writing to a `String` cannot fail, so the results of `writeln!` are dropped here.

fn describe_metadata(m: &Metadata, text: &mut String) {
    let _ = writeln!(text, "query {} (format version {})", m.id, m.format_version);
    let _ = writeln!(text, "  text         {}", m.query.split_whitespace().collect::<Vec<_>>().join(" "));
    let _ = writeln!(text, "  output mode  {}", m.output_mode);
    let _ = writeln!(text, "  sources      {}", m.sources.join(", "));
    let _ = writeln!(text, "  sink         {}", m.sink);
    for (id, operator) in m.operators.iter().enumerate() {
        let _ = writeln!(text, "  operator {id}   {}: {}", operator.name, operator.fingerprint.join("; "));
    }
}

fn describe_snapshots(snapshots: &SnapshotDir, shown: &mut CheckpointDescription) -> Result<()> {
    let text = &mut shown.text;
    text.push_str("snapshots\n");
    for batch_id in snapshots.list()? {
        let _ = match snapshots.manifest(batch_id) {
            Ok(None) => writeln!(text, "  batch {batch_id}: not finished"),
            Err(e) => {
                shown.damage.push(format!("snapshot of batch {batch_id}: {}", e.message()));
                writeln!(text, "  batch {batch_id}: {}", e.message())
            }
            Ok(Some(manifest)) => {
                let _ = writeln!(text, "  batch {batch_id}: {} bytes, record {:08x}", manifest.bytes, manifest.hash);
                for (operator, size) in &manifest.operators {
                    let _ = writeln!(text, "    operator {operator}: {} rows, {} bytes", size.rows, size.bytes);
                }
                Ok(())
            }
        };
    }
    Ok(())
}

fn describe_log(fs: &dyn Fs, dir: &Path, shown: &mut CheckpointDescription) -> Result<()> {
    let text = &mut shown.text;
    text.push_str("log\n");
    let mut batches: Vec<(BatchHeader, u32, String)> = vec![];
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
            let _ = writeln!(text, "  segment {number}: no valid header");
            shown.damage.extend((!newest).then(|| format!("file '{}' has no valid header", path.display())));
            continue;
        };
        let (mut schemas, mut records) = (Schemas::default(), 0u64);
        let end = loop {
            match scan.next()? {
                Step::End => break String::new(),
                // What was being written when the lights went out.
                Step::Broken(_) if newest && !scan.was_durable()? => {
                    break "; the end is torn, and the next start cuts it off".to_owned();
                }
                Step::Broken(reason) => {
                    shown.damage.push(format!("file '{}', byte {}: {reason}", path.display(), scan.position));
                    break format!("; what follows is no record: {reason}");
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
        let _ = writeln!(text, "  segment {number}: {records} records, {} bytes{end}", scan.position);
    }
    text.push_str("batches\n");
    for (header, hash, sizes) in &batches {
        describe_batch(header, *hash, last_commit >= Some(header.batch_id), sizes, text);
    }
    Ok(())
}

fn operator_sizes(changes: Vec<(u32, usize, u64)>) -> String {
    let mut sizes = std::collections::BTreeMap::<u32, (usize, u64)>::new();
    for (operator, rows, bytes) in changes {
        let size = sizes.entry(operator).or_default();
        *size = (size.0 + rows, size.1 + bytes);
    }
    sizes.iter().fold(String::new(), |mut text, (operator, (rows, bytes))| {
        let _ = writeln!(text, "    operator {operator}: {rows} rows, {bytes} bytes");
        text
    })
}

fn describe_batch(header: &BatchHeader, hash: u32, acknowledged: bool, sizes: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "  batch {}: time {}, watermark {} -> {}, {} rows, record {hash:08x}, {}",
        header.batch_id,
        time(header.batch_timestamp_ms),
        time(header.batch_watermark_ms),
        time(header.next_watermark_ms),
        header.num_input_rows,
        if acknowledged { "acknowledged" } else { "not acknowledged" }
    );
    for source in &header.sources {
        let _ = writeln!(text, "    {}: {} -> {}", source.name, source.start, source.end);
    }
    text.push_str(sizes);
}

fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |t| t.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}
