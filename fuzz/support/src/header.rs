//! Names, shapes and metadata from the JSON header of a safetensors file.

use std::collections::BTreeMap;

use serde_json::Value;

/// What readers of models take of a file.
#[derive(Debug, Default)]
pub struct Header {
    /// Shapes of the tensors.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// The map `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The key `value` of tensors that have one: what such a tensor of one element would hold.
    pub values: BTreeMap<String, f32>,
}

impl Header {
    /// Reads a header; `None` if it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(entries)) = serde_json::from_slice(bytes) else { return None };
        let mut header = Self::default();
        for (name, entry) in entries {
            if name == "__metadata__" {
                header.metadata = serde_json::from_value(entry).ok()?;
                continue;
            }
            let shape = serde_json::from_value(entry.get("shape")?.clone()).ok()?;
            if let Some(value) = entry.get("value").and_then(Value::as_f64) {
                header.values.insert(name.clone(), value as f32);
            }
            header.shapes.insert(name, shape);
        }
        Some(header)
    }
}
