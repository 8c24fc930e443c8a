//! Where the bytes of state are: on the heap, or in memory-mapped files.
//!
//! With the backend `disk`, keys, values and segments are written to files without a name that are mapped into memory.
//! What is not used the operating system writes out and drops when memory is short, and reads again on touch. The files
//! are a cache: durable is only the checkpoint, and nothing of them is left when the process ends. With a limit of memory
//! the first blocks are on the heap, and those for which there is no room any more in files.
//!
//! ```text
//! extent 0  [block][block][ free ][block] …     a file each, 1 MiB and then twice the last, at most 64 MiB
//! extent 1  [ block      ][ block      ] …      blocks of one size class are handed out again
//! ```

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array};
use datafusion::arrow::buffer::Buffer;
use memmap2::MmapMut;
use parking_lot::{Mutex, MutexGuard};

use crate::disk::{free_space, is_full};
use crate::error::{Error, Result};

const FIRST_EXTENT: usize = 1 << 20;
const LARGEST_EXTENT: usize = 64 << 20;
/// Arrow wants its buffers aligned to this.
const SMALLEST_BLOCK: usize = 64;

/// Where state is kept.
#[derive(Debug, Clone, Default)]
pub struct StateBackend(Option<Arc<Area>>);

impl StateBackend {
    /// Files in `dir`, made when the first state needs them.
    pub fn disk(dir: PathBuf) -> Self {
        Self::spilling(dir, 0)
    }

    /// The heap for the first `heap_bytes`, files in `dir` for the rest.
    pub fn spilling(dir: PathBuf, heap_bytes: usize) -> Self {
        Self(Some(Arc::new(Area {
            dir,
            heap_bytes,
            on_heap: AtomicUsize::new(0),
            space: Mutex::default(),
            failure: Mutex::default(),
        })))
    }

    /// Whether state goes to the same places, if not to the same files.
    pub fn is_like(&self, other: &Self) -> bool {
        let places = |backend: &Self| backend.0.as_ref().map(|area| (area.dir.clone(), area.heap_bytes));
        places(self) == places(other)
    }

    /// A block of zeros.
    pub fn zeroed(&self, len: usize) -> Result<Block> {
        match &self.0 {
            None => Ok(Block::on_heap(len)),
            Some(area) => Area::allocate(area, len),
        }
    }

    /// A block of zeros; on the heap, where it is accounted for, if there is no room for it elsewhere. [`Self::check`] says that then.
    pub fn zeroed_or_heap(&self, len: usize) -> Block {
        self.zeroed(len).unwrap_or_else(|e| {
            if let Some(area) = &self.0 {
                area.failure.lock().get_or_insert(e);
            }
            Block::on_heap(len)
        })
    }

    /// Whether every block has been where it should be, since this was asked last.
    ///
    /// # Errors
    /// Why one was not: the disk is full, the directory cannot be written.
    pub fn check(&self) -> Result<()> {
        let failure = self.0.as_ref().and_then(|area| area.failure.lock().take());
        failure.map_or(Ok(()), Err)
    }

    /// A block with these bytes; on the heap if there is no room for it elsewhere.
    pub fn block_or_heap(&self, bytes: &[u8]) -> Block {
        let mut block = self.zeroed_or_heap(bytes.len());
        block.copy_from_slice(bytes);
        block
    }

    /// A block with these bytes.
    pub fn block(&self, bytes: &[u8]) -> Result<Block> {
        let mut block = self.zeroed(bytes.len())?;
        block.copy_from_slice(bytes);
        Ok(block)
    }

    /// The same array with its values where state is kept, and how many bytes of it are on the heap.
    pub fn store(&self, array: ArrayRef) -> Result<(ArrayRef, usize)> {
        let Some(area) = &self.0 else {
            let bytes = array.get_array_memory_size();
            return Ok((array, bytes));
        };
        let mut on_heap = 0;
        let data = store(area, &array.to_data(), &mut on_heap)?;
        Ok((make_array(data), on_heap))
    }
}

