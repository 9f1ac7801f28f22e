//! Lowers arithmetic, functions of one tensor, reductions and activations.

use burn::backend::ir::{
    ActivationOperationIr, BinaryOpIr, FloatOperationIr, NumericOperationIr, OperationIr, PadModeIr, ReduceDimOpIr, ReduceOpIr, ScalarOpIr, UnaryOpIr,
};
use onestep_program::{BinaryKind, Op, ReduceKind, UnaryKind, ValueId};

use super::{Lowering, refuse, scalar};
use crate::{error::CompileError, graph::Constant};

impl Lowering {
    pub(super) fn numeric(&mut self, op: &NumericOperationIr, operation: &OperationIr) -> Result<bool, CompileError> {
        use NumericOperationIr as N;
        match op {
            N::Add(op) => self.two(op, BinaryKind::Add, operation),
            N::Sub(op) => self.two(op, BinaryKind::Sub, operation),
            N::Mul(op) => self.two(op, BinaryKind::Mul, operation),
            N::Div(op) => self.two(op, BinaryKind::Div, operation),
            N::AddScalar(op) => self.with_scalar(op, operation, |c| (1.0, c)),
            N::SubScalar(op) => self.with_scalar(op, operation, |c| (1.0, -c)),
            N::MulScalar(op) => self.with_scalar(op, operation, |c| (c, 0.0)),
            N::DivScalar(op) => self.with_scalar(op, operation, |c| (1.0 / c, 0.0)),
            N::Abs(op) => self.one(op, UnaryKind::Abs, operation),
            N::Neg(op) => self.with_affine(op, -1.0, 0.0, operation),
            N::MeanDim(op) => self.reduce(op, ReduceKind::Mean, operation),
            N::SumDim(op) => self.reduce(op, ReduceKind::Sum, operation),
            N::MaxDim(op) => self.reduce(op, ReduceKind::Max, operation),
            N::Mean(op) => self.reduce_all(op, ReduceKind::Mean, operation),
            N::Sum(op) => self.reduce_all(op, ReduceKind::Sum, operation),
            N::Max(op) => self.reduce_all(op, ReduceKind::Max, operation),
            N::SumDims(op) => {
                let mut x = self.operand(&op.input, operation)?;
                for &axis in &op.axes {
                    x = self.reduce_axis(x, axis, ReduceKind::Sum, operation)?;
                }
                self.define(&op.out, x, operation)
            }
            N::MinDim(op) => {
                let x = self.operand(&op.input, operation)?;
                let x = self.affine(x, -1.0, 0.0);
                let x = self.reduce_axis(x, op.axis, ReduceKind::Max, operation)?;
                let x = self.affine(x, -1.0, 0.0);
                self.define(&op.out, x, operation)
            }
            N::Clamp(op) => {
                let (min, max) = (scalar(&op.min, operation)?, scalar(&op.max, operation)?);
                let x = self.operand(&op.tensor, operation)?;
                let value = self.clamp(x, min, max);
                self.define(&op.out, value, operation)
            }
            N::ClampMin(op) => {
                let min = scalar(&op.rhs, operation)?;
                let x = self.operand(&op.lhs, operation)?;
                let value = if min == 0.0 { self.unary(x, UnaryKind::Relu) } else { self.clamp(x, min, f32::MAX) };
                self.define(&op.out, value, operation)
            }
            N::ClampMax(op) => {
                let max = scalar(&op.rhs, operation)?;
                let x = self.operand(&op.lhs, operation)?;
                let value = self.clamp(x, f32::MIN, max);
                self.define(&op.out, value, operation)
            }
            N::PowiScalar(op) => self.power(op, operation),
            N::Pad(op) => {
                let PadModeIr::Constant(value) = &op.mode else { return Err(refuse(operation, "pads by repeating the edge")) };
                let value = scalar(value, operation)?;
                let x = self.operand(&op.input, operation)?;
                let padding = op.padding.iter().map(|&(before, after)| [before, after]).collect();
                let value = self.graph.emit(Op::Pad { padding, value }, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn float(&mut self, op: &FloatOperationIr, operation: &OperationIr) -> Result<bool, CompileError> {
        use FloatOperationIr as F;
        match op {
            F::Exp(op) => self.one(op, UnaryKind::Exp, operation),
            F::Log(op) => self.one(op, UnaryKind::Log, operation),
            F::Erf(op) => self.one(op, UnaryKind::Erf, operation),
            F::Sqrt(op) => self.one(op, UnaryKind::Sqrt, operation),
            F::Cos(op) => self.one(op, UnaryKind::Cos, operation),
            F::Sin(op) => self.one(op, UnaryKind::Sin, operation),
            F::Tanh(op) => self.one(op, UnaryKind::Tanh, operation),
            F::Recip(op) => self.one(op, UnaryKind::Recip, operation),
            F::Powf(op) => self.two(op, BinaryKind::Pow, operation),
            F::PowfScalar(op) => self.power(op, operation),
            F::Matmul(op) => {
                let (a, b) = (self.operand(&op.lhs, operation)?, self.operand(&op.rhs, operation)?);
                let value = self.mat_mul(a, b, operation)?;
                self.define(&op.out, value, operation)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn activation(&mut self, op: &ActivationOperationIr, operation: &OperationIr) -> Result<bool, CompileError> {
        use ActivationOperationIr as A;
        match op {
            A::Relu(op) => self.one(op, UnaryKind::Relu, operation),
            A::Gelu(op) => self.one(op, UnaryKind::Gelu, operation),
            A::Sigmoid(op) => self.one(op, UnaryKind::Sigmoid, operation),
            A::Softmax(op) => {
                let x = self.operand(&op.input, operation)?;
                let value = self.graph.emit(Op::Softmax { axis: op.axis }, vec![x], op.out.shape.to_vec());
                self.define(&op.out, value, operation)
            }
            A::LeakyRelu(op) => {
                let slope = scalar(&op.rhs, operation)?;
                let x = self.operand(&op.lhs, operation)?;
                let scaled = self.affine(x, slope, 0.0);
                // For slopes up to 1: the maximum of x and the scaled x.
                let kind = if slope <= 1.0 { BinaryKind::Max } else { BinaryKind::Min };
                let value = self.binary(x, scaled, kind, operation)?;
                self.define(&op.out, value, operation)
            }
            A::HardSigmoid(op) => {
                let (alpha, beta) = (scalar(&op.alpha, operation)?, scalar(&op.beta, operation)?);
                let x = self.operand(&op.tensor, operation)?;
                let x = self.affine(x, alpha, beta);
                let value = self.clamp(x, 0.0, 1.0);
                self.define(&op.out, value, operation)
            }
            _ => Ok(false),
        }
    }

    fn one(&mut self, op: &UnaryOpIr, kind: UnaryKind, operation: &OperationIr) -> Result<bool, CompileError> {
        let x = self.operand(&op.input, operation)?;
        let value = self.unary(x, kind);
        self.define(&op.out, value, operation)
    }

    fn with_affine(&mut self, op: &UnaryOpIr, mul: f32, add: f32, operation: &OperationIr) -> Result<bool, CompileError> {
        let x = self.operand(&op.input, operation)?;
        let value = self.affine(x, mul, add);
        self.define(&op.out, value, operation)
    }

    fn two(&mut self, op: &BinaryOpIr, kind: BinaryKind, operation: &OperationIr) -> Result<bool, CompileError> {
        let (a, b) = (self.operand(&op.lhs, operation)?, self.operand(&op.rhs, operation)?);
        let value = self.binary(a, b, kind, operation)?;
        self.define(&op.out, value, operation)
    }

    /// `coefficients` returns factor and addend for the scalar.
    fn with_scalar(&mut self, op: &ScalarOpIr, operation: &OperationIr, coefficients: impl Fn(f32) -> (f32, f32)) -> Result<bool, CompileError> {
        let (mul, add) = coefficients(scalar(&op.rhs, operation)?);
        if !mul.is_finite() || !add.is_finite() {
            return Err(refuse(operation, "has no finite result"));
        }
        let x = self.operand(&op.lhs, operation)?;
        let value = self.affine(x, mul, add);
        self.define(&op.out, value, operation)
    }

    fn clamp(&mut self, x: ValueId, min: f32, max: f32) -> ValueId {
        let shape = self.graph.shape(x).to_vec();
        self.graph.emit(Op::Clamp { min, max }, vec![x], shape)
    }

    fn reduce(&mut self, op: &ReduceDimOpIr, kind: ReduceKind, operation: &OperationIr) -> Result<bool, CompileError> {
        let x = self.operand(&op.input, operation)?;
        let value = self.reduce_axis(x, op.axis, kind, operation)?;
        self.define(&op.out, value, operation)
    }

    fn reduce_axis(&mut self, x: ValueId, axis: usize, reduce: ReduceKind, operation: &OperationIr) -> Result<ValueId, CompileError> {
        let mut shape = self.graph.shape(x).to_vec();
        *shape.get_mut(axis).ok_or_else(|| refuse(operation, "reduces an axis that does not exist"))? = 1;
        Ok(self.graph.emit(Op::Reduce { reduce, axis }, vec![x], shape))
    }

    fn reduce_all(&mut self, op: &ReduceOpIr, kind: ReduceKind, operation: &OperationIr) -> Result<bool, CompileError> {
        let x = self.operand(&op.input, operation)?;
        let count = op.input.shape.iter().product();
        let x = self.reshape(x, vec![1, count]);
        let x = self.reduce_axis(x, 1, kind, operation)?;
        let value = self.reshape(x, op.out.shape.to_vec());
        self.define(&op.out, value, operation)
    }

    /// x to a constant power, by multiplications if possible.
    fn power(&mut self, op: &ScalarOpIr, operation: &OperationIr) -> Result<bool, CompileError> {
        let exponent = scalar(&op.rhs, operation)?;
        let x = self.operand(&op.lhs, operation)?;
        let value = if exponent == 1.0 {
            x
        } else if exponent == 2.0 {
            self.binary(x, x, BinaryKind::Mul, operation)?
        } else if exponent == 3.0 {
            let square = self.binary(x, x, BinaryKind::Mul, operation)?;
            self.binary(square, x, BinaryKind::Mul, operation)?
        } else if exponent == -1.0 {
            self.unary(x, UnaryKind::Recip)
        } else if exponent == 0.5 {
            self.unary(x, UnaryKind::Sqrt)
        } else if exponent == -0.5 {
            let root = self.unary(x, UnaryKind::Sqrt);
            self.unary(root, UnaryKind::Recip)
        } else {
            let exponent = self.graph.add_constant(vec![1], Constant::computed(vec![exponent]));
            self.binary(x, exponent, BinaryKind::Pow, operation)?
        };
        self.define(&op.out, value, operation)
    }
}
