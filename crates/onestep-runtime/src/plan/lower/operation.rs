//! Lowers a program, operation by operation.

use onestep_program::{BinaryKind, Node, Op, Program, ReduceKind, UnaryKind};

use super::super::{
    capabilities::Capabilities,
    dispatch_plan::{Plan, PlanOptions},
    params::Params,
    variants::MatrixVariant,
};
use super::{
    layout::{BLOCK, dim_order, elements},
    lowering::Lowering,
};
use crate::error::RunError;

/// Plans a program; each of its tensors may take up to `max_tensor` bytes.
pub(in crate::plan) fn plan(program: &Program, capabilities: &Capabilities, options: PlanOptions, max_tensor: u64) -> Result<Plan, RunError> {
    program.check(&program.name).map_err(|error| RunError::invalid(error.to_string()))?;
    if let MatrixVariant::Cooperative(matrix) = capabilities.variants.matrix
        && !capabilities.cooperative.contains(&matrix)
    {
        return Err(RunError::unsupported(format!(
            "{}: this adapter has no cooperative matrices {matrix:?}; it has {:?}",
            program.name, capabilities.cooperative
        )));
    }
    let mut lowering = Lowering::new(program, capabilities, options, max_tensor)?;
    for (number, node) in program.nodes.iter().enumerate() {
        lowering.operation = number;
        lowering.name = node.op.name();
        lowering.lower(node)?;
    }
    let plan = lowering.finish()?;
    plan.verify(capabilities)?;
    Ok(plan)
}

impl Lowering<'_> {
    /// Adds the steps of an operation, and counts its floating-point operations at the last of them.
    fn lower(&mut self, node: &Node) -> Result<(), RunError> {
        let first_step = self.steps.len();
        let gate = self.fused_gate(node);
        // A GEGLU that was fused into its linear layer has a view already.
        if matches!(node.op, Op::Geglu) && !self.views[node.output.index()].is_empty() {
            return Ok(());
        }
        self.operation_steps(node, gate)?;
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

    fn operation_steps(&mut self, node: &Node, gate: Option<&Node>) -> Result<(), RunError> {
        match &node.op {
            Op::Conv2d { .. } => self.conv2d(node),
            Op::UpConv2d { bias, act, residual } => self.up_conv2d(node, *bias, *act, *residual),
            Op::Linear { bias, act, residual } => self.linear(node, *bias, *act, *residual, gate),
            Op::MatMul => self.mat_mul(node),
            Op::GroupNorm { groups, epsilon, act } => self.group_norm(node, *groups, *epsilon, *act),
            Op::LayerNorm { epsilon, affine } => self.layer_norm(node, *epsilon, *affine),
            Op::Attention { scale, causal } => self.attention(node, *scale, *causal),
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::Embedding => self.embedding(node),
            Op::UpsampleNearest => self.upsample(node),
            Op::Geglu => self.geglu(node),
            Op::Reduce { reduce, axis } => self.reduce(node, reduce_constant(*reduce), *axis),
            Op::Unary { unary } => self.unary(node, unary_constant(*unary), 0.0, 0.0),
            Op::Affine { mul, add } => self.unary(node, "AFFINE", *mul, *add),
            Op::Clamp { min, max } => self.unary(node, "CLAMP", *min, *max),
            Op::Binary { binary } => self.binary(node, binary_constant(*binary)),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Slice { start } => self.slice(node, start),
            Op::Pad { padding, value } => self.pad(node, padding, *value),
            Op::Reshape => self.reshape(node),
            Op::Permute { axes } => self.permute(node, axes),
            Op::Expand => self.expand(node),
        }
    }

    fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let shape = self.shape(id);
        let x = self.blocked(id, axis)?;
        let y = self.output(node, &dim_order(shape.len(), axis), &[&x])?;
        self.softmax_rows(shape, axis, &x, &y)
    }

    fn embedding(&mut self, node: &Node) -> Result<(), RunError> {
        let (table, ids) = (self.input(node, 0)?, self.input(node, 1)?);
        let (shape, out) = (self.shape(table), self.shape(node.output));
        let (w, flags) = self.plain_or_f16(table)?;
        let kernel = self.kernel("embedding", flags)?;
        let ids = self.plain(ids)?;
        let blocks = shape[1].div_ceil(BLOCK);
        // The kernel writes dense rows, in the order of the ids.
        let y = self.allocate_blocked(out, out.len() - 1)?;
        self.set_view(node, y.clone());
        let mut params = Params::new(kernel);
        params.set("width", shape[1]);
        params.set("rows", shape[0]);
        params.set("blocks", blocks);
        self.dispatch_invocations(kernel, params, vec![("w", w), ("ids", ids), ("y", y.resource)], elements(&out[..out.len() - 1]) * blocks);
        Ok(())
    }
}

fn reduce_constant(kind: ReduceKind) -> &'static str {
    match kind {
        ReduceKind::Sum => "SUM",
        ReduceKind::Mean => "MEAN",
        ReduceKind::Max => "MAX",
    }
}

/// The kernels' constant for a function of one tensor.
fn unary_constant(kind: UnaryKind) -> &'static str {
    match kind {
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
    }
}

/// The kernels' constant for a function of two tensors.
fn binary_constant(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "ADD",
        BinaryKind::Sub => "SUB",
        BinaryKind::Mul => "MUL",
        BinaryKind::Div => "DIV",
        BinaryKind::Pow => "POW",
        BinaryKind::Min => "MIN",
        BinaryKind::Max => "MAX",
    }
}
