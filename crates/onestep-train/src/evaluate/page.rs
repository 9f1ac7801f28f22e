//! `report.html` of an evaluation: tables, plots and images on one page that needs neither network nor script.

use std::fmt::Write;
use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use burn::tensor::Device;

use super::{
    generate::Generated,
    report::{ModelReport, PairMeasures, Report, SetMeasures, TrainingPairsReport},
    requests::ModelRequests,
    seeds::NOISES,
};
use crate::{
    chart::{escaped, figure},
    error::TrainError,
    features::{self, LabelledPrompt},
    image_grid::ImageGrid,
};

/// Images in a row of the page.
const COLUMNS: usize = 8;
/// Prompts whose images for several noises the page shows.
const DIVERSITY_PROMPTS_SHOWN: usize = 3;

/// Size of a plot's area in SVG units; labels lie around it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;
/// From one label to the next below it.
const LINE: f64 = 11.0;
/// Width of a letter of a label, about.
const LETTER: f64 = 6.2;

/// Light and dark, one column, tables that scroll by themselves on narrow screens.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1f;--paper:#fff;--faint:#6b6b76;--line:#d9d9e0;--mark:#c2410c}\
@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--paper:#16161a;--faint:#a0a0ac;--line:#3a3a44;--mark:#fb923c}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:1.5rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}h1,h2{line-height:1.25}p,figcaption,li{max-width:44rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
caption{text-align:left;color:var(--faint)}tr.student{font-weight:600}\
th,td{padding:.3rem .7rem .3rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}figure{margin:1rem 0}figcaption,.faint{color:var(--faint);font-size:.9rem}\
.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots figure{flex:1 1 18rem;margin:0}\
svg{width:100%;max-width:26rem;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--faint)}\
.axis{stroke:var(--line);fill:none}.teacher{stroke:currentColor;fill:none;stroke-width:1.5}.dot{fill:currentColor}\
.student-mark,svg text.student-text{fill:var(--mark)}.student-line{stroke:var(--mark);stroke-dasharray:4 3;fill:none}\
.strip{margin:.5rem 0}.strip img{display:block;width:100%;max-width:33rem;height:auto;background:#fff}";

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
    /// Real images and each artist's, for the same prompts and noises.
    same: Vec<Strip>,
    /// The prompts of their columns.
    prompts: Vec<String>,
    /// For some prompts the teacher's and the student's images for several noises.
    diverse: Vec<(String, Vec<Strip>)>,
}

/// Places in the set that the grid of the same noises shows, out of so many that have different prompts.
pub(super) fn columns(prompts: usize) -> impl Iterator<Item = usize> {
    let columns = COLUMNS.min(prompts);
    (0..columns).map(move |column| column * prompts / columns)
}

impl Grids {
    /// Strips of images of `size`; `shown` are those of `models`, `originals` real ones of the names that the phrasings `held_out` ask for.
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
        let real: Vec<Vec<f32>> = any.set_prompts.iter().map(|&place| originals[place].clone()).collect();
        let mut same = vec![("real images".to_owned(), strip(&real)?)];
        for (shown, model) in shown.iter().zip(models) {
            same.push((name(model), strip(&shown.set)?));
        }
        let prompt = |place: usize| held_out[place].prompt.to_owned();
        let mut diverse = Vec::new();
        for (group, &place) in any.diversity_prompts.iter().take(any.diversity.len() / NOISES).enumerate() {
            let mut strips = Vec::new();
            for (shown, model) in shown.iter().zip(models).filter(|(shown, model)| shown.is_reference || model.is_student()) {
                strips.push((name(model), strip(&shown.diversity[group * NOISES..(group + 1) * NOISES])?));
            }
            diverse.push((prompt(place), strips));
        }
        Ok(Self { same, prompts: any.set_prompts.iter().map(|&place| prompt(place)).collect(), diverse })
    }
}

