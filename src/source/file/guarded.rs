//! Readers of other crates that panic at damaged bytes: such a file is damaged, and nothing more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// What `read` gives, or the error that the file is `damaged`.
pub fn guarded<T>(damaged: impl FnOnce(&'static str) -> Error, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged("its bytes are not what its footer says")))
}
