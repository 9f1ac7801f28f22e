//! Fuses the elementary operations of a group normalisation.
//!
//! The pattern, for images x [N,C,…] reshaped to r [N,groups,rest]: `c = r − mean(r)`, `c / sqrt(mean(c·c) + epsilon)`, reshaped to the shape of
//! x, then an optional factor and offset per channel.

use onestep_program::{Activation, BinaryKind, DType, Node, Op, ReduceKind, UnaryKind, ValueId};

use super::at_each::at_each;
use crate::{
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    // The longest pattern first, because it contains the shorter ones.
    at_each(graph, |graph, uses, index| {
        let Some((scaled, beta)) = with_channels(graph, index, BinaryKind::Add) else { return false };
        let Some(position) = uses.position(scaled).filter(|_| uses.reads(scaled) == 1) else { return false };
        let Some((normal, gamma)) = with_channels(graph, position, BinaryKind::Mul) else { return false };
        uses.reads(normal) == 1 && replace(graph, uses, index, normal, Some(gamma), Some(beta))
    });
    at_each(graph, |graph, uses, index| {
        let Some((normal, gamma)) = with_channels(graph, index, BinaryKind::Mul) else { return false };
        uses.reads(normal) == 1 && replace(graph, uses, index, normal, Some(gamma), None)
    });
    at_each(graph, |graph, uses, index| {
        let normal = graph.nodes[index].output;
        graph.nodes[index].op == Op::Reshape && replace(graph, uses, index, normal, None, None)
    });
    Ok(())
}

/// The other operand and the constant, if the operation combines x [N,C,…] with a constant per channel.
fn with_channels(graph: &Graph, index: usize, kind: BinaryKind) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    if node.op != (Op::Binary { binary: kind }) {
        return None;
    }
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let per_channel = |x: ValueId, constant: ValueId| {
        graph.constant(constant)?;
        let (x_shape, shape) = (graph.shape(x), graph.shape(constant));
        // Aligned at the last axis, as in broadcasting.
        let channels_at = (shape.len() + 1).checked_sub(x_shape.len())?;
        let fits = x_shape.len() >= 2
            && shape.len() <= x_shape.len()
            && shape.iter().enumerate().all(|(axis, &length)| length == if axis == channels_at { x_shape[1] } else { 1 });
        (fits && x_shape == graph.shape(node.output)).then_some((x, constant))
    };
    per_channel(a, b).or_else(|| per_channel(b, a))
}

/// x, the number of groups and epsilon, if the value is a group normalisation without factor and offset.
fn normalised(graph: &Graph, uses: &Uses, value: ValueId) -> Option<(ValueId, usize, f32)> {
    let back = uses.producer(graph, value).filter(|node| node.op == Op::Reshape)?;
    let (centred, deviation) = uses.binary(graph, back.inputs[0], BinaryKind::Div)?;
    let (variance, mul, epsilon) = uses.affine(graph, uses.unary(graph, deviation, UnaryKind::Sqrt)?)?;
    let square = mean_of(graph, uses, variance)?;
    if uses.binary(graph, square, BinaryKind::Mul)? != (centred, centred) || mul != 1.0 {
        return None;
    }
    let (grouped, mean) = uses.binary(graph, centred, BinaryKind::Sub)?;
    if mean_of(graph, uses, mean)? != grouped {
        return None;
    }
    let there = uses.producer(graph, grouped).filter(|node| node.op == Op::Reshape)?;
    let (shape, grouped) = (graph.shape(value), graph.shape(grouped));
    let fits = shape.len() >= 2 && grouped.len() == 3 && grouped[0] == shape[0] && grouped[1] > 0 && shape[1].is_multiple_of(grouped[1]);
    fits.then_some((there.inputs[0], grouped[1], epsilon))
}

/// r, if the value is its mean over the last of three axes.
fn mean_of(graph: &Graph, uses: &Uses, value: ValueId) -> Option<ValueId> {
    uses.producer(graph, value).filter(|node| node.op == Op::Reduce { reduce: ReduceKind::Mean, axis: 2 }).map(|node| node.inputs[0])
}

fn replace(graph: &mut Graph, uses: &Uses, index: usize, normal: ValueId, gamma: Option<ValueId>, beta: Option<ValueId>) -> bool {
    let Some((x, groups, epsilon)) = normalised(graph, uses, normal) else { return false };
    let shape = graph.shape(normal).to_vec();
    let channels = shape[1];
    // A reshape before the normalisation may have been merged with the pattern's.
    let (x, index) = if graph.shape(x) == shape {
        (x, index)
    } else {
        let output = graph.add(shape, DType::F32);
        graph.nodes.insert(index, Node { op: Op::Reshape, inputs: vec![x], output });
        (output, index + 1)
    };
    let gamma = vector(graph, gamma, channels, 1.0);
    let beta = vector(graph, beta, channels, 0.0);
    graph.nodes[index].op = Op::GroupNorm { groups, epsilon, act: Activation::None };
    graph.nodes[index].inputs = vec![x, gamma, beta];
    true
}

/// The constant per channel as a vector; a vector of equal elements for a scalar.
fn vector(graph: &mut Graph, constant: Option<ValueId>, channels: usize, otherwise: f32) -> ValueId {
    let constant = constant.and_then(|id| graph.constant(id).cloned());
    graph.add_constant(vec![channels], constant.unwrap_or_else(|| Constant::computed(vec![otherwise; channels])))
}
