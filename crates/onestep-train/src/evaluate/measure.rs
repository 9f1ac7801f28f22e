//! Measures the images of each model against the references.

use burn::tensor::Device;

use super::{
    generate::{BATCH, Generated, ImageSampler},
    options::{EvaluateOptions, folder_name},
    page::PageImages,
    prepare::{Inputs, Prompts},
    report::{ModelReport, PairMeasures, Retrieval, SetMeasures},
    requests::{EvaluatedModel, EvaluationPlan, ModelRequests},
    seeds::NOISES,
};
use crate::{
    error::TrainError,
    features::{DownsampledPixels, FeatureNetworks, LabelledPrompt, matrix, mean_score},
    measures::{FeatureMatrix, Gaussian, diversity, frechet_distance, kernel_distance, manifold, mean_distance, psnr, squared_distance},
    observer::Observer,
};

/// The space in which images are compared, and the scorer of their alignment.
pub(super) struct FeatureSpace<'a> {
    pub networks: &'a FeatureNetworks,
    size: usize,
    device: &'a Device,
}

impl<'a> FeatureSpace<'a> {
    /// For images of `size` × `size` pixels.
    pub fn new(networks: &'a FeatureNetworks, size: usize, device: &'a Device) -> Self {
        Self { networks, size, device }
    }

    fn features(&self, images: &[Vec<f32>]) -> FeatureMatrix {
        matrix(self.networks.network.as_ref(), images, self.size, self.device)
    }

    fn image_set(&self, images: Vec<Vec<f32>>) -> ImageSet {
        let features = self.features(&images);
        self.image_set_with(images, features)
    }

    fn image_set_with(&self, images: Vec<Vec<f32>>, features: FeatureMatrix) -> ImageSet {
        ImageSet { pixels: matrix(&DownsampledPixels, &images, self.size, self.device), features, images }
    }

    /// The mean alignment score, if there is a scorer.
    fn alignment(&self, images: &[Vec<f32>], prompts: &[LabelledPrompt<'_>]) -> Result<Option<f64>, TrainError> {
        let scorer = self.networks.alignment.as_deref();
        scorer.map(|scorer| mean_score(scorer, images, prompts, self.size, self.device)).transpose()
    }
}

/// A set of images with its features, for comparisons with another set image by image.
#[derive(Clone)]
pub(super) struct ImageSet {
    images: Vec<Vec<f32>>,
    features: FeatureMatrix,
    /// 16×16 box-downsampled pixels.
    pixels: FeatureMatrix,
}

impl ImageSet {
    /// Compares image `i` with image `i` of the other set.
    pub fn compare(&self, other: &Self) -> PairMeasures {
        PairMeasures {
            distance: mean_distance(&self.features, &other.features),
            downsampled_pixels: mean_distance(&self.pixels, &other.pixels),
            psnr: psnr(self.images.iter().zip(&other.images).map(|(a, b)| (a.as_slice(), b.as_slice()))),
        }
    }

    /// The same images, each one place further; the last one comes first. Compared with the set itself, every pair has different prompts.
    pub fn rotated(&self) -> Self {
        let count = self.images.len();
        let indices: Vec<usize> = (0..count).map(|index| (index + 1) % count).collect();
        Self {
            images: indices.iter().map(|&index| self.images[index].clone()).collect(),
            features: self.features.select(&indices),
            pixels: self.pixels.select(&indices),
        }
    }
}

/// A reference set of the set measures.
struct Reference {
    features: FeatureMatrix,
    gaussian: Gaussian,
}

impl Reference {
    fn new(features: FeatureMatrix) -> Self {
        Self { gaussian: Gaussian::of(&features), features }
    }

    /// `seed` names the subsets of the kernel distance.
    fn measure(&self, generated: &FeatureMatrix, seed: u64) -> SetMeasures {
        SetMeasures {
            frechet_distance: frechet_distance(&self.gaussian, &Gaussian::of(generated)),
            kernel_distance: kernel_distance(&self.features, generated, seed),
            manifold: manifold(&self.features, generated),
        }
    }
}

/// The real images as a reference set.
pub(super) struct RealImages<'a> {
    reference: Reference,
    /// The name of each image.
    names: Vec<&'a str>,
    /// Their mean alignment score, if there is a scorer.
    pub alignment: Option<f64>,
}

