//! Lowers each operation of a program to dispatches.

mod attention;
mod bands;
mod concat_slots;
mod finish;
mod gemm;
mod layout;
mod lowering;
mod movement;
mod norm;
mod operation;
mod pointwise;
mod reduction;
mod step;

pub(super) use operation::plan;
