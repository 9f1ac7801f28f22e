//! `eval`: one-step students compared with their multi-step teacher, on held-out prompts and on noises that no model was trained on.
//!
//! Every model generates images for the same prompts and the same noises. Each image is generated once and serves all measures:
//! - *Sets*: the generated images are compared with a reference set by the [`measures`](crate::measures) of their
//!   [`features`](crate::features): Fréchet distance, kernel distance (KID), precision and recall, density and coverage. The first reference
//!   holds the teacher's images for the same prompts and **other** noises. The teacher is compared with it too, and its row is the lower
//!   bound that a finite number of samples allows. The second reference holds the real images.
//! - *Preservation of the ODE*: a student's image is compared with the teacher's image of the same prompt and noise, by feature distance, by
//!   root mean square difference of 16×16 box-downsampled pixels (insensitive to fine detail), and by PSNR (10·log₁₀(4/MSE), pixels in
//!   −1…1). Two noises of one prompt, both sampled by the teacher, are the baseline. If the students' training pairs are given, the same is
//!   measured on them: a student that is much closer on training pairs has memorised them.
//! - *Diversity*: mean pairwise feature distance among 8 images of one prompt. Read it together with the alignment, because wrong images are
//!   diverse too.
//! - *Alignment*: how well an image fits its prompt, if the features come with a scorer (CLIP, or the image classifier's accuracy).
//! - *Retrieval*: one image is generated for each name, and the real images are ranked by feature distance to it. Top-k is the fraction of
//!   names for which a real image with that name is among the first k.

mod generate;
mod measure;
mod options;
mod page;
mod prepare;
mod report;
mod requests;
mod seeds;
mod write;

use std::collections::BTreeSet;

use burn::tensor::Device;
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind};

use crate::{error::TrainError, observer::Observer, run_folder::config_of, sampler::note_long_captions};
use generate::ImageSampler;
use measure::{FeatureSpace, RealImages, References, measure_models};
use prepare::Inputs;
use requests::EvaluationPlan;

pub use options::EvaluateOptions;
pub use report::{ModelReport, PairMeasures, Report, Retrieval, SetMeasures, TrainingPairsReport};

/// The folder that an evaluation writes.
const EVALUATION: FolderKind = recorded_folder_kind!("an evaluation");

/// Evaluates and writes `report.json`, `report.html`, `grid.png` (rows: real images, teacher, students), `config.toml` and `command.txt`.
///
/// # Errors
/// Invalid options, models or data that cannot be read, images that are not finite, storage, interruption.
pub fn evaluate(options: &EvaluateOptions, device: &Device, observer: &mut dyn Observer) -> Result<Report, TrainError> {
    let config = config_of(options)?;
    let mut destination = FolderDestination::acquire(&options.out, EVALUATION, &[])?;
    let inputs = Inputs::open(options, device)?;
    let prompts = inputs.prompts();
    let captions: BTreeSet<&str> = prompts.rows.iter().map(|row| row.prompt).collect();
    note_long_captions(&inputs.teacher.tokenizer()?, captions, observer)?;
    let space = FeatureSpace::new(&inputs.networks, inputs.size, device);
    // Before sampling, so that a scorer that does not fit the folder's images fails now and not after hours.
    let real = RealImages::measure(&inputs, &space)?;

    let plan = EvaluationPlan::new(options, &inputs, &prompts);
    let mut sampler = ImageSampler::open(&inputs.teacher, &inputs.students, options.guidance, &prompts.rows, device)?;
    sampler.begin(&plan.lists(), observer);
    let references = References::generate(&inputs, &plan, real, &space, &mut sampler, observer)?;
    let measured = measure_models(options, &inputs, &prompts, &plan, &references, &space, &mut sampler, observer)?;
    let (report, rows) = write::report(options, &inputs, &references, &space, measured);

    let folder = destination.begin()?.to_owned();
    write::files(&folder, options, &config, &inputs, &prompts, &report, &rows, device)?;
    destination.publish()?;
    Ok(report)
}
