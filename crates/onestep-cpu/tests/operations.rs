//! Every operation against loops in f64, on odd shapes.

use onestep_cpu::{CpuError, CpuProgram};
use onestep_program::{
    Activation, BinaryKind, DType, Node, Op, Port, Program, ReduceKind, TensorRef, UnaryKind, Value, ValueId, WeightView, program::VERSION,
};

/// Reproducible values between -1 and 1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.f32() * 2.0 - 1.0).collect()
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A program of one operation with the operands `0`, `1`, … as inputs.
fn single(op: Op, inputs: &[(&[usize], DType)], output: &[usize]) -> Program {
    let mut values: Vec<Value> = inputs.iter().map(|(shape, dtype)| Value { shape: shape.to_vec(), dtype: *dtype, weight: None }).collect();
    values.push(Value { shape: output.to_vec(), dtype: DType::F32, weight: None });
    let last = ValueId(inputs.len() as u32);
    Program {
        version: VERSION,
        name: "single".into(),
        values,
        inputs: (0..inputs.len()).map(|index| Port { name: index.to_string(), value: ValueId(index as u32) }).collect(),
        outputs: vec![Port { name: "out".into(), value: last }],
        nodes: vec![Node { op, inputs: (0..inputs.len() as u32).map(ValueId).collect(), output: last }],
    }
}

