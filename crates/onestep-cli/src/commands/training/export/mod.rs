//! `onestep export`: from a model folder to a bundle, which runs natively and in browsers.

mod bundle_destination;
mod gallery;

use std::collections::BTreeMap;
use std::path::PathBuf;

use onestep_compile::{Compiled, Names, Options, Storage, bundle_weights, compile};
use onestep_nets::{Decoder, Generator, OneStep, OneStepRule, weights};
use onestep_program::{BundleWriter, Generation};
use onestep_store::FolderDestination;
use onestep_train::pipeline_folder::PipelineFolder;
use onestep_train::run_folder::model_of;

use crate::bundle_folder;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;
use bundle_destination::{BUNDLE, GALLERY};

/// Compile a student into a bundle.
///
/// A bundle is a folder with a manifest, programs, weights, a tokenizer and a model card.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:\n  onestep export --model runs/student --out models/emoji --title 'Emoji' --card card.md\n  \
                        onestep export gallery --bundle models/emoji --teacher runs/teacher \\\n    --prompt 'red heart' --prompt rocket")]
pub struct Export {
    /// Run or model folder of the student
    #[arg(long, value_name = "DIR", required = true)]
    model: Option<PathBuf>,
    /// Bundle folder to write; replaces a bundle
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// How the network is read in one step; by default as the model's files say, else at its last timestep
    #[arg(long, value_name = "turbo|lcm|dmd2|instaflow|x0", value_parser = one_step)]
    one_step: Option<OneStep>,
    /// Timestep of the one step, in place of the model's own
    #[arg(long, value_name = "T")]
    timestep: Option<usize>,
    /// Name of the model
    #[arg(long, default_value = "onestep model", help_heading = "Contents")]
    title: String,
    /// Licence of the weights, as an SPDX expression
    #[arg(long, default_value = "NOASSERTION", help_heading = "Contents")]
    license: String,
    /// Model card, a Markdown file; by default a note that there is none
    #[arg(long, value_name = "FILE", help_heading = "Contents")]
    card: Option<PathBuf>,
    /// Storage of matrices and convolution kernels; vectors are always f32
    #[arg(long, value_enum, default_value_t, help_heading = "Contents")]
    weights: WeightStorage,
    /// Further file to include, such as a sample image; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Contents")]
    extra: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<ExportCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ExportCommand {
    Gallery(gallery::Gallery),
}

/// Storage of matrices and kernels; vectors are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum WeightStorage {
    /// 16-bit floats
    #[default]
    F16,
    /// 32-bit floats
    F32,
}

