//! `report.json`: the measures of every model.

use serde::{Deserialize, Serialize};

use crate::measures::{KernelDistance, Manifold};

/// Accuracy of retrieving real images by generated ones.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Retrieval {
    /// Fraction of names for which the nearest real image has the name.
    pub top_1: f64,
    /// Fraction of names of which a real image is among the five nearest.
    pub top_5: f64,
}

/// A generated set against a reference set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SetMeasures {
    /// Fréchet distance of the features' Gaussians.
    pub frechet_distance: f64,
    /// Squared maximum mean discrepancy (KID's estimator).
    pub kernel_distance: KernelDistance,
    /// Precision, recall, density and coverage.
    #[serde(flatten)]
    pub manifold: Manifold,
}

/// Images against others, pair by pair.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PairMeasures {
    /// Mean feature distance, divided by √features.
    pub distance: f64,
    /// Mean root mean square difference of the 16×16 box-downsampled pixels, in −1…1.
    pub downsampled_pixels: f64,
    /// Peak signal-to-noise ratio over all pairs, dB; none for identical images.
    pub psnr: Option<f64>,
}

/// One row of the evaluation: a model at a number of solver steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelReport {
    /// `teacher` or `student`.
    pub model: String,
    /// The student's folder name, if there are several students.
    pub name: Option<String>,
    /// Steps of the ODE solver; 1 for a student.
    pub steps: usize,
    /// Evaluations of the denoiser per image.
    pub evaluations: usize,
    /// Against the teacher's images for the same prompts and other noises.
    pub to_teacher: SetMeasures,
    /// Against the real images.
    pub to_real: SetMeasures,
    /// Against the teacher's images for the same prompts and noises.
    pub preservation: PairMeasures,
    /// A student's images for training pairs, against the pairs' images. Much smaller distances than in `preservation` mean memorisation.
    pub preservation_on_training_pairs: Option<PairMeasures>,
    /// Mean pairwise feature distance among 8 images of one prompt.
    pub diversity: f64,
    /// `diversity` divided by the teacher's; none if that is 0.
    pub diversity_ratio: Option<f64>,
    /// Mean alignment score.
    pub alignment: Option<f64>,
    /// Retrieval of the real images with their names as prompts; none for the teacher at other numbers of steps.
    pub retrieval: Option<Retrieval>,
    /// Retrieval with held-out phrasings as prompts.
    pub retrieval_held_out: Option<Retrieval>,
    /// Wall-clock seconds per image in batches of 32, text encoder and decoder included; the only value that differs between runs.
    pub seconds_per_image: f64,
}

impl ModelReport {
    /// Whether the row is a student's.
    pub fn is_student(&self) -> bool {
        self.model == "student"
    }
}

/// The training pairs on which students are measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TrainingPairsReport {
    /// Number of pairs measured.
    pub count: usize,
    /// Solver steps with which the teacher sampled them.
    pub steps: usize,
    /// Guidance scale with which the teacher sampled them.
    pub guidance: f64,
}

/// The whole evaluation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout: [`Report::SCHEMA`].
    pub schema: u32,
    /// Names evaluated.
    pub names: usize,
    /// Solver steps of the teacher that the students are compared with.
    pub teacher_steps: usize,
    /// Guidance scale of the teacher.
    pub guidance: f64,
    /// First noise seed.
    pub seed: u64,
    /// Images per generated set.
    pub samples: usize,
    /// Real images in the reference set.
    pub real: usize,
    /// Name of the feature space.
    pub features: String,
    /// Features per image.
    pub feature_size: usize,
    /// Name of the alignment score, if there is a scorer.
    pub alignment: Option<String>,
    /// Whether the alignment score is a fraction in 0…1, to be shown in percent.
    pub alignment_is_fraction: bool,
    /// Mean alignment score of the real images.
    pub real_alignment: Option<f64>,
    /// The training pairs measured, if a pair set was given.
    pub training_pairs: Option<TrainingPairsReport>,
    /// Number of prompts for the diversity, with 8 noises each.
    pub diversity_prompts: usize,
    /// Baseline of `preservation`: the teacher's images for two noises of one prompt.
    pub baseline_same_prompt: PairMeasures,
    /// Baseline of `preservation`: the teacher's images for different prompts.
    pub baseline_different_prompts: PairMeasures,
    /// The teacher by ascending number of steps, then the students.
    pub models: Vec<ModelReport>,
}

impl Report {
    /// The current version of the layout.
    pub const SCHEMA: u32 = 2;

    /// An alignment score for display: in percent if it is a fraction, else with four decimals.
    pub fn format_alignment(&self, score: Option<f64>) -> Option<String> {
        score.map(|score| if self.alignment_is_fraction { format!("{:.1} %", score * 100.0) } else { format!("{score:.4}") })
    }
}
