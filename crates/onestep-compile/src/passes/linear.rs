//! Replaces a multiplication by a constant matrix [K,D] by a linear layer with the weight [D,K].

use onestep_program::{Activation, Op};

use super::at_each::at_each;
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, _, index| {
        let node = &graph.nodes[index];
        if node.op != Op::MatMul {
            return false;
        }
        let (x, matrix) = (node.inputs[0], node.inputs[1]);
        let Some(constant) = graph.constant(matrix) else { return false };
        let shape = graph.shape(matrix);
        let (leading, [summed, width]) = shape.split_at(shape.len() - 2) else { return false };
        // A single matrix, without leading axes of length 1 that only the result has.
        if leading.iter().any(|&length| length != 1) || shape.len() > graph.shape(x).len() {
            return false;
        }
        let (summed, width) = (*summed, *width);
        let elements = constant.data.clone();
        let data = Elements::computed(elements.len(), move || transposed(&elements.read(), summed, width));
        let weight = Constant { parameter: constant.parameter.clone(), untouched: false, data };
        let weight = graph.add_constant(vec![width, summed], weight);
        graph.nodes[index].op = Op::Linear { bias: false, act: Activation::None, residual: false };
        graph.nodes[index].inputs = vec![x, weight];
        true
    });
    Ok(())
}

/// Transposes [K,D] to [D,K].
fn transposed(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// The side of the blocks in which elements are moved, so that rows and columns of a block stay in the cache.
    const BLOCK: usize = 32;
    let mut turned = vec![0.0; rows * columns];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for row in first_row..rows.min(first_row + BLOCK) {
                for column in first_column..columns.min(first_column + BLOCK) {
                    turned[column * rows + row] = data[row * columns + column];
                }
            }
        }
    }
    turned
}
