//! Replaces arithmetic with a constant scalar by `x·mul + add`, and merges chains of these.

use onestep_program::{BinaryKind, Op, UnaryKind, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, known_number);
    at_each(graph, merge);
    at_each(graph, drop_identity);
    Ok(())
}

/// A binary operation with an operand of equal elements.
fn known_number(graph: &mut Graph, _: &Uses, index: usize) -> bool {
    let Op::Binary { binary } = graph.nodes[index].op else { return false };
    let output = graph.shape(graph.nodes[index].output).to_vec();
    let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
    let number = |graph: &Graph, id: ValueId, other: ValueId| {
        graph.constant(id).filter(|_| graph.shape(other) == output).and_then(|constant| constant.uniform())
    };
    let (x, op) = if let Some(c) = number(graph, b, a) {
        let op = match binary {
            BinaryKind::Add => Op::Affine { mul: 1.0, add: c },
            BinaryKind::Sub => Op::Affine { mul: 1.0, add: -c },
            BinaryKind::Mul => Op::Affine { mul: c, add: 0.0 },
            BinaryKind::Div => Op::Affine { mul: 1.0 / c, add: 0.0 },
            BinaryKind::Pow | BinaryKind::Min | BinaryKind::Max => return false,
        };
        (a, op)
    } else if let Some(c) = number(graph, a, b) {
        let op = match binary {
            BinaryKind::Add => Op::Affine { mul: 1.0, add: c },
            BinaryKind::Sub => Op::Affine { mul: -1.0, add: c },
            BinaryKind::Mul => Op::Affine { mul: c, add: 0.0 },
            BinaryKind::Div if c == 1.0 => Op::Unary { unary: UnaryKind::Recip },
            BinaryKind::Div | BinaryKind::Pow | BinaryKind::Min | BinaryKind::Max => return false,
        };
        (b, op)
    } else {
        return false;
    };
    // Parameters of programs must be finite.
    if let Op::Affine { mul, add } = op
        && !(mul.is_finite() && add.is_finite())
    {
        return false;
    }
    graph.nodes[index].op = op;
    graph.nodes[index].inputs = vec![x];
    true
}

/// Merges `(x·a + b)·c + d`, if the inner result has a single reader.
pub(super) fn merge(graph: &mut Graph, uses: &Uses, index: usize) -> bool {
    let Op::Affine { mul, add } = graph.nodes[index].op else { return false };
    let inner = graph.nodes[index].inputs[0];
    let Some((x, first_mul, first_add)) = uses.affine(graph, inner).filter(|_| uses.reads(inner) == 1) else { return false };
    let (mul, add) = (first_mul * mul, first_add.mul_add(mul, add));
    if !mul.is_finite() || !add.is_finite() {
        return false;
    }
    graph.nodes[index].op = Op::Affine { mul, add };
    graph.nodes[index].inputs = vec![x];
    true
}

/// Removes `x·1 + 0`.
fn drop_identity(graph: &mut Graph, _: &Uses, index: usize) -> bool {
    let node = &graph.nodes[index];
    if node.op != (Op::Affine { mul: 1.0, add: 0.0 }) {
        return false;
    }
    let (x, output) = (node.inputs[0], node.output);
    graph.replace(output, x);
    true
}
