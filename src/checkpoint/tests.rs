//! Tests of the whole: round trips, every crash state of a short run, every damaged byte, failing calls.
//!
//! The state is a small map; after every recovery it must equal what the model has after some batch, and that batch must
//! be at least the last one that was durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::Int64Type;
use uuid::Uuid;

use super::sim::{Fault, SimFs};
use super::*;
use crate::error::{Error, Result};
use crate::failpoint::Action;
use crate::failpoint::Failpoints;
use crate::state::{ChangeKind, FrozenState};

const DIR: &str = "/checkpoint";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

pub(super) fn metadata() -> Metadata {
    Metadata {
        id: Uuid::from_u128(7),
        format_version: FORMAT_VERSION,
        query: "SELECT 1".into(),
        output_mode: "update".into(),
        sources: vec!["a".into()],
        reads: vec![],
        sink: "ConsoleSink".into(),
        sink_format: None,
        operators: vec![],
    }
}

type Model = BTreeMap<String, i64>;

fn put(entries: &[(String, i64)]) -> StateChange {
    let keys = StringViewArray::from_iter_values(entries.iter().map(|e| &e.0));
    let counts = Int64Array::from_iter_values(entries.iter().map(|e| e.1));
    let rows = RecordBatch::try_from_iter([("key", Arc::new(keys) as _), ("count", Arc::new(counts) as _)]).unwrap();
    StateChange { store: 0, kind: ChangeKind::Put, rows }
}

/// Batch `n` counts up one of three keys.
fn batch(n: u64) -> BatchRecord {
    let range = SourceRange { name: "a".into(), start: n.into(), end: (n + 1).into() };
    let header = BatchHeader {
        batch_id: n,
        batch_timestamp_ms: 1000 * n as i64,
        batch_watermark_ms: 0,
        next_watermark_ms: 0,
        sources: vec![range],
        num_input_rows: 1,
        conf: BTreeMap::new(),
    };
    BatchRecord { header, changes: vec![(0, put(&[(format!("a rather long key {}", n % 3), n as i64)]))] }
}

fn model_after(batches: u64) -> Model {
    (0..batches).map(|n| (format!("a rather long key {}", n % 3), n as i64)).collect()
}

fn apply(model: &mut Model, change: &StateChange) {
    let keys = change.rows.column(0).as_string_view();
    let counts = change.rows.column(1).as_primitive::<Int64Type>();
    model.extend(keys.iter().flatten().map(str::to_owned).zip(counts.values().iter().copied()));
}

/// The recovered state, and after how many batches it is.
fn fold(recovered: Recovered) -> Result<(Model, u64)> {
    let (mut model, mut batches) = (Model::new(), 0);
    if let Some(snapshot) = recovered.snapshot {
        batches = snapshot.batch_id + 1;
        for piece in snapshot {
            apply(&mut model, &piece?.1);
        }
    }
    for b in recovered.batches {
        let b = b?;
        assert_eq!(b.record, batch(batches), "batches come back in order and as they were");
        b.record.changes.iter().for_each(|(_, c)| apply(&mut model, c));
        batches += 1;
    }
    Ok((model, batches))
}

fn recover(fs: &SimFs) -> Result<u64> {
    let (_checkpoint, recovered) = Checkpoint::open(Path::new(DIR), small(fs))?;
    let (model, batches) = fold(recovered)?;
    assert_eq!(model, model_after(batches), "the state is not that after {batches} batches");
    Ok(batches)
}

/// Small segments, so that a short run rolls.
fn small(fs: &SimFs) -> CheckpointOptions {
    CheckpointOptions {
        segment_bytes: 2500,
        preallocate_bytes: 1024,
        min_batches_to_retain: 1,
        fs: Arc::new(fs.clone()),
        ..Default::default()
    }
}

#[derive(Debug)]
struct Frozen(Model);

