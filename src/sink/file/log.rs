//! Where a sink keeps its files and says which of them are committed: a directory of the local disk, or a store.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use super::folders::Written;
use super::lines::{Committed, FileEntry, Line, State};
use crate::error::Result;
use crate::sink::BatchIdentity;

/// See the module. Calls may wait for the disk or the store. After an error of [`Log::append`] nobody knows what is committed: the
/// log is of no more use, and opening it again finds out.
pub trait Log: fmt::Debug + Send + Sync {
    /// What it says. The files are left out: there may be very many.
    fn state(&self) -> &State;

    /// Where files of the batch are written that [`Log::stage`] then takes.
    fn workplace(&self, kind: Kind) -> PathBuf;

    /// Makes files durable that are written, and that nobody sees before a line names them.
    fn stage(&mut self, written: Vec<Written>, kind: Kind) -> Result<Vec<FileEntry>>;

    /// Removes what was staged and is not in a line.
    fn forget(&mut self) -> Result<()>;

    /// Makes a step durable, then does what it says: from then on files have their names, and what is rolled or removed is gone.
    fn append(&mut self, line: Line) -> Result<()>;

    /// All committed files.
    fn files(&self) -> Result<Vec<Committed>>;

    /// Reads rows that are in no file yet.
    fn pending(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// The last batch that is committed.
    fn last(&self) -> Option<BatchIdentity> {
        self.state().last
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Readers will see it.
    Visible,
    /// Rows that wait to be put into a larger file.
    Pending,
}
