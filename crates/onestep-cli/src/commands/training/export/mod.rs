//! `onestep export`: from a model folder to a bundle, which runs natively and in browsers.

mod bundle_destination;
mod gallery;
mod programs;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::Module;
use onestep_compile::{BundleWeights, CompileError, Compiled, Options, Storage};
use onestep_nets::{ClipTextModel, Decoder, Init, OneStep, OneStepRule, guidance_features, weights};
use onestep_pipeline::{ComponentConfig, Part, Pipeline};
use onestep_program::{BundleWriter, FileEntry, FileHasher, Generation, Manifest, manifest};
use onestep_store::{FolderDestination, StoreError};
use onestep_train::pipeline_folder::{ModelOptions, PipelineFolder};
use onestep_train::run_folder::model_of;

use crate::bundle_folder;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;
use bundle_destination::{BUNDLE, GALLERY};
use programs::{GeneratorInputs, PooledText, StoredNetwork};

/// Bytes of tensors in one weight file.
const WEIGHT_FILE_BYTES: u64 = 2 << 30;

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
    /// Guidance scale that a network with time_cond_proj_dim, such as LCM's, is told; fixed in the bundle
    #[arg(long, default_value_t = 8.5)]
    guidance: f64,
    /// Further file to include, such as a sample image; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Contents")]
    extra: Vec<PathBuf>,
    /// How the model is opened
    #[command(flatten)]
    opening: ModelOptions,
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
        let model = PipelineFolder::open_with(&model_of(&source)?, &self.opening)?;
        model.check()?;
        if !self.guidance.is_finite() {
            return Err(Failure::new(Exit::Usage, format!("--guidance {}: expected a finite number", self.guidance)));
        }
        let storage = match self.weights {
            WeightStorage::F16 => Storage::F16,
            WeightStorage::F32 => Storage::F32,
        };
        let kind = self.one_step.or(model.one_step_kind()?);
        let rule = model.one_step_rule(kind, self.timestep)?;
        let programs = compiled(&model, rule, storage, self.guidance)?;
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
        let sizes = model.image_sizes()?;
        let (tokenizer, tokenizer_2) = (model.tokenizer()?, model.tokenizer_2()?);
        // 2 stands for the largest id, in configurations that transformers wrote before it knew the right one.
        let end_of_text = match tokenizer_2 {
            Some(_) => Some(model.pipeline().text_config(Part::TextEncoder2)?.eos_token_id).filter(|id| *id != 2),
            None => None,
        };
        let entries = write_weights(&mut destination, &out, &programs)?;
        let writer = BundleWriter {
            title: self.title,
            license: self.license,
            generation: Generation {
                prompt_tokens: tokenizer.length(),
                end_of_text: end_of_text.and_then(|id| u32::try_from(id).ok()),
                latent: sizes.latent,
                image: [sizes.image[1], sizes.image[0]],
            },
            programs: programs.iter().map(|compiled| (compiled.program.name.clone(), compiled.program.clone())).collect::<BTreeMap<_, _>>(),
            tokenizer: tokenizer.to_json().as_bytes().to_vec(),
            tokenizer_2: tokenizer_2.map(|tokenizer| tokenizer.to_json().as_bytes().to_vec()),
            card,
            extra,
        };
        for (name, bytes) in writer.small_files() {
            destination.write(&name, &bytes)?;
        }
        let manifest = writer.manifest(entries).map_err(refused)?;
        destination.write(manifest::FILE_NAME, &manifest)?;
        let manifest = Manifest::from_json(&manifest).map_err(refused)?;
        // Read back from the disk by the runtime's readers, as a user will.
        let written = bundle_folder::open(destination.begin()?)
            .and_then(|bundle| bundle_folder::check(&out, &bundle).and_then(|()| bundle_folder::smoke_test(bundle)))
            .map_err(|failure| Failure::new(failure.exit(), format!("checking the new bundle {}: {}", out.display(), failure.message())))?;
        destination.publish()?;
        if kind.is_none() && !shared.quiet {
            output::message(&format!(
                "note: the files of {} do not say that this model generates in one step; it is read as a student at t = {}; --one-step names another rule",
                source.display(),
                rule.timestep
            ));
        }
        if !shared.quiet {
            output::message(&format!("{} files, {:.1} MiB", manifest.files.len() + 1, manifest.total_bytes() as f64 / 1_048_576.0));
            output::message(&written.to_string());
            for compiled in &programs {
                output::message(&format!("{}: {}", compiled.program.name, compiled.histogram()));
            }
        }
        output::path(shared, &out)
    }
}

