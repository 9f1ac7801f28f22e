//! What all targets share: an allocator that holds reading an input to memory in proportion to it, and changes that leave JSON what it is.

pub mod json;

use std::{
    alloc::System,
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use cap::Cap;

/// Makes every second change of an input one of its JSON, the others any change of bytes.
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

/// Bytes that any input may take: tables that do not grow with it, and what the standard library keeps.
const BASE: usize = 4 << 20;

/// Runs `work`, which reads an input of `length` bytes. It may hold `factor` bytes for each of these and 4 MiB besides; an allocation beyond
/// that ends the process, with the stack of who asked for it.
///
/// # Panics
/// If more than that is held already, which is a leak of the runs before.
pub fn within<T>(length: usize, factor: usize, work: impl FnOnce() -> T) -> T {
    /// Takes the limit away, also where `work` panics. Growing never fails.
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

/// A folder of this process, in memory where the system has such a place.
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

/// Lets panics of libraries unwind, which their callers may turn into refusals. Those of our own crates and of the standard library end the process
/// with their stack, as all do otherwise.
pub fn tolerate_libraries() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_library = panic.location().is_some_and(|place| place.file().replace('\\', "/").contains("/registry/src/"));
        if !is_library {
            abort(panic);
        }
    }));
}
