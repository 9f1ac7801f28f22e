//! The path of a visitor in a module, under diffusers' names.

/// Parameters that PyTorch stores without axes, which burn does not support.
const NUMBERS: &[&str] = &["logit_scale"];

/// A stack of the modules that were entered.
#[derive(Debug, Default)]
pub(super) struct ParameterPath {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// The part in the name; `None` if names omit it.
    name: Option<String>,
    /// True for the matrix of a `Linear`.
    is_matrix: bool,
}

impl ParameterPath {
    /// Enters the field, list index or enum variant `name` of a container with burn's type name `container`.
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        let (kind, of) = container.split_once(':').unwrap_or((container, ""));
        let is_norm = matches!(of, "GroupNorm" | "LayerNorm" | "BatchNorm" | "InstanceNorm" | "RmsNorm");
        let written = match (kind, name) {
            ("Enum", _) => None,
            (_, "gamma") if is_norm => Some("weight".to_owned()),
            (_, "beta") if is_norm => Some("bias".to_owned()),
            _ => Some(list_index(name).unwrap_or(name).to_owned()),
        };
        self.parts.push(Part { name: written, is_matrix: of == "Linear" && name == "weight" });
    }

    /// Leaves the innermost part.
    pub(super) fn exit(&mut self) {
        self.parts.pop();
    }

    /// The full name.
    pub(super) fn name(&self) -> String {
        let names: Vec<&str> = self.parts.iter().filter_map(|part| part.name.as_deref()).collect();
        names.join(".")
    }

    /// True if the current parameter is stored transposed.
    pub(super) fn is_transposed(&self) -> bool {
        self.parts.last().is_some_and(|part| part.is_matrix)
    }

    /// True if the current parameter is stored without axes.
    pub(super) fn is_number(&self) -> bool {
        self.parts.last().and_then(|part| part.name.as_deref()).is_some_and(|name| NUMBERS.contains(&name))
    }
}

/// The index in the field name of a list item: `3` of `at_3`.
fn list_index(field: &str) -> Option<&str> {
    field.strip_prefix("at_").filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The transpose of a row-major matrix of `rows` x `columns`.
pub(super) fn transposed(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// The side of the blocks in which elements are moved, so that rows and columns of a block stay in the cache.
    const BLOCK: usize = 32;
    let mut turned = vec![0.0; rows * columns];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for row in first_row..rows.min(first_row + BLOCK) {
                for column in first_column..columns.min(first_column + BLOCK) {
                    turned[column * rows + row] = data[row * columns + column];
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let mut path = ParameterPath::default();
        for (name, container) in [
            ("transformer_blocks", "Struct:Transformer2d"),
            ("0", "Vec"),
            ("ff", "Struct:BasicTransformerBlock"),
            ("net", "Struct:FeedForward"),
            ("at_2", "Struct:FeedForwardNet"),
            ("Linear", "Enum:Projection"),
            ("weight", "Struct:Linear"),
        ] {
            path.enter(name, container);
        }
        assert_eq!(path.name(), "transformer_blocks.0.ff.net.2.weight");
        assert!(path.is_transposed());
        path.exit();
        path.enter("gamma", "Struct:GroupNorm");
        assert_eq!(path.name(), "transformer_blocks.0.ff.net.2.weight");
        assert!(!path.is_transposed());
    }

    #[test]
    fn transposes() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
