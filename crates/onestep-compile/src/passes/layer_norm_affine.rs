//! Folds factor and offset of a layer normalisation into the linear layers that read it.
//!
//! `W·(γ·n + β) + b = (W·diag(γ))·n + (b + W·β)`: the remaining normalisation has no parameters, so that layers that normalise the same
//! values can use one, and a backend can normalise while it reads.

use std::collections::BTreeSet;

use onestep_program::{Op, ValueId};

use super::at_each::at_each;
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
    uses::Uses,
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let node = &graph.nodes[index];
        let Op::LayerNorm { epsilon, affine: true } = node.op else { return false };
        let (x, output) = (node.inputs[0], node.output);
        let (Some(gamma), Some(beta)) = (graph.constant(node.inputs[1]).cloned(), graph.constant(node.inputs[2]).cloned()) else { return false };
        let Some(layers) = readers(graph, uses, output) else { return false };
        let Some(folded) = layers.iter().map(|&layer| fold(graph, layer, &gamma, &beta)).collect::<Option<Vec<Folded>>>() else { return false };
        for (layer, folded) in layers.into_iter().zip(folded) {
            replace(graph, layer, folded);
        }
        graph.nodes[index].op = Op::LayerNorm { epsilon, affine: false };
        graph.nodes[index].inputs = vec![x];
        true
    });
    Ok(())
}

/// The positions of the linear layers that read a value, perhaps with its rows rearranged; `None` if another operation reads it.
fn readers(graph: &Graph, uses: &Uses, value: ValueId) -> Option<BTreeSet<usize>> {
    let mut layers = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if graph.outputs.iter().any(|port| port.value == value) {
            return None;
        }
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, node)| uses.is_live(*index) && node.inputs.contains(&value)) {
            match node.op {
                Op::Linear { .. } if node.inputs[1..].iter().all(|&other| other != value) => {
                    layers.insert(index);
                }
                Op::Reshape if graph.shape(node.output).last() == graph.shape(value).last() => open.push(node.output),
                _ => return None,
            }
        }
    }
    Some(layers)
}

/// A linear layer's new weight and, if it changes, bias.
struct Folded {
    weight: Constant,
    bias: Option<Constant>,
}

fn fold(graph: &Graph, layer: usize, gamma: &Constant, beta: &Constant) -> Option<Folded> {
    let node = &graph.nodes[layer];
    let Op::Linear { bias: has_bias, .. } = node.op else { return None };
    let old = graph.constant(node.inputs[1])?;
    let present = if has_bias { Some(graph.constant(node.inputs[2])?) } else { None };
    let width = gamma.data.len();
    let (elements, factors) = (old.data.clone(), gamma.data.clone());
    let weight = Elements::computed(elements.len(), move || {
        let factors = factors.read();
        elements.read().chunks_exact(width).flat_map(|row| row.iter().zip(factors.iter()).map(|(w, g)| w * g)).collect()
    });
    let weight = Some(Constant::computed(weight)).filter(Constant::fits_half)?;
    let offsets = beta.data.read();
    if offsets.iter().all(|&offset| offset == 0.0) {
        return Some(Folded { weight, bias: None });
    }
    let shift = |row: &[f32]| row.iter().zip(offsets.iter()).map(|(&w, &b)| f64::from(w) * f64::from(b)).sum::<f64>();
    let present = present.map(|bias| bias.data.read());
    let old = old.data.read();
    let bias = old.chunks_exact(width).enumerate().map(|(feature, row)| {
        let present = present.as_ref().map_or(0.0, |bias| f64::from(bias[feature]));
        (present + shift(row)) as f32
    });
    Some(Folded { weight, bias: Some(Constant::computed(bias.collect::<Vec<f32>>())) })
}

fn replace(graph: &mut Graph, layer: usize, folded: Folded) {
    let shape = graph.shape(graph.nodes[layer].inputs[1]).to_vec();
    let weight = graph.add_constant(shape, folded.weight);
    graph.nodes[layer].inputs[1] = weight;
    if let Some(bias) = folded.bias {
        graph.set_bias(layer, bias);
    }
}
