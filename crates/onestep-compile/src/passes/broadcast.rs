//! Removes expansions of the operands of binary operations, which broadcast anyway.

use onestep_program::{Op, shape::broadcast};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, without_expand);
    Ok(())
}

fn without_expand(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let Op::Binary { .. } = graph.nodes[index].op else { return false };
    let mut changed = false;
    for side in 0..2 {
        let (this, other) = (graph.nodes[index].inputs[side], graph.nodes[index].inputs[1 - side]);
        let Some(expand) = uses.producer(graph, this).filter(|node| node.op == Op::Expand) else { continue };
        let small = expand.inputs[0];
        if broadcast(graph.shape(small), graph.shape(other)).as_deref() == Some(graph.shape(graph.nodes[index].output)) {
            graph.nodes[index].inputs[side] = small;
            changed = true;
        }
    }
    changed
}