impl FrozenState for Frozen {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        let entries: Vec<_> = self.0.clone().into_iter().collect();
        let pieces: Vec<_> = entries.chunks(2).map(|c| Ok(put(c))).collect();
        Box::new(pieces.into_iter())
    }
}

fn frozen_after(batches: u64) -> Vec<(u32, Arc<dyn FrozenState>)> {
    vec![(0, Arc::new(Frozen(model_after(batches))))]
}

async fn run_batch(checkpoint: &Checkpoint, n: u64) -> Result<()> {
    let appended = checkpoint.append_batch(&batch(n))?;
    checkpoint.wait_durable(appended.lsn).await
}

/// Batches `from..to`, each acknowledged, with snapshots after some; returns what was durable after how many operations.
async fn run(fs: &SimFs, from: u64, to: u64, snapshots: &[u64]) -> Result<Vec<(usize, u64)>> {
    let (checkpoint, recovered) = Checkpoint::open(Path::new(DIR), small(fs))?;
    if recovered.metadata.is_none() {
        checkpoint.write_metadata(&metadata())?;
    }
    let mut durable = vec![];
    for n in from..to {
        run_batch(&checkpoint, n).await?;
        durable.push((fs.op_count(), n + 1));
        checkpoint.append_commit(n)?;
        if snapshots.contains(&n) {
            checkpoint.begin_snapshot(batch(n).header, frozen_after(n + 1))?.wait().await?;
        }
    }
    Ok(durable)
}

