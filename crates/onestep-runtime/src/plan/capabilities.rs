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
    /// Where a part of a buffer may start: a multiple of this many bytes.
    pub alignment: u64,
    /// The matrices that it multiplies as such, the fastest first: those that `forms` may name.
    pub cooperative: Vec<Cooperative>,
    /// Which form of its kernels suits it.
    pub forms: Forms,
}

impl Default for Capabilities {
    /// What WebGPU promises everywhere.
    fn default() -> Self {
        Self {
            max_storage_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            max_invocations: 256,
            alignment: 256,
            cooperative: Vec::new(),
            forms: Forms::GPU,
        }
    }
}
