//! The cases: every operation, on shapes that fill no tile.

mod all;
mod attention;
mod bands;
mod common;
mod convolutions;
mod edges;
mod linears;
mod movement;
mod norms;
mod pointwise;
mod rows;

pub(super) use all::all;
