//! Finds the files of a path: a file, a directory or a glob pattern, on the local disk or in a store.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::entry::FileEntry;
use super::partition::has_partition;
use super::{objects, walk};
use crate::error::{Error, Result};
use crate::glob::{self, Component, Glob};
use crate::options::OptionType::{Boolean, Path as PathType, Text};
use crate::options::{OptionReader, OptionSpec};
use crate::source::record_log::io_error;
use crate::store::{NUM_OPTIONS, Store, with_store_options};

/// What to list.
#[derive(Debug, Clone)]
pub struct Location {
    /// As the user wrote it.
    pub path: String,
    /// The store that it is in, if it is not local.
    pub store: Option<Store>,
    /// The directory of exactly this name.
    pub(super) literal: PathBuf,
    /// Where an absolute path or one in a store starts: what the components of a pattern are below.
    pub(super) start: PathBuf,
    /// What the path stands for as a pattern; nothing if it is the output of a query of ours, whatever its name.
    pub(super) patterns: Vec<Vec<Component>>,
    name_filter: Option<Glob>,
    /// Where partition folders begin, if not at the path.
    base: Option<PathBuf>,
    pub(super) recursive: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Regular files by modification time, then path.
    pub files: Vec<FileEntry>,
    /// Entries that are no regular files (pipes, sockets, devices, loops of links), or whose link leads nowhere.
    pub skipped: u64,
}

impl Location {
    /// What [`Location::read`] reads.
    pub const OPTIONS: [OptionSpec; 4 + NUM_OPTIONS] = with_store_options([
        OptionSpec::new("path", PathType, "A file, a directory or a pattern of paths.").required(),
        OptionSpec::new(
            "pathGlobFilter",
            Text,
            "A pattern that names of files must fit; those of a batch that was not finished, too.",
        ),
        OptionSpec::new(
            "recursiveFileLookup",
            Boolean,
            "Whether files in folders below are read too; then folders are no columns.",
        )
        .or("false"),
        OptionSpec::new("basePath", PathType, "Where partition folders begin; else at the path."),
    ]);

