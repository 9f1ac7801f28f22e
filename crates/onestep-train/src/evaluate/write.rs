//! Puts the report together and writes the files of an evaluation.

use std::path::Path;

use burn::tensor::Device;
use onestep_store::replace_json;

use super::{
    measure::{FeatureSpace, Measured, MeasuredModel, References},
    options::{EvaluateOptions, folder_name},
    page::{self, Grids, PageImages},
    prepare::{Inputs, Prompts, TrainingPairs},
    report::Report,
};
use crate::{
    error::TrainError,
    features,
    image_grid::{ImageGrid, rgb},
    run_folder::write_description,
};

/// Images in a row of `grid.png`.
const GRID_COLUMNS: usize = 16;

/// The report, and the models in its order: the teacher by ascending number of steps, then the students.
pub(super) fn report(
    options: &EvaluateOptions,
    inputs: &Inputs,
    references: &References<'_>,
    space: &FeatureSpace<'_>,
    measured: Measured,
) -> (Report, Vec<MeasuredModel>) {
    let Measured { mut models, teacher } = measured;
    models.sort_by_key(|model| (model.report.is_student(), model.report.steps));
    let scorer = space.networks.alignment.as_deref();
    let report = Report {
        schema: Report::SCHEMA,
        names: inputs.names.len(),
        teacher_steps: options.steps,
        guidance: options.guidance,
        seed: options.seed,
        samples: inputs.samples,
        real: inputs.real.len(),
        features: space.networks.network.name(),
        feature_size: references.real.feature_size(),
        alignment: scorer.map(|scorer| scorer.name()),
        alignment_is_fraction: scorer.is_some_and(|scorer| scorer.is_fraction()),
        real_alignment: references.real.alignment,
        training_pairs: inputs.training_pairs.as_ref().map(TrainingPairs::report),
        diversity_prompts: inputs.diversity_prompts,
        baseline_same_prompt: teacher.compare(&references.teacher),
        baseline_different_prompts: teacher.rotated().compare(&teacher),
        models: models.iter().map(|model| model.report.clone()).collect(),
    };
    (report, models)
}

/// Writes `report.json`, `report.html`, `grid.png` and the description of the command into `folder`.
///
/// # Errors
/// Encoding, storage.
#[expect(clippy::too_many_arguments, reason = "one call; a struct would be built for it alone")]
pub(super) fn files(
    folder: &Path,
    options: &EvaluateOptions,
    config: &str,
    inputs: &Inputs,
    prompts: &Prompts<'_>,
    report: &Report,
    models: &[MeasuredModel],
    device: &Device,
) -> Result<(), TrainError> {
    write_description(folder, config)?;
    replace_json(&folder.join("report.json"), report)?;
    let originals: Vec<Vec<f32>> = inputs.names.iter().map(|&image| inputs.images.pixels(image).to_vec()).collect();
    grid(options, inputs, models, &originals, device).write(&folder.join("grid.png"))?;
    let images: Vec<&PageImages> = models.iter().map(|model| &model.page).collect();
    let grids = Grids::new(&images, &report.models, &originals, prompts.held_out_rows(), inputs.size, device)?;
    page::write(&folder.join("report.html"), &folder_name(&options.out), report, &grids)
}

/// Real images and below them every model's images of the same names, in rows of [`GRID_COLUMNS`].
fn grid(options: &EvaluateOptions, inputs: &Inputs, models: &[MeasuredModel], originals: &[Vec<f32>], device: &Device) -> ImageGrid {
    let is_shown = |name: &usize| {
        let name = inputs.name(inputs.names[*name]);
        options.grid_names.is_empty() || options.grid_names.iter().any(|shown| shown == name)
    };
    let shown: Vec<usize> = (0..inputs.names.len()).filter(is_shown).collect();
    let mut grid = ImageGrid::new(inputs.size);
    for columns in shown.chunks(GRID_COLUMNS) {
        let sets = std::iter::once(originals).chain(models.iter().filter_map(|model| model.names.as_deref()));
        for set in sets {
            let row: Vec<Vec<f32>> = columns.iter().map(|&name| set[name].clone()).collect();
            grid.rgb_row(rgb(&features::tensor(&row, inputs.size, device)));
        }
    }
    grid
}