/// Null masks stay on the heap: they are an eighth of a byte a row.
fn store(area: &Arc<Area>, data: &ArrayData, on_heap: &mut usize) -> Result<ArrayData> {
    let buffers = data.buffers().iter().map(|b| store_buffer(area, b, on_heap)).collect::<Result<Vec<_>>>()?;
    let children = data.child_data().iter().map(|c| store(area, c, on_heap)).collect::<Result<Vec<_>>>()?;
    let copy = data.clone().into_builder().buffers(buffers).child_data(children);
    // SAFETY: every buffer has the bytes that it had in valid data, at an address aligned to 64 bytes.
    Ok(unsafe { copy.build_unchecked() })
}

fn store_buffer(area: &Arc<Area>, buffer: &Buffer, on_heap: &mut usize) -> Result<Buffer> {
    if buffer.is_empty() {
        return Ok(buffer.clone());
    }
    let mut block = Area::allocate(area, buffer.len())?;
    block.copy_from_slice(buffer);
    *on_heap += block.heap_size();
    let (start, len) = (block.start, block.len);
    // SAFETY: the block has `len` bytes at `start`, nobody writes them any more, and the buffer keeps the block.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, Arc::new(AssertUnwindSafe(block))) })
}

/// Bytes of state of a fixed length, owned by whoever has the block. They start at a multiple of 64.
pub struct Block {
    start: NonNull<u8>,
    len: usize,
    place: Place,
}

enum Place {
    Heap,
    /// On the heap, as part of what an area may have there.
    AreaHeap(Arc<Area>),
    Mapped(Box<Mapped>),
}

struct Mapped {
    area: Arc<Area>,
    extent: u32,
    offset: usize,
    class: usize,
}

// SAFETY: a block is the only owner of its bytes, like a boxed slice.
unsafe impl Send for Block {}
// SAFETY: as above; through a shared block bytes are only read.
unsafe impl Sync for Block {}

impl Block {
    /// A block of zeros on the heap.
    fn on_heap(len: usize) -> Self {
        if len == 0 {
            return Self { start: NonNull::<Aligned>::dangling().cast(), len, place: Place::Heap };
        }
        let layout = heap_layout(len);
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
        let start = start.unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        Self { start, len, place: Place::Heap }
    }

    /// Bytes that this block holds on the heap.
    pub fn heap_size(&self) -> usize {
        if matches!(self.place, Place::Mapped(_)) { 0 } else { self.len }
    }
}

/// What starts where a block may.
#[repr(align(64))]
struct Aligned;

const _: () = assert!(align_of::<Aligned>() == SMALLEST_BLOCK);

fn heap_layout(len: usize) -> Layout {
    // A length that overflows with its alignment is more than any memory, which `handle_alloc_error` would say too.
    Layout::from_size_align(len, SMALLEST_BLOCK).unwrap_or_else(|_| std::alloc::handle_alloc_error(Layout::new::<u8>()))
}

impl std::ops::Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is the first of `len` initialised bytes that live as long as the block.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the block owns them alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match &self.place {
            Place::Mapped(mapped) => return mapped.area.space().free(mapped),
            Place::AreaHeap(area) => _ = area.on_heap.fetch_sub(self.len, Ordering::Relaxed),
            Place::Heap => {}
        }
        if self.len > 0 {
            // SAFETY: `on_heap` allocated it with this layout, and only this gives it back.
            unsafe { std::alloc::dealloc(self.start.as_ptr(), heap_layout(self.len)) }
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.len)
    }
}

/// Files of one session's state.
struct Area {
    dir: PathBuf,
    /// What may be on the heap before there are files, and what is.
    heap_bytes: usize,
    on_heap: AtomicUsize,
    space: Mutex<Space>,
    /// Why a block is on the heap that should be in a file.
    failure: Mutex<Option<Error>>,
}

#[derive(Default)]
struct Space {
    extents: BTreeMap<u32, Extent>,
    /// The extent that new blocks come from, and how much of it has been given.
    current: Option<(u32, usize)>,
    /// By size class: blocks that were given back.
    free: BTreeMap<usize, Vec<(u32, usize)>>,
    next_extent: u32,
}

struct Extent {
    map: MmapMut,
    blocks: usize,
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Area({})", self.dir.display())
    }
}

