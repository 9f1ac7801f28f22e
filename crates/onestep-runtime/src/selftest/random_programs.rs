//! Random programs: chains of operations that keep values near 1 and that share memory in many ways.

use onestep_program::{Activation, BinaryKind, DType, Op, ReduceKind, UnaryKind, ValueId};

use super::{
    case::{BandLimits, Case, Tolerance},
    sketch::Sketch,
};

/// A dozen operations. A norm may amplify the rounding of earlier operations by 1/√epsilon = 30.
const CHAIN: Tolerance = Tolerance::OfLargest(2e-4);

/// The random program of a number.
pub(super) fn case(number: u64) -> Case {
    let mut sketch = Sketch::new(&format!("random program {number}"));
    let mut pool: Vec<ValueId> = (0..2 + sketch.random.below(2)).map(|_| first(&mut sketch)).collect();
    let count = 6 + sketch.random.below(10);
    while sketch.program.nodes.len() < count {
        let x = pool[sketch.random.below(pool.len())];
        if let Some(y) = step(&mut sketch, &pool, x) {
            pool.push(y);
        }
    }
    let last = pool[pool.len() - 1];
    sketch.output(last);
    let other = pool[sketch.random.below(pool.len())];
    sketch.output(other);
    Case {
        name: sketch.program.name.clone(),
        sketch,
        tolerance: CHAIN,
        stored_scores: if number.is_multiple_of(3) { 0 } else { u64::MAX },
        max_workgroups: None,
        // Enough for a few rows of a product.
        bands: Some(BandLimits { binding: None, flops: Some(20_000), certain: false }),
        f16_activations: true,
    }
}

fn first(sketch: &mut Sketch) -> ValueId {
    let shape = [1 + sketch.random.below(2), 2 * (1 + sketch.random.below(4)), 1 + sketch.random.below(9), 1 + sketch.random.below(11)];
    sketch.input(&shape)
}

/// What the groups of random operations choose from.
struct Choice<'s> {
    sketch: &'s mut Sketch,
    pool: &'s [ValueId],
    x: ValueId,
    kind: usize,
    dtype: DType,
    act: Activation,
    axis: usize,
}

/// Adds a random operation on `x`; none if it does not fit the shape.
fn step(sketch: &mut Sketch, pool: &[ValueId], x: ValueId) -> Option<ValueId> {
    let rank = sketch.shape(x).len();
    let dtype = sketch.random.choose(&[DType::F32, DType::F16]);
    let act = sketch.random.choose(&[Activation::None, Activation::Relu, Activation::Silu, Activation::Gelu, Activation::QuickGelu]);
    let axis = sketch.random.below(rank);
    let kind = sketch.random.below(17);
    let choice = Choice { sketch, pool, x, kind, dtype, act, axis };
    match kind {
        0..=2 => product(choice),
        3..=7 => reduction(choice),
        8..=10 => pointwise(choice),
        _ => movement(choice),
    }
}

/// A convolution or a linear layer, scaled so that sums of many products stay near the size of their terms.
fn product(choice: Choice<'_>) -> Option<ValueId> {
    let Choice { sketch, x, kind, dtype, act, .. } = choice;
    let shape = sketch.shape(x);
    let rank = shape.len();
    let mut out = shape.clone();
    Some(match kind {
        0 | 1 if rank == 4 => {
            let (columns, side, stride) = (2 * (1 + sketch.random.below(6)), sketch.random.choose(&[1, 3]), sketch.random.choose(&[1, 1, 2]));
            let w = sketch.weight(&[columns, shape[1], side, side], dtype);
            let reach = side / 2;
            let along = |length: usize| (length + 2 * reach - side) / stride + 1;
            out = vec![shape[0], columns, along(shape[2]), along(shape[3])];
            let y = sketch.op(
                Op::Conv2d { stride: [stride; 2], padding: [reach; 4], dilation: [1, 1], groups: 1, bias: false, act, residual: false },
                &[x, w],
                &out,
            );
            sketch.op(Op::Affine { mul: 1.0 / ((shape[1] * side * side) as f32).sqrt(), add: 0.0 }, &[y], &out)
        }
        2 => {
            let (depth, columns) = (shape[rank - 1], 1 + sketch.random.below(18));
            let (w, bias) = (sketch.weight(&[columns, depth], dtype), sketch.weight(&[columns], dtype));
            out[rank - 1] = columns;
            let y = sketch.op(Op::Linear { bias: true, act, residual: false }, &[x, w, bias], &out);
            sketch.op(Op::Affine { mul: 1.0 / (depth as f32).sqrt(), add: 0.1 }, &[y], &out)
        }
        _ => return None,
    })
}

