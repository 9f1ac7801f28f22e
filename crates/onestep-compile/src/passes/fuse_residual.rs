//! Fuses the addition of a tensor of the same shape into a convolution or linear layer.

use onestep_program::{BinaryKind, Op, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Add }) {
            return false;
        }
        let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
        // The layer that is computed last, because the other operand must exist by then.
        let (first, second) = if uses.position(a) > uses.position(b) { (a, b) } else { (b, a) };
        absorb(graph, uses, index, first, second) || absorb(graph, uses, index, second, first)
    });
    Ok(())
}

fn absorb(graph: &mut Graph, uses: &Uses, index: usize, layer: ValueId, residual: ValueId) -> bool {
    let output = graph.shape(graph.nodes[index].output);
    if graph.shape(layer) != output || graph.shape(residual) != output {
        return false;
    }
    let Some(node) = uses.producer(graph, layer).filter(|_| uses.reads(layer) == 1) else { return false };
    let (mut op, mut inputs) = (node.op.clone(), node.inputs.clone());
    match &mut op {
        Op::Conv2d { residual: added @ false, .. } | Op::Linear { residual: added @ false, .. } => *added = true,
        _ => return false,
    }
    inputs.push(residual);
    graph.nodes[index].op = op;
    graph.nodes[index].inputs = inputs;
    true
}
