//! `onestep export`: from a model folder to a bundle, which runs natively and in browsers.

mod bundle_destination;
mod gallery;
mod programs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::module::Module;
use onestep_compile::{BundleWeights, CompileError, Compiled, Options, Storage};
use onestep_nets::weights::{ReadTensor, StoredParameter};
use onestep_nets::{Decoder, Init, weights};
use onestep_program::{BundleWriter, ElementType, FileEntry, FileHasher, Generation, Manifest, TensorFile, manifest};
use onestep_store::FolderDestination;
use onestep_train::pipeline_folder::{PipelineFolder, TEXT_WEIGHTS, UNET_WEIGHTS, VAE_WEIGHTS};
use onestep_train::run_folder::model_of;

use crate::bundle_folder;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;
use bundle_destination::{BUNDLE, GALLERY};
use programs::StoredNetwork;

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
        let model = Arc::new(PipelineFolder::open(&model_of(&source)?)?);
        model.check()?;
        let storage = match self.weights {
            WeightStorage::F16 => Storage::F16,
            WeightStorage::F32 => Storage::F32,
        };
        let programs = compiled(&model, storage)?;
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
        let entries = write_weights(&mut destination, &programs)?;
        let writer = BundleWriter {
            title: self.title,
            license: self.license,
            generation: Generation { prompt_tokens: tokenizer.length(), end_of_text: None, latent: sizes.latent, image: [sizes.image; 2] },
            programs: programs.iter().map(|compiled| (compiled.program.name.clone(), compiled.program.clone())).collect::<BTreeMap<_, _>>(),
            tokenizer: tokenizer.to_json().as_bytes().to_vec(),
            tokenizer_2: None,
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

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Input, format!("compiling the model: {error}"))
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        refused(error)
    }
}

/// Compiles the three programs. The weights stay in the files of the model.
fn compiled(model: &Arc<PipelineFolder>, storage: Storage) -> Result<Vec<Compiled>, Failure> {
    let device = burn::tensor::Device::flex();
    let options = Options { storage, ..Options::default() };
    let (sizes, tokens) = (model.sizes()?, model.tokenizer()?.length());

    let network = model.text_config()?.init(&device);
    let text_encoder = StoredNetwork { parameters: stored(model, &network, TEXT_WEIGHTS, |_| false)?, network };
    let text_encoder = programs::text_encoder(&text_encoder, tokens, &options)?;
    let features = text_encoder.program.value(text_encoder.program.outputs[0].value).shape[2];

    let network = model.unet_config()?.init(&device);
    let unet = StoredNetwork { parameters: stored(model, &network, UNET_WEIGHTS, |_| false)?, network };
    let generator = programs::generator(&unet, model.one_step_rule()?, sizes.latent, tokens, features, None, &options)?;

    let network = Decoder::new(model.vae_config()?.init(&device));
    let parameters = stored(model, &network, VAE_WEIGHTS, |name| name.starts_with("encoder.") || name.starts_with("quant_conv."))?;
    let decoder = programs::decoder(&StoredNetwork { network, parameters }, sizes.latent, &options)?;
    Ok(vec![text_encoder, generator, decoder])
}

/// The parameters of a network in a weight file of the model, which may have others for which `is_other` is true.
fn stored<M: Module>(
    model: &Arc<PipelineFolder>,
    network: &M,
    file: &'static str,
    is_other: fn(&str) -> bool,
) -> Result<Vec<StoredParameter>, Failure> {
    let opened = TensorFile::read(model.file(file)?, file).map_err(refused)?;
    let tensors = opened.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape.to_vec())).collect();
    let model = Arc::clone(model);
    let read: ReadTensor = Arc::new(move |name| {
        let bytes = model.file(file).map_err(|error| error.to_string())?;
        TensorFile::read(bytes, file).and_then(|file| file.floats(name, ElementType::WEIGHTS)).map_err(|error| error.to_string())
    });
    weights::stored(network, tensors, is_other, &read).map_err(refused)
}

/// Writes the weight files, tensor by tensor.
fn write_weights(destination: &mut FolderDestination, programs: &[Compiled]) -> Result<Vec<FileEntry>, Failure> {
    let weights = BundleWeights::new(&programs.iter().collect::<Vec<_>>(), WEIGHT_FILE_BYTES)?;
    let mut entries = Vec::new();
    for number in 0..weights.len() {
        let name = BundleWriter::weight_file(number);
        let (mut file, mut hasher) = (destination.create(&name)?, FileHasher::new(&name));
        weights.write(number, |bytes| -> Result<(), Failure> {
            hasher.update(bytes);
            Ok(file.append(bytes)?)
        })?;
        entries.push(hasher.finish());
    }
    Ok(entries)
}
