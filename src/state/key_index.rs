//! Keys to dense slots, built for batches of look-ups.
//!
//! ```text
//! table       hash ─► slots that may be the key's            see `key_table`
//! places      [ chunk, offset ] …                            by slot
//!                  │
//! chunks      [ len key ][ len key ][ len key ] …            append-only, shared with images being written
//! ```
//!
//! Slots are given in the order in which keys appear and are never reused, so a failed batch is undone by forgetting the
//! newest slots. Hashes live in memory only.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;

use super::backend::Block;
use super::key_encoder::{EncodedKeys, KeyEncoder};
use super::key_table::{Entry, KeyTable, Position};
use super::prefetch::prefetch;
use super::{PagedVec, StateBackend};
use crate::error::Result;

/// Look-ups in flight: enough to hide memory latency, few enough to stay in the nearest cache.
const GROUP: usize = 32;
const CHUNK_BYTES: usize = 1 << 18;
/// The first byte of a key's length, if that does not fit into it: four bytes with the length follow.
const LONG: u8 = u8::MAX;

/// The slot of a key that has none.
pub const MISSING: u32 = u32::MAX;

/// Keys of one store, by slot.
pub struct KeyIndex {
    encoder: Arc<KeyEncoder>,
    table: KeyTable,
    /// By slot: chunk and offset of the key's length.
    places: PagedVec<(u32, u32)>,
    arena: KeyArena,
}

/// The keys' bytes in slot order, as pieces that can be shared.
#[derive(Clone, Default)]
pub struct KeyArena {
    full: Vec<Arc<Block>>,
    current: Vec<u8>,
    on_heap: usize,
    backend: StateBackend,
}

impl KeyArena {
    fn push(&mut self, key: &[u8]) -> (u32, u32) {
        let needed = key.len() + 5;
        if !self.current.is_empty() && self.current.len() + needed > CHUNK_BYTES {
            let block = self.backend.block_or_heap(&self.current);
            self.on_heap += block.heap_size();
            self.full.push(Arc::new(block));
            self.current.clear();
        }
        let place = (self.full.len() as u32, self.current.len() as u32);
        match u8::try_from(key.len()) {
            Ok(len) if len != LONG => self.current.push(len),
            _ => {
                self.current.push(LONG);
                self.current.extend_from_slice(&(key.len() as u32).to_le_bytes());
            }
        }
        self.current.extend_from_slice(key);
        place
    }

    #[inline]
    fn chunk(&self, chunk: u32) -> &[u8] {
        self.full.get(chunk as usize).map_or(&self.current, |c| c)
    }

    #[inline]
    fn key(&self, (chunk, offset): (u32, u32)) -> &[u8] {
        ChunkKeys(&self.chunk(chunk)[offset as usize..]).next().unwrap_or_default()
    }

    fn truncate(&mut self, (chunk, offset): (u32, u32)) {
        let chunk = chunk as usize;
        if chunk < self.full.len() {
            self.current = self.full[chunk].to_vec();
            self.on_heap -= self.full.drain(chunk..).map(|block| block.heap_size()).sum::<usize>();
        }
        self.current.truncate(offset as usize);
    }

    /// The keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.full.iter().map(|c| &***c).chain(std::iter::once(self.current.as_slice())).flat_map(ChunkKeys)
    }

    /// Bytes held on the heap.
    fn size(&self) -> usize {
        self.current.capacity() + self.on_heap
    }
}

struct ChunkKeys<'a>(&'a [u8]);

impl<'a> Iterator for ChunkKeys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        let (len, rest) = match *first {
            LONG => {
                let (len, rest) = rest.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*len) as usize, rest)
            }
            len => (len as usize, rest),
        };
        let (key, rest) = rest.split_at(len);
        self.0 = rest;
        Some(key)
    }
}

impl KeyIndex {
    /// An empty index.
    pub fn new(encoder: Arc<KeyEncoder>, backend: StateBackend) -> Self {
        let (table, places) = (KeyTable::new(backend.clone()), PagedVec::new(backend.clone()));
        Self { encoder, table, places, arena: KeyArena { backend, ..KeyArena::default() } }
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
        self.encoder.types()
    }

    /// Bytes held on the heap.
    pub fn size(&self) -> usize {
        self.table.size() + self.places.size() + self.arena.size()
    }