#[tokio::test]
async fn comes_back_over_restarts_rolls_and_snapshots() {
    let fs = SimFs::default();
    for start in [0, 10, 20, 30] {
        run(&fs, start, start + 10, &[start + 4, start + 8]).await.unwrap();
        assert_eq!(recover(&fs).unwrap(), start + 10);
    }
    let (_c, recovered) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    assert_eq!(recovered.metadata, Some(metadata()));
    assert_eq!(recovered.snapshot.as_ref().map(|s| s.batch_id), Some(38));
    let last = recovered.last_batch.unwrap();
    assert_eq!((last.header, last.acknowledged), (batch(39).header, true));
    let files = fs.contents();
    assert!(
        files.len() <= 3 + 2 * 2 + 4,
        "old segments and snapshots are removed: {:?}",
        files.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn an_unacknowledged_batch_is_told_from_the_others() {
    let fs = SimFs::default();
    run(&fs, 0, 3, &[]).await.unwrap();
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    let appended = checkpoint.append_batch(&batch(3)).unwrap();
    checkpoint.wait_durable(appended.lsn).await.unwrap();
    drop(checkpoint);
    let (_c, recovered) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    let batches: Vec<_> = recovered.batches.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|b| b.acknowledged).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(batches[3].hash, appended.hash);
}

/// Checks every crash state of a run of `total` batches; returns how many there were.
async fn check_crash_states(fs: &SimFs, durable: &[(usize, u64)], total: u64) -> usize {
    let mut states = 0;
    for n in 0..=fs.op_count() {
        let at_least = durable.iter().filter(|(ops, _)| *ops <= n).map(|d| d.1).max().unwrap_or(0);
        for state in fs.crash_states(n) {
            states += 1;
            let batches = recover(&state).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
            assert!((at_least..=total).contains(&batches), "after {n} operations: {batches} of {at_least} batches");
            if states % 10 == 0 {
                run(&state, batches, batches + 2, &[batches]).await.unwrap();
                assert_eq!(recover(&state).unwrap(), batches + 2);
            }
        }
    }
    states
}

#[tokio::test]
async fn every_crash_state_recovers_everything_durable() {
    let fs = SimFs::default();
    let durable = run(&fs, 0, 10, &[1, 3, 7]).await.unwrap();
    let states = check_crash_states(&fs, &durable, 10).await;
    assert!(states > 600, "{states} states");
}

/// Several records that one sync is to make durable can reach the disk in any order: a later one without an earlier one
/// is a tear, not corruption.
#[tokio::test]
async fn every_crash_state_of_grouped_batches_recovers() {
    let fs = SimFs::default();
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    checkpoint.write_metadata(&metadata()).unwrap();
    let mut durable = vec![];
    for n in (0..12).step_by(4) {
        let lsn = (n..n + 4).map(|n| checkpoint.append_batch(&batch(n)).unwrap().lsn).max().unwrap();
        checkpoint.wait_durable(lsn).await.unwrap();
        durable.push((fs.op_count(), n + 4));
        checkpoint.append_commit(n + 2).unwrap();
    }
    drop(checkpoint);
    let states = check_crash_states(&fs, &durable, 12).await;
    assert!(states > 300, "{states} states");
}

#[tokio::test]
async fn crashes_during_recovery_lose_nothing() {
    let fs = SimFs::default();
    run(&fs, 0, 4, &[1]).await.unwrap();
    let whole = fs.contents();
    let (path, log) = whole.iter().rfind(|(p, _)| p.extension().is_some_and(|e| e == "log")).unwrap();
    let mut torn = log.clone();
    let end = torn.iter().rposition(|b| *b != 0).unwrap() + 32;
    torn.resize(torn.len().max(end + 40), 0);
    torn[end..end + 8].fill(0xff);
    let torn = fs.with(path, Some(torn));
    let before = torn.op_count();
    assert_eq!(recover(&torn).unwrap(), 4);
    for n in before..=torn.op_count() {
        for state in torn.crash_states(n) {
            assert_eq!(recover(&state).unwrap(), 4, "after {n} operations");
        }
    }
}

fn is_clear(e: &Error) -> bool {
    let known = ["CHECKPOINT_CORRUPT", "CHECKPOINT_VERSION", "STREAMING_CHECKPOINT_MISSING_METADATA_FILE"];
    known.contains(&e.condition()) && e.help().is_some()
}

#[tokio::test]
async fn every_flipped_byte_is_an_error_or_harmless() {
    let fs = SimFs::default();
    run(&fs, 0, 9, &[2, 5]).await.unwrap();
    for (path, contents) in fs.contents() {
        for at in 0..contents.len() {
            let mut damaged = contents.clone();
            damaged[at] ^= 1 << (at % 8);
            match recover(&fs.with(&path, Some(damaged))) {
                // The last batch is acknowledged: no single flip may lose it.
                Ok(batches) => assert_eq!(batches, 9, "byte {at} of {}", path.display()),
                Err(e) => assert!(is_clear(&e), "byte {at} of {}: {e}", path.display()),
            }
        }
    }
}

#[tokio::test]
async fn every_truncation_is_an_error_or_a_prefix() {
    let fs = SimFs::default();
    run(&fs, 0, 9, &[2, 5]).await.unwrap();
    let files = fs.contents();
    let newest = files.iter().map(|f| &f.0).rfind(|p| p.extension().is_some_and(|e| e == "log")).unwrap();
    for (path, contents) in &files {
        for len in 0..contents.len() {
            match recover(&fs.with(path, Some(contents[..len].to_vec()))) {
                // Without its header it was lost, and what comes before says so.
                Ok(batches) if path == newest => assert!(batches <= 9 && len >= 64, "{len} bytes"),
                Ok(batches) => assert_eq!(batches, 9, "{len} bytes of {}", path.display()),
                Err(e) => assert!(is_clear(&e), "{len} bytes of {}: {e}", path.display()),
            }
        }
    }
}

#[tokio::test]
async fn every_zeroed_swapped_doubled_block_is_an_error_or_harmless() {
    let fs = SimFs::default();
    run(&fs, 0, 9, &[2, 5]).await.unwrap();
    let files = fs.contents();
    let newest = files.iter().map(|f| &f.0).rfind(|p| p.extension().is_some_and(|e| e == "log")).unwrap();
    for (path, contents) in &files {
        for block in [64, 512] {
            for at in (0..contents.len().saturating_sub(2 * block)).step_by(block) {
                let (mut zeroed, mut swapped, mut doubled) = (contents.clone(), contents.clone(), contents.clone());
                zeroed[at..at + block].fill(0);
                swapped[at..at + 2 * block].rotate_left(block);
                doubled.copy_within(at..at + block, at + block);
                for damaged in [zeroed, swapped, doubled] {
                    match recover(&fs.with(path, Some(damaged))) {
                        // A block can take the last batch together with its acknowledgement: only the sink knows then.
                        Ok(batches) => {
                            assert!(batches == 9 || path == newest && batches == 8, "{batches} {at} {path:?}")
                        }
                        Err(e) => assert!(is_clear(&e), "{at} of {}: {e}", path.display()),
                    }
                }
            }
        }
        let appended = [contents.as_slice(), &[7; 600]].concat();
        match recover(&fs.with(path, Some(appended))) {
            Ok(batches) => assert_eq!(batches, 9),
            Err(e) => assert!(is_clear(&e) && path != newest, "{e}"),
        }
    }
}

/// The process dies between write and sync; the next one recovers the batch from the page cache and acts on it; then
/// the power goes.
#[tokio::test]
async fn what_recovery_hands_out_is_durable() {
    let fs = SimFs::default();
    run(&fs, 0, 3, &[]).await.unwrap();
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    checkpoint.append_batch(&batch(3)).unwrap();
    checkpoint.append_batch(&batch(4)).unwrap();
    drop(checkpoint);
    assert_eq!(recover(&fs).unwrap(), 5);
    for state in fs.crash_states(fs.op_count()) {
        assert_eq!(recover(&state).unwrap(), 5);
    }
}

#[tokio::test]
async fn a_missing_or_foreign_file_is_named() {
    let fs = SimFs::default();
    run(&fs, 0, 9, &[2, 5]).await.unwrap();
    let older = SimFs::default();
    run(&older, 0, 2, &[]).await.unwrap();
    let foreign = SimFs::default();
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&foreign)).unwrap();
    checkpoint.write_metadata(&Metadata { id: Uuid::from_u128(8), ..metadata() }).unwrap();
    run_batch(&checkpoint, 0).await.unwrap();
    drop(checkpoint);
    let other_log = foreign.contents().into_iter().find(|f| f.0.ends_with("log/00000000000000000001.log")).unwrap();
    let own_logs: Vec<_> = fs.contents().into_iter().filter(|f| f.0.extension().is_some_and(|e| e == "log")).collect();
    assert!(own_logs.len() >= 2);
    for (path, _) in &own_logs {
        let e = recover(&fs.with(path, Some(other_log.1.clone()))).unwrap_err();
        assert!(e.message().contains("another query"), "{e}");
    }
    for (path, contents) in fs.contents() {
        match recover(&fs.with(&path, None)) {
            // A spare snapshot.
            Ok(batches) => assert_eq!(batches, 9, "without {}", path.display()),
            Err(e) => assert!(is_clear(&e), "without {}: {e}", path.display()),
        }
        // An older segment's content in a newer one's place, with the tail of the newer one behind it.
        if path.extension().is_some_and(|e| e == "log") {
            let mut mixed = own_logs[0].1.clone();
            mixed.resize(mixed.len().max(contents.len()), 0);
            let copied = contents.len() / 2;
            mixed[copied..contents.len()].copy_from_slice(&contents[copied..]);
            match recover(&fs.with(&path, Some(mixed))) {
                Ok(batches) => assert_eq!((batches, &path), (9, &own_logs[0].0)),
                Err(e) => assert!(is_clear(&e), "{e}"),
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_replaced_by_the_one_before() {
    let fs = SimFs::default();
    run(&fs, 0, 9, &[2, 5]).await.unwrap();
    let state = fs.contents().into_iter().rfind(|f| f.0.ends_with("00000000000000000005/state")).unwrap();
    let damaged = fs.with(&state.0, Some(state.1[..100].to_vec()));
    assert_eq!(recover(&damaged).unwrap(), 9);
    run(&damaged, 9, 12, &[10]).await.unwrap();
    assert_eq!(recover(&damaged).unwrap(), 12);
}

#[tokio::test]
async fn an_error_poisons_and_is_never_retried() {
    for call in ["sync", "write"] {
        let fs = SimFs::default();
        run(&fs, 0, 2, &[]).await.unwrap();
        let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
        fs.fail(Fault { call, path: ".log", nth: 0, errno: EIO });
        let e = run_batch(&checkpoint, 2).await.unwrap_err();
        assert_eq!(e.condition(), "CHECKPOINT_IO");
        assert!(e.message().contains(".log") && e.message().contains("os error 5"), "{e}");
        for _ in 0..3 {
            assert_eq!(run_batch(&checkpoint, 2).await.unwrap_err().condition(), "CHECKPOINT_IO");
            assert!(checkpoint.append_commit(1).is_err());
        }
        assert_eq!(fs.calls_after_fault(), 1, "no {call} after the one that failed");
    }
}

#[tokio::test]
async fn a_failed_snapshot_is_counted_and_tried_again() {
    let fs = SimFs::default();
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), small(&fs)).unwrap();
    checkpoint.write_metadata(&metadata()).unwrap();
    run_batch(&checkpoint, 0).await.unwrap();
    checkpoint.append_commit(0).unwrap();
    let bytes = checkpoint.log_bytes_since_snapshot();
    assert!(bytes > 0);
    fs.fail(Fault { call: "write", path: "snapshots", nth: 0, errno: ENOSPC });
    let e = checkpoint.begin_snapshot(batch(0).header, frozen_after(1)).unwrap().wait().await.unwrap_err();
    assert!(e.help().unwrap().contains("free space"), "{e}");
    assert_eq!((checkpoint.snapshot_status().failures, checkpoint.log_bytes_since_snapshot()), (1, bytes));
    run_batch(&checkpoint, 1).await.unwrap();
    checkpoint.append_commit(1).unwrap();
    fs.fail(Fault { call: "none", path: "", nth: 0, errno: 0 });
    checkpoint.begin_snapshot(batch(1).header, frozen_after(2)).unwrap().wait().await.unwrap();
    assert_eq!(checkpoint.snapshot_status().last_completed, Some(1));
    assert_eq!(checkpoint.log_bytes_since_snapshot(), 0);
    drop(checkpoint);
    assert_eq!(recover(&fs).unwrap(), 2);
}

#[tokio::test]
async fn one_sync_serves_all_who_wait() {
    let fs = SimFs::default();
    let failpoints = Failpoints::default();
    let options = CheckpointOptions { failpoints: failpoints.clone(), ..small(&fs) };
    let options = CheckpointOptions { segment_bytes: 1 << 20, preallocate_bytes: 1 << 18, ..options };
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), options).unwrap();
    checkpoint.write_metadata(&metadata()).unwrap();
    failpoints.arm("log.written_not_synced", Action::Sleep(Duration::from_millis(20))).unwrap();
    let lsns: Vec<_> = (0..100).map(|n| checkpoint.append_batch(&batch(n)).unwrap().lsn).collect();
    let before = fs.op_count();
    let waits = futures::future::join_all(lsns.iter().map(|lsn| checkpoint.wait_durable(*lsn))).await;
    assert!(waits.iter().all(Result::is_ok));
    assert!(fs.op_count() - before <= 4, "{} operations for 100 waiters", fs.op_count() - before);
    failpoints.clear();
    drop(checkpoint);
    assert_eq!(recover(&fs).unwrap(), 100);
}

