//! How a pass goes through a graph.

use crate::{graph::Graph, uses::Uses};

/// Tries a rewrite at every operation that an output depends on, in order. `rewrite` gets the position of the operation and returns true if it
/// changed the graph. It may change that operation, insert others before it and redirect the readers of its output.
pub fn at_each(graph: &mut Graph, mut rewrite: impl FnMut(&mut Graph, &Uses, usize) -> bool) {
    let mut uses = Uses::of(graph);
    let mut index = 0;
    while index < graph.nodes.len() {
        let before = graph.nodes.len();
        if uses.is_live(index) && rewrite(graph, &uses, index) {
            uses = Uses::of(graph);
        }
        // Operations are inserted before the current one.
        index += 1 + graph.nodes.len() - before;
    }
}
