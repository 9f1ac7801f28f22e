//! `report.html` of an evaluation: tables, charts and images on one page.

use std::path::Path;

use burn::tensor::Device;
use maud::{Markup, html};

use super::{
    generate::Generated,
    report::{ModelReport, PairMeasures, Report, SetMeasures},
    requests::ModelRequests,
    seeds::NOISES,
};
use crate::{
    chart::steps_chart,
    error::TrainError,
    features::{self, LabelledPrompt},
    html_page::{self, png_source},
    image_grid::ImageGrid,
};

/// Images in a row of the page.
const COLUMNS: usize = 8;
/// Number of prompts for which the page shows images of several noises.
const DIVERSITY_PROMPTS_SHOWN: usize = 3;

/// One model's images on the page.
pub(super) struct PageImages {
    /// Whether the model is the teacher that the others are compared with.
    is_reference: bool,
    /// Held-out prompts of `set`.
    set_prompts: Vec<usize>,
    /// Images of the set.
    set: Vec<Vec<f32>>,
    /// Held-out prompts of the groups of `diversity`.
    diversity_prompts: Vec<usize>,
    /// [`NOISES`] images of each of the first `diversity_prompts`.
    diversity: Vec<Vec<f32>>,
}

impl PageImages {
    /// Copies the shown ones of a model's images, out of a set for `names` different prompts.
    pub fn new(requests: &ModelRequests, is_reference: bool, generated: &Generated, names: usize) -> Self {
        let set_prompts: Vec<usize> = columns(names.min(requests.set.len())).collect();
        let shown = requests.diversity.len().min(DIVERSITY_PROMPTS_SHOWN * NOISES);
        Self {
            is_reference,
            set: set_prompts.iter().map(|&prompt| generated.images[requests.set[prompt]].clone()).collect(),
            set_prompts,
            diversity_prompts: requests.diversity_prompts.clone(),
            diversity: generated.select(&requests.diversity[..shown]),
        }
    }
}

/// A row of images as PNG, under its label.
type Strip = (String, Vec<u8>);

/// The images of the page.
pub(super) struct Grids {
    /// Real images, and the images of each model for the same prompts and noises.
    same: Vec<Strip>,
    /// The prompts of the columns of `same`.
    prompts: Vec<String>,
    /// For some prompts the images of the teacher and the students for several noises.
    diverse: Vec<(String, Vec<Strip>)>,
}

/// Indices of the shown prompts, evenly spread over all.
pub(super) fn columns(prompts: usize) -> impl Iterator<Item = usize> {
    let columns = COLUMNS.min(prompts);
    (0..columns).map(move |column| column * prompts / columns)
}

