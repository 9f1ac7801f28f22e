//! The shape rule of each operation: which inputs fit, and the output shape that they give.

use crate::{
    error::{BundleError, BundleErrorKind},
    limits,
    op::Op,
};

impl Op {
    /// Checks the shapes of `inputs` against the operation and the stated `output` shape.
    ///
    /// `location` names the operation in errors, for example `generator.json, operation 3`.
    ///
    /// # Errors
    /// [`BundleErrorKind::Malformed`] for a parameter that is not finite, for inputs that do not fit each other, and for an output of another shape;
    /// [`BundleErrorKind::Limit`] for a reshape above the limits.
    pub fn check(&self, inputs: &[&[usize]], output: &[usize], location: &str) -> Result<(), BundleError> {
        let inputs = Inputs { operation: self.name(), shapes: inputs, location };
        if let Some(value) = self.floats().into_iter().find(|value| !value.is_finite()) {
            return Err(malformed(location, format!("{} has the parameter {value}, expected a finite one in f32", self.name())));
        }
        let expected = self.output_shape(&inputs, output)?;
        if expected != output {
            let message = format!("{} of {:?} gives {expected:?}, the program states {output:?}", self.name(), inputs.shapes);
            return Err(malformed(location, message));
        }
        Ok(())
    }

    /// The output shape. Only reshape, slice, expand and upsampling read `output`, because it is their parameter.
    fn output_shape(&self, inputs: &Inputs<'_>, output: &[usize]) -> Result<Vec<usize>, BundleError> {
        match self {
            Op::Conv2d { stride, padding, dilation, groups, bias, residual, .. } => {
                inputs.count(2 + usize::from(*bias) + usize::from(*residual))?;
                let shape = inputs.conv2d(*stride, *padding, *dilation, *groups)?;
                inputs.epilogue(shape, 1, *bias, *residual)
            }
            Op::UpConv2d { bias, residual, .. } => {
                inputs.count(2 + usize::from(*bias) + usize::from(*residual))?;
                inputs.epilogue(inputs.up_conv2d()?, 1, *bias, *residual)
            }
            Op::Linear { bias, residual, .. } => {
                inputs.count(2 + usize::from(*bias) + usize::from(*residual))?;
                let shape = inputs.linear()?;
                let features = shape.len() - 1;
                inputs.epilogue(shape, features, *bias, *residual)
            }
            Op::MatMul => inputs.mat_mul(),
            Op::GroupNorm { groups, .. } => inputs.group_norm(*groups),
            Op::LayerNorm { affine, .. } => inputs.layer_norm(*affine),
            Op::Attention { .. } => inputs.attention(),
            Op::Softmax { axis } => inputs.only().and_then(|x| inputs.axis(*axis).map(|()| x.to_vec())),
            Op::Embedding => inputs.embedding(),
            Op::UpsampleNearest => inputs.upsample_nearest(output),
            Op::Geglu => inputs.geglu(),
            Op::Reduce { axis, .. } => inputs.reduce(*axis),
            Op::Unary { .. } | Op::Affine { .. } | Op::Clamp { .. } => inputs.only().map(<[usize]>::to_vec),
            Op::Binary { .. } => inputs.binary(),
            Op::Concat { axis } => inputs.concat(*axis),
            Op::Slice { start } => inputs.slice(start, output),
            Op::Pad { padding, .. } => inputs.pad(padding),
            Op::Reshape => inputs.reshape(output),
            Op::Permute { axes } => inputs.permute(axes),
            Op::Expand => inputs.expand(output),
        }
    }

    /// The parameters that are numbers to compute with.
    fn floats(&self) -> [f32; 2] {
        match *self {
            Op::GroupNorm { epsilon, .. } | Op::LayerNorm { epsilon, .. } => [epsilon, 0.0],
            Op::Attention { scale, .. } => [scale, 0.0],
            Op::Affine { mul, add } => [mul, add],
            Op::Clamp { min, max } => [min, max],
            Op::Pad { value, .. } => [value, 0.0],
            _ => [0.0; 2],
        }
    }
}

/// The shapes that an operation gets. Each rule is a method, in the order of [`Op`].
struct Inputs<'a> {
    operation: &'static str,
    shapes: &'a [&'a [usize]],
    location: &'a str,
}

type Shape = Result<Vec<usize>, BundleError>;

impl<'a> Inputs<'a> {
    fn refuse(&self, message: impl std::fmt::Display) -> BundleError {
        malformed(self.location, format!("{}: {message}", self.operation))
    }

    fn overflow(&self) -> BundleError {
        self.refuse("a size overflows")
    }

    fn count(&self, expected: usize) -> Result<(), BundleError> {
        let found = self.shapes.len();
        if found == expected { Ok(()) } else { Err(self.refuse(format_args!("takes {expected} tensors, has {found}"))) }
    }

