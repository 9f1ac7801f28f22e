//! Weights as their authors publish them, `.pth` and safetensors, and a published metric. The first byte of an input says which.
#![no_main]

use std::{fs, panic};

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{folder, tolerate_libraries, within};
use onestep_train::{latent_metric::metric_file::Metric, weight_file};

/// What the network of a metric takes before its weights are read.
const NETWORK_BYTES: usize = 8 << 20;

fuzz_target!(init: tolerate_libraries(), |bytes: &[u8]| {
    let Some((kind, file)) = bytes.split_first() else { return };
    let extension = if kind % 2 == 0 { "pth" } else { "safetensors" };
    let path = folder().join(format!("sd15_latest_vgg16_tuned.{extension}"));
    fs::write(&path, file).expect("a file in memory");
    // Panics of the library that reads `.pth` are not bugs of onestep.
    let Ok(Ok(tensors)) = panic::catch_unwind(|| within(file.len(), 64, || weight_file::read(&path))) else { return };
    for tensor in &tensors {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len(), "{}", tensor.name);
    }
    assert!(tensors.is_sorted_by(|a, b| a.name <= b.name));
    drop(tensors);
    within(file.len() + NETWORK_BYTES, 64, || drop(Metric::open(&path, None, &Device::flex())));
});
