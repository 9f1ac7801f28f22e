//! Which of several forms of a kernel a plan takes. All forms of a kernel compute the same formula; which is fastest is the adapter's nature.

/// How matrices are multiplied: convolutions, linear layers, products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixForm {
    /// Tiles in registers, and strips of a row for convolutions; no workgroup memory and no barrier.
    Register,
    /// Tiles of 64 rows and 64 columns in workgroup memory, 8 rows in 4 columns an invocation.
    Tile,
    /// As [`Tile`](Self::Tile), but of 128 rows and 8 columns an invocation where those are many: fewer reads for each product.
    Tall,
}

/// How attention walks over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionForm {
    /// Each invocation reads keys and values for itself.
    Register,
}

/// How the rows of norms, softmax and sums are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowForm {
    /// One invocation a row, but for long ones.
    Alone,
    /// A workgroup a row, but for short ones.
    Together,
}

/// One form of each kernel that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forms {
    /// Products.
    pub matrix: MatrixForm,
    /// Attention.
    pub attention: AttentionForm,
    /// Reductions.
    pub rows: RowForm,
    /// Whether weights in 16 bits are read as such; else they are widened once, for adapters that unpack slowly.
    pub halves: bool,
}

impl Forms {
    /// What suits a GPU of which nothing is known.
    pub const GPU: Self = Self { matrix: MatrixForm::Tile, attention: AttentionForm::Register, rows: RowForm::Together, halves: true };
    /// What suits a processor that plays a GPU, where a barrier costs more than a load.
    pub const SOFTWARE: Self = Self { matrix: MatrixForm::Register, attention: AttentionForm::Register, rows: RowForm::Alone, halves: true };
}
