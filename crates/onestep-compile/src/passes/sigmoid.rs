//! Replaces `x · sigmoid(x)` by SiLU and `x · sigmoid(1.702 x)` by quick GELU.

use onestep_program::{BinaryKind, Op, UnaryKind, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

/// The factor of the quick GELU.
const QUICK: f32 = 1.702;

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Mul }) {
            return false;
        }
        let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
        let Some((x, unary)) = gate(graph, uses, a, b).or_else(|| gate(graph, uses, b, a)) else { return false };
        graph.nodes[index].op = Op::Unary { unary };
        graph.nodes[index].inputs = vec![x];
        true
    });
    Ok(())
}

/// The function that x and its gate form, if any.
fn gate(graph: &Graph, uses: &Uses, x: ValueId, gate: ValueId) -> Option<(ValueId, UnaryKind)> {
    let inside = uses.unary(graph, gate, UnaryKind::Sigmoid)?;
    if inside == x {
        return Some((x, UnaryKind::Silu));
    }
    let (source, mul, add) = uses.affine(graph, inside)?;
    (source == x && mul == QUICK && add == 0.0).then_some((x, UnaryKind::QuickGelu))
}