    /// The slot of every key, or [`MISSING`]. Several threads may look up at once.
    pub fn locate(&self, keys: &EncodedKeys) -> Vec<u32> {
        let mut slots = Vec::with_capacity(keys.len());
        let mut groups = keys.hashes().chunks(GROUP).peekable();
        self.prefetch_table(groups.peek().copied().unwrap_or_default());
        while let Some(hashes) = groups.next() {
            self.prefetch_table(groups.peek().copied().unwrap_or_default());
            let candidates = self.prefetch(hashes);
            let from = slots.len();
            let find = |(i, (hash, candidate)): (usize, (&u64, Position))| {
                self.find(candidate, *hash, keys.key(from + i)).unwrap_or(MISSING)
            };
            slots.extend(hashes.iter().zip(candidates).enumerate().map(find));
        }
        slots
    }

    /// Makes slots for the keys that [`Self::locate`] did not find, in their order.
    pub fn insert_missing(&mut self, keys: &EncodedKeys, slots: &mut [u32]) {
        let mut groups = (0..).step_by(GROUP).zip(slots.chunks_mut(GROUP)).peekable();
        while let Some((start, group)) = groups.next() {
            if let Some((next, group)) = groups.peek().filter(|(_, group)| group.contains(&MISSING)) {
                self.prefetch_table(&keys.hashes()[*next..next + group.len()]);
            }
            for (row, slot) in (start..).zip(group).filter(|(_, slot)| **slot == MISSING) {
                let hash = keys.hashes()[row];
                *slot = self.find_or_insert(self.table.home(hash), hash, keys.key(row));
            }
        }
    }