#[tokio::test]
async fn a_panic_in_the_syncer_reaches_the_waiters() {
    let fs = SimFs::default();
    let failpoints = Failpoints::default();
    let options = CheckpointOptions { failpoints: failpoints.clone(), ..small(&fs) };
    let (checkpoint, _) = Checkpoint::open(Path::new(DIR), options).unwrap();
    checkpoint.write_metadata(&metadata()).unwrap();
    failpoints.arm("log.written_not_synced", Action::Panic).unwrap();
    assert_eq!(run_batch(&checkpoint, 0).await.unwrap_err().condition(), "INTERNAL_ERROR");
    assert!(checkpoint.append_batch(&batch(1)).is_err());
}

#[tokio::test]
async fn every_failpoint_leaves_something_that_recovers() {
    let own =
        crate::failpoint::FAILPOINTS.iter().filter(|n| ["log.", "snap.", "group."].iter().any(|p| n.starts_with(p)));
    for name in own {
        let fs = SimFs::default();
        let failpoints = Failpoints::default();
        let options = CheckpointOptions { failpoints: failpoints.clone(), ..small(&fs) };
        let (checkpoint, _) = Checkpoint::open(Path::new(DIR), options).unwrap();
        checkpoint.write_metadata(&metadata()).unwrap();
        run_batch(&checkpoint, 0).await.unwrap();
        failpoints.arm(name, Action::Error).unwrap();
        let mut durable = 1;
        for n in 1..30 {
            if run_batch(&checkpoint, n).await.is_err() || checkpoint.append_commit(n).is_err() {
                break;
            }
            durable = n + 1;
            if n % 5 == 0 {
                let _ = checkpoint.begin_snapshot(batch(n).header, frozen_after(n + 1)).unwrap().wait().await;
            }
        }
        assert!(!failpoints.is_armed(name), "'{name}' was never passed");
        drop(checkpoint);
        assert!(recover(&fs).unwrap() >= durable, "after '{name}'");
    }
}

