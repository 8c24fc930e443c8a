//! Keys to dense slots: an open-addressing table over row-format keys, built for batches of look-ups.
//!
//! ```text
//! table  [ tag | slot ] [ empty ] [ tag | slot ] …      8 bytes an entry, linear probing, at most half full
//!                  │
//! places      [ chunk, offset ] …                       by slot
//!                  │
//! chunks      [ len key ][ len key ][ len key ] …       append-only, shared with images being written
//! ```
//!
//! Slots are given in the order in which keys appear and are never reused, so a failed batch is undone by forgetting the
//! newest slots. Hashes live in memory only.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::hash_utils::{RandomState, create_hashes};

use super::StateBackend;
use super::backend::Block;
use super::prefetch::prefetch;
use crate::error::Result;

const EMPTY: u64 = u64::MAX;
/// Look-ups in flight: enough to hide memory latency, few enough to stay in the nearest cache.
const GROUP: usize = 32;
const CHUNK_BYTES: usize = 1 << 20;
const HASH_SEED: u64 = 42;

/// The slot of a key that has none.
const MISSING: u32 = u32::MAX;

/// Keys of one store, by slot.
pub struct KeyIndex {
    encoder: Arc<KeyEncoder>,
    table: Vec<u64>,
    /// By slot, to grow the table without reading keys.
    hashes: Vec<u64>,
    /// By slot: chunk and offset of the key's length.
    places: Vec<(u32, u32)>,
    arena: KeyArena,
}

/// Key columns to keys and back, for every index over keys of these types.
pub struct KeyEncoder {
    types: Vec<DataType>,
    converter: RowConverter,
    random_state: RandomState,
}

/// The keys of some rows, and their hashes.
#[derive(Clone)]
pub struct EncodedKeys {
    rows: Arc<Rows>,
    hashes: Arc<Vec<u64>>,
    len: usize,
}

impl EncodedKeys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Those of the first `len` rows.
    pub fn first(&self, len: usize) -> Self {
        Self { len: len.min(self.len), ..self.clone() }
    }

    /// What looking them up gives where there are no keys yet; see [`KeyIndex::locate`].
    pub fn without_slots(&self) -> Vec<u32> {
        vec![MISSING; self.len()]
    }
}

impl KeyEncoder {
    /// An encoder for keys of these types. No types: one key, the empty one.
    pub fn try_new(types: Vec<DataType>) -> Result<Self> {
        let encoded = if types.is_empty() { vec![DataType::Boolean] } else { types.clone() };
        let converter = RowConverter::new(encoded.into_iter().map(SortField::new).collect())?;
        Ok(Self { converter, types, random_state: RandomState::with_seed(HASH_SEED) })
    }

    /// The keys in these columns of `rows` rows.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedKeys> {
        let dummy: [ArrayRef; 1];
        let columns = if columns.is_empty() {
            dummy = [Arc::new(BooleanArray::from(vec![false; rows]))];
            &dummy[..]
        } else {
            columns
        };
        let mut hashes = vec![0; rows];
        create_hashes(columns, &self.random_state, &mut hashes)?;
        let encoded = self.converter.convert_columns(columns)?;
        Ok(EncodedKeys { rows: Arc::new(encoded), hashes: Arc::new(hashes), len: rows })
    }

    /// The columns of these keys.
    pub fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(keys.map(|k| parser.parse(k)))?;
        columns.truncate(self.types.len());
        Ok(columns)
    }
}

/// The keys' bytes in slot order, as pieces that can be shared.
#[derive(Clone, Default)]
pub struct KeyArena {
    full: Vec<Arc<Block>>,
    current: Vec<u8>,
    backend: StateBackend,
}

impl KeyArena {
    fn push(&mut self, key: &[u8]) -> (u32, u32) {
        let needed = key.len() + 4;
        if !self.current.is_empty() && self.current.len() + needed > CHUNK_BYTES {
            self.full.push(Arc::new(self.backend.block_or_heap(std::mem::take(&mut self.current))));
            self.current.reserve_exact(needed.max(CHUNK_BYTES));
        }
        let place = (self.full.len() as u32, self.current.len() as u32);
        self.current.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.current.extend_from_slice(key);
        place
    }

    #[inline]
    fn chunk(&self, chunk: u32) -> &[u8] {
        self.full.get(chunk as usize).map_or(&self.current, |c| c)
    }

