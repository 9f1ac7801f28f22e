//! Each operation as dispatches.

mod attention;
mod bands;
mod gemm;
mod movement;
mod norm;
mod pointwise;
mod view;

use onestep_program::{Activation, DType, Node, Op, Program, ReduceKind, ValueId};
use onestep_shaders::{self as shaders, Access, Kernel};

use super::{
    BufferId, Capabilities, Dispatch, Layout, MatrixForm, Params, Plan, PlanOptions, PortSlot, RowForm, Slice, WeightSlot,
    axes::IndexBox,
    kept::{self, Traffic},
    memory::{self, ALIGNMENT, Rules, Tenant},
};
use crate::error::RunError;
use bands::Window;
use view::{UNIT, View, order};

/// Bytes of zeros at the start of the first weight buffer, bound where an optional tensor is absent.
const ABSENT_BYTES: u64 = 256;

/// The longest row in units that one invocation reduces by itself on a software adapter, where barriers cost more than turns.
const SERIAL_ROW: usize = 256;

/// Plans a program whose tensors take at most `largest` bytes each.
pub(super) fn plan(program: &Program, capabilities: &Capabilities, options: PlanOptions, largest: u64) -> Result<Plan, RunError> {
    program.check(&program.name).map_err(|error| RunError::invalid(error.to_string()))?;
    if let MatrixForm::Cooperative(form) = capabilities.forms.matrix
        && !capabilities.cooperative.contains(&form)
    {
        return Err(RunError::unsupported(format!("{}: this adapter has no {form:?} matrices; it has {:?}", program.name, capabilities.cooperative)));
    }
    let mut lowering = Lowering::new(program, capabilities, options, largest)?;
    for (number, node) in program.nodes.iter().enumerate() {
        lowering.operation = number;
        lowering.name = node.op.name();
        lowering.node(node)?;
    }
    let plan = lowering.finish()?;
    plan.verify(capabilities)?;
    Ok(plan)
}

/// What is bound in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Input(usize),
    Weight(usize),
    Tenant(usize),
    /// Zeros, for an optional tensor that is not there.
    Absent,
}

/// A dispatch before its buffers are placed.
#[derive(Clone)]
struct Step {
    kernel: &'static Kernel,
    params: Params,
    bound: Vec<(&'static str, Bound)>,
    /// What of it is bound in a part only.
    windows: Vec<(&'static str, Window)>,
    groups: usize,
    /// Workgroups along z.
    slices: usize,
    operation: usize,
    name: &'static str,
    flops: u64,
    /// What a product stores.
    stored: Option<Stored>,
}

/// The rows and columns that a product stores: where a group norm finds who wrote what it reads.
#[derive(Clone)]
struct Stored {
    y: Bound,
    /// The rows of the whole tensor, by the units between them.
    rows: IndexBox<1>,
    /// The first unit of the whole tensor.
    start: usize,
    /// Units of columns.
    columns: usize,
    /// Which rows of the whole, in the product's own order of them: the first, and how many.
    first: usize,
    count: usize,
    /// Workgroups with statistics, where they are others than without.
    groups: Option<usize>,
}

/// The statistics that products leave of what they store.
struct Statistics {
    /// Of which memory, from which unit on, in which rows.
    y: Bound,
    start: usize,
    rows: IndexBox<1>,
    bound: Bound,
}

impl Step {
    /// Whether the kernel writes what is bound under that name.
    fn writes(&self, name: &str) -> bool {
        self.kernel.bindings.iter().any(|binding| binding.name == name && binding.access == Access::ReadWrite)
    }
}

/// Where a value goes so that a concatenation finds it in its place.
#[derive(Clone)]
struct Destination {
    /// The concatenation's result.
    whole: ValueId,
    /// The first index of the part in it.
    start: Vec<usize>,
}

struct Lowering<'a> {
    program: &'a Program,
    capabilities: &'a Capabilities,
    options: PlanOptions,
    /// Bytes that a tensor may have.
    largest: u64,
    /// How each value lies in memory: once, or in several ways that were needed.
    views: Vec<Vec<View>>,
    /// Parts of concatenations.
    destinations: Vec<Option<Destination>>,
    inputs: Vec<PortSlot>,
    inputs_size: u64,
    weights: Vec<WeightSlot>,
    /// Slots by value, layout and whether they are stored in 16 bits.
    weight_index: Vec<((ValueId, Layout, bool), usize)>,
    weight_buffers: Vec<u64>,
    tenants: Vec<Tenant>,
    steps: Vec<Step>,
    statistics: Vec<Statistics>,
    /// The operation that is being lowered.
    operation: usize,
    name: &'static str,
}

/// The number of elements of a shape that a program's check has accepted.
fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl<'a> Lowering<'a> {
    fn new(program: &'a Program, capabilities: &'a Capabilities, options: PlanOptions, largest: u64) -> Result<Self, RunError> {
        let mut views = vec![Vec::new(); program.values.len()];
        let mut inputs = Vec::new();
        let mut inputs_size = 0u64;
        for (number, port) in program.inputs.iter().enumerate() {
            let value = program.value(port.value);
            if value.dtype == DType::F16 {
                return Err(RunError::unsupported(format!("the input {} is stored in 16 bits; inputs are f32 or i32", port.name)));
            }
            views[port.value.index()] = vec![View::raw(Bound::Input(number), &value.shape)];
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
            largest,
            views,
            destinations: movement::destinations(program),
            inputs,
            inputs_size: inputs_size.max(ALIGNMENT),
            weights: Vec::new(),
            weight_index: Vec::new(),
            weight_buffers: vec![ABSENT_BYTES],
            tenants: Vec::new(),
            steps: Vec::new(),
            statistics: Vec::new(),
            operation: 0,
            name: "",
        })
    }

