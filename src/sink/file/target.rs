//! Where a sink writes: a directory of the local disk or of a store.

use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::log::Log;
use super::manifest::{self, Manifest};
use super::store_log::{self, Place, StoreLog};
use crate::disk::local_path;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::options::OptionReader;
use crate::store::Store;

/// See the module.
#[derive(Debug, Clone)]
pub enum Target {
    Local(PathBuf),
    Store(Place),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(dir) => write!(f, "{}", dir.display()),
            Self::Store(place) => f.write_str(&place.shown()),
        }
    }
}

impl Target {
    /// The directory of a path, and the options of its store.
    ///
    /// # Errors
    /// A path that nothing can be written to.
    pub fn read(path: &str, options: &OptionReader<'_>) -> Result<Self> {
        match Store::of(path, options)? {
            None => Ok(Self::Local(PathBuf::from(local_path(path)))),
            Some((store, _)) if store.is_web() => {
                let message =
                    format!("the file sink writes to local directories and stores, not to '{}'", store.base());
                Err(Error::unsupported("UNSUPPORTED_FILE_SYSTEM", message).with_help(
                    "a web server has no writes that happen once: give it a directory, or s3://, gs://, az://",
                ))
            }
            Some((store, dir)) => Ok(Self::Store(Place { store, dir })),
        }
    }

    /// Takes the output over for a query.
    ///
    /// # Errors
    /// An output of another query; a disk or store that fails.
    pub fn open(&self, query_id: Uuid, failpoints: Failpoints) -> Result<Box<dyn Log>> {
        Ok(match self {
            Self::Local(dir) => Box::new(Manifest::open(dir, query_id, failpoints)?),
            Self::Store(place) => Box::new(StoreLog::open(place.clone(), query_id, failpoints)?),
        })
    }

    /// The query whose output it is, if it is one's.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn owner(&self) -> Result<Option<Uuid>> {
        match self {
            Self::Local(dir) => manifest::owner(dir),
            Self::Store(place) => store_log::owner(place),
        }
    }
}

/// Where a file is written that readers shall see, below the folder for such files.
pub fn staged_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{}.staged", super::lines::file_name(name)))
}
