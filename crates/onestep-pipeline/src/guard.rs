//! Converts a panic of a library that reads a user's file into an error.
//!
//! Files for such libraries (PyTorch checkpoints) are checked beforehand where that is possible. The libraries may still panic on a
//! damaged file. The program's panic hook asks [`is_active`] and prints nothing then, because the error says it. Aborts (stack overflow, out of
//! memory) cannot be caught.

use std::cell::Cell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use onestep_program::printable;

use crate::error::PipelineError;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is inside [`guarded`], so that a panic becomes an error.
pub fn is_active() -> bool {
    DEPTH.get() > 0
}

/// Runs `work`, which reads the file `location` with a library called `reader`.
///
/// `work` must not change shared state that a panic could leave inconsistent.
///
/// # Errors
/// A panic in `work`, with its message.
pub fn guarded<T>(location: impl Display, reader: &str, work: impl FnOnce() -> T) -> Result<T, PipelineError> {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let inside = Inside;
    let result = catch_unwind(AssertUnwindSafe(work));
    drop(inside);
    result.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let message =
            format!("{location}: {reader} cannot read this file and gave up inside ({said}); the file is damaged or of a kind that it does not know");
        PipelineError::input(printable(&message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PipelineErrorKind;

    #[test]
    fn a_panic_becomes_an_error_and_ends_the_guard() {
        assert!(!is_active());
        assert_eq!(guarded("here", "the reader", || (is_active(), 7)).unwrap(), (true, 7));
        let words: Vec<usize> = Vec::new();
        let error = guarded("a.pth", "pytorch-reader", || guarded("inner", "it", || 1).map(|one| words[one])).unwrap_err();
        assert_eq!(error.kind(), PipelineErrorKind::Input);
        assert!(error.to_string().starts_with("a.pth: pytorch-reader cannot read this file and gave up inside (index out of bounds"), "{error}");
        assert!(!is_active());
    }
}
