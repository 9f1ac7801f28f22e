//! Convolutions as products of the weight as it is stored, [D,K], with patches, [K,pixels], of which one panel at a time is gathered: the
//! whole matrix would be many times the picture and never lies in memory.

use onestep_program::Activation;

use crate::{
    pointwise::{activate, add},
    product::{DEPTH, Product, multiply_panel, panel_width},
    tensor::Tensor,
    threads,
    winograd::Winograd,
};

/// How the kernel moves over the picture.
pub(crate) struct Window {
    pub(crate) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) padding: [usize; 4],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

/// What follows the sums: `act(x + bias) + residual`.
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) act: Activation,
    pub(crate) residual: Option<&'a [f32]>,
}

/// x [N,C,H,W], weight [D,C/groups,R,S]: [N,D,H',W'], which is `output`.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, window: &Window, epilogue: &Epilogue<'_>, output: &[usize]) -> Tensor {
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3]);
    let (summed, kernel) = (weight.shape[1], [weight.shape[2], weight.shape[3]]);
    let [top, left, bottom, right] = window.padding;
    let padded_width = left + width + right;
    let plane = (top + height + bottom) * padded_width;
    let picture = |sample: usize| &x.elements()[sample * channels * height * width..][..channels * height * width];
    let offsets = offsets(summed, kernel, window.dilation, [plane, padded_width], 0);
    let pixels: usize = output[2..].iter().product();
    let (features, depth) = (output[1] / window.groups, offsets.len());
    let mut result = Vec::with_capacity(output.iter().product());
    for sample in 0..output[0] {
        let copy;
        let planes = if window.padding == [0; 4] {
            picture(sample)
        } else {
            copy = padded(picture(sample), [height, width], window.padding);
            &copy
        };
        for group in 0..window.groups {
            let gather = Gather {
                planes: &planes[group * summed * plane..],
                offsets: &offsets,
                row: padded_width * window.stride[0],
                step: window.stride[1],
                columns: output[3],
            };
            let first = group * features;
            let weight = &weight.elements()[first * depth..][..features * depth];
            let place = (sample * output[1] + first) * pixels;
            let epilogue = Epilogue {
                bias: epilogue.bias.map(|bias| &bias[first..first + features]),
                residual: epilogue.residual.map(|residual| &residual[place..][..features * pixels]),
                ..*epilogue
            };
            result.append(&mut convolve(weight, &gather, pixels, &epilogue));
        }
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W], a 3x3 kernel that moves by one pixel: [N,D,H',W'], which is `output`.
pub(crate) fn winograd_conv2d(x: &Tensor, weight: &Winograd, padding: [usize; 4], epilogue: &Epilogue<'_>, output: &[usize]) -> Tensor {
    let size = [x.shape[2], x.shape[3]];
    let of_sample: usize = output[1..].iter().product();
    let mut result = Vec::with_capacity(output.iter().product());
    for (sample, picture) in x.elements().chunks_exact(x.shape[1..].iter().product()).enumerate() {
        let residual = epilogue.residual.map(|residual| &residual[sample * of_sample..][..of_sample]);
        result.append(&mut weight.convolve(picture, size, padding, &Epilogue { residual, ..*epilogue }));
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W], weight [4,D,C,2,2]: [N,D,2H,2W], which is `output`.
pub(crate) fn up_conv2d(x: &Tensor, weight: &Tensor, epilogue: &Epilogue<'_>, output: &[usize]) -> Tensor {
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3]);
    let (features, pixels) = (output[1], height * width);
    let row = width + 2;
    let plane = (height + 2) * row;
    let of_phase = weight.elements().len() / 4;
    let mut result = vec![0.0; output.iter().product()];
    for (picture, result) in x.elements().chunks_exact(channels * pixels).zip(result.chunks_exact_mut(features * 4 * pixels)) {
        let planes = padded(picture, [height, width], [1; 4]);
        for down in 0..2 {
            // Both parities of a row at once, then pixel by pixel in turns.
            let [even, odd] = [0, 1].map(|across| {
                let offsets = offsets(channels, [2, 2], [1, 1], [plane, row], down * row + across);
                let gather = Gather { planes: &planes, offsets: &offsets, row, step: 1, columns: width };
                let weight = &weight.elements()[(2 * down + across) * of_phase..][..of_phase];
                convolve(weight, &gather, pixels, &Epilogue { residual: None, ..*epilogue })
            });
            for (line, (even, odd)) in even.chunks_exact(width).zip(odd.chunks_exact(width)).enumerate() {
                let place = (line * 2 + down) * 2 * width;
                for (pair, (&even, &odd)) in result[place..place + 2 * width].as_chunks_mut().0.iter_mut().zip(even.iter().zip(odd)) {
                    *pair = [even, odd];
                }
            }
        }
    }
    if let Some(residual) = epilogue.residual {
        add(&mut result, residual);
    }
    Tensor::new(result, output)
}