    /// Reads `path`, a pattern, `pathGlobFilter` and `recursiveFileLookup`, and the options of the path's store.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let path = options.required("path")?;
        let store = Store::of(path, options)?;
        let pattern = store.as_ref().map_or(local_path(path), |(_, key)| key);
        if pattern.is_empty() && store.is_none() {
            return Err(options.invalid("path", path, "a file, a directory or a pattern"));
        }
        let filter = options.string("pathGlobFilter");
        let recursive = options.bool("recursiveFileLookup")?;
        let wrong = |key: &str, text: &str, reason: String| {
            options
                .invalid(key, text, &format!("a pattern, but {reason}"))
                .with_help("patterns are *, ?, [a-z], [^a] and {a,b}; write \\ before a sign that means itself")
        };
        // A web server does not say which names there are.
        let is_web = store.as_ref().is_some_and(|(store, _)| store.is_web());
        let braces = if is_web { glob::Braces::All } else { glob::Braces::WithSeparator };
        let patterns = glob::read_path(pattern, braces).map_err(|reason| wrong("path", path, reason))?;
        let name_filter = filter.map(|text| Glob::new(text).map_err(|reason| wrong("pathGlobFilter", text, reason)));
        let name_filter = name_filter.transpose()?;
        let base =
            options.string("basePath").map(|base| base_path(base, store.as_ref().map(|(s, _)| s))).transpose()?;
        let (literal, start) = match &store {
            Some((store, key)) => (store.path(key), PathBuf::from(store.base())),
            None => {
                let literal = PathBuf::from(pattern);
                let start = PathBuf::from(if literal.is_absolute() { "/" } else { "" });
                (literal, start)
            }
        };
        let store = store.map(|(store, _)| store);
        Ok(Self { path: path.to_string(), store, literal, start, patterns, name_filter, base, recursive })
    }

    /// The same path, taken by the letter: a query of ours writes there.
    pub fn of_output(self) -> Self {
        Self { patterns: vec![], ..self }
    }

    /// Whether a file of this name is asked for.
    pub fn takes(&self, path: &Path) -> bool {
        // A path that is a file needs no name that fits.
        path == self.literal || self.takes_name(path.file_name().unwrap_or_default())
    }

    /// Whether a file of this name in a directory is asked for.
    pub(super) fn takes_name(&self, name: &OsStr) -> bool {
        self.name_filter.as_ref().is_none_or(|f| f.matches(&name.to_string_lossy()))
    }

    /// What to do if nothing is found: a directory of the very name may be there.
    pub fn hint(&self) -> Option<String> {
        let escaped = glob::escape(local_path(&self.path));
        (self.store.is_none() && escaped != local_path(&self.path) && self.literal.exists()).then(|| {
            // A string of SQL takes one of two for itself.
            let escaped = escaped.replace('\\', r"\\");
            format!("it is a pattern; the directory of this name is written '{escaped}'")
        })
    }

    /// The path as far as it matters to a checkpoint: without the scheme if it is local, with that of its store in one spelling.
    pub fn plain_path(&self) -> &str {
        match self.store {
            Some(_) => self.literal.to_str().unwrap_or(&self.path),
            None => local_path(&self.path),
        }
    }

    /// The directories this location is below, for comparing with another directory.
    pub fn roots(&self) -> Vec<PathBuf> {
        let fixed = |pattern: &Vec<Component>| {
            let names = pattern.iter().map_while(|c| match c {
                Component::Name(name) => Some(name),
                Component::Matching(_) => None,
            });
            let mut root = self.start.clone();
            root.extend(names);
            root
        };
        std::iter::once(self.literal.clone()).chain(self.patterns.iter().map(fixed)).collect()
    }

    /// Where the partition folders of a file begin: at `basePath`, or at the path that was asked for.
    pub fn root<'p>(&self, file: &'p Path) -> &'p Path {
        if self.recursive {
            return file;
        }
        let lies_below = |root: &Path| file.starts_with(root).then(|| root.components().count());
        let given = self.base.as_deref().and_then(lies_below);
        let literal = || lies_below(&plain(&self.literal));
        let matched = || {
            let lengths = self.patterns.iter().map(|p| p.len() + self.start.components().count());
            lengths.filter(|n| *n < file.components().count()).max()
        };
        let depth = given.or_else(literal).or_else(matched);
        let above = depth.map_or(0, |depth| file.components().count().saturating_sub(depth));
        file.ancestors().nth(above).unwrap_or(file)
    }

    /// Whether something is there.
    pub fn exists(&self) -> Result<bool> {
        match &self.store {
            Some(store) => objects::exists(self, store),
            None => Ok(walk::found(self).is_ok_and(|found| found.iter().any(|path| path.exists()))),
        }
    }

    /// What a file in a folder is to this location, the folder's other files likewise.
    pub(super) fn depth(&self, file: &Path) -> Depth {
        let root = self.root(file);
        match has_partition(file, root) {
            true => Depth::Partition,
            false if file == root || file.parent() == Some(root) => Depth::Root,
            false => Depth::Below,
        }
    }

    /// Lists it. What is not there is empty; what vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Listing> {
        let Found { mut files, folders, skipped } = match &self.store {
            Some(store) => objects::list(self, store)?,
            None => walk::list(self)?,
        };
        if !self.recursive {
            keep_partitions(&mut files, &folders);
        }
        files.sort_unstable_by(|a, b| a.mtime_ns.cmp(&b.mtime_ns).then_with(|| a.path.cmp(&b.path)));
        files.dedup_by(|a, b| a.mtime_ns == b.mtime_ns && a.inode == b.inode && a.path == b.path);
        Ok(Listing { files, skipped })
    }

    /// The files as they are now, `None` for each that is not there.
    ///
    /// # Errors
    /// A disk or store that does not answer.
    pub fn stat(&self, files: &[FileEntry]) -> Result<Vec<Option<FileEntry>>> {
        let Some(store) = &self.store else {
            let stat = |f: &FileEntry| FileEntry::stat(&f.path).map_err(|e| io_error("listing", &f.path, &e));
            return files.iter().map(stat).collect();
        };
        let keys = files.iter().map(|f| store.key(&f.path).unwrap_or_default().to_owned()).collect();
        let now = store.heads(keys)?.into_iter().zip(files);
        let entry = |(now, then): (Option<_>, &FileEntry)| {
            let now = FileEntry::remote(store, now?);
            Some(if then.is_still(&now) { then.clone() } else { now })
        };
        Ok(now.map(entry).collect())
    }
}

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// In partition folders.
    Partition,
    /// At the path that was asked for.
    Root,
    /// Somewhere below it.
    Below,
}

