//! From the hash of a key to the slots that may be its: open addressing in parts that split.
//!
//! ```text
//! directory   by the upper bits of the hash ─► part          doubled when a part of full size has to split
//! part        [ tag | slot ] [ empty ] [ tag | slot ] …      8 bytes an entry, linear probing, three quarters full at most
//! ```
//!
//! A part doubles until it has its full size, and becomes two from then on: a table of any size grows by one part at a
//! time, without a second copy of it. The lower bits of the tag are an entry's place in its part, so that a split is a
//! pass over it in order.

use super::StateBackend;
use super::backend::Block;
use super::prefetch::prefetch;

/// Entries of a new table's only part.
const SMALLEST: usize = 64;
/// Entries of a part of full size.
const LARGEST: usize = 1 << 15;
/// Bits of the hash that the directory may use: there are no more parts than this has.
const MAX_DEPTH: u32 = 16;
const EMPTY: u64 = 0;

/// Where an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    part: u32,
    at: u32,
}

/// What looking for a hash finds.
pub enum Entry {
    Empty,
    /// A key whose hash has the same tag.
    Slot(u32),
}

/// See the module.
pub struct KeyTable {
    directory: Vec<u32>,
    depth: u32,
    parts: Vec<Part>,
    on_heap: usize,
    backend: StateBackend,
    /// Goes up when entries have moved.
    version: u32,
}

struct Part {
    entries: PartEntries,
    used: usize,
    /// Upper bits of the hash that its entries share.
    depth: u32,
}

/// The entries of a part: a power of two.
struct PartEntries(Block);

impl PartEntries {
    fn new(len: usize, backend: &StateBackend) -> Self {
        Self(backend.zeroed_or_heap(len * 8))
    }

    #[inline]
    fn all(&self) -> &[[u8; 8]] {
        self.0.as_chunks::<8>().0
    }

    #[inline]
    fn mask(&self) -> usize {
        self.0.len() / 8 - 1
    }

    #[inline]
    fn get(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.all()[at])
    }

    #[inline]
    fn set(&mut self, at: usize, entry: u64) {
        self.0.as_chunks_mut::<8>().0[at] = entry.to_ne_bytes();
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.all().iter().map(|entry| u64::from_ne_bytes(*entry)).filter(|entry| *entry != EMPTY)
    }

    /// Puts an entry that is not there.
    fn insert(&mut self, entry: u64) {
        let mask = self.mask();
        let mut at = (entry >> 32) as usize & mask;
        while self.get(at) != EMPTY {
            at = (at + 1) & mask;
        }
        self.set(at, entry);
    }
}

impl Part {
    fn is_full(&self) -> bool {
        self.used >= self.entries.all().len() / 4 * 3
    }
}

#[inline]
fn entry(hash: u64, slot: u32) -> u64 {
    hash >> 32 << 32 | (u64::from(slot) + 1)
}