/// Planes with zeros around.
fn padded(planes: &[f32], [height, width]: [usize; 2], [top, left, bottom, right]: [usize; 4]) -> Vec<f32> {
    let row = left + width + right;
    let plane = (top + height + bottom) * row;
    let mut copy = vec![0.0; planes.len() / (height * width) * plane];
    for (from, to) in planes.chunks_exact(height * width).zip(copy.chunks_exact_mut(plane)) {
        for (from, to) in from.chunks_exact(width).zip(to[top * row..].chunks_exact_mut(row)) {
            to[left..left + width].copy_from_slice(from);
        }
    }
    copy
}

/// By channel and place in the kernel: how far from a patch's first element it lies.
fn offsets(channels: usize, kernel: [usize; 2], dilation: [usize; 2], [plane, row]: [usize; 2], first: usize) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(channels * kernel[0] * kernel[1]);
    for channel in 0..channels {
        for down in 0..kernel[0] {
            offsets.extend((0..kernel[1]).map(|across| first + channel * plane + down * dilation[0] * row + across * dilation[1]));
        }
    }
    offsets
}

/// Where the patches of a picture are.
struct Gather<'a> {
    planes: &'a [f32],
    /// By element of a patch, from the patch's place.
    offsets: &'a [usize],
    /// From one row of patches to the next.
    row: usize,
    /// From one patch to the next.
    step: usize,
    /// Patches in a row.
    columns: usize,
}

/// Patches that lie side by side: their first column in the panel, the place of the first of them, their number.
type Run = (usize, usize, usize);

impl Gather<'_> {
    /// The patches `first..first + count` as runs.
    fn runs(&self, first: usize, count: usize, runs: &mut Vec<Run>) {
        runs.clear();
        let mut done = 0;
        while done < count {
            let (row, column) = ((first + done) / self.columns, (first + done) % self.columns);
            let length = (count - done).min(self.columns - column);
            runs.push((done, row * self.row + column * self.step, length));
            done += length;
        }
    }

    /// Rows of a panel of `width` columns: these elements of all patches of the runs.
    fn gather(&self, offsets: &[usize], runs: &[Run], panel: &mut [f32], width: usize) {
        for (row, &offset) in panel.chunks_exact_mut(width).zip(offsets) {
            for &(column, place, length) in runs {
                let to = &mut row[column..column + length];
                let from = &self.planes[offset + place..];
                if self.step == 1 {
                    copy(to, &from[..length]);
                } else {
                    for (to, from) in to.iter_mut().zip(from.iter().step_by(self.step)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Copies; the usual lengths without a call, which would take longer than the copy.
#[inline(always)]
pub(crate) fn copy(to: &mut [f32], from: &[f32]) {
    fn fixed<const N: usize>(to: &mut [f32], from: &[f32]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
    }
    match to.len() {
        4 => fixed::<4>(to, from),
        8 => fixed::<8>(to, from),
        16 => fixed::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// weight [D,K]: [D,pixels], with the epilogue. Several threads take a range of pixels each.
fn convolve(weight: &[f32], gather: &Gather<'_>, pixels: usize, epilogue: &Epilogue<'_>) -> Vec<f32> {
    let width = panel_width();
    let panels = pixels.div_ceil(width);
    let parts = threads::parts_of(weight.len() * pixels).min(panels);
    let per_part = panels.div_ceil(parts) * width;
    let part = |index: usize| {
        let range = (index * per_part).min(pixels)..((index + 1) * per_part).min(pixels);
        convolve_range(weight, gather, range, pixels, epilogue)
    };
    joined(threads::map(parts, part), weight.len() / gather.offsets.len())
}

/// Ranges of pixels, each [D,range], as one [D,pixels].
pub(crate) fn joined(mut parts: Vec<Vec<f32>>, features: usize) -> Vec<f32> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut result = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for feature in 0..features {
        for part in &parts {
            let length = part.len() / features;
            result.extend_from_slice(&part[feature * length..][..length]);
        }
    }
    result
}

fn convolve_range(weight: &[f32], gather: &Gather<'_>, range: std::ops::Range<usize>, pixels: usize, epilogue: &Epilogue<'_>) -> Vec<f32> {
    let width = panel_width();
    let depth = gather.offsets.len();
    let rows = weight.len() / depth;
    let length = range.len();
    let mut result = vec![0.0; rows * length];
    if let Some(bias) = epilogue.bias {
        for (row, &bias) in result.chunks_exact_mut(length.max(1)).zip(bias) {
            row.fill(bias);
        }
    }
    let mut panel = vec![0.0; width * DEPTH.min(depth)];
    let mut runs = Vec::new();
    for first in range.clone().step_by(width) {
        let columns = width.min(range.end - first);
        gather.runs(first, columns, &mut runs);
        for (part, offsets) in gather.offsets.chunks(DEPTH).enumerate() {
            let panel = &mut panel[..offsets.len() * width];
            gather.gather(offsets, &runs, panel, width);
            let c = &mut result[first - range.start..];
            multiply_panel(Product { rows, a: &weight[part * DEPTH..], a_stride: depth, panel, c, c_stride: length, columns });
        }
    }
    activate(&mut result, epilogue.act);
    if let Some(residual) = epilogue.residual {
        for (row, residual) in result.chunks_exact_mut(length.max(1)).zip(residual.chunks_exact(pixels)) {
            add(row, &residual[range.clone()]);
        }
    }
    result
}