/// Runs one operation with a weight as its second operand.
fn run_with_weight(op: Op, inputs: &[(&[usize], &[f32])], output: &[usize]) -> Vec<f32> {
    let shapes: Vec<(&[usize], DType)> = inputs.iter().map(|(shape, _)| (*shape, DType::F32)).collect();
    let mut program = single(op, &shapes, output);
    program.values[1].weight = Some("w".into());
    program.inputs.remove(1);
    let bytes: Vec<u8> = inputs[1].1.iter().flat_map(|value| value.to_le_bytes()).collect();
    let weight = WeightView { shape: inputs[1].0, dtype: DType::F32, bytes: bytes.into() };
    let program = CpuProgram::new(program, &|name| (name == "w").then(|| weight.clone())).unwrap();
    let given: Vec<(String, TensorRef<'_>)> =
        (0..inputs.len()).filter(|&index| index != 1).map(|index| (index.to_string(), TensorRef::F32(inputs[index].1))).collect();
    let given: Vec<(&str, TensorRef<'_>)> = given.iter().map(|(name, data)| (name.as_str(), *data)).collect();
    program.run(&given).unwrap().remove(0).1
}

/// Runs one operation on floats.
fn run(op: Op, inputs: &[(&[usize], &[f32])], output: &[usize]) -> Vec<f32> {
    let shapes: Vec<(&[usize], DType)> = inputs.iter().map(|(shape, _)| (*shape, DType::F32)).collect();
    let program = CpuProgram::new(single(op, &shapes, output), &|_| None).unwrap();
    let names: Vec<String> = (0..inputs.len()).map(|index| index.to_string()).collect();
    let given: Vec<(&str, TensorRef<'_>)> = names.iter().zip(inputs).map(|(name, (_, data))| (name.as_str(), TensorRef::F32(data))).collect();
    program.run(&given).unwrap().remove(0).1
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference: f64 = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    assert!(difference.sqrt() <= 1e-6 * size.sqrt() + 1e-12, "{what}: relative error {}", (difference / size).sqrt());
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The row-major index of `index` in `shape`, axes of length 1 broadcast.
fn at(shape: &[usize], index: &[usize]) -> usize {
    let index = &index[index.len() - shape.len()..];
    shape.iter().zip(index).fold(0, |sum, (&length, &i)| sum * length + if length == 1 { 0 } else { i })
}

/// Every index of a shape, in order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    (0..count(shape))
        .map(|mut flat| {
            let mut index = vec![0; shape.len()];
            for axis in (0..shape.len()).rev() {
                index[axis] = flat % shape[axis];
                flat /= shape[axis];
            }
            index
        })
        .collect()
}

#[test]
fn conv2d_with_uneven_padding_groups_dilation_and_residual() {
    for (case, (x, w, stride, padding, dilation, groups)) in [
        ([2, 6, 7, 5], [4, 3, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 2),
        ([1, 3, 8, 9], [5, 3, 3, 3], [2, 2], [0, 0, 1, 1], [1, 1], 1),
        ([1, 4, 9, 7], [4, 1, 3, 2], [1, 2], [2, 0, 1, 3], [2, 1], 4),
        ([3, 5, 4, 3], [7, 5, 1, 1], [1, 1], [0, 0, 0, 0], [1, 1], 1),
        ([1, 70, 6, 6], [65, 70, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        // A kernel that is larger than the image, edges that some of its places never leave, images without patches, and one for
        // several threads.
        ([1, 3, 5, 4], [2, 3, 4, 5], [1, 1], [6, 5, 4, 7], [2, 3], 1),
        ([1, 2, 3, 2], [3, 2, 1, 1], [1, 1], [2, 4, 0, 3], [1, 1], 1),
        ([1, 5, 4, 3], [7, 5, 1, 1], [1, 1], [0, 0, 0, 0], [1, 1], 1),
        ([1, 5, 5, 6], [7, 5, 1, 1], [2, 3], [0, 0, 0, 0], [1, 1], 1),
        ([1, 4, 190, 160], [12, 4, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        // Where 3x3 kernels take fewer products: odd sizes and paddings, one row, one column, several threads.
        ([2, 9, 7, 13], [11, 9, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        ([1, 9, 8, 12], [10, 9, 3, 3], [1, 1], [0, 2, 1, 0], [1, 1], 1),
        ([1, 8, 12, 9], [9, 8, 3, 3], [1, 1], [3, 0, 2, 5], [1, 1], 1),
        ([1, 8, 4, 34], [8, 8, 3, 3], [1, 1], [0, 0, 0, 0], [1, 1], 1),
        ([1, 9, 65, 3], [10, 9, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        ([1, 16, 33, 40], [3, 16, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        ([1, 16, 65, 50], [17, 16, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (x, w): (&[usize], &[usize]) = (&x, &w);
        let height = (x[2] + padding[0] + padding[2] - (w[2] - 1) * dilation[0] - 1) / stride[0] + 1;
        let width = (x[3] + padding[1] + padding[3] - (w[3] - 1) * dilation[1] - 1) / stride[1] + 1;
        let out = [x[0], w[0], height, width];
        let (data, kernel, bias, residual) = (noise(count(x), 1), noise(count(w), 2), noise(w[0], 3), noise(count(&out), 4));
        let expected: Vec<f64> = indices(&out)
            .iter()
            .enumerate()
            .map(|(flat, o)| {
                let mut sum = f64::from(bias[o[1]]);
                let group = o[1] / (w[0] / groups);
                for c in 0..w[1] {
                    for i in 0..w[2] {
                        for j in 0..w[3] {
                            let (row, column) = (
                                (o[2] * stride[0] + i * dilation[0]).wrapping_sub(padding[0]),
                                (o[3] * stride[1] + j * dilation[1]).wrapping_sub(padding[1]),
                            );
                            if row < x[2] && column < x[3] {
                                sum += f64::from(data[at(x, &[o[0], group * w[1] + c, row, column])]) * f64::from(kernel[at(w, &[o[1], c, i, j])]);
                            }
                        }
                    }
                }
                silu(sum) + f64::from(residual[flat])
            })
            .collect();
        let op = Op::Conv2d { stride, padding, dilation, groups, bias: true, act: Activation::Silu, residual: true };
        let inputs: [(&[usize], &[f32]); 4] = [(x, &data), (w, &kernel), (&[w[0]], &bias), (&out, &residual)];
        assert_close(&run(op.clone(), &inputs, &out), &expected, &format!("convolution {case}"));
        assert_close(&run_with_weight(op, &inputs, &out), &expected, &format!("convolution {case} with a weight"));
    }
}

#[test]
fn up_conv2d_of_odd_images() {
    // The last case has deep sums and several threads.
    for (n, cin, cout, h, w, bias, residual) in
        [(2, 3, 5, 4, 7, true, true), (1, 1, 1, 1, 1, false, false), (1, 6, 2, 3, 1, true, false), (1, 70, 7, 33, 37, true, true)]
    {
        let (x, weight, out) = ([n, cin, h, w], [4, cout, cin, 2, 2], [n, cout, 2 * h, 2 * w]);
        let (data, kernel, offset, added) = (noise(count(&x), 1), noise(count(&weight), 2), noise(cout, 3), noise(count(&out), 4));
        let expected: Vec<f64> = indices(&out)
            .iter()
            .enumerate()
            .map(|(flat, o)| {
                let mut sum = if bias { f64::from(offset[o[1]]) } else { 0.0 };
                for c in 0..cin {
                    for r in 0..2 {
                        for s in 0..2 {
                            let (row, column) = ((o[2] / 2 + o[2] % 2 + r).wrapping_sub(1), (o[3] / 2 + o[3] % 2 + s).wrapping_sub(1));
                            if row < h && column < w {
                                let phase = o[2] % 2 * 2 + o[3] % 2;
                                sum += f64::from(data[at(&x, &[o[0], c, row, column])]) * f64::from(kernel[at(&weight, &[phase, o[1], c, r, s])]);
                            }
                        }
                    }
                }
                silu(sum) + if residual { f64::from(added[flat]) } else { 0.0 }
            })
            .collect();
        let mut inputs: Vec<(&[usize], &[f32])> = vec![(&x, &data), (&weight, &kernel)];
        let vector = [cout];
        if bias {
            inputs.push((&vector, &offset));
        }
        if residual {
            inputs.push((&out, &added));
        }
        let op = Op::UpConv2d { bias, act: Activation::Silu, residual };
        assert_close(&run(op, &inputs, &out), &expected, &format!("{x:?} to {cout} channels"));
    }
}

#[test]
fn linear_of_any_rank_with_activation_and_residual() {
    for (shape, d) in [(vec![5], 7), (vec![3, 5], 7), (vec![2, 3, 5], 7), (vec![1, 1, 1, 5], 7), (vec![2, 90, 5], 7), (vec![31, 600], 133)] {
        let k = shape[shape.len() - 1];
        let mut out = shape.clone();
        *out.last_mut().unwrap() = d;
        let (x, w, b, r) = (noise(count(&shape), 1), noise(d * k, 2), noise(d, 3), noise(count(&out), 4));
        let expected: Vec<f64> = (0..count(&out))
            .map(|i| {
                let (row, column) = (i / d, i % d);
                let sum: f64 = f64::from(b[column]) + (0..k).map(|j| f64::from(x[row * k + j]) * f64::from(w[column * k + j])).sum::<f64>();
                sum.max(0.0) + f64::from(r[i])
            })
            .collect();
        let op = Op::Linear { bias: true, act: Activation::Relu, residual: true };
        let inputs: [(&[usize], &[f32]); 4] = [(&shape, &x), (&[d, k], &w), (&[d], &b), (&out, &r)];
        assert_close(&run(op.clone(), &inputs, &out), &expected, "linear");
        assert_close(&run_with_weight(op, &inputs, &out), &expected, "linear with a weight");
    }
}

#[test]
fn mat_mul_broadcasts_leading_axes() {
    for (a, b, out) in
        [(vec![4, 3], vec![3, 5], vec![4, 5]), (vec![2, 1, 4, 3], vec![6, 3, 5], vec![2, 6, 4, 5]), (vec![4, 3], vec![2, 3, 5], vec![2, 4, 5])]
    {
        let (x, y) = (noise(count(&a), 1), noise(count(&b), 2));
        let expected: Vec<f64> = indices(&out)
            .iter()
            .map(|o| {
                let n = o.len();
                (0..3)
                    .map(|k| {
                        let (mut left, mut right) = (o.clone(), o.clone());
                        left[n - 1] = k;
                        right[n - 2] = k;
                        f64::from(x[at(&a, &left)]) * f64::from(y[at(&b, &right)])
                    })
                    .sum()
            })
            .collect();
        assert_close(&run(Op::MatMul, &[(&a, &x), (&b, &y)], &out), &expected, "mat_mul");
    }
}

#[test]
fn group_norm_of_values_far_from_zero() {
    for shape in [vec![2, 6, 3, 5], vec![3, 6], vec![1, 6, 7]] {
        let x: Vec<f32> = noise(count(&shape), 1).iter().map(|v| v + 10.0).collect();
        let (gamma, beta) = (noise(6, 2), noise(6, 3));
        let pixels = count(&shape[2..]);
        let group = 2 * pixels;
        let mut expected = Vec::new();
        for (index, values) in x.chunks(group).enumerate() {
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / group as f64;
            let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / group as f64;
            for (i, &v) in values.iter().enumerate() {
                let channel = index % 3 * 2 + i / pixels;
                expected.push(silu((f64::from(v) - mean) / (variance + 1e-5).sqrt() * f64::from(gamma[channel]) + f64::from(beta[channel])));
            }
        }
        let op = Op::GroupNorm { groups: 3, epsilon: 1e-5, act: Activation::Silu };
        assert_close(&run(op, &[(&shape, &x), (&[6], &gamma), (&[6], &beta)], &shape), &expected, "group_norm");
    }
}

#[test]
fn layer_norm_over_the_last_axis() {
    let shape = [3, 2, 37];
    let (x, gamma, beta) = (noise(count(&shape), 1), noise(37, 2), noise(37, 3));
    let expected: Vec<f64> = x
        .chunks(37)
        .flat_map(|row| {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / 37.0;
            let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / 37.0;
            let (gamma, beta) = (&gamma, &beta);
            row.iter()
                .enumerate()
                .map(move |(i, &v)| (f64::from(v) - mean) / (variance + 1e-6).sqrt() * f64::from(gamma[i]) + f64::from(beta[i]))
                .collect::<Vec<_>>()
        })
        .collect();
    let op = Op::LayerNorm { epsilon: 1e-6, affine: true };
    assert_close(&run(op, &[(&shape, &x), (&[37], &gamma), (&[37], &beta)], &shape), &expected, "layer_norm");
    let plain: Vec<f64> = expected.iter().enumerate().map(|(i, v)| (v - f64::from(beta[i % 37])) / f64::from(gamma[i % 37])).collect();
    assert_close(&run(Op::LayerNorm { epsilon: 1e-6, affine: false }, &[(&shape, &x)], &shape), &plain, "layer_norm without factors");
}

#[test]
fn attention_plain_and_causal_with_any_lengths() {
    // The last case has several blocks of queries, deep sums and several threads.
    for (n, heads, lq, lk, d, dv, causal) in
        [(2, 3, 5, 7, 4, 6, false), (1, 2, 6, 6, 5, 5, true), (1, 2, 3, 7, 4, 3, true), (1, 1, 7, 3, 4, 4, true), (1, 2, 600, 600, 3, 3, true)]
    {
        let (qs, ks, vs, out) = ([n, heads, lq, d], [n, heads, lk, d], [n, heads, lk, dv], [n, heads, lq, dv]);
        let (q, k, v) = (noise(count(&qs), 1), noise(count(&ks), 2), noise(count(&vs), 3));
        let mut expected = Vec::new();
        for head in 0..n * heads {
            for i in 0..lq {
                let visible = if causal { lk.min(i + 1) } else { lk };
                let scores: Vec<f64> = (0..visible)
                    .map(|j| 0.7 * (0..d).map(|c| f64::from(q[(head * lq + i) * d + c]) * f64::from(k[(head * lk + j) * d + c])).sum::<f64>())
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in 0..dv {
                    expected.push(weights.iter().enumerate().map(|(j, w)| w / total * f64::from(v[(head * lk + j) * dv + c])).sum());
                }
            }
        }
        let found = run(Op::Attention { scale: 0.7, causal }, &[(&qs, &q), (&ks, &k), (&vs, &v)], &out);
        assert_close(&found, &expected, &format!("attention {lq} {lk} causal {causal}"));
    }
}

#[test]
fn softmax_and_reductions_over_every_axis() {
    let shape = [3, 4, 5];
    let x = noise(60, 1);
    for axis in 0..3 {
        let mut reduced = shape;
        reduced[axis] = 1;
        let along = |index: &[usize]| -> Vec<f64> {
            (0..shape[axis])
                .map(|i| {
                    let mut index = index.to_vec();
                    index[axis] = i;
                    f64::from(x[at(&shape, &index)])
                })
                .collect()
        };
        let softmax: Vec<f64> =
            indices(&shape).iter().map(|o| f64::from(x[at(&shape, o)]).exp() / along(o).iter().map(|v| v.exp()).sum::<f64>()).collect();
        assert_close(&run(Op::Softmax { axis }, &[(&shape, &x)], &shape), &softmax, "softmax");
        let sums: Vec<f64> = indices(&reduced).iter().map(|o| along(o).iter().sum()).collect();
        let means: Vec<f64> = sums.iter().map(|v| v / shape[axis] as f64).collect();
        let tops: Vec<f64> = indices(&reduced).iter().map(|o| along(o).into_iter().fold(f64::MIN, f64::max)).collect();
        for (reduce, expected) in [(ReduceKind::Sum, sums), (ReduceKind::Mean, means), (ReduceKind::Max, tops)] {
            assert_close(&run(Op::Reduce { reduce, axis }, &[(&shape, &x)], &reduced), &expected, "reduce");
        }
    }
}

#[test]
fn embedding_clamps_ids() {
    let program = single(Op::Embedding, &[(&[4, 3], DType::F32), (&[2, 3], DType::I32)], &[2, 3, 3]);
    let table = noise(12, 1);
    let ids = [0, 3, 1, -5, 4, i32::MAX];
    let found = CpuProgram::new(program, &|_| None).unwrap().run(&[("1", TensorRef::I32(&ids)), ("0", TensorRef::F32(&table))]).unwrap();
    let expected: Vec<f32> = [0, 3, 1, 0, 3, 3].iter().flat_map(|&row| table[row * 3..row * 3 + 3].to_vec()).collect();
    assert_eq!(found, [("out".to_owned(), expected)]);
}

/// erf by its series; enough for |x| < 3.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn gelu(x: f64) -> f64 {
    x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

#[test]
fn pointwise_functions() {
    let x: Vec<f32> = noise(77, 5).iter().map(|v| v * 2.5).collect();
    let positive: Vec<f32> = x.iter().map(|v| v.abs() + 0.1).collect();
    type Case = (UnaryKind, fn(f64) -> f64);
    let cases: [Case; 15] = [
        (UnaryKind::Neg, |x| -x),
        (UnaryKind::Abs, f64::abs),
        (UnaryKind::Exp, f64::exp),
        (UnaryKind::Log, f64::ln),
        (UnaryKind::Sqrt, f64::sqrt),
        (UnaryKind::Recip, f64::recip),
        (UnaryKind::Sin, f64::sin),
        (UnaryKind::Cos, f64::cos),
        (UnaryKind::Tanh, f64::tanh),
        (UnaryKind::Erf, erf),
        (UnaryKind::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (UnaryKind::Relu, |x| x.max(0.0)),
        (UnaryKind::Silu, silu),
        (UnaryKind::Gelu, gelu),
        (UnaryKind::QuickGelu, |x| x / (1.0 + (-1.702 * x).exp())),
    ];
    for (unary, function) in cases {
        let data = if matches!(unary, UnaryKind::Log | UnaryKind::Sqrt | UnaryKind::Recip) { &positive } else { &x };
        let expected: Vec<f64> = data.iter().map(|&v| function(f64::from(v))).collect();
        assert_close(&run(Op::Unary { unary }, &[(&[7, 11], data)], &[7, 11]), &expected, &format!("{unary:?}"));
    }
    let affine: Vec<f64> = x.iter().map(|&v| f64::from(v) * 3.0 - 0.5).collect();
    assert_close(&run(Op::Affine { mul: 3.0, add: -0.5 }, &[(&[77], &x)], &[77]), &affine, "affine");
    let clamped: Vec<f64> = x.iter().map(|&v| f64::from(v).clamp(-0.5, 1.0)).collect();
    assert_close(&run(Op::Clamp { min: -0.5, max: 1.0 }, &[(&[77], &x)], &[77]), &clamped, "clamp");
    // Neither order nor infinity of the bounds may panic.
    assert_eq!(run(Op::Clamp { min: 1.0, max: -1.0 }, &[(&[1], &[0.0])], &[1]), [-1.0]);
    for extreme in [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = run(Op::Unary { unary: UnaryKind::Sigmoid }, &[(&[1], &[extreme])], &[1]);
        assert_eq!(found, [if extreme > 0.0 { 1.0 } else { 0.0 }]);
    }
}

#[test]
fn geglu_multiplies_the_first_half_by_gelu_of_the_second() {
    let x = noise(2 * 3 * 10, 3);
    let expected: Vec<f64> =
        x.chunks(10).flat_map(|row| (0..5).map(|i| f64::from(row[i]) * gelu(f64::from(row[5 + i]))).collect::<Vec<_>>()).collect();
    assert_close(&run(Op::Geglu, &[(&[2, 3, 10], &x)], &[2, 3, 5]), &expected, "geglu");
}

#[test]
fn binary_functions_broadcast() {
    type Case = (BinaryKind, fn(f64, f64) -> f64);
    let cases: [Case; 7] = [
        (BinaryKind::Add, |a, b| a + b),
        (BinaryKind::Sub, |a, b| a - b),
        (BinaryKind::Mul, |a, b| a * b),
        (BinaryKind::Div, |a, b| a / b),
        (BinaryKind::Pow, f64::powf),
        (BinaryKind::Min, f64::min),
        (BinaryKind::Max, f64::max),
    ];
    for (a, b, out) in [
        (vec![2, 3, 4], vec![2, 3, 4], vec![2, 3, 4]),
        (vec![2, 1, 4], vec![3, 1], vec![2, 3, 4]),
        (vec![], vec![5], vec![5]),
        (vec![], vec![], vec![]),
    ] {
        let x: Vec<f32> = noise(count(&a), 1).iter().map(|v| v.abs() + 0.2).collect();
        let y: Vec<f32> = noise(count(&b), 2).iter().map(|v| v.abs() + 0.2).collect();
        for (binary, function) in cases {
            let expected: Vec<f64> = indices(&out).iter().map(|o| function(f64::from(x[at(&a, o)]), f64::from(y[at(&b, o)]))).collect();
            assert_close(&run(Op::Binary { binary }, &[(&a, &x), (&b, &y)], &out), &expected, &format!("{binary:?} {a:?} {b:?}"));
        }
    }
}

#[test]
fn movement_of_elements() {
    let x = noise(2 * 3 * 4 * 5, 1);
    let shape = [2, 3, 4, 5];
    let pick = |source: &[f32], shape: &[usize], out: &[usize], from: &dyn Fn(&[usize]) -> Vec<usize>| -> Vec<f64> {
        indices(out).iter().map(|o| f64::from(source[at(shape, &from(o))])).collect()
    };
    let up = run(Op::UpsampleNearest, &[(&shape, &x)], &[2, 3, 8, 15]);
    assert_close(&up, &pick(&x, &shape, &[2, 3, 8, 15], &|o| vec![o[0], o[1], o[2] / 2, o[3] / 3]), "upsample");
    // PyTorch's `interpolate(x, size=(7, 11), mode="nearest")` reads these rows and columns.
    let (rows, columns) = ([0, 0, 1, 1, 2, 2, 3], [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    let up = run(Op::UpsampleNearest, &[(&shape, &x)], &[2, 3, 7, 11]);
    assert_close(&up, &pick(&x, &shape, &[2, 3, 7, 11], &|o| vec![o[0], o[1], rows[o[2]], columns[o[3]]]), "upsample to a size");
    // 23 · (14 / 46) is exactly 7, but less in f32, so that PyTorch reads pixel 6.
    let row = noise(14, 9);
    let up = run(Op::UpsampleNearest, &[(&[1, 1, 1, 14], &row)], &[1, 1, 1, 46]);
    assert_eq!(up[23], row[6]);
    let permuted = run(Op::Permute { axes: vec![2, 0, 3, 1] }, &[(&shape, &x)], &[4, 2, 5, 3]);
    assert_close(&permuted, &pick(&x, &shape, &[4, 2, 5, 3], &|o| vec![o[1], o[3], o[0], o[2]]), "permute");
    let sliced = run(Op::Slice { start: vec![1, 0, 2, 1] }, &[(&shape, &x)], &[1, 3, 2, 3]);
    assert_close(&sliced, &pick(&x, &shape, &[1, 3, 2, 3], &|o| vec![o[0] + 1, o[1], o[2] + 2, o[3] + 1]), "slice");
    assert_eq!(run(Op::Reshape, &[(&shape, &x)], &[6, 20]), x);
    let row = noise(3, 2);
    let expanded = run(Op::Expand, &[(&[1, 3, 1], &row)], &[2, 3, 4]);
    assert_close(&expanded, &pick(&row, &[1, 3, 1], &[2, 3, 4], &|o| o.to_vec()), "expand");
    let (a, b) = (noise(6, 3), noise(9, 4));
    let joined = run(Op::Concat { axis: 1 }, &[(&[3, 2], &a), (&[3, 3], &b)], &[3, 5]);
    let expected: Vec<f64> = indices(&[3, 5]).iter().map(|o| f64::from(if o[1] < 2 { a[o[0] * 2 + o[1]] } else { b[o[0] * 3 + o[1] - 2] })).collect();
    assert_close(&joined, &expected, "concat");
    let padded = run(Op::Pad { padding: vec![[0, 1], [2, 0]], value: 9.0 }, &[(&[3, 2], &a)], &[4, 4]);
    let expected: Vec<f64> = indices(&[4, 4]).iter().map(|o| if o[0] < 3 && o[1] >= 2 { f64::from(a[o[0] * 2 + o[1] - 2]) } else { 9.0 }).collect();
    assert_close(&padded, &expected, "pad");
    // Operations of a scalar.
    assert_eq!(run(Op::Reshape, &[(&[1, 1], &[4.0])], &[]), [4.0]);
    for op in [Op::Permute { axes: vec![] }, Op::Slice { start: vec![] }, Op::Pad { padding: vec![], value: 0.0 }, Op::Expand, Op::Reshape] {
        assert_eq!(run(op, &[(&[], &[4.0])], &[]), [4.0]);
    }
}

/// Views (permuted, sliced, expanded) must be read in their own order by what follows them.
#[test]
fn operations_read_views_in_order() {
    let follow = [
        Op::Unary { unary: UnaryKind::Neg },
        Op::Unary { unary: UnaryKind::Gelu },
        Op::Affine { mul: 2.0, add: 1.0 },
        Op::Softmax { axis: 1 },
        Op::Binary { binary: BinaryKind::Add },
        Op::Binary { binary: BinaryKind::Max },
        Op::MatMul,
    ];
    for op in follow {
        let two = matches!(op, Op::Binary { .. } | Op::MatMul);
        let shape = |list: &[usize]| Value { shape: list.to_vec(), dtype: DType::F32, weight: None };
        let mut program = single(op.clone(), &[(&[4, 4], DType::F32)], &[4, 4]);
        program.values = vec![shape(&[4, 4]), shape(&[4, 4]), shape(&[4, 4])];
        program.outputs[0].value = ValueId(2);
        let operands = if two { vec![ValueId(1), ValueId(0)] } else { vec![ValueId(1)] };
        program.nodes = vec![
            Node { op: Op::Permute { axes: vec![1, 0] }, inputs: vec![ValueId(0)], output: ValueId(1) },
            Node { op: op.clone(), inputs: operands, output: ValueId(2) },
        ];
        let x = noise(16, 8);
        let turned: Vec<f32> = (0..16).map(|i| x[i % 4 * 4 + i / 4]).collect();
        let found = CpuProgram::new(program, &|_| None).unwrap().run(&[("0", TensorRef::F32(&x))]).unwrap().remove(0).1;
        let direct: Vec<(&[usize], &[f32])> = if two { vec![(&[4, 4], &turned), (&[4, 4], &x)] } else { vec![(&[4, 4], &turned)] };
        let expected: Vec<f64> = run(op.clone(), &direct, &[4, 4]).into_iter().map(f64::from).collect();
        assert_close(&found, &expected, op.name());
    }
}

#[test]
fn a_run_leaves_weights_and_inputs_as_they_were() {
    let mut program = single(Op::Binary { binary: BinaryKind::Add }, &[(&[3], DType::F32), (&[3], DType::F16)], &[3]);
    program.values[1].weight = Some("w".into());
    program.inputs.pop();
    // Read the same value twice in one operation, and the weight again afterwards.
    program.values.push(Value { shape: vec![3], dtype: DType::F32, weight: None });
    program.nodes.push(Node { op: Op::Binary { binary: BinaryKind::Mul }, inputs: vec![ValueId(2), ValueId(2)], output: ValueId(3) });
    program.outputs.push(Port { name: "square".into(), value: ValueId(3) });
    let bytes: Vec<u8> = [1.0f32, 2.0, -0.5].iter().flat_map(|&v| half_bits(v).to_le_bytes()).collect();
    let view = WeightView { shape: &[3], dtype: DType::F16, bytes: bytes.into() };
    let cpu = CpuProgram::new(program, &|name| (name == "w").then(|| view.clone())).unwrap();
    for _ in 0..2 {
        let found = cpu.run(&[("0", TensorRef::F32(&[1.0, 1.0, 1.0]))]).unwrap();
        assert_eq!(found, [("out".to_owned(), vec![2.0, 3.0, 0.5]), ("square".to_owned(), vec![4.0, 9.0, 0.25])]);
    }
    let mut seen = Vec::new();
    let stopped = cpu.run_with_callback(&[("0", TensorRef::F32(&[1.0, 1.0, 1.0]))], &mut |index| {
        seen.push(index);
        index == 0
    });
    assert_eq!((stopped, seen), (Err(CpuError::Cancelled { operation: 1 }), vec![0, 1]));
}

/// The shipped model's programs, with weights of this test's: a sum that another split would order differently, and an element that is read
/// from memory before it is written there, would show in the bits.
#[test]
fn bits_depend_neither_on_threads_nor_on_earlier_runs() {
    for name in ["text-encoder", "generator", "decoder"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji").join(name).with_extension("json");
        let program = Program::from_json(&std::fs::read(file).unwrap(), name).unwrap();
        let weight = |index: usize| (2.0 * (index * 37 % 61) as f32 - 61.0) / 128.0;
        let weights: Vec<(&Value, Vec<u8>)> = (program.values.iter().filter(|value| value.weight.is_some()))
            .map(|value| {
                let elements = (0..count(&value.shape)).map(weight);
                let bytes = match value.dtype {
                    DType::F32 => elements.flat_map(f32::to_le_bytes).collect(),
                    _ => elements.flat_map(|element| half_bits(element).to_le_bytes()).collect(),
                };
                (value, bytes)
            })
            .collect();
        let view = |name: &str| {
            let (value, bytes) = weights.iter().find(|(value, _)| value.weight.as_deref() == Some(name))?;
            Some(WeightView { shape: &value.shape, dtype: value.dtype, bytes: bytes.into() })
        };
        let run = |cpu: &CpuProgram, broken: bool| {
            let inputs: Vec<(&str, Vec<f32>, Vec<i32>)> = (program.inputs.iter())
                .map(|port| {
                    let count = count(&program.value(port.value).shape);
                    let floats = if broken { vec![f32::NAN; count] } else { noise(count, 5) };
                    (port.name.as_str(), floats, (0..count as i32).collect())
                })
                .collect();
            let of = |index: usize| program.value(program.inputs[index].value).dtype;
            let given: Vec<(&str, TensorRef<'_>)> = (inputs.iter().enumerate())
                .map(|(index, (name, floats, ids))| (*name, if of(index) == DType::I32 { TensorRef::I32(ids) } else { TensorRef::F32(floats) }))
                .collect();
            cpu.run(&given).unwrap().into_iter().flat_map(|(_, elements)| elements).map(f32::to_bits).collect::<Vec<u32>>()
        };
        let mut expected = None;
        for threads in [1, 2, 3, 5] {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let cpu = CpuProgram::new(program.clone(), &view).unwrap();
                for earlier in 0..2 {
                    let found = run(&cpu, false);
                    assert!(found.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{name}");
                    assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{name} on {threads} threads after {earlier} runs");
                    run(&cpu, true);
                }
            });
        }
    }
}

/// The bits of a number that f16 holds exactly and normally.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff)) as u16
}

#[test]
fn wrong_weights_inputs_and_programs_are_refused_by_name() {
    let mut program = single(Op::Unary { unary: UnaryKind::Neg }, &[(&[3], DType::F32)], &[3]);
    let cpu = CpuProgram::new(program.clone(), &|_| None).unwrap();
    for inputs in [
        vec![],
        vec![("0", TensorRef::F32(&[1.0, 2.0]))],
        vec![("0", TensorRef::I32(&[1, 2, 3]))],
        vec![("0", TensorRef::F32(&[1.0; 3])), ("0", TensorRef::F32(&[1.0; 3]))],
        vec![("0", TensorRef::F32(&[1.0; 3])), ("other", TensorRef::F32(&[1.0; 3]))],
    ] {
        assert!(matches!(cpu.run(&inputs), Err(CpuError::Input { .. })), "{inputs:?}");
    }
    program.values[0].weight = Some("conv.weight".into());
    program.inputs.clear();
    let bytes = [0u8; 12];
    for view in [
        None,
        Some(WeightView { shape: &[3], dtype: DType::F16, bytes: bytes[..6].into() }),
        Some(WeightView { shape: &[1, 3], dtype: DType::F32, bytes: bytes[..].into() }),
        Some(WeightView { shape: &[3], dtype: DType::F32, bytes: bytes[..8].into() }),
    ] {
        let error = CpuProgram::new(program.clone(), &|_| view.clone()).unwrap_err();
        assert!(error.to_string().contains("conv.weight"), "{error}");
    }
    program.values[1].shape = vec![4];
    assert!(matches!(CpuProgram::new(program, &|_| None), Err(CpuError::Program(_))));
    let empty = single(Op::Unary { unary: UnaryKind::Neg }, &[(&[0], DType::F32)], &[0]);
    assert!(matches!(CpuProgram::new(empty, &|_| None), Err(CpuError::Unsupported { .. })));
}