    #[inline]
    fn key(&self, (chunk, offset): (u32, u32)) -> &[u8] {
        let bytes = &self.chunk(chunk)[offset as usize..];
        let (len, rest) = bytes.split_at(4);
        &rest[..u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize]
    }

    fn truncate(&mut self, (chunk, offset): (u32, u32)) {
        let chunk = chunk as usize;
        if chunk < self.full.len() {
            self.current = self.full[chunk].to_vec();
            self.full.truncate(chunk);
        }
        self.current.truncate(offset as usize);
    }

    /// The keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.full.iter().map(|c| &***c).chain(std::iter::once(self.current.as_slice())).flat_map(ChunkKeys)
    }

    /// Bytes held in memory.
    fn size(&self) -> usize {
        self.current.capacity() + self.full.iter().map(|b| b.heap_size()).sum::<usize>()
    }
}

struct ChunkKeys<'a>(&'a [u8]);

impl<'a> Iterator for ChunkKeys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        self.0 = rest;
        Some(key)
    }
}

impl KeyIndex {
    /// An empty index.
    pub fn new(encoder: Arc<KeyEncoder>, backend: StateBackend) -> Self {
        let arena = KeyArena { backend, ..KeyArena::default() };
        Self { encoder, table: vec![EMPTY; 64], hashes: vec![], places: vec![], arena }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// What makes keys of columns.
    pub fn encoder(&self) -> &Arc<KeyEncoder> {
        &self.encoder
    }

    /// Types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.encoder.types
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.table.capacity() * 8 + self.hashes.capacity() * 8 + self.places.capacity() * 8 + self.arena.size()
    }

    /// The slot of every key, or [`MISSING`]. Several threads may look up at once.
    pub fn locate(&self, keys: &EncodedKeys) -> Vec<u32> {
        let mut slots = Vec::with_capacity(keys.len());
        let mut groups = keys.hashes[..keys.len()].chunks(GROUP).peekable();
        self.prefetch_table(groups.peek().copied().unwrap_or_default());
        while let Some(hashes) = groups.next() {
            self.prefetch_table(groups.peek().copied().unwrap_or_default());
            let candidates = self.prefetch(hashes);
            let from = slots.len();
            let find = |(i, (hash, candidate)): (usize, (&u64, usize))| {
                self.find(candidate, *hash, keys.rows.row(from + i).data()).unwrap_or(MISSING)
            };
            slots.extend(hashes.iter().zip(candidates).enumerate().map(find));
        }
        slots
    }

    /// Makes slots for the keys that [`Self::locate`] did not find, in their order.
    pub fn insert_missing(&mut self, keys: &EncodedKeys, slots: &mut [u32]) {
        for (start, group) in (0..).step_by(GROUP).zip(slots.chunks_mut(GROUP)) {
            if group.iter().all(|s| *s != MISSING) {
                continue;
            }
            self.make_room();
            self.prefetch_table(&keys.hashes[start..start + group.len()]);
            for (row, slot) in (start..).zip(group).filter(|(_, slot)| **slot == MISSING) {
                let hash = keys.hashes[row];
                *slot = self.find_or_insert(self.home(hash), hash, keys.rows.row(row).data());
            }
        }
    }

