//! Random numbers that are the same bits on every platform.
//!
//! [`Philox`] is the counter-based generator Philox 4×32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3" (SC 2011): a key and a counter go in, four words come out, and there is no state to carry. Normal numbers come from it by
//! Box and Muller's transform in f64 with software `ln`, `sin` and `cos`, since the platforms' own differ in the last bit.

mod normal;
mod philox;
mod stream;

pub use normal::{between, normal, standard_normal};
pub use philox::{Philox, philox4x32};
pub use stream::Stream;
