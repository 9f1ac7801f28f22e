//! `onestep doctor`: what this build and this machine support.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Failure;
use crate::features::{self, WITHOUT_TRAINING};
use crate::output;
use crate::shared::Shared;

/// Show what this build and this machine support, for bug reports.
#[derive(Debug, clap::Args)]
pub struct Doctor {}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    system: String,
    cores: usize,
    features: Vec<&'static str>,
    training_devices: Vec<&'static str>,
    gpu: Gpu,
    emoji: Vec<Found>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Gpu {
    Found { name: String, interface: String, software: bool },
    Missing { missing: String },
}

#[derive(Serialize)]
struct Found {
    path: PathBuf,
    present: bool,
}

impl Doctor {
    /// Prints the report; that something is missing is a finding, not a failure.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: features::compiled(),
            training_devices: training_devices(),
            gpu: match pollster::block_on(onestep::webgpu::probe()) {
                Ok(device) => Gpu::Found { name: device.name, interface: device.interface, software: device.software },
                Err(error) => Gpu::Missing { missing: error.to_string() },
            },
            emoji: emoji_files().into_iter().map(|path| Found { present: path.exists(), path }).collect(),
        };
        if shared.json {
            return output::json(&report);
        }
        output::data(&format!("onestep   {}", report.version))?;
        output::data(&format!("system    {}, {} cores", report.system, report.cores))?;
        output::data(&format!("features  {}", if report.features.is_empty() { "none".to_owned() } else { report.features.join(", ") }))?;
        output::data(&format!(
            "training  {}",
            if cfg!(feature = "train") { report.training_devices.join(", ") } else { WITHOUT_TRAINING.to_owned() }
        ))?;
        output::data(&match &report.gpu {
            Gpu::Found { name, interface, software } => {
                format!("running   {name} ({interface}){}; cpu", if *software { ", a software adapter: slow" } else { "" })
            }
            Gpu::Missing { missing } => format!("running   cpu; no GPU: {missing}"),
        })?;
        for file in &report.emoji {
            let state = if file.present { "there" } else { "missing (only `onestep data emoji` needs it)" };
            output::data(&format!("emoji     {}: {state}", file.path.display()))?;
        }
        Ok(())
    }
}

/// The devices that training can use; none in a program without it.
fn training_devices() -> Vec<&'static str> {
    #[cfg(feature = "train")]
    return onestep_train::device::compiled();
    #[cfg(not(feature = "train"))]
    Vec::new()
}

/// The files that `onestep data emoji` reads; none in a program without it.
fn emoji_files() -> Vec<PathBuf> {
    #[cfg(feature = "train")]
    {
        let options = onestep_train::data::EmojiOptions::new(std::path::Path::new(""));
        std::iter::once(options.font).chain(options.annotations).collect()
    }
    #[cfg(not(feature = "train"))]
    Vec::new()
}
