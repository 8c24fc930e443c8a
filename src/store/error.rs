//! Errors of stores: what the caller can do about them, without secrets.

use std::fmt;
use std::io;
use std::sync::LazyLock;

use regex::Regex;

use crate::error::Error;

/// What went wrong at reading an object.
#[derive(Debug, Clone)]
pub enum StoreFault {
    /// It is not there.
    Missing,
    /// It is another than the one that was listed.
    Changed,
    /// It may not be read, or the store does not answer. Never a reason to go on without the object.
    Failed(Error),
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the object is gone"),
            Self::Changed => f.write_str("the object has changed"),
            Self::Failed(e) => f.write_str(e.message()),
        }
    }
}

impl std::error::Error for StoreFault {}

impl StoreFault {
    /// Of an error at reading the object of this path.
    pub fn of(path: &str, e: &object_store::Error) -> Self {
        match e {
            object_store::Error::NotFound { .. } => Self::Missing,
            object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => Self::Changed,
            e => Self::Failed(store_error("reading", path, e)),
        }
    }
}

impl From<StoreFault> for io::Error {
    fn from(fault: StoreFault) -> Self {
        let kind = match fault {
            StoreFault::Missing => io::ErrorKind::NotFound,
            StoreFault::Changed | StoreFault::Failed(_) => io::ErrorKind::Other,
        };
        Self::new(kind, fault)
    }
}

/// The fault of a store below an error of reading, also where a decompressor has met it.
pub fn fault_of<'e>(e: &'e (dyn std::error::Error + 'static)) -> Option<&'e StoreFault> {
    if let Some(fault) = e.downcast_ref::<StoreFault>() {
        return Some(fault);
    }
    if let Some(inner) = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return fault_of(inner);
    }
    e.source().and_then(fault_of)
}

/// The error of a request.
pub fn store_error(doing: &str, path: &str, e: &object_store::Error) -> Error {
    let help = match e {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            "check the credentials: options of the path's store, environment variables, or the role of this machine"
        }
        object_store::Error::NotFound { .. } => "check the bucket and the spelling of the path",
        _ => {
            "check that the store can be reached, with 's3.endpoint' or its like where it is not the cloud's own; then start again. \
              storeTimeout says how long a request is tried"
        }
    };
    Error::io("STORE_IO", format!("{doing} '{path}' failed: {}", reason(e))).with_help(help)
}

/// What is below an error, from the outside in, each thing once. Parameters of addresses are left out: they may be signatures.
fn reason(e: &object_store::Error) -> String {
    static QUERY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\?[^\s'\x22)>]+").ok());
    let mut all = vec![];
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(e) = next {
        let text = e.to_string();
        match all.iter().any(|outer: &String| outer.contains(&text)) {
            true => {}
            false => all.push(text),
        }
        next = e.source();
    }
    let text = all.join(": ");
    let text = match &*QUERY {
        Some(query) => query.replace_all(&text, "").into_owned(),
        None => text,
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}
