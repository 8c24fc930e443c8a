//! Object stores: which one a path is in, with which credentials, and the few things that are done there.
//!
//! A path is `scheme://bucket/key`. Files of a store are known by that text, as local ones by their path. What is asked of a store
//! runs on threads of its own (`runtime`), so that whoever waits for it, on a thread that may block or not, never holds
//! up the connections. Every request is tried again for a bounded time, and an error names the object and never a secret.
//!
//! Owns connections and credentials; does not own what the objects mean.

mod connect;
mod error;
mod location;
mod object;
mod runtime;
mod upload;
mod window;

pub use connect::{NUM_OPTIONS, OPTIONS, with_store_options};
pub use error::{StoreFault, fault_of, store_error};
pub use location::same_bucket;
pub use object::RemoteFile;
pub use runtime::wait;
pub use upload::UploadId;
pub use window::Window;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::options::OptionReader;

/// A bucket, with all that is needed to use it. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Bucket>);

struct Bucket {
    /// `s3://bucket/`, what every path in it begins with.
    base: String,
    objects: Arc<dyn ObjectStore>,
    /// The same, where large objects can be put in parts.
    parts: Option<Arc<dyn MultipartStore>>,
    /// Objects that never change, by what they belong to.
    fixed: Mutex<HashMap<String, HashMap<String, Bytes>>>,
}

impl Bucket {
    #[cfg_attr(
        not(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http")),
        allow(dead_code, reason = "stores come with features")
    )]
    fn new(base: String, objects: Arc<dyn ObjectStore>, parts: Option<Arc<dyn MultipartStore>>) -> Self {
        Self { base, objects, parts, fixed: Mutex::default() }
    }
}

/// An object as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name in the bucket.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// What changes whenever its bytes change.
    pub tag: Option<String>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        let modified_ns = meta.last_modified.timestamp_nanos_opt().unwrap_or_default();
        Self { key: meta.location.to_string(), size: meta.size, modified_ns, tag: meta.e_tag }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.base).finish()
    }
}

impl Store {
    /// The store of `path` and the key in it; `None` for a local path. Reads the options of that store.
    ///
    /// # Errors
    /// A scheme that is unknown or not part of this build, a path without a bucket, an option that does not fit.
    pub fn of(path: &str, options: &OptionReader<'_>) -> Result<Option<(Self, String)>> {
        let place = location::read(path)?;
        connect::check(path, place.as_ref().map(|place| place.kind), options)?;
        let Some(place) = place else { return Ok(None) };
        let bucket = connect::connect(&place, options)?;
        Ok(Some((Self(Arc::new(bucket)), place.key)))
    }

    /// Of objects that are there already, for tests.
    #[cfg(test)]
    pub fn new(base: &str, objects: Arc<dyn ObjectStore>, parts: Option<Arc<dyn MultipartStore>>) -> Self {
        Self(Arc::new(Bucket::new(base.to_owned(), objects, parts)))
    }

