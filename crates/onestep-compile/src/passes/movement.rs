//! Cancels, merges and removes reshapes and permutations.

use onestep_program::{DType, Node, Op};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, permute_without_effect);
    at_each(graph, merge_permutes);
    at_each(graph, rows_before_linear);
    at_each(graph, merge_reshapes);
    at_each(graph, drop_identity);
    Ok(())
}

/// Replaces a permutation of axes of length 1, which keeps the order of the elements, by a reshape.
fn permute_without_effect(graph: &mut Graph, _: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    let Op::Permute { axes } = &node.op else { return false };
    let shape = graph.shape(node.inputs[0]);
    let long: Vec<usize> = axes.iter().copied().filter(|&axis| shape[axis] != 1).collect();
    if !long.is_sorted() {
        return false;
    }
    graph.nodes[index].op = Op::Reshape;
    true
}

fn merge_permutes(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    let Op::Permute { axes } = &node.op else { return false };
    let Some(inner) = uses.producer(graph, node.inputs[0]) else { return false };
    let Op::Permute { axes: first } = &inner.op else { return false };
    let merged: Vec<usize> = axes.iter().map(|&axis| first[axis]).collect();
    let x = inner.inputs[0];
    graph.nodes[index].op = if merged.is_sorted() { Op::Reshape } else { Op::Permute { axes: merged } };
    graph.nodes[index].inputs = vec![x];
    true
}

/// Moves a permutation of rows from after a linear layer to before it. There it may merge with earlier movements, and the operations after the
/// layer may be fused into it.
fn rows_before_linear(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    if graph.nodes[index].op != Op::Reshape {
        return false;
    }
    let gathered = graph.nodes[index].inputs[0];
    let Some(linear) = uses.producer(graph, gathered).filter(|_| uses.reads(gathered) == 1) else { return false };
    if !matches!(linear.op, Op::Linear { residual: false, .. }) {
        return false;
    }
    let (op, mut inputs) = (linear.op.clone(), linear.inputs.clone());
    let (output, inner) = (graph.shape(graph.nodes[index].output), graph.shape(inputs[0]));
    let Some(&summed) = inner.last() else { return false };
    if output == graph.shape(gathered) || output.last() != graph.shape(gathered).last() {
        return false;
    }
    let mut rows = output.to_vec();
    rows[output.len() - 1] = summed;
    let arranged = graph.add(rows, DType::F32);
    graph.nodes.insert(index, Node { op: Op::Reshape, inputs: vec![inputs[0]], output: arranged });
    inputs[0] = arranged;
    graph.nodes[index + 1].op = op;
    graph.nodes[index + 1].inputs = inputs;
    true
}

fn merge_reshapes(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    if node.op != Op::Reshape {
        return false;
    }
    let Some(inner) = uses.producer(graph, node.inputs[0]).filter(|node| node.op == Op::Reshape) else { return false };
    graph.nodes[index].inputs = inner.inputs.clone();
    true
}

/// Removes a movement that changes neither shape nor order.
fn drop_identity(graph: &mut Graph, _: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    let (x, output) = (*node.inputs.first().unwrap_or(&node.output), node.output);
    let whole = match &node.op {
        Op::Reshape | Op::Expand | Op::Slice { .. } | Op::UpsampleNearest => true,
        Op::Permute { axes } => axes.is_sorted(),
        Op::Pad { padding, .. } => padding.iter().all(|sides| *sides == [0, 0]),
        Op::Concat { .. } => node.inputs.len() == 1,
        _ => false,
    };
    if !whole || graph.shape(x) != graph.shape(output) {
        return false;
    }
    graph.replace(output, x);
    true
}
