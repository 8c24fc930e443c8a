//! What a processor's handle and variables share: whose turn it is, and where the entries are.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::super::TimeMode;
use super::handle::{QueryInfo, TimerValues};
use super::variable::Kind;
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::state::{Entry, EntryKey, EntryMap};

/// The variable of timers.
pub const TIMER: &str = "timer";

/// Where in its life a processor is.
#[derive(Debug, Clone)]
pub enum Phase {
    /// In `init`.
    Init,
    /// Between calls.
    Idle,
    /// Called for a key.
    Key(Arc<[u8]>),
}

/// What a processor has made and done.
pub struct Context {
    pub phase: Phase,
    pub time: TimeMode,
    pub output_mode: OutputMode,
    pub entries: Arc<Mutex<EntryMap>>,
    pub times: TimerValues,
    pub query: QueryInfo,
    /// Variables by name, and whether they have a time to live.
    pub variables: BTreeMap<Arc<str>, (Kind, bool)>,
    /// Variables to be purged by the first batch.
    pub purged: Vec<String>,
    pub figures: Figures,
    timer: Arc<str>,
}

/// Figures of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub updated: u64,
    pub removed: u64,
    pub registered_timers: u64,
    pub deleted_timers: u64,
    pub expired_timers: u64,
    pub expired_values: u64,
    pub deleted_variables: u64,
}

impl Context {
    pub fn new(time: TimeMode, output_mode: OutputMode) -> Self {
        Self {
            phase: Phase::Init,
            time,
            output_mode,
            entries: Arc::default(),
            times: TimerValues::default(),
            query: QueryInfo::default(),
            variables: BTreeMap::new(),
            purged: vec![],
            figures: Figures::default(),
            timer: TIMER.into(),
        }
    }

    /// The key that the processor is called for.
    pub fn group(&self, operation: &str) -> Result<&Arc<[u8]>> {
        match &self.phase {
            Phase::Key(group) => Ok(group),
            Phase::Init | Phase::Idle => Err(self.wrong_phase(operation)),
        }
    }

    pub fn wrong_phase(&self, operation: &str) -> Error {
        let state = match self.phase {
            Phase::Init => "CREATED",
            Phase::Idle => "INITIALIZED",
            Phase::Key(_) => "PROCESSING",
        };
        let message =
            format!("failed to perform stateful processor operation={operation} with invalid handle state={state}");
        Error::invalid("STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_HANDLE_STATE", message)
            .with_help("variables are made and deleted in init; they and timers are used while a key is handled")
    }

    pub fn entries(&self) -> MutexGuard<'_, EntryMap> {
        self.entries.lock()
    }

    /// Where the timer of a key at this time is.
    pub fn timer_key(&self, group: &Arc<[u8]>, expiry_ms: i64) -> EntryKey {
        EntryKey { group: group.clone(), variable: self.timer.clone(), item: ordered_bytes(expiry_ms) }
    }

    pub fn register_timer(&mut self, expiry_ms: i64) -> Result<()> {
        let key = self.timer_key(self.timer_group("register_timer")?, expiry_ms);
        self.entries().insert(key, Entry { value: None, expires_ms: Some(expiry_ms) });
        self.figures.registered_timers += 1;
        Ok(())
    }

    pub fn delete_timer(&mut self, expiry_ms: i64) -> Result<()> {
        let key = self.timer_key(self.timer_group("delete_timer")?, expiry_ms);
        self.entries().remove(&key);
        self.figures.deleted_timers += 1;
        Ok(())
    }

    pub fn list_timers(&self) -> Result<Vec<i64>> {
        let group = self.timer_group("list_timers")?;
        let entries = self.entries();
        Ok(entries.items(group, &self.timer).filter_map(|(_, entry)| entry.expires_ms).collect())
    }

    fn timer_group(&self, operation: &str) -> Result<&Arc<[u8]>> {
        if self.time == TimeMode::None {
            let message =
                format!("failed to perform stateful processor operation={operation} with invalid timeMode=None");
            return Err(Error::invalid("STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE", message)
                .with_help("timers need TimeMode::ProcessingTime or TimeMode::EventTime"));
        }
        self.group(operation)
    }

    /// Entries whose time to live has ended.
    pub fn remove_expired(&mut self) {
        let mut entries = self.entries.lock();
        let ended = entries.expired(self.times.processing_ms).filter(|(_, k)| k.variable != self.timer);
        let ended: Vec<_> = ended.map(|(_, key)| key.clone()).collect();
        ended.iter().for_each(|key| {
            entries.remove(key);
        });
        drop(entries);
        self.figures.removed += ended.len() as u64;
        self.figures.expired_values += ended.len() as u64;
    }

    /// Timers that fire in this batch, in the order of their times.
    pub fn due_timers(&self) -> Vec<(i64, Arc<[u8]>)> {
        let bound = match self.time {
            TimeMode::None => return vec![],
            TimeMode::ProcessingTime => self.times.processing_ms,
            TimeMode::EventTime => self.times.watermark_ms.unwrap_or(i64::MIN),
        };
        let entries = self.entries();
        let due = entries.expired(bound).filter(|(_, key)| key.variable == self.timer);
        due.map(|(at, key)| (*at, key.group.clone())).collect()
    }

    /// Whether the key still has this timer.
    pub fn has_timer(&self, group: &Arc<[u8]>, expiry_ms: i64) -> bool {
        self.entries().get(&self.timer_key(group, expiry_ms)).is_some()
    }

    /// Takes a timer away that has fired, or expired.
    pub fn timer_fired(&mut self, group: &Arc<[u8]>, expiry_ms: i64) {
        self.entries().remove(&self.timer_key(group, expiry_ms));
        self.figures.deleted_timers += 1;
    }

    /// Deletes what `init` asked for, and checks that what is there is of the kind that `init` made.
    pub fn settle(&mut self) -> Result<()> {
        let mut entries = self.entries.lock();
        for name in std::mem::take(&mut self.purged) {
            let gone: Vec<_> = Kind::ALL.iter().flat_map(|kind| entries.of_variable(&kind.variable(&name))).collect();
            self.figures.deleted_variables += u64::from(!gone.is_empty());
            gone.iter().for_each(|key| {
                entries.remove(key);
            });
        }
        for (name, (kind, _)) in &self.variables {
            let other = Kind::ALL.iter().find(|k| *k != kind && entries.sizes().any(|(v, _)| *v == *k.variable(name)));
            if let Some(other) = other {
                let message = format!(
                    "Cannot change {name} to {kind} between query restarts. Please set {name} to {other}, or restart with a new checkpoint directory."
                );
                return Err(Error::checkpoint("STATE_STORE_INVALID_VARIABLE_TYPE_CHANGE", message)
                    .with_help("or delete the variable first, with delete_if_exists"));
            }
        }
        Ok(())
    }
}

/// Eight bytes that are ordered as the numbers.
pub fn ordered_bytes(number: i64) -> Arc<[u8]> {
    let bytes = ((number as u64) ^ (1 << 63)).to_be_bytes();
    bytes.as_slice().into()
}

/// The number of [`ordered_bytes`].
pub fn ordered_number(bytes: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(bytes.try_into().ok()?) ^ (1 << 63)) as i64)
}
