//! Folds a constant per output feature that is added to a convolution or linear layer into its bias.

use onestep_program::{Activation, BinaryKind, Op, ValueId};

use super::at_each::at_each;
use crate::{
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        if graph.nodes[index].op != (Op::Binary { binary: BinaryKind::Add }) {
            return false;
        }
        let (a, b) = (graph.nodes[index].inputs[0], graph.nodes[index].inputs[1]);
        absorb(graph, uses, index, a, b) || absorb(graph, uses, index, b, a)
    });
    Ok(())
}

/// Replaces the operation at `index`, `layer + constant`, by the layer with that bias.
fn absorb(graph: &mut Graph, uses: &Uses, index: usize, layer: ValueId, constant: ValueId) -> bool {
    let Some(added) = graph.constant(constant).cloned() else { return false };
    let Some(node) = uses.producer(graph, layer).filter(|_| uses.reads(layer) == 1) else { return false };
    let output = graph.shape(graph.nodes[index].output);
    let (feature_axis, has_bias) = match node.op {
        Op::Conv2d { bias, act: Activation::None, residual: false, .. } => (1, bias),
        Op::Linear { bias, act: Activation::None, residual: false } => (output.len() - 1, bias),
        _ => return false,
    };
    // Aligned at the last axis: the constant varies along the features only.
    let shape = graph.shape(constant);
    let missing = output.len() - shape.len().min(output.len());
    let features = output[feature_axis];
    let fits = graph.shape(layer) == output
        && shape.len() <= output.len()
        && shape.iter().enumerate().all(|(axis, &length)| length == if axis + missing == feature_axis { features } else { 1 });
    if !fits || added.data.len() != features {
        return false;
    }
    let (mut op, mut inputs) = (node.op.clone(), node.inputs.clone());
    if has_bias {
        let Some(present) = graph.constant(inputs[2]) else { return false };
        let sum: Vec<f32> = present.data.read().iter().zip(added.data.read().iter()).map(|(a, b)| a + b).collect();
        inputs[2] = graph.add_constant(vec![features], Constant::computed(sum));
    } else {
        inputs.push(graph.add_constant(vec![features], added));
    }
    if let Op::Conv2d { bias, .. } | Op::Linear { bias, .. } = &mut op {
        *bias = true;
    }
    graph.nodes[index].op = op;
    graph.nodes[index].inputs = inputs;
    true
}
