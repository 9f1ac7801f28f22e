//! Opens and checks everything that an evaluation reads, before the first image is generated.

use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, Tensor};

use super::{
    options::EvaluateOptions,
    report::TrainingPairsReport,
    seeds::{ImageRequest, NOISES, SeedBlock, Seeds},
};
use crate::{
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    features::{self, DownsampledPixels, FeatureNetworks, LabelledPrompt},
    pairs::Pairs,
    pipeline_folder::{PipelineFolder, Sizes},
    run_folder::model_of,
    training_loop::check_elements,
};

/// Everything that an evaluation reads, checked.
pub(super) struct Inputs {
    pub teacher: PipelineFolder,
    pub students: Vec<PipelineFolder>,
    pub images: ImageFolder,
    pub training_pairs: Option<TrainingPairs>,
    pub networks: FeatureNetworks,
    /// Side of the images in pixels.
    pub size: usize,
    /// Images per generated set, at least 2.
    pub samples: usize,
    /// For each evaluated name its first image in `images`, at least 2.
    pub names: Vec<usize>,
    /// The real images of the reference set: one of each name, then another of each, and so on.
    pub real: Vec<usize>,
    /// Number of prompts for the diversity.
    pub diversity_prompts: usize,
    pub seeds: Seeds,
}

impl Inputs {
    /// # Errors
    /// Invalid options; models, images or pairs that cannot be read or do not belong together.
    pub fn open(options: &EvaluateOptions, device: &Device) -> Result<Self, TrainError> {
        check_options([(format!("--guidance {}", options.guidance), options.guidance.is_finite(), "a finite number")])?;
        let teacher = PipelineFolder::open_with(&model_of(&options.teacher)?, &options.model)?;
        teacher.check()?;
        let sizes = teacher.sizes()?;
        let size = sizes.image;
        check_elements("--samples", options.samples, [3, size, size])?;
        let students = open_students(options, &teacher, &sizes)?;
        check_steps(options, &teacher)?;
        let samples = options.samples.max(2);
        let training_pairs = options.pairs.as_deref().map(|folder| TrainingPairs::open(folder, &teacher, samples)).transpose()?;

        let images = ImageFolder::open(&options.data, size)?;
        let by_name = images_by_name(&images);
        let count = if options.count == 0 { by_name.len() } else { options.count.min(by_name.len()) };
        if count < 2 || !size.is_multiple_of(DownsampledPixels::SIDE) {
            return Err(TrainError::input(format!(
                "evaluating with the images of {}: expected at least 2 names and images whose side is a multiple of {}, found {count} names and \
                 images of {size}x{size}; use another image folder or a larger --count",
                options.data.display(),
                DownsampledPixels::SIDE,
            )));
        }
        let networks = features::open(options.features.as_deref(), size, device)?;
        let seeds = Seeds::new(options.seed, samples.max(count * NOISES))?;
        if let Some(pairs) = &training_pairs {
            pairs.check_disjoint(&seeds.range())?;
        }
        Ok(Self {
            teacher,
            students,
            training_pairs,
            networks,
            size,
            samples,
            names: (0..count).map(|i| by_name[i * by_name.len() / count][0]).collect(),
            real: real_images(&by_name, samples),
            images,
            diversity_prompts: options.diversity_prompts.clamp(1, count),
            seeds,
        })
    }

    /// The name of an image.
    pub fn name(&self, image: usize) -> &str {
        &self.images.entries()[image].text
    }

    /// All prompts of the evaluation.
    pub fn prompts(&self) -> Prompts<'_> {
        let held_out = |image: usize| self.images.held_out_prompts(image).first().map_or(self.name(image), String::as_str);
        let labelled = |image: usize, prompt| LabelledPrompt { label: self.name(image), prompt };
        let mut rows: Vec<LabelledPrompt<'_>> = self.names.iter().map(|&image| labelled(image, self.name(image))).collect();
        rows.extend(self.names.iter().map(|&image| labelled(image, held_out(image))));
        if let Some(pairs) = &self.training_pairs {
            rows.extend(pairs.prompts().map(|prompt| LabelledPrompt { label: prompt, prompt }));
        }
        Prompts { rows, names: self.names.len() }
    }
}

/// The prompts: every name, then for each name a phrasing that was not trained on (the name if there is none), then the training pairs'.
pub(super) struct Prompts<'a> {
    pub rows: Vec<LabelledPrompt<'a>>,
    /// Number of names.
    pub names: usize,
}

impl<'a> Prompts<'a> {
    /// Image `index` of a seed block for held-out prompts: round after round through the prompts, every image with its own seed.
    pub fn held_out(&self, seeds: Seeds, block: SeedBlock, index: usize) -> ImageRequest {
        ImageRequest { prompt: self.names + index % self.names, seed: seeds.seed(block, index) }
    }

    /// The row of a training pair's prompt.
    pub fn training_pair(&self, pair: usize) -> usize {
        2 * self.names + pair
    }

