//! Fuses `softmax(scale·q·kᵀ + mask)·v` to an attention.

use onestep_program::{BinaryKind, DType, Node, Op, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

/// Smallest magnitude of a mask value for hidden keys. Scores of networks are negligible in comparison.
const HIDDEN: f32 = -1e4;

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| match find(graph, uses, index) {
        Some(found) => replace(graph, index, &found),
        None => false,
    });
    Ok(())
}

/// Operands and parameters of an attention.
struct Found {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    scale: f32,
    causal: bool,
}

fn find(graph: &Graph, uses: &Uses, index: usize) -> Option<Found> {
    let node = &graph.nodes[index];
    if node.op != Op::MatMul {
        return None;
    }
    let (weights, v) = (node.inputs[0], node.inputs[1]);
    let softmax = only_read_here(graph, uses, weights)?;
    let rank = graph.shape(weights).len();
    if softmax.op != (Op::Softmax { axis: rank - 1 }) || !(3..=4).contains(&rank) {
        return None;
    }
    let (scores, causal) = unmask(graph, uses, softmax.inputs[0])?;
    let (scores, mut scale) = unscale(graph, uses, scores);
    let product = only_read_here(graph, uses, scores).filter(|node| node.op == Op::MatMul)?;
    let turned = uses.producer(graph, product.inputs[1])?;
    let swapped: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    if turned.op != (Op::Permute { axes: swapped }) {
        return None;
    }
    let (q, first) = unscale(graph, uses, product.inputs[0]);
    let (k, second) = unscale(graph, uses, turned.inputs[0]);
    scale *= first * second;
    let (qs, ks, vs) = (graph.shape(q), graph.shape(k), graph.shape(v));
    // The leading axes of a matrix product may broadcast, those of an attention may not.
    let leading = rank - 2;
    let fits = qs.len() == rank
        && ks.len() == rank
        && vs.len() == rank
        && qs[..leading] == ks[..leading]
        && ks[..=leading] == vs[..=leading]
        && qs[rank - 1] == ks[rank - 1];
    (fits && scale.is_finite()).then_some(Found { q, k, v, scale, causal })
}

/// The operation that computes a value with a single reader.
fn only_read_here<'g>(graph: &'g Graph, uses: &Uses, id: ValueId) -> Option<&'g Node> {
    uses.producer(graph, id).filter(|_| uses.reads(id) == 1)
}

/// x and its factor, if the value is `x·factor` and has a single reader.
fn unscale(graph: &Graph, uses: &Uses, value: ValueId) -> (ValueId, f32) {
    match uses.affine(graph, value) {
        Some((x, mul, 0.0)) if uses.reads(value) == 1 => (x, mul),
        _ => (value, 1.0),
    }
}

/// The scores before a mask, and true if the mask is causal; `None` for other masks.
fn unmask(graph: &Graph, uses: &Uses, scores: ValueId) -> Option<(ValueId, bool)> {
    let shape = graph.shape(scores);
    let rank = shape.len();
    let (queries, keys) = (shape[rank - 2], shape[rank - 1]);
    let Some((a, b)) = uses.binary(graph, scores, BinaryKind::Add) else { return Some((scores, false)) };
    if uses.reads(scores) != 1 {
        return None;
    }
    let (below, mask) = if graph.constant(b).is_some() { (a, b) } else { (b, a) };
    let added = per_score(graph, mask, queries, keys)?;
    let later = |index: usize| index % keys > index / keys;
    let causal = added.iter().enumerate().all(|(index, &value)| if later(index) { value <= HIDDEN } else { value == 0.0 });
    if !causal || graph.shape(below) != shape {
        return None;
    }
    // The variant that first sets the hidden scores to zero.
    if let Some((a, b)) = uses.binary(graph, below, BinaryKind::Mul).filter(|_| uses.reads(below) == 1) {
        let (inner, kept) = if graph.constant(b).is_some() { (a, b) } else { (b, a) };
        let cleared = per_score(graph, kept, queries, keys)
            .is_some_and(|kept| kept.iter().enumerate().all(|(index, &value)| value == if later(index) { 0.0 } else { 1.0 }));
        if cleared && graph.shape(inner) == shape {
            return Some((inner, true));
        }
    }
    Some((below, true))
}

/// The elements [queries, keys] of a constant that is equal for all heads.
fn per_score(graph: &Graph, id: ValueId, queries: usize, keys: usize) -> Option<Vec<f32>> {
    let shape = graph.shape(id);
    let (_, last) = shape.split_at(shape.len().checked_sub(2)?);
    let data = graph.constant(id).filter(|_| last == [queries, keys])?.data.read();
    let mut heads = data.chunks_exact((queries * keys).max(1));
    let first = heads.next()?;
    heads.all(|head| head == first).then(|| first.to_vec())
}

fn replace(graph: &mut Graph, index: usize, found: &Found) -> bool {
    let Found { q, k, v, scale, causal } = *found;
    let op = Op::Attention { scale, causal };
    if graph.shape(q).len() == 4 {
        graph.nodes[index].op = op;
        graph.nodes[index].inputs = vec![q, k, v];
        return true;
    }
    // With three axes [N,L,D]: a single head.
    let mut position = index;
    let inputs: Vec<ValueId> = [q, k, v]
        .into_iter()
        .map(|x| {
            let [n, length, depth] = *graph.shape(x) else { return x };
            let output = graph.add(vec![n, 1, length, depth], DType::F32);
            graph.nodes.insert(position, Node { op: Op::Reshape, inputs: vec![x], output });
            position += 1;
            output
        })
        .collect();
    let (q_shape, v_shape) = (graph.shape(inputs[0]).to_vec(), graph.shape(inputs[2]).to_vec());
    let output = graph.add(vec![q_shape[0], 1, q_shape[2], v_shape[3]], DType::F32);
    graph.nodes.insert(position, Node { op, inputs, output });
    position += 1;
    graph.nodes[position].op = Op::Reshape;
    graph.nodes[position].inputs = vec![output];
    true
}
