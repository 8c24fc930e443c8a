//! What a restart does: open the checkpoint, compare it with the query and with the sink, and bring the state back.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use tempfile::TempDir;
use uuid::Uuid;

use super::execution::RunningSource;
use super::{Environment, QuerySpec};
use crate::checkpoint::{
    Allowed, BatchHeader, Checkpoint, CheckpointOptions, FORMAT_VERSION, Metadata, OperatorMetadata, Recovered,
    SourceMetadata, diff_metadata,
};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::plan::{BoundSource, StreamPlan};
use crate::sink::LastCommitted;
use crate::source::StreamIdentity;
use crate::state::StateChange;

/// Whether a checkpoint goes on with sources that read something else than before.
const SOURCE_CHANGE: &str = "checkpoint.sourceChange";

/// An open checkpoint that fits the query.
pub struct Opened {
    pub checkpoint: Checkpoint,
    pub recovered: Recovered,
    pub metadata: Metadata,
    /// Whether the checkpoint was last that of a query with this very sink.
    pub same_sink: bool,
    pub dir: PathBuf,
    /// Goes away with the query, however that ends.
    pub temporary: Option<TempDir>,
}

/// A batch that a crash left between its record and the sink's acknowledgement. There is one, or where rows are handed over as they
/// arrive, those that were in flight.
pub struct Pending {
    pub header: BatchHeader,
    pub hash: u32,
    changes: Vec<(u32, StateChange)>,
}

/// Where a query goes on.
pub struct Position {
    pub next_batch: u64,
    pub watermark_ms: i64,
    /// The watermark that the last batch ran with.
    pub late_watermark_ms: i64,
    /// Settings of the last batch that every later one must keep.
    pub conf: BTreeMap<String, String>,
    pub timestamp_ms: i64,
    /// End of the last batch for each source; empty for a new query.
    pub positions: Vec<Offset>,
    /// Oldest first.
    pub pending: VecDeque<Pending>,
    /// A batch that the sink has and the log does not know to be acknowledged.
    pub unlogged_ack: Option<u64>,
}

/// Opens the checkpoint and compares it with the query; a new one gets its metadata.
pub fn open_checkpoint(
    env: &Environment,
    spec: &QuerySpec,
    plan: &StreamPlan,
    sources: &[BoundSource],
) -> Result<Opened> {
    let (dir, temporary) = match &spec.checkpoint {
        Some(dir) => (dir.clone(), None),
        None => temporary_checkpoint().map(|dir| (dir.path().to_owned(), Some(dir)))?,
    };
    // A temporary checkpoint ends with the process: nothing is gained by waiting for the disk.
    let options = CheckpointOptions {
        sync: temporary.is_none(),
        failpoints: env.failpoints.clone(),
        ..CheckpointOptions::default()
    };
    let (checkpoint, recovered) = Checkpoint::open(&dir, options)?;
    let mut metadata = metadata(spec, plan, sources);
    let same_sink = recovered.metadata.as_ref().is_some_and(|old| old.sink == metadata.sink);
    match &recovered.metadata {
        Some(old) => {
            let sink_moved = old.sink != metadata.sink && spec.sink.holds_output_of(old.id)?;
            let setting = spec.conf.get(SOURCE_CHANGE).or(env.conf.get(SOURCE_CHANGE)).unwrap_or_default();
            let allowed = Allowed { source_change: setting.eq_ignore_ascii_case("allow"), sink_moved };
            for warning in diff_metadata(old, &metadata, allowed)? {
                tracing::warn!(query = spec.name.as_deref().unwrap_or_default(), "{warning}");
            }
            metadata.id = old.id;
            // From now on it is the checkpoint of what is read and written now.
            if (&old.reads, &old.sink) != (&metadata.reads, &metadata.sink) {
                let Metadata { reads, sink, sink_format, .. } = metadata.clone();
                checkpoint.replace_metadata(&Metadata { reads, sink, sink_format, ..old.clone() })?;
            }
        }
        None => checkpoint.write_metadata(&metadata)?,
    }
    Ok(Opened { checkpoint, recovered, metadata, same_sink, dir, temporary })
}

