//! A file system in memory that remembers every operation, can fail, and gives every state a crash could leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{DurableFile, Fs, LockGuard};

/// A file system in memory. Clones are the same file system.
#[derive(Debug, Clone, Default)]
pub struct SimFs {
    sim: Arc<Mutex<Sim>>,
    locked: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Default)]
struct Sim {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
    ops: Vec<Op>,
    fault: Option<Fault>,
    /// Syncs and writes asked for since the fault struck.
    calls_after_fault: usize,
}

#[derive(Debug, Clone)]
enum Op {
    Create(PathBuf, usize),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    // The layer above makes a directory durable at once.
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
}

/// Fails the `nth` call (0 is the next) on files whose path contains `path`.
#[derive(Debug, Clone)]
pub struct Fault {
    pub call: &'static str,
    pub path: &'static str,
    pub nth: usize,
    pub errno: i32,
}

impl SimFs {
    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap()
    }

    /// How many operations there were.
    pub fn op_count(&self) -> usize {
        self.lock().ops.len()
    }

    /// Paths and contents of all files.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let sim = self.lock();
        sim.names.iter().map(|(p, f)| (p.clone(), sim.files[*f].clone())).collect()
    }

    /// A copy in which `path` has other contents, or is gone; all of it durable.
    pub fn with(&self, path: &Path, contents: Option<Vec<u8>>) -> Self {
        let mut files: BTreeMap<_, _> = self.contents().into_iter().collect();
        match contents {
            None => drop(files.remove(path)),
            Some(contents) => drop(files.insert(path.to_owned(), contents)),
        }
        let dirs = self.lock().dirs.clone();
        let copy = Self::default();
        dirs.iter().for_each(|d| copy.create_dir_all(d).unwrap());
        for (path, contents) in files {
            let file = copy.create(&path).unwrap();
            file.write_all_at(&contents, 0).unwrap();
            file.sync_data().unwrap();
        }
        dirs.iter().for_each(|d| copy.sync_dir(d).unwrap());
        copy
    }

    /// Arms a fault.
    pub fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Writes and syncs asked for after a fault struck, of files like the one it struck.
    pub fn calls_after_fault(&self) -> usize {
        self.lock().calls_after_fault
    }

    /// What a crash after the first `n` operations could leave: everything that was synced, and of the rest everything,
    /// nothing, all but one, or one of it torn.
    pub fn crash_states(&self, n: usize) -> Vec<Self> {
        let sim = self.lock();
        let ops = &sim.ops[..n];
        let loose: Vec<usize> = (0..n).filter(|i| !is_synced(ops, *i)).collect();
        let mut states = vec![apply(&sim, ops, |_| Fate::Kept), apply(&sim, ops, |i| Fate::lost(loose.contains(&i)))];
        for victim in &loose {
            states.push(apply(&sim, ops, |i| Fate::lost(i == *victim)));
            if let Op::Write(_, _, data) = &ops[*victim] {
                for keep in [1, 64, 511, 512, 4095, 4096, data.len() - 1] {
                    if keep < data.len() {
                        states.push(apply(&sim, ops, |i| if i == *victim { Fate::Torn(keep) } else { Fate::Kept }));
                        // The end of the write reached the disk, its beginning did not.
                        states.push(apply(&sim, ops, |i| if i == *victim { Fate::Headless(keep) } else { Fate::Kept }));
                    }
                }
            }
        }
        states
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Torn(usize),
    Headless(usize),
}

impl Fate {
    fn lost(lost: bool) -> Self {
        if lost { Self::Lost } else { Self::Kept }
    }
}

fn is_synced(ops: &[Op], i: usize) -> bool {
    let later = &ops[i + 1..];
    match &ops[i] {
        Op::Write(file, ..) | Op::SetLen(file, _) => later.iter().any(|o| matches!(o, Op::Sync(f) if f == file)),
        Op::Create(path, _) | Op::Rename(_, path) | Op::Remove(path) => {
            later.iter().any(|o| matches!(o, Op::SyncDir(d) if Some(d.as_path()) == path.parent()))
        }
        Op::Sync(_) | Op::SyncDir(_) | Op::MakeDir(_) | Op::RemoveDir(_) => true,
    }
}

