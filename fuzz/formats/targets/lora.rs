//! LoRA files: names, shapes and metadata.
#![no_main]

use std::{collections::BTreeMap, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{header::Header, mutate_json, within};
use onestep_pipeline::{
    Component,
    config::{ClipTextConfig, DownBlockType, PerBlock, UNet2DConditionConfig, UpBlockType},
    expected_tensors::{text_encoder_tensors, unet_tensors},
    lora::{Lora, Targets},
};

mutate_json!();

/// A tiny model of the kind of Stable Diffusion 1.x.
fn targets() -> &'static (BTreeMap<Component, BTreeMap<String, Vec<usize>>>, Targets) {
    static TARGETS: OnceLock<(BTreeMap<Component, BTreeMap<String, Vec<usize>>>, Targets)> = OnceLock::new();
    TARGETS.get_or_init(|| {
        let unet = UNet2DConditionConfig {
            block_out_channels: vec![32, 64],
            down_block_types: vec![DownBlockType::CrossAttn, DownBlockType::Plain],
            up_block_types: vec![UpBlockType::Plain, UpBlockType::CrossAttn],
            layers_per_block: PerBlock::One(1),
            cross_attention_dim: PerBlock::One(16),
            ..UNet2DConditionConfig::default()
        };
        let text = ClipTextConfig { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, vocab_size: 64, ..ClipTextConfig::default() };
        let (mut of_unet, mut of_text) = (BTreeMap::new(), BTreeMap::new());
        let mut collect = |name: &str, shape: &[usize]| {
            of_unet.insert(name.to_owned(), shape.to_vec());
            Ok::<_, ()>(())
        };
        let _ = unet_tensors(&unet, &mut collect);
        let mut collect = |name: &str, shape: &[usize]| {
            of_text.insert(name.to_owned(), shape.to_vec());
            Ok::<_, ()>(())
        };
        let _ = text_encoder_tensors(&text, &mut collect);
        let networks = BTreeMap::from([(Component::UNet, of_unet), (Component::TextEncoder, of_text)]);
        (networks.clone(), Targets::new(networks))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (networks, targets) = targets();
    within(bytes.len(), 256, || {
        let Some(header) = Header::read(bytes) else { return };
        let read = |key: &str| {
            let count = header.shapes[key].iter().product();
            Ok(vec![header.values.get(key).copied().unwrap_or(1.0); count])
        };
        let Ok(lora) = Lora::read(&header.shapes, &header.metadata, targets, &mut { read }) else { return };
        let mut parts = 0;
        for (component, tensor, rank, scale) in lora.changes() {
            assert!(scale.is_finite());
            parts += 2;
            let shape = &networks[&component][tensor];
            let count: usize = shape.iter().product();
            if rank <= 8 && count <= 4096 {
                let mut weight = vec![0.0; count];
                assert_eq!(lora.merge(component, tensor, &mut weight, 1.0, &mut { read }), Ok(true));
            }
        }
        assert!(parts <= header.shapes.len(), "every change has its own tensors");
    });
});
