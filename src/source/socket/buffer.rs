//! Rows received and not yet committed.
//!
//! Owns the numbering of rows: the task that receives appends, the query reads ranges and commits. Receiving pauses
//! while the buffer is full, so that TCP slows the peer down.
//!
//! ```text
//! committed       taken            received
//!     │  kept, for  │  waits for a     │
//!     │  a restart  │  batch: limited  │
//! ```
//!
//! Rows of a batch are committed only when its successor is durable. They must not fill the buffer, or the rows that
//! would be the successor are never received.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::rows::Rows;
use crate::error::{Error, Result};
use crate::source::SourceContext;

/// Rows that are gathered before they become a batch, unless somebody asks for them.
const CHUNK_ROWS: usize = 65_536;
const CHUNK_BYTES: usize = 4 << 20;
/// Long lines fill the buffer before its rows do.
const MAX_BUFFERED_BYTES: usize = 256 << 20;

/// The buffer between the receiving task and the query.
#[derive(Debug)]
pub struct ReceiveBuffer {
    schema: SchemaRef,
    max_rows: u64,
    state: Mutex<State>,
    /// Told when there is room again, or when the numbering starts.
    changed: Notify,
    wake: Arc<Notify>,
    /// What the session's memory pool knows of the buffer.
    reservation: MemoryReservation,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    open: Rows,
    /// Rows received in all, and those of them that are committed; counted from this process's first row.
    received: u64,
    committed: u64,
    /// Rows of batches that have run: they wait for their successor to be durable, and take no room.
    taken: u64,
    bytes: usize,
    /// The offset of this process's first row: where the query stands when it first asks.
    base: Option<u64>,
    available_now: Option<u64>,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Chunk {
    rows: Range<u64>,
    batch: RecordBatch,
    bytes: usize,
}

impl State {
    /// Makes a batch of the rows gathered so far.
    fn freeze(&mut self, schema: &SchemaRef) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.open);
        let (bytes, first) = (rows.size(), self.received - rows.len() as u64);
        self.chunks.push_back(Chunk { rows: first..self.received, batch: rows.into_batch(schema)?, bytes });
        Ok(())
    }

    /// Bytes of rows that no batch has taken, give or take a chunk.
    fn waiting_bytes(&self) -> usize {
        let taken = self.chunks.iter().take_while(|c| c.rows.end <= self.taken).map(|c| c.bytes).sum::<usize>();
        self.bytes - taken
    }

    fn has_room(&self, max_rows: u64) -> bool {
        self.received - self.taken.max(self.committed) < max_rows && self.waiting_bytes() < MAX_BUFFERED_BYTES
    }

    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl ReceiveBuffer {
    /// An empty buffer for at most `max_rows` rows that no batch has taken; `base` is the offset of the first one, if it is known.
    pub fn new(schema: SchemaRef, max_rows: u64, base: Option<u64>, ctx: &SourceContext) -> Self {
        let reservation = MemoryConsumer::new("socket source").register(&ctx.session.runtime_env().memory_pool);
        let state = Mutex::new(State { base, ..Default::default() });
        Self { schema, max_rows, state, changed: Notify::new(), wake: ctx.wake.clone(), reservation }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Appends received rows, leaves `rows` empty, and wakes the query.
    pub fn publish(&self, rows: &mut Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.open.len() + rows.len() > CHUNK_ROWS || state.open.bytes.len() + rows.bytes.len() > CHUNK_BYTES {
            state.freeze(&self.schema)?;
        }
        state.received += rows.len() as u64;
        state.bytes += rows.size();
        state.open.append(rows);
        self.reservation.resize(state.bytes);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Receiving is over; the query learns why.
    pub fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.wake.notify_one();
    }

    /// Waits until there is room.
    pub async fn wait_for_space(&self) {
        self.wait(|s| s.has_room(self.max_rows)).await;
    }

    /// Waits until the offset of the first row is known.
    pub async fn wait_for_base(&self) -> u64 {
        self.wait(|s| s.base.is_some()).await;
        self.lock().base.unwrap_or_default()
    }

    async fn wait(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Starts numbering at `offset`, unless it started before.
    pub fn start_at(&self, offset: u64) -> u64 {
        let base = *self.lock().base.get_or_insert(offset);
        self.changed.notify_one();
        base
    }

    /// The offset after the last row received. Batches have taken the rows before `start`: there is room for others.
    pub fn end(&self, start: u64, limited: bool) -> Result<u64> {
        let base = self.start_at(start);
        let mut state = self.lock();
        state.check()?;
        let taken = start.saturating_sub(base).min(state.received);
        if taken > state.taken {
            state.freeze(&self.schema)?;
            state.taken = taken;
            self.changed.notify_one();
        }
        let end = match state.available_now {
            Some(fixed) if limited => state.received.min(fixed),
            _ => state.received,
        };
        if base + state.received < start {
            return Err(Error::checkpoint(
                "SOCKET_DATA_LOST",
                format!(
                    "the query has read {start} rows, but the socket source's log ends at {}",
                    base + state.received
                ),
            )
            .with_help("start the query with a new checkpoint"));
        }
        Ok(base + end)
    }

    /// Whether all rows from `start` to `end` are here.
    pub fn has(&self, start: u64, end: u64) -> bool {
        let state = self.lock();
        state.base.is_some_and(|b| start >= b + state.committed && end <= b + state.received)
    }

    /// The rows from `start` up to, not including, `end`.
    pub fn read(&self, start: u64, end: u64) -> Result<Vec<RecordBatch>> {
        if !self.has(start, end) {
            return Err(Error::execution(
                "SOCKET_DATA_LOST",
                format!("the socket source no longer has rows {start} to {end}"),
            )
            .with_help("with the option wal 'true' received rows survive a restart"));
        }
        let mut state = self.lock();
        state.freeze(&self.schema)?;
        let base = state.base.unwrap_or_default();
        let wanted = start - base..end - base;
        let overlapping = state.chunks.iter().filter(|c| c.rows.start < wanted.end && c.rows.end > wanted.start);
        Ok(overlapping.map(|c| slice(c, &wanted)).collect())
    }

    /// Drops rows before `end`; gives whether some were dropped.
    pub fn commit(&self, end: u64) -> Result<bool> {
        let base = self.start_at(end);
        let mut state = self.lock();
        let end = end.saturating_sub(base).min(state.received);
        if end <= state.committed {
            return Ok(false);
        }
        state.freeze(&self.schema)?;
        while let Some(chunk) = state.chunks.pop_front_if(|c| c.rows.end <= end) {
            state.bytes -= chunk.bytes;
        }
        state.committed = end;
        self.reservation.resize(state.bytes);
        drop(state);
        self.changed.notify_one();
        Ok(true)
    }

    /// Fixes the end of what `TRIGGER AVAILABLE NOW` reads.
    pub fn fix_end(&self) {
        let mut state = self.lock();
        state.available_now = Some(state.received);
    }

    /// Rows received and not committed.
    pub fn buffered_rows(&self) -> u64 {
        let state = self.lock();
        state.received - state.committed
    }
}

fn slice(chunk: &Chunk, wanted: &Range<u64>) -> RecordBatch {
    let from = wanted.start.max(chunk.rows.start) - chunk.rows.start;
    let to = wanted.end.min(chunk.rows.end) - chunk.rows.start;
    chunk.batch.slice(from as usize, (to - from) as usize)
}
