//! State that a program of the user keeps: named variables of a key, each with items, which may expire.
//!
//! ```text
//! key "a"   variable "value:count"   item —      7          never
//! key "a"   variable "map:seen"      item "x"    true       12:00:05
//! key "a"   variable "timer"         item 12:01  —          12:01:00
//! ```
//!
//! Owns: the entries in order, what a batch has changed of them, their encoding as changes. Does not own: what variables,
//! items and times mean.

mod encoding;

pub use encoding::{EntryCodec, FrozenEntryState};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Shards of the entries. A snapshot shares them; a batch that changes one copies it then, a small part of all.
const SHARDS: usize = 256;
/// Bytes of an entry beside what its key and value hold, roughly.
const OVERHEAD: usize = 144;

/// Where an entry is: in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// The key of the group, in Arrow's row format.
    pub group: Arc<[u8]>,
    /// The state variable.
    pub variable: Arc<str>,
    /// Which of its items; empty if it has one at most.
    pub item: Arc<[u8]>,
}

/// What there is at an [`EntryKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The encoded value.
    pub value: Option<Arc<[u8]>>,
    /// When it expires or fires, in milliseconds.
    pub expires_ms: Option<i64>,
}

type Shard = BTreeMap<EntryKey, Entry>;

/// Entries, and what the running batch has changed of them.
pub struct EntryMap {
    shards: Vec<Arc<Shard>>,
    expiring: BTreeSet<(i64, EntryKey)>,
    /// How many entries a variable has, and how many groups have it.
    sizes: HashMap<Arc<str>, VariableSize>,
    /// What was there before the batch, of everything it has touched.
    before: BTreeMap<EntryKey, Option<Entry>>,
    bytes: usize,
}

/// How much a variable holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VariableSize {
    /// Its items over all groups.
    pub entries: u64,
    /// Groups that have at least one.
    pub groups: u64,
}

