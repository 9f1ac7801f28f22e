//! Convolutions, linear layers and matrix products: all of them are rows of pixels times a matrix of weights.

mod convolution;
mod epilogue;
mod linear;
mod matmul;
mod product;
mod tiles;

pub(super) use tiles::row_tiles;
