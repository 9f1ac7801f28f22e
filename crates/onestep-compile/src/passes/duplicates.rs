//! Merges equal operations on the same values.

use onestep_program::{Node, Op};

use crate::{error::CompileError, graph::Graph};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    let mut index = 0;
    while index < graph.nodes.len() {
        let node = &graph.nodes[index];
        let earlier = graph.nodes[..index].iter().find(|earlier| same(graph, earlier, node)).map(|earlier| earlier.output);
        match earlier {
            Some(earlier) => {
                let node = graph.nodes.remove(index);
                graph.replace(node.output, earlier);
            }
            None => index += 1,
        }
    }
    Ok(())
}

fn same(graph: &Graph, a: &Node, b: &Node) -> bool {
    // The result's shape is a parameter of some operations.
    let shaped = matches!(a.op, Op::Reshape | Op::Expand | Op::Slice { .. });
    a.inputs == b.inputs && a.op == b.op && (!shaped || graph.shape(a.output) == graph.shape(b.output))
}