    /// The held-out prompts, one for each name.
    pub fn held_out_rows(&self) -> &[LabelledPrompt<'a>] {
        &self.rows[self.names..2 * self.names]
    }
}

/// Training pairs of the students, evenly spread over the pair set.
pub(super) struct TrainingPairs {
    pairs: Pairs,
    chosen: Vec<usize>,
}

impl TrainingPairs {
    /// # Errors
    /// Pairs that are damaged, or of another teacher.
    fn open(folder: &Path, teacher: &PipelineFolder, most: usize) -> Result<Self, TrainError> {
        let pairs = Pairs::open_of(folder, teacher)?;
        let all = pairs.seeds.len();
        let count = all.min(most);
        Ok(Self { chosen: (0..count).map(|pair| pair * all / count).collect(), pairs })
    }

    pub fn report(&self) -> TrainingPairsReport {
        let sampling = &self.pairs.index.options;
        TrainingPairsReport { count: self.chosen.len(), steps: sampling.steps, guidance: sampling.guidance }
    }

    /// Refuses evaluation seeds that are also seeds of training pairs.
    fn check_disjoint(&self, seeds: &Range<u64>) -> Result<(), TrainError> {
        let sampling = &self.pairs.index.options;
        let trained = sampling.base_seed..sampling.base_seed.saturating_add(sampling.count);
        if trained.start >= seeds.end || seeds.start >= trained.end {
            return Ok(());
        }
        let message = format!(
            "--seed {}: the evaluation uses the seeds {} to {}, expected none of the training pairs' seeds, found that these are {} to {}; \
             choose a seed outside",
            seeds.start,
            seeds.start,
            seeds.end - 1,
            trained.start,
            trained.end - 1
        );
        Err(TrainError::new(TrainErrorKind::Usage, message))
    }

    fn prompts(&self) -> impl Iterator<Item = &str> {
        self.chosen.iter().map(|&pair| self.pairs.index.prompts[self.pairs.rows[pair]].as_str())
    }

    /// The noise seed of each pair.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.chosen.iter().map(|&pair| self.pairs.seeds[pair])
    }

    /// The teacher's latents [N,C,H,W], in batches.
    pub fn latents<'a>(&'a self, batch: usize, device: &'a Device) -> impl Iterator<Item = Tensor<4>> + 'a {
        self.chosen.chunks(batch).map(|chosen| self.pairs.targets(chosen, device))
    }
}

fn open_students(options: &EvaluateOptions, teacher: &PipelineFolder, sizes: &Sizes) -> Result<Vec<PipelineFolder>, TrainError> {
    if options.students.is_empty() {
        return Err(TrainError::new(TrainErrorKind::Usage, "no student to evaluate: give --student DIR, once or several times"));
    }
    let mut students = Vec::new();
    for folder in &options.students {
        let student = PipelineFolder::open(&model_of(folder)?)?;
        student.check()?;
        if student.sizes()? != *sizes {
            return Err(TrainError::input(format!(
                "{} generates images of another size than {}: evaluate a student with the teacher that it was distilled from",
                folder.display(),
                options.teacher.display()
            )));
        }
        // A student takes all but the denoiser unchanged from its teacher; its scheduler says how it is evaluated.
        for component in teacher.components().into_iter().filter(|component| !["unet", "scheduler"].contains(component)) {
            if student.has_same(component, teacher)? {
                continue;
            }
            return Err(TrainError::input(format!(
                "{} has another {component} than {}: evaluate a student with the teacher that it was distilled from; only denoiser and scheduler may differ",
                folder.display(),
                options.teacher.display()
            )));
        }
        students.push(student);
    }
    Ok(students)
}

fn check_steps(options: &EvaluateOptions, teacher: &PipelineFolder) -> Result<(), TrainError> {
    let schedule = teacher.schedule()?;
    for &steps in options.teacher_steps.iter().chain([&options.steps]) {
        onestep_pipeline::solver::timesteps(&schedule, steps).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
    }
    Ok(())
}

/// The images of each distinct name, both in the order of the folder.
fn images_by_name(images: &ImageFolder) -> Vec<Vec<usize>> {
    let (names, name_of_image) = images.names();
    let mut by_name = vec![Vec::new(); names.len()];
    for (image, name) in name_of_image.into_iter().enumerate() {
        by_name[name].push(image);
    }
    by_name
}

/// One image of each name, then another of each, until there are `samples`; every name is there at least once.
fn real_images(by_name: &[Vec<usize>], samples: usize) -> Vec<usize> {
    let most = by_name.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| by_name.iter().filter_map(move |images| images.get(round).copied()));
    rounds.take(samples.max(by_name.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_images_take_every_name_in_turn() {
        let by_name = [vec![0, 1, 2], vec![3], vec![4, 5]];
        assert_eq!(real_images(&by_name, 2), [0, 3, 4]);
        assert_eq!(real_images(&by_name, 5), [0, 3, 4, 1, 5]);
        assert_eq!(real_images(&by_name, 50), [0, 3, 4, 1, 5, 2]);
    }
}
