//! Each operation as dispatches.

use std::collections::{BTreeMap, BTreeSet};

use onestep_program::{Activation, BinaryKind, DType, Node, Op, Program, ReduceKind, UnaryKind, ValueId};
use onestep_shaders::{self as shaders, Access, Kernel};

use super::{
    BufferId, Capabilities, Dispatch, Layout, Params, Plan, PlanOptions, PortSlot, Slice, WeightSlot,
    axes::{IndexBox, broadcast_strides, strides},
    memory::{self, ALIGNMENT, Rules, Tenant},
};
use crate::error::RunError;

/// Bytes of zeros at the start of the first weight buffer, bound where an optional tensor is absent.
const ABSENT_BYTES: u64 = 256;

/// The longest row that one invocation reduces by itself on a software adapter, where barriers cost more than turns.
const SERIAL_ROW: usize = 1024;

/// Plans a program.
pub(super) fn plan(program: &Program, capabilities: &Capabilities, options: PlanOptions) -> Result<Plan, RunError> {
    program.check(&program.name).map_err(|error| RunError::invalid(error.to_string()))?;
    let mut lowering = Lowering::new(program, capabilities, options)?;
    for (number, node) in program.nodes.iter().enumerate() {
        lowering.operation = number;
        lowering.name = node.op.name();
        lowering.node(node)?;
    }
    let plan = lowering.finish()?;
    plan.verify(capabilities)?;
    Ok(plan)
}

/// Where the elements of a value are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// An input port.
    Input(usize),
    /// A weight of the files, by the value that names it.
    Weight(ValueId),
    /// An activation.
    Tenant(usize),
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
struct Step {
    kernel: &'static Kernel,
    params: Params,
    bound: Vec<(&'static str, Bound)>,
    groups: usize,
    operation: usize,
    name: &'static str,
    flops: u64,
}

struct Lowering<'a> {
    program: &'a Program,
    capabilities: &'a Capabilities,
    options: PlanOptions,
    homes: Vec<Option<Home>>,
    inputs: Vec<PortSlot>,
    inputs_size: u64,
    weights: Vec<WeightSlot>,
    /// Slots by value, layout and storage.
    weight_index: BTreeMap<(ValueId, Layout, bool), usize>,
    weight_buffers: Vec<u64>,
    tenants: Vec<Tenant>,
    steps: Vec<Step>,
    /// The operation that is being lowered.
    operation: usize,
    name: &'static str,
}

