//! What each operation computes.

use std::sync::Arc;

use burn::{
    backend::{
        flex::{Flex, FlexTensor},
        ops::{ActivationOps, FloatTensorOps, ModuleOps},
    },
    tensor::{
        Shape, Slice, TensorData,
        ops::{AttentionModuleOptions, ConvOptions},
    },
};
use onestep_program::{Activation, BinaryKind, Op, ReduceKind, UnaryKind};

use crate::dense::{elements, flex_shape, map, tensor};

/// A value while a program runs.
#[derive(Clone)]
pub(crate) enum Operand {
    /// An activation or a weight.
    Float(FlexTensor),
    /// Token ids.
    Ids(Arc<Vec<i32>>),
}

/// Computes `op` of `inputs` into a value of shape `output`. The program has been checked: shapes and counts fit the operation, and no
/// axis is empty. `None` when an operand is ids where floats belong, which the check excludes.
pub(crate) fn apply(op: &Op, inputs: Vec<Operand>, output: &[usize]) -> Option<FlexTensor> {
    if matches!(op, Op::Embedding) {
        let mut inputs = inputs.into_iter();
        return match (inputs.next()?, inputs.next()?) {
            (Operand::Float(table), Operand::Ids(ids)) => Some(embedding(table, &ids, output)),
            _ => None,
        };
    }
    let mut floats = Vec::with_capacity(inputs.len());
    for input in inputs {
        match input {
            Operand::Float(tensor) => floats.push(tensor),
            Operand::Ids(_) => return None,
        }
    }
    if let Op::Concat { axis } = op {
        return Some(Flex::float_cat(floats, *axis));
    }
    let mut floats = floats.into_iter();
    let x = floats.next()?;
    Some(match op {
        Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } => {
            let weight = floats.next()?;
            let bias = if *bias { Some(floats.next()?) } else { None };
            let residual = if *residual { Some(floats.next()?) } else { None };
            let [top, left, bottom, right] = *padding;
            let options = ConvOptions::new_with_padding(*stride, [(top, bottom), (left, right)], *dilation, *groups);
            finish(Flex::conv2d(x, weight, bias, options), *act, residual)
        }
        Op::UpConv2d { bias, act, residual } => {
            let weight = floats.next()?;
            let bias = if *bias { Some(floats.next()?) } else { None };
            let residual = if *residual { Some(floats.next()?) } else { None };
            finish(up_conv2d(x, weight, bias, output), *act, residual)
        }
        Op::Linear { bias, act, residual } => {
            let weight = floats.next()?;
            let bias = if *bias { Some(floats.next()?) } else { None };
            let residual = if *residual { Some(floats.next()?) } else { None };
            finish(linear(x, weight, bias, output), *act, residual)
        }
        Op::MatMul => Flex::float_matmul(x, floats.next()?),
        Op::GroupNorm { groups, epsilon, act } => group_norm(x, floats.next()?, floats.next()?, *groups, *epsilon, *act),
        Op::LayerNorm { epsilon, affine } => {
            let (gamma, beta) = if *affine { (floats.next()?, Some(floats.next()?)) } else { (ones(output), None) };
            Flex::layer_norm(x, gamma, beta, f64::from(*epsilon))
        }
        Op::Attention { scale, causal } => attention(x, floats.next()?, floats.next()?, *scale, *causal),
        Op::Softmax { axis } => Flex::softmax(x, *axis),
        Op::Embedding | Op::Concat { .. } => return None,
        Op::UpsampleNearest { scale } => upsample_nearest(x, *scale, output),
        Op::Geglu => geglu(x, output),
        Op::Reduce { reduce, axis } => match reduce {
            ReduceKind::Sum => Flex::float_sum_dim(x, *axis),
            ReduceKind::Mean => Flex::float_mean_dim(x, *axis),
            ReduceKind::Max => Flex::float_max_dim(x, *axis),
        },
        Op::Unary { unary: kind } => unary(x, *kind),
        Op::Binary { binary: kind } => binary(x, floats.next()?, *kind, output),
        Op::Affine { mul, add } => map(x, |value| value * mul + add),
        Op::Clamp { min, max } => map(x, |value| value.max(*min).min(*max)),
        Op::Slice { start } => {
            let ranges: Vec<Slice> = start.iter().zip(output).map(|(&start, &length)| range(start, length)).collect();
            if ranges.is_empty() { x } else { Flex::float_slice(x, &ranges) }
        }
        Op::Pad { padding, value } => pad(x, padding, *value, output),
        Op::Reshape => Flex::float_reshape(x, flex_shape(output)),
        Op::Permute { axes } => {
            if axes.is_empty() {
                x
            } else {
                Flex::float_permute(x, axes)
            }
        }
        Op::Expand => Flex::float_expand(x, flex_shape(output)),
    })
}

