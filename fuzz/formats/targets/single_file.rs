//! Single files: names and shapes.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{header::Header, mutate_json, within};
use onestep_pipeline::single_file::{Known, SingleFile, StoredTensor};

mutate_json!();

/// Checks that each tensor is within the stored one and has its size.
fn check(tensors: &BTreeMap<String, StoredTensor>, header: &Header) {
    for tensor in tensors.values() {
        assert_eq!(header.shapes[&tensor.key], tensor.stored_shape);
        let Some(range) = tensor.byte_range(1) else { continue };
        let product = |shape: &[usize]| shape.iter().map(|&axis| axis as u64).product::<u64>();
        assert!(range.end <= product(&tensor.stored_shape));
        assert_eq!(range.end - range.start, product(&tensor.shape));
        if range.end - range.start <= 4096 {
            let bytes = vec![0; (range.end - range.start) as usize];
            assert_eq!(tensor.apply(bytes.clone(), 1).len(), bytes.len());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    within(bytes.len(), 256, || {
        let Some(header) = Header::read(bytes) else { return };
        let Ok(file) = SingleFile::read(&header.shapes, &header.metadata, Known::default()) else { return };
        let mut used = file.ignored.len();
        if let Some(part) = &file.unet {
            check(&part.tensors, &header);
            used += part.tensors.len();
            assert!(part.config.validate().is_ok());
        }
        if let Some(part) = &file.vae {
            check(&part.tensors, &header);
            used += part.tensors.len();
            assert!(part.config.validate().is_ok());
        }
        for part in [&file.text_encoder, &file.text_encoder_2].into_iter().flatten() {
            check(&part.tensors, &header);
            used += part.tensors.len();
            assert!(part.config.validate().is_ok());
        }
        assert!(used >= header.shapes.len(), "each tensor has a use or is passed over");
    });
});
