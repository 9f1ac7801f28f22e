//! Weights as their authors publish them, `.pth` and safetensors, and a published metric. The first byte of an input says which.
#![no_main]

use std::{fs, path::PathBuf, sync::OnceLock};

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::within;
use onestep_train::{latent_metric::Metric, weight_file};

/// A published metric in f32 takes 59 MB, and it is there twice while it is loaded.
const NETWORK_BYTES: usize = 8 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, file)) = bytes.split_first() else { return };
    let extension = if kind % 2 == 0 { "pth" } else { "safetensors" };
    let path = folder().join(format!("sd15_latest_vgg16_tuned.{extension}"));
    fs::write(&path, file).expect("a file in memory");
    let tensors = within(file.len(), 64, || weight_file::read(&path));
    let Ok(tensors) = tensors else { return };
    for tensor in &tensors {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len(), "{}", tensor.name);
    }
    assert!(tensors.is_sorted_by(|a, b| a.name <= b.name));
    drop(tensors);
    within(file.len() + NETWORK_BYTES, 64, || drop(Metric::open(&path, None, &Device::flex())));
});

/// One for each process, in memory where the system has such a place.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(format!("onestep-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in memory");
        folder
    })
}
