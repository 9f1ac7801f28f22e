//! The closed set of operations, with the shape rule and the arithmetic of each.
//!
//! Axes are named N (batch), C (channels), H, W (rows, columns of pixels), L (tokens), D (features), K (the summed axis).
//! Tensors are dense and row-major; images are [N,C,H,W]. All arithmetic is in f32 whatever the weights are stored in.

use serde::{Deserialize, Serialize};

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
