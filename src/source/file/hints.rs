//! Wakes a query at once when a file appears in a local directory.
//!
//! It is a hint and nothing more: the listing says what is there, and goes on at longer intervals, because the system tells nothing of what
//! other machines write, and not everything when there is much. All sources of the process share one watcher, because a
//! system has few of them. What the system cannot watch is polled as before, which the log says once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::listing::is_hidden;

/// Files that come faster wake the query no more often than this.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// One source's wish to be woken.
#[derive(Debug)]
pub struct Hints {
    wish: Arc<Wish>,
    /// The directories that it asked for, if all of them are watched.
    watched: Mutex<Vec<PathBuf>>,
    _waker: SpawnedTask<()>,
}

/// What the watcher knows of a source.
#[derive(Debug, Default)]
struct Wish {
    roots: Mutex<Vec<PathBuf>>,
    hinted: Notify,
}

/// The watcher of the process.
#[derive(Default)]
struct Hub {
    watcher: Option<RecommendedWatcher>,
    /// How many sources want a directory watched.
    watched: HashMap<PathBuf, usize>,
}

static HUB: LazyLock<Mutex<Hub>> = LazyLock::new(Mutex::default);
static WISHES: LazyLock<Mutex<Vec<Weak<Wish>>>> = LazyLock::new(Mutex::default);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

impl Hints {
    /// Wakes through `wake`, from the moment when there is something to watch.
    pub fn new(wake: Arc<Notify>) -> Self {
        let wish = Arc::new(Wish::default());
        let mut wishes = WISHES.lock();
        wishes.retain(|wish| wish.strong_count() > 0);
        wishes.push(Arc::downgrade(&wish));
        let hinted = wish.clone();
        let waker = SpawnedTask::spawn(async move {
            loop {
                hinted.hinted.notified().await;
                wake.notify_one();
                // What comes meanwhile is one hint more, after it.
                tokio::time::sleep(MIN_PAUSE).await;
            }
        });
        Self { wish, watched: Mutex::default(), _waker: waker }
    }

    /// Watches these directories with all that is below them; whether all are watched.
    pub fn watch(&self, dirs: &[PathBuf]) -> bool {
        let mut watched = self.watched.lock();
        if *watched == dirs && !dirs.is_empty() {
            return true;
        }
        // The watcher's thread answers to the calls below, so nothing is locked that it needs.
        let before = std::mem::take(&mut *self.wish.roots.lock());
        let mut hub = HUB.lock();
        before.iter().for_each(|dir| hub.unwatch(dir));
        watched.clear();
        let mut roots = vec![];
        for dir in dirs {
            let Ok(path) = dir.canonicalize() else { continue };
            if is_shared(&path) {
                continue;
            }
            match hub.watch(&path) {
                Ok(()) => roots.push(path),
                Err(e) => failed(&path, &e),
            }
        }
        let are_all = roots.len() == dirs.len() && !dirs.is_empty();
        *self.wish.roots.lock() = roots;
        if are_all {
            watched.extend_from_slice(dirs);
        }
        are_all
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        let before = std::mem::take(&mut *self.wish.roots.lock());
        let mut hub = HUB.lock();
        before.iter().for_each(|dir| hub.unwatch(dir));
    }
}

impl Hub {
    fn watch(&mut self, dir: &Path) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(notify::recommended_watcher(heard)?),
        };
        let count = self.watched.entry(dir.to_owned()).or_default();
        if *count == 0 {
            watcher.watch(dir, RecursiveMode::Recursive)?;
        }
        *count += 1;
        Ok(())
    }

    fn unwatch(&mut self, dir: &Path) {
        let Some(count) = self.watched.get_mut(dir) else { return };
        *count -= 1;
        if *count == 0 {
            self.watched.remove(dir);
            if let Some(watcher) = &mut self.watcher {
                // One that is gone is not watched any more.
                let _ = watcher.unwatch(dir);
            }
        }
    }
}

