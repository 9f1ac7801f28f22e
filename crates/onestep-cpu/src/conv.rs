//! Convolutions as products of the weight [D,K] with the image's patches [K,pixels] (im2col). One panel of patches is gathered at a time,
//! because the whole matrix would be many times as large as the image.

use pulp::{Arch, Simd, WithSimd};

use crate::{
    conv_output::{Band, COPY_WORK, Epilogue, bands, scatter},
    memory::{Buffer, Memory},
    pointwise::{activate, set, set_sum},
    product::{DEPTH, Left, Product, Strips, VECTORS, multiply_panel, panel_width},
    tensor::Tensor,
    threads,
    winograd::Winograd,
};

/// Stride, padding, dilation and groups of a convolution.
pub(crate) struct Window {
    pub(crate) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) padding: [usize; 4],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

/// The packed weights of a convolution.
pub(crate) struct Kernels {
    /// By group, or by parity: a matrix [D,K].
    pub(crate) strips: Vec<Strips>,
    /// Height and width.
    kernel: [usize; 2],
}

impl Kernels {
    pub(crate) fn elements(&self) -> usize {
        self.strips.iter().map(Strips::elements).sum()
    }

    /// Packs a weight of `parts` groups or parities; its last two axes are the kernel.
    pub(crate) fn new(weight: &[f32], shape: &[usize], parts: usize) -> Self {
        let depth: usize = shape[shape.len() - 3..].iter().product();
        let of_part = weight.len() / parts;
        let strips = weight.chunks_exact(of_part).map(|part| Strips::new(part, of_part / depth, depth)).collect();
        Self { strips, kernel: [shape[shape.len() - 2], shape[shape.len() - 1]] }
    }
}