impl<'a> RealImages<'a> {
    /// # Errors
    /// A name that the scorer does not know.
    pub fn measure(inputs: &'a Inputs, space: &FeatureSpace<'_>) -> Result<Self, TrainError> {
        let images: Vec<Vec<f32>> = inputs.real.iter().map(|&image| inputs.images.pixels(image).to_vec()).collect();
        let names: Vec<&str> = inputs.real.iter().map(|&image| inputs.name(image)).collect();
        let prompts: Vec<LabelledPrompt<'_>> = names.iter().map(|&name| LabelledPrompt { label: name, prompt: name }).collect();
        let reference = Reference::new(space.features(&images));
        Ok(Self { alignment: space.alignment(&images, &prompts)?, reference, names })
    }

    /// Features per image.
    pub fn feature_size(&self) -> usize {
        self.reference.features.columns()
    }

    /// Retrieves the real images with one generated image for each of the `wanted` names.
    fn retrieval(&self, generated: &FeatureMatrix, wanted: &[&str]) -> Retrieval {
        retrieval(generated, wanted, &self.reference.features, &self.names)
    }
}

/// The sets that every model is compared with.
pub(super) struct References<'a> {
    to_teacher: Reference,
    pub real: RealImages<'a>,
    /// The teacher's reference set.
    pub teacher: ImageSet,
    /// The teacher's images of the training pairs.
    training_pairs: Option<ImageSet>,
}

impl<'a> References<'a> {
    /// # Errors
    /// See [`ImageSampler::generate`].
    pub fn generate(
        inputs: &Inputs,
        plan: &EvaluationPlan,
        real: RealImages<'a>,
        space: &FeatureSpace<'_>,
        sampler: &mut ImageSampler<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let generated = sampler.generate(plan.teacher, &plan.reference, observer)?;
        let teacher = space.image_set(generated.select(&plan.reference_images));
        let training_pairs = inputs.training_pairs.as_ref().map(|pairs| {
            let images = pairs.latents(BATCH, space.device).flat_map(|latents| sampler.decode(latents));
            space.image_set(images.collect())
        });
        Ok(Self { to_teacher: Reference::new(teacher.features.clone()), real, teacher, training_pairs })
    }
}

/// A model's row of the report, and those of its images that are shown.
pub(super) struct MeasuredModel {
    pub report: ModelReport,
    pub page: PageImages,
    /// One image for each name, for `grid.png`.
    pub names: Option<Vec<Vec<f32>>>,
}

/// All models, in the order of the plan.
pub(super) struct Measured {
    pub models: Vec<MeasuredModel>,
    /// The teacher's set for the same prompts and noises as every other model's.
    pub teacher: ImageSet,
}