/// Files as they were found, folder by folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: Vec<FileEntry>,
    /// Where in `files` those of a folder end, and where they lie.
    pub folders: Vec<(usize, Depth)>,
    pub skipped: u64,
}

impl Found {
    /// The files since the last folder were one: says where they lie.
    pub fn end_folder(&mut self, location: &Location) {
        let begin = self.folders.last().map_or(0, |(end, _)| *end);
        if let Some(first) = self.files.get(begin) {
            self.folders.push((self.files.len(), location.depth(&first.path)));
        }
    }
}

/// Without `recursiveFileLookup` files further below count if they lie in partition folders; then they are all that counts.
fn keep_partitions(files: &mut Vec<FileEntry>, folders: &[(usize, Depth)]) {
    let is_partitioned = folders.iter().any(|(_, depth)| *depth == Depth::Partition);
    let wanted = if is_partitioned { Depth::Partition } else { Depth::Root };
    if folders.iter().all(|(_, depth)| *depth == wanted) {
        return;
    }
    let (mut i, mut folder) = (0, folders.iter());
    let mut current = folder.next();
    files.retain(|_| {
        while current.is_some_and(|(end, _)| *end <= i) {
            current = folder.next();
        }
        i += 1;
        current.is_some_and(|(_, depth)| *depth == wanted)
    });
}

/// The option `basePath`, which is where the path is.
fn base_path(base: &str, store: Option<&Store>) -> Result<PathBuf> {
    let Some(store) = store else { return Ok(plain(Path::new(local_path(base)))) };
    match crate::store::same_bucket(base, store)? {
        Some(key) => Ok(store.path(&key)),
        None => Err(Error::invalid("INVALID_OPTION", format!("basePath '{base}' is in another store than the path"))
            .with_help("write both in the same way")),
    }
}

/// Files that other programs write to, or keep for themselves, as Hadoop has it.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    (name.starts_with(b"_") && !name.contains(&b'=')) || name.starts_with(b".") || name.ends_with(b"._COPYING_")
}

/// The path without superfluous parts, as files below it are named.
pub(super) fn plain(path: &Path) -> PathBuf {
    let kept = path.components().filter(|c| *c != std::path::Component::CurDir).collect::<PathBuf>();
    if kept.as_os_str().is_empty() { PathBuf::from(".") } else { kept }
}

