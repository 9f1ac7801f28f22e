//! Joins linear layers that read the same tensor to one layer; each takes its slice of the result.
//!
//! One multiplication with a wide matrix reads the tensor once and uses the hardware better than several with narrow ones: queries, keys
//! and values of one attention, and the keys and values that every layer of a network computes from the same text.

use onestep_program::{Activation, DType, Node, Op, ValueId};

use super::at_each::at_each;
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

/// Widths must be multiples of this, so that kernels can load four elements at once from the beginning of every slice.
const ALIGNED: usize = 4;

/// Largest number of elements of the joint weight or result: 96 MiB of f32. Every adapter can bind 128 MiB, and kernels may round widths up.
const ELEMENTS: usize = 24 << 20;

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let Some(first) = candidate(graph, uses, index) else { return false };
        let rows: usize = graph.shape(first.x).iter().rev().skip(1).product();
        let (mut members, mut width) = (vec![index], first.width);
        for other in index + 1..graph.nodes.len() {
            let Some(found) = candidate(graph, uses, other) else { continue };
            let wider = width + found.width;
            let fits = wider * rows.max(first.summed) <= ELEMENTS;
            if found.x == first.x && found.bias == first.bias && fits {
                members.push(other);
                width = wider;
            }
        }
        if members.len() < 2 {
            return false;
        }
        join(graph, &members, &first, width);
        true
    });
    Ok(())
}

/// A linear layer that could be joined.
struct Candidate {
    x: ValueId,
    bias: bool,
    width: usize,
    summed: usize,
}

fn candidate(graph: &Graph, uses: &Uses, index: usize) -> Option<Candidate> {
    let node = &graph.nodes[index];
    let Op::Linear { bias, act: Activation::None, residual: false } = node.op else { return None };
    let [width, summed] = *graph.shape(node.inputs[1]) else { return None };
    let known = node.inputs[1..].iter().all(|&id| graph.constant(id).is_some());
    (uses.is_live(index) && known && width.is_multiple_of(ALIGNED)).then_some(Candidate { x: node.inputs[0], bias, width, summed })
}

/// Inserts the joint layer at the position of its first member and replaces every member by a slice.
fn join(graph: &mut Graph, members: &[usize], first: &Candidate, width: usize) {
    let end_to_end = |position: usize| {
        let parts = members.iter().filter_map(|&member| graph.constant(graph.nodes[member].inputs[position]));
        let parts: Vec<Elements> = parts.map(|part| part.data.clone()).collect();
        let length = parts.iter().map(Elements::len).sum();
        Constant::computed(Elements::computed(length, move || {
            let mut joint = Vec::with_capacity(length);
            parts.iter().for_each(|part| joint.extend_from_slice(&part.read()));
            joint
        }))
    };
    let weight = end_to_end(1);
    let bias = first.bias.then(|| end_to_end(2));
    let mut inputs = vec![first.x, graph.add_constant(vec![width, first.summed], weight)];
    inputs.extend(bias.map(|bias| graph.add_constant(vec![width], bias)));
    let mut shape = graph.shape(first.x).to_vec();
    let last = shape.len() - 1;
    shape[last] = width;
    let joint = graph.add(shape, DType::F32);
    let mut start = vec![0; last + 1];
    for &member in members {
        let features = graph.shape(graph.nodes[member].output)[last];
        graph.nodes[member].op = Op::Slice { start: start.clone() };
        graph.nodes[member].inputs = vec![joint];
        start[last] += features;
    }
    let op = Op::Linear { bias: first.bias, act: Activation::None, residual: false };
    graph.nodes.insert(members[0], Node { op, inputs, output: joint });
}
