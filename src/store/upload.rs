//! Putting a local file into a store: small ones at once, large ones in parts of which nobody sees any before all are there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use serde::{Deserialize, Serialize};

use super::runtime::wait;
use super::{Store, store_error};
use crate::error::Result;

/// Files up to this size are put with one request.
const PART_BYTES: u64 = 8 << 20;
/// Stores take at most 10 000 parts.
const MAX_PARTS: u64 = 9_000;
const SIDE_BY_SIDE: usize = 4;

/// What is needed to abandon an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadId {
    /// The name of the object.
    pub key: String,
    /// What the store calls the upload in parts; nothing for a small file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

/// An upload that has begun.
#[derive(Debug)]
pub struct Upload {
    pub id: UploadId,
    file: File,
    size: u64,
    part_bytes: u64,
}

impl Store {
    /// Begins to put `file` under `key`. Nothing is sent but the wish.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin_upload(&self, key: &str, file: File, size: u64) -> Result<Upload> {
        let part_bytes = PART_BYTES.max(size.div_ceil(MAX_PARTS));
        let upload = match &self.0.parts {
            Some(parts) if size > PART_BYTES => {
                let (parts, key, store) = (parts.clone(), self.parsed(key)?, self.clone());
                let begun = wait(async move {
                    parts.create_multipart(&key).await.map_err(|e| store.failed("writing", key.as_ref(), &e))
                });
                Some(begun??)
            }
            _ => None,
        };
        Ok(Upload { id: UploadId { key: key.to_owned(), upload }, file, size, part_bytes })
    }

    /// Sends all bytes of uploads, several side by side; then the objects are there. Their tags, if the store has some.
    ///
    /// # Errors
    /// Those of the store, and of reading the files.
    pub fn finish_uploads(&self, uploads: Vec<Upload>) -> Result<Vec<Option<String>>> {
        let store = self.clone();
        wait(async move {
            let all = uploads.into_iter().map(|upload| store.finish(upload));
            futures::stream::iter(all).buffered(SIDE_BY_SIDE).try_collect().await
        })?
    }

    async fn finish(&self, upload: Upload) -> Result<Option<String>> {
        let key = self.parsed(&upload.id.key)?;
        let put = match (&upload.id.upload, &self.0.parts) {
            (Some(id), Some(parts)) => in_parts(parts, &key, id, &upload).await,
            _ => at_once(self, &key, &upload).await,
        };
        put.map_err(|e| store_error("writing", &format!("{}{key}", self.base()), &e))
    }

    /// Removes what an upload has put, wherever it stopped.
    ///
    /// # Errors
    /// Those of the store.
    pub fn abandon(&self, ids: &[UploadId]) -> Result<()> {
        for UploadId { key, upload } in ids {
            let (Some(id), Some(parts)) = (upload.clone(), self.0.parts.clone()) else { continue };
            let key = self.parsed(key)?;
            // One that is complete, or was abandoned already, is not there.
            let aborted = wait(async move { parts.abort_multipart(&key, &id).await })?;
            match aborted {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => tracing::debug!("an upload in parts is not there any more: {e}"),
            }
        }
        self.delete(ids.iter().map(|id| id.key.clone()).collect())
    }
}

async fn at_once(store: &Store, key: &Key, upload: &Upload) -> object_store::Result<Option<String>> {
    let bytes = part(&upload.file, 0, upload.size)?;
    Ok(store.0.objects.put(key, bytes.into()).await?.e_tag)
}

async fn in_parts(
    parts: &Arc<dyn MultipartStore>,
    key: &Key,
    id: &String,
    upload: &Upload,
) -> object_store::Result<Option<String>> {
    let starts = (0..upload.size).step_by(usize::try_from(upload.part_bytes).unwrap_or(usize::MAX));
    let sent = starts.enumerate().map(|(i, start)| async move {
        let bytes = part(&upload.file, start, upload.part_bytes.min(upload.size - start))?;
        parts.put_part(key, id, i, bytes.into()).await
    });
    let sent = futures::stream::iter(sent).buffered(SIDE_BY_SIDE).try_collect::<Vec<_>>().await;
    let completed = match sent {
        Ok(sent) => parts.complete_multipart(key, id, sent).await,
        Err(e) => Err(e),
    };
    if completed.is_err() {
        // What it takes is paid for until it is abandoned; the record of the upload is for what fails here.
        let _ = parts.abort_multipart(key, id).await;
    }
    Ok(completed?.e_tag)
}

fn part(file: &File, start: u64, len: u64) -> object_store::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let read = |e: io::Error| object_store::Error::Generic { store: "local file", source: Box::new(e) };
    file.read_exact_at(&mut bytes, start).map_err(read)?;
    Ok(bytes.into())
}