/// Writes the page.
///
/// # Errors
/// Storage.
pub(super) fn write(path: &Path, title: &str, report: &Report, grids: &Grids) -> Result<(), TrainError> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Evaluation: {0}</title>\n<style>{STYLE}</style>\n<body>\n<h1>Evaluation: {0}</h1>\n{1}</body></html>\n",
        escaped(title),
        body(report, grids)
    );
    Ok(onestep_store::replace_file(path, page.as_bytes())?)
}

fn body(report: &Report, grids: &Grids) -> String {
    let mut page = introduction(report);
    page.push_str("<h2>Against steps</h2>\n<div class=\"plots\">\n");
    page.push_str(&plot("Fréchet distance to the teacher's images", &report.models, |row| row.to_teacher.frechet_distance));
    page.push_str(&plot("Fréchet distance to the real images", &report.models, |row| row.to_real.frechet_distance));
    page.push_str(&plot("Distance to the teacher's image of the same noise", &report.models, |row| row.preservation.distance));
    page.push_str("</div>\n");

    let set = |title: &str, caption: &str, of: &dyn Fn(&ModelReport) -> SetMeasures| {
        let heads = ["Fréchet ↓", "KID × 1000 ↓", "precision ↑", "recall ↑", "density ↑", "coverage ↑"];
        let cells = |row: &ModelReport| {
            let SetMeasures { frechet_distance, kernel_distance, manifold } = of(row);
            vec![
                format!("{frechet_distance:.4}"),
                format!("{:.3} ± {:.3}", kernel_distance.mean * 1000.0, kernel_distance.deviation * 1000.0),
                format!("{:.3}", manifold.precision),
                format!("{:.3}", manifold.recall),
                format!("{:.3}", manifold.density),
                format!("{:.3}", manifold.coverage),
            ]
        };
        format!("<h2>{title}</h2>\n{}", table(caption, &heads, &report.models, &cells))
    };
    page.push_str(&set(
        "Beside the teacher's images",
        &format!("{0} drawn images; reference: {0} of the teacher at {1} steps, same prompts, other noises", report.samples, report.teacher_steps),
        &|row| row.to_teacher,
    ));
    page.push_str(&set(
        "Beside the real images",
        &format!("{} drawn images; reference: the {} images of the folder", report.samples, report.real),
        &|row| row.to_real,
    ));
    page.push_str(&single(report));
    page.push_str(&images(report, grids));
    page.push_str(&retrieval(report));
    page.push_str(&explanation(report));
    page
}

fn introduction(report: &Report) -> String {
    format!(
        "<p>The student in one step beside its teacher, guidance {}, on held-out phrasings of {} names and on noises that neither saw. \
         Features: <strong>{}</strong> ({} per image). Distances in this space are comparable with each other, and not with an FID of \
         Inception-v3 from elsewhere.</p>\n",
        report.guidance,
        report.names,
        escaped(&report.features),
        report.feature_size
    )
}

/// The measures that compare single images.
fn single(report: &Report) -> String {
    let percent = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let heads = ["evaluations", "distance ↓", "of averages ↓", "PSNR, dB ↑", "diversity ↑", "of the teacher's", "alignment ↑", "seconds each ↓"];
    let cells = |row: &ModelReport| {
        vec![
            row.evaluations.to_string(),
            format!("{:.4}", row.preservation.distance),
            format!("{:.4}", row.preservation.downsampled_pixels),
            decibels(row.preservation.psnr),
            format!("{:.4}", row.diversity),
            percent(row.diversity_ratio),
            report.format_alignment(row.alignment).unwrap_or_else(|| "–".to_owned()),
            format!("{:.4}", row.seconds_per_image),
        ]
    };
    let caption = format!(
        "{} images, distance and PSNR to the teacher's of the same noise at {} steps; diversity: 8 noises of each of {} prompts",
        report.samples, report.teacher_steps, report.diversity_prompts
    );
    let mut text = format!("<h2>Same prompt, same noise</h2>\n{}", table(&caption, &heads, &report.models, &cells));
    let _ = writeln!(
        text,
        "<p class=\"faint\">The yardsticks: the teacher's images for two noises of one prompt have a distance of {}, those of different prompts \
         {}. Alignment: {}{}.</p>",
        distances(&report.baseline_same_prompt),
        distances(&report.baseline_different_prompts),
        report.alignment.as_deref().map_or_else(|| "not measured, since averages of pixels judge nothing".to_owned(), escaped),
        report.format_alignment(report.real_alignment).map_or_else(String::new, |score| format!("; real images: {score}"))
    );
    text.push_str(&by_heart(report));
    text
}

