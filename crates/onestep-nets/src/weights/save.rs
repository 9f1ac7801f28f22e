//! Writing safetensors bytes.

use std::collections::BTreeMap;

use burn::module::Module;
use serde_json::{Map, Value, json};

use super::state;

/// The parameters of `module` as the bytes of a safetensors file: f32, in the order of their names, the same bytes for the
/// same weights and metadata. `format = pt`, which transformers asks for, is added to the metadata.
///
/// The header is written here and not by the safetensors crate, which writes metadata in an order that changes from run to
/// run.
pub fn save<M: Module>(module: &M, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let tensors = state(module);
    let mut all = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    all.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));

    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(all));
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += 4 * tensor.data.len();
        let entry: Value = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Data begin at a multiple of 8 bytes; the format allows spaces behind the header for that.
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for tensor in &tensors {
        bytes.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}
