//! Replaces a linear layer of tokens, which are then reshaped to an image and added to another image, by a 1x1 convolution with a residual.
//!
//! The tokens are reshaped to an image before the layer instead of after it, so that the addition directly follows the layer.

use onestep_program::{BinaryKind, DType, Node, Op, ValueId};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph, uses::Uses};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Add }) {
            return false;
        }
        let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
        let shape = graph.shape(graph.nodes[index].output);
        if graph.shape(a) != shape || graph.shape(b) != shape {
            return false;
        }
        replace(graph, uses, index, a, b) || replace(graph, uses, index, b, a)
    });
    Ok(())
}

/// Replaces `pixels + other` by the convolution, if the pixels are a linear layer's tokens [N,L,D] reshaped to [N,D,H,W].
fn replace(graph: &mut Graph, uses: &Uses, index: usize, pixels: ValueId, other: ValueId) -> bool {
    let only_read_here = |id: ValueId| uses.producer(graph, id).filter(|_| uses.reads(id) == 1);
    let Some(spread) = only_read_here(pixels).filter(|node| node.op == Op::Reshape) else { return false };
    let Some(turned) = only_read_here(spread.inputs[0]).filter(|node| node.op == (Op::Permute { axes: vec![0, 2, 1] })) else { return false };
    let Some(linear) = only_read_here(turned.inputs[0]) else { return false };
    let Op::Linear { bias, act, residual: false } = linear.op else { return false };
    let (x, weight) = (linear.inputs[0], linear.inputs[1]);
    let [batch, features, height, width] = *graph.shape(pixels) else { return false };
    let [_, tokens, _] = *graph.shape(turned.inputs[0]) else { return false };
    let (&[out, summed], Some(constant)) = (graph.shape(weight), graph.constant(weight).cloned()) else { return false };
    if out != features || graph.shape(spread.inputs[0]) != [batch, features, tokens] || tokens != height * width {
        return false;
    }
    let extra = linear.inputs[2..].to_vec();
    let kernel = graph.add_constant(vec![out, summed, 1, 1], constant);
    let rows = graph.add(vec![batch, summed, tokens], DType::F32);
    let image = graph.add(vec![batch, summed, height, width], DType::F32);
    graph.nodes[index].op = Op::Conv2d { stride: [1, 1], padding: [0; 4], dilation: [1, 1], groups: 1, bias, act, residual: true };
    graph.nodes[index].inputs = [vec![image, kernel], extra, vec![other]].concat();
    graph.nodes.splice(
        index..index,
        [
            Node { op: Op::Permute { axes: vec![0, 2, 1] }, inputs: vec![x], output: rows },
            Node { op: Op::Reshape, inputs: vec![rows], output: image },
        ],
    );
    true
}
