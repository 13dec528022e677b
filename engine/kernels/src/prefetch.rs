//! Asking the CPU to have memory at hand soon.

/// Bytes that a CPU moves between its caches at a time.
const LINE: usize = 64;

/// Asks for all of a value's memory, not for what it points to. Nothing but time depends on it.
#[inline]
pub fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let mut at = 0;
    while at < size_of::<T>() {
        line(start.wrapping_add(at));
        at += LINE;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code, reason = "an intrinsic")]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint: it accesses nothing, faults at no address, and SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
const fn line(_address: *const u8) {}