fn temporary_checkpoint() -> Result<TempDir> {
    tempfile::Builder::new().prefix("tidemill-").tempdir().map_err(|e| {
        let dir = std::env::temp_dir();
        Error::io("CHECKPOINT_IO", format!("no temporary checkpoint can be made in '{}': {e}", dir.display()))
            .with_help("give the flow a CHECKPOINT LOCATION, or set TMPDIR to a directory that can be written")
            .with_source(e)
    })
}

fn metadata(spec: &QuerySpec, plan: &StreamPlan, sources: &[BoundSource]) -> Metadata {
    let operator = |o: &std::sync::Arc<dyn crate::operator::StatefulOperator>| OperatorMetadata {
        name: o.operator_name().to_string(),
        fingerprint: o.fingerprint(),
    };
    Metadata {
        id: Uuid::new_v4(),
        format_version: FORMAT_VERSION,
        query: spec.text.clone(),
        output_mode: spec.output_mode.to_string(),
        sources: sources.iter().map(|s| s.name.clone()).collect(),
        reads: sources.iter().map(|s| source_metadata(s.provider.identity())).collect(),
        sink: spec.sink.description(),
        sink_format: spec.sink.format().map(str::to_owned),
        operators: plan.operators.iter().map(operator).collect(),
    }
}

fn source_metadata(identity: StreamIdentity) -> SourceMetadata {
    let StreamIdentity { format, path, location, options } = identity;
    SourceMetadata { format, path, location, options }
}

/// Loads the snapshot and applies the batches after it. The last batches, which the sink does not have, are left to run again.
///
/// `same_sink` says that the checkpoint has always had the sink that it has now.
pub fn replay(recovered: Recovered, plan: &StreamPlan, sink: LastCommitted, same_sink: bool) -> Result<Position> {
    let mut position = Position {
        next_batch: 0,
        watermark_ms: 0,
        late_watermark_ms: 0,
        conf: BTreeMap::new(),
        timestamp_ms: i64::MIN,
        positions: vec![],
        pending: VecDeque::new(),
        unlogged_ack: None,
    };
    let mut last = None;
    if let Some(snapshot) = recovered.snapshot {
        position.advance(&snapshot.header);
        last = Some((snapshot.batch_id, snapshot.hash));
        for piece in snapshot {
            let (operator, change) = piece?;
            apply(plan, operator, &change)?;
        }
    }
    for batch in recovered.batches {
        let batch = batch?;
        let header = batch.record.header;
        last = Some((header.batch_id, batch.hash));
        if !batch.acknowledged {
            if !position.pending.is_empty() || !delivered(sink, header.batch_id, batch.hash)? {
                if position.pending.is_empty() {
                    position.positions = header.sources.iter().map(|s| s.start.clone()).collect();
                }
                position.pending.push_back(Pending { header, hash: batch.hash, changes: batch.record.changes });
                continue;
            }
            position.unlogged_ack = Some(header.batch_id);
        }
        for (operator, change) in &batch.record.changes {
            apply(plan, *operator, change)?;
        }
        position.advance(&header);
    }
    compare_with_sink(sink, same_sink, last, position.pending.len() as u64)?;
    Ok(position)
}

impl Position {
    fn advance(&mut self, header: &BatchHeader) {
        self.next_batch = header.batch_id + 1;
        self.watermark_ms = header.next_watermark_ms;
        self.late_watermark_ms = header.batch_watermark_ms;
        self.conf = header.conf.clone();
        self.timestamp_ms = header.batch_timestamp_ms;
        self.positions = header.sources.iter().map(|s| s.end.clone()).collect();
    }
}

fn apply(plan: &StreamPlan, operator: u32, change: &StateChange) -> Result<()> {
    let state = plan.operators.get(operator as usize);
    let state = state.ok_or_else(|| {
        Error::corrupt_checkpoint(format!("the checkpoint has changes of an unknown operator {operator}"))
    })?;
    state.apply(change)
}