#[tokio::test]
async fn a_newer_version_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("metadata.json"), "tidemill 2 00000000\n{}").unwrap();
    let e = Checkpoint::open(dir.path(), CheckpointOptions::default()).unwrap_err();
    assert_eq!(e.condition(), "CHECKPOINT_VERSION");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_second_open_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = Checkpoint::open(dir.path(), CheckpointOptions::default()).unwrap();
    let e = Checkpoint::open(dir.path(), CheckpointOptions::default()).unwrap_err();
    assert_eq!(e.condition(), "CHECKPOINT_IN_USE");
    assert!(e.message().contains(&format!("pid {}", std::process::id())), "{e}");
    drop(first);
    Checkpoint::open(dir.path(), CheckpointOptions::default()).unwrap();
}

#[tokio::test]
async fn works_on_real_files_and_can_be_shown_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    for sync in [true, false] {
        let path = dir.path().join(format!("nested/{sync}"));
        let options = CheckpointOptions { sync, ..Default::default() };
        let (checkpoint, _) = Checkpoint::open(&path, options.clone()).unwrap();
        checkpoint.write_metadata(&metadata()).unwrap();
        for n in 0..5 {
            run_batch(&checkpoint, n).await.unwrap();
            checkpoint.append_commit(n).unwrap();
        }
        checkpoint.begin_snapshot(batch(4).header, frozen_after(5)).unwrap().wait().await.unwrap();
        run_batch(&checkpoint, 5).await.unwrap();
        let shown = describe(&path, &str::to_owned).unwrap().to_text(None);
        for part in ["batch 4: time 1970-01-01 00:00:04.000", "a: 5 -> 6", "not acknowledged", "operator 0: 3 rows"] {
            assert!(shown.contains(part), "'{part}' is not in\n{shown}");
        }
        checkpoint.close().await.unwrap();
        drop(checkpoint);
        let (_c, recovered) = Checkpoint::open(&path, options).unwrap();
        assert_eq!(fold(recovered).unwrap(), (model_after(6), 6));
    }
}

#[tokio::test]
async fn a_removed_log_stops_the_query() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = Checkpoint::open(dir.path(), CheckpointOptions::default()).unwrap();
    checkpoint.write_metadata(&metadata()).unwrap();
    run_batch(&checkpoint, 0).await.unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(run_batch(&checkpoint, 1).await.unwrap_err().condition(), "CHECKPOINT_REMOVED");
}
