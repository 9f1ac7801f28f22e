//! Which of several forms of a kernel a plan takes. All forms of a kernel compute the same formula; which is fastest is the adapter's nature.

use std::fmt;

/// How matrices are multiplied: convolutions, linear layers, products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixForm {
    /// Tiles in registers, and strips of a row for convolutions; no workgroup memory and no barrier.
    Register,
    /// Tiles of 64 rows and 64 columns in workgroup memory, 8 rows in 4 columns an invocation.
    Tile,
    /// As [`Tile`](Self::Tile), but of 128 rows and 8 columns an invocation where those are many: fewer reads for each product.
    Tall,
    /// As [`Tile`](Self::Tile), but products whose k is not split are left to the adapter's own matrices: natively, where
    /// [`Capabilities::cooperative`](super::Capabilities::cooperative) has them. Nothing begins with it: what an adapter's matrices
    /// compute is compared with another form first.
    Cooperative(Cooperative),
}

/// Matrices that an adapter multiplies as such, with sums in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cooperative {
    /// 16 by 16 numbers in 16 bits: activations are rounded to these, and only products with weights in 16 bits are taken.
    Halves16,
    /// The same of 8 by 8.
    Halves8,
    /// 8 by 8 numbers in 32 bits.
    Floats8,
}

/// How attention walks over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionForm {
    /// Each invocation reads keys and values for itself.
    Register,
    /// Tiles of queries, keys and values in workgroup memory, for heads of 32 to 160 features and 32 queries or more.
    Tile,
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
    pub const GPU: Self = Self { matrix: MatrixForm::Tile, attention: AttentionForm::Tile, rows: RowForm::Together, halves: true };
    /// What suits a processor that plays a GPU, where a barrier costs more than a load.
    pub const SOFTWARE: Self = Self { matrix: MatrixForm::Register, attention: AttentionForm::Register, rows: RowForm::Alone, halves: true };
}

impl MatrixForm {
    /// All of them, whether or not an adapter can run them.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Tile,
        Self::Tall,
        Self::Cooperative(Cooperative::Floats8),
        Self::Cooperative(Cooperative::Halves8),
        Self::Cooperative(Cooperative::Halves16),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Tile => "tile",
            Self::Tall => "tall",
            Self::Cooperative(Cooperative::Floats8) => "floats8",
            Self::Cooperative(Cooperative::Halves8) => "halves8",
            Self::Cooperative(Cooperative::Halves16) => "halves16",
        }
    }
}

impl AttentionForm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Register, Self::Tile];

    fn word(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Tile => "tile",
        }
    }
}

/// In one word each, as [`Forms::parse`] reads them.
impl fmt::Display for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.rows == RowForm::Alone { "alone" } else { "together" };
        let halves = if self.halves { "halves" } else { "widened" };
        write!(f, "{} {} {rows} {halves}", self.matrix.word(), self.attention.word())
    }
}

impl Forms {
    /// Reads what was written by [`Display`](fmt::Display); nothing for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let (matrix, attention, rows, halves) = (word()?, word()?, word()?, word()?);
        let forms = Self {
            matrix: MatrixForm::ALL.into_iter().find(|form| form.word() == matrix)?,
            attention: AttentionForm::ALL.into_iter().find(|form| form.word() == attention)?,
            rows: if rows == "alone" { RowForm::Alone } else { RowForm::Together },
            halves: halves == "halves",
        };
        (forms.to_string() == text).then_some(forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_back_and_nothing_else_is() {
        for matrix in MatrixForm::ALL {
            for attention in AttentionForm::ALL {
                for base in [Forms::GPU, Forms::SOFTWARE, Forms { halves: false, ..Forms::SOFTWARE }] {
                    let forms = Forms { matrix, attention, ..base };
                    assert_eq!(Forms::parse(&forms.to_string()), Some(forms));
                }
            }
        }
        for strange in
            ["", "tile", "tile register together", "tile register together halves more", "tile register apart halves", "TILE register alone halves"]
        {
            assert_eq!(Forms::parse(strange), None, "{strange:?}");
        }
    }
}
