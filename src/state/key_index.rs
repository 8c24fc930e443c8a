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
use crate::error::{Error, Result};

const EMPTY: u64 = u64::MAX;
/// Look-ups in flight: enough to hide memory latency, few enough to stay in the nearest cache.
const GROUP: usize = 32;
const CHUNK_BYTES: usize = 1 << 20;
const HASH_SEED: u64 = 42;

/// Keys of rows, ready to be found in any index of keys of these types.
pub struct EncodedKeys {
    hashes: Vec<u64>,
    rows: Rows,
}

/// Keys of one store, by slot.
pub struct KeyIndex {
    types: Vec<DataType>,
    converter: RowConverter,
    random_state: RandomState,
    table: Vec<u64>,
    /// By slot, to grow the table without reading keys.
    hashes: Vec<u64>,
    /// By slot: chunk and offset of the key's length.
    places: Vec<(u32, u32)>,
    arena: KeyArena,
    scratch_hashes: Vec<u64>,
    scratch_rows: Option<Rows>,
}

/// The keys' bytes in slot order, as pieces that can be shared.
#[derive(Clone, Default)]
pub struct KeyArena {
    full: Vec<Arc<Block>>,
    current: Vec<u8>,
    backend: StateBackend,
}

impl KeyArena {
    fn push(&mut self, key: &[u8]) -> Result<(u32, u32)> {
        let needed = key.len() + 4;
        if !self.current.is_empty() && self.current.len() + needed > CHUNK_BYTES {
            let full = self.backend.block(std::mem::take(&mut self.current))?;
            self.full.push(Arc::new(full));
            self.current.reserve_exact(needed.max(CHUNK_BYTES));
        }
        let place = (self.full.len() as u32, self.current.len() as u32);
        self.current.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.current.extend_from_slice(key);
        Ok(place)
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

#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing that the program can see and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl KeyIndex {
    /// An index of keys of these types. No types: one key, the empty one.
    pub fn try_new(types: Vec<DataType>, backend: StateBackend) -> Result<Self> {
        let encoded = if types.is_empty() { vec![DataType::Boolean] } else { types.clone() };
        Ok(Self {
            converter: RowConverter::new(encoded.into_iter().map(SortField::new).collect())?,
            types,
            random_state: RandomState::with_seed(HASH_SEED),
            table: vec![EMPTY; 64],
            hashes: vec![],
            places: vec![],
            arena: KeyArena { backend, ..KeyArena::default() },
            scratch_hashes: vec![],
            scratch_rows: None,
        })
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.table.capacity() * 8 + self.hashes.capacity() * 8 + self.places.capacity() * 8 + self.arena.size()
    }

    /// The slot of every row's key into `slots`, making slots for keys not seen before. `columns` are the key columns,
    /// `rows` their length.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        let dummy: [ArrayRef; 1];
        let columns = if columns.is_empty() {
            dummy = [Arc::new(BooleanArray::from(vec![false; rows]))];
            &dummy[..]
        } else {
            columns
        };
        let mut hashes = std::mem::take(&mut self.scratch_hashes);
        hashes.clear();
        hashes.resize(rows, 0);
        create_hashes(columns, &self.random_state, &mut hashes)?;
        let mut keys = match self.scratch_rows.take() {
            Some(keys) => keys,
            None => self.converter.empty_rows(rows, rows * 16),
        };
        keys.clear();
        self.converter.append(&mut keys, columns)?;
        slots.clear();
        slots.reserve(rows);
        for start in (0..rows).step_by(GROUP) {
            self.intern_group(&hashes, &keys, start..(start + GROUP).min(rows), slots)?;
        }
        self.scratch_hashes = hashes;
        self.scratch_rows = Some(keys);
        Ok(())
    }

