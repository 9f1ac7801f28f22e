//! Operations that move elements and compute nothing.

use crate::{memory::Memory, tensor::Tensor};

/// How far apart the elements along each axis lie.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// The strides of a value spread over `output`: 0 along axes that it lacks or that have length 1.
pub(crate) fn spread(shape: &[usize], output: &[usize]) -> Vec<usize> {
    let missing = output.len() - shape.len();
    let own = strides(shape);
    (0..output.len()).map(|axis| if axis < missing || shape[axis - missing] == 1 { 0 } else { own[axis - missing] }).collect()
}

/// Calls `row` for each index of all axes but the last, with the place in every operand.
pub(crate) fn for_rows<const N: usize>(shape: &[usize], strides: [&[usize]; N], mut row: impl FnMut([usize; N])) {
    let outer = shape.len().saturating_sub(1);
    let mut index = vec![0; outer];
    let mut places = [0; N];
    loop {
        row(places);
        let mut axis = outer;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for (place, strides) in places.iter_mut().zip(strides) {
                *place += strides[axis];
            }
            if index[axis] < shape[axis] {
                break;
            }
            for (place, strides) in places.iter_mut().zip(strides) {
                *place -= strides[axis] * shape[axis];
            }
            index[axis] = 0;
        }
    }
}

/// The elements of x at `first` and so far apart, in the order of `output`.
fn strided(x: &Tensor, first: usize, apart: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    // Axes that lie as the output's do are one.
    let (mut shape, mut steps): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (&length, &step) in output.iter().zip(apart) {
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
    for_rows(&shape, [&steps], |[place]| match step {
        1 => result.extend_from_slice(&elements[place..place + length]),
        0 => result.extend(std::iter::repeat_n(elements[place], length)),
        _ => result.extend(elements[place..].iter().step_by(step).take(length)),
    });
    Tensor::new(result, output)
}

pub(crate) fn slice(x: &Tensor, start: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    let apart = strides(&x.shape);
    let first = start.iter().zip(&apart).map(|(start, stride)| start * stride).sum();
    strided(x, first, &apart, output, memory)
}

pub(crate) fn permute(x: &Tensor, axes: &[usize], output: &[usize], memory: &Memory) -> Tensor {
    let apart = strides(&x.shape);
    let apart: Vec<usize> = axes.iter().map(|&axis| apart[axis]).collect();
    strided(x, 0, &apart, output, memory)
}

pub(crate) fn expand(x: &Tensor, output: &[usize], memory: &Memory) -> Tensor {
    strided(x, 0, &spread(&x.shape, output), output, memory)
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

/// table [V,D], ids […]: […,D]; ids outside read the first or last row.
pub(crate) fn embedding(table: &Tensor, ids: &[i32], output: &[usize], memory: &Memory) -> Tensor {
    let (rows, width) = (table.shape[0], table.shape[1]);
    let mut result = memory.empty(ids.len() * width);
    for &id in ids {
        let row = usize::try_from(id).unwrap_or(0).min(rows - 1);
        result.extend_from_slice(&table.elements()[row * width..(row + 1) * width]);
    }
    Tensor::new(result, output)
}

/// x [N,C,H,W]: [N,C,H·rows,W·columns].
pub(crate) fn upsample_nearest(x: &Tensor, [rows, columns]: [usize; 2], output: &[usize], memory: &Memory) -> Tensor {
    let mut result = memory.empty(output.iter().product());
    for row in x.elements().chunks_exact(x.shape[3]) {
        let start = result.len();
        for &value in row {
            result.extend(std::iter::repeat_n(value, columns));
        }
        let end = result.len();
        for _ in 1..rows {
            result.extend_from_within(start..end);
        }
    }
    Tensor::new(result, output)
}
