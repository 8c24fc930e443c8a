//! Sessions by key, and by when they end.
//!
//! ```text
//! keys    key ─► slot          heads  by key: its first session ─┐
//! table   by slot: { key, start, end, next } ◄───────────────────┘   the sessions of a key are a list in order of start
//! rows    by slot: start, end, state of the aggregates
//! queue   bucket of time ─► slots that end there or later
//! ```
//!
//! A slot is used again when its session is gone. A session is in the queue once: it stays in its bucket when it grows, and
//! goes on to the right one when the watermark comes by.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{concat, filter_record_batch, take_arrays};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{END, START};
use crate::error::{Error, Result};
use crate::operator::WORTH_REINDEXING;
use crate::state::{
    ChangeKind, FrozenState, FrozenStore, KeyedStore, PagedVec, Plain, StateBackend, StateChange, record_batch,
};

/// Ends that share a place in the queue, in microseconds.
const BUCKET_US: i64 = 10_000_000;
/// No session, or no key.
const NONE: u32 = u32::MAX;

/// One session in state.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Session {
    /// Its key's slot.
    pub key: u32,
    next: u32,
    /// In microseconds.
    pub start: i64,
    /// In microseconds, exclusive.
    pub end: i64,
    /// The bucket of the queue that has it.
    queued: i64,
}

// SAFETY: numbers only; the two of four bytes are together, so that there is no gap.
unsafe impl Plain for Session {}

/// See the module.
pub struct SessionStore {
    /// Keys, start, end, state: what a change holds.
    schema: SchemaRef,
    num_keys: usize,
    keys: KeyedStore,
    heads: PagedVec<u32>,
    /// How many keys have a session.
    keyed: usize,
    table: PagedVec<Session>,
    free: Vec<u32>,
    rows: KeyedStore,
    /// Empty unless sessions are evicted.
    queue: BTreeMap<i64, Vec<u32>>,
    evicts: bool,
}

fn keys_schema(schema: &Schema, num_keys: usize) -> SchemaRef {
    Arc::new(Schema::new(schema.fields()[..num_keys].to_vec()))
}

impl SessionStore {
    /// An empty store of rows of `schema`: `num_keys` keys, start, end and state. `evicts` if sessions go when they end.
    pub fn try_new(backend: &StateBackend, schema: SchemaRef, num_keys: usize, evicts: bool) -> Result<Self> {
        let number = Arc::new(Field::new("slot", DataType::UInt64, false));
        let fields: Vec<_> = std::iter::once(number).chain(schema.fields()[num_keys..].iter().cloned()).collect();
        Ok(Self {
            keys: KeyedStore::try_new_in(backend, keys_schema(&schema, num_keys), num_keys)?,
            rows: KeyedStore::try_new_in(backend, Arc::new(Schema::new(fields)), 1)?,
            schema,
            num_keys,
            heads: PagedVec::new(backend.clone()),
            keyed: 0,
            table: PagedVec::new(backend.clone()),
            free: vec![],
            queue: BTreeMap::new(),
            evicts,
        })
    }

    /// Columns of a row: keys, start, end, state.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    /// How many keys are known, with or without a session.
    pub fn num_keys(&self) -> usize {
        self.keys.len()
    }

    /// The slot of every row's key; a new key has no session.
    pub fn intern(&mut self, keys: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        self.keys.intern(keys, rows, slots)?;
        self.heads.resize(self.keys.len(), NONE);
        Ok(())
    }

    /// Forgets the keys from slot `len` on, which must have no session.
    pub fn forget_keys(&mut self, len: usize) {
        self.keys.truncate(len);
        self.heads.truncate(len);
    }

