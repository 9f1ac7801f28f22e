//! `onestep generate`: an image from a prompt.

use std::path::PathBuf;

use onestep::{Backend, GenerateOptions, Noise};
use onestep_store::{FileDestination, FileFormat};
use serde_json::json;

use crate::clock::Clock;
use crate::exit::Failure;
use crate::shared::Shared;
use crate::{bundle_folder, output};

/// Draw an image.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  onestep generate 'red heart'\n  onestep generate 'red heart' --seed 7 --out heart.png\n  onestep generate 'red heart' --seed 7 --to 9 --at 0.25\n\n\
                        The same bundle, prompt, seed and device give the same bytes. The last line on standard output is the image's path."
)]
pub struct Generate {
    /// What to draw
    prompt: String,
    /// Which of the images; what is not given is chosen and told
    #[arg(long)]
    seed: Option<u64>,
    /// A second seed: the image on the way from the first to it
    #[arg(long, value_name = "SEED", requires = "seed")]
    to: Option<u64>,
    /// How far on that way, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.5, requires = "to")]
    at: f64,
    /// The PNG file to write; one that is there is replaced, any other file is not
    #[arg(long, value_name = "FILE", default_value = "image.png")]
    out: PathBuf,
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The device; `auto` takes a GPU, and the processor where there is none or it is only imitated
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
    /// Leave prompt and seed out of the file
    #[arg(long)]
    no_metadata: bool,
}

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// Whichever is likely to be faster
    #[default]
    Auto,
    /// A GPU through wgpu
    Webgpu,
    /// The processor
    Cpu,
}

impl Generate {
    /// Draws and prints the path.
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
            say(format!("note: this model never saw {} and draws as if not written", unknown.join(", ")));
        }
        if image.prompt.truncated {
            say(format!(
                "note: the prompt is longer than this model reads ({} tokens); its end was left out",
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
