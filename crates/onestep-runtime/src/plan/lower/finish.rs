//! From steps to a plan: outputs in the plain layout, row bands, live ranges, offsets.

use onestep_program::DType;
use onestep_shaders::Access;

use super::super::{
    dispatch_plan::{BufferId, Dispatch, Plan, PortSlot, Slice},
    memory::{self, ALIGNMENT, ArenaOptions, Placement},
    persistent::{self, Traffic},
};
use super::{
    layout::{View, elements},
    lowering::Lowering,
    step::{Resource, Step, fold_grid},
};
use crate::error::RunError;

impl Lowering<'_> {
    /// Turns the steps into dispatches with offsets.
    pub(super) fn finish(mut self) -> Result<Plan, RunError> {
        let output_allocations = self.lower_outputs()?;
        if self.inputs_size > self.capabilities.max_buffer {
            return Err(self.too_large("inputs", self.inputs_size));
        }
        for step in std::mem::take(&mut self.steps) {
            let bands = self.split_into_bands(step)?;
            self.steps.extend(bands);
        }
        let persistent_inputs = self.persistent_inputs();
        let prologue = self.move_prologue_first(&persistent_inputs);
        self.trace_live_ranges(prologue);
        for &allocation in &output_allocations {
            // Callers read outputs after the run.
            let live = self.allocations[allocation].live.unwrap_or((0, 0));
            self.allocations[allocation].live = Some((live.0, usize::MAX));
        }
        let arena_options = ArenaOptions { max_buffer: self.capabilities.max_buffer, reuse: self.options.reuse, guard: self.options.guard };
        let (placements, arenas) = memory::assign_offsets(&self.allocations, arena_options)?;
        let live_bytes = memory::live_bytes(&self.allocations);
        let activations = placements
            .iter()
            .zip(&self.allocations)
            .map(|(placement, allocation)| Slice { buffer: BufferId::Arena(placement.arena), offset: placement.offset, size: allocation.size })
            .collect::<Vec<_>>();
        let outputs = self
            .program
            .outputs
            .iter()
            .zip(output_allocations)
            .map(|(port, allocation)| PortSlot {
                name: port.name.clone(),
                shape: self.shape(port.value).to_vec(),
                dtype: DType::F32,
                slice: activations[allocation],
            })
            .collect();
        let mut params = Vec::new();
        let mut dispatches = Vec::with_capacity(self.steps.len());
        for step in std::mem::take(&mut self.steps) {
            dispatches.push(self.dispatch_of(step, &placements, &mut params)?);
        }
        if params.len() as u64 > self.capabilities.max_buffer {
            return Err(self.too_large("parameters", params.len() as u64));
        }
        Ok(Plan {
            name: self.program.name.clone(),
            dispatches,
            prologue,
            persistent_inputs,
            params,
            inputs_size: self.inputs_size,
            weight_buffers: self.weight_buffers,
            arenas,
            live_bytes,
            activations,
            weights: self.weights,
            inputs: self.inputs,
            outputs,
            operations: self.program.nodes.len(),
        })
    }

    fn too_large(&self, what: &str, size: u64) -> RunError {
        RunError::unsupported(format!(
            "the {what} of {} take {size} bytes, and this adapter's largest buffer has {}",
            self.program.name, self.capabilities.max_buffer
        ))
    }

    /// Gives every output an allocation in the plain layout, and returns their indices.
    fn lower_outputs(&mut self) -> Result<Vec<usize>, RunError> {
        let program = self.program;
        self.operation = program.nodes.len();
        self.name = "output";
        let mut allocations = Vec::new();
        for port in &program.outputs {
            let value = program.value(port.value);
            if value.dtype == DType::I32 {
                return Err(RunError::unsupported(format!("the output {} of {} is i32; outputs must be floats", port.name, program.name)));
            }
            allocations.push(match self.plain(port.value)? {
                Resource::Activation(allocation) => allocation,
                // An output that is an input or a weight is a copy of it.
                _ => {
                    let source = self.view(port.value)?;
                    let copy = View::plain(self.allocate(elements(&value.shape), 4)?, &value.shape);
                    self.copy(&value.shape, &source, &copy, 0)?;
                    let Resource::Activation(allocation) = copy.resource else {
                        return Err(RunError::internal("new memory must be an allocation"));
                    };
                    self.views[port.value.index()].insert(0, copy);
                    allocation
                }
            });
        }
        Ok(allocations)
    }

    /// The dispatch of a step; its uniform is appended to `params`.
    fn dispatch_of(&self, step: Step, placements: &[Placement], params: &mut Vec<u8>) -> Result<Dispatch, RunError> {
        let offset = params.len() as u64;
        params.extend(step.params.finish()?);
        let uniform = Slice { buffer: BufferId::Params, offset, size: params.len() as u64 - offset };
        params.resize(params.len().next_multiple_of(ALIGNMENT as usize), 0);
        let slice = |name: &str| {
            let resource = step.bindings.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource);
            let resource = resource.ok_or_else(|| RunError::internal(format!("nothing is bound to {name} of {}", step.kernel.name)))?;
            let (buffer, offset) = match resource {
                Resource::Input(number) => (BufferId::Inputs, self.inputs[number].slice.offset),
                Resource::Weight(slot) => (BufferId::Weights(self.weights[slot].buffer), self.weights[slot].offset),
                Resource::Activation(allocation) => (BufferId::Arena(placements[allocation].arena), placements[allocation].offset),
                Resource::Absent => (BufferId::Weights(0), 0),
            };
            let window = step.windows.iter().find(|(known, _)| *known == name).map(|(_, window)| window.clone());
            let window = window.unwrap_or(0..self.bound_size(resource));
            Ok(Slice { buffer, offset: offset + window.start, size: window.end - window.start })
        };
        let bindings = step
            .kernel
            .bindings
            .iter()
            .map(|binding| if binding.access == Access::Uniform { Ok(uniform) } else { slice(binding.name) })
            .collect::<Result<Vec<Slice>, RunError>>()?;
        let [x, y] = fold_grid(step.workgroups, self.capabilities.max_workgroups);
        let grid = [x, y, u32::try_from(step.k_slices).unwrap_or(u32::MAX)];
        Ok(Dispatch { kernel: step.kernel, grid, bindings, operation: step.operation, name: step.name, flops: step.flops })
    }

    fn persistent_inputs(&self) -> Vec<usize> {
        (0..self.inputs.len()).filter(|&number| self.options.persistent_inputs.contains(&self.inputs[number].name.as_str())).collect()
    }

    /// Moves the steps that depend on persistent inputs alone to the front, and returns how many there are.
    fn move_prologue_first(&mut self, persistent_inputs: &[usize]) -> usize {
        if self.options.persistent_inputs.is_empty() {
            return 0;
        }
        let traffic = |step: &Step| {
            let mut traffic = Traffic::default();
            for (name, resource) in &step.bindings {
                match *resource {
                    Resource::Input(number) => traffic.inputs.push(number),
                    Resource::Activation(allocation) if step.writes(name) => traffic.written.push(allocation),
                    Resource::Activation(allocation) => traffic.read.push(allocation),
                    Resource::Weight(_) | Resource::Absent => {}
                }
            }
            traffic
        };
        let traffic: Vec<Traffic> = self.steps.iter().map(traffic).collect();
        let in_prologue = persistent::prologue(&traffic, persistent_inputs);
        let steps = std::mem::take(&mut self.steps).into_iter().zip(in_prologue);
        let (first, rest): (Vec<_>, Vec<_>) = steps.partition(|(_, in_prologue)| *in_prologue);
        let prologue = first.len();
        self.steps = first.into_iter().chain(rest).map(|(step, _)| step).collect();
        prologue
    }

    /// Sets the live range and the conflicts of every allocation.
    ///
    /// What the prologue writes and later steps read is live to the end, because later runs skip the prologue.
    fn trace_live_ranges(&mut self, prologue: usize) {
        let mut of_prologue = vec![false; self.allocations.len()];
        for (number, step) in self.steps.iter().enumerate() {
            let mut written = Vec::new();
            let mut read = Vec::new();
            for (name, resource) in &step.bindings {
                let Resource::Activation(allocation) = *resource else { continue };
                let persistent = number >= prologue && of_prologue[allocation];
                let live = &mut self.allocations[allocation].live;
                let last = if persistent { usize::MAX } else { number.max(live.map_or(0, |(_, last)| last)) };
                *live = Some((live.map_or(number, |(first, _)| first), last));
                if number < prologue {
                    of_prologue[allocation] = true;
                }
                if step.writes(name) { &mut written } else { &mut read }.push(allocation);
            }
            for &allocation in &written {
                self.allocations[allocation].conflicts.extend(&read);
            }
            for &allocation in &read {
                self.allocations[allocation].conflicts.extend(&written);
            }
        }
    }
}