    /// What every path of the bucket begins with: `s3://bucket/`.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// The text that stands for an object, `s3://bucket/key`.
    pub fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}{key}", self.0.base))
    }

    /// The key of a path in this bucket.
    pub fn key<'p>(&self, path: &'p Path) -> Option<&'p str> {
        path.to_str()?.strip_prefix(&self.0.base)
    }

    /// Whether it is a web server: nothing is written there, and most list nothing.
    pub fn is_web(&self) -> bool {
        self.0.base.starts_with("http")
    }

    /// An object that is to be read, as it was listed.
    ///
    /// # Errors
    /// A key that no object can have.
    pub fn file(&self, key: &str, size: u64, tag: Option<&str>) -> Result<RemoteFile> {
        Ok(RemoteFile::new(self.clone(), self.parsed(key)?, size, tag))
    }

    fn parsed(&self, key: &str) -> Result<Key> {
        Key::parse(key).map_err(|e| {
            Error::execution("INVALID_PATH", format!("'{}{key}' is no path of an object: {e}", self.0.base))
                .with_help("names between slashes are not empty, and are neither . nor ..")
        })
    }

    fn failed(&self, doing: &str, key: &str, e: &object_store::Error) -> Error {
        store_error(doing, &format!("{}{key}", self.0.base), e)
    }

    /// All objects whose key begins with `prefix` and a slash, all of the bucket if it is empty; in the order of keys.
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        wait(async move {
            let key = store.parsed(&prefix)?;
            let listed = store.0.objects.list((!prefix.is_empty()).then_some(&key)).map_ok(Object::from);
            let mut all: Vec<_> = listed.try_collect().await.map_err(|e| store.failed("listing", &prefix, &e))?;
            // Stores differ in what they say of keys that end in a slash, which stand for folders.
            all.retain(|o| !o.key.is_empty() && o.key != prefix);
            all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(all)
        })?
    }

    /// The object of this key, if there is one.
    pub fn head(&self, key: &str) -> Result<Option<Object>> {
        if key.is_empty() {
            return Ok(None);
        }
        let (store, key) = (self.clone(), key.to_owned());
        wait(async move { store.head_now(&key).await })?
    }

    /// The objects of these keys, in order, asked for side by side.
    pub fn heads(&self, keys: Vec<String>) -> Result<Vec<Option<Object>>> {
        self.side_by_side(keys, |store, key| async move { store.head_now(&key).await })
    }

    /// The answers for these keys, in order.
    fn side_by_side<T, F>(&self, keys: Vec<String>, ask: impl Fn(Self, String) -> F) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let asked: Vec<_> = keys.into_iter().map(|key| ask(self.clone(), key)).collect();
        wait(futures::stream::iter(asked).buffered(16).try_collect())?
    }

    async fn head_now(&self, key: &str) -> Result<Option<Object>> {
        match self.0.objects.head(&self.parsed(key)?).await {
            Ok(meta) => Ok(Some(meta.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("looking for", key, &e)),
        }
    }

    async fn get_now(&self, key: &str) -> Result<Option<Bytes>> {
        let got = match self.0.objects.get(&self.parsed(key)?).await {
            Ok(got) => got.bytes().await,
            Err(e) => Err(e),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("reading", key, &e)),
        }
    }

    /// All bytes of an object, if it is there.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let (store, key) = (self.clone(), key.to_owned());
        wait(async move { store.get_now(&key).await })?
    }

    /// All bytes of each of these objects, in order, asked for side by side.
    pub fn gets(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>> {
        self.side_by_side(keys, |store, key| async move { store.get_now(&key).await })
    }

    /// The same for objects whose bytes never change once they are there: those of the last call for `group` are not fetched again.
    pub fn gets_fixed(&self, group: &str, keys: Vec<String>) -> Result<Vec<Option<Bytes>>> {
        let mut known = self.0.fixed.lock().get(group).cloned().unwrap_or_default();
        known.retain(|key, _| keys.contains(key));
        let missing: Vec<_> = keys.iter().filter(|key| !known.contains_key(*key)).cloned().collect();
        for (key, bytes) in missing.iter().zip(self.gets(missing.clone())?) {
            known.extend(bytes.map(|bytes| (key.clone(), bytes)));
        }
        let all = keys.iter().map(|key| known.get(key).cloned()).collect();
        self.0.fixed.lock().insert(group.to_owned(), known);
        Ok(all)
    }

    /// Puts an object, in the place of one of this key.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let (store, key, bytes) = (self.clone(), key.to_owned(), bytes.into());
        wait(async move {
            let put = store.0.objects.put(&store.parsed(&key)?, PutPayload::from(bytes)).await;
            put.map(drop).map_err(|e| store.failed("writing", &key, &e))
        })?
    }

    /// Puts an object if there is none of this key; otherwise gives what is there, unless that is the same bytes: then an earlier
    /// try has put them, whose answer was lost.
    ///
    /// # Errors
    /// A store that cannot tell, or one that cannot be reached: then nobody knows whether the object is there.
    pub fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let (store, key, bytes) = (self.clone(), key.to_owned(), bytes.into());
        wait(async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = store.0.objects.put_opts(&store.parsed(&key)?, bytes.clone().into(), options).await;
            let Err(e) = put else { return Ok(None) };
            if matches!(e, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) {
                return Err(no_conditions(&store.0.base));
            }
            match store.get_now(&key).await? {
                Some(there) if there == bytes => Ok(None),
                Some(there) => Ok(Some(there)),
                None => Err(store.failed("writing", &key, &e)),
            }
        })?
    }

    /// Removes objects; what is not there is no error.
    pub fn delete(&self, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let store = self.clone();
        wait(async move {
            let parsed = keys.iter().map(|key| store.parsed(key)).collect::<Result<Vec<_>>>()?;
            let parsed = futures::stream::iter(parsed.into_iter().map(Ok)).boxed();
            let mut deleted = store.0.objects.delete_stream(parsed);
            while let Some(one) = deleted.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(e) => return Err(store.failed("removing objects of", "", &e)),
                }
            }
            Ok(())
        })?
    }

    /// Gives an object another key: it is copied, then removed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (store, from, to) = (self.clone(), from.to_owned(), to.to_owned());
        wait(async move {
            let copied = store.0.objects.copy(&store.parsed(&from)?, &store.parsed(&to)?).await;
            copied.map_err(|e| store.failed("copying", &from, &e))?;
            let deleted = store.0.objects.delete(&store.parsed(&from)?).await;
            deleted.map_err(|e| store.failed("removing", &from, &e))
        })?
    }
}

/// The error of a store in which two writers cannot be told apart.
fn no_conditions(base: &str) -> Error {
    Error::unsupported(
        "UNSUPPORTED_FILE_SYSTEM",
        format!("the store of '{base}' cannot put an object only if there is none of its name"),
    )
    .with_help(
        "without that, two writers could lose each other's rows: write to another store, or to a local directory",
    )
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