/// The number of elements of a shape that a program's check has accepted.
fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl<'a> Lowering<'a> {
    fn new(program: &'a Program, capabilities: &'a Capabilities, options: PlanOptions) -> Result<Self, RunError> {
        let mut homes = vec![None; program.values.len()];
        for (index, value) in program.values.iter().enumerate() {
            if value.weight.is_some() {
                homes[index] = Some(Home::Weight(ValueId(index as u32)));
            }
        }
        let mut inputs = Vec::new();
        let mut inputs_size = 0u64;
        for (number, port) in program.inputs.iter().enumerate() {
            let value = program.value(port.value);
            if value.dtype == DType::F16 {
                return Err(RunError::unsupported(format!("the input {} is stored in 16 bits; inputs are f32 or i32", port.name)));
            }
            homes[port.value.index()] = Some(Home::Input(number));
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
            homes,
            inputs,
            inputs_size: inputs_size.max(ALIGNMENT),
            weights: Vec::new(),
            weight_index: BTreeMap::new(),
            weight_buffers: vec![ABSENT_BYTES],
            tenants: Vec::new(),
            steps: Vec::new(),
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

    /// The shape of an operation's input, by position.
    fn input(&self, node: &Node, index: usize) -> Result<ValueId, RunError> {
        node.inputs.get(index).copied().ok_or_else(|| RunError::internal(format!("{}: no tensor {index}", self.place())))
    }

    /// A new activation.
    fn tenant(&mut self, elements: usize) -> Result<usize, RunError> {
        let size = (elements as u64)
            .checked_mul(4)
            .filter(|&size| size < 1 << 33)
            .ok_or_else(|| RunError::unsupported(format!("{}: {elements} elements are too many for a kernel's indices", self.place())))?;
        if size > self.capabilities.max_storage_binding {
            return Err(RunError::unsupported(format!(
                "{}: its result has {size} bytes, and this adapter's kernels see at most {} of a buffer",
                self.place(),
                self.capabilities.max_storage_binding
            )));
        }
        self.tenants.push(Tenant { size, life: None, apart: BTreeSet::new(), name: format!("the result of {}", self.place()) });
        Ok(self.tenants.len() - 1)
    }

    /// The activation that an operation computes.
    fn output(&mut self, node: &Node) -> Result<Bound, RunError> {
        let tenant = self.tenant(elements(self.shape(node.output)))?;
        self.homes[node.output.index()] = Some(Home::Tenant(tenant));
        Ok(Bound::Tenant(tenant))
    }

    fn home(&self, id: ValueId) -> Result<Home, RunError> {
        self.homes.get(id.index()).copied().flatten().ok_or_else(|| RunError::internal(format!("{}: value {} has no home", self.place(), id.0)))
    }

    /// A value in row-major f32 (or i32 for ids).
    fn read(&mut self, id: ValueId) -> Result<Bound, RunError> {
        Ok(match self.home(id)? {
            Home::Input(number) => Bound::Input(number),
            Home::Tenant(tenant) => Bound::Tenant(tenant),
            Home::Weight(weight) => Bound::Weight(self.weight(weight, Layout::Plain, false)?),
        })
    }

    /// A weight slot; `narrow` keeps 16-bit weights as they are.
    fn weight(&mut self, id: ValueId, layout: Layout, narrow: bool) -> Result<usize, RunError> {
        let value = self.program.value(id);
        let narrow = narrow && value.dtype == DType::F16;
        if let Some(&slot) = self.weight_index.get(&(id, layout, narrow)) {
            return Ok(slot);
        }
        let name = value.weight.clone().unwrap_or_default();
        let stored = if value.dtype == DType::F16 && !narrow { DType::F32 } else { value.dtype };
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
        self.weight_index.insert((id, layout, narrow), self.weights.len() - 1);
        Ok(self.weights.len() - 1)
    }

    /// Whether a value is a weight in 16 bits.
    fn is_narrow(&self, id: ValueId) -> bool {
        matches!(self.home(id), Ok(Home::Weight(weight)) if self.program.value(weight).dtype == DType::F16)
    }

    /// A value [columns, depth] as [depth, columns rounded up to `tile`]: packed when it is uploaded, or copied when it is computed.
    fn turned(&mut self, id: ValueId, columns: usize, depth: usize, tile: usize) -> Result<Bound, RunError> {
        let padded = columns.next_multiple_of(tile);
        if let Home::Weight(weight) = self.home(id)? {
            return Ok(Bound::Weight(self.weight(weight, Layout::Turned { columns, depth, padded }, true)?));
        }
        let source = self.read(id)?;
        let room = depth.checked_mul(padded).ok_or_else(|| RunError::unsupported(format!("{}: a size overflows", self.place())))?;
        let turned = Bound::Tenant(self.tenant(room)?);
        self.copy(source, turned, &[depth, columns], (0, &[1, depth]), (0, &[padded, 1]))?;
        Ok(turned)
    }

    /// Adds a dispatch of one invocation per item, or per row; nothing for none.
    fn step(&mut self, kernel: &'static Kernel, params: Params, bound: Vec<(&'static str, Bound)>, items: usize, per_group: usize) {
        if items == 0 {
            return;
        }
        self.steps.push(Step {
            kernel,
            params,
            bound,
            groups: items.div_ceil(per_group.max(1)),
            operation: self.operation,
            name: self.name,
            flops: 0,
        });
    }

    /// Adds a dispatch of one invocation per item; the kernel's `count`.
    fn items(&mut self, kernel: &'static Kernel, mut params: Params, bound: Vec<(&'static str, Bound)>, items: usize) {
        params.set("count", items);
        self.step(kernel, params, bound, items, kernel.workgroup_size[0] as usize);
    }

    /// Adds a dispatch over rows that are reduced; the kernel's `rows`, `length` and `turns`.
    fn rows(
        &mut self,
        together: &'static Kernel,
        serial: &'static Kernel,
        fill: impl FnOnce(&mut Params),
        bound: Vec<(&'static str, Bound)>,
        rows: usize,
        length: usize,
    ) -> Result<(), RunError> {
        let alone = length <= 16 || (self.capabilities.software && length <= SERIAL_ROW);
        let kernel = if alone { serial } else { together };
        let mut params = Params::new(kernel);
        fill(&mut params);
        params.set("rows", rows);
        params.set("length", length);
        params.set("turns", length.div_ceil(constant(kernel, "LANES")?));
        self.step(kernel, params, bound, rows, constant(kernel, "ROWS")?);
        Ok(())
    }

    /// Adds a strided copy over a box of indices; starts and strides in elements.
    fn copy(
        &mut self,
        source: Bound,
        sink: Bound,
        shape: &[usize],
        (from, from_strides): (usize, &[usize]),
        (to, to_strides): (usize, &[usize]),
    ) -> Result<(), RunError> {
        let kernel = &shaders::COPY;
        let merged = IndexBox::merged(shape, [from_strides, to_strides]);
        let mut params = Params::new(kernel);
        params.set("rank", merged.shape.len());
        params.set("x_start", from);
        params.set("y_start", to);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        self.items(kernel, params, vec![("x", source), ("y", sink)], elements(shape));
        Ok(())
    }

    /// A pointwise function of one tensor.
    fn unary(&mut self, node: &Node, kind: &str, a: f32, b: f32) -> Result<(), RunError> {
        let kernel = &shaders::UNARY;
        let x = self.input(node, 0)?;
        let count = elements(self.shape(x));
        let x = self.read(x)?;
        let y = self.output(node)?;
        let mut params = Params::new(kernel);
        params.set("kind", constant(kernel, kind)?);
        params.float("a", a);
        params.float("b", b);
        self.items(kernel, params, vec![("x", x), ("y", y)], count);
        Ok(())
    }

    /// The optional bias and residual of a convolution or linear layer, which stand from `first` on among the inputs.
    fn extras(&mut self, node: &Node, params: &mut Params, first: usize, bias: bool, residual: bool) -> Result<[Bound; 2], RunError> {
        params.flag("has_bias", bias);
        params.flag("has_residual", residual);
        let bias_bound = if bias {
            let id = self.input(node, first)?;
            self.read(id)?
        } else {
            Bound::Absent
        };
        let residual_bound = if residual {
            let id = self.input(node, first + usize::from(bias))?;
            self.read(id)?
        } else {
            Bound::Absent
        };
        Ok([bias_bound, residual_bound])
    }

    fn node(&mut self, node: &Node) -> Result<(), RunError> {
        let first_step = self.steps.len();
        match &node.op {
            Op::Conv2d { .. } => self.conv2d(node)?,
            Op::UpConv2d { .. } => return Err(RunError::unsupported(format!("{}: there is no kernel for it yet", self.place()))),
            Op::Linear { bias, act, residual } => self.linear(node, *bias, *act, *residual)?,
            Op::MatMul => self.mat_mul(node)?,
            Op::GroupNorm { groups, epsilon, act } => {
                let [x, gamma, beta] = self.three(node)?;
                let shape = self.shape(x);
                let (channels, spatial) = (shape[1], elements(&shape[2..]));
                let group_channels = channels / groups;
                let bound = vec![("x", self.read(x)?), ("gamma", self.read(gamma)?), ("beta", self.read(beta)?), ("y", self.output(node)?)];
                let act = constant(&shaders::GROUP_NORM, activation(*act))?;
                let fill = |params: &mut Params| {
                    params.set("groups", *groups);
                    params.set("spatial", spatial);
                    params.set("group_channels", group_channels);
                    params.set("act", act);
                    params.float("epsilon", *epsilon);
                };
                let length = group_channels * spatial;
                let rows = if length == 0 { 0 } else { shape[0] * groups };
                self.rows(&shaders::GROUP_NORM, &shaders::GROUP_NORM_SERIAL, fill, bound, rows, length)?;
            }
            Op::LayerNorm { affine: false, .. } => {
                return Err(RunError::unsupported(format!("{}: there is no kernel without factor and offset yet", self.place())));
            }
            Op::LayerNorm { epsilon, affine: true } => {
                let [x, gamma, beta] = self.three(node)?;
                let shape = self.shape(x);
                let length = shape.last().copied().unwrap_or(1);
                let bound = vec![("x", self.read(x)?), ("gamma", self.read(gamma)?), ("beta", self.read(beta)?), ("y", self.output(node)?)];
                let rows = elements(shape).checked_div(length).unwrap_or(0);
                self.rows(&shaders::LAYER_NORM, &shaders::LAYER_NORM_SERIAL, |params| params.float("epsilon", *epsilon), bound, rows, length)?;
            }
            Op::Attention { scale, causal } => self.attention(node, *scale, *causal)?,
            Op::Softmax { axis } => {
                let x = self.input(node, 0)?;
                let shape = self.shape(x);
                let bound = vec![("x", self.read(x)?), ("y", self.output(node)?)];
                self.softmax(bound, shape, *axis)?;
            }
            Op::Embedding => {
                let (table, ids) = (self.input(node, 0)?, self.input(node, 1)?);
                let shape = self.shape(table);
                let kernel = if self.is_narrow(table) { &shaders::EMBEDDING_F16 } else { &shaders::EMBEDDING };
                let w = match self.home(table)? {
                    Home::Weight(weight) => Bound::Weight(self.weight(weight, Layout::Plain, true)?),
                    _ => self.read(table)?,
                };
                let bound = vec![("w", w), ("ids", self.read(ids)?), ("y", self.output(node)?)];
                let mut params = Params::new(kernel);
                params.set("width", shape[1]);
                params.set("rows", shape[0]);
                self.items(kernel, params, bound, elements(self.shape(node.output)));
            }
            Op::UpsampleNearest { scale } => {
                let kernel = &shaders::UPSAMPLE_NEAREST;
                let x = self.input(node, 0)?;
                let shape = self.shape(x);
                let bound = vec![("x", self.read(x)?), ("y", self.output(node)?)];
                let mut params = Params::new(kernel);
                params.set("height", shape[2]);
                params.set("width", shape[3]);
                params.set("scale_y", scale[0]);
                params.set("scale_x", scale[1]);
                self.items(kernel, params, bound, elements(self.shape(node.output)));
            }
            Op::Geglu => {
                let kernel = &shaders::GEGLU;
                let x = self.input(node, 0)?;
                let bound = vec![("x", self.read(x)?), ("y", self.output(node)?)];
                let shape = self.shape(node.output);
                let mut params = Params::new(kernel);
                params.set("width", shape.last().copied().unwrap_or(1));
                self.items(kernel, params, bound, elements(shape));
            }
            Op::Reduce { reduce, axis } => {
                let x = self.input(node, 0)?;
                let shape = self.shape(x);
                let bound = vec![("x", self.read(x)?), ("y", self.output(node)?)];
                let kind = match reduce {
                    ReduceKind::Sum => "SUM",
                    ReduceKind::Mean => "MEAN",
                    ReduceKind::Max => "MAX",
                };
                let (kind, stride) = (constant(&shaders::REDUCE, kind)?, elements(&shape[axis + 1..]));
                let fill = |params: &mut Params| {
                    params.set("kind", kind);
                    params.set("stride", stride);
                };
                self.rows(&shaders::REDUCE, &shaders::REDUCE_SERIAL, fill, bound, elements(&shape[..*axis]) * stride, shape[*axis])?;
            }
            Op::Unary { unary } => {
                let kind = match unary {
                    UnaryKind::Neg => "NEG",
                    UnaryKind::Abs => "ABS",
                    UnaryKind::Exp => "EXP",
                    UnaryKind::Log => "LOG",
                    UnaryKind::Sqrt => "SQRT",
                    UnaryKind::Recip => "RECIP",
                    UnaryKind::Sin => "SIN",
                    UnaryKind::Cos => "COS",
                    UnaryKind::Tanh => "TANH",
                    UnaryKind::Erf => "ERF",
                    UnaryKind::Sigmoid => "SIGMOID",
                    UnaryKind::Relu => "RELU",
                    UnaryKind::Silu => "SILU",
                    UnaryKind::Gelu => "GELU",
                    UnaryKind::QuickGelu => "QUICK_GELU",
                };
                self.unary(node, kind, 0.0, 0.0)?;
            }
            Op::Affine { mul, add } => self.unary(node, "AFFINE", *mul, *add)?,
            Op::Clamp { min, max } => self.unary(node, "CLAMP", *min, *max)?,
            Op::Binary { binary } => {
                let kernel = &shaders::BINARY;
                let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
                let shape = self.shape(node.output);
                let dense = strides(shape);
                let merged = IndexBox::merged(shape, [&dense, &broadcast_strides(self.shape(a), shape), &broadcast_strides(self.shape(b), shape)]);
                let bound = vec![("a", self.read(a)?), ("b", self.read(b)?), ("y", self.output(node)?)];
                let kind = match binary {
                    BinaryKind::Add => "ADD",
                    BinaryKind::Sub => "SUB",
                    BinaryKind::Mul => "MUL",
                    BinaryKind::Div => "DIV",
                    BinaryKind::Pow => "POW",
                    BinaryKind::Min => "MIN",
                    BinaryKind::Max => "MAX",
                };
                let mut params = Params::new(kernel);
                params.set("kind", constant(kernel, kind)?);
                params.set("rank", merged.shape.len());
                params.list("shape", &merged.shape);
                params.list("a_strides", &merged.strides[1]);
                params.list("b_strides", &merged.strides[2]);
                self.items(kernel, params, bound, elements(shape));
            }
            Op::Concat { axis } => {
                let y = self.output(node)?;
                let to = strides(self.shape(node.output));
                let mut at = 0;
                for &part in &node.inputs {
                    let shape = self.shape(part);
                    let x = self.read(part)?;
                    self.copy(x, y, shape, (0, &strides(shape)), (at * to[*axis], &to))?;
                    at += shape[*axis];
                }
            }
            Op::Slice { start } => {
                let x = self.input(node, 0)?;
                let own = strides(self.shape(x));
                let shape = self.shape(node.output);
                let from = start.iter().zip(&own).map(|(start, stride)| start * stride).sum();
                let (x, y) = (self.read(x)?, self.output(node)?);
                self.copy(x, y, shape, (from, &own), (0, &strides(shape)))?;
            }
            Op::Pad { padding, value } => {
                let x = self.input(node, 0)?;
                let inside = self.shape(x);
                let to = strides(self.shape(node.output));
                let at = padding.iter().zip(&to).map(|(padding, stride)| padding[0].saturating_mul(*stride)).fold(0, usize::saturating_add);
                let (x, y) = (self.read(x)?, self.output(node)?);
                let mut params = Params::new(&shaders::FILL);
                params.float("value", *value);
                self.items(&shaders::FILL, params, vec![("y", y)], elements(self.shape(node.output)));
                self.copy(x, y, inside, (0, &strides(inside)), (at, &to))?;
            }
            Op::Reshape => {
                let x = self.input(node, 0)?;
                self.homes[node.output.index()] = Some(self.home(x)?);
            }
            Op::Permute { axes } => {
                let x = self.input(node, 0)?;
                let own = strides(self.shape(x));
                let from: Vec<usize> = axes.iter().map(|&axis| own[axis]).collect();
                let shape = self.shape(node.output);
                let (x, y) = (self.read(x)?, self.output(node)?);
                self.copy(x, y, shape, (0, &from), (0, &strides(shape)))?;
            }
            Op::Expand => {
                let x = self.input(node, 0)?;
                let shape = self.shape(node.output);
                let from = broadcast_strides(self.shape(x), shape);
                let (x, y) = (self.read(x)?, self.output(node)?);
                self.copy(x, y, shape, (0, &from), (0, &strides(shape)))?;
            }
        }
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&id| self.shape(id)).collect();
        if let Some(step) = self.steps[first_step..].last_mut() {
            step.flops = node.op.flops(&shapes, &self.program.value(node.output).shape);
        }
        Ok(())
    }

    fn three(&self, node: &Node) -> Result<[ValueId; 3], RunError> {
        Ok([self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?])
    }

    fn softmax(&mut self, bound: Vec<(&'static str, Bound)>, shape: &[usize], axis: usize) -> Result<(), RunError> {
        let stride = elements(&shape[axis + 1..]);
        let rows = if shape[axis] == 0 { 0 } else { elements(&shape[..axis]) * stride };
        self.rows(&shaders::SOFTMAX, &shaders::SOFTMAX_SERIAL, |params| params.set("stride", stride), bound, rows, shape[axis])
    }

    fn conv2d(&mut self, node: &Node) -> Result<(), RunError> {
        let Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } = &node.op else { return Ok(()) };
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        // Coordinates are computed in 32 signed bits.
        let reach = |axis: usize| {
            let taps = ws[2 + axis].checked_mul(dilation[axis])?.checked_add(stride[axis].checked_mul(8)?)?;
            xs[2 + axis].checked_add(padding[axis])?.checked_add(padding[axis + 2])?.checked_add(taps).filter(|&reach| reach < 1 << 30)
        };
        if reach(0).is_none() || reach(1).is_none() {
            return Err(RunError::unsupported(format!("{}: padding, stride or dilation is beyond what a kernel's indices reach", self.place())));
        }
        let pointwise = *groups == 1 && ws[2..] == [1, 1] && *stride == [1, 1] && *padding == [0; 4];
        // A 1x1 convolution knows no rows: one long row fills its tiles better.
        let flat = |shape: &[usize]| if pointwise { [1, shape[2] * shape[3]] } else { [shape[2], shape[3]] };
        let ([height, width], [out_height, out_width]) = (flat(xs), flat(ys));
        let narrow = self.is_narrow(w);
        let tiled = *groups == 1;
        let kernel = match (tiled, stride[1] == 1 && dilation[1] == 1, narrow) {
            (false, _, false) => &shaders::CONV2D,
            (false, _, true) => &shaders::CONV2D_F16,
            (true, false, false) => &shaders::CONV2D_TILE,
            (true, false, true) => &shaders::CONV2D_TILE_F16,
            (true, true, false) => &shaders::CONV2D_TILE_UNIT,
            (true, true, true) => &shaders::CONV2D_TILE_UNIT_F16,
        };
        let mut params = Params::new(kernel);
        let weight = if tiled {
            self.turned(w, ws[0], elements(&ws[1..]), constant(kernel, "CHANNELS")?)?
        } else {
            match self.home(w)? {
                Home::Weight(weight) => Bound::Weight(self.weight(weight, Layout::Plain, true)?),
                _ => self.read(w)?,
            }
        };
        let [bias, residual] = self.extras(node, &mut params, 2, *bias, *residual)?;
        let bound = vec![("x", self.read(x)?), ("w", weight), ("bias", bias), ("residual", residual), ("y", self.output(node)?)];
        for (name, value) in [
            ("in_channels", xs[1]),
            ("out_channels", ws[0]),
            ("height", height),
            ("width", width),
            ("out_height", out_height),
            ("out_width", out_width),
            ("kernel_height", ws[2]),
            ("kernel_width", ws[3]),
            ("stride_y", stride[0]),
            ("stride_x", stride[1]),
            ("top", padding[0]),
            ("left", padding[1]),
            ("dilation_y", dilation[0]),
            ("dilation_x", dilation[1]),
            ("act", constant(kernel, activation(*act))?),
        ] {
            params.set(name, value);
        }
        let items = if tiled {
            let row_tiles = out_width.div_ceil(constant(kernel, "PIXELS")?);
            let channel_tiles = ws[0].div_ceil(constant(kernel, "CHANNELS")?);
            params.set("row_tiles", row_tiles);
            params.set("channel_tiles", channel_tiles);
            row_tiles * out_height * channel_tiles * xs[0]
        } else {
            params.set("group_channels", ws[1]);
            params.set("group_out_channels", ws[0] / groups);
            elements(ys)
        };
        self.items(kernel, params, bound, items);
        Ok(())
    }

    fn linear(&mut self, node: &Node, bias: bool, act: Activation, residual: bool) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (columns, depth) = (self.shape(w)[0], self.shape(w)[1]);
        let rows = elements(&self.shape(x)[..self.shape(x).len() - 1]);
        let kernel = match (depth.is_multiple_of(4) && depth > 0, self.is_narrow(w)) {
            (false, false) => &shaders::LINEAR,
            (false, true) => &shaders::LINEAR_F16,
            (true, false) => &shaders::LINEAR_VEC4,
            (true, true) => &shaders::LINEAR_VEC4_F16,
        };
        let mut params = Params::new(kernel);
        let weight = self.turned(w, columns, depth, constant(kernel, "COLUMNS")?)?;
        let [bias, residual] = self.extras(node, &mut params, 2, bias, residual)?;
        let bound = vec![("x", self.read(x)?), ("w", weight), ("bias", bias), ("residual", residual), ("y", self.output(node)?)];
        let column_tiles = columns.div_ceil(constant(kernel, "COLUMNS")?);
        params.set("column_tiles", column_tiles);
        params.set("rows", rows);
        params.set("depth", depth);
        params.set("columns", columns);
        params.set("act", constant(kernel, activation(act))?);
        self.items(kernel, params, bound, column_tiles * rows.div_ceil(constant(kernel, "ROWS")?));
        Ok(())
    }

    fn mat_mul(&mut self, node: &Node) -> Result<(), RunError> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let (a_shape, b_shape, shape) = (self.shape(a), self.shape(b), self.shape(node.output));
        let bound = vec![("a", self.read(a)?), ("b", self.read(b)?), ("y", self.output(node)?)];
        self.product(bound, a_shape, b_shape, shape)
    }

    /// A batched product of the bound `a` and `b`.
    fn product(&mut self, bound: Vec<(&'static str, Bound)>, a: &[usize], b: &[usize], shape: &[usize]) -> Result<(), RunError> {
        let kernel = &shaders::MAT_MUL;
        let lead = shape.len() - 2;
        let (mut rows, depth, columns) = (shape[lead], a[a.len() - 1], shape[lead + 1]);
        let batch = &shape[..lead];
        // Strides of whole matrices, in elements.
        let of_matrices = |own: &[usize]| -> Vec<usize> {
            let matrix = own[own.len() - 2] * own[own.len() - 1];
            broadcast_strides(&own[..own.len() - 2], batch).iter().map(|stride| stride * matrix).collect()
        };
        let (a_strides, b_strides) = (of_matrices(a), of_matrices(b));
        let mut merged = IndexBox::merged(batch, [&a_strides, &b_strides]);
        if merged.shape.len() == 1 && merged.strides[1][0] == 0 && merged.strides[0][0] == rows * depth {
            // One b for all: the matrices of a are one tall matrix.
            rows *= merged.shape[0];
            merged = IndexBox::merged(&[], [&[], &[]]);
        }
        let column_tiles = columns.div_ceil(constant(kernel, "COLUMNS")?);
        let row_tiles = rows.div_ceil(constant(kernel, "ROWS")?);
        let mut params = Params::new(kernel);
        params.set("column_tiles", column_tiles);
        params.set("row_tiles", row_tiles);
        params.set("rows", rows);
        params.set("depth", depth);
        params.set("columns", columns);
        params.set("rank", merged.shape.len());
        params.list("shape", &merged.shape);
        params.list("a_strides", &merged.strides[0]);
        params.list("b_strides", &merged.strides[1]);
        self.items(kernel, params, bound, column_tiles * row_tiles * elements(&merged.shape));
        Ok(())
    }

    fn attention(&mut self, node: &Node, scale: f32, causal: bool) -> Result<(), RunError> {
        let [q, k, v] = self.three(node)?;
        let (qs, ks, vs) = (self.shape(q), self.shape(k), self.shape(v));
        let (batch, queries, depth, keys, features) = (qs[0] * qs[1], qs[2], qs[3], ks[2], vs[3]);
        let (q, k, v, y) = (self.read(q)?, self.read(k)?, self.read(v)?, self.output(node)?);
        let scores = batch.checked_mul(queries).and_then(|rows| rows.checked_mul(keys)).filter(|&scores| {
            let bytes = (scores as u64).saturating_mul(4);
            bytes <= self.options.stored_scores.min(self.capabilities.max_storage_binding)
        });
        let Some(scores) = scores else {
            let kernel = &shaders::ATTENTION;
            let feature_tiles = features.div_ceil(constant(kernel, "FEATURES")?);
            let mut params = Params::new(kernel);
            params.set("queries", queries);
            params.set("keys", keys);
            params.set("depth", depth);
            params.set("features", features);
            params.set("feature_tiles", feature_tiles);
            params.flag("causal", causal);
            params.float("scale", scale);
            self.items(kernel, params, vec![("q", q), ("k", k), ("v", v), ("y", y)], batch * queries * feature_tiles);
            return Ok(());
        };
        let kernel = &shaders::ATTENTION_SCORES;
        let (raw, shares) = (Bound::Tenant(self.tenant(scores)?), Bound::Tenant(self.tenant(scores)?));
        let (key_tiles, query_tiles) = (keys.div_ceil(constant(kernel, "KEYS")?), queries.div_ceil(constant(kernel, "QUERIES")?));
        let mut params = Params::new(kernel);
        params.set("key_tiles", key_tiles);
        params.set("query_tiles", query_tiles);
        params.set("queries", queries);
        params.set("keys", keys);
        params.set("depth", depth);
        params.flag("causal", causal);
        params.float("scale", scale);
        self.items(kernel, params, vec![("q", q), ("k", k), ("y", raw)], batch * key_tiles * query_tiles);
        self.softmax(vec![("x", raw), ("y", shares)], &[batch * queries, keys], 1)?;
        self.product(vec![("a", shares), ("b", v), ("y", y)], &[batch, queries, keys], &[batch, keys, features], &[batch, queries, features])
    }

    /// Outputs that are no activations get one, everything is placed, and the steps become dispatches.
    fn finish(mut self) -> Result<Plan, RunError> {
        let mut outputs = Vec::new();
        for port in &self.program.outputs {
            let value = self.program.value(port.value);
            self.operation = self.program.nodes.len();
            self.name = "output";
            let tenant = match self.home(port.value)? {
                Home::Tenant(tenant) => tenant,
                Home::Input(_) | Home::Weight(_) if value.dtype == DType::I32 => {
                    return Err(RunError::unsupported(format!("the output {} of {} is integers; outputs are floats", port.name, self.program.name)));
                }
                Home::Input(_) | Home::Weight(_) => {
                    let source = self.read(port.value)?;
                    let tenant = self.tenant(elements(&value.shape))?;
                    self.copy(source, Bound::Tenant(tenant), &value.shape, (0, &strides(&value.shape)), (0, &strides(&value.shape)))?;
                    self.homes[port.value.index()] = Some(Home::Tenant(tenant));
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
        self.trace_lives();
        for (_, _, tenant) in &outputs {
            // Callers read outputs after the run: they outlive every step.
            let life = self.tenants[*tenant].life.unwrap_or((0, 0));
            self.tenants[*tenant].life = Some((life.0, usize::MAX));
        }
        let rules = Rules { max_buffer: self.capabilities.max_buffer, reuse: self.options.reuse, guard: self.options.guard };
        let (places, arenas) = memory::place(&self.tenants, rules)?;
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
        // With guards, kernels see those too: a write that strays there is to be found, not to be dropped by the adapter.
        let guard = self.options.guard;
        let (inputs, weights, tenants) = (&self.inputs, &self.weights, &self.tenants);
        let mut params = Vec::new();
        let mut dispatches = Vec::with_capacity(self.steps.len());
        for step in self.steps {
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
                    Ok(match *bound {
                        Bound::Input(number) => Slice { size: whole(inputs[number].slice.size), ..inputs[number].slice },
                        Bound::Weight(slot) => {
                            Slice { buffer: BufferId::Weights(weights[slot].buffer), offset: weights[slot].offset, size: weights[slot].size }
                        }
                        Bound::Tenant(tenant) => {
                            Slice { buffer: BufferId::Arena(places[tenant].0), offset: places[tenant].1, size: whole(tenants[tenant].size) + guard }
                        }
                        Bound::Absent => Slice { buffer: BufferId::Weights(0), offset: 0, size: 16 },
                    })
                })
                .collect::<Result<Vec<Slice>, RunError>>()?;
            let grid = fold(step.groups, self.capabilities.max_workgroups);
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
            params,
            inputs_size: self.inputs_size,
            weight_buffers: self.weight_buffers,
            arenas,
            activations,
            weights: self.weights,
            inputs: self.inputs,
            outputs,
            operations: self.program.nodes.len(),
        })
    }

    /// From the steps: how long every activation lives, and what is read where it is written.
    fn trace_lives(&mut self) {
        for (number, step) in self.steps.iter().enumerate() {
            let mut written = Vec::new();
            let mut read = Vec::new();
            for (name, bound) in &step.bound {
                let Bound::Tenant(tenant) = *bound else { continue };
                let life = &mut self.tenants[tenant].life;
                *life = Some((life.map_or(number, |(first, _)| first), number));
                let writes = step.kernel.bindings.iter().any(|binding| binding.name == *name && binding.access == Access::ReadWrite);
                if writes { &mut written } else { &mut read }.push(tenant);
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
fn fold(groups: usize, limit: u32) -> [u32; 3] {
    let x = groups.min(limit as usize).max(1);
    let y = u32::try_from(groups.div_ceil(x)).unwrap_or(u32::MAX);
    [x as u32, y, 1]
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
