//! The closed set of operations and the arithmetic of each; [`shape`](crate::shape) has their shape rules.
//!
//! Axes are named N (batch), C (channels), H and W (height and width), L (tokens), D (features) and K (the summed axis).
//! Tensors are dense and row-major; images are [N,C,H,W]. All arithmetic is in f32, whatever the type of the weights.

use serde::{Deserialize, Serialize};

/// A pointwise function that another operation applies to its result.
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
    /// `x · sigmoid(1.702 x)`, as in OpenAI's CLIP
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
    /// Exact, by the error function.
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

/// Reductions over one axis, which remains with length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
}

/// An operation. The order of the inputs stated here is that of [`Node::inputs`](crate::Node).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Inputs x [N,Cin,H,W], weight [Cout,Cin/groups,Kh,Kw], then bias [Cout] if `bias`, then residual (shaped like the output) if `residual`:
    /// `act(conv(x) + bias) + residual`.
    Conv2d {
        /// Rows, columns.
        stride: [usize; 2],
        /// Rows or columns of zeros added at top, left, bottom, right.
        padding: [usize; 4],
        /// Rows, columns.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
        /// True if a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// True if a residual follows.
        residual: bool,
    },
    /// [`UpsampleNearest`](Op::UpsampleNearest) by 2, fused with a 3x3 convolution with padding 1. Inputs x [N,Cin,H,W], weight
    /// [4,Cout,Cin,2,2], then bias [Cout] if `bias`, then residual (shaped like the output) if `residual`; gives [N,Cout,2H,2W]:
    /// `act(conv(x) + bias) + residual`.
    ///
    /// The output pixel (2i + p, 2j + q) with p and q 0 or 1 is the sum over c, r, s of `weight[2p + q, o, c, r, s] · x[n, c, i + p + r − 1, j + q + s − 1]`,
    /// x being zero outside the image. The weight holds one 2x2 kernel per parity (p, q), in which those taps of the 3x3 kernel k are summed that
    /// read the same pixel: along each axis {k₀, k₁ + k₂} for parity 0 and {k₀ + k₁, k₂} for parity 1.
    UpConv2d {
        /// True if a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// True if a residual follows.
        residual: bool,
    },
    /// Inputs x […,K], weight [D,K], then bias [D] if `bias`, then residual […,D] if `residual`: `act(x·weightᵀ + bias) + residual`.
    Linear {
        /// True if a bias follows.
        bias: bool,
        /// Applied before the residual is added.
        act: Activation,
        /// True if a residual follows.
        residual: bool,
    },
    /// Inputs a […,M,K], b […,K,N]; the leading axes broadcast.
    MatMul,
    /// Inputs x [N,C,…], gamma [C], beta [C]: normalises each group of C/groups channels to zero mean and unit variance, then `act(x·gamma + beta)`.
    GroupNorm {
        /// Channel groups; divides C.
        groups: usize,
        /// Added to the variance.
        epsilon: f32,
        /// Applied last.
        act: Activation,
    },
    /// Inputs x […,D], then gamma [D] and beta [D] if `affine`: normalises the last axis to zero mean and unit variance, then `x·gamma + beta`.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
        /// True if gamma and beta follow.
        affine: bool,
    },
    /// Inputs q [N,heads,Lq,D], k [N,heads,Lk,D], v [N,heads,Lk,Dv]: `softmax(scale·q·kᵀ)·v`, of shape [N,heads,Lq,Dv]. If causal, query i attends to the keys 0..=i only.
    Attention {
        /// Multiplies the scores; usually 1/√D.
        scale: f32,
        /// True if each query attends only to keys up to its own position.
        causal: bool,
    },
    /// Input x […]: softmax over one axis.
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },
    /// Inputs table [V,D], ids […] (i32); gives […,D]. Ids outside the table are clamped to 0..V−1.
    Embedding,
    /// Input x [N,C,H,W]; gives the output's shape [N,C,H′,W′] with H′ ≥ H and W′ ≥ W. Output pixel (i, j) is
    /// `x[n, c, source(i, H, H′), source(j, W, W′)]`; see [`nearest_source`].
    UpsampleNearest,
    /// Input x […,2D] with a last axis of a followed by b: `a · gelu(b)`, of shape […,D].
    Geglu,
    /// Input x; reduces one axis, which remains with length 1.
    Reduce {
        /// The reduction.
        reduce: ReduceKind,
        /// The reduced axis.
        axis: usize,
    },
    /// Input x.
    Unary {
        /// The function.
        unary: UnaryKind,
    },
    /// Inputs a, b with broadcasting.
    Binary {
        /// The function.
        binary: BinaryKind,
    },
    /// Input x: `x · mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Addend.
        add: f32,
    },
    /// Input x, clamped to `[min, max]`.
    Clamp {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// One or more inputs with shapes that differ along one axis only.
    Concat {
        /// The axis along which the inputs are concatenated.
        axis: usize,
    },
    /// Input x; takes `start[i]..start[i] + shape[i]` of each axis i, where `shape` is the output's.
    Slice {
        /// First index per axis.
        start: Vec<usize>,
    },
    /// Input x, with `value` added before and after each axis.
    Pad {
        /// Elements added before and after, per axis.
        padding: Vec<[usize; 2]>,
        /// The value of added elements.
        value: f32,
    },
    /// Input x; the same elements in row-major order, with the output's shape.
    Reshape,
    /// Input x; output axis i is input axis `axes[i]`.
    Permute {
        /// A permutation of the input's axes.
        axes: Vec<usize>,
    },
    /// Input x, broadcast along axes of length 1 to the output's shape.
    Expand,
}

impl Op {
    /// The operation's name in plans, profiles and errors.
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
            Op::UpsampleNearest => "upsample_nearest",
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

    /// Floating-point operations for these shapes, a multiply-add counting as two; saturates at `u64::MAX`.
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
            | Op::UpsampleNearest
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Reshape
            | Op::Permute { .. }
            | Op::Expand => 0,
        }
    }
}

/// The pixel that [`Op::UpsampleNearest`] reads for the pixel `index` of an axis of `length` pixels enlarged to `enlarged`:
/// `min(⌊index · (length / enlarged)⌋, length − 1)`.
///
/// Quotient and product are rounded to f32 as in PyTorch's `interpolate(size=…)`, so that both choose the same pixel where the exact product is
/// a whole number.
pub fn nearest_source(index: usize, length: usize, enlarged: usize) -> usize {
    let ratio = length as f32 / enlarged as f32;
    ((index as f32 * ratio) as usize).min(length.saturating_sub(1))
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, &length| product.saturating_mul(length as u64))
}
