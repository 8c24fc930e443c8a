//! The allocator, and how long it keeps memory that was freed.

use libmimalloc_sys::mi_option_set_default;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which its crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds after which freed memory goes back to the system. The next batch needs as much as this one, and pages that come back from the
/// system are cleared first: with the default of 10 ms that took up to a third of a query over files.
const KEPT_MS: std::ffi::c_long = 1000;

/// Keeps freed memory for a second, unless `MIMALLOC_PURGE_DELAY` says how long.
pub fn keep_freed_memory() {
    // SAFETY: the call only stores a number.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}
