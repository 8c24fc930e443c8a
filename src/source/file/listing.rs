//! Finds the files of a path: a file, a directory or a glob pattern.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::entry::FileEntry;
use super::partition::has_partition;
use super::spark_log;
use crate::error::{Error, Result};
use crate::glob::{self, Component, Glob};
use crate::options::OptionType::{Boolean, Path as PathType, Text};
use crate::options::{OptionReader, OptionSpec};
use crate::sink::file::committed_files;
use crate::source::record_log::io_error;

/// What to list.
#[derive(Debug, Clone)]
pub struct Location {
    /// As the user wrote it.
    pub path: String,
    /// The directory of exactly this name.
    literal: PathBuf,
    /// What the path stands for as a pattern; nothing if it is the output of a query of ours, whatever its name.
    patterns: Vec<Vec<Component>>,
    name_filter: Option<Glob>,
    /// Where partition folders begin, if not at the path.
    base: Option<PathBuf>,
    recursive: bool,
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
    pub const OPTIONS: [OptionSpec; 4] = [
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
    ];

    /// Reads `path`, a pattern, `pathGlobFilter` and `recursiveFileLookup`.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let path = options.required("path")?;
        let local = local_path(path).ok_or_else(|| {
            Error::unsupported("UNSUPPORTED_FEATURE", format!("the path '{path}' is not on the local file system"))
                .with_help("object stores come with the connectors")
        })?;
        if local.is_empty() {
            return Err(options.invalid("path", path, "a file, a directory or a pattern"));
        }
        let filter = options.string("pathGlobFilter");
        let recursive = options.bool("recursiveFileLookup")?;
        let wrong = |key: &str, text: &str, reason: String| {
            options
                .invalid(key, text, &format!("a pattern, but {reason}"))
                .with_help("patterns are *, ?, [a-z], [^a] and {a,b}; write \\ before a sign that means itself")
        };
        let patterns = glob::read_path(local).map_err(|reason| wrong("path", path, reason))?;
        let name_filter = filter.map(|text| Glob::new(text).map_err(|reason| wrong("pathGlobFilter", text, reason)));
        let name_filter = name_filter.transpose()?;
        let base = options.string("basePath").map(|base| plain(Path::new(local_path(base).unwrap_or(base))));
        Ok(Self { path: path.to_string(), literal: PathBuf::from(local), patterns, name_filter, base, recursive })
    }

    /// The same path, taken by the letter: a query of ours writes there.
    pub fn of_output(self) -> Self {
        Self { patterns: vec![], ..self }
    }

    /// Whether a file of this name is asked for.
    pub fn takes(&self, path: &Path) -> bool {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        // A path that is a file needs no name that fits.
        path == self.literal || self.name_filter.as_ref().is_none_or(|f| f.matches(&String::from_utf8_lossy(name)))
    }

    /// What to do if nothing is found: a directory of the very name may be there.
    pub fn hint(&self) -> Option<String> {
        let escaped = glob::escape(self.local());
        (escaped != self.local() && self.literal.exists()).then(|| {
            // A string of SQL takes one of two for itself.
            let escaped = escaped.replace('\\', r"\\");
            format!("it is a pattern; the directory of this name is written '{escaped}'")
        })
    }

    /// The path without a scheme.
    pub fn local(&self) -> &str {
        local_path(&self.path).unwrap_or(&self.path)
    }

    /// The directories this location is below, for comparing with another directory.
    pub fn roots(&self) -> Vec<PathBuf> {
        let fixed = |pattern: &Vec<Component>| {
            let names = pattern.iter().map_while(|c| match c {
                Component::Name(name) => Some(name),
                Component::Matching(_) => None,
            });
            self.start().into_iter().chain(names.map(PathBuf::from)).collect()
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
            let lengths = self.patterns.iter().map(|p| p.len() + self.start().iter().count());
            lengths.filter(|n| *n < file.components().count()).max()
        };
        let depth = given.or_else(literal).or_else(matched);
        let above = depth.map_or(0, |depth| file.components().count().saturating_sub(depth));
        file.ancestors().nth(above).unwrap_or(file)
    }

    /// Whether something is there.
    pub fn exists(&self) -> bool {
        self.found().is_ok_and(|found| found.iter().any(|path| path.exists()))
    }

    /// Where an absolute path starts.
    fn start(&self) -> Option<PathBuf> {
        self.literal.is_absolute().then(|| PathBuf::from("/"))
    }

    /// The paths to look at. What a query of ours has written is there by the letter, though its name be a pattern.
    fn found(&self) -> Result<Vec<PathBuf>> {
        if self.patterns.is_empty() || committed(&self.literal)?.is_some() {
            return Ok(vec![plain(&self.literal)]);
        }
        let mut all = vec![];
        for pattern in &self.patterns {
            let mut found = vec![self.start().unwrap_or_default()];
            for component in pattern {
                match component {
                    Component::Name(name) => found.iter_mut().for_each(|path| path.push(name)),
                    Component::Matching(glob) => found = matches(&found, glob)?,
                }
            }
            // A pattern of no component is the directory where the program is.
            all.extend(found.into_iter().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p }));
        }
        Ok(all)
    }

    /// Without `recursiveFileLookup` files further below count if they lie in partition folders; then they are all that counts.
    fn keep_partitions(&self, files: &mut Vec<FileEntry>) {
        let root = |file: &FileEntry| self.root(&file.path).to_owned();
        let is_partitioned = |file: &FileEntry| has_partition(&file.path, &root(file));
        match files.iter().any(is_partitioned) {
            true => files.retain(is_partitioned),
            false => files.retain(|file| file.path == root(file) || file.path.parent() == Some(&root(file))),
        }
    }

    /// Lists it. What is not there is empty; what vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Listing> {
        let mut walk = Walk { location: self, listing: Listing::default(), visited: HashSet::new() };
        for root in self.found()? {
            walk.root(&root)?;
        }
        let mut listing = walk.listing;
        if !self.recursive {
            self.keep_partitions(&mut listing.files);
        }
        listing.files.sort_by(|a, b| a.mtime_ns.cmp(&b.mtime_ns).then_with(|| a.path.cmp(&b.path)));
        listing.files.dedup_by(|a, b| a.path == b.path);
        Ok(listing)
    }
}