/// The value after `act`, plus the residual.
fn finish(x: FlexTensor, act: Activation, residual: Option<FlexTensor>) -> FlexTensor {
    let x = match act {
        Activation::None => x,
        Activation::Relu => unary(x, UnaryKind::Relu),
        Activation::Silu => unary(x, UnaryKind::Silu),
        Activation::Gelu => unary(x, UnaryKind::Gelu),
        Activation::QuickGelu => unary(x, UnaryKind::QuickGelu),
    };
    match residual {
        Some(residual) => Flex::float_add(x, residual),
        None => x,
    }
}

/// `1 / (1 + e^-x)` without overflow.
fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

fn unary(x: FlexTensor, kind: UnaryKind) -> FlexTensor {
    match kind {
        UnaryKind::Neg => map(x, |v| -v),
        UnaryKind::Abs => map(x, f32::abs),
        UnaryKind::Exp => map(x, f32::exp),
        UnaryKind::Log => map(x, f32::ln),
        UnaryKind::Sqrt => map(x, f32::sqrt),
        UnaryKind::Recip => map(x, f32::recip),
        UnaryKind::Sin => map(x, f32::sin),
        UnaryKind::Cos => map(x, f32::cos),
        UnaryKind::Tanh => map(x, f32::tanh),
        UnaryKind::Erf => Flex::float_erf(x),
        UnaryKind::Sigmoid => map(x, sigmoid),
        UnaryKind::Relu => map(x, |v| v.max(0.0)),
        UnaryKind::Silu => map(x, |v| v * sigmoid(v)),
        UnaryKind::Gelu => Flex::gelu(x),
        UnaryKind::QuickGelu => map(x, |v| v * sigmoid(1.702 * v)),
    }
}

fn binary(a: FlexTensor, b: FlexTensor, kind: BinaryKind, output: &[usize]) -> FlexTensor {
    match kind {
        BinaryKind::Add => Flex::float_add(a, b),
        BinaryKind::Sub => Flex::float_sub(a, b),
        BinaryKind::Mul => Flex::float_mul(a, b),
        BinaryKind::Div => Flex::float_div(a, b),
        BinaryKind::Pow => Flex::float_powf(a, b),
        BinaryKind::Min => zip(a, b, output, f32::min),
        BinaryKind::Max => zip(a, b, output, f32::max),
    }
}

/// Elementwise with broadcasting.
fn zip(a: FlexTensor, b: FlexTensor, output: &[usize], function: impl Fn(f32, f32) -> f32) -> FlexTensor {
    let a = elements(Flex::float_expand(a, flex_shape(output)));
    let b = elements(Flex::float_expand(b, flex_shape(output)));
    tensor(a.into_iter().zip(b).map(|(a, b)| function(a, b)).collect(), output)
}

/// x [N,Cin,H,W], weight [4,Cout,Cin,2,2], bias [Cout]: [N,Cout,2H,2W].
///
/// One 2x2 convolution computes all four parities at every place of x with a pixel of zeros around it; each parity takes the places that
/// begin at its own row and column.
fn up_conv2d(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>, output: &[usize]) -> FlexTensor {
    let [batch, _, height, width] = x.layout().shape().dims();
    let [_, channels, summed, ..] = weight.layout().shape().dims::<5>();
    let weight = Flex::float_reshape(weight, Shape::new([4 * channels, summed, 2, 2]));
    let options = ConvOptions::new_with_padding([1, 1], [(1, 1), (1, 1)], [1, 1], 1);
    let places = elements(Flex::conv2d(x, weight, None, options));
    let bias = bias.map_or_else(|| vec![0.0; channels], elements);
    let (rows, columns) = (height + 1, width + 1);
    let mut data = Vec::with_capacity(batch * channels * 4 * height * width);
    for sample in 0..batch {
        for (channel, offset) in bias.iter().enumerate() {
            for row in 0..2 * height {
                let (above, parity) = (row / 2, row % 2);
                let first = |phase: usize| (((sample * 4 + phase) * channels + channel) * rows + above + parity) * columns;
                let (even, odd) = (first(2 * parity), first(2 * parity + 1) + 1);
                for (a, b) in places[even..even + width].iter().zip(&places[odd..odd + width]) {
                    data.extend([a + offset, b + offset]);
                }
            }
        }
    }
    tensor(data, output)
}