/// Generates and measures model after model, so that only the shown images of a model stay in memory.
///
/// # Errors
/// See [`ImageSampler::generate`]; a prompt that the scorer does not know.
#[expect(clippy::too_many_arguments, reason = "one call; a struct would be built for it alone")]
pub(super) fn measure_models(
    options: &EvaluateOptions,
    inputs: &Inputs,
    prompts: &Prompts<'_>,
    plan: &EvaluationPlan,
    references: &References<'_>,
    space: &FeatureSpace<'_>,
    sampler: &mut ImageSampler<'_>,
    observer: &mut dyn Observer,
) -> Result<Measured, TrainError> {
    let set_prompts: Vec<LabelledPrompt<'_>> = (0..inputs.samples).map(|index| prompts.held_out_rows()[index % prompts.names]).collect();
    let names: Vec<&str> = inputs.names.iter().map(|&image| inputs.name(image)).collect();
    let mut models = Vec::new();
    // The plan's first model is the teacher that all others are compared with.
    let mut teacher: Option<(ImageSet, f64)> = None;
    for requests in &plan.models {
        let generated = sampler.generate(requests.model, &requests.list, observer)?;
        let features = space.features(&generated.images);
        let set = space.image_set_with(generated.select(&requests.set), features.select(&requests.set));
        let diversity = diversity(&features.select(&requests.diversity), NOISES);
        let (teacher, teacher_diversity) = &*teacher.get_or_insert_with(|| (set.clone(), diversity));
        let retrieval = |indices: &[usize]| references.real.retrieval(&features.select(indices), &names);
        let report = ModelReport {
            model: if requests.model.is_student() { "student" } else { "teacher" }.into(),
            name: student_name(requests.model, options),
            steps: requests.model.steps(),
            evaluations: sampler.evaluations(requests.model),
            to_teacher: references.to_teacher.measure(&set.features, options.seed),
            to_real: references.real.reference.measure(&set.features, options.seed),
            preservation: set.compare(teacher),
            preservation_on_training_pairs: training_pairs(&generated, requests, references, space),
            diversity,
            diversity_ratio: (*teacher_diversity > 0.0).then(|| diversity / teacher_diversity),
            alignment: space.alignment(&set.images, &set_prompts)?,
            retrieval: requests.retrieval.as_ref().map(|queries| retrieval(&queries.names)),
            retrieval_held_out: requests.retrieval.as_ref().map(|queries| retrieval(&queries.held_out)),
            seconds_per_image: generated.seconds_per_image,
        };
        models.push(MeasuredModel {
            page: PageImages::new(requests, requests.model == plan.teacher, &generated, prompts.names),
            names: requests.retrieval.as_ref().map(|queries| generated.select(&queries.names)),
            report,
        });
    }
    let (teacher, _) = teacher.ok_or_else(|| TrainError::input("evaluating: expected at least one model, found none"))?;
    Ok(Measured { models, teacher })
}

/// A student's measures on its training pairs.
fn training_pairs(generated: &Generated, requests: &ModelRequests, references: &References<'_>, space: &FeatureSpace<'_>) -> Option<PairMeasures> {
    let targets = references.training_pairs.as_ref().filter(|_| requests.model.is_student())?;
    Some(space.image_set(generated.select(&requests.training_pairs)).compare(targets))
}

/// The folder name of one student among several.
fn student_name(model: EvaluatedModel, options: &EvaluateOptions) -> Option<String> {
    match model {
        EvaluatedModel::Student(index) if options.students.len() > 1 => Some(folder_name(&options.students[index])),
        _ => None,
    }
}

/// How often a `real` row named `wanted[i]` is the nearest to row i of `generated`, and is among the nearest five.
fn retrieval(generated: &FeatureMatrix, wanted: &[&str], real: &FeatureMatrix, names: &[&str]) -> Retrieval {
    let (mut first, mut among_five) = (0usize, 0usize);
    for (row, wanted) in wanted.iter().enumerate() {
        let squared = |other: usize| squared_distance(generated.row(row), real.row(other));
        let (matching, others): (Vec<usize>, Vec<usize>) = (0..real.rows()).partition(|&other| names[other] == *wanted);
        let nearest = matching.into_iter().map(squared).fold(f64::INFINITY, f64::min);
        let nearer = others.into_iter().filter(|&other| squared(other) < nearest).count();
        first += usize::from(nearest.is_finite() && nearer < 1);
        among_five += usize::from(nearest.is_finite() && nearer < 5);
    }
    Retrieval { top_1: first as f64 / wanted.len() as f64, top_5: among_five as f64 / wanted.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_image_of_the_name_counts() {
        let real = FeatureMatrix::new(1, vec![0.0, 10.0, 20.0, 21.0, 22.0, 23.0, 24.0]);
        let names = ["cat", "dog", "cat", "cow", "cow", "cow", "cow"];
        let found = retrieval(&FeatureMatrix::new(1, vec![19.0, 13.0, 30.0, 30.0]), &["cat", "dog", "cat", "dog"], &real, &names);
        assert_eq!((found.top_1, found.top_5), (0.5, 0.75));
    }
}