/// Whether the sink has a batch that the log does not know to be acknowledged.
fn delivered(sink: LastCommitted, batch_id: u64, hash: u32) -> Result<bool> {
    match sink {
        LastCommitted::Batch(b) if b.batch_id == batch_id && b.record_hash != hash => Err(foreign(batch_id)),
        LastCommitted::Batch(b) => Ok(b.batch_id >= batch_id),
        LastCommitted::Nothing | LastCommitted::Unknown => Ok(false),
    }
}

fn foreign(batch_id: u64) -> Error {
    Error::checkpoint(
        "SINK_DIFFERS_FROM_CHECKPOINT",
        format!("the sink has another batch {batch_id} of this query than the checkpoint"),
    )
    .with_help("two copies of one checkpoint have written to this sink; go on with the newer one")
}

/// A sink that is ahead has rows that the checkpoint would write again under other ids; one that is behind has lost some.
fn compare_with_sink(sink: LastCommitted, same_sink: bool, last: Option<(u64, u32)>, pending: u64) -> Result<()> {
    let sink = match (sink, last) {
        (LastCommitted::Batch(sink), _) => sink,
        (LastCommitted::Nothing, Some((last, _))) if same_sink && last + 1 > pending => {
            return Err(behind("no batch of this query", last));
        }
        _ => return Ok(()),
    };
    let Some((last, hash)) = last else {
        return Err(ahead(sink.batch_id, "none"));
    };
    if sink.batch_id > last {
        return Err(ahead(sink.batch_id, &format!("batch {last}")));
    }
    if sink.batch_id == last && sink.record_hash != hash {
        return Err(foreign(last));
    }
    if sink.batch_id + pending < last {
        return Err(behind(&format!("batch {} as its last", sink.batch_id), last));
    }
    Ok(())
}

fn behind(has: &str, last: u64) -> Error {
    Error::checkpoint(
        "SINK_BEHIND_CHECKPOINT",
        format!("the sink has {has}, but the checkpoint knows it to have had batch {last}"),
    )
    .with_help(
        "the sink was set back or emptied, or batches went to another sink meanwhile: set the checkpoint back to the same time, \
         or start both anew",
    )
}

fn ahead(sink: u64, checkpoint: &str) -> Error {
    Error::checkpoint(
        "SINK_AHEAD_OF_CHECKPOINT",
        format!("the sink has batch {sink} of this query, but the last of the checkpoint is {checkpoint}"),
    )
    .with_help("the checkpoint was set back or damaged; use the newest one, or start with a new sink and checkpoint")
}

/// Leaves the pending batches to run again if their rows can still be read. Of one whose rows cannot, and of those before it, the changes
/// become the state: what they counted stays counted, only their own output may be missing, which is said.
pub fn settle_pending(position: &mut Position, sources: &mut [RunningSource], plan: &StreamPlan) -> Result<()> {
    let lost = |p: &Pending| -> Vec<String> {
        let ranges = sources.iter().zip(&p.header.sources).filter(|(_, r)| r.start != r.end);
        ranges.filter(|(s, r)| !s.source.is_replayable(&r.start, &r.end)).map(|(s, _)| s.name.clone()).collect()
    };
    let Some((last_lost, streams)) = position.pending.iter().map(lost).enumerate().rfind(|(_, lost)| !lost.is_empty())
    else {
        return Ok(());
    };
    let settled: Vec<Pending> = position.pending.drain(..=last_lost).collect();
    tracing::warn!(
        batches = settled.iter().map(|p| p.header.batch_id.to_string()).collect::<Vec<_>>().join(", "),
        streams = streams.join(", "),
        "the rows of the last batch cannot be read again: its state is kept, its output may not have reached the sink"
    );
    for pending in settled {
        for (operator, change) in &pending.changes {
            apply(plan, *operator, change)?;
        }
        position.advance(&pending.header);
        position.unlogged_ack = Some(pending.header.batch_id);
    }
    for (source, end) in sources.iter_mut().zip(&position.positions) {
        source.position = end.clone();
    }
    Ok(())
}
