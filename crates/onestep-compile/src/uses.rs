//! The producer and the readers of each value of a graph.

use onestep_program::{BinaryKind, Node, Op, UnaryKind, ValueId};

use crate::graph::Graph;

/// A snapshot of a graph's edges, without operations that no output depends on.
pub(crate) struct Uses {
    producer: Vec<Option<usize>>,
    reads: Vec<usize>,
    live: Vec<bool>,
}

impl Uses {
    pub(crate) fn of(graph: &Graph) -> Self {
        let live = graph.live();
        let mut producer = vec![None; graph.values.len()];
        let mut reads = vec![0; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| live[*index]) {
            producer[node.output.index()] = Some(index);
            for id in &node.inputs {
                reads[id.index()] += 1;
            }
        }
        for port in &graph.outputs {
            reads[port.value.index()] += 1;
        }
        Self { producer, reads, live }
    }

    /// True if an output depends on the operation.
    pub(crate) fn is_live(&self, index: usize) -> bool {
        self.live[index]
    }

    /// How often a value is read, including outputs.
    pub(crate) fn reads(&self, id: ValueId) -> usize {
        self.reads[id.index()]
    }

    /// The operation that computes a value.
    pub(crate) fn producer<'g>(&self, graph: &'g Graph, id: ValueId) -> Option<&'g Node> {
        self.producer[id.index()].map(|index| &graph.nodes[index])
    }

    /// The position of the operation that computes a value.
    pub(crate) fn position(&self, id: ValueId) -> Option<usize> {
        self.producer[id.index()]
    }

    /// x, if the value is this function of x.
    pub(crate) fn unary(&self, graph: &Graph, id: ValueId, kind: UnaryKind) -> Option<ValueId> {
        self.producer(graph, id).filter(|node| node.op == Op::Unary { unary: kind }).map(|node| node.inputs[0])
    }

    /// Both operands, if the value is this function of two.
    pub(crate) fn binary(&self, graph: &Graph, id: ValueId, kind: BinaryKind) -> Option<(ValueId, ValueId)> {
        self.producer(graph, id).filter(|node| node.op == Op::Binary { binary: kind }).map(|node| (node.inputs[0], node.inputs[1]))
    }

    /// x, factor and addend, if the value is `x·mul + add`.
    pub(crate) fn affine(&self, graph: &Graph, id: ValueId) -> Option<(ValueId, f32, f32)> {
        let node = self.producer(graph, id)?;
        match node.op {
            Op::Affine { mul, add } => Some((node.inputs[0], mul, add)),
            _ => None,
        }
    }
}