    /// The columns of these keys.
    pub fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.keys(slots)
    }

    /// The sessions of a key with their slots, by start.
    pub fn of_key(&self, key: u32) -> impl Iterator<Item = (u32, &Session)> {
        let mut at = self.heads[key as usize];
        std::iter::from_fn(move || {
            let session = self.table.get(at as usize)?;
            let slot = std::mem::replace(&mut at, session.next);
            Some((slot, session))
        })
    }

    /// The session at a slot.
    pub fn session(&self, slot: u32) -> &Session {
        &self.table[slot as usize]
    }

    /// The slot of the key's session that starts then.
    pub fn starting(&self, key: u32, start: i64) -> Option<u32> {
        self.of_key(key).find(|(_, s)| s.start == start).map(|(slot, _)| slot)
    }

    /// The slots of all sessions.
    pub fn slots(&self) -> Vec<u32> {
        (0..self.table.len() as u32).filter(|s| self.table[*s as usize].key != NONE).collect()
    }

    /// The state columns of the sessions at these slots.
    pub fn state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.rows.state(slots.iter().copied())?;
        Ok(columns.split_off(2))
    }

    /// Gives the sessions at `slots` their start, end and state.
    pub fn put(&mut self, slots: &[u32], rows: &[ArrayRef]) -> Result<()> {
        let known = self.rows.len() as u64;
        if (known as usize) < self.table.len() {
            let new = UInt64Array::from_iter_values(known..self.table.len() as u64);
            let (len, mut made) = (new.len(), vec![]);
            self.rows.intern(&[Arc::new(new)], len, &mut made)?;
        }
        self.rows.put(slots, rows)
    }

    /// A new session of a key; its row is to be put.
    pub fn insert(&mut self, key: u32, start: i64, end: i64) -> u32 {
        let queued = end.div_euclid(BUCKET_US);
        let session = Session { key, start, end, next: NONE, queued };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.table[slot as usize] = session;
                slot
            }
            None => {
                self.table.push(session);
                self.table.len() as u32 - 1
            }
        };
        self.keyed += usize::from(self.heads[key as usize] == NONE);
        let before = self.of_key(key).take_while(|(_, s)| s.start < start).last().map(|(slot, _)| slot);
        let link = self.link(key, before);
        let next = std::mem::replace(link, slot);
        self.table[slot as usize].next = next;
        if self.evicts {
            self.queue.entry(queued).or_default().push(slot);
        }
        slot
    }

    /// Gives the session other bounds, which must not take it past another session of its key, nor shorten it.
    pub fn resize(&mut self, slot: u32, start: i64, end: i64) {
        let session = &mut self.table[slot as usize];
        (session.start, session.end) = (start, end);
    }

    /// Removes the session at a slot.
    pub fn remove(&mut self, slot: u32) {
        let Session { key, next, .. } = self.table[slot as usize];
        let before = self.of_key(key).take_while(|(s, _)| *s != slot).last().map(|(slot, _)| slot);
        *self.link(key, before) = next;
        self.keyed -= usize::from(self.heads[key as usize] == NONE);
        self.table[slot as usize].key = NONE;
        self.free.push(slot);
    }

    /// What points to the session after `before`, or to the first of the key.
    fn link(&mut self, key: u32, before: Option<u32>) -> &mut u32 {
        match before {
            Some(slot) => &mut self.table[slot as usize].next,
            None => &mut self.heads[key as usize],
        }
    }

    /// The slots of the sessions that end at `bound` or before, in order. They stay until they are removed.
    pub fn ended(&mut self, bound: i64) -> Vec<u32> {
        let due: Vec<i64> = self.queue.range(..=bound.div_euclid(BUCKET_US)).map(|(bucket, _)| *bucket).collect();
        let mut ended = vec![];
        for bucket in due {
            for slot in self.queue.remove(&bucket).unwrap_or_default() {
                let session = &mut self.table[slot as usize];
                if session.key == NONE || session.queued != bucket {
                    continue;
                }
                if session.end <= bound {
                    ended.push(slot);
                } else {
                    session.queued = session.end.div_euclid(BUCKET_US);
                }
                self.queue.entry(session.queued).or_default().push(slot);
            }
        }
        ended.sort_unstable();
        ended.dedup();
        ended
    }

    /// The earliest end of a session, if sessions go when they end.
    pub fn first_end(&self) -> Option<i64> {
        let live = |bucket: &i64, slot: u32| {
            let session = &self.table[slot as usize];
            (session.key != NONE && session.queued == *bucket).then_some(session.end)
        };
        let mut first: Option<i64> = None;
        for (bucket, slots) in &self.queue {
            if first.is_some_and(|end| end < bucket.saturating_mul(BUCKET_US)) {
                break;
            }
            first = slots.iter().filter_map(|s| live(bucket, *s)).chain(first).min();
        }
        first
    }

    /// Makes the index of keys anew if most of them have no session.
    pub fn bury_keys(&mut self) -> Result<()> {
        let idle = self.keys.len() - self.keyed;
        if idle <= WORTH_REINDEXING || idle <= self.keys.len() / 2 {
            return Ok(());
        }
        let kept: Vec<u32> = (0..self.keys.len() as u32).filter(|k| self.heads[*k as usize] != NONE).collect();
        let columns = self.keys.keys(&kept)?;
        let mut keys = self.keys.empty();
        let mut new = vec![];
        keys.intern(&columns, kept.len(), &mut new)?;
        let mut heads = PagedVec::new(keys.backend().clone());
        heads.resize(kept.len(), NONE);
        for (old, new) in kept.iter().zip(&new) {
            heads[*new as usize] = self.heads[*old as usize];
            let mut at = heads[*new as usize];
            while let Some(session) = self.table.get_mut(at as usize) {
                session.key = *new;
                at = session.next;
            }
        }
        (self.keys, self.heads) = (keys, heads);
        Ok(())
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let queued: usize = self.queue.values().map(|s| s.capacity() * 4 + 48).sum();
        self.keys.size() + self.rows.size() + self.heads.size() + self.table.size() + self.free.capacity() * 4 + queued
    }

    /// The store now.
    pub fn freeze(&self) -> FrozenSessions {
        FrozenSessions {
            schema: self.schema.clone(),
            num_keys: self.num_keys,
            keys: self.keys.freeze(),
            rows: self.rows.freeze(),
            key_of: self.table.iter().map(|s| s.key).collect(),
        }
    }
}

