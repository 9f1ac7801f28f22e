//! The closed set of operations, with the shape rule and the arithmetic of each.
//!
//! Axes are named N (batch), C (channels), H, W (rows, columns of pixels), L (tokens), D (features), K (the summed axis).
//! Tensors are dense and row-major; images are [N,C,H,W]. All arithmetic is in f32 whatever the weights are stored in.

use serde::{Deserialize, Serialize};

use crate::error::{BundleError, Kind};

/// A pointwise function at the end of another operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `x · sigmoid(x)`
    Silu,
    /// `x/2 · (1 + erf(x/√2))`
    Gelu,
    /// `x · sigmoid(1.702 x)`, the form of the first CLIP
    QuickGelu,
}

/// Pointwise functions of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum UnaryKind {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    /// `1/x`
    Recip,
    Sin,
    Cos,
    Tanh,
    Erf,
    Sigmoid,
    Relu,
    Silu,
    /// With the error function.
    Gelu,
    QuickGelu,
}

/// Pointwise functions of two tensors, with numpy's broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
}

/// Reductions over one axis, which stays with length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
}

/// An operation; its tensors stand in [`Node::inputs`](crate::Node) in the order given here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Inputs x [N,Cin,H,W], weight [Cout,Cin/groups,Kh,Kw], then bias [Cout] if `bias`, then residual (shaped like the output) if `residual`:
    /// `act(conv(x) + bias) + residual`.
    Conv2d {
        /// Rows, columns.
        stride: [usize; 2],
        /// Zeros added at top, left, bottom, right.
        padding: [usize; 4],
        /// Rows, columns.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
        /// Whether a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// Whether a residual follows.
        residual: bool,
    },
    /// [`UpsampleNearest`](Op::UpsampleNearest) by 2 and a 3x3 convolution with one pixel of zeros around, in one. Inputs x [N,Cin,H,W], weight
    /// [4,Cout,Cin,2,2], then bias [Cout] if `bias`, then residual (shaped like the output) if `residual`; gives [N,Cout,2H,2W]:
    /// `act(conv(x) + bias) + residual`.
    ///
    /// The output pixel (2i + p, 2j + q) with p and q 0 or 1 is the sum over c, r, s of `weight[2p + q, o, c, r, s] · x[n, c, i + p + r − 1, j + q + s − 1]`,
    /// x being zero outside. Where the 3x3 kernel k lay over repeated pixels its taps are summed: along each axis the two taps are
    /// {k₀, k₁ + k₂} for parity 0 and {k₀ + k₁, k₂} for parity 1.
    UpConv2d {
        /// Whether a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// Whether a residual follows.
        residual: bool,
    },
    /// Inputs x […,K], weight [D,K], then bias [D] if `bias`, then residual […,D] if `residual`: `act(x·weightᵀ + bias) + residual`.
    Linear {
        /// Whether a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// Whether a residual follows.
        residual: bool,
    },
    /// Inputs a […,M,K], b […,K,N]; the leading axes broadcast.
    MatMul,
    /// Inputs x [N,C,…], gamma [C], beta [C]: each group of C/groups channels is brought to zero mean and unit variance, then `act(x·gamma + beta)`.
    GroupNorm {
        /// Channel groups; divides C.
        groups: usize,
        /// Added to the variance.
        epsilon: f32,
        /// Applied last.
        act: Activation,
    },
    /// Inputs x […,D], then gamma [D] and beta [D] if `affine`: the last axis is brought to zero mean and unit variance, then `x·gamma + beta`.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
        /// Whether gamma and beta are given.
        affine: bool,
    },
    /// Inputs q [N,heads,Lq,D], k [N,heads,Lk,D], v [N,heads,Lk,Dv]: `softmax(scale·q·kᵀ)·v`, [N,heads,Lq,Dv]. Causal: query i sees keys 0..=i.
    Attention {
        /// Multiplies the scores; usually 1/√D.
        scale: f32,
        /// Whether later keys are hidden.
        causal: bool,
    },
    /// Input x [...]: over one axis.
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },
    /// Inputs table [V,D], ids […] (i32): […,D]. Ids outside the table read row 0 or V−1.
    Embedding,
    /// Input x [N,C,H,W]: each pixel repeated `scale` times, [N,C,H·scale₀,W·scale₁].
    UpsampleNearest {
        /// Rows, columns.
        scale: [usize; 2],
    },
    /// Input x […,2D], two halves a and b: `a · gelu(b)`, […,D].
    Geglu,
    /// Input x; over one axis, which stays with length 1.
    Reduce {
        /// What is computed.
        reduce: ReduceKind,
        /// The reduced axis.
        axis: usize,
    },
    /// Input x.
    Unary {
        /// What is computed.
        unary: UnaryKind,
    },
    /// Inputs a, b with broadcasting.
    Binary {
        /// What is computed.
        binary: BinaryKind,
    },
    /// Input x: `x · mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Addend.
        add: f32,
    },
    /// Input x: limited to `[min, max]`.
    Clamp {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// Any number of inputs, equal but for one axis.
    Concat {
        /// The axis along which they follow each other.
        axis: usize,
    },
    /// Input x; `start[i]..start[i]+shape[i]` of each axis, the shape being the output's.
    Slice {
        /// First index per axis.
        start: Vec<usize>,
    },
    /// Input x; zeros (or `value`) around each axis.
    Pad {
        /// Added before and after, per axis.
        padding: Vec<[usize; 2]>,
        /// What is added.
        value: f32,
    },
    /// Input x; the same elements in the same order under the output's shape.
    Reshape,
    /// Input x; output axis i is input axis `axes[i]`.
    Permute {
        /// Each axis once.
        axes: Vec<usize>,
    },
    /// Input x; axes of length 1 are repeated to the output's shape.
    Expand,
}

