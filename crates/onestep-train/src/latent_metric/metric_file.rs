//! LatentLPIPS on disk: a folder that this program wrote, or the single file of a published metric.
//!
//! ```text
//! config.json          encoder, channels, widths, norm, latent scaling
//! model.safetensors    net.slice1.0.weight … lin4.model.1.weight
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{
    error::{TrainError, TrainErrorKind},
    run_folder::in_run,
    store::{self, sha256},
    weight_file,
};
use burn::tensor::Device;
use onestep_nets::{
    LatentLpips, LatentLpipsConfig, MetricSpace,
    weights::{self, Shard},
};
use onestep_program::limits;
use onestep_store::{FolderKind, recorded_folder_kind};

/// The configuration in a metric folder.
const CONFIG: &str = "config.json";
/// The kind of a metric folder.
pub(super) const METRIC: FolderKind = recorded_folder_kind!("a metric");
/// The weights in a metric folder.
const WEIGHTS: &str = "model.safetensors";

/// A loaded metric.
#[derive(Debug)]
pub struct Metric {
    /// Its encoder and sizes.
    pub config: LatentLpipsConfig,
    /// The network, with frozen weights.
    pub net: LatentLpips,
}

impl Metric {
    /// Opens a metric folder, a run folder that contains one, or a published file (`.pth`, `.safetensors`). A published file needs its `encoder`,
    /// unless its name starts with that.
    ///
    /// # Errors
    /// Another path, a metric of another encoder, a tensor that is missing, surplus, not finite or of another shape, a head with a negative weight.
    pub fn open(path: &Path, encoder: Option<&str>, device: &Device) -> Result<Self, TrainError> {
        if !path.exists() {
            return Err(TrainError::input(format!("no metric in {}: there is no such file or folder", path.display())));
        }
        let metric = if path.is_dir() { Self::open_folder(&folder_of(path), encoder, device)? } else { Self::open_published(path, encoder, device)? };
        check(&metric.net, path)?;
        Ok(metric)
    }

    /// Whether a folder contains a metric of images; false if it cannot be read, for [`Metric::open`] to report.
    pub fn is_of_images(path: &Path) -> bool {
        let config = onestep_store::read_at_most(&folder_of(path).join(CONFIG), limits::CONFIG_BYTES.max)
            .ok()
            .and_then(|text| LatentLpipsConfig::from_json(&String::from_utf8_lossy(&text)).ok());
        config.is_some_and(|config| config.space == MetricSpace::Pixel)
    }

    fn open_folder(path: &Path, encoder: Option<&str>, device: &Device) -> Result<Self, TrainError> {
        let refuse = |name: &str, error: &dyn std::fmt::Display| TrainError::input(format!("{}: {error}", path.join(name).display()));
        if !path.join(CONFIG).exists() {
            return Err(TrainError::input(format!(
                "no metric in {}: expected {CONFIG} and {WEIGHTS}, there or in metric/; make one with onestep train latent-vgg",
                path.display()
            )));
        }
        let text = String::from_utf8_lossy(&onestep_store::read_at_most(&path.join(CONFIG), limits::CONFIG_BYTES.max)?).into_owned();
        let config = LatentLpipsConfig::from_json(&text).map_err(|error| refuse(CONFIG, &error))?;
        if let Some(encoder) = encoder.filter(|encoder| *encoder != config.encoder) {
            return Err(TrainError::input(format!(
                "{} is a metric for latents of {}, not of {encoder}: a metric fits the latents of one encoder only",
                path.display(),
                config.encoder
            )));
        }
        let file = path.join(WEIGHTS);
        let bytes = onestep_store::read(&file)?;
        let net = weights::load(config.init(device), &[Shard::new(&file.display().to_string(), &bytes)])
            .map_err(|error| TrainError::input(error.to_string()))?;
        Ok(Self { config, net: burn::module::Module::no_grad(net) })
    }

