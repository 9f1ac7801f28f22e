//! The one boundary at which a panic of somebody else's reader becomes a refusal of the file.
//!
//! Libraries that read what users give (checkpoints of PyTorch, tokenizers) are checked for where that can be done beforehand. What is left are
//! panics inside of them, which are no fault of this program and no reason to end it. The program's panic hook asks [`is_active`] and says
//! nothing inside the boundary, since the refusal says it. Aborts (a stack that overflows, memory that is not there) cannot be caught.

use std::cell::Cell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use onestep_program::printable;

use crate::error::TrainError;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is inside [`guarded`]: a panic now will be told as a refusal.
pub fn is_active() -> bool {
    DEPTH.get() > 0
}

/// Does `work` on the file `place` with a library called `reader`; a panic in it is a refusal of the file.
///
/// `work` must not leave anything behind that a panic could have left half done: only what it returns is used.
///
/// # Errors
/// What the library said when it panicked.
pub fn guarded<T>(place: impl Display, reader: &str, work: impl FnOnce() -> T) -> Result<T, TrainError> {
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
            format!("{place}: {reader} cannot read this file and gave up inside ({said}); the file is damaged or of a kind that it does not know");
        TrainError::input(printable(&message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::TrainErrorKind;

    #[test]
    fn a_panic_is_a_refusal_and_the_boundary_ends_with_it() {
        assert!(!is_active());
        assert_eq!(guarded("here", "the reader", || (is_active(), 7)).unwrap(), (true, 7));
        let words: Vec<usize> = Vec::new();
        let error = guarded("a.pth", "pytorch-reader", || guarded("inner", "it", || 1).map(|one| words[one])).unwrap_err();
        assert_eq!(error.kind(), TrainErrorKind::Input);
        assert!(error.to_string().starts_with("a.pth: pytorch-reader cannot read this file and gave up inside (index out of bounds"), "{error}");
        assert!(!is_active());
    }
}