impl Area {
    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock()
    }

    /// Whether there is room for `len` bytes on the heap, which are taken then.
    fn take_heap(&self, len: usize) -> bool {
        let fits = |used: usize| used.checked_add(len).filter(|sum| *sum <= self.heap_bytes);
        self.heap_bytes > 0 && self.on_heap.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn allocate(area: &Arc<Self>, len: usize) -> Result<Block> {
        if len == 0 || area.take_heap(len) {
            let mut block = Block::on_heap(len);
            if len > 0 {
                block.place = Place::AreaHeap(area.clone());
            }
            return Ok(block);
        }
        let class = size_class(len);
        let mut space = area.space();
        let (extent, offset, is_new) = match space.free.get_mut(&class).and_then(Vec::pop) {
            Some((extent, offset)) => (extent, offset, false),
            None => {
                let (extent, offset) = space.carve(class, &area.dir)?;
                (extent, offset, true)
            }
        };
        let owner = space.extents.get_mut(&extent).ok_or_else(|| Error::internal("a block has no extent"))?;
        owner.blocks += 1;
        // SAFETY: the extent is longer than `offset`: blocks are carved from within it.
        let start = unsafe { NonNull::new_unchecked(owner.map.as_mut_ptr().add(offset)) };
        drop(space);
        let mapped = Mapped { area: area.clone(), extent, offset, class };
        let mut block = Block { start, len, place: Place::Mapped(Box::new(mapped)) };
        if !is_new {
            block.fill(0);
        }
        Ok(block)
    }
}

impl Space {
    /// A place for a block in the current extent, or in a new one.
    fn carve(&mut self, class: usize, dir: &Path) -> Result<(u32, usize)> {
        if let Some((extent, used)) = &mut self.current
            && self.extents.get(extent).is_some_and(|e| *used + class <= e.map.len())
        {
            *used += class;
            return Ok((*extent, *used - class));
        }
        let last = self.current.and_then(|(id, _)| self.extents.get(&id)).map_or(0, |e| e.map.len());
        let len = (last * 2).clamp(FIRST_EXTENT, LARGEST_EXTENT).max(class);
        let id = self.next_extent;
        self.extents.insert(id, Extent { map: map_file(dir, len)?, blocks: 0 });
        self.next_extent += 1;
        if let Some((old, _)) = self.current.replace((id, class)) {
            self.drop_if_empty(old);
        }
        Ok((id, 0))
    }

    fn free(&mut self, block: &Mapped) {
        let Some(extent) = self.extents.get_mut(&block.extent) else { return };
        extent.blocks -= 1;
        self.free.entry(block.class).or_default().push((block.extent, block.offset));
        if self.current.is_none_or(|(id, _)| id != block.extent) {
            self.drop_if_empty(block.extent);
        }
    }

    fn drop_if_empty(&mut self, id: u32) {
        if self.extents.get(&id).is_some_and(|e| e.blocks == 0) {
            self.extents.remove(&id);
            self.free.values_mut().for_each(|blocks| blocks.retain(|(extent, _)| *extent != id));
        }
    }
}

/// Blocks are rounded up to a power of two or one of the three quarters above it, so that one given back fits many.
fn size_class(len: usize) -> usize {
    if len <= SMALLEST_BLOCK {
        return SMALLEST_BLOCK;
    }
    let quarter = (1_usize << (len - 1).ilog2()) / 4;
    len.next_multiple_of(quarter.max(SMALLEST_BLOCK))
}

/// A file without a name, `len` bytes of it on disk, in memory.
fn map_file(dir: &Path, len: usize) -> Result<MmapMut> {
    let failed = |e: std::io::Error| failure(dir, len, &e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    // A hole would be found out about only by a signal, when a write to it finds the disk full.
    reserve(&file, len).map_err(failed)?;
    // SAFETY: the file has no name and no other handle, so nobody else can change or cut it.
    unsafe { MmapMut::map_mut(&file) }.map_err(failed)
}

fn reserve(file: &File, len: usize) -> std::io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, len as u64) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, len),
        other => Ok(other?),
    }
}

fn write_zeros(mut file: &File, len: usize) -> std::io::Result<()> {
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len as u64), &mut file).map(|_| ())
}