    fn open_published(path: &Path, encoder: Option<&str>, device: &Device) -> Result<Self, TrainError> {
        let location = path.display();
        let all: Vec<&str> = LatentLpipsConfig::published_encoders().collect();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let named = all.iter().find(|encoder| name.starts_with(&format!("{encoder}_"))).copied();
        if let (Some(given), Some(named)) = (encoder, named)
            && given != named
            && !(["sd15", "sd21"].contains(&given) && ["sd15", "sd21"].contains(&named))
        {
            return Err(TrainError::input(format!(
                "{location} is by its name the metric for latents of {named}, not of {given}: a metric fits the latents of one encoder only"
            )));
        }
        let Some(config) = encoder.or(named).and_then(LatentLpipsConfig::published) else {
            let message = match encoder {
                Some(other) => format!("no published metric for the encoder {other:?}; there are {}", all.join(", ")),
                None => format!(
                    "{location}: the name does not tell the encoder; give --encoder {}, or name the file as published, such as {}_latest_vgg16_tuned",
                    all.join("|"),
                    all[0]
                ),
            };
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        };
        let mut tensors = weight_file::read(path)?;
        // Published files contain the heads twice, and counters of training.
        tensors.retain(|tensor| !tensor.name.starts_with("lins.") && !tensor.name.ends_with(".num_batches_tracked"));
        if tensors.iter().any(|tensor| tensor.name.contains("features.") || tensor.name.contains("classifier.")) {
            return Err(TrainError::input(format!(
                "{location} holds a classifier's trunk without heads; the metric is the file named {}_latest_vgg16_tuned.pth",
                config.encoder
            )));
        }
        if let Some(first) = tensors.iter().find(|tensor| tensor.name == "net.slice1.0.weight")
            && first.shape.get(1) != Some(&config.in_channels)
        {
            return Err(TrainError::input(format!(
                "{location} measures latents of {} channels, those of {} have {}: it is the metric of another encoder",
                first.shape.get(1).copied().unwrap_or(0),
                config.encoder,
                config.in_channels
            )));
        }
        let net = weights::load_state(config.init(device), tensors).map_err(|error| TrainError::input(format!("{location}: {error}")))?;
        Ok(Self { config, net: burn::module::Module::no_grad(net) })
    }

    /// The files of a metric folder.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        vec![(CONFIG.into(), self.config.to_json().into_bytes()), (WEIGHTS.into(), weights::save(&self.net, &BTreeMap::new()))]
    }

    /// A hash of configuration and weights.
    pub fn hash(&self) -> String {
        let files: String = self.files().iter().map(|(name, bytes)| format!("{name} {}\n", sha256(bytes))).collect();
        sha256(files.as_bytes())
    }

    /// Writes a metric folder atomically.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        store::write_folder(path, METRIC, &self.files())
    }

    /// Checks that latents can be those of its encoder: the number of channels, and a standard deviation near 1. `location` names them in errors.
    ///
    /// # Errors
    /// Other latents, with the option to correct the scaling.
    pub fn accept(&self, latents: &[f32], channels: usize, location: &str) -> Result<(), TrainError> {
        if channels != self.config.in_channels {
            return Err(TrainError::input(format!(
                "{location} has latents of {channels} channels, the metric of {} takes {}",
                self.config.encoder, self.config.in_channels
            )));
        }
        if let Some(value) = latents.iter().find(|value| !value.is_finite()) {
            return Err(TrainError::input(format!("{location} holds {value}, which is no latent")));
        }
        let count = latents.len().max(1) as f64;
        let mean = latents.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let deviation = (latents.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count).sqrt();
        if deviation > LARGEST_DEVIATION {
            return Err(TrainError::input(format!(
                "the latents of {location} have a standard deviation of {deviation:.2}, where those in model space have about 1: they look like raw \
                 encoder outputs; onestep debug distance takes such with --raw-latents, which applies the scaling of {}",
                self.config.encoder
            )));
        }
        if deviation < SMALLEST_DEVIATION {
            return Err(TrainError::input(format!(
                "the latents of {location} have a standard deviation of {deviation:.3}, where those in model space have about 1: they look scaled twice, as \
                 --raw-latents does with latents that are in model space already"
            )));
        }
        Ok(())
    }
}

/// The standard deviation above which latents are not scaled: raw latents of Stable Diffusion 1 have 5.5.
const LARGEST_DEVIATION: f64 = 2.5;
/// The standard deviation below which latents were scaled twice, which gives 0.18 instead of 1.
const SMALLEST_DEVIATION: f64 = 0.25;

/// The metric folder of a run, or `path` itself.
fn folder_of(path: &Path) -> PathBuf {
    in_run(path, "metric", CONFIG)
}