/// The image of a [`SessionStore`].
pub struct FrozenSessions {
    schema: SchemaRef,
    num_keys: usize,
    keys: FrozenStore,
    rows: FrozenStore,
    /// By slot of a session.
    key_of: Vec<u32>,
}

impl FrozenState for FrozenSessions {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        let mut from = 0;
        let mut keys = None;
        Box::new(self.rows.changes().map(move |piece| {
            let rows = piece?.rows;
            let key_of = self.key_of.get(from..from + rows.num_rows());
            let key_of = key_of.ok_or_else(|| Error::internal("an image of sessions has more rows than sessions"))?;
            from += rows.num_rows();
            let keys = match &mut keys {
                Some(keys) => keys,
                none => none.insert(self.key_columns()?),
            };
            let live = BooleanArray::from_iter(key_of.iter().map(|k| Some(*k != NONE)));
            let rows = filter_record_batch(&rows, &live)?;
            let of = UInt32Array::from_iter_values(key_of.iter().copied().filter(|k| *k != NONE));
            let columns = take_arrays(keys, &of, None)?.into_iter().chain(rows.columns()[1..].iter().cloned());
            let rows = record_batch(self.schema.clone(), columns.collect(), of.len())?;
            Ok(StateChange { store: 0, kind: ChangeKind::Put, rows })
        }))
    }
}

impl FrozenSessions {
    /// All keys, by slot.
    fn key_columns(&self) -> Result<Vec<ArrayRef>> {
        let pieces = self.keys.changes().map(|c| Ok(c?.rows)).collect::<Result<Vec<_>>>()?;
        let column = |i: usize| -> Result<ArrayRef> {
            let parts: Vec<_> = pieces.iter().map(|p| p.column(i).as_ref()).collect();
            Ok(concat(&parts)?)
        };
        if pieces.is_empty() { Ok(vec![]) } else { (0..self.num_keys).map(column).collect() }
    }
}

/// The fields of a session's bounds in a change.
pub fn bounds_fields() -> [Field; 2] {
    [Field::new(START, DataType::Int64, false), Field::new(END, DataType::Int64, false)]
}