    /// The only input.
    fn only(&self) -> Result<&'a [usize], BundleError> {
        self.count(1)?;
        Ok(self.shapes[0])
    }

    fn rank(&self, index: usize, expected: usize) -> Result<&'a [usize], BundleError> {
        let shape = self.shapes[index];
        if shape.len() == expected { Ok(shape) } else { Err(self.refuse(format_args!("tensor {index} must have {expected} axes, has {shape:?}"))) }
    }

    fn vector(&self, index: usize, length: usize) -> Result<(), BundleError> {
        let shape = self.shapes[index];
        if shape == [length] { Ok(()) } else { Err(self.refuse(format_args!("tensor {index} must be [{length}], is {shape:?}"))) }
    }

    fn axis(&self, axis: usize) -> Result<(), BundleError> {
        if axis < self.shapes[0].len() { Ok(()) } else { Err(self.refuse(format_args!("axis {axis} of {:?}", self.shapes[0]))) }
    }

    /// Checks bias and residual of a layer with the output `shape`; the bias belongs to the axis `features`.
    fn epilogue(&self, shape: Vec<usize>, features: usize, bias: bool, residual: bool) -> Shape {
        if bias {
            self.vector(2, shape[features])?;
        }
        match self.shapes.last() {
            Some(last) if residual && *last != shape => Err(self.refuse(format_args!("the residual {last:?} is not {shape:?}"))),
            _ => Ok(shape),
        }
    }

    fn conv2d(&self, stride: [usize; 2], padding: [usize; 4], dilation: [usize; 2], groups: usize) -> Shape {
        let (x, w) = (self.rank(0, 4)?, self.rank(1, 4)?);
        if groups == 0 || !w[0].is_multiple_of(groups) || w[1].checked_mul(groups) != Some(x[1]) {
            return Err(self.refuse(format_args!("{x:?} with weight {w:?} in {groups} groups")));
        }
        if w[2] == 0 || w[3] == 0 || stride.contains(&0) || dilation.contains(&0) {
            return Err(self.refuse("kernel, stride and dilation are at least 1"));
        }
        let along = |axis: usize| {
            let reach = (w[2 + axis] - 1).checked_mul(dilation[axis]);
            let padded = x[2 + axis].checked_add(padding[axis]).and_then(|sum| sum.checked_add(padding[axis + 2]));
            let (reach, padded) = reach.zip(padded).ok_or_else(|| self.overflow())?;
            let steps = padded.checked_sub(reach).and_then(|room| room.checked_sub(1));
            let steps = steps.ok_or_else(|| self.refuse(format_args!("the kernel {w:?} is larger than {x:?}")))?;
            Ok(steps / stride[axis] + 1)
        };
        Ok(vec![x[0], w[0], along(0)?, along(1)?])
    }

    fn up_conv2d(&self) -> Shape {
        let (x, w) = (self.rank(0, 4)?, self.rank(1, 5)?);
        if w[0] != 4 || w[2] != x[1] || w[3..] != [2, 2] {
            return Err(self.refuse(format_args!("{x:?} with weight {w:?}")));
        }
        let twice = |length: usize| length.checked_mul(2).ok_or_else(|| self.overflow());
        Ok(vec![x[0], w[1], twice(x[2])?, twice(x[3])?])
    }

    fn linear(&self) -> Shape {
        let (x, w) = (self.shapes[0], self.rank(1, 2)?);
        match x.split_last() {
            Some((features, leading)) if *features == w[1] => Ok([leading, &[w[0]]].concat()),
            _ => Err(self.refuse(format_args!("{x:?} with weight {w:?}"))),
        }
    }

    fn mat_mul(&self) -> Shape {
        self.count(2)?;
        let (a, b) = (self.shapes[0], self.shapes[1]);
        let refuse = || self.refuse(format_args!("{a:?} with {b:?}"));
        let ([a_leading @ .., rows, a_summed], [b_leading @ .., b_summed, columns]) = (a, b) else { return Err(refuse()) };
        let mut shape = broadcast(a_leading, b_leading).filter(|_| a_summed == b_summed).ok_or_else(refuse)?;
        shape.extend([rows, columns]);
        Ok(shape)
    }

    fn group_norm(&self, groups: usize) -> Shape {
        self.count(3)?;
        let x = self.shapes[0];
        if x.len() < 2 || groups == 0 || !x[1].is_multiple_of(groups) {
            return Err(self.refuse(format_args!("{groups} groups of {x:?}")));
        }
        self.vector(1, x[1])?;
        self.vector(2, x[1])?;
        Ok(x.to_vec())
    }

    fn layer_norm(&self, affine: bool) -> Shape {
        self.count(if affine { 3 } else { 1 })?;
        let width = *self.shapes[0].last().ok_or_else(|| self.refuse("a scalar has no last axis"))?;
        if affine {
            self.vector(1, width)?;
            self.vector(2, width)?;
        }
        Ok(self.shapes[0].to_vec())
    }

    fn attention(&self) -> Shape {
        self.count(3)?;
        let (q, k, v) = (self.rank(0, 4)?, self.rank(1, 4)?, self.rank(2, 4)?);
        if q[..2] != k[..2] || k[..3] != v[..3] || q[3] != k[3] {
            return Err(self.refuse(format_args!("queries {q:?}, keys {k:?}, values {v:?}")));
        }
        Ok(vec![q[0], q[1], q[2], v[3]])
    }

    fn embedding(&self) -> Shape {
        self.count(2)?;
        let table = self.rank(0, 2)?;
        if table[0] == 0 {
            return Err(self.refuse("the table is empty"));
        }
        Ok([self.shapes[1], &[table[1]]].concat())
    }

    fn upsample_nearest(&self, output: &[usize]) -> Shape {
        self.count(1)?;
        let x = self.rank(0, 4)?;
        let enlarges = |axis: usize| output[axis] >= x[axis] && (x[axis] > 0 || output[axis] == 0);
        match output.len() {
            4 if enlarges(2) && enlarges(3) => Ok(vec![x[0], x[1], output[2], output[3]]),
            _ => Err(self.refuse(format_args!("the image {x:?} cannot be enlarged to {output:?}"))),
        }
    }

    fn geglu(&self) -> Shape {
        let x = self.only()?;
        match x.split_last() {
            Some((width, leading)) if width.is_multiple_of(2) => Ok([leading, &[width / 2]].concat()),
            _ => Err(self.refuse(format_args!("the last axis of {x:?} has no two halves"))),
        }
    }

    fn reduce(&self, axis: usize) -> Shape {
        let mut shape = self.only()?.to_vec();
        self.axis(axis)?;
        if shape[axis] == 0 {
            return Err(self.refuse("an empty axis"));
        }
        shape[axis] = 1;
        Ok(shape)
    }

    fn binary(&self) -> Shape {
        self.count(2)?;
        let (a, b) = (self.shapes[0], self.shapes[1]);
        broadcast(a, b).ok_or_else(|| self.refuse(format_args!("{a:?} with {b:?}")))
    }

    fn concat(&self, axis: usize) -> Shape {
        let Some((first, others)) = self.shapes.split_first() else { return Err(self.refuse("takes at least one tensor")) };
        self.axis(axis)?;
        let mut shape = first.to_vec();
        for other in others {
            let fits = other.len() == first.len() && (0..first.len()).all(|i| i == axis || other[i] == first[i]);
            if !fits {
                return Err(self.refuse(format_args!("{first:?} with {other:?}")));
            }
            shape[axis] = shape[axis].checked_add(other[axis]).ok_or_else(|| self.overflow())?;
        }
        Ok(shape)
    }

    fn slice(&self, start: &[usize], output: &[usize]) -> Shape {
        let x = self.only()?;
        let is_inside =
            start.len() == x.len() && output.len() == x.len() && (0..x.len()).all(|i| start[i].checked_add(output[i]).is_some_and(|end| end <= x[i]));
        if is_inside { Ok(output.to_vec()) } else { Err(self.refuse(format_args!("{output:?} from {start:?} of {x:?}"))) }
    }

    fn pad(&self, padding: &[[usize; 2]]) -> Shape {
        let x = self.only()?;
        if padding.len() != x.len() {
            return Err(self.refuse(format_args!("{padding:?} for {x:?}")));
        }
        let padded = |(&length, &[before, after]): (&usize, &[usize; 2])| length.checked_add(before)?.checked_add(after);
        x.iter().zip(padding).map(padded).collect::<Option<_>>().ok_or_else(|| self.overflow())
    }

    fn reshape(&self, output: &[usize]) -> Shape {
        let x = self.only()?;
        if limits::elements(x, self.location)? != limits::elements(output, self.location)? {
            return Err(self.refuse(format_args!("{x:?} has not the elements of {output:?}")));
        }
        Ok(output.to_vec())
    }

    fn permute(&self, axes: &[usize]) -> Shape {
        let x = self.only()?;
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.len()) {
            return Err(self.refuse(format_args!("axes {axes:?} of {x:?}")));
        }
        Ok(axes.iter().map(|&axis| x[axis]).collect())
    }

    fn expand(&self, output: &[usize]) -> Shape {
        let x = self.only()?;
        let fits = x.len() == output.len() && broadcast(x, output).as_deref() == Some(output);
        if fits { Ok(output.to_vec()) } else { Err(self.refuse(format_args!("{x:?} to {output:?}"))) }
    }
}

fn malformed(location: &str, message: String) -> BundleError {
    BundleError::new(BundleErrorKind::Malformed, location, message)
}

/// The common shape of two shapes under numpy's broadcasting rule, or `None` if they do not broadcast.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let length = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index]);
    (0..rank)
        .map(|axis| match (length(a, axis), length(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}
