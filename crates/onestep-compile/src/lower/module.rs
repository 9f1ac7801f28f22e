//! Lowers layers that burn captures as one operation.

use burn::backend::ir::{InterpolateModeIr, ModuleOperationIr, OperationIr, TensorIr};
use onestep_program::{Activation, BinaryKind, Op, UnaryKind, ValueId};

use super::{Lowering, refuse, scalar};
use crate::{error::CompileError, graph::Constant};

impl Lowering {
    pub(super) fn module(&mut self, op: &ModuleOperationIr, operation: &OperationIr) -> Result<bool, CompileError> {
        use ModuleOperationIr as M;
        match op {
            M::Embedding(op) => {
                let table = self.operand(&op.weights, operation)?;
                let ids = *self.ids.get(&op.indices.id).ok_or_else(|| refuse(operation, "has indices that are computed from an input"))?;
                let width = op.weights.shape.last().copied().unwrap_or(0);
                let mut shape = self.graph.shape(ids).to_vec();
                shape.push(width);
                let value = self.graph.emit(Op::Embedding, vec![table, ids], shape);
                let value = self.reshape(value, op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            M::Linear(op) => {
                let (x, weight) = (self.operand(&op.x, operation)?, self.operand(&op.weight, operation)?);
                let mut value = self.mat_mul(x, weight, operation)?;
                if let Some(bias) = &op.bias {
                    let bias = self.operand(bias, operation)?;
                    value = self.binary(value, bias, BinaryKind::Add, operation)?;
                }
                self.define(&op.out, value, operation)
            }
            M::Conv1d(op) => {
                let x = self.operand(&op.x, operation)?;
                let weight = self.operand(&op.weight, operation)?;
                let (x, weight) = (self.with_rows(x, operation)?, self.with_rows(weight, operation)?);
                let bias = self.optional(op.bias.as_ref(), operation)?;
                let options = &op.options;
                let [(before, after)] = options.padding;
                let conv = Convolution {
                    stride: [1, options.stride[0]],
                    padding: [0, before, 0, after],
                    dilation: [1, options.dilation[0]],
                    groups: options.groups,
                };
                let [n, c, l] = op.out.shape.dims::<3>();
                let value = self.convolution(x, weight, bias, conv, vec![n, c, 1, l]);
                let value = self.reshape(value, vec![n, c, l]);
                self.define(&op.out, value, operation)
            }
            M::Conv2d(op) => {
                let x = self.operand(&op.x, operation)?;
                let weight = self.operand(&op.weight, operation)?;
                let bias = self.optional(op.bias.as_ref(), operation)?;
                let options = &op.options;
                let [(top, bottom), (left, right)] = options.padding;
                let conv =
                    Convolution { stride: options.stride, padding: [top, left, bottom, right], dilation: options.dilation, groups: options.groups };
                let value = self.convolution(x, weight, bias, conv, op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            M::AvgPool2d(op) => {
                let uneven = op.ceil_mode || (!op.count_include_pad && op.padding != [0, 0]);
                if uneven {
                    return Err(refuse(operation, "divides by the number of pixels inside"));
                }
                let x = self.operand(&op.x, operation)?;
                let channels = op.x.shape[1];
                let [rows, columns] = op.kernel_size;
                let kernel = vec![1.0 / (rows * columns) as f32; channels * rows * columns];
                let weight = self.graph.add_constant(vec![channels, 1, rows, columns], Constant::computed(kernel));
                let [vertical, horizontal] = op.padding;
                let conv =
                    Convolution { stride: op.stride, padding: [vertical, horizontal, vertical, horizontal], dilation: [1, 1], groups: channels };
                let value = self.convolution(x, weight, None, conv, op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            M::Interpolate(op) => {
                let [_, _, height, width] = op.x.shape.dims::<4>();
                let [rows, columns] = op.output_size;
                // Whether the nearest pixel is that of the pixel's edge or of its centre makes no difference if all are repeated equally often.
                let nearest = match op.options.mode {
                    InterpolateModeIr::Nearest => true,
                    InterpolateModeIr::NearestExact => height > 0 && width > 0 && rows.is_multiple_of(height) && columns.is_multiple_of(width),
                    _ => false,
                };
                if !nearest || height == 0 || width == 0 || rows < height || columns < width {
                    return Err(refuse(
                        operation,
                        &format!("by {:?} from {height}x{width} to {rows}x{columns}; programs enlarge to the nearest pixel", op.options.mode),
                    ));
                }
                let x = self.operand(&op.x, operation)?;
                let value = self.graph.emit(Op::UpsampleNearest, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            M::LayerNorm(op) => {
                let epsilon = scalar(&op.epsilon, operation)?;
                let (x, gamma) = (self.operand(&op.input, operation)?, self.operand(&op.gamma, operation)?);
                let beta = match self.optional(op.beta.as_ref(), operation)? {
                    Some(beta) => beta,
                    None => {
                        let width = op.gamma.shape[0];
                        self.graph.add_constant(vec![width], Constant::computed(vec![0.0; width]))
                    }
                };
                let value = self.graph.emit(Op::LayerNorm { epsilon, affine: true }, vec![x, gamma, beta], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            M::BatchNorm(op) => {
                let epsilon = scalar(&op.epsilon, operation)?;
                let x = self.operand(&op.x, operation)?;
                let mut along_channels = vec![1; op.x.shape.len()];
                *along_channels.get_mut(1).ok_or_else(|| refuse(operation, "needs channels"))? = op.gamma.shape[0];
                let mut vector = |tensor: &TensorIr| -> Result<ValueId, CompileError> {
                    let value = self.operand(tensor, operation)?;
                    Ok(self.reshape(value, along_channels.clone()))
                };
                let (gamma, beta, mean, variance) = (vector(&op.gamma)?, vector(&op.beta)?, vector(&op.mean)?, vector(&op.variance)?);
                let variance = self.affine(variance, 1.0, epsilon);
                let deviation = self.unary(variance, UnaryKind::Sqrt);
                let scale = self.binary(gamma, deviation, BinaryKind::Div, operation)?;
                let offset = self.binary(mean, scale, BinaryKind::Mul, operation)?;
                let offset = self.binary(beta, offset, BinaryKind::Sub, operation)?;
                let x = self.binary(x, scale, BinaryKind::Mul, operation)?;
                let value = self.binary(x, offset, BinaryKind::Add, operation)?;
                self.define(&op.out, value, operation)
            }
            M::Attention(op) => self.attention(op, operation),
            _ => Ok(false),
        }
    }

    fn optional(&mut self, tensor: Option<&TensorIr>, operation: &OperationIr) -> Result<Option<ValueId>, CompileError> {
        tensor.map(|tensor| self.operand(tensor, operation)).transpose()
    }

    /// Reshapes a signal [A,B,L] to an image of one row [A,B,1,L].
    fn with_rows(&mut self, x: ValueId, operation: &OperationIr) -> Result<ValueId, CompileError> {
        match *self.graph.shape(x) {
            [a, b, length] => Ok(self.reshape(x, vec![a, b, 1, length])),
            _ => Err(refuse(operation, "is not of three axes")),
        }
    }

    fn convolution(&mut self, x: ValueId, weight: ValueId, bias: Option<ValueId>, conv: Convolution, shape: Vec<usize>) -> ValueId {
        let op = Op::Conv2d {
            stride: conv.stride,
            padding: conv.padding,
            dilation: conv.dilation,
            groups: conv.groups,
            bias: bias.is_some(),
            act: Activation::None,
            residual: false,
        };
        self.graph.emit(op, [x, weight].into_iter().chain(bias).collect(), shape)
    }
}

/// The parameters of a convolution in a program.
struct Convolution {
    stride: [usize; 2],
    /// Top, left, bottom, right.
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
}
