//! The operations of the f64 reference, one function each.

use onestep_program::{Activation, BinaryKind, ReduceKind, UnaryKind};

/// A tensor of f64 in row-major order; ids too.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f64>,
}

impl Tensor {
    /// The element at an index.
    pub(super) fn at(&self, index: &[usize]) -> f64 {
        self.data[flat_index(&self.shape, index)]
    }
}

/// A tensor with `f` applied to every element.
pub(super) fn map(x: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    Tensor { shape: x.shape.clone(), data: x.data.iter().map(|&x| f(x)).collect() }
}

/// The offset of an index in row-major order.
fn flat_index(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |sum, (length, i)| sum * length + i)
}

/// A tensor with the elements `f(index)`.
pub(super) fn each(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Tensor {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(count);
    for _ in 0..count {
        data.push(f(&index));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Tensor { shape: shape.to_vec(), data }
}

/// The index into a tensor of `shape` that is broadcast.
pub(super) fn broadcast(shape: &[usize], index: &[usize]) -> Vec<usize> {
    let new = index.len() - shape.len();
    shape.iter().zip(&index[new..]).map(|(&length, &i)| if length == 1 { 0 } else { i }).collect()
}

/// act(sum + bias) + residual, where bias and residual are inputs of the operation.
pub(super) struct Epilogue<'t> {
    pub(super) inputs: &'t [Tensor],
    pub(super) bias: bool,
    pub(super) act: Activation,
    pub(super) residual: bool,
}

impl Epilogue<'_> {
    fn of(&self, sum: f64, index: &[usize], channel: usize) -> f64 {
        let sum = if self.bias { sum + self.inputs[2].data[channel] } else { sum };
        let sum = activate(self.act, sum);
        if self.residual { sum + self.inputs[self.inputs.len() - 1].at(index) } else { sum }
    }
}

/// The padding is that above and to the left.
pub(super) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    shape: &[usize],
    [stride, dilation, padding]: [&[usize; 2]; 3],
    groups: usize,
    epilogue: &Epilogue<'_>,
) -> Tensor {
    let (per_group, out_per_group) = (w.shape[1], w.shape[0] / groups);
    let coordinate = |out: usize, tap: usize, axis: usize| {
        (out * stride[axis] + tap * dilation[axis]).checked_sub(padding[axis]).filter(|&coordinate| coordinate < x.shape[2 + axis])
    };
    each(shape, |o| {
        let mut sum = 0.0;
        for ci in 0..per_group {
            for ky in 0..w.shape[2] {
                for kx in 0..w.shape[3] {
                    if let (Some(row), Some(column)) = (coordinate(o[2], ky, 0), coordinate(o[3], kx, 1)) {
                        sum += x.at(&[o[0], o[1] / out_per_group * per_group + ci, row, column]) * w.at(&[o[1], ci, ky, kx]);
                    }
                }
            }
        }
        epilogue.of(sum, o, o[1])
    })
}

pub(super) fn up_conv2d(x: &Tensor, w: &Tensor, shape: &[usize], epilogue: &Epilogue<'_>) -> Tensor {
    let coordinate =
        |out: usize, tap: usize, axis: usize| (out / 2 + out % 2 + tap).checked_sub(1).filter(|&coordinate| coordinate < x.shape[2 + axis]);
    each(shape, |o| {
        let phase = o[2] % 2 * 2 + o[3] % 2;
        let mut sum = 0.0;
        for ci in 0..w.shape[2] {
            for ky in 0..2 {
                for kx in 0..2 {
                    if let (Some(row), Some(column)) = (coordinate(o[2], ky, 0), coordinate(o[3], kx, 1)) {
                        sum += x.at(&[o[0], ci, row, column]) * w.at(&[phase, o[1], ci, ky, kx]);
                    }
                }
            }
        }
        epilogue.of(sum, o, o[1])
    })
}

pub(super) fn linear(x: &Tensor, w: &Tensor, shape: &[usize], epilogue: &Epilogue<'_>) -> Tensor {
    each(shape, |o| {
        let column = o[o.len() - 1];
        let row = flat_index(&shape[..shape.len() - 1], &o[..o.len() - 1]);
        let sum = (0..w.shape[1]).map(|k| x.data[row * w.shape[1] + k] * w.at(&[column, k])).sum();
        epilogue.of(sum, o, column)
    })
}

pub(super) fn mat_mul(a: &Tensor, b: &Tensor, shape: &[usize]) -> Tensor {
    let batch_rank = shape.len() - 2;
    each(shape, |o| {
        let mut a_index = broadcast(&a.shape[..a.shape.len() - 2], &o[..batch_rank]);
        let mut b_index = broadcast(&b.shape[..b.shape.len() - 2], &o[..batch_rank]);
        let (a_rank, b_rank) = (a_index.len(), b_index.len());
        a_index.extend([o[batch_rank], 0]);
        b_index.extend([0, o[batch_rank + 1]]);
        let mut sum = 0.0;
        for k in 0..a.shape[a.shape.len() - 1] {
            a_index[a_rank + 1] = k;
            b_index[b_rank] = k;
            sum += a.at(&a_index) * b.at(&b_index);
        }
        sum
    })
}

pub(super) fn group_norm(x: &Tensor, [gamma, beta]: [&Tensor; 2], groups: usize, epsilon: f32, act: Activation) -> Tensor {
    let (channels, spatial) = (x.shape[1], x.shape[2..].iter().product::<usize>());
    let length = channels / groups * spatial;
    let mut data = Vec::with_capacity(x.data.len());
    for (row, values) in x.data.chunks(length.max(1)).enumerate() {
        let (mean, scale) = moments(values, epsilon);
        for (i, value) in values.iter().enumerate() {
            let channel = row % groups * (channels / groups) + i / spatial;
            data.push(activate(act, (value - mean) * scale * gamma.data[channel] + beta.data[channel]));
        }
    }
    Tensor { shape: x.shape.clone(), data }
}

