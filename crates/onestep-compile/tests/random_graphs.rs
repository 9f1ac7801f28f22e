//! Passes on random graphs: whatever is combined and read elsewhere, the results stay.

mod common;

use common::{Elements, noise, relative, run};
use onestep_compile::{Compiled, Constant, Graph, Passes, Storage};
use onestep_program::{Activation, BinaryKind, DType, Op, Port, ReduceKind, UnaryKind, ValueId, shape::broadcast};

/// A graph that grows by random operations.
struct Growth {
    graph: Graph,
    /// Values of the graph, the most recent last.
    values: Vec<ValueId>,
    random: fastrand::Rng,
}

impl Growth {
    fn new(seed: u64) -> Self {
        let mut growth = Self { graph: Graph::default(), values: Vec::new(), random: fastrand::Rng::with_seed(seed) };
        for (name, shape) in [("image", vec![2, 8, 4, 6]), ("tokens", vec![2, 6, 8]), ("heads", vec![1, 2, 5, 4])] {
            let value = growth.graph.add(shape, DType::F32);
            growth.graph.inputs.push(Port { name: name.into(), value });
            growth.values.push(value);
        }
        growth
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.usize(..bound)
    }

    fn maybe(&mut self) -> bool {
        self.random.bool()
    }

    /// A value, more often a recent one.
    fn any(&mut self) -> ValueId {
        let recent = self.values.len().min(1 + self.below(6));
        let back = self.below(recent);
        self.values[self.values.len() - 1 - back]
    }

    /// A value of that rank, if a few tries find one.
    fn of_rank(&mut self, rank: usize) -> Option<ValueId> {
        for _ in 0..20 {
            let id = self.any();
            if self.graph.shape(id).len() == rank {
                return Some(id);
            }
        }
        None
    }

    fn shape(&self, id: ValueId) -> Vec<usize> {
        self.graph.shape(id).to_vec()
    }

    fn emit(&mut self, op: Op, inputs: Vec<ValueId>, shape: Vec<usize>) -> ValueId {
        let id = self.graph.emit(op, inputs, shape);
        // Now and then something else will read what is in the middle of a pattern.
        if self.below(8) == 0 {
            self.values.push(id);
        }
        id
    }

    fn unary(&mut self, x: ValueId, unary: UnaryKind) -> ValueId {
        let shape = self.shape(x);
        self.emit(Op::Unary { unary }, vec![x], shape)
    }

    fn affine(&mut self, x: ValueId, mul: f32, add: f32) -> ValueId {
        let shape = self.shape(x);
        self.emit(Op::Affine { mul, add }, vec![x], shape)
    }

    fn binary(&mut self, a: ValueId, b: ValueId, binary: BinaryKind) -> ValueId {
        let inputs = if matches!(binary, BinaryKind::Add | BinaryKind::Mul) && self.maybe() { vec![b, a] } else { vec![a, b] };
        let shape = broadcast(self.graph.shape(a), self.graph.shape(b)).unwrap();
        self.emit(Op::Binary { binary }, inputs, shape)
    }

    fn permute(&mut self, x: ValueId, axes: Vec<usize>) -> ValueId {
        let shape = axes.iter().map(|&axis| self.graph.shape(x)[axis]).collect();
        self.emit(Op::Permute { axes }, vec![x], shape)
    }

    fn reshape(&mut self, x: ValueId, shape: Vec<usize>) -> ValueId {
        self.emit(Op::Reshape, vec![x], shape)
    }

