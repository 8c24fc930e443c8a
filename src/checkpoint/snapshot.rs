//! Snapshots on disk: one file of records and a manifest that makes it count.
//!
//! ```text
//! snapshots/00000000000000000041/state          segment header, schemas, pieces of state, end record
//! snapshots/00000000000000000041/manifest.json  written last, by rename: without it there is no snapshot
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BatchHeader;
use super::codec::{Schemas, decode_change, encode_change, encode_schema};
use super::fs::{DurableFile, Fs, io_error};
use super::metadata::{read_json, write_json};
use super::record::{FORMAT_VERSION, FileKind, Framer, RecordKind, SegmentHeader};
use super::scan::{Located, Scan, Step, corrupt, read_record};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::state::{FrozenState, StateChange};

/// Bytes collected before a write.
const WRITE_BYTES: usize = 4 << 20;
/// Bytes written before a sync, so that the log's syncs do not wait behind a flood.
const SYNC_BYTES: u64 = 16 << 20;

/// What makes a snapshot count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub format_version: u32,
    pub id: Uuid,
    pub batch_id: u64,
    /// Checksum of the batch's record in the log.
    pub hash: u32,
    /// Length of the file `state`.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// Checksum of its last record's header, and so of everything before.
    pub chain: u32,
    pub operators: BTreeMap<u32, OperatorSize>,
    pub header: BatchHeader,
}

/// How much of a snapshot is one operator's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OperatorSize {
    pub rows: u64,
    pub bytes: u64,
}

/// Where snapshots are.
#[derive(Debug, Clone)]
pub(super) struct SnapshotDir {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
}

impl SnapshotDir {
    /// Batch ids of snapshots with and without a manifest, oldest first.
    pub(super) fn list(&self) -> Result<Vec<u64>> {
        let names = self.fs.list(&self.dir).map_err(|e| io_error(&self.dir, "readdir", &e))?;
        Ok(names.iter().filter(|n| n.len() == 20).filter_map(|n| n.parse().ok()).collect())
    }

    /// The manifest of a snapshot; `None` if it was never finished.
    pub(super) fn manifest(&self, batch_id: u64) -> Result<Option<Manifest>> {
        read_json(&*self.fs, &self.manifest_path(batch_id))
    }

    /// Removes a snapshot; it stops counting first.
    pub(super) fn remove(&self, batch_id: u64) -> Result<()> {
        let dir = self.path(batch_id);
        let names = self.fs.list(&dir).map_err(|e| io_error(&dir, "readdir", &e))?;
        // `manifest.json` sorts before `state`.
        for name in &names {
            let path = dir.join(name);
            self.fs.remove_file(&path).map_err(|e| io_error(&path, "unlink", &e))?;
            self.sync(&dir)?;
        }
        self.fs.remove_dir(&dir).map_err(|e| io_error(&dir, "rmdir", &e))?;
        self.sync(&self.dir)
    }

    fn path(&self, batch_id: u64) -> PathBuf {
        self.dir.join(format!("{batch_id:020}"))
    }

    fn state_path(&self, batch_id: u64) -> PathBuf {
        self.path(batch_id).join("state")
    }

    fn manifest_path(&self, batch_id: u64) -> PathBuf {
        self.path(batch_id).join("manifest.json")
    }

    fn sync(&self, dir: &Path) -> Result<()> {
        self.fs.sync_dir(dir).map_err(|e| io_error(dir, "fsync", &e))
    }
}

/// What a snapshot is of.
#[derive(Debug, Clone)]
pub(super) struct SnapshotOf {
    pub id: Uuid,
    pub hash: u32,
    pub header: BatchHeader,
}

