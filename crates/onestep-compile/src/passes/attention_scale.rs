//! Folds the scale of an attention into the linear layer that computes its queries: `scale·(W·x + b)·kᵀ`.
//!
//! The queries may be a part of a wider layer if only queries with the same scale read that part. To find the features of the layer in a tensor,
//! the pass moves the indices of the features as the operations move the elements.

use onestep_program::{Activation, Op, ValueId};

use super::at_each::at_each;
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let Op::Attention { scale, .. } = graph.nodes[index].op else { return false };
        // A scale above 1 could exceed the range of the weight's type.
        if scale == 1.0 || scale.abs() > 1.0 {
            return false;
        }
        let Some(layer) = layer_of(graph, uses, graph.nodes[index].inputs[0]) else { return false };
        let Some((queries, attentions)) = queries(graph, uses, layer, index) else { return false };
        let operands = graph.nodes[layer].inputs.clone();
        for id in operands.into_iter().skip(1) {
            let shape = graph.shape(id).to_vec();
            let Some(constant) = graph.constant(id) else { continue };
            let per_feature = constant.data.len() / queries.len();
            let (elements, queries) = (constant.data.clone(), queries.clone());
            let scaled = Elements::computed(elements.len(), move || {
                elements.read().iter().enumerate().map(|(at, value)| if queries[at / per_feature] { value * scale } else { *value }).collect()
            });
            let scaled = graph.add_constant(shape, Constant::computed(scaled));
            graph.nodes[layer].inputs.iter_mut().filter(|input| **input == id).for_each(|input| *input = scaled);
        }
        for attention in attentions {
            if let Op::Attention { scale, .. } = &mut graph.nodes[attention].op {
                *scale = 1.0;
            }
        }
        true
    });
    Ok(())
}

/// The position of the linear layer that computes the elements of a tensor, in any shape and order.
fn layer_of(graph: &Graph, uses: &Uses, tensor: ValueId) -> Option<usize> {
    let position = uses.position(tensor)?;
    let node = &graph.nodes[position];
    match node.op {
        Op::Slice { .. } | Op::Reshape | Op::Permute { .. } => layer_of(graph, uses, node.inputs[0]),
        Op::Linear { act: Activation::None, residual: false, .. } => {
            node.inputs[1..].iter().all(|&id| graph.constant(id).is_some()).then_some(position)
        }
        _ => None,
    }
}

/// For each feature of the layer, true if the queries of the attention at `index` contain it; and all attentions with queries among these
/// features. `None` if another operation reads them.
fn queries(graph: &Graph, uses: &Uses, layer: usize, index: usize) -> Option<(Vec<bool>, Vec<usize>)> {
    let parts = parts(graph, uses, layer);
    let wanted = &parts.iter().find(|part| part.reader == Some((index, 0)))?.features;
    let mut attentions = Vec::new();
    for part in &parts {
        let mut both = part.features.iter().zip(wanted).filter(|(inside, wanted)| **inside && **wanted).peekable();
        if both.peek().is_none() {
            continue;
        }
        let (reader, position) = part.reader?;
        let within = part.features.iter().zip(wanted).all(|(inside, wanted)| *wanted || !*inside);
        let same = match (&graph.nodes[reader].op, &graph.nodes[index].op) {
            (Op::Attention { scale, .. }, Op::Attention { scale: wanted, .. }) => scale == wanted,
            _ => false,
        };
        if !(within && same && position == 0) {
            return None;
        }
        attentions.push(reader);
    }
    Some((wanted.clone(), attentions))
}

/// Features of a layer that one operation reads.
struct Part {
    /// The operation and the index of its input; `None` for an output of the program.
    reader: Option<(usize, usize)>,
    /// For each feature, true if it is read.
    features: Vec<bool>,
}

fn parts(graph: &Graph, uses: &Uses, layer: usize) -> Vec<Part> {
    let output = graph.nodes[layer].output;
    let width = graph.shape(output).last().copied().unwrap_or(1);
    let numbers: Vec<usize> = (0..graph.shape(output).iter().product()).map(|at: usize| at % width).collect();
    let mut parts = Vec::new();
    let mut open = vec![(output, numbers)];
    while let Some((value, numbers)) = open.pop() {
        let mut part = |reader| {
            let mut features = vec![false; width];
            numbers.iter().for_each(|&number| features[number] = true);
            parts.push(Part { reader, features });
        };
        graph.outputs.iter().filter(|port| port.value == value).for_each(|_| part(None));
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| uses.is_live(*index)) {
            for (position, _) in node.inputs.iter().enumerate().filter(|(_, id)| **id == value) {
                match moved(&numbers, &node.op, graph.shape(value), graph.shape(node.output)) {
                    Some(moved) => open.push((node.output, moved)),
                    None => part(Some((index, position))),
                }
            }
        }
    }
    parts
}

/// The elements of a tensor of shape `from` after an operation that moves them to the shape `to`; `None` for other operations.
fn moved(elements: &[usize], op: &Op, from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1; from.len()];
    for axis in (1..from.len()).rev() {
        strides[axis - 1] = strides[axis] * from[axis];
    }
    let (first, strides) = match op {
        Op::Reshape => return Some(elements.to_vec()),
        Op::Permute { axes } => (0, axes.iter().map(|&axis| strides[axis]).collect()),
        Op::Slice { start } => (start.iter().zip(&strides).map(|(start, stride)| start * stride).sum(), strides),
        _ => return None,
    };
    let mut offsets: Vec<usize> = vec![first];
    for (length, stride) in to.iter().zip(strides) {
        offsets = offsets.iter().flat_map(|offset| (0..*length).map(move |step| offset + step * stride)).collect();
    }
    Some(offsets.into_iter().map(|offset| elements[offset]).collect())
}
