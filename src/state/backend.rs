//! Where the bytes of state are: on the heap, or in memory-mapped files.
//!
//! With the backend `disk`, keys, values and segments are written to files without a name that are mapped into memory.
//! What is not used the operating system writes out and drops when memory is short, and reads again on touch. The files
//! are a cache: durable is only the checkpoint, and nothing of them is left when the process ends.
//!
//! ```text
//! extent 0  [block][block][ free ][block] …     a file each, 1 MiB and then twice the last, at most 64 MiB
//! extent 1  [ block      ][ block      ] …      blocks of one size class are handed out again
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

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
        Self(Some(Arc::new(Area { dir, space: Mutex::default() })))
    }

    /// The directory of its files; none for memory.
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_ref().map(|area| area.dir.as_path())
    }

    /// Whether state lives in files.
    pub fn is_disk(&self) -> bool {
        self.0.is_some()
    }

    /// A block of zeros.
    pub fn zeroed(&self, len: usize) -> Result<Block> {
        match &self.0 {
            None => Ok(Block::on_heap(vec![0; len])),
            Some(area) => Area::allocate(area, len),
        }
    }

    /// A block with these bytes; on the heap, where it is accounted for, if there is no room for it elsewhere.
    pub fn block_or_heap(&self, bytes: Vec<u8>) -> Block {
        match &self.0 {
            Some(area) => match Area::allocate(area, bytes.len()) {
                Ok(mut block) => {
                    block.copy_from_slice(&bytes);
                    block
                }
                Err(_) => Block::on_heap(bytes),
            },
            None => Block::on_heap(bytes),
        }
    }

    /// A block with these bytes.
    pub fn block(&self, bytes: Vec<u8>) -> Result<Block> {
        let Some(area) = &self.0 else { return Ok(Block::on_heap(bytes)) };
        let mut block = Area::allocate(area, bytes.len())?;
        block.copy_from_slice(&bytes);
        Ok(block)
    }

    /// The same array with its values where state is kept.
    pub fn store(&self, array: ArrayRef) -> Result<ArrayRef> {
        let Some(area) = &self.0 else { return Ok(array) };
        Ok(make_array(store(area, &array.to_data())?))
    }
}

/// Null masks stay on the heap: they are an eighth of a byte a row.
fn store(area: &Arc<Area>, data: &ArrayData) -> Result<ArrayData> {
    let buffers = data.buffers().iter().map(|b| store_buffer(area, b)).collect::<Result<Vec<_>>>()?;
    let children = data.child_data().iter().map(|c| store(area, c)).collect::<Result<Vec<_>>>()?;
    let copy = data.clone().into_builder().buffers(buffers).child_data(children);
    // SAFETY: every buffer has the bytes that it had in valid data, at an address aligned to 64 bytes.
    Ok(unsafe { copy.build_unchecked() })
}

fn store_buffer(area: &Arc<Area>, buffer: &Buffer) -> Result<Buffer> {
    if buffer.is_empty() {
        return Ok(buffer.clone());
    }
    let mut block = Area::allocate(area, buffer.len())?;
    block.copy_from_slice(buffer);
    let (start, len) = (block.start, block.len);
    // SAFETY: the block has `len` bytes at `start`, nobody writes them any more, and the buffer keeps the block.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, Arc::new(AssertUnwindSafe(block))) })
}

/// Bytes of state of a fixed length, owned by whoever has the block.
pub struct Block {
    start: NonNull<u8>,
    len: usize,
    /// None: on the heap.
    mapped: Option<Mapped>,
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
    fn on_heap(bytes: Vec<u8>) -> Self {
        let bytes = Box::leak(bytes.into_boxed_slice());
        Self { len: bytes.len(), start: NonNull::from(bytes).cast(), mapped: None }
    }

    /// Bytes that this block holds on the heap.
    pub fn heap_size(&self) -> usize {
        if self.mapped.is_none() { self.len } else { 0 }
    }
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
        match &self.mapped {
            Some(mapped) => mapped.area.space().free(mapped),
            // SAFETY: `on_heap` leaked a boxed slice of this address and length, and only this gives it back.
            None => drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len)) }),
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
    space: Mutex<Space>,
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

    fn allocate(area: &Arc<Self>, len: usize) -> Result<Block> {
        if len == 0 {
            return Ok(Block::on_heap(vec![]));
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
        let mut block = Block { start, len, mapped: Some(mapped) };
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
        let placed = backend.store(text.slice(1, 2)).unwrap();
        assert_eq!(placed.as_ref(), text.slice(1, 2).as_ref());
        assert_eq!(placed.as_string_view().value(1), "longer than a view is");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        let lists: ArrayRef = Arc::new(lists);
        assert_eq!(&backend.store(lists.clone()).unwrap(), &lists);
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
    }
}
