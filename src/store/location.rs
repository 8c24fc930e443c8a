//! What the text of a path says about its store: scheme, bucket and key.

use crate::disk::scheme;
use crate::error::{Error, Result};

/// Which kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A web server.
    Http,
    /// A store in memory, by its name, for tests.
    #[cfg(test)]
    Memory,
}

/// A path in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kind: Kind,
    /// Bucket, container or server.
    #[allow(dead_code, reason = "only stores of the build ask for it")]
    pub bucket: String,
    /// What every path of the bucket begins with.
    pub base: String,
    /// The name of the object, or what the names of several begin with; it may be a pattern.
    pub key: String,
}

/// The key of a path, if it is in the bucket of `store`.
///
/// # Errors
/// A path of a store that there is not.
pub fn same_bucket(path: &str, store: &super::Store) -> Result<Option<String>> {
    Ok(read(path)?.filter(|place| place.base == store.base()).map(|place| place.key))
}

/// The place of a path; `None` for a local one.
///
/// # Errors
/// A scheme of no store, a path without a bucket, credentials in a path.
pub fn read(path: &str) -> Result<Option<Place>> {
    let Some((scheme, rest)) = scheme(path) else { return Ok(None) };
    let scheme = scheme.to_ascii_lowercase();
    let (kind, shown) = match scheme.as_str() {
        "file" => return Ok(None),
        "s3" | "s3a" | "s3n" => (Kind::S3, "s3"),
        "gs" | "gcs" => (Kind::Gcs, "gs"),
        "az" | "azure" => (Kind::Azure, "az"),
        "abfs" | "abfss" => (Kind::Azure, "abfss"),
        "http" => (Kind::Http, "http"),
        "https" => (Kind::Http, "https"),
        #[cfg(test)]
        "memory" => (Kind::Memory, "memory"),
        _ => return Err(unknown(&scheme)),
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let invalid = |message: String| Error::invalid("INVALID_OPTION", message);
    if bucket.is_empty() {
        return Err(
            invalid(format!("the path '{path}' names no bucket")).with_help(format!("write {scheme}://bucket/folder"))
        );
    }
    if kind == Kind::Http && (bucket.contains('@') || key.contains(['?', '#'])) {
        return Err(invalid("a path of a web server has no user, no query and no fragment".to_owned())
            .with_help("put files that are read in a place of their own, or read them from a store"));
    }
    if kind != Kind::Azure && bucket.contains('@') {
        let whole = format!("{scheme}://*****@{}", bucket.rsplit('@').next().unwrap_or_default());
        return Err(invalid(format!("the path '{whole}' has credentials in it, which everybody would see"))
            .with_help("give them as options, such as s3.accessKeyId and s3.secretAccessKey, or in the environment"));
    }
    let key = key.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let base = format!("{shown}://{bucket}/");
    Ok(Some(Place { kind, bucket: bucket.to_owned(), base, key }))
}

fn unknown(scheme: &str) -> Error {
    Error::unsupported("UNSUPPORTED_FILE_SYSTEM", format!("there is no file system '{scheme}://'"))
        .with_help("there are: s3:// (s3a://), gs://, az:// (abfss://), http://, https://, file: and local paths")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{is_remote, only_local};

    #[test]
    fn buckets_and_keys() {
        let of = |path: &str| read(path).unwrap().map(|p| (p.base, p.key));
        let some = |base: &str, key: &str| Some((base.to_owned(), key.to_owned()));
        assert_eq!(of("s3a://b/in//x/"), some("s3://b/", "in/x"));
        assert_eq!(of("S3://b"), some("s3://b/", ""));
        assert_eq!(of("abfss://c@a.dfs.core.windows.net/x"), some("abfss://c@a.dfs.core.windows.net/", "x"));
        assert_eq!(of("https://h:8443/a.csv"), some("https://h:8443/", "a.csv"));
        assert_eq!((of("file:///x"), of("/a/b"), of("a b://c")), (None, None, None));
        for wrong in ["hdfs://n/x", "s3:///x", "http://u:p@h/x", "http://h/x?sig=1", "s3://KEY:SECRET@b/x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(is_remote("s3://x") && !is_remote("file:///x") && !is_remote("x"));
        assert_eq!(only_local("gs://b/ck", "a checkpoint").unwrap_err().condition(), "UNSUPPORTED_FILE_SYSTEM");
    }
}