/// The students on pairs that they were trained on, beside those that they were not.
fn by_heart(report: &Report) -> String {
    let Some(TrainingPairsReport { count, steps, guidance }) = report.training_pairs else { return String::new() };
    let rows: Vec<ModelReport> = report.models.iter().filter(|row| row.preservation_on_training_pairs.is_some()).cloned().collect();
    let heads = ["trained on: distance ↓", "of averages ↓", "PSNR, dB ↑", "held out: distance ↓", "of averages ↓", "PSNR, dB ↑"];
    let cells = |row: &ModelReport| {
        let both = row.preservation_on_training_pairs.iter().chain([&row.preservation]);
        both.flat_map(|pair| [format!("{:.4}", pair.distance), format!("{:.4}", pair.downsampled_pixels), decibels(pair.psnr)]).collect()
    };
    let mut caption = format!(
        "{count} pairs that the student was trained on, and {} of held-out phrasings and noises; far nearer on the former, it would know them by heart",
        report.samples
    );
    if (steps, guidance) != (report.teacher_steps, report.guidance) {
        caption.push_str(&format!(
            ". The former were drawn by the teacher in {steps} steps with guidance {guidance}, the latter in {} with {}, which alone makes a difference",
            report.teacher_steps, report.guidance
        ));
    }
    format!("<h3>Training pairs</h3>\n{}", table(&caption, &heads, &rows, &cells))
}

fn decibels(psnr: Option<f64>) -> String {
    psnr.map_or_else(|| "the same".to_owned(), |psnr| format!("{psnr:.2}"))
}

fn distances(pair: &PairMeasures) -> String {
    format!(
        "{:.4} (of averages {:.4}{})",
        pair.distance,
        pair.downsampled_pixels,
        pair.psnr.map_or_else(String::new, |psnr| format!(", {psnr:.2} dB"))
    )
}

