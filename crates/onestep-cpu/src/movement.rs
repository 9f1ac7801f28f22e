//! Operations that move elements without arithmetic.

use onestep_program::nearest_source;

use crate::{memory::Memory, tensor::Tensor};

/// The strides of a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// The strides of a tensor that is broadcast to `output`: 0 along missing axes and axes of length 1.
pub(crate) fn broadcast_strides(shape: &[usize], output: &[usize]) -> Vec<usize> {
    let missing = output.len() - shape.len();
    let inner = strides(shape);
    (0..output.len()).map(|axis| if axis < missing || shape[axis - missing] == 1 { 0 } else { inner[axis - missing] }).collect()
}

/// Calls `row` for each index of all axes but the last, with the offset in each operand.
pub(crate) fn for_rows<const N: usize>(shape: &[usize], strides: [&[usize]; N], mut row: impl FnMut([usize; N])) {
    let outer = shape.len().saturating_sub(1);
    let mut index = vec![0; outer];
    let mut offsets = [0; N];
    loop {
        row(offsets);
        let mut axis = outer;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for (offset, strides) in offsets.iter_mut().zip(strides) {
                *offset += strides[axis];
            }
            if index[axis] < shape[axis] {
                break;
            }
            for (offset, strides) in offsets.iter_mut().zip(strides) {
                *offset -= strides[axis] * shape[axis];
            }
            index[axis] = 0;
        }
    }
}

/// Copies the elements of x from `first` on, with these strides, in the row-major order of `output`.
fn strided(x: &Tensor, first: usize, strides: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    // Axes that are contiguous in both are merged.
    let (mut shape, mut steps): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (&length, &step) in output.iter().zip(strides) {
        match (shape.last_mut(), steps.last_mut()) {
            (_, _) if length == 1 => {}
            (Some(outer), Some(outer_step)) if *outer_step == step * length => {
                *outer *= length;
                *outer_step = step;
            }
            _ => {
                shape.push(length);
                steps.push(step);
            }
        }
    }
    let (length, step) = (shape.last().copied().unwrap_or(1), steps.last().copied().unwrap_or(1));
    let elements = &x.elements()[first..];
    let mut result = memory.empty(output.iter().product());
    for_rows(&shape, [&steps], |[offset]| match step {
        1 => result.extend_from_slice(&elements[offset..offset + length]),
        0 => result.extend(std::iter::repeat_n(elements[offset], length)),
        _ => result.extend(elements[offset..].iter().step_by(step).take(length)),
    });
    Tensor::new(result, output)
}

pub(crate) fn slice(x: &Tensor, start: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    let steps = strides(&x.shape);
    let first = start.iter().zip(&steps).map(|(start, stride)| start * stride).sum();
    strided(x, first, &steps, output, memory)
}

pub(crate) fn permute(x: &Tensor, axes: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    let steps = strides(&x.shape);
    let steps: Vec<usize> = axes.iter().map(|&axis| steps[axis]).collect();
    strided(x, 0, &steps, output, memory)
}

pub(crate) fn expand(x: &Tensor, output: &[usize], memory: &Memory) -> Tensor {
    strided(x, 0, &broadcast_strides(&x.shape, output), output, memory)
}

pub(crate) fn pad(x: &Tensor, padding: &[[usize; 2]], value: f32, output: &[usize], memory: &Memory) -> Tensor {
    let mut result = memory.stale(output.iter().product());
    result.fill(value);
    let (from, to) = (strides(&x.shape), strides(output));
    let first: usize = padding.iter().zip(&to).map(|([before, _], stride)| before * stride).sum();
    let length = x.shape.last().copied().unwrap_or(1);
    for_rows(&x.shape, [&from, &to], |[from, to]| result[first + to..][..length].copy_from_slice(&x.elements()[from..from + length]));
    Tensor::new(result, output)
}

pub(crate) fn concat(parts: &[Tensor], axis: usize, output: &[usize], memory: &Memory) -> Tensor {
    let outer: usize = output[..axis].iter().product();
    let mut result = memory.empty(output.iter().product());
    for index in 0..outer {
        for part in parts {
            let length = part.elements().len() / outer;
            result.extend_from_slice(&part.elements()[index * length..][..length]);
        }
    }
    Tensor::new(result, output)
}

/// table [V,D], ids […]: […,D]; ids outside the table are clamped.
pub(crate) fn embedding(table: &Tensor, ids: &[i32], output: &[usize], memory: &Memory) -> Tensor {
    let (rows, width) = (table.shape[0], table.shape[1]);
    let mut result = memory.empty(ids.len() * width);
    for &id in ids {
        let row = usize::try_from(id).unwrap_or(0).min(rows - 1);
        result.extend_from_slice(&table.elements()[row * width..(row + 1) * width]);
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W]: [N,C,H′,W′], the shape `output`.
pub(crate) fn upsample_nearest(x: &Tensor, output: &[usize], memory: &Memory) -> Tensor {
    let (height, width) = (x.shape[2], x.shape[3]);
    let source = |length: usize, enlarged: usize| -> Vec<usize> { (0..enlarged).map(|index| nearest_source(index, length, enlarged)).collect() };
    let (rows, columns) = (source(height, output[2]), source(width, output[3]));
    let mut result = memory.empty(output.iter().product());
    for image in x.elements().chunks_exact((height * width).max(1)) {
        let mut before = None;
        for &row in &rows {
            // A repeated row is copied as a whole.
            if before == Some(row) {
                let start = result.len() - output[3];
                result.extend_from_within(start..);
            } else {
                let pixels = &image[row * width..][..width];
                result.extend(columns.iter().map(|&column| pixels[column]));
            }
            before = Some(row);
        }
    }
    Tensor::new(result, output)
}