impl Default for EntryMap {
    fn default() -> Self {
        Self {
            shards: vec![Arc::default(); SHARDS],
            expiring: BTreeSet::new(),
            sizes: HashMap::new(),
            before: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl EntryMap {
    /// The entry there.
    pub fn get(&self, key: &EntryKey) -> Option<&Entry> {
        self.shards[shard_of(&key.group)].get(key)
    }

    /// Puts an entry.
    pub fn insert(&mut self, key: EntryKey, entry: Entry) {
        self.set(key, Some(entry));
    }

    /// Takes an entry away; whether it was there.
    pub fn remove(&mut self, key: &EntryKey) -> bool {
        self.get(key).is_some() && self.set(key.clone(), None).is_some()
    }

    /// The items of a group's variable, in order.
    pub fn items<'a>(
        &'a self,
        group: &'a Arc<[u8]>,
        variable: &'a Arc<str>,
    ) -> impl DoubleEndedIterator<Item = (&'a EntryKey, &'a Entry)> {
        let first = EntryKey { group: group.clone(), variable: variable.clone(), item: Arc::default() };
        let last = EntryKey { group: group.clone(), variable: after(variable), item: Arc::default() };
        self.shards[shard_of(group)].range((Bound::Included(first), Bound::Excluded(last)))
    }

    /// Entries that expire up to `bound_ms`, in the order of their times.
    pub fn expired(&self, bound_ms: i64) -> impl Iterator<Item = &(i64, EntryKey)> {
        self.expiring.iter().take_while(move |(at, _)| *at <= bound_ms)
    }

    /// The first time at which an entry expires.
    pub fn next_expiry(&self) -> Option<i64> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// All entries of a variable.
    pub fn of_variable(&self, variable: &str) -> Vec<EntryKey> {
        let all = self.shards.iter().flat_map(|s| s.keys());
        all.filter(|k| k.variable.as_ref() == variable).cloned().collect()
    }

    /// Variables that have an entry, and their sizes.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, VariableSize)> {
        self.sizes.iter().map(|(v, size)| (v.as_ref(), *size)).filter(|(_, size)| size.entries > 0)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the batch has put and what it has removed.
    pub fn changes(&self) -> (Vec<(&EntryKey, &Entry)>, Vec<&EntryKey>) {
        let (mut puts, mut removed) = (vec![], vec![]);
        for (key, before) in &self.before {
            match (before, self.get(key)) {
                (Some(_), None) => removed.push(key),
                (before, Some(now)) if before.as_ref() != Some(now) => puts.push((key, now)),
                _ => {}
            }
        }
        (puts, removed)
    }

    /// Makes what the batch has changed the state.
    pub fn commit(&mut self) {
        self.before.clear();
    }

    /// Everything as it was before the batch.
    pub fn rollback(&mut self) {
        for (key, entry) in std::mem::take(&mut self.before) {
            self.put(&key, entry);
        }
    }

    /// The entries now, shared.
    pub fn freeze(&self) -> FrozenEntries {
        FrozenEntries(self.shards.clone())
    }

    fn set(&mut self, key: EntryKey, entry: Option<Entry>) -> Option<Entry> {
        let old = self.put(&key, entry);
        self.before.entry(key).or_insert_with(|| old.clone());
        old
    }

    fn put(&mut self, key: &EntryKey, entry: Option<Entry>) -> Option<Entry> {
        let is_there = entry.is_some();
        if let Some(entry) = &entry {
            self.bytes += size_of(key, entry);
            self.expiring.extend(entry.expires_ms.map(|at| (at, key.clone())));
        }
        let shard = Arc::make_mut(&mut self.shards[shard_of(&key.group)]);
        let old = match entry {
            Some(entry) => shard.insert(key.clone(), entry),
            None => shard.remove(key),
        };
        if let Some(old) = &old {
            self.bytes -= size_of(key, old);
            let stays = self.get(key).and_then(|e| e.expires_ms);
            if let Some(at) = old.expires_ms.filter(|at| stays != Some(*at)) {
                self.expiring.remove(&(at, key.clone()));
            }
        }
        if old.is_some() != is_there {
            self.count(key, is_there);
        }
        old
    }

    /// An entry has come or gone.
    fn count(&mut self, key: &EntryKey, came: bool) {
        let others = self.items(&key.group, &key.variable).any(|(k, _)| k.item != key.item);
        let size = self.sizes.entry(key.variable.clone()).or_default();
        let by = |n: &mut u64| *n = if came { *n + 1 } else { n.saturating_sub(1) };
        by(&mut size.entries);
        if !others {
            by(&mut size.groups);
        }
    }
}

/// The image of an [`EntryMap`].
pub struct FrozenEntries(Vec<Arc<Shard>>);

impl FrozenEntries {
    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&EntryKey, &Entry)> {
        self.0.iter().flat_map(|s| s.iter())
    }
}

fn shard_of(group: &[u8]) -> usize {
    crc32c::crc32c(group) as usize % SHARDS
}

/// The least text after every one that begins a variable's own entries.
fn after(variable: &str) -> Arc<str> {
    let mut next = String::with_capacity(variable.len() + 1);
    next.push_str(variable);
    next.push('\0');
    next.into()
}

fn size_of(key: &EntryKey, entry: &Entry) -> usize {
    // The text of a variable is shared by all its entries.
    OVERHEAD + key.group.len() + key.item.len() + entry.value.as_ref().map_or(0, |v| v.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, variable: &str, item: &str) -> EntryKey {
        EntryKey { group: group.as_bytes().into(), variable: variable.into(), item: item.as_bytes().into() }
    }

    fn entry(value: &str, expires_ms: Option<i64>) -> Entry {
        Entry { value: Some(value.as_bytes().into()), expires_ms }
    }

    #[test]
    fn a_batch_that_fails_leaves_nothing() {
        let mut map = EntryMap::default();
        map.insert(key("a", "n", ""), entry("1", Some(5)));
        map.insert(key("a", "m", "x"), entry("1", None));
        map.commit();
        let (bytes, before): (_, Vec<_>) =
            (map.bytes(), map.freeze().iter().map(|(k, e)| (k.clone(), e.clone())).collect());

        map.insert(key("a", "n", ""), entry("22", Some(9)));
        map.remove(&key("a", "m", "x"));
        map.insert(key("b", "m", "y"), entry("3", Some(1)));
        let (puts, removed) = map.changes();
        assert_eq!((puts.len(), removed.len()), (2, 1));
        assert_eq!(map.next_expiry(), Some(1));
        map.rollback();
        assert_eq!((map.bytes(), map.next_expiry()), (bytes, Some(5)));
        let after: Vec<_> = map.freeze().iter().map(|(k, e)| (k.clone(), e.clone())).collect();
        assert_eq!(after, before);
        assert_eq!(map.changes().0.len() + map.changes().1.len(), 0);
    }

    #[test]
    fn what_is_put_and_taken_away_in_one_batch_is_no_change() {
        let mut map = EntryMap::default();
        map.insert(key("a", "n", ""), entry("1", None));
        map.remove(&key("a", "n", ""));
        assert!(map.changes().0.is_empty() && map.changes().1.is_empty());
        assert!(!map.remove(&key("a", "n", "")));
        assert_eq!(map.bytes(), 0);
    }

    #[test]
    fn items_are_those_of_one_variable_of_one_group() {
        let mut map = EntryMap::default();
        for (group, variable, item) in
            [("a", "n", "2"), ("a", "n", "1"), ("a", "nn", "3"), ("a", "m", "4"), ("b", "n", "5")]
        {
            map.insert(key(group, variable, item), entry("", None));
        }
        let (group, variable): (Arc<[u8]>, Arc<str>) = (b"a".as_slice().into(), "n".into());
        let items: Vec<_> = map.items(&group, &variable).map(|(k, _)| k.item.to_vec()).collect();
        assert_eq!(items, [b"1", b"2"]);
        let sizes: BTreeMap<_, _> = map.sizes().collect();
        assert_eq!(sizes["n"], VariableSize { entries: 3, groups: 2 });
        map.remove(&key("a", "n", "1"));
        map.remove(&key("a", "n", "2"));
        let sizes: BTreeMap<_, _> = map.sizes().collect();
        assert_eq!(sizes["n"], VariableSize { entries: 1, groups: 1 });
    }

    #[test]
    fn an_image_does_not_change() {
        let mut map = EntryMap::default();
        map.insert(key("a", "n", ""), entry("1", Some(7)));
        map.commit();
        let frozen = map.freeze();
        map.insert(key("a", "n", ""), entry("2", Some(8)));
        assert_eq!(frozen.iter().map(|(_, e)| e.expires_ms).collect::<Vec<_>>(), [Some(7)]);
        assert_eq!(map.expired(8).map(|(at, _)| *at).collect::<Vec<_>>(), [8]);
        assert_eq!(map.expired(7).count(), 0);
    }
}
