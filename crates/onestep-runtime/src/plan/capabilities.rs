//! What the planner needs to know about an adapter.

use super::variants::{CooperativeMatrix, KernelVariants};

/// Limits of an adapter, and the kernel variants that suit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The largest storage binding, in bytes.
    pub max_storage_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// Workgroups along one dimension of a grid.
    pub max_workgroups: u32,
    /// Storage buffers of one kernel.
    pub max_storage_buffers: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Floating-point operations of one dispatch. A larger product is computed in row bands, because a dispatch that takes long stalls the screen,
    /// and drivers abort it.
    pub max_flops: u64,
    /// The alignment of bindings, in bytes.
    pub alignment: u64,
    /// The kinds of cooperative matrices that the adapter has, fastest first.
    pub cooperative: Vec<CooperativeMatrix>,
    /// The kernel variants that plans use.
    pub variants: KernelVariants,
}

/// 50 ms of a GPU of 1 TFLOPS, the slowest on which 512x512 images are worth the wait. Kernels reach half of the peak, so such a dispatch takes
/// about 100 ms.
pub(crate) const MAX_FLOPS: u64 = 50_000_000_000;

impl Default for Capabilities {
    /// The default limits of WebGPU, which every adapter has.
    fn default() -> Self {
        Self {
            max_storage_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            max_invocations: 256,
            max_flops: MAX_FLOPS,
            alignment: 256,
            cooperative: Vec::new(),
            variants: KernelVariants::GPU,
        }
    }
}
