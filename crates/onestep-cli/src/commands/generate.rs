//! `onestep generate`: an image from a prompt.

use std::path::PathBuf;

use onestep::{Backend, GenerateOptions, Noise};
use onestep_store::{FileDestination, FileFormat};
use serde_json::json;

use crate::clock::Clock;
use crate::exit::Failure;
use crate::shared::Shared;
use crate::{bundle_folder, output};

/// Generate an image from a prompt.
///
/// The same bundle, prompt, seed and device give the same file, byte by byte. Prints the path of the image.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep generate 'red heart'\n  onestep generate 'red heart' --seed 7 --out heart.png\n  \
                  onestep generate 'red heart' --seed 7 --to 9 --at 0.25")]
pub struct Generate {
    /// Text that describes the image
    prompt: String,
    /// Seed of the noise; by default a random one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Second seed: interpolate between the noises of --seed and --to
    #[arg(long, value_name = "SEED", requires = "seed")]
    to: Option<u64>,
    /// Position of the interpolation, from 0 (--seed) to 1 (--to)
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, requires = "to")]
    at: f64,
    /// PNG file to write; replaces a PNG file, refuses any other
    #[arg(long, value_name = "FILE", default_value = "image.png")]
    out: PathBuf,
    /// Folder of the bundle; by default models/emoji or bundle, here or next to the program
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    bundle: Option<PathBuf>,
    /// Device that runs the model
    #[arg(long, value_enum, default_value_t, help_heading = "Model")]
    device: DeviceChoice,
    /// Write no prompt and no seed into the file
    #[arg(long)]
    no_metadata: bool,
}

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU
    #[default]
    Auto,
    /// A GPU, through wgpu
    Webgpu,
    /// The CPU
    Cpu,
}

impl Generate {
    /// Generates the image and prints its path.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let folder = bundle_folder::find(self.bundle.as_deref())?;
        let destination = FileDestination::acquire(&self.out, FileFormat::PNG, &[&folder])?;
        let bundle = bundle_folder::open(&folder)?;
        let seed = self.seed.unwrap_or_else(chosen_seed);
        let mut clock = Clock::new();
        let mut open = |bundle, backend| bundle_folder::open_model(&folder, bundle, backend, &mut clock);
        let mut model = match self.device {
            DeviceChoice::Webgpu => open(bundle, Backend::WebGpu)?,
            DeviceChoice::Cpu => open(bundle, Backend::Cpu)?,
            DeviceChoice::Auto => match open(bundle.clone(), Backend::WebGpu) {
                Ok(model) if !model.device().software => model,
                _ => open(bundle, Backend::Cpu)?,
            },
        };
        let noise = self.to.map_or(Noise::Seed(seed), |to| Noise::Slerp { from: seed, to, t: self.at });
        let options = GenerateOptions { prompt: self.prompt.clone(), noise, staged: true, skip_readback: false };
        let image = pollster::block_on(model.generate(&options, &mut clock))?;
        let say = |line: String| {
            if !shared.quiet {
                output::message(&line);
            }
        };
        if !image.prompt.unknown.is_empty() {
            let unknown: Vec<String> = image.prompt.unknown.iter().map(|character| format!("{character:?}")).collect();
            say(format!("note: this model was not trained on {} and ignores it", unknown.join(", ")));
        }
        if image.prompt.truncated {
            say(format!(
                "note: the prompt is longer than the {} tokens that this model reads; its end was ignored",
                model.manifest().generation.prompt_tokens
            ));
        }
        let png = if self.no_metadata { onestep::png::encode(&image, None)? } else { model.png(&image, &self.prompt)? };
        destination.write(&png)?;
        let (timings, total) = (image.timings.stages.unwrap_or_default(), image.timings.total);
        say(format!(
            "seed {seed} · {} · text {:.0} ms, generator {:.0} ms, decoder {:.0} ms",
            model.device(),
            timings.text,
            timings.generator,
            timings.decoder
        ));
        if shared.json {
            return output::json(&json!({
                "path": self.out.display().to_string(), "prompt": self.prompt, "seed": seed, "width": image.width, "height": image.height,
                "bundle": model.id(), "device": model.device().to_string(), "unknown": image.prompt.unknown, "truncated": image.prompt.truncated,
                "milliseconds": { "text": timings.text, "generator": timings.generator, "decoder": timings.decoder, "total": total },
            }));
        }
        output::path(shared, &self.out)
    }
}

/// A seed that is different each time, and short enough to type.
fn chosen_seed() -> u64 {
    let nanoseconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    nanoseconds.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}
