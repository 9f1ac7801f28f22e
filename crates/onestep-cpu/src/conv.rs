//! Convolutions of one picture as one matrix product: patches become the columns of a matrix, and the weight is its left side as it is
//! stored. Flex's own form turns weight, picture and result to another layout in every run, which for small pictures takes longer than
//! the product.

use burn_backend::{
    Shape,
    ops::{ConvOptions, FloatTensorOps, ModuleOps},
};
use burn_flex::{Flex, FlexTensor};

use crate::dense::tensor;

/// Floats of a matrix of patches (4 MiB). Above it flex, which works by tiles and on all cores, is the faster one.
const PATCHES: usize = 1 << 20;

/// How the kernel moves over the picture.
pub(crate) struct Window {
    pub(crate) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) padding: [usize; 4],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

/// x [N,C,H,W], weight [D,C/groups,R,S]: [N,D,H',W'], which is `output`. Without a bias.
pub(crate) fn conv2d(x: FlexTensor, weight: FlexTensor, window: &Window, output: &[usize]) -> FlexTensor {
    let [_, channels, rows, columns] = weight.layout().shape().dims();
    let pixels: usize = output[2..].iter().product();
    let depth = channels * rows * columns;
    if output[0] != 1 || window.groups != 1 || depth.checked_mul(pixels).is_none_or(|count| count > PATCHES) {
        let [top, left, bottom, right] = window.padding;
        let options = ConvOptions::new_with_padding(window.stride, [(top, bottom), (left, right)], window.dilation, window.groups);
        return Flex::conv2d(x, weight, None, options);
    }
    let weight = Flex::float_reshape(weight, Shape::new([output[1], depth]));
    let patches = if [rows, columns] == [1, 1] && window.stride == [1, 1] && window.padding == [0; 4] {
        Flex::float_reshape(x, Shape::new([depth, pixels]))
    } else {
        let x = x.to_contiguous();
        tensor(patches(&x, [rows, columns], window, [output[2], output[3]]), &[depth, pixels])
    };
    Flex::float_reshape(Flex::float_matmul(weight, patches), Shape::from(output.to_vec()))
}

/// One row for each channel and place in the kernel: the pixels that this place meets, zero where it is beyond the edge.
fn patches(x: &FlexTensor, kernel: [usize; 2], window: &Window, [out_rows, out_columns]: [usize; 2]) -> Vec<f32> {
    let [_, channels, height, width] = x.layout().shape().dims();
    let planes: &[f32] = x.storage();
    let [top, left, _, _] = window.padding;
    let mut patches = Vec::with_capacity(channels * kernel[0] * kernel[1] * out_rows * out_columns);
    for plane in planes.chunks_exact(height * width) {
        for place in 0..kernel[0] * kernel[1] {
            let (down, across) = (place / kernel[1] * window.dilation[0], place % kernel[1] * window.dilation[1]);
            for row in 0..out_rows {
                let end = patches.len() + out_columns;
                if let Some(line) = (row * window.stride[0] + down).checked_sub(top).filter(|&line| line < height) {
                    let line = &plane[line * width..][..width];
                    if window.stride[1] == 1 {
                        let before = left.saturating_sub(across).min(out_columns);
                        patches.resize(patches.len() + before, 0.0);
                        let inside = line.get(across.saturating_sub(left)..).unwrap_or_default();
                        patches.extend_from_slice(&inside[..inside.len().min(out_columns - before)]);
                    } else {
                        let at = |column: usize| (column * window.stride[1] + across).checked_sub(left).and_then(|column| line.get(column));
                        patches.extend((0..out_columns).map(|column| at(column).copied().unwrap_or(0.0)));
                    }
                }
                patches.resize(end, 0.0);
            }
        }
    }
    patches
}
