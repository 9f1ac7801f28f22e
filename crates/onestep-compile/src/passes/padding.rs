//! Folds a padding with zeros into the padding of a convolution.

use onestep_program::Op;

use super::at_each::at_each;
use crate::error::CompileError;
use crate::graph::Graph;

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let node = &graph.nodes[index];
        if !matches!(node.op, Op::Conv2d { .. }) {
            return false;
        }
        let Some(pad) = uses.producer(graph, node.inputs[0]) else { return false };
        let Op::Pad { padding: sides, value } = &pad.op else { return false };
        let [[0, 0], [0, 0], rows, columns] = sides[..] else { return false };
        if *value != 0.0 {
            return false;
        }
        let x = pad.inputs[0];
        let node = &mut graph.nodes[index];
        node.inputs[0] = x;
        if let Op::Conv2d { padding, .. } = &mut node.op {
            for (side, more) in padding.iter_mut().zip([rows[0], columns[0], rows[1], columns[1]]) {
                *side += more;
            }
        }
        true
    });
    Ok(())
}
