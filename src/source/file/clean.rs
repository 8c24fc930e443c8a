//! What becomes of files that a committed batch has read: the option `cleanSource`.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::entry::FileEntry;
use super::listing::Location;
use crate::disk::only_local;
use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};
use crate::store::{Store, same_bucket};

/// The option `cleanSource`.
#[derive(Debug, Clone)]
pub enum CleanSource {
    /// They stay.
    Off,
    /// They are removed.
    Delete,
    /// They are moved below this directory, under their whole path.
    Archive(PathBuf),
}

impl CleanSource {
    /// What [`CleanSource::read`] reads.
    pub const OPTIONS: [OptionSpec; 2] = [
        OptionSpec::new(
            "cleanSource",
            OptionType::Choice(&["off", "delete", "archive"]),
            "What becomes of files that a committed batch has read.",
        )
        .or("off"),
        OptionSpec::new(
            "sourceArchiveDir",
            OptionType::Path,
            "Where cleanSource archive moves files to, under their whole path; outside of path.",
        ),
    ];

    /// Reads `cleanSource` and `sourceArchiveDir`.
    pub fn read(options: &mut OptionReader<'_>, location: &Location) -> Result<Self> {
        let choice = options.choice("cleanSource")?;
        let dir = options.string("sourceArchiveDir");
        match (choice, dir) {
            (Some("archive"), Some(dir)) => {
                let archive = match &location.store {
                    None => PathBuf::from(only_local(dir, "the archive of local files")?),
                    Some(store) => match same_bucket(dir, store)? {
                        Some(key) => store.path(&key),
                        None => {
                            let expected = format!("a place in the store of the files, {}", store.base());
                            return Err(options.invalid("sourceArchiveDir", dir, &expected));
                        }
                    },
                };
                if location.roots().iter().any(|root| archive.starts_with(root)) {
                    return Err(options.invalid("sourceArchiveDir", dir, "a directory outside the one that is read"));
                }
                Ok(Self::Archive(archive))
            }
            (Some("archive"), None) => options.required("sourceArchiveDir").map(|_| Self::Off),
            (_, Some(_)) => Err(Error::invalid(
                "INVALID_OPTION",
                "option 'sourceArchiveDir' of the file source needs cleanSource 'archive'",
            )
            .with_help("add cleanSource 'archive', or remove sourceArchiveDir")),
            (Some("delete"), None) => Ok(Self::Delete),
            _ => Ok(Self::Off),
        }
    }

    /// Whether files stay where they are.
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    /// Cleans up; a file that cannot be cleaned stays and is logged, because its rows are read all the same. The files are in
    /// `store`, if not on the local disk.
    pub fn clean(&self, files: &[FileEntry], store: Option<&Store>) {
        if let Some(store) = store {
            return self.clean_objects(files, store);
        }
        for file in files {
            let done = match self {
                Self::Off => Ok(()),
                Self::Delete => fs::remove_file(&file.path),
                Self::Archive(dir) => archive(&file.path, dir),
            };
            match done {
                Err(e) if e.kind() != io::ErrorKind::NotFound => failed(file, &e),
                _ => {}
            }
        }
    }

    fn clean_objects(&self, files: &[FileEntry], store: &Store) {
        let keys = || files.iter().filter_map(|f| store.key(&f.path));
        match self {
            Self::Off => {}
            Self::Delete => {
                if let (Err(e), Some(first)) = (store.delete(keys().map(str::to_owned).collect()), files.first()) {
                    failed(first, &e);
                }
            }
            Self::Archive(dir) => {
                let dir = store.key(dir).unwrap_or_default();
                for (file, key) in files.iter().zip(keys()) {
                    if let Err(e) = store.rename(key, &format!("{dir}/{key}")) {
                        failed(file, &e);
                    }
                }
            }
        }
    }
}

fn failed(file: &FileEntry, e: &dyn std::fmt::Display) {
    tracing::warn!(file = %file.path.display(), "file source: cleaning up failed: {e}");
}

fn archive(path: &Path, dir: &Path) -> io::Result<()> {
    let path_inside =
        std::path::absolute(path)?.components().filter(|c| matches!(c, Component::Normal(_))).collect::<PathBuf>();
    let target = dir.join(path_inside);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(path, target)
}