#[inline]
fn slot(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

impl KeyTable {
    /// An empty one.
    pub fn new(backend: StateBackend) -> Self {
        let mut table = Self { directory: vec![0], depth: 0, parts: vec![], on_heap: 0, backend, version: 0 };
        let entries = table.entries(SMALLEST);
        table.parts.push(Part { entries, used: 0, depth: 0 });
        table
    }

    fn entries(&mut self, len: usize) -> PartEntries {
        let entries = PartEntries::new(len, &self.backend);
        self.on_heap += entries.0.heap_size();
        entries
    }

    /// Bytes held on the heap.
    pub fn size(&self) -> usize {
        self.on_heap + self.directory.capacity() * 4 + self.parts.capacity() * size_of::<Part>()
    }

    /// A position found before is one only as long as this is the same.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Where the search for a hash begins.
    #[inline]
    pub fn home(&self, hash: u64) -> Position {
        // The upper bits of the hash, by which the directory goes: none at all at depth 0.
        let part = self.directory[(((hash >> 32) << self.depth) >> 32) as usize];
        let at = (hash >> 32) as usize & self.parts[part as usize].entries.mask();
        Position { part, at: at as u32 }
    }

    /// Brings the home of a hash into the cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let home = self.home(hash);
        prefetch(&raw const self.parts[home.part as usize].entries.all()[home.at as usize]);
    }

    /// From `position` on, the first entry that may be of a key of this hash, or is empty.
    #[inline]
    pub fn candidate(&self, position: Position, hash: u64) -> (Position, Entry) {
        let entries = &self.parts[position.part as usize].entries;
        let mask = entries.mask();
        let mut at = position.at as usize & mask;
        loop {
            let entry = entries.get(at);
            let found = Position { part: position.part, at: at as u32 };
            if entry == EMPTY {
                return (found, Entry::Empty);
            }
            if entry >> 32 == hash >> 32 {
                return (found, Entry::Slot(slot(entry)));
            }
            at = (at + 1) & mask;
        }
    }

    /// The position after this one.
    #[inline]
    pub fn after(&self, position: Position) -> Position {
        Position { at: position.at + 1, ..position }
    }

    /// Puts a slot at an empty position, which a search for its hash has found.
    #[inline]
    pub fn insert(&mut self, position: Position, hash: u64, slot: u32) {
        let part = &mut self.parts[position.part as usize];
        part.entries.set(position.at as usize, entry(hash, slot));
        part.used += 1;
        if part.is_full() {
            self.grow(position.part as usize);
        }
    }

    /// Doubles a part, or makes two of it.
    fn grow(&mut self, at: usize) {
        self.version = self.version.wrapping_add(1);
        let (len, depth) = (self.parts[at].entries.all().len(), self.parts[at].depth);
        if len < LARGEST || depth == MAX_DEPTH {
            let mut entries = self.entries(len * 2);
            self.parts[at].entries.iter().for_each(|entry| entries.insert(entry));
            self.replace(at, entries);
            return;
        }
        let bit = 1_u64 << (63 - depth);
        let (mut lower, mut upper) = (self.entries(len), self.entries(len));
        let (mut in_lower, mut in_upper) = (0, 0);
        for entry in self.parts[at].entries.iter() {
            let (half, used) = if entry & bit == 0 { (&mut lower, &mut in_lower) } else { (&mut upper, &mut in_upper) };
            half.insert(entry);
            *used += 1;
        }
        self.replace(at, lower);
        (self.parts[at].used, self.parts[at].depth) = (in_lower, depth + 1);
        let new = self.parts.len() as u32;
        self.parts.push(Part { entries: upper, used: in_upper, depth: depth + 1 });
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|part| [*part, *part]).collect();
            self.depth += 1;
        }
        // The places that led to the part and have the bit set lead to the new one.
        let place_bit = 1 << (self.depth - depth - 1);
        for (place, part) in self.directory.iter_mut().enumerate() {
            if *part as usize == at && place & place_bit != 0 {
                *part = new;
            }
        }
    }

    fn replace(&mut self, at: usize, entries: PartEntries) {
        let old = std::mem::replace(&mut self.parts[at].entries, entries);
        self.on_heap -= old.0.heap_size();
    }

    /// Makes room for a table that will have this many keys, if it is new.
    pub fn reserve(&mut self, keys: usize) {
        let len = (keys * 2).next_power_of_two().min(LARGEST);
        if self.parts.len() == 1 && self.parts[0].used == 0 && self.parts[0].entries.all().len() < len {
            self.version = self.version.wrapping_add(1);
            let entries = self.entries(len);
            self.replace(0, entries);
        }
    }

    /// Forgets the slots from `len` on.
    pub fn truncate(&mut self, len: u32) {
        self.version = self.version.wrapping_add(1);
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            let kept: Vec<u64> = part.entries.iter().filter(|entry| slot(*entry) < len).collect();
            if kept.len() == part.used {
                continue;
            }
            let part = &mut self.parts[at];
            part.entries.0.fill(0);
            kept.iter().for_each(|entry| part.entries.insert(*entry));
            part.used = kept.len();
        }
    }
}
