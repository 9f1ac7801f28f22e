//! `onestep eval`: the student beside its teacher.

use std::path::PathBuf;

use onestep_train::evaluate::{EvaluateOptions, evaluate};

use crate::arguments::Shared;
use crate::commands::training::Run;
use crate::exit::Failure;
use crate::output;

/// Measure the student beside its teacher on prompts and noises that neither saw.
///
/// Writes report.json, report.html (tables, plots and pictures on one page) and grid.png. Drawing takes most of the time: --samples,
/// --count and --teacher-steps say how much is drawn.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train picture-classifier --data emoji --out runs/classifier\n  \
                  onestep eval --teacher runs/teacher --student runs/student --data emoji --features runs/classifier --out runs/eval")]
pub struct Eval {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// Run or model folder of the student
    #[arg(long, value_name = "DIR")]
    student: Option<PathBuf>,
    /// The picture folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Whose features are compared: a picture classifier's folder, a folder with CLIP in transformers' layout, or a file with
    /// Inception-v3 in the layout of Fréchet distances; without any, averages of pixels
    #[arg(long, value_name = "PATH")]
    features: Option<PathBuf>,
    /// Names to draw; 0 for all
    #[arg(long)]
    count: Option<usize>,
    /// Pictures of each set that is compared with a reference
    #[arg(long)]
    samples: Option<usize>,
    /// Held-out phrasings on which student and teacher are compared pixel by pixel
    #[arg(long)]
    compared: Option<usize>,
    /// Prompts of which 8 pictures are compared with each other
    #[arg(long)]
    diverse: Option<usize>,
    /// Steps of the teacher that the student is measured against
    #[arg(long)]
    steps: Option<usize>,
    /// Steps at which the teacher is measured too
    #[arg(long, value_name = "STEPS,…", value_delimiter = ',')]
    teacher_steps: Vec<usize>,
    /// Guidance of the teacher
    #[arg(long)]
    guidance: Option<f64>,
    /// Seed of the first picture
    #[arg(long)]
    seed: Option<u64>,
    /// Show only this name in the picture grid; may be repeated
    #[arg(long, value_name = "NAME")]
    show: Vec<String>,
    #[command(flatten)]
    run: Run,
}

impl Eval {
    /// Measures; prints the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: EvaluateOptions = self.run.base()?;
        options.out = self.run.out();
        options.teacher = self.teacher.unwrap_or(options.teacher);
        options.student = self.student.unwrap_or(options.student);
        options.data = self.data.unwrap_or(options.data);
        options.features = self.features.or(options.features);
        options.count = self.count.unwrap_or(options.count);
        options.samples = self.samples.unwrap_or(options.samples);
        options.compared = self.compared.unwrap_or(options.compared);
        options.diverse = self.diverse.unwrap_or(options.diverse);
        options.steps = self.steps.unwrap_or(options.steps);
        if !self.teacher_steps.is_empty() {
            options.teacher_steps = self.teacher_steps;
        }
        options.guidance = self.guidance.unwrap_or(options.guidance);
        options.seed = self.seed.unwrap_or(options.seed);
        if !self.show.is_empty() {
            options.shown = self.show;
        }
        let report = self.run.go(shared, &options, |options, device, _, progress| evaluate(options, device, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        let line = |what: &str, psnr: f64, distance: f64| output::data(&format!("{what:44} {psnr:6.2} dB  {distance:.4}"));
        output::data(&format!(
            "{} names and {} held-out phrasings, teacher at {} steps, guidance {}",
            report.names, report.compared, report.teacher_steps, report.guidance
        ))?;
        line("student and teacher, same prompt and noise", report.student_teacher_psnr, report.student_teacher_distance)?;
        line("teacher, same prompt and two noises", report.two_noises_psnr, report.two_noises_distance)?;
        line("teacher, different prompts", report.unrelated_psnr, report.unrelated_distance)?;
        let retrievals = [
            ("teacher, names", report.teacher_retrieval),
            ("student, names", report.student_retrieval),
            ("student, held-out phrasings", report.student_retrieval_held_out),
        ];
        for (who, retrieval) in retrievals {
            output::data(&format!("retrieval by the {who:28} top 1 {:5.1} %  top 5 {:5.1} %", retrieval.top_1 * 100.0, retrieval.top_5 * 100.0))?;
        }
        output::data(&format!("\n{} pictures; features: {}", report.samples, report.features))?;
        output::data(
            "              evaluations  Fréchet: teacher's    real  precision  recall  to teacher       PSNR  diversity  alignment  s/picture",
        )?;
        for row in &report.models {
            let psnr = row.preservation.psnr.map_or_else(|| "-".to_owned(), |psnr| format!("{psnr:.2} dB"));
            let alignment = row.alignment.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
            output::data(&format!(
                "{:9} {:3}  {:11}  {:18.4} {:7.4} {:10.3} {:7.3} {:11.4} {psnr:>10} {:10.4} {alignment:>10} {:10.4}",
                row.model,
                row.steps,
                row.evaluations,
                row.to_teacher.frechet_distance,
                row.to_real.frechet_distance,
                row.to_teacher.manifold.precision,
                row.to_teacher.manifold.recall,
                row.preservation.distance,
                row.diversity,
                row.seconds_per_picture
            ))?;
        }
        output::data(&options.out.join("report.html").display().to_string())
    }
}
