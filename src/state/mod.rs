//! Keyed state of stateful operators, in memory or in mapped files.
//!
//! Owns: key index, state columns, their memory accounting. Does not own: files, time, batch ids.

mod backend;
mod column;
mod entries;
mod key_encoder;
mod key_index;
mod key_table;
mod paged;
mod prefetch;
mod segment;
mod store;

pub use backend::StateBackend;
pub use entries::{Entry, EntryCodec, EntryKey, EntryMap, FrozenEntryState, VariableSize};
pub use key_encoder::{EncodedKeys, KeyEncoder};
pub use key_index::KeyIndex;
pub use paged::{PagedVec, Plain};
pub use prefetch::{AHEAD, prefetch};
pub use segment::compact_nested;
pub use store::{Columns, FrozenStore, KeyedStore, record_batch};

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::execution::memory_pool::MemoryPool;

use crate::error::Result;

/// Where an operator keeps its state, and what it asks before it takes memory.
#[derive(Debug, Clone)]
pub struct StateSpace {
    /// Memory is reserved here.
    pub pool: Arc<dyn MemoryPool>,
    /// Keys and values are kept here.
    pub backend: StateBackend,
}

impl StateSpace {
    /// What the session gives the state of its queries.
    pub fn of(session: &dyn Session) -> Self {
        let backend = session.config().get_extension::<StateBackend>();
        Self {
            pool: session.runtime_env().memory_pool.clone(),
            backend: backend.map_or_else(StateBackend::default, |b| (*b).clone()),
        }
    }
}

/// What a batch did to a store of an operator: rows in Arrow's own layout, so that what is on disk depends on no index,
/// hash or shard.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// Which of the operator's stores.
    pub store: u16,
    /// What the rows mean.
    pub kind: ChangeKind,
    /// For `Put`: key columns, then state columns. For `Delete`: key columns. For `Evict`: one row that says up to where.
    pub rows: RecordBatch,
}

/// What the rows of a [`StateChange`] mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ChangeKind {
    /// Insert the key or replace its state.
    Put = 1,
    /// Remove the key.
    Delete = 2,
    /// Remove everything up to a bound.
    Evict = 3,
}

/// Figures for the progress, over one batch but for the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// Rows (keys) in state after the batch.
    pub rows_total: u64,
    /// Rows put by the batch.
    pub rows_updated: u64,
    /// Rows removed by the batch.
    pub rows_removed: u64,
    /// Rows of the operator's input that came too late.
    pub rows_dropped_by_watermark: u64,
    /// Bytes held, reserved in DataFusion's memory pool.
    pub memory_used_bytes: u64,
}

/// The state of one stateful operator. Its `ExecutionPlan` stages changes while a batch runs; nothing of them can be seen
/// by the next batch before `publish`.
pub trait OperatorState: Send + Sync + fmt::Debug {
    /// Spark's name of the operator, e.g. `stateStoreSave`.
    fn operator_name(&self) -> &'static str;

    /// What must not change over restarts, in words: keys, aggregates, their types. Compared with the checkpoint's.
    fn fingerprint(&self) -> Vec<String>;

    /// What the staged batch changes, to be logged before it is published.
    fn staged(&self) -> Result<Vec<StateChange>>;

    /// Makes the staged batch the state.
    fn publish(&self) -> Result<()>;

    /// Forgets the staged batch: the state is as before it.
    fn abort(&self);

    /// Applies a logged change, at recovery.
    fn apply(&self, change: &StateChange) -> Result<()>;

    /// An image of the state now, cheap to take, to be written in the background while batches go on.
    fn freeze(&self) -> Result<Arc<dyn FrozenState>>;

    /// Figures of the last published batch.
    fn metrics(&self) -> StateMetrics;

    /// Figures of the last published batch that only this operator has, under Spark's names.
    fn custom_metrics(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
}

/// The image of a state at a batch boundary.
pub trait FrozenState: Send + Sync {
    /// All rows, as `Put` changes in pieces of bounded size, each produced when asked for.
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_>;
}
