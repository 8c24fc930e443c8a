//! Stores in memory for tests: `memory://name/key` is the same store for the whole process, and can be made to fail.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::location::Place;
use super::{Bucket, Store};

/// A store in memory that counts requests, and fails those that a test wants to fail.
#[derive(Debug, Default)]
pub struct Faulty {
    inner: Arc<InMemory>,
    pub gets: AtomicU64,
    pub lists: AtomicU64,
    pub puts: AtomicU64,
    fault: Mutex<Option<Fault>>,
}

/// What happens to the next put of a key that contains the text.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It fails.
    Refused(&'static str),
    /// It is done, and the answer is lost.
    LostAnswer(&'static str),
}

static STORES: LazyLock<Mutex<HashMap<String, Arc<Faulty>>>> = LazyLock::new(Mutex::default);

/// The store of this name, made at its first use.
pub fn memory(name: &str) -> Arc<Faulty> {
    STORES.lock().entry(name.to_owned()).or_default().clone()
}

pub(super) fn bucket(place: &Place) -> Bucket {
    let store = memory(&place.bucket);
    Bucket::new(place.base.clone(), store.clone(), Some(store.inner.clone()))
}

/// The bucket `memory://name/`.
pub fn store(name: &str) -> Store {
    let objects = memory(name);
    Store::new(&format!("memory://{name}/"), objects.clone(), Some(objects.inner.clone()))
}

impl Faulty {
    pub fn fail(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn lost() -> Error {
    Error::Generic { store: "test", source: "the answer was lost".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, key: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let fault = {
            let mut fault = self.fault.lock();
            let is_meant = |fault: &Fault| match fault {
                Fault::Refused(text) | Fault::LostAnswer(text) => key.as_ref().contains(text),
            };
            if fault.as_ref().is_some_and(is_meant) { fault.take() } else { None }
        };
        match fault {
            Some(Fault::Refused(_)) => Err(lost()),
            Some(Fault::LostAnswer(_)) => {
                self.inner.put_opts(key, payload, options).await?;
                Err(lost())
            }
            None => self.inner.put_opts(key, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, key: &Key, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(key, options).await
    }

    async fn get_ranges(&self, key: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get_ranges(key, ranges).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
