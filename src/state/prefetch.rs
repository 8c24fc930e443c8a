//! Asking the processor for memory ahead of its use: what a batch touches is scattered over all of the state.

/// Iterations between asking for a place and reading it, in loops over rows.
pub const AHEAD: usize = 16;

/// Brings what is at `address` into the nearest cache.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing that the program can see and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
