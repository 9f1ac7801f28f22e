//! Dispatches each operation to its implementation.

use std::sync::Arc;

use onestep_program::Op;

use crate::{
    attention::attention,
    conv::{Kernels, Window, conv2d, up_conv2d, winograd_conv2d},
    conv_output::Epilogue,
    linear::{linear, mat_mul},
    memory::Memory,
    movement::{concat, embedding, expand, pad, permute, slice, upsample_nearest},
    norm::{group_norm, layer_norm},
    pointwise::{binary, geglu, map, unary},
    product::Panels,
    reduce::reduce,
    softmax::softmax_over,
    tensor::Tensor,
    winograd::Winograd,
};

/// A value while a program runs.
#[derive(Clone)]
pub(crate) enum Operand {
    /// An activation or a weight.
    Float(Tensor),
    /// A weight [D,K] that only linear layers read.
    Panels(Arc<Panels>),
    /// A weight that only convolutions read.
    Kernels(Arc<Kernels>),
    /// A weight [D,C,3,3] that only convolutions read for which [`winograd`](crate::winograd) is faster.
    Winograd(Arc<Winograd>),
    /// Token ids.
    Ids(Arc<Vec<i32>>),
}

impl Operand {
    pub(crate) fn bytes(&self) -> usize {
        let elements = match self {
            Operand::Float(tensor) => tensor.elements().len(),
            Operand::Panels(panels) => panels.elements(),
            Operand::Kernels(kernels) => kernels.elements(),
            Operand::Winograd(weights) => weights.elements(),
            Operand::Ids(ids) => ids.len(),
        };
        elements * 4
    }
}

/// The operands in order. Methods return `None` if there is none left or it has another type, which a checked program excludes.
struct Operands(std::vec::IntoIter<Operand>);

impl Operands {
    fn float(&mut self) -> Option<Tensor> {
        match self.0.next()? {
            Operand::Float(tensor) => Some(tensor),
            Operand::Panels(_) | Operand::Kernels(_) | Operand::Winograd(_) | Operand::Ids(_) => None,
        }
    }

    fn float_if(&mut self, is_present: bool) -> Option<Option<Tensor>> {
        if is_present { self.float().map(Some) } else { Some(None) }
    }
}

/// The packed weight of a convolution with `parts` groups or parities.
fn kernels(weight: Operand, parts: usize) -> Option<Arc<Kernels>> {
    match weight {
        Operand::Kernels(kernels) => Some(kernels),
        Operand::Float(weight) => Some(Arc::new(Kernels::new(weight.elements(), &weight.shape, parts))),
        Operand::Panels(_) | Operand::Winograd(_) | Operand::Ids(_) => None,
    }
}

/// Computes `op` of `inputs`, giving a tensor of shape `output`.
///
/// The program was checked: shapes and counts fit, and no axis is empty. Returns `None` for ids in place of floats, which the check excludes.
pub(crate) fn apply(op: &Op, inputs: Vec<Operand>, output: &[usize], memory: &Memory) -> Option<Tensor> {
    let mut inputs = Operands(inputs.into_iter());
    if let Op::Concat { axis } = op {
        let mut parts = Vec::new();
        while !inputs.0.as_slice().is_empty() {
            parts.push(inputs.float()?);
        }
        return Some(concat(&parts, *axis, output, memory));
    }
    let x = inputs.float()?;
    Some(match op {
        Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } => {
            let weight = inputs.0.next()?;
            let (bias, residual) = (inputs.float_if(*bias)?, inputs.float_if(*residual)?);
            let window = Window { stride: *stride, padding: *padding, dilation: *dilation, groups: *groups };
            let epilogue = Epilogue { bias: bias.as_ref().map(Tensor::elements), act: *act, residual: residual.as_ref().map(Tensor::elements) };
            match weight {
                Operand::Winograd(weight) => winograd_conv2d(&x, &weight, *padding, &epilogue, output, memory),
                weight => conv2d(&x, kernels(weight, *groups)?.as_ref(), &window, &epilogue, output, memory),
            }
        }
        Op::UpConv2d { bias, act, residual } => {
            let weight = kernels(inputs.0.next()?, 4)?;
            let (bias, residual) = (inputs.float_if(*bias)?, inputs.float_if(*residual)?);
            let epilogue = Epilogue { bias: bias.as_ref().map(Tensor::elements), act: *act, residual: residual.as_ref().map(Tensor::elements) };
            up_conv2d(&x, weight.as_ref(), &epilogue, output, memory)
        }
        Op::Linear { bias, act, residual } => {
            let weight = match inputs.0.next()? {
                Operand::Panels(panels) => panels,
                Operand::Float(weight) => Arc::new(Panels::transposed(weight.elements(), weight.shape[0], weight.shape[1])),
                Operand::Kernels(_) | Operand::Winograd(_) | Operand::Ids(_) => return None,
            };
            let (bias, residual) = (inputs.float_if(*bias)?, inputs.float_if(*residual)?);
            linear(&x, &weight, bias.as_ref().map(Tensor::elements), *act, residual.as_ref().map(Tensor::elements), output, memory)
        }
        Op::MatMul => mat_mul(&x, &inputs.float()?, output, memory),
        Op::GroupNorm { groups, epsilon, act } => {
            let (gamma, beta) = (inputs.float()?, inputs.float()?);
            group_norm(x, [gamma.elements(), beta.elements()], *groups, *epsilon, *act, memory)
        }
        Op::LayerNorm { epsilon, affine } => {
            let (gamma, beta) = (inputs.float_if(*affine)?, inputs.float_if(*affine)?);
            layer_norm(x, gamma.as_ref().zip(beta.as_ref()).map(|(gamma, beta)| (gamma.elements(), beta.elements())), *epsilon, memory)
        }
        Op::Attention { scale, causal } => attention([&x, &inputs.float()?, &inputs.float()?], *scale, *causal, output, memory),
        Op::Softmax { axis } => softmax_over(x, *axis, memory),
        Op::Embedding => match inputs.0.next()? {
            Operand::Ids(ids) => embedding(&x, &ids, output, memory),
            _ => return None,
        },
        Op::Concat { .. } => return None,
        Op::UpsampleNearest => upsample_nearest(&x, output, memory),
        Op::Geglu => geglu(&x, output, memory),
        Op::Reduce { reduce: kind, axis } => reduce(&x, *kind, *axis, output, memory),
        Op::Unary { unary: kind } => unary(x, *kind, memory),
        Op::Binary { binary: kind } => binary(x, &inputs.float()?, *kind, output, memory),
        Op::Affine { mul, add } => map(x, |value| value * mul + add, memory),
        Op::Clamp { min, max } => map(x, |value| value.max(*min).min(*max), memory),
        Op::Slice { start } => slice(&x, start, output, memory),
        Op::Pad { padding, value } => pad(&x, padding, *value, output, memory),
        Op::Reshape => x.reshaped(output),
        Op::Permute { axes } => permute(&x, axes, output, memory),
        Op::Expand => expand(&x, output, memory),
    })
}