fn apply(sim: &Sim, ops: &[Op], fate: impl Fn(usize) -> Fate) -> SimFs {
    let mut state = Sim { files: vec![vec![]; sim.files.len()], ..Sim::default() };
    for (i, op) in ops.iter().enumerate() {
        match (op, fate(i)) {
            (Op::Sync(_) | Op::SyncDir(_), _) | (_, Fate::Lost) => {}
            (Op::Create(path, file), _) => drop(state.names.insert(path.clone(), *file)),
            (Op::Write(file, at, data), Fate::Torn(keep)) => write(&mut state.files[*file], *at, &data[..keep]),
            (Op::Write(file, at, data), Fate::Headless(skip)) => {
                write(&mut state.files[*file], *at + skip as u64, &data[skip..]);
            }
            (Op::Write(file, at, data), _) => write(&mut state.files[*file], *at, data),
            (Op::SetLen(file, len), _) => state.files[*file].resize(*len as usize, 0),
            (Op::Rename(from, to), _) => {
                if let Some(file) = state.names.remove(from) {
                    state.names.insert(to.clone(), file);
                }
            }
            (Op::Remove(path), _) => drop(state.names.remove(path)),
            (Op::MakeDir(dir), _) => state.dirs.extend(dir.ancestors().map(Path::to_owned)),
            (Op::RemoveDir(dir), _) => drop(state.dirs.remove(dir)),
        }
    }
    SimFs { sim: Arc::new(Mutex::new(state)), locked: Arc::default() }
}

fn write(file: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = at as usize + data.len();
    file.resize(file.len().max(end), 0);
    file[at as usize..end].copy_from_slice(data);
}

impl Sim {
    fn strike(&mut self, call: &'static str, path: &Path) -> io::Result<()> {
        let Some(fault) = &mut self.fault else { return Ok(()) };
        if fault.call != call || !path.to_string_lossy().contains(fault.path) {
            return Ok(());
        }
        if fault.nth == 0 {
            self.calls_after_fault += 1;
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        fault.nth -= 1;
        Ok(())
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut sim = self.lock();
        sim.dirs.extend(dir.ancestors().map(Path::to_owned));
        sim.ops.push(Op::MakeDir(dir.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let sim = self.lock();
        let all = sim.names.keys().chain(&sim.dirs).filter(|p| p.parent() == Some(dir));
        let names: BTreeSet<_> = all.filter_map(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DurableFile>> {
        let file = *self.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { fs: self.clone(), file, path: path.to_owned() }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DurableFile>> {
        let file = {
            let mut sim = self.lock();
            sim.strike("create", path)?;
            let file = sim.files.len();
            sim.files.push(vec![]);
            sim.names.insert(path.to_owned(), file);
            sim.ops.push(Op::Create(path.to_owned(), file));
            file
        };
        Ok(Arc::new(SimFile { fs: self.clone(), file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut sim = self.lock();
        sim.strike("rename", to)?;
        let file = sim.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        sim.names.insert(to.to_owned(), file);
        sim.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.lock();
        sim.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        sim.ops.push(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut sim = self.lock();
        sim.dirs.remove(dir);
        sim.ops.push(Op::RemoveDir(dir.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut sim = self.lock();
        sim.strike("sync_dir", dir)?;
        sim.ops.push(Op::SyncDir(dir.to_owned()));
        Ok(())
    }

    fn lock(&self, _path: &Path, _owner: &str) -> io::Result<Result<LockGuard, String>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Ok(Err("pid 1".to_owned()));
        }
        Ok(Ok(Box::new(SimLock(Arc::clone(&self.locked)))))
    }
}

struct SimLock(Arc<AtomicBool>);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    file: usize,
    path: PathBuf,
}

impl DurableFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.lock().files[self.file].len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let sim = self.fs.lock();
        let bytes = sim.files[self.file].get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut sim = self.fs.lock();
        sim.strike("write", &self.path)?;
        write(&mut sim.files[self.file], offset, data);
        if !data.is_empty() {
            sim.ops.push(Op::Write(self.file, offset, data.to_vec()));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.fs.lock();
        sim.files[self.file].resize(len as usize, 0);
        sim.ops.push(Op::SetLen(self.file, len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut sim = self.fs.lock();
        sim.strike("sync", &self.path)?;
        sim.ops.push(Op::Sync(self.file));
        Ok(())
    }

    fn is_unlinked(&self) -> io::Result<bool> {
        Ok(false)
    }
}