/// Something has happened somewhere.
fn heard(event: notify::Result<Event>) {
    let event = match event {
        Ok(event) => event,
        Err(e) => return failed(Path::new(""), &e),
    };
    if !is_arrival(&event.kind) && !event.need_rescan() {
        return;
    }
    let wishes: Vec<_> = WISHES.lock().iter().filter_map(Weak::upgrade).collect();
    for wish in wishes {
        let roots = wish.roots.lock();
        if event.need_rescan() || event.paths.iter().any(|path| roots.iter().any(|root| is_visible(path, root))) {
            wish.hinted.notify_one();
        }
    }
}

/// Whether a file may be there now that is whole: it was moved there, or closed by who wrote it. A folder may have some.
fn is_arrival(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both | RenameMode::Any))
            | EventKind::Create(CreateKind::Folder)
    )
}

/// Whether a path is below a root, and a listing would show it.
fn is_visible(path: &Path, root: &Path) -> bool {
    path.strip_prefix(root).is_ok_and(|below| below.iter().map(OsStr::as_bytes).all(|name| !is_hidden(name)))
}

/// Whether other machines may write there, of which the system would tell nothing.
fn is_shared(path: &Path) -> bool {
    const SHARED: [i64; 6] = [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x00C3_6400];
    #[allow(clippy::unnecessary_cast, reason = "the type is another on other systems")]
    rustix::fs::statfs(path).is_ok_and(|s| SHARED.contains(&(s.f_type as i64 & 0xFFFF_FFFF)))
}

fn failed(path: &Path, e: &notify::Error) {
    if !HAS_FAILED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            path = %path.display(),
            "file source: new files are found by looking from time to time, because the system does not tell of them: {e}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn is_woken(wake: &Notify) -> bool {
        tokio::time::timeout(Duration::from_secs(10), wake.notified()).await.is_ok()
    }

    #[tokio::test]
    async fn files_that_are_whole_wake_and_others_do_not() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wake = Arc::new(Notify::new());
        let hints = Hints::new(wake.clone());
        assert!(!hints.watch(&[dir.path().join("not there")]));
        assert!(hints.watch(&[dir.path().to_owned()]) && hints.watch(&[dir.path().to_owned()]));
        fs::write(dir.path().join("a"), "x").unwrap();
        assert!(is_woken(&wake).await, "a file that was closed");
        fs::write(elsewhere.path().join("b"), "x").unwrap();
        fs::rename(elsewhere.path().join("b"), dir.path().join("b")).unwrap();
        assert!(is_woken(&wake).await, "a file that was moved in");
        fs::create_dir_all(dir.path().join("k=1")).unwrap();
        assert!(is_woken(&wake).await, "a folder");
        tokio::time::sleep(Duration::from_millis(200)).await;
        fs::write(dir.path().join("k=1/c"), "x").unwrap();
        assert!(is_woken(&wake).await, "a file in a new folder");

        // A hint more may be on its way for each file above.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = tokio::time::timeout(Duration::from_millis(1), wake.notified()).await;
        fs::write(dir.path().join("_hidden"), "x").unwrap();
        let _open = fs::File::create(dir.path().join("being written")).unwrap();
        let woken = tokio::time::timeout(Duration::from_millis(300), wake.notified()).await;
        assert!(woken.is_err(), "neither a hidden file nor one that is open");
    }

    #[tokio::test]
    async fn many_files_wake_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let wake = Arc::new(Notify::new());
        let hints = Hints::new(wake.clone());
        assert!(hints.watch(&[dir.path().to_owned()]));
        let path = dir.path().to_owned();
        let writer = SpawnedTask::spawn_blocking(move || {
            (0..2000).for_each(|i| fs::write(path.join(format!("f{i}")), "x").unwrap());
        });
        let start = std::time::Instant::now();
        let mut wakes = 0;
        while tokio::time::timeout(Duration::from_millis(500), wake.notified()).await.is_ok() {
            wakes += 1;
        }
        writer.join().await.unwrap();
        let most = start.elapsed().as_millis() / MIN_PAUSE.as_millis() + 2;
        assert!(wakes >= 1 && wakes <= most, "{wakes} wakes in {:?}", start.elapsed());
    }
}