/// `path` without `file:`.
fn local_path(path: &str) -> &str {
    crate::disk::local_path(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::options::Options;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn names(path: String, more: &[(&str, &str)]) -> (Vec<String>, u64) {
        let mut options = Options::from_iter(more.iter().copied());
        options.set("path", path);
        let listing =
            Location::read(&mut OptionReader::new("t", &options, &[&Location::OPTIONS])).unwrap().list().unwrap();
        let name = |f: &FileEntry| f.path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = listing.files.iter().map(name).collect();
        names.sort();
        (names, listing.skipped)
    }

    #[test]
    fn only_regular_visible_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a.txt", "b\nc.txt", "x.csv", "_hidden", ".hidden"] {
            fs::write(at(name), "x").unwrap();
        }
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "x").unwrap();
        fs::create_dir_all(at("sub/deep.txt")).unwrap();
        fs::write(at("sub/d.txt"), "x").unwrap();
        symlink(at("loop1"), at("loop2")).unwrap();
        symlink(at("loop2"), at("loop1")).unwrap();
        symlink(dir.path(), at("sub/up")).unwrap();
        let _pipe = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        let root = dir.path().display().to_string();
        assert_eq!(
            names(root.clone(), &[]),
            (vec!["a.txt".into(), "b\nc.txt".into(), "x.csv".into(), "\u{fffd}.txt".into()], 4)
        );
        let (all, skipped) = names(format!("file://{root}"), &[("recursiveFileLookup", "true")]);
        assert_eq!((all.len(), skipped), (5, 4));
        assert_eq!(names(root.clone(), &[("pathGlobFilter", "*.csv")]).0, ["x.csv"]);
        assert_eq!(names(format!("{root}/{{a,x}}.*"), &[]).0, ["a.txt", "x.csv"]);
        assert_eq!(names(format!("{root}/s?b"), &[]).0, ["d.txt"]);
        assert_eq!(names(format!("{root}/gone"), &[]), (vec![], 0));
        // Partition folders count wherever they are, and then nothing else does.
        fs::create_dir_all(at("sub/k=1/more")).unwrap();
        fs::write(at("sub/k=1/more/p.txt"), "x").unwrap();
        assert_eq!(names(root.clone(), &[]).0, ["p.txt"]);
        assert_eq!(names(root, &[("recursiveFileLookup", "true")]).0.len(), 6);
    }

    #[test]
    fn a_name_that_is_a_pattern_is_one_unless_a_query_of_ours_wrote_there() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x[1]", "x1"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(format!("of-{name}")), "x").unwrap();
        }
        let at = |name: &str| format!("{}/{name}", dir.path().display());
        assert_eq!(names(at("x[1]"), &[]).0, ["of-x1"]);
        assert_eq!(names(at(r"x\[1\]"), &[]).0, ["of-x[1]"]);
        let options = Options::from_iter([("path", at("x[1]"))]);
        let location = Location::read(&mut OptionReader::new("t", &options, &[&Location::OPTIONS])).unwrap();
        assert_eq!(location.of_output().list().unwrap().files[0].path, PathBuf::from(at("x[1]/of-x[1]")));
        let options = Options::from_iter([("path", at("x[2]"))]);
        let location = Location::read(&mut OptionReader::new("t", &options, &[&Location::OPTIONS])).unwrap();
        assert!(!location.exists().unwrap() && location.hint().is_none());
        fs::create_dir(at("x[2]")).unwrap();
        assert!(!location.exists().unwrap() && location.hint().unwrap().contains(r"x\\[2\\]"));
    }

    #[tokio::test]
    async fn a_file_sink_shows_committed_batches_only() {
        use crate::sink::file::{FileFormatKind, FileSink};
        use crate::sink::{Sink, testing};
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let sink = FileSink::new(FileFormatKind::Json, &Options::from_iter([("path", root.as_str())])).unwrap();
        sink.open(&testing::context()).await.unwrap();
        testing::run_batch(&sink, 0, vec![testing::ints(&[1])]).await;
        let committed = names(root.clone(), &[]).0;
        assert_eq!(committed.len(), 1);
        sink.prepare(1, testing::stream(vec![testing::ints(&[2])])).await.unwrap();
        fs::write(dir.path().join("part-of-nobody.json"), "{}").unwrap();
        assert_eq!(names(root, &[]).0, committed);
    }

    #[test]
    fn a_large_directory_lists_fast() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..20_000 {
            fs::File::create(dir.path().join(format!("part-{i:05}.json"))).unwrap();
        }
        let options = Options::from_iter([("path", dir.path().display())]);
        let location = Location::read(&mut OptionReader::new("t", &options, &[&Location::OPTIONS])).unwrap();
        let start = std::time::Instant::now();
        let files = location.list().unwrap().files;
        let taken = start.elapsed();
        assert_eq!(files.len(), 20_000);
        assert!(taken < std::time::Duration::from_secs(1), "{taken:?}");
        assert!(files.iter().all(|f| f.path.capacity() == f.path.as_os_str().len()));
    }
}
