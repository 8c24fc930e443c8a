//! Which topic of a name a query reads: the ids of topics, kept beside the checkpoint's log, so that a topic that was deleted and made anew is not
//! taken for the old one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::offsets::Offsets;
use crate::error::{Error, Result};
use crate::kafka::Topic;
use crate::source::record_log::{io_error, write_atomically};

/// The ids of the topics as the query has first seen them.
#[derive(Debug)]
pub struct KnownTopics {
    path: PathBuf,
    ids: BTreeMap<String, String>,
}

impl KnownTopics {
    /// Reads what is in the directory of the source.
    ///
    /// # Errors
    /// A file that is damaged, or cannot be read.
    pub fn open(dir: &std::path::Path) -> Result<Self> {
        let path = dir.join("topics.json");
        let ids = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt_checkpoint(format!("'{}' is no list of topics: {e}", path.display())))?,
            Err(e) if e.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(io_error("reading", &path, &e)),
        };
        Ok(Self { path, ids })
    }

    /// Keeps the ids of those that are new, durably: before a batch can read them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self, topics: &BTreeMap<Arc<str>, Topic>) -> Result<()> {
        let before = self.ids.len();
        for (name, topic) in topics {
            if let Some(id) = &topic.id
                && !self.ids.contains_key(name.as_ref())
            {
                self.ids.insert(name.to_string(), id.clone());
            }
        }
        if self.ids.len() == before {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(|e| io_error("making", dir, &e))?;
        }
        let text = serde_json::to_vec(&self.ids).map_err(|e| Error::internal(e.to_string()))?;
        write_atomically(&self.path, &text)
    }

    /// What the offsets of a topic say of its id now: none if it is the one that the query knows from the first.
    pub fn id_for_offsets(&self, name: &str, topic: &Topic) -> Option<String> {
        topic.id.clone().filter(|id| self.ids.get(name).is_some_and(|first| first != id))
    }

    /// Whether the topic is another one than the offsets are about.
    pub fn is_made_anew(&self, name: &str, topic: &Topic, offsets: &Offsets) -> bool {
        let Some(position) = offsets.0.get(name) else { return false };
        let read = position.id.as_ref().or_else(|| self.ids.get(name));
        topic.id.is_some() && read.is_some_and(|read| Some(read) != topic.id.as_ref())
    }
}