/// x [N,C,H,W], weight [D,C/groups,R,S], strips of each group's [D/groups,K]: [N,D,H',W'], which is `output`.
pub(crate) fn conv2d(x: &Tensor, weight: &Kernels, window: &Window, epilogue: &Epilogue<'_>, output: &[usize], memory: &Memory) -> Tensor {
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3]);
    let [top, left, bottom, right] = window.padding;
    let padded_width = left + width + right;
    let plane = (top + height + bottom) * padded_width;
    let summed = channels / window.groups;
    let offsets = offsets(summed, weight.kernel, window.dilation, [plane, padded_width], 0);
    let pixels: usize = output[2..].iter().product();
    let features = output[1] / window.groups;
    let mut result = memory.stale(output.iter().product());
    let mut results = result.chunks_exact_mut(features * pixels).enumerate();
    for image in x.elements().chunks_exact(channels * height * width) {
        let copy;
        let planes = if window.padding == [0; 4] {
            image
        } else {
            copy = padded(image, [height, width], window.padding, memory);
            &copy
        };
        for (group, (strips, (index, result))) in weight.strips.iter().zip(&mut results).enumerate() {
            let gather = Gather {
                planes: &planes[group * summed * plane..],
                offsets: &offsets,
                row: padded_width * window.stride[0],
                step: window.stride[1],
                columns: output[3],
            };
            let epilogue = Epilogue {
                bias: epilogue.bias.map(|bias| &bias[group * features..][..features]),
                residual: epilogue.residual.map(|residual| &residual[index * features * pixels..][..features * pixels]),
                ..*epilogue
            };
            convolve(strips, &gather, pixels, &epilogue, result);
        }
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W], a 3x3 kernel that moves by one pixel: [N,D,H',W'], which is `output`.
pub(crate) fn winograd_conv2d(
    x: &Tensor,
    weight: &Winograd,
    padding: [usize; 4],
    epilogue: &Epilogue<'_>,
    output: &[usize],
    memory: &Memory,
) -> Tensor {
    let size = [x.shape[2], x.shape[3]];
    let of_sample: usize = output[1..].iter().product();
    let mut result = memory.stale(output.iter().product());
    let images = x.elements().chunks_exact(x.shape[1..].iter().product());
    for (sample, (image, result)) in images.zip(result.chunks_exact_mut(of_sample)).enumerate() {
        let residual = epilogue.residual.map(|residual| &residual[sample * of_sample..][..of_sample]);
        weight.convolve(image, size, padding, &Epilogue { residual, ..*epilogue }, result, memory);
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W], weight [4,D,C,2,2], strips of each [D,K]: [N,D,2H,2W], which is `output`.
pub(crate) fn up_conv2d(x: &Tensor, weight: &Kernels, epilogue: &Epilogue<'_>, output: &[usize], memory: &Memory) -> Tensor {
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3]);
    let (features, pixels) = (output[1], height * width);
    let row = width + 2;
    let plane = (height + 2) * row;
    // By parity of the row and of the column.
    let offsets: Vec<Vec<usize>> = [0, 1, row, row + 1].map(|first| offsets(channels, [2, 2], [1, 1], [plane, row], first)).into();
    let depth = channels * 4;
    let parts = threads::parts_of(4 * features * depth * pixels).min(height);
    let of_part = height.div_ceil(parts);
    let mut result = memory.stale(output.iter().product());
    for (sample, (image, result)) in x.elements().chunks_exact(channels * pixels).zip(result.chunks_exact_mut(features * 4 * pixels)).enumerate() {
        let planes = padded(image, [height, width], [1; 4], memory);
        let residual = epilogue.residual.map(|residual| &residual[sample * features * 4 * pixels..][..features * 4 * pixels]);
        threads::for_each(bands(result, 4 * pixels, of_part * 4 * width), |mut band: Band<'_>| {
            let columns = panel_width();
            let (mut panel, mut block) = (vec![0.0; columns * DEPTH.min(depth)], vec![0.0; 4 * features * columns]);
            let mut tile = vec![0.0; 4 * columns];
            let mut runs = Vec::new();
            let (begin, end) = (band.first / 4, (band.first + band.length) / 4);
            for first in (begin..end).step_by(columns) {
                let count = columns.min(end - first);
                for ((offsets, strips), block) in offsets.iter().zip(&weight.strips).zip(block.chunks_exact_mut(features * columns)) {
                    let gather = Gather { planes: &planes, offsets, row, step: 1, columns: width };
                    gather.runs(first, count, &mut runs);
                    gather.multiply(strips, &runs, epilogue.bias, &mut panel, block);
                    activate(block, epilogue.act);
                }
                for (feature, line) in band.rows.iter_mut().enumerate() {
                    for (tile, block) in tile.chunks_exact_mut(columns).zip(block.chunks_exact(features * columns)) {
                        set(tile, &block[feature * columns..]);
                    }
                    let residual = residual.map(|residual| &residual[feature * 4 * pixels + band.first..][..band.length]);
                    scatter(&tile, first - begin, count, [width, 2 * width], line, residual);
                }
            }
        });
    }
    Tensor::new(result, output)
}

/// Pads planes with zeros.
fn padded(planes: &[f32], [height, width]: [usize; 2], [top, left, bottom, right]: [usize; 4], memory: &Memory) -> Buffer {
    let row = left + width + right;
    let plane = (top + height + bottom) * row;
    let mut copy = memory.stale(planes.len() / (height * width) * plane);
    let parts = threads::parts_of(copy.len() * COPY_WORK);
    threads::for_chunks(&mut copy, plane, parts, |channel, to| {
        let (above, to) = to.split_at_mut(top * row);
        let (to, below) = to.split_at_mut(height * row);
        above.fill(0.0);
        below.fill(0.0);
        for (from, to) in planes[channel * height * width..].chunks_exact(width).zip(to.chunks_exact_mut(row)) {
            to[..left].fill(0.0);
            to[left..left + width].copy_from_slice(from);
            to[left + width..].fill(0.0);
        }
    });
    copy
}

/// The offset of each element of a patch from its first, by channel and position in the kernel.
fn offsets(channels: usize, kernel: [usize; 2], dilation: [usize; 2], [plane, row]: [usize; 2], first: usize) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(channels * kernel[0] * kernel[1]);
    for channel in 0..channels {
        for down in 0..kernel[0] {
            offsets.extend((0..kernel[1]).map(|across| first + channel * plane + down * dilation[0] * row + across * dilation[1]));
        }
    }
    offsets
}

