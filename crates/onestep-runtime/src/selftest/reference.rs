//! An interpreter of programs in f64, with which every kernel is compared. It is written to be read: nothing is fused or tiled.

use onestep_program::{Node, Op, Program, nearest_source};

use super::reference_operations as operations;
pub use super::reference_operations::Tensor;

/// Runs a program. `given` holds inputs and weights by value; the result holds all values.
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
            let epilogue = operations::Epilogue { inputs, bias: *bias, act: *act, residual: *residual };
            operations::conv2d(x, &inputs[1], shape, [stride, dilation, &[padding[0], padding[1]]], *groups, &epilogue)
        }
        Op::UpConv2d { bias, act, residual } => {
            operations::up_conv2d(x, &inputs[1], shape, &operations::Epilogue { inputs, bias: *bias, act: *act, residual: *residual })
        }
        Op::Linear { bias, act, residual } => {
            operations::linear(x, &inputs[1], shape, &operations::Epilogue { inputs, bias: *bias, act: *act, residual: *residual })
        }
        Op::MatMul => operations::mat_mul(x, &inputs[1], shape),
        Op::GroupNorm { groups, epsilon, act } => operations::group_norm(x, [&inputs[1], &inputs[2]], *groups, *epsilon, *act),
        Op::LayerNorm { epsilon, affine } => operations::layer_norm(x, affine.then(|| [&inputs[1], &inputs[2]]), *epsilon),
        Op::Attention { scale, causal } => operations::attention([x, &inputs[1], &inputs[2]], shape, *scale, *causal),
        Op::Softmax { axis } => operations::softmax(x, *axis),
        Op::Embedding => operations::embedding(x, &inputs[1], shape),
        Op::UpsampleNearest => operations::each(shape, |o| {
            let source = |axis: usize| nearest_source(o[axis], x.shape[axis], shape[axis]);
            x.at(&[o[0], o[1], source(2), source(3)])
        }),
        Op::Geglu => operations::geglu(x, shape),
        Op::Reduce { reduce, axis } => operations::reduce(x, shape, *reduce, *axis),
        Op::Unary { unary } => operations::map(x, |value| operations::unary(*unary, value)),
        Op::Binary { binary } => operations::each(shape, |o| {
            operations::binary(*binary, x.at(&operations::broadcast(&x.shape, o)), inputs[1].at(&operations::broadcast(&inputs[1].shape, o)))
        }),
        Op::Affine { mul, add } => operations::map(x, |x| x * f64::from(*mul) + f64::from(*add)),
        Op::Clamp { min, max } => operations::map(x, |x| x.max(f64::from(*min)).min(f64::from(*max))),
        Op::Concat { axis } => operations::concat(inputs, shape, *axis),
        Op::Slice { start } => operations::each(shape, |o| x.at(&o.iter().zip(start).map(|(i, start)| i + start).collect::<Vec<_>>())),
        Op::Pad { padding, value } => operations::pad(x, shape, padding, *value),
        Op::Reshape => Tensor { shape: shape.to_vec(), data: x.data.clone() },
        Op::Permute { axes } => operations::each(shape, |o| {
            let mut index = vec![0; o.len()];
            axes.iter().zip(o).for_each(|(&axis, &i)| index[axis] = i);
            x.at(&index)
        }),
        Op::Expand => operations::each(shape, |o| x.at(&operations::broadcast(&x.shape, o))),
    }
}