    /// The keys of rows, to be looked for in several indexes. `columns` must not be empty.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedKeys> {
        let mut hashes = vec![0; rows];
        create_hashes(columns, &self.random_state, &mut hashes)?;
        Ok(EncodedKeys { hashes, rows: self.converter.convert_columns(columns)? })
    }

    /// The slot of the key of each of these rows into `slots`, making slots for keys not seen before.
    pub fn intern_encoded(&mut self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) -> Result<()> {
        slots.clear();
        for group in rows.chunks(GROUP) {
            if (self.len() + GROUP) * 2 > self.table.len() {
                self.grow();
            }
            self.prefetch_group(keys, group);
            for row in group {
                let (hash, key) = (keys.hashes[*row as usize], keys.rows.row(*row as usize));
                slots.push(match self.find(hash, key.data()) {
                    Ok(slot) => slot,
                    Err(position) => self.insert(position, hash, key.data())?,
                });
            }
        }
        Ok(())
    }

    /// The slot of the key of each of these rows into `slots`; `u32::MAX` for a key that is not there.
    pub fn find_encoded(&self, keys: &EncodedKeys, rows: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        for group in rows.chunks(GROUP) {
            self.prefetch_group(keys, group);
            for row in group {
                let (hash, key) = (keys.hashes[*row as usize], keys.rows.row(*row as usize));
                slots.push(self.find(hash, key.data()).unwrap_or(u32::MAX));
            }
        }
    }

    fn prefetch_group(&self, keys: &EncodedKeys, rows: &[u32]) {
        let mask = self.table.len() - 1;
        let home = |row: &u32| keys.hashes[*row as usize] as usize & mask;
        rows.iter().for_each(|row| prefetch(&raw const self.table[home(row)]));
        let slots = || rows.iter().map(|row| self.table[home(row)]).filter(|entry| *entry != EMPTY);
        slots().for_each(|entry| prefetch(&raw const self.places[entry as u32 as usize]));
        slots().for_each(|entry| {
            let (chunk, offset) = self.places[entry as u32 as usize];
            prefetch(&raw const self.arena.chunk(chunk)[offset as usize]);
        });
    }

    fn intern_group(
        &mut self,
        hashes: &[u64],
        keys: &Rows,
        rows: std::ops::Range<usize>,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        if (self.len() + GROUP) * 2 > self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        for hash in &hashes[rows.clone()] {
            prefetch(&raw const self.table[*hash as usize & mask]);
        }
        for hash in &hashes[rows.clone()] {
            let entry = self.table[*hash as usize & mask];
            if entry != EMPTY {
                prefetch(&raw const self.places[entry as u32 as usize]);
            }
        }
        for hash in &hashes[rows.clone()] {
            let entry = self.table[*hash as usize & mask];
            if entry != EMPTY {
                let (chunk, offset) = self.places[entry as u32 as usize];
                prefetch(&raw const self.arena.chunk(chunk)[offset as usize]);
            }
        }
        for row in rows {
            let key = keys.row(row);
            let key = key.data();
            slots.push(match self.find(hashes[row], key) {
                Ok(slot) => slot,
                Err(position) => self.insert(position, hashes[row], key)?,
            });
        }
        Ok(())
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let mut position = hash as usize & mask;
        loop {
            let entry = self.table[position];
            if entry == EMPTY {
                return Err(position);
            }
            if entry >> 32 == hash >> 32 && self.arena.key(self.places[entry as u32 as usize]) == key {
                return Ok(entry as u32);
            }
            position = (position + 1) & mask;
        }
    }

    fn insert(&mut self, position: usize, hash: u64, key: &[u8]) -> Result<u32> {
        let slot = self.len() as u32;
        // The entry of the last slot with all tag bits set would look like an empty one.
        if slot == u32::MAX {
            return Err(Error::execution("STATE_KEY_LIMIT", "an operator's state holds fewer than 2^32 - 1 keys"));
        }
        self.places.push(self.arena.push(key)?);
        self.table[position] = hash >> 32 << 32 | u64::from(slot);
        self.hashes.push(hash);
        Ok(slot)
    }

    fn grow(&mut self) {
        let len = ((self.len() + GROUP) * 2).next_power_of_two();
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
        let parser = self.converter.parser();
        let rows = slots.iter().map(|s| parser.parse(self.arena.key(self.places[*s as usize])));
        let mut columns = self.converter.convert_rows(rows)?;
        columns.truncate(self.types.len());
        Ok(columns)
    }

    /// The keys now, sharing their bytes.
    pub fn freeze(&self) -> KeyArena {
        self.arena.clone()
    }
}

/// Turns keys of a [`KeyArena`] back into columns.
pub struct KeyDecoder {
    converter: RowConverter,
    columns: usize,
}

impl KeyDecoder {
    /// A decoder for keys of these types.
    pub fn try_new(types: &[DataType]) -> Result<Self> {
        let encoded = if types.is_empty() { vec![DataType::Boolean] } else { types.to_vec() };
        Ok(Self {
            converter: RowConverter::new(encoded.into_iter().map(SortField::new).collect())?,
            columns: types.len(),
        })
    }

    /// The columns of these keys.
    pub fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(keys.map(|k| parser.parse(k)))?;
        columns.truncate(self.columns);
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, StringViewArray};

    use super::*;

    fn words(range: std::ops::Range<usize>) -> Vec<ArrayRef> {
        vec![Arc::new(StringViewArray::from_iter(range.map(|i| (i % 7 != 3).then(|| format!("word-{i:06}")))))]
    }

    fn intern(index: &mut KeyIndex, columns: &[ArrayRef]) -> Vec<u32> {
        let mut slots = vec![];
        index.intern(columns, columns[0].len(), &mut slots).unwrap();
        slots
    }

    #[test]
    fn same_key_same_slot_and_keys_come_back() {
        let mut index = KeyIndex::try_new(vec![DataType::Utf8View], StateBackend::default()).unwrap();
        let first = intern(&mut index, &words(0..10_000));
        assert_eq!(first, intern(&mut index, &words(0..10_000)));
        let keys = index.keys(&[first[5], first[3], first[9998]]).unwrap();
        let keys: Vec<_> = keys[0].as_string_view().iter().collect();
        assert_eq!(keys, [Some("word-000005"), None, Some("word-009998")]);
    }

    #[test]
    fn truncate_undoes_inserts_across_growth_and_chunks() {
        let mut index = KeyIndex::try_new(vec![DataType::Utf8View], StateBackend::default()).unwrap();
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
    fn no_key_columns_is_one_key() {
        let mut index = KeyIndex::try_new(vec![], StateBackend::default()).unwrap();
        let mut slots = vec![];
        index.intern(&[], 3, &mut slots).unwrap();
        assert_eq!(slots, [0, 0, 0]);
        assert!(index.keys(&[0]).unwrap().is_empty());
    }

    #[test]
    fn frozen_keys_are_in_slot_order() {
        let mut index = KeyIndex::try_new(vec![DataType::Utf8View], StateBackend::default()).unwrap();
        intern(&mut index, &words(0..3));
        let frozen = index.freeze();
        intern(&mut index, &words(3..100));
        let decoder = KeyDecoder::try_new(index.types()).unwrap();
        let columns = decoder.decode(frozen.iter()).unwrap();
        assert_eq!(columns[0].as_ref(), words(0..3)[0].as_ref());
    }
}