/// A norm, attention, softmax or reduction.
fn reduction(choice: Choice<'_>) -> Option<ValueId> {
    let Choice { sketch, x, kind, pool, dtype, act, axis, .. } = choice;
    let shape = sketch.shape(x);
    let rank = shape.len();
    let mut out = shape.clone();
    Some(match kind {
        3 if rank == 4 => {
            let (gamma, beta) = (sketch.weight(&[shape[1]], dtype), sketch.weight(&[shape[1]], dtype));
            let groups = if shape[1].is_multiple_of(2) { 2 } else { 1 };
            sketch.op(Op::GroupNorm { groups, epsilon: 1e-3, act }, &[x, gamma, beta], &out)
        }
        4 => {
            let width = shape[rank - 1];
            let (gamma, beta) = (sketch.weight(&[width], dtype), sketch.weight(&[width], dtype));
            sketch.op(Op::LayerNorm { epsilon: 1e-3, affine: true }, &[x, gamma, beta], &out)
        }
        5 if rank == 4 => {
            let keys = pool
                .iter()
                .copied()
                .filter(|&k| matches!(sketch.shape(k).as_slice(), [n, h, _, d] if [*n, *h, *d] == [shape[0], shape[1], shape[3]]))
                .collect::<Vec<_>>();
            let k = keys[sketch.random.below(keys.len())];
            let causal = sketch.random.below(2) == 0;
            sketch.op(Op::Attention { scale: 0.5, causal }, &[x, k, k], &out)
        }
        6 => sketch.op(Op::Softmax { axis }, &[x], &out),
        7 => {
            out[axis] = 1;
            let reduce = sketch.random.choose(&[ReduceKind::Mean, ReduceKind::Max]);
            sketch.op(Op::Reduce { reduce, axis }, &[x], &out)
        }
        _ => return None,
    })
}

/// A function of one or two tensors.
fn pointwise(choice: Choice<'_>) -> Option<ValueId> {
    let Choice { sketch, x, kind, pool, .. } = choice;
    let shape = sketch.shape(x);
    let out = shape.clone();
    Some(match kind {
        8 => {
            let unary = sketch.random.choose(&[
                UnaryKind::Neg,
                UnaryKind::Abs,
                UnaryKind::Sin,
                UnaryKind::Cos,
                UnaryKind::Tanh,
                UnaryKind::Erf,
                UnaryKind::Sigmoid,
                UnaryKind::Silu,
                UnaryKind::Gelu,
            ]);
            sketch.op(Op::Unary { unary }, &[x], &out)
        }
        9 | 10 => {
            let partners: Vec<(ValueId, Vec<usize>)> = pool
                .iter()
                .filter_map(|&b| onestep_program::shape::broadcast(&shape, &sketch.shape(b)).map(|out| (b, out)))
                .filter(|(_, out)| out.iter().product::<usize>() < 20_000)
                .collect();
            let (b, out) = partners.get(sketch.random.below(partners.len()))?.clone();
            let binary = sketch.random.choose(&[BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Min, BinaryKind::Max]);
            let y = sketch.op(Op::Binary { binary }, &[x, b], &out);
            // Products of products would leave the range for which the tolerance holds.
            sketch.op(Op::Clamp { min: -4.0, max: 4.0 }, &[y], &out)
        }
        _ => return None,
    })
}

/// An operation that moves elements.
fn movement(choice: Choice<'_>) -> Option<ValueId> {
    let Choice { sketch, x, kind, pool, axis, .. } = choice;
    let shape = sketch.shape(x);
    let elements: usize = shape.iter().product();
    let rank = shape.len();
    let mut out = shape.clone();
    Some(match kind {
        11 if elements < 10_000 => {
            let partners: Vec<ValueId> = pool
                .iter()
                .copied()
                .filter(|&b| sketch.shape(b).len() == rank && sketch.shape(b).iter().zip(&shape).enumerate().all(|(i, (p, q))| i == axis || p == q))
                .collect();
            let b = partners[sketch.random.below(partners.len())];
            out[axis] += sketch.shape(b)[axis];
            sketch.op(Op::Concat { axis }, &[x, b], &out)
        }
        12 => {
            let start: Vec<usize> = shape.iter().map(|&length| sketch.random.below(length.div_ceil(2))).collect();
            out = shape.iter().zip(&start).map(|(length, start)| length - start).collect();
            sketch.op(Op::Slice { start }, &[x], &out)
        }
        13 if elements < 5_000 => {
            let padding: Vec<[usize; 2]> = shape.iter().map(|_| [sketch.random.below(2), sketch.random.below(2)]).collect();
            out = shape.iter().zip(&padding).map(|(length, padding)| length + padding[0] + padding[1]).collect();
            sketch.op(Op::Pad { padding, value: 0.5 }, &[x], &out)
        }
        14 => {
            let mut axes: Vec<usize> = (0..rank).collect();
            for i in (1..rank).rev() {
                let j = sketch.random.below(i + 1);
                axes.swap(i, j);
            }
            out = axes.iter().map(|&axis| shape[axis]).collect();
            sketch.op(Op::Permute { axes }, &[x], &out)
        }
        15 if rank == 4 && elements < 3_000 => {
            let odd = usize::from(shape[2] > 0) * sketch.random.below(2);
            out = vec![shape[0], shape[1], shape[2] * 2 - odd, shape[3]];
            sketch.op(Op::UpsampleNearest, &[x], &out)
        }
        16 if rank > 1 => {
            out = vec![shape[..2].iter().product::<usize>(), shape[2..].iter().product()];
            let y = sketch.op(Op::Reshape, &[x], &out);
            out = [&[1, 2][..], &[out[0]], &[out[1]]].concat();
            if elements >= 5_000 {
                return Some(y);
            }
            let y = sketch.op(Op::Reshape, &[y], &[1, 1, out[2], out[3]]);
            sketch.op(Op::Expand, &[y], &out)
        }
        _ => return None,
    })
}
