//! Folds `x·mul + add` before or after a convolution or linear layer into its weight and bias.
//!
//! `W·(m·x + a) + b = (m·W)·x + (b + a·ΣW)` and `m·(W·x + b) + a = (m·W)·x + (m·b + a)`. A factor of a sum with such a layer is
//! distributed over both operands, and a layer that is subtracted is negated and added.

use onestep_program::{Activation, BinaryKind, DType, Node, Op, ValueId};

use super::{at_each::at_each, scalars};
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, distribute);
    at_each(graph, negate);
    at_each(graph, scalars::merge);
    at_each(graph, after);
    at_each(graph, before);
    Ok(())
}

/// `(a ± b)·mul + add` as `a·mul + (±b·mul + add)` if one of the two is a layer that can absorb it.
fn distribute(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let Op::Affine { mul, add } = graph.nodes[index].op else { return false };
    let sum = graph.nodes[index].inputs[0];
    let Some(node) = uses.producer(graph, sum).filter(|_| uses.reads(sum) == 1) else { return false };
    let sign = match node.op {
        Op::Binary { binary: BinaryKind::Add } => 1.0,
        Op::Binary { binary: BinaryKind::Sub } => -1.0,
        _ => return false,
    };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let shape = graph.shape(sum).to_vec();
    // The layer also absorbs the addend.
    let (first, second) = if absorbs(graph, uses, a) {
        ((mul, add), (sign * mul, 0.0))
    } else if absorbs(graph, uses, b) {
        ((mul, 0.0), (sign * mul, add))
    } else {
        return false;
    };
    if graph.shape(a) != shape || graph.shape(b) != shape {
        return false;
    }
    let inputs = [(a, first), (b, second)].map(|(x, (mul, add))| {
        let output = graph.add(shape.clone(), DType::F32);
        (Node { op: Op::Affine { mul, add }, inputs: vec![x], output }, output)
    });
    graph.nodes[index].op = Op::Binary { binary: BinaryKind::Add };
    graph.nodes[index].inputs = inputs.iter().map(|(_, output)| *output).collect();
    graph.nodes.splice(index..index, inputs.map(|(node, _)| node));
    true
}

/// `a − layer` as `a + (−layer)`.
fn negate(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Sub }) {
        return false;
    }
    let layer = graph.nodes[index].inputs[1];
    if !absorbs(graph, uses, layer) {
        return false;
    }
    let output = graph.add(graph.shape(layer).to_vec(), DType::F32);
    graph.nodes[index].op = Op::Binary { binary: BinaryKind::Add };
    graph.nodes[index].inputs[1] = output;
    graph.nodes.insert(index, Node { op: Op::Affine { mul: -1.0, add: 0.0 }, inputs: vec![layer], output });
    true
}

/// True if a value is the result of a layer up to a factor and an addend, and has a single reader.
fn absorbs(graph: &Graph, uses: &Uses, value: ValueId) -> bool {
    if uses.reads(value) != 1 {
        return false;
    }
    match uses.affine(graph, value) {
        Some((inner, ..)) => absorbs(graph, uses, inner),
        None => uses.producer(graph, value).is_some_and(|node| plain(graph, node)),
    }
}

/// True for a layer with constant weights and without activation or residual.
fn plain(graph: &Graph, node: &Node) -> bool {
    let layer =
        matches!(node.op, Op::Conv2d { act: Activation::None, residual: false, .. } | Op::Linear { act: Activation::None, residual: false, .. });
    layer && node.inputs[1..].iter().all(|&id| graph.constant(id).is_some())
}

fn after(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let Op::Affine { mul, add } = graph.nodes[index].op else { return false };
    let x = graph.nodes[index].inputs[0];
    let Some(layer) = uses.producer(graph, x).filter(|node| uses.reads(x) == 1 && plain(graph, node)).cloned() else { return false };
    let Some((weight, features)) = scaled(graph, layer.inputs[1], mul) else { return false };
    let bias = match layer.inputs.get(2).and_then(|&id| graph.constant(id)) {
        Some(bias) => Some(bias.data.read().iter().map(|value| value.mul_add(mul, add)).collect::<Vec<f32>>()),
        None => (add != 0.0).then(|| vec![add; features]),
    };
    graph.nodes[index].op = layer.op;
    graph.nodes[index].inputs = layer.inputs;
    graph.nodes[index].inputs[1] = weight;
    if let Some(bias) = bias {
        graph.set_bias(index, Constant::computed(bias));
    }
    true
}

fn before(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    let (has_bias, padded) = match node.op {
        Op::Conv2d { padding, bias, .. } => (bias, padding != [0; 4]),
        Op::Linear { bias, .. } => (bias, false),
        _ => return false,
    };
    let (affine, weight) = (node.inputs[0], node.inputs[1]);
    let Some((x, mul, add)) = uses.affine(graph, affine).filter(|_| uses.reads(affine) == 1) else { return false };
    // The padding with zeros follows the addition.
    if padded && add != 0.0 {
        return false;
    }
    let present = match has_bias.then(|| graph.constant(node.inputs[2])) {
        Some(None) => return false,
        Some(Some(bias)) => Some(bias.data.read().into_owned()),
        None => None,
    };
    let Some(old) = graph.constant(weight).map(|constant| constant.data.clone()) else { return false };
    let Some((scaled, features)) = scaled(graph, weight, mul) else { return false };
    graph.nodes[index].inputs[0] = x;
    graph.nodes[index].inputs[1] = scaled;
    if add != 0.0 {
        let old = old.read();
        let sums = old.chunks_exact(old.len() / features).map(|row| row.iter().map(|&w| f64::from(w)).sum::<f64>() * f64::from(add));
        let bias = sums.enumerate().map(|(feature, sum)| (present.as_ref().map_or(0.0, |bias| f64::from(bias[feature])) + sum) as f32);
        let bias: Vec<f32> = bias.collect();
        graph.set_bias(index, Constant::computed(bias));
    }
    true
}

/// The weight times a factor, if it can be stored, and its number of output features.
fn scaled(graph: &mut Graph, weight: ValueId, mul: f32) -> Option<(ValueId, usize)> {
    let shape = graph.shape(weight).to_vec();
    let elements = graph.constant(weight)?.data.clone();
    let scaled = Elements::computed(elements.len(), move || elements.read().iter().map(|value| value * mul).collect());
    let scaled = Constant::computed(scaled);
    let features = *shape.first()?;
    scaled.fits_half().then(|| (graph.add_constant(shape, scaled), features))
}
