//! Kernel variants: operations for which there are several kernels that compute the same formula. Which is fastest depends on the adapter.

use std::fmt;

/// The kernels for matrix products: convolutions, linear layers, products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixVariant {
    /// Tiles in registers, as row strips for convolutions. No workgroup memory and no barriers.
    Register,
    /// Tiles of 64 rows and 64 columns in workgroup memory, 4 columns per invocation.
    Tile64,
    /// As [`Tile64`](Self::Tile64), but 128 rows and 8 columns per invocation for products with many rows: fewer reads per product.
    Tile128,
    /// As [`Tile64`](Self::Tile64), but with cooperative matrices for products without split-K. Native only, on adapters that
    /// list the kind in [`Capabilities::cooperative`](super::Capabilities::cooperative). It is no adapter's default, because results must be
    /// compared with those of another variant first.
    Cooperative(CooperativeMatrix),
}

/// A kind of cooperative matrices (the adapter's matrix units), with f32 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CooperativeMatrix {
    /// 16x16 f16: activations are rounded to f16; only for products with f16 weights.
    F16x16,
    /// 8x8 f16: activations are rounded to f16; only for products with f16 weights.
    F16x8,
    /// 8x8 f32.
    F32x8,
}

/// The kernels for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionVariant {
    /// Every invocation reads keys and values by itself.
    Register,
    /// Tiles of queries, keys and values in workgroup memory, for heads of 32 to 160 features and at least 32 queries.
    Tile,
}

/// The kernels that reduce rows: norms, softmax, sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowVariant {
    /// One invocation per row, except for long rows.
    Invocation,
    /// One workgroup per row, except for short rows.
    Workgroup,
}

/// One kernel variant for each kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelVariants {
    /// Matrix products.
    pub matrix: MatrixVariant,
    /// Attention.
    pub attention: AttentionVariant,
    /// Reductions of rows.
    pub rows: RowVariant,
    /// True if kernels read f16 weights as f16; false if they are converted to f32 on upload, for adapters that unpack f16 slowly.
    pub f16_weights: bool,
}

impl KernelVariants {
    /// The default for GPUs.
    pub const GPU: Self = Self { matrix: MatrixVariant::Tile64, attention: AttentionVariant::Tile, rows: RowVariant::Workgroup, f16_weights: true };
    /// The default for software adapters, where a barrier costs more than a load.
    pub const SOFTWARE: Self =
        Self { matrix: MatrixVariant::Register, attention: AttentionVariant::Register, rows: RowVariant::Invocation, f16_weights: true };
}

impl MatrixVariant {
    /// All of them, whether or not an adapter can run them.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Tile64,
        Self::Tile128,
        Self::Cooperative(CooperativeMatrix::F32x8),
        Self::Cooperative(CooperativeMatrix::F16x8),
        Self::Cooperative(CooperativeMatrix::F16x16),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Tile64 => "tile64",
            Self::Tile128 => "tile128",
            Self::Cooperative(CooperativeMatrix::F32x8) => "coop-f32-8x8",
            Self::Cooperative(CooperativeMatrix::F16x8) => "coop-f16-8x8",
            Self::Cooperative(CooperativeMatrix::F16x16) => "coop-f16-16x16",
        }
    }
}

impl AttentionVariant {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Register, Self::Tile];

    fn word(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Tile => "tile",
        }
    }
}

/// One word per kind of operation; [`KernelVariants::parse`] reads it.
impl fmt::Display for KernelVariants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.rows == RowVariant::Invocation { "invocation" } else { "workgroup" };
        let weights = if self.f16_weights { "f16" } else { "f32" };
        write!(f, "{} {} {rows} {weights}", self.matrix.word(), self.attention.word())
    }
}

impl KernelVariants {
    /// Reads the text that [`Display`](fmt::Display) writes; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let (matrix, attention, rows, weights) = (word()?, word()?, word()?, word()?);
        let variants = Self {
            matrix: MatrixVariant::ALL.into_iter().find(|variant| variant.word() == matrix)?,
            attention: AttentionVariant::ALL.into_iter().find(|variant| variant.word() == attention)?,
            rows: if rows == "invocation" { RowVariant::Invocation } else { RowVariant::Workgroup },
            f16_weights: weights == "f16",
        };
        (variants.to_string() == text).then_some(variants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_back_and_other_text_is_refused() {
        for matrix in MatrixVariant::ALL {
            for attention in AttentionVariant::ALL {
                for base in [KernelVariants::GPU, KernelVariants::SOFTWARE, KernelVariants { f16_weights: false, ..KernelVariants::SOFTWARE }] {
                    let variants = KernelVariants { matrix, attention, ..base };
                    assert_eq!(KernelVariants::parse(&variants.to_string()), Some(variants));
                }
            }
        }
        for other in [
            "",
            "tile64",
            "tile64 register workgroup",
            "tile64 register workgroup f16 more",
            "tile64 register thread f16",
            "TILE64 register invocation f16",
        ] {
            assert_eq!(KernelVariants::parse(other), None, "{other:?}");
        }
    }
}
