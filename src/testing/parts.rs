//! Parts of the engine that a benchmark measures by themselves: each is some work that can be done again and again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use uuid::Uuid;

use crate::checkpoint::{
    BatchHeader, BatchRecord, Checkpoint, CheckpointOptions, FORMAT_VERSION, Metadata, SourceRange,
};
use crate::error::Result;
use crate::sink::{Truncate, show_table};
use crate::state::{ChangeKind, KeyedStore, StateChange};
use crate::time_zone::Tz;

/// Some work; gives a number so that none of it is left out.
pub type Work = Box<dyn FnMut() -> Result<usize>>;

/// Rows of a key of ten bytes and a count, beginning at key `from`, every `step`th.
fn rows(from: u64, step: u64, count: usize) -> Result<RecordBatch> {
    let keys = (0..count as u64).map(|i| format!("w{:09}", from + i * step));
    let keys: ArrayRef = Arc::new(StringViewArray::from_iter_values(keys));
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
    Ok(RecordBatch::try_from_iter([("key", keys), ("count", counts)])?)
}

/// A store of `keys` keys.
fn store(keys: usize) -> Result<KeyedStore> {
    let all = rows(0, 1, keys)?;
    let mut store = KeyedStore::try_new(all.schema(), 1)?;
    let mut slots = vec![];
    store.intern(&all.columns()[..1], keys, &mut slots)?;
    store.put(&slots, &all.columns()[1..])?;
    Ok(store)
}

/// Looks `count` keys up in an index of `keys`.
pub fn key_index(keys: usize, count: usize) -> Result<Work> {
    let mut store = store(keys)?;
    let wanted = rows(7, (keys / count) as u64, count)?;
    Ok(Box::new(move || {
        let mut slots = vec![];
        store.intern(&wanted.columns()[..1], count, &mut slots)?;
        Ok(slots.len())
    }))
}

/// Looks `count` keys up in a state of `keys`, takes what they have, and puts something else.
pub fn state_merge(keys: usize, count: usize) -> Result<Work> {
    let mut store = store(keys)?;
    let wanted = rows(7, (keys / count) as u64, count)?;
    Ok(Box::new(move || {
        let mut slots = vec![];
        store.intern(&wanted.columns()[..1], count, &mut slots)?;
        let old = store.state(slots.iter().copied())?;
        store.put(&slots, &wanted.columns()[1..])?;
        Ok(old.len())
    }))
}

/// Appends the record of a batch that changed `count` keys to a log in `dir`, without waiting for the disk.
pub fn log_append(dir: &Path, count: usize) -> Result<Work> {
    let options = CheckpointOptions { sync: false, ..CheckpointOptions::default() };
    let (checkpoint, _) = Checkpoint::open(dir, options)?;
    checkpoint.write_metadata(&Metadata {
        id: Uuid::new_v4(),
        format_version: FORMAT_VERSION,
        query: "SELECT 1".into(),
        output_mode: "update".into(),
        sources: vec!["s".into()],
        reads: vec![],
        sink: "NoopSink".into(),
        sink_format: None,
        operators: vec![],
    })?;
    let change = StateChange { store: 0, kind: ChangeKind::Put, rows: rows(0, 1, count)? };
    let mut batch_id = 0;
    Ok(Box::new(move || {
        let range = SourceRange { name: "s".into(), start: batch_id.into(), end: (batch_id + 1).into() };
        let header = BatchHeader {
            batch_id,
            batch_timestamp_ms: 0,
            batch_watermark_ms: 0,
            next_watermark_ms: 0,
            sources: vec![range],
            num_input_rows: count as u64,
            conf: BTreeMap::new(),
        };
        let appended = checkpoint.append_batch(&BatchRecord { header, changes: vec![(0, change.clone())] })?;
        checkpoint.append_commit(batch_id)?;
        batch_id += 1;
        Ok(appended.lsn as usize)
    }))
}

/// Prints `count` rows as the console does.
pub fn console_table(count: usize) -> Result<Work> {
    let batch = rows(0, 1, count)?;
    Ok(Box::new(move || {
        let schema = batch.schema();
        Ok(show_table(&schema, std::slice::from_ref(&batch), count, Truncate::default(), Tz::UTC).len())
    }))
}