pub(super) fn layer_norm(x: &Tensor, affine: Option<[&Tensor; 2]>, epsilon: f32) -> Tensor {
    let width = x.shape[x.shape.len() - 1];
    let mut data = Vec::with_capacity(x.data.len());
    for values in x.data.chunks(width.max(1)) {
        let (mean, scale) = moments(values, epsilon);
        let affine = |i: usize| affine.map_or((1.0, 0.0), |[gamma, beta]| (gamma.data[i], beta.data[i]));
        data.extend(values.iter().enumerate().map(|(i, value)| (value - mean) * scale * affine(i).0 + affine(i).1));
    }
    Tensor { shape: x.shape.clone(), data }
}

/// The mean of values, and 1 / √(variance + epsilon).
fn moments(values: &[f64], epsilon: f32) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, 1.0 / (variance + f64::from(epsilon)).sqrt())
}

pub(super) fn attention([q, k, v]: [&Tensor; 3], shape: &[usize], scale: f32, causal: bool) -> Tensor {
    each(shape, |o| {
        let keys = if causal { k.shape[2].min(o[2] + 1) } else { k.shape[2] };
        let score = |j: usize| f64::from(scale) * (0..q.shape[3]).map(|d| q.at(&[o[0], o[1], o[2], d]) * k.at(&[o[0], o[1], j, d])).sum::<f64>();
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        scores.iter().enumerate().map(|(j, score)| (score - largest).exp() / total * v.at(&[o[0], o[1], j, o[3]])).sum()
    })
}

/// The elements of x along an axis; the entry of `index` for that axis is ignored.
fn line(x: &Tensor, index: &[usize], axis: usize) -> Vec<f64> {
    let mut index = index.to_vec();
    let at = |i: usize| {
        index[axis] = i;
        x.at(&index)
    };
    (0..x.shape[axis]).map(at).collect()
}

pub(super) fn softmax(x: &Tensor, axis: usize) -> Tensor {
    each(&x.shape, |o| {
        let line = line(x, o, axis);
        let largest = line.iter().copied().fold(f64::MIN, f64::max);
        (line[o[axis]] - largest).exp() / line.iter().map(|value| (value - largest).exp()).sum::<f64>()
    })
}

pub(super) fn reduce(x: &Tensor, shape: &[usize], kind: ReduceKind, axis: usize) -> Tensor {
    each(shape, |o| {
        let line = line(x, o, axis);
        match kind {
            ReduceKind::Sum => line.iter().sum(),
            ReduceKind::Mean => line.iter().sum::<f64>() / line.len() as f64,
            ReduceKind::Max => line.iter().copied().fold(f64::MIN, f64::max),
        }
    })
}

pub(super) fn embedding(table: &Tensor, ids: &Tensor, shape: &[usize]) -> Tensor {
    each(shape, |o| {
        let id = ids.at(&o[..o.len() - 1]).clamp(0.0, table.shape[0] as f64 - 1.0);
        table.at(&[id as usize, o[o.len() - 1]])
    })
}

pub(super) fn geglu(x: &Tensor, shape: &[usize]) -> Tensor {
    each(shape, |o| {
        let mut index = o.to_vec();
        let a = x.at(&index);
        index[o.len() - 1] += shape[o.len() - 1];
        a * activate(Activation::Gelu, x.at(&index))
    })
}

pub(super) fn concat(parts: &[Tensor], shape: &[usize], axis: usize) -> Tensor {
    each(shape, |o| {
        let mut index = o.to_vec();
        for part in parts {
            if index[axis] < part.shape[axis] {
                return part.at(&index);
            }
            index[axis] -= part.shape[axis];
        }
        f64::NAN
    })
}

pub(super) fn pad(x: &Tensor, shape: &[usize], padding: &[[usize; 2]], value: f32) -> Tensor {
    each(shape, |o| {
        let inside: Option<Vec<usize>> =
            o.iter().zip(padding).zip(&x.shape).map(|((i, padding), &length)| i.checked_sub(padding[0]).filter(|&i| i < length)).collect();
        inside.map_or(f64::from(value), |index| x.at(&index))
    })
}

pub(super) fn unary(kind: UnaryKind, x: f64) -> f64 {
    match kind {
        UnaryKind::Neg => -x,
        UnaryKind::Abs => x.abs(),
        UnaryKind::Exp => x.exp(),
        UnaryKind::Log => x.ln(),
        UnaryKind::Sqrt => x.sqrt(),
        UnaryKind::Recip => 1.0 / x,
        UnaryKind::Sin => x.sin(),
        UnaryKind::Cos => x.cos(),
        UnaryKind::Tanh => x.tanh(),
        UnaryKind::Erf => libm::erf(x),
        UnaryKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryKind::Relu => activate(Activation::Relu, x),
        UnaryKind::Silu => activate(Activation::Silu, x),
        UnaryKind::Gelu => activate(Activation::Gelu, x),
        UnaryKind::QuickGelu => activate(Activation::QuickGelu, x),
    }
}

pub(super) fn binary(kind: BinaryKind, a: f64, b: f64) -> f64 {
    match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Pow => a.powf(b),
        BinaryKind::Min => a.min(b),
        BinaryKind::Max => a.max(b),
    }
}

fn activate(act: Activation, x: f64) -> f64 {
    match act {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
    }
}