/// x […,K], weight [D,K], bias [D]: `x·weightᵀ + bias`, […,D].
fn linear(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>, output: &[usize]) -> FlexTensor {
    let [width, summed] = weight.layout().shape().dims();
    let rows = x.layout().num_elements() / summed;
    let x = Flex::float_reshape(x, Shape::new([rows, summed]));
    // A transposed view: the multiplication reads it by strides.
    let y = Flex::float_matmul(x, Flex::float_swap_dims(weight, 0, 1));
    let y = match bias {
        Some(bias) => Flex::float_add(y, Flex::float_reshape(bias, Shape::new([1, width]))),
        None => y,
    };
    Flex::float_reshape(y, flex_shape(output))
}

/// x [N,C,…], gamma [C], beta [C]. Mean and variance are summed in f64.
fn group_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, groups: usize, epsilon: f32, act: Activation) -> FlexTensor {
    let shape = x.layout().shape().to_vec();
    let pixels: usize = shape[2..].iter().product();
    let channels = shape[1] / groups;
    let (gamma, beta) = (elements(gamma), elements(beta));
    let mut data = elements(x);
    for (index, group) in data.chunks_exact_mut(channels * pixels).enumerate() {
        let count = group.len() as f64;
        let mean = group.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = group.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let first = index % groups * channels;
        for (channel, row) in group.chunks_exact_mut(pixels).enumerate() {
            let (factor, offset) = (scale * f64::from(gamma[first + channel]), f64::from(beta[first + channel]));
            for value in row {
                *value = ((f64::from(*value) - mean) * factor + offset) as f32;
            }
        }
    }
    finish(tensor(data, &shape), act, None)
}

/// As many ones as the last axis of a shape is long.
fn ones(shape: &[usize]) -> FlexTensor {
    let width = shape.last().copied().unwrap_or(1);
    tensor(vec![1.0; width], &[width])
}

/// q [N,heads,Lq,D], k [N,heads,Lk,D], v [N,heads,Lk,Dv].
fn attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, scale: f32, causal: bool) -> FlexTensor {
    let (queries, keys) = (q.layout().shape()[2], k.layout().shape()[2]);
    // flex aligns its own causal mask at the last query and key; programs align it at the first. The two are the same for equal lengths.
    let aligned = causal && queries == keys;
    let mask = (causal && !aligned).then(|| {
        let hidden: Vec<bool> = (0..queries).flat_map(|query| (0..keys).map(move |key| key > query)).collect();
        FlexTensor::from_data(TensorData::new(hidden, [1, 1, queries, keys]))
    });
    let options = AttentionModuleOptions { scale: Some(f64::from(scale)), softcap: None, is_causal: aligned };
    Flex::attention(q, k, v, mask, None, options)
}

/// table [V,D], ids […]: […,D]; ids outside read the first or last row.
fn embedding(table: FlexTensor, ids: &[i32], output: &[usize]) -> FlexTensor {
    let [rows, width] = table.layout().shape().dims();
    let table = elements(table);
    let mut data = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        let row = usize::try_from(id).unwrap_or(0).min(rows - 1);
        data.extend_from_slice(&table[row * width..(row + 1) * width]);
    }
    tensor(data, output)
}

/// x [N,C,H,W]: [N,C,H·rows,W·columns].
fn upsample_nearest(x: FlexTensor, [rows, columns]: [usize; 2], output: &[usize]) -> FlexTensor {
    let [_, _, _, width] = x.layout().shape().dims();
    let x = elements(x);
    let mut data = Vec::with_capacity(x.len() * rows * columns);
    for row in x.chunks_exact(width) {
        let start = data.len();
        for &value in row {
            data.extend(std::iter::repeat_n(value, columns));
        }
        let end = data.len();
        for _ in 1..rows {
            data.extend_from_within(start..end);
        }
    }
    tensor(data, output)
}

/// x […,2D], halves a and b: `a · gelu(b)`.
fn geglu(x: FlexTensor, output: &[usize]) -> FlexTensor {
    let half = |first: bool| -> Vec<Slice> {
        let last = output.len() - 1;
        output.iter().enumerate().map(|(axis, &length)| range(if axis == last && !first { length } else { 0 }, length)).collect()
    };
    let a = Flex::float_slice(x.clone(), &half(true));
    let b = Flex::float_slice(x, &half(false));
    Flex::float_mul(a, Flex::gelu(b))
}

fn pad(x: FlexTensor, padding: &[[usize; 2]], value: f32, output: &[usize]) -> FlexTensor {
    if padding.is_empty() {
        return x;
    }
    let inside: Vec<Slice> = x.layout().shape().iter().zip(padding).map(|(&length, &[before, _])| range(before, length)).collect();
    let count = output.iter().product();
    Flex::float_slice_assign(tensor(vec![value; count], output), &inside, x)
}

/// `start..start + length` of one axis. Lengths are below 2^24.
fn range(start: usize, length: usize) -> Slice {
    Slice::new(start as isize, Some((start + length) as isize), 1)
}
