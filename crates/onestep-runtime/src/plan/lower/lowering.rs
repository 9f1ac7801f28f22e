//! The state of lowering: values and their layouts, weights, allocations, and the steps so far.

use onestep_program::{DType, Node, Program, ValueId};
use onestep_shaders::{self as shaders, Flags, Kernel};

use super::super::{
    capabilities::Capabilities,
    dispatch_plan::{BufferId, PlanOptions, PortSlot, Slice},
    memory::{ALIGNMENT, Allocation},
    params::Params,
    weights::{Layout, WeightSlot},
};
use super::{
    concat_slots::{ConcatSlot, concat_slots},
    layout::{View, dim_order, elements},
    step::{Bindings, Resource, Statistics, Step, invocations},
};
use crate::error::RunError;

/// Bytes of zeros at the start of the first weight buffer, bound where an optional tensor is absent.
const ABSENT_BYTES: u64 = 256;

/// The state of lowering. The other modules of `lower` add methods, each for a kind of operation.
pub(super) struct Lowering<'a> {
    pub(super) program: &'a Program,
    pub(super) capabilities: &'a Capabilities,
    pub(super) options: PlanOptions,
    /// The largest tensor, in bytes.
    max_tensor: u64,
    /// The views of each value: none before it is computed, several if it was needed in several layouts.
    pub(super) views: Vec<Vec<View>>,
    /// By value.
    pub(super) concat_slots: Vec<Option<ConcatSlot>>,
    pub(super) inputs: Vec<PortSlot>,
    pub(super) inputs_size: u64,
    pub(super) weights: Vec<WeightSlot>,
    /// Weight slots by value, layout and stored type.
    weight_index: Vec<((ValueId, Layout, DType), usize)>,
    pub(super) weight_buffers: Vec<u64>,
    pub(super) allocations: Vec<Allocation>,
    pub(super) steps: Vec<Step>,
    pub(super) statistics: Vec<Statistics>,
    /// The operation that is being lowered, by index and name.
    pub(super) operation: usize,
    pub(super) name: &'static str,
}

impl<'a> Lowering<'a> {
    /// Nothing lowered yet, and each input in the plain layout.
    pub(super) fn new(program: &'a Program, capabilities: &'a Capabilities, options: PlanOptions, max_tensor: u64) -> Result<Self, RunError> {
        let mut views = vec![Vec::new(); program.values.len()];
        let mut inputs = Vec::new();
        let mut inputs_size = 0u64;
        for (number, port) in program.inputs.iter().enumerate() {
            let value = program.value(port.value);
            if value.dtype == DType::F16 {
                return Err(RunError::unsupported(format!("the input {} is f16; inputs must be f32 or i32", port.name)));
            }
            views[port.value.index()] = vec![View::plain(Resource::Input(number), &value.shape)];
            let size = elements(&value.shape) as u64 * 4;
            inputs.push(PortSlot {
                name: port.name.clone(),
                shape: value.shape.clone(),
                dtype: value.dtype,
                slice: Slice { buffer: BufferId::Inputs, offset: inputs_size, size },
            });
            inputs_size += size.max(16).next_multiple_of(ALIGNMENT);
        }
        Ok(Self {
            program,
            capabilities,
            options,
            max_tensor,
            views,
            concat_slots: concat_slots(program),
            inputs,
            inputs_size: inputs_size.max(ALIGNMENT),
            weights: Vec::new(),
            weight_index: Vec::new(),
            weight_buffers: vec![ABSENT_BYTES],
            allocations: Vec::new(),
            steps: Vec::new(),
            statistics: Vec::new(),
            operation: 0,
            name: "",
        })
    }

