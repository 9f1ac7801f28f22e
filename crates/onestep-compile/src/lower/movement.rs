//! Lowers operations that move, join or select elements, and masks.

use burn::backend::ir::{BaseOperationIr, OperationIr, TensorIr};
use onestep_program::{BinaryKind, Op, ValueId};

use super::{Lowering, refuse};
use crate::{error::CompileError, graph::Constant};

/// Largest number of slices that a repetition or selection may become.
const MAX_PARTS: usize = 64;

impl Lowering {
    pub(super) fn movement(&mut self, op: &BaseOperationIr, operation: &OperationIr) -> Result<bool, CompileError> {
        match op {
            BaseOperationIr::Reshape(op) => {
                let x = self.operand(&op.input, operation)?;
                let value = self.reshape(x, op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::SwapDims(op) => {
                let x = self.operand(&op.input, operation)?;
                let mut axes: Vec<usize> = (0..op.input.shape.len()).collect();
                if op.dim1 >= axes.len() || op.dim2 >= axes.len() {
                    return Err(refuse(operation, "swaps axes that do not exist"));
                }
                axes.swap(op.dim1, op.dim2);
                let value = self.graph.emit(Op::Permute { axes }, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::Permute(op) => {
                let x = self.operand(&op.input, operation)?;
                let value = self.graph.emit(Op::Permute { axes: op.axes.clone() }, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::Expand(op) => {
                let x = self.operand(&op.input, operation)?;
                // Programs expand without changing the rank; new axes are leading axes of length 1.
                let missing = op.out.shape.len().saturating_sub(op.input.shape.len());
                let aligned = [vec![1; missing], op.input.shape.to_vec()].concat();
                let x = self.reshape(x, aligned);
                let value = if self.graph.shape(x) == &op.out.shape[..] { x } else { self.graph.emit(Op::Expand, vec![x], op.out.shape.to_vec()) };
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::RepeatDim(op) => {
                let x = self.operand(&op.tensor, operation)?;
                let length = op.tensor.shape.get(op.dim).copied().unwrap_or(0);
                let value = if op.times == 1 {
                    x
                } else if length == 1 {
                    self.graph.emit(Op::Expand, vec![x], op.out.shape.to_vec())
                } else if (2..=MAX_PARTS).contains(&op.times) {
                    self.graph.emit(Op::Concat { axis: op.dim }, vec![x; op.times], op.out.shape.to_vec())
                } else {
                    return Err(refuse(operation, &format!("repeats {} times", op.times)));
                };
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::Slice(op) => {
                let x = self.operand(&op.tensor, operation)?;
                let mut start = vec![0; op.tensor.shape.len()];
                for (axis, slice) in op.ranges.iter().enumerate().take(start.len()) {
                    let range = slice.to_range(op.tensor.shape[axis]);
                    if slice.step != 1 && range.len() > 1 {
                        return Err(refuse(operation, &format!("has a step of {}", slice.step)));
                    }
                    start[axis] = range.start;
                }
                let value = self.graph.emit(Op::Slice { start }, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::Select(op) => {
                let indices = if self.constants.contains(op.indices.id) { self.constants.get(op.indices.id)?.0.integers() } else { None };
                let indices = indices.ok_or_else(|| refuse(operation, "selects by indices that depend on an input"))?;
                let x = self.operand(&op.tensor, operation)?;
                let value = self.select(x, op.dim, &indices, operation)?;
                self.define(&op.out, value, operation)
            }
            BaseOperationIr::Cat(op) => {
                let inputs = op.tensors.iter().map(|tensor| self.operand(tensor, operation)).collect::<Result<Vec<_>, _>>()?;
                let value = match inputs[..] {
                    [single] => single,
                    _ => self.graph.emit(Op::Concat { axis: op.dim }, inputs, op.out.shape.to_vec()),
                };
                self.define(&op.out, value, operation)
            }
            // Programs compute in f32.
            BaseOperationIr::Cast(op) if op.out.dtype.is_float() => {
                let x = self.operand(&op.input, operation)?;
                self.define(&op.out, x, operation)
            }
            BaseOperationIr::MaskFill(op) => {
                let fill: f64 = op.value.elem();
                let mask = self.mask(&op.mask, operation)?;
                let x = self.operand(&op.tensor, operation)?;
                let filled = self.fill(x, &mask, fill as f32, &op.mask.shape, operation)?;
                self.define(&op.out, filled, operation)
            }
            BaseOperationIr::MaskWhere(op) => {
                let mask = self.mask(&op.mask, operation)?;
                let (x, other) = (self.operand(&op.tensor, operation)?, self.operand(&op.value, operation)?);
                let shape = op.mask.shape.to_vec();
                let (kept, taken): (Vec<f32>, Vec<f32>) = mask.iter().map(|&masked| if masked { (0.0, 1.0) } else { (1.0, 0.0) }).unzip();
                let kept = self.graph.add_constant(shape.clone(), Constant::computed(kept));
                let taken = self.graph.add_constant(shape, Constant::computed(taken));
                let (x, other) = (self.binary(x, kept, BinaryKind::Mul, operation)?, self.binary(other, taken, BinaryKind::Mul, operation)?);
                let value = self.binary(x, other, BinaryKind::Add, operation)?;
                self.define(&op.out, value, operation)
            }
            _ => Ok(false),
        }
    }

    /// Reshapes and casts of token ids; embeddings read them in any shape.
    pub(super) fn ids_movement(&mut self, op: &BaseOperationIr) -> bool {
        let (input, out) = match op {
            BaseOperationIr::Reshape(op) => (&op.input, &op.out),
            BaseOperationIr::Cast(op) if op.out.dtype.is_int() => (&op.input, &op.out),
            _ => return false,
        };
        match self.ids.get(&input.id) {
            Some(&port) => self.ids.insert(out.id, port).is_none(),
            None => false,
        }
    }

    /// The elements of a mask, which must be constant.
    pub(super) fn mask(&mut self, mask: &TensorIr, operation: &OperationIr) -> Result<Vec<bool>, CompileError> {
        let known = if self.constants.contains(mask.id) { self.constants.get(mask.id)?.0.booleans() } else { None };
        known.ok_or_else(|| refuse(operation, "has a mask that depends on an input"))
    }

    /// x, with `fill` where the mask is true.
    pub(super) fn fill(&mut self, x: ValueId, mask: &[bool], fill: f32, shape: &[usize], operation: &OperationIr) -> Result<ValueId, CompileError> {
        let added: Vec<f32> = mask.iter().map(|&masked| if masked { fill } else { 0.0 }).collect();
        let added = self.graph.add_constant(shape.to_vec(), Constant::computed(added));
        // Adding an infinity to x leaves no finite value.
        let x = if fill == f32::NEG_INFINITY {
            x
        } else {
            let kept: Vec<f32> = mask.iter().map(|&masked| if masked { 0.0 } else { 1.0 }).collect();
            let kept = self.graph.add_constant(shape.to_vec(), Constant::computed(kept));
            self.binary(x, kept, BinaryKind::Mul, operation)?
        };
        self.binary(x, added, BinaryKind::Add, operation)
    }

    /// Selects indices of one axis, as slices of consecutive indices.
    fn select(&mut self, x: ValueId, axis: usize, indices: &[i64], operation: &OperationIr) -> Result<ValueId, CompileError> {
        let shape = self.graph.shape(x).to_vec();
        let length = shape.get(axis).copied().ok_or_else(|| refuse(operation, "selects along an axis that does not exist"))?;
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &index in indices {
            let index = usize::try_from(index)
                .ok()
                .filter(|&index| index < length)
                .ok_or_else(|| refuse(operation, &format!("selects row {index} of {length}")))?;
            match runs.last_mut() {
                Some((start, count)) if *start + *count == index => *count += 1,
                _ => runs.push((index, 1)),
            }
        }
        if runs.is_empty() || runs.len() > MAX_PARTS {
            return Err(refuse(operation, &format!("selects {} runs of rows", runs.len())));
        }
        let mut parts = Vec::with_capacity(runs.len());
        for (first, count) in runs {
            let mut start = vec![0; shape.len()];
            start[axis] = first;
            let mut part = shape.clone();
            part[axis] = count;
            parts.push(self.graph.emit(Op::Slice { start }, vec![x], part));
        }
        Ok(match parts[..] {
            [single] => single,
            _ => {
                let mut joined = shape;
                joined[axis] = indices.len();
                self.graph.emit(Op::Concat { axis }, parts, joined)
            }
        })
    }
}
