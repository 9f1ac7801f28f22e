//! A convolution with everything that it may have, for cases.

use onestep_program::{Activation, DType, Op, ValueId};

use super::sketch::Sketch;

/// A convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) x: [usize; 4],
    /// Output channels, rows, columns.
    pub(super) w: [usize; 3],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 4],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) act: Activation,
    /// With bias and residual.
    pub(super) extras: bool,
    pub(super) dtype: DType,
}

/// A convolution to vary.
pub(super) const CONV: Conv = Conv {
    x: [1, 3, 5, 7],
    w: [5, 3, 3],
    stride: [1, 1],
    padding: [1, 1, 1, 1],
    dilation: [1, 1],
    groups: 1,
    act: Activation::None,
    extras: true,
    dtype: DType::F32,
};

impl Conv {
    /// The shape of the result.
    fn result(&self) -> [usize; 4] {
        let along = |axis: usize| {
            let reach = (self.w[1 + axis] - 1) * self.dilation[axis] + 1;
            (self.x[2 + axis] + self.padding[axis] + self.padding[axis + 2] - reach) / self.stride[axis] + 1
        };
        [self.x[0], self.w[0], along(0), along(1)]
    }

    /// Adds the operation on these tensors; `residual` adds a residual if the convolution has extras.
    pub(super) fn add(&self, sketch: &mut Sketch, x: ValueId, w: ValueId, residual: impl FnOnce(&mut Sketch, &[usize]) -> ValueId) -> ValueId {
        let shape = self.result();
        let mut inputs = vec![x, w];
        if self.extras {
            inputs.extend([sketch.weight(&[self.w[0]], DType::F32), residual(sketch, &shape)]);
        }
        let op = Op::Conv2d {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
            bias: self.extras,
            act: self.act,
            residual: self.extras,
        };
        sketch.op(op, &inputs, &shape)
    }
}

/// Adds a convolution of `x` and `w` with its result as an output.
pub(super) fn convolve(sketch: &mut Sketch, conv: &Conv, x: ValueId, w: ValueId) {
    let y = conv.add(sketch, x, w, Sketch::input);
    sketch.output(y);
}
