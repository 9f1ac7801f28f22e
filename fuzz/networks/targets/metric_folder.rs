//! The folder of a metric. An input is its `config.json`, and behind a NUL, which JSON cannot have, its `model.safetensors`.
#![no_main]

use std::fs;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{folder, mutate_json, within};
use onestep_train::latent_metric::metric_file::Metric;

/// What networks are made of before their weights are known; small against what a hostile width would ask for.
const NETWORK_BYTES: usize = 16 << 20;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let (config, weights) = bytes.split_at(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    let folder = folder();
    fs::write(folder.join("config.json"), config).expect("a file in memory");
    fs::write(folder.join("model.safetensors"), weights.get(1..).unwrap_or_default()).expect("a file in memory");
    within(bytes.len() + NETWORK_BYTES, 32, || {
        let Ok(metric) = Metric::open(folder, None, &Device::flex()) else { return };
        let written = metric.files();
        for (name, bytes) in &written {
            fs::write(folder.join(name), bytes).expect("a file in memory");
        }
        let again = Metric::open(folder, None, &Device::flex()).expect("what was written can be read");
        assert_eq!((&again.config, again.hash()), (&metric.config, metric.hash()));
    });
});