fn failure(dir: &Path, len: usize, e: &std::io::Error) -> Error {
    let message = format!("state needs {len} bytes more in directory '{}': {e}", dir.display());
    if is_full(e) {
        return Error::execution("OUT_OF_SPILL_SPACE", message + &free_space(dir))
            .with_help("free space there or SET state.directory to another disk, then start the query again")
            .with_io_source(e);
    }
    Error::execution("STATE_DIRECTORY_IO", message)
        .with_help("SET state.directory to a directory that can be written")
        .with_io_source(e)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, ListArray, StringViewArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    fn disk() -> (tempfile::TempDir, StateBackend) {
        let dir = tempfile::tempdir().unwrap();
        let backend = StateBackend::disk(dir.path().join("state"));
        (dir, backend)
    }

    fn extents(backend: &StateBackend) -> usize {
        backend.0.as_ref().unwrap().space().extents.len()
    }

    #[test]
    fn blocks_keep_their_bytes_and_are_given_again_as_zeros() {
        let (dir, backend) = disk();
        let mut blocks: Vec<Block> = (1..200).map(|i| backend.zeroed(i * 7).unwrap()).collect();
        for (i, block) in blocks.iter_mut().enumerate() {
            block.fill(i as u8);
        }
        assert!(blocks.iter().enumerate().all(|(i, b)| b.iter().all(|x| *x == i as u8)));
        blocks.retain(|b| b[0] % 2 == 0);
        blocks.extend((1..200).map(|i| backend.zeroed(i * 7).unwrap()));
        assert!(blocks[100..].iter().all(|b| b.iter().all(|x| *x == 0)));
        assert!(blocks[..100].iter().all(|b| b.iter().all(|x| *x == b[0])));
        assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 0, "the files have no names");
    }

    #[test]
    fn an_extent_without_blocks_is_given_back() {
        let (_dir, backend) = disk();
        let first: Vec<_> = (0..3).map(|_| backend.zeroed(400 << 10).unwrap()).collect();
        let second: Vec<_> = (0..3).map(|_| backend.zeroed(1 << 20).unwrap()).collect();
        assert!(extents(&backend) > 1);
        drop(first);
        drop(second);
        assert_eq!(extents(&backend), 1, "the one that new blocks come from");
        assert_eq!(backend.zeroed(300 << 20).unwrap().len(), 300 << 20, "larger than the largest extent");
    }

    #[test]
    fn placed_arrays_are_equal() {
        let (_dir, backend) = disk();
        let text: ArrayRef = Arc::new(StringViewArray::from_iter([Some("short"), None, Some("longer than a view is")]));
        let (placed, on_heap) = backend.store(text.slice(1, 2)).unwrap();
        assert_eq!(on_heap, 0);
        assert_eq!(placed.as_ref(), text.slice(1, 2).as_ref());
        assert_eq!(placed.as_string_view().value(1), "longer than a view is");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        let lists: ArrayRef = Arc::new(lists);
        assert_eq!(&backend.store(lists.clone()).unwrap().0, &lists);
    }

    #[test]
    fn the_heap_comes_first_as_far_as_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let backend = StateBackend::spilling(dir.path().join("state"), 1000);
        let blocks: Vec<Block> = (0..4).map(|_| backend.zeroed(400).unwrap()).collect();
        assert_eq!(blocks.iter().map(Block::heap_size).collect::<Vec<_>>(), [400, 400, 0, 0]);
        drop(blocks);
        assert_eq!(backend.zeroed(1000).unwrap().heap_size(), 1000, "it is given back");
        assert_eq!(backend.zeroed(1001).unwrap().heap_size(), 0);
    }

    #[test]
    fn size_classes_waste_at_most_a_quarter() {
        for len in [1, 64, 65, 100, 129, 1000, 1 << 20, (1 << 20) + 1] {
            let class = size_class(len);
            assert!(
                class >= len && class.is_multiple_of(64) && (len < 256 || class <= len + len / 4 + 64),
                "{len}: {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateBackend::disk(file.path().join("state")).zeroed(1).unwrap_err();
        assert_eq!(error.condition(), "STATE_DIRECTORY_IO");
        let backend = StateBackend::disk(file.path().join("state"));
        assert_eq!(backend.zeroed_or_heap(100).heap_size(), 100);
        assert_eq!(backend.check().unwrap_err().condition(), "STATE_DIRECTORY_IO");
        assert!(backend.check().is_ok(), "it is said once");
    }
}