    /// The slot of every row's key into `slots`, making slots for keys not seen before. `columns` are the key columns,
    /// `rows` their length.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        let keys = self.encoder.encode(columns, rows)?;
        slots.clear();
        slots.reserve(rows);
        for start in (0..rows).step_by(GROUP) {
            self.make_room();
            let rows = start..(start + GROUP).min(rows);
            self.prefetch_table(&keys.hashes[rows.clone()]);
            let candidates = self.prefetch(&keys.hashes[rows.clone()]);
            let find_or_insert =
                |(row, at): (usize, usize)| self.find_or_insert(at, keys.hashes[row], keys.rows.row(row).data());
            slots.extend(rows.zip(candidates).map(find_or_insert));
        }
        Ok(())
    }

    /// The slot of the key of each of these rows into `slots`, making slots for keys not seen before.
    pub fn intern_encoded(&mut self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        let mut groups = rows.chunks(GROUP).peekable();
        while let Some(group) = groups.next() {
            self.make_room();
            let candidates = self.prefetch_rows(keys, group, groups.peek().copied());
            let find_or_insert = |(row, at): (&u32, usize)| {
                let row = *row as usize;
                self.find_or_insert(at, keys.hashes[row], keys.rows.row(row).data())
            };
            slots.extend(group.iter().zip(candidates).map(find_or_insert));
        }
    }

    /// The slot of the key of each of these rows into `slots`; `u32::MAX` for a key that is not there.
    pub fn find_encoded(&self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        let mut groups = rows.chunks(GROUP).peekable();
        while let Some(group) = groups.next() {
            let candidates = self.prefetch_rows(keys, group, groups.peek().copied());
            let find = |(row, at): (&u32, usize)| {
                let row = *row as usize;
                self.find(at, keys.hashes[row], keys.rows.row(row).data()).unwrap_or(MISSING)
            };
            slots.extend(group.iter().zip(candidates).map(find));
        }
    }

    /// [`Self::prefetch`] for these rows, and the table's entries for those that come `next`.
    fn prefetch_rows(&self, keys: &EncodedKeys, rows: &[u32], next: Option<&[u32]>) -> [usize; GROUP] {
        for row in next.unwrap_or_default() {
            prefetch(&raw const self.table[self.home(keys.hashes[*row as usize])]);
        }
        let mut hashes = [0; GROUP];
        for (hash, row) in hashes.iter_mut().zip(rows) {
            *hash = keys.hashes[*row as usize];
        }
        self.prefetch(&hashes[..rows.len().min(GROUP)])
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.table.len() - 1)
    }

    fn prefetch_table(&self, hashes: &[u64]) {
        for hash in hashes {
            prefetch(&raw const self.table[self.home(*hash)]);
        }
    }

    /// Brings what looking up these hashes will read into the cache, one step of it after the other for all of them. Where
    /// the search for each can begin.
    fn prefetch(&self, hashes: &[u64]) -> [usize; GROUP] {
        let mut candidates = [0; GROUP];
        for (candidate, hash) in candidates.iter_mut().zip(hashes) {
            *candidate = self.candidate(self.home(*hash), *hash);
            let entry = self.table[*candidate];
            if entry != EMPTY {
                prefetch(&raw const self.places[entry as u32 as usize]);
            }
        }
        for candidate in &candidates[..hashes.len().min(GROUP)] {
            let entry = self.table[*candidate];
            if entry != EMPTY {
                let (chunk, offset) = self.places[entry as u32 as usize];
                prefetch(&raw const self.arena.chunk(chunk)[offset as usize]);
            }
        }
        candidates
    }

    /// From `position` on, the first entry that may be of a key of this hash, or is empty.
    #[inline]
    fn candidate(&self, mut position: usize, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        loop {
            let entry = self.table[position];
            if entry == EMPTY || entry >> 32 == hash >> 32 {
                return position;
            }
            position = (position + 1) & mask;
        }
    }

    #[inline]
    fn find_or_insert(&mut self, position: usize, hash: u64, key: &[u8]) -> u32 {
        match self.find(position, hash, key) {
            Ok(slot) => slot,
            Err(position) => self.insert(position, hash, key),
        }
    }

    /// The slot of a key that is at `position` or after it, or where it belongs.
    #[inline]
    fn find(&self, mut position: usize, hash: u64, key: &[u8]) -> Result<u32, usize> {
        loop {
            position = self.candidate(position, hash);
            let entry = self.table[position];
            if entry == EMPTY {
                return Err(position);
            }
            if self.arena.key(self.places[entry as u32 as usize]) == key {
                return Ok(entry as u32);
            }
            position = (position + 1) & (self.table.len() - 1);
        }
    }

    fn insert(&mut self, position: usize, hash: u64, key: &[u8]) -> u32 {
        let slot = self.len() as u32;
        // The entry of the last slot with all tag bits set would look like an empty one.
        assert!(slot < u32::MAX, "a store holds fewer than 2^32 - 1 keys");
        self.table[position] = hash >> 32 << 32 | u64::from(slot);
        self.hashes.push(hash);
        self.places.push(self.arena.push(key));
        slot
    }

    /// Makes room for the keys of a group.
    fn make_room(&mut self) {
        self.reserve(GROUP);
    }

    /// Makes room for this many keys more.
    pub fn reserve(&mut self, keys: usize) {
        let needed = (self.len() + keys) * 2;
        if needed > self.table.len() {
            self.grow(needed.next_power_of_two());
        }
    }

    fn grow(&mut self, len: usize) {
        self.table = vec![EMPTY; len];
        for (slot, hash) in self.hashes.iter().enumerate() {
            let mut position = *hash as usize & (len - 1);
            while self.table[position] != EMPTY {
                position = (position + 1) & (len - 1);
            }
            self.table[position] = hash >> 32 << 32 | slot as u64;
        }
    }

    /// Forgets the slots from `len` on, newest first: what linear probing put last can be taken out without a trace.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let mask = self.table.len() - 1;
        for slot in (len..self.len()).rev() {
            let mut position = self.hashes[slot] as usize & mask;
            while self.table[position] as u32 != slot as u32 || self.table[position] == EMPTY {
                position = (position + 1) & mask;
            }
            self.table[position] = EMPTY;
        }
        self.arena.truncate(self.places[len]);
        self.hashes.truncate(len);
        self.places.truncate(len);
    }

    /// Key columns of these slots.
    pub fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.encoder.decode(slots.iter().map(|s| self.arena.key(self.places[*s as usize])))
    }

    /// The keys now, sharing their bytes.
    pub fn freeze(&self) -> KeyArena {
        self.arena.clone()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, StringViewArray};

    use super::*;

    fn words(range: std::ops::Range<usize>) -> Vec<ArrayRef> {
        vec![Arc::new(StringViewArray::from_iter(range.map(|i| (i % 7 != 3).then(|| format!("word-{i:06}")))))]
    }

    fn index(types: Vec<DataType>) -> KeyIndex {
        KeyIndex::new(Arc::new(KeyEncoder::try_new(types).unwrap()), StateBackend::default())
    }

    fn intern(index: &mut KeyIndex, columns: &[ArrayRef]) -> Vec<u32> {
        let mut slots = vec![];
        index.intern(columns, columns[0].len(), &mut slots).unwrap();
        slots
    }

    #[test]
    fn same_key_same_slot_and_keys_come_back() {
        let mut index = index(vec![DataType::Utf8View]);
        let first = intern(&mut index, &words(0..10_000));
        assert_eq!(first, intern(&mut index, &words(0..10_000)));
        let keys = index.keys(&[first[5], first[3], first[9998]]).unwrap();
        let keys: Vec<_> = keys[0].as_string_view().iter().collect();
        assert_eq!(keys, [Some("word-000005"), None, Some("word-009998")]);
    }

    #[test]
    fn truncate_undoes_inserts_across_growth_and_chunks() {
        let mut index = index(vec![DataType::Utf8View]);
        let before = intern(&mut index, &words(0..50_000));
        let len = index.len();
        intern(&mut index, &words(50_000..200_000));
        index.truncate(len);
        assert_eq!(index.len(), len);
        assert_eq!(before, intern(&mut index, &words(0..50_000)));
        let again = intern(&mut index, &words(50_000..50_002));
        assert_eq!(again, [len as u32, len as u32 + 1]);
    }

    #[test]
    fn locate_and_insert_give_the_slots_that_intern_gives() {
        let (mut one, mut two) = (index(vec![DataType::Utf8View]), index(vec![DataType::Utf8View]));
        for range in [0..1_000, 500..3_000, 2_990..3_005, 0..3_100] {
            let columns = words(range);
            let keys = two.encoder().encode(&columns, columns[0].len()).unwrap();
            let mut slots = two.locate(&keys);
            two.insert_missing(&keys, &mut slots);
            assert_eq!(intern(&mut one, &columns), slots);
        }
        assert_eq!(one.len(), two.len());
    }

    #[test]
    fn no_key_columns_is_one_key() {
        let mut index = index(vec![]);
        let mut slots = vec![];
        index.intern(&[], 3, &mut slots).unwrap();
        assert_eq!(slots, [0, 0, 0]);
        assert!(index.keys(&[0]).unwrap().is_empty());
    }

    #[test]
    fn frozen_keys_are_in_slot_order() {
        let mut index = index(vec![DataType::Utf8View]);
        intern(&mut index, &words(0..3));
        let frozen = index.freeze();
        intern(&mut index, &words(3..100));
        let columns = index.encoder().decode(frozen.iter()).unwrap();
        assert_eq!(columns[0].as_ref(), words(0..3)[0].as_ref());
    }
}