/// Writes the file `state` of a snapshot, durable when this returns. `go_on` may stop it between pieces.
pub(super) fn write_state(
    snapshots: &SnapshotDir,
    of: SnapshotOf,
    operators: &[(u32, Arc<dyn FrozenState>)],
    failpoints: &Failpoints,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Manifest> {
    let dir = snapshots.path(of.header.batch_id);
    snapshots.fs.create_dir_all(&dir).map_err(|e| io_error(&dir, "mkdir", &e))?;
    let mut writer = StateWriter::create(snapshots, &of)?;
    let mut sizes = BTreeMap::<u32, OperatorSize>::new();
    for (operator, state) in operators {
        let size = sizes.entry(*operator).or_default();
        for change in state.changes() {
            go_on()?;
            let change = change?;
            size.rows += change.rows.num_rows() as u64;
            size.bytes += writer.write_change(*operator, &change)?;
        }
        failpoints.hit("snap.part_written")?;
    }
    writer.finish()?;
    failpoints.hit("snap.synced")?;
    Ok(Manifest {
        format_version: FORMAT_VERSION,
        id: of.id,
        batch_id: of.header.batch_id,
        hash: of.hash,
        bytes: writer.position,
        records: writer.framer.sequence - 1,
        chain: writer.framer.previous,
        operators: sizes,
        header: of.header,
    })
}

/// Makes a written snapshot count.
pub(super) fn publish(snapshots: &SnapshotDir, manifest: &Manifest, failpoints: &Failpoints) -> Result<()> {
    write_json(&*snapshots.fs, &snapshots.manifest_path(manifest.batch_id), manifest)?;
    failpoints.hit("snap.manifest_renamed")?;
    snapshots.sync(&snapshots.path(manifest.batch_id))?;
    snapshots.sync(&snapshots.dir)?;
    failpoints.hit("snap.dir_synced")
}

#[derive(Debug)]
struct StateWriter {
    file: Arc<dyn DurableFile>,
    path: PathBuf,
    batch_id: u64,
    framer: Framer,
    schemas: Schemas,
    buffer: Vec<u8>,
    position: u64,
    synced: u64,
}

impl StateWriter {
    fn create(snapshots: &SnapshotDir, of: &SnapshotOf) -> Result<Self> {
        let batch_id = of.header.batch_id;
        let path = snapshots.state_path(batch_id);
        let file = snapshots.fs.create(&path).map_err(|e| io_error(&path, "open", &e))?;
        let header =
            SegmentHeader { kind: FileKind::Snapshot, segment: batch_id, id: of.id, first_sequence: 1, previous: 0 };
        Ok(Self {
            file,
            path,
            batch_id,
            framer: Framer::at_start_of(&header),
            schemas: Schemas::default(),
            buffer: header.encode().to_vec(),
            position: 0,
            synced: 0,
        })
    }

    fn write_change(&mut self, operator: u32, change: &StateChange) -> Result<u64> {
        let schema = change.rows.schema_ref();
        let number = match self.schemas.number(schema) {
            Ok(known) => known,
            Err(new) => {
                let write = |out: &mut Vec<u8>| encode_schema(new, schema, out);
                self.framer.append(&mut self.buffer, RecordKind::Schema, self.batch_id, 0, write)?;
                new
            }
        };
        let write = |out: &mut Vec<u8>| encode_change(operator, change, number, out);
        let header = self.framer.append(&mut self.buffer, RecordKind::State, self.batch_id, 0, write)?;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(header.frame_len())
    }

    fn flush(&mut self) -> Result<()> {
        let call = || format!("write ({} bytes)", self.buffer.len());
        self.file.write_all_at(&self.buffer, self.position).map_err(|e| io_error(&self.path, &call(), &e))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        if self.position - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.synced = self.position;
        self.file.sync_data().map_err(|e| io_error(&self.path, "fdatasync", &e))
    }

    fn finish(&mut self) -> Result<()> {
        self.framer.append::<Error>(&mut self.buffer, RecordKind::End, self.batch_id, 0, |_| Ok(()))?;
        self.flush()?;
        self.sync()
    }
}

/// A verified snapshot: gives the operator id and the piece of its state, one after the other, decoded when asked for.
#[derive(Debug)]
pub struct SnapshotReader {
    /// The snapshot has the state after this batch, which the sink has.
    pub batch_id: u64,
    /// Checksum of the batch's record.
    pub hash: u32,
    /// The batch's header.
    pub header: BatchHeader,
    file: Arc<dyn DurableFile>,
    path: PathBuf,
    schemas: Schemas,
    pieces: std::vec::IntoIter<Located>,
}

impl SnapshotReader {
    /// Opens a snapshot and verifies all of it.
    pub(super) fn open(snapshots: &SnapshotDir, manifest: Manifest) -> Result<Self> {
        let path = snapshots.state_path(manifest.batch_id);
        let file = snapshots.fs.open(&path, false).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => corrupt(&path, 0, Some(manifest.batch_id), "the file is missing"),
            _ => io_error(&path, "open", &e),
        })?;
        let damaged = |byte, reason| corrupt(&path, byte, Some(manifest.batch_id), reason);
        let Some(mut scan) = Scan::open(Arc::clone(&file), &path)? else {
            return Err(damaged(0, "it does not start with a valid header"));
        };
        let h = &scan.header;
        if h.kind != FileKind::Snapshot || h.segment != manifest.batch_id || h.id != manifest.id {
            return Err(damaged(0, "it belongs to another snapshot"));
        }
        let (mut schemas, mut pieces, mut ended) = (Schemas::default(), vec![], false);
        loop {
            match scan.next()? {
                Step::Record(..) if ended => return Err(damaged(scan.position, "records after its end")),
                Step::Record(at, body) => match at.header.kind {
                    RecordKind::Schema => schemas.read(body)?,
                    RecordKind::State => pieces.push(at),
                    RecordKind::End => ended = true,
                    _ => return Err(damaged(at.offset, "a record of a log")),
                },
                Step::Broken(reason) => return Err(damaged(scan.position, reason)),
                Step::End => break,
            }
        }
        let whole = (scan.position, scan.framer.sequence - 1, scan.framer.previous);
        if !ended || whole != (manifest.bytes, manifest.records, manifest.chain) {
            return Err(damaged(scan.position, "it is not the file its manifest describes"));
        }
        Ok(Self {
            batch_id: manifest.batch_id,
            hash: manifest.hash,
            header: manifest.header,
            file,
            path,
            schemas,
            pieces: pieces.into_iter(),
        })
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<(u32, StateChange)>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.pieces.next()?;
        Some(read_record(&*self.file, &self.path, &piece).and_then(|body| decode_change(body, &self.schemas)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pieces.size_hint()
    }
}