    fn shape(&self, id: ValueId) -> &'a [usize] {
        &self.program.value(id).shape
    }

    fn place(&self) -> String {
        format!("{}, operation {} ({})", self.program.name, self.operation, self.name)
    }

    /// The operation's input, by position.
    fn input(&self, node: &Node, index: usize) -> Result<ValueId, RunError> {
        node.inputs.get(index).copied().ok_or_else(|| RunError::internal(format!("{}: no tensor {index}", self.place())))
    }

    /// The form of a kernel for this plan's activations.
    fn form(&self, kernel: &'static Kernel) -> &'static Kernel {
        kernel.narrow.filter(|_| self.options.narrow).unwrap_or(kernel)
    }

    /// New memory of that many bytes.
    fn tenant(&mut self, elements: usize, width: u64) -> Result<Bound, RunError> {
        let size = (elements as u64)
            .checked_mul(width)
            .filter(|_| (elements as u64) < 1 << 31)
            .ok_or_else(|| RunError::unsupported(format!("{}: {elements} elements are too many for a kernel's indices", self.place())))?;
        if size > self.largest {
            return Err(RunError::unsupported(format!(
                "{}: its result has {size} bytes, and this adapter's kernels see at most {} of a buffer, which has at most {}",
                self.place(),
                self.capabilities.max_storage_binding,
                self.capabilities.max_buffer
            )));
        }
        self.tenants.push(Tenant { size, life: None, apart: Vec::new(), name: format!("the result of {}", self.place()) });
        Ok(Bound::Tenant(self.tenants.len() - 1))
    }

    /// Memory for a whole tensor in units, its axes in that order.
    fn units_in(&mut self, shape: &[usize], order: &[usize]) -> Result<View, RunError> {
        let (view, reach) = View::units(Bound::Absent, shape, order);
        let bound = self.tenant(reach, if self.options.narrow { 2 } else { 4 })?;
        Ok(View { bound, ..view })
    }

    /// As [`units_in`](Self::units_in), with that axis innermost and the others in their order.
    fn units(&mut self, shape: &[usize], inner: usize) -> Result<View, RunError> {
        self.units_in(shape, &order(shape.len(), inner))
    }

    /// Where an operation that reads `reads` writes its result: into its place in a concatenation, if it has one, else into memory of its own.
    fn output(&mut self, node: &Node, order: &[usize], reads: &[&View]) -> Result<View, RunError> {
        let view = match self.place_in_whole(node.output, order, reads)? {
            Some(view) => view,
            None => self.units_in(self.shape(node.output), order)?,
        };
        self.views[node.output.index()] = vec![view.clone()];
        Ok(view)
    }

    /// How a value lies in memory, in the first of its ways.
    fn view(&mut self, id: ValueId) -> Result<View, RunError> {
        if let Some(view) = self.views.get(id.index()).and_then(|views| views.first()) {
            return Ok(view.clone());
        }
        if self.program.value(id).weight.is_none() {
            return Err(RunError::internal(format!("{}: value {} has not been computed", self.place(), id.0)));
        }
        let slot = self.weight(id, Layout::Plain, DType::F32)?;
        let view = View::raw(Bound::Weight(slot), self.shape(id));
        self.views[id.index()].push(view.clone());
        Ok(view)
    }

    /// A value in units along an axis; copied once if it does not lie so.
    fn along(&mut self, id: ValueId, inner: usize) -> Result<View, RunError> {
        self.view(id)?;
        if let Some(view) = self.views[id.index()].iter().find(|view| view.inner == Some(inner)) {
            return Ok(view.clone());
        }
        let shape = self.shape(id);
        let source = self.views[id.index()][0].clone();
        let view = self.rearranged(shape, &source, inner)?;
        self.views[id.index()].push(view.clone());
        Ok(view)
    }

    /// A tensor in units along an axis: as it is, or a copy.
    fn rearranged(&mut self, shape: &[usize], view: &View, inner: usize) -> Result<View, RunError> {
        if view.inner == Some(inner) {
            return Ok(view.clone());
        }
        let copy = self.units(shape, inner)?;
        self.copy(shape, view, &copy, 0)?;
        Ok(copy)
    }

    /// The axis along which a value lies in units, if it does, else `default`.
    fn inner_or(&mut self, id: ValueId, default: usize) -> Result<usize, RunError> {
        self.view(id)?;
        Ok(self.views[id.index()].iter().find_map(|view| view.inner).unwrap_or(default))
    }

    /// A value as a caller sees it: row-major f32, or i32 for ids.
    fn raw(&mut self, id: ValueId) -> Result<Bound, RunError> {
        self.view(id)?;
        let shape = self.shape(id);
        if let Some(view) = self.views[id.index()].iter().find(|view| view.is_raw_and_dense(shape)) {
            return Ok(view.bound);
        }
        if self.program.value(id).dtype == DType::I32 {
            return Err(RunError::unsupported(format!("{}: ids must come from the caller as they are used", self.place())));
        }
        let source = self.views[id.index()][0].clone();
        let copy = View::raw(self.tenant(elements(shape), 4)?, shape);
        self.copy(shape, &source, &copy, 0)?;
        self.views[id.index()].push(copy.clone());
        Ok(copy.bound)
    }

    /// The weight that a value names, if it is one.
    fn is_weight(&self, id: ValueId) -> bool {
        self.program.value(id).weight.is_some()
    }

    /// Whether a value is a weight in 16 bits that kernels are to read as such.
    fn is_half(&self, id: ValueId) -> bool {
        self.is_weight(id) && self.program.value(id).dtype == DType::F16
    }

    /// A weight slot in a layout, stored in that type.
    fn weight(&mut self, id: ValueId, layout: Layout, stored: DType) -> Result<usize, RunError> {
        let value = self.program.value(id);
        let key = (id, layout, stored == DType::F16);
        if let Some(&(_, slot)) = self.weight_index.iter().find(|(known, _)| *known == key) {
            return Ok(slot);
        }
        let name = value.weight.clone().unwrap_or_default();
        let size = (layout.elements(elements(&value.shape)) as u64).saturating_mul(stored.size() as u64).max(16).next_multiple_of(16);
        if size > self.capabilities.max_storage_binding {
            return Err(RunError::unsupported(format!(
                "{}: the weight {name} has {size} bytes, and this adapter's kernels see at most {} of a buffer",
                self.place(),
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

    /// A vector of parameters per channel in f32, padded with zeros; only for weights.
    fn vector(&mut self, id: ValueId, padded: usize) -> Result<Bound, RunError> {
        Ok(Bound::Weight(self.weight(id, Layout::Padded { padded }, DType::F32)?))
    }

    /// Adds a dispatch over that many workgroups; nothing for none.
    fn step(&mut self, kernel: &'static Kernel, params: Params, bound: Vec<(&'static str, Bound)>, groups: usize, slices: usize) {
        if groups == 0 {
            return;
        }
        self.steps.push(Step {
            kernel,
            params,
            bound,
            windows: Vec::new(),
            groups,
            slices,
            operation: self.operation,
            name: self.name,
            flops: 0,
            stored: None,
        });
    }

    /// Adds a dispatch of one invocation per item; the kernel's `count`.
    fn items(&mut self, kernel: &'static Kernel, mut params: Params, bound: Vec<(&'static str, Bound)>, items: usize) {
        params.set("count", items);
        self.step(kernel, params, bound, items.div_ceil(kernel.workgroup_size[0].max(1) as usize), 1);
    }

    /// Adds a dispatch over rows of x and y along their innermost axis, which is `inner` and has `length` elements in x.
    #[allow(clippy::too_many_arguments, reason = "one call per kernel that reduces rows")]
    fn rows(
        &mut self,
        (together, serial): (&'static Kernel, &'static Kernel),
        shape: &[usize],
        inner: usize,
        x: &View,
        y: &View,
        mut bound: Vec<(&'static str, Bound)>,
        fill: impl FnOnce(&mut Params),
    ) -> Result<(), RunError> {
        let (length, units) = (shape[inner], shape[inner].div_ceil(UNIT));
        if elements(shape) == 0 {
            return Ok(());
        }
        let alone = units <= 4 || (self.capabilities.forms.rows == RowForm::Alone && units <= SERIAL_ROW);
        let kernel = self.form(if alone { serial } else { together });
        let outer = around(shape, inner);
        let merged =
            IndexBox::merged(&outer.iter().map(|&axis| shape[axis]).collect::<Vec<_>>(), [&unit_strides(x, &outer), &unit_strides(y, &outer)]);
        let mut params = Params::new(kernel);
        fill(&mut params);
        let rows = elements(&merged.shape);
        params.set("rows", rows);
        params.set("rank", merged.shape.len());
        params.set("units", units);
        params.set("length", length);
        params.set("turns", units.div_ceil(constant(kernel, "LANES")?));
        params.set("x_start", x.start / UNIT);
        params.set("y_start", y.start / UNIT);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        bound.extend([("x", x.bound), ("y", y.bound)]);
        self.step(kernel, params, bound, rows.div_ceil(constant(kernel, "ROWS")?), 1);
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), RunError> {
        let first_step = self.steps.len();
        let gate = self.gate_of(node);
        match &node.op {
            Op::Conv2d { .. } => self.conv2d(node)?,
            Op::UpConv2d { bias, act, residual } => self.up_conv2d(node, *bias, *act, *residual)?,
            Op::Linear { bias, act, residual } => self.linear(node, *bias, *act, *residual, gate)?,
            Op::MatMul => self.mat_mul(node)?,
            Op::GroupNorm { groups, epsilon, act } => self.group_norm(node, *groups, *epsilon, *act)?,
            Op::LayerNorm { epsilon, affine } => self.layer_norm(node, *epsilon, *affine)?,
            Op::Attention { scale, causal } => self.attention(node, *scale, *causal)?,
            Op::Softmax { axis } => {
                let id = self.input(node, 0)?;
                let shape = self.shape(id);
                let x = self.along(id, *axis)?;
                let y = self.output(node, &order(shape.len(), *axis), &[&x])?;
                self.softmax(shape, *axis, &x, &y)?;
            }
            Op::Embedding => self.embedding(node)?,
            Op::UpsampleNearest { scale } => self.upsample(node, *scale)?,
            // It may be a part of its linear layer.
            Op::Geglu if self.views[node.output.index()].is_empty() => self.geglu(node)?,
            Op::Geglu => return Ok(()),
            Op::Reduce { reduce, axis } => {
                let id = self.input(node, 0)?;
                let shape = self.shape(id);
                let x = self.along(id, *axis)?;
                let y = self.output(node, &order(shape.len(), *axis), &[&x])?;
                let kind = match reduce {
                    ReduceKind::Sum => "SUM",
                    ReduceKind::Mean => "MEAN",
                    ReduceKind::Max => "MAX",
                };
                let kind = constant(&shaders::REDUCE, kind)?;
                self.rows((&shaders::REDUCE, &shaders::REDUCE_SERIAL), shape, *axis, &x, &y, Vec::new(), |params| params.set("kind", kind))?;
            }
            Op::Unary { unary } => self.unary(node, pointwise::unary(*unary), 0.0, 0.0)?,
            Op::Affine { mul, add } => self.unary(node, "AFFINE", *mul, *add)?,
            Op::Clamp { min, max } => self.unary(node, "CLAMP", *min, *max)?,
            Op::Binary { binary } => {
                let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
                self.binary(node, pointwise::binary(*binary), a, b)?;
            }
            Op::Concat { axis } => self.concat(node, *axis)?,
            Op::Slice { start } => {
                let x = self.input(node, 0)?;
                let (whole, shape) = (self.shape(x), self.shape(node.output));
                self.moved(node, x, |view| Some(view.part(whole, start, shape)))?;
            }
            Op::Pad { padding, value } => self.pad(node, padding, *value)?,
            Op::Reshape => self.reshape(node)?,
            Op::Permute { axes } => {
                let x = self.input(node, 0)?;
                self.moved(node, x, |view| Some(view.permuted(axes)))?;
            }
            Op::Expand => {
                let x = self.input(node, 0)?;
                let (own, to) = (self.shape(x), self.shape(node.output));
                self.moved(node, x, |view| Some(view.broadcast(own, to)))?;
            }
        }
        let flops = |node: &Node| {
            let shapes: Vec<&[usize]> = node.inputs.iter().map(|&id| self.shape(id)).collect();
            node.op.flops(&shapes, self.shape(node.output))
        };
        let flops = flops(node).saturating_add(gate.map_or(0, flops));
        if let Some(step) = self.steps[first_step..].last_mut() {
            step.flops = flops;
        }
        Ok(())
    }

    fn softmax(&mut self, shape: &[usize], axis: usize, x: &View, y: &View) -> Result<(), RunError> {
        self.rows((&shaders::SOFTMAX, &shaders::SOFTMAX_SERIAL), shape, axis, x, y, Vec::new(), |_| ())
    }

    fn embedding(&mut self, node: &Node) -> Result<(), RunError> {
        let (table, ids) = (self.input(node, 0)?, self.input(node, 1)?);
        let (shape, out) = (self.shape(table), self.shape(node.output));
        let half = self.is_half(table);
        let kernel = match (half, self.options.narrow) {
            (false, false) => &shaders::EMBEDDING,
            (true, false) => &shaders::EMBEDDING_F16,
            (false, true) => &shaders::EMBEDDING_NARROW,
            (true, true) => &shaders::EMBEDDING_F16_NARROW,
        };
        let w = if half { Bound::Weight(self.weight(table, Layout::Plain, DType::F16)?) } else { self.raw(table)? };
        let ids = self.raw(ids)?;
        let units = shape[1].div_ceil(UNIT);
        // Dense rows in the order of the ids.
        let y = self.units(out, out.len() - 1)?;
        self.views[node.output.index()] = vec![y.clone()];
        let mut params = Params::new(kernel);
        params.set("width", shape[1]);
        params.set("rows", shape[0]);
        params.set("units", units);
        self.items(kernel, params, vec![("w", w), ("ids", ids), ("y", y.bound)], elements(&out[..out.len() - 1]) * units);
        Ok(())
    }

    /// Outputs that are no activations get one, everything is placed, and the steps become dispatches.
    fn finish(mut self) -> Result<Plan, RunError> {
        let program = self.program;
        let mut outputs = Vec::new();
        for port in &program.outputs {
            let value = program.value(port.value);
            self.operation = self.program.nodes.len();
            self.name = "output";
            if value.dtype == DType::I32 {
                return Err(RunError::unsupported(format!("the output {} of {} is integers; outputs are floats", port.name, self.program.name)));
            }
            let tenant = match self.raw(port.value)? {
                Bound::Tenant(tenant) => tenant,
                // What a caller gives stays as it is; what a caller gets is a copy of it.
                _ => {
                    let source = self.view(port.value)?;
                    let copy = View::raw(self.tenant(elements(&value.shape), 4)?, &value.shape);
                    self.copy(&value.shape, &source, &copy, 0)?;
                    let Bound::Tenant(tenant) = copy.bound else { return Err(RunError::internal("new memory is a tenant")) };
                    self.views[port.value.index()].insert(0, copy);
                    tenant
                }
            };
            outputs.push((port, value, tenant));
        }
        if self.inputs_size > self.capabilities.max_buffer {
            return Err(RunError::unsupported(format!(
                "the inputs of {} take {} bytes, and this adapter's largest buffer has {}",
                self.program.name, self.inputs_size, self.capabilities.max_buffer
            )));
        }
        let steps = std::mem::take(&mut self.steps);
        for step in steps {
            let bands = self.banded(step)?;
            self.steps.extend(bands);
        }
        let prologue = self.keep();
        self.trace_lives(prologue);
        for (_, _, tenant) in &outputs {
            // Callers read outputs after the run: they outlive every step.
            let life = self.tenants[*tenant].life.unwrap_or((0, 0));
            self.tenants[*tenant].life = Some((life.0, usize::MAX));
        }
        let rules = Rules { max_buffer: self.capabilities.max_buffer, reuse: self.options.reuse, guard: self.options.guard };
        let (places, arenas) = memory::place(&self.tenants, rules)?;
        let live_bytes = memory::live_bytes(&self.tenants);
        let outputs = outputs
            .into_iter()
            .map(|(port, value, tenant)| PortSlot {
                name: port.name.clone(),
                shape: value.shape.clone(),
                dtype: DType::F32,
                slice: Slice { buffer: BufferId::Arena(places[tenant].0), offset: places[tenant].1, size: self.tenants[tenant].size },
            })
            .collect();
        let activations = places
            .iter()
            .zip(&self.tenants)
            .map(|(&(arena, offset), tenant)| Slice { buffer: BufferId::Arena(arena), offset, size: tenant.size })
            .collect();
        let mut params = Vec::new();
        let mut dispatches = Vec::with_capacity(self.steps.len());
        for step in std::mem::take(&mut self.steps) {
            let offset = params.len() as u64;
            params.extend(step.params.finish()?);
            let own = Slice { buffer: BufferId::Params, offset, size: params.len() as u64 - offset };
            params.resize(params.len().next_multiple_of(ALIGNMENT as usize), 0);
            let bindings = step
                .kernel
                .bindings
                .iter()
                .map(|binding| {
                    if binding.access == Access::Uniform {
                        return Ok(own);
                    }
                    let (_, bound) = step
                        .bound
                        .iter()
                        .find(|(name, _)| *name == binding.name)
                        .ok_or_else(|| RunError::internal(format!("nothing is bound to {} of {}", binding.name, step.kernel.name)))?;
                    let (buffer, offset) = match *bound {
                        Bound::Input(number) => (BufferId::Inputs, self.inputs[number].slice.offset),
                        Bound::Weight(slot) => (BufferId::Weights(self.weights[slot].buffer), self.weights[slot].offset),
                        Bound::Tenant(tenant) => (BufferId::Arena(places[tenant].0), places[tenant].1),
                        Bound::Absent => (BufferId::Weights(0), 0),
                    };
                    let window = step.windows.iter().find(|(name, _)| *name == binding.name);
                    let window = window.map_or(0..self.seen(*bound), |(_, window)| window.clone());
                    Ok(Slice { buffer, offset: offset + window.start, size: window.end - window.start })
                })
                .collect::<Result<Vec<Slice>, RunError>>()?;
            let [x, y] = fold(step.groups, self.capabilities.max_workgroups);
            let grid = [x, y, u32::try_from(step.slices).unwrap_or(u32::MAX)];
            dispatches.push(Dispatch { kernel: step.kernel, grid, bindings, operation: step.operation, name: step.name, flops: step.flops });
        }
        if params.len() as u64 > self.capabilities.max_buffer {
            return Err(RunError::unsupported(format!(
                "the parameters of {} take {} bytes, and this adapter's largest buffer has {}",
                self.program.name,
                params.len(),
                self.capabilities.max_buffer
            )));
        }
        Ok(Plan {
            name: self.program.name.clone(),
            dispatches,
            prologue,
            kept: (0..self.inputs.len()).filter(|&number| self.options.kept.contains(&self.inputs[number].name.as_str())).collect(),
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

    /// Brings the steps that depend on kept inputs alone to the front; gives their number.
    fn keep(&mut self) -> usize {
        if self.options.kept.is_empty() {
            return 0;
        }
        let kept: Vec<usize> = (0..self.inputs.len()).filter(|&number| self.options.kept.contains(&self.inputs[number].name.as_str())).collect();
        let traffic: Vec<Traffic> = self
            .steps
            .iter()
            .map(|step| {
                let mut traffic = Traffic::default();
                for (name, bound) in &step.bound {
                    match *bound {
                        Bound::Input(number) => traffic.inputs.push(number),
                        Bound::Tenant(tenant) if step.writes(name) => traffic.written.push(tenant),
                        Bound::Tenant(tenant) => traffic.read.push(tenant),
                        Bound::Weight(_) | Bound::Absent => {}
                    }
                }
                traffic
            })
            .collect();
        let keep = kept::keepable(&traffic, &kept);
        let (first, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.steps).into_iter().zip(keep).partition(|(_, keep)| *keep);
        let prologue = first.len();
        self.steps = first.into_iter().chain(rest).map(|(step, _)| step).collect();
        prologue
    }

    /// From the steps: how long every activation lives, and what is read where it is written.
    ///
    /// What the first `prologue` steps write and others read lives on: those steps are not taken in every run.
    fn trace_lives(&mut self, prologue: usize) {
        let mut of_prologue = vec![false; self.tenants.len()];
        for (number, step) in self.steps.iter().enumerate() {
            let mut written = Vec::new();
            let mut read = Vec::new();
            for (name, bound) in &step.bound {
                let Bound::Tenant(tenant) = *bound else { continue };
                let stays = number >= prologue && of_prologue[tenant];
                let life = &mut self.tenants[tenant].life;
                *life =
                    Some((life.map_or(number, |(first, _)| first), if stays { usize::MAX } else { number.max(life.map_or(0, |(_, last)| last)) }));
                if number < prologue {
                    of_prologue[tenant] = true;
                }
                if step.writes(name) { &mut written } else { &mut read }.push(tenant);
            }
            for &tenant in &written {
                self.tenants[tenant].apart.extend(&read);
            }
            for &tenant in &read {
                self.tenants[tenant].apart.extend(&written);
            }
        }
    }
}

/// What a kernel may see of a tensor: whole vectors of four.
fn whole(size: u64) -> u64 {
    size.max(16).next_multiple_of(16)
}

/// A number of workgroups as a grid within the limit of one dimension.
fn fold(groups: usize, limit: u32) -> [u32; 2] {
    let x = groups.min(limit as usize).max(1);
    let y = u32::try_from(groups.div_ceil(x)).unwrap_or(u32::MAX);
    [x as u32, y]
}

/// A constant of a shader: the number of a function, the side of a tile.
fn constant(kernel: &Kernel, name: &str) -> Result<usize, RunError> {
    kernel.constant(name).map(|value| value as usize).ok_or_else(|| RunError::internal(format!("the kernel {} has no constant {name}", kernel.name)))
}

/// The shader's name of an activation.
fn activation(act: Activation) -> &'static str {
    match act {
        Activation::None => "ACT_NONE",
        Activation::Relu => "ACT_RELU",
        Activation::Silu => "ACT_SILU",
        Activation::Gelu => "ACT_GELU",
        Activation::QuickGelu => "ACT_QUICK_GELU",
    }
}

/// All axes but one, in their order.
fn around(shape: &[usize], inner: usize) -> Vec<usize> {
    (0..shape.len()).filter(|&axis| axis != inner).collect()
}

/// Units between neighbours along some axes of a view in units.
fn unit_strides(view: &View, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|&axis| view.strides[axis] / UNIT).collect()
}
