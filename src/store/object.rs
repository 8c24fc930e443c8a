//! An object that is read in ranges, as it was when it was listed.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, coalesce_ranges};

use super::Store;
use super::error::StoreFault;
use super::runtime;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    store: Store,
    key: Key,
    size: u64,
    tag: Option<std::sync::Arc<str>>,
}

impl RemoteFile {
    pub(super) fn new(store: Store, key: Key, size: u64, tag: Option<&str>) -> Self {
        Self { store, key, size, tag: tag.map(Into::into) }
    }

    /// How many bytes it had when it was listed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range, while this thread waits.
    ///
    /// # Errors
    /// An object that is gone or changed, a store that does not answer.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, StoreFault> {
        self.begin(range).and_then(|answer| answer.recv().map_err(|_| ended())?)
    }

    /// Asks for the bytes of a range, which come later.
    pub(super) fn begin(
        &self,
        range: Range<u64>,
    ) -> Result<std::sync::mpsc::Receiver<Result<Bytes, StoreFault>>, StoreFault> {
        let file = self.clone();
        runtime::begin(async move { file.get(range).await }).map_err(StoreFault::Failed)
    }

    /// The bytes of ranges, in order: near ones with one request, several requests side by side.
    ///
    /// # Errors
    /// As [`RemoteFile::read`].
    pub async fn fetch(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, StoreFault> {
        let file = self.clone();
        let all = async move {
            let get = |range| {
                let file = file.clone();
                async move { file.get(range).await }
            };
            coalesce_ranges(&ranges, get, OBJECT_STORE_COALESCE_DEFAULT).await
        };
        runtime::run(all).await.map_err(StoreFault::Failed)?
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes, StoreFault> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        // Weak tags, of some web servers, cannot be asked for; they are compared below.
        let if_match = self.tag.as_deref().filter(|tag| !tag.starts_with("W/")).map(ToOwned::to_owned);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match, ..GetOptions::default() };
        let path = || format!("{}{}", self.store.base(), self.key);
        let got = self.store.0.objects.get_opts(&self.key, options).await;
        let got = got.map_err(|e| StoreFault::of(&path(), &e))?;
        let is_other_tag = matches!((&got.meta.e_tag, self.tag.as_deref()), (Some(now), Some(then)) if now != then);
        if is_other_tag || got.meta.size != self.size {
            return Err(StoreFault::Changed);
        }
        let bytes = got.bytes().await.map_err(|e| StoreFault::of(&path(), &e))?;
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(StoreFault::Changed) }
    }
}

fn ended() -> StoreFault {
    StoreFault::Failed(crate::error::Error::internal("a request to a store did not end"))
}