    fn mat_mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (left, right) = (self.shape(a), self.shape(b));
        let mut shape = broadcast(&left[..left.len() - 2], &right[..right.len() - 2]).unwrap();
        shape.extend([left[left.len() - 2], right[right.len() - 1]]);
        self.emit(Op::MatMul, vec![a, b], shape)
    }

    fn constant(&mut self, shape: Vec<usize>, size: f32) -> ValueId {
        let seed = self.random.u64(..);
        let count: usize = shape.iter().product();
        let data: Vec<f32> = if self.below(5) == 0 { vec![size; count] } else { noise(count, seed).iter().map(|v| v * size).collect() };
        let parameter = self.maybe().then(|| format!("parameter{}", self.graph.values.len()));
        self.graph.add_constant(shape, Constant { untouched: parameter.is_some(), parameter, data: data.into() })
    }

    /// One more operation or pattern.
    fn grow(&mut self) -> Option<()> {
        let grown = match self.below(19) {
            0 => {
                let x = self.any();
                let unary = [
                    UnaryKind::Tanh,
                    UnaryKind::Sigmoid,
                    UnaryKind::Relu,
                    UnaryKind::Silu,
                    UnaryKind::Gelu,
                    UnaryKind::Sin,
                    UnaryKind::QuickGelu,
                    UnaryKind::Abs,
                ][self.below(8)];
                self.unary(x, unary)
            }
            1 => {
                let x = self.any();
                let (mul, add) = ([1.0, -1.0, 0.5, 1.702][self.below(4)], [0.0, 0.25][self.below(2)]);
                self.affine(x, mul, add)
            }
            2 => {
                let (a, b) = (self.any(), self.any());
                broadcast(self.graph.shape(a), self.graph.shape(b))?;
                let kind = [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Max, BinaryKind::Min][self.below(5)];
                self.binary(a, b, kind)
            }
            3 => {
                let x = self.any();
                let mut shape = self.shape(x);
                for length in &mut shape {
                    if self.maybe() {
                        *length = 1;
                    }
                }
                let constant = self.constant(shape, 0.5);
                let constant = if self.maybe() {
                    let shape = self.shape(x);
                    self.emit(Op::Expand, vec![constant], shape)
                } else {
                    constant
                };
                let kind = [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul][self.below(3)];
                self.binary(x, constant, kind)
            }
            4 => {
                let x = self.any();
                let gate = if self.maybe() { self.affine(x, 1.702, 0.0) } else { x };
                let gate = self.unary(gate, UnaryKind::Sigmoid);
                self.binary(x, gate, BinaryKind::Mul)
            }
            5 => self.group_norm()?,
            6 => self.linear()?,
            7 => self.convolution()?,
            8 => self.attention()?,
            9 => {
                let x = self.of_rank(3)?;
                let shape = self.shape(x);
                if !shape[2].is_multiple_of(2) {
                    return None;
                }
                let half = vec![shape[0], shape[1], shape[2] / 2];
                let a = self.emit(Op::Slice { start: vec![0, 0, 0] }, vec![x], half.clone());
                let b = self.emit(Op::Slice { start: vec![0, 0, shape[2] / 2] }, vec![x], half);
                let b = self.unary(b, UnaryKind::Gelu);
                self.binary(a, b, BinaryKind::Mul)
            }
            10 => {
                let x = self.any();
                let rank = self.shape(x).len();
                let mut axes: Vec<usize> = (0..rank).collect();
                axes.rotate_left(self.below(rank));
                let turned = self.permute(x, axes.clone());
                if self.maybe() { self.permute(turned, axes) } else { turned }
            }
            11 => {
                let x = self.any();
                let shape = self.shape(x);
                let merged = vec![shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]];
                let flat = self.reshape(x, merged);
                if self.maybe() { self.reshape(flat, shape) } else { flat }
            }
            12 => {
                let x = self.any();
                let axis = self.below(self.shape(x).len());
                let mut shape = self.shape(x);
                shape[axis] = 1;
                let reduce = [ReduceKind::Mean, ReduceKind::Max][self.below(2)];
                self.emit(Op::Reduce { reduce, axis }, vec![x], shape)
            }
            13 => self.normalised_tokens()?,
            14 => self.projected_attention()?,
            15 => self.tokens_on_image()?,
            16 => {
                // A factor before and after a layer, or after a sum with one.
                let x = self.any();
                let which = self.below(2);
                let before = self.affine(x, 0.6, [0.0, 0.1][which]);
                self.values.push(before);
                let value = if self.maybe() { self.linear()? } else { self.convolution()? };
                let value = if self.maybe() { self.affine(value, -1.2, 0.3) } else { value };
                let other = self.any();
                let value = if self.shape(other) == self.shape(value) {
                    let (a, b) = if self.maybe() { (value, other) } else { (other, value) };
                    let which = self.below(2);
                    self.binary(a, b, [BinaryKind::Add, BinaryKind::Sub][which])
                } else {
                    value
                };
                let which = self.below(2);
                self.affine(value, 1.5, [0.0, -0.2][which])
            }
            17 => {
                let x = self.of_rank(3)?;
                self.layers(x, 3)
            }
            _ => {
                let x = self.any();
                let shape = self.shape(x);
                self.emit(Op::Softmax { axis: shape.len() - 1 }, vec![x], shape)
            }
        };
        // Whatever grew stays small enough to compare.
        let bounded = if self.below(3) == 0 { self.unary(grown, UnaryKind::Tanh) } else { grown };
        if self.graph.shape(bounded).iter().product::<usize>() < 4000 {
            self.values.push(bounded);
        }
        Some(())
    }

    fn group_norm(&mut self) -> Option<ValueId> {
        let x = if self.maybe() { self.of_rank(4)? } else { self.of_rank(3)? };
        let shape = self.shape(x);
        let groups = [1, 2][self.below(2)];
        if !shape[1].is_multiple_of(groups) {
            return None;
        }
        let rest: usize = shape[1..].iter().product::<usize>() / groups;
        let grouped = self.reshape(x, vec![shape[0], groups, rest]);
        let one = vec![shape[0], groups, 1];
        let mean = self.emit(Op::Reduce { reduce: ReduceKind::Mean, axis: 2 }, vec![grouped], one.clone());
        let centred = self.binary(grouped, mean, BinaryKind::Sub);
        let square = self.binary(centred, centred, BinaryKind::Mul);
        let variance = self.emit(Op::Reduce { reduce: ReduceKind::Mean, axis: 2 }, vec![square], one);
        let variance = self.affine(variance, 1.0, 0.1);
        let deviation = self.unary(variance, UnaryKind::Sqrt);
        let normal = self.binary(centred, deviation, BinaryKind::Div);
        let mut value = self.reshape(normal, shape.clone());
        let mut channels = vec![1; shape.len()];
        channels[1] = shape[1];
        for kind in [BinaryKind::Mul, BinaryKind::Add] {
            if self.below(4) > 0 {
                let constant = self.constant(channels.clone(), 0.8);
                value = self.binary(value, constant, kind);
            }
        }
        Some(value)
    }

    fn linear(&mut self) -> Option<ValueId> {
        let x = if self.maybe() { self.of_rank(3)? } else { self.of_rank(2)? };
        let shape = self.shape(x);
        let (rows, summed) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
        let width = [8, 6, summed][self.below(3)];
        let gathered = self.maybe();
        let source = if gathered { self.reshape(x, vec![rows, summed]) } else { x };
        let leading = if gathered || self.maybe() { 0 } else { 1 };
        let matrix = self.constant([vec![1; leading], vec![summed, width]].concat(), 0.4);
        let mut value = self.mat_mul(source, matrix);
        if self.maybe() {
            let bias = self.constant(vec![width], 0.3);
            value = self.binary(value, bias, BinaryKind::Add);
        }
        if gathered {
            let mut output = shape.clone();
            output[shape.len() - 1] = width;
            value = self.reshape(value, output);
        }
        if self.maybe() {
            let which = self.below(2);
            value = self.unary(value, [UnaryKind::Silu, UnaryKind::Gelu][which]);
        }
        if width == summed && self.maybe() {
            value = self.binary(value, x, BinaryKind::Add);
        }
        Some(value)
    }

    /// x times a matrix, perhaps with a bias.
    fn dense(&mut self, x: ValueId, width: usize, bias: bool) -> ValueId {
        let summed = *self.shape(x).last().unwrap();
        let matrix = self.constant(vec![summed, width], 0.5);
        let value = self.mat_mul(x, matrix);
        if bias {
            let bias = self.constant(vec![width], 0.3);
            self.binary(value, bias, BinaryKind::Add)
        } else {
            value
        }
    }

    /// Several layers of one tensor; the results are combined, and some are read elsewhere too.
    fn layers(&mut self, x: ValueId, most: usize) -> ValueId {
        let bias = self.maybe();
        let mut all = Vec::new();
        for _ in 0..=self.below(most) {
            let (width, odd) = ([8, 8, 4, 6][self.below(4)], self.below(4) == 0);
            let value = self.dense(x, width, bias != odd);
            all.push(if self.below(4) == 0 { self.unary(value, UnaryKind::Gelu) } else { value });
        }
        self.values.extend(&all[1..]);
        all[0]
    }

    /// A layer normalisation and what reads it.
    fn normalised_tokens(&mut self) -> Option<ValueId> {
        let x = self.of_rank(3)?;
        let shape = self.shape(x);
        let (gamma, beta) = (self.constant(vec![shape[2]], 1.1), self.constant(vec![shape[2]], 0.4));
        let value = self.emit(Op::LayerNorm { epsilon: 0.1, affine: true }, vec![x, gamma, beta], shape.clone());
        match self.below(4) {
            0 => {
                let flat = self.reshape(value, vec![shape[0] * shape[1], shape[2]]);
                Some(self.layers(flat, 2))
            }
            1 => {
                self.values.push(value);
                Some(self.layers(value, 2))
            }
            _ => Some(self.layers(value, 3)),
        }
    }

    /// Attention of linear layers' results: three separate layers, or parts of a joint one.
    fn projected_attention(&mut self) -> Option<ValueId> {
        let x = self.of_rank(3)?;
        let [batch, length, _] = *self.graph.shape(x) else { return None };
        let (heads, depth) = (2, 4);
        let bias = self.maybe();
        let mut parts = Vec::new();
        let whole = if self.maybe() { Some(self.dense(x, 3 * heads * depth, bias)) } else { None };
        for part in 0..3 {
            let tokens = match whole {
                Some(whole) => self.emit(Op::Slice { start: vec![0, 0, part * heads * depth] }, vec![whole], vec![batch, length, heads * depth]),
                None => self.dense(x, heads * depth, bias),
            };
            let split = self.reshape(tokens, vec![batch, length, heads, depth]);
            parts.push(self.permute(split, vec![0, 2, 1, 3]));
        }
        if self.below(4) == 0 {
            // Queries that are keys too.
            parts[1] = parts[0];
        }
        let op = Op::Attention { scale: [0.5, 0.3, 1.0, 1.4][self.below(4)], causal: self.maybe() };
        let value = self.emit(op, parts, vec![batch, heads, length, depth]);
        let value = self.permute(value, vec![0, 2, 1, 3]);
        Some(self.reshape(value, vec![batch, length, heads * depth]))
    }

    /// An image as tokens, a layer of them, and back with an image added.
    fn tokens_on_image(&mut self) -> Option<ValueId> {
        let x = self.of_rank(4)?;
        let [batch, channels, height, width] = *self.graph.shape(x) else { return None };
        let flat = self.reshape(x, vec![batch, channels, height * width]);
        let tokens = self.permute(flat, vec![0, 2, 1]);
        let bias = self.maybe();
        let value = self.dense(tokens, channels, bias);
        let value = if self.maybe() { self.unary(value, UnaryKind::Silu) } else { value };
        let value = self.permute(value, vec![0, 2, 1]);
        let value = self.reshape(value, vec![batch, channels, height, width]);
        Some(self.binary(value, x, BinaryKind::Add))
    }

    fn convolution(&mut self) -> Option<ValueId> {
        let x = self.of_rank(4)?;
        let x = if self.maybe() { self.enlarged(x) } else { x };
        let shape = self.shape(x);
        let channels = [shape[1], 8][self.below(2)];
        let mut padded = shape.clone();
        let around = [[0, 0], [0, 0], [self.below(2), self.below(2)], [self.below(2), 1]];
        let source = if self.maybe() {
            padded.iter_mut().zip(around).for_each(|(length, [a, b])| *length += a + b);
            let value = if self.below(4) == 0 { 0.5 } else { 0.0 };
            self.emit(Op::Pad { padding: around.to_vec(), value }, vec![x], padded.clone())
        } else {
            x
        };
        let weight = self.constant(vec![channels, shape[1], 3, 3], 0.2);
        let has_bias = self.maybe();
        let mut inputs = vec![source, weight];
        if has_bias {
            let bias = self.constant(vec![channels], 0.3);
            inputs.push(bias);
        }
        let output = vec![shape[0], channels, padded[2], padded[3]];
        let op =
            Op::Conv2d { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1, bias: has_bias, act: Activation::None, residual: false };
        let mut value = self.emit(op, inputs, output.clone());
        if self.maybe() {
            let constant = self.constant(vec![channels, 1, 1], 0.3);
            value = self.binary(value, constant, BinaryKind::Add);
        }
        if self.maybe() {
            value = self.unary(value, UnaryKind::Silu);
        }
        if output == shape && self.maybe() {
            value = self.binary(value, x, BinaryKind::Add);
        }
        Some(value)
    }

    /// Pixels repeated in both directions, or in a way that no pass looks for: a row less, as for the skip tensor of an odd size, or in one direction.
    fn enlarged(&mut self, x: ValueId) -> ValueId {
        let mut shape = self.shape(x);
        let (scale, missing) = [([2, 2], 0), ([2, 2], 0), ([2, 2], 1), ([1, 2], 0)][self.below(4)];
        if shape.iter().product::<usize>() > 1000 {
            return x;
        }
        shape[2] = shape[2] * scale[0] - missing;
        shape[3] *= scale[1];
        self.emit(Op::UpsampleNearest, vec![x], shape)
    }

    fn attention(&mut self) -> Option<ValueId> {
        let rank = 3 + self.below(2);
        let (q, k) = (self.of_rank(rank)?, self.of_rank(rank)?);
        let (qs, ks) = (self.shape(q), self.shape(k));
        if qs[..rank - 2] != ks[..rank - 2] || qs[rank - 1] != ks[rank - 1] {
            return None;
        }
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 1, rank - 2);
        let turned = self.permute(k, axes);
        let q = if self.maybe() { self.affine(q, 0.5, 0.0) } else { q };
        let mut scores = self.mat_mul(q, turned);
        if self.maybe() {
            scores = self.affine(scores, 0.7, 0.0);
        }
        let (queries, keys) = (qs[rank - 2], ks[rank - 2]);
        if self.maybe() {
            let fill = [f32::NEG_INFINITY, -1e9, -2.0][self.below(3)];
            // Causal, or hiding something else.
            let offset = self.below(2);
            let hidden: Vec<bool> = (0..queries * keys).map(|index| index % keys > index / keys + offset).collect();
            if fill == -1e9 {
                let kept = Constant::computed(hidden.iter().map(|&hidden| if hidden { 0.0 } else { 1.0 }).collect::<Vec<f32>>());
                let kept = self.graph.add_constant(vec![queries, keys], kept);
                scores = self.binary(scores, kept, BinaryKind::Mul);
            }
            let mask = Constant::computed(hidden.iter().map(|&hidden| if hidden { fill } else { 0.0 }).collect::<Vec<f32>>());
            let mask = self.graph.add_constant(vec![queries, keys], mask);
            scores = self.binary(scores, mask, BinaryKind::Add);
        }
        let shape = self.shape(scores);
        let weights = self.emit(Op::Softmax { axis: rank - 1 }, vec![scores], shape);
        Some(self.mat_mul(weights, k))
    }

    fn finish(mut self) -> Graph {
        let last = *self.values.last().unwrap();
        let mut outputs = vec![last];
        for _ in 0..self.below(4) {
            outputs.push(self.any());
        }
        self.graph.outputs = outputs.into_iter().enumerate().map(|(index, value)| Port { name: format!("out{index}"), value }).collect();
        self.graph
    }
}

