//! A vector in pages: it grows without being copied, and its bytes are where the backend keeps them.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use super::StateBackend;
use super::backend::Block;

/// Items of a full page.
const PAGE: usize = 1 << 15;
/// Items of the first page, as long as there are not more.
const FIRST: usize = 64;

/// What a [`PagedVec`] can hold.
///
/// # Safety
///
/// Bytes of zeros are a value, no byte of a value is padding, and an alignment of 64 is enough.
pub unsafe trait Plain: Copy {}

// SAFETY: every pattern of bits is a number.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: two numbers of the same size leave no gap.
unsafe impl Plain for (u32, u32) {}

/// See the module. The first page grows by doubling, so that a small vector is small.
#[derive(Debug)]
pub struct PagedVec<T> {
    pages: Vec<Block>,
    len: usize,
    on_heap: usize,
    backend: StateBackend,
    items: PhantomData<T>,
}

impl<T: Plain> PagedVec<T> {
    /// An empty one.
    pub fn new(backend: StateBackend) -> Self {
        Self { pages: vec![], len: 0, on_heap: 0, backend, items: PhantomData }
    }

    /// Items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes held on the heap.
    pub fn size(&self) -> usize {
        self.on_heap
    }

    /// The item at `i`, if there is one.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&T> {
        (i < self.len).then(|| &self[i])
    }

    /// The same, to write to.
    #[inline]
    pub fn get_mut(&mut self, i: usize) -> Option<&mut T> {
        (i < self.len).then(|| &mut self[i])
    }

    /// Adds an item.
    #[inline]
    pub fn push(&mut self, item: T) {
        if self.len == self.capacity() {
            self.add_room();
        }
        self.len += 1;
        let last = self.len - 1;
        self[last] = item;
    }

    /// Makes it `len` items long, new ones with this value.
    pub fn resize(&mut self, len: usize, item: T) {
        self.truncate(len);
        while self.len < len {
            if self.len == self.capacity() {
                self.add_room();
            }
            let from = self.len % PAGE;
            let count = (len - self.len).min(self.capacity() - self.len);
            items_mut(&mut self.pages[self.len / PAGE])[from..from + count].fill(item);
            self.len += count;
        }
    }

    /// Forgets the items from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for page in self.pages.drain(self.len.div_ceil(PAGE).min(self.pages.len())..) {
            self.on_heap -= page.heap_size();
        }
    }

    /// Adds these.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let whole = self.pages.iter().flat_map(|page| items::<T>(page).iter().copied());
        whole.take(self.len)
    }

    /// Sets them all.
    pub fn fill(&mut self, item: T) {
        for page in &mut self.pages {
            items_mut(page).fill(item);
        }
    }

    /// The first place of which `before` does not hold; it holds up to there.
    pub fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            if before(&self[middle]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[inline]
    fn capacity(&self) -> usize {
        match self.pages.as_slice() {
            [] => 0,
            [only] => items::<T>(only).len(),
            pages => pages.len() * PAGE,
        }
    }

    /// Another page, or a larger first one.
    fn add_room(&mut self) {
        let room = match self.pages.as_slice() {
            [] => FIRST,
            [only] if items::<T>(only).len() < PAGE => items::<T>(only).len() * 2,
            _ => PAGE,
        };
        let mut page = self.backend.zeroed_or_heap(room * size_of::<T>());
        self.on_heap += page.heap_size();
        if room < PAGE || self.pages.len() == 1 && self.len < PAGE {
            for small in self.pages.drain(..) {
                page[..small.len()].copy_from_slice(&small);
                self.on_heap -= small.heap_size();
            }
        }
        self.pages.push(page);
    }
}

impl<T: Plain> Clone for PagedVec<T> {
    fn clone(&self) -> Self {
        let pages: Vec<Block> = self.pages.iter().map(|page| self.backend.block_or_heap(page)).collect();
        let on_heap = pages.iter().map(Block::heap_size).sum();
        Self { pages, len: self.len, on_heap, backend: self.backend.clone(), items: PhantomData }
    }
}

impl<T: Plain> Index<usize> for PagedVec<T> {
    type Output = T;

    #[inline]
    fn index(&self, i: usize) -> &T {
        debug_assert!(i < self.len, "item {i} of {}", self.len);
        &items(&self.pages[i / PAGE])[i % PAGE]
    }
}

impl<T: Plain> IndexMut<usize> for PagedVec<T> {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut T {
        debug_assert!(i < self.len, "item {i} of {}", self.len);
        &mut items_mut(&mut self.pages[i / PAGE])[i % PAGE]
    }
}

#[inline]
fn items<T: Plain>(block: &Block) -> &[T] {
    // SAFETY: a block is aligned for `T` and its bytes are values of `T`: zeros or what was written as one.
    unsafe { std::slice::from_raw_parts(block.as_ptr().cast(), block.len() / size_of::<T>()) }
}

#[inline]
fn items_mut<T: Plain>(block: &mut Block) -> &mut [T] {
    // SAFETY: as above; the block is borrowed alone.
    unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast(), block.len() / size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_vector(steps in proptest::collection::vec((0..4_u8, 0..3 * PAGE), 1..12)) {
            let dir = tempfile::tempdir().unwrap();
            for backend in [StateBackend::default(), StateBackend::disk(dir.path().to_owned())] {
                let (mut paged, mut plain) = (PagedVec::<u64>::new(backend), Vec::<u64>::new());
                for (step, n) in &steps {
                    match step {
                        0 => (paged.truncate(*n), plain.truncate(*n)),
                        1 => (paged.resize(*n, 7), plain.resize(*n, 7)),
                        2 => (paged.extend(0..*n as u64 / 2), plain.extend(0..*n as u64 / 2)),
                        _ => (paged.push(*n as u64), plain.push(*n as u64)),
                    };
                    prop_assert_eq!(paged.len(), plain.len());
                    prop_assert!(paged.iter().eq(plain.iter().copied()));
                    prop_assert_eq!(paged.get(*n), plain.get(*n));
                    prop_assert!(paged.clone().iter().eq(plain.iter().copied()));
                }
            }
        }
    }

    #[test]
    fn what_is_in_files_is_not_on_the_heap() {
        let dir = tempfile::tempdir().unwrap();
        let mut paged = PagedVec::<(u32, u32)>::new(StateBackend::disk(dir.path().to_owned()));
        paged.resize(100_000, (1, 2));
        assert_eq!(paged.size(), 0);
        let mut paged = PagedVec::<(u32, u32)>::new(StateBackend::default());
        paged.resize(100_000, (1, 2));
        assert_eq!(paged.size(), 4 * PAGE * 8);
        paged.truncate(1);
        assert_eq!(paged.size(), PAGE * 8);
    }
}