impl Grids {
    /// Encodes the images of `models`; `originals` holds a real image for each of the `held_out` prompts, all of them `size` × `size` pixels.
    ///
    /// # Errors
    /// Encoding.
    pub fn new(
        shown: &[&PageImages],
        models: &[ModelReport],
        originals: &[Vec<f32>],
        held_out: &[LabelledPrompt<'_>],
        size: usize,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let strip = |images: &[Vec<f32>]| {
            let mut grid = ImageGrid::new(size);
            grid.row(&features::tensor(images, size, device));
            grid.png()
        };
        let Some(any) = shown.first() else { return Ok(Self { same: Vec::new(), prompts: Vec::new(), diverse: Vec::new() }) };
        let real: Vec<Vec<f32>> = any.set_prompts.iter().map(|&prompt| originals[prompt].clone()).collect();
        let mut same = vec![("real images".to_owned(), strip(&real)?)];
        for (shown, model) in shown.iter().zip(models) {
            same.push((name(model), strip(&shown.set)?));
        }
        let text = |prompt: usize| held_out[prompt].prompt.to_owned();
        let mut diverse = Vec::new();
        for (group, &prompt) in any.diversity_prompts.iter().take(any.diversity.len() / NOISES).enumerate() {
            let mut strips = Vec::new();
            for (shown, model) in shown.iter().zip(models).filter(|(shown, model)| shown.is_reference || model.is_student()) {
                strips.push((name(model), strip(&shown.diversity[group * NOISES..(group + 1) * NOISES])?));
            }
            diverse.push((text(prompt), strips));
        }
        Ok(Self { same, prompts: any.set_prompts.iter().map(|&prompt| text(prompt)).collect(), diverse })
    }
}

/// Writes the page.
///
/// # Errors
/// Storage.
pub(super) fn write(path: &Path, title: &str, report: &Report, grids: &Grids) -> Result<(), TrainError> {
    let title = format!("Evaluation: {title}");
    html_page::write(path, &title, &html! { h1 { (title) } (body(report, grids)) })
}

fn body(report: &Report, grids: &Grids) -> Markup {
    html! {
        (introduction(report))
        h2 { "Measures against solver steps" }
        div.plots {
            (chart("Fréchet distance to the teacher's images", report, |row| row.to_teacher.frechet_distance))
            (chart("Fréchet distance to the real images", report, |row| row.to_real.frechet_distance))
            (chart("Feature distance to the teacher's image of the same noise", report, |row| row.preservation.distance))
        }
        h2 { "Against the teacher's images" }
        (set_table(
            report,
            &format!(
                "{0} generated images; reference: {0} images of the teacher at {1} steps, same prompts, other noises",
                report.samples, report.teacher_steps
            ),
            |row| row.to_teacher,
        ))
        h2 { "Against the real images" }
        (set_table(
            report,
            &format!("{} generated images; reference: {} images of the folder", report.samples, report.real),
            |row| row.to_real,
        ))
        (single_images(report))
        (training_pairs(report))
        (images(report, grids))
        (retrieval(report))
        (explanation(report))
    }
}

fn introduction(report: &Report) -> Markup {
    html! {
        p {
            "One-step students compared with their teacher, guidance " (report.guidance) ", on held-out phrasings of " (report.names)
            " names and on noises that no model was trained on. Features: " strong { (report.features) } " (" (report.feature_size)
            " per image). Distances in this feature space can be compared with each other, but not with FIDs of other feature spaces."
        }
    }
}

fn set_table(report: &Report, caption: &str, measures: impl Fn(&ModelReport) -> SetMeasures) -> Markup {
    let heads = ["Fréchet ↓", "KID × 1000 ↓", "precision ↑", "recall ↑", "density ↑", "coverage ↑"];
    table(caption, &heads, &report.models, |row| {
        let SetMeasures { frechet_distance, kernel_distance, manifold } = measures(row);
        vec![
            format!("{frechet_distance:.4}"),
            format!("{:.3} ± {:.3}", kernel_distance.mean * 1000.0, kernel_distance.standard_deviation * 1000.0),
            format!("{:.3}", manifold.precision),
            format!("{:.3}", manifold.recall),
            format!("{:.3}", manifold.density),
            format!("{:.3}", manifold.coverage),
        ]
    })
}

/// The measures of single images: preservation, diversity, alignment, time.
fn single_images(report: &Report) -> Markup {
    let heads = ["evaluations", "distance ↓", "16×16 distance ↓", "PSNR, dB ↑", "diversity ↑", "of the teacher's", "alignment ↑", "s per image ↓"];
    let caption = format!(
        "{} images; distances and PSNR to the teacher's image of the same noise at {} steps; diversity: {NOISES} noises of each of {} prompts",
        report.samples, report.teacher_steps, report.diversity_prompts
    );
    let rows = table(&caption, &heads, &report.models, |row| {
        vec![
            row.evaluations.to_string(),
            format!("{:.4}", row.preservation.distance),
            format!("{:.4}", row.preservation.downsampled_pixels),
            decibels(row.preservation.psnr),
            format!("{:.4}", row.diversity),
            row.diversity_ratio.map_or_else(|| "–".to_owned(), percent),
            report.format_alignment(row.alignment).unwrap_or_else(|| "–".to_owned()),
            format!("{:.4}", row.seconds_per_image),
        ]
    });
    html! {
        h2 { "Same prompt, same noise" }
        (rows)
        p.faint {
            "Baselines: the teacher's images for two noises of one prompt have a distance of " (distances(&report.baseline_same_prompt))
            ", those for different prompts " (distances(&report.baseline_different_prompts)) ". Alignment: "
            (report.alignment.as_deref().unwrap_or("not measured, because downsampled pixels know no prompts"))
            @if let Some(score) = report.format_alignment(report.real_alignment) { "; real images: " (score) }
            "."
        }
    }
}

/// The students on training pairs and on held-out ones.
fn training_pairs(report: &Report) -> Markup {
    let Some(training) = report.training_pairs else { return Markup::default() };
    let rows: Vec<ModelReport> = report.models.iter().filter(|row| row.preservation_on_training_pairs.is_some()).cloned().collect();
    let heads = ["training pairs: distance ↓", "16×16 distance ↓", "PSNR, dB ↑", "held out: distance ↓", "16×16 distance ↓", "PSNR, dB ↑"];
    let caption = format!(
        "{} training pairs, and {} held-out phrasings and noises. Much smaller distances on training pairs mean that the student memorised them",
        training.count, report.samples
    );
    let rows = table(&caption, &heads, &rows, |row| {
        let both = row.preservation_on_training_pairs.iter().chain([&row.preservation]);
        both.flat_map(|pair| [format!("{:.4}", pair.distance), format!("{:.4}", pair.downsampled_pixels), decibels(pair.psnr)]).collect()
    });
    html! {
        h3 { "Training pairs" }
        (rows)
        @if (training.steps, training.guidance) != (report.teacher_steps, report.guidance) {
            p.faint {
                "The teacher sampled the training pairs in " (training.steps) " steps with guidance " (training.guidance)
                ", and the held-out images in " (report.teacher_steps) " steps with guidance " (report.guidance)
                ". This alone makes a difference between the two."
            }
        }
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

fn decibels(psnr: Option<f64>) -> String {
    psnr.map_or_else(|| "identical".to_owned(), |psnr| format!("{psnr:.2}"))
}

fn distances(pair: &PairMeasures) -> String {
    let psnr = pair.psnr.map_or_else(String::new, |psnr| format!(", {psnr:.2} dB"));
    format!("{:.4} (16×16: {:.4}{psnr})", pair.distance, pair.downsampled_pixels)
}

fn table(caption: &str, heads: &[&str], rows: &[ModelReport], cells: impl Fn(&ModelReport) -> Vec<String>) -> Markup {
    html! {
        figure {
            figcaption { (caption) "." }
            div.wide {
                table {
                    tr { th { "model" } @for head in heads { th { (head) } } }
                    @for row in rows {
                        tr.student[row.is_student()] { td { (name(row)) } @for cell in cells(row) { td { (cell) } } }
                    }
                }
            }
        }
    }
}

fn chart(title: &str, report: &Report, value: impl Fn(&ModelReport) -> f64) -> Markup {
    let (students, teacher): (Vec<&ModelReport>, Vec<&ModelReport>) = report.models.iter().partition(|row| row.is_student());
    let teacher: Vec<(usize, f64)> = teacher.into_iter().map(|row| (row.steps, value(row))).collect();
    let students: Vec<(String, f64)> = students.into_iter().map(|row| (row.name.as_ref().unwrap_or(&row.model).clone(), value(row))).collect();
    steps_chart(title, &teacher, &students)
}

fn images(report: &Report, grids: &Grids) -> Markup {
    html! {
        h2 { "Images" }
        p { "Every row has the same prompts and noises: " (grids.prompts.join(" · ")) "." }
        @for (label, png) in &grids.same { (strip(label, label, png)) }
        @if !grids.diverse.is_empty() {
            h2 { "Eight noises of one prompt" }
            p { "The teacher at " (report.teacher_steps) " steps and the students, for the same noises." }
        }
        @for (prompt, strips) in &grids.diverse {
            @for (label, png) in strips { (strip(&format!("{prompt} – {label}"), &format!("{label}: {prompt}"), png)) }
        }
    }
}

fn strip(label: &str, description: &str, png: &[u8]) -> Markup {
    html! { div.strip { span.faint { (label) } img alt=(description) src=(png_source(png)); } }
}

fn retrieval(report: &Report) -> Markup {
    let rows: Vec<ModelReport> = report.models.iter().filter(|row| row.retrieval.is_some()).cloned().collect();
    let caption = format!(
        "Fraction of generated images for which a real image of the right name is the nearest of {} (top-1), or among the five nearest (top-5); \
         {} names, and a held-out phrasing of each",
        report.real, report.names
    );
    let heads = ["names, top-1 ↑", "top-5 ↑", "phrasings, top-1 ↑", "top-5 ↑"];
    let rows = table(&caption, &heads, &rows, |row| {
        let both = [row.retrieval, row.retrieval_held_out].into_iter().flatten();
        both.flat_map(|found| [found.top_1, found.top_5]).map(percent).collect()
    });
    html! { h2 { "Retrieval" } (rows) }
}

fn explanation(report: &Report) -> Markup {
    html! {
        h2 { "Definitions" }
        ul {
            li {
                "Fréchet distance: between Gaussians with the sets' means and covariances (FID if the features are Inception-v3's; Heusel et al. \
                 2017). The teacher's row at " (report.teacher_steps) " steps is the lower bound for " (report.samples) " images."
            }
            li {
                "KID (Bińkowski et al. 2018): unbiased squared maximum mean discrepancy with the kernel (x·y/d + 1)³; mean ± standard deviation over \
                 100 subsets of half the smaller set, at most 1,000 images."
            }
            li {
                "Precision and recall (Kynkäänniemi et al. 2019): balls that reach to the 3rd nearest neighbour. Density and coverage (Naeem et al. \
                 2020): to the 5th."
            }
            li { "Distance: Euclidean distance of the features, divided by the square root of their number. 16×16 distance: the same for 16×16 \
                  box-downsampled pixels. PSNR: of pixels in −1…1, over all images." }
            li {
                "Seconds per image: wall clock in batches of 32 on the device of this evaluation, text encoder and decoder included. Everything else \
                 is reproducible from the seed, " (report.seed) "."
            }
        }
    }
}

fn name(row: &ModelReport) -> String {
    let steps = if row.steps == 1 { "1 step".to_owned() } else { format!("{} steps", row.steps) };
    format!("{}, {steps}", row.name.as_ref().unwrap_or(&row.model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::{KernelDistance, Manifold};

    fn row(model: &str, steps: usize, frechet_distance: f64) -> ModelReport {
        let set = SetMeasures {
            frechet_distance,
            kernel_distance: KernelDistance { mean: 0.001, standard_deviation: 0.0002, subset_size: 2 },
            manifold: Manifold { precision: 1.0, recall: 0.5, density: 0.25, coverage: 0.125 },
        };
        ModelReport {
            model: model.into(),
            name: None,
            steps,
            evaluations: steps,
            to_teacher: set,
            to_real: set,
            preservation: PairMeasures { distance: 0.0, downsampled_pixels: 0.0, psnr: None },
            preservation_on_training_pairs: None,
            diversity: 0.5,
            diversity_ratio: None,
            alignment: None,
            retrieval: None,
            retrieval_held_out: None,
            seconds_per_image: 0.01,
        }
    }

    #[test]
    fn the_prompts_named_are_those_of_the_images_shown() {
        let size = 16;
        let images: Vec<Vec<f32>> = (0..16).map(|index| vec![index as f32 / 16.0; 3 * size * size]).collect();
        let phrasings: Vec<String> = (0..16).map(|index| format!("phrasing {index}")).collect();
        let held_out: Vec<LabelledPrompt<'_>> = phrasings.iter().map(|prompt| LabelledPrompt { label: "", prompt }).collect();
        let set_prompts: Vec<usize> = columns(16).collect();
        let set = set_prompts.iter().map(|&prompt| images[prompt].clone()).collect();
        let shown = PageImages { is_reference: true, set_prompts, diversity_prompts: vec![5], set, diversity: images[..NOISES].to_vec() };
        let grids = Grids::new(&[&shown], &[row("teacher", 2, 0.0)], &images, &held_out, size, &Device::flex()).unwrap();
        let named: Vec<String> = columns(16).map(|prompt| format!("phrasing {prompt}")).collect();
        assert_eq!((grids.prompts, grids.diverse[0].0.as_str()), (named, "phrasing 5"));
        assert_eq!(grids.same[0].1, grids.same[1].1, "the real images of the same prompts");
    }

    #[test]
    fn columns_are_spread_over_the_prompts() {
        assert_eq!(columns(16).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(columns(3).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn tables_mark_the_student_and_say_what_is_not_known() {
        let rows = [row("teacher", 1, 4.0), row("student", 1, 1.0)];
        let table = table("a < b", &["x"], &rows, |row| vec![row.steps.to_string()]).into_string();
        assert!(table.contains("a &lt; b") && table.contains("<tr class=\"student\"><td>student, 1 step</td><td>1</td>"), "{table}");
    }
}