fn table(caption: &str, heads: &[&str], rows: &[ModelReport], cells: &dyn Fn(&ModelReport) -> Vec<String>) -> String {
    let mut text = format!("<div class=\"wide\"><table><caption>{}</caption>\n<tr><th>model</th>", escaped(caption));
    heads.iter().for_each(|head| text.push_str(&format!("<th>{head}</th>")));
    text.push_str("</tr>\n");
    for row in rows {
        let is_student = row.is_student();
        text.push_str(&format!("<tr{}><td>{}</td>", if is_student { " class=\"student\"" } else { "" }, escaped(&name(row))));
        cells(row).iter().for_each(|cell| text.push_str(&format!("<td>{cell}</td>")));
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    text
}

/// A figure of every row against its steps, on a logarithmic axis of steps: the teacher's joined, the student's marked and carried across.
fn plot(title: &str, rows: &[ModelReport], value: impl Fn(&ModelReport) -> f64) -> String {
    let most = rows.iter().map(|row| row.steps).max().unwrap_or(1).max(2) as f64;
    let top = rows.iter().map(&value).filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-12) * 1.05;
    let x = |steps: usize| (steps.max(1) as f64).ln() / most.ln() * WIDTH;
    let y = |value: f64| HEIGHT - (if value.is_finite() { value } else { top } / top).clamp(0.0, 1.0) * HEIGHT;
    let mut students: Vec<&ModelReport> = rows.iter().filter(|row| row.is_student()).collect();
    students.sort_by(|a, b| y(value(a)).total_cmp(&y(value(b))));
    let label = |row: &ModelReport| row.name.clone().unwrap_or_else(|| row.model.clone());
    // Room for the longest name on the right, and below for all of them where they stand close.
    let longest = students.iter().map(|row| label(row).chars().count()).max().unwrap_or(0) as f64;
    let (right, below) = ((longest * LETTER + 8.0).max(46.0), (students.len() as f64 * LINE).max(48.0));
    let mut svg = format!(
        "<figure><svg role=\"img\" aria-label=\"{title} against steps\" viewBox=\"-56 -12 {} {}\"><path class=\"axis\" d=\"M0 0V{HEIGHT}H{WIDTH}\"/>\
         <text x=\"-4\" y=\"4\" text-anchor=\"end\">{}</text><text x=\"-4\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>",
        WIDTH + 56.0 + right,
        HEIGHT + below,
        figure(top)
    );
    let teachers: Vec<&ModelReport> = rows.iter().filter(|row| row.model == "teacher").collect();
    let line: Vec<String> = teachers.iter().map(|row| format!("{:.1},{:.1}", x(row.steps), y(value(row)))).collect();
    let _ = write!(svg, "<polyline class=\"teacher\" points=\"{}\"/>", line.join(" "));
    for row in &teachers {
        let (x, y) = (x(row.steps), y(value(row)));
        let _ = write!(
            svg,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT + 14.0,
            row.steps
        );
    }
    // From above; a name goes below the one before where it would cover it.
    let mut free = f64::NEG_INFINITY;
    for row in students {
        let (x, y) = (x(row.steps), y(value(row)));
        let place = (y + 4.0).max(free);
        free = place + LINE;
        let _ = write!(
            svg,
            "<path class=\"student-line\" d=\"M0 {y:.1}H{WIDTH}\"/><rect class=\"student-mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>\
             <text class=\"student-text\" x=\"{}\" y=\"{:.1}\">{}</text>",
            x - 4.0,
            y - 4.0,
            WIDTH + 4.0,
            place,
            escaped(&label(row))
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">steps of the teacher</text></svg><figcaption>{title}</figcaption></figure>",
        WIDTH / 2.0,
        HEIGHT + 30.0
    );
    svg
}

fn images(report: &Report, grids: &Grids) -> String {
    let prompts: Vec<String> = grids.prompts.iter().map(|prompt| escaped(prompt)).collect();
    let mut text = format!("<h2>Images</h2>\n<p>Same prompts and noises in every row: {}.</p>\n", prompts.join(" · "));
    grids.same.iter().for_each(|(label, png)| text.push_str(&strip(label, label, png)));
    if !grids.diverse.is_empty() {
        let _ = writeln!(
            text,
            "<h2>Eight noises of one prompt</h2>\n<p>The teacher at {} steps and the student, noise by noise.</p>",
            report.teacher_steps
        );
    }
    for (prompt, strips) in &grids.diverse {
        for (label, png) in strips {
            text.push_str(&strip(&format!("{prompt} – {label}"), &format!("{label}: {prompt}"), png));
        }
    }
    text
}

fn strip(label: &str, description: &str, png: &[u8]) -> String {
    format!(
        "<div class=\"strip\"><span class=\"faint\">{}</span><img alt=\"{}\" src=\"data:image/png;base64,{}\"></div>\n",
        escaped(label),
        escaped(description),
        BASE64_STANDARD.encode(png)
    )
}

fn retrieval(report: &Report) -> String {
    let rows: Vec<ModelReport> = report.models.iter().filter(|row| row.retrieval.is_some()).cloned().collect();
    let caption = format!(
        "Is one of the right name the nearest of {} real images, among the nearest five? {} names, and a held-out phrasing of each.",
        report.real, report.names
    );
    let heads = ["names, top-1 ↑", "top-5 ↑", "phrasings, top-1 ↑", "top-5 ↑"];
    let cells = |row: &ModelReport| {
        let both = [row.retrieval, row.retrieval_held_out].into_iter().flatten();
        both.flat_map(|found| [found.top_1, found.top_5]).map(|share| format!("{:.1} %", share * 100.0)).collect()
    };
    format!("<h2>Retrieval</h2>\n{}", table(&caption, &heads, &rows, &cells))
}

fn explanation(report: &Report) -> String {
    format!(
        "<h2>How it is measured</h2>\n<ul>\n\
         <li>Fréchet distance: of the Gaussians with the sets' means and covariances. The teacher's own row at {0} steps says how small it gets for {1} \
         images of one distribution.</li>\n\
         <li>KID: unbiased squared maximum mean discrepancy, kernel (x·y/d + 1)³, mean ± standard deviation of 100 subsets of half the smaller set, at \
         most 1,000.</li>\n\
         <li>Precision and recall: balls to the 3rd nearest neighbour. Density and coverage: to the 5th.</li>\n\
         <li>Distances of images: Euclidean between features, divided by the root of their number. PSNR over images in −1…1.</li>\n\
         <li>Seconds per image: wall clock in batches of 32 on the device of this evaluation, prompt and decoder included. Everything else follows \
         from the seed, {2}.</li>\n</ul>\n",
        report.teacher_steps, report.samples, report.seed
    )
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
            kernel_distance: KernelDistance { mean: 0.001, deviation: 0.0002, subset: 2 },
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
    fn a_plot_joins_the_teacher_and_marks_the_student() {
        let plot = plot("T", &[row("teacher", 1, 4.0), row("teacher", 50, 0.0), row("student", 1, 1.0)], |row| row.to_teacher.frechet_distance);
        assert!(plot.contains("points=\"0.0,7.1 300.0,150.0\""), "{plot}");
        assert_eq!((plot.matches("<circle").count(), plot.matches("<rect").count()), (2, 1));
        assert!(!super::plot("T", &[row("student", 1, f64::NAN)], |row| row.to_real.frechet_distance).contains("NaN"));
    }

    #[test]
    fn students_with_the_same_value_have_their_names_below_each_other() {
        let named = |name: &str| ModelReport { name: Some(name.into()), ..row("student", 1, 1.0) };
        let plot = plot("T", &[row("teacher", 1, 4.0), named("a"), named("b")], |row| row.to_teacher.frechet_distance);
        let heights: Vec<&str> = plot.split("student-text\" x=\"304\" y=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
        let heights: Vec<f64> = heights.into_iter().map(|height| height.parse().unwrap()).collect();
        assert!(heights.len() == 2 && heights[1] >= heights[0] + LINE - 0.1, "{plot}");
    }

    #[test]
    fn the_prompts_named_are_those_of_the_images_shown() {
        let size = 16;
        let images: Vec<Vec<f32>> = (0..16).map(|index| vec![index as f32 / 16.0; 3 * size * size]).collect();
        let phrasings: Vec<String> = (0..16).map(|index| format!("phrasing {index}")).collect();
        let held_out: Vec<LabelledPrompt<'_>> = phrasings.iter().map(|prompt| LabelledPrompt { label: "", prompt }).collect();
        let places: Vec<usize> = columns(16).collect();
        let set = places.iter().map(|&place| images[place].clone()).collect();
        let shown = PageImages { is_reference: true, set_prompts: places, diversity_prompts: vec![5], set, diversity: images[..NOISES].to_vec() };
        let grids = Grids::new(&[&shown], &[row("teacher", 2, 0.0)], &images, &held_out, size, &Device::flex()).unwrap();
        let named: Vec<String> = columns(16).map(|place| format!("phrasing {place}")).collect();
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
        let table = table("a < b", &["x"], &rows, &|row| vec![row.steps.to_string()]);
        assert!(table.contains("a &lt; b") && table.contains("<tr class=\"student\"><td>student, 1 step</td><td>1</td>"), "{table}");
    }
}