struct Walk<'a> {
    location: &'a Location,
    listing: Listing,
    /// Device and inode of directories on the way, so that a loop of links ends.
    visited: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    fn root(&mut self, root: &Path) -> Result<()> {
        match fs::metadata(root) {
            Ok(m) if m.is_dir() => self.directory(root, &m),
            Ok(m) if m.is_file() => {
                self.listing.files.push(FileEntry::new(root.to_path_buf(), &m));
                Ok(())
            }
            Ok(_) => {
                self.listing.skipped += 1;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(io_error("listing", root, &e)),
        }
    }

    fn directory(&mut self, dir: &Path, metadata: &fs::Metadata) -> Result<()> {
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            self.listing.skipped += 1;
            return Ok(());
        }
        if let Some(files) = committed(dir)? {
            return files.into_iter().try_for_each(|f| self.entry(&f));
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io_error("listing", dir, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| io_error("listing", dir, &e))?;
            self.entry(&entry.path())?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        if is_hidden(name) {
            return Ok(());
        }
        match fs::metadata(path) {
            // Partition folders may be further below.
            Ok(m) if m.is_dir() => self.directory(path, &m),
            Ok(m) if m.is_file() => {
                if self.location.takes(path) {
                    self.listing.files.push(FileEntry::new(path.to_path_buf(), &m));
                }
                Ok(())
            }
            Err(e) if !is_of_this_entry(&e) => Err(io_error("listing", path, &e)),
            _ => {
                self.listing.skipped += 1;
                Ok(())
            }
        }
    }
}

/// The files that the log of a file sink has, ours or Spark's, if there is one.
fn committed(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    match committed_files(dir)? {
        Some(files) => Ok(Some(files)),
        None => spark_log::committed_files(dir),
    }
}

/// Whether only this entry is at fault: it vanished, or is a link in a loop or to nowhere.
fn is_of_this_entry(e: &io::Error) -> bool {
    const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };
    e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(ELOOP)
}

/// Files that other programs write to, or keep for themselves, as Hadoop has it.
fn is_hidden(name: &[u8]) -> bool {
    (name.starts_with(b"_") && !name.contains(&b'=')) || name.starts_with(b".") || name.ends_with(b"._COPYING_")
}

/// The path without superfluous parts, as files below it are named.
fn plain(path: &Path) -> PathBuf {
    let kept = path.components().filter(|c| *c != std::path::Component::CurDir).collect::<PathBuf>();
    if kept.as_os_str().is_empty() { PathBuf::from(".") } else { kept }
}

/// Names in the directories that fit.
fn matches(dirs: &[PathBuf], glob: &Glob) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for dir in dirs {
        let listed = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let Ok(entries) = fs::read_dir(listed) else { continue };
        for entry in entries {
            let name = entry.map_err(|e| io_error("listing", listed, &e))?.file_name();
            if !is_hidden(name.as_bytes()) && glob.matches(&name.to_string_lossy()) {
                found.push(dir.join(name));
            }
        }
    }
    Ok(found)
}

/// `path` without `file:`; `None` if it has another scheme.
fn local_path(path: &str) -> Option<&str> {
    let path = path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path);
    (!path.contains("://")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
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
        assert!(!location.exists() && location.hint().is_none());
        fs::create_dir(at("x[2]")).unwrap();
        assert!(!location.exists() && location.hint().unwrap().contains(r"x\\[2\\]"));
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
}