fn check(net: &LatentLpips, path: &Path) -> Result<(), TrainError> {
    for (layer, head) in net.heads().iter().enumerate() {
        let weight: Vec<f32> = head.weight().to_data().try_to_vec().unwrap_or_default();
        if let Some((channel, value)) = weight.iter().enumerate().find(|(_, value)| **value < 0.0 || value.is_nan()) {
            return Err(TrainError::input(format!(
                "{}: the head lin{layer} has the weight {value} for channel {channel}; weights below 0 would make distances below 0. \
                 The metric was not calibrated to its end: clamp its heads at 0, or take another checkpoint",
                path.display()
            )));
        }
    }
    for tensor in weights::state(net) {
        if tensor.data.iter().any(|value| !value.is_finite()) {
            return Err(TrainError::input(format!("{}: {} holds numbers that are not finite", path.display(), tensor.name)));
        }
        if tensor.name.ends_with("running_var") && tensor.data.iter().any(|value| *value < 0.0) {
            return Err(TrainError::input(format!("{}: {} holds a negative variance", path.display(), tensor.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Tensor;
    use onestep_nets::{LatentScaling, NormKind};

    fn tiny(device: &Device) -> Metric {
        let config = LatentLpipsConfig {
            encoder: "vae-1234".into(),
            space: MetricSpace::Latent,
            in_channels: 4,
            widths: [2, 2, 2, 2, 2],
            norm: NormKind::Group,
            scaling: LatentScaling { shift: 0.0, factor: 0.2 },
        };
        Metric { net: config.init(device), config }
    }

    fn refusal(found: Result<Metric, TrainError>) -> String {
        found.expect_err("it cannot be used").to_string()
    }

    #[test]
    fn a_folder_is_read_as_it_was_written() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric");
        let metric = tiny(&device);
        metric.write(&path).unwrap();
        let found = Metric::open(&path, Some("vae-1234"), &device).unwrap();
        assert_eq!(found.config, metric.config);
        assert_eq!(weights::state(&found.net), weights::state(&metric.net));
        assert!(refusal(Metric::open(&path, Some("sdxl"), &device)).contains("latents of vae-1234, not of sdxl"));
    }

    #[test]
    fn heads_below_zero_and_missing_ones_are_refused() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric");
        let mut metric = tiny(&device);
        metric.net.lin3.model.at_1.weight = Param::from_tensor(Tensor::from_data([[[[0.5]], [[-0.25]]]], &device));
        metric.write(&path).unwrap();
        let sentence = refusal(Metric::open(&path, None, &device));
        assert!(sentence.contains("lin3") && sentence.contains("-0.25") && sentence.contains("channel 1"), "{sentence}");

        let tensors: Vec<_> = weights::state(&tiny(&device).net)
            .into_iter()
            .filter(|tensor| !tensor.name.starts_with("lin2"))
            .map(|tensor| (tensor.name, tensor.shape, tensor.data))
            .collect();
        onestep_store::replace_file(&path.join(WEIGHTS), &store::tensor_bytes(&tensors)).unwrap();
        let sentence = refusal(Metric::open(&path, None, &device));
        assert!(sentence.contains("lin2.model.1.weight"), "{sentence}");
    }

    #[test]
    fn published_files_must_be_of_their_encoder_and_whole() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, tensors: &[(&str, Vec<usize>)]| {
            let tensors: Vec<_> =
                tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone(), vec![0.5; shape.iter().product()])).collect();
            let path = folder.path().join(name);
            onestep_store::replace_file(&path, &store::tensor_bytes(&tensors)).unwrap();
            path
        };
        let first = ("net.slice1.0.weight", vec![64, 16, 3, 3]);
        let path = write("metric.safetensors", std::slice::from_ref(&first));
        assert!(refusal(Metric::open(&path, None, &device)).contains("--encoder sd15|sd21|sdxl|sd3|flux"));
        assert!(refusal(Metric::open(&path, Some("vae"), &device)).contains("no published metric for the encoder \"vae\""));
        assert!(refusal(Metric::open(&path, Some("sd15"), &device)).contains("16 channels, those of sd15 have 4"));
        let sentence = refusal(Metric::open(&path, Some("flux"), &device));
        assert!(sentence.contains("net.slice1.0.bias [64] is missing") && sentence.contains("more"), "{sentence}");
        let named = write("sdxl_latest_vgg16_tuned.safetensors", &[first]);
        assert!(refusal(Metric::open(&named, Some("sd15"), &device)).contains("latents of sdxl, not of sd15"));
        let trunk = write("sd15_latent_vgg16.safetensors", &[("module.model.features.0.weight", vec![64, 4, 3, 3])]);
        assert!(refusal(Metric::open(&trunk, None, &device)).contains("without heads"));
        let path = folder.path().join("sd15_broken.pth");
        onestep_store::replace_file(&path, b"PK\x03\x04 not a checkpoint").unwrap();
        assert!(refusal(Metric::open(&path, None, &device)).contains("not a checkpoint of PyTorch"));
    }

    #[test]
    fn latents_with_another_standard_deviation_are_refused() {
        let metric = tiny(&Device::flex());
        let latents = |deviation: f32| -> Vec<f32> { (0..64).map(|index| if index % 2 == 0 { deviation } else { -deviation }).collect() };
        let refusal = |values: &[f32], channels| metric.accept(values, channels, "these").map_err(|error| error.to_string());
        assert_eq!(refusal(&latents(1.0), 4), Ok(()));
        assert!(refusal(&latents(5.5), 4).unwrap_err().contains("--raw-latents"));
        assert!(refusal(&latents(0.1), 4).unwrap_err().contains("scaled twice"));
        assert!(refusal(&latents(1.0), 16).unwrap_err().contains("16 channels"));
        assert!(refusal(&[f32::NAN], 4).unwrap_err().contains("NaN"));
    }
}