impl Export {
    /// Compiles and writes a bundle and prints its folder, or runs the subcommand.
    pub fn run(mut self, shared: &Shared) -> Result<(), Failure> {
        if let Some(ExportCommand::Gallery(gallery)) = self.command {
            return gallery.run(shared);
        }
        // Both are required unless there is a subcommand.
        let (source, out) = (self.model.take().unwrap_or_default(), self.out.take().unwrap_or_default());
        let mut destination = FolderDestination::acquire(&out, BUNDLE, &[&source])?;
        bundle_destination::refuse_edited(&out)?;
        let model = PipelineFolder::open(&model_of(&source)?)?;
        model.check()?;
        let storage = match self.weights {
            WeightStorage::F16 => Storage::F16,
            WeightStorage::F32 => Storage::F32,
        };
        let rule = model.one_step_rule(self.one_step, self.timestep)?;
        let programs = compiled(&model, rule, storage)?;
        let weights = bundle_weights(&programs.iter().collect::<Vec<_>>()).map_err(refused)?;
        let card = match &self.card {
            Some(path) => String::from_utf8(onestep_store::read(path)?)
                .map_err(|_| Failure::new(Exit::Input, format!("reading the model card {}: expected UTF-8 text", path.display())))?,
            None => format!("# {}\n\nThis bundle carries no model card.\n", self.title),
        };
        let mut extra = Vec::new();
        for path in &self.extra {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name.eq_ignore_ascii_case(GALLERY) {
                let message = format!(
                    "--extra {}: {name} is the name of the file that `onestep export gallery` writes into the bundle; rename the file",
                    path.display()
                );
                return Err(Failure::new(Exit::Usage, message));
            }
            extra.push((name, onestep_store::read(path)?));
        }
        let sizes = model.sizes()?;
        let tokenizer = model.tokenizer()?;
        let files = BundleWriter {
            title: self.title,
            license: self.license,
            generation: Generation { prompt_tokens: tokenizer.length(), latent: sizes.latent, image: [sizes.image; 2] },
            programs: programs.iter().map(|compiled| (compiled.program.name.clone(), compiled.program.clone())).collect::<BTreeMap<_, _>>(),
            weights,
            tokenizer: tokenizer.to_json().as_bytes().to_vec(),
            card,
            extra,
        }
        .files()
        .map_err(refused)?;
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        for (name, bytes) in &files {
            destination.write(name, bytes)?;
        }
        // Read back from the disk by the runtime's readers, as a user will.
        let written = bundle_folder::open(destination.begin()?)
            .and_then(|bundle| bundle_folder::check(&out, &bundle).and_then(|()| bundle_folder::smoke_test(bundle)))
            .map_err(|failure| Failure::new(failure.exit(), format!("checking the new bundle {}: {}", out.display(), failure.message())))?;
        destination.publish()?;
        if !shared.quiet {
            output::message(&format!("{} files, {:.1} MiB", files.len(), bytes as f64 / 1_048_576.0));
            output::message(&written.to_string());
            for compiled in &programs {
                output::message(&format!("{}: {}", compiled.program.name, compiled.histogram()));
            }
        }
        output::path(shared, &out)
    }
}

/// A one-step rule of an option.
fn one_step(name: &str) -> Result<OneStep, String> {
    OneStep::from_name(name).ok_or_else(|| format!("expected {}", OneStep::NAMES.map(|(name, _)| name).join(", ")))
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Input, format!("compiling the model: {error}"))
}

/// The three programs of a text-to-image model: text encoder (token ids to hidden states), generator (noise and hidden states to latents), decoder
/// (latents to image).
fn compiled(model: &PipelineFolder, rule: OneStepRule, storage: Storage) -> Result<Vec<Compiled>, Failure> {
    let device = burn::tensor::Device::flex();
    let options = Options { storage, ..Options::default() };
    let (sizes, tokens) = (model.sizes()?, model.tokenizer()?.length());
    let [channels, rows, columns] = sizes.latent;
    let names = |parameters: Vec<weights::Parameter>| Names::explicit(parameters.into_iter().map(|parameter| (parameter.id, parameter.name)));

    let text_encoder = model.text_encoder(&device)?;
    let text_encoder = compile("text_encoder", &text_encoder, &names(weights::parameters(&text_encoder)), &options, |net, ports| {
        let ids = ports.ids("input_ids", [1, tokens]);
        ports.output("last_hidden_state", net.forward(ids).last_hidden_state);
    })
    .map_err(refused)?;
    let features = text_encoder.program.value(text_encoder.program.outputs[0].value).shape[2];

    let generator = Generator::new(model.unet(&device)?, rule);
    let generator = compile("generator", &generator, &names(weights::parameters(&generator)), &options, |net, ports| {
        let noise = ports.float("noise", [1, channels, rows, columns]);
        let states = ports.float("encoder_hidden_states", [1, tokens, features]);
        ports.output("latents", net.forward(noise, states));
    })
    .map_err(refused)?;

    let decoder = Decoder::new(model.vae(&device)?);
    let decoder = compile("decoder", &decoder, &names(weights::parameters(&decoder)), &options, |net, ports| {
        let latents = ports.float("latents", [1, channels, rows, columns]);
        ports.output("sample", net.forward(latents));
    })
    .map_err(refused)?;
    Ok(vec![text_encoder, generator, decoder])
}
