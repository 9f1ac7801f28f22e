//! Fuses `a · gelu(b)` of the two halves of a tensor's last axis to a GEGLU.

use onestep_program::{BinaryKind, Op, UnaryKind, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Mul }) {
            return false;
        }
        let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
        let Some(x) = halves(graph, uses, a, b).or_else(|| halves(graph, uses, b, a)) else { return false };
        graph.nodes[index].op = Op::Geglu;
        graph.nodes[index].inputs = vec![x];
        true
    });
    Ok(())
}

/// x, if `linear` is its first half and `gate` the GELU of its second.
fn halves(graph: &Graph, uses: &Uses, linear: ValueId, gate: ValueId) -> Option<ValueId> {
    let inside = uses.unary(graph, gate, UnaryKind::Gelu)?;
    let (x, first) = slice(graph, uses, linear)?;
    let (other, second) = slice(graph, uses, inside)?;
    let (whole, half) = (graph.shape(x), graph.shape(linear));
    let last = whole.len().checked_sub(1)?;
    let fits = x == other
        && graph.shape(inside) == half
        && half[..last] == whole[..last]
        && half[last].checked_mul(2) == Some(whole[last])
        && first.iter().all(|&start| start == 0)
        && second[..last].iter().all(|&start| start == 0)
        && second[last] == half[last];
    fits.then_some(x)
}

fn slice<'g>(graph: &'g Graph, uses: &Uses, id: ValueId) -> Option<(ValueId, &'g [usize])> {
    let node = uses.producer(graph, id)?;
    match &node.op {
        Op::Slice { start } => Some((node.inputs[0], start)),
        _ => None,
    }
}
