//! The version of this crate.

/// The version of this crate, which generated PNG files store.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