#[test]
fn passes_keep_what_random_graphs_compute() {
    let inputs: Vec<(String, Elements)> = [("image", 2 * 8 * 4 * 6), ("tokens", 2 * 6 * 8), ("heads", 5 * 8)]
        .iter()
        .map(|(name, count)| ((*name).to_owned(), Elements::Floats(noise(*count, 7))))
        .collect();
    let mut smaller = 0;
    let mut fused = std::collections::BTreeMap::new();
    let mut changed = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let mut growth = Growth::new(seed);
        for _ in 0..25 {
            growth.grow();
        }
        let graph = growth.finish();
        let compile = |passes: Passes| {
            let mut graph = graph.clone();
            passes.run(&mut graph).unwrap();
            Compiled::from_graph(&graph, "random", "random", Storage::F32).unwrap()
        };
        let plain = compile(Passes::none());
        let full = compile(Passes::all());
        let expected = run(&plain, &inputs);
        let mut variants = vec![("all".to_owned(), Passes::all())];
        for name in Passes::names() {
            variants.push((format!("only {name}"), Passes::only(&[name]).unwrap()));
            variants.push((format!("without {name}"), Passes::all().without(name).unwrap()));
        }
        for (variant, passes) in variants {
            let compiled = compile(passes);
            for ((name, found), (_, expected)) in run(&compiled, &inputs).iter().zip(&expected) {
                if found.iter().zip(expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())) {
                    continue;
                }
                // What is left of a difference of equal numbers is rounding alone: 1e-6 of their size, which is about 1.
                let size = expected.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let error = relative(found, expected) * size;
                let bound = 1e-4 * size + 1e-6 * (expected.len() as f64).sqrt();
                assert!(
                    error <= bound,
                    "seed {seed}, passes {variant}, {name}: {error:.2e} of {size:.2e}\n{}\n{}",
                    plain.histogram(),
                    compiled.histogram()
                );
            }
            if let Some(name) = variant.strip_prefix("without ") {
                *changed.entry(name.to_owned()).or_insert(0) += usize::from(compiled != full);
            }
            if variant == "all" {
                smaller += usize::from(compiled.program.nodes.len() < plain.program.nodes.len());
                for (name, count) in compiled.histogram().0 {
                    *fused.entry(name).or_insert(0) += count;
                }
            }
        }
    }
    // The graphs must contain what the passes look for.
    for name in Passes::names() {
        assert!(changed[name] > 5, "{name}: {changed:?}");
    }
    assert!(smaller > 300, "{smaller}");
    for name in ["attention", "geglu", "group_norm", "linear", "conv2d", "up_conv2d"] {
        assert!(fused.get(name).copied().unwrap_or(0) > 20, "{name}: {fused:?}");
    }
}