/// The patches of an image.
struct Gather<'a> {
    planes: &'a [f32],
    /// The offset of each element from the first element of its patch.
    offsets: &'a [usize],
    /// Distance between two rows of patches.
    row: usize,
    /// Distance between two patches of a row.
    step: usize,
    /// Patches per row.
    columns: usize,
}

/// Adjacent patches: the first column in the panel, the offset of the first patch, the number of patches.
type Run = (usize, usize, usize);

impl Gather<'_> {
    /// Splits the patches `first..first + count` into runs.
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

    /// Multiplies strips [D,K] with the patches of the runs and adds the bias, giving `block` [D,[`panel_width`]]. `panel` is scratch memory of
    /// [`DEPTH`] rows.
    fn multiply(&self, strips: &Strips, runs: &[Run], bias: Option<&[f32]>, panel: &mut [f32], block: &mut [f32]) {
        let width = panel_width();
        for (row, block) in block.chunks_exact_mut(width).enumerate() {
            block.fill(bias.map_or(0.0, |bias| bias[row]));
        }
        for (part, offsets) in self.offsets.chunks(DEPTH).enumerate() {
            let panel = &mut panel[..offsets.len() * width];
            self.gather(offsets, runs, panel, width);
            let a = Left::Strips { strips, first: part * DEPTH };
            multiply_panel(Product { rows: strips.rows(), a, panel, c: &mut *block, c_stride: width, columns: width, add: true });
        }
    }

    /// Gathers rows of a panel of `width` columns: the elements at `offsets` of all patches of the runs.
    fn gather(&self, offsets: &[usize], runs: &[Run], panel: &mut [f32], width: usize) {
        if self.step == 1
            && let [(0, offset, length)] = *runs
            && length == width
        {
            return Arch::new().dispatch(FullRows { planes: &self.planes[offset..], offsets, panel });
        }
        for (row, &offset) in panel.chunks_exact_mut(width).zip(offsets) {
            for &(column, start, length) in runs {
                let to = &mut row[column..column + length];
                let from = &self.planes[start + offset..];
                if self.step == 1 {
                    to.copy_from_slice(&from[..length]);
                } else {
                    for (to, from) in to.iter_mut().zip(from.iter().step_by(self.step)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Copies rows of a panel that are contiguous in the planes. With SIMD vectors, because a copy of unknown length is a function call.
struct FullRows<'a> {
    planes: &'a [f32],
    offsets: &'a [usize],
    panel: &'a mut [f32],
}

impl WithSimd for FullRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = VECTORS * S::F32_LANES;
        let (panel, _) = S::as_mut_simd_f32s(self.panel);
        for (row, &offset) in panel.as_chunks_mut::<VECTORS>().0.iter_mut().zip(self.offsets) {
            let (from, _) = S::as_simd_f32s(&self.planes[offset..][..width]);
            for (to, from) in row.iter_mut().zip(from) {
                *to = *from;
            }
        }
    }
}

/// Convolves with strips [D,K] into `result` [D,pixels] and applies the epilogue. Threads share the pixels.
fn convolve(strips: &Strips, gather: &Gather<'_>, pixels: usize, epilogue: &Epilogue<'_>, result: &mut [f32]) {
    let width = panel_width();
    let panels = pixels.div_ceil(width);
    let parts = threads::parts_of(strips.rows() * strips.depth() * pixels).min(panels);
    threads::for_each(bands(result, pixels, panels.div_ceil(parts) * width), |mut band| {
        let mut panel = vec![0.0; width * DEPTH.min(strips.depth())];
        let mut block = vec![0.0; strips.rows() * width];
        let mut runs = Vec::new();
        for first in (0..band.length).step_by(width) {
            let columns = width.min(band.length - first);
            gather.runs(band.first + first, columns, &mut runs);
            gather.multiply(strips, &runs, epilogue.bias, &mut panel, &mut block);
            activate(&mut block, epilogue.act);
            for (feature, (row, block)) in band.rows.iter_mut().zip(block.chunks_exact(width)).enumerate() {
                let row = &mut row[first..first + columns];
                match epilogue.residual {
                    None => set(row, block),
                    Some(residual) => set_sum(row, block, &residual[feature * pixels + band.first + first..]),
                }
            }
        }
    });
}
