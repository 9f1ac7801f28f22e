//! Shared by all targets: an allocator that limits memory in proportion to the input, mutations of JSON, and headers.

pub mod header;
pub mod json;

use std::{
    alloc::System,
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use cap::Cap;

/// Makes every second mutation one of the JSON, the others arbitrary mutations of bytes.
#[macro_export]
macro_rules! mutate_json {
    () => {
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
            let changed = if seed % 2 == 0 { $crate::json::mutate(data, size, most, seed) } else { None };
            changed.unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, most))
        });
    };
}

/// The allocator of every target.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that any input may use: tables of constant size, and buffers of the standard library.
const BASE: usize = 4 << 20;

/// Runs `work`, which reads an input of `length` bytes, with a memory limit of `factor` bytes per input byte plus 4 MiB. A larger allocation ends
/// the process with a stack trace.
///
/// # Panics
/// If more memory is already in use, because an earlier run leaked it.
pub fn within<T>(length: usize, factor: usize, work: impl FnOnce() -> T) -> T {
    /// Removes the limit, even if `work` panics. Raising the limit never fails.
    struct Limited;
    impl Drop for Limited {
        fn drop(&mut self) {
            let _ = ALLOCATOR.set_limit(usize::MAX);
        }
    }
    let limit = ALLOCATOR.allocated() + BASE + length.saturating_mul(factor);
    assert!(ALLOCATOR.set_limit(limit).is_ok(), "the limit was below what is held");
    let _limited = Limited;
    work()
}

/// A folder of this process, in memory if possible.
///
/// # Panics
/// If it cannot be created.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { env::temp_dir() }.join(format!("onestep-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder in memory");
        folder
    })
}

/// Lets panics of libraries unwind, because their callers turn them into errors. Panics of onestep and of the standard library still end the
/// process with a stack trace.
pub fn tolerate_libraries() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_library = panic.location().is_some_and(|location| location.file().replace('\\', "/").contains("/registry/src/"));
        if !is_library {
            abort(panic);
        }
    }));
}