    /// The shape of a value.
    pub(super) fn shape(&self, id: ValueId) -> &'a [usize] {
        &self.program.value(id).shape
    }

    /// The program and operation that are being lowered, for errors.
    pub(super) fn location(&self) -> String {
        format!("{}, operation {} ({})", self.program.name, self.operation, self.name)
    }

    /// An input of an operation, by position.
    pub(super) fn input(&self, node: &Node, index: usize) -> Result<ValueId, RunError> {
        node.inputs.get(index).copied().ok_or_else(|| RunError::internal(format!("{}: the operation has no input {index}", self.location())))
    }

    /// The variant of a family with these flags, for this plan's activations.
    pub(super) fn kernel(&self, family: &str, flags: Flags) -> Result<&'static Kernel, RunError> {
        let flags = flags | self.activation_flags();
        shaders::find(family, flags).ok_or_else(|| RunError::internal(format!("{}: there is no kernel {family}{}", self.location(), flags.suffix())))
    }

    /// The flags of kernels that read or write activations.
    pub(super) fn activation_flags(&self) -> Flags {
        Flags::ACTIVATION_F16.when(self.options.f16_activations)
    }

    /// Bytes of a channel block of activations.
    pub(super) fn block_bytes(&self) -> u64 {
        if self.options.f16_activations { 8 } else { 16 }
    }

    /// New memory for so many elements of `width` bytes.
    pub(super) fn allocate(&mut self, elements: usize, width: u64) -> Result<Resource, RunError> {
        let size = (elements as u64)
            .checked_mul(width)
            .filter(|_| (elements as u64) < 1 << 31)
            .ok_or_else(|| RunError::unsupported(format!("{}: {elements} elements exceed the 31-bit indices of the kernels", self.location())))?;
        if size > self.max_tensor {
            return Err(RunError::unsupported(format!(
                "{}: its result has {size} bytes; this adapter's largest storage binding has {} and its largest buffer {}",
                self.location(),
                self.capabilities.max_storage_binding,
                self.capabilities.max_buffer
            )));
        }
        self.allocations.push(Allocation { size, live: None, conflicts: Vec::new(), name: format!("the result of {}", self.location()) });
        Ok(Resource::Activation(self.allocations.len() - 1))
    }

    /// New memory for a blocked tensor with a dim order, innermost axis last.
    pub(super) fn allocate_ordered(&mut self, shape: &[usize], order: &[usize]) -> Result<View, RunError> {
        let (view, elements) = View::blocked(Resource::Absent, shape, order);
        let resource = self.allocate(elements, if self.options.f16_activations { 2 } else { 4 })?;
        Ok(View { resource, ..view })
    }

    /// New memory for a blocked tensor with that block axis and the other axes in their order.
    pub(super) fn allocate_blocked(&mut self, shape: &[usize], block_axis: usize) -> Result<View, RunError> {
        self.allocate_ordered(shape, &dim_order(shape.len(), block_axis))
    }

    /// Where an operation that reads `reads` writes its result: its slot in a concatenation if that is possible, otherwise new memory.
    pub(super) fn output(&mut self, node: &Node, order: &[usize], reads: &[&View]) -> Result<View, RunError> {
        let view = match self.slot_view(node.output, order, reads)? {
            Some(view) => view,
            None => self.allocate_ordered(self.shape(node.output), order)?,
        };
        self.set_view(node, view.clone());
        Ok(view)
    }

    /// Makes a view the only one of an operation's result.
    pub(super) fn set_view(&mut self, node: &Node, view: View) {
        self.views[node.output.index()] = vec![view];
    }

    /// The first view of a value.
    pub(super) fn view(&mut self, id: ValueId) -> Result<View, RunError> {
        if let Some(view) = self.views.get(id.index()).and_then(|views| views.first()) {
            return Ok(view.clone());
        }
        if self.program.value(id).weight.is_none() {
            return Err(RunError::internal(format!("{}: value {} has not been computed", self.location(), id.0)));
        }
        let slot = self.weight(id, Layout::Plain, DType::F32)?;
        let view = View::plain(Resource::Weight(slot), self.shape(id));
        self.views[id.index()].push(view.clone());
        Ok(view)
    }

    /// A value in the blocked layout with that block axis; copied once if it has no such view.
    pub(super) fn blocked(&mut self, id: ValueId, block_axis: usize) -> Result<View, RunError> {
        self.view(id)?;
        if let Some(view) = self.views[id.index()].iter().find(|view| view.block_axis == Some(block_axis)) {
            return Ok(view.clone());
        }
        let shape = self.shape(id);
        let source = self.views[id.index()][0].clone();
        let view = self.blocked_view(shape, &source, block_axis)?;
        self.views[id.index()].push(view.clone());
        Ok(view)
    }

    /// A view with that block axis: the view itself, or of a copy.
    pub(super) fn blocked_view(&mut self, shape: &[usize], view: &View, block_axis: usize) -> Result<View, RunError> {
        if view.block_axis == Some(block_axis) {
            return Ok(view.clone());
        }
        let copy = self.allocate_blocked(shape, block_axis)?;
        self.copy(shape, view, &copy, 0)?;
        Ok(copy)
    }

    /// The block axis of a value's first blocked view; `default` if it has none.
    pub(super) fn block_axis_or(&mut self, id: ValueId, default: usize) -> Result<usize, RunError> {
        self.view(id)?;
        Ok(self.views[id.index()].iter().find_map(|view| view.block_axis).unwrap_or(default))
    }

    /// A value in the plain layout, row-major f32, or i32 for ids; copied once if it has no such view.
    pub(super) fn plain(&mut self, id: ValueId) -> Result<Resource, RunError> {
        self.view(id)?;
        let shape = self.shape(id);
        if let Some(view) = self.views[id.index()].iter().find(|view| view.is_row_major(shape)) {
            return Ok(view.resource);
        }
        if self.program.value(id).dtype == DType::I32 {
            return Err(RunError::unsupported(format!("{}: ids must be an input or a weight; they cannot be rearranged", self.location())));
        }
        let source = self.views[id.index()][0].clone();
        let copy = View::plain(self.allocate(elements(shape), 4)?, shape);
        self.copy(shape, &source, &copy, 0)?;
        self.views[id.index()].push(copy.clone());
        Ok(copy.resource)
    }

    /// True if a value is a weight.
    pub(super) fn is_weight(&self, id: ValueId) -> bool {
        self.program.value(id).weight.is_some()
    }

    /// True if a value is a weight that its file stores as f16.
    pub(super) fn is_f16_weight(&self, id: ValueId) -> bool {
        self.is_weight(id) && self.program.value(id).dtype == DType::F16
    }

    /// The slot of a weight in a layout, stored as that type.
    pub(super) fn weight(&mut self, id: ValueId, layout: Layout, stored: DType) -> Result<usize, RunError> {
        let value = self.program.value(id);
        let key = (id, layout, stored);
        if let Some(&(_, slot)) = self.weight_index.iter().find(|(known, _)| *known == key) {
            return Ok(slot);
        }
        let name = value.weight.clone().unwrap_or_default();
        let size = (layout.elements(elements(&value.shape)) as u64).saturating_mul(stored.size() as u64).max(16).next_multiple_of(16);
        if size > self.capabilities.max_storage_binding {
            return Err(RunError::unsupported(format!(
                "{}: the weight {name} has {size} bytes, and this adapter's largest storage binding has {}",
                self.location(),
                self.capabilities.max_storage_binding
            )));
        }
        let last = self.weight_buffers.len() - 1;
        let offset = self.weight_buffers[last].next_multiple_of(ALIGNMENT);
        let (buffer, offset) = if offset + size <= self.capabilities.max_buffer { (last, offset) } else { (last + 1, 0) };
        self.weight_buffers.resize(buffer + 1, 0);
        self.weight_buffers[buffer] = offset + size;
        self.weights.push(WeightSlot { name, shape: value.shape.clone(), dtype: value.dtype, stored, layout, buffer, offset, size });
        self.weight_index.push((key, self.weights.len() - 1));
        Ok(self.weights.len() - 1)
    }

    /// A weight vector in f32, padded with zeros to `padded` elements.
    pub(super) fn padded_vector(&mut self, id: ValueId, padded: usize) -> Result<Resource, RunError> {
        Ok(Resource::Weight(self.weight(id, Layout::Padded { padded }, DType::F32)?))
    }

    /// A weight as f16 if its file stores it so, otherwise any value in the plain layout; and the flags of the kernel that reads it.
    pub(super) fn plain_or_f16(&mut self, id: ValueId) -> Result<(Resource, Flags), RunError> {
        match self.is_f16_weight(id) {
            true => Ok((Resource::Weight(self.weight(id, Layout::Plain, DType::F16)?), Flags::WEIGHT_F16)),
            false => Ok((self.plain(id)?, Flags::NONE)),
        }
    }

    /// Adds a dispatch of one invocation for each of `count` items, which the kernel's parameter `count` states.
    pub(super) fn dispatch_invocations(&mut self, kernel: &'static Kernel, mut params: Params, bindings: Bindings, count: usize) {
        if count == 0 {
            return;
        }
        params.set("count", count);
        self.dispatch(kernel, params, bindings, count.div_ceil(invocations(kernel)));
        self.steps.last_mut().into_iter().for_each(|step| step.per_invocation = true);
    }

    /// Adds a dispatch of so many workgroups; nothing for none.
    pub(super) fn dispatch(&mut self, kernel: &'static Kernel, params: Params, bindings: Bindings, workgroups: usize) {
        if workgroups == 0 {
            return;
        }
        self.steps.push(Step {
            kernel,
            params,
            bindings,
            windows: Vec::new(),
            workgroups,
            k_slices: 1,
            per_invocation: false,
            operation: self.operation,
            name: self.name,
            flops: 0,
            stored: None,
        });
    }
}