/// A one-step rule of an option.
pub(super) fn one_step(name: &str) -> Result<OneStep, String> {
    OneStep::from_name(name).ok_or_else(|| format!("expected {}", OneStep::NAMES.map(|(name, _)| name).join(", ")))
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Input, format!("compiling the model: {error}"))
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        refused(error)
    }
}

/// Compiles the three programs. The weights stay in the files of the model.
fn compiled(model: &PipelineFolder, rule: OneStepRule, storage: Storage, guidance: f64) -> Result<Vec<Compiled>, Failure> {
    let device = burn::tensor::Device::flex();
    let options = Options { storage, ..Options::default() };
    let (sizes, tokens, pipeline) = (model.image_sizes()?, model.tokenizer()?.length(), model.pipeline());

    let text = |part: Part| -> Result<StoredNetwork<ClipTextModel>, Failure> { stored(pipeline, part, pipeline.text_config(part)?.init(&device)) };
    let first = text(Part::TextEncoder)?;
    let text_encoder = match pipeline.has(Part::TextEncoder2) {
        true => programs::text_encoders(&first, &text(Part::TextEncoder2)?, tokens, &options)?,
        false => programs::text_encoder(&first, tokens, &options)?,
    };
    // The width of an output: of the hidden states, then of the pooled text of models with two encoders.
    let mut widths = text_encoder.program.outputs.iter().filter_map(|port| text_encoder.program.value(port.value).shape.last().copied());
    let (features, pooled) = (widths.next().unwrap_or_default(), widths.next());
    let [rows, columns] = sizes.image.map(|side| side as f32);
    let pooled = pooled.map(|features| PooledText { features, time_ids: [rows, columns, 0.0, 0.0, rows, columns] });

    let config = model.unet_config()?;
    let unet = stored(pipeline, Part::Unet, config.init(&device))?;
    let inputs = GeneratorInputs {
        latent: sizes.latent,
        tokens,
        features,
        pooled,
        guidance: config.time_cond_proj_dim.map(|size| guidance_features(guidance, size, &device)),
    };
    let generator = programs::generator(&unet, rule, inputs, &options)?;

    let decoder = match pipeline.component(Part::Vae)?.config() {
        ComponentConfig::TinyAutoencoder(config) => Decoder::new(config.init(&device)),
        _ => Decoder::new(pipeline.vae_config()?.init(&device)),
    };
    let decoder = programs::decoder(&stored(pipeline, Part::Vae, decoder)?, sizes.latent, &options)?;
    Ok(vec![text_encoder, generator, decoder])
}

/// A network with its weights in the files of a part. An autoencoder's decoder is a part of its files.
fn stored<M: Module>(pipeline: &Pipeline, part: Part, network: M) -> Result<StoredNetwork<M>, Failure> {
    let is_encoder = |name: &str| part == Part::Vae && (name.starts_with("encoder.") || name.starts_with("quant_conv."));
    let parameters = weights::stored(&network, pipeline.weights(part)?, is_encoder).map_err(refused)?;
    Ok(StoredNetwork { network, parameters })
}

/// Writes the weight files, tensor by tensor.
fn write_weights(destination: &mut FolderDestination, out: &Path, programs: &[Compiled]) -> Result<Vec<FileEntry>, Failure> {
    let weights = BundleWeights::new(&programs.iter().collect::<Vec<_>>(), WEIGHT_FILE_BYTES)?;
    let mut entries = Vec::new();
    for number in 0..weights.len() {
        let name = BundleWriter::weight_file(number);
        let (mut file, mut hasher) = (destination.create(&name)?, FileHasher::new(&name));
        weights.write(number, |bytes| -> Result<(), Failure> {
            hasher.update(bytes);
            Ok(file.write_all(bytes).map_err(|error| StoreError::storage("writing", &out.join(&name), &error))?)
        })?;
        entries.push(hasher.finish());
    }
    Ok(entries)
}
