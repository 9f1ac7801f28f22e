//! A dispatch before its buffers have offsets.

use std::ops::Range;

use onestep_program::Activation;
use onestep_shaders::{Access, Kernel};

use super::super::{axes::IndexBox, params::Params};
use crate::error::RunError;

/// The tensor memory behind a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// An input, by index.
    Input(usize),
    /// A weight slot, by index.
    Weight(usize),
    /// An allocation for activations, by index.
    Activation(usize),
    /// Zeros, bound where an optional tensor is absent.
    Absent,
}

/// Resources by the names of a kernel's bindings.
pub(super) type Bindings = Vec<(&'static str, Resource)>;

/// A part of a resource, in bytes: what a row band binds of it.
pub(super) type Window = Range<u64>;

/// A dispatch before its buffers have offsets.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) kernel: &'static Kernel,
    pub(super) params: Params,
    pub(super) bindings: Bindings,
    /// The bindings that are bound in part.
    pub(super) windows: Vec<(&'static str, Window)>,
    /// Workgroups along x and y together.
    pub(super) workgroups: usize,
    /// Workgroups along z: slices of k.
    pub(super) k_slices: usize,
    /// True if the kernel's `count` counts invocations, false if it counts workgroups.
    pub(super) per_invocation: bool,
    /// The operation, by index.
    pub(super) operation: usize,
    /// The operation's name.
    pub(super) name: &'static str,
    pub(super) flops: u64,
    /// The rows that a product stores, if its kernel has a variant that also writes group-norm statistics.
    pub(super) stored: Option<StoredRows>,
}

impl Step {
    /// True if the kernel writes the binding of that name.
    pub(super) fn writes(&self, name: &str) -> bool {
        self.kernel.bindings.iter().any(|binding| binding.name == name && binding.access == Access::ReadWrite)
    }
}

/// The rows and columns that a product stores. A group norm uses them to find out which products wrote its input.
#[derive(Clone)]
pub(super) struct StoredRows {
    pub(super) y: Resource,
    /// All rows of the tensor, with the strides between them in blocks.
    pub(super) rows: IndexBox<1>,
    /// The tensor's first block.
    pub(super) start: usize,
    pub(super) column_blocks: usize,
    /// The first of the rows that the product stores, and how many; numbered in the product's order.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Workgroups of the variant that writes statistics.
    pub(super) workgroups: usize,
}

/// Group-norm statistics that products write.
pub(super) struct Statistics {
    /// The tensor that they describe: its resource, first block and rows.
    pub(super) y: Resource,
    pub(super) start: usize,
    pub(super) rows: IndexBox<1>,
    /// Where the statistics are.
    pub(super) resource: Resource,
}

/// The size of a storage binding for a tensor of `size` bytes: whole vectors of four f32.
pub(super) fn binding_size(size: u64) -> u64 {
    size.max(16).next_multiple_of(16)
}

/// A number of workgroups as a grid of two dimensions, each at most `limit` as far as possible.
pub(super) fn fold_grid(workgroups: usize, limit: u32) -> [u32; 2] {
    let x = workgroups.min(limit as usize).max(1);
    let y = u32::try_from(workgroups.div_ceil(x)).unwrap_or(u32::MAX);
    [x as u32, y]
}

/// A constant of a kernel: a tile size, or the number of a function.
pub(super) fn constant(kernel: &Kernel, name: &str) -> Result<usize, RunError> {
    kernel.constant(name).map(|value| value as usize).ok_or_else(|| RunError::internal(format!("the kernel {} has no constant {name}", kernel.name)))
}

/// The invocations of a workgroup of a one-dimensional kernel.
pub(super) fn invocations(kernel: &Kernel) -> usize {
    kernel.workgroup_size[0].max(1) as usize
}

/// The kernels' constant for an activation function.
pub(super) fn activation(act: Activation) -> &'static str {
    match act {
        Activation::None => "ACT_NONE",
        Activation::Relu => "ACT_RELU",
        Activation::Silu => "ACT_SILU",
        Activation::Gelu => "ACT_GELU",
        Activation::QuickGelu => "ACT_QUICK_GELU",
    }
}
