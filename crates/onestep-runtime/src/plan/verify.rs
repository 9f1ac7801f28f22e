//! The invariants of every plan.

use onestep_shaders::{Access, Binding};

use super::{
    capabilities::Capabilities,
    dispatch_plan::{Dispatch, Plan, Slice},
    memory::ALIGNMENT,
};
use crate::error::RunError;

impl Plan {
    /// Checks what must hold for every plan, whatever the program: each dispatch binds what its kernel declares, within buffers and limits; no
    /// buffer is bound both for reading and for writing, and nothing is written through two bindings.
    ///
    /// # Errors
    /// `Internal` with the dispatch for a mistake of the planner; `Unsupported` if a binding or a grid exceeds the adapter's limits.
    pub fn verify(&self, capabilities: &Capabilities) -> Result<(), RunError> {
        if capabilities.alignment > ALIGNMENT {
            return Err(RunError::unsupported(format!(
                "this adapter requires bindings to start at multiples of {} bytes; plans start them at multiples of {ALIGNMENT}",
                capabilities.alignment
            )));
        }
        for (number, dispatch) in self.dispatches.iter().enumerate() {
            let location = format!("dispatch {number} of {} (operation {}, {})", self.name, dispatch.operation, dispatch.name);
            check_kernel(dispatch, capabilities, &location)?;
            for (binding, slice) in dispatch.kernel.bindings.iter().zip(&dispatch.bindings) {
                self.check_binding(binding, slice, capabilities, &location)?;
                if conflicts(dispatch, binding, slice) {
                    return Err(RunError::internal(format!("{location}: {:?} is bound for reading and for writing, or written twice", slice.buffer)));
                }
            }
        }
        Ok(())
    }

    fn check_binding(&self, binding: &Binding, slice: &Slice, capabilities: &Capabilities, location: &str) -> Result<(), RunError> {
        let buffer = self.buffer_size(slice.buffer);
        if slice.offset.checked_add(slice.size).is_none_or(|end| end > buffer)
            || !slice.offset.is_multiple_of(ALIGNMENT)
            || slice.size < u64::from(binding.smallest)
        {
            return Err(RunError::internal(format!("{location}: {} is bound to {slice:?} of {buffer} bytes", binding.name)));
        }
        if slice.size > capabilities.max_storage_binding {
            return Err(RunError::unsupported(format!(
                "{location}: the binding {} has {} bytes, and this adapter's largest storage binding has {}",
                binding.name, slice.size, capabilities.max_storage_binding
            )));
        }
        Ok(())
    }
}

fn check_kernel(dispatch: &Dispatch, capabilities: &Capabilities, location: &str) -> Result<(), RunError> {
    let kernel = dispatch.kernel;
    if dispatch.bindings.len() != kernel.bindings.len() {
        return Err(RunError::internal(format!("{location}: {} bindings for the kernel {}", dispatch.bindings.len(), kernel.name)));
    }
    let storage = kernel.bindings.iter().filter(|binding| binding.access != Access::Uniform).count();
    let invocations: u32 = kernel.workgroup_size.iter().product();
    if storage > capabilities.max_storage_buffers as usize || invocations > capabilities.max_invocations {
        return Err(RunError::unsupported(format!(
            "{location}: the kernel {} uses {storage} storage buffers and workgroups of {invocations} invocations; this adapter allows {} and {}",
            kernel.name, capabilities.max_storage_buffers, capabilities.max_invocations
        )));
    }
    if dispatch.grid.iter().any(|&length| length == 0 || length > capabilities.max_workgroups) {
        return Err(RunError::unsupported(format!(
            "{location}: a grid of {:?} workgroups, and this adapter allows {} along one dimension",
            dispatch.grid, capabilities.max_workgroups
        )));
    }
    Ok(())
}

/// True if another binding of the dispatch uses the same buffer in the other way, or writes an overlapping part.
fn conflicts(dispatch: &Dispatch, binding: &Binding, slice: &Slice) -> bool {
    dispatch.kernel.bindings.iter().zip(&dispatch.bindings).any(|(other, other_slice)| {
        let writes = [other, binding].map(|binding| binding.access == Access::ReadWrite);
        let overlap = other_slice.offset < slice.offset + slice.size && slice.offset < other_slice.offset + other_slice.size;
        !std::ptr::eq(other, binding) && other_slice.buffer == slice.buffer && (writes[0] != writes[1] || (writes[0] && overlap))
    })
}
