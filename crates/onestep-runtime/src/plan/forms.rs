//! Which of several forms of a kernel a plan takes. All forms of a kernel compute the same formula; which is fastest is the adapter's nature.

use std::fmt;

/// How matrices are multiplied: convolutions, linear layers, products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixForm {
    /// Tiles in registers, and strips of a row for convolutions; no workgroup memory and no barrier.
    Register,
    /// Tiles of 64 rows and 64 columns in workgroup memory, 8 rows in 4 columns an invocation.
    Tile,
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

/// In one word each, as [`Forms::parse`] reads them.
impl fmt::Display for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matrix = MATRIX.iter().find(|(_, form)| *form == self.matrix).map_or("", |(word, _)| word);
        let attention = ATTENTION.iter().find(|(_, form)| *form == self.attention).map_or("", |(word, _)| word);
        let rows = if self.rows == RowForm::Alone { "alone" } else { "together" };
        let halves = if self.halves { "halves" } else { "widened" };
        write!(f, "{matrix} {attention} {rows} {halves}")
    }
}

/// The forms of products, with their words.
const MATRIX: [(&str, MatrixForm); 2] = [("register", MatrixForm::Register), ("tile", MatrixForm::Tile)];

/// The forms of attention, with their words.
const ATTENTION: [(&str, AttentionForm); 1] = [("register", AttentionForm::Register)];

impl MatrixForm {
    /// All of them, whether or not an adapter can run them.
    pub fn all() -> impl Iterator<Item = Self> {
        MATRIX.into_iter().map(|(_, form)| form)
    }
}

impl AttentionForm {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        ATTENTION.into_iter().map(|(_, form)| form)
    }
}

impl Forms {
    /// Reads what was written by [`Display`](fmt::Display); nothing for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let matrix = word().and_then(|word| MATRIX.iter().find(|(known, _)| *known == word))?.1;
        let attention = word().and_then(|word| ATTENTION.iter().find(|(known, _)| *known == word))?.1;
        let (rows, halves) = (word()?, word()?);
        let forms = Self { matrix, attention, rows: if rows == "alone" { RowForm::Alone } else { RowForm::Together }, halves: halves == "halves" };
        (forms.to_string() == text).then_some(forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_back_and_nothing_else_is() {
        for matrix in MatrixForm::all() {
            for attention in AttentionForm::all() {
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