impl Op {
    /// The operation's name in printed plans and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv2d { .. } => "conv2d",
            Op::UpConv2d { .. } => "up_conv2d",
            Op::Linear { .. } => "linear",
            Op::MatMul => "mat_mul",
            Op::GroupNorm { .. } => "group_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Attention { .. } => "attention",
            Op::Softmax { .. } => "softmax",
            Op::Embedding => "embedding",
            Op::UpsampleNearest { .. } => "upsample_nearest",
            Op::Geglu => "geglu",
            Op::Reduce { .. } => "reduce",
            Op::Unary { .. } => "unary",
            Op::Binary { .. } => "binary",
            Op::Affine { .. } => "affine",
            Op::Clamp { .. } => "clamp",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Reshape => "reshape",
            Op::Permute { .. } => "permute",
            Op::Expand => "expand",
        }
    }

    /// Checks inputs against the operation and the stated output shape; `place` names the node in errors.
    pub fn check(&self, inputs: &[&[usize]], output: &[usize], place: &str) -> Result<(), BundleError> {
        if let Some(value) = self.floats().into_iter().find(|value| !value.is_finite()) {
            return Err(refuse(place, format!("{} has the number {value}, expected a finite one in f32", self.name())));
        }
        let expected = self.output_shape(inputs, output, place)?;
        if expected != output {
            return Err(refuse(place, format!("{} of {inputs:?} gives {expected:?}, the program says {output:?}", self.name())));
        }
        Ok(())
    }

    /// The numbers that are computed with.
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

    /// The shape that the inputs give; `output` is consulted only by the operations whose parameter it is (reshape, slice, expand).
    fn output_shape(&self, inputs: &[&[usize]], output: &[usize], place: &str) -> Result<Vec<usize>, BundleError> {
        let refuse = |message: String| refuse(place, format!("{}: {message}", self.name()));
        let arity = |expected: usize| {
            if inputs.len() == expected { Ok(()) } else { Err(refuse(format!("takes {expected} tensors, has {}", inputs.len()))) }
        };
        let rank = |index: usize, expected: usize| {
            if inputs[index].len() == expected {
                Ok(())
            } else {
                Err(refuse(format!("tensor {index} must have {expected} axes, has {:?}", inputs[index])))
            }
        };
        let vector = |index: usize, length: usize| {
            if inputs[index] == [length] { Ok(()) } else { Err(refuse(format!("tensor {index} must be [{length}], is {:?}", inputs[index]))) }
        };
        let axis_of = |axis: usize| if axis < inputs[0].len() { Ok(()) } else { Err(refuse(format!("axis {axis} of {:?}", inputs[0]))) };
        let overflow = || refuse("a size overflows".into());
        match self {
            Op::Conv2d { stride, padding, dilation, groups, bias, residual, .. } => {
                arity(2 + usize::from(*bias) + usize::from(*residual))?;
                rank(0, 4)?;
                rank(1, 4)?;
                let (x, w) = (inputs[0], inputs[1]);
                if *groups == 0 || !w[0].is_multiple_of(*groups) || w[1].checked_mul(*groups) != Some(x[1]) {
                    return Err(refuse(format!("{x:?} with weight {w:?} in {groups} groups")));
                }
                if w[2] == 0 || w[3] == 0 || stride.contains(&0) || dilation.contains(&0) {
                    return Err(refuse("kernel, stride and dilation are at least 1".into()));
                }
                let along = |length: usize, axis: usize| {
                    let reach = (w[2 + axis] - 1).checked_mul(dilation[axis]).ok_or_else(overflow)?;
                    let padded = length.checked_add(padding[axis]).and_then(|sum| sum.checked_add(padding[axis + 2])).ok_or_else(overflow)?;
                    let room = padded.checked_sub(reach + 1).ok_or_else(|| refuse(format!("the kernel {w:?} is larger than {x:?}")))?;
                    Ok(room / stride[axis] + 1)
                };
                let shape = vec![x[0], w[0], along(x[2], 0)?, along(x[3], 1)?];
                if *bias {
                    vector(2, w[0])?;
                }
                if *residual && inputs[inputs.len() - 1] != shape {
                    return Err(refuse(format!("the residual {:?} is not {shape:?}", inputs[inputs.len() - 1])));
                }
                Ok(shape)
            }
            Op::UpConv2d { bias, residual, .. } => {
                arity(2 + usize::from(*bias) + usize::from(*residual))?;
                rank(0, 4)?;
                rank(1, 5)?;
                let (x, w) = (inputs[0], inputs[1]);
                if w[0] != 4 || w[2] != x[1] || w[3..] != [2, 2] {
                    return Err(refuse(format!("{x:?} with weight {w:?}")));
                }
                let twice = |length: usize| length.checked_mul(2).ok_or_else(overflow);
                let shape = vec![x[0], w[1], twice(x[2])?, twice(x[3])?];
                if *bias {
                    vector(2, w[1])?;
                }
                if *residual && inputs[inputs.len() - 1] != shape {
                    return Err(refuse(format!("the residual {:?} is not {shape:?}", inputs[inputs.len() - 1])));
                }
                Ok(shape)
            }
            Op::Linear { bias, residual, .. } => {
                arity(2 + usize::from(*bias) + usize::from(*residual))?;
                rank(1, 2)?;
                let (x, w) = (inputs[0], inputs[1]);
                if x.last() != Some(&w[1]) {
                    return Err(refuse(format!("{x:?} with weight {w:?}")));
                }
                let mut shape = x.to_vec();
                shape[x.len() - 1] = w[0];
                if *bias {
                    vector(2, w[0])?;
                }
                if *residual && inputs[inputs.len() - 1] != shape {
                    return Err(refuse(format!("the residual {:?} is not {shape:?}", inputs[inputs.len() - 1])));
                }
                Ok(shape)
            }
            Op::MatMul => {
                arity(2)?;
                let (a, b) = (inputs[0], inputs[1]);
                if a.len() < 2 || b.len() < 2 || a[a.len() - 1] != b[b.len() - 2] {
                    return Err(refuse(format!("{a:?} with {b:?}")));
                }
                let mut shape = broadcast(&a[..a.len() - 2], &b[..b.len() - 2]).ok_or_else(|| refuse(format!("{a:?} with {b:?}")))?;
                shape.extend([a[a.len() - 2], b[b.len() - 1]]);
                Ok(shape)
            }
            Op::GroupNorm { groups, .. } => {
                arity(3)?;
                let x = inputs[0];
                if x.len() < 2 || *groups == 0 || !x[1].is_multiple_of(*groups) {
                    return Err(refuse(format!("{groups} groups of {x:?}")));
                }
                vector(1, x[1])?;
                vector(2, x[1])?;
                Ok(x.to_vec())
            }
            Op::LayerNorm { affine, .. } => {
                arity(if *affine { 3 } else { 1 })?;
                let width = *inputs[0].last().ok_or_else(|| refuse("a scalar has no last axis".into()))?;
                if *affine {
                    vector(1, width)?;
                    vector(2, width)?;
                }
                Ok(inputs[0].to_vec())
            }
            Op::Attention { .. } => {
                arity(3)?;
                (0..3).try_for_each(|index| rank(index, 4))?;
                let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
                if q[..2] != k[..2] || k[..3] != v[..3] || q[3] != k[3] {
                    return Err(refuse(format!("queries {q:?}, keys {k:?}, values {v:?}")));
                }
                Ok(vec![q[0], q[1], q[2], v[3]])
            }
            Op::Softmax { axis } => {
                arity(1)?;
                axis_of(*axis)?;
                Ok(inputs[0].to_vec())
            }
            Op::Embedding => {
                arity(2)?;
                rank(0, 2)?;
                if inputs[0][0] == 0 {
                    return Err(refuse("the table is empty".into()));
                }
                Ok([inputs[1], &[inputs[0][1]]].concat())
            }
            Op::UpsampleNearest { scale } => {
                arity(1)?;
                rank(0, 4)?;
                let x = inputs[0];
                if scale.contains(&0) {
                    return Err(refuse("a factor of 0".into()));
                }
                Ok(vec![x[0], x[1], x[2].checked_mul(scale[0]).ok_or_else(overflow)?, x[3].checked_mul(scale[1]).ok_or_else(overflow)?])
            }
            Op::Geglu => {
                arity(1)?;
                let mut shape = inputs[0].to_vec();
                match shape.last_mut() {
                    Some(width) if width.is_multiple_of(2) => *width /= 2,
                    _ => return Err(refuse(format!("{:?} has no two halves", inputs[0]))),
                }
                Ok(shape)
            }
            Op::Reduce { axis, .. } => {
                arity(1)?;
                axis_of(*axis)?;
                let mut shape = inputs[0].to_vec();
                if shape[*axis] == 0 {
                    return Err(refuse("an empty axis".into()));
                }
                shape[*axis] = 1;
                Ok(shape)
            }
            Op::Unary { .. } | Op::Affine { .. } | Op::Clamp { .. } => {
                arity(1)?;
                Ok(inputs[0].to_vec())
            }
            Op::Binary { .. } => {
                arity(2)?;
                broadcast(inputs[0], inputs[1]).ok_or_else(|| refuse(format!("{:?} with {:?}", inputs[0], inputs[1])))
            }
            Op::Concat { axis } => {
                let Some(first) = inputs.first() else { return Err(refuse("takes at least one tensor".into())) };
                axis_of(*axis)?;
                let mut shape = first.to_vec();
                for other in &inputs[1..] {
                    let fits = other.len() == first.len() && (0..first.len()).all(|i| i == *axis || other[i] == first[i]);
                    if !fits {
                        return Err(refuse(format!("{first:?} with {other:?}")));
                    }
                    shape[*axis] = shape[*axis].checked_add(other[*axis]).ok_or_else(overflow)?;
                }
                Ok(shape)
            }
            Op::Slice { start } => {
                arity(1)?;
                let x = inputs[0];
                let inside = start.len() == x.len()
                    && output.len() == x.len()
                    && (0..x.len()).all(|i| start[i].checked_add(output[i]).is_some_and(|end| end <= x[i]));
                if inside { Ok(output.to_vec()) } else { Err(refuse(format!("{output:?} from {start:?} of {x:?}"))) }
            }
            Op::Pad { padding, .. } => {
                arity(1)?;
                let x = inputs[0];
                if padding.len() != x.len() {
                    return Err(refuse(format!("{padding:?} for {x:?}")));
                }
                x.iter()
                    .zip(padding)
                    .map(|(&length, &[before, after])| length.checked_add(before).and_then(|sum| sum.checked_add(after)).ok_or_else(overflow))
                    .collect()
            }
            Op::Reshape => {
                arity(1)?;
                if crate::limits::elements(inputs[0], place)? != crate::limits::elements(output, place)? {
                    return Err(refuse(format!("{:?} has not the elements of {output:?}", inputs[0])));
                }
                Ok(output.to_vec())
            }
            Op::Permute { axes } => {
                arity(1)?;
                let mut seen = vec![false; inputs[0].len()];
                for &axis in axes {
                    match seen.get_mut(axis) {
                        Some(flag) if !*flag => *flag = true,
                        _ => return Err(refuse(format!("axes {axes:?} of {:?}", inputs[0]))),
                    }
                }
                if axes.len() != seen.len() {
                    return Err(refuse(format!("axes {axes:?} of {:?}", inputs[0])));
                }
                Ok(axes.iter().map(|&axis| inputs[0][axis]).collect())
            }
            Op::Expand => {
                arity(1)?;
                if inputs[0].len() == output.len() && broadcast(inputs[0], output).as_deref() == Some(output) {
                    Ok(output.to_vec())
                } else {
                    Err(refuse(format!("{:?} to {output:?}", inputs[0])))
                }
            }
        }
    }

    /// Floating-point operations, a multiplication and an addition counted as two; `u64::MAX` where there are more.
    pub fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let out = product(output);
        let each = |sum: u64| out.saturating_mul(sum);
        match self {
            Op::Conv2d { .. } => each(product(&inputs[1][1..]).saturating_mul(2)),
            Op::UpConv2d { .. } => each(product(&inputs[1][2..]).saturating_mul(2)),
            Op::Linear { .. } => each(2 * inputs[1][1] as u64),
            Op::MatMul => each(2 * inputs[0][inputs[0].len() - 1] as u64),
            Op::Attention { .. } => {
                let scores = product(&inputs[0][..3]).saturating_mul(inputs[1][2] as u64);
                scores.saturating_mul(2 * (inputs[0][3] + inputs[2][3]) as u64)
            }
            Op::GroupNorm { .. } | Op::LayerNorm { .. } | Op::Softmax { .. } => each(8),
            Op::Reduce { axis, .. } => each(inputs[0][*axis] as u64),
            Op::Geglu | Op::Unary { .. } => each(8),
            Op::Binary { .. } | Op::Affine { .. } | Op::Clamp { .. } => out,
            Op::Embedding
            | Op::UpsampleNearest { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Reshape
            | Op::Permute { .. }
            | Op::Expand => 0,
        }
    }
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, &length| product.saturating_mul(length as u64))
}

fn refuse(place: &str, message: String) -> BundleError {
    BundleError::new(Kind::Malformed, place, message)
}

/// The common shape of two under numpy's rule, or `None`.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |index| shape[index]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}
