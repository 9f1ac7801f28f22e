//! A plain interpreter of programs in f64: what every kernel is compared with. Written for reading; nothing is fused or tiled.

use onestep_program::{Activation, BinaryKind, Node, Op, Program, ReduceKind, UnaryKind};

/// A tensor in row-major f64; ids too.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f64>,
}

impl Tensor {
    fn new(shape: &[usize], data: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), data }
    }
    fn at(&self, index: &[usize]) -> f64 {
        self.data[flat(&self.shape, index)]
    }
    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(&self.shape, self.data.iter().map(|&x| f(x)).collect())
    }
}

/// The place of an index in row-major order.
fn flat(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |sum, (length, i)| sum * length + i)
}

/// Fills a tensor by calling `f` with every index.
fn each(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Tensor {
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
    Tensor::new(shape, data)
}

/// The index of a broadcast tensor.
fn broadcast(shape: &[usize], index: &[usize]) -> Vec<usize> {
    let new = index.len() - shape.len();
    shape.iter().zip(&index[new..]).map(|(&length, &i)| if length == 1 { 0 } else { i }).collect()
}

/// Runs a program: `given` holds inputs and weights by value; gives all values that were computed.
pub fn run(program: &Program, given: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
    let mut values = given;
    for node in &program.nodes {
        let inputs: Vec<Tensor> =
            node.inputs.iter().map(|id| values[id.index()].clone().expect("checked programs compute before they read")).collect();
        let output = evaluate(node, &inputs, &program.value(node.output).shape);
        values[node.output.index()] = Some(output);
    }
    values
}

fn evaluate(node: &Node, inputs: &[Tensor], shape: &[usize]) -> Tensor {
    let x = &inputs[0];
    match &node.op {
        Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } => {
            let w = &inputs[1];
            let (per_group, out_per_group) = (w.shape[1], w.shape[0] / groups);
            each(shape, |o| {
                let mut sum = 0.0;
                for ci in 0..per_group {
                    for ky in 0..w.shape[2] {
                        for kx in 0..w.shape[3] {
                            let row = (o[2] * stride[0] + ky * dilation[0]).checked_sub(padding[0]).filter(|&row| row < x.shape[2]);
                            let column = (o[3] * stride[1] + kx * dilation[1]).checked_sub(padding[1]).filter(|&column| column < x.shape[3]);
                            if let (Some(row), Some(column)) = (row, column) {
                                sum += x.at(&[o[0], o[1] / out_per_group * per_group + ci, row, column]) * w.at(&[o[1], ci, ky, kx]);
                            }
                        }
                    }
                }
                finish(sum, inputs, *bias, *residual, *act, o, o[1])
            })
        }
        Op::UpConv2d { bias, act, residual } => {
            let w = &inputs[1];
            each(shape, |o| {
                let phase = o[2] % 2 * 2 + o[3] % 2;
                let mut sum = 0.0;
                for ci in 0..w.shape[2] {
                    for ky in 0..2 {
                        for kx in 0..2 {
                            let row = (o[2] / 2 + o[2] % 2 + ky).checked_sub(1).filter(|&row| row < x.shape[2]);
                            let column = (o[3] / 2 + o[3] % 2 + kx).checked_sub(1).filter(|&column| column < x.shape[3]);
                            if let (Some(row), Some(column)) = (row, column) {
                                sum += x.at(&[o[0], ci, row, column]) * w.at(&[phase, o[1], ci, ky, kx]);
                            }
                        }
                    }
                }
                finish(sum, inputs, *bias, *residual, *act, o, o[1])
            })
        }
        Op::Linear { bias, act, residual } => {
            let w = &inputs[1];
            each(shape, |o| {
                let column = o[o.len() - 1];
                let row = flat(&shape[..shape.len() - 1], &o[..o.len() - 1]);
                let sum = (0..w.shape[1]).map(|k| x.data[row * w.shape[1] + k] * w.at(&[column, k])).sum();
                finish(sum, inputs, *bias, *residual, *act, o, column)
            })
        }
        Op::MatMul => {
            let b = &inputs[1];
            let lead = shape.len() - 2;
            each(shape, |o| {
                let mut at_a = broadcast(&x.shape[..x.shape.len() - 2], &o[..lead]);
                let mut at_b = broadcast(&b.shape[..b.shape.len() - 2], &o[..lead]);
                let (a_lead, b_lead) = (at_a.len(), at_b.len());
                at_a.extend([o[lead], 0]);
                at_b.extend([0, o[lead + 1]]);
                let mut sum = 0.0;
                for k in 0..x.shape[x.shape.len() - 1] {
                    at_a[a_lead + 1] = k;
                    at_b[b_lead] = k;
                    sum += x.at(&at_a) * b.at(&at_b);
                }
                sum
            })
        }
        Op::GroupNorm { groups, epsilon, act } => {
            let (channels, spatial) = (x.shape[1], x.shape[2..].iter().product::<usize>());
            let length = channels / groups * spatial;
            let mut data = Vec::with_capacity(x.data.len());
            for (row, values) in x.data.chunks(length.max(1)).enumerate() {
                let (mean, scale) = moments(values, *epsilon);
                for (i, value) in values.iter().enumerate() {
                    let channel = row % groups * (channels / groups) + i / spatial;
                    data.push(activate(*act, (value - mean) * scale * inputs[1].data[channel] + inputs[2].data[channel]));
                }
            }
            Tensor::new(shape, data)
        }
        Op::LayerNorm { epsilon, affine } => {
            let width = shape[shape.len() - 1];
            let mut data = Vec::with_capacity(x.data.len());
            for values in x.data.chunks(width.max(1)) {
                let (mean, scale) = moments(values, *epsilon);
                let factors = |i: usize| if *affine { (inputs[1].data[i], inputs[2].data[i]) } else { (1.0, 0.0) };
                data.extend(values.iter().enumerate().map(|(i, value)| (value - mean) * scale * factors(i).0 + factors(i).1));
            }
            Tensor::new(shape, data)
        }
        Op::Attention { scale, causal } => {
            let (k, v) = (&inputs[1], &inputs[2]);
            each(shape, |o| {
                let seen = if *causal { k.shape[2].min(o[2] + 1) } else { k.shape[2] };
                let score =
                    |j: usize| f64::from(*scale) * (0..x.shape[3]).map(|d| x.at(&[o[0], o[1], o[2], d]) * k.at(&[o[0], o[1], j, d])).sum::<f64>();
                let scores: Vec<f64> = (0..seen).map(score).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
                scores.iter().enumerate().map(|(j, score)| (score - largest).exp() / total * v.at(&[o[0], o[1], j, o[3]])).sum()
            })
        }
        Op::Softmax { axis } => each(shape, |o| {
            let mut index = o.to_vec();
            let line: Vec<f64> = (0..shape[*axis])
                .map(|i| {
                    index[*axis] = i;
                    x.at(&index)
                })
                .collect();
            let largest = line.iter().copied().fold(f64::MIN, f64::max);
            (line[o[*axis]] - largest).exp() / line.iter().map(|value| (value - largest).exp()).sum::<f64>()
        }),
        Op::Embedding => each(shape, |o| {
            let id = inputs[1].at(&o[..o.len() - 1]).clamp(0.0, x.shape[0] as f64 - 1.0);
            x.at(&[id as usize, o[o.len() - 1]])
        }),
        Op::UpsampleNearest { scale } => each(shape, |o| x.at(&[o[0], o[1], o[2] / scale[0], o[3] / scale[1]])),
        Op::Geglu => each(shape, |o| {
            let mut index = o.to_vec();
            let a = x.at(&index);
            index[o.len() - 1] += shape[o.len() - 1];
            a * activate(Activation::Gelu, x.at(&index))
        }),
        Op::Reduce { reduce, axis } => each(shape, |o| {
            let mut index = o.to_vec();
            let line = (0..x.shape[*axis]).map(|i| {
                index[*axis] = i;
                x.at(&index)
            });
            match reduce {
                ReduceKind::Sum => line.sum(),
                ReduceKind::Mean => line.sum::<f64>() / x.shape[*axis] as f64,
                ReduceKind::Max => line.fold(f64::MIN, f64::max),
            }
        }),
        Op::Unary { unary } => x.map(|x| match unary {
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
        }),
        Op::Binary { binary } => each(shape, |o| {
            let (a, b) = (x.at(&broadcast(&x.shape, o)), inputs[1].at(&broadcast(&inputs[1].shape, o)));
            match binary {
                BinaryKind::Add => a + b,
                BinaryKind::Sub => a - b,
                BinaryKind::Mul => a * b,
                BinaryKind::Div => a / b,
                BinaryKind::Pow => a.powf(b),
                BinaryKind::Min => a.min(b),
                BinaryKind::Max => a.max(b),
            }
        }),
        Op::Affine { mul, add } => x.map(|x| x * f64::from(*mul) + f64::from(*add)),
        Op::Clamp { min, max } => x.map(|x| x.max(f64::from(*min)).min(f64::from(*max))),
        Op::Concat { axis } => each(shape, |o| {
            let mut index = o.to_vec();
            for part in inputs {
                if index[*axis] < part.shape[*axis] {
                    return part.at(&index);
                }
                index[*axis] -= part.shape[*axis];
            }
            f64::NAN
        }),
        Op::Slice { start } => each(shape, |o| x.at(&o.iter().zip(start).map(|(i, start)| i + start).collect::<Vec<_>>())),
        Op::Pad { padding, value } => each(shape, |o| {
            let inside: Option<Vec<usize>> =
                o.iter().zip(padding).zip(&x.shape).map(|((i, padding), &length)| i.checked_sub(padding[0]).filter(|&i| i < length)).collect();
            inside.map_or(f64::from(*value), |index| x.at(&index))
        }),
        Op::Reshape => Tensor::new(shape, x.data.clone()),
        Op::Permute { axes } => each(shape, |o| {
            let mut index = vec![0; o.len()];
            axes.iter().zip(o).for_each(|(&axis, &i)| index[axis] = i);
            x.at(&index)
        }),
        Op::Expand => each(shape, |o| x.at(&broadcast(&x.shape, o))),
    }
}

/// Bias, activation, residual.
fn finish(sum: f64, inputs: &[Tensor], bias: bool, residual: bool, act: Activation, index: &[usize], channel: usize) -> f64 {
    let sum = if bias { sum + inputs[2].data[channel] } else { sum };
    let sum = activate(act, sum);
    if residual { sum + inputs[inputs.len() - 1].at(index) } else { sum }
}

fn moments(values: &[f64], epsilon: f32) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, 1.0 / (variance + f64::from(epsilon)).sqrt())
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