    /// The slot of every row's key into `slots`, making slots for keys not seen before. `columns` are the key columns,
    /// `rows` their length.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        let keys = self.encoder.encode(columns, rows)?;
        slots.clear();
        slots.reserve(rows);
        for (start, hashes) in (0..).step_by(GROUP).zip(keys.hashes().chunks(GROUP)) {
            self.prefetch_table(keys.hashes().get(start + GROUP..(start + 2 * GROUP).min(rows)).unwrap_or_default());
            let candidates = self.prefetch(hashes);
            let rows = (start..).zip(candidates).zip(hashes);
            self.intern_group(rows.map(|((row, at), hash)| (at, *hash, keys.key(row))), slots);
        }
        Ok(())
    }

    /// The slot of the key of each of these rows into `slots`, making slots for keys not seen before.
    pub fn intern_encoded(&mut self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        let mut groups = rows.chunks(GROUP).peekable();
        while let Some(group) = groups.next() {
            let candidates = self.prefetch_rows(keys, group, groups.peek().copied());
            let rows = group.iter().map(|row| *row as usize).zip(candidates);
            self.intern_group(rows.map(|(row, at)| (at, keys.hashes()[row], keys.key(row))), slots);
        }
    }

    /// The slots of keys from the positions on that were found for them before.
    fn intern_group<'a>(&mut self, keys: impl Iterator<Item = (Position, u64, &'a [u8])>, slots: &mut Vec<u32>) {
        let version = self.table.version();
        for (at, hash, key) in keys {
            let at = if self.table.version() == version { at } else { self.table.home(hash) };
            slots.push(self.find_or_insert(at, hash, key));
        }
    }

    /// The slot of the key of each of these rows into `slots`; `u32::MAX` for a key that is not there.
    pub fn find_encoded(&self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        let mut groups = rows.chunks(GROUP).peekable();
        while let Some(group) = groups.next() {
            let candidates = self.prefetch_rows(keys, group, groups.peek().copied());
            let find = |(row, at): (&u32, Position)| {
                let row = *row as usize;
                self.find(at, keys.hashes()[row], keys.key(row)).unwrap_or(MISSING)
            };
            slots.extend(group.iter().zip(candidates).map(find));
        }
    }

    /// [`Self::prefetch`] for these rows, and the table's entries for those that come `next`.
    fn prefetch_rows(&self, keys: &EncodedKeys, rows: &[u32], next: Option<&[u32]>) -> [Position; GROUP] {
        for row in next.unwrap_or_default() {
            self.table.prefetch(keys.hashes()[*row as usize]);
        }
        let mut hashes = [0; GROUP];
        for (hash, row) in hashes.iter_mut().zip(rows) {
            *hash = keys.hashes()[*row as usize];
        }
        self.prefetch(&hashes[..rows.len().min(GROUP)])
    }

    fn prefetch_table(&self, hashes: &[u64]) {
        hashes.iter().for_each(|hash| self.table.prefetch(*hash));
    }

    /// Brings what looking up these hashes will read into the cache, one step of it after the other for all of them. Where
    /// the search for each can begin.
    fn prefetch(&self, hashes: &[u64]) -> [Position; GROUP] {
        let mut candidates = [Position::default(); GROUP];
        let mut found = [MISSING; GROUP];
        for ((candidate, found), hash) in candidates.iter_mut().zip(&mut found).zip(hashes) {
            let (position, entry) = self.table.candidate(self.table.home(*hash), *hash);
            *candidate = position;
            if let Entry::Slot(slot) = entry {
                *found = slot;
                prefetch(&raw const self.places[slot as usize]);
            }
        }
        for slot in found.into_iter().filter(|slot| *slot != MISSING) {
            let (chunk, offset) = self.places[slot as usize];
            prefetch(&raw const self.arena.chunk(chunk)[offset as usize]);
        }
        candidates
    }

    #[inline]
    fn find_or_insert(&mut self, position: Position, hash: u64, key: &[u8]) -> u32 {
        match self.find(position, hash, key) {
            Ok(slot) => slot,
            Err(position) => self.insert(position, hash, key),
        }
    }

    /// The slot of a key that is at `position` or after it, or where it belongs.
    #[inline]
    fn find(&self, mut position: Position, hash: u64, key: &[u8]) -> Result<u32, Position> {
        loop {
            let (at, entry) = self.table.candidate(position, hash);
            match entry {
                Entry::Empty => return Err(at),
                Entry::Slot(slot) if self.arena.key(self.places[slot as usize]) == key => return Ok(slot),
                Entry::Slot(_) => position = self.table.after(at),
            }
        }
    }

    fn insert(&mut self, position: Position, hash: u64, key: &[u8]) -> u32 {
        let slot = self.len() as u32;
        assert!(slot < MISSING, "a store holds fewer than 2^32 - 1 keys");
        self.table.insert(position, hash, slot);
        self.places.push(self.arena.push(key));
        slot
    }

    /// Makes room for this many keys, in an index that has none yet.
    pub fn reserve(&mut self, keys: usize) {
        self.table.reserve(keys);
    }

    /// Forgets the slots from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        self.table.truncate(len as u32);
        self.arena.truncate(self.places[len]);
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
    use datafusion::arrow::array::{AsArray, Int64Array, StringViewArray};

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
    fn keys_of_any_form_are_found_again_in_memory_and_in_files() {
        let dir = tempfile::tempdir().unwrap();
        for backend in [StateBackend::default(), StateBackend::disk(dir.path().to_owned())] {
            let numbers = |from: i64| Arc::new(Int64Array::from_iter_values(from..from + 60_000)) as ArrayRef;
            let texts = |from: i64| {
                let text = |i: i64| format!("{i}").repeat(if i % 1000 == 0 { 100 } else { 1 });
                Arc::new(StringViewArray::from_iter_values((from..from + 60_000).map(text))) as ArrayRef
            };
            let columns: [Box<dyn Fn(i64) -> Vec<ArrayRef>>; 3] = [
                Box::new(move |from| vec![numbers(from)]),
                Box::new(move |from| vec![texts(from)]),
                Box::new(move |from| vec![numbers(from), texts(from)]),
            ];
            for columns in columns {
                let types = columns(0).iter().map(|c| c.data_type().clone()).collect();
                let mut index = KeyIndex::new(Arc::new(KeyEncoder::try_new(types).unwrap()), backend.clone());
                for from in [0, 30_000, 90_000] {
                    let slots = intern(&mut index, &columns(from));
                    assert_eq!(slots, (from as u32..from as u32 + 60_000).collect::<Vec<_>>());
                }
                assert_eq!(index.keys(&(30_000..90_000).collect::<Vec<_>>()).unwrap(), columns(30_000));
                let keys = index.encoder().encode(&columns(140_000), 60_000).unwrap();
                let slots = index.locate(&keys);
                assert_eq!(slots[..10_000], (140_000..150_000).collect::<Vec<_>>());
                assert!(slots[10_000..].iter().all(|s| *s == MISSING));
                index.truncate(100_000);
                assert!(index.locate(&keys).iter().all(|s| *s == MISSING));
            }
        }
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
