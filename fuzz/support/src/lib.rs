//! What all targets check besides their own: that reading an input takes memory in proportion to it.

use std::alloc::System;

use cap::Cap;

/// The allocator of every target.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that any input may take: tables that do not grow with it, and what the standard library keeps.
const BASE: usize = 4 << 20;

/// Runs `work`, which reads an input of `length` bytes. It may hold `factor` bytes for each of these and 4 MiB besides; an allocation beyond
/// that ends the process, with the stack of who asked for it.
///
/// # Panics
/// If more than that is held already, which is a leak of the runs before.
pub fn within<T>(length: usize, factor: usize, work: impl FnOnce() -> T) -> T {
    let limit = ALLOCATOR.allocated() + BASE + length.saturating_mul(factor);
    assert!(ALLOCATOR.set_limit(limit).is_ok(), "the limit was below what is held");
    let result = work();
    // Growing never fails.
    let _ = ALLOCATOR.set_limit(usize::MAX);
    result
}
