//! `onestep eval`: students compared with their teacher.

use std::path::{Path, PathBuf};

use onestep_train::evaluate::{EvaluateOptions, evaluate};
use onestep_train::pipeline_folder::ModelOptions;

use crate::commands::training::options::RunOptions;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Compare one-step students with their teacher on held-out prompts and noises
///
/// Writes report.json, report.html (tables, charts and images on one page) and grid.png. Generating images takes most of the time; --samples,
/// --count and --teacher-steps set how many.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train image-classifier --data emoji --out runs/classifier\n  \
                  onestep eval --teacher runs/teacher --student runs/student --data emoji \\\n    --features runs/classifier --out runs/eval")]
pub struct Eval {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR", help_heading = "Inputs")]
    teacher: Option<PathBuf>,
    /// How the teacher is opened
    #[command(flatten)]
    opening: ModelOptions,
    /// Run or model folder of a student; may be repeated, all students are compared with the same images of the teacher
    #[arg(long = "student", value_name = "DIR")]
    students: Vec<PathBuf>,
    /// Image folder of the real images and the prompts
    #[arg(long, value_name = "DIR", help_heading = "Inputs")]
    data: Option<PathBuf>,
    /// Pair set that the students were trained on; measures them on training pairs too, which reveals memorisation
    #[arg(long, value_name = "DIR")]
    pairs: Option<PathBuf>,
    /// Feature network: folder of an image classifier, folder with CLIP in transformers' layout, or file with Inception-v3 in FID's
    /// layout; without it, 16x16 box-downsampled pixels are compared
    #[arg(long, value_name = "PATH")]
    features: Option<PathBuf>,
    /// Number of image names to evaluate; 0 for all
    #[arg(long)]
    count: Option<usize>,
    /// Images per generated set
    #[arg(long)]
    samples: Option<usize>,
    /// Number of prompts for the diversity, with 8 noises each
    #[arg(long)]
    diversity_prompts: Option<usize>,
    /// Solver steps of the teacher that the students are compared with
    #[arg(long)]
    steps: Option<usize>,
    /// Further numbers of solver steps at which the teacher is evaluated
    #[arg(long, value_name = "STEPS,…", value_delimiter = ',')]
    teacher_steps: Vec<usize>,
    /// Guidance scale of the teacher
    #[arg(long)]
    guidance: Option<f64>,
    /// First noise seed
    #[arg(long)]
    seed: Option<u64>,
    /// Show only this name in grid.png; may be repeated
    #[arg(long, value_name = "NAME")]
    show: Vec<String>,
    #[command(flatten)]
    run: RunOptions,
}

impl Eval {
    /// Evaluates and prints the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        self.run.at_once("eval")?;
        let mut options: EvaluateOptions = self.run.base()?;
        options.out = self.run.out();
        options.teacher = self.teacher.unwrap_or(options.teacher);
        options.model.variant = self.opening.variant.or(options.model.variant);
        options.model.size = self.opening.size.or(options.model.size);
        if !self.students.is_empty() {
            options.students = self.students;
        }
        options.data = self.data.unwrap_or(options.data);
        options.pairs = self.pairs.or(options.pairs);
        options.features = self.features.or(options.features);
        options.count = self.count.unwrap_or(options.count);
        options.samples = self.samples.unwrap_or(options.samples);
        options.diversity_prompts = self.diversity_prompts.unwrap_or(options.diversity_prompts);
        options.steps = self.steps.unwrap_or(options.steps);
        if !self.teacher_steps.is_empty() {
            options.teacher_steps = self.teacher_steps;
        }
        options.guidance = self.guidance.unwrap_or(options.guidance);
        options.seed = self.seed.unwrap_or(options.seed);
        if !self.show.is_empty() {
            options.grid_names = self.show;
        }
        let needed: [(&str, &Path); 2] = [("--teacher", &options.teacher), ("--data", &options.data)];
        let reads: Vec<PathBuf> = options.students.iter().chain(&options.pairs).chain(&options.features).cloned().collect();
        let report = self.run.go(shared, &options, &needed, &reads, |options, device, _, progress| evaluate(options, device, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        output::text(&format!(
            "{} labels, {} images of held-out phrasings, teacher at {} steps, guidance {}; features: {}",
            report.names, report.samples, report.teacher_steps, report.guidance, report.features
        ))?;
        let decibels = |psnr: Option<f64>| psnr.map_or_else(|| "-".to_owned(), |psnr| format!("{psnr:.2} dB"));
        for (what, pair) in [("two noises of one prompt", report.baseline_same_prompt), ("different prompts", report.baseline_different_prompts)] {
            let psnr = decibels(pair.psnr);
            output::text(&format!("teacher, {what:26} distance {:.4}  16x16 {:.4}  {psnr}", pair.distance, pair.downsampled_pixels))?;
        }
        let percent = |fraction: Option<f64>| fraction.map_or_else(|| "-".to_owned(), |fraction| format!("{:.1} %", fraction * 100.0));
        let width = report.models.iter().filter_map(|row| row.name.as_ref()).map(|name| name.chars().count()).max().unwrap_or(0).max(7);
        output::text(&format!(
            "{:width$}      evaluations  Fréchet: teacher's    real  precision  recall  to teacher     16x16       PSNR  diversity  alignment  top-1    held out  s/image",
            ""
        ))?;
        for row in &report.models {
            let psnr = decibels(row.preservation.psnr);
            output::text(&format!(
                "{:width$} {:3}  {:11}  {:18.4} {:7.4} {:10.3} {:7.3} {:11.4} {:9.4} {psnr:>10} {:10.4} {:>10} {:>7} {:>10} {:10.4}",
                row.name.as_ref().unwrap_or(&row.model),
                row.steps,
                row.evaluations,
                row.to_teacher.frechet_distance,
                row.to_real.frechet_distance,
                row.to_teacher.manifold.precision,
                row.to_teacher.manifold.recall,
                row.preservation.distance,
                row.preservation.downsampled_pixels,
                row.diversity,
                report.format_alignment(row.alignment).unwrap_or_else(|| "-".to_owned()),
                percent(row.retrieval.map(|found| found.top_1)),
                percent(row.retrieval_held_out.map(|found| found.top_1)),
                row.seconds_per_image
            ))?;
        }
        for row in &report.models {
            if let (Some(pair), Some(training)) = (row.preservation_on_training_pairs, report.training_pairs) {
                output::text(&format!(
                    "{}, {} training pairs ({} steps, guidance {}): distance {:.4}  16x16 {:.4}  {}",
                    row.name.as_ref().unwrap_or(&row.model),
                    training.count,
                    training.steps,
                    training.guidance,
                    pair.distance,
                    pair.downsampled_pixels,
                    decibels(pair.psnr)
                ))?;
            }
        }
        output::data(&options.out.join("report.html").display().to_string())
    }
}
