//! A directory that goes away with its owner.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::{Error, Result};

/// A new directory under the system's temporary one.
#[derive(Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes it.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tidemill-test-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path)
            .map_err(|e| Error::io("TEMPORARY_DIRECTORY", format!("'{}' cannot be made: {e}", path.display())))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("temporary directory '{}' was not removed: {e}", self.0.display());
        }
    }
}
