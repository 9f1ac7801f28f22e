//! Replaces a 3x3 convolution after nearest upsampling by 2 with one 2x2 convolution per parity of the result's rows and columns.
//!
//! Along an axis of repeated pixels, three adjacent taps read only two pixels, one of them twice: at even positions the previous and the current
//! one, at odd positions the current and the next. Summing the taps in advance leaves four of nine products. The padding of the upsampled image
//! corresponds to the padding of the original one, so the result is exact at the edges, too. The decomposition is that of Shi et al., "Is the
//! deconvolution layer the same as a convolutional layer?" (arXiv:1609.07009).

use onestep_program::Op;

use super::at_each::at_each;
use crate::{
    elements::Elements,
    error::CompileError,
    graph::{Constant, Graph},
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let node = &graph.nodes[index];
        let Op::Conv2d { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1, bias, act, residual } = node.op else { return false };
        let Some(enlarged) = uses.producer(graph, node.inputs[0]).filter(|node| node.op == Op::UpsampleNearest) else {
            return false;
        };
        let (x, weight) = (enlarged.inputs[0], node.inputs[1]);
        let (from, to) = (graph.shape(x), graph.shape(enlarged.output));
        if to[2..] != [2 * from[2], 2 * from[3]] {
            return false;
        }
        let [out, summed, 3, 3] = *graph.shape(weight) else { return false };
        let Some(kernel) = graph.constant(weight) else { return false };
        let elements = kernel.data.clone();
        let phases = Constant::computed(Elements::computed(elements.len() / 9 * 16, move || phases(&elements.read())));
        if !phases.fits_half() {
            return false;
        }
        let phases = graph.add_constant(vec![4, out, summed, 2, 2], phases);
        let node = &mut graph.nodes[index];
        node.op = Op::UpConv2d { bias, act, residual };
        node.inputs[0] = x;
        node.inputs[1] = phases;
        true
    });
    Ok(())
}

/// The taps of one axis that read the first and the second pixel, by parity.
const TAPS: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];

/// Converts kernels […,3,3] to [4,…,2,2].
fn phases(kernels: &[f32]) -> Vec<f32> {
    let mut data = Vec::with_capacity(kernels.len() / 9 * 16);
    for rows in TAPS {
        for columns in TAPS {
            for kernel in kernels.chunks_exact(9) {
                for row in rows {
                    for column in columns {
                        data.push(row.iter().flat_map(|row| column.iter().map(move |column| kernel[3 * row + column])).sum());
                    }
                }
            }
        }
    }
    data
}
