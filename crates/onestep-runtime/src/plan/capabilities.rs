//! What a plan needs to know of an adapter, without an adapter.

use super::forms::{Cooperative, Forms};

/// Limits and nature of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The largest part of a buffer that a kernel may see, in bytes.
    pub max_storage_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// Workgroups along one dimension of a grid.
    pub max_workgroups: u32,
    /// Storage buffers of one kernel.
    pub max_storage_buffers: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Floating-point operations of one dispatch, beyond which a product is computed in bands: what takes long without a pause stalls the
    /// screen, and drivers end it.
    pub max_work: u64,
    /// Where a part of a buffer may start: a multiple of this many bytes.
    pub alignment: u64,
    /// The matrices that it multiplies as such, the fastest first: those that `forms` may name.
    pub cooperative: Vec<Cooperative>,
    /// Which form of its kernels suits it.
    pub forms: Forms,
}

/// 50 ms of a GPU that does 10¹² operations a second, the slowest for which images of 512x512 are worth waiting for; kernels reach half of
/// what a GPU does, so that a dispatch takes about 100 ms there.
pub(crate) const MAX_WORK: u64 = 50_000_000_000;

impl Default for Capabilities {
    /// What WebGPU promises everywhere.
    fn default() -> Self {
        Self {
            max_storage_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            max_invocations: 256,
            max_work: MAX_WORK,
            alignment: 256,
            cooperative: Vec::new(),
            forms: Forms::GPU,
        }
    }
}
